//! A sequence diagram as data: lanes, rows, and where each process was meanwhile. Text and SVG draw the same one.

use std::collections::BTreeMap;

use api::{Cause, Event, EventKind, Pid, Side};

use super::order::Placed;

/// The lane of the registry, beside those of the nodes.
pub(crate) const REGISTRY: &str = "registry";

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diagram {
    /// Nodes in the order in which they appear; the registry last.
    pub(crate) lanes: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// Where each process is, from row to row.
    pub(crate) stays: Vec<Stay>,
    /// Every process that is drawn, in order.
    pub(crate) processes: Vec<Pid>,
    /// How many rows were left out at the beginning.
    pub(crate) left_out: usize,
}

/// One line of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Microseconds since the first event.
    pub(crate) at_us: u64,
    pub(crate) shape: Shape,
    pub(crate) kind: EventKind,
    pub(crate) word: String,
    /// In few words, to stand on an arrow.
    pub(crate) label: String,
    /// In a sentence, to stand beside it.
    pub(crate) text: String,
    pub(crate) pid: Option<Pid>,
    pub(crate) other: Option<Pid>,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Something at one lane.
    At(usize),
    /// A message: from the row in which it was said, if that is another.
    Arrow { from: usize, to: usize, said: Option<usize> },
    /// The beginning of a message that is heard in a later row.
    Said { from: usize },
    /// A message that nobody has heard.
    Lost { from: usize, to: usize },
}

/// A process at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stay {
    pub(crate) pid: Pid,
    pub(crate) lane: usize,
    pub(crate) from: usize,
    /// The last row; none: it is there still.
    pub(crate) to: Option<usize>,
    /// The stay that it has come from.
    pub(crate) before: Option<usize>,
}

/// How much is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Detail {
    /// Acknowledgements and every step, too.
    pub(crate) all: bool,
    /// So many rows at most, the last ones.
    pub(crate) rows_max: usize,
}

/// Draws events in their order.
pub(crate) fn draw(placed: &[Placed], detail: Detail) -> Diagram {
    let wanted: Vec<usize> = (0..placed.len()).filter(|at| shown(placed, *at, detail)).collect();
    let left_out = wanted.len().saturating_sub(detail.rows_max);
    let mut diagram = Diagram { left_out, ..Diagram::default() };
    let drawn = &wanted[left_out..];
    let first = drawn.first().map_or(0, |at| placed[*at].set_at_us);
    diagram.find_lanes(drawn.iter().map(|at| &placed[*at].event));
    let mut stays = Stays::default();
    let row_of: BTreeMap<usize, usize> = drawn.iter().enumerate().map(|(r, at)| (*at, r)).collect();
    // Moves before the first row say where a process was then.
    for (at, it) in placed.iter().enumerate() {
        let row = row_of.range(at..).next().map_or(drawn.len(), |(_, row)| *row);
        stays.see(&it.event, row, &diagram.lanes);
    }
    for at in drawn {
        let it = &placed[*at];
        let said = it.said_at.and_then(|said| row_of.get(&said)).copied();
        let Some(shape) = diagram.shape(it, said) else { continue };
        let at_us = it.set_at_us.saturating_sub(first);
        diagram.rows.push(row(&it.event, at_us, shape));
    }
    diagram.stays = stays.ended(diagram.rows.len());
    let mut processes: Vec<Pid> = diagram.stays.iter().map(|stay| stay.pid).collect();
    processes.sort_unstable();
    processes.dedup();
    diagram.processes = processes;
    diagram
}

/// Whether an event has a row.
fn shown(placed: &[Placed], at: usize, detail: Detail) -> bool {
    let it = &placed[at];
    let event = &it.event;
    match event.kind {
        EventKind::Ack => detail.all,
        EventKind::Step => {
            detail.all
                || matches!(
                    &*event.word,
                    "frozen"
                        | "committed"
                        | "released"
                        | "resumed"
                        | "taken-back"
                        | "in-file"
                        | "thawed"
                )
        }
        EventKind::Move => detail.all || event.word != "preparing",
        EventKind::Member => event.word == "gone" || event.word == "silent" || detail.all,
        _ => true,
    }
}

impl Diagram {
    fn find_lanes<'a>(&mut self, events: impl Iterator<Item = &'a Event>) {
        let mut registry = false;
        let mut add = |name: &str| {
            registry |= name == REGISTRY;
            if name != REGISTRY && !self.lanes.iter().any(|lane| lane == name) {
                self.lanes.push(name.to_owned());
            }
        };
        for event in events {
            add(&event.node);
            event.peer.as_deref().map(&mut add);
        }
        if registry {
            self.lanes.push(REGISTRY.to_owned());
        }
    }

    fn lane(&self, name: &str) -> Option<usize> {
        self.lanes.iter().position(|lane| lane == name)
    }

    fn shape(&self, it: &Placed, said: Option<usize>) -> Option<Shape> {
        let event = &it.event;
        let here = self.lane(&event.node)?;
        let Some((side, peer)) = event.side.zip(event.peer.as_deref()) else {
            return Some(Shape::At(here));
        };
        let there = self.lane(peer)?;
        Some(match side {
            _ if here == there => Shape::At(here),
            Side::In => Shape::Arrow { from: there, to: here, said },
            Side::Out if peer == REGISTRY => Shape::Arrow { from: here, to: there, said: None },
            Side::Out if it.heard_at.is_some() => Shape::Said { from: here },
            Side::Out => Shape::Lost { from: here, to: there },
        })
    }
}

