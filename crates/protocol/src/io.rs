//! Everything that can happen to a node, and everything a node can ask of the world.
//!
//! The crate's documentation has the table of which output is answered by which input.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use wire::{
    AskId, Blob, Envelope, Epoch, Errand, Grant, GroupId, InTransit, Locate, Message, NodeId,
    Offer, Outcome, Peer, Pid, Reason, Refusal, Report, Request, Section, Share, Stream, Ticket,
};

use crate::{Note, Span};

/// Everything that can happen to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A message arrived on the link of the node that it names as its sender.
    Receive(Envelope),
    /// A deadline from [`Machine::deadline`](crate::Machine::deadline) has passed.
    Wake,
    /// Something is wished. Exactly one [`Output::Report`] will end it.
    Wish(Ticket, Wish),

    /// Answers [`Output::Describe`]: what the process needs of a target.
    Described {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
        /// Read by the target's driver; or why it cannot move at all.
        needs: Result<Blob, String>,
    },
    /// Answers [`Output::Freeze`]: it takes no further step, and all it wrote has been given to us.
    Frozen {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
    },
    /// Answers [`Output::Transfer`]: the whole image has been handed to the link.
    Transferred {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
        /// How long the image was.
        bytes: u64,
    },
    /// Answers [`Output::Transfer`] or [`Output::Store`]: it did not work.
    TransferFailed {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
        /// Why, in words.
        reason: String,
    },
    /// Answers [`Output::Store`]: the image is in the file, durably.
    Stored {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
    },

    /// Answers [`Output::Prepare`]: room is reserved and the code is here.
    Prepared {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
    },
    /// Answers [`Output::Prepare`]: it cannot be taken.
    NotPrepared {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
        /// Why.
        reason: Refusal,
    },
    /// The whole image of a reserved offer is here, verified and ready to run.
    Staged {
        /// From which incarnation it came.
        from: Peer,
        /// The protocol's section of it.
        section: Section,
    },
    /// The stream of a reserved offer ended badly. Nothing is held of it any more.
    StageFailed {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
    },

    /// A running process wrote. Held back or sent on, as its move allows.
    Wrote {
        /// Which process.
        pid: Pid,
        /// Where to.
        stream: Stream,
        /// What.
        bytes: Blob,
    },
    /// A running process ended: by itself, or because of [`Output::Kill`].
    Ended {
        /// Which process.
        pid: Pid,
        /// How.
        outcome: Outcome,
    },

    /// A running process sends a letter that [`Machine::may_send`](crate::Machine::may_send)
    /// allows. What it sent before a freeze comes before `Frozen`.
    Send {
        /// Which process.
        pid: Pid,
        /// To whom.
        to: Pid,
        /// What.
        letter: Share,
    },
    /// A guest watches another process: its end becomes news. Only what
    /// [`Machine::may_watch`](crate::Machine::may_watch) allows.
    Watch {
        /// Who watches.
        pid: Pid,
        /// Whom.
        of: Pid,
    },
    /// All of these processes are to come here, or none; each wish ends in a report of its own.
    Gather(Vec<(Ticket, Pid)>),
    /// A guest links itself to another process: each ends with the other. Only what
    /// [`Machine::may_watch`](crate::Machine::may_watch) allows.
    Link {
        /// Who asks for it.
        pid: Pid,
        /// To whom.
        to: Pid,
    },
    /// A guest is linked no longer.
    Unlink {
        /// Who ends it.
        pid: Pid,
        /// To whom it was linked.
        from: Pid,
    },
    /// Whether the end of a process that a guest is linked to is news to it, and not its own end.
    Traps {
        /// Whose wish it is.
        pid: Pid,
        /// Whether it is news.
        traps: bool,
    },
    /// A guest watches no longer.
    Unwatch {
        /// Who.
        pid: Pid,
        /// Whom.
        of: Pid,
    },
    /// A guest wants a name, or wants to know whose it is: not one that runs held. Answered by [`Output::Named`]; not if the guest is stopped
    /// before: where it goes on it asks again.
    Name {
        /// Which process.
        pid: Pid,
        /// The name.
        name: String,
        /// Whether it wants the name for itself.
        register: bool,
    },
    /// A guest has taken letters out of its inbox, which makes room for their sender. What it took
    /// before a freeze comes before `Frozen`.
    Took {
        /// Which process.
        pid: Pid,
        /// Whose letters.
        from: Pid,
        /// How many.
        letters: u64,
        /// How long they were together.
        bytes: u64,
    },

    /// Answers [`Output::OpenLog`].
    LogOpened {
        /// Whose log.
        pid: Pid,
        /// How many bytes it has had, the base included.
        length: u64,
        /// Whether the end is written in it.
        ended: bool,
    },
    /// Answers [`Output::Deliver`] and [`Output::Conclude`]: written down.
    Delivered {
        /// Whose log.
        pid: Pid,
        /// How many bytes it has had.
        length: u64,
        /// Whether the end is written in it.
        ended: bool,
    },
    /// A log that rests (see [`Machine::rest_log`](crate::Machine::rest_log)) has another home, which has a copy and has
    /// been told; that is written down. Also fed at the start, of every log of which it is written down.
    LogHanded {
        /// Whose log.
        pid: Pid,
        /// Whose it is now.
        to: NodeId,
        /// Whether the end is written in it: then its process needs no home any more.
        ended: bool,
    },
}

