//! The two streams of the command, and the shapes of its own errors.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use api::{Error, ErrorCode};
use serde::Serialize;

/// Prints a line of what was asked for. A reader that has gone away (`| head`) is no error.
pub(crate) fn out(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Prints a reply as JSON, on one line if it is one of several.
pub(crate) fn json<T: Serialize>(value: &T) {
    out(&serde_json::to_string_pretty(value).expect("our types are JSON"));
}

/// Prints an event as one line of JSON.
pub(crate) fn json_line<T: Serialize>(value: &T) {
    out(&serde_json::to_string(value).expect("our types are JSON"));
}

/// Says something beside what was asked for.
pub(crate) fn aside(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Whether standard output takes colour.
pub(crate) fn color_out() -> bool {
    io::stdout().is_terminal() && wanted()
}

/// Whether standard error takes colour.
pub(crate) fn color_err() -> bool {
    io::stderr().is_terminal() && wanted()
}

/// <https://no-color.org>: set and not empty means none.
fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// An error of the system, at something.
pub(crate) fn io(what: &str, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::DiskFull,
        io::ErrorKind::AlreadyExists => ErrorCode::Exists,
        _ => ErrorCode::Io,
    };
    Error::new(code, format!("{what}: {}", reason(error)))
}

/// A file that was to be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorCode::NoInput, format!("{}: {}", path.display(), reason(error)))
}

/// The system's reason without Rust's `(os error 2)`, lower-case.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        // `I/O error` stays as it is.
        Some(first)
            if !chars.clone().next().is_some_and(|char| char.is_uppercase() || char == '/') =>
        {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}