/// Where processes are, as events show it.
#[derive(Default)]
struct Stays {
    stays: Vec<Stay>,
    /// The stay that is open for a process.
    open: BTreeMap<Pid, usize>,
    /// The last that was closed.
    last: BTreeMap<Pid, usize>,
}

impl Stays {
    fn see(&mut self, event: &Event, row: usize, lanes: &[String]) {
        let Some(pid) = event.pid else { return };
        let Some(lane) = lanes.iter().position(|lane| *lane == event.node) else { return };
        match (event.kind, &*event.word) {
            (EventKind::Life, "begins") => self.begin(pid, lane, row),
            (EventKind::Life, "ended") => self.end(pid, row),
            (EventKind::Step, "frozen") => {
                // One that was here before the first event.
                self.is_at(pid, lane);
                self.end(pid, row);
            }
            (EventKind::Step, "committed" | "thawed" | "resumed" | "taken-back") => {
                self.begin(pid, lane, row);
            }
            (EventKind::Send | EventKind::Deliver, _) => self.is_at(pid, lane),
            _ => (),
        }
    }

    /// It is there, and has been since the first row if nothing else is known.
    fn is_at(&mut self, pid: Pid, lane: usize) {
        if !self.open.contains_key(&pid) && !self.last.contains_key(&pid) {
            self.begin(pid, lane, 0);
        }
    }

    fn begin(&mut self, pid: Pid, lane: usize, from: usize) {
        let before = self.last.get(&pid).copied();
        if let Some(open) = self.open.get(&pid) {
            // It has left where it was, of which nothing was recorded.
            if self.stays[*open].lane == lane {
                return;
            }
            self.end(pid, from);
        }
        let before = before.or_else(|| self.last.get(&pid).copied());
        self.open.insert(pid, self.stays.len());
        self.stays.push(Stay { pid, lane, from, to: None, before });
    }

    fn end(&mut self, pid: Pid, row: usize) {
        if let Some(open) = self.open.remove(&pid) {
            self.stays[open].to = Some(row);
            self.last.insert(pid, open);
        }
    }

    fn ended(self, rows: usize) -> Vec<Stay> {
        let mut stays = self.stays;
        for stay in &mut stays {
            stay.from = stay.from.min(rows);
        }
        stays
    }
}

fn row(event: &Event, at_us: u64, shape: Shape) -> Row {
    Row {
        at_us,
        shape,
        kind: event.kind,
        word: event.word.clone(),
        label: label(event),
        text: sentence(event),
        pid: event.pid,
        other: event.other,
    }
}

/// What stands on an arrow: where the textbook has a word for it, that.
fn label(event: &Event) -> String {
    let letter = match event.cause {
        Some(Cause::Letter { from, to, first, pieces, .. }) => {
            let last =
                if pieces > 1 { format!("–{}", first + pieces - 1) } else { String::new() };
            format!("{}→{} #{first}{last}", from.index_text(), to.index_text())
        }
        _ => String::new(),
    };
    match (event.kind, &*event.word) {
        (EventKind::Hop, "end") => format!("end of {}", name(event.pid)),
        (EventKind::Hop, "watch") => format!("{} watches", name(event.pid)),
        (EventKind::Hop | EventKind::Send | EventKind::Deliver, _) => letter,
        (EventKind::Redirect, "astray") => format!("error: {} is not here", name(event.pid)),
        (EventKind::Redirect, _) => format!("moved: {}", place(event)),
        (EventKind::Hint, "leaving") => format!("cancel {}", name(event.pid)),
        (EventKind::Hint, "place") => format!("update {}", name(event.pid)),
        (EventKind::Hint, "moved") => format!("{} is here", name(event.pid)),
        (EventKind::Hint, "poll") => "any letters?".to_owned(),
        (EventKind::Lookup, "locate") => format!("where is {}?", name(event.pid)),
        (EventKind::Lookup, _) => "there".to_owned(),
        (EventKind::Move, "swapped") => "yes".to_owned(),
        (EventKind::Move, "not-swapped") => "no".to_owned(),
        (EventKind::Hold, "held") if event.text.contains("kept") => "kept here".to_owned(),
        (EventKind::Monitor, _) => format!("{} is {}", name(event.other.or(event.pid)), event.word),
        (_, word) => word.to_owned(),
    }
}

/// Where a forwarder says that a process is: the address stands in the text.
fn place(event: &Event) -> String {
    let address = event.text.split_once('(').and_then(|(_, rest)| rest.split_once('('));
    let address = address.and_then(|(_, rest)| rest.split_once(')')).map(|(address, _)| address);
    format!("{} to {}", name(event.pid), address.unwrap_or("elsewhere"))
}

