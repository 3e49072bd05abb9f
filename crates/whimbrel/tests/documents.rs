//! The commands that the documents show, run as they stand there, in order, on machines that are homes.
//! A command that is shown and that nothing here runs fails the test.

#[path = "documents/machine.rs"]
mod machine;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use machine::Machine;

/// Prints numbers for ever: something to move about.
fn endless() -> Vec<u8> {
    std::fs::read(programs::guest("counter").unwrap()).unwrap()
}

fn document(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// The lines with a prompt: the machine that is typed at (none: any), and the command.
fn typed(path: &str) -> Vec<(String, String)> {
    let text = document(path);
    let mut lines = Vec::new();
    for block in text.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            let Some((prompt, command)) = line.split_once("$ ") else { continue };
            let command = command.split(" # ").next().unwrap().trim();
            lines.push((prompt.to_owned(), command.to_owned()));
        }
    }
    assert!(!lines.is_empty(), "{path} shows no commands");
    lines
}

#[test]
fn the_commands_that_are_shown_work() {
    let shown = typed("docs/operations.md");
    let (start, rest) = shown.split_at(3);
    let [heron, osprey] = ["heron", "osprey"].map(|name| Machine::new(name, &endless()));

    // A cluster, as operations.md makes one.
    let on_loopback = |line: &str| line.replace("0.0.0.0:7700", "127.0.0.1:0");
    let words = |line: &str| line.strip_prefix("whimbrel ").expect("our own command").to_owned();
    heron.check(&words(&on_loopback(&start[0].1)), 0);
    let token = heron.check(&words(&start[1].1), 0);
    let status = heron.json("node status");
    let address = status["node"]["address"].as_str().unwrap();
    let join = on_loopback(&start[2].1).replace("heron.example:7700", address);
    let (join, placeholder) = join.rsplit_once(' ').unwrap();
    assert_eq!((start[2].0.as_str(), placeholder), ("osprey", "T"), "{join}");
    osprey.check(&format!("{} {}", words(join), token.trim()), 0);
    let up = |nodes: &serde_json::Value| {
        nodes["nodes"].as_array().unwrap().iter().filter(|node| node["state"] == "up").count() == 2
    };
    for machine in [&heron, &osprey] {
        machine.until("nodes", up);
    }

    // A process, moved: README's first lines.
    let readme = typed("README.md");
    let [run, go, drain] = [0, 1, 2].map(|at| words(&readme[at].1));
    let run = run.replace("-- args", "-- 0");
    let mut attached = heron.command(run.split_whitespace()).stdout(Stdio::null()).spawn().unwrap();
    let list = heron.until("ps", |list| list["processes"][0]["state"]["is"] == "running");
    let pid = list["processes"][0]["pid"].as_str().unwrap();
    let moved = heron.check(&go.replace("k3x9.0", pid), 0);
    assert!(moved.starts_with(&format!("{pid} is at osprey: from heron")), "{moved}");
    let again = heron.check(&go.replace("k3x9.0", pid), 0);
    assert_eq!(again, format!("{pid} is at osprey already\n"));
    osprey.check(&format!("move {pid} --to heron"), 0);
    // Heron is the registry's home, which leaves with all else.
    let drained = heron.check(&drain, 0);
    assert!(drained.contains("the registry is at osprey"), "{drained}");
    assert_eq!(heron.json("ps")["processes"][0]["node"], "osprey");
    osprey.check(&format!("kill {pid}"), 0);
    assert_eq!(attached.wait().unwrap().code(), Some(137));

    // A machine is taken away, when a durable process has been looked at.
    let taken: Vec<String> = rest.iter().map(|(_, line)| words(line)).collect();
    let even = ["rebalance --plan", "rebalance"];
    let durable = ["run -d --durable --checkpoint 2s --name ledger app.wasm", "inspect ledger"];
    assert_eq!(taken[..3], ["drain heron --plan", "drain heron", "node stop heron"]);
    assert_eq!(taken[3..5], ["status", "registry move --to osprey"]);
    // It has a test of its own: here the registry answers.
    assert_eq!(taken[5], "registry rebuild --forget heron --key ca.key");
    assert_eq!(taken[6..8], even);
    assert_eq!(taken[8..], durable);
    osprey.check("registry move --to heron", 0);
    for line in taken[3..5].iter().chain(&taken[6..8]) {
        osprey.check(line, 0);
    }
    osprey.check("registry rebuild --forget heron", 75);
    osprey.check(&format!("{} -- 0", taken[8]), 0);
    let shown = osprey.check(&taken[9], 0);
    assert!(shown.contains("durable     every 2.0 s"), "{shown}");
    osprey.check("kill ledger", 0);
    taken[..3].iter().for_each(|line| drop(heron.check(line, 0)));

    // The others are the contributor's, or have a test of their own.
    let others: Vec<&str> = readme[3..].iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(
        others,
        [
            "cargo run --release -- demo",
            "cargo xtask ci",
            "cargo xtask guests",
            "cargo xtask bench exec",
            "cargo xtask bench move",
            "cargo xtask bench messages",
            "cargo xtask bench density",
            "cargo xtask chaos",
            "cargo xtask bench strategies"
        ]
    );
}

