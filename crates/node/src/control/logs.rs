//! What processes wrote, handed on to another member, so that this node can be emptied.
//!
//! ```text
//! old home, o                                 new home
//!   its log rests
//!   POST /internal/logs/copy/PID, the file -->  PID.from-o, durable
//!   writes down that there is a copy
//!   POST /internal/logs/adopt ----------------> it is the log
//!   lets its own go, tells the process's node
//! ```
//!
//! From the third line on it goes on after a crash of either, until the new home has answered or is forgotten.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{DrainEvent, Error, ErrorCode};
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use axum::routing::post;
use axum::{Extension, Json, Router};
use futures_util::StreamExt as _;
use hyper::{Method, Request, StatusCode};
use protocol::Input;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use wire::{Member, MemberStanding, NodeId, Peer, Pid};

use super::answer::{Answered, ending, invalid, json};
use super::run::panicked;
use super::{Node, Shared, caller};
use crate::logbook::{Adopted, Content};
use crate::papers::Info;

/// So many logs are handed on at a time: their processes cannot write meanwhile.
const BATCH: usize = 1_024;

/// So many files are on their way at once.
const FILES_AT_ONCE: usize = 16;

const PIECE_BYTES: usize = 256 << 10;
const PIECES_AHEAD: usize = 4;

/// How long the new home may be silent, or a process's node not know of it, before that is reported.
const PATIENCE: Duration = Duration::from_secs(20);

/// How soon a new home that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(500);

const ADOPT: &str = "/internal/logs/adopt";

/// A log for its new home.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Orphan {
    pid: Pid,
    /// Where it begins, if nothing was written and there is no copy.
    quiet: Option<u64>,
    /// What `ps` shows of its process.
    info: Option<Info>,
}

/// A log that goes, and all that is known of it.
struct Leaving {
    orphan: Orphan,
    content: Content,
}

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/internal/logs/copy/{pid}", post(copy)).route(ADOPT, post(adopt))
}

/// Takes a copy of another home's log.
async fn copy(
    State(node): State<Shared>,
    Extension(peer): Extension<Peer>,
    Path(pid): Path<String>,
    body: Body,
) -> Answered {
    let pid: Pid = pid.parse().map_err(invalid)?;
    if node.logbook.has(pid) {
        let message = format!("the output of {pid} is kept here already");
        return Err(Error::new(ErrorCode::Refused, message).into());
    }
    if node.events.look(|driver| driver.draining).await.ok_or_else(ending)? {
        return Err(Error::new(ErrorCode::Refused, "this node is being drained").into());
    }
    let path = node.logbook.copy_of(peer.node, pid);
    let (pieces, mut written) = mpsc::channel::<Bytes>(PIECES_AHEAD);
    let file = path.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let mut file = File::create(file)?;
        while let Some(piece) = written.blocking_recv() {
            file.write_all(&piece)?;
        }
        file.sync_all()
    });
    let mut body = body.into_data_stream();
    let mut whole = Ok(());
    while let Some(piece) = body.next().await {
        match piece {
            // A writer that has ended says why.
            Ok(piece) => _ = pieces.send(piece).await,
            Err(error) => whole = Err(invalid(format!("the log broke off: {error}"))),
        }
    }
    drop(pieces);
    let written = writing.await.map_err(|error| panicked(&error))?;
    let done = whole.and_then(|()| written.map_err(|error| of_disk(&error)));
    if done.is_err() {
        let _ = fs::remove_file(path);
    }
    done?;
    Ok(StatusCode::OK.into_response())
}

/// Makes copies the logs of this node. Answers with those that are now, or were before.
async fn adopt(
    State(node): State<Shared>,
    Extension(peer): Extension<Peer>,
    Json(orphans): Json<Vec<Orphan>>,
) -> Answered {
    let book = node.logbook.clone();
    let adopted = tokio::task::spawn_blocking(move || {
        let mut adopted = Vec::new();
        for Orphan { pid, quiet, info } in orphans {
            match book.adopt(peer.node, pid, quiet) {
                Ok(Some(way)) => adopted.push((pid, way, info)),
                Ok(None) => tracing::warn!(%pid, from = %peer, "there is no copy of its output"),
                Err(error) => return Err(of_disk(&error)),
            }
        }
        Ok(adopted)
    });
    let adopted = adopted.await.map_err(|error| panicked(&error))??;
    let pids: Vec<Pid> = adopted.iter().map(|(pid, ..)| *pid).collect();
    let fed = node.events.look(move |driver| {
        for (pid, way, info) in adopted {
            if let Some(info) = info {
                driver.known.entry(pid).or_insert_with(|| Arc::new(info));
            }
            if let Adopted::Now(state) = way {
                let (length, ended) = (state.length, state.ended.is_some());
                driver.feed(Input::LogOpened { pid, length, ended });
            }
        }
    });
    fed.await.ok_or_else(ending)?;
    json(pids)
}

