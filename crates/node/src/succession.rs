//! What a registry is made of on a disk, while it changes its home.

use std::path::{Path, PathBuf};

use api::{Error, ErrorCode};
use wire::{Incarnation, Key, NodeId, Record};

use crate::clock::Clock;
use crate::control::Handed;
use crate::disk::{DiskError, read, sync_parent, write_whole};
use crate::halts::Halts;
use crate::home::{Home, write_records};
use crate::join::Certifier;
use crate::seat::{Here, RegistryAt, Seat};
use crate::trust::Authority;

/// The records, where they are used.
pub(crate) const RECORDS: &str = "registry.db";

/// All of a registry that may be taken up.
const STAGED: &str = "registry.next";

const AUTHORITY: &str = "ca.der";
const AUTHORITY_KEY: &str = "ca.key";

/// Takes a registry over, and lets go of one. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Succession {
    dir: PathBuf,
    clock: Clock,
    incarnation: Incarnation,
    halts: Option<Halts>,
}

impl Succession {
    pub(crate) fn new(
        dir: &Path,
        clock: Clock,
        incarnation: Incarnation,
        halts: Option<Halts>,
    ) -> Self {
        Self { dir: dir.to_owned(), clock, incarnation, halts }
    }

    /// All that there is of the registry here, with these records, as it goes to its next home.
    pub(crate) fn handed(
        &self,
        term: u64,
        records: Vec<(Key, Record)>,
    ) -> Result<Handed, DiskError> {
        let part = |name: &str| {
            let path = self.dir.join(name);
            let what = "it is not there".to_owned();
            read(&path)?.ok_or(DiskError::Damaged { path, what })
        };
        let (authority, authority_key) = (part(AUTHORITY)?, part(AUTHORITY_KEY)?);
        Ok(Handed { term, records, authority, authority_key })
    }

    /// Writes it down, where nobody uses it yet.
    pub(crate) fn stage(&self, handed: &[u8]) -> Result<(), DiskError> {
        write_whole(&self.dir.join(STAGED), handed)
    }

    /// Takes up what was staged for this term. False if that was done before.
    pub(crate) fn take(
        &self,
        seat: &Seat,
        term: u64,
        node: NodeId,
        address: &str,
    ) -> Result<bool, Error> {
        if term <= seat.at().term {
            return Ok(false);
        }
        let path = self.dir.join(STAGED);
        let staged = read(&path)?.and_then(|bytes| postcard::from_bytes::<Handed>(&bytes).ok());
        let Some(handed) = staged.filter(|handed| handed.term == term) else {
            let words = format!("no registry of term {term} was handed to this node");
            return Err(Error::new(ErrorCode::Refused, words));
        };
        let at = RegistryAt { term, node, address: address.to_owned() };
        let taken = seat.take(at, || self.place(&handed), || self.open(term))?;
        remove(&path)?;
        Ok(taken)
    }

    fn place(&self, handed: &Handed) -> Result<(), Error> {
        self.remove_records()?;
        write_records(&self.dir.join(RECORDS), &handed.records)
            .map_err(|error| Error::new(ErrorCode::Io, error.to_string()))?;
        // One that is made anew without it lets nobody in.
        if !handed.authority_key.is_empty() {
            write_whole(&self.dir.join(AUTHORITY_KEY), &handed.authority_key)?;
        }
        write_whole(&self.dir.join(AUTHORITY), &handed.authority)?;
        Ok(())
    }

    /// The registry of this term, as it lies in the directory.
    pub(crate) fn open(&self, term: u64) -> Result<Here, Error> {
        let home = self.home(Some(&self.dir.join(RECORDS)), term)?;
        let authority = Authority::read(&self.dir)?;
        let certifier = authority.map(|authority| Certifier(authority).into());
        Ok(Here { home, certifier })
    }

    /// A registry with the records of a file, or an empty one.
    pub(crate) fn home(&self, file: Option<&Path>, term: u64) -> Result<Home, Error> {
        let halts = self.halts.clone();
        let (home, _thread) = Home::start(file, self.clock, (term, self.incarnation), halts)
            .map_err(|error| Error::new(ErrorCode::Io, error.to_string()))?;
        Ok(home)
    }

    /// Whether a registry lies here that another node may not have taken up yet. What a crash has cut off while it was
    /// taken up here is none.
    pub(crate) fn is_left(&self) -> bool {
        self.dir.join(RECORDS).exists() && !self.dir.join(STAGED).exists()
    }

