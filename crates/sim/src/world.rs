//! The simulated cluster: its queue of events, its network, its disks, its crashes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt::Write as _;

use protocol::{Config, Input, Instant, Machine, Registry, Rng, Rule, Rules, Span, Wish};
use wire::{
    Envelope, Epoch, Incarnation, Key, Message, NodeId, Offer, Outcome, Peer, Pid, Reason, Record,
    Reply, Request, Section, SwapKind, Ticket, TokenHash, Write,
};

use crate::cells::REGISTRY_SWAPPED;
use crate::checks::Truth;
use crate::handing::{Hand, Handed};
use crate::meter::Meter;
use crate::{Cells, Faults, Marks};

/// A cluster, its disks, its network and its clock. Node 0 is the registry's home.
pub struct World {
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) rules: Rules,
    pub(crate) faults: Faults,
    pub(crate) nodes: Vec<Node>,
    pub(crate) registry: Option<Registry>,
    /// What the registry's disk holds.
    pub(crate) disk: BTreeMap<Key, Record>,
    /// Replies wait for the writes before them.
    disk_busy_until: Instant,
    /// Pairs of nodes that cannot hear each other, and until when.
    cuts: Vec<(usize, usize, Instant)>,
    /// Files that processes were frozen into, reachable from everywhere.
    pub(crate) files: BTreeMap<Pid, (Guest, Section)>,
    pub(crate) truth: Truth,
    pub(crate) next_ticket: u64,
    last_attempt: u64,
    /// How often a guest that does something writes to another, in percent: some have nothing to say, and hear of
    /// others only what they are told.
    pub(crate) talk: u64,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    events: BTreeMap<u64, Event>,
    scheduled: u64,
    /// What happened, one event a line, if anyone wants to read it.
    pub(crate) story: Option<String>,
    /// Nobody acts by himself, and what is counted is counted: how `strategies` uses a world.
    pub(crate) meter: Option<Meter>,
    /// How many messages in a row have led to what happens now.
    pub(crate) hops: u32,
    /// Rare things.
    pub marks: Marks,
    /// Faults at steps of moves.
    pub cells: Cells,
    /// Things that have happened.
    pub steps: u64,
    /// The first thing that must not be.
    pub violation: Option<String>,
}

pub(crate) struct Node {
    /// `None` while it is down.
    pub(crate) machine: Option<Machine>,
    pub(crate) incarnation: u64,
    pub(crate) forgotten: bool,
    /// Stops by itself when it does not hear of the registry.
    pub(crate) fenced: bool,
    /// Guests in memory: running or frozen.
    pub(crate) guests: BTreeMap<Pid, Guest>,
    /// Reservations of the driver: who may stream an image here, and whether it has.
    pub(crate) room: BTreeMap<(Pid, Offer), Room>,
    /// On disk.
    pub(crate) logs: BTreeMap<Pid, Log>,
    /// Logs that it is about to hand on: one way each at a time.
    pub(crate) handing: BTreeSet<Pid>,
    /// On disk: copies of other homes' logs, not in use.
    pub(crate) copies: BTreeMap<(usize, Pid), Log>,
    /// On disk: which of the logs are another node's.
    pub(crate) handed: BTreeMap<Pid, Handed>,
    /// On disk: images of durable processes.
    pub(crate) durable: BTreeMap<Pid, (Guest, Section)>,
    /// Such images on their way there: only the last one counts.
    pub(crate) writing: BTreeMap<Pid, u64>,
    pub(crate) wake_at: Option<Instant>,
}

pub(crate) struct Room {
    /// Which preparation made it: what an earlier one says of the same offer does not count.
    pub(crate) attempt: u64,
    pub(crate) from: Option<Peer>,
    /// Whether it comes from this node's disk: it begins a new life.
    pub(crate) reborn: bool,
    pub(crate) stage: Option<(Guest, Section)>,
}

/// What a guest asks of a name: the name, and whether it wants that for itself.
pub(crate) type Question = (String, bool);

