//! Everything that a program does with files, in the words of a standard library. Says what it
//! finds; runs in an empty directory `/data`, beside a read-only `/lib` that holds `book`.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};

fn main() {
    make_and_read();
    append_to_a_journal();
    list_rename_remove();
    stay_inside();
    leave_what_is_read_only();
    println!("done");
}

fn make_and_read() {
    let mut file = OpenOptions::new()
        .create_new(true)
        .read(true)
        .write(true)
        .open("/data/numbers")
        .unwrap();
    for number in 0..100 {
        writeln!(file, "{number}").unwrap();
    }
    file.seek(SeekFrom::Start(6)).unwrap();
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes).unwrap();
    println!("{:?} at {}", std::str::from_utf8(&bytes), file.stream_position().unwrap());
    file.seek(SeekFrom::End(-3)).unwrap();
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    println!("{rest:?}");
    file.set_len(4).unwrap();
    file.sync_all().unwrap();
    let metadata = fs::metadata("/data/numbers").unwrap();
    println!("{} bytes, {:?}", metadata.len(), fs::read_to_string("/data/numbers"));
    let again = OpenOptions::new().create_new(true).write(true).open("/data/numbers");
    println!("{:?}", again.map_err(|error| error.kind()).err());
}

fn append_to_a_journal() {
    let mut journal = OpenOptions::new().append(true).create(true).open("/data/journal").unwrap();
    let mut other = OpenOptions::new().append(true).open("/data/journal").unwrap();
    for round in 0..3 {
        journal.write_all(format!("one {round}\n").as_bytes()).unwrap();
        other.write_all(format!("other {round}\n").as_bytes()).unwrap();
    }
    // What is open stays open under its new name.
    fs::rename("/data/journal", "/data/old").unwrap();
    journal.write_all(b"after\n").unwrap();
    print!("{}", fs::read_to_string("/data/old").unwrap());
}

fn list_rename_remove() {
    fs::create_dir_all("/data/a/b").unwrap();
    for name in ["x", "y", "z"] {
        File::create(format!("/data/a/{name}")).unwrap();
    }
    let mut names = vec![];
    for entry in fs::read_dir("/data/a").unwrap() {
        let entry = entry.unwrap();
        let kind = if entry.file_type().unwrap().is_dir() { "/" } else { "" };
        names.push(format!("{}{kind}", entry.file_name().to_str().unwrap()));
    }
    println!("{names:?}");
    fs::rename("/data/a/b", "/data/b").unwrap();
    fs::hard_link("/data/a/x", "/data/b/x").unwrap();
    fs::remove_file("/data/a/x").unwrap();
    println!("{:?}", fs::remove_dir("/data/a").map_err(|error| error.kind()));
    fs::remove_dir_all("/data/a").unwrap();
    println!("{} {}", fs::exists("/data/a").unwrap(), fs::exists("/data/b/x").unwrap());
}

fn stay_inside() {
    for path in ["/data/../etc/passwd", "/data/b/../../etc/passwd", "/etc/passwd", "/lib/../data"] {
        println!("{path}: {}", File::open(path).is_err());
    }
}

fn leave_what_is_read_only() {
    println!("{:?}", fs::read_to_string("/lib/book"));
    let kind = |result: std::io::Result<()>| result.map_err(|error| error.kind()).err();
    for found in [
        kind(fs::write("/lib/book", "x")),
        kind(fs::write("/lib/new", "x")),
        kind(fs::create_dir("/lib/new")),
        kind(fs::remove_file("/lib/book")),
        kind(fs::rename("/lib/book", "/data/book")),
        kind(fs::hard_link("/lib/book", "/data/book")),
        kind(fs::write("/whimbrel/self", "x")),
    ] {
        println!("{}", found == Some(ErrorKind::ReadOnlyFilesystem));
    }
}
