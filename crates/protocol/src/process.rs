//! What a node knows of one process, and what it does with it.

use alloc::vec::Vec;

use wire::{Blob, Epoch, Life, NodeId, Offer, Outcome, Owner, Peer, Pid, Section, Ticket, Why};

use crate::delivery::Delivery;
use crate::durable::CHECKPOINT_MIN;
use crate::outbox::Outbox;
use crate::{Instant, Span};

/// An image on disk knows some offers, and the process may have made more since: those of each life begin anew, at
/// twice this power of two. No life makes so many.
const OFFERS_OF_A_LIFE: u32 = 32;

/// A process that runs here, or of which this node holds an image as its source.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) epoch: Epoch,
    /// The last number used for an offer.
    pub(crate) offer: Offer,
    pub(crate) home: NodeId,
    pub(crate) name: Option<alloc::string::String>,
    /// Its group ends with it, should it fail.
    pub(crate) together: bool,
    /// How often its image is written to the disk, if it is to outlive its node's crash.
    pub(crate) durable: Option<Span>,
    pub(crate) checkpoint_at: Option<Instant>,
    pub(crate) outbox: Outbox,
    pub(crate) delivery: Delivery,
    pub(crate) phase: Phase,
    /// How the guest ended, if it has. What follows from it may have to wait.
    pub(crate) ended: Option<Outcome>,
    /// Whether its end has been said to all whom it concerns, or is being said.
    pub(crate) told: bool,
    /// It is to end as soon as it is ours to end, and so.
    pub(crate) doomed: Option<Outcome>,
    pub(crate) killers: Vec<Wisher>,
    pub(crate) wake_at: Option<Instant>,
}

/// The states of a process at its node, in the order of a move.
#[derive(Debug)]
pub(crate) enum Phase {
    Running,
    Preparing(Move),
    Freezing(Goal),
    Offered(Move),
    Storing { ticket: Ticket, stored: bool },
    Kept(Move),
    Muted(Muted),
    Ending,
}

/// Where a process goes when it is frozen.
#[derive(Debug)]
pub(crate) enum Goal {
    Node(Move),
    File(Ticket),
}

/// Who wants to know how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wisher {
    Here(Ticket),
    There(Peer, Ticket),
}

/// A move as its source sees it.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) wisher: Wisher,
    pub(crate) target: Peer,
    pub(crate) needs: Option<Blob>,
    pub(crate) wished: Instant,
    /// When the target last said that it gets ready.
    pub(crate) heard: Instant,
    pub(crate) prepared: Instant,
    pub(crate) frozen: Instant,
    pub(crate) bytes: u64,
    pub(crate) transferred: Option<Instant>,
    /// Why it is to be given up, once it is.
    pub(crate) trouble: Option<Why>,
    /// Since when it has been cancelling.
    pub(crate) cancelled: Option<Instant>,
}

/// A copy that has been committed and whose source has not forgotten it.
#[derive(Debug)]
pub(crate) struct Muted {
    pub(crate) source: Peer,
    pub(crate) since: Instant,
    pub(crate) raising: bool,
}

/// What this incarnation remembers of a process's offers. It goes when nothing about them can be
/// under way any more.
#[derive(Debug)]
pub(crate) struct Floor {
    /// The highest that was staged or cancelled.
    pub(crate) seen: Offer,
    /// The highest that was committed; 0 for none.
    pub(crate) committed: Offer,
    pub(crate) at: Instant,
}

/// A process that may come here.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) offer: Offer,
    /// A node, or a file with the wish to thaw it.
    pub(crate) from: From,
    pub(crate) stage: Stage,
    pub(crate) with: With,
    pub(crate) wake_at: Option<Instant>,
}

/// With whom a process comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum With {
    Alone,
    /// With those of a gathering of this number: all or none.
    Others(u64),
    /// It was to come with others, which cannot; its source, or the registry, says what becomes of it.
    Apart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Node(Peer),
    File(Ticket),
    /// This node's disk: an earlier incarnation had it.
    Disk,
}

#[derive(Debug)]
pub(crate) enum Stage {
    /// The driver and the registry have been asked.
    Checking { ready: bool, found: Option<Epoch> },
    /// Its image lies on this node's disk, and the registry has been asked whether it is still here.
    Claimed(Section),
    /// Room is kept, until then.
    Reserved { epoch: Epoch },
    /// Its image is on its way.
    Receiving { epoch: Epoch },
    /// Its image is here, and the commit has been asked for.
    Staged(Section),
}

