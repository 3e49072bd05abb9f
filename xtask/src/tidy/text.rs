//! Every file: its type, its words, where it is `unsafe`.

use super::{SourceFile, Tree};

/// File types that have a place here. A new one is a decision, not an accident.
const TYPES: [&str; 14] = [
    "rs", "toml", "lock", "md", "wat", "wast", "witx", "py", "sql", "trycmd", "snap", "js", "txt",
    "erl",
];

/// Files that have no type but a name.
const NAMES: [&str; 5] =
    [".gitignore", ".gitattributes", "LICENSE-APACHE", "LICENSE-MIT", ".ci/run"];

/// The only files that may be `unsafe`, and clippy sees to a reason at each place.
const UNSAFE: [&str; 2] = ["crates/engine/src/raw", "crates/guest/src/sys.rs"];

/// Words that are for a working tree, not for a repository. Written in halves, or this file would be a finding.
const UNFINISHED: [&str; 4] = [
    concat!("db", "g!("),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
];

/// Places that mean something on one machine only, and hosts that a package manager knows by itself.
const PLACES: [&str; 6] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("npm", "js.org"),
    concat!("npm", "js.com"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
];

pub(super) fn check(tree: &Tree, findings: &mut Vec<String>) {
    for file in &tree.files {
        if !has_known_type(file) {
            findings.push(format!("{}: a file type that is not listed in xtask's tidy", file.path));
        }
        let Some((path, text)) = file.read() else { continue };
        if file.is("lock") {
            continue;
        }
        lines(path, text, &PLACES, "names a place that others do not have", findings);
        if file.is("rs") {
            lines(path, text, &UNFINISHED, "is unfinished", findings);
            check_rust(path, text, findings);
        }
    }
}

fn has_known_type(file: &SourceFile) -> bool {
    NAMES.contains(&file.path.as_str()) || TYPES.iter().any(|known| file.is(known))
}

/// A finding for each line that holds one of `words`.
fn lines(path: &str, text: &str, words: &[&str], what: &str, findings: &mut Vec<String>) {
    for (index, line) in text.lines().enumerate() {
        for word in words.iter().filter(|word| line.contains(**word)) {
            findings.push(format!("{path}:{}: `{word}` {what}", index + 1));
        }
    }
}

fn check_rust(path: &str, text: &str, findings: &mut Vec<String>) {
    if !text.starts_with("//!") {
        findings.push(format!("{path}:1: a file opens with `//!` and says why it exists"));
    }
    // A guest's unsafety is its own: it runs in a sandbox.
    if UNSAFE.iter().any(|place| path.starts_with(place)) || path.contains("/guests/") {
        return;
    }
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let opens = ["{", "fn ", "impl ", "extern "]
            .iter()
            .any(|next| code.contains(&format!("{} {next}", "unsafe")));
        if opens {
            let places = UNSAFE.join("` or `");
            findings.push(format!("{path}:{}: unsafe code belongs in `{places}`", index + 1));
        }
    }
}