/// Why a question about a name has no process for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unnamed {
    /// Another process has that name.
    Taken(Pid),
    /// Nobody has that name.
    Unknown,
    /// It cannot be a name, or the process has another.
    Unfit,
}

/// What an operator can wish for.
#[expect(
    clippy::large_enum_variant,
    reason = "there are few of them, and each is soon taken apart"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Start a group here. Answered by [`Output::Start`] and [`Report::Spawned`].
    Spawn {
        /// The node that keeps its output.
        home: NodeId,
        /// Its name.
        name: Option<String>,
        /// To which other groups it may send.
        grant: Grant,
        /// How letters find its members when they move.
        locate: Locate,
        /// Where letters wait while they move.
        in_transit: InTransit,
        /// Whether all of them end as soon as one fails.
        together: bool,
        /// How often an image of each is written to its node's disk, if they are to begin anew from there after a crash
        /// of that node.
        durable: Option<Span>,
        /// How many to start, as one group: indices 0, 1, 2 …, each answered by an
        /// [`Output::Start`], in this order. The name is the first one's.
        members: u32,
    },
    /// Do this to a process, wherever it is.
    Errand(Pid, Errand),
    /// Move a process of this node into a file. Answered by [`Output::Store`] on the way.
    Store(Pid),
    /// Bring the process of this image back from its file. Its stage is held by the driver under
    /// (pid, offer), as if it had come from a node.
    Thaw(Section),
    /// End a whole group, everywhere.
    KillGroup(GroupId),
    /// Send a letter to a process, wherever it is, from this node's port. [`Report::Delivered`] when it is in the
    /// inbox.
    Post(Pid, Share),
    /// Hear the registry's newest word on the members now, not with the next renewal. Answered by
    /// [`Report::News`] when it is here; not at all as long as the registry is silent.
    News,
}

