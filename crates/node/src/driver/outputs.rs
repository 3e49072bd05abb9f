//! What the machine puts out, done.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::{ImageWriter, Place};
use protocol::{Input, Output};
use tokio::sync::mpsc;
use wire::{
    AskId, Envelope, Epoch, MemberStanding, Message, NodeId, Offer, Outcome, Peer, Pid, Request,
    Section, Ticket,
};

use super::{Answer, Cargo, Driver, Event, Pending, Start};
use crate::links::bulk::{CHUNKS_AHEAD, Outlet};

impl Driver {
    pub(super) fn perform(&mut self, output: Output) {
        if !matches!(output, Output::OpenLog { .. })
            && let Err(error) = self.logbook.flush()
        {
            tracing::error!(%error, "which logs are open is not written down; it will be tried again");
        }
        match output {
            Output::Send(to, message) => self.send(to, message),
            Output::Ask(ask, request) => self.ask(ask, request),
            Output::Report(ticket, report) => self.report(ticket, report),
            Output::Note(_) => (),
            Output::Step(pid, step) => {
                tracing::debug!(node = %self.me.node, %pid, %step, "step");
                if self.halts.as_ref().is_some_and(|halts| halts.reached(step.name())) {
                    self.halted = Some(step);
                }
            }
            Output::Start(ticket, pid) => self.start(ticket, pid),
            Output::Describe(pid, offer) => self.describe(pid, offer),
            Output::Freeze(pid, offer) => self.guests.freeze(pid, offer),
            Output::Transfer { section, to } => self.transfer(section, to),
            Output::Store { ticket, section } => self.store(ticket, section),
            Output::Prepare { from, pid, offer, needs } => self.prepare(from, pid, offer, &needs),
            Output::Discard(pid, offer) => {
                self.arrivals.forget(pid, offer);
                if self.guests.discard(pid, offer) {
                    self.checkpoints.erase(pid);
                }
            }
            Output::Checkpoint(pid) => self.guests.checkpoint(pid),
            Output::Erase(pid) => self.checkpoints.erase(pid),
            Output::Run { pid, offer, epoch, held } => self.run_stage(pid, offer, epoch, held),
            Output::Resume { pid, offer, epoch } => {
                self.guests.resume(pid, offer, epoch);
                self.take_output(pid);
            }
            Output::Release(pid, epoch) => {
                if let Some(guest) = self.guests.get(pid) {
                    guest.process.set_epoch(epoch);
                    guest.process.release_effects();
                }
            }
            Output::Kill(pid) => self.guests.kill(pid),
            Output::OutputRoom(pid) => self.take_output(pid),
            Output::Inbox { pid, from, letter } => self.gather(pid, from, letter),
            Output::Down { pid, of, reason, watched } => {
                self.tell_of_end(pid, of, reason, watched);
            }
            Output::Silent { pid, of, silent } => self.tell_of_silence(pid, of, silent),
            Output::Named { pid, name, register, holder } => {
                self.tell_of_name(pid, &name, register, holder);
            }
            Output::SendRoom(pid) => self.carry(pid),
            output
            @ (Output::OpenLog { .. } | Output::Deliver { .. } | Output::Conclude { .. }) => {
                self.write_log(output);
            }
            Output::LogLeft(pid) => {
                if let Some(told) = self.log_left.remove(&pid) {
                    let _ = told.send(());
                }
            }
            Output::Members => self.on_members(),
            Output::Expelled => self.expelled = true,
        }
    }

    fn send(&mut self, to: Peer, message: Message) {
        if to.node == self.me.node {
            if to == self.me {
                let envelope = Envelope { from: self.me, to, message };
                self.inputs.push_back(Input::Receive(envelope));
            }
            return;
        }
        if matches!(message, Message::Prepare { .. }) {
            let bulk = self.bulk.clone();
            self.elsewhere.spawn(async move { bulk.warm(to).await });
        }
        self.messages.send(to, message);
    }

