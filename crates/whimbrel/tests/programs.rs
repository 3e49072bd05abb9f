//! Real programs under `whimbrel run`, doing something real. Where npm has not brought them, this says
//! so and passes.

#[path = "documents/machine.rs"]
mod machine;

use machine::Machine;
use programs::{Program, Real};

fn present() -> Option<Real> {
    let real = programs::present();
    if real.is_none() {
        eprintln!("the real programs are not in the cache: `cargo xtask guests` brings them");
    }
    real
}

/// Runs a program with a directory of files that it knows as `/w`; returns what it says.
fn run(machine: &Machine, options: &[&str], program: &Program, args: &[&str]) -> String {
    let work = format!("{}::/w", machine.home().display());
    let mut words: Vec<String> = ["run", "--dir", &work].map(str::to_owned).to_vec();
    words.extend(options.iter().map(|word| (*word).to_owned()));
    for dir in &program.dirs {
        words.extend(["--dir".to_owned(), format!("{}::{}:ro", dir.host.display(), dir.guest)]);
    }
    for (name, value) in &program.env {
        words.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    words.extend([program.wasm.display().to_string(), "--".to_owned()]);
    words.extend(args.iter().map(|word| (*word).to_owned()));
    let output = machine.command(words.iter().map(String::as_str)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", program.wasm.display());
    String::from_utf8(output.stdout).unwrap()
}

fn with(files: &[(&str, &str)]) -> Machine {
    let machine = Machine::new("heron", &[]);
    for (name, text) in files {
        std::fs::write(machine.home().join(name), text).unwrap();
    }
    machine
}

#[test]
fn sqlite_answers_and_keeps_a_file() {
    let Some(real) = present() else { return };
    let machine = with(&[]);
    let made = "create table t(x); insert into t values(1),(2),(40);";
    run(&machine, &[], &real.sqlite(), &["/w/db", made]);
    let asked = "select sum(x), count(*) from t;";
    assert_eq!(run(&machine, &[], &real.sqlite(), &["/w/db", asked]), "43|3\n");
}

#[test]
fn quickjs_runs_with_stubs_and_names_what_is_missing_without() {
    let Some(real) = present() else { return };
    let script = "print([1, 2, 3].map(x => x * x).join(), JSON.stringify({ a: `${2n ** 70n}` }))";
    let machine = with(&[("a.js", script)]);
    let out = run(&machine, &["--stub-missing"], &real.quickjs(), &["/w/a.js"]);
    assert_eq!(out, "1,4,9 {\"a\":\"1180591620717411303424\"}\n");
    let wasm = real.quickjs().wasm;
    let said = machine.run(&format!("run {} -- -h", wasm.display()));
    assert_eq!(said.code, 65);
    assert!(said.err.contains("wasi_snapshot_preview1.sock_"), "{}", said.err);
    assert!(said.err.contains("--stub-missing"), "{}", said.err);
}

#[test]
#[ignore = "compiling Ruby, PHP and clang takes minutes"]
fn ruby_php_and_clang_do_their_work() {
    let Some(real) = present() else { return };
    let machine = with(&[
        ("a.php", "<?php echo array_sum([1, 2, 39]), \"\\n\"; "),
        ("a.c", "#include <stdio.h>\nint main(void) { puts(\"made by clang\"); return 0; }\n"),
    ]);
    let factorial = ["-e", "puts (1..20).inject(:*)"];
    assert_eq!(run(&machine, &[], &real.ruby(), &factorial), "2432902008176640000\n");
    assert_eq!(run(&machine, &[], &real.php(), &["-q", "/w/a.php"]), "42\n");
    let compile = "-cc1 -triple wasm32-unknown-wasi -emit-obj -O2 -isysroot /sys \
        -internal-isystem /sys/lib/clang/8.0.1/include -internal-isystem /sys/include \
        -o /w/a.o -x c /w/a.c";
    let compile: Vec<&str> = compile.split_whitespace().collect();
    run(&machine, &[], &real.clang(), &compile);
    let link = "--no-threads -z stack-size=1048576 -L/sys/lib/wasm32-wasi \
        /sys/lib/wasm32-wasi/crt1.o /w/a.o -lc -o /w/a.wasm";
    let link: Vec<&str> = link.split_whitespace().collect();
    run(&machine, &[], &real.wasm_ld(), &link);
    assert_eq!(machine.check("run a.wasm", 0), "made by clang\n");
}
