//! Events of several nodes in one order: that of causes, and of time where causes leave it open.
//!
//! The events of one incarnation have an order of their own, and what a node has heard stands after what another has said:
//! that is Lamport's relation "happened before". Clocks differ, so they are set against each other first, by the
//! messages that went both ways: half the difference of the shortest times there and back, as NTP does it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use api::{Event, Side};

/// An event in its place.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Placed {
    /// Its logical time: greater than that of all that it follows from.
    pub(crate) lamport: u64,
    /// What was heard: where in the order it was said, if that is known.
    pub(crate) said_at: Option<usize>,
    /// What was said: where it was heard. A message for which nobody has heard it was lost, or is under way.
    pub(crate) heard_at: Option<usize>,
    /// When, by the clock of the first node.
    pub(crate) set_at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// A message as both ends know it: from where, to where, and its text.
type Key<'a> = (&'a str, &'a str, &'a str);

/// One start of one node.
type Source = (String, u64);

/// Puts events in order.
pub(crate) fn order(events: Vec<Event>) -> Vec<Placed> {
    let offsets = offsets(&events);
    let mut queues: BTreeMap<Source, VecDeque<Event>> = BTreeMap::new();
    for event in events {
        queues.entry((event.node.clone(), event.incarnation)).or_default().push_back(event);
    }
    for queue in queues.values_mut() {
        queue.make_contiguous().sort_by_key(|event| event.seq);
    }
    let mut sayings: HashMap<String, Sayings> = HashMap::new();
    for event in queues.values().flatten() {
        if let Some((key, Side::Out)) = key(event) {
            sayings.entry(joined(key)).or_default().to_come += 1;
        }
    }
    let mut placed: Vec<Placed> = Vec::new();
    let mut clocks: BTreeMap<Source, u64> = BTreeMap::new();
    while let Some(source) = next(&queues, &sayings, &offsets) {
        let Some(event) = queues.get_mut(&source).and_then(VecDeque::pop_front) else { break };
        if queues.get(&source).is_some_and(VecDeque::is_empty) {
            queues.remove(&source);
        }
        let at = placed.len();
        let clock = clocks.entry(source).or_default();
        let mut said_at = None;
        match key(&event) {
            Some((key, Side::Out)) => {
                let sayings = sayings.entry(joined(key)).or_default();
                sayings.to_come -= 1;
                sayings.open.push_back(at);
            }
            Some((key, Side::In)) => {
                let sayings = sayings.get_mut(&joined(key));
                said_at = sayings.and_then(|sayings| sayings.open.pop_front());
                if let Some(said) = said_at {
                    *clock = (*clock).max(placed[said].lamport);
                    placed[said].heard_at = Some(at);
                }
            }
            None => (),
        }
        *clock += 1;
        let set_at_us = set(&event, &offsets);
        placed.push(Placed { lamport: *clock, said_at, heard_at: None, set_at_us, event });
    }
    placed
}

/// What has been said, word for word the same, and not been heard.
#[derive(Default)]
struct Sayings {
    open: VecDeque<usize>,
    to_come: usize,
}

/// Whose event is next: the earliest of those that wait for no other.
fn next(
    queues: &BTreeMap<Source, VecDeque<Event>>,
    sayings: &HashMap<String, Sayings>,
    offsets: &BTreeMap<String, i64>,
) -> Option<Source> {
    let heads = || queues.iter().filter_map(|(source, queue)| Some((source, queue.front()?)));
    let ready = |event: &Event| match key(event) {
        Some((key, Side::In)) => sayings
            .get(&joined(key))
            .is_none_or(|sayings| !sayings.open.is_empty() || sayings.to_come == 0),
        _ => true,
    };
    let earliest = |heads: &mut dyn Iterator<Item = (&Source, &Event)>| {
        heads.min_by_key(|(_, event)| set(event, offsets)).map(|(source, _)| source.clone())
    };
    // None is ready only if something is missing.
    earliest(&mut heads().filter(|(_, event)| ready(event))).or_else(|| earliest(&mut heads()))
}

/// An event's time by the first node's clock.
fn set(event: &Event, offsets: &BTreeMap<String, i64>) -> u64 {
    event.at_us.saturating_add_signed(offsets.get(&event.node).copied().unwrap_or(0))
}

fn key(event: &Event) -> Option<(Key<'_>, Side)> {
    let (side, peer) = (event.side?, event.peer.as_deref()?);
    // The registry tells nothing of its own, and what a node says to itself it hears at once.
    if peer == "registry" || peer == event.node {
        return None;
    }
    let (node, text) = (event.node.as_str(), event.text.as_str());
    Some(match side {
        Side::Out => ((node, peer, text), side),
        Side::In => ((peer, node, text), side),
    })
}

fn joined((from, to, text): Key<'_>) -> String {
    format!("{from}\n{to}\n{text}")
}

