//! What happens, as a list or as a sequence diagram: `events` and `trace`.
//!
//! Every node tells what it has recorded in its own order; here they are put into one. Who follows waits a moment before an event
//! is shown, so that what it follows from may come from another node.

mod diagram;
mod order;
mod svg;
mod text;

use std::path::Path;
use std::time::Duration;

use api::{Error, Event, EventsLine, EventsQuery, Side, TraceReply, TraceRequest, route};
use tokio::time::{Instant, interval};

use crate::destination::Choice;
use crate::words::{Events, Format, Trace};
use crate::{Client, say};

use self::diagram::{Detail, Diagram};
use self::order::{Placed, order};

/// Who follows sees an event this much later: time for others to tell what came before it.
const HELD: Duration = Duration::from_millis(200);

/// A picture that is followed is written so often at most.
const DRAWN_EVERY: Duration = Duration::from_millis(500);

/// What is followed is redrawn from so many events at most.
const KEPT_MAX: usize = 20_000;

pub(crate) async fn events(at: &Choice, word: Events) -> Result<u8, Error> {
    let query = EventsQuery { of: word.of, on: word.on, follow: word.follow };
    let mut lines = Lines::open(&at.daemon()?, &query).await?;
    let json = word.printing.format == Format::Json;
    while let Some(placed) = lines.next().await? {
        for it in &placed {
            if json {
                say::json_line(&it.event);
            } else {
                say::out(&line(&it.event));
            }
        }
    }
    Ok(0)
}

pub(crate) async fn trace(at: &Choice, word: Trace) -> Result<u8, Error> {
    let client = at.daemon()?;
    let request = TraceRequest { of: word.group.clone(), on: !word.off };
    let path = route::TRACE.fill(&[]);
    let reply: TraceReply = client.reply(route::TRACE, &path, &request).await?;
    for node in &reply.silent {
        say::aside(&format!(
            "whimbrel: {node} does not record: it does not answer, or traces too many"
        ));
    }
    if word.off {
        return Ok(0);
    }
    let group = reply.group.to_string();
    let query = EventsQuery { of: Some(group.clone()), on: None, follow: word.follow };
    let mut lines = Lines::open(&client, &query).await?;
    let detail = Detail { all: word.all, rows_max: word.last as usize };
    let mut seen: Vec<Event> = Vec::new();
    let mut shown = text::Shown::default();
    let mut drawn = None;
    while let Some(placed) = lines.next().await? {
        let json = word.printing.format == Format::Json;
        if json {
            placed.iter().for_each(say::json_line);
        }
        seen.extend(placed.into_iter().map(|it| it.event));
        seen.drain(..seen.len().saturating_sub(KEPT_MAX));
        if json && word.svg.is_none() {
            continue;
        }
        let all = order(seen.clone());
        let picture = diagram::draw(&all, detail);
        if !json && (word.svg.is_none() || word.follow) {
            shown.show(&picture);
        }
        let due = drawn.is_none_or(|at: Instant| DRAWN_EVERY <= at.elapsed());
        if let Some(file) = word.svg.as_deref().filter(|_| due || !word.follow) {
            write(file, &svg::render(&group, &picture))?;
            drawn = Some(Instant::now());
        }
    }
    if seen.is_empty() {
        say::aside(
            "whimbrel: nothing is remembered of this group yet; its messages are recorded from now on",
        );
    }
    if let Some(file) = word.svg.as_deref().filter(|_| !seen.is_empty()) {
        let picture: Diagram = diagram::draw(&order(seen), detail);
        write(file, &svg::render(&group, &picture))?;
        say::aside(&format!(
            "whimbrel: {} rows are drawn in {}",
            picture.rows.len(),
            file.display()
        ));
    }
    Ok(0)
}

/// A reader of the file sees a whole picture.
fn write(file: &Path, picture: &str) -> Result<(), Error> {
    let io = |error: std::io::Error| say::io(&file.display().to_string(), &error);
    let mut part = file.as_os_str().to_owned();
    part.push(".partial");
    std::fs::write(&part, picture).map_err(io)?;
    std::fs::rename(&part, file).map_err(io)
}

