//! Programs as compilers emit them, frozen at every so many-th poll, print what they print unfrozen.
//!
//! They are given by the environment, because their sources live elsewhere in the workspace:
//! `PROGRAMS="a.wasm 3;b.wasm"` with arguments, `EVERY=1000` polls between freezes.

mod harness;

use harness::{Host, Program};
use transform::Options;
use transform::Polls;
use wasmtime::{Module, Store};

#[test]
#[ignore = "its programs are given by PROGRAMS; without them it would pass and prove nothing"]
fn programs_print_the_same_frozen() {
    let programs = std::env::var("PROGRAMS").expect("PROGRAMS names the programs");
    let every = std::env::var("EVERY").map_or(10_007, |text| text.parse().unwrap());
    let engine = harness::engine();
    for program in programs.split(';') {
        let mut words = program.split_whitespace().map(str::to_owned);
        let path = words.next().unwrap();
        let args: Vec<String> = ["program".to_owned()].into_iter().chain(words).collect();
        let wasm = std::fs::read(&path).unwrap();
        let original = Module::new(&engine, &wasm).unwrap();
        let options = Options { polls: Polls::Counted, ..Options::default() };
        let transformed = transform::transform(&wasm, &options).unwrap();
        let run = Module::new(&engine, &transformed.run).unwrap();
        let resume = Module::new(&engine, &transformed.resume).unwrap();
        let world = |blocking| {
            Store::new(&engine, Host { args: args.clone(), blocking, ..Host::default() })
        };
        let mut store = world(false);
        let plain = Program::plain(&mut store, &original, &transformed.sites);
        let result = plain.unwrap().unwrap().call(&mut store, "_start", &[]);
        let expected = (result.map_err(|error| harness::trap(&error)).err(), store.into_data().log);
        for blocking in [false, true] {
            let mut store = world(blocking);
            let started =
                Program::start(&mut store, &original, &run, &resume, &transformed.sites, every);
            let mut frozen = started.unwrap().unwrap();
            let result = frozen.call(&mut store, "_start", &[]);
            let found =
                (result.map_err(|error| harness::trap(&error)).err(), store.into_data().log);
            println!("{path}: {} freezes, {found:?}", frozen.freezes);
            assert_eq!(expected, found, "{path} every {every}, blocking {blocking}");
        }
    }
}
