//! A site table and frames from outside: the body of the test and of the fuzz target.

#![allow(dead_code, reason = "each of those who include this uses another part")]

use transform::{Options, Sites};

/// How far some bytes came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) decoded: bool,
    pub(crate) framed: bool,
}

/// A good table, to be damaged.
pub(crate) fn example() -> Vec<u8> {
    const CASE: &str = include_str!("../../../../tests/transform/indirect.wat");
    let wasm = wat::parse_str(CASE).unwrap();
    transform::transform(&wasm, &Options::default()).unwrap().sites.encode()
}

/// A stack of a few frames: small words, as their headers are.
pub(crate) fn frames(next: &mut dyn FnMut() -> u64) -> Vec<u8> {
    let words = next() % 24;
    (0..words).flat_map(|_| ((next() >> 20) as u32 % 12).to_le_bytes()).collect()
}

/// Decodes a table; checks that it is one, and frames against it.
pub(crate) fn check(table: &[u8], frames: &[u8]) -> Result<Found, String> {
    let Ok(sites) = Sites::decode(table) else {
        return Ok(Found { decoded: false, framed: false });
    };
    let again = sites.encode();
    if again.len() > table.len() {
        return Err(format!("{} bytes became {}", table.len(), again.len()));
    }
    if Sites::decode(&again).as_ref() != Ok(&sites) {
        return Err("what is written is not what was read".to_owned());
    }
    let checked = sites.check_frames(frames, 1);
    if let Ok(frames) = &checked {
        for frame in frames {
            _ = sites.function_name(frame.function);
            _ = sites.enters(frame.function, frame.function);
        }
    }
    Ok(Found { decoded: true, framed: checked.is_ok() })
}
