//! What follows from the journals.
//!
//! Of each ordered pair (A, B) of a group: what B got of A is 1, 2, 3 …, without a gap, a repetition or a step back. If
//! both have written that they have ended, it is all that A sent. Nobody gets anything of one that it knows to be down,
//! or anything that was not sent, and nobody is left who has neither ended nor died.

use std::collections::BTreeSet;

use crate::journal::{Journal, Line};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) processes: usize,
    pub(crate) ended: usize,
    pub(crate) died: usize,
    /// Messages between two that both came to their end.
    pub(crate) checked: u64,
    /// Messages of which the sender or the receiver died: they are in order, and that is all.
    pub(crate) with_dead: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    /// All that is wrong, in words; what is counted above, too.
    pub(crate) findings: Vec<String>,
}

/// What one process got of another.
#[derive(Default)]
struct Heard {
    count: u64,
    /// The highest number so far.
    last: u64,
    /// Numbers below it that have not come.
    missing: BTreeSet<u64>,
    doubled: u64,
    reordered: u64,
    after_down: u64,
    down: bool,
}

pub(crate) fn judge(journals: &[Journal]) -> Verdict {
    let mut verdict = Verdict { processes: journals.len(), ..Verdict::default() };
    for journal in journals {
        verdict.findings.extend(journal.nonsense.iter().cloned());
        match (journal.ended, &journal.died) {
            (true, _) => verdict.ended += 1,
            (false, Some(_)) => verdict.died += 1,
            (false, None) => {
                verdict.findings.push(format!("{} has neither ended nor died", journal.pid()));
            }
        }
        let known: BTreeSet<u32> = journal.lines.iter().map(Line::of).collect();
        for of in known {
            if !journals.iter().any(|other| other.group == journal.group && other.index == of) {
                let said = format!("{} knows {of}, of whom there is no journal", journal.pid());
                verdict.findings.push(said);
            }
        }
    }
    for to in journals {
        for from in journals.iter().filter(|from| from.group == to.group && from.index != to.index)
        {
            verdict.weigh(from, to);
        }
    }
    verdict
}

impl Verdict {
    fn weigh(&mut self, from: &Journal, to: &Journal) {
        let mut heard = Heard::default();
        for line in &to.lines {
            match *line {
                Line::Got(of, number) if of == from.index => heard.got(number),
                Line::Down(of) if of == from.index => heard.down = true,
                _ => {}
            }
        }
        let sent = from.sent(to.index);
        let both = from.ended && to.ended;
        if both {
            self.checked += heard.count;
        } else {
            self.with_dead += heard.count;
        }
        let unheard = if both { sent.saturating_sub(heard.last) } else { 0 };
        let lost = heard.missing.len() as u64 + unheard;
        self.lost += lost;
        self.doubled += heard.doubled;
        self.reordered += heard.reordered;
        let mut find = |what: String| {
            self.findings.push(format!("{} to {}: {what}", from.pid(), to.pid()));
        };
        if lost > 0 {
            let first = heard.missing.first().copied().unwrap_or(heard.last + 1);
            find(format!("{lost} lost of {sent}, the first is {first}"));
        }
        for (count, what) in [
            (heard.doubled, "came twice"),
            (heard.reordered, "came after a later one"),
            (heard.after_down, "came after it was known to be down"),
        ] {
            if count > 0 {
                find(format!("{count} {what}"));
            }
        }
        if heard.last > sent {
            find(format!("number {} came, and {sent} were sent", heard.last));
        }
    }

    pub(crate) fn last_line(&self) -> String {
        let Self { checked, lost, doubled, reordered, .. } = self;
        format!("{checked} checked, {lost} lost, {doubled} doubled, {reordered} reordered")
    }
}

