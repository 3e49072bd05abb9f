//! A short run with a small load, on loopback: that the driver breaks things and mends them, that everything arrives
//! nevertheless, and that nothing of it is left behind. `cargo xtask chaos` is the long one.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The driver; it starts the command and the judge that lie beside it.
fn chaos(words: &[&str]) -> Command {
    let chaos = Path::new(env!("CARGO_BIN_EXE_chaos"));
    let command = chaos.with_file_name("whimbrel");
    assert!(command.is_file(), "build it first: cargo build --release -p whimbrel -p chaos");
    let mut command = Command::new(chaos);
    command.args(["--loopback", "--nodes", "3", "--pace", "2"]).args(words);
    command
}

#[test]
fn everything_arrives() {
    let output = chaos(&["--seconds", "15", "--json"]).stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report: serde_json::Value = serde_json::from_str(&text).expect("one object");
    println!("{report:#}");
    assert!(output.status.success());
    let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(["lost", "doubled", "reordered"].map(number), [0; 3]);
    for name in ["moves", "kills", "cuts", "checked"] {
        assert!(number(name) > 0, "no {name}");
    }
}

#[test]
fn an_interrupt_leaves_nothing() {
    let mut run = chaos(&["--minutes", "10"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(run.stderr.take().unwrap()).lines().map_while(Result::ok);
    // Its first word of progress: daemons and processes are there.
    assert!(told.any(|line| line.contains("messages")));
    let children = children(run.id());
    assert!(children.len() >= 2, "{children:?}");
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    for child in children {
        assert!(!std::fs::exists(format!("/proc/{child}")).unwrap(), "{child} is left");
    }
}

/// The processes that a process has started.
fn children(of: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{of}/task")).unwrap().flatten();
    let read = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).ok();
    let all: String = tasks.filter_map(read).collect();
    all.split_whitespace().map(str::to_owned).collect()
}