/// A program: it acts on the world, writes, and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Which of its lives it is in; only durable ones have more than one.
    pub(crate) life: u64,
    /// How many effects it has made, as it remembers.
    pub(crate) made: u64,
    /// All it has written in this life.
    pub(crate) written: Vec<u8>,
    pub(crate) state: GuestState,
    /// Whether the driver holds its effects back.
    pub(crate) held: bool,
    /// Whether its image has been asked for.
    pub(crate) imaged: bool,
    /// How many letters it has sent to each in this life.
    pub(crate) sent: BTreeMap<Pid, u64>,
    /// Of which life of each the last letter was, taken or not, and the number of the next.
    pub(crate) arrived: BTreeMap<Pid, (u64, u64)>,
    /// Whose letters are in its inbox, and how long they are.
    pub(crate) inbox: VecDeque<(Pid, usize)>,
    /// Of whom it was told that they are down.
    pub(crate) downs: BTreeMap<Pid, Reason>,
    /// Whom it watches, and has had no news of since.
    pub(crate) watching: BTreeSet<Pid>,
    /// To whom it has linked itself, and not ended that.
    pub(crate) links: BTreeSet<Pid>,
    /// Whether the end of such a one is news to it.
    pub(crate) traps: bool,
    /// With whom it has to end.
    pub(crate) condemned: Option<Pid>,
    /// The name that it has.
    pub(crate) name: Option<String>,
    /// What it has asked, and waits for the answer of.
    pub(crate) asks: Option<Question>,
    /// Whom it could not write to because they are down.
    pub(crate) refused: BTreeSet<Pid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestState {
    Running,
    Frozen(Offer),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: Option<Outcome>,
}

/// A node and the incarnation that an event is meant for; another one never sees it.
pub(crate) type Life = (usize, u64);

pub(crate) enum Event {
    Deliver {
        to: usize,
        hops: u32,
        envelope: Box<Envelope>,
    },
    Feed {
        life: Life,
        input: Box<Input>,
    },
    Wake {
        life: Life,
    },
    Restart {
        node: usize,
    },
    Forget {
        node: usize,
    },
    /// Writes reach the registry's disk, and the reply goes.
    Durable {
        incarnation: u64,
        writes: Vec<Write>,
        reply: Option<Box<(Peer, Message)>>,
        hops: u32,
    },
    /// A preparation has come to its end.
    Prepared {
        life: Life,
        attempt: u64,
        input: Box<Input>,
    },
    /// A guest takes a step.
    Guest {
        life: Life,
        pid: Pid,
    },
    /// A guest is frozen for a moment, and its image taken.
    Checkpoint {
        life: Life,
        pid: Pid,
    },
    /// The image is on the disk.
    Kept {
        life: Life,
        attempt: u64,
        copy: Box<(Guest, Section)>,
    },
    /// The last byte of an image arrives, or the stream breaks.
    Stream {
        from: Life,
        to: Peer,
        copy: Box<(Guest, Section)>,
        broken: bool,
        late: bool,
    },
    Write {
        life: Life,
        pid: Pid,
        offset: u64,
        bytes: Vec<u8>,
    },
    Conclude {
        life: Life,
        pid: Pid,
        outcome: Outcome,
    },
    /// A log's next step to another home.
    Hand {
        life: Life,
        pid: Pid,
        to: usize,
        step: Hand,
    },
    Wish {
        node: usize,
        wish: Box<WishFor>,
    },
}

/// Wishes are made about whatever process there is by then.
#[derive(Clone, Debug)]
pub(crate) enum WishFor {
    Spawn,
    Move(usize),
    /// It and a few others are to go there together, or none.
    Gather(usize),
    Locate,
    Kill,
    KillGroup,
    Store,
    /// The node gives the logs away that it keeps.
    HandLogs(usize),
    Thaw,
    ThawOf(Pid),
}

impl World {
    /// A cluster of `size` nodes, all of them members and up.
    pub fn new(seed: u64, size: usize, faults: Faults, rules: Rules, story: bool) -> Self {
        let mut world = Self {
            now: Instant::ZERO,
            rng: Rng::seeded(seed),
            rules,
            faults,
            nodes: Vec::new(),
            registry: None,
            disk: BTreeMap::new(),
            disk_busy_until: Instant::ZERO,
            cuts: Vec::new(),
            files: BTreeMap::new(),
            truth: Truth::default(),
            next_ticket: 0,
            last_attempt: 0,
            talk: 50,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            scheduled: 0,
            story: story.then(String::new),
            meter: None,
            hops: 0,
            marks: Marks::default(),
            cells: Cells::default(),
            steps: 0,
            violation: None,
        };
        if world.rng.chance(25) {
            world.talk = 2;
        }
        world.found(size);
        world
    }