#[test]
fn the_demonstration_works() {
    let machine = Machine::new("heron", &[]);
    let out = machine.check("demo --bundled --every 50 --digits 8000", 0);
    assert!(out.contains("the output is the same, byte for byte"), "{out}");
}

/// Each row of the command's table, and what is typed for it: on heron, with the exit code.
/// `PID` is a process that runs, `IMAGE` a file that none has been frozen into yet.
const WORDS: [(&str, &[(&str, i32)]); 20] = [
    (
        "run PROG [ARGS] ['||' PROG [ARGS]]…",
        &[
            ("run app.wasm -- 3", 0),
            ("run -d --count 3 -o json app.wasm -- 3", 0),
            ("run --count 3 app.wasm -- 3", 2),
            (
                "run -d --on osprey --name web --env A=b --memory 64M --dir .::/here app.wasm -- 0",
                0,
            ),
        ],
    ),
    ("ps", &[("ps", 0), ("ps --all -o json", 0)]),
    ("inspect PID", &[("inspect web", 0), ("inspect web -o json", 0), ("inspect nobody", 67)]),
    ("logs [-f] PID", &[("logs web", 0)]),
    (
        "move PID|GROUP --to NODE",
        &[
            ("move web --to heron", 0),
            ("move web --to nowhere", 68),
            ("move web --to osprey -o json", 0),
        ],
    ),
    ("rebalance [--plan]", &[("rebalance --plan", 0), ("rebalance -o json", 0)]),
    (
        "locate PID|GROUP STRATEGY",
        &[
            ("locate web forwarding", 0),
            ("locate web mailbox@heron -o json", 0),
            ("locate web by-pigeon", 2),
        ],
    ),
    (
        "send PID TEXT",
        &[("send web hello", 0), ("send web hello -o json", 0), ("send nobody hello", 67)],
    ),
    (
        "freeze PID -o FILE [--copy]",
        &[
            ("freeze web -o copy.image --copy", 0),
            ("freeze web -o copy.image", 73),
            ("freeze web -o web.image", 0),
        ],
    ),
    (
        "thaw FILE",
        &[
            ("thaw -d web.image", 0),
            ("thaw -d web.image", 0),
            ("thaw -d copy.image", 0),
            ("thaw -d app.wasm", 65),
        ],
    ),
    (
        "events [-f] [PID|GROUP]",
        &[("events", 0), ("events web -o json", 0), ("events --on osprey", 0), ("events zzzz", 67)],
    ),
    (
        "trace GROUP",
        &[
            ("trace web", 0),
            ("trace web --svg web.svg", 0),
            ("trace web -o json --all", 0),
            ("trace web --off", 0),
            ("trace nobody", 67),
        ],
    ),
    ("image show FILE", &[("image show web.image", 0), ("image show app.wasm", 65)]),
    ("transform IN -o OUT [--report]", &[("transform app.wasm -o out.wasm --report", 0)]),
    (
        "registry move --to NODE",
        &[
            ("registry move --to osprey", 0),
            ("registry move --to nowhere", 68),
            ("registry move --to heron -o json", 0),
        ],
    ),
    (
        "registry rebuild --forget NODE… [--key FILE]",
        &[("registry rebuild --forget osprey", 75), ("registry rebuild", 2)],
    ),
    ("nodes", &[("nodes", 0)]),
    ("status", &[("status", 0), ("status -o json", 0)]),
    ("token create", &[("token create", 0)]),
    (
        "version",
        &[("version", 0), ("completions bash", 0), ("completions fish", 0), ("completions zsh", 0)],
    ),
];