    /// Removes what is another node's now.
    pub(crate) fn clear(&self, seat: &Seat) -> Result<(), DiskError> {
        seat.unless_here(|| {
            remove(&self.dir.join(AUTHORITY_KEY))?;
            self.remove_records()
        })
    }

    fn remove_records(&self) -> Result<(), DiskError> {
        for suffix in ["-wal", "-shm", ""] {
            remove(&self.dir.join(format!("{RECORDS}{suffix}")))?;
        }
        sync_parent(&self.dir.join(RECORDS)).map_err(DiskError::io(&self.dir))
    }
}

fn remove(path: &Path) -> Result<(), DiskError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(DiskError::io(path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use wire::Generation;

    use super::*;
    use crate::disk::{DataDir, MEMBERSHIP, Membership};

    const ME: NodeId = NodeId(2);

    fn node(dir: &DataDir) -> (Succession, Seat) {
        let clock = Clock::start();
        let succession = Succession::new(dir.path(), clock, Incarnation(1), None);
        let membership = Membership {
            node: ME,
            name: "osprey".to_owned(),
            registry: NodeId(1),
            registry_address: "127.0.0.1:1".to_owned(),
            term: 3,
            peers: Vec::new(),
            promised: None,
            address: "127.0.0.1:2".to_owned(),
            renew_at: 0,
        };
        dir.save_membership(&membership).unwrap();
        let at = RegistryAt { term: 3, node: NodeId(1), address: membership.registry_address };
        (succession, Seat::new(at, None, None, Some(dir.file(MEMBERSHIP))))
    }

    fn handed(term: u64) -> Handed {
        let root = DataDir::ephemeral().unwrap();
        Authority::open(&root).unwrap();
        let part = |name| root.read(name).unwrap().unwrap();
        let record = Record::Counters { next_node: 7, next_group: 9, generation: Generation(1) };
        let (authority, authority_key) = (part(AUTHORITY), part(AUTHORITY_KEY));
        Handed { term, records: vec![(Key::Counters, record)], authority, authority_key }
    }

    fn stage(succession: &Succession, handed: &Handed) {
        succession.stage(&postcard::to_allocvec(handed).unwrap()).unwrap();
    }

    #[tokio::test]
    async fn what_was_staged_is_taken_up_once_and_is_there_after_a_restart() {
        let dir = DataDir::ephemeral().unwrap();
        let (succession, seat) = node(&dir);
        let refused = succession.take(&seat, 4, ME, "here").unwrap_err();
        assert_eq!(refused.code, ErrorCode::Refused);
        let handed = handed(4);
        stage(&succession, &handed);
        assert!(succession.take(&seat, 5, ME, "here").is_err(), "of another term");
        assert!(!seat.is_here());
        assert!(succession.take(&seat, 4, ME, "here").unwrap());
        assert!(!succession.take(&seat, 4, ME, "here").unwrap(), "said again");
        assert_eq!(seat.home().unwrap().rest().await.unwrap(), handed.records);
        let membership = dir.membership().unwrap().unwrap();
        assert_eq!((membership.registry, membership.term), (ME, 4));
        let again = succession.open(4).unwrap();
        assert_eq!(again.home.rest().await.unwrap(), handed.records);
        assert!(again.certifier.is_some());
    }

    #[tokio::test]
    async fn a_crash_while_it_is_taken_up_leaves_it_to_be_taken_up() {
        let dir = DataDir::ephemeral().unwrap();
        let (succession, seat) = node(&dir);
        stage(&succession, &handed(4));
        // As far as it may have come before it is written down.
        succession.place(&handed(4)).unwrap();
        assert!(!succession.is_left(), "nothing that another node is to be told of");
        assert!(succession.take(&seat, 4, ME, "here").unwrap());
        succession.clear(&seat).unwrap();
        assert!(dir.file(RECORDS).exists(), "the registry is here: nothing of it is removed");
        let elsewhere = RegistryAt { term: 5, node: NodeId(1), address: String::new() };
        assert!(seat.learn(&elsewhere).unwrap());
        assert!(succession.is_left());
        succession.clear(&seat).unwrap();
        assert!(!dir.file(RECORDS).exists() && !dir.file(AUTHORITY_KEY).exists());
        assert!(!succession.take(&seat, 4, ME, "here").unwrap(), "a word that was long on its way");
        assert!(!seat.is_here());
    }
}
