//! The modelled driver: what a node's daemon, its guests and its bulk links do with outputs.

use protocol::{Input, Machine, Note, Output, Span, Step, Wish};
use wire::{
    Blob, Grant, InTransit, Locate, Message, Outcome, Peer, Pid, Refusal, Report, Section, Stream,
};

use crate::durable::word;
use crate::world::{Event, Guest, GuestState, Life, Log, Room, WishFor, World, id};

/// The longest that a local answer takes.
const LOCAL_MAX: Span = Span::millis(30);

impl World {
    fn has_lapsed(&self, node: usize) -> bool {
        self.nodes[node].machine.as_ref().is_some_and(Machine::has_lapsed)
    }

    /// Does what a node asks for.
    pub(crate) fn perform(&mut self, node: usize, output: Output) {
        if !matches!(output, Output::Members | Output::Ask(_, wire::Request::Renew { .. })) {
            self.tell(|| format!("    node{node} {output}"));
        }
        match output {
            Output::Send(to, message) => {
                match &message {
                    Message::Prepare { pid, .. } => {
                        self.truth.moving.insert(*pid, (node, to.node.0 as usize - 1));
                    }
                    Message::Leaving { .. } => self.marks.mark("a correspondent told of a leave"),
                    Message::Place { .. } => self.marks.mark("a correspondent told of a place"),
                    Message::Moved { .. } => self.marks.mark("a mailbox told of a place"),
                    Message::Relay { origin, .. } if origin.node != id(node) => {
                        self.marks.mark("a letter passed on by a mailbox");
                    }
                    Message::Relay { keep: true, .. } => {
                        self.marks.mark("a letter sent to a mailbox that keeps it");
                    }
                    Message::Relay { .. } => self.marks.mark("a letter sent to a mailbox"),
                    Message::Held { kept: true, .. } => {
                        self.marks.mark("a letter kept for one on its way");
                    }
                    Message::Held { .. } => self.marks.mark("a sender blocked"),
                    Message::Poll { .. } => self.marks.mark("a mailbox polled"),
                    Message::Forget { .. } => self.marks.mark("a forwarder collected"),
                    _ => (),
                }
                let of_failure = self.is_of_failure(&message);
                self.send(node, to, message);
                if of_failure && 0 < self.faults.crash && self.rng.chance(60) {
                    self.marks.mark("fault: crash when a failure is told");
                    self.crash(node);
                }
            }
            Output::Ask(ask, request) => {
                let home = self.peer(0);
                self.send(node, home, Message::Ask { ask, request });
            }
            Output::Report(ticket, report) => self.reported(ticket, &report),
            Output::Step(pid, step) => self.strike(node, pid, step),
            Output::Start(ticket, pid) => {
                self.truth.started.insert(pid.group, ticket);
                self.truth.born.push(pid);
                self.truth.lives.insert(pid, 1);
                self.trace(pid.group);
                self.nodes[node].guests.insert(pid, Guest::new());
                self.goes(node, pid);
            }
            Output::Describe(pid, offer) => {
                let needs = match self.rng.chance(self.faults.refusal / 4) {
                    true => Err("it holds a socket".to_owned()),
                    false => Ok(Blob(vec![1; 16])),
                };
                self.later(node, Input::Described { pid, offer, needs }, LOCAL_MAX);
            }
            Output::Freeze(pid, offer) => {
                self.later(node, Input::Frozen { pid, offer }, LOCAL_MAX);
            }
            Output::Transfer { section, to } => self.stream(node, section, to),
            Output::Store { section, .. } => {
                let (pid, offer) = (section.pid, section.offer);
                if let Some(guest) = self.nodes[node].guests.get_mut(&pid) {
                    guest.imaged = true;
                    self.truth.storing.insert((node, pid), (section, guest.asks.clone()));
                }
                let input = match self.rng.chance(self.faults.breakage) {
                    true => Input::TransferFailed { pid, offer, reason: "disk full".to_owned() },
                    false => Input::Stored { pid, offer },
                };
                self.later(node, input, LOCAL_MAX);
            }
            Output::Prepare { from, pid, offer, .. } => {
                let attempt = self.next_attempt();
                let room = Room { attempt, from: Some(from), reborn: false, stage: None };
                self.nodes[node].room.insert((pid, offer), room);
                let input = match self.rng.chance(self.faults.refusal) {
                    true => {
                        let reason = Refusal::Unfit("no room".to_owned());
                        Input::NotPrepared { pid, offer, reason }
                    }
                    false => Input::Prepared { pid, offer },
                };
                // Some have to compile first.
                let long = self.meter.is_none() && self.rng.below(16) == 0;
                let max = if long { Span::seconds(15) } else { LOCAL_MAX };
                let spread = if self.meter.is_some() { 0 } else { self.rng.below(max.0) };
                let after = Span::micros(10 + spread);
                let (life, input) = (self.life(node), Box::new(input));
                self.schedule(after, Event::Prepared { life, attempt, input });
            }
            Output::Discard(pid, offer) => {
                let room = self.nodes[node].room.remove(&(pid, offer));
                if room.is_some_and(|room| room.stage.is_some()) {
                    self.erase(node, pid);
                }
                let frozen = self.nodes[node].guests.get(&pid);
                if frozen.is_some_and(|guest| guest.state == GuestState::Frozen(offer)) {
                    self.check_letting_go(node, pid, offer);
                    self.erase(node, pid);
                    self.nodes[node].guests.remove(&pid);
                    // The word that it runs may have outlived whoever said it.
                    self.note_losses();
                }
            }
            Output::Run { pid, offer, epoch, held } => {
                self.truth.committed.entry((pid, offer)).or_insert(epoch);
                let room = self.nodes[node].room.remove(&(pid, offer));
                let reborn = room.as_ref().is_some_and(|room| room.reborn);
                let Some((mut guest, _)) = room.and_then(|room| room.stage) else {
                    return self.fail(format!("node{node} runs {pid} {offer} without an image"));
                };
                if reborn {
                    guest = self.begin_anew(pid, guest);
                }
                let state = GuestState::Running;
                let guest = Guest { state, held, imaged: false, ..guest };
                self.nodes[node].guests.insert(pid, guest);
                self.goes(node, pid);
                self.ask_for_name(node, pid);
            }
            Output::Checkpoint(pid) => {
                let life = self.life(node);
                let after = Span::micros(self.rng.below(LOCAL_MAX.0));
                self.schedule(after, Event::Checkpoint { life, pid });
            }
            Output::Erase(pid) => self.erase(node, pid),
            Output::Resume { pid, .. } => {
                self.truth.storing.remove(&(node, pid));
                match self.nodes[node].guests.get_mut(&pid) {
                    Some(guest) => {
                        guest.state = GuestState::Running;
                        guest.imaged = false;
                    }
                    None => return self.fail(format!("node{node} resumes {pid} without a guest")),
                }
                self.goes(node, pid);
            }
            Output::Release(pid, _) => {
                if let Some(guest) = self.nodes[node].guests.get_mut(&pid) {
                    guest.held = false;
                }
                self.ask_for_name(node, pid);
            }
            // Whatever it has goes with it, unheard.
            Output::Kill(_) if self.has_lapsed(node) => (),
            Output::Kill(pid) => match self.nodes[node].guests.get(&pid).map(|g| g.state) {
                Some(GuestState::Frozen(_)) => {
                    self.may_take_others(pid);
                    self.guest_ends(node, pid);
                }
                Some(GuestState::Running) => {
                    let outcome = Outcome::Killed;
                    self.may_take_others(pid);
                    self.later(node, Input::Ended { pid, outcome }, LOCAL_MAX);
                }
                None => (),
            },
            Output::OpenLog { pid, base } => self.open_log(node, pid, base),
            Output::Deliver { pid, offset, bytes, .. } => {
                let life = self.life(node);
                let event = Event::Write { life, pid, offset, bytes: bytes.0 };
                self.schedule(Span::millis(20), event);
            }
            Output::Conclude { pid, outcome } => {
                let life = self.life(node);
                self.schedule(Span::millis(20), Event::Conclude { life, pid, outcome });
            }
            Output::LogLeft(pid) => self.log_left(node, pid),
            Output::Expelled if self.has_lapsed(node) => {
                self.marks.mark("stopped by its own fence");
                self.crash(node);
            }
            Output::Expelled => {
                self.marks.mark("expelled");
                self.nodes[node].machine = None;
                self.nodes[node].guests.clear();
                self.nodes[node].room.clear();
            }
            Output::Inbox { pid, from, letter } => self.inbox(node, pid, from, &letter),
            Output::Down { pid, of, reason, watched } => {
                self.correspondent_down(node, pid, of, reason);
                self.news_of_end(node, pid, of, reason, watched);
            }
            Output::Silent { pid, of, silent } => self.news_of_silence(node, pid, of, silent),
            Output::Named { pid, name, register, holder } => {
                self.named(node, pid, (name, register), holder);
            }
            Output::OutputRoom(_) | Output::SendRoom(_) | Output::Members => (),
            Output::Note(note) => self.noted(&note),
        }
    }