impl Heard {
    fn got(&mut self, number: u64) {
        self.count += 1;
        self.after_down += u64::from(self.down);
        if number > self.last {
            self.missing.extend(self.last + 1..number);
            self.last = number;
        } else if self.missing.remove(&number) {
            self.reordered += 1;
        } else {
            self.doubled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on two processes' journals, without their first lines.
    fn of(zero: &str, one: &str) -> Verdict {
        let read = |name: &str, rest: &str| Journal::read(name, &format!("is {name}\n{rest}"));
        judge(&[read("k3x9.0", zero), read("k3x9.1", one)])
    }

    #[track_caller]
    fn check(zero: &str, one: &str, last_line: &str, findings: &[&str]) {
        let verdict = of(zero, one);
        assert_eq!(verdict.last_line(), last_line);
        assert_eq!(verdict.findings, findings);
    }

    const SENT: &str = "sends 1 2\nsends 1 3\nend\n";

    #[test]
    fn all_is_well() {
        check(
            "sends 1 3\ngot 1 1\nend\n",
            "got 0 1\nsends 0 1\ngot 0 2\ngot 0 3\nend\n",
            "4 checked, 0 lost, 0 doubled, 0 reordered",
            &[],
        );
    }

    #[test]
    fn a_loss_at_the_end_is_one() {
        check(
            SENT,
            "got 0 1\ngot 0 2\nend\n",
            "2 checked, 1 lost, 0 doubled, 0 reordered",
            &["k3x9.0 to k3x9.1: 1 lost of 3, the first is 3"],
        );
        let wrong = "k3x9.0 to k3x9.1: 3 lost of 3, the first is 1";
        check(SENT, "end\n", "0 checked, 3 lost, 0 doubled, 0 reordered", &[wrong]);
        // Nobody is down whose last word has not come.
        check(SENT, "down 0\nend\n", "0 checked, 3 lost, 0 doubled, 0 reordered", &[wrong]);
    }

    #[test]
    fn a_gap_is_a_loss_whoever_died() {
        for ends in ["end\n", "~lost\n"] {
            let verdict = of("sends 1 3\n~lost\n", &format!("got 0 1\ngot 0 3\n{ends}"));
            assert_eq!(verdict.last_line(), "0 checked, 1 lost, 0 doubled, 0 reordered");
            assert_eq!(verdict.findings, ["k3x9.0 to k3x9.1: 1 lost of 3, the first is 2"]);
        }
    }

    #[test]
    fn a_double_is_one() {
        check(
            SENT,
            "got 0 1\ngot 0 2\ngot 0 2\ngot 0 3\nend\n",
            "4 checked, 0 lost, 1 doubled, 0 reordered",
            &["k3x9.0 to k3x9.1: 1 came twice"],
        );
    }

    #[test]
    fn a_step_back_is_a_reorder_and_no_loss() {
        check(
            SENT,
            "got 0 1\ngot 0 3\ngot 0 2\nend\n",
            "3 checked, 0 lost, 0 doubled, 1 reordered",
            &["k3x9.0 to k3x9.1: 1 came after a later one"],
        );
    }

    #[test]
    fn nothing_comes_of_one_that_is_down() {
        check(
            "sends 1 3\n~lost\n",
            "got 0 1\ndown 0\ngot 0 2\nend\n",
            "0 checked, 0 lost, 0 doubled, 0 reordered",
            &["k3x9.0 to k3x9.1: 1 came after it was known to be down"],
        );
    }

    #[test]
    fn one_that_died_may_have_sent_more_or_got_less() {
        let well = "0 checked, 0 lost, 0 doubled, 0 reordered";
        check("sends 1 3\n~lost\n", "got 0 1\ndown 0\nend\n", well, &[]);
        check("sends 1 3\nend\n", "got 0 1\n~killed\n", well, &[]);
        assert_eq!(of("sends 1 3\nend\n", "got 0 1\n~killed\n").with_dead, 1);
    }

    #[test]
    fn what_was_not_sent_does_not_come() {
        check(
            "sends 1 1\n~lost\n",
            "got 0 1\ngot 0 2\nend\n",
            "0 checked, 0 lost, 0 doubled, 0 reordered",
            &["k3x9.0 to k3x9.1: number 2 came, and 1 were sent"],
        );
    }

    #[test]
    fn nobody_is_left_over() {
        let well = "0 checked, 0 lost, 0 doubled, 0 reordered";
        check("sends 1 1\n", "got 0 1\nend\n", well, &["k3x9.0 has neither ended nor died"]);
        let wrong = "k3x9.1 knows 2, of whom there is no journal";
        check("end\n", "got 2 1\nend\n", well, &[wrong]);
    }
}
