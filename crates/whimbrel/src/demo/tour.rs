//! The two runs: once around the ring for as long as it takes, once at rest.

use std::time::{Duration, Instant};

use api::{
    CodeHash, Error, ErrorCode, KillReply, KillRequest, MoveEvent, MoveReport, MoveRequest,
    Outcome, Pid, ProcessEvent, Stream, route,
};
use cli::{Align, Demo, Events, Table, human_bytes, human_micros};
use tokio::sync::watch;

use super::cluster::{Cluster, Node};
use super::narrate::Narrator;
use super::program::{Program, doing};

/// How many of the last digits a line shows.
const TAIL: usize = 10;

/// A run that came to its end.
pub(super) struct Run {
    /// What it wrote to standard output.
    pub(super) output: Vec<u8>,
    pub(super) outcome: Outcome,
    pub(super) moves: Vec<MoveReport>,
    /// Moves that were given up; the process went on where it was.
    given_up: usize,
    took: Duration,
}

/// Starts the program on the first node, and moves it on and on until it ends.
pub(super) async fn moved(
    cluster: &Cluster,
    program: &Program,
    code: CodeHash,
    demo: &Demo,
    narrator: &mut Narrator,
) -> Result<Run, Error> {
    let since = Instant::now();
    let first = cluster.node(0);
    let events =
        first.client.events(route::RUN, &route::RUN.fill(&[]), &program.request(code)).await?;
    let (seen, output) = watch::channel(Seen::default());
    let mut moves = Moves { narrator, reports: Vec::new(), given_up: 0 };
    let end = {
        let mut end = std::pin::pin!(collect(events, &seen));
        let mut touring = std::pin::pin!(moves.tour(cluster, demo, output.clone()));
        // A move that is under way when the program ends is a move of nobody, and not reported.
        tokio::select! {
            end = &mut end => end,
            toured = &mut touring => match toured {
                Ok(()) => end.await,
                Err(error) => Err(error),
            },
        }
    };
    let (reports, given_up) = (moves.reports, moves.given_up);
    let outcome = end?;
    let output = output.borrow().bytes.clone();
    Ok(Run { output, outcome, moves: reports, given_up, took: since.elapsed() })
}

/// Carries the program around the ring once and ends it: each node has then compiled what it takes to
/// be moved to, which takes longer than the program does.
pub(super) async fn first_round(
    cluster: &Cluster,
    program: &Program,
    code: CodeHash,
    narrator: &mut Narrator,
) -> Result<(), Error> {
    let first = cluster.node(0);
    let request = program.endless_request(code);
    let events = first.client.events(route::RUN, &route::RUN.fill(&[]), &request).await?;
    let (seen, mut output) = watch::channel(Seen::default());
    let mut end = std::pin::pin!(collect(events, &seen));
    let round = async {
        let started = output.wait_for(|seen| seen.pid.is_some()).await.map(|seen| seen.pid);
        let Ok(Some(pid)) = started else { return Ok(()) };
        let mut moves = Moves { narrator, reports: Vec::new(), given_up: 0 };
        for at in 0..super::NODES.len() {
            moves.step(pid, cluster.node(at), cluster.node(at + 1)).await?;
        }
        let request = KillRequest { target: pid.to_string() };
        first.client.reply::<KillReply>(route::KILL, &route::KILL.fill(&[]), &request).await?;
        Ok(())
    };
    tokio::select! {
        ended = &mut end => match ended? {
            Outcome::Killed => Ok(()),
            // Then it has not been everywhere.
            outcome => {
                let said = format!("the program ended before its time: {outcome:?}");
                Err(Error::new(ErrorCode::Ended, said))
            }
        },
        moved = round => moved,
    }
}

/// Runs the program on the second node from start to end.
pub(super) async fn unmoved(
    cluster: &Cluster,
    program: &Program,
    code: CodeHash,
) -> Result<Run, Error> {
    let since = Instant::now();
    let node = cluster.node(1);
    let events =
        node.client.events(route::RUN, &route::RUN.fill(&[]), &program.request(code)).await?;
    let (seen, output) = watch::channel(Seen::default());
    let outcome = collect(events, &seen).await?;
    let output = output.borrow().bytes.clone();
    Ok(Run { output, outcome, moves: Vec::new(), given_up: 0, took: since.elapsed() })
}

/// What is known of a run so far.
#[derive(Default)]
struct Seen {
    pid: Option<Pid>,
    bytes: Vec<u8>,
}