    /// Has the letters of a group noted on every node that is up, as an operator would: not on those that start later.
    fn trace(&mut self, group: wire::GroupId) {
        for node in &mut self.nodes {
            if let Some(machine) = &mut node.machine {
                machine.trace(group, true);
            }
        }
    }

    /// What is told of letters must be true as well: each is delivered once, under its own number.
    fn noted(&mut self, note: &Note) {
        match note {
            Note::Delivered { letter, .. } => {
                self.marks.mark("a delivery noted");
                // To another life of its receiver the numbers begin anew.
                let one_life = !self.truth.is_durable(letter.to);
                if one_life
                    && !self.truth.noted.insert((letter.from, letter.to, letter.life, letter.first))
                {
                    self.fail(format!("{letter:?} was noted as delivered twice"));
                }
            }
            Note::NotTaken { held: true, .. } => self.marks.mark("an early letter noted"),
            Note::NotTaken { held: false, .. } => self.marks.mark("a letter turned away noted"),
            Note::Within(_) => self.marks.mark("a message within a node noted"),
            Note::Sent { .. } | Note::Decided { .. } => (),
        }
    }

    /// Whether it tells of the end of a process with which its group ends.
    fn is_of_failure(&self, message: &Message) -> bool {
        match message {
            Message::Ended { pid, outcome, .. } => {
                outcome.is_failure() && self.truth.end_together(*pid)
            }
            _ => false,
        }
    }

