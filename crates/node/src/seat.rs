//! Where the registry is, and the registry itself while it is here.
//!
//! The registry has one home at a time, and each home its *term*, a number that grows when the registry is handed on. Whoever
//! hears of a later term believes it: the home of an earlier one answers nobody any more.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use serde::{Deserialize, Serialize};
use wire::NodeId;

use crate::disk::{DiskError, Membership, change_membership};
use crate::home::Home;
use crate::join::Certifier;

/// Where the registry is, as members tell each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RegistryAt {
    pub(crate) term: u64,
    pub(crate) node: NodeId,
    pub(crate) address: String,
}

/// The registry, on the node that has it, and what lets nodes in.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    pub(crate) home: Home,
    /// None in a node that is alone.
    pub(crate) certifier: Option<Arc<Certifier>>,
}

/// Where the registry is. Cheap to clone; all clones see a change at once.
#[derive(Clone, Debug)]
pub(crate) struct Seat(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seated: RwLock<Seated>,
    /// One change at a time.
    changing: Mutex<()>,
    /// Where it is written down; not in a node that is alone.
    file: Option<PathBuf>,
}

#[derive(Debug)]
struct Seated {
    at: RegistryAt,
    here: Option<Here>,
    /// The term that was promised to a member which makes the registry anew.
    promised: Option<(u64, NodeId)>,
}

impl Seat {
    pub(crate) fn new(
        at: RegistryAt,
        here: Option<Here>,
        promised: Option<(u64, NodeId)>,
        file: Option<PathBuf>,
    ) -> Self {
        let seated = RwLock::new(Seated { at, here, promised });
        Self(Arc::new(Inner { seated, changing: Mutex::default(), file }))
    }

    fn look<T>(&self, look: impl FnOnce(&Seated) -> T) -> T {
        look(&self.0.seated.read().expect("nobody panics in here"))
    }

    pub(crate) fn at(&self) -> RegistryAt {
        self.look(|seated| seated.at.clone())
    }

    pub(crate) fn node(&self) -> NodeId {
        self.look(|seated| seated.at.node)
    }

    /// The registry, if it is here.
    pub(crate) fn home(&self) -> Option<Home> {
        self.look(|seated| seated.here.as_ref().map(|here| here.home.clone()))
    }

    pub(crate) fn is_here(&self) -> bool {
        self.look(|seated| seated.here.is_some())
    }

    /// What lets nodes in, if that is here.
    pub(crate) fn certifier(&self) -> Option<Arc<Certifier>> {
        self.look(|seated| seated.here.as_ref().and_then(|here| here.certifier.clone()))
    }

    /// The registry is somewhere else now, if this is later than what is known. It is written down first; what was here answers
    /// nobody after that.
    ///
    /// # Errors
    /// If the disk refuses. Then all is as before.
    pub(crate) fn learn(&self, at: &RegistryAt) -> Result<bool, DiskError> {
        let changing = self.0.changing.lock().expect("nobody panics in here");
        if at.term <= self.at().term {
            return Ok(false);
        }
        self.write_down(at)?;
        let mut seated = self.0.seated.write().expect("nobody panics in here");
        seated.at = at.clone();
        let before = seated.here.take();
        drop((seated, changing));
        if let Some(here) = before {
            here.home.stop();
        }
        Ok(true)
    }

    /// The registry is here from now on: it is put in place, that is written down, and it is opened. False if a term as late
    /// is known.
    ///
    /// # Errors
    /// As of `place` and `open`, and if the disk refuses.
    pub(crate) fn take<E: From<DiskError>>(
        &self,
        at: RegistryAt,
        place: impl FnOnce() -> Result<(), E>,
        open: impl FnOnce() -> Result<Here, E>,
    ) -> Result<bool, E> {
        let _changing = self.0.changing.lock().expect("nobody panics in here");
        if at.term <= self.at().term {
            return Ok(false);
        }
        place()?;
        self.write_down(&at)?;
        let here = open()?;
        let mut seated = self.0.seated.write().expect("nobody panics in here");
        (seated.at, seated.here) = (at, Some(here));
        Ok(true)
    }

    /// Does something that may not be done where the registry is. Nothing, if it is here.
    pub(crate) fn unless_here<E>(&self, act: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let _changing = self.0.changing.lock().expect("nobody panics in here");
        if self.is_here() { Ok(()) } else { act() }
    }

    /// Promises a term to one member. The term that is promised to another, if that is not before it.
    ///
    /// # Errors
    /// If the disk refuses: then nothing is promised.
    pub(crate) fn promise(&self, term: u64, to: NodeId) -> Result<Option<u64>, DiskError> {
        let _changing = self.0.changing.lock().expect("nobody panics in here");
        match self.look(|seated| seated.promised) {
            Some(promised) if promised == (term, to) => return Ok(None),
            Some((other, _)) if term <= other => return Ok(Some(other)),
            _ => (),
        }
        self.change(|membership| membership.promised = Some((term, to)))?;
        self.0.seated.write().expect("nobody panics in here").promised = Some((term, to));
        Ok(None)
    }

    fn write_down(&self, at: &RegistryAt) -> Result<(), DiskError> {
        self.change(|membership| {
            (membership.term, membership.registry) = (at.term, at.node);
            membership.registry_address.clone_from(&at.address);
        })
    }

    /// Changes what this node will know about itself at its next start.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Membership)) -> Result<(), DiskError> {
        match &self.0.file {
            Some(file) => change_membership(file, change),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(term: u64, node: u32) -> RegistryAt {
        RegistryAt { term, node: NodeId(node), address: format!("127.0.0.1:{node}") }
    }

    #[test]
    fn a_later_term_is_believed_and_an_earlier_one_is_not() {
        let seat = Seat::new(at(3, 1), None, None, None);
        assert!(!seat.learn(&at(3, 2)).unwrap());
        assert!(!seat.learn(&at(2, 2)).unwrap());
        assert!(seat.learn(&at(4, 2)).unwrap());
        assert_eq!(seat.at(), at(4, 2));
    }

    #[test]
    fn a_term_is_promised_once() {
        let seat = Seat::new(at(3, 1), None, None, None);
        let ask = |term, to| seat.promise(term, NodeId(to)).unwrap();
        assert_eq!(ask(4, 2), None);
        assert_eq!(ask(4, 3), Some(4), "to another");
        assert_eq!(ask(4, 2), None, "asked again");
        assert_eq!(ask(5, 3), None, "a later one");
        assert_eq!(ask(4, 2), Some(5));
    }
}
