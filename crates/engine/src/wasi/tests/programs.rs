//! Programs run to their end: as they are, frozen and thawed before every call, and held.

use expect_test::{Expect, expect};

use super::harness::{Ended, Run, guest};

/// Runs a program in an empty directory, plain and freezing, and compares what it says.
fn check(run: impl Fn(&std::path::Path) -> Run, expected: Expect) -> Ended {
    let go = |freezes: bool| {
        let top = tempfile::tempdir().unwrap();
        let mut run = run(top.path());
        run.freezes = freezes;
        run.go()
    };
    let plain = go(false);
    expected.assert_eq(&format!("{}{}{:?}\n", plain.stdout, plain.stderr, plain.result));
    let frozen = go(true);
    assert_eq!(
        (&frozen.stdout, &frozen.stderr, &frozen.result),
        (&plain.stdout, &plain.stderr, &plain.result)
    );
    plain
}

fn data(wasm: Vec<u8>) -> impl Fn(&std::path::Path) -> Run {
    move |top| {
        for name in ["data", "lib"] {
            std::fs::create_dir(top.join(name)).unwrap();
        }
        std::fs::write(top.join("lib/book"), "read me").unwrap();
        Run::new(wasm.clone()).dir(&top.join("data"), "/data", false).dir(
            &top.join("lib"),
            "/lib",
            true,
        )
    }
}

#[test]
fn files() {
    check(
        data(guest("files")),
        expect![[r#"
        Ok("3\n4\n") at 10
        "99\n"
        4 bytes, Ok("0\n1\n")
        Some(AlreadyExists)
        one 0
        other 0
        one 1
        other 1
        one 2
        other 2
        after
        ["b/", "x", "y", "z"]
        Err(Uncategorized)
        false true
        /data/../etc/passwd: true
        /data/b/../../etc/passwd: true
        /etc/passwd: true
        /lib/../data: true
        Ok("read me")
        true
        true
        true
        true
        true
        true
        true
        done
        Ok(0)
    "#]],
    );
}

#[test]
fn process() {
    let wasm = guest("process");
    let run = |_: &std::path::Path| {
        Run::new(wasm.clone())
            .args(&["program", "-x", "fünf"])
            .env("COLOUR", "grün")
            .input("one\ntwo\nthree\nfour")
    };
    let ended = check(
        run,
        expect![[r#"
        ["program", "-x", "fünf"]
        Ok("grün") true
        ["one", "two"]
        "three\nfour"
        slept true
        wall true
        chance true
        0000.7
        heron
        3
        ["epoch", "group", "inbox", "link", "monitor", "node", "register", "self", "send", "trap_exit", "whereis"]
        to the other stream
        Ok(17)
    "#]],
    );
    assert_eq!(ended.waits, 1, "the sleep");
}

#[test]
fn previews() {
    check(
        data(guest("previews")),
        expect![[r#"
        seek 0 4
        seek 0 3
        seek 0 7
        seek 0 4
        seek 0 3
        seek 0 7
        seek 28 7
        seek 28 7
        seek 70 7
        stat (0, 0) type 4 4
        links 1 1, size 5 5
        true true
        poll 0 1 [77, 0, 0, 0] true
        poll 0 1 [78, 131072, 0, 0] false
        until 0 1 [77, 0, 0, 0] true
        until 0 1 [77, 0, 0, 0] false
        until 0 1 [77, 0, 0, 0] true
        until 0 1 [77, 0, 0, 0] false
        [".", "..", "a", "b", "c", "d"]
        Ok(0)
    "#]],
    );
}

#[test]
fn what_is_held_changes_nothing_until_it_is_released() {
    let top = tempfile::tempdir().unwrap();
    let ended = data(guest("files"))(top.path()).held().go();
    assert_eq!(ended.result, Ok(0));
    assert_eq!(ended.waits, 1, "the first call that would make a file");
    assert!(ended.stdout.ends_with("done\n"));
}

/// A program that calls what other hosts have, by a name that is ours but with other parameters.
const FOREIGN: &str = r#"(module
    (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (drop (call $open (i32.const 0) (i32.const 0) (i32.const 0)))
        (call $exit (i32.add
            (call $open (i32.const 0) (i32.const 0) (i32.const 0))
            (call $accept (i32.const 0) (i32.const 0))))))"#;

#[test]
fn what_is_not_there_is_named_or_a_stub() {
    let wasm = wat::parse_str(FOREIGN).unwrap();
    let module = wasmtime::Module::new(&wasmtime::Engine::default(), &wasm).unwrap();
    let missing = crate::wasi::missing_imports(&module);
    let named: Vec<_> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["wasi_snapshot_preview1.sock_open", "wasi_snapshot_preview1.sock_accept"]);
    assert_eq!(Run::new(wasm).stubs().go().result, Ok(52 + 52));
}

/// Reads a pointer from an address outside the memory, or writes to one.
fn fault(call: &str) -> Result<u32, String> {
    let wasm = wat::parse_str(format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get"
                (func $random_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_open" (func $path_open
                (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff"
                (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "\ff\ff\00\00\02\00\00\00")
            (func (export "_start") (call $exit {call})))"#
    ));
    Run::new(wasm.unwrap()).go().result
}

#[test]
fn addresses_outside_the_memory_are_faults() {
    const FAULT: Result<u32, String> = Ok(21);
    // A buffer that begins inside and ends outside; a list outside; a result outside.
    let write = |arguments: &str| fault(&format!("(call $fd_write (i32.const 1) {arguments})"));
    assert_eq!(write("(i32.const 16) (i32.const 1) (i32.const 0)"), FAULT);
    assert_eq!(write("(i32.const 65529) (i32.const 1) (i32.const 0)"), FAULT);
    assert_eq!(write("(i32.const -8) (i32.const 1) (i32.const 0)"), FAULT);
    assert_eq!(write("(i32.const 32) (i32.const -1) (i32.const 0)"), FAULT);
    assert_eq!(write("(i32.const 32) (i32.const 1) (i32.const 65533)"), FAULT);
    assert_eq!(fault("(call $random_get (i32.const 65535) (i32.const 2))"), FAULT);
    assert_eq!(fault("(call $random_get (i32.const 65536) (i32.const 0))"), Ok(0));
    let open = "(call $path_open (i32.const 3) (i32.const 0) (i32.const -1) (i32.const 2)
        (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0))";
    assert_eq!(fault(open), FAULT);
    let poll = |arguments: &str| fault(&format!("(call $poll_oneoff {arguments} (i32.const 0))"));
    assert_eq!(poll("(i32.const 65500) (i32.const 0) (i32.const 1)"), FAULT);
    assert_eq!(poll("(i32.const 0) (i32.const 65505) (i32.const 1)"), FAULT);
    assert_eq!(poll("(i32.const -48) (i32.const 0) (i32.const 2)"), FAULT);
}
