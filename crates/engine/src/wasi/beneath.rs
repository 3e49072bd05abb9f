//! Paths that cannot leave their directory: the sandbox.
//!
//! Whatever a guest names is looked up from a directory it has open, and `..`, absolute paths and
//! symbolic links that lead out of that directory are `perm`. Linux does it in one system call
//! (`openat2` with `RESOLVE_BENEATH`), safely against others who rename meanwhile. Where that call
//! is missing or forbidden, [`walk`] goes component by component and never lets the system follow a
//! link or a `..` by itself.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::LazyLock;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat, openat, openat2, readlinkat, statat};

use super::abi::Errno;

/// Links followed in one path before it is taken for a loop, as Linux has it.
const LINKS_MAX: usize = 40;

/// `openat2` gives up when somebody renames directories under it; after so many tries, so do we.
const TRIES_MAX: usize = 16;

/// Whether this system has `openat2` and lets us use it.
static HAS_OPENAT2: LazyLock<bool> = LazyLock::new(|| {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(rustix::fs::CWD, ".", flags, Mode::empty(), ResolveFlags::BENEATH).is_ok()
});

/// The directory that a path's last component is in.
pub(super) enum Parent<'a> {
    /// The path had one component only.
    Same(BorrowedFd<'a>),
    /// It was opened for this.
    Opened(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Same(fd) => *fd,
            Self::Opened(fd) => fd.as_fd(),
        }
    }
}

/// Opens `path`, which lies beneath `dir`. A link in its last place is opened only if `follow`.
pub(super) fn open(
    dir: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
    follow: bool,
) -> Result<OwnedFd, Errno> {
    check(path)?;
    let flags = flags | OFlags::CLOEXEC;
    if !*HAS_OPENAT2 {
        return walk(dir, path, flags, mode, follow);
    }
    let flags = if follow { flags } else { flags | OFlags::NOFOLLOW };
    let mode = if flags.contains(OFlags::CREATE) { mode } else { Mode::empty() };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES_MAX {
        match openat2(dir, path, flags, mode, resolve) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
    Err(Errno::Again)
}

/// The directory of the last component of `path`, and that component, with the slashes that
/// follow it. It is never `.` or `..`.
pub(super) fn parent<'a, 'p>(
    dir: BorrowedFd<'a>,
    path: &'p str,
) -> Result<(Parent<'a>, &'p str), Errno> {
    check(path)?;
    let trimmed = path.trim_end_matches('/');
    let (before, last) = match trimmed.rfind('/') {
        Some(slash) => (Some(&path[..slash]), &path[slash + 1..]),
        None => (None, path),
    };
    let name = last.trim_end_matches('/');
    if name == "." || name == ".." {
        // Says whether it leads out before it says that it is no name to make or remove.
        open(dir, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty(), true)?;
        return Err(Errno::Invalid);
    }
    let Some(before) = before else { return Ok((Parent::Same(dir), last)) };
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    Ok((Parent::Opened(open(dir, before, flags, Mode::empty(), true)?), last))
}

/// What `path` is. A link in its last place is followed only if `follow`.
pub(super) fn stat(dir: BorrowedFd<'_>, path: &str, follow: bool) -> Result<Stat, Errno> {
    check(path)?;
    if !follow && !path.contains('/') && path != ".." {
        return Ok(statat(dir, path, AtFlags::SYMLINK_NOFOLLOW)?);
    }
    Ok(rustix::fs::fstat(open(dir, path, OFlags::PATH, Mode::empty(), follow)?)?)
}

fn check(path: &str) -> Result<(), Errno> {
    match path.as_bytes().first() {
        None => Err(Errno::NoEntry),
        Some(b'/') => Err(Errno::Permission),
        Some(_) => Ok(()),
    }
}

/// What [`open`] does, without `openat2`. Each directory is opened by one name in the one before
/// it, and kept, so that `..` is a step back on our own way and not what the system makes of it.
fn walk(
    dir: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
    follow: bool,
) -> Result<OwnedFd, Errno> {
    let mut way: Vec<OwnedFd> = vec![];
    let mut ahead = components(path);
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        let here = way.last().map_or(dir, AsFd::as_fd);
        let last = ahead.is_empty();
        match name.as_str() {
            "." => continue,
            ".." => {
                way.pop().ok_or(Errno::Permission)?;
                continue;
            }
            _ => {}
        }
        if (!last || follow)
            && let Ok(target) = readlinkat(here, &name, vec![])
        {
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::Loop);
            }
            let target = target.to_str().map_err(|_| Errno::IllegalSequence)?;
            check(target)?;
            let mut target = components(target);
            target.append(&mut ahead);
            ahead = target;
            continue;
        }
        if last {
            return Ok(openat(here, &name, flags | OFlags::NOFOLLOW, mode)?);
        }
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        way.push(openat(here, &name, step, Mode::empty())?);
    }
    let here = way.last().map_or(dir, AsFd::as_fd);
    Ok(openat(here, ".", flags, mode)?)
}

