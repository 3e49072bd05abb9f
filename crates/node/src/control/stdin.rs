//! Standard input, from the terminal to wherever the process is.
//!
//! Each piece is sent with its place in all the input and sent again until it was taken: a process
//! that moves in between neither loses a byte nor reads one twice.

use std::time::Duration;

use api::{Error, ErrorCode, ProcessState};
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use futures_util::StreamExt as _;
use hyper::Method;
use wire::{NodeId, Pid};

use super::answer::Answered;
use super::find::Asker;
use super::internal::{InputQuery, InputTaken};
use super::{Node, Shared};

/// A piece that is sent at once.
const PIECE_BYTES_MAX: usize = 32 << 10;

/// Between two tries to feed a process that has no room, or is on its way.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) async fn stdin(
    State(node): State<Shared>,
    asker: Asker,
    Path(reference): Path<String>,
    body: Body,
) -> Answered {
    let pid = node.find_one(asker, &reference).await?.pid;
    let mut feeder = Feeder { node: &node, pid, at: None, offset: 0 };
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        // Broken off: the input stays open.
        let Ok(piece) = piece else { return Ok(().into_response()) };
        feeder.feed(piece, false).await?;
    }
    feeder.feed(Bytes::new(), true).await?;
    Ok(().into_response())
}

struct Feeder<'a> {
    node: &'a Node,
    pid: Pid,
    /// Where the process was last.
    at: Option<NodeId>,
    /// How much it has been fed.
    offset: u64,
}

impl Feeder<'_> {
    /// Feeds a piece, however long that takes.
    async fn feed(&mut self, mut piece: Bytes, end: bool) -> Result<(), Error> {
        loop {
            let now = piece.slice(..piece.len().min(PIECE_BYTES_MAX));
            let query = InputQuery { offset: self.offset, end };
            let taken = self.offer(query, now.clone()).await?;
            match taken.next {
                Some(next) => {
                    let count = next.saturating_sub(self.offset);
                    let count = usize::try_from(count).unwrap_or(usize::MAX).min(piece.len());
                    let _ = piece.split_to(count);
                    self.offset = self.offset.max(next);
                    if piece.is_empty() {
                        return Ok(());
                    }
                    if count == 0 {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                None => {
                    self.look_for().await?;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn offer(&self, query: InputQuery, piece: Bytes) -> Result<InputTaken, Error> {
        match self.at.filter(|at| *at != self.node.me.node) {
            None => self.node.feed_here(self.pid, query, piece).await,
            Some(there) => {
                let InputQuery { offset, end } = query;
                let path = format!("/internal/stdin/{}?offset={offset}&end={end}", self.pid);
                let asked = self.node.caller.json(there, Method::POST, &path, piece.to_vec());
                Ok(asked.await.unwrap_or(InputTaken { next: None }))
            }
        }
    }

    /// Finds out where the process is now; an error if it has ended.
    async fn look_for(&mut self) -> Result<(), Error> {
        let (processes, _) = self.node.everywhere(true).await?;
        let process = processes.into_iter().find(|process| process.pid == self.pid);
        match process {
            Some(process) if !matches!(process.state, ProcessState::Ended { .. }) => {
                let there = self.node.member_named(&process.node);
                self.at = there.ok().map(|member| member.peer.node);
                Ok(())
            }
            _ => Err(Error::new(ErrorCode::Ended, format!("{} has ended", self.pid))),
        }
    }
}
