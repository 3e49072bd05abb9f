//! One task owns the protocol's machine: it selects one event, feeds it, and does what is put out.
//!
//! Everything that may take long (streams, files of images, code) happens elsewhere and comes back
//! as an event; what is done here in place is short. Requests of the control plane come here as
//! wishes, with what they carry (code to start, an image, somewhere to write one) kept beside the
//! ticket, or as closures that look at the state of affairs.

mod arrivals;
mod guests;
mod mail;
mod outputs;
mod prepare;
mod told;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use engine::{Code, Engine, Setup, Staged, StartError};
use protocol::balance::Labels;
use protocol::{Input, Machine, Step, Wish};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use wire::{Envelope, Offer, Peer, Pid, Report, Ticket};

pub(crate) use arrivals::{Arrivals, Attempt, Landing};
pub(crate) use guests::{Guest, Guests};
pub(crate) use prepare::memory_of_machine;

use crate::Ended;
use crate::checkpoints::{Checkpoints, Stored};
use crate::chronicle::Chronicle;
use crate::clock::Clock;
use crate::codes::Codes;
use crate::halts::Halts;
use crate::links::bulk::Bulk;
use crate::links::hello::Roster;
use crate::links::messages::Messages;
use crate::logbook::{Handed, Logbook};
use crate::papers::Info;
use crate::seat::Seat;

/// How long a daemon that is told to halt waits for its last words to leave.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a daemon that is told to stop writes images of its durable processes.
const LAST_IMAGES: Duration = Duration::from_secs(60);

/// A log that its disk did not take is written again after this.
const DISK_PAUSE: Duration = Duration::from_millis(500);

/// Everything that the driver works with.
pub(crate) struct Driver {
    pub(crate) machine: Machine,
    pub(crate) me: Peer,
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) engine: Engine,
    pub(crate) guests: Guests,
    pub(crate) logbook: Logbook,
    pub(crate) checkpoints: Checkpoints,
    /// Set when the node stops.
    last_images: Option<LastImages>,
    pub(crate) draining: bool,
    /// What this node is labelled with.
    pub(crate) labels: Labels,
    /// What is known of processes that were started or came by here.
    pub(crate) known: HashMap<Pid, Arc<Info>>,
    /// The last move of processes that left here.
    pub(crate) last_moves: HashMap<Pid, api::MoveReport>,
    pub(crate) roster: Roster,
    seat: Seat,
    messages: Arc<Messages>,
    bulk: Arc<Bulk>,
    arrivals: Arrivals,
    codes: Codes,
    events: Events,
    tickets: HashMap<Ticket, Pending>,
    next_ticket: u64,
    /// Inputs that outputs have caused, fed when those before them are done with.
    inputs: VecDeque<Input>,
    /// Who waits for word that the process's node knows of a log's new home.
    pub(crate) log_left: HashMap<Pid, oneshot::Sender<()>>,
    /// Writes to logs that the disk did not take.
    unwritten: VecDeque<protocol::Output>,
    /// Told when the registry has been heard of for the first time.
    first_news: Option<oneshot::Sender<()>>,
    halts: Option<Halts>,
    halted: Option<Step>,
    expelled: bool,
    gathered: mail::Gathered,
    chronicle: Chronicle,
    /// Processes whose last word to a mailbox was a question for letters.
    polled: HashSet<Pid>,
    /// Where that is done which takes a while: this thread is for letters.
    elsewhere: Handle,
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) machine: Machine,
    pub(crate) me: Peer,
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) engine: Engine,
    pub(crate) logbook: Logbook,
    pub(crate) checkpoints: Checkpoints,
    /// What an earlier incarnation has left there. The machine knows of them.
    pub(crate) stored: Vec<Stored>,
    pub(crate) labels: Labels,
    pub(crate) roster: Roster,
    pub(crate) seat: Seat,
    pub(crate) messages: Arc<Messages>,
    pub(crate) bulk: Arc<Bulk>,
    pub(crate) arrivals: Arrivals,
    pub(crate) codes: Codes,
    pub(crate) first_news: oneshot::Sender<()>,
    pub(crate) halts: Option<Halts>,
    pub(crate) elsewhere: Handle,
    pub(crate) chronicle: Chronicle,
}

/// What becomes of durable processes while the node stops.
#[derive(Default)]
struct LastImages {
    /// Those that still run.
    awaited: HashSet<Pid>,
    /// Those that do not run any more. To let go of them would end them.
    resting: Vec<guests::Resting>,
    /// Images on their way to the disk.
    writes: Vec<tokio::task::JoinHandle<()>>,
}

/// Reaches the driver from anywhere.
#[derive(Clone)]
pub(crate) struct Events(pub(crate) mpsc::UnboundedSender<Event>);

