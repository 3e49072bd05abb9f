//! One cell of the table, played with three daemons: heron keeps the registry and the output,
//! osprey is the source, curlew the target.

#[path = "group.rs"]
pub(crate) mod group;

use std::path::PathBuf;
use std::process::Child;

use super::relay::Relay;
use super::table::{Cell, Fault, Place};
use crate::common::journal::{First, Journal};
use crate::common::{Daemon, Home, Start};

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Heron = 0,
    Curlew = 1,
    Osprey = 2,
}

use Node::{Curlew, Heron, Osprey};

const NAMES: [&str; 3] = ["heron", "curlew", "osprey"];

/// What is wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Move,
    Freeze,
    Thaw,
}

/// On the way to a step.
#[derive(Clone, Copy, Debug)]
enum Do {
    /// Wait until it halts at this step.
    Halted(Node, &'static str),
    GoOn(Node),
    /// Kill it, and start it again.
    Bounce(Node),
    /// Wait until it has let a reservation go.
    Discards(Node),
}

use Do::{Bounce, Discards, GoOn, Halted};

/// How to make a step stand.
struct Way {
    wish: Wish,
    halts: [&'static str; 3],
    on_the_way: &'static [Do],
}

/// The way to a step. Most are on every move; to the others the other end has to be held up, or to
/// die once before the fault that is tested.
fn way(step: &str) -> Way {
    let of = |wish, heron, curlew, osprey, on_the_way| Way {
        wish,
        halts: [heron, curlew, osprey],
        on_the_way,
    };
    match step {
        "prepare-asked" => {
            of(Wish::Move, "", "", "prepare-asked", &[Halted(Osprey, "prepare-asked")])
        }
        "reserved" => of(Wish::Move, "", "reserved", "", &[Halted(Curlew, "reserved")]),
        "frozen" => of(Wish::Move, "", "", "frozen", &[Halted(Osprey, "frozen")]),
        "offered" => of(Wish::Move, "", "", "offered", &[Halted(Osprey, "offered")]),
        "staged" => of(Wish::Move, "", "staged", "", &[Halted(Curlew, "staged")]),
        "commit-asked" => of(Wish::Move, "", "commit-asked", "", &[Halted(Curlew, "commit-asked")]),
        "registry-swapped" => {
            of(Wish::Move, "registry-swapped", "", "", &[Halted(Heron, "registry-swapped")])
        }
        "committed" => of(Wish::Move, "", "committed", "", &[Halted(Curlew, "committed")]),
        "settled" => of(Wish::Move, "", "settled", "", &[Halted(Curlew, "settled")]),
        "forgetting" => of(Wish::Move, "", "", "forgetting", &[Halted(Osprey, "forgetting")]),
        "forgotten" => of(Wish::Move, "", "", "forgotten", &[Halted(Osprey, "forgotten")]),
        "released" => of(Wish::Move, "", "released", "", &[Halted(Curlew, "released")]),
        // The target does not answer, and the source's patience ends.
        "cancelled" => of(
            Wish::Move,
            "",
            "reserved",
            "cancelled",
            &[Halted(Curlew, "reserved"), Halted(Osprey, "cancelled")],
        ),
        // The reservation has run out when the image comes.
        "dropped" => of(
            Wish::Move,
            "",
            "dropped",
            "frozen",
            &[Halted(Osprey, "frozen"), Discards(Curlew), GoOn(Osprey), Halted(Curlew, "dropped")],
        ),
        // The target has died with its reservation.
        "give-up-asked" => of(
            Wish::Move,
            "",
            "reserved",
            "offered,give-up-asked",
            &[
                Halted(Curlew, "reserved"),
                Halted(Osprey, "offered"),
                Bounce(Curlew),
                GoOn(Osprey),
                Halted(Osprey, "give-up-asked"),
            ],
        ),
        "resumed" => of(
            Wish::Move,
            "",
            "reserved",
            "offered,resumed",
            &[
                Halted(Curlew, "reserved"),
                Halted(Osprey, "offered"),
                Bounce(Curlew),
                GoOn(Osprey),
                Halted(Osprey, "resumed"),
            ],
        ),
        // The target has committed, and the source has not heard of it when it gives up.
        "kept" => of(
            Wish::Move,
            "",
            "committed",
            "kept",
            &[Halted(Curlew, "committed"), Halted(Osprey, "kept")],
        ),
        "take-back-asked" => of(
            Wish::Move,
            "",
            "committed",
            "kept,take-back-asked",
            &[
                Halted(Curlew, "committed"),
                Halted(Osprey, "kept"),
                Bounce(Curlew),
                GoOn(Osprey),
                Halted(Osprey, "take-back-asked"),
            ],
        ),
        "taken-back" => of(
            Wish::Move,
            "",
            "committed",
            "kept,taken-back",
            &[
                Halted(Curlew, "committed"),
                Halted(Osprey, "kept"),
                Bounce(Curlew),
                GoOn(Osprey),
                Halted(Osprey, "taken-back"),
            ],
        ),
        // The source has sent everything, and says nothing more.
        "raise-asked" => of(
            Wish::Move,
            "",
            "raise-asked",
            "offered",
            &[Halted(Osprey, "offered"), Halted(Curlew, "raise-asked")],
        ),
        "stored" => of(Wish::Freeze, "", "", "stored", &[Halted(Osprey, "stored")]),
        "in-file" => of(Wish::Freeze, "", "", "in-file", &[Halted(Osprey, "in-file")]),
        "thawed" => of(Wish::Thaw, "", "thawed", "", &[Halted(Curlew, "thawed")]),
        other => panic!("the table has a step `{other}` that nobody knows how to reach"),
    }
}

/// The daemons of one cell, and what they have in common.
struct Stage {
    home: Home,
    nodes: Vec<Option<Daemon>>,
    starts: Vec<Start>,
    relays: [Relay; 2],
    journal: Journal,
    file: PathBuf,
    pid: String,
}

/// Lines that a copy writes before it counts as running: the first may have been begun elsewhere.
const RUNNING: usize = 5;

/// Plays a cell, and says where the process was afterwards; or what is wrong.
pub(crate) fn play(
    shared: &Home,
    guest: &str,
    number: usize,
    cell: &Cell,
) -> Result<Place, String> {
    let way = way(&cell.step);
    let mut stage = Stage::new(shared, number, &way.halts);
    let played = stage.play(guest, &way, cell);
    played.map_err(|wrong| stage.with_last_words(&wrong))
}

impl Stage {
    fn new(shared: &Home, number: usize, halts: &[&str; 3]) -> Self {
        let home = Home::sharing(shared);
        let ip = format!("127.77.{}.{}", 1 + number / 250, 1 + number % 250);
        let [(to_curlew, first), (to_osprey, second)] = [Relay::new(&ip), Relay::new(&ip)];
        let relays = [to_curlew, to_osprey];
        let mut held = [first, second].into_iter();
        let mut nodes: Vec<Option<Daemon>> = Vec::new();
        let mut starts = Vec::new();
        // The last to join knows all the others at once.
        for (at, name) in NAMES.iter().enumerate() {
            let mut start = Start {
                listen: format!("{ip}:0"),
                log: "info,node=trace".to_owned(),
                ..Start::default()
            };
            if let Some(Some(heron)) = nodes.first() {
                start.join = Some(home.token(heron));
                start.listen = relays[at - 1].listens.to_string();
                start.advertise = Some(relays[at - 1].advertised.to_string());
                drop(held.next());
            }
            let halting = Start { halts: halts[at].to_owned(), ..start.clone() };
            nodes.push(Some(home.start(name, &halting).unwrap()));
            starts.push(Start { join: None, ..start });
        }
        let journal = Journal::new(&home.path().join("journal"));
        let file = home.path().join("process.image");
        Self { home, nodes, starts, relays, journal, file, pid: String::new() }
    }