/// What to add to the clock of each node, so that it shows what that of the first does.
fn offsets(events: &[Event]) -> BTreeMap<String, i64> {
    // The shortest time that a message took, as the two clocks have it.
    let mut said: HashMap<Key<'_>, Vec<u64>> = HashMap::new();
    let mut heard: HashMap<Key<'_>, Vec<u64>> = HashMap::new();
    for event in events {
        match key(event) {
            Some((key, Side::Out)) => said.entry(key).or_default().push(event.at_us),
            Some((key, Side::In)) => heard.entry(key).or_default().push(event.at_us),
            None => (),
        }
    }
    let mut took: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for (key, said) in &said {
        let Some(heard) = heard.get(key).filter(|heard| heard.len() == said.len()) else {
            continue;
        };
        for (said, heard) in said.iter().zip(heard) {
            let took = took.entry((key.0, key.1)).or_insert(i64::MAX);
            *took = (*took).min(heard.wrapping_sub(*said).cast_signed());
        }
    }
    let mut offsets = BTreeMap::new();
    let Some(first) = events.first() else { return offsets };
    offsets.insert(first.node.clone(), 0);
    let mut open = vec![first.node.as_str()];
    while let Some(known) = open.pop() {
        let base = offsets.get(known).copied().unwrap_or(0);
        for ((from, to), there) in took.iter().filter(|((from, _), _)| *from == known) {
            if let Some(back) = took.get(&(*to, *from))
                && !offsets.contains_key(*to)
            {
                offsets.insert((*to).to_owned(), base - (there - back) / 2);
                open.push(to);
            }
        }
    }
    offsets
}

#[cfg(test)]
mod tests {
    use api::EventKind;

    use super::*;

    fn event(node: &str, seq: u64, at_us: u64, side: Option<(Side, &str)>, text: &str) -> Event {
        Event {
            node: node.to_owned(),
            incarnation: 1,
            seq,
            at_us,
            kind: EventKind::Hop,
            word: "mail".to_owned(),
            side: side.map(|(side, _)| side),
            peer: side.map(|(_, peer)| peer.to_owned()),
            pid: None,
            other: None,
            cause: None,
            text: text.to_owned(),
        }
    }

    fn out(node: &str, seq: u64, at_us: u64, peer: &str, text: &str) -> Event {
        event(node, seq, at_us, Some((Side::Out, peer)), text)
    }

    fn came(node: &str, seq: u64, at_us: u64, peer: &str, text: &str) -> Event {
        event(node, seq, at_us, Some((Side::In, peer)), text)
    }

    fn shown(placed: &[Placed]) -> Vec<String> {
        let show = |it: &Placed| {
            let side = it.event.side.map_or("", |side| if side == Side::Out { "!" } else { "?" });
            format!("{}{side}{}", it.event.node, it.event.text)
        };
        placed.iter().map(show).collect()
    }

    #[test]
    fn what_is_heard_stands_after_what_was_said_however_wrong_the_clocks_are() {
        // The clock of b is a second behind.
        let events = vec![
            came("b", 0, 500, "a", "m"),
            out("b", 1, 510, "a", "n"),
            out("a", 0, 1_000_000, "b", "m"),
            event("a", 1, 1_000_005, None, "x"),
            came("a", 2, 1_000_030, "b", "n"),
        ];
        let placed = order(events);
        assert_eq!(shown(&placed), ["a!m", "ax", "b?m", "b!n", "a?n"]);
        assert_eq!((placed[2].said_at, placed[0].heard_at), (Some(0), Some(2)));
        let lamports: Vec<u64> = placed.iter().map(|it| it.lamport).collect();
        assert_eq!(lamports, [1, 2, 2, 3, 4]);
        // Ten microseconds there and ten back, by either clock.
        let times: Vec<u64> = placed.iter().map(|it| it.set_at_us - placed[0].set_at_us).collect();
        assert!(times.is_sorted(), "{times:?}");
    }

    #[test]
    fn what_is_missing_holds_nothing_up() {
        // What was said first was lost; of the last, who said it has forgotten it.
        let events = vec![
            out("a", 0, 10, "b", "m"),
            out("a", 1, 20, "b", "m"),
            came("b", 0, 25, "a", "m"),
            came("b", 1, 26, "a", "o"),
        ];
        let placed = order(events);
        assert_eq!(shown(&placed), ["a!m", "a!m", "b?m", "b?o"]);
        assert_eq!((placed[2].said_at, placed[3].said_at), (Some(0), None));
        // Of two that wait for each other nothing is lost either.
        let events = vec![
            came("a", 0, 1, "b", "n"),
            out("a", 1, 2, "b", "m"),
            came("b", 0, 1, "a", "m"),
            out("b", 1, 2, "a", "n"),
        ];
        assert_eq!(order(events).len(), 4);
    }

    #[test]
    fn incarnations_of_a_node_are_apart() {
        let mut late = event("a", 0, 50, None, "again");
        late.incarnation = 2;
        let placed = order(vec![late, event("a", 7, 40, None, "before")]);
        assert_eq!(shown(&placed), ["abefore", "aagain"]);
    }
}