/// What happens to a driver. Links have a bounded channel of their own; what comes here is bounded
/// by what the driver has set going.
pub(crate) enum Event {
    /// A process said something. Its life here tells it from an earlier one of the same id.
    Said(Pid, guests::LifeHere, engine::Event),
    /// A task that an output has started is done.
    Done(Input),
    /// Everything that a process needs is here, or it is not.
    Prepared(Pid, Offer, Attempt, Result<(), wire::Refusal>),
    /// An image is here as a whole, or never will be.
    Landed(Landing),
    /// The copy of a process has been written.
    Copied(Pid, guests::LifeHere),
    /// Someone wishes something.
    Wish(Wish, Cargo, oneshot::Sender<Answer>),
    /// Someone wants these processes here, all or none.
    Gather(Vec<(Pid, oneshot::Sender<Answer>)>),
    /// Someone wants to know something, or to have something done at once.
    Look(Box<dyn FnOnce(&mut Driver) + Send>),
    /// The end: the processes here end with it.
    Stop,
}

/// What comes with a wish.
pub(crate) enum Cargo {
    /// Nothing.
    None,
    /// What to start, for the members of the group in order.
    Start(VecDeque<Start>),
    /// An image that becomes a new process.
    Copy(Box<Staged>, Info),
    /// The image of a process that is to come back from its file.
    Thaw(Box<Staged>, Info),
    /// Where to write an image.
    File(ImageSink),
}

/// What to start.
#[derive(Clone)]
pub(crate) struct Start {
    /// For so many members.
    pub(crate) times: u32,
    pub(crate) code: Arc<Code>,
    pub(crate) setup: Setup,
    pub(crate) info: Arc<Info>,
    /// Someone will feed its input; else it ends at once.
    pub(crate) stdin: bool,
    /// What becomes of its group's messages is recorded from its beginning.
    pub(crate) trace: bool,
}

/// Where an image goes that is to be a file. An empty chunk says that it is whole.
pub(crate) struct ImageSink {
    pub(crate) chunks: mpsc::Sender<Vec<u8>>,
    /// Says whether the file is durable.
    pub(crate) committed: oneshot::Receiver<bool>,
}

/// How a wish ended.
pub(crate) enum Answer {
    /// As the protocol says.
    Report(Report),
    /// The engine did not start it.
    NotStarted(StartError),
    /// The process has left its file before: here is the image, for a new one.
    NotAgain(Box<Staged>),
}

struct Pending {
    cargo: Cargo,
    answer: oneshot::Sender<Answer>,
}

impl Events {
    pub(crate) fn send(&self, event: Event) {
        // A driver that has ended needs no events.
        let _ = self.0.send(event);
    }

    /// Lets a closure see the driver's state. `None` if the driver has ended.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Driver) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, wait) = oneshot::channel();
        self.send(Event::Look(Box::new(move |driver| {
            let _ = answer.send(look(driver));
        })));
        wait.await.ok()
    }

    /// Wishes something. The answer comes when the wish has ended.
    pub(crate) fn wish(&self, wish: Wish, cargo: Cargo) -> oneshot::Receiver<Answer> {
        let (answer, wait) = oneshot::channel();
        self.send(Event::Wish(wish, cargo, answer));
        wait
    }
}

impl Driver {
    pub(crate) fn new(parts: Parts, events: Events) -> Self {
        let mut guests = Guests::new(events.clone());
        for Stored { section, staged, info } in parts.stored {
            guests.stage(section.pid, section.offer, staged, info);
        }
        Self {
            machine: parts.machine,
            me: parts.me,
            name: parts.name,
            clock: parts.clock,
            engine: parts.engine,
            guests,
            logbook: parts.logbook,
            checkpoints: parts.checkpoints,
            last_images: None,
            draining: false,
            labels: parts.labels,
            known: HashMap::new(),
            last_moves: HashMap::new(),
            roster: parts.roster,
            seat: parts.seat,
            messages: parts.messages,
            bulk: parts.bulk,
            arrivals: parts.arrivals,
            codes: parts.codes,
            events,
            tickets: HashMap::new(),
            next_ticket: 0,
            inputs: VecDeque::new(),
            log_left: HashMap::new(),
            unwritten: VecDeque::new(),
            first_news: Some(parts.first_news),
            halts: parts.halts,
            halted: None,
            expelled: false,
            gathered: mail::Gathered::default(),
            chronicle: parts.chronicle,
            polled: HashSet::new(),
            elsewhere: parts.elsewhere,
        }
    }

