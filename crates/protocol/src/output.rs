//! A process's output, from where it runs to its home: exactly once and in order, across moves.
//!
//! The process's node numbers the bytes and repeats what is not acknowledged; the home takes what
//! follows on what it has, and acknowledges what is written down. The end of the process is the
//! last thing in that order, so nobody sees a process end before its last words.

use alloc::vec;
use alloc::vec::Vec;

use wire::{
    Blob, Epoch, Life, Location, Message, Outcome, Owner, Peer, Pid, Request, Standing, Stream,
};

use crate::asks::Purpose;
use crate::handing::Way;
use crate::machine::Timer;
use crate::process::{Phase, Wisher};
use crate::{Instant, Machine, Output, Rule};

/// The log of a process whose output this node keeps.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// How much has been given to the driver; `None` while it opens the log.
    pub(crate) taken: Option<u64>,
    /// How much the driver has written down.
    pub(crate) written: u64,
    pub(crate) concluding: bool,
    pub(crate) ended: bool,
    /// Who said something of the process last.
    pub(crate) holder: Option<Peer>,
    /// In which of its lives. What an earlier one still says was written before this one began.
    life: Life,
    /// That life has not been told yet how much there is: only when all that was taken of earlier ones is written down.
    untold: bool,
    /// How it ended, if nobody is left to say so: the registry has. What was taken is written down first.
    pub(crate) verdict: Option<Outcome>,
    pub(crate) way: Way,
}

