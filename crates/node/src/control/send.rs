//! What an operator sends to a process.

use api::{Error, ErrorCode, ProcessState, SendReply};
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use protocol::Wish;
use wire::{LETTER_BYTES_MAX, Pid, Report, Share};

use super::answer::{Answered, json};
use super::find::Asker;
use super::{Node, Shared};
use crate::driver::Cargo;

/// Sends the body from this node's port, whoever has the process: letters find it. The reply comes when it is in the
/// inbox.
pub(crate) async fn send(
    State(node): State<Shared>,
    asker: Asker,
    Path(reference): Path<String>,
    body: Body,
) -> Answered {
    let bytes = to_bytes(body, LETTER_BYTES_MAX).await.map_err(|_| too_long())?;
    let pid = node.receiver(asker, &reference).await?;
    node.post(pid, Share::from(&bytes[..])).await?;
    json(SendReply { pid, bytes: bytes.len() as u64 })
}

impl Node {
    /// Whom the operator means. What a member has that does not answer is in no list; its exact id is enough.
    async fn receiver(&self, asker: Asker, text: &str) -> Result<Pid, Error> {
        let process = match (self.find_one(asker, text).await, text.parse()) {
            (Ok(process), _) => process,
            (Err(error), Ok(pid)) if error.code == ErrorCode::UnknownProcess => {
                let (_, unanswered) = self.everywhere(true).await?;
                return if unanswered.is_empty() { Err(error) } else { Ok(pid) };
            }
            (Err(error), _) => return Err(error),
        };
        match process.state {
            ProcessState::Ended { .. } => {
                Err(Error::new(ErrorCode::Ended, format!("{} has ended", process.pid)))
            }
            _ => Ok(process.pid),
        }
    }

    async fn post(&self, pid: Pid, letter: Share) -> Result<(), Error> {
        match self.wished(Wish::Post(pid, letter), Cargo::None).await? {
            Report::Delivered => Ok(()),
            report => Err(self.unexpected(&report)),
        }
    }
}

fn too_long() -> Error {
    let message =
        format!("a message has at most {LETTER_BYTES_MAX} bytes, or its end did not come");
    Error::new(ErrorCode::InvalidRequest, message)
}
