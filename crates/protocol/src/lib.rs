//! One node as a state machine, and the registry as another: moves, epochs, members, output, letters,
//! kills.
//!
//! Nothing here does I/O or reads a clock. A driver feeds a [`Machine`] one [`Input`] at a time with
//! [`Machine::handle`], drains [`Machine::poll`] until `None`, doing each [`Output`] in order, and
//! feeds [`Input::Wake`] when [`Machine::deadline`] has passed. Wakes, messages and answers may come
//! early, late, twice or never: everything that needs an answer is said again.
//!
//! On the registry's home the driver also runs a [`Registry`]: questions ([`wire::Message::Ask`],
//! and the home's own [`Output::Ask`]) go to [`Registry::apply`], the writes to the disk, and then
//! the reply back as [`wire::Message::Answer`], for the home's own machine as an [`Input::Receive`]
//! from itself. All other messages addressed to this incarnation go to the machine.
//!
//! `docs/protocol.md` has the rules, by name, and the table of faults.
//!
//! # What a driver does
//!
//! | output | the driver | and answers with |
//! |---|---|---|
//! | `Send(peer, message)` | sends on the message link if its `hello` named that very incarnation, else drops it | nothing |
//! | `Ask(ask, request)` | sends `Message::Ask` to the registry's home, or asks its own `Registry` | `Receive` of `Message::Answer`, or nothing |
//! | `Report(ticket, report)` | tells whoever wished | nothing |
//! | `Step(pid, step)` | logs it; halts there if told to | nothing |
//! | `Note(note)` | shows it to whoever watches | nothing |
//! | `Start(ticket, pid)` | starts the ticket's guest | later `Wrote`, `Ended` |
//! | `Describe(pid, offer)` | collects code hash, memory, directories | `Described` |
//! | `Prepare {..}` | reserves room, fetches code, checks directories, in its own time | `Prepared` or `NotPrepared` |
//! | `Freeze(pid, offer)` | asks the engine; passes on everything written before | `Frozen`, or `Ended` if it ended first |
//! | `Transfer { section, to }` | streams the image on the bulk link to that incarnation, under (pid, offer) | `Transferred` or `TransferFailed` |
//! | *(a stream arrives)* | takes it only for a live reservation of (pid, offer) from that incarnation; that of a durable process is on this node's disk first | `Staged` or `StageFailed` |
//! | `Store { ticket, section }` | writes the ticket's file under a temporary name, syncs it | `Stored` or `TransferFailed` |
//! | `Discard(pid, offer)` | lets go of reservation, stream, stage, frozen guest or temporary file of that offer; with a stage or a frozen guest, of the process's image on this node's disk | nothing |
//! | `Checkpoint(pid)` | freezes the guest, takes its image with [`Machine::checkpoint`] as its section, lets it go on; the image replaces the last one on this node's disk | nothing |
//! | `Erase(pid)` | removes the process's image from this node's disk, durably, before it does anything else | nothing |
//! | `Run { .. held }` | starts the stage; if `held`, effects are held back | later `Wrote`, `Ended` |
//! | `Resume { .. }` | lets the frozen guest go on | later `Wrote`, `Ended` |
//! | `Release(pid, epoch)` | lets held effects go | nothing |
//! | `Kill(pid)` | ends the guest, or lets a frozen one go | `Ended`; nothing for a frozen one |
//! | `OutputRoom(pid)` | lets a guest go on that waits for [`Machine::output_room`] | nothing |
//! | `Inbox { pid, from, letter }` | puts it behind all that is in the guest's inbox, wakes the guest | `Took` when the guest has taken it |
//! | `Down { pid, of, watched, .. }` | lets the guest's sends to it fail; if it was watched, puts the news behind all that is in its inbox | nothing |
//! | `Silent { pid, of, silent }` | puts the news behind all that is in the guest's inbox | nothing |
//! | `Named { pid, name, .. }` | gives it to the guest, if that still waits for it | nothing |
//! | `SendRoom(pid)` | lets a guest go on that waits for [`Machine::may_send`] | nothing |
//! | `OpenLog { pid, base }` | opens or makes the log file | `LogOpened` |
//! | `Deliver {..}` | appends, shows it at the terminal | `Delivered` |
//! | `Conclude {..}` | writes the end, tells the terminal | `Delivered` with `ended` |
//! | `LogLeft(pid)` | tells whoever empties the node | nothing |
//! | `Members` | connects to new members, drops links to gone ones | nothing |
//! | `Expelled` | stops the daemon | nothing |

//! # Whose a letter is
//!
//! A guest sends when [`Machine::may_send`] says `Yes`, by [`Input::Send`]; from then on the letter is
//! the machine's, and travels in the [`Section`](wire::Section) until the receiver has acknowledged
//! it. At `Output::Inbox` it becomes the receiving guest's: the driver keeps the inbox as it keeps
//! unread input, and the image carries it. So that each letter is in just one of the two:
//!
//! - `Inbox`, `Down` and `Silent` are done in order with all other outputs. They come for guests that run and,
//!   until `Transfer` or `Store`, for guests that are frozen already: **the inbox goes into the image
//!   as it is when `Transfer` or `Store` is done, not as it was at the freeze.**
//! - After `Transfer` or `Store` none comes before `Resume`; for a guest that runs `held` none comes
//!   before `Release`. A held guest may take what is in its inbox and send: both are fed at once, and
//!   the machine holds back what follows.
//! - `Send`, `Watch`, `Unwatch`, `Name` and `Took` are fed in the order in which the guest did them, and before `Frozen`.
//! - An `Inbox` for a guest that has ended since is dropped.
//! - Outputs may be drained after several inputs: what goes to one correspondent then goes together.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

mod asks;
pub mod balance;
mod delivery;
mod durable;
mod gather;
mod handing;
mod io;
mod machine;
mod members;
mod names;
mod outbox;
mod output;
mod port;
mod process;
mod rebuild;
mod registry;
mod rng;
mod rules;
mod source;
mod target;
#[cfg(test)]
mod testing;
mod time;
mod traced;
mod wishes;

pub use delivery::{MaySend, Unsendable, cost};
pub use gather::TOGETHER_MAX;
pub use io::{Input, Output, Step, Unnamed, Wish};
pub use machine::{Condition, Config, Machine, Status, Waits};
pub use rebuild::rebuild;
pub use registry::{BLOCK_GROUPS, LEASE, Registry};
pub use rng::Rng;
pub use rules::{Rule, Rules};
pub use time::{Instant, Span};
pub use traced::{LetterId, Note, TRACED_MAX};
