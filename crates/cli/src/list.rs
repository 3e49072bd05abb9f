//! Words that only look: `ps`, `inspect`, `nodes`, `status`, `version`.

use api::{
    Adapting, DirUse, Doing, Durable, Error, Inspection, NodeState, NodeSummary, NodesReply,
    Outcome, ProcessDetail, ProcessState, ProcessSummary, ProcessesReply, PsQuery, StatusReply,
    VersionReply, Weighed, route,
};
use serde::Serialize;

use crate::destination::Choice;
use crate::table::{Align, Table};
use crate::units::{bytes, millis};
use crate::words::{Format, Inspect, Nodes, Ps, Status, Version};
use crate::{Client, moving, say};

pub(crate) async fn ps(at: &Choice, word: Ps) -> Result<u8, Error> {
    let path = route::PS.fill(&[]) + &PsQuery { all: word.all }.to_query();
    let reply: ProcessesReply = at.daemon()?.reply(route::PS, &path, &()).await?;
    match word.printing.format {
        Format::Json => say::json(&reply),
        Format::Table => {
            processes(&reply.processes).print();
            if !reply.silent.is_empty() {
                let silent = reply.silent.join(", ");
                say::aside(&format!(
                    "whimbrel: no answer from {silent}: what runs there may be missing"
                ));
            }
        }
    }
    Ok(0)
}

pub(crate) async fn inspect(at: &Choice, word: Inspect) -> Result<u8, Error> {
    let path = route::INSPECT.fill(&[&word.process]);
    let reply: Inspection = at.daemon()?.reply(route::INSPECT, &path, &()).await?;
    match (word.printing.format, &reply) {
        (Format::Json, _) => say::json(&reply),
        (Format::Table, Inspection::Process(process)) => say::out(&pairs(&process_pairs(process))),
        (Format::Table, Inspection::Group(group)) => processes(&group.processes).print(),
    }
    Ok(0)
}

pub(crate) async fn nodes(at: &Choice, word: Nodes) -> Result<u8, Error> {
    let reply: NodesReply = at.daemon()?.reply(route::NODES, &route::NODES.fill(&[]), &()).await?;
    match word.printing.format {
        Format::Json => say::json(&reply),
        Format::Table => node_table(&reply.nodes).print(),
    }
    Ok(0)
}

pub(crate) async fn status(at: &Choice, word: Status) -> Result<u8, Error> {
    show_status(&at.daemon()?, word.printing.format).await
}

/// Shows how one daemon is.
pub(crate) async fn show_status(client: &Client, format: Format) -> Result<u8, Error> {
    let reply: StatusReply = client.reply(route::STATUS, &route::STATUS.fill(&[]), &()).await?;
    match format {
        Format::Json => say::json(&reply),
        Format::Table => say::out(&pairs(&status_pairs(&reply))),
    }
    Ok(0)
}

pub(crate) async fn version(at: &Choice, word: Version) -> Result<u8, Error> {
    /// Both halves; they differ while a machine is being upgraded.
    #[derive(Serialize)]
    struct Versions {
        command: VersionReply,
        daemon: Option<VersionReply>,
    }
    let command = VersionReply {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    };
    // A daemon that was asked for must answer; one that happens not to run is no error.
    let daemon = match at.daemon() {
        Ok(client) => Some(client.reply(route::VERSION, &route::VERSION.fill(&[]), &()).await?),
        Err(error) if at.node.is_some() => return Err(error),
        Err(_) => None,
    };
    match word.printing.format {
        Format::Json => say::json(&Versions { command, daemon }),
        Format::Table => {
            say::out(&format!("whimbrel {} ({})", command.version, command.target));
            if let Some(daemon) = daemon {
                say::out(&format!("daemon {} ({})", daemon.version, daemon.target));
            }
        }
    }
    Ok(0)
}

fn processes(list: &[ProcessSummary]) -> Table {
    let mut table = Table::new(&[
        ("PID", Align::Left),
        ("NAME", Align::Left),
        ("PROGRAM", Align::Left),
        ("NODE", Align::Left),
        ("STATE", Align::Left),
        ("MEMORY", Align::Right),
        ("AGE", Align::Right),
        ("CPU", Align::Right),
        ("MOVES", Align::Right),
    ]);
    for process in list {
        let here = is_here(&process.state);
        let known = |text: String| if here { text } else { "-".to_owned() };
        table.row([
            process.pid.to_string(),
            process.name.clone().unwrap_or_else(|| "-".to_owned()),
            process.program.clone(),
            process.node.clone(),
            state(&process.state),
            known(bytes(process.memory_bytes)),
            millis(process.age_ms),
            known(millis(process.cpu_ms)),
            known(process.moves.to_string()),
        ]);
    }
    table
}

