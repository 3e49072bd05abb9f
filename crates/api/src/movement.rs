//! Moves, of one process and of all that a node has.

use serde::{Deserialize, Serialize};
use wire::Pid;

use crate::{Error, Progress, text};

/// Where to move a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveRequest {
    /// A node's name.
    pub to: String,
}

/// The story of a move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum MoveEvent {
    /// It has come this far.
    Progress(Progress),
    /// The last line: it runs there.
    Moved(MoveReport),
    /// The last line: all processes of a group run there.
    MovedTogether {
        /// Each, less those that had ended.
        reports: Vec<MoveReport>,
    },
    /// The last line: it does not; the error says where it is.
    Failed {
        /// Why.
        error: Error,
    },
}

/// A move that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveReport {
    /// Who moved.
    #[serde(with = "text")]
    pub pid: Pid,
    /// The node that it left.
    pub from: String,
    /// The node where it is.
    pub to: String,
    /// Its epoch since.
    pub epoch: u64,
    /// From its last instruction there to its first one here, in microseconds.
    pub pause_us: u64,
    /// From the request to the end of the story, in microseconds.
    pub total_us: u64,
    /// What the image was on the wire, in bytes.
    pub image_bytes: u64,
    /// What the code was on the wire, in bytes; 0 if the target had it.
    pub code_bytes: u64,
    /// The memory that the process has, in bytes.
    pub memory_bytes: u64,
    /// The target had to get or compile the code: later moves there are quicker.
    pub first: bool,
}

/// What to empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRequest {
    /// A node's name.
    pub node: String,
    /// Only say what would be done.
    #[serde(default)]
    pub plan: bool,
}

/// The story of a drain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DrainEvent {
    /// The first line: what is to leave. The only one of a plan.
    Plan {
        /// Everything, in the order in which it leaves.
        items: Vec<DrainItem>,
    },
    /// One process left.
    Moved(MoveReport),
    /// One process did not.
    Stayed {
        /// Who.
        #[serde(with = "text")]
        pid: Pid,
        /// Why.
        error: Error,
    },
    /// What processes wrote is kept elsewhere from now on.
    OutputMoved {
        /// Of how many.
        processes: u64,
        /// How much it is.
        bytes: u64,
        /// There.
        to: String,
    },
    /// What a process wrote is still kept here.
    OutputStayed {
        /// Whose.
        #[serde(with = "text")]
        pid: Pid,
        /// Why.
        error: Error,
    },
    /// Processes have their mailbox elsewhere from now on.
    MailboxesMoved {
        /// How many.
        processes: u64,
        /// There.
        to: String,
    },
    /// Programs that no other member had are elsewhere as well.
    ProgramsMoved {
        /// How many.
        programs: u64,
        /// There.
        to: String,
    },
    /// The registry has a new home.
    RegistryMoved {
        /// There.
        to: String,
    },
    /// The last line.
    Drained {
        /// Nothing is left: the machine may be erased.
        empty: bool,
        /// How many processes left.
        moved: u64,
        /// How many did not.
        stayed: u64,
    },
    /// The last line: it was not tried, or not to the end.
    Failed {
        /// Why.
        error: Error,
    },
}

/// One thing that is to leave a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainItem {
    /// The process; absent for what is none, such as the registry.
    #[serde(with = "text::optional", default)]
    pub pid: Option<Pid>,
    /// What it is: the program's name, `registry`, or what else there is.
    pub what: String,
    /// Where it goes; absent if it cannot leave.
    #[serde(default)]
    pub to: Option<String>,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
    /// Why it cannot leave, and who needs what keeps it.
    #[serde(default)]
    pub stays: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_well() {
        let report = MoveReport {
            pid: "k3x9.0".parse().unwrap(),
            from: "heron".to_owned(),
            to: "osprey".to_owned(),
            epoch: 4,
            pause_us: 1_900,
            total_us: 7_000,
            image_bytes: 70_000,
            code_bytes: 0,
            memory_bytes: 131_072,
            first: false,
        };
        let event = MoveEvent::Moved(report);
        let json = serde_json::to_string(&event).unwrap();
        assert!(json.starts_with(r#"{"event":"moved","pid":"k3x9.0","from":"heron""#), "{json}");
        assert_eq!(serde_json::from_str::<MoveEvent>(&json).unwrap(), event);

        let item = DrainItem {
            pid: None,
            what: "registry".to_owned(),
            to: None,
            memory_bytes: 0,
            stays: None,
        };
        let json = serde_json::to_string(&item).unwrap();
        assert_eq!(serde_json::from_str::<DrainItem>(&json).unwrap(), item);
    }
}
