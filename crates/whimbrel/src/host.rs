//! What the command borrows from the node's half of this binary.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use api::{Error, ErrorCode, ImageReport};
use cli::{Demo, Ephemeral, Host, NodeStart, OwnNode, Ready, Transformed};
use node::{Config, Ended, Halts, Handle, Node};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use crate::{demo, image};

/// Names the steps of a move at which a daemon stands still until SIGUSR1: a debugging aid of `node`.
const HALT_AT: &str = "WHIMBREL_HALT_AT";

/// Lets a daemon run portable bytecode: a debugging aid of `node`.
const PORTABLE: &str = "WHIMBREL_PORTABLE";

/// How much a daemon logs, in the syntax of `tracing_subscriber::EnvFilter`.
const LOG: &str = "WHIMBREL_LOG";

/// This binary, as the command sees it.
pub(crate) struct Binary;

impl Host for Binary {
    fn serve(&self, start: NodeStart, ready: &mut dyn FnMut(&Ready)) -> Result<(), Error> {
        log("info");
        let config = Config {
            name: start.name,
            data: Some(start.data),
            listen: Some(start.listen),
            advertise: start.advertise,
            portable: std::env::var_os(PORTABLE).is_some(),
            join: start.join,
            stub_missing: start.stub_missing,
            labels: start.labels.into_iter().collect(),
            balances: start.balances,
            fenced: start.fenced,
            ..common()
        };
        runtime()?.block_on(async {
            let config = Config { halts: halts()?, ..config };
            // Before the node is ready, so that no signal falls between.
            let told = told_to_end()?;
            let mut handle = Node::start(config).await?;
            ready(&shown(&handle));
            let ended = tokio::select! {
                ended = handle.ended() => ended,
                () = told => {
                    handle.stop();
                    handle.ended().await
                }
            };
            match ended {
                Ended::Stopped => Ok(()),
                Ended::Lapsed => {
                    let message = "the registry was not heard of for 4 s, so this fenced node has ended all it ran";
                    Err(Error::new(ErrorCode::NodeUnavailable, message)
                        .with_hint("start it again as it was started; `whimbrel nodes` on another says what is up"))
                }
                Ended::Expelled => {
                    let message = "the cluster has declared this node gone, so it has ended";
                    Err(Error::new(ErrorCode::NodeUnavailable, message)
                        .with_hint("join again with a token and an empty data directory"))
                }
            }
        })
    }

    fn ephemeral(&self, own: &OwnNode) -> Result<Box<dyn Ephemeral>, Error> {
        log("error");
        let config = Config { name: "here".to_owned(), stub_missing: own.stub_missing, ..common() };
        Ok(Box::new(Own::start(config)?))
    }

    fn transform(&self, wasm: &[u8]) -> Result<Transformed, Error> {
        let options = transform::Options::default();
        let done = transform::transform(wasm, &options).map_err(|error| refused(&error))?;
        Ok(Transformed {
            run: done.run,
            resume: done.resume,
            sites: done.sites.encode(),
            report: done.report.to_string(),
        })
    }

    fn image(&self, bytes: &[u8]) -> Result<ImageReport, Error> {
        image::report(bytes)
    }

    fn demo(&self, demo: &Demo) -> Result<u8, Error> {
        demo::run(demo)
    }
}

/// A node in this process, on threads of its own: the command waits for it like for any other.
struct Own {
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Own {
    fn start(config: Config) -> Result<Self, Error> {
        let (stop, stopped) = oneshot::channel();
        let (started, start) = mpsc::channel();
        let life = move || {
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            runtime.block_on(async {
                match Node::start(config).await {
                    Ok(mut handle) => {
                        let _ = started.send(Ok(handle.ready().socket.clone()));
                        // A sender that is dropped without a word means the same.
                        let _ = stopped.await;
                        handle.stop();
                        handle.ended().await;
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            });
        };
        let thread = std::thread::spawn(life);
        let socket = start
            .recv()
            .unwrap_or_else(|_| Err(Error::new(ErrorCode::Internal, "the node did not start")))?;
        Ok(Self { socket, stop: Some(stop), thread: Some(thread) })
    }
}

impl Ephemeral for Own {
    fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What every node of this binary has in common.
fn common() -> Config {
    Config {
        // Shared by all of a user's nodes, so that a program is compiled once per machine.
        cache: api::paths::cache_home(|name| std::env::var_os(name)).map(|home| home.join("code")),
        ..Config::default()
    }
}

fn runtime() -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorCode::Io, format!("starting: {error}")))
}

/// The halts that the environment asks for: a signal (SIGUSR1) ends the one that stands.
fn halts() -> Result<Option<Halts>, Error> {
    let Ok(names) = std::env::var(HALT_AT) else { return Ok(None) };
    let halts = Halts::at(&names).map_err(|name| {
        Error::new(ErrorCode::InvalidRequest, format!("{HALT_AT}: there is no step `{name}`"))
    })?;
    let mut told = signal(SignalKind::user_defined1())
        .map_err(|error| Error::new(ErrorCode::Io, format!("handling signals: {error}")))?;
    let standing = halts.clone();
    tokio::spawn(async move {
        while told.recv().await.is_some() {
            standing.go_on();
        }
    });
    Ok(Some(halts))
}

/// Ends with the first interrupt, or request to terminate.
///
/// # Errors
///
/// If signals cannot be handled.
pub(crate) fn told_to_end() -> Result<impl Future<Output = ()>, Error> {
    let handler = |kind| {
        signal(kind)
            .map_err(|error| Error::new(ErrorCode::Io, format!("handling signals: {error}")))
    };
    let mut interrupt = handler(SignalKind::interrupt())?;
    let mut terminate = handler(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Logs to standard error, as much as the environment asks for, else this much.
fn log(otherwise: &str) {
    let filter = EnvFilter::try_from_env(LOG).unwrap_or_else(|_| EnvFilter::new(otherwise));
    // Fails only where there is a subscriber already, which then does the same.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

fn shown(handle: &Handle) -> Ready {
    let ready = handle.ready();
    Ready {
        name: ready.name.clone(),
        address: ready.address.clone(),
        data: ready.data.clone(),
        os_pid: std::process::id(),
    }
}

fn refused(error: &transform::Error) -> Error {
    let code = match error {
        transform::Error::Unsupported { .. } => ErrorCode::UnsupportedFeature,
        _ => ErrorCode::InvalidProgram,
    };
    Error::new(code, error.to_string())
}
