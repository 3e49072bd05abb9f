//! The registry's home: one thread that owns the records on disk.
//!
//! Questions are taken as many at a time as have come, answered by [`protocol::Registry`], and made
//! durable in one transaction; only then do the answers go out. An answer that was given holds
//! after any crash. If the disk refuses, the answers are not given: the askers ask again.

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use protocol::Registry;
use rusqlite::{Connection, params};
use tokio::runtime::Handle;
use wire::{Incarnation, Key, News, Peer, Record, Reply, Request, SwapKind, Write};

use crate::clock::Clock;
use crate::halts::{Halts, REGISTRY_SWAPPED};

/// So many questions are answered in one transaction at most.
const GROUP_MAX: usize = 256;

/// A reader of the file from outside may hold it for so long before a write gives up.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Asks the registry. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    commands: mpsc::Sender<Command>,
}

/// The registry's records cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    /// The database refuses.
    #[error("the registry's records: {0}")]
    Database(#[from] rusqlite::Error),
    /// A record is not one.
    #[error("the registry's records are damaged: {0}")]
    Record(wire::DecodeError),
}

type Answer = Box<dyn FnOnce(Reply) + Send>;

/// Who wants all records.
type Listener = Box<dyn FnOnce(Vec<(Key, Record)>) + Send>;

enum Command {
    Ask(Peer, Request, Answer),
    News(Box<dyn FnOnce(News) + Send>),
    /// Answer nobody any more, and say all that there is.
    Rest(Listener),
    /// Answer again.
    Resume,
    Stop,
}

impl Home {
    /// Opens the records (none: in memory) and starts the thread.
    pub(crate) fn start(
        file: Option<&Path>,
        clock: Clock,
        (term, incarnation): (u64, Incarnation),
        halts: Option<Halts>,
    ) -> Result<(Self, JoinHandle<()>), HomeError> {
        let database = match file {
            Some(file) => Connection::open(file)?,
            None => Connection::open_in_memory()?,
        };
        let records = open(&database)?;
        // Another for each start, wherever.
        let start = term << 20 | incarnation.0 & 0xf_ffff;
        let registry = Registry::recover(clock.now(), start, records);
        let (commands, inbox) = mpsc::channel();
        let runtime = Handle::current();
        let writer = Writer { database, registry, clock, runtime, halts, rests: false };
        let thread = std::thread::Builder::new()
            .name("registry".to_owned())
            .spawn(move || writer.run(&inbox))
            .expect("a thread can be started");
        Ok((Self { commands }, thread))
    }

    /// Asks; `answer` is called from the writer's thread once what it says is durable, or never.
    pub(crate) fn ask(
        &self,
        from: Peer,
        request: Request,
        answer: impl FnOnce(Reply) + Send + 'static,
    ) {
        let _ = self.commands.send(Command::Ask(from, request, Box::new(answer)));
    }

    /// The same, awaited. `None` if the registry could not answer.
    pub(crate) async fn asked(&self, from: Peer, request: Request) -> Option<Reply> {
        let (answer, wait) = tokio::sync::oneshot::channel();
        self.ask(from, request, move |reply| {
            let _ = answer.send(reply);
        });
        wait.await.ok()
    }

    /// The state of affairs.
    pub(crate) async fn news(&self) -> Option<News> {
        let (answer, wait) = tokio::sync::oneshot::channel();
        let answer = Box::new(move |news| {
            let _: Result<(), News> = answer.send(news);
        });
        self.commands.send(Command::News(answer)).ok()?;
        wait.await.ok()
    }

    /// Has it answer nobody from now on, and says all its records. `None` if it does so already.
    pub(crate) async fn rest(&self) -> Option<Vec<(Key, Record)>> {
        let (answer, wait) = tokio::sync::oneshot::channel();
        let answer = Box::new(move |records| {
            let _: Result<(), _> = answer.send(records);
        });
        self.commands.send(Command::Rest(answer)).ok()?;
        wait.await.ok()
    }

    /// Has it answer again.
    pub(crate) fn resume(&self) {
        let _ = self.commands.send(Command::Resume);
    }

    /// Ends the thread when it has answered what was asked before.
    pub(crate) fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }
}

struct Writer {
    database: Connection,
    registry: Registry,
    clock: Clock,
    runtime: Handle,
    halts: Option<Halts>,
    /// Whether nobody is answered.
    rests: bool,
}

impl Writer {
    fn run(mut self, inbox: &mpsc::Receiver<Command>) {
        while let Ok(first) = inbox.recv() {
            let more = std::iter::from_fn(|| inbox.try_recv().ok()).take(GROUP_MAX);
            let group: Vec<Command> = std::iter::once(first).chain(more).collect();
            if !self.serve(group) {
                return;
            }
        }
    }

