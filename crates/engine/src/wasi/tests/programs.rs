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
    check(data(guest("files")), expect![[r#""#]]);
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
    let ended = check(run, expect![[r#""#]]);
    assert_eq!(ended.waits, 1, "the sleep");
}

#[test]
fn previews() {
    check(data(guest("previews")), expect![[r#""#]]);
}

#[test]
fn what_is_held_changes_nothing_until_it_is_released() {
    let top = tempfile::tempdir().unwrap();
    let ended = data(guest("files"))(top.path()).held().go();
    assert_eq!(ended.result, Ok(0));
    assert_eq!(ended.waits, 1, "the first call that would make a file");
    assert!(ended.stdout.ends_with("done\n"));
}