    /// Joins all nodes, before anything can go wrong.
    fn found(&mut self, size: usize) {
        let mut registry = self.open_registry(1);
        let founder = peer(0, 1);
        for node in 0..size {
            let token = TokenHash([node as u8; 32]);
            let name = format!("node{node}");
            let mut ask = |request| {
                let (reply, writes) = registry.apply(Instant::ZERO, founder, request);
                write_down(&mut self.disk, writes);
                reply
            };
            if node != 0 {
                ask(Request::Token { hash: token, life_micros: 1_000_000 });
            }
            let joined = ask(Request::Join { token, name: name.clone(), address: name });
            assert_eq!(joined, Reply::Joined(id(node)));
            self.nodes.push(Node::new());
        }
        // The registry's own home would never miss itself.
        if self.rng.chance(30) && Faults::NONE.away_max < self.faults.away_max {
            for node in 1..size {
                self.nodes[node].fenced = self.rng.chance(50);
            }
        }
        for node in 0..size {
            self.restart(node);
        }
    }

    fn open_registry(&self, incarnation: u64) -> Registry {
        let records = self.disk.iter().map(|(key, record)| (key.clone(), record.clone()));
        Registry::mutant(self.now, incarnation, records, self.rules)
    }

    /// Takes one step. False when nothing is left to happen before `until`, or something is wrong.
    pub fn step(&mut self, until: Instant) -> bool {
        let Some(Reverse((at, number))) = self.queue.peek().copied() else { return false };
        if until < at || self.violation.is_some() {
            return false;
        }
        self.queue.pop();
        self.steps += 1;
        self.now = at;
        let event = self.events.remove(&number).expect("every number has its event");
        self.happen(event);
        true
    }

    /// What happened so far, if the world was told to remember.
    #[must_use]
    pub fn story(&self) -> &str {
        self.story.as_deref().unwrap_or("")
    }

    fn happen(&mut self, event: Event) {
        self.hops = match &event {
            Event::Deliver { hops, .. } | Event::Durable { hops, .. } => *hops,
            _ => 0,
        };
        match event {
            Event::Deliver { to, envelope, .. } => self.deliver(to, *envelope),
            Event::Feed { life, input } if self.lives(life) => {
                if let Some(input) = self.still_true(life, *input) {
                    self.feed(life.0, input);
                }
            }
            Event::Prepared { life, attempt, input } if self.lives(life) => {
                self.prepared(life.0, attempt, *input);
            }
            Event::Wake { life } if self.lives(life) => {
                self.nodes[life.0].wake_at = None;
                self.feed(life.0, Input::Wake);
            }
            Event::Restart { node } => self.restart(node),
            Event::Forget { node } => self.forget(node),
            Event::Durable { incarnation, writes, reply, .. } => {
                if self.lives((0, incarnation)) {
                    self.check_owners(&writes);
                    let moved = writes.iter().any(|write| match write {
                        Write::Put(Key::Place(_), _) => true,
                        Write::Put(_, Record::Member(member)) => member.lapsed,
                        _ => false,
                    });
                    write_down(&mut self.disk, writes);
                    if moved {
                        // To one that has crashed since it asked, perhaps.
                        self.note_losses();
                    }
                    if let Some(reply) = reply {
                        let (to, message) = *reply;
                        self.send(0, to, message);
                    }
                }
            }
            Event::Guest { life, pid } if self.lives(life) => self.guest_acts(life, pid),
            Event::Checkpoint { life, pid } if self.lives(life) => self.take_image(life, pid),
            Event::Kept { life, attempt, copy } if self.lives(life) => {
                self.image_kept(life.0, attempt, *copy);
            }
            Event::Stream { from, to, copy, broken, late } => {
                self.stream_ends(from, to, *copy, broken, late);
            }
            Event::Write { life, pid, offset, bytes } if self.lives(life) => {
                self.write_log(life.0, pid, offset, &bytes);
            }
            Event::Conclude { life, pid, outcome } if self.lives(life) => {
                self.conclude_log(life.0, pid, outcome);
            }
            Event::Hand { life, pid, to, step } if self.lives(life) => {
                self.hand(life, pid, to, step);
            }
            Event::Wish { node, wish } => self.make_wish(node, &wish),
            Event::Feed { .. } | Event::Wake { .. } | Event::Guest { .. } => (),
            Event::Prepared { .. } | Event::Write { .. } | Event::Conclude { .. } => (),
            Event::Checkpoint { .. } | Event::Kept { .. } | Event::Hand { .. } => (),
        }
    }