/// Events as they come, in the order of causes.
struct Lines {
    lines: crate::Events<EventsLine>,
    follow: bool,
    waiting: Vec<(Instant, Event)>,
    ended: bool,
}

impl Lines {
    async fn open(client: &Client, query: &EventsQuery) -> Result<Self, Error> {
        let path = route::EVENTS.fill(&[]) + &query.to_query();
        let lines = client.events(route::EVENTS, &path, &()).await?;
        Ok(Self { lines, follow: query.follow, waiting: Vec::new(), ended: false })
    }

    /// Some more; none when there will be no more.
    async fn next(&mut self) -> Result<Option<Vec<Placed>>, Error> {
        let mut ticks = interval(HELD / 2);
        ticks.tick().await;
        while !self.ended {
            tokio::select! {
                line = self.lines.next() => match line? {
                    Some(line) => self.take(line)?,
                    None => self.ended = true,
                },
                _ = ticks.tick(), if self.follow => {
                    let ripe = self.ripe();
                    if !ripe.is_empty() {
                        return Ok(Some(order(ripe)));
                    }
                }
            }
        }
        let rest: Vec<Event> = self.waiting.drain(..).map(|(_, event)| event).collect();
        Ok((!rest.is_empty()).then(|| order(rest)))
    }

    fn take(&mut self, line: EventsLine) -> Result<(), Error> {
        match line {
            EventsLine::Event(event) => self.waiting.push((Instant::now(), event)),
            EventsLine::Dropped { node, count } => {
                say::aside(&format!("whimbrel: {count} older events of {node} are no longer kept"));
            }
            EventsLine::Silent { node } => {
                say::aside(&format!("whimbrel: {node} does not answer: its events are missing"));
            }
            EventsLine::Failed { error } => return Err(error),
        }
        Ok(())
    }

    /// What has waited for long enough, and with it what it follows from.
    fn ripe(&mut self) -> Vec<Event> {
        let Some(last) = self.waiting.iter().rposition(|(at, _)| HELD <= at.elapsed()) else {
            return Vec::new();
        };
        let mut ripe: Vec<Event> = self.waiting.drain(..=last).map(|(_, event)| event).collect();
        // What was said elsewhere and heard here may have been told just now.
        let heard = |said: &Event| {
            said.side == Some(Side::Out)
                && ripe.iter().any(|it| it.side == Some(Side::In) && it.text == said.text)
        };
        let young: Vec<usize> =
            (0..self.waiting.len()).filter(|at| heard(&self.waiting[*at].1)).collect();
        if let Some(last) = young.last() {
            ripe.extend(self.waiting.drain(..=*last).map(|(_, event)| event));
        }
        ripe
    }
}

/// An event on one line.
fn line(event: &Event) -> String {
    let peer = match (event.side, event.peer.as_deref()) {
        (Some(Side::Out), Some(peer)) => format!("{} → {peer}", event.node),
        (Some(Side::In), Some(peer)) => format!("{} ← {peer}", event.node),
        _ => event.node.clone(),
    };
    let cause = event.cause.map(|cause| cause.to_string()).unwrap_or_default();
    let Event { kind, word, text, .. } = event;
    let time = clock(event.at_us);
    let line = format!("{time}  {peer:<20}  {kind:<8}  {word:<13}  {cause:<18}  {text}");
    line.trim_end().to_owned()
}

/// The time of the day, in UTC.
fn clock(at_us: u64) -> String {
    let (seconds, micros) = (at_us / 1_000_000 % 86_400, at_us % 1_000_000);
    format!("{:02}:{:02}:{:02}.{micros:06}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let lines: Vec<String> = diagram::tests::story().iter().map(line).take(4).collect();
        expect![[r#"
            00:00:01.000000  heron                 life      begins                             begins(k3x9.0)
            00:00:01.000250  heron                 life      begins                             begins(k3x9.1)
            00:00:01.000500  heron → osprey        move      prepare        k3x9.1#1            prepare(k3x9.1)
            00:00:01.000750  osprey ← heron        move      prepare        k3x9.1#1            prepare(k3x9.1)
        "#]]
        .assert_eq(&lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    }
}
