//! A stretch of the network that the run owns: between a member's advertised address and the port where it listens.
//!
//! All that others send to a member, and all that it answers, comes through its relay, which can make it late, or keep
//! it until the link is mended. Nothing is dropped: TCP would repeat it. A connection's end waits its turn like bytes.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How many pieces of one direction of one connection are under way. Then it is not read from.
const PIECES_MAX: usize = 64;

/// As much as is read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// How the links to one member are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    /// How long everything takes, and up to how much longer.
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    /// The members from which nothing comes.
    pub(crate) cut: HashSet<usize>,
}

/// Who is at the other end of a connection to a relay: the member's number, if it is one.
pub(crate) type Who = Arc<dyn Fn(SocketAddr) -> Option<usize> + Send + Sync>;

/// One member's relay. It goes with the run.
pub(crate) struct Relay {
    pub(crate) links: watch::Sender<Links>,
}

impl Relay {
    /// Relays from one address to another, in this network namespace if one is given.
    pub(crate) fn start(
        from: SocketAddr,
        to: SocketAddr,
        namespace: Option<OwnedFd>,
        who: Who,
    ) -> Result<Self, String> {
        let (links, seen) = watch::channel(Links::default());
        let (told, hears) = std::sync::mpsc::channel();
        // A thread of its own, because a namespace is a thread's: the sockets that it makes belong there.
        let serve = move || -> io::Result<()> {
            if let Some(namespace) = namespace {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), network)?;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = TcpListener::bind(from).await?;
                let _ = told.send(());
                loop {
                    let (near, peer) = listener.accept().await?;
                    tokio::spawn(connect(near, to, who(peer), seen.clone()));
                }
            })
        };
        let serving = std::thread::spawn(serve);
        match hears.recv() {
            Ok(()) => Ok(Self { links }),
            Err(_) => match serving.join() {
                Ok(Err(error)) => Err(format!("a relay at {from}: {error}")),
                _ => Err(format!("a relay at {from} broke down")),
            },
        }
    }
}

async fn connect(
    near: TcpStream,
    to: SocketAddr,
    who: Option<usize>,
    links: watch::Receiver<Links>,
) {
    // Whoever calls over a cut link is not heard.
    open(who, &links).await;
    // A member that is down: the caller is hung up on.
    let Ok(far) = TcpStream::connect(to).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    for (from, to) in [(from_near, to_far), (from_far, to_near)] {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        tokio::spawn(read(from, sender, links.clone()));
        tokio::spawn(write(to, pieces, who, links.clone()));
    }
}

/// Waits until nothing is in the way.
async fn open(who: Option<usize>, links: &watch::Receiver<Links>) {
    let mut links = links.clone();
    let is_open = |links: &Links| who.is_none_or(|who| !links.cut.contains(&who));
    // An error is the end of the run.
    let _ = links.wait_for(is_open).await;
}

/// Reads, and says when each piece is due. An empty piece is the end.
async fn read(
    mut from: OwnedReadHalf,
    pieces: mpsc::Sender<(Instant, Vec<u8>)>,
    links: watch::Receiver<Links>,
) {
    let mut count: u64 = 0;
    loop {
        let mut bytes = vec![0; PIECE_BYTES];
        let read = from.read(&mut bytes).await.unwrap_or(0);
        bytes.truncate(read);
        count = count.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(read as u64 + 1);
        let due = {
            let links = links.borrow();
            links.delay + links.jitter.mul_f64((count >> 33) as f64 / f64::from(1u32 << 31))
        };
        if pieces.send((Instant::now() + due, bytes)).await.is_err() || read == 0 {
            return;
        }
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut pieces: mpsc::Receiver<(Instant, Vec<u8>)>,
    who: Option<usize>,
    links: watch::Receiver<Links>,
) {
    while let Some((due, bytes)) = pieces.recv().await {
        if Instant::now() < due {
            tokio::time::sleep_until(due).await;
        }
        open(who, &links).await;
        if bytes.is_empty() || to.write_all(&bytes).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// The process that a local socket belongs to, as the kernel's tables have it.
pub(crate) fn owner(socket: SocketAddr, among: &Mutex<Vec<Option<u32>>>) -> Option<usize> {
    let SocketAddr::V4(socket) = socket else { return None };
    let ip = u32::from_le_bytes(socket.ip().octets());
    let local = format!("{ip:08X}:{:04X}", socket.port());
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let row = table.lines().find(|row| row.split_whitespace().nth(1) == Some(&local))?;
    let link = format!("socket:[{}]", row.split_whitespace().nth(9)?);
    let known = among.lock().expect("nobody panics with it").clone();
    known.iter().position(|os_pid| {
        let Some(os_pid) = os_pid else { return false };
        let Ok(files) = fs::read_dir(format!("/proc/{os_pid}/fd")) else { return false };
        files.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
        })
    })
}
