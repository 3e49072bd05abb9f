//! A group is killed while a step of a move of one of its members stands: nobody of it writes on once that is reported,
//! wherever it is, and nothing brings it back.

use std::time::Instant;

use super::{Curlew, Heron, NAMES, Node, Osprey, Stage, Wish, way};
use crate::common::journal::Journal;
use crate::common::{Home, PATIENCE};

/// Kills a group of two, one of which moves, while the step stands.
pub(crate) fn kill_group(
    shared: &Home,
    guest: &str,
    number: usize,
    step: &str,
) -> Result<(), String> {
    let way = way(step);
    let mut stage = Stage::new(shared, number, &way.halts);
    let killed = stage.kill_group(guest, &way);
    killed.map_err(|wrong| stage.with_last_words(&wrong))
}

impl Stage {
    fn kill_group(&mut self, guest: &str, way: &super::Way) -> Result<(), String> {
        let second = Journal::beside(&self.journal, "second");
        let dir = format!("{}::/journal", self.home.path().join("journal").display());
        let first = ["--on", "osprey", "--dir", &dir, guest, "--", "/journal/journal", "0", "1000"];
        let words = [&first[..], &["||", guest, "/journal/second", "0", "1000"]].concat();
        self.pid = self.home.run(self.nodes[0].as_ref().unwrap(), &words);
        let group = self.pid.split('.').next().expect("a group").to_owned();
        self.journal.until(1, None)?;
        second.until(1, None)?;
        if way.wish == Wish::Thaw {
            let file = self.file.display().to_string();
            self.say(Heron, &["freeze", &self.pid.clone(), "-o", &file])?;
        }
        let wish = self.wish(way.wish, if way.wish == Wish::Thaw { Curlew } else { Heron });
        if let Err(wrong) = self.come_to(way.on_the_way) {
            return Err(format!("{wrong}; {:?}", self.home.end(wish, &["the wish"])));
        }
        let halted: Vec<Node> =
            [Heron, Curlew, Osprey].into_iter().filter(|node| self.node(*node).halts()).collect();
        let asked = if halted.contains(&Heron) { Curlew } else { Heron };
        let kill = self.begin(asked, &["kill", &group]);
        // The registry has written it down when the command has waited long enough for those that stand still.
        let waits = !halted.contains(&Heron);
        let kill = if waits { Err(self.home.end(kill, &["kill"])) } else { Ok(kill) };
        for node in halted {
            self.node(node).go_on();
        }
        let said = kill.map_or_else(|said| said, |kill| self.home.end(kill, &["kill"]));
        self.home.end(wish, &["the wish"]);
        if said.code != 0 {
            return Err(format!("kill: {said:?}"));
        }
        for member in [self.pid.clone(), format!("{group}.1")] {
            let logs = self.begin(Heron, &["logs", "-f", &member]);
            let told = self.home.end(logs, &["logs"]);
            if !told.err.contains("was killed") {
                return Err(format!("{member} was not killed: {told:?}"));
            }
        }
        let lines = (self.journal.lines().len(), second.lines().len());
        for node in [Heron, Curlew, Osprey] {
            self.until_gone(node, &group)?;
        }
        let way_back = self.thaw_again()?;
        for node in self.nodes.iter_mut().flatten() {
            node.stop();
        }
        // A new process from the file writes into the same journal.
        match (self.journal.lines().len(), second.check()?) {
            now if now == lines || way_back && now.1 == lines.1 => Ok(()),
            now => Err(format!("lines were written after its end: {lines:?}, then {now:?}")),
        }
    }

    /// Waits until a node lists nothing of the group: that the end is written down may be on its way to who ended.
    fn until_gone(&mut self, node: Node, group: &str) -> Result<(), String> {
        let since = Instant::now();
        loop {
            let list = self.say(node, &["ps"])?;
            if !list.contains(group) {
                return Ok(());
            }
            if PATIENCE < since.elapsed() {
                return Err(format!("{} still has it: {list}", NAMES[node as usize]));
            }
        }
    }

    /// Its file, if there is one, does not bring it back. Says whether it began a new process, which has ended.
    fn thaw_again(&mut self) -> Result<bool, String> {
        if !self.file.exists() {
            return Ok(false);
        }
        let file = self.file.display().to_string();
        match self.say(Heron, &["thaw", "-d", &file]) {
            Ok(pid) if pid.trim() == self.pid => Err(format!("{pid} came back from its file")),
            Ok(pid) => self.say(Heron, &["kill", pid.trim()]).map(|_| true),
            Err(_) => Ok(false),
        }
    }
}