fn node_table(list: &[NodeSummary]) -> Table {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("ADDRESS", Align::Left),
        ("PROCESSES", Align::Right),
        ("MEMORY", Align::Right),
        ("VERSION", Align::Left),
        ("ROLE", Align::Left),
        ("LABELS", Align::Left),
    ]);
    for node in list {
        let roles = [(node.registry, "registry"), (node.asked, "this one")];
        let roles: Vec<&str> =
            roles.iter().filter(|(has, _)| *has).map(|(_, role)| *role).collect();
        table.row([
            node.name.clone(),
            node_state(node.state).to_owned(),
            node.address.clone(),
            node.processes.to_string(),
            bytes(node.memory_bytes),
            node.version.clone(),
            roles.join(", "),
            node.labels.join(" "),
        ]);
    }
    table
}

fn node_state(state: NodeState) -> &'static str {
    match state {
        NodeState::Up => "up",
        NodeState::Draining => "draining",
        NodeState::Silent => "silent",
        NodeState::Gone => "gone",
    }
}

fn state(state: &ProcessState) -> String {
    match state {
        ProcessState::Running => "running".to_owned(),
        ProcessState::Waiting { waits_for } => format!("waits for {waits_for}"),
        ProcessState::Sleeping { waits_for } => format!("sleeps, waits for {waits_for}"),
        ProcessState::Moving { to, step } => format!("moving to {to} ({step})"),
        ProcessState::Frozen => "frozen".to_owned(),
        ProcessState::Unreachable => "unreachable".to_owned(),
        ProcessState::Filed => "in a file".to_owned(),
        ProcessState::Ended { outcome } => ended(outcome),
    }
}

/// Whether some node has the process, and says what it uses. Of others only their output is kept.
fn is_here(state: &ProcessState) -> bool {
    match state {
        ProcessState::Unreachable | ProcessState::Filed | ProcessState::Ended { .. } => false,
        ProcessState::Running
        | ProcessState::Waiting { .. }
        | ProcessState::Sleeping { .. }
        | ProcessState::Moving { .. }
        | ProcessState::Frozen => true,
    }
}

fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited { code } => format!("exited ({code})"),
        Outcome::Trapped { .. } => "trapped".to_owned(),
        Outcome::Killed => "killed".to_owned(),
        Outcome::Linked { pid, .. } => format!("ended with {pid}"),
        Outcome::Limit { .. } => "ended by a limit".to_owned(),
        Outcome::Lost { node, .. } => format!("lost with {node}"),
        Outcome::Fault { .. } => "ended by a fault".to_owned(),
        Outcome::Filed => "in a file".to_owned(),
    }
}

fn process_pairs(process: &ProcessDetail) -> Vec<(&'static str, String)> {
    let summary = &process.summary;
    let mut pairs = vec![
        ("process", summary.pid.to_string()),
        ("name", summary.name.clone().unwrap_or_else(|| "-".to_owned())),
        ("program", summary.program.clone()),
        ("arguments", process.args.iter().skip(1).cloned().collect::<Vec<_>>().join(" ")),
        ("node", summary.node.clone()),
        ("state", state(&summary.state)),
        ("age", millis(summary.age_ms)),
        ("output", bytes(process.output_bytes)),
    ];
    if is_here(&summary.state) {
        pairs.extend([
            ("memory", memory(summary.memory_bytes, process.memory_bytes_max)),
            ("computed", millis(summary.cpu_ms)),
            ("moves", summary.moves.to_string()),
            ("epoch", process.epoch.to_string()),
        ]);
        pairs.extend(process.locate.as_ref().map(|way| ("located by", way.to_string())));
        pairs.extend(process.adapting.iter().flat_map(adapting));
        pairs.extend(process.durable.iter().map(|durable| ("durable", durably(durable))));
        pairs.extend(process.life.map(|life| ("life", life.to_string())));
        pairs.extend(process.links.iter().map(|other| ("linked to", other.to_string())));
        pairs.push(("code", process.code.to_string()));
    }
    if let ProcessState::Ended { outcome: Outcome::Trapped { message, backtrace } } = &summary.state
    {
        pairs.push(("trap", message.clone()));
        pairs.extend(backtrace.iter().map(|line| ("", format!("at {line}"))));
    }
    if let Some(report) = &process.last_move {
        pairs.push(("last move", moving::sentence(report)));
    }
    pairs.extend(process.env.iter().map(|(name, value)| ("variable", format!("{name}={value}"))));
    pairs.extend(process.dirs.iter().map(|used| ("directory", directory(used))));
    pairs.extend(process.stack.iter().map(|frame| ("stack", frame.clone())));
    pairs
}

