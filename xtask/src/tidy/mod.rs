//! What must hold of the repository's text and crate graph, checked by reading.
//!
//! Three readers, one list of findings: [`text`] reads every file, [`graph`] the crates' dependencies, [`docs`] what the
//! documents claim exists. Rules that the compiler or clippy can keep are left to them.

mod docs;
mod graph;
mod text;

use std::{fs, path::PathBuf, process::Command};

use crate::cargo::root;

/// Checks everything and lists every finding.
pub(crate) fn run() -> Result<(), String> {
    let tree = Tree::read()?;
    let mut findings = Vec::new();
    text::check(&tree, &mut findings);
    docs::check(&tree, &mut findings);
    graph::check(&mut findings)?;
    if findings.is_empty() {
        eprintln!("tidy: {} files, nothing found", tree.files.len());
        return Ok(());
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    Err(format!("{} findings", findings.len()))
}

/// The files under version control, or about to be.
struct Tree {
    files: Vec<SourceFile>,
}

/// One file, by its path from the root, with forward slashes.
struct SourceFile {
    path: String,
    /// Nothing, if it is not text.
    text: Option<String>,
}

impl Tree {
    fn read() -> Result<Self, String> {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
            .current_dir(root())
            .output()
            .map_err(|error| format!("git does not start: {error}"))?;
        if !listed.status.success() {
            return Err(format!(
                "git ls-files: {}",
                String::from_utf8_lossy(&listed.stderr).trim()
            ));
        }
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let files = listed.split('\0').filter(|path| !path.is_empty()).filter_map(|path| {
            let bytes = fs::read(root().join(path)).ok()?;
            Some(SourceFile { path: path.to_owned(), text: String::from_utf8(bytes).ok() })
        });
        Ok(Self { files: files.collect() })
    }

    /// Whether the path names a file here, or a directory of files here.
    fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files.iter().any(|file| {
            file.path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// All Rust sources below a directory, as path and text.
    fn rust<'a>(&'a self, below: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .filter(move |file| file.path.starts_with(below) && file.is("rs"))
            .filter_map(SourceFile::read)
    }
}

impl SourceFile {
    fn is(&self, extension: &str) -> bool {
        PathBuf::from(&self.path).extension().is_some_and(|found| found == extension)
    }

    fn read(&self) -> Option<(&str, &str)> {
        Some((&self.path, self.text.as_deref()?))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        super::run().unwrap();
    }
}