    /// What is wrong, and what everyone said before.
    fn with_last_words(&mut self, wrong: &str) -> String {
        let said = self.nodes.iter_mut().flatten().map(|node| {
            let last = node.last_words();
            format!("{}: {last:#?}", node.name)
        });
        let said: Vec<String> = said.collect();
        format!("{wrong}\n{}", said.join("\n"))
    }

    fn node(&mut self, node: Node) -> &mut Daemon {
        self.nodes[node as usize].as_mut().expect("it is up")
    }

    fn play(&mut self, guest: &str, way: &Way, cell: &Cell) -> Result<Place, String> {
        let dir = format!("{}::/journal", self.home.path().join("journal").display());
        let words = ["--on", "osprey", "--dir", &dir, guest, "--", "/journal/journal", "0", "1000"];
        self.pid = self.home.run(self.nodes[0].as_ref().unwrap(), &words);
        self.journal.until(1, None)?;
        // Whoever is asked has to live to tell how it ended.
        let asked = match (way.wish, cell.fault) {
            (Wish::Thaw, _) => Curlew,
            (_, Fault::HomeKilled) => Osprey,
            _ => Heron,
        };
        if way.wish == Wish::Thaw {
            let file = self.file.display().to_string();
            let frozen = self.say(Heron, &["freeze", &self.pid.clone(), "-o", &file]);
            frozen.map_err(|said| format!("it was not frozen: {said}"))?;
        }
        let mut wish = self.wish(way.wish, asked);
        if let Err(wrong) = self.come_to(way.on_the_way) {
            let _ = wish.kill();
            let said = self.home.end(wish, &["the wish"]);
            return Err(format!("{wrong}; {said:?}"));
        }
        self.strike(cell, wish)
    }