/// Everything a node can ask of the world. Done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a message to a peer, if there is a link to exactly that incarnation. It may be lost.
    Send(Peer, Message),
    /// Ask the registry's home, whichever incarnation of it is up. It may be lost: the machine
    /// asks again.
    Ask(AskId, Request),
    /// A wish has ended so.
    Report(Ticket, Report),
    /// A step of a move has just been made: what makes it true has been put out, what follows has
    /// not. A driver that halts here shows a test exactly this moment.
    Step(Pid, Step),
    /// Something that whoever watches may want to know. Nothing follows from it.
    Note(Note),

    /// Start the guest of this ticket under this id.
    Start(Ticket, Pid),
    /// Say what the process needs of a target. It runs on.
    Describe(Pid, Offer),
    /// Freeze the guest. It must not take another step before `Resume`.
    Freeze(Pid, Offer),
    /// Stream the frozen process to the target, with this section.
    Transfer {
        /// Which process, which offer, and what else belongs into the image.
        section: Section,
        /// To where.
        to: Peer,
    },
    /// Write the frozen process to the ticket's file, with this section, durably.
    Store {
        /// Which wish names the file.
        ticket: Ticket,
        /// Which process, which offer, and what else belongs into the image.
        section: Section,
    },
    /// Reserve room for a process, and get its code.
    Prepare {
        /// From where.
        from: Peer,
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
        /// What it needs.
        needs: Blob,
    },
    /// Let go of whatever is held for this offer: the reservation, a stream, the staged image, or
    /// the frozen process. It will not be asked for again. Nothing held is fine.
    Discard(Pid, Offer),
    /// Write an image of the guest to this node's disk, with [`Machine::checkpoint`](crate::Machine::checkpoint) as its
    /// section, in place of the last one. It runs on.
    Checkpoint(Pid),
    /// Remove the image from this node's disk, durably. Nothing there is fine.
    Erase(Pid),
    /// Let the staged guest run.
    Run {
        /// Which process.
        pid: Pid,
        /// Which offer.
        offer: Offer,
        /// In which epoch.
        epoch: Epoch,
        /// Whether what others could see is held back until [`Output::Release`].
        held: bool,
    },
    /// Let the frozen guest run on.
    Resume {
        /// Which process.
        pid: Pid,
        /// Which offer it had been frozen for.
        offer: Offer,
        /// In which epoch.
        epoch: Epoch,
    },
    /// Hold nothing back any more.
    Release(Pid, Epoch),
    /// End the guest, in whatever state it is here. Answered by [`Input::Ended`], unless the guest
    /// is frozen: then it is just let go.
    Kill(Pid),
    /// There is room for output again (see [`Machine::output_room`](crate::Machine::output_room)).
    OutputRoom(Pid),

    /// Put a letter into the guest's inbox, after all that is in it. The guest runs, or is frozen
    /// and its image has not been asked for: the inbox goes into the image as it is at `Transfer`
    /// or `Store`.
    Inbox {
        /// Whose inbox.
        pid: Pid,
        /// Who sent it.
        from: Pid,
        /// What.
        letter: Share,
    },
    /// A correspondent is no more; all of it that is delivered is in the inbox before this. Once for
    /// each correspondent, as long as it is remembered.
    Down {
        /// Who is told.
        pid: Pid,
        /// Who is no more.
        of: Pid,
        /// Why.
        reason: Reason,
        /// Whether it was watched: then this is news for the inbox. One that was down when the watch began is said
        /// to be so once more.
        watched: bool,
    },
    /// The node of one that is watched is silent, or is heard again: news for the inbox.
    Silent {
        /// Who is told.
        pid: Pid,
        /// Whose node it is.
        of: Pid,
        /// Whether it is silent now.
        silent: bool,
    },
    /// What a guest asked of a name by [`Input::Name`]: whose it is.
    Named {
        /// Which process asked.
        pid: Pid,
        /// The name.
        name: String,
        /// Whether it wanted the name for itself.
        register: bool,
        /// The process that has it: itself, if it wanted it and has it.
        holder: Result<Pid, Unnamed>,
    },
    /// The process may be able to send again (see [`Machine::may_send`](crate::Machine::may_send)),
    /// or knows that it never will.
    SendRoom(Pid),

    /// Open or make the log of a process's output; a new one starts at `base`.
    OpenLog {
        /// Whose.
        pid: Pid,
        /// What has been delivered elsewhere before.
        base: u64,
    },
    /// Append to the log.
    Deliver {
        /// Whose.
        pid: Pid,
        /// The log's length before.
        offset: u64,
        /// Which stream.
        stream: Stream,
        /// The bytes.
        bytes: Blob,
    },
    /// Write the end into the log.
    Conclude {
        /// Whose.
        pid: Pid,
        /// How it ended.
        outcome: Outcome,
    },

    /// Nobody has to be told any more that a log was handed on: the process's node knows its new home, or there is none.
    LogLeft(Pid),

    /// The members have changed: see [`Machine::members`](crate::Machine::members). Connect to
    /// those that are up.
    Members,
    /// This incarnation was declared gone. Everything in it has been ended; stop the daemon.
    Expelled,
}