impl Node {
    /// Hands on every log that is kept here, to one member after the other, and tells of each batch. Those that stay are
    /// named, and why.
    pub(super) async fn hand_logs(
        self: &Arc<Self>,
        targets: &[Member],
        say: &mpsc::Sender<DrainEvent>,
    ) -> Result<Vec<(Pid, Error)>, Error> {
        let pids = self.logs_here().await?;
        let mut stayed = Vec::new();
        for (turn, batch) in pids.chunks(BATCH).enumerate() {
            let mut result = Err(Error::new(ErrorCode::Refused, "no member takes it"));
            for k in 0..targets.len() {
                let target = &targets[(turn + k) % targets.len()];
                result = self.hand_batch(batch, target).await;
                if result.is_ok() {
                    break;
                }
            }
            match result {
                Ok((moved, left)) => {
                    stayed.extend(left);
                    let _ = say.send(moved).await;
                }
                Err(error) => stayed.extend(batch.iter().map(|pid| (*pid, error.clone()))),
            }
        }
        Ok(stayed)
    }

    /// Whose output is kept here: of those that run somewhere, and of those that have ended.
    pub(super) async fn logs_here(&self) -> Result<Vec<Pid>, Error> {
        let open = self.events.look(|driver| driver.machine.logs().map(|(pid, _)| pid).collect());
        let mut pids: Vec<Pid> = open.await.ok_or_else(ending)?;
        pids.extend(self.logbook.pids());
        pids.sort();
        pids.dedup();
        // Those that are on their way already are looked after.
        let handed = self.logbook.handed();
        let handed: HashSet<Pid> = handed.iter().map(|(pid, _)| *pid).collect();
        pids.retain(|pid| !handed.contains(pid));
        Ok(pids)
    }

    /// Whether anybody still needs this node for one of these logs.
    pub(super) async fn any_log_left(&self, mut pids: Vec<Pid>) -> Result<bool, Error> {
        let book = self.logbook.clone();
        let needed = self.events.look(move |driver| {
            pids.retain(|pid| driver.log_left.contains_key(pid) || book.has(*pid));
            !pids.is_empty()
        });
        needed.await.ok_or_else(ending)
    }

    /// All of them, or none if it is the target that cannot.
    async fn hand_batch(
        self: &Arc<Self>,
        pids: &[Pid],
        target: &Member,
    ) -> Result<(DrainEvent, Vec<(Pid, Error)>), Error> {
        let (to, to_rest) = (target.peer.node, pids.to_vec());
        let rests = self.events.look(move |driver| {
            to_rest.iter().for_each(|pid| driver.machine.rest_log(*pid));
        });
        rests.await.ok_or_else(ending)?;
        let copied = self.copy_all(pids, to).await;
        let (leaving, mut stayed) = match copied {
            Ok(copied) => copied,
            Err(error) => {
                self.keep_logs(pids.to_vec()).await;
                return Err(error);
            }
        };
        self.keep_logs(stayed.iter().map(|(pid, _)| *pid).collect()).await;
        let bytes = |Leaving { content, .. }: &Leaving| match content {
            Content::Quiet(_) => 0,
            Content::File { bytes, .. } => *bytes,
        };
        let bytes = leaving.iter().map(bytes).sum();
        let all: Vec<Pid> = leaving.iter().map(|leaving| leaving.orphan.pid).collect();
        let orphans = leaving.into_iter().map(|leaving| leaving.orphan).collect();
        // It goes on when nobody waits any more: what was written down has to be seen through.
        let seen = tokio::spawn(self.clone().see_through(to, orphans));
        match tokio::time::timeout(PATIENCE, seen).await {
            Ok(seen) => stayed.extend(seen.map_err(|error| panicked(&error))??),
            Err(_) => {
                let message = format!("{} has not answered yet whether it keeps it", target.name);
                let error = Error::new(ErrorCode::NodeUnavailable, message);
                stayed.extend(all.iter().map(|pid| (*pid, error.clone())));
            }
        }
        let processes = (pids.len() - stayed.len()) as u64;
        Ok((DrainEvent::OutputMoved { processes, bytes, to: target.name.clone() }, stayed))
    }

