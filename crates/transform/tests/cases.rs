//! Every case under `tests/transform/` is frozen at every safepoint, at every third, and at every
//! hundredth, and must behave as the original.
//!
//! A case says what to call: `;; call NAME ARGUMENT…`, each argument as `i32:5` and so on.

mod harness;

use harness::Case;
use wasmtime::Val;

fn calls(text: &str) -> Vec<(String, Vec<Val>)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(";; call "));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next().expect("a name").to_owned();
            (name, words.map(argument).collect())
        })
        .collect()
}

fn argument(word: &str) -> Val {
    match word.split_once(':').expect("type:value") {
        ("i32", value) => Val::I32(value.parse().unwrap()),
        ("i64", value) => Val::I64(value.parse().unwrap()),
        ("f32", value) => Val::F32(value.parse::<f32>().unwrap().to_bits()),
        ("f64", value) => Val::F64(value.parse::<f64>().unwrap().to_bits()),
        (ty, _) => panic!("no such type: {ty}"),
    }
}

#[test]
fn cases_survive_every_freeze() {
    let engine = harness::engine();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/transform");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut failures = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "wat")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if std::env::var("CASE").is_ok_and(|only| !name.contains(&only)) {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let case = Case::new(&engine, &wasm).unwrap_or_else(|error| panic!("{name}: {error}"));
        if std::env::var_os("SHOW").is_some() {
            println!("{}", wasmprinter::print_bytes(&case.transformed.run).unwrap());
            println!("{}", wasmprinter::print_bytes(&case.transformed.resume).unwrap());
        }
        let calls = calls(&text);
        assert!(!calls.is_empty(), "{name} calls nothing");
        match case.compare(&calls, &[1, 2, 3, 7, 100]) {
            Ok(freezes) => {
                println!("{name}: {freezes} freezes");
                assert!(freezes > 0, "{name} was never frozen");
            }
            Err(difference) => failures.push(format!("{name}: {difference}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The frame of a leaf is written without a look at what room there is: it and its caller's, each of most of a page.
#[test]
fn large_frames_have_room() {
    const LOCALS: usize = 5_000;
    let locals = "i64 ".repeat(LOCALS);
    let each = |code: &dyn Fn(usize) -> String| (1..=LOCALS).map(code).collect::<String>();
    let set =
        each(&|local| format!("(local.set {local} (i64.add (i64.const {local}) (local.get 0)))"));
    let sum = each(&|local| format!("(local.set 0 (i64.xor (local.get 0) (local.get {local})))"));
    let text = format!(
        "(module
           (func $leaf (param i64) (result i64) (local {locals} i32) {set}
             (loop $round
               (local.set {count} (i32.add (local.get {count}) (i32.const 1)))
               (br_if $round (i32.lt_u (local.get {count}) (i32.wrap_i64 (local.get 0)))))
             {sum} (local.get 0))
           (func (export \"sum\") (param i64) (result i64) (local {locals}) {set}
             (local.set 0 (call $leaf (local.get 0)))
             {sum} (local.get 0)))",
        count = LOCALS + 1,
    );
    let case = Case::new(&harness::engine(), &wat::parse_str(text).unwrap()).unwrap();
    let freezes = case.compare(&[("sum".to_owned(), vec![Val::I64(5)])], &[1]).unwrap();
    assert!(freezes > 0, "it was never frozen");
}