/// How old the image is that a durable process would begin anew from.
fn durably(of: &Durable) -> String {
    let every = format!("every {}", millis(of.every_ms));
    match (of.age_ms, of.bytes, &of.error) {
        (Some(age), _, Some(error)) => {
            format!("{every}; NOT written {} ago: {error}", millis(age))
        }
        (Some(age), Some(length), None) => {
            format!("{every}; {} on disk, {} old", bytes(length), millis(age))
        }
        _ => format!("{every}; not written on this node yet"),
    }
}

/// What an adaptive process uses, what it has counted, and why it decided so.
fn adapting(of: &Adapting) -> Vec<(&'static str, String)> {
    let Adapting { using, letters, moves, changes, last } = of;
    let counted = format!("{letters} messages from other nodes, {moves} moves, {changes} changes");
    let mut pairs = vec![("now", using.to_string()), ("counted", counted)];
    if let Some(last) = last {
        let Weighed { from, to, letters, moves, from_cost, to_cost, change_cost, .. } = last;
        let why = match (from == to, last.changed) {
            (true, _) => format!("{from} stays: cheapest, at {from_cost}"),
            (false, true) => format!("{to} for {from}: costs {to_cost} and not {from_cost}"),
            (false, false) => {
                let change = format!("a change costs {change_cost}");
                format!("{from} stays: {to} costs {to_cost} and not {from_cost}, but {change}")
            }
        };
        pairs.push(("decided", format!("{why}; of {letters} messages and {moves} moves")));
    }
    pairs
}

/// How much there is, and may be.
pub(crate) fn memory(has: u64, max: Option<u64>) -> String {
    match max {
        Some(max) => format!("{} of {}", bytes(has), bytes(max)),
        None => bytes(has),
    }
}

fn directory(used: &DirUse) -> String {
    let DirUse { dir, open } = used;
    let mode = if dir.read_only { ", read only" } else { "" };
    format!("{} as {} ({open} open{mode})", dir.host, dir.guest)
}

fn status_pairs(status: &StatusReply) -> Vec<(&'static str, String)> {
    let node = &status.node;
    let answers = if status.registry.answers { "answers" } else { "does not answer" };
    let members = match status.members {
        1 => "1 member".to_owned(),
        members => format!("{members} members"),
    };
    vec![
        ("node", format!("{} (n{}, start {})", node.name, node.number, node.incarnation)),
        ("state", node_state(node.state).to_owned()),
        ("address", node.address.clone()),
        ("processes", format!("{} ({})", node.processes, bytes(node.memory_bytes))),
        ("", doing(status.doing)),
        ("up", millis(status.up_ms)),
        ("version", node.version.clone()),
        ("os pid", status.os_pid.to_string()),
        ("data", status.data.clone()),
        ("cluster", format!("{} ({members})", status.cluster)),
        ("registry", format!("at {} alone, which {answers}", status.registry.home)),
        (
            "",
            "while its home is down, processes run on; joins, moves, names and lookups wait"
                .to_owned(),
        ),
    ]
}

