//! A whole cluster on one thread, from one seed.
//!
//! The machines and the registry are the real ones; everything around them is modelled: the
//! network loses, repeats, delays and splits; disks take time and forget what was not yet durable;
//! nodes crash at any step and come back as new incarnations; guests write, act on the world and
//! end. All of it is one ordered queue of events in virtual time, so a seed and a commit are enough
//! to replay any failure.
//!
//! What is checked is checked from outputs and the guests' own journals, never from what a machine
//! believes:
//!
//! - at most one copy of a process runs, and nothing of a killed group runs once that was reported;
//! - nothing seen is rolled back: a copy that runs has made every effect the world has seen, and
//!   what it has written starts with what its home has;
//! - output reaches its home once and in order;
//! - a source lets go of its image only when the target has said that it runs, or the record has
//!   moved on;
//! - each wish is reported once;
//! - each letter of a process comes into the inbox of its receiver once and in order, none after its
//!   sender was said to be down, and all of them before that if it ended by itself.
//!
//! Then faults stop, and every process must run again, have ended, or lie in its file, unless it
//! went with the last node that held a valid image: then it must be reported lost.

pub mod balance;
mod cells;
mod checks;
mod driver;
mod durable;
mod faults;
mod handing;
mod letters;
mod links;
mod marks;
mod meter;
mod names;
mod run;
pub mod strategies;
mod world;

pub use cells::{Cells, Whom};
pub use faults::Faults;
pub use marks::Marks;
pub use run::{Outcome, run};
pub use world::World;