/// A path's components. One that ends in a slash names a directory, as if `.` followed.
fn components(path: &str) -> VecDeque<String> {
    let mut names: VecDeque<String> =
        path.split('/').filter(|name| !name.is_empty()).map(String::from).collect();
    if path.ends_with('/') {
        names.push_back(".".into());
    }
    names
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    type Open = fn(BorrowedFd<'_>, &str, OFlags, Mode, bool) -> Result<OwnedFd, Errno>;

    /// What a path beneath `in/` opens, both ways: the file's text, or the error.
    fn check(path: &str, expected: Result<&str, Errno>) {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("in");
        fs::create_dir_all(root.join("deep/er")).unwrap();
        fs::write(root.join("file"), "inside").unwrap();
        fs::write(root.join("deep/er/file"), "deep").unwrap();
        fs::write(top.path().join("secret"), "outside").unwrap();
        for (target, link) in [
            ("file", "good"),
            ("deep/../deep/er", "way"),
            ("../../file", "deep/er/up"),
            ("../secret", "relative"),
            ("deep/../../secret", "roundabout"),
            ("/etc/passwd", "absolute"),
            ("..", "out"),
            ("loop", "loop"),
            ("relative", "chain"),
            ("/proc/self/root", "magic"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let dir = rustix::fs::open(&root, OFlags::DIRECTORY, Mode::empty()).unwrap();
        for (name, open) in [("openat2", open as Open), ("walk", walk_checked)] {
            let found = open(dir.as_fd(), path, OFlags::RDONLY, Mode::empty(), true);
            let found = found.map(|file| std::io::read_to_string(fs::File::from(file)).unwrap());
            assert_eq!(found.as_deref().map_err(|errno| *errno), expected, "{path} by {name}");
        }
    }

    fn walk_checked(
        dir: BorrowedFd<'_>,
        path: &str,
        flags: OFlags,
        mode: Mode,
        follow: bool,
    ) -> Result<OwnedFd, Errno> {
        super::check(path)?;
        walk(dir, path, flags, mode, follow)
    }

    #[test]
    fn what_lies_inside_is_found() {
        check("file", Ok("inside"));
        check("./deep//er/file", Ok("deep"));
        check("deep/../file", Ok("inside"));
        check("good", Ok("inside"));
        check("way/file", Ok("deep"));
        check("way/up", Ok("inside"));
        check("missing", Err(Errno::NoEntry));
        check("file/", Err(Errno::NotDirectory));
        check("loop", Err(Errno::Loop));
        check("", Err(Errno::NoEntry));
    }

    #[test]
    fn nothing_leads_out() {
        for path in [
            "..",
            "../secret",
            "../in/file",
            "deep/../../secret",
            "deep/er/../../../secret",
            "/etc/passwd",
            "/",
            "relative",
            "roundabout",
            "absolute",
            "out/secret",
            "chain",
            "magic/etc/passwd",
            "way/../../../secret",
        ] {
            check(path, Err(Errno::Permission));
        }
    }

    #[test]
    fn a_parent_is_inside_and_its_name_is_a_name() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("in/deep")).unwrap();
        symlink("..", top.path().join("in/out")).unwrap();
        let flags = OFlags::DIRECTORY;
        let dir = rustix::fs::open(top.path().join("in"), flags, Mode::empty()).unwrap();
        let name = |path| parent(dir.as_fd(), path).map(|(_, name)| name);
        assert_eq!(name("file"), Ok("file"));
        assert_eq!(name("deep/file//"), Ok("file//"));
        assert_eq!(name("deep/../file"), Ok("file"));
        assert_eq!(name("out/file"), Err(Errno::Permission));
        assert_eq!(name("../file"), Err(Errno::Permission));
        assert_eq!(name(".."), Err(Errno::Permission));
        assert_eq!(name("deep/.."), Err(Errno::Invalid));
        assert_eq!(name("."), Err(Errno::Invalid));
        assert_eq!(name("/"), Err(Errno::Permission));
    }
}
