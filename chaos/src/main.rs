//! Twelve processes write to each other while everything around them fails, and a judge reads what they say of it.
//!
//! `cargo xtask chaos --minutes 10` starts real daemons, each in a network namespace of its own, and on them three
//! groups of four processes (the guest `chatter`) that write numbered messages to each other and keep journals. Every
//! 50 ms one of them is moved; daemons are killed and started again from their disks; links are cut and slow. At the
//! end all that is broken is mended, the processes are told to stop, and everything has to arrive. Then `judge`, a
//! program that knows none of this, reads the journals.
//!
//! The tasks of a run are [`groups`], [`moves`] and [`faults`]; [`mod@network`] and [`cluster`] are what they act on.
//! `docs/chaos.md` says what such a run shows, and what not.

#![forbid(unsafe_code)]

mod choice;
mod cluster;
mod faults;
mod groups;
mod moves;
mod network;
mod random;
mod relay;
mod report;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use api::{CodeHash, ProcessesReply, ProgramEvent, PsQuery, route};
use bytes::Bytes;
use choice::Choice;
use cluster::Cluster;
use network::Network;
use report::{Judged, Report};
use run::{Phase, Run, Shape};

/// Everything arrives and ends within this time after the last fault, or something is stuck.
const QUIET_TIME_MAX: Duration = Duration::from_secs(120);

/// And nothing is left of it after so much more.
const LEFT_TIME_MAX: Duration = Duration::from_secs(30);

/// How long tasks may take to be dropped.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// As of a program that an interrupt has ended.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let choice = match Choice::parse(&arguments) {
        Ok(choice) => choice,
        Err(said) => {
            eprintln!("chaos: {said}\n{}", choice::USAGE);
            return ExitCode::from(2);
        }
    };
    let done = start(&choice);
    match done {
        Ok(Some(report)) => {
            report.show(choice.json);
            ExitCode::from(u8::from(!report.is_well()))
        }
        Ok(None) => ExitCode::from(EXIT_INTERRUPTED),
        Err(said) => {
            eprintln!("chaos: {said}");
            ExitCode::FAILURE
        }
    }
}

/// The run; nothing, if an interrupt came first. Either way all daemons have ended and all namespaces are gone.
fn start(choice: &Choice) -> Result<Option<Report>, String> {
    let home = tempfile::Builder::new().prefix("whimbrel-chaos-").tempdir();
    let mut home = home.map_err(|error| format!("a directory for the daemons: {error}"))?;
    home.disable_cleanup(choice.keep);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let done = runtime.block_on(interruptible(choice, home.path()));
    // The daemons go with the tasks that hold them, before their directory does.
    runtime.shutdown_timeout(END_TIME_MAX);
    let is_wrong = matches!(&done, Ok(Some(report)) if !report.is_well());
    if is_wrong || choice.keep {
        home.disable_cleanup(true);
        eprintln!("journals and logs are in {}", home.path().display());
    }
    done
}

async fn interruptible(choice: &Choice, home: &Path) -> Result<Option<Report>, String> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| error.to_string())?;
    tokio::select! {
        done = story(choice, home) => done.map(Some),
        _ = tokio::signal::ctrl_c() => Ok(None),
        _ = terminate.recv() => Ok(None),
    }
}

async fn story(choice: &Choice, home: &Path) -> Result<Report, String> {
    eprintln!("seed {}", choice.seed);
    let command = beside("whimbrel")?;
    let network = network(choice)?;
    let namespaces = network.has_namespaces();
    let cluster = Cluster::start(&command, home, network, choice.nodes, &choice.log).await?;
    let code = upload(&cluster).await?;
    let journals = home.join("journals");
    std::fs::create_dir(&journals).map_err(|error| format!("{}: {error}", journals.display()))?;
    let shape = match choice.together {
        Some(_) => Shape { groups: 4, members: 2 },
        None => Shape { groups: 3, members: 4 },
    };
    let run = Arc::new(Run::new(shape, (choice.seed, choice.pace), cluster, journals, code));
    let keeping = tokio::spawn(groups::keep(Arc::clone(&run)));
    match choice.together {
        Some(rounds) => report::progress(&run, moves::together(Arc::clone(&run), rounds)).await,
        None => break_things(&run, choice.time).await?,
    }
    run.phase.send_replace(Phase::Quiet);
    groups::stop(&run);
    if tokio::time::timeout(QUIET_TIME_MAX, keeping).await.is_err() {
        for pid in run.living() {
            run.find(format!("{pid} has not ended {QUIET_TIME_MAX:?} after the last fault"));
        }
    }
    nothing_is_left(&run).await;
    for said in run.cluster.ended_by_themselves() {
        run.find(said);
    }
    for said in run.cluster.end().await.into_iter().chain(run.cluster.panics()) {
        run.find(said);
    }
    let judged = Judged::of(&beside("judge")?, &run.journals)?;
    Ok(Report::new(&run, namespaces, judged))
}

