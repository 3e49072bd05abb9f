//! Gives the transform a name of its own: a fingerprint of its sources.
//!
//! What is kept of transformed programs has to be made again when the transform changes. A version number would say so
//! only if nobody ever forgot to raise it.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

fn main() {
    println!("cargo::rerun-if-changed=src");
    let mut sources = Vec::new();
    collect(Path::new("src"), &mut sources);
    sources.sort();
    let mut hasher = DefaultHasher::new();
    for source in sources {
        let text =
            fs::read(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        (source, text).hash(&mut hasher);
    }
    println!("cargo::rustc-env=TRANSFORM_FINGERPRINT={:016x}", hasher.finish());
}

fn collect(directory: &Path, sources: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for path in entries.into_iter().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, sources);
        } else {
            sources.push(path);
        }
    }
}
