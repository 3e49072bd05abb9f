//! The code of processes that are to come here: fetched from whoever sends them and compiled, both
//! forms of it, before anything is stopped anywhere. Whoever asks hears how far that is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use api::{Progress, Step};
use engine::{Code, CodeError, Engine};
use wire::{CodeHash, NodeId};

use crate::control::Caller;

/// Gets code ready. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Codes {
    engine: Engine,
    caller: Caller,
    under_way: Arc<Mutex<HashMap<CodeHash, Work>>>,
}

/// Code that is being got ready.
struct Work {
    /// How many wait for it. One works, the others find what it has done.
    waiting: usize,
    turn: Arc<tokio::sync::Mutex<()>>,
    progress: Option<Progress>,
}

/// One who waits for code; when it goes, the last one takes the table's entry along.
struct Waiting<'a> {
    codes: &'a Codes,
    hash: CodeHash,
}

impl Codes {
    pub(crate) fn new(engine: Engine, caller: Caller) -> Self {
        Self { engine, caller, under_way: Arc::default() }
    }

    /// How far code is that is being got ready here.
    pub(crate) fn progress(&self, hash: CodeHash) -> Option<Progress> {
        self.table().get(&hash).and_then(|work| work.progress.clone())
    }

    /// Makes sure that code is here, fetching it from a member if need be, and that its resume form
    /// is compiled, so that a process can go on the moment it arrives.
    pub(crate) async fn make_ready(&self, from: NodeId, hash: CodeHash) -> Result<(), String> {
        let (_waiting, turn) = self.wait_for(hash);
        let _turn = turn.lock().await;
        let code = match self.find(hash).await? {
            Some(code) => code,
            None => self.fetch(from, hash).await?,
        };
        if !code.is_resumable() {
            self.note(hash, Progress { step: Step::Compile, done: 0, total: None });
        }
        blocking(move || code.make_resumable()).await
    }

    /// Lays out memory for a process of this code that is about to come.
    pub(crate) async fn make_room(&self, hash: CodeHash) {
        if let Ok(Some(code)) = self.find(hash).await {
            let made = tokio::task::spawn_blocking(move || code.make_room()).await;
            // Without it the thaw does that itself.
            tracing::debug!(%hash, ?made, "room");
        }
    }

    async fn find(&self, hash: CodeHash) -> Result<Option<Arc<Code>>, String> {
        // It may be in the cache, and still have to be compiled.
        self.note(hash, Progress { step: Step::Compile, done: 0, total: None });
        let engine = self.engine.clone();
        blocking(move || engine.code(hash)).await
    }

    async fn fetch(&self, from: NodeId, hash: CodeHash) -> Result<Arc<Code>, String> {
        let note = |done, total| self.note(hash, Progress { step: Step::Fetch, done, total });
        let fetched = self.caller.fetch_code(from, hash, note).await;
        let bundle = fetched.map_err(|error| format!("its code: {error}"))?;
        self.note(hash, Progress { step: Step::Compile, done: 0, total: None });
        let engine = self.engine.clone();
        let code = blocking(move || engine.load(&bundle, &|_| ())).await?;
        if code.hash() != hash {
            return Err("its code: the bundle that came has another hash".to_owned());
        }
        Ok(code)
    }

    fn wait_for(&self, hash: CodeHash) -> (Waiting<'_>, Arc<tokio::sync::Mutex<()>>) {
        let mut table = self.table();
        let work = table.entry(hash).or_insert_with(|| Work {
            waiting: 0,
            turn: Arc::default(),
            progress: None,
        });
        work.waiting += 1;
        (Waiting { codes: self, hash }, work.turn.clone())
    }

    fn note(&self, hash: CodeHash, progress: Progress) {
        if let Some(work) = self.table().get_mut(&hash) {
            work.progress = Some(progress);
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<CodeHash, Work>> {
        self.under_way.lock().expect("nobody panics in here")
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut table = self.codes.table();
        if let Some(work) = table.get_mut(&self.hash) {
            work.waiting -= 1;
            if work.waiting == 0 {
                table.remove(&self.hash);
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CodeError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| format!("its code: {error}"))
}
