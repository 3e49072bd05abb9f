//! Rivals that are fetched: packages brought by the tools that know them, unpacked into the cache, never installed.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Debian's packages, unpacked together into one directory of the cache.
pub(super) fn debian(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    fetched(name, &format!("{name} from Debian (apt-get download)"), |partial, home| {
        let archives = partial.join("archives");
        fs::create_dir(&archives).map_err(|error| error.to_string())?;
        let mut download = Command::new("apt-get");
        run(download.args(["download", "--quiet"]).args(packages).current_dir(&archives))?;
        let entries = fs::read_dir(&archives).map_err(|error| error.to_string())?;
        for archive in entries.flatten() {
            run(Command::new("dpkg").arg("-x").arg(archive.path()).arg(home))?;
        }
        Ok(())
    })
}

/// A package of PyPI, unpacked as it is into a directory of the cache.
pub(super) fn python(package: &str) -> Result<PathBuf, String> {
    fetched(package, &format!("{package} from PyPI (pip)"), |_, home| {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
        run(Command::new("python3").args(pip).arg("--target").arg(home).arg(package))
    })
}

/// A directory of the cache, filled once: by one of several at a time, wholly or not at all. The first directory that
/// `fetch` is given is for what it does not keep.
fn fetched(
    name: &str,
    what: &str,
    fetch: impl Fn(&Path, &Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let cache = programs::cache_dir();
    let home = cache.join(name);
    let at = |error: std::io::Error| format!("{}: {error}", cache.display());
    fs::create_dir_all(&cache).map_err(at)?;
    let lock = File::create(cache.join(format!("{name}.lock"))).map_err(at)?;
    lock.lock().map_err(at)?;
    if home.is_dir() {
        return Ok(home);
    }
    eprintln!("fetching {what}");
    let partial = cache.join(format!("{name}.partial"));
    // What an interrupted fetch left behind; the lock says that nobody is at work on it.
    let _ = fs::remove_dir_all(&partial);
    let whole = partial.join("whole");
    fs::create_dir_all(&whole).map_err(at)?;
    fetch(&partial, &whole).map_err(|said| format!("{what} cannot be fetched: {said}"))?;
    fs::rename(&whole, &home).map_err(at)?;
    fs::remove_dir_all(&partial).map_err(at)?;
    Ok(home)
}

/// Runs a tool to its end. What it says in failing is the error.
fn run(command: &mut Command) -> Result<(), String> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{tool} does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let last = said.lines().last().unwrap_or("no reason given").to_owned();
    Err(format!("{tool}: {last}"))
}