/// Rows that the test types by hand, since they end something.
const BY_HAND: [&str; 5] = [
    "drain NODE [--plan]",
    "kill PID|GROUP",
    "node start|stop|status|forget",
    "demo",
    "completions SHELL",
];

#[test]
fn every_word_of_the_table_works() {
    let text = document("docs/cli.md");
    let table = text.split("## Words").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut shown = BTreeSet::new();
    for row in rows {
        let cell = row.replace("\\|", "\u{1}");
        let cell = cell.split(" | ").next().unwrap().replace('\u{1}', "|");
        shown.extend(cell.trim_end_matches('`').split("`, `").map(str::to_owned));
    }
    let known = WORDS.iter().map(|(word, _)| *word).chain(BY_HAND);
    assert_eq!(shown, known.map(str::to_owned).collect(), "docs/cli.md and this test");

    let [heron, osprey] = ["heron", "osprey"].map(|name| Machine::new(name, &endless()));
    heron.check("node start -d --name heron", 0);
    let token = heron.json("token create");
    let [token, address] = ["token", "address"].map(|key| token[key].as_str().unwrap());
    osprey.check(&format!("node start -d --name osprey --join {address} --token {token}"), 0);
    osprey.check("node status osprey", 0);
    let up = |nodes: &serde_json::Value| {
        nodes["nodes"].as_array().unwrap().iter().filter(|node| node["state"] == "up").count() == 2
    };
    heron.until("nodes", up);
    osprey.until("nodes", up);
    for (line, code) in WORDS.iter().flat_map(|(_, lines)| *lines) {
        // The directory is at the same path for both: both are homes on this machine.
        let line = line.replace(".::/here", &format!("{}::/here", heron.home().display()));
        heron.check(&line, *code);
    }

    // What a reader of the log sees; the reader goes away, and that is no error of anybody's.
    let mut reader = heron.command(["logs", "-f", "web"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut lines = std::io::BufReader::new(reader.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut lines, &mut first).unwrap();
    assert_eq!(first, "1\n");
    drop(lines);
    assert_eq!(reader.wait().unwrap().code(), Some(141));

    // A process that computes has used a processor, however long it has not left its worker.
    let busy = |list: &serde_json::Value| {
        let web = list["processes"].as_array().unwrap().iter().find(|one| one["name"] == "web");
        web.is_some_and(|web| web["cpu_ms"].as_u64() > Some(20))
    };
    heron.until("ps", busy);

    // Interrupted, an attached run ends its process, and says so by its code.
    let run = heron.command(["run", "--name", "here", "app.wasm", "--", "0"]).spawn().unwrap();
    let named = |list: &serde_json::Value| {
        list["processes"].as_array().unwrap().iter().any(|one| one["name"] == "here")
    };
    heron.until("ps", named);
    let group = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(group, rustix::process::Signal::INT).unwrap();
    let mut run = run;
    assert_eq!(run.wait().unwrap().code(), Some(130));
    heron.until("ps", |list| !named(list));

    // What is started is ended.
    heron.check("move web --to osprey", 0);
    heron.check("drain osprey --plan", 0);
    heron.check("drain osprey", 0);
    let list = heron.json("ps");
    for process in list["processes"].as_array().unwrap() {
        assert_eq!(process["node"], "heron", "{process}");
        heron.check(&format!("kill {}", process["pid"].as_str().unwrap()), 0);
    }
    osprey.check("node stop", 0);
    heron.until("nodes", |nodes| nodes["nodes"][1]["state"] != "up");
    heron.check("node stop heron", 0);
    heron.check("node stop heron", 69);
}