    fn ask(&mut self, ask: AskId, request: Request) {
        let Some(home) = self.seat.home() else {
            return self.messages.send_any(self.seat.node(), Message::Ask { ask, request });
        };
        let (me, events) = (self.me, self.events.clone());
        home.ask(me, request, move |reply| {
            let message = Message::Answer { ask, reply };
            let envelope = Envelope { from: me, to: me, message };
            events.send(Event::Done(Input::Receive(envelope)));
        });
    }

    fn start(&mut self, ticket: Ticket, pid: Pid) {
        let Some(pending) = self.tickets.get_mut(&ticket) else { return };
        let (life, sink) = self.guests.new_life();
        let place = Place { node: self.name.clone(), epoch: Epoch(0) };
        let (started, info, stdin) = if let Cargo::Start(members) = &mut pending.cargo {
            // One for each member, in the order of their indices.
            let Some(Start { code, mut setup, info, stdin, trace, .. }) = next_start(members)
            else {
                return;
            };
            if trace {
                self.machine.trace(pid.group, true);
            }
            setup.place = place;
            (self.engine.start(pid, &code, setup, sink), info, stdin)
        } else if let Cargo::Copy(staged, info) = std::mem::replace(&mut pending.cargo, Cargo::None)
        {
            (staged.run(pid, place, false, sink), Arc::new(info), true)
        } else {
            return;
        };
        let alone =
            pid.index == 0 && !matches!(&pending.cargo, Cargo::Start(left) if !left.is_empty());
        match started {
            Ok(process) => {
                if !stdin {
                    process.stdin_end();
                }
                self.known.insert(pid, info.clone());
                self.guests.insert(pid, (life, Epoch(0)), process, info);
            }
            Err(error) => {
                let outcome = Outcome::Trap(format!("it did not start: {error}"));
                self.inputs.push_back(Input::Ended { pid, outcome });
                // In a group the others have been started, and this one has ended.
                let pending = if alone { self.tickets.remove(&ticket) } else { None };
                if let Some(Pending { answer, .. }) = pending {
                    let _ = answer.send(Answer::NotStarted(error));
                }
            }
        }
    }

    fn run_stage(&mut self, pid: Pid, offer: Offer, epoch: Epoch, held: bool) {
        self.arrivals.forget(pid, offer);
        let staged = self.guests.take_stage(pid, offer);
        let Some((staged, info)) = staged.or_else(|| self.take_thawed(pid, offer)) else { return };
        let (life, sink) = self.guests.new_life();
        let place = Place { node: self.name.clone(), epoch };
        match staged.run(pid, place, held, sink) {
            Ok(process) => {
                let info = Arc::new(info);
                self.known.entry(pid).or_insert_with(|| info.clone());
                self.guests.insert(pid, (life, epoch), process, info);
                self.take_all_output(pid);
            }
            Err(error) => {
                let outcome = Outcome::Trap(format!("it could not go on here: {error}"));
                self.inputs.push_back(Input::Ended { pid, outcome });
            }
        }
    }