fn name(pid: Option<Pid>) -> String {
    pid.map_or_else(|| "it".to_owned(), |pid| pid.index_text())
}

/// What stands beside a row.
fn sentence(event: &Event) -> String {
    match event.cause {
        Some(cause @ Cause::Move { .. }) => format!("{} {cause}", event.word),
        _ => event.text.clone(),
    }
}

/// How a process is called where its group is known.
trait IndexText {
    fn index_text(&self) -> String;
}

impl IndexText for Pid {
    fn index_text(&self) -> String {
        match self.index.checked_sub(1 << 31) {
            Some(port) => format!("port {port}"),
            None => format!(".{}", self.index),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::trace::order::order;

    /// A short story: a letter, a move of its receiver, the old node's error, the registry, the letter again.
    pub(in crate::trace) fn story() -> Vec<Event> {
        let (a, b): (Pid, Pid) = ("k3x9.0".parse().unwrap(), "k3x9.1".parse().unwrap());
        let letter = |first| Cause::Letter { from: a, to: b, life: 1, first, pieces: 1 };
        let mut events: Vec<Event> = Vec::new();
        let mut say =
            |node: &str, kind, word: &str, pid, other, end: Option<(Side, &str)>, cause| {
                let seq = events.len() as u64;
                events.push(Event {
                    node: node.to_owned(),
                    incarnation: 1,
                    seq,
                    at_us: 1_000_000 + seq * 250,
                    kind,
                    word: word.to_owned(),
                    side: end.map(|(side, _)| side),
                    peer: end.map(|(_, peer)| peer.to_owned()),
                    pid: Some(pid),
                    other,
                    cause,
                    text: format!("{word}({pid})"),
                });
            };
        use EventKind::{Deliver, Hop, Life, Lookup, Move, Redirect, Send, Step};
        use Side::{In, Out};
        let moving = Some(Cause::Move { pid: b, offer: 1 });
        say("heron", Life, "begins", a, None, None, None);
        say("heron", Life, "begins", b, None, None, None);
        say("heron", Move, "prepare", b, None, Some((Out, "osprey")), moving);
        say("osprey", Move, "prepare", b, None, Some((In, "heron")), moving);
        say("heron", Step, "frozen", b, None, None, moving);
        say("osprey", Move, "commit", b, None, Some((Out, REGISTRY)), moving);
        say("osprey", Move, "swapped", b, None, Some((In, REGISTRY)), moving);
        say("osprey", Step, "committed", b, None, None, moving);
        say("heron", Send, "sent", a, Some(b), None, Some(letter(0)));
        say("heron", Hop, "mail", a, Some(b), Some((Out, "curlew")), Some(letter(0)));
        say("curlew", Hop, "mail", a, Some(b), Some((In, "heron")), Some(letter(0)));
        say("curlew", Redirect, "astray", b, Some(a), Some((Out, "heron")), None);
        say("heron", Redirect, "astray", b, Some(a), Some((In, "curlew")), None);
        say("heron", Lookup, "locate", b, None, Some((Out, REGISTRY)), None);
        say("heron", Lookup, "located", b, None, Some((In, REGISTRY)), None);
        say("heron", Hop, "mail", a, Some(b), Some((Out, "osprey")), Some(letter(0)));
        say("osprey", Hop, "mail", a, Some(b), Some((In, "heron")), Some(letter(0)));
        say("osprey", Deliver, "delivered", b, Some(a), None, Some(letter(0)));
        events
    }

    #[test]
    fn a_process_is_drawn_where_it_is() {
        let diagram = draw(&order(story()), Detail { all: false, rows_max: 100 });
        assert_eq!(diagram.lanes, ["heron", "osprey", "curlew", REGISTRY]);
        let b: Pid = "k3x9.1".parse().unwrap();
        let stays: Vec<_> = diagram.stays.iter().filter(|stay| stay.pid == b).collect();
        let seen: Vec<_> = stays.iter().map(|stay| (stay.lane, stay.from, stay.to)).collect();
        assert_eq!(seen, [(0, 1, Some(4)), (1, 7, None)]);
        let arrows = diagram.rows.iter().filter(|row| matches!(row.shape, Shape::Arrow { .. }));
        let labels: Vec<&str> = arrows.map(|row| &*row.label).collect();
        assert_eq!(
            labels,
            [
                "prepare",
                "commit",
                "yes",
                ".0→.1 #0",
                "error: .1 is not here",
                "where is .1?",
                "there",
                ".0→.1 #0"
            ]
        );
    }

    #[test]
    fn only_the_last_rows_are_drawn_and_processes_stand_where_they_were() {
        let diagram = draw(&order(story()), Detail { all: false, rows_max: 3 });
        assert_eq!((diagram.rows.len(), diagram.left_out), (3, 15));
        let lanes: Vec<&str> =
            diagram.stays.iter().map(|stay| &*diagram.lanes[stay.lane]).collect();
        assert_eq!(lanes, ["heron", "heron", "osprey"]);
    }
}