    /// A step has been made.
    fn strike(&mut self, node: usize, pid: Pid, step: Step) {
        self.marks.mark(step.name());
        if step == Step::Offered {
            self.truth.moves += 1;
        }
        if step == Step::Restarted {
            self.truth.moving.insert(pid, (node, node));
        }
        self.strike_at(node, pid, step.name());
    }

    /// Sends an image; sometimes its bytes come twice.
    fn stream(&mut self, node: usize, section: Section, to: Peer) {
        let Some(guest) = self.nodes[node].guests.get_mut(&section.pid) else {
            return self.fail(format!("node{node} offers {} without a guest", section.pid));
        };
        guest.imaged = true;
        let copy = Box::new((guest.clone(), section));
        let from = self.life(node);
        let broken = self.rng.chance(self.faults.breakage);
        let delay = Span::micros(100 + self.rng.below(self.faults.delay_max.0 * 3));
        if self.rng.chance(self.faults.repeat / 2) {
            let copy = copy.clone();
            let delay = Span::micros(self.rng.below(6_000_000));
            self.schedule(delay, Event::Stream { from, to, copy, broken: false, late: true });
        }
        self.schedule(delay, Event::Stream { from, to, copy, broken, late: false });
    }

    pub(crate) fn stream_ends(
        &mut self,
        from: Life,
        to: Peer,
        copy: (Guest, Section),
        broken: bool,
        late: bool,
    ) {
        let (pid, offer) = (copy.1.pid, copy.1.offer);
        let target = to.node.0 as usize - 1;
        let source = crate::world::peer(from.0, from.1);
        let there = self.lives((target, to.incarnation.0));
        let all_sent = self.lives(from) || late || self.rng.chance(30);
        let broken = broken || !all_sent || self.is_cut(from.0, target);
        let room = self.nodes[target].room.get_mut(&(pid, offer));
        let room = room.filter(|room| there && room.from == Some(source) && room.stage.is_none());
        let staged = match room {
            Some(_) if !broken => {
                let section = copy.1.clone();
                if section.durable.is_some() {
                    self.nodes[target].durable.insert(pid, copy.clone());
                    self.nodes[target].writing.remove(&pid);
                }
                let Some(room) = self.nodes[target].room.get_mut(&(pid, offer)) else { return };
                room.stage = Some(copy);
                self.feed(target, Input::Staged { from: source, section });
                true
            }
            Some(_) if !late => {
                self.nodes[target].room.remove(&(pid, offer));
                self.marks.mark("a stream broke");
                self.feed(target, Input::StageFailed { pid, offer });
                false
            }
            _ => false,
        };
        if late || !self.lives(from) {
            return;
        }
        // That the last byte arrived may not be known at the source.
        let known = staged && !self.rng.chance(self.faults.breakage / 2);
        let input = match known {
            true => Input::Transferred { pid, offer, bytes: 1 },
            false => Input::TransferFailed { pid, offer, reason: "broken".to_owned() },
        };
        self.feed(from.0, input);
    }

