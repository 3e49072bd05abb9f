//! `measure FILE.wasm…`: transforms, compiles, and prints counts, sizes and times beside the
//! plain module's.

use std::time::Instant;

use transform::Options;
use wasmtime::{Config, Engine};

fn engine() -> Engine {
    let mut config = Config::new();
    config
        .wasm_multi_memory(true)
        .wasm_threads(true)
        .wasm_exceptions(true)
        .cranelift_nan_canonicalization(true)
        .wasm_branch_hinting(std::env::var_os("NO_HINTS").is_none())
        .memory_guard_size(32 << 20);
    Engine::new(&config).expect("the configuration is valid")
}

/// Bytes of machine code in a compiled module.
fn text(elf: &[u8]) -> u64 {
    let word = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().unwrap());
    let half = |at: usize| u16::from_le_bytes(elf[at..at + 2].try_into().unwrap()) as usize;
    let (table, size, count, names) = (word(0x28) as usize, half(0x3a), half(0x3c), half(0x3e));
    let names = word(table + names * size + 0x18) as usize;
    (0..count)
        .map(|section| table + section * size)
        .filter(|&header| {
            let name = u32::from_le_bytes(elf[header..header + 4].try_into().unwrap()) as usize;
            elf[names + name..].starts_with(b".text\0")
        })
        .map(|header| word(header + 0x20))
        .sum()
}

fn main() {
    let engine = engine();
    for path in std::env::args().skip(1) {
        let wasm = std::fs::read(&path).expect("the file is there");
        let wasm = wat::parse_bytes(&wasm).expect("text or binary").into_owned();
        let start = Instant::now();
        let transformed = match transform::transform(&wasm, &Options::default()) {
            Ok(transformed) => transformed,
            Err(error) => {
                println!("{path}: {error}");
                continue;
            }
        };
        let took = start.elapsed();
        println!("{path}: transformed in {took:.2?}\n{}", transformed.report);
        println!("site table        {} bytes", transformed.sites.encode().len());
        if std::env::var_os("NO_COMPILE").is_some() {
            continue;
        }
        let mut base = (0, 0.0);
        for (form, bytes) in
            [("plain", &wasm), ("run", &transformed.run), ("resume", &transformed.resume)]
        {
            let start = Instant::now();
            let elf = engine.precompile_module(bytes).expect("it compiles");
            if let Some(directory) = std::env::var_os("DUMP") {
                let path = std::path::Path::new(&directory).join(format!("{form}.cwasm"));
                std::fs::write(path, &elf).expect("the directory can be written to");
            }
            let (size, time) = (text(&elf), start.elapsed().as_secs_f64());
            if base.0 == 0 {
                base = (size, time);
            }
            println!(
                "{form:6} code {size:10} ({:.2}) compiled in {time:.2} s ({:.2})",
                size as f64 / base.0 as f64,
                time / base.1
            );
        }
    }
}
