//! The word that says something to a process.

use std::io::Read as _;

use api::{Error, SendReply, route};

use crate::destination::Choice;
use crate::say;
use crate::units::bytes;
use crate::words::{Format, Send};

/// No message is longer, in bytes.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;

pub(crate) async fn send(at: &Choice, word: Send) -> Result<u8, Error> {
    let client = at.daemon()?;
    let message = match word.text.as_str() {
        "-" => standard_input()?,
        text => text.as_bytes().to_vec(),
    };
    let path = route::SEND.fill(&[&word.process]);
    let reply: SendReply = client.give(route::SEND, &path, message).await?;
    match word.printing.format {
        Format::Json => say::json(&reply),
        Format::Table => say::out(&format!("{} has it: {}", reply.pid, bytes(reply.bytes))),
    }
    Ok(0)
}

/// All of it, or so much that it is too long.
fn standard_input() -> Result<Vec<u8>, Error> {
    let mut message = Vec::new();
    let input = std::io::stdin().lock().take(MESSAGE_BYTES_MAX + 1).read_to_end(&mut message);
    input.map_err(|error| say::io("standard input", &error))?;
    Ok(message)
}
