//! `whimbrel demo`: a program that computes digits of π and prints them as it goes is moved around three
//! daemons, and what it printed is compared with a run that was not moved.
//!
//! Nothing is staged. The daemons are processes of their own, each with its own data directory and
//! certificate; the moves are requests like anyone's; the output is what an attached `run` would show.
//! The comparison decides the exit code.

mod cluster;
mod narrate;
mod program;
mod tour;

use api::{Error, ErrorCode};
use cli::Demo;

use cluster::Cluster;
use narrate::Narrator;
use program::Program;

use crate::host::told_to_end;

/// The exit code if the outputs differ, or nothing was shown.
const EXIT_DIFFERENT: u8 = 1;

/// The birds that lend their names to the daemons.
const NODES: [&str; 3] = ["heron", "osprey", "plover"];

/// Shows it, and returns the exit code. Whatever was started has ended, however this ends.
pub(crate) fn run(demo: &Demo) -> Result<u8, Error> {
    // One thread: the daemons are told to end when the thread that started them does.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorCode::Io, format!("starting: {error}")))?;
    runtime.block_on(async {
        let interrupted = told_to_end()?;
        let mut narrator = Narrator::new();
        let program = Program::find(demo, &mut narrator)?;
        let mut cluster = Cluster::new()?;
        let shown = tokio::select! {
            shown = show(demo, &program, &mut cluster, &mut narrator) => shown,
            () = interrupted => Err(Error::new(ErrorCode::Interrupted, "interrupted")),
        };
        narrator.clear();
        cluster.end().await;
        shown
    })
}

async fn show(
    demo: &Demo,
    program: &Program,
    cluster: &mut Cluster,
    narrator: &mut Narrator,
) -> Result<u8, Error> {
    narrator.say(&format!("Three daemons start on this machine: {}.", NODES.join(", ")));
    for name in NODES {
        cluster.start(name).await?;
    }
    cluster.meet().await?;
    let code = program.upload(cluster.node(0), narrator).await?;
    narrator.say("Each compiles the program, once: a process of it is carried around and ended.");
    tour::first_round(cluster, program, code, narrator).await?;
    narrator.clear();
    narrator.say(&format!(
        "{} prints {} digits of π on {}, and moves on every {} ms.",
        program.title, program.digits, NODES[0], demo.every
    ));
    narrator.say("");
    let moved = tour::moved(cluster, program, code, demo, narrator).await?;
    narrator.clear();
    narrator.say("");
    narrator.say("Once more, without a move, to compare.");
    let unmoved = tour::unmoved(cluster, program, code).await?;
    narrator.say("");
    let same = moved.output == unmoved.output && moved.outcome == unmoved.outcome;
    tour::summary(&moved, &unmoved).print();
    narrator.say("");
    narrator.say(&tour::verdict(&moved, &unmoved, same));
    Ok(if same && !moved.moves.is_empty() { 0 } else { EXIT_DIFFERENT })
}
