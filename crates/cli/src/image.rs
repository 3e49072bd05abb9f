//! Words about files: `freeze`, `image show`, `transform`. (`thaw` is at its terminal, in `run`.)
//!
//! A file that we write has its name only when it is whole and on disk. For an image that is more than
//! tidiness: once the node is told that the file holds the process, nothing else does.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use api::{Error, FreezeRequest, FrozenReply, ImageReport, route};
use http_body_util::BodyExt;
use rustix::fs::{CWD, RenameFlags};

use crate::destination::Choice;
use crate::list::{memory, pairs};
use crate::table::{Align, Table};
use crate::units::{bytes, millis};
use crate::words::{Format, Freeze, ImageWord, Transform};
use crate::{Client, Host, say};

pub(crate) async fn freeze(at: &Choice, word: Freeze) -> Result<u8, Error> {
    // Asked before the process is disturbed; asked again, for good, when the file gets its name.
    if word.file.symlink_metadata().is_ok() {
        let message = format!("{}: file exists", word.file.display());
        return Err(Error::new(api::ErrorCode::Exists, message));
    }
    let client = at.daemon()?;
    let mut file = Partial::create(&word.file)?;
    let path = route::FREEZE.fill(&[&word.process]);
    let request = FreezeRequest { copy: word.copy };
    let mut image = client.download(route::FREEZE, &path, &request).await?;
    let mut size = 0;
    while let Some(frame) = image.frame().await {
        let frame = frame.map_err(|error| {
            Error::new(api::ErrorCode::GivenUp, format!("the image broke off: {error}"))
        })?;
        if let Ok(data) = frame.into_data() {
            size += data.len() as u64;
            if let Err(error) = file.write(&data) {
                abandon(&client, &word).await;
                return Err(error);
            }
        }
    }
    if let Err(error) = file.keep(&word.file) {
        abandon(&client, &word).await;
        return Err(error);
    }
    let file = word.file.display();
    if word.copy {
        say::out(&format!("{file} holds a copy of {}, {}", word.process, bytes(size)));
        return Ok(0);
    }
    let path = route::FREEZE_COMMIT.fill(&[&word.process]);
    let frozen: FrozenReply =
        client.reply(route::FREEZE_COMMIT, &path, &()).await.map_err(|error| {
            let hint = format!(
                "if `whimbrel ps` does not list {}, {file} holds it: keep it",
                word.process
            );
            error.with_hint(hint)
        })?;
    say::out(&format!("{file} holds {}, {}", frozen.pid, bytes(size)));
    Ok(0)
}

/// Lets the process run on. If the node does not hear this, it does so when the connection is gone.
async fn abandon(client: &Client, word: &Freeze) {
    if word.copy {
        return;
    }
    let path = route::FREEZE_ABANDON.fill(&[&word.process]);
    if let Err(error) = client.reply::<()>(route::FREEZE_ABANDON, &path, &()).await {
        say::aside(&format!("whimbrel: {} may stay frozen for a while: {error}", word.process));
    }
}

pub(crate) fn image(host: &dyn Host, word: ImageWord) -> Result<u8, Error> {
    let ImageWord::Show { file, printing } = word;
    let report = host.image(&read(&file)?).map_err(|error| at_file(&file, error))?;
    match printing.format {
        Format::Json => say::json(&report),
        Format::Table => show(&report),
    }
    Ok(0)
}

pub(crate) fn transform(host: &dyn Host, word: Transform) -> Result<u8, Error> {
    let done = host.transform(&read(&word.file)?).map_err(|error| at_file(&word.file, error))?;
    let files = [
        (Some(&word.output), &done.run),
        (word.resume.as_ref(), &done.resume),
        (word.sites.as_ref(), &done.sites),
    ];
    for (path, bytes) in files {
        let Some(path) = path else { continue };
        // Made again at will, so what is there is replaced.
        let mut file = Partial::create(path)?;
        file.write(bytes)?;
        file.replace(path)?;
    }
    if word.report {
        say::out(done.report.trim_end());
    }
    Ok(0)
}

fn show(report: &ImageReport) {
    say::out(&pairs(&about(report)));
    say::out("");
    sections(report).print();
    say::out("");
    say::out("stack, innermost first");
    for (at, frame) in report.stack.iter().enumerate() {
        let name = frame.name.clone().unwrap_or_else(|| format!("function {}", frame.function));
        say::out(&format!("{at:>5}  {name}"));
    }
}

