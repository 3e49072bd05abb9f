//! Programs as compilers emit them, frozen at every so many-th poll, print what they print unfrozen.
//!
//! They are our own guests, with what keeps them short. `PROGRAMS="a.wasm 3;b.wasm"` names others,
//! with arguments; `EVERY=1000` the polls between freezes.

mod harness;

use harness::{Host, Program};
use transform::{Options, Polls};
use wasmtime::{Engine, Module, Store};

/// Our guests, and how many polls go by between two freezes: there are tens to hundreds of freezes each.
const OURS: [(&str, u64); 8] = [
    ("fib", 5_003),
    ("sieve", 20_011),
    ("sha2", 1_009),
    ("sort", 5_003),
    ("hash_map", 1_009),
    ("formatting", 1_009),
    ("binary_trees 7", 211),
    ("fannkuch", 20_011),
];

fn freeze_at_every(engine: &Engine, path: &str, args: &[&str], every: u64) -> u64 {
    let args: Vec<String> = ["program"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
    let wasm = std::fs::read(path).unwrap();
    let original = Module::new(engine, &wasm).unwrap();
    let options = Options { polls: Polls::Counted, ..Options::default() };
    let transformed = transform::transform(&wasm, &options).unwrap();
    let run = Module::new(engine, &transformed.run).unwrap();
    let resume = Module::new(engine, &transformed.resume).unwrap();
    let world =
        |blocking| Store::new(engine, Host { args: args.clone(), blocking, ..Host::default() });
    let mut store = world(false);
    let plain = Program::plain(&mut store, &original, &transformed.sites);
    let result = plain.unwrap().unwrap().call(&mut store, "_start", &[]);
    let expected = (result.map_err(|error| harness::trap(&error)).err(), store.into_data().log);
    assert!(!expected.1.is_empty(), "{path} said nothing");
    let mut freezes = 0;
    for blocking in [false, true] {
        let mut store = world(blocking);
        let started =
            Program::start(&mut store, &original, &run, &resume, &transformed.sites, every);
        let mut frozen = started.unwrap().unwrap();
        let result = frozen.call(&mut store, "_start", &[]);
        let found = (result.map_err(|error| harness::trap(&error)).err(), store.into_data().log);
        println!("{path}: {} freezes of {} calls", frozen.freezes, found.1.len());
        assert_eq!(expected, found, "{path} every {every}, blocking {blocking}");
        freezes += frozen.freezes;
    }
    freezes
}

#[test]
fn programs_print_the_same_frozen() {
    let every = std::env::var("EVERY").ok().map(|text| text.parse::<u64>().unwrap());
    let engine = harness::engine();
    if let Ok(programs) = std::env::var("PROGRAMS") {
        for program in programs.split(';') {
            let words: Vec<&str> = program.split_whitespace().collect();
            freeze_at_every(&engine, words[0], &words[1..], every.unwrap_or(10_007));
        }
        return;
    }
    for (program, usual) in OURS {
        let words: Vec<&str> = program.split_whitespace().collect();
        let path = programs::guest(words[0]).unwrap();
        let every = every.unwrap_or(usual);
        let freezes = freeze_at_every(&engine, path.to_str().unwrap(), &words[1..], every);
        assert!(freezes > 10, "{program}: only {freezes} freezes");
    }
}
