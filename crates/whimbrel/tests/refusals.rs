//! Bad input and bad luck, one by one: what the command says, with which code it exits, and that
//! nothing is lost by it. A process that keeps a journal runs at heron throughout.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::journal::Journal;
use common::{Daemon, Home, Said, Start};
use expect_test::{Expect, expect};
use wire::CodeHash;
use wire::image::{Decoder, Encoder, Head, ImageError, Kind, Record};

/// A cluster with a process that must come to no harm.
struct Case {
    home: Home,
    heron: Daemon,
    osprey: Daemon,
    journal: Journal,
    pid: String,
}

/// A program that waits for ever.
const IDLE: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (loop $for_ever (br $for_ever))))"#;

impl Case {
    fn new() -> Self {
        let home = Home::new();
        let heron = home.start("heron", &Start::default()).unwrap();
        let joining = Start { join: Some(home.token(&heron)), ..Start::default() };
        let osprey = home.start("osprey", &joining).unwrap();
        let journal = Journal::new(&home.path().join("journal"));
        let dir = format!("{}::/journal", home.path().join("journal").display());
        let guest = programs::guest("journal").unwrap();
        let words = ["--name", "witness", "--dir", &dir, guest.to_str().unwrap(), "--"];
        let pid = home.run(&heron, &[&words[..], &["/journal/journal", "0", "1000"]].concat());
        Self { home, heron, osprey, journal, pid }
    }

    /// Says words to heron, and compares exit code and words.
    fn check(&self, words: &[&str], expected: Expect) {
        self.compare(&self.home.say(&self.heron, words), expected);
    }

    fn compare(&self, said: &Said, expected: Expect) {
        let plain = |text: &str| {
            text.replace(&self.heron.address, "HERON")
                .replace(&self.osprey.address, "OSPREY")
                .replace(&*self.home.path().to_string_lossy(), "HOME")
        };
        // Process numbers, and places in images, which differ in length by what is in flight.
        let plain = |text: &str| {
            let numbered = [".image.", "record ", "at byte 0x", "ends early, after "];
            numbered.iter().fold(plain(text), |text, before| without_number(&text, before))
        };
        expected.assert_eq(&format!("{}\n{}{}", said.code, plain(&said.out), plain(&said.err)));
    }

    /// The process goes on where it was, the one copy of it.
    fn unharmed(&self) {
        let lines = self.journal.lines().len();
        self.journal.until(lines + 3, None).unwrap();
        self.journal.check().unwrap();
        assert_eq!(self.journal.lines().last().unwrap().node, "heron");
    }

    fn wat(&self, name: &str, text: &str) -> String {
        let path = self.home.file(name, wat::parse_str(text).unwrap());
        path.to_str().unwrap().to_owned()
    }

    /// An image of the process, that runs on.
    fn image(&self) -> (PathBuf, Vec<u8>) {
        let path = self.home.path().join("witness.image");
        let words = ["freeze", &self.pid, "--copy", "-o", path.to_str().unwrap()];
        let said = self.home.say(&self.heron, &words);
        assert_eq!(said.code, 0, "{said:?}");
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    }

    /// How many processes there are.
    fn count(&self) -> usize {
        let said = self.home.say(&self.heron, &["ps", "-o", "json"]);
        let reply: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        reply["processes"].as_array().unwrap().len()
    }
}

