//! What is saved and restored, and what is refused, without a program.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use crate::wasi::abi::{Errno, FdFlags, Rights};
use crate::wasi::table::{Descriptor, File, MountIndex, Object};
use crate::wasi::{Arrival, Error, Wasi, beneath, check};
use crate::{Dir, Setup};

/// A process with one directory, `/data`.
fn process(host: &Path) -> Wasi {
    let dirs = vec![Dir { host: host.into(), guest: "/data".into(), read_only: false }];
    Wasi::new(&Setup { dirs, ..Setup::default() }).unwrap()
}

/// Opens a file in it, as `path_open` would.
fn open(wasi: &mut Wasi, path: &str) -> u32 {
    let mount = MountIndex(0);
    let (flags, mode) = (OFlags::RDWR | OFlags::CREATE, Mode::RUSR | Mode::WUSR);
    let handle = beneath::open(wasi.mount(mount).root.as_fd(), path, flags, mode, true).unwrap();
    let file = File { mount, path: path.into(), handle, offset: 5 };
    wasi.table.open(Descriptor::new(Object::File(file))).unwrap()
}

fn thaw(bytes: &[u8]) -> Result<Wasi, Error> {
    Wasi::restore(bytes, &Arrival::default())
}

fn refusal<T>(result: Result<T, Error>) -> String {
    result.err().expect("refused").to_string()
}

#[test]
fn descriptors_keep_their_numbers_offsets_and_rights() {
    let top = tempfile::tempdir().unwrap();
    let mut wasi = process(top.path());
    let (first, second) = (open(&mut wasi, "first"), open(&mut wasi, "second"));
    assert_eq!((first, second), (5, 6), "after the streams, the directory and /whimbrel");
    wasi.table.take(first).unwrap();
    let descriptor = wasi.table.at_mut(second).unwrap();
    descriptor.rights = Rights::READ;
    descriptor.flags = FdFlags::APPEND;

    let mut thawed = thaw(&wasi.save().unwrap()).unwrap();
    assert_eq!(thawed.table.at(first).err(), Some(Errno::BadDescriptor));
    let descriptor = thawed.table.at(second).unwrap();
    assert_eq!((descriptor.rights, descriptor.flags), (Rights::READ, FdFlags::APPEND));
    assert_eq!(descriptor.file().unwrap().offset, 5);
    let flags = rustix::fs::fcntl_getfl(&descriptor.file().unwrap().handle).unwrap();
    assert!(flags.contains(OFlags::RDWR | OFlags::APPEND));
    assert_eq!(open(&mut thawed, "third"), first, "the lowest number that is free");
}

#[test]
fn a_file_renamed_while_open_is_found() {
    let top = tempfile::tempdir().unwrap();
    let mut wasi = process(top.path());
    std::fs::create_dir(top.path().join("dir")).unwrap();
    let fd = open(&mut wasi, "dir/file");
    std::fs::rename(top.path().join("dir"), top.path().join("other")).unwrap();
    let thawed = thaw(&wasi.save().unwrap()).unwrap();
    assert_eq!(thawed.table.at(fd).unwrap().file().unwrap().path, "other/file");
}

#[test]
fn what_cannot_come_along_is_named() {
    let top = tempfile::tempdir().unwrap();
    let mut wasi = process(top.path());
    open(&mut wasi, "file");
    let saved = wasi.save().unwrap();

    std::fs::rename(top.path().join("file"), top.path().join("kept")).unwrap();
    let reason = "file /data/file, open as descriptor 5, cannot be opened here: \
                  no such file or directory";
    assert_eq!(refusal(thaw(&saved)), reason);

    std::fs::create_dir(top.path().join("file")).unwrap();
    assert!(refusal(thaw(&saved)).ends_with("is a directory"));

    std::fs::remove_file(top.path().join("kept")).unwrap();
    let reason = "file /data/file, open as descriptor 5, was removed while open, so that no other node could open \
                  it: the process can be moved or frozen when it has closed that file";
    assert_eq!(refusal(wasi.save()), reason);
}

#[test]
fn a_directory_that_is_missing_is_named_and_can_be_bound_elsewhere() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut wasi = process(here.path());
    let fd = open(&mut wasi, "file");
    let saved = wasi.save().unwrap();
    let dirs: Vec<_> = wasi.dirs().cloned().collect();
    check(&dirs).unwrap();
    let path = here.path().to_owned();
    here.close().unwrap();

    let missing = format!("directory {} (the process's /data) cannot", path.display());
    assert!(refusal(check(&dirs)).starts_with(&missing));
    assert!(refusal(thaw(&saved)).starts_with(&missing));

    std::fs::write(there.path().join("file"), "there").unwrap();
    let rebind = vec![("/data".into(), there.path().to_owned())];
    let thawed = Wasi::restore(&saved, &Arrival { rebind, ..Arrival::default() }).unwrap();
    let file = thawed.table.at(fd).unwrap().file().unwrap();
    assert_eq!(crate::wasi::stream::size(&file.handle), Ok(5));
    assert_eq!(thawed.dirs().next().unwrap().host, there.path());
}

#[test]
fn the_clock_counts_while_frozen_and_never_goes_back() {
    let wasi = process(Path::new("/"));
    let before = wasi.clock.now();
    let saved = wasi.save().unwrap();
    let later = |frozen_for| {
        let thawed = Wasi::restore(&saved, &Arrival { frozen_for, ..Arrival::default() }).unwrap();
        Duration::from_nanos(thawed.clock.now().0 - before.0)
    };
    let day = Duration::from_secs(86_400);
    assert!(later(Some(day)) >= day && later(Some(day)) < 2 * day);
    assert!(later(Some(Duration::ZERO)) < day);
    assert!(later(None) < day, "by the wall clock");
    assert!(later(Some(Duration::MAX)) > day, "however long");
}

/// Every prefix and many corruptions of a saved state: an error or a state, never a panic, and no
/// way out of the directory.
#[test]
fn hostile_bytes_are_refused() {
    let top = tempfile::tempdir().unwrap();
    let mut wasi = process(top.path());
    open(&mut wasi, "file");
    let saved = wasi.save().unwrap();
    for length in 0..saved.len() {
        assert!(thaw(&saved[..length]).is_err(), "{length} bytes of {}", saved.len());
    }
    assert_eq!(refusal(thaw(&[9])), "saved WASI state: written by another version");
    let mut refused = 0;
    for at in 0..saved.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, saved[at] ^ 1, saved[at] ^ 0x80] {
            let mut bytes = saved.clone();
            bytes[at] = value;
            refused += usize::from(thaw(&bytes).is_err());
        }
    }
    assert!(refused > saved.len(), "most corruptions are seen");

    let path = saved.windows(4).position(|bytes| bytes == b"file").unwrap();
    let mut outside = saved;
    outside[path..path + 4].copy_from_slice(b"../x");
    assert!(refusal(thaw(&outside)).ends_with("not permitted"));
}