    /// What a driver says may have been overtaken by what it was told since.
    pub(crate) fn still_true(&mut self, (node, _): Life, input: Input) -> Option<Input> {
        match &input {
            Input::Frozen { pid, offer } => {
                let guest = self.nodes[node].guests.get_mut(pid)?;
                let running = guest.state == GuestState::Running;
                if running {
                    guest.state = GuestState::Frozen(*offer);
                }
                running.then_some(input)
            }
            Input::Ended { pid, .. } => {
                let guest = self.nodes[node].guests.get(pid)?;
                if guest.state != GuestState::Running {
                    return None;
                }
                self.guest_ends(node, *pid);
                Some(input)
            }
            Input::Stored { pid, offer } => {
                let (section, asks) = self.truth.storing.remove(&(node, *pid))?;
                let guest = self.nodes[node].guests.get(pid)?.clone();
                if section.offer == *offer {
                    self.files.insert(*pid, (Guest { asks, ..guest }, section));
                    self.thaw_soon(*pid);
                }
                Some(input)
            }
            _ => Some(input),
        }
    }

    /// What a preparation says counts if nothing else was begun for the same offer since.
    pub(crate) fn prepared(&mut self, node: usize, attempt: u64, input: Input) {
        let (Input::Prepared { pid, offer } | Input::NotPrepared { pid, offer, .. }) = &input
        else {
            return;
        };
        let key = (*pid, *offer);
        let room = self.nodes[node].room.get(&key);
        if room.is_some_and(|room| room.attempt == attempt) {
            if matches!(input, Input::NotPrepared { .. }) {
                self.nodes[node].room.remove(&key);
            }
            self.feed(node, input);
        }
    }

    /// A guest lives a little: acts on the world, writes, perhaps ends.
    pub(crate) fn guest_acts(&mut self, life: Life, pid: Pid) {
        let node = life.0;
        let Some(guest) = self.nodes[node].guests.get(&pid) else { return };
        if guest.state != GuestState::Running {
            return;
        }
        self.guest_takes(node, pid);
        if self.meter.is_some() {
            return;
        }
        if self.truth.quiet {
            return self.schedule(Span::millis(200), Event::Guest { life, pid });
        }
        if self.rng.chance(self.talk) {
            self.guest_sends(node, pid);
        }
        if self.rng.chance(8) {
            self.guest_watches(node, pid);
        }
        if self.rng.chance(4) {
            self.guest_asks(node, pid);
        }
        if self.rng.chance(1) {
            self.guest_links(node, pid);
        }
        let Some(guest) = self.nodes[node].guests.get_mut(&pid) else { return };
        if guest.state != GuestState::Running || !self.lives(life) {
            return;
        }
        let Some(guest) = self.nodes[node].guests.get_mut(&pid) else { return };
        if !guest.held && self.rng.chance(50) {
            guest.made += 1;
            let made = guest.made;
            let seen = self.truth.world.entry(pid).or_default();
            if made <= *seen {
                let seen = *seen;
                return self.fail(format!("{pid} makes effect {made} again, {seen} were seen"));
            }
            *seen = made;
        }
        let room = self.nodes[node].machine.as_ref().map_or(0, |machine| machine.output_room(pid));
        if 0 < room && self.rng.chance(60) {
            let byte = self.rng.bits() as u8;
            let mut bytes = vec![byte; 1 + self.rng.below(3) as usize];
            if self.truth.is_durable(pid)
                && let Some(guest) = self.nodes[node].guests.get(&pid)
            {
                let from = guest.written.len();
                bytes = (from..from + bytes.len()).map(|at| word(guest.life, at)).collect();
            }
            if let Some(guest) = self.nodes[node].guests.get_mut(&pid) {
                guest.written.extend_from_slice(&bytes);
            }
            let stream = if byte < 128 { Stream::Out } else { Stream::Err };
            self.feed(node, Input::Wrote { pid, stream, bytes: Blob(bytes) });
        }
        if self.rng.below(1_000) < 2 && self.lives(life) {
            let outcome = Outcome::Code([0, 3, 3][self.rng.below(3) as usize]);
            self.guest_ends(node, pid);
            if outcome.is_failure() {
                self.may_take_others(pid);
            }
            return self.feed(node, Input::Ended { pid, outcome });
        }
        let after = Span::micros(20_000 + self.rng.below(400_000));
        self.schedule(after, Event::Guest { life, pid });
    }

