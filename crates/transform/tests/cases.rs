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
