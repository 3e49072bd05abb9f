//! Words that send processes away, or say how they are found then: `move`, `drain`, `kill`, `locate`.

use api::{
    Changed, DrainEvent, DrainItem, DrainRequest, Error, ErrorCode, KillReply, KillRequest,
    LocateReply, LocateRequest, MoveEvent, MoveReport, MoveRequest, Progress, Step, Unchanged,
    route,
};

use crate::bars::Bars;
use crate::destination::Choice;
use crate::table::{Align, Table};
use crate::units::{bytes, micros};
use crate::words::{Drain, Format, Kill, Locate, Move};
use crate::{Client, say};

pub(crate) async fn move_process(at: &Choice, word: Move) -> Result<u8, Error> {
    let mut bars = Bars::new();
    let client = at.daemon()?;
    let reports = move_to(&client, &word.process, word.to, |event| {
        if let MoveEvent::Progress(progress) = event {
            bars.update(progress);
        }
    })
    .await?;
    bars.clear();
    match word.printing.format {
        Format::Json => match &reports[..] {
            [report] => say::json(report),
            reports => say::json(&reports),
        },
        Format::Table => reports.iter().for_each(|report| say::out(&line(report))),
    }
    Ok(0)
}

/// Moves a process, or all of a group, and shows each event of it to `seen`.
async fn move_to(
    client: &Client,
    process: &str,
    to: String,
    mut seen: impl FnMut(&MoveEvent),
) -> Result<Vec<MoveReport>, Error> {
    let path = route::MOVE.fill(&[process]);
    let mut events = client.events(route::MOVE, &path, &MoveRequest { to }).await?;
    while let Some(event) = events.next().await? {
        seen(&event);
        match event {
            MoveEvent::Progress(_) => {}
            MoveEvent::Moved(report) => return Ok(vec![report]),
            MoveEvent::MovedTogether { reports } => return Ok(reports),
            MoveEvent::Failed { error } => return Err(error),
        }
    }
    Err(unknown_end())
}

/// Of more processes than this that leave a node, no line is printed for each.
const LINES_MAX: usize = 50;

pub(crate) async fn drain(at: &Choice, word: Drain) -> Result<u8, Error> {
    let request = DrainRequest { node: word.target, plan: word.plan };
    let client = at.daemon()?;
    let mut events = client.events(route::DRAIN, &route::DRAIN.fill(&[]), &request).await?;
    let json = word.printing.format == Format::Json;
    let mut seen_plan = false;
    let (mut bars, mut done, mut total) = (Bars::new(), 0, 0);
    while let Some(event) = events.next().await? {
        if json {
            say::json_line(&event);
        } else if total <= LINES_MAX || !matches!(event, DrainEvent::Moved(_)) {
            bars.clear();
            say_drain(&event, word.plan);
        }
        match event {
            DrainEvent::Plan { items } if word.plan => {
                return Ok(stayed(items.iter().any(|item| item.stays.is_some())));
            }
            DrainEvent::Plan { items } => (seen_plan, total) = (true, items.len()),
            DrainEvent::Moved(_) | DrainEvent::Stayed { .. } => {
                done += 1;
                let total = Some(total as u64);
                bars.update(&Progress { step: Step::Leave, done, total });
            }
            DrainEvent::Drained { empty, .. } => return Ok(stayed(!empty)),
            DrainEvent::Failed { error } => return Err(error),
            _ => {}
        }
    }
    if seen_plan {
        Err(unknown_end())
    } else {
        Err(Error::new(ErrorCode::Internal, "no plan came"))
    }
}

pub(crate) async fn kill(at: &Choice, word: Kill) -> Result<u8, Error> {
    let request = KillRequest { target: word.target };
    let client = at.daemon()?;
    let reply: KillReply = client.reply(route::KILL, &route::KILL.fill(&[]), &request).await?;
    match word.printing.format {
        Format::Json => say::json(&reply),
        Format::Table => {
            for killed in &reply.killed {
                say::out(&format!("{} ended at {}", killed.pid, killed.node));
            }
            if !reply.unanswered.is_empty() {
                let nodes = reply.unanswered.join(", ");
                say::aside(&format!(
                    "whimbrel: no answer yet from {nodes}: told before anything else"
                ));
            }
        }
    }
    Ok(0)
}

pub(crate) async fn locate(at: &Choice, word: Locate) -> Result<u8, Error> {
    let Locate { target, locate, poll, printing } = word;
    let shown = locate.to_string();
    let request = LocateRequest { target, locate, poll_ms: poll };
    let path = route::LOCATE.fill(&[]);
    let reply: LocateReply = at.daemon()?.reply(route::LOCATE, &path, &request).await?;
    if let Format::Json = printing.format {
        say::json(&reply);
    } else {
        for Changed { pid } in &reply.changed {
            say::out(&format!("{pid} is located by {shown}"));
        }
        for Unchanged { pid, error } in &reply.unchanged {
            say::aside(&format!("whimbrel: {pid} goes on as before: {}", error.message));
        }
    }
    Ok(stayed(!reply.unchanged.is_empty()))
}

pub(crate) fn line(report: &MoveReport) -> String {
    let MoveReport { pid, from, to, .. } = report;
    if from == to {
        return format!("{pid} is at {to} already");
    }
    format!("{pid} is at {to}: {}", sentence(report))
}