/// The time of faults. When it is over, everything is mended, and all moves have come to their end.
async fn break_things(run: &Arc<Run>, time: Duration) -> Result<(), String> {
    let tasks = [
        tokio::spawn(moves::keep(Arc::clone(run))),
        tokio::spawn(faults::kills(Arc::clone(run))),
        tokio::spawn(faults::group_kills(Arc::clone(run))),
        tokio::spawn(faults::cuts(Arc::clone(run))),
        tokio::spawn(faults::delays(Arc::clone(run))),
    ];
    report::progress(run, tokio::time::sleep(time)).await;
    eprintln!("quiet: all that is broken is mended, and everything has to arrive");
    run.phase.send_replace(Phase::Mended);
    for task in tasks {
        task.await.map_err(|error| format!("a task broke down: {error}"))?;
    }
    groups::all_whole(run).await;
    Ok(())
}

/// Nothing of what has ended is on any node.
async fn nothing_is_left(run: &Run) {
    let look = async {
        loop {
            let path = route::PS.fill(&[]) + &PsQuery { all: false }.to_query();
            let client = run.cluster.client(0);
            match client.reply::<ProcessesReply>(route::PS, &path, &()).await {
                Ok(reply) if reply.processes.is_empty() && reply.silent.is_empty() => return,
                Ok(reply) => *run.left.lock().expect("nobody panics with it") = reply.processes,
                Err(error) => eprintln!("ps: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    if tokio::time::timeout(LEFT_TIME_MAX, look).await.is_err() {
        for process in run.left.lock().expect("nobody panics with it").iter() {
            let (pid, node, state) = (process.pid, &process.node, &process.state);
            run.find(format!("{pid} is still at {node}: {state:?}"));
        }
    }
}

/// A binary of ours that lies beside this one.
fn beside(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = own.with_file_name(name);
    path.is_file().then_some(path).ok_or_else(|| {
        format!("there is no `{name}` beside {}: `cargo xtask chaos` builds it", own.display())
    })
}

/// Namespaces, or loopback where there are none.
fn network(choice: &Choice) -> Result<Network, String> {
    if !choice.loopback {
        match Network::of_namespaces(choice.nodes) {
            Ok(network) => return Ok(network),
            Err(said) => {
                eprintln!("no network namespaces ({said}): links are cut in relays, on loopback");
            }
        }
    }
    Network::on_loopback(choice.nodes)
}

/// Gives the guest to every daemon.
async fn upload(cluster: &Cluster) -> Result<CodeHash, String> {
    // It may have to be built, and an interrupt is heard meanwhile.
    let built = tokio::task::spawn_blocking(|| programs::guest("chatter")).await;
    let path = built.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let wasm =
        Bytes::from(std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?);
    let mut code = None;
    for node in 0..cluster.count() {
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(wasm.clone())]);
        let path = route::UPLOAD.fill(&[]);
        let failed = |error: api::Error| format!("{}: {error}", cluster.name(node));
        let mut events =
            cluster.client(node).upload(route::UPLOAD, &path, body).await.map_err(failed)?;
        while let Some(event) = events.next().await.map_err(failed)? {
            match event {
                ProgramEvent::Ready { program } => code = Some(program),
                ProgramEvent::Failed { error } => return Err(failed(error)),
                ProgramEvent::Progress(_) => {}
            }
        }
    }
    code.ok_or_else(|| "no daemon has taken the program".to_owned())
}