/// The steps of a move, in order, and of what can come instead. Their names are used by the table of
/// faults in `docs/protocol.md`, by simulations, and to halt a daemon at one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Source: the target has been asked; the process runs.
    PrepareAsked,
    /// Target: room is reserved, and the source has been told.
    Reserved,
    /// Source: the process is frozen; nothing has been offered.
    Frozen,
    /// Source: the offer is made, the image on its way.
    Offered,
    /// Target: the whole image is held, the commit not asked for.
    Staged,
    /// Target: the commit is asked for, not answered.
    CommitAsked,
    /// Target: committed; it runs, its effects held back; the source has not been told.
    Committed,
    /// Target: the source has been told.
    Settled,
    /// Source: its image is gone; the target has not been told.
    Forgetting,
    /// Source: the target has been told.
    Forgotten,
    /// Target: effects are released. The move is over.
    Released,
    /// A later incarnation of its node: a durable process begins a new life from its image on disk.
    Restarted,
    /// Source: `cancel` has been sent.
    Cancelled,
    /// Target: dropped on `cancel`; the source has not been told.
    Dropped,
    /// Source: the registry has been asked to give up.
    GiveUpAsked,
    /// Source: given up; it runs here again.
    Resumed,
    /// Source: it has heard that the target committed, and keeps the image until it knows more.
    Kept,
    /// Source: the registry has been asked to take the process back.
    TakeBackAsked,
    /// Source: taken back; it runs here again.
    TakenBack,
    /// Target: its source silent, the registry has been asked to raise the epoch.
    RaiseAsked,
    /// Source: the image is in the file, the record does not say so yet.
    Stored,
    /// Source: the process lies in the file.
    InFile,
    /// It was thawed from a file.
    Thawed,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 23] = [
        Self::PrepareAsked,
        Self::Reserved,
        Self::Frozen,
        Self::Offered,
        Self::Staged,
        Self::CommitAsked,
        Self::Committed,
        Self::Settled,
        Self::Forgetting,
        Self::Forgotten,
        Self::Released,
        Self::Restarted,
        Self::Cancelled,
        Self::Dropped,
        Self::GiveUpAsked,
        Self::Resumed,
        Self::Kept,
        Self::TakeBackAsked,
        Self::TakenBack,
        Self::RaiseAsked,
        Self::Stored,
        Self::InFile,
        Self::Thawed,
    ];

    /// The name it has in documents, stories and tests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrepareAsked => "prepare-asked",
            Self::Reserved => "reserved",
            Self::Frozen => "frozen",
            Self::Offered => "offered",
            Self::Staged => "staged",
            Self::CommitAsked => "commit-asked",
            Self::Committed => "committed",
            Self::Settled => "settled",
            Self::Forgetting => "forgetting",
            Self::Forgotten => "forgotten",
            Self::Released => "released",
            Self::Restarted => "restarted",
            Self::Cancelled => "cancelled",
            Self::Dropped => "dropped",
            Self::GiveUpAsked => "give-up-asked",
            Self::Resumed => "resumed",
            Self::Kept => "kept",
            Self::TakeBackAsked => "take-back-asked",
            Self::TakenBack => "taken-back",
            Self::RaiseAsked => "raise-asked",
            Self::Stored => "stored",
            Self::InFile => "in-file",
            Self::Thawed => "thawed",
        }
    }

    /// Whether it is a step of a move, to a node or a file: those are the rows of the table of faults.
    #[must_use]
    pub const fn is_of_a_move(self) -> bool {
        !matches!(self, Self::Restarted)
    }

    /// The step of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receive(envelope) => write!(f, "{envelope}"),
            Self::Wake => f.write_str("wake"),
            Self::Wish(ticket, Wish::Errand(pid, errand)) => {
                write!(f, "wish({} {pid} {errand:?})", ticket.0)
            }
            Self::Wish(ticket, wish) => write!(f, "wish({} {wish:?})", ticket.0),
            Self::Described { pid, offer, needs } => {
                write!(
                    f,
                    "described({pid} {offer}{})",
                    if needs.is_ok() { "" } else { " unmovable" }
                )
            }
            Self::Frozen { pid, offer } => write!(f, "frozen({pid} {offer})"),
            Self::Transferred { pid, offer, bytes } => {
                write!(f, "transferred({pid} {offer} {bytes} bytes)")
            }
            Self::TransferFailed { pid, offer, .. } => write!(f, "transfer-failed({pid} {offer})"),
            Self::Stored { pid, offer } => write!(f, "stored({pid} {offer})"),
            Self::Prepared { pid, offer } => write!(f, "prepared({pid} {offer})"),
            Self::NotPrepared { pid, offer, reason } => {
                write!(f, "not-prepared({pid} {offer}: {reason})")
            }
            Self::Staged { from, section } => {
                write!(f, "staged({} {} from {from})", section.pid, section.offer)
            }
            Self::StageFailed { pid, offer } => write!(f, "stage-failed({pid} {offer})"),
            Self::Wrote { pid, bytes, .. } => write!(f, "wrote({pid} {} bytes)", bytes.0.len()),
            Self::Ended { pid, outcome } => write!(f, "ended({pid} {outcome})"),
            Self::Send { pid, to, letter } => {
                write!(f, "send({pid} to {to}, {} bytes)", letter.len())
            }
            Self::Watch { pid, of } => write!(f, "watch({pid} {of})"),
            Self::Unwatch { pid, of } => write!(f, "unwatch({pid} {of})"),
            Self::Gather(all) => {
                f.write_str("gather(")?;
                all.iter().try_for_each(|(ticket, pid)| write!(f, "{pid} #{} ", ticket.0))?;
                f.write_str(")")
            }
            Self::Link { pid, to } => write!(f, "link({pid} {to})"),
            Self::Unlink { pid, from } => write!(f, "unlink({pid} {from})"),
            Self::Traps { pid, traps } => write!(f, "traps({pid} {traps})"),
            Self::Name { pid, name, register } => {
                let what = if *register { "registers" } else { "asks for" };
                write!(f, "name({pid} {what} {name:?})")
            }
            Self::Took { pid, from, letters, .. } => write!(f, "took({pid} {letters} of {from})"),
            Self::LogOpened { pid, length, .. } => write!(f, "log-opened({pid} {length})"),
            Self::Delivered { pid, length, .. } => write!(f, "delivered({pid} {length})"),
            Self::LogHanded { pid, to, .. } => write!(f, "log-handed({pid} to {to})"),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(to, message) => write!(f, "send {to} {message}"),
            Self::Ask(ask, request) => write!(f, "ask({} {request})", ask.0),
            Self::Report(ticket, report) => write!(f, "report({} {report:?})", ticket.0),
            Self::Step(pid, step) => write!(f, "step({pid} {step})"),
            Self::Note(note) => write!(f, "note({note:?})"),
            Self::Start(ticket, pid) => write!(f, "start({} {pid})", ticket.0),
            Self::Describe(pid, offer) => write!(f, "describe({pid} {offer})"),
            Self::Freeze(pid, offer) => write!(f, "freeze({pid} {offer})"),
            Self::Transfer { section, to } => {
                write!(f, "transfer({} {} to {to})", section.pid, section.offer)
            }
            Self::Store { section, .. } => write!(f, "store({} {})", section.pid, section.offer),
            Self::Prepare { from, pid, offer, .. } => {
                write!(f, "prepare({pid} {offer} from {from})")
            }
            Self::Discard(pid, offer) => write!(f, "discard({pid} {offer})"),
            Self::Checkpoint(pid) => write!(f, "checkpoint({pid})"),
            Self::Erase(pid) => write!(f, "erase({pid})"),
            Self::Run { pid, offer, epoch, held } => {
                write!(f, "run({pid} {offer} {epoch}{})", if *held { " held" } else { "" })
            }
            Self::Resume { pid, offer, epoch } => write!(f, "resume({pid} {offer} {epoch})"),
            Self::Release(pid, epoch) => write!(f, "release({pid} {epoch})"),
            Self::Kill(pid) => write!(f, "kill({pid})"),
            Self::OutputRoom(pid) => write!(f, "output-room({pid})"),
            Self::Inbox { pid, from, letter } => {
                write!(f, "inbox({pid} from {from}, {} bytes)", letter.len())
            }
            Self::Down { pid, of, reason, watched } => {
                let watched = if *watched { " watched" } else { "" };
                write!(f, "down({of} {reason} for {pid}{watched})")
            }
            Self::Silent { pid, of, silent } => {
                write!(f, "{}({of} for {pid})", if *silent { "silent" } else { "back" })
            }
            Self::Named { pid, name, register, holder } => {
                let what = if *register { "registers" } else { "asks for" };
                write!(f, "named({pid} {what} {name:?}: {holder:?})")
            }
            Self::SendRoom(pid) => write!(f, "send-room({pid})"),
            Self::OpenLog { pid, base } => write!(f, "open-log({pid} {base})"),
            Self::Deliver { pid, offset, bytes, .. } => {
                write!(f, "deliver({pid} {offset}+{})", bytes.0.len())
            }
            Self::Conclude { pid, outcome } => write!(f, "conclude({pid} {outcome})"),
            Self::LogLeft(pid) => write!(f, "log-left({pid})"),
            Self::Members => f.write_str("members"),
            Self::Expelled => f.write_str("expelled"),
        }
    }
}