    /// A process fails, or will perhaps: if its group ends with it, no survivor has to run any of it.
    fn may_take_others(&mut self, pid: Pid) {
        if self.truth.end_together(pid) {
            self.truth.doomed.insert(pid.group);
        }
    }

    fn guest_ends(&mut self, node: usize, pid: Pid) {
        if let Some(guest) = self.nodes[node].guests.remove(&pid) {
            self.truth.last_words.insert(pid, guest.written);
            self.truth.last_sent.insert(pid, guest.sent);
        }
    }

    /// A guest starts to take steps here.
    fn goes(&mut self, node: usize, pid: Pid) {
        self.check_running(node, pid);
        let life = self.life(node);
        let after = Span::micros(self.rng.below(50_000));
        self.schedule(after, Event::Guest { life, pid });
    }

    fn open_log(&mut self, node: usize, pid: Pid, base: u64) {
        if !self.nodes[node].logs.contains_key(&pid) {
            self.nodes[node].handed.remove(&pid);
            // What is before the base is in the log of a home that is off for good.
            let others = self.nodes.iter().filter_map(|n| n.logs.get(&pid));
            let before = others.filter_map(|log| log.bytes.get(..base as usize)).next();
            let bytes = before.unwrap_or_default().to_vec();
            if bytes.len() as u64 != base {
                self.fail(format!("the log of {pid} begins anew at {base}, which no home had"));
            }
            self.nodes[node].logs.insert(pid, Log { bytes, end: None });
        }
        self.log_is_open(node, pid);
    }

    fn log_is_open(&mut self, node: usize, pid: Pid) {
        let log = &self.nodes[node].logs[&pid];
        let (length, ended) = (log.bytes.len() as u64, log.end.is_some());
        self.later(node, Input::LogOpened { pid, length, ended }, LOCAL_MAX);
    }

    pub(crate) fn write_log(&mut self, node: usize, pid: Pid, offset: u64, bytes: &[u8]) {
        self.check_write(node, pid, offset, bytes);
        let Some(log) = self.nodes[node].logs.get_mut(&pid) else { return };
        log.bytes.extend_from_slice(bytes);
        let length = log.bytes.len() as u64;
        self.feed(node, Input::Delivered { pid, length, ended: false });
    }

    pub(crate) fn conclude_log(&mut self, node: usize, pid: Pid, outcome: Outcome) {
        self.check_end(node, pid, &outcome);
        let Some(log) = self.nodes[node].logs.get_mut(&pid) else { return };
        let length = log.bytes.len() as u64;
        log.end = Some(outcome);
        self.feed(node, Input::Delivered { pid, length, ended: true });
    }