    /// Copies logs that rest, and writes down that there are copies. Those that do not rest stay: the disk does not take
    /// what they should have.
    async fn copy_all(
        &self,
        pids: &[Pid],
        to: NodeId,
    ) -> Result<(Vec<Leaving>, Vec<(Pid, Error)>), Error> {
        let asked = pids.to_vec();
        let known = self.events.look(move |driver| {
            let rests = asked.into_iter().map(|pid| {
                let info = driver.known.get(&pid).map(|info| (**info).clone());
                (pid, driver.machine.log_rests(pid), info)
            });
            rests.collect::<Vec<_>>()
        });
        let known = known.await.ok_or_else(ending)?;
        let book = self.logbook.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let (mut leaving, mut stayed) = (Vec::new(), Vec::new());
            for (pid, rests, info) in known {
                if !rests {
                    let error = io::Error::other("the disk has not taken all of its output yet");
                    stayed.push((pid, of_disk(&error)));
                    continue;
                }
                match book.content(pid) {
                    Ok(Some(content)) => {
                        let quiet = match &content {
                            Content::Quiet(base) => Some(*base),
                            Content::File { .. } => None,
                        };
                        leaving.push(Leaving { orphan: Orphan { pid, quiet, info }, content });
                    }
                    // It was on its way already.
                    Ok(None) => (),
                    Err(error) => stayed.push((pid, of_disk(&error))),
                }
            }
            (leaving, stayed)
        });
        let (leaving, stayed) = looked.await.map_err(|error| panicked(&error))?;
        let copies = leaving.iter().filter_map(|leaving| match &leaving.content {
            Content::Quiet(_) => None,
            Content::File { path, bytes, .. } => Some((leaving.orphan.pid, path.clone(), *bytes)),
        });
        let copies: Vec<_> =
            copies.map(|(pid, path, bytes)| self.send_copy(to, pid, path, bytes)).collect();
        let mut copies = futures_util::stream::iter(copies).buffer_unordered(FILES_AT_ONCE);
        while let Some(copied) = copies.next().await {
            copied?;
        }
        drop(copies);
        let logs: Vec<_> =
            leaving.iter().map(|leaving| (leaving.orphan.pid, leaving.content.ended())).collect();
        let book = self.logbook.clone();
        let marked = tokio::task::spawn_blocking(move || book.mark(&logs, to)).await;
        marked.map_err(|error| panicked(&error))?.map_err(|error| of_disk(&error))?;
        Ok((leaving, stayed))
    }

    async fn send_copy(
        &self,
        to: NodeId,
        pid: Pid,
        path: PathBuf,
        bytes: u64,
    ) -> Result<(), Error> {
        let (pieces, read) = mpsc::channel::<io::Result<Bytes>>(PIECES_AHEAD);
        tokio::task::spawn_blocking(move || {
            let failed = read_out(&path, bytes, |piece| pieces.blocking_send(Ok(piece)).is_ok());
            if let Err(error) = failed {
                let _ = pieces.blocking_send(Err(error));
            }
        });
        let request = Request::post(format!("/internal/logs/copy/{pid}"))
            .body(Body::from_stream(ReceiverStream::new(read)))
            .expect("our own paths are well-formed");
        let response = self.caller.request(to, request).await?;
        let status = response.status();
        let bytes = caller::collect(response, 1 << 20).await?;
        if status == StatusCode::OK {
            return Ok(());
        }
        let unread = |error| Error::new(ErrorCode::Internal, format!("{to} answered: {error}"));
        Err(serde_json::from_slice(&bytes).unwrap_or_else(unread))
    }

    /// Logs of which there are copies: asks the new home to make them its own until it has answered or is forgotten, lets
    /// go of those that it has, and waits until their processes' nodes know.
    async fn see_through(
        self: Arc<Self>,
        to: NodeId,
        orphans: Vec<Orphan>,
    ) -> Result<Vec<(Pid, Error)>, Error> {
        let pids: Vec<Pid> = orphans.iter().map(|orphan| orphan.pid).collect();
        let adopted = self.adopted(to, orphans).await?;
        let (kept, left): (Vec<Pid>, Vec<Pid>) =
            pids.into_iter().partition(|pid| !adopted.contains(pid));
        let book = self.logbook.clone();
        let (staying, leaving) = (kept.clone(), left.clone());
        let written = tokio::task::spawn_blocking(move || {
            book.unmark(&staying)?;
            book.leave(&leaving)
        });
        let written = written.await.map_err(|error| panicked(&error))?;
        written.map_err(|error| of_disk(&error))?;
        self.keep_logs(kept.clone()).await;
        let name = self.node_name(to);
        let gone = Error::new(ErrorCode::NodeUnavailable, format!("{name} has no copy of it"));
        let mut stayed: Vec<_> = kept.into_iter().map(|pid| (pid, gone.clone())).collect();
        let book = self.logbook.clone();
        let told = self.events.look(move |driver| {
            let ways = book.handed().into_iter().collect::<HashMap<_, _>>();
            let mut told = Vec::new();
            for pid in left {
                let Some(handed) = ways.get(&pid) else { continue };
                let (tell, wait) = oneshot::channel();
                driver.log_left.insert(pid, tell);
                driver.feed(Input::LogHanded { pid, to: handed.to, ended: handed.ended });
                told.push((pid, wait));
            }
            told
        });
        let told = told.await.ok_or_else(ending)?;
        let deadline = tokio::time::Instant::now() + PATIENCE / 2;
        for (pid, wait) in told {
            if tokio::time::timeout_at(deadline, wait).await.is_err() {
                let message = "its node has not heard yet where its output is kept now";
                stayed.push((pid, Error::new(ErrorCode::NodeUnavailable, message)));
            }
        }
        Ok(stayed)
    }

    /// Which of them the new home has; none if it was forgotten: then it never will.
    async fn adopted(&self, to: NodeId, orphans: Vec<Orphan>) -> Result<Vec<Pid>, Error> {
        let body = serde_json::to_vec(&orphans).expect("orphans are plain data");
        let mut stop = self.stop.subscribe();
        loop {
            match self.caller.json(to, Method::POST, ADOPT, body.clone()).await {
                Ok(adopted) => return Ok(adopted),
                Err(error) => tracing::warn!(%error, to = %to, "logs are not handed on yet"),
            }
            let member = self.roster.member(to);
            if member.is_some_and(|member| member.standing == MemberStanding::Forgotten) {
                return Ok(Vec::new());
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = stop.wait_for(|stop| *stop) => return Err(ending()),
            }
        }
    }

    async fn keep_logs(&self, pids: Vec<Pid>) {
        if !pids.is_empty() {
            let keep = self.events.look(move |driver| {
                pids.iter().for_each(|pid| driver.machine.keep_log(*pid));
            });
            keep.await;
        }
    }

    /// What was being handed on when this node went down is seen through.
    pub(crate) async fn hand_logs_on(self: Arc<Self>) {
        let mut under_way = HashMap::<NodeId, Vec<Orphan>>::new();
        for (pid, handed) in self.logbook.handed().into_iter().filter(|(_, handed)| !handed.left) {
            let quiet = match self.logbook.content(pid) {
                Ok(Some(Content::Quiet(base))) => Some(base),
                _ => None,
            };
            let orphan = Orphan { pid, quiet, info: None };
            under_way.entry(handed.to).or_default().push(orphan);
        }
        for (to, orphans) in under_way {
            tokio::spawn(self.clone().see_through(to, orphans));
        }
    }
}

/// So many bytes of a file, piece by piece.
fn read_out(path: &FilePath, bytes: u64, mut take: impl FnMut(Bytes) -> bool) -> io::Result<()> {
    let mut file = File::open(path)?.take(bytes);
    let mut left = bytes;
    while left > 0 {
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES))];
        file.read_exact(&mut piece)?;
        left -= piece.len() as u64;
        if !take(piece.into()) {
            break;
        }
    }
    Ok(())
}

fn of_disk(error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge => ErrorCode::DiskFull,
        _ => ErrorCode::Io,
    };
    Error::new(code, format!("the output's log: {error}"))
}