    fn deliver(&mut self, to: usize, envelope: Envelope) {
        if self.nodes[to].machine.is_none() {
            return;
        }
        match envelope.message {
            Message::Ask { ask, request } if to == 0 => {
                self.tell(|| format!("{} asks {request}", envelope.from));
                self.ask_registry(envelope.from, ask, request);
            }
            Message::Settled { pid, offer } => {
                self.truth.heard_settled.insert((to, pid, offer));
                self.feed(to, Input::Receive(envelope));
            }
            _ => self.feed(to, Input::Receive(envelope)),
        }
    }

    pub(crate) fn ask_registry(&mut self, from: Peer, ask: wire::AskId, request: Request) {
        let Some(registry) = &mut self.registry else { return };
        let committing = match &request {
            Request::Swap(swap) if swap.kind == SwapKind::Commit => Some(swap.pid),
            Request::SwapAll(swaps) => swaps.first().map(|swap| swap.pid),
            _ => None,
        };
        let together = match &request {
            Request::SwapAll(swaps) => swaps.clone(),
            _ => Vec::new(),
        };
        let (reply, writes) = registry.apply(self.now, from, request);
        let some = !together.is_empty() && !writes.is_empty();
        let all = together.iter().all(|swap| registry.locate(swap.pid).place == swap.result());
        match (some, all) {
            (true, true) => self.marks.mark("all moved together"),
            (true, false) => return self.fail(format!("only some move together: {together:?}")),
            (false, _) if !together.is_empty() => self.marks.mark("none moved together"),
            (false, _) => (),
        }
        let incarnation = self.nodes[0].incarnation;
        if !matches!(reply, Reply::News(_)) {
            self.tell(|| format!("registry to {from}: {reply}"));
        }
        let reply = (from, Message::Answer { ask, reply });
        let hops = self.hops;
        let long = if self.meter.is_some() { 0 } else { self.rng.below(10_000) };
        let delay = Span::micros(100 + long);
        let at = (self.now + delay).max(self.disk_busy_until);
        self.disk_busy_until = at;
        if self.rules.keep(Rule::DurableThenAnswered) {
            let reply = Some(Box::new(reply));
            self.schedule_at(at, Event::Durable { incarnation, writes, reply, hops });
        } else {
            self.schedule_at(at, Event::Durable { incarnation, writes, reply: None, hops });
            self.send(0, reply.0, reply.1);
        }
        if let Some(pid) = committing {
            let home_was_up = self.registry.is_some();
            self.strike_at(0, pid, REGISTRY_SWAPPED);
            if home_was_up && self.registry.is_none() {
                self.marks.mark("fault: registry crashed at a commit");
            }
        }
    }

    /// Feeds one input and does all that comes of it.
    pub(crate) fn feed(&mut self, node: usize, input: Input) {
        let now = self.now;
        let Some(machine) = &mut self.nodes[node].machine else { return };
        if let Some(story) = &mut self.story
            && !matches!(input, Input::Wake)
            && !matches!(
                &input,
                Input::Receive(Envelope {
                    message: Message::Answer { reply: Reply::News(_), .. },
                    ..
                })
            )
        {
            writeln!(story, "{now} node{node} {input}").expect("a string takes every write");
        }
        machine.handle(now, input);
        self.drain(node);
    }