fn about(report: &ImageReport) -> Vec<(&'static str, String)> {
    let mut about = vec![
        ("version", report.version.to_string()),
        ("process", report.pid.to_string()),
        ("epoch", report.epoch.to_string()),
        ("frozen at", format!("{}, {}", report.node, ago(report.frozen_at_ms))),
        ("memory", memory(report.memory_bytes, report.memory_bytes_max)),
        ("code", report.code.to_string()),
        ("size", bytes(report.bytes)),
    ];
    about.extend(report.dirs.iter().map(|dir| {
        let mode = if dir.read_only { " (read only)" } else { "" };
        ("directory", format!("{} as {}{mode}", dir.host, dir.guest))
    }));
    about
}

/// How long ago a time of the wall clock is; clocks of two machines may disagree.
fn ago(at_ms: u64) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis());
    match u64::try_from(now).unwrap_or(u64::MAX).checked_sub(at_ms) {
        Some(since) => format!("{} ago", millis(since)),
        None => "by its clock in the future".to_owned(),
    }
}

fn sections(report: &ImageReport) -> Table {
    let mut table = Table::new(&[
        ("SECTION", Align::Left),
        ("RECORDS", Align::Right),
        ("SIZE", Align::Right),
        ("HOLDS", Align::Right),
    ]);
    for section in &report.sections {
        table.row([
            section.name.clone(),
            section.records.to_string(),
            bytes(section.bytes),
            section.expanded_bytes.map(bytes).unwrap_or_default(),
        ]);
    }
    table
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| say::unreadable(path, &error))
}

/// Puts the file's name before what is wrong with it.
fn at_file(path: &Path, error: Error) -> Error {
    Error { message: format!("{}: {}", path.display(), error.message), ..error }
}

/// A file that is being written, under another name in the same directory. Goes if it is dropped.
struct Partial {
    path: PathBuf,
    file: File,
    done: bool,
}

impl Partial {
    fn create(wanted: &Path) -> Result<Self, Error> {
        let mut name = wanted.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let path = wanted.with_file_name(name);
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| say::io(&wanted.display().to_string(), &error))?;
        Ok(Self { path, file, done: false })
    }

    fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        self.file.write_all(data).map_err(|error| say::io(&self.path.display().to_string(), &error))
    }

    /// Gives it its name if nothing has it, and returns when both are on disk.
    fn keep(self, wanted: &Path) -> Result<(), Error> {
        self.finish(wanted, |from, to| {
            match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                // Not every file system can; a second look is the next best.
                Err(rustix::io::Errno::INVAL) if to.symlink_metadata().is_err() => {
                    fs::rename(from, to)
                }
                other => other.map_err(Into::into),
            }
        })
    }

    /// Gives it its name whether or not something has it, and returns when both are on disk.
    ///
    /// A device or a pipe takes the bytes and stays what it is: a rename over `/dev/null` would,
    /// for root, put a file in its place.
    fn replace(self, wanted: &Path) -> Result<(), Error> {
        if wanted.metadata().is_ok_and(|there| !there.is_file()) {
            let pour = || {
                let mut to = fs::OpenOptions::new().write(true).open(wanted)?;
                io::copy(&mut File::open(&self.path)?, &mut to)
            };
            return pour()
                .map(|_| ())
                .map_err(|error| say::io(&wanted.display().to_string(), &error));
        }
        self.finish(wanted, |from, to| fs::rename(from, to))
    }

    fn finish(
        mut self,
        wanted: &Path,
        rename: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> Result<(), Error> {
        let parent = wanted.parent().filter(|parent| !parent.as_os_str().is_empty());
        let finished = self
            .file
            .sync_all()
            .and_then(|()| rename(&self.path, wanted))
            .and_then(|()| File::open(parent.unwrap_or(Path::new(".")))?.sync_all());
        finished.map_err(|error| say::io(&wanted.display().to_string(), &error))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use api::ErrorCode;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = dir.path().join("a.image");
        let mut partial = Partial::create(&wanted).unwrap();
        partial.write(b"half").unwrap();
        assert!(!wanted.exists());
        drop(partial);
        assert!(names(dir.path()).is_empty());

        let mut partial = Partial::create(&wanted).unwrap();
        partial.write(b"whole").unwrap();
        partial.keep(&wanted).unwrap();
        assert_eq!(names(dir.path()), ["a.image"]);
        assert_eq!(fs::read(&wanted).unwrap(), b"whole");
    }

    #[test]
    fn an_image_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = dir.path().join("a.image");
        let mut partial = Partial::create(&wanted).unwrap();
        partial.write(b"new").unwrap();
        fs::write(&wanted, b"old").unwrap();
        assert_eq!(partial.keep(&wanted).unwrap_err().code, ErrorCode::Exists);
        assert_eq!(names(dir.path()), ["a.image"]);
        assert_eq!(fs::read(&wanted).unwrap(), b"old");
    }
}
