//! `show [run|resume|plain] FILE`: prints a form of a module as text.

use transform::{Options, Polls, transform};

fn main() {
    let mut args = std::env::args().skip(1);
    let (form, path) = (args.next().expect("a form"), args.next().expect("a file"));
    let wasm = wat::parse_file(&path).expect("a module");
    let polls = if std::env::var_os("COUNTED").is_some() { Polls::Counted } else { Polls::Normal };
    let transformed = transform(&wasm, &Options { polls, ..Options::default() });
    let transformed = transformed.unwrap_or_else(|error| panic!("{error}"));
    let bytes = match form.as_str() {
        "run" => transformed.run,
        "resume" => transformed.resume,
        _ => wasm,
    };
    println!("{}", wasmprinter::print_bytes(bytes).expect("our own output"));
}