    /// Answers a group of questions; false when asked to stop.
    fn serve(&mut self, group: Vec<Command>) -> bool {
        let mut writes = Vec::new();
        let mut answers: Vec<(Answer, Reply)> = Vec::new();
        let mut go_on = true;
        let mut commits = false;
        let mut rest = None;
        for command in group {
            match command {
                // Whoever asks asks again.
                Command::Ask(..) if self.rests => (),
                Command::Ask(from, request, answer) => {
                    commits |= match &request {
                        Request::Swap(swap) => swap.kind == SwapKind::Commit,
                        request => matches!(request, Request::SwapAll(_)),
                    };
                    tracing::trace!(%from, %request, "registry is asked");
                    let (reply, more) = self.registry.apply(self.clock.now(), from, request);
                    tracing::trace!(%from, %reply, "registry answers");
                    writes.extend(more);
                    answers.push((answer, reply));
                }
                Command::News(answer) => answer(self.registry.news()),
                Command::Rest(_) if self.rests => (),
                Command::Rest(answer) => rest = Some(answer),
                Command::Resume => self.rests = false,
                Command::Stop => go_on = false,
            }
        }
        self.persist(&writes);
        if commits
            && let Some(halts) = &self.halts
            && halts.reached(REGISTRY_SWAPPED)
        {
            self.runtime.block_on(halts.halt(REGISTRY_SWAPPED));
        }
        for (answer, reply) in answers {
            answer(reply);
        }
        if let Some(answer) = rest {
            self.rest(answer);
        }
        go_on
    }

    /// What was answered before is on the disk, and said; what was asked with this may have been answered, too.
    fn rest(&mut self, answer: Listener) {
        match records(&self.database) {
            Ok(records) => {
                self.rests = true;
                answer(records);
            }
            Err(error) => tracing::error!(%error, "the registry cannot be handed on"),
        }
    }

    /// Writes until the disk takes it. The machine's state already is what is to be written: what
    /// must not happen is that anybody hears of it before.
    fn persist(&mut self, writes: &[Write]) {
        if writes.is_empty() {
            return;
        }
        while let Err(error) = commit(&mut self.database, writes) {
            tracing::error!(%error, "the registry's disk refuses; nobody is answered until it takes");
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

fn open(database: &Connection) -> Result<Vec<(Key, Record)>, HomeError> {
    database.busy_timeout(BUSY_MAX)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute(
        "CREATE TABLE IF NOT EXISTS records (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
        [],
    )?;
    records(database)
}

/// Makes a file with these records. There must be none.
pub(crate) fn write_records(file: &Path, records: &[(Key, Record)]) -> Result<(), HomeError> {
    let mut database = Connection::open(file)?;
    open(&database)?;
    let writes = records.iter().map(|(key, record)| Write::Put(key.clone(), record.clone()));
    commit(&mut database, &writes.collect::<Vec<_>>())?;
    Ok(())
}

fn records(database: &Connection) -> Result<Vec<(Key, Record)>, HomeError> {
    let mut statement = database.prepare("SELECT key, value FROM records")?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    rows.map(|row| {
        let (key, value) = row?;
        let key = wire::decode(&key).map_err(HomeError::Record)?;
        let value = wire::decode(&value).map_err(HomeError::Record)?;
        Ok((key, value))
    })
    .collect()
}

fn commit(database: &mut Connection, writes: &[Write]) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    {
        let mut put = transaction.prepare_cached(
            "INSERT INTO records (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?;
        let mut delete = transaction.prepare_cached("DELETE FROM records WHERE key = ?1")?;
        for write in writes {
            match write {
                Write::Put(key, record) => {
                    put.execute(params![wire::encode(key), wire::encode(record)])?
                }
                Write::Delete(key) => delete.execute(params![wire::encode(key)])?,
            };
        }
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use wire::{NodeId, RegistryRefusal, TokenHash};

    use super::*;

    fn join(token: u8, name: &str) -> Request {
        let (name, address) = (name.to_owned(), "127.0.0.1:1".to_owned());
        Request::Join { token: TokenHash([token; 32]), name, address }
    }

    #[tokio::test]
    async fn what_was_answered_is_on_disk() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("registry.db");
        let clock = Clock::start();
        let nobody = Peer { node: NodeId(0), incarnation: Incarnation(0) };
        let one = Peer { node: NodeId(1), incarnation: Incarnation(1) };
        let first = NodeId(1);
        let (name, address) = ("heron".to_owned(), "127.0.0.1:1".to_owned());
        let start = Request::Start { name, address, claims: false, fenced: false };

        let (home, thread) = Home::start(Some(&file), clock, (0, Incarnation(1)), None).unwrap();
        assert_eq!(home.asked(nobody, join(0, "heron")).await, Some(Reply::Joined(first)));
        home.asked(one, start).await.unwrap();
        let token = Request::Token { hash: TokenHash([7; 32]), life_micros: 1_000_000 };
        assert_eq!(home.asked(one, token).await, Some(Reply::Done));
        home.stop();
        thread.join().unwrap();

        let (home, thread) = Home::start(Some(&file), clock, (0, Incarnation(2)), None).unwrap();
        let refused = Some(Reply::Refused(RegistryRefusal::Token));
        assert_eq!(home.asked(one, join(8, "osprey")).await, refused);
        assert_eq!(home.asked(one, join(7, "osprey")).await, Some(Reply::Joined(NodeId(2))));
        assert_eq!(home.asked(one, join(7, "curlew")).await, refused);
        assert_eq!(home.news().await.unwrap().members.len(), 2);
        home.stop();
        thread.join().unwrap();
    }
}
