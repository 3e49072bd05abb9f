//! How answers are written: one value, a stream of them, or what went wrong.

use api::{Error, ErrorCode};
use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use wire::{Reason, Refusal, RegistryRefusal, Why};

use crate::driver::Answer;

/// Events that wait for a slow reader.
const EVENTS_AHEAD: usize = 64;

/// What went wrong, as a response.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Error);

pub(crate) type Answered = Result<Response, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status());
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(self.0)).into_response()
    }
}

/// One value.
pub(crate) fn json<T: Serialize>(value: T) -> Answered {
    Ok(Json(value).into_response())
}

/// A stream of events, and where to say them. When nobody reads any more, saying fails.
pub(crate) fn events<T: Serialize + Send + 'static>() -> (mpsc::Sender<T>, Response) {
    let (say, said) = mpsc::channel::<T>(EVENTS_AHEAD);
    let lines = ReceiverStream::new(said).map(|event| {
        let mut line = serde_json::to_vec(&event).map_err(std::io::Error::other)?;
        line.push(b'\n');
        Ok::<_, std::io::Error>(line)
    });
    let response = ([(header::CONTENT_TYPE, api::NDJSON)], Body::from_stream(lines));
    (say, response.into_response())
}

/// The node is ending.
pub(crate) fn ending() -> Error {
    Error::new(ErrorCode::NodeUnavailable, "the node is stopping")
}

pub(crate) fn invalid(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::InvalidRequest, what.to_string())
}

/// Why a wish was not fulfilled, as the operator is told. `name` gives nodes their names.
pub(crate) fn of_why(why: &Why, name: impl Fn(wire::NodeId) -> String) -> Error {
    let (code, message) = match why {
        Why::Unknown => (ErrorCode::UnknownProcess, why.to_string()),
        Why::Moving | Why::InFile => (ErrorCode::Busy, why.to_string()),
        Why::NoMember(node) => {
            (ErrorCode::UnknownNode, format!("node {} is not a member that is up", name(*node)))
        }
        Why::TargetSilent(node) => {
            (ErrorCode::NodeUnavailable, format!("node {} does not answer", name(*node)))
        }
        Why::TargetGone(peer) => {
            let gone = format!("node {} went before the move was complete", name(peer.node));
            (ErrorCode::GivenUp, gone)
        }
        Why::Target(node, Refusal::RegistrySilent) => (
            ErrorCode::RegistryUnavailable,
            format!("node {} refused: the registry does not answer it", name(*node)),
        ),
        Why::Target(node, refusal) => {
            let words = refusal.to_string();
            let full = words.contains("No space left") || words.contains("File too large");
            let code = if full { ErrorCode::DiskFull } else { ErrorCode::Refused };
            (code, format!("node {} refused: {words}", name(*node)))
        }
        Why::Transfer(_) => (ErrorCode::GivenUp, why.to_string()),
        Why::RegistrySilent | Why::NoIds => (ErrorCode::RegistryUnavailable, why.to_string()),
        Why::GroupKilled => (ErrorCode::Ended, why.to_string()),
        Why::NameTaken(_) => (ErrorCode::NameTaken, why.to_string()),
        Why::Unmovable(_) => (ErrorCode::Refused, why.to_string()),
        Why::Down(Reason::NoProcess) => (ErrorCode::UnknownProcess, why.to_string()),
        Why::Down(Reason::Lost(node)) => {
            (ErrorCode::Ended, format!("it was lost with {}", name(*node)))
        }
        Why::Down(_) => (ErrorCode::Ended, why.to_string()),
        Why::NoRoom => (ErrorCode::Busy, why.to_string()),
        Why::Unacknowledged => (ErrorCode::NodeUnavailable, why.to_string()),
        Why::TooLong => (ErrorCode::InvalidRequest, why.to_string()),
        Why::Expelled => (ErrorCode::NodeUnavailable, why.to_string()),
    };
    Error::new(code, message)
}

/// Why the registry refused.
pub(crate) fn of_registry(refusal: &RegistryRefusal) -> Error {
    let (code, message) = match refusal {
        RegistryRefusal::Gone => (ErrorCode::NodeUnavailable, "this node was declared gone"),
        RegistryRefusal::NotMember => (ErrorCode::ForeignCertificate, "the asker is not a member"),
        RegistryRefusal::Token => (ErrorCode::BadToken, "the token is unknown, or was used before"),
        RegistryRefusal::TokenExpired => (ErrorCode::TokenExpired, "the token's time is over"),
        RegistryRefusal::NameTaken => (ErrorCode::NameTaken, "the name belongs to another"),
        RegistryRefusal::Unknown => (ErrorCode::UnknownNode, "the registry knows no such name"),
        RegistryRefusal::BadName => {
            (ErrorCode::InvalidRequest, "a name or address is empty or too long")
        }
        RegistryRefusal::StillUp => {
            (ErrorCode::Busy, "it still answers: only a silent node can be forgotten")
        }
    };
    Error::new(code, message)
}

/// Why code cannot be had.
pub(crate) fn of_code(error: &engine::CodeError) -> Error {
    let code = match error {
        engine::CodeError::Transform(transform::Error::Unsupported { .. }) => {
            ErrorCode::UnsupportedFeature
        }
        engine::CodeError::MissingImport { .. } | engine::CodeError::ImportType { .. } => {
            ErrorCode::MissingImport
        }
        engine::CodeError::Compile(_) => ErrorCode::Internal,
        _ => ErrorCode::InvalidProgram,
    };
    Error::new(code, error.to_string())
}

/// Why a process was not started.
pub(crate) fn of_start(error: &engine::StartError) -> Error {
    let code = match error {
        engine::StartError::Wasi(_) => ErrorCode::NoInput,
        engine::StartError::Memory { .. } => ErrorCode::Limit,
        _ => ErrorCode::InvalidProgram,
    };
    Error::new(code, error.to_string())
}

/// Why an image was not thawed.
pub(crate) fn of_thaw(error: &engine::ThawError) -> Error {
    let code = match error {
        engine::ThawError::Image(wire::image::ImageError::Version { .. }) => {
            ErrorCode::ImageVersion
        }
        engine::ThawError::Foreign(_) => ErrorCode::ImageCode,
        engine::ThawError::CodeMissing(_) => ErrorCode::UnknownProgram,
        engine::ThawError::Binding(_) => ErrorCode::NoInput,
        engine::ThawError::Code(error) => return of_code(error),
        engine::ThawError::Io(_) => ErrorCode::Io,
        _ => ErrorCode::CorruptImage,
    };
    Error::new(code, error.to_string())
}

/// An answer that is no report, where only a report would be one.
pub(crate) fn out_of_place(answer: &Answer) -> Error {
    match answer {
        Answer::NotStarted(error) => of_start(error),
        Answer::NotAgain(_) => Error::new(ErrorCode::Busy, "the process has left its file"),
        Answer::Report(report) => {
            Error::new(ErrorCode::Internal, format!("an answer out of place: {report:?}"))
        }
    }
}
