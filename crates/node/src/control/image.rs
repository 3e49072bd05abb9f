//! Processes into files and back.

use api::{Error, ErrorCode, FreezeRequest, FrozenReply, ProcessEvent, ThawQuery};
use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use engine::{Staged, Thaw, ThawError};
use futures_util::StreamExt as _;
use hyper::Method;
use protocol::Wish;
use tokio::sync::{mpsc, oneshot};
use wire::{Owner, Pid, Report};

use super::answer::{Answered, ending, of_start, of_thaw, out_of_place};
use super::find::Asker;
use super::run::panicked;
use super::{Node, Shared};
use crate::driver::{Answer, Cargo, ImageSink};
use crate::links::bulk::CHUNKS_AHEAD;
use crate::papers::{Info, Papers};

/// So much of an uploaded image is kept to be read again, if its code has to be fetched first.
const HEAD_BYTES_MAX: usize = 4 << 20;

/// A process on its way into a file.
pub(crate) struct Filing {
    committed: oneshot::Sender<bool>,
    answer: oneshot::Receiver<Answer>,
}

pub(crate) async fn freeze(
    State(node): State<Shared>,
    asker: Asker,
    Path(reference): Path<String>,
    Json(request): Json<FreezeRequest>,
) -> Answered {
    let process = node.find_one(asker, &reference).await?;
    let pid = process.pid;
    if let Some(there) = node.elsewhere(asker, &process) {
        let path = api::route::FREEZE.fill(&[&pid.to_string()]);
        let body = serde_json::to_vec(&request).expect("a request is plain data");
        return node.pass_on(there, Method::POST, &path, Body::from(body)).await;
    }
    let (chunks, mut image) = mpsc::channel(CHUNKS_AHEAD);
    if request.copy {
        let copied = node.events.look(move |driver| driver.guests.copy(pid, chunks)).await;
        return match copied {
            Some(true) => {
                let first = image.recv().await.ok_or_else(|| {
                    Error::new(ErrorCode::Busy, "it ended, or was moved, before it was copied")
                })?;
                Ok(stream(first, image))
            }
            Some(false) => Err(Error::new(ErrorCode::Busy, "it is not running here now").into()),
            None => Err(ending().into()),
        };
    }
    let (committed, is_committed) = oneshot::channel();
    let sink = ImageSink { chunks, committed: is_committed };
    let answer = node.events.wish(Wish::Store(pid), Cargo::File(sink));
    let Some(first) = image.recv().await else {
        // Nothing was written: the answer says why.
        return match answer.await.map_err(|_| ending())? {
            Answer::Report(report) => Err(node.unexpected(&report).into()),
            answer => Err(out_of_place(&answer).into()),
        };
    };
    node.filing.lock().expect("nobody panics in here").insert(pid, Filing { committed, answer });
    Ok(stream(first, image))
}

pub(crate) async fn commit(
    State(node): State<Shared>,
    asker: Asker,
    Path(reference): Path<String>,
) -> Answered {
    let route = api::route::FREEZE_COMMIT;
    let (pid, filing) = match node.filing(asker, &reference).await? {
        Where::Here(pid, filing) => (pid, filing),
        Where::There(to, pid) => {
            let path = route.fill(&[&pid.to_string()]);
            return node.pass_on(to, Method::POST, &path, Body::empty()).await;
        }
    };
    let _ = filing.committed.send(true);
    match filing.answer.await.map_err(|_| ending())? {
        Answer::Report(Report::Stored { epoch }) => {
            super::answer::json(FrozenReply { pid, epoch: epoch.0 })
        }
        Answer::Report(report) => Err(node.unexpected(&report).into()),
        answer => Err(out_of_place(&answer).into()),
    }
}

pub(crate) async fn abandon(
    State(node): State<Shared>,
    asker: Asker,
    Path(reference): Path<String>,
) -> Answered {
    match node.filing(asker, &reference).await? {
        Where::Here(_, filing) => {
            let _ = filing.committed.send(false);
            let _ = filing.answer.await;
            Ok(().into_response())
        }
        Where::There(to, pid) => {
            let path = api::route::FREEZE_ABANDON.fill(&[&pid.to_string()]);
            node.pass_on(to, Method::DELETE, &path, Body::empty()).await
        }
    }
}

