//! Where a user's daemons are: both sides look here.

use std::path::{Path, PathBuf};

/// The control socket, in a node's data directory.
pub const SOCKET: &str = "control.sock";

/// The directory that holds one data directory for each of this user's nodes:
/// `$XDG_STATE_HOME/whimbrel`, which is `~/.local/state/whimbrel` if that is not set.
///
/// Takes the environment as a function, so that it can be tested. None if there is no home either.
pub fn state_home(var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    base(&var, "XDG_STATE_HOME", ".local/state")
}

/// The directory for what can be made again: compiled code, fetched programs.
/// `$XDG_CACHE_HOME/whimbrel`, which is `~/.cache/whimbrel` if that is not set.
pub fn cache_home(var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    base(&var, "XDG_CACHE_HOME", ".cache")
}

/// The socket of the node that keeps its data here.
pub fn socket(data: &Path) -> PathBuf {
    data.join(SOCKET)
}

/// A relative path in these variables is to be ignored, says the XDG specification.
fn base(
    var: &impl Fn(&str) -> Option<std::ffi::OsString>,
    name: &str,
    below_home: &str,
) -> Option<PathBuf> {
    let own = var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || var("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let base = own.or_else(|| home().map(|home| home.join(below_home)))?;
    Some(base.join("whimbrel"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_ignored() {
        let home = |set: &'static [(&str, &str)]| {
            state_home(move |name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            })
        };
        let found = |text: &str| Some(PathBuf::from(text));
        assert_eq!(home(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]), found("/s/whimbrel"));
        assert_eq!(
            home(&[("XDG_STATE_HOME", "s"), ("HOME", "/h")]),
            found("/h/.local/state/whimbrel")
        );
        assert_eq!(home(&[]), None);
    }
}
