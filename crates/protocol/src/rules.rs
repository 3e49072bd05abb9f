//! The rules by name, so that a test can break one at a time.
//!
//! Each rule of `docs/protocol.md` that is not mere bookkeeping is a [`Rule`] here. A machine keeps
//! all of them; only a build with the feature `mutants` can make one that does not, and the tests
//! show that each such mutant is caught.

use core::fmt;

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident = $name:literal,)*) => {
        /// A rule of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[doc = $doc])+ $rule,)*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$rule,)*];

            /// The name it has in `docs/protocol.md`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$rule => $name,)*
                }
            }
        }
    };
}

rules! {
    /// A committed copy holds back what others could see until `forgotten`, or until its own epoch
    /// has been raised.
    HoldEffects = "hold-effects",
    /// Giving up takes an answer: `dropped`, or the registry's. Time alone gives up nothing.
    GiveUpByAnswer = "give-up-by-answer",
    /// A message for another incarnation is discarded.
    BindIncarnation = "bind-incarnation",
    /// `dropped` is believed only from the incarnation that the offer was made to.
    DroppedBySame = "dropped-by-same-incarnation",
    /// A process is taken back only from an incarnation that is gone on evidence.
    Evidence = "take-back-on-evidence",
    /// An incarnation stages no offer at or below one that it has seen.
    Floor = "stage-above-floor",
    /// `dropped` promises that the offer will not be staged later.
    CancelFloor = "cancel-raises-floor",
    /// A target that has asked for the commit does not drop the image before it knows.
    AskedIsBound = "asked-is-bound",
    /// A target never says `dropped` of an offer that this incarnation has committed, even when the
    /// process has ended or left since.
    CommittedIsNotDropped = "committed-is-not-dropped",
    /// A record that already says what is asked for counts as yes.
    AlreadyCounts = "already-says-so",
    /// A refused commit is believed once the record is past the epoch that was expected: before,
    /// a repetition of the question may still be granted.
    NoIsPast = "no-is-past",
    /// A source that finds itself still the owner takes the epoch that it finds.
    TakeEpochFound = "take-epoch-found",
    /// No number of an offer is used twice.
    FreshOffers = "fresh-offers",
    /// If the source is silent, effects are released by raising the epoch, not by time.
    RaiseWhenSilent = "raise-when-silent",
    /// A source without an image of the offer answers `settled` with `forgotten`.
    AnswerForgotten = "nothing-held-says-forgotten",
    /// What needs an answer is said again until it has one.
    SayAgain = "say-again",
    /// A source that hears of the commit keeps its image until `settled`, or until the record has
    /// moved on.
    KeepUntilSettled = "keep-until-settled",
    /// A source that has asked to take the process back does not forget it on a late `settled`.
    TakeBackIsBound = "take-back-is-bound",
    /// The registry declares lost what an incarnation had only when every member has dealt with its
    /// going.
    LostTogether = "lost-when-all-have-answered",
    /// A member says that it has dealt with a going only when it holds nothing more from there.
    HandledWhenDone = "handled-when-done",
    /// Only an incarnation that has promised to stop by itself is gone when its lease is over.
    OnlyFencedLapse = "only-fenced-lapse",
    /// A fenced incarnation stops everything before the registry can call it gone.
    FencedStopsFirst = "fenced-stops-first",
    /// The registry changes no record on behalf of an incarnation that is gone.
    GoneAsksNothing = "gone-asks-nothing",
    /// The home of output takes each byte once, in order.
    OutputOnce = "output-once",
    /// The home acknowledges what is written down, not what has arrived.
    WrittenThenAcknowledged = "written-then-acknowledged",
    /// Output that is not acknowledged travels in the image.
    OutputTravels = "output-travels",
    /// A node that knows that a group is killed runs nothing of it.
    KilledRunsNot = "killed-runs-nothing",
    /// A group that ends together ends with its first member that fails.
    FellowsEnd = "fellows-end",
    /// That they end is recorded before the end of the one that failed is told.
    FellowsFirst = "fellows-first",
    /// The record names the file only when the image in it is durable.
    FileThenRecord = "file-then-record",
    /// A thaw from a file asks the registry before anything runs.
    ThawBySwap = "thaw-by-swap",
    /// A process begins anew only where the record says that it was, and only when that incarnation is over.
    RestartByRecord = "restart-by-record",
    /// What an incarnation had is not lost while a later one of the same node may still begin it anew.
    ClaimsAreWaitedFor = "claims-are-waited-for",
    /// A letter for an earlier life of its receiver is not taken.
    LivesApart = "lives-apart",
    /// Whoever hears of a new life of a correspondent starts over with it.
    NewLifeStartsOver = "new-life-starts-over",
    /// A new life writes on where the log of the last one ends.
    WritesOn = "writes-on",
    /// Whoever is told of an end is told as well what of the output no home has acknowledged.
    EndLeavesRoom = "end-leaves-room",
    /// A log that is being handed on takes nothing.
    LogRests = "log-rests",
    /// Whoever handed a log on sees to it that the process's node hears of it.
    HomeTold = "home-told",
    /// A process takes each piece of each sender once.
    LetterOnce = "letter-once",
    /// It takes them in the order in which they were sent.
    LettersInOrder = "letters-in-order",
    /// A sender keeps what is not acknowledged.
    KeepUnacknowledged = "keep-unacknowledged",
    /// What is not acknowledged travels in the sender's image.
    LettersTravel = "letters-travel",
    /// A letter is acknowledged when it is in the inbox, not when it is held.
    InboxThenAcknowledged = "in-inbox-then-acknowledged",
    /// A muted copy takes no letters and acknowledges none.
    MutedTakesNothing = "muted-takes-nothing",
    /// A sender whose address fails asks the registry.
    AskWhenLostTrack = "ask-when-lost-track",
    /// That a process is not where it was said to be does not mean that it has ended.
    AstrayAsks = "astray-is-not-ended",
    /// What waits for a correspondent that moves waits for a while only: the word of its arrival may be lost.
    HeldForAWhile = "held-for-a-while",
    /// What another node keeps of a letter is said again: that node may go.
    HeldIsRepeated = "held-is-repeated",
    /// A sender without credit asks for it: the word that gave it may be lost.
    AskForCredit = "ask-for-credit",
    /// A correspondent is down after its last letter.
    EndAfterLast = "end-after-last",
    /// Nothing of a correspondent is taken after it was said to be down.
    DownIsFinal = "down-is-final",
    /// The end of a process is said to whoever watches it until that has heard it, written to or not.
    WatchersAreTold = "watchers-are-told",
    /// When something was declared lost, the registry is asked about all that are watched: they may have moved there.
    WatchedAreLookedFor = "watched-are-looked-for",
    /// Of two linked processes each ends when it is told that the other has, unless that ended well or this one traps.
    LinkedEndTogether = "linked-end-together",
    /// The end of a link does not end one that was made when that was not known yet.
    LaterLinkStands = "later-link-stands",
    /// Of several records that are to change together all do, or none.
    AllOrNone = "all-or-none",
    /// What is staged and cannot come with others is kept until its source has given up, or is committed if that is gone.
    ApartIsKept = "apart-is-kept",
    /// A sender is told that the receiver has ended when that is down, after its last letter.
    ToldWhenDown = "told-when-down",
    /// The record says that a process has ended when its last letters are delivered.
    EndedWhenDelivered = "ended-when-delivered",
    /// The registry answers when what it says is durable. (Kept by its driver.)
    DurableThenAnswered = "durable-then-answered",
}

impl Rule {
    /// The rule of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The rules that a machine keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    broken: u64,
}

impl Rules {
    /// All of them.
    pub const ALL: Self = Self { broken: 0 };

    /// All but this one.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub const fn without(rule: Rule) -> Self {
        Self { broken: 1 << rule as u64 }
    }

    /// Whether this one is kept.
    #[must_use]
    pub const fn keep(self, rule: Rule) -> bool {
        self.broken & (1 << rule as u64) == 0
    }
}
