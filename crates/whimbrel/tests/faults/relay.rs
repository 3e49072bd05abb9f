//! A stretch of the network that a test owns: between a member's advertised address and the port it
//! listens at. It can lose the connections of one caller, without a word to either end.

use std::collections::HashSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Relays to one member.
#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) advertised: SocketAddr,
    pub(crate) listens: SocketAddr,
    cut: Arc<Mutex<HashSet<u32>>>,
}

impl Relay {
    /// Relays from a free port of this address to another one, where the member is to listen. Until
    /// it is about to start, that one has to be held: others bind ports of this address too.
    pub(crate) fn new(ip: &str) -> (Self, TcpListener) {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let held = TcpListener::bind((ip, 0)).unwrap();
        let listens = held.local_addr().unwrap();
        let relay =
            Self { advertised: listener.local_addr().unwrap(), listens, cut: Arc::default() };
        let serving = relay.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let Ok(near) = near else { continue };
                // A member that is down: the caller is hung up on.
                let Ok(far) = TcpStream::connect(serving.listens) else { continue };
                serving.connect(near, far);
            }
        });
        (relay, held)
    }

    /// From now on nothing passes between the member and this process of the operating system.
    pub(crate) fn cut(&self, os_pid: u32) {
        self.cut.lock().unwrap().insert(os_pid);
    }

    fn connect(&self, near: TcpStream, far: TcpStream) {
        let caller = near.peer_addr().ok().and_then(owner);
        let pairs = [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))];
        for (from, to) in pairs {
            let (Ok(from), Ok(to)) = (from, to) else { continue };
            let relay = self.clone();
            std::thread::spawn(move || relay.pass(from, to, caller));
        }
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, caller: Option<u32>) {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let read = from.read(&mut bytes).unwrap_or(0);
            if caller.is_some_and(|caller| self.cut.lock().unwrap().contains(&caller)) {
                // Swallowed, like all that follows; neither end is told.
                if read == 0 {
                    std::thread::park();
                }
                continue;
            }
            if read == 0 || to.write_all(&bytes[..read]).is_err() {
                let _ = to.shutdown(std::net::Shutdown::Both);
                let _ = from.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }
}

/// The process that a local socket belongs to, as the kernel's tables have it.
fn owner(socket: SocketAddr) -> Option<u32> {
    let SocketAddr::V4(socket) = socket else { return None };
    let ip = u32::from_le_bytes(socket.ip().octets());
    let local = format!("{ip:08X}:{:04X}", socket.port());
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let row = table.lines().find(|row| row.split_whitespace().nth(1) == Some(&local))?;
    let link = format!("socket:[{}]", row.split_whitespace().nth(9)?);
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|os_pid: &u32| {
        let Ok(files) = fs::read_dir(format!("/proc/{os_pid}/fd")) else { return false };
        files.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
        })
    })
}
