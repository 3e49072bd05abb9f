//! Nodes on loopback in this very process, and a plain client of their control sockets.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason
)]

use std::path::Path;
use std::time::Duration;

use api::{
    Error, ErrorCode, MoveEvent, MoveReport, MoveRequest, Outcome, Pid, ProcessEvent, ProgramEvent,
    RunRequest, TokenReply, TokenRequest,
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use node::{Config, Handle, Node};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Anything that is awaited in a test comes within this time, or the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A node and its data.
pub struct Member {
    pub handle: Handle,
    pub data: tempfile::TempDir,
}

pub fn config(name: &str, data: &Path) -> Config {
    Config {
        name: name.to_owned(),
        data: Some(data.to_owned()),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        workers: Some(1),
        ..Config::default()
    }
}

/// Starts a node that has ended, when the last of its tasks has let go of its data.
pub async fn start_again(name: &str, data: &Path) -> Handle {
    let started = async {
        loop {
            match Node::start(config(name, data)).await {
                Err(error) if error.code == ErrorCode::DataInUse => tokio::task::yield_now().await,
                started => return started.unwrap(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, started).await.expect("it lets go")
}

/// A cluster with these members; the first holds the registry.
pub async fn cluster(names: &[&str]) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for name in names {
        let data = tempfile::tempdir().unwrap();
        let mut config = config(name, data.path());
        if let Some(first) = members.first() {
            let token: TokenReply = first
                .client()
                .json(Method::POST, "/v1/tokens", &TokenRequest::default())
                .await
                .unwrap();
            config.join = Some((token.address, token.token));
        }
        let handle = Node::start(config).await.unwrap();
        members.push(Member { handle, data });
    }
    for member in &members {
        member.client().until_up(names.len()).await;
    }
    members
}

impl Member {
    pub fn client(&self) -> Client {
        Client { socket: self.handle.ready().socket.clone() }
    }
}

/// Speaks to one node.
#[derive(Clone)]
pub struct Client {
    pub socket: std::path::PathBuf,
}

impl Client {
    pub async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Response<Incoming> {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "node")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        sender.send_request(request).await.unwrap()
    }

    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, Error> {
        let response = self.send(method, path, serde_json::to_vec(body).unwrap()).await;
        let ok = response.status().is_success();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        match ok {
            true => Ok(serde_json::from_slice(&bytes).unwrap()),
            false => Err(serde_json::from_slice(&bytes).unwrap()),
        }
    }

    pub async fn get<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Error> {
        self.json(method, path, &()).await
    }

    /// Until this node sees so many members up.
    pub async fn until_up(&self, count: usize) {
        let all_up = async {
            loop {
                let reply: api::NodesReply = self.get(Method::GET, "/v1/nodes").await.unwrap();
                let up = |node: &&api::NodeSummary| node.state == api::NodeState::Up;
                if reply.nodes.iter().filter(up).count() == count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all_up).await.expect("the members see each other");
    }

    pub async fn upload(&self, wasm: &[u8]) -> Result<wire::CodeHash, Error> {
        let response = self.send(Method::POST, "/v1/programs", wasm.to_vec()).await;
        let mut events = Events::new(response);
        loop {
            match events.next().await.expect("a last line") {
                ProgramEvent::Ready { program } => return Ok(program),
                ProgramEvent::Failed { error } => return Err(error),
                ProgramEvent::Progress(_) => {}
            }
        }
    }

    /// Starts a program, attached.
    pub async fn run(&self, wasm: &[u8], change: impl FnOnce(&mut RunRequest)) -> Running {
        let program = self.upload(wasm).await.unwrap();
        let mut request = RunRequest {
            program,
            program_name: "test".to_owned(),
            args: vec!["test".to_owned()],
            env: Vec::new(),
            dirs: Vec::new(),
            name: None,
            on: None,
            memory_bytes_max: None,
            stub_missing: false,
            attached: true,
            stdin: false,
            count: 1,
            others: Vec::new(),
            locate: api::Locate::default(),
            poll_ms: None,
            in_transit: api::InTransit::default(),
            together: false,
            checkpoint_ms: None,
            placement: api::Placement::default(),
            allow_send: Vec::new(),
            trace: false,
        };
        change(&mut request);
        let body = serde_json::to_vec(&request).unwrap();
        let response = self.send(Method::POST, "/v1/processes", body).await;
        Running::of(response).await.unwrap()
    }

    pub async fn kill(&self, pid: Pid) {
        let target = api::KillRequest { target: pid.to_string() };
        let killed: Result<api::KillReply, Error> =
            self.json(Method::POST, "/v1/kill", &target).await;
        assert_eq!(killed.unwrap().killed.len(), 1);
    }

    pub async fn move_to(&self, pid: Pid, to: &str) -> Result<MoveReport, Error> {
        let body = serde_json::to_vec(&MoveRequest { to: to.to_owned() }).unwrap();
        let path = format!("/v1/processes/{pid}/move");
        let response = self.send(Method::POST, &path, body).await;
        if !response.status().is_success() {
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            return Err(serde_json::from_slice(&bytes).unwrap());
        }
        let mut events = Events::new(response);
        loop {
            match events.next().await.expect("a last line") {
                MoveEvent::Moved(report) => return Ok(report),
                MoveEvent::Failed { error } => return Err(error),
                MoveEvent::Progress(_) | MoveEvent::MovedTogether { .. } => {}
            }
        }
    }
}

/// An attached process.
pub struct Running {
    pub pid: Pid,
    pub new: bool,
    events: Events,
    pub output: Vec<u8>,
}

impl Running {
    pub async fn of(response: Response<Incoming>) -> Result<Self, Error> {
        if !response.status().is_success() {
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            return Err(serde_json::from_slice(&bytes).unwrap());
        }
        let mut events = Events::new(response);
        match events.next().await {
            Some(ProcessEvent::Started { pid, new, .. }) => {
                Ok(Self { pid, new, events, output: Vec::new() })
            }
            Some(ProcessEvent::Failed { error }) => Err(error),
            other => panic!("{other:?} before the start"),
        }
    }

    /// One whose log is read.
    pub fn reads(pid: Pid, response: Response<Incoming>) -> Self {
        Self { pid, new: false, events: Events::new(response), output: Vec::new() }
    }

    /// Takes output until there is so much of it.
    pub async fn until(&mut self, bytes: usize) {
        while self.output.len() < bytes {
            assert!(self.step().await.is_none(), "it ended early: {}", self.text());
        }
    }

    /// Takes output to the end.
    pub async fn until_end(&mut self) -> Outcome {
        loop {
            if let Some(outcome) = self.step().await {
                return outcome;
            }
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    async fn step(&mut self) -> Option<Outcome> {
        let next = tokio::time::timeout(PATIENCE, self.events.next()).await;
        match next.expect("output, or an end").expect("a last line") {
            ProcessEvent::Output { offset, bytes, .. } => {
                assert_eq!(offset, self.output.len() as u64, "no gap, no repetition");
                self.output.extend(bytes.0);
                None
            }
            ProcessEvent::Ended { outcome } => Some(outcome),
            other => panic!("{other:?} out of place"),
        }
    }
}

/// Lines of JSON.
pub struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    pub fn new(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    pub async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend(data);
            }
        }
    }
}

/// A program that prints the numbers from 1 to `last`, one a line, with `work` rounds of a loop
/// between two, and exits with code 7.
pub fn counter(last: u32, work: u32) -> Vec<u8> {
    counter_with(last, work, "")
}

/// The same program with more functions, which may call its `$work`.
pub fn counter_with(last: u32, work: u32, more: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (global $number (mut i32) (i32.const 0))
          (func $print (param $value i32)
            (local $at i32)
            (local.set $at (i32.const 63))
            (i32.store8 (local.get $at) (i32.const 10))
            (loop $digit
              (local.set $at (i32.sub (local.get $at) (i32.const 1)))
              (i32.store8 (local.get $at)
                (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10))))
              (local.set $value (i32.div_u (local.get $value) (i32.const 10)))
              (br_if $digit (local.get $value)))
            (i32.store (i32.const 64) (local.get $at))
            (i32.store (i32.const 68) (i32.sub (i32.const 64) (local.get $at)))
            (drop (call $write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 72))))
          (func $work (result i32)
            (local $round i32) (local $sum i32)
            (loop $next
              (local.set $sum (i32.xor (local.get $sum) (i32.mul (local.get $round) (i32.const 77))))
              (local.set $round (i32.add (local.get $round) (i32.const 1)))
              (br_if $next (i32.lt_u (local.get $round) (i32.const {work}))))
            (local.get $sum))
          {more}
          (func (export "_start")
            (loop $next
              (i32.store (i32.const 128) (call $work))
              (global.set $number (i32.add (global.get $number) (i32.const 1)))
              (call $print (global.get $number))
              (br_if $next (i32.lt_u (global.get $number) (i32.const {last}))))
            (call $exit (i32.const 7))))"#
    ))
    .unwrap()
}

/// What that program prints.
pub fn counted(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

/// A program that copies its input to its output.
pub fn echo() -> Vec<u8> {
    wat::parse_str(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_read"
            (func $read (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "_start")
            (block $end
              (loop $next
                (i32.store (i32.const 0) (i32.const 1024))
                (i32.store (i32.const 4) (i32.const 4096))
                (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                (br_if $end (i32.eqz (i32.load (i32.const 8))))
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
                (br $next)))))"#,
    )
    .unwrap()
}