/// Follows a process to its end.
async fn collect(
    mut events: Events<ProcessEvent>,
    seen: &watch::Sender<Seen>,
) -> Result<Outcome, Error> {
    while let Some(event) = events.next().await? {
        match event {
            ProcessEvent::Started { pid, .. } => {
                seen.send_modify(|seen| seen.pid = Some(pid));
            }
            ProcessEvent::Output { stream: Stream::Stdout, bytes, .. } => {
                seen.send_modify(|seen| seen.bytes.extend_from_slice(&bytes.0));
            }
            ProcessEvent::Output { stream: Stream::Stderr, bytes, .. } => {
                eprint!("{}", String::from_utf8_lossy(&bytes.0));
            }
            ProcessEvent::Ended { outcome } => return Ok(outcome),
            ProcessEvent::Failed { error } => return Err(error),
            ProcessEvent::Progress(_) | ProcessEvent::Dropped { .. } | ProcessEvent::Moved(_) => {}
        }
    }
    Err(Error::new(ErrorCode::NodeUnavailable, "the program's story broke off"))
}

/// The moves of one run.
struct Moves<'a> {
    narrator: &'a mut Narrator,
    reports: Vec<MoveReport>,
    given_up: usize,
}

impl Moves<'_> {
    /// Moves the process from node to node until it has ended.
    async fn tour(
        &mut self,
        cluster: &Cluster,
        demo: &Demo,
        mut output: watch::Receiver<Seen>,
    ) -> Result<(), Error> {
        let started = output.wait_for(|seen| seen.pid.is_some()).await.map(|seen| seen.pid);
        let Ok(Some(pid)) = started else { return Ok(()) };
        let mut at = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(demo.every)).await;
            let (from, to) = (cluster.node(at), cluster.node(at + 1));
            self.narrator.show(&ring(cluster, at));
            match self.step(pid, from, to).await {
                Ok(report) => {
                    let line = told(self.reports.len() + 1, &report, &output.borrow().bytes);
                    self.narrator.say(&line);
                    self.reports.push(report);
                    at += 1;
                }
                // It was quicker than we.
                Err(error)
                    if matches!(error.code, ErrorCode::Ended | ErrorCode::UnknownProcess) =>
                {
                    return Ok(());
                }
                Err(error)
                    if matches!(
                        error.code,
                        ErrorCode::GivenUp | ErrorCode::Busy | ErrorCode::Refused
                    ) =>
                {
                    self.given_up += 1;
                    self.narrator.say(&format!("     it stays at {}: {error}", from.name));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn step(&mut self, pid: Pid, from: &Node, to: &Node) -> Result<MoveReport, Error> {
        let path = route::MOVE.fill(&[&pid.to_string()]);
        let request = MoveRequest { to: to.name.clone() };
        let mut events = from.client.events(route::MOVE, &path, &request).await?;
        while let Some(event) = events.next().await? {
            match event {
                MoveEvent::Progress(progress) => self.narrator.show(&doing(&to.name, &progress)),
                MoveEvent::Moved(report) => return Ok(report),
                MoveEvent::MovedTogether { .. } => {}
                MoveEvent::Failed { error } => return Err(error),
            }
        }
        Err(Error::new(ErrorCode::NodeUnavailable, format!("{} broke off", from.name)))
    }
}

/// A move, and how far the program is.
fn told(number: usize, report: &MoveReport, output: &[u8]) -> String {
    let digits: String =
        output.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
    let tail = &digits[digits.len().saturating_sub(TAIL)..];
    let first = match (report.code_bytes, report.first) {
        (0, false) => String::new(),
        (0, true) => "  (first time here)".to_owned(),
        (code, _) => format!("  (and {} of code, once)", human_bytes(code)),
    };
    format!(
        "{number:>4}  {:>6} → {:<6}  pause {:>8}  {:>9} sent  {:>6} digits …{tail}{first}",
        report.from,
        report.to,
        human_micros(report.pause_us),
        human_bytes(report.image_bytes),
        digits.len(),
    )
}

/// The nodes, and a dot where the program is.
fn ring(cluster: &Cluster, at: usize) -> String {
    let here = &cluster.node(at).name;
    let nodes = super::NODES.map(|name| format!("{} {name}", if name == here { "●" } else { "○" }));
    format!("      {}", nodes.join("   "))
}

/// Both runs side by side.
pub(super) fn summary(moved: &Run, unmoved: &Run) -> Table {
    let mut table =
        Table::new(&[("", Align::Left), ("MOVED", Align::Right), ("UNMOVED", Align::Right)]);
    let none = || "-".to_owned();
    let micros = |time: Duration| human_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    let mut pauses: Vec<u64> = moved.moves.iter().map(|report| report.pause_us).collect();
    pauses.sort_unstable();
    let pause = |share: usize| {
        let at = pauses.len().saturating_sub(1) * share / 100;
        pauses.get(at).map_or_else(none, |pause| human_micros(*pause))
    };
    let sent = moved.moves.iter().map(|report| report.image_bytes).sum();
    let code = moved.moves.iter().map(|report| report.code_bytes).sum();
    table.row(["moves".to_owned(), moved.moves.len().to_string(), "0".to_owned()]);
    if moved.given_up > 0 {
        table.row(["moves given up".to_owned(), moved.given_up.to_string(), none()]);
    }
    table.row(["pause, median".to_owned(), pause(50), none()]);
    table.row(["pause, 99 %".to_owned(), pause(99), none()]);
    table.row(["pause, longest".to_owned(), pause(100), none()]);
    table.row(["process, sent".to_owned(), human_bytes(sent), none()]);
    table.row(["code, sent".to_owned(), human_bytes(code), none()]);
    table.row(["time".to_owned(), micros(moved.took), micros(unmoved.took)]);
    table.row([
        "output".to_owned(),
        format!("{} bytes", moved.output.len()),
        format!("{} bytes", unmoved.output.len()),
    ]);
    table
}

/// What the comparison says.
pub(super) fn verdict(moved: &Run, unmoved: &Run, same: bool) -> String {
    if moved.outcome != unmoved.outcome {
        return format!("DIFFERENT: {:?}, unmoved {:?}.", moved.outcome, unmoved.outcome);
    }
    if !same {
        let common = moved.output.iter().zip(&unmoved.output).take_while(|(a, b)| a == b).count();
        return format!("DIFFERENT: the outputs part at byte {common}.");
    }
    match moved.moves.len() {
        0 => "It ended before it was moved: ask for more digits.".to_owned(),
        count => format!("After {count} moves, the output is the same, byte for byte."),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn run(output: &[u8], moves: usize) -> Run {
        let report = |at: usize| MoveReport {
            pid: "k3x9.0".parse().unwrap(),
            from: "heron".to_owned(),
            to: "osprey".to_owned(),
            epoch: at as u64,
            pause_us: 1_000 * at as u64,
            total_us: 9_000,
            image_bytes: 1 << 20,
            code_bytes: 0,
            memory_bytes: 1 << 22,
            first: at == 1,
        };
        Run {
            output: output.to_vec(),
            outcome: Outcome::Exited { code: 0 },
            moves: (1..=moves).map(report).collect(),
            given_up: 0,
            took: Duration::from_secs(6),
        }
    }

    #[test]
    fn a_difference_is_said_and_located() {
        let same = |moved: &Run, unmoved: &Run| {
            let same = moved.output == unmoved.output && moved.outcome == unmoved.outcome;
            verdict(moved, unmoved, same)
        };
        let (moved, unmoved) = (run(b"3141", 2), run(b"3141", 0));
        assert_eq!(same(&moved, &unmoved), "After 2 moves, the output is the same, byte for byte.");
        assert_eq!(same(&run(b"3151", 2), &unmoved), "DIFFERENT: the outputs part at byte 2.");
        assert_eq!(same(&run(b"314", 2), &unmoved), "DIFFERENT: the outputs part at byte 3.");
        let mut trapped = run(b"3141", 2);
        trapped.outcome = Outcome::Killed;
        assert!(same(&trapped, &unmoved).starts_with("DIFFERENT: Killed"));
        assert!(same(&run(b"3141", 0), &unmoved).starts_with("It ended before"));
    }

    #[test]
    fn the_summary_has_medians_and_extremes() {
        expect![[r#"
                              MOVED  UNMOVED
            moves               100        0
            pause, median   50.0 ms        -
            pause, 99 %     99.0 ms        -
            pause, longest   100 ms        -
            process, sent   100 MiB        -
            code, sent          0 B        -
            time              6.0 s    6.0 s
            output          4 bytes  4 bytes"#]]
        .assert_eq(&summary(&run(b"3141", 100), &run(b"3141", 0)).render(false));
    }

    #[test]
    fn a_line_tells_where_and_how_far() {
        let mut report = run(b"", 1).moves.remove(0);
        report.first = false;
        let line = told(12, &report, b"3141592653 5897932384\n62643");
        assert_eq!(
            line,
            "  12   heron → osprey  pause   1.0 ms    1.0 MiB sent      25 digits …3238462643"
        );
    }
}