/// What a move cost, in a few words.
pub(crate) fn sentence(report: &MoveReport) -> String {
    let MoveReport { from, pause_us, total_us, image_bytes, code_bytes, .. } = report;
    let code = match (*code_bytes, report.first) {
        (0, false) => String::new(),
        (0, true) => ", its code was compiled there".to_owned(),
        (sent, _) => format!(", {} of code", bytes(sent)),
    };
    format!(
        "from {from}, paused for {}, {} in all, {} sent{code}",
        micros(*pause_us),
        micros(*total_us),
        bytes(*image_bytes),
    )
}

pub(crate) fn stayed(any: bool) -> u8 {
    if any { ErrorCode::Refused.exit() } else { 0 }
}

fn say_drain(event: &DrainEvent, whole: bool) {
    match event {
        DrainEvent::Plan { items } if items.len() > LINES_MAX && !whole => {
            let processes = items.iter().filter(|item| item.pid.is_some()).count();
            say::out(&format!("{processes} processes leave"));
            let stay = items.iter().filter(|item| item.stays.is_some());
            let stay: Vec<DrainItem> = stay.cloned().collect();
            if !stay.is_empty() {
                plan(&stay).print();
            }
        }
        DrainEvent::Plan { items } if items.is_empty() => say::out("nothing is there"),
        DrainEvent::Plan { items } => plan(items).print(),
        DrainEvent::Moved(report) => say::out(&line(report)),
        DrainEvent::Stayed { pid, error } => say::out(&format!("{pid} stayed: {error}")),
        DrainEvent::OutputMoved { processes, bytes: size, to } => {
            let whose = processes_of(*processes);
            say::out(&format!("the output of {whose} is at {to}, {}", bytes(*size)));
        }
        DrainEvent::OutputStayed { pid, error } => {
            say::out(&format!("the output of {pid} stayed: {error}"));
        }
        DrainEvent::MailboxesMoved { processes, to } => {
            say::out(&format!("the mailbox of {} is at {to}", processes_of(*processes)));
        }
        DrainEvent::ProgramsMoved { programs: 1, to } => {
            say::out(&format!("1 program is at {to} as well"));
        }
        DrainEvent::ProgramsMoved { programs, to } => {
            say::out(&format!("{programs} programs are at {to} as well"));
        }
        DrainEvent::RegistryMoved { to } => say::out(&format!("the registry is at {to}")),
        DrainEvent::Drained { empty: true, moved, .. } => {
            say::out(&format!("empty: {moved} moved, the machine may be erased"));
        }
        DrainEvent::Drained { moved, stayed, .. } => {
            say::out(&format!("not empty: {moved} moved, {stayed} stayed"));
        }
        DrainEvent::Failed { .. } => {}
    }
}

fn processes_of(count: u64) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

fn plan(items: &[DrainItem]) -> Table {
    let mut table = Table::new(&[
        ("PID", Align::Left),
        ("WHAT", Align::Left),
        ("MEMORY", Align::Right),
        ("TO", Align::Left),
        ("STAYS BECAUSE", Align::Left),
    ]);
    for item in items {
        table.row([
            item.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            item.what.clone(),
            bytes(item.memory_bytes),
            item.to.clone().unwrap_or_else(|| "-".to_owned()),
            item.stays.clone().unwrap_or_default(),
        ]);
    }
    table
}

pub(crate) fn unknown_end() -> Error {
    Error::new(ErrorCode::NodeUnavailable, "the daemon broke off before the end was known")
        .with_hint("`whimbrel ps` on another member shows where everything is")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_move_is_told_in_a_line() {
        let mut report = MoveReport {
            pid: "k3x9.0".parse().unwrap(),
            from: "heron".to_owned(),
            to: "osprey".to_owned(),
            epoch: 4,
            pause_us: 1_900,
            total_us: 7_020,
            image_bytes: 70_000,
            code_bytes: 0,
            memory_bytes: 131_072,
            first: false,
        };
        let later = sentence(&report);
        report.first = true;
        let compiled = sentence(&report);
        report.code_bytes = 5 << 20;
        let text = [later, compiled, sentence(&report)].join("\n");
        report.to.clone_from(&report.from);
        let text = [text, line(&report)].join("\n");
        expect![[r#"
            from heron, paused for 1.9 ms, 7.0 ms in all, 68.4 KiB sent
            from heron, paused for 1.9 ms, 7.0 ms in all, 68.4 KiB sent, its code was compiled there
            from heron, paused for 1.9 ms, 7.0 ms in all, 68.4 KiB sent, 5.0 MiB of code
            k3x9.0 is at heron already"#]]
        .assert_eq(&text);
    }

    #[test]
    fn a_plan_says_what_cannot_leave() {
        let items = [
            DrainItem {
                pid: None,
                what: "registry".to_owned(),
                to: Some("osprey".to_owned()),
                memory_bytes: 0,
                stays: None,
            },
            DrainItem {
                pid: Some("k3x9.0".parse().unwrap()),
                what: "pi.wasm".to_owned(),
                to: None,
                memory_bytes: 1 << 20,
                stays: Some("no other member has /srv/data".to_owned()),
            },
        ];
        expect![[r#"
            PID     WHAT       MEMORY  TO      STAYS BECAUSE
            -       registry      0 B  osprey
            k3x9.0  pi.wasm   1.0 MiB  -       no other member has /srv/data"#]]
        .assert_eq(&plan(&items).render(false));
    }
}