impl Machine {
    /// A guest wrote. What it wrote before a freeze comes before `Frozen`.
    pub(crate) fn wrote(&mut self, now: Instant, pid: Pid, stream: Stream, bytes: &[u8]) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.outbox.push(stream, bytes);
            self.flush(now, pid);
        }
    }

    /// Says what has not been said, unless it has to be held back, and arms the repetition.
    pub(crate) fn flush(&mut self, now: Instant, pid: Pid) {
        let holds = self.rules.keep(Rule::HoldEffects);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let held = match process.phase {
            Phase::Muted(_) => holds,
            // It runs elsewhere, and speaks there.
            Phase::Kept(_) => true,
            _ => false,
        };
        if held {
            return;
        }
        // A home that nobody has told us of yet has to wait for the repetition.
        if let Some(home) = self.home_of(pid) {
            self.say_output(home, pid);
        }
        let Some(process) = self.processes.get(&pid) else { return };
        let outbox = &process.outbox;
        let ending = process.told && !outbox.end_acknowledged;
        let open = !outbox.is_empty() || outbox.announce || ending;
        if open && outbox.retry_at.is_none() {
            let at = self.later(now);
            if let Some(process) = self.processes.get_mut(&pid) {
                process.outbox.retry_at = Some(at);
            }
            self.arm(at, Timer::Output(pid));
        }
    }

    fn say_output(&mut self, home: Peer, pid: Pid) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let life = process.delivery.life;
        let outbox = &mut process.outbox;
        let base = outbox.acknowledged();
        let mut unsent = outbox.unsent();
        if unsent.is_empty() && outbox.announce {
            unsent.push((base, Stream::Out, Blob::default()));
        }
        // Where the end stands is known when the home has said where this life begins.
        let ending = process.told && !outbox.end_acknowledged && !outbox.waits_for_home();
        let end = process.ended.clone().filter(|_| ending);
        let room = self.rules.keep(Rule::EndLeavesRoom);
        let written = outbox.written();
        for (offset, stream, bytes) in unsent {
            self.send(home, Message::Output { pid, life, offset, base, stream, bytes });
        }
        if let Some(outcome) = end {
            let base = if room { base } else { written };
            self.send(home, Message::Ended { pid, life, offset: written, base, outcome });
        }
    }

    pub(crate) fn wake_output(&mut self, now: Instant, pid: Pid) {
        let again = self.rules.keep(Rule::SayAgain);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let outbox = &mut process.outbox;
        if again && outbox.retry_at.is_some_and(|at| at <= now) {
            outbox.retry_at = None;
            outbox.rewind();
            self.flush(now, pid);
        }
    }

    /// The incarnation to send output to, once it is known. If the home was forgotten, this node
    /// becomes the home: somebody has to keep what is written from now on.
    fn home_of(&mut self, pid: Pid) -> Option<Peer> {
        let me = self.config.me;
        let home = self.processes[&pid].home;
        if home == me.node {
            return Some(me);
        }
        if !self.forgotten_node(home) {
            return self.current(home);
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.home = me.node;
        }
        Some(me)
    }

    pub(crate) fn acknowledged(&mut self, now: Instant, pid: Pid, offset: u64, ended: bool) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if process.outbox.waits_for_home() && ended {
            // Its end was told in its last life.
            self.doom(pid, Outcome::Killed);
        }
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let room = process.outbox.acknowledge(offset);
        process.outbox.announce = false;
        let running = !matches!(process.phase, Phase::Ending);
        process.outbox.end_acknowledged |= ended && !running;
        if room && running {
            self.put(Output::OutputRoom(pid));
        }
        self.flush(now, pid);
        self.bury(now, pid);
    }

    /// A guest ended, by itself or because it was told to.
    pub(crate) fn ended(&mut self, now: Instant, pid: Pid, outcome: Outcome) {
        let holds = self.rules.keep(Rule::HoldEffects);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        // The driver only knows that it was to kill it.
        let outcome = match (&process.doomed, outcome) {
            (Some(doom), Outcome::Killed) => doom.clone(),
            (_, outcome) => outcome,
        };
        match &process.phase {
            Phase::Muted(_) if holds => process.ended = Some(outcome),
            Phase::Preparing(m) => {
                let (target, offer) = (m.target, process.offer);
                self.send(target, Message::Cancel { pid, offer });
                self.end_move(now, pid, outcome);
            }
            Phase::Freezing(_) => self.end_move(now, pid, outcome),
            Phase::Running | Phase::Muted(_) => self.finish(now, pid, outcome),
            // A frozen guest does not end, and one ends once.
            Phase::Offered(_) | Phase::Storing { .. } | Phase::Kept(_) | Phase::Ending => (),
        }
    }

    fn end_move(&mut self, now: Instant, pid: Pid, outcome: Outcome) {
        if let Some(wisher) = self.processes.get(&pid).and_then(|process| process.wisher()) {
            self.report(now, wisher, wire::Report::Ended(outcome.clone()));
        }
        self.finish(now, pid, outcome);
    }

    /// The process has ended here. Those that end with it are recorded first: who has seen its end can
    /// rely on theirs, even if this node is no more. Until then, it has not ended for anyone.
    pub(crate) fn finish(&mut self, now: Instant, pid: Pid, outcome: Outcome) {
        self.unask_swaps(pid);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.phase = Phase::Ending;
        let takes_others = process.together && outcome.is_failure();
        process.ended = Some(outcome);
        if takes_others && !self.killed(pid) && self.rules.keep(Rule::FellowsEnd) {
            self.ask(now, Purpose::Fellows(pid), Request::KillGroup(pid.group));
            if self.rules.keep(Rule::FellowsFirst) {
                return;
            }
        }
        self.tell_end(now, pid);
    }

    /// It has ended for all to see: at once, or when it is recorded that its group ends with it.
    pub(crate) fn tell_end(&mut self, now: Instant, pid: Pid) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let Some(outcome) = process.ended.clone() else { return };
        if core::mem::replace(&mut process.told, true) {
            return;
        }
        let name = process.name.take();
        // Who has been told of its end must not hear of another life.
        self.erase(pid);
        self.mail_ends(now, pid, &outcome);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let killers: Vec<Wisher> = core::mem::take(&mut process.killers);
        // Said again after the name was given back, it would be granted to nobody.
        self.unask(&Purpose::GuestName(pid));
        if let Some(name) = name {
            let request = Request::Unname { name: name.clone(), pid };
            self.ask(now, Purpose::Unname(name, pid), request);
        }
        for killer in killers {
            let report = match outcome {
                Outcome::Killed => wire::Report::Killed,
                _ => wire::Report::Ended(outcome.clone()),
            };
            self.report(now, killer, report);
        }
        self.flush(now, pid);
    }

    pub(crate) fn end_recorded(&mut self, now: Instant, pid: Pid) {
        self.forget_ended(now, pid);
    }

    /// Forgets a process of which nobody has to be told anything any more.
    pub(crate) fn bury(&mut self, now: Instant, pid: Pid) {
        let Some(process) = self.processes.get(&pid) else { return };
        let told = matches!(process.phase, Phase::Ending) && process.outbox.end_acknowledged;
        if !told || !self.mail_is_settled(now, pid) {
            return;
        }
        // The home and the correspondents first: a record that says "ended" must not stand before
        // the last words.
        match process.epoch {
            Epoch(0) => self.forget_ended(now, pid),
            epoch => self.ask(now, Purpose::Ended(pid), Request::Ended { pid, epoch }),
        }
    }

    fn forget_ended(&mut self, now: Instant, pid: Pid) {
        let process = self.processes.get(&pid);
        let outcome = process.and_then(|process| process.ended.as_ref());
        if let Some(reason) = outcome.map(wire::Reason::from) {
            self.clear_up(pid);
            self.processes.remove(&pid);
            self.entomb(now, pid, reason);
        }
    }

    // The home's side.

    pub(crate) fn output_arrived(
        &mut self,
        (from, life): (Peer, Life),
        pid: Pid,
        offset: u64,
        base: u64,
        stream: Stream,
        bytes: Blob,
    ) {
        let once = self.rules.keep(Rule::OutputOnce);
        let soon = !self.rules.keep(Rule::WrittenThenAcknowledged);
        if self.speaks_elsewhere(from, pid) {
            return;
        }
        let Some(log) = self.log((from, life), pid, base) else { return };
        let Some(taken) = log.taken else { return };
        let end = offset.saturating_add(bytes.0.len() as u64);
        // What leaves a gap comes again, after what belongs before it.
        let follows = offset <= taken && !log.concluding;
        let skip = if once { taken.saturating_sub(offset).min(bytes.0.len() as u64) } else { 0 };
        if follows && (taken < end || (!once && !bytes.0.is_empty())) {
            let bytes = match skip {
                0 => bytes,
                skip => Blob(bytes.0[skip as usize..].to_vec()),
            };
            log.taken = Some(end.max(taken));
            if soon {
                log.written = end.max(taken);
            }
            self.put(Output::Deliver { pid, offset: offset + skip, stream, bytes });
            if !soon {
                return;
            }
        }
        self.acknowledge(from, pid);
    }

    pub(crate) fn end_arrived(
        &mut self,
        (from, life): (Peer, Life),
        pid: Pid,
        base: u64,
        offset: u64,
        outcome: Outcome,
    ) {
        if self.speaks_elsewhere(from, pid) {
            return;
        }
        // It may be the first that a home hears; the log is at `offset` when all of the output has come.
        let Some(log) = self.log((from, life), pid, base) else { return };
        if log.ended {
            return self.acknowledge(from, pid);
        }
        if log.taken == Some(offset) && log.written == offset && !log.concluding {
            log.concluding = true;
            self.put(Output::Conclude { pid, outcome });
        }
    }

    /// Whether what is said of a log is not for this node to take: not now, or not any more.
    fn speaks_elsewhere(&mut self, from: Peer, pid: Pid) -> bool {
        match self.logs.get(&pid).map(|log| log.way) {
            None | Some(Way::Here) => false,
            // It comes again.
            Some(Way::Rests) => self.rules.keep(Rule::LogRests),
            // Whoever has no home turns to this node: its log begins anew.
            Some(Way::Handed { to, .. }) if self.forgotten_node(to) => {
                self.logs.remove(&pid);
                false
            }
            Some(Way::Handed { to, .. }) => {
                self.send(from, Message::Home { pid, home: to });
                true
            }
        }
    }

    fn acknowledge(&mut self, to: Peer, pid: Pid) {
        if let Some(log) = self.logs.get_mut(&pid) {
            let (offset, ended) = (log.written, log.ended);
            if log.untold && log.taken != Some(offset) {
                return;
            }
            log.untold = false;
            self.send(to, Message::Acknowledged { pid, offset, ended });
        }
    }

    fn log(&mut self, (from, life): (Peer, Life), pid: Pid, base: u64) -> Option<&mut Log> {
        let log = self.logs.entry(pid).or_insert_with(|| {
            self.outputs.push_back(Output::OpenLog { pid, base });
            Log::default()
        });
        if life < log.life {
            return None;
        }
        log.untold |= log.life < life;
        log.life = life;
        log.holder = Some(from);
        Some(log)
    }

    /// Also fed at the start for each log that has no end yet: its process may be lost.
    pub(crate) fn log_opened(&mut self, now: Instant, pid: Pid, length: u64, ended: bool) {
        let log = self.logs.entry(pid).or_default();
        if matches!(log.way, Way::Handed { .. }) {
            // It was handed on to here: whatever is known of it is from before it went.
            *log = Log::default();
        }
        if log.taken.is_none() {
            log.taken = Some(length);
            log.written = length;
            log.ended = ended;
            log.concluding = ended;
        }
        let holder = log.holder;
        self.conclude_by_verdict(pid);
        // First words can outlive whoever said them; and those of another node the process, which was killed in its file.
        match holder {
            Some(holder) if holder == self.config.me => (),
            Some(holder) if !self.gone(holder) => {
                if !ended && self.news.is_some() {
                    self.ask(now, Purpose::Log(pid), Request::Locate(vec![pid]));
                }
            }
            _ => self.look_for_lost(now),
        }
    }

    pub(crate) fn delivered(&mut self, pid: Pid, length: u64, ended: bool) {
        let Some(log) = self.logs.get_mut(&pid) else { return };
        log.written = log.written.max(length);
        log.ended |= ended;
        if let Some(holder) = log.holder {
            self.acknowledge(holder, pid);
        }
        self.conclude_by_verdict(pid);
        // Whatever of an ended process still comes reopens the log, which knows that it has ended.
        if ended {
            self.logs.remove(&pid);
        }
    }

    /// Somebody is gone: asks what has become of the processes whose output is kept here.
    pub(crate) fn look_for_lost(&mut self, now: Instant) {
        let open = |log: &Log| !log.concluding && log.way == Way::Here;
        let open = self.logs.iter().filter(|(_, log)| open(log));
        let pids: Vec<Pid> = open.map(|(pid, _)| *pid).take(LOGS_ASKED_MAX).collect();
        if !pids.is_empty() && self.news.is_some() {
            // An answer under way is older than the news that make us ask.
            self.unask(&Purpose::Logs);
            self.ask(now, Purpose::Logs, Request::Locate(pids));
        }
    }

    pub(crate) fn logs_located(&mut self, found: &[(Pid, Location)]) {
        for (pid, location) in found {
            let outcome = match (location.standing, location.place.owner) {
                (Standing::Lost, Owner::Node(last)) => Outcome::Lost(last),
                (_, Owner::Killed) => Outcome::Killed,
                _ => continue,
            };
            let Some(log) = self.logs.get_mut(pid) else { continue };
            log.verdict = Some(outcome);
            self.conclude_by_verdict(*pid);
        }
    }

    fn conclude_by_verdict(&mut self, pid: Pid) {
        let Some(log) = self.logs.get_mut(&pid) else { return };
        if log.concluding || log.way != Way::Here || log.taken != Some(log.written) {
            return;
        }
        if let Some(outcome) = log.verdict.take() {
            log.concluding = true;
            self.put(Output::Conclude { pid, outcome });
        }
    }
}