    /// An operator wishes something about whatever there is.
    pub(crate) fn make_wish(&mut self, node: usize, wish: &WishFor) {
        let size = self.nodes.len();
        let up = |node: &usize| self.nodes[*node].machine.is_some();
        let Some(node) = (0..size).map(|k| (node + k) % size).find(up) else { return };
        if let WishFor::ThawOf(pid) = wish {
            return self.thaw(node, *pid);
        }
        if let WishFor::Spawn = wish {
            let home = id(self.rng.below(size as u64) as usize);
            let grant = if self.rng.chance(90) { Grant::All } else { Grant::Own };
            let locate = self.some_strategy();
            let in_transit = match self.rng.below(3) {
                0 => InTransit::SenderKeeps,
                1 => InTransit::SenderBlocks,
                _ => InTransit::NodeKeeps,
            };
            let together = self.rng.chance(30);
            let durable = self.rng.chance(35).then(|| {
                self.marks.mark("a durable group");
                Span::millis(100 + self.rng.below(3_000))
            });
            // To end together takes two.
            let members = 1 + u32::from(together).max(self.rng.below(3).saturating_sub(1) as u32);
            let ticket = self.wish(
                node,
                Wish::Spawn {
                    home,
                    name: None,
                    grant,
                    locate,
                    in_transit,
                    together,
                    durable,
                    members,
                },
            );
            if durable.is_some() {
                self.truth.durable.insert(ticket);
            }
            if together {
                self.truth.together.insert(ticket);
            }
            return;
        }
        if let WishFor::HandLogs(to) = wish {
            return self.hand_logs(node, *to);
        }
        let born = self.truth.born.len() as u64;
        if born == 0 {
            return;
        }
        let pid = self.truth.born[self.rng.below(born) as usize];
        let runs = (0..size).find(|n| self.nodes[*n].guests.contains_key(&pid));
        match wish {
            WishFor::Spawn | WishFor::ThawOf(_) | WishFor::HandLogs(_) => (),
            WishFor::Move(to) => {
                // Mostly to where it is not.
                let there = runs == Some(*to) && self.rng.chance(80);
                let to = if there { (*to + 1) % size } else { *to };
                let ticket = self.wish(node, Wish::Errand(pid, wire::Errand::Move(id(to))));
                self.truth.about.insert(ticket, pid);
            }
            WishFor::Gather(to) => self.gather(*to, pid),
            WishFor::Locate => {
                let locate = self.some_strategy();
                let ticket = self.wish(node, Wish::Errand(pid, wire::Errand::Locate(locate)));
                self.truth.about.insert(ticket, pid);
            }
            WishFor::Kill => {
                let ticket = self.wish(node, Wish::Errand(pid, wire::Errand::Kill));
                self.truth.about.insert(ticket, pid);
                self.may_take_others(pid);
            }
            WishFor::KillGroup => {
                self.truth.doomed.insert(pid.group);
                self.wish(node, Wish::KillGroup(pid.group));
            }
            WishFor::Store => {
                if let Some(node) = runs {
                    self.wish(node, Wish::Store(pid));
                }
            }
            WishFor::Thaw => self.thaw(node, pid),
        }
    }

    fn some_strategy(&mut self) -> Locate {
        let mailbox = id(self.rng.below(self.nodes.len() as u64) as usize);
        match self.rng.below(8) {
            0 => Locate::Directory,
            1 => Locate::Update,
            2 => Locate::Forwarding,
            3 => Locate::Mailbox(mailbox),
            4 => Locate::Pull { mailbox, every_micros: 20_000 },
            _ => Locate::Adaptive,
        }
    }

    /// Somebody has waited for the file. That it is there is not yet in the record, perhaps.
    fn thaw_soon(&mut self, pid: Pid) {
        if self.rng.chance(40) {
            let node = self.rng.below(self.nodes.len() as u64) as usize;
            let after = Span::micros(self.rng.below(50_000));
            let wish = Box::new(WishFor::ThawOf(pid));
            self.schedule(after, Event::Wish { node, wish });
        }
    }

    pub(crate) fn thaw(&mut self, node: usize, pid: Pid) {
        let Some((guest, section)) = self.files.get(&pid).cloned() else { return };
        let key = (pid, section.offer);
        if self.nodes[node].room.contains_key(&key) || self.nodes[node].guests.contains_key(&pid) {
            return;
        }
        let stage = Some((guest, section.clone()));
        self.nodes[node].room.insert(key, Room { attempt: 0, from: None, reborn: false, stage });
        self.wish(node, Wish::Thaw(section));
    }

    fn reported(&mut self, ticket: wire::Ticket, report: &Report) {
        self.check_report(ticket, report);
        self.marks.mark(match report {
            Report::Moved(_) => "report: moved",
            Report::GivenUp(_) => "report: given up",
            Report::Refused(_) => "report: refused",
            Report::Killed => "report: killed",
            Report::GroupKilled(_) => "report: group killed",
            Report::GroupKilling(..) => "report: group being killed",
            Report::News => "report: news",
            Report::Delivered => "report: delivered",
            Report::Stored { .. } => "report: stored",
            Report::Thawed { .. } => "report: thawed",
            Report::AlreadyThawed => "report: already thawed",
            Report::Lost { .. } => "report: lost",
            Report::Ended(_) => "report: ended",
            Report::AlreadyThere(_) => "report: already there",
            Report::Located => "report: located",
            Report::Spawned(_) => "report: spawned",
        });
    }
}