    pub(crate) fn drain(&mut self, node: usize) {
        let incarnation = self.nodes[node].incarnation;
        while self.lives((node, incarnation))
            && let Some(output) = self.nodes[node].machine.as_mut().and_then(Machine::poll)
        {
            self.perform(node, output);
        }
        if !self.lives((node, incarnation)) {
            return;
        }
        let deadline = self.nodes[node].machine.as_ref().and_then(Machine::deadline);
        if let Some(at) = deadline
            && self.nodes[node].wake_at.is_none_or(|armed| at < armed)
        {
            self.nodes[node].wake_at = Some(at);
            self.schedule_at(at.max(self.now), Event::Wake { life: (node, incarnation) });
        }
    }

    /// Sends a message through whatever the network is like.
    pub(crate) fn send(&mut self, from: usize, to: Peer, message: Message) {
        let target = to.node.0 as usize - 1;
        let from_peer = self.peer(from);
        let step = is_of_a_move(&message);
        let hops = if step { 0 } else { self.hops + u32::from(target != from) };
        if let Some(meter) = &mut self.meter
            && target != from
        {
            meter.count(&message);
        }
        if self.is_cut(from, target) {
            return;
        }
        let copies = if target == from {
            1
        } else if self.rng.chance(self.faults.loss) {
            if step {
                self.marks.mark("a message of a move lost");
            }
            0
        } else {
            1 + usize::from(self.rng.chance(self.faults.repeat))
        };
        for _ in 0..copies {
            let mut delay = 50 + self.rng.below(self.faults.delay_max.0);
            if self.rng.chance(self.faults.straggle) {
                delay += self.rng.below(5_000_000);
            }
            let envelope = Envelope { from: from_peer, to, message: message.clone() };
            let envelope = Box::new(envelope);
            self.schedule(Span(delay), Event::Deliver { to: target, hops, envelope });
        }
    }

    /// Loses a node's memory. What was under way to its disks may or may not have arrived.
    pub(crate) fn crash(&mut self, node: usize) {
        if self.nodes[node].machine.is_none() {
            return;
        }
        self.tell(|| format!("node{node} CRASHES"));
        if node == 0 {
            self.flush_some_writes();
            self.registry = None;
            self.disk_busy_until = self.now;
        }
        let n = &mut self.nodes[node];
        n.machine = None;
        n.guests.clear();
        n.writing.clear();
        n.room.clear();
        n.wake_at = None;
        self.note_losses();
        let away = Span::micros(1_000 + self.rng.below(self.faults.away_max.0));
        let others_up = self.nodes.iter().filter(|n| !n.forgotten).count();
        if node != 0 && 2 < others_up && self.rng.chance(self.faults.forget) {
            self.schedule(Span::millis(6_500), Event::Forget { node });
        } else {
            self.schedule(away, Event::Restart { node });
        }
    }

    /// Of the writes in flight, the first few may have reached the disk.
    fn flush_some_writes(&mut self) {
        let in_flight: Vec<u64> = self
            .events
            .iter()
            .filter(|(_, event)| matches!(event, Event::Durable { .. }))
            .map(|(number, _)| *number)
            .collect();
        let kept = self.rng.below(in_flight.len() as u64 + 1) as usize;
        for number in &in_flight[..kept] {
            let event = self.events.get_mut(number);
            let Some(Event::Durable { writes, reply, .. }) = event else { continue };
            let writes = std::mem::take(writes);
            *reply = None;
            if !writes.is_empty() {
                self.marks.mark("registry crashed just after a write");
            }
            self.check_owners(&writes);
            write_down(&mut self.disk, writes);
        }
        if kept < in_flight.len() {
            self.marks.mark("registry crashed just before a write");
        }
    }