/// How many logs are asked about at once.
const LOGS_ASKED_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use wire::{Generation, Incarnation, Member, MemberStanding, News, Offer, Place};

    use super::*;
    use crate::testing::{drain, machine, peer, pid};

    /// It went into a file and was killed there while its first word was on its way: nobody else will say that it has ended.
    #[test]
    fn of_a_process_elsewhere_that_begins_here_the_registry_is_asked() {
        let mut machine = machine(1);
        let member = Member {
            peer: peer(2),
            name: "osprey".into(),
            address: "-".into(),
            standing: MemberStanding::Up,
            settled: Incarnation(0),
            fenced: false,
        };
        let (generation, members) = (Generation(1), vec![member]);
        machine.news = Some(News { version: 1, generation, members, killed: vec![] });
        let (pid, from) = (pid(2), (peer(2), Life::FIRST));
        machine.output_arrived(from, pid, 0, 0, Stream::Out, Blob::default());
        machine.log_opened(machine.now, pid, 0, false);
        let asked = |output: &Output| matches!(output, Output::Ask(_, Request::Locate(pids)) if *pids == [pid]);
        assert!(drain(&mut machine).iter().any(asked));
        let place = Place { owner: Owner::Killed, epoch: Epoch(2), offer: Offer(1) };
        machine.logs_located(&[(pid, Location { place, standing: Standing::Rests })]);
        let end = Output::Conclude { pid, outcome: Outcome::Killed };
        assert!(drain(&mut machine).contains(&end));
    }

    /// The last words of a process that is lost may be on their way to the disk when the registry says so.
    #[test]
    fn a_loss_is_told_once_what_was_taken_is_written_down() {
        let mut machine = machine(1);
        let (pid, dead) = (pid(2), peer(2));
        let bytes = Blob(b"last words".to_vec());
        machine.output_arrived((dead, Life(1)), pid, 0, 0, Stream::Out, Blob::default());
        machine.log_opened(machine.now, pid, 0, false);
        machine.output_arrived((dead, Life(1)), pid, 0, 0, Stream::Out, bytes);
        let place = Place { owner: Owner::Node(dead), epoch: Epoch(0), offer: Offer(0) };
        machine.logs_located(&[(pid, Location { place, standing: Standing::Lost })]);
        let concludes = |outputs: &[Output]| {
            outputs.iter().any(|output| {
                matches!(output, Output::Conclude { outcome: Outcome::Lost(last), .. } if *last == dead)
            })
        };
        assert!(!concludes(&drain(&mut machine)), "its last words are not written down");
        machine.delivered(pid, 10, false);
        assert!(concludes(&drain(&mut machine)));
    }

    /// What an earlier life wrote last may be on its way to the disk when another one asks where it goes on.
    #[test]
    fn a_new_life_is_told_of_all_that_was_taken() {
        let mut machine = machine(1);
        let (pid, before, now) = (pid(2), peer(2), machine.now);
        let after = Peer { incarnation: Incarnation(2), ..before };
        let bytes = Blob(b"last words".to_vec());
        machine.output_arrived((before, Life::FIRST), pid, 0, 0, Stream::Out, Blob::default());
        machine.log_opened(now, pid, 0, false);
        machine.output_arrived((before, Life::FIRST), pid, 0, 0, Stream::Out, bytes.clone());
        drain(&mut machine);
        let acknowledged = |machine: &mut Machine| {
            drain(machine).into_iter().find_map(|output| match output {
                Output::Send(_, Message::Acknowledged { offset, .. }) => Some(offset),
                _ => None,
            })
        };
        machine.output_arrived((after, Life(2)), pid, 0, 0, Stream::Out, Blob::default());
        assert_eq!(acknowledged(&mut machine), None, "it would write over them");
        machine.delivered(pid, 10, false);
        assert_eq!(acknowledged(&mut machine), Some(10));
        machine.output_arrived((before, Life::FIRST), pid, 10, 0, Stream::Out, bytes);
        assert_eq!(drain(&mut machine), [], "nobody hears an earlier life");
    }

    /// A home that is new hears the end first: the output that no other home has comes after it.
    #[test]
    fn an_end_that_overtakes_the_output_leaves_room_for_it() {
        let mut machine = machine(1);
        let (pid, from, now) = (pid(2), (peer(2), Life::FIRST), machine.now);
        machine.end_arrived(from, pid, 60, 70, Outcome::Code(0));
        assert!(drain(&mut machine).contains(&Output::OpenLog { pid, base: 60 }));
        machine.log_opened(now, pid, 60, false);
        let bytes = Blob(b"last words".to_vec());
        machine.output_arrived(from, pid, 60, 60, Stream::Out, bytes.clone());
        let deliver = Output::Deliver { pid, offset: 60, stream: Stream::Out, bytes };
        assert!(drain(&mut machine).contains(&deliver));
        machine.delivered(pid, 70, false);
        machine.end_arrived(from, pid, 70, 70, Outcome::Code(0));
        let conclude = Output::Conclude { pid, outcome: Outcome::Code(0) };
        assert!(drain(&mut machine).contains(&conclude));
    }
}