impl Process {
    pub(crate) fn new(home: NodeId) -> Self {
        Self {
            epoch: Epoch(0),
            offer: Offer(0),
            home,
            name: None,
            together: false,
            durable: None,
            checkpoint_at: None,
            outbox: Outbox::default(),
            delivery: Delivery::default(),
            phase: Phase::Running,
            ended: None,
            told: false,
            doomed: None,
            killers: Vec::new(),
            wake_at: None,
        }
    }

    /// The process of an image that has been committed.
    pub(crate) fn arrived(section: Section, epoch: Epoch, phase: Phase) -> Self {
        let mut delivery = Delivery::restored(section.letters);
        if let Owner::Node(source) = section.owner {
            delivery.came_from = Some(source.node);
        }
        Self {
            epoch,
            offer: section.offer,
            name: section.name,
            together: section.together,
            durable: section.durable.map(|millis| CHECKPOINT_MIN.max(Span::millis(millis.into()))),
            outbox: Outbox::restored(section.acknowledged, section.output),
            delivery,
            phase,
            ..Self::new(section.home)
        }
    }

    /// A new life of the process of an image from this node's disk: it keeps what it was told at its start, whom it
    /// watches, and what it has written and its home does not have.
    pub(crate) fn reborn(section: Section, epoch: Epoch, writes_on: bool) -> Self {
        let life = Life(epoch.0 + 1);
        let mut process = Self::arrived(section, epoch, Phase::Running);
        process.offer = process.offer.max(Offer(life.0 << OFFERS_OF_A_LIFE));
        process.delivery.begin_anew(life);
        if writes_on {
            process.outbox.write_on();
        }
        process
    }

    /// What travels with its image.
    pub(crate) fn section(&self, pid: Pid, owner: Owner, epoch: Epoch) -> Section {
        Section {
            pid,
            offer: self.offer,
            owner,
            epoch,
            home: self.home,
            name: self.name.clone(),
            together: self.together,
            durable: self.durable.map(|span| u32::try_from(span.0 / 1_000).unwrap_or(u32::MAX)),
            acknowledged: self.outbox.acknowledged(),
            output: self.outbox.unacknowledged(),
            letters: self.delivery.letters(),
        }
    }

    /// The incarnation that this node, as a source, waits for.
    pub(crate) fn target(&self) -> Option<Peer> {
        match &self.phase {
            Phase::Preparing(m) | Phase::Offered(m) | Phase::Kept(m) => Some(m.target),
            Phase::Freezing(Goal::Node(m)) => Some(m.target),
            _ => None,
        }
    }

    /// Whether an image of this very offer is held here.
    pub(crate) fn holds(&self, offer: Offer) -> bool {
        self.offer == offer && matches!(self.phase, Phase::Offered(_) | Phase::Kept(_))
    }

    /// Who waits for what is being done with it.
    pub(crate) fn wisher(&self) -> Option<Wisher> {
        match &self.phase {
            Phase::Preparing(m) | Phase::Offered(m) | Phase::Kept(m) => Some(m.wisher),
            Phase::Freezing(Goal::Node(m)) => Some(m.wisher),
            Phase::Freezing(Goal::File(ticket)) | Phase::Storing { ticket, .. } => {
                Some(Wisher::Here(*ticket))
            }
            Phase::Running | Phase::Muted(_) | Phase::Ending => None,
        }
    }
}

impl Move {
    pub(crate) fn new(now: Instant, wisher: Wisher, target: Peer) -> Self {
        Self {
            wisher,
            target,
            needs: None,
            wished: now,
            heard: now,
            prepared: now,
            frozen: now,
            bytes: 0,
            transferred: None,
            trouble: None,
            cancelled: None,
        }
    }

    /// What is reported when it has succeeded.
    pub(crate) fn moved(&self, now: Instant, from: NodeId, offer: Offer) -> wire::Moved {
        let micros = |span: Span| span.0;
        wire::Moved {
            from,
            to: self.target.node,
            offer,
            prepare_micros: micros(self.prepared - self.wished),
            freeze_micros: micros(self.frozen - self.prepared),
            pause_micros: micros(now - self.frozen),
            bytes: self.bytes,
        }
    }
}
