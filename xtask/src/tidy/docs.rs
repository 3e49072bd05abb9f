//! What the documents claim exists: files, types, commands.

use std::collections::BTreeSet;

use super::Tree;

/// Directories that a path in a document may begin with.
const ROOTS: [&str; 9] =
    ["crates/", "docs/", "tests/", "guests/", "bench/", "xtask/", "fuzz/", "examples/", ".ci/"];

pub(super) fn check(tree: &Tree, findings: &mut Vec<String>) {
    let commands = commands(tree);
    for file in tree.files.iter().filter(|file| file.is("md")) {
        let Some((path, text)) = file.read() else { continue };
        let mut fenced = false;
        for (index, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", index + 1);
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if fenced {
                check_command(&commands, line, &place, findings);
            } else {
                check_links(tree, path, line, &place, findings);
                check_spans(tree, line, &place, findings);
            }
        }
    }
}

/// Links to files, relative to the document.
fn check_links(tree: &Tree, path: &str, line: &str, place: &str, findings: &mut Vec<String>) {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let target = link.split('#').next().unwrap_or_default();
        if target.is_empty() || target.contains("://") {
            continue;
        }
        if !tree.has(&joined(directory, target)) {
            findings.push(format!("{place}: the link to {target} leads nowhere"));
        }
    }
}

/// `directory` with `target` appended, `..` and `.` taken out.
fn joined(directory: &str, target: &str) -> String {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Words in backquotes that are paths or names of ours.
fn check_spans(tree: &Tree, line: &str, place: &str, findings: &mut Vec<String>) {
    for span in line.split('`').skip(1).step_by(2) {
        let is_path = ROOTS.iter().any(|root| span.starts_with(root))
            && !span.contains([' ', '*', '<', '{', '…']);
        if is_path && !tree.has(span) {
            findings.push(format!("{place}: there is no {span}"));
        }
        if let Some((first, last)) = item(span)
            && tree.has(&format!("crates/{first}/src"))
            && !is_in(tree, &format!("crates/{first}/"), last)
        {
            findings.push(format!("{place}: the crate {first} has no {last}"));
        }
    }
}

/// The first and last part of `transform::abi::LOOP`; nothing of what is no such path.
fn item(span: &str) -> Option<(&str, &str)> {
    let (first, last) = (span.split("::").next()?, span.rsplit("::").next()?);
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    (span.contains("::") && span.split("::").all(is_word)).then_some((first, last))
}

/// Whether a name stands in the sources below a directory, as a word or as a file.
fn is_in(tree: &Tree, below: &str, name: &str) -> bool {
    let boundary = |letter: Option<char>| {
        letter.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_')
    };
    tree.rust(below).any(|(path, text)| {
        path.ends_with(&format!("/{name}.rs"))
            || text.match_indices(name).any(|(at, _)| {
                boundary(text[..at].chars().next_back())
                    && boundary(text[at + name.len()..].chars().next())
            })
    })
}

/// The first words that our two commands know, as their own help has them.
struct Commands {
    whimbrel: BTreeSet<String>,
    xtask: BTreeSet<String>,
}

fn commands(tree: &Tree) -> Commands {
    let text = |path: &str| {
        tree.files.iter().find(|file| file.path == path).and_then(|file| file.text.clone())
    };
    // The snapshot of `whimbrel --help`, which a test keeps true.
    let help = text("crates/cli/tests/help/whimbrel.txt").unwrap_or_default();
    let whimbrel = help.lines().filter(|line| line.starts_with("  ")).filter_map(first_word);
    let usage = text("xtask/src/main.rs").unwrap_or_default();
    let xtask = usage.lines().filter(|line| line.starts_with("  ")).filter_map(first_word);
    Commands { whimbrel: whimbrel.collect(), xtask: xtask.collect() }
}

fn first_word(text: &str) -> Option<String> {
    text.split_whitespace().next().map(str::to_owned)
}

/// A command shown in a document is one that exists.
fn check_command(commands: &Commands, line: &str, place: &str, findings: &mut Vec<String>) {
    let line = line.trim_start().trim_start_matches("$ ");
    let cases = [
        ("whimbrel ", &commands.whimbrel),
        ("cargo run --release -- ", &commands.whimbrel),
        ("cargo xtask ", &commands.xtask),
    ];
    for (prefix, known) in cases {
        let Some(word) = line.strip_prefix(prefix).and_then(first_word) else { continue };
        if word.starts_with(|letter: char| letter.is_ascii_lowercase()) && !known.contains(&word) {
            findings.push(format!("{place}: `{prefix}{word}` is no command of ours"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{item, joined};

    #[test]
    fn links_are_followed_from_their_document() {
        assert_eq!(joined("docs", "../crates/./wire"), "crates/wire");
        assert_eq!(joined("", "docs/image.md"), "docs/image.md");
    }

    #[test]
    fn only_paths_of_items_are_items() {
        assert_eq!(item("transform::abi::LOOP"), Some(("transform", "LOOP")));
        assert_eq!(item("a loop"), None);
        assert_eq!(item("wasm32-wasip1"), None);
    }
}
