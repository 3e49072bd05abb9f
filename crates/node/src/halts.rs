//! Stops a node at steps of a move, so that a test can do its worst exactly there.

use std::fmt;
use std::sync::{Arc, Mutex};

use protocol::Step;
use tokio::sync::Semaphore;

/// The registry's home stops here when a commit is durable and the target has not been told.
pub(crate) const REGISTRY_SWAPPED: &str = "registry-swapped";

/// The steps at which a node halts: at each of them once. Cheap to clone.
///
/// A node that halts prints `halted STEP` on standard error when all that it said before has left,
/// and makes no decision until [`go_on`](Self::go_on). Its processes run, and its sockets are served.
#[derive(Clone)]
pub struct Halts {
    steps: Arc<Mutex<Vec<String>>>,
    go_on: Arc<Semaphore>,
}

impl Halts {
    /// Reads steps, by the names of docs/protocol.md, with commas between them.
    ///
    /// # Errors
    ///
    /// The name that is not a step's.
    pub fn at(names: &str) -> Result<Self, String> {
        let steps: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
        match steps.iter().find(|name| Step::named(name).is_none() && *name != REGISTRY_SWAPPED) {
            Some(unknown) => Err(unknown.clone()),
            None => {
                Ok(Self { steps: Arc::new(Mutex::new(steps)), go_on: Arc::new(Semaphore::new(0)) })
            }
        }
    }

    /// Lets the node go on to its next halt.
    pub fn go_on(&self) {
        self.go_on.add_permits(1);
    }

    /// Whether to halt at this step, which has just been made.
    pub(crate) fn reached(&self, step: &str) -> bool {
        let mut steps = self.steps.lock().expect("nobody panics in here");
        let found = steps.iter().position(|name| name == step);
        found.map(|at| steps.remove(at)).is_some()
    }

    /// Says that it halts, and stands still.
    pub(crate) async fn halt(&self, step: &str) {
        eprintln!("halted {step}");
        self.go_on.acquire().await.expect("it is never closed").forget();
    }
}

impl fmt::Debug for Halts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_halts_once_and_only_steps_do() {
        let halts = Halts::at("kept, taken-back,registry-swapped").unwrap();
        assert!(!halts.reached("staged"));
        assert!(halts.reached("kept"));
        assert!(!halts.reached("kept"));
        assert_eq!(Halts::at("kept,stagd").unwrap_err(), "stagd");
    }
}