    /// Makes the step stand.
    fn come_to(&mut self, way: &[Do]) -> Result<(), String> {
        for act in way {
            match *act {
                Halted(node, step) => self.node(node).halted(step)?,
                GoOn(node) => self.node(node).go_on(),
                Bounce(node) => {
                    self.kill(node);
                    self.start(node);
                }
                Discards(node) => self.node(node).until(|line| line.contains("discard("))?,
            }
        }
        Ok(())
    }

    /// The step stands. Now the fault, and then everyone goes on.
    fn strike(&mut self, cell: &Cell, wish: Child) -> Result<Place, String> {
        let victim = match cell.fault {
            Fault::SourceKilled => Some(Osprey),
            Fault::TargetKilled => Some(Curlew),
            Fault::HomeKilled => Some(Heron),
            Fault::LinkCut => None,
        };
        match victim {
            Some(victim) => self.kill(victim),
            None => {
                let (curlew, osprey) = (self.node(Curlew).os_pid(), self.node(Osprey).os_pid());
                self.relays[0].cut(osprey);
                self.relays[1].cut(curlew);
            }
        }
        let before = self.journal.lines().len();
        for node in [Heron, Curlew, Osprey].into_iter().filter(|node| Some(*node) != victim) {
            if self.node(node).halts() {
                self.node(node).go_on();
            }
        }
        // Without its home the registry says nothing, and that is waited for or not.
        let waits = cell.waits || cell.outcomes.contains(&Place::File);
        let down = victim.filter(|victim| *victim == Heron && !waits);
        if let Some(victim) = victim.filter(|_| down.is_none()) {
            self.start(victim);
        }
        self.home.end(wish, &["the wish"]);
        let place = self.settle(cell, before, down.is_none())?;
        if let Some(victim) = down {
            self.start(victim);
        }
        self.close(place)?;
        Ok(place)
    }

    /// Where the process comes to rest.
    fn settle(&mut self, cell: &Cell, before: usize, reports: bool) -> Result<Place, String> {
        if cell.outcomes.contains(&Place::File) || cell.file_is_new {
            return self.in_file(cell);
        }
        let logs = reports.then(|| self.begin(Heron, &["logs", "-f", &self.pid.clone()]));
        let from = self.journal.lines().len().max(before) + RUNNING;
        let first = self.journal.until(from, logs.as_ref());
        let Some(mut logs) = logs else { return first.and_then(|_| self.runs()) };
        match first {
            Ok(First::Lines) => {
                let _ = logs.kill();
                let _ = logs.wait();
                self.runs()
            }
            Ok(First::End) => {
                let said = self.home.end(logs, &["logs"]);
                self.is_lost(cell, &said.err)
            }
            Err(wrong) => {
                let _ = logs.kill();
                let _ = logs.wait();
                let ps = self.say(Heron, &["ps", "--all"]);
                Err(format!("neither running nor lost: {wrong}: {ps:?}"))
            }
        }
    }

