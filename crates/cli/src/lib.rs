//! The command's words: arguments in, requests to a node out, and its answers as words and exit codes.
//!
//! [`main`] is the whole command. [`Word`] is what can be said; each word is a function in a module
//! of its kind (`run`, `list`, `moving`, `image`, `daemon`). All of them speak the types of `api` through
//! one [`Client`], to a daemon or to a node inside this very process: they cannot tell which.
//!
//! What only the node's half of the binary can do (be a daemon, transform a program, read an image) it
//! lends through [`Host`], so that this crate depends on neither.
//!
//! **Invariant:** this crate has never heard of `protocol`, `engine` or `node`. **Invariant:** standard
//! output carries what was asked for, standard error everything else, and nothing is asked of a
//! terminal that is none.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod balance;
mod bars;
mod client;
mod daemon;
mod destination;
mod host;
mod image;
mod list;
mod moving;
mod report;
mod run;
mod say;
mod send;
mod table;
mod trace;
mod units;
mod words;

use std::process::ExitCode;

use clap::Parser;

pub use client::{Client, Events};
pub use destination::daemons;
pub use host::{Ephemeral, Host, NodeStart, OwnNode, Ready, Transformed};
pub use table::{Align, Table};
pub use units::{bytes as human_bytes, micros as human_micros};
pub use words::{Demo, Format, Word, Words};

/// Runs the command: parses the arguments, does the word, says what went wrong.
pub fn main(host: &dyn Host) -> ExitCode {
    let words = match Words::try_parse() {
        Ok(words) => words,
        Err(error) => {
            // Help and version are errors to clap, and successes to the caller.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let format = words.format();
    match perform(host, words) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report::show(&error, format);
            ExitCode::from(error.code.exit())
        }
    }
}

/// Does one word, and returns the exit code.
fn perform(host: &dyn Host, words: Words) -> Result<u8, api::Error> {
    // These two own their process: they start runtimes, children and signal handlers of their own.
    match words.word {
        Word::Demo(demo) => return host.demo(&demo),
        Word::Node { word: words::NodeWord::Start(start) } => return daemon::start(host, start),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| say::io("starting", &error))?;
    let done = runtime.block_on(word(host, words));
    // A thread may still sit in a read of the terminal; nobody waits for it.
    runtime.shutdown_background();
    done
}

async fn word(host: &dyn Host, words: Words) -> Result<u8, api::Error> {
    let at = destination::Choice { node: words.node };
    match words.word {
        Word::Run(word) => run::run(host, &at, word).await,
        Word::Ps(word) => list::ps(&at, word).await,
        Word::Inspect(word) => list::inspect(&at, word).await,
        Word::Logs(word) => run::logs(&at, word).await,
        Word::Move(word) => moving::move_process(&at, word).await,
        Word::Send(word) => send::send(&at, word).await,
        Word::Drain(word) => moving::drain(&at, word).await,
        Word::Rebalance(word) => balance::rebalance(&at, word).await,
        Word::Locate(word) => moving::locate(&at, word).await,
        Word::Kill(word) => moving::kill(&at, word).await,
        Word::Freeze(word) => image::freeze(&at, word).await,
        Word::Thaw(word) => run::thaw(host, &at, word).await,
        Word::Image { word } => image::image(host, word),
        Word::Transform(word) => image::transform(host, word),
        Word::Events(word) => trace::events(&at, word).await,
        Word::Trace(word) => trace::trace(&at, word).await,
        Word::Nodes(word) => list::nodes(&at, word).await,
        Word::Node { word } => daemon::node(&at, word).await,
        Word::Registry { word: words::RegistryWord::Move(word) } => {
            daemon::move_registry(&at, word).await
        }
        Word::Registry { word: words::RegistryWord::Rebuild(word) } => {
            daemon::rebuild_registry(&at, word).await
        }
        Word::Token { word: words::TokenWord::Create(word) } => daemon::token(&at, word).await,
        Word::Status(word) => list::status(&at, word).await,
        Word::Completions(word) => Ok(words::completions(word.shell)),
        Word::Version(word) => list::version(&at, word).await,
        Word::Demo(_) => unreachable!("performed before the runtime"),
    }
}