    /// Streams a frozen process to another node, from a thread of its own.
    fn transfer(&mut self, section: Section, to: Peer) {
        let (pid, offer) = (section.pid, section.offer);
        let Some(held) = self.guests.held(pid, offer) else {
            let reason = "it is not frozen here".to_owned();
            return self.inputs.push_back(Input::TransferFailed { pid, offer, reason });
        };
        let image = held.frozen.image(self.stamp(&section), held.papers(section).encode());
        let (filled, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let (empties, mut emptied) = mpsc::channel(CHUNKS_AHEAD + 2);
        let poured = tokio::task::spawn_blocking(move || {
            let empty = || emptied.try_recv().ok();
            pour_with(image, empty, |chunk| filled.blocking_send(chunk).is_ok())
        });
        let (bulk, events) = (self.bulk.clone(), self.events.clone());
        self.elsewhere.spawn(async move {
            let outlet = Outlet { chunks, empties };
            let poured = async { poured.await.unwrap_or_else(|error| Err(error.to_string())) };
            let input = match bulk.send(to, (pid, offer), outlet, poured).await {
                Ok(bytes) => Input::Transferred { pid, offer, bytes },
                Err(reason) => Input::TransferFailed { pid, offer, reason },
            };
            events.send(Event::Done(input));
        });
    }

    /// Writes a frozen process to wherever the wish has said, and waits for it to be durable there.
    fn store(&mut self, ticket: Ticket, section: Section) {
        let (pid, offer) = (section.pid, section.offer);
        let pending = self.tickets.get_mut(&ticket);
        let cargo = pending.map(|pending| std::mem::replace(&mut pending.cargo, Cargo::None));
        let (Some(Cargo::File(sink)), Some(held)) = (cargo, self.guests.held(pid, offer)) else {
            let reason = "nobody waits for the image".to_owned();
            return self.inputs.push_back(Input::TransferFailed { pid, offer, reason });
        };
        let image = held.frozen.image(self.stamp(&section), held.papers(section).encode());
        let events = self.events.clone();
        tokio::task::spawn_blocking(move || {
            let chunks = sink.chunks;
            let poured = pour(image, |chunk| chunks.blocking_send(chunk).is_ok());
            if poured.is_ok() {
                let _ = chunks.blocking_send(Vec::new());
            }
            drop(chunks);
            let written = poured.and_then(|()| match sink.committed.blocking_recv() {
                Ok(true) => Ok(()),
                _ => Err("the file was not written".to_owned()),
            });
            let input = match written {
                Ok(()) => Input::Stored { pid, offer },
                Err(reason) => Input::TransferFailed { pid, offer, reason },
            };
            events.send(Event::Done(input));
        });
    }

    fn write_log(&mut self, output: Output) {
        let written = match &output {
            Output::OpenLog { pid, base } => self.logbook.open(*pid, *base).map(|state| {
                let (length, ended) = (state.length, state.ended.is_some());
                Input::LogOpened { pid: *pid, length, ended }
            }),
            Output::Deliver { pid, offset, stream, bytes } => {
                self.logbook.deliver(*pid, *offset, *stream, &bytes.0).map(|state| {
                    let (length, ended) = (state.length, state.ended.is_some());
                    Input::Delivered { pid: *pid, length, ended }
                })
            }
            Output::Conclude { pid, outcome } => {
                self.logbook.conclude(*pid, outcome).map(|state| {
                    let (length, ended) = (state.length, state.ended.is_some());
                    Input::Delivered { pid: *pid, length, ended }
                })
            }
            other => unreachable!("{other} is no write to a log"),
        };
        match written {
            Ok(input) => self.inputs.push_back(input),
            Err(error) => {
                tracing::error!(%error, %output, "a log's disk refuses; it will be tried again");
                self.unwritten.push_back(output);
            }
        }
    }

    pub(super) fn write_again(&mut self) {
        for output in std::mem::take(&mut self.unwritten) {
            self.write_log(output);
        }
    }

    fn on_members(&mut self) {
        let members = self.machine.members();
        let before = self.roster.members();
        self.roster.set(members);
        let members = members.to_vec();
        self.tell_members(&before, &members);
        let present: Vec<NodeId> = members
            .iter()
            .filter(|member| member.standing != MemberStanding::Forgotten)
            .map(|member| member.peer.node)
            .chain([self.seat.node()])
            .filter(|node| *node != self.me.node)
            .collect();
        self.messages.keep(&present);
        self.bulk.keep(&present);
        if let Some(first_news) = self.first_news.take() {
            let _ = first_news.send(());
        }
    }
}

/// What the next member is started with.
fn next_start(members: &mut VecDeque<Start>) -> Option<Start> {
    let first = members.front_mut()?;
    if first.times > 1 {
        first.times -= 1;
        return Some(first.clone());
    }
    members.pop_front()
}

/// Takes an image out piece by piece, until its end or until nobody takes it any more.
pub(super) fn pour(image: ImageWriter, take: impl FnMut(Vec<u8>) -> bool) -> Result<(), String> {
    pour_with(image, || None, take)
}

fn pour_with(
    mut image: ImageWriter,
    mut empty: impl FnMut() -> Option<Vec<u8>>,
    mut take: impl FnMut(Vec<u8>) -> bool,
) -> Result<(), String> {
    loop {
        let mut chunk = empty().unwrap_or_default();
        match image.next(&mut chunk) {
            Ok(true) if take(chunk) => {}
            Ok(true) => return Err("nobody takes the image any more".to_owned()),
            Ok(false) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
}