    /// Drives until it is told to stop, or this incarnation is over.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::UnboundedReceiver<Event>,
        mut heard: mpsc::Receiver<Envelope>,
    ) -> Ended {
        // Whose output is kept here may be lost: with this node's last incarnation, perhaps.
        for (pid, length) in self.logbook.unfinished() {
            self.inputs.push_back(Input::LogOpened { pid, length, ended: false });
        }
        self.settle();
        for (pid, Handed { to, ended, left }) in self.logbook.handed() {
            match left {
                true => self.feed(Input::LogHanded { pid, to, ended }),
                // Whoever has a copy may have made it the log: that is asked for until it is known.
                false => self.machine.rest_log(pid),
            }
        }
        while !self.expelled {
            while let Some(step) = self.halted {
                self.halt(step).await;
                self.halted = None;
                self.settle();
            }
            let wake = self
                .machine
                .deadline()
                .map_or(Duration::from_secs(3600), |deadline| self.clock.until(deadline));
            let wake = if self.unwritten.is_empty() { wake } else { wake.min(DISK_PAUSE) };
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    None => break,
                    Some(Event::Stop) => {
                        self.stop_durable(&mut events).await;
                        break;
                    }
                    Some(event) => self.on_event(event),
                },
                envelope = heard.recv() => match envelope {
                    None => break,
                    Some(envelope) => self.feed(Input::Receive(envelope)),
                },
                () = tokio::time::sleep(wake) => {
                    self.write_again();
                    self.feed(Input::Wake);
                }
            }
        }
        self.guests.kill_all();
        self.messages.flush(LAST_WORDS).await;
        match self.expelled {
            false => Ended::Stopped,
            true if self.machine.has_lapsed() => Ended::Lapsed,
            true => Ended::Expelled,
        }
    }

    /// Durable processes come to rest and lie on the disk as they are: a stop undoes nothing of what they did.
    async fn stop_durable(&mut self, events: &mut mpsc::UnboundedReceiver<Event>) {
        let here = self.guests.all().map(|(pid, _)| pid);
        let durable =
            here.filter(|pid| self.machine.durable(*pid).is_some()).collect::<HashSet<_>>();
        for pid in &durable {
            self.guests.checkpoint(*pid);
        }
        self.last_images = Some(LastImages { awaited: durable, ..LastImages::default() });
        let written = async {
            while self.last_images.as_ref().is_some_and(|last| !last.awaited.is_empty()) {
                match events.recv().await {
                    None => return,
                    Some(Event::Stop) => {}
                    Some(event) => self.on_event(event),
                }
            }
            for write in self.last_images.iter_mut().flat_map(|last| last.writes.drain(..)) {
                let _ = write.await;
            }
        };
        if tokio::time::timeout(LAST_IMAGES, written).await.is_err() {
            tracing::error!(
                "not all images of durable processes could be written: those begin anew from older ones"
            );
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Said(pid, life, event) => self.on_said(pid, life, event),
            Event::Done(input) => self.feed(input),
            Event::Prepared(pid, offer, attempt, result) => {
                self.on_prepared(pid, offer, attempt, result);
            }
            Event::Landed(landing) => self.on_landed(landing),
            Event::Copied(pid, life) => self.on_copied(pid, life),
            Event::Wish(wish, cargo, answer) => {
                let ticket = self.ticket(cargo, answer);
                self.feed(Input::Wish(ticket, wish));
            }
            Event::Gather(wanted) => {
                let wanted = wanted
                    .into_iter()
                    .map(|(pid, answer)| (self.ticket(Cargo::None, answer), pid))
                    .collect();
                self.feed(Input::Gather(wanted));
            }
            Event::Look(look) => {
                look(self);
                self.settle();
            }
            Event::Stop => unreachable!("the loop ends at it"),
        }
    }

    /// For one more wish.
    fn ticket(&mut self, cargo: Cargo, answer: oneshot::Sender<Answer>) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, Pending { cargo, answer });
        ticket
    }

    /// Feeds one input and all that it causes.
    pub(crate) fn feed(&mut self, input: Input) {
        self.inputs.push_back(input);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            if self.halted.is_some() {
                return self.put_in_inbox();
            }
            if let Some(output) = self.machine.poll() {
                tracing::trace!(node = %self.me.node, %output, "output");
                if !matches!(output, protocol::Output::Inbox { .. }) {
                    self.put_in_inbox();
                }
                self.tell_output(&output);
                self.perform(output);
            } else if let Some(input) = self.inputs.pop_front() {
                tracing::trace!(node = %self.me.node, %input, "input");
                self.tell_input(&input);
                self.machine.handle(self.clock.now(), input);
            } else {
                return self.put_in_inbox();
            }
        }
    }

    fn report(&mut self, ticket: Ticket, report: Report) {
        let Some(Pending { cargo, answer }) = self.tickets.remove(&ticket) else { return };
        let _ = answer.send(match (report, cargo) {
            (Report::AlreadyThawed, Cargo::Thaw(staged, _)) => Answer::NotAgain(staged),
            (report, _) => Answer::Report(report),
        });
    }

    /// The image of a thaw that is now to run.
    fn take_thawed(&mut self, pid: Pid, offer: Offer) -> Option<(Staged, Info)> {
        let cargo = self.tickets.values_mut().map(|pending| &mut pending.cargo).find(|cargo| {
            matches!(cargo, Cargo::Thaw(staged, _) if (staged.pid(), staged.offer()) == (pid, offer))
        })?;
        match std::mem::replace(cargo, Cargo::None) {
            Cargo::Thaw(staged, info) => Some((*staged, info)),
            _ => unreachable!("it was found as such"),
        }
    }

    /// Stands still, as a test has asked, when what was said before has left.
    async fn halt(&self, step: Step) {
        self.messages.flush(LAST_WORDS).await;
        if let Some(halts) = &self.halts {
            halts.halt(step.name()).await;
        }
    }
}
