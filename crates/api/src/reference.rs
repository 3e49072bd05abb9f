//! How people name processes: by id, by the beginning of one, by name.

use wire::{GroupId, Pid};

use crate::{Error, ErrorCode};

/// What a reference can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// One process.
    Process(Pid),
    /// All processes of a group.
    Group(GroupId),
}

/// A process that a reference may mean.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its id.
    pub pid: Pid,
    /// Its name.
    pub name: Option<&'a str>,
}

/// How many candidates a refusal lists.
const LISTED_MAX: usize = 8;

/// Finds what a text means among the candidates.
///
/// An exact process id wins, then an exact group id, then a name; then a text with a point is
/// the beginning of a process id, and one without is the beginning of a group id. Ids are compared
/// as they are printed, in lower case.
///
/// # Errors
///
/// [`ErrorCode::UnknownProcess`] if nothing begins so, [`ErrorCode::Ambiguous`] if several things do.
pub fn resolve(text: &str, candidates: &[Candidate<'_>]) -> Result<Reference, Error> {
    let wanted = text.to_ascii_lowercase();
    if let Some(found) = candidates.iter().find(|known| known.pid.to_string() == wanted) {
        return Ok(Reference::Process(found.pid));
    }
    if let Some(found) = candidates.iter().find(|known| known.pid.group.to_string() == wanted) {
        return Ok(Reference::Group(found.pid.group));
    }
    if let Some(found) = candidates.iter().find(|known| known.name == Some(text)) {
        return Ok(Reference::Process(found.pid));
    }
    let mut found: Vec<Reference> = candidates
        .iter()
        .map(|known| match wanted.contains('.') {
            true => Reference::Process(known.pid),
            false => Reference::Group(known.pid.group),
        })
        .filter(|known| !wanted.is_empty() && known.to_string().starts_with(&wanted))
        .collect();
    found.sort_by_key(ToString::to_string);
    found.dedup();
    match found[..] {
        [] => Err(Error::new(
            ErrorCode::UnknownProcess,
            format!("no process or group is called `{text}`"),
        )),
        [one] => Ok(one),
        _ => Err(ambiguous(text, &found)),
    }
}

impl Reference {
    /// The one process that this means: a group of one process stands for it.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Ambiguous`] for a group of several.
    pub fn process(self, candidates: &[Candidate<'_>]) -> Result<Pid, Error> {
        let group = match self {
            Self::Process(pid) => return Ok(pid),
            Self::Group(group) => group,
        };
        let members: Vec<Pid> =
            candidates.iter().map(|known| known.pid).filter(|pid| pid.group == group).collect();
        match members[..] {
            [one] => Ok(one),
            _ => {
                let members: Vec<Self> = members.into_iter().map(Self::Process).collect();
                Err(ambiguous(&group.to_string(), &members))
            }
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process(pid) => pid.fmt(f),
            Self::Group(group) => group.fmt(f),
        }
    }
}

fn ambiguous(text: &str, found: &[Reference]) -> Error {
    let mut list: Vec<String> = found.iter().take(LISTED_MAX).map(ToString::to_string).collect();
    if found.len() > LISTED_MAX {
        list.push("…".to_owned());
    }
    Error::new(ErrorCode::Ambiguous, format!("`{text}` may be any of {}", list.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let pids =
            ["k3x9.0", "k3x9.1", "k3xa.0", "m000.0", "m0001.0"].map(|id| id.parse().unwrap());
        let names = [Some("web"), None, None, Some("k3xa"), None];
        let candidates: Vec<Candidate<'_>> =
            pids.into_iter().zip(names).map(|(pid, name)| Candidate { pid, name }).collect();
        let found = match resolve(text, &candidates) {
            Ok(reference) => match reference.process(&candidates) {
                Ok(pid) => format!("{reference} -> {pid}"),
                Err(error) => format!("{reference} -> {error}"),
            },
            Err(error) => format!("{:?}: {error}", error.code),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_beginning_is_enough_if_it_is_unique() {
        check("k3x9.0", "k3x9.0 -> k3x9.0");
        check("K3X9.1", "k3x9.1 -> k3x9.1");
        check("web", "k3x9.0 -> k3x9.0");
        check("k3xa", "k3xa -> k3xa.0");
        check("m000", "m000 -> m000.0");
        check("m0001", "m0001 -> m0001.0");
        check("k3x9", "k3x9 -> `k3x9` may be any of k3x9.0, k3x9.1");
        check("k3x9.", "Ambiguous: `k3x9.` may be any of k3x9.0, k3x9.1");
        check("k3", "Ambiguous: `k3` may be any of k3x9, k3xa");
        check("z", "UnknownProcess: no process or group is called `z`");
        check("", "UnknownProcess: no process or group is called ``");
    }
}