fn doing(doing: Doing) -> String {
    let Doing { running, waiting, sleeping, moving } = doing;
    let all =
        [(running, "running"), (waiting, "waiting"), (sleeping, "sleeping"), (moving, "moving")];
    let all: Vec<String> = all
        .iter()
        .filter(|(count, _)| *count != 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Names and values below each other. A repeated name, or none, continues what is above it.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    let mut above = "";
    for (name, value) in pairs {
        let shown = if *name == above { "" } else { name };
        lines.push(format!("{shown:<width$}  {value}").trim_end().to_owned());
        above = name;
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn summary(pid: &str, state: ProcessState) -> ProcessSummary {
        ProcessSummary {
            pid: pid.parse().unwrap(),
            name: None,
            program: "pi.wasm".to_owned(),
            node: "heron".to_owned(),
            state,
            memory_bytes: 18_140_365,
            age_ms: 61_000,
            cpu_ms: 59_000,
            moves: 12,
        }
    }

    #[test]
    fn processes_fit_a_line() {
        let moving = ProcessState::Moving { to: "osprey".to_owned(), step: "offered".to_owned() };
        let ended = ProcessState::Ended { outcome: Outcome::Exited { code: 3 } };
        let mut named = summary("k3x9.1", ended);
        named.name = Some("web".to_owned());
        let list = [summary("k3x9.0", ProcessState::Running), named, summary("k3xa.0", moving)];
        expect![[r#"
            PID     NAME  PROGRAM  NODE   STATE                         MEMORY        AGE     CPU  MOVES
            k3x9.0  -     pi.wasm  heron  running                     17.3 MiB  1 min 1 s  59.0 s     12
            k3x9.1  web   pi.wasm  heron  exited (3)                         -  1 min 1 s       -      -
            k3xa.0  -     pi.wasm  heron  moving to osprey (offered)  17.3 MiB  1 min 1 s  59.0 s     12"#]]
        .assert_eq(&processes(&list).render(false));
    }

    #[test]
    fn nodes_say_what_they_are_for() {
        let node = |name: &str, registry, asked| NodeSummary {
            name: name.to_owned(),
            number: 1,
            incarnation: 2,
            address: "127.0.0.1:7700".to_owned(),
            state: NodeState::Up,
            processes: 3,
            memory_bytes: 1 << 20,
            registry,
            asked,
            version: "0.1.0".to_owned(),
            labels: if asked { vec!["zone=a".to_owned()] } else { Vec::new() },
        };
        expect![[r#"
            NAME    STATE  ADDRESS         PROCESSES   MEMORY  VERSION  ROLE                LABELS
            heron   up     127.0.0.1:7700          3  1.0 MiB  0.1.0    registry, this one  zone=a
            osprey  up     127.0.0.1:7700          3  1.0 MiB  0.1.0"#]]
        .assert_eq(
            &node_table(&[node("heron", true, true), node("osprey", false, false)]).render(false),
        );
    }

    #[test]
    fn all_of_a_process_is_shown() {
        let process = ProcessDetail {
            summary: summary("k3x9.0", ProcessState::Waiting { waits_for: "input".to_owned() }),
            code: api::CodeHash([0x0b; 32]),
            epoch: 13,
            args: ["pi.wasm", "1000"].map(str::to_owned).to_vec(),
            env: vec![("LANG".to_owned(), "C".to_owned()), ("A".to_owned(), "b".to_owned())],
            dirs: vec![DirUse {
                dir: api::Dir {
                    host: "/srv".to_owned(),
                    guest: "/data".to_owned(),
                    read_only: true,
                },
                open: 2,
            }],
            memory_bytes_max: Some(256 << 20),
            output_bytes: 1_002,
            stack: vec!["read".to_owned(), "main".to_owned()],
            locate: Some(api::Locate::Adaptive),
            adapting: Some(Adapting {
                using: api::Locate::Update,
                letters: 900,
                moves: 12,
                changes: 1,
                last: Some(Weighed {
                    from: api::Locate::Directory,
                    to: api::Locate::Update,
                    changed: true,
                    letters: 60,
                    moves: 4,
                    from_cost: 170,
                    to_cost: 130,
                    change_cost: 4,
                }),
            }),
            last_move: None,
            life: Some(2),
            durable: Some(Durable {
                every_ms: 10_000,
                age_ms: Some(2_500),
                bytes: Some(70_000),
                error: None,
            }),
            links: ["k3x9.1", "k3x9.2"].map(|pid| pid.parse().expect("an id")).to_vec(),
        };
        expect![[r#"
            process     k3x9.0
            name        -
            program     pi.wasm
            arguments   1000
            node        heron
            state       waits for input
            age         1 min 1 s
            output      1002 B
            memory      17.3 MiB of 256 MiB
            computed    59.0 s
            moves       12
            epoch       13
            located by  adaptive
            now         update
            counted     900 messages from other nodes, 12 moves, 1 changes
            decided     update for directory: costs 130 and not 170; of 60 messages and 4 moves
            durable     every 10.0 s; 68.4 KiB on disk, 2.5 s old
            life        2
            linked to   k3x9.1
                        k3x9.2
            code        0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b
            variable    LANG=C
                        A=b
            directory   /srv as /data (2 open, read only)
            stack       read
                        main"#]]
        .assert_eq(&pairs(&process_pairs(&process)));
    }
}