    fn runs(&self) -> Result<Place, String> {
        match self.journal.lines().last().map(|line| line.node.as_str()) {
            Some("osprey") => Ok(Place::Source),
            Some("curlew") => Ok(Place::Target),
            other => Err(format!("it runs at {other:?}")),
        }
    }

    /// The report names the node that it was on.
    fn is_lost(&self, cell: &Cell, said: &str) -> Result<Place, String> {
        let node = match cell.fault {
            Fault::SourceKilled => "osprey",
            Fault::TargetKilled => "curlew",
            Fault::HomeKilled | Fault::LinkCut => return Err(format!("lost: {said}")),
        };
        match said.contains(&format!("is lost with {node}: ")) {
            true => Ok(Place::Lost),
            false => Err(format!("it ended, and was not reported lost with {node}: {said}")),
        }
    }

    /// The file brings the process back, once; or, if it is lost, begins a new one.
    fn in_file(&mut self, cell: &Cell) -> Result<Place, String> {
        let lines = self.journal.lines().len();
        let file = self.file.display().to_string();
        let said =
            self.say(Heron, &["thaw", "-d", &file]).map_err(|said| format!("thaw: {said}"))?;
        let same = said.trim() == self.pid;
        if cell.file_is_new {
            if same {
                return Err("a lost process came back".to_owned());
            }
            // The new one writes into the same file, so the old one's journal is at its end.
            let logs = self.begin(Heron, &["logs", "-f", &self.pid.clone()]);
            let told = self.home.end(logs, &["logs"]);
            self.say(Heron, &["kill", said.trim()]).map_err(|said| format!("kill: {said}"))?;
            return self.is_lost(cell, &told.err);
        }
        if !same {
            return Err(format!("the file holds another process, {said}"));
        }
        self.journal.until(lines + RUNNING, None)?;
        Ok(Place::File)
    }

    /// Ends the process and then the daemons, and reads the journal: had there been another copy, it
    /// would have written on.
    fn close(&mut self, place: Place) -> Result<(), String> {
        if place != Place::Lost {
            let pid = self.pid.clone();
            self.say(Heron, &["kill", &pid]).map_err(|said| format!("kill: {said}"))?;
        }
        let ended = self.journal.lines().len();
        for node in self.nodes.iter_mut().flatten() {
            node.stop();
        }
        let lines = self.journal.check()?;
        match lines == ended {
            true => Ok(()),
            false => Err(format!("{} lines were written after its end", lines - ended)),
        }
    }

    fn wish(&self, wish: Wish, asked: Node) -> Child {
        let (pid, file) = (self.pid.clone(), self.file.display().to_string());
        match wish {
            Wish::Move => self.begin(asked, &["move", &pid, "--to", "curlew"]),
            Wish::Freeze => self.begin(asked, &["freeze", &pid, "-o", &file]),
            Wish::Thaw => self.begin(asked, &["thaw", "-d", &file]),
        }
    }

    fn begin(&self, at: Node, words: &[&str]) -> Child {
        self.home.begin(self.nodes[at as usize].as_ref().expect("it is up"), words)
    }

    /// What came of it on standard output; or all of it, if it failed.
    fn say(&self, at: Node, words: &[&str]) -> Result<String, String> {
        let said = self.home.say(self.nodes[at as usize].as_ref().expect("it is up"), words);
        if said.code == 0 { Ok(said.out) } else { Err(format!("{said:?}")) }
    }

    fn kill(&mut self, node: Node) {
        self.node(node).kill();
    }

    fn start(&mut self, node: Node) {
        let start = &self.starts[node as usize];
        let started = self.home.start(NAMES[node as usize], start);
        self.nodes[node as usize] = Some(started.unwrap());
    }
}
