//! What has happened: read from this node's chronicle, and gathered from all.

use std::sync::Arc;

use api::{Error, ErrorCode, Event, EventsLine, EventsQuery, Reference, TraceReply, TraceRequest};
use axum::Json;
use axum::extract::{Query, State};
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use wire::{GroupId, NodeId};

use super::answer::{Answered, ending, events, json};
use super::find::Asker;
use super::{Node, Shared};
use crate::chronicle::{Entry, Far, Of};

/// A line of a member's stream is not longer.
const LINE_BYTES_MAX: usize = 4 << 20;

pub(crate) async fn stream(
    State(node): State<Shared>,
    asker: Asker,
    Query(query): Query<EventsQuery>,
) -> Answered {
    let of = match &query.of {
        Some(text) => node.meant(asker, text).await?,
        None => Of::All,
    };
    let only = match &query.on {
        Some(name) if asker == Asker::Operator => Some(node.member_named(name)?.peer.node),
        _ => None,
    };
    let (say, response) = events();
    let here = asker != Asker::Operator || only.is_none_or(|only| only == node.me.node);
    if here {
        tokio::spawn(node.clone().tell_events(of, query.follow, say.clone()));
    }
    if asker == Asker::Operator {
        let exact = match of {
            Of::All => None,
            Of::Group(group) => Some(group.to_string()),
            Of::Process(pid) => Some(pid.to_string()),
        };
        let query = EventsQuery { of: exact, on: None, follow: query.follow };
        for member in node.others() {
            if only.is_none_or(|only| only == member.peer.node) {
                let (node, query, say) = (node.clone(), query.clone(), say.clone());
                tokio::spawn(async move {
                    let there = member.peer.node;
                    if node.pass_events(there, &query, &say).await.is_err() {
                        let _ = say.send(EventsLine::Silent { node: member.name }).await;
                    }
                });
            }
        }
    }
    Ok(response)
}

pub(crate) async fn trace(
    State(node): State<Shared>,
    asker: Asker,
    Json(request): Json<TraceRequest>,
) -> Answered {
    let group = match node.meant(asker, &request.of).await? {
        Of::Group(group) => group,
        Of::Process(pid) => pid.group,
        Of::All => unreachable!("it means something"),
    };
    let here = node.trace_here(group, request.on).await?;
    if asker != Asker::Operator {
        let full = || Error::new(ErrorCode::Limit, "too many groups are traced here already");
        return if here { json(TraceReply { group, silent: vec![] }) } else { Err(full().into()) };
    }
    let mut silent = node.trace_elsewhere(group, request.on).await;
    if !here {
        silent.push(node.name.clone());
    }
    json(TraceReply { group, silent })
}

impl Node {
    /// What a text means, of which there are events. An exact id needs to be known to nobody.
    async fn meant(&self, asker: Asker, text: &str) -> Result<Of, Error> {
        if let Ok(pid) = text.parse() {
            return Ok(Of::Process(pid));
        }
        if asker != Asker::Operator
            && let Ok(group) = text.parse()
        {
            return Ok(Of::Group(group));
        }
        Ok(match self.find(asker, text).await?.reference {
            Reference::Process(pid) => Of::Process(pid),
            Reference::Group(group) => Of::Group(group),
        })
    }

    async fn trace_here(&self, group: GroupId, on: bool) -> Result<bool, Error> {
        self.events.look(move |driver| driver.machine.trace(group, on)).await.ok_or_else(ending)
    }

    /// Has other members record, or not. Says who did not answer.
    pub(crate) async fn trace_elsewhere(&self, group: GroupId, on: bool) -> Vec<String> {
        let body = TraceRequest { of: group.to_string(), on };
        let body = serde_json::to_vec(&body).expect("a request is plain data");
        let path = api::route::TRACE.fill(&[]);
        let others = self.others();
        let asked = others.iter().map(async |member| {
            let node = member.peer.node;
            self.caller.json::<TraceReply>(node, Method::POST, &path, body.clone()).await
        });
        let answers = futures_util::future::join_all(asked).await;
        let silent = others.iter().zip(answers).filter(|(_, answer)| answer.is_err());
        silent.map(|(member, _)| member.name.clone()).collect()
    }

    /// Says what is in the chronicle, and what comes if that is wanted, until nobody listens.
    async fn tell_events(self: Arc<Self>, of: Of, follow: bool, say: mpsc::Sender<EventsLine>) {
        let chronicle = &self.chronicle;
        let mut news = chronicle.watch();
        let mut from = 0;
        loop {
            news.borrow_and_update();
            let read = chronicle.read(from, of);
            from = read.next;
            if read.dropped > 0 {
                let (node, count) = (self.name.clone(), read.dropped);
                if say.send(EventsLine::Dropped { node, count }).await.is_err() {
                    return;
                }
            }
            for entry in read.entries {
                if say.send(EventsLine::Event(self.event_of(entry))).await.is_err() {
                    return;
                }
            }
            if read.more {
                continue;
            }
            if !follow {
                return;
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = say.closed() => return,
            }
        }
    }

    fn event_of(&self, entry: Entry) -> Event {
        let peer = entry.far.map(|far| match far {
            Far::Node(node) => self.node_name(node),
            Far::Registry => "registry".to_owned(),
        });
        Event {
            node: self.name.clone(),
            incarnation: self.me.incarnation.0,
            seq: entry.seq,
            at_us: entry.at,
            kind: entry.kind,
            word: entry.word.to_owned(),
            side: entry.side,
            peer,
            pid: entry.pid,
            other: entry.other,
            cause: entry.cause,
            text: entry.text.into(),
        }
    }

    /// Says what a member says.
    async fn pass_events(
        &self,
        node: NodeId,
        query: &EventsQuery,
        say: &mpsc::Sender<EventsLine>,
    ) -> Result<(), Error> {
        let path = api::route::EVENTS.fill(&[]) + &query.to_query();
        let request = axum::http::Request::get(path)
            .body(axum::body::Body::empty())
            .map_err(super::answer::invalid)?;
        let mut body = self.caller.request(node, request).await?.into_body();
        let mut buffer = Vec::new();
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = say.closed() => return Ok(()),
            };
            let Some(frame) = frame else { return Ok(()) };
            let broken = |what: String| Error::new(ErrorCode::NodeUnavailable, what);
            let frame = frame.map_err(|error: <Incoming as hyper::body::Body>::Error| {
                broken(error.to_string())
            })?;
            let Ok(data) = frame.into_data() else { continue };
            buffer.extend_from_slice(&data);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let line = serde_json::from_slice(&line).map_err(|e| broken(e.to_string()))?;
                if say.send(line).await.is_err() {
                    return Ok(());
                }
            }
            if LINE_BYTES_MAX < buffer.len() {
                return Err(broken("a line without end".to_owned()));
            }
        }
    }
}
