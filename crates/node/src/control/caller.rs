//! Requests that one member makes of another, over the same API that the command speaks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use api::{Error, ErrorCode};
use axum::body::Body;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;
use wire::{Channel, CodeHash, NodeId, Reply};

use crate::links::dial::Dialer;

/// A reply that is one JSON value is not longer.
const REPLY_BYTES_MAX: usize = 16 << 20;

/// The longest code bundle that is taken from a member.
const BUNDLE_BYTES_MAX: usize = 1 << 30;

/// Calls members. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// None: this node has no others.
    dialer: Option<Dialer>,
    /// Bytes of code that were fetched by whom: moves report them.
    sent: Arc<Mutex<HashMap<(NodeId, CodeHash), u64>>>,
}

impl Caller {
    pub(crate) fn new(dialer: Option<Dialer>) -> Self {
        Self { dialer, sent: Arc::default() }
    }

    /// Passes a request on, and its answer back as it comes.
    pub(crate) async fn request(
        &self,
        node: NodeId,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Error> {
        let silent = |what: String| Error::new(ErrorCode::NodeUnavailable, what);
        let dialer = self.dialer.as_ref().ok_or_else(|| silent(format!("{node} is not here")))?;
        let (stream, _) =
            dialer.dial(node, Channel::Control).await.map_err(|error| silent(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| silent(format!("{node}: {error}")))?;
        tokio::spawn(connection);
        let answered = sender.send_request(request).await;
        answered.map_err(|error| silent(format!("{node}: {error}")))
    }

    /// Asks for one JSON value.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(
        &self,
        node: NodeId,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(body))
            .expect("our own paths are well-formed");
        let response = self.request(node, request).await?;
        let status = response.status();
        let bytes = collect(response, REPLY_BYTES_MAX).await?;
        let read = |error: serde_json::Error| {
            Error::new(ErrorCode::Internal, format!("{node} answered what is no reply: {error}"))
        };
        if status != StatusCode::OK {
            return Err(serde_json::from_slice(&bytes).unwrap_or_else(read));
        }
        serde_json::from_slice(&bytes).map_err(read)
    }

    /// Asks for a stream of JSON values, one a line.
    pub(crate) async fn lines<T: serde::de::DeserializeOwned>(
        &self,
        node: NodeId,
        path: &str,
    ) -> Result<impl futures_util::Stream<Item = Result<T, Error>> + Unpin + use<T>, Error> {
        let request =
            Request::get(path).body(Body::empty()).expect("our own paths are well-formed");
        let response = self.request(node, request).await?;
        let read = move |error: serde_json::Error| {
            Error::new(ErrorCode::Internal, format!("{node} answered what is no event: {error}"))
        };
        if response.status() != StatusCode::OK {
            let bytes = collect(response, REPLY_BYTES_MAX).await?;
            return Err(serde_json::from_slice(&bytes).unwrap_or_else(read));
        }
        let pieces = response.into_body().into_data_stream().map_err(std::io::Error::other);
        let lines = FramedRead::new(StreamReader::new(pieces), LinesCodec::new());
        Ok(lines.map(move |line| match line {
            Ok(line) => serde_json::from_str(&line).map_err(read),
            Err(error) => Err(broke_off(&error)),
        }))
    }

    /// Asks the registry on another node.
    pub(crate) async fn registry(
        &self,
        home: NodeId,
        request: &wire::Request,
    ) -> Result<Reply, Error> {
        let silent =
            |_| Error::new(ErrorCode::RegistryUnavailable, "the registry's home does not answer");
        let request = Request::post("/internal/registry")
            .body(Body::from(wire::encode(request)))
            .expect("our own paths are well-formed");
        let response = self.request(home, request).await.map_err(silent)?;
        let status = response.status();
        let bytes = collect(response, wire::MESSAGE_BYTES_MAX).await?;
        if status != StatusCode::OK {
            let unread = |error| Error::new(ErrorCode::Internal, format!("the registry: {error}"));
            return Err(serde_json::from_slice(&bytes).unwrap_or_else(unread));
        }
        wire::decode(&bytes)
            .map_err(|error| Error::new(ErrorCode::Internal, format!("the registry: {error}")))
    }

    /// Fetches a code bundle from a member, and says how many bytes have come, of how many. Its hash
    /// is still to be checked.
    pub(crate) async fn fetch_code(
        &self,
        node: NodeId,
        hash: CodeHash,
        come: impl Fn(u64, Option<u64>),
    ) -> Result<Vec<u8>, Error> {
        let request = Request::get(format!("/internal/code/{hash}"))
            .body(Body::empty())
            .expect("our own paths are well-formed");
        let response = self.request(node, request).await?;
        if response.status() != StatusCode::OK {
            return Err(Error::new(
                ErrorCode::UnknownProgram,
                format!("{node} has no program {hash}"),
            ));
        }
        let total = response.body().size_hint().exact();
        let mut body = http_body_util::Limited::new(response.into_body(), BUNDLE_BYTES_MAX);
        let mut bundle = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broke_off(&*error))?;
            if let Ok(piece) = frame.into_data() {
                bundle.extend_from_slice(&piece);
                come(bundle.len() as u64, total);
            }
        }
        Ok(bundle)
    }

    pub(crate) fn count_sent(&self, node: NodeId, hash: CodeHash, bytes: u64) {
        self.sent.lock().expect("nobody panics in here").insert((node, hash), bytes);
    }

    /// How many bytes of this code a node has fetched since this was asked last.
    pub(crate) fn take_sent(&self, node: NodeId, hash: CodeHash) -> u64 {
        self.sent.lock().expect("nobody panics in here").remove(&(node, hash)).unwrap_or(0)
    }
}

pub(crate) async fn collect(response: Response<Incoming>, max: usize) -> Result<Vec<u8>, Error> {
    let body = http_body_util::Limited::new(response.into_body(), max);
    let bytes = body.collect().await.map_err(|error| broke_off(&*error))?;
    Ok(bytes.to_bytes().into())
}

fn broke_off(error: &dyn std::error::Error) -> Error {
    Error::new(ErrorCode::NodeUnavailable, format!("an answer broke off: {error}"))
}