pub(crate) async fn thaw(
    State(node): State<Shared>,
    Query(query): Query<ThawQuery>,
    body: Body,
) -> Answered {
    node.takes_work().await?;
    let staged = node.take_in(body).await?;
    let papers = Papers::decode(staged.protocol())
        .map_err(|error| Error::new(ErrorCode::CorruptImage, error))?;
    let again = !query.new && !papers.copy && papers.section.owner == Owner::File;
    let staged = if again {
        let (section, info) = (papers.section.clone(), papers.info.clone());
        let pid = section.pid;
        let cargo = Cargo::Thaw(Box::new(staged), info);
        match node.events.wish(Wish::Thaw(section), cargo).await.map_err(|_| ending())? {
            Answer::Report(Report::Thawed { .. }) => {
                let first =
                    ProcessEvent::Started { pid, node: node.name.clone(), new: false, members: 1 };
                return Ok(node.tell(first, pid, query.attached));
            }
            Answer::NotAgain(staged) => *staged,
            Answer::Report(report) => return Err(node.unexpected(&report).into()),
            Answer::NotStarted(error) => return Err(of_start(&error).into()),
        }
    } else {
        staged
    };
    let info = Info { name: None, moves: 0, ..papers.info };
    let wish = Wish::Spawn {
        home: node.me.node,
        name: None,
        grant: wire::Grant::Own,
        locate: wire::Locate::default(),
        in_transit: wire::InTransit::default(),
        together: false,
        durable: None,
        members: 1,
    };
    let answer = node.events.wish(wish, Cargo::Copy(Box::new(staged), info));
    let pid = match answer.await.map_err(|_| ending())? {
        Answer::Report(Report::Spawned(pid)) => pid,
        Answer::Report(report) => return Err(node.unexpected(&report).into()),
        answer => return Err(out_of_place(&answer).into()),
    };
    let first = ProcessEvent::Started { pid, node: node.name.clone(), new: true, members: 1 };
    Ok(node.tell(first, pid, query.attached))
}

enum Where {
    Here(Pid, Filing),
    There(wire::NodeId, Pid),
}

impl Node {
    async fn filing(&self, asker: Asker, reference: &str) -> Result<Where, Error> {
        let process = self.find_one(asker, reference).await?;
        if let Some(there) = self.elsewhere(asker, &process) {
            return Ok(Where::There(there, process.pid));
        }
        let filing = self.filing.lock().expect("nobody panics in here").remove(&process.pid);
        let none = || {
            let message = format!("{} is not on its way into a file", process.pid);
            Error::new(ErrorCode::InvalidRequest, message)
        };
        filing.map(|filing| Where::Here(process.pid, filing)).ok_or_else(none)
    }

    /// Takes in an image that is uploaded. If its code is not here it is fetched, and the image's
    /// beginning read once more.
    async fn take_in(&self, body: Body) -> Result<Staged, Error> {
        let mut pieces = body.into_data_stream();
        let taken = self.take_pieces(&mut pieces).await;
        if taken.is_err() {
            // Whoever still writes does not read: the answer would meet a connection that has broken.
            while let Some(Ok(_)) = pieces.next().await {}
        }
        taken
    }

    async fn take_pieces(&self, pieces: &mut BodyDataStream) -> Result<Staged, Error> {
        let mut thaw = Thaw::new(&self.engine);
        let mut head: Option<Vec<u8>> = Some(Vec::new());
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| {
                Error::new(ErrorCode::CorruptImage, format!("the upload broke off: {error}"))
            })?;
            let kept = head.take().and_then(|mut head| {
                head.extend_from_slice(&piece);
                (head.len() <= HEAD_BYTES_MAX).then_some(head)
            });
            let (back, pushed) = push(thaw, piece.to_vec()).await?;
            thaw = back;
            match (pushed, &kept) {
                (Ok(()), _) => {}
                (Err(ThawError::CodeMissing(hash)), Some(head)) => {
                    self.get_code(hash).await?;
                    let (back, pushed) = push(Thaw::new(&self.engine), head.clone()).await?;
                    pushed.map_err(|error| of_thaw(&error))?;
                    thaw = back;
                }
                (Err(error), _) => return Err(of_thaw(&error)),
            }
            head = kept;
        }
        let finished = tokio::task::spawn_blocking(move || thaw.finish()).await;
        let staged =
            finished.map_err(|error| panicked(&error))?.map_err(|error| of_thaw(&error))?;
        // As in a move: what leaves its file runs on at once.
        let ready = self.codes.make_ready(self.me.node, staged.code()).await;
        ready.map_err(|error| Error::new(ErrorCode::Refused, error))?;
        Ok(staged)
    }
}

async fn push(mut thaw: Thaw, bytes: Vec<u8>) -> Result<(Thaw, Result<(), ThawError>), Error> {
    let pushed = tokio::task::spawn_blocking(move || {
        let pushed = thaw.push(&bytes);
        (thaw, pushed)
    });
    pushed.await.map_err(|error| panicked(&error))
}

/// An image as a body. It ends well only if its writer said that it is whole, by an empty chunk.
fn stream(first: Vec<u8>, image: mpsc::Receiver<Vec<u8>>) -> Response {
    let rest = futures_util::stream::unfold(Some(image), |image| async move {
        let mut image = image?;
        match image.recv().await {
            Some(chunk) if chunk.is_empty() => None,
            Some(chunk) => Some((Ok(chunk), Some(image))),
            None => {
                let broken = std::io::Error::other("the process is no longer frozen");
                Some((Err(broken), None))
            }
        }
    });
    let pieces = futures_util::stream::iter([Ok(first)]).chain(rest);
    ([(header::CONTENT_TYPE, api::OCTETS)], Body::from_stream(pieces)).into_response()
}
