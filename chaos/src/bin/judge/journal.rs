//! What one process says that it sent and got.
//!
//! The lines are described where they are written, in the guest `chatter`. Two things are not the process's own:
//! after a death somebody else appends `~` and how it died, to the same file; and a daemon that is killed in the
//! middle of a write leaves the first part of a line, which is no claim. So whatever stands before `~` in its line is
//! dropped, like a last line without an end.

/// One journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Journal {
    /// The process's group, as it is printed.
    pub(crate) group: String,
    /// Its number in that.
    pub(crate) index: u32,
    pub(crate) lines: Vec<Line>,
    /// It has written that it has ended.
    pub(crate) ended: bool,
    /// Somebody has written that it is dead, and how.
    pub(crate) died: Option<String>,
    /// What no journal holds.
    pub(crate) nonsense: Vec<String>,
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Nothing above this number was sent to that member so far.
    Sends(u32, u64),
    /// This number came from that member.
    Got(u32, u64),
    /// That member has ended.
    Down(u32),
}

impl Line {
    /// Which member it is about.
    pub(crate) fn of(&self) -> u32 {
        let (Self::Sends(member, _) | Self::Got(member, _) | Self::Down(member)) = *self;
        member
    }
}

/// Whether a file's name is a process's id.
pub(crate) fn is_name(name: &str) -> bool {
    parts(name).is_some()
}

fn parts(name: &str) -> Option<(&str, u32)> {
    let (group, index) = name.split_once('.')?;
    let known = |letter: char| letter.is_ascii_digit() || letter.is_ascii_lowercase();
    let index = index.parse().ok()?;
    (group.len() >= 4 && group.chars().all(known)).then_some((group, index))
}

impl Journal {
    pub(crate) fn read(name: &str, text: &str) -> Self {
        let (group, index) = parts(name).expect("it is a journal's name");
        let mut journal = Self { group: group.to_owned(), index, ..Self::default() };
        // What follows the last end of a line is a part of one.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for (at, line) in whole.lines().enumerate() {
            if let Err(said) = journal.take(name, at, line) {
                journal.nonsense.push(format!("{name}, line {}: {said}: `{line}`", at + 1));
            }
        }
        journal
    }

    fn take(&mut self, name: &str, at: usize, line: &str) -> Result<(), &'static str> {
        if let Some((_, how)) = line.split_once('~') {
            // It may be said twice. What a process writes after it is another thing.
            self.died = Some(how.to_owned());
            return Ok(());
        }
        if self.died.is_some() {
            return Err("written after its death was reported");
        }
        if self.ended {
            return Err("written after its end");
        }
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse().map_err(|_| "no such line");
        let member = |word: &str| word.parse().map_err(|_| "no such line");
        match (at, words.as_slice()) {
            (0, ["is", pid]) if *pid == name => {}
            (0, _) => return Err("a journal begins with whose it is"),
            (_, ["sends", to, count]) => self.lines.push(Line::Sends(member(to)?, number(count)?)),
            (_, ["got", from, count]) => self.lines.push(Line::Got(member(from)?, number(count)?)),
            (_, ["down", other]) => self.lines.push(Line::Down(member(other)?)),
            (_, ["end"]) => self.ended = true,
            (_, ["bad", ..]) => return Err("a message that nobody wrote"),
            _ => return Err("no such line"),
        }
        Ok(())
    }

    /// The highest number that it says it may have sent to a member.
    pub(crate) fn sent(&self, to: u32) -> u64 {
        let claims = self.lines.iter().filter_map(|line| match line {
            Line::Sends(member, number) if *member == to => Some(*number),
            _ => None,
        });
        claims.max().unwrap_or(0)
    }

    pub(crate) fn pid(&self) -> String {
        format!("{}.{}", self.group, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_line_is_no_claim() {
        let journal = Journal::read("k3x9.0", "is k3x9.0\nsends 1 5\ngot 1 1\ngot 1 17");
        assert_eq!(journal.lines, [Line::Sends(1, 5), Line::Got(1, 1)]);
        assert!(journal.nonsense.is_empty() && !journal.ended);
    }

    #[test]
    fn a_part_of_a_line_before_the_death_is_none_either() {
        let journal = Journal::read("k3x9.0", "is k3x9.0\ngot 1 1\ngot 1 ~lost\n");
        assert_eq!((journal.lines, journal.died), (vec![Line::Got(1, 1)], Some("lost".to_owned())));
        // It died before it wrote anything.
        let journal = Journal::read("k3x9.0", "~lost\n");
        assert!(journal.died.is_some() && journal.nonsense.is_empty());
    }

    #[test]
    fn nothing_is_written_after_the_end_or_the_death() {
        let journal = Journal::read("k3x9.0", "is k3x9.0\nend\ngot 1 1\n");
        assert_eq!(journal.nonsense, ["k3x9.0, line 3: written after its end: `got 1 1`"]);
        let journal = Journal::read("k3x9.0", "is k3x9.0\n~lost\ngot 1 1\n~lost\n");
        assert_eq!(
            journal.nonsense,
            ["k3x9.0, line 3: written after its death was reported: `got 1 1`"]
        );
    }

    #[test]
    fn nonsense_is_seen() {
        for text in ["sends 1 1\n", "is k3x9.1\n", "is k3x9.0\ngot 1\n", "is k3x9.0\nbad 1 …\n"] {
            assert_eq!(Journal::read("k3x9.0", text).nonsense.len(), 1, "{text}");
        }
    }

    #[test]
    fn names_of_processes_are_known() {
        for name in ["k3x9.0", "0001.12"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["stop", "stop-k3x9", "k3x9", "heron.log"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
