//! The command from outside, where no daemon runs: what it says, on which stream, and with which code
//! it exits. Each case has an empty home of its own.

use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};
use tempfile::TempDir;

/// A home without daemons, and a directory to work in.
struct Case {
    home: TempDir,
}

impl Case {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    /// Runs the command: exit code, and standard output before standard error.
    fn run(&self, line: &str) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_whimbrel"))
            .args(line.split_whitespace())
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes).replace(&*self.path().to_string_lossy(), "HOME")
        };
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    }

    /// Runs the command and compares.
    fn check(&self, line: &str, expected: Expect) {
        let (code, said) = self.run(line);
        expected.assert_eq(&format!("{code}\n{said}"));
    }
}

#[test]
fn what_needs_a_daemon_says_so() {
    let case = Case::new();
    let words = [
        "ps",
        "inspect k3x9",
        "logs k3x9",
        "move k3x9 --to osprey",
        "drain heron",
        "kill k3x9",
        "events",
        "trace k3x9",
        "freeze k3x9 -o a.image",
        "nodes",
        "node stop",
        "node forget heron",
        "token create",
        "status",
    ];
    for word in words {
        case.check(
            word,
            expect![[r#"
                69
                  × No daemon runs here.
                  help: `whimbrel node start -d` starts one
            "#]],
        );
    }
    let left = std::fs::read_dir(case.path()).unwrap().count();
    assert_eq!(left, 0, "something was written");
}

#[test]
fn a_daemon_that_is_named_must_be_there() {
    let case = Case::new();
    case.check(
        "ps --node heron",
        expect![[r#"
        69
          × No daemon called `heron` runs here.
          help: `whimbrel node start -d` starts one
    "#]],
    );
    case.check(
        "ps --node ./data",
        expect![[r#"
            69
              × No daemon answers at ./data.
              help: `whimbrel node start -d` starts one
        "#]],
    );
    case.check(
        "ps --node heron.example:7700",
        expect![[r#"
        69
          × heron.example:7700 is an address: a daemon is controlled from its own machine.
          help: log in there (ssh) and give its name, or ask any daemon of the same cluster
    "#]],
    );
}

#[test]
fn an_error_is_json_where_json_was_asked_for() {
    Case::new().check(
        "ps -o json",
        expect![[r#"
        69
        {"code":"no_daemon","message":"no daemon runs here"}
    "#]],
    );
}

#[test]
fn files_that_are_not_there() {
    let case = Case::new();
    case.check(
        "run app.wasm",
        expect![[r#"
        66
          × app.wasm: no such file or directory.
    "#]],
    );
    case.check(
        "thaw web.image",
        expect![[r#"
        66
          × web.image: no such file or directory.
    "#]],
    );
    case.check(
        "image show web.image",
        expect![[r#"
        66
          × web.image: no such file or directory.
    "#]],
    );
    case.check(
        "transform app.wasm -o out.wasm",
        expect![[r#"
        66
          × app.wasm: no such file or directory.
    "#]],
    );
}

#[test]
fn a_command_line_that_makes_no_sense() {
    let case = Case::new();
    case.check(
        "fly",
        expect![[r#"
        2
        error: unrecognized subcommand 'fly'

        Usage: whimbrel [OPTIONS] <COMMAND>

        For more information, try '--help'.
    "#]],
    );
    case.check(
        "run --memory much app.wasm",
        expect![[r#"
        2
        error: invalid value 'much' for '--memory <SIZE>': expected a size, as in 256M

        For more information, try '--help'.
    "#]],
    );
    case.check(
        "node start --name a/b",
        expect![[r#"
        64
          × `a/b` is no name for a node.
          help: up to 63 letters, digits, `-`, `_` and `.`, a letter or digit first
    "#]],
    );
}

#[test]
fn an_existing_file_is_never_frozen_into() {
    let case = Case::new();
    std::fs::write(case.path().join("web.image"), "precious").unwrap();
    case.check(
        "freeze web -o web.image",
        expect![[r#"
        73
          × web.image: file exists.
          help: choose another file: what is there may be the only copy of a process
    "#]],
    );
    assert_eq!(std::fs::read(case.path().join("web.image")).unwrap(), b"precious");
}

#[test]
fn a_program_that_is_none() {
    let case = Case::new();
    std::fs::write(case.path().join("text.wasm"), "not wasm").unwrap();
    case.check(
        "transform text.wasm -o out.wasm",
        expect![[r#"
        65
          × text.wasm: not a valid WebAssembly module: magic header not detected: bad magic number -
          │ expected=[ 0x0, 0x61, 0x73, 0x6d, ] actual=[ 0x6e, 0x6f, 0x74, 0x20, ] at byte 0x0.
          help: programs are WebAssembly modules: build with `--target wasm32-wasip1`
    "#]],
    );
    assert!(!case.path().join("out.wasm").exists());
}

#[test]
fn the_version_needs_no_daemon() {
    let case = Case::new();
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let output = Command::new(env!("CARGO_BIN_EXE_whimbrel"))
        .arg("version")
        .env_clear()
        .env("HOME", case.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("whimbrel {} ({target})\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_are_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_whimbrel"))
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("transform") && script.contains("stub-missing"), "{shell}");
    }
}

#[test]
fn a_group_of_two_talks_however_its_members_are_found() {
    let case = Case::new();
    let [ping, pong] = ["ping", "pong"].map(|name| programs::guest(name).unwrap());
    let group = format!("{} 100 || {}", ping.display(), pong.display());
    for way in ["directory", "update", "forwarding", "mailbox", "mailbox-pull", "adaptive"] {
        let (code, out) = case.run(&format!("run --locate {way} {group}"));
        // Two programs write to one terminal: whole lines, in an order of their own.
        let mut lines: Vec<&str> = out.lines().collect();
        assert_eq!(code, 0, "{way}: {out}");
        lines.sort_unstable();
        assert_eq!(lines.len(), 11, "{way}: {out}");
        assert!(lines.contains(&"100") && lines.contains(&"100 sent back"), "{way}: {out}");
    }
    case.check(
        &format!("run --locate mailbox@osprey {group}"),
        expect![[r#"
        68
          × No member is called `osprey`.
          help: `whimbrel nodes` lists the members
    "#]],
    );
    case.check(&format!("run --locate telepathy {group}"), expect![[r#"
        2
        error: invalid value 'telepathy' for '--locate <STRATEGY>': `telepathy` is no way to find a process: directory, update, forwarding, mailbox[@NODE], mailbox-pull[@NODE] or adaptive

        For more information, try '--help'.
    "#]]);
}
