//! An error at the edge: one sentence, a hint, and the code that the process exits with.

use std::fmt;

use api::Error;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, ReportHandler};

use crate::{Format, say};

/// An error as miette shows it.
#[derive(Debug)]
struct Shown<'a>(&'a Error);

struct Rendered<'a> {
    error: &'a Error,
    theme: GraphicalTheme,
}

/// Says on standard error what went wrong, as JSON if that is what was asked for.
pub(crate) fn show(error: &Error, format: Format) {
    match format {
        Format::Json => say::aside(&serde_json::to_string(error).expect("our types are JSON")),
        Format::Table => say::aside(&render(error, say::color_err())),
    }
}

fn render(error: &Error, color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    Rendered { error, theme }.to_string().trim_end().to_owned()
}

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        GraphicalReportHandler::new_themed(self.theme.clone())
            .with_width(100)
            .debug(&Shown(self.error), f)
    }
}

impl fmt::Display for Shown<'_> {
    /// One sentence, on one line: a capital, unless it begins with a path or a quotation, and a full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = without_numbers(&self.0.message);
        let words: Vec<&str> = message.split_whitespace().collect();
        let text = words.join(" ");
        let file = words.first().is_some_and(|word| word.contains(['.', '/', '_']));
        let mut chars = text.chars();
        match chars.next() {
            Some(first) if !file => write!(f, "{}{}", first.to_uppercase(), chars.as_str())?,
            _ => f.write_str(&text)?,
        }
        f.write_str(if text.ends_with(['.', '?', '!']) { "" } else { "." })
    }
}

/// A message without what Rust adds to the system's words, `(os error 2)`.
fn without_numbers(message: &str) -> String {
    const MARK: &str = " (os error ";
    let mut parts = message.split(MARK);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.push_str(rest);
            }
            _ => text = text + MARK + part,
        }
    }
    text
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.shown_hint().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }
}

#[cfg(test)]
mod tests {
    use api::ErrorCode;
    use expect_test::{Expect, expect};

    use super::*;

    fn check(error: Error, expected: Expect) {
        // An expectation cannot hold a margin that all of its lines have.
        let text = render(&error, false);
        let lines = text.lines().map(|line| line.strip_prefix("  ").unwrap_or(line));
        expected.assert_eq(&lines.map(|line| format!("{line}\n")).collect::<String>());
    }

    #[test]
    fn an_error_is_a_sentence_and_a_hint() {
        check(
            Error::new(ErrorCode::UnknownNode, "no member is called `osprey`"),
            expect![[r#"
                  × No member is called `osprey`.
                  help: `whimbrel nodes` lists the members
            "#]],
        );
        check(
            Error::new(ErrorCode::NoInput, "app.wasm: no such file or directory"),
            expect![[r#"
                  × app.wasm: no such file or directory.
            "#]],
        );
        check(
            Error::new(ErrorCode::Io, "a: No such file (os error 2), and b (os error x)"),
            expect![[r#"
                  × A: No such file, and b (os error x).
            "#]],
        );
        check(
            Error::new(ErrorCode::Refused, "the target lacks `/data`:\n  not there")
                .with_hint("make it there"),
            expect![[r#"
                  × The target lacks `/data`: not there.
                  help: make it there
            "#]],
        );
    }
}