    fn restart(&mut self, node: usize) {
        let now = self.now;
        if self.nodes[node].machine.is_some() || self.nodes[node].forgotten {
            return;
        }
        self.tell(|| format!("node{node} starts"));
        let incarnation = self.nodes[node].incarnation + 1;
        if node == 0 {
            self.registry = Some(self.open_registry(incarnation));
        }
        let config = Config {
            me: peer(node, incarnation),
            name: format!("node{node}"),
            address: format!("node{node}"),
            rng: Rng::seeded(self.rng.bits()),
            stored: self.stored(node),
            fenced: self.nodes[node].fenced,
        };
        let machine = Machine::mutant(now, config, self.rules);
        let n = &mut self.nodes[node];
        n.incarnation = incarnation;
        n.machine = Some(machine);
        n.handing.clear();
        let n = &self.nodes[node];
        let open = n.logs.iter().filter(|(_, log)| log.end.is_none());
        let open = open.filter(|(pid, _)| !self.is_handed(node, **pid));
        let open: Vec<_> = open.map(|(pid, log)| (*pid, log.bytes.len() as u64)).collect();
        self.drain(node);
        for (pid, length) in open {
            self.feed(node, Input::LogOpened { pid, length, ended: false });
        }
        self.hand_on(node);
    }

    /// The operator's word, when the machine is truly off. Repeated until the registry takes it.
    fn forget(&mut self, node: usize) {
        if self.nodes[node].machine.is_some() {
            return;
        }
        let from = peer(0, self.nodes[0].incarnation);
        if let Some(registry) = &mut self.registry {
            let (reply, writes) = registry.apply(self.now, from, Request::Forget(id(node)));
            if reply == Reply::Done {
                let incarnation = self.nodes[0].incarnation;
                let at = self.now.max(self.disk_busy_until);
                self.schedule_at(at, Event::Durable { incarnation, writes, reply: None, hops: 0 });
                self.nodes[node].forgotten = true;
                self.marks.mark("node forgotten");
                // What lies on its disk stays there.
                self.note_losses();
                self.tell(|| format!("operator: node forget node{node}"));
                // The word could be lost with the registry's memory: say it again.
            } else {
                assert!(writes.is_empty());
            }
        }
        let again = self.registry.as_ref().is_none_or(|registry| {
            !registry.news().members.iter().any(|member| {
                member.peer.node == id(node) && member.standing == wire::MemberStanding::Forgotten
            })
        });
        let after = if again { Span::millis(500) } else { Span::millis(2_000) };
        if again || self.disk_forgets(node) {
            self.schedule(after, Event::Forget { node });
        }
    }

    /// Whether the registry's disk does not know yet that a node is forgotten.
    fn disk_forgets(&self, node: usize) -> bool {
        let record = self.disk.get(&Key::Member(id(node)));
        !matches!(record, Some(Record::Member(member)) if member.forgotten)
    }

    pub(crate) fn cut(&mut self, one: usize, other: usize) {
        if one != other {
            let until = self.now + Span::micros(self.rng.below(8_000_000));
            self.cuts.push((one, other, until));
            self.tell(|| format!("link node{one} - node{other} CUT until {until}"));
        }
    }

    pub(crate) fn is_cut(&self, one: usize, other: usize) -> bool {
        let now = self.now;
        self.cuts.iter().any(|(a, b, until)| {
            now < *until && ((*a, *b) == (one, other) || (*b, *a) == (one, other))
        })
    }

    /// Ends all faults and brings every node back that is not off for good.
    pub fn heal(&mut self) {
        self.tell(|| "all faults END".to_owned());
        self.faults = Faults::NONE;
        self.cuts.clear();
        let forgetting: Vec<usize> = self
            .events
            .values()
            .filter_map(|event| match event {
                Event::Forget { node } => Some(*node),
                _ => None,
            })
            .collect();
        for node in 0..self.nodes.len() {
            if !forgetting.contains(&node) {
                self.restart(node);
            }
        }
    }

    pub(crate) fn next_attempt(&mut self) -> u64 {
        self.last_attempt += 1;
        self.last_attempt
    }

    pub(crate) fn next_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    pub(crate) fn wish(&mut self, node: usize, wish: Wish) -> Ticket {
        let ticket = self.next_ticket();
        let life = (node, self.nodes[node].incarnation);
        self.truth.tickets.insert(ticket, (life, 0));
        self.feed(node, Input::Wish(ticket, wish));
        ticket
    }