#[test]
fn programs_that_cannot_run() {
    let case = Case::new();
    let text = case.home.file("text.wasm", "not wasm");
    case.check(&["run", text.to_str().unwrap()], expect![[r#"
        65
          × Not a valid WebAssembly module: magic header not detected: bad magic number - expected=[ 0x0,
          │ 0x61, 0x73, 0x6d, ] actual=[ 0x6e, 0x6f, 0x74, 0x20, ] at byte 0xN.
          help: programs are WebAssembly modules: build with `--target wasm32-wasip1`
    "#]]);
    let shared = case.wat(
        "shared.wasm",
        r#"(module (memory (export "memory") 1 1 shared) (func (export "_start")))"#,
    );
    case.check(
        &["run", &shared],
        expect![[r#"
        65
          × Threads cannot be moved yet: byte 0x15.
          help: build without that feature; docs/cli.md lists what is supported
    "#]],
    );
    let missing = case.wat(
        "missing.wasm",
        r#"(module (import "env" "teleport" (func $t)) (memory (export "memory") 1)
             (func (export "_start") (call $t)))"#,
    );
    case.check(&["run", &missing], expect![[r#"
        65
          × Missing import: env.teleport is not offered here.
          help: with `--stub-missing`, given to `run` or to the daemon, unknown WASI functions answer
                ENOSYS
    "#]]);
    assert_eq!(case.count(), 1, "nothing was started");
    case.unharmed();
}

#[test]
fn images_that_are_none() {
    let case = Case::new();
    let (path, image) = case.image();
    let thaw = |name: &str, bytes: &[u8], expected: Expect| {
        let path = case.home.file(name, bytes);
        case.check(&["thaw", path.to_str().unwrap()], expected);
        assert_eq!(fs::read(&path).unwrap(), bytes, "the file is as it was");
    };
    thaw(
        "short.image",
        &image[..image.len() / 2],
        expect![[r#"
        65
          × The image ends early, after N bytes.
          help: freeze the process again, or use another copy of the file
    "#]],
    );
    thaw(
        "ends.image",
        &image[..image.len() - 1],
        expect![[r#"
        65
          × The image ends early, after N bytes.
          help: freeze the process again, or use another copy of the file
    "#]],
    );
    // In the middle of the memory.
    let mut flipped = image.clone();
    flipped[image.len() / 2] ^= 0x10;
    thaw(
        "flipped.image",
        &flipped,
        expect![[r#"
            65
              × Image record N at byte 0xN: damaged: its checksum differs.
              help: freeze the process again, or use another copy of the file
        "#]],
    );
    let mut newer = image.clone();
    newer[8..10].copy_from_slice(&10_u16.to_le_bytes());
    thaw(
        "newer.image",
        &newer,
        expect![[r#"
        65
          × Image of version 10, this program reads 9.
          help: thaw it with the release that wrote it, or a direct neighbour of it
    "#]],
    );
    thaw(
        "text.image",
        b"not an image at all",
        expect![[r#"
        65
          × These bytes are no image.
          help: freeze the process again, or use another copy of the file
    "#]],
    );
    // Whole and well-formed, but of a program that nobody has.
    thaw(
        "nowhere.image",
        &of_other_code(&image, CodeHash([7; 32])),
        expect![[r#"
        67
          × No node has the program 0707070707070707070707070707070707070707070707070707070707070707:
          │ upload it first.
    "#]],
    );

    assert_eq!(case.count(), 1, "nothing was started");
    case.unharmed();
    assert_eq!(fs::read(path).unwrap(), image, "the image is as it was");
}

/// The text with `N` for each number, decimal or hexadecimal, that comes right after some words.
fn without_number(text: &str, before: &str) -> String {
    let mut pieces = text.split(before);
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
        plain.push_str(before);
        plain.push_str(if rest.len() < piece.len() { "N" } else { "" });
        plain.push_str(rest);
    }
    plain
}

/// The image with another code's hash in its head, all checksums right.
fn of_other_code(image: &[u8], code: CodeHash) -> Vec<u8> {
    let mut forged = Vec::new();
    let mut encoder = Encoder::begin(&mut forged);
    let each = |record: Record<'_>| -> Result<(), ImageError> {
        match record.kind {
            Kind::End => {}
            Kind::Head => {
                // In an image the version stands once, in front, not in each record.
                let versioned = [&wire::encode(&())[..], record.content].concat();
                let head = Head { code, ..wire::decode(&versioned).unwrap() };
                encoder
                    .record(Kind::Head, &mut forged, |out| out.extend(&wire::encode(&head)[1..]));
            }
            kind => encoder.record(kind, &mut forged, |out| out.extend(record.content)),
        }
        Ok(())
    };
    let mut decoder = Decoder::default();
    decoder.push(image, each).unwrap();
    decoder.finish().unwrap();
    encoder.end(&mut forged);
    forged
}

#[test]
fn strangers_at_the_door() {
    let case = Case::new();
    let refused = |name: &str, start: &Start| match case.home.start(name, start) {
        Ok(_) => panic!("{name} was let in"),
        Err(said) => said,
    };
    let join = |join: (String, String)| Start { join: Some(join), ..Start::default() };
    let other = Home::new();
    let stranger = other.start("stranger", &Start::default()).unwrap();
    let (_, strange) = other.token(&stranger);
    // The token of another cluster: the member that answers is not of that one.
    let said = refused("curlew", &join((case.heron.address.clone(), strange)));
    case.compare(&said, expect![[r#"
        77
        {"code":"foreign_certificate","message":"HERON is not of the cluster that the token is for: invalid peer certificate: UnknownIssuer"}"#]]);
    let token = case.home.token(&case.heron);
    let curlew = case.home.start("curlew", &join(token.clone())).unwrap();
    let said = refused("godwit", &join(token));
    case.compare(
        &said,
        expect![[r#"
        77
        {"code":"bad_token","message":"the token is unknown, or was used before"}"#]],
    );
    let short = case.home.say(&case.heron, &["token", "create", "--quiet", "--for", "1ms"]);
    let said = refused("godwit", &join((case.heron.address.clone(), short.out.trim().to_owned())));
    case.compare(
        &said,
        expect![[r#"
        77
        {"code":"token_expired","message":"the token's time is over"}"#]],
    );
    let said = refused("godwit", &join((case.heron.address.clone(), "sesame".to_owned())));
    case.compare(&said, expect![[r#"
        77
        {"code":"bad_token","message":"a token looks like whimbrel1.CLUSTER.SECRET, as `whimbrel token create` prints it"}"#]]);
    // A member of one cluster does not become one of another.
    drop(stranger);
    let Err(mut said) = other.start("stranger", &join(case.home.token(&case.heron))) else {
        panic!("it has changed sides");
    };
    said.err = said.err.replace(&*other.path().to_string_lossy(), "OTHER");
    case.compare(&said, expect![[r#"
        77
        {"code":"foreign_certificate","message":"OTHER/state/stranger belongs to another cluster than the token"}"#]]);
    let taken = Start { listen: case.heron.address.clone(), ..Start::default() };
    let said = refused("godwit", &taken);
    case.compare(&said, expect![[r#"
        73
        {"code":"address_in_use","message":"cannot listen on HERON: Address already in use (os error 98)"}"#]]);
    case.unharmed();
    drop(curlew);
}

#[test]
fn targets_that_are_not_there() {
    let mut case = Case::new();
    case.check(
        &["move", "witness", "--to", "curlew"],
        expect![[r#"
        68
          × No member is called `curlew`.
          help: `whimbrel nodes` lists the members
    "#]],
    );
    case.osprey.kill();
    case.check(
        &["move", "witness", "--to", "osprey"],
        expect![[r#"
        69
          × Node osprey does not answer.
          help: `whimbrel nodes` shows who answers; if that machine is off for good: `whimbrel node forget
                NAME`
    "#]],
    );
    case.unharmed();
    // It says so itself while it is too early: five seconds have to pass without a word of it.
    let forget = || case.home.say(&case.heron, &["node", "forget", "osprey"]);
    let mut forgotten = forget();
    while forgotten.code == 75 {
        forgotten = forget();
    }
    assert_eq!(forgotten.code, 0, "{forgotten:?}");
    case.check(
        &["move", "witness", "--to", "osprey"],
        expect![[r#"
        68
          × No member is called `osprey`.
          help: `whimbrel nodes` lists the members
    "#]],
    );
    case.unharmed();
}

#[test]
fn a_node_that_starts_without_the_registry_says_so() {
    let mut case = Case::new();
    let listen = case.osprey.address.clone();
    case.osprey.kill();
    case.heron.kill();
    let again = Start { listen, ..Start::default() };
    case.osprey = case.home.start("osprey", &again).unwrap();
    // Heron is a member, and osprey has not heard of it.
    let said = case.home.say(&case.osprey, &["move", "witness", "--to", "heron"]);
    case.compare(
        &said,
        expect![[r#"
            69
              × Whether a member is called `heron` is not known: the registry's home does not answer.
              help: processes run on meanwhile; `whimbrel status` names the registry's home
        "#]],
    );
}

/// Its connections are open, and nothing comes.
#[test]
fn a_member_that_stands_still_keeps_nobody_waiting() {
    let case = Case::new();
    let joining = Start { join: Some(case.home.token(&case.heron)), ..Start::default() };
    let curlew = case.home.start("curlew", &joining).unwrap();
    curlew.signal(rustix::process::Signal::STOP);
    for (at, to) in [(&case.heron, "osprey"), (&case.heron, "heron"), (&case.osprey, "osprey")] {
        let said = case.home.say(at, &["move", &case.pid, "--to", to]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    let list = case.home.say(&case.heron, &["ps"]);
    assert!(list.out.contains(&case.pid) && list.err.contains("no answer from curlew"), "{list:?}");
    let said = case.home.say(&case.heron, &["kill", "witness"]);
    assert_eq!(said.code, 0, "{said:?}");
    curlew.signal(rustix::process::Signal::CONT);
}

#[test]
fn names_of_nothing_and_of_too_much() {
    let case = Case::new();
    for words in [&["move", "zzzz", "--to", "osprey"][..], &["kill", "zzzz"], &["logs", "zzzz"]] {
        case.check(
            words,
            expect![[r#"
            67
              × No process or group is called `zzzz`.
              help: `whimbrel ps --all` lists the processes
        "#]],
        );
    }
    let idle = case.wat("idle.wasm", IDLE);
    let other = case.home.run(&case.heron, &[&idle]);
    let same = case.pid.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    let prefix: String = same.map(|(a, _)| a).collect();
    case.check(
        &["move", &prefix, "--to", "osprey"],
        expect![[r#"
        64
          × `000` may be any of 0001, 0002.
          help: type more of the id
    "#]],
    );
    case.check(
        &["kill", &prefix],
        expect![[r#"
        64
          × `000` may be any of 0001, 0002.
          help: type more of the id
    "#]],
    );
    assert_eq!(case.count(), 2, "nothing was ended");
    case.unharmed();
}

/// Where files are small; none if this user may not make such a place.
fn small_disk(disk: &Path, size: &str) -> Option<Vec<String>> {
    let mount =
        format!("mount -t tmpfs -o size={size} tmpfs {} && exec \"$0\" \"$@\"", disk.display());
    for rights in [&["-m"][..], &["-r", "-m"]] {
        let by: Vec<String> = ["unshare"]
            .iter()
            .chain(rights)
            .chain(&["sh", "-c", &mount])
            .map(|word| (*word).to_owned())
            .collect();
        let tried = Command::new(&by[0]).args(&by[1..]).arg("true").output();
        if tried.is_ok_and(|output| output.status.success()) {
            return Some(by);
        }
    }
    None
}

#[test]
fn a_full_disk() {
    let case = Case::new();
    let disk = case.home.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let (Some(tiny), Some(by)) = (small_disk(&disk, "8k"), small_disk(&disk, "256k")) else {
        println!("skipped: this user may not mount a small disk");
        return;
    };
    // The command's own disk: the process is not in the file, and runs on.
    let file = disk.join("witness.image");
    let words = ["freeze", &case.pid, "-o", file.to_str().unwrap()];
    case.compare(
        &case.home.say_by(&tiny, &case.heron, &words),
        expect![[r#"
            73
              × HOME/disk/witness.image.N.partial: no space left on device.
              help: make room there, then try again
        "#]],
    );
    case.unharmed();
    // A daemon's: it does not start.
    let on_it = |name: &str| Start {
        by: by.clone(),
        data: Some(disk.join(name)),
        cache: Some(disk.join("cache")),
        join: Some(case.home.token(&case.heron)),
        ..Start::default()
    };
    // The target's: what it cannot keep, it does without, and says so.
    let mut curlew = case.home.start("curlew", &on_it("curlew")).unwrap();
    let moved = case.home.say(&case.heron, &["move", &case.pid, "--to", "curlew"]);
    assert_eq!(moved.code, 0, "{moved:?}");
    curlew.until(|line| line.contains("is not kept") && line.contains("No space left")).unwrap();
    let back = case.home.say(&case.heron, &["move", &case.pid, "--to", "heron"]);
    assert_eq!(back.code, 0, "{back:?}");
    case.unharmed();
}