    /// Some processes are to go to a node together, or none.
    pub(crate) fn gather(&mut self, to: usize, first: Pid) {
        let mut pids = vec![first];
        for _ in 0..=self.rng.below(3) {
            let other = self.rng.below(self.truth.born.len() as u64) as usize;
            pids.push(self.truth.born[other]);
        }
        pids.sort_unstable();
        pids.dedup();
        let life = self.life(to);
        let mut wanted = Vec::new();
        for pid in pids {
            let ticket = self.next_ticket();
            self.truth.tickets.insert(ticket, (life, 0));
            self.truth.about.insert(ticket, pid);
            wanted.push((ticket, pid));
        }
        self.feed(to, Input::Gather(wanted));
    }

    pub(crate) fn lives(&self, (node, incarnation): Life) -> bool {
        let node = &self.nodes[node];
        node.machine.is_some() && node.incarnation == incarnation
    }

    pub(crate) fn life(&self, node: usize) -> Life {
        (node, self.nodes[node].incarnation)
    }

    pub(crate) fn peer(&self, node: usize) -> Peer {
        peer(node, self.nodes[node].incarnation)
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            writeln!(story, "{now} {}", what()).expect("a string takes every write");
        }
    }

    pub(crate) fn schedule(&mut self, after: Span, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    pub(crate) fn schedule_at(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse((at, self.scheduled)));
        self.events.insert(self.scheduled, event);
    }

    /// An input some time from now, unless the node crashes first.
    pub(crate) fn later(&mut self, node: usize, input: Input, max: Span) {
        let long = if self.meter.is_some() { 0 } else { self.rng.below(max.0) };
        let after = Span::micros(10 + long);
        let life = self.life(node);
        self.schedule(after, Event::Feed { life, input: Box::new(input) });
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.tell(|| format!("VIOLATION: {what}"));
        self.violation.get_or_insert(what);
    }
}

impl Node {
    fn new() -> Self {
        Self {
            machine: None,
            incarnation: 0,
            forgotten: false,
            fenced: false,
            guests: BTreeMap::new(),
            room: BTreeMap::new(),
            logs: BTreeMap::new(),
            handing: BTreeSet::new(),
            copies: BTreeMap::new(),
            handed: BTreeMap::new(),
            durable: BTreeMap::new(),
            writing: BTreeMap::new(),
            wake_at: None,
        }
    }
}

impl Guest {
    pub(crate) fn new() -> Self {
        Self {
            life: 1,
            made: 0,
            written: Vec::new(),
            state: GuestState::Running,
            held: false,
            imaged: false,
            sent: BTreeMap::new(),
            arrived: BTreeMap::new(),
            inbox: VecDeque::new(),
            downs: BTreeMap::new(),
            watching: BTreeSet::new(),
            links: BTreeSet::new(),
            traps: false,
            condemned: None,
            name: None,
            asks: None,
            refused: BTreeSet::new(),
        }
    }
}

pub(crate) fn id(node: usize) -> NodeId {
    NodeId(node as u32 + 1)
}

pub(crate) fn peer(node: usize, incarnation: u64) -> Peer {
    Peer { node: id(node), incarnation: Incarnation(incarnation) }
}

fn write_down(disk: &mut BTreeMap<Key, Record>, writes: Vec<Write>) {
    for write in writes {
        match write {
            Write::Put(key, record) => {
                disk.insert(key, record);
            }
            Write::Delete(key) => {
                disk.remove(&key);
            }
        }
    }
}

fn is_of_a_move(message: &Message) -> bool {
    match message {
        Message::Prepare { .. } | Message::Preparing { .. } => true,
        Message::Prepared { .. } | Message::Refused { .. } => true,
        Message::Offer { .. } | Message::Settled { .. } | Message::Forgotten { .. } => true,
        Message::Cancel { .. } | Message::Dropped { .. } => true,
        Message::Ask { request, .. } => {
            matches!(request, Request::Swap(_) | Request::SwapAll(_))
        }
        Message::Answer { reply, .. } => {
            matches!(
                reply,
                Reply::Swapped(..)
                    | Reply::NotSwapped(..)
                    | Reply::SwappedAll(_)
                    | Reply::NotSwappedAll(_)
            )
        }
        _ => false,
    }
}

/// The epoch that nothing has moved in.
pub(crate) const BIRTH: Epoch = Epoch(0);
