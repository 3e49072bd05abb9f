//! The network between the daemons, which the run makes, breaks and mends.
//!
//! ```text
//!  namespace of heron                      namespace of the hub      namespace of osprey
//!  daemon ◀── relay ◀── 10.91.0.1 eth0 ════ port ─ bridge ─ port ════ eth0 10.91.0.2 ──▶ relay ──▶ daemon
//! ```
//!
//! Each daemon has a network namespace of its own, and all hang on a bridge. A node is cut off by taking its port down,
//! two nodes from each other by routes into nowhere; the kernel's TCP then does what it does on a real network. What is
//! late is so in the relays, because not every kernel can delay packets.
//!
//! Where no namespace can be made, everything is on loopback, and the relays keep back what would cross a cut link.

use std::collections::HashSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::relay::{self, Relay, Who};

/// Where relays and daemons listen.
const PORT: u16 = 7700;

/// What namespaces of runs are called: this, the run's process id, and a number.
const PREFIX: &str = "whimbrel-chaos";

/// What is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// One node from everyone.
    Node(usize),
    /// Two nodes from each other.
    Pair(usize, usize),
}

/// The network. Its namespaces go with it.
pub(crate) struct Network {
    namespaces: Option<Namespaces>,
    relays: Vec<Relay>,
    /// Each daemon's process: on loopback that is how relays tell callers apart.
    pub(crate) os_pids: Arc<Mutex<Vec<Option<u32>>>>,
    addresses: Vec<Addresses>,
    cuts: Mutex<Vec<Cut>>,
}

/// Where one daemon is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) listens: SocketAddr,
    pub(crate) advertised: SocketAddr,
}

/// The kernel's part of it. Dropping it removes it, links and all.
struct Namespaces {
    count: usize,
}

impl Network {
    /// A network of namespaces for so many daemons.
    pub(crate) fn of_namespaces(count: usize) -> Result<Self, String> {
        Namespaces::sweep();
        let namespaces = Namespaces::new(count)?;
        let address = |node: usize| Addresses {
            listens: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            advertised: SocketAddr::from((Namespaces::ip(node), PORT)),
        };
        let who: Who = Arc::new(|caller: SocketAddr| match caller {
            SocketAddr::V4(caller) => usize::from(caller.ip().octets()[3]).checked_sub(1),
            SocketAddr::V6(_) => None,
        });
        let addresses: Vec<Addresses> = (0..count).map(address).collect();
        Self::with_relays(Some(namespaces), addresses, Arc::default(), &who)
    }

    /// A network of relays on loopback.
    pub(crate) fn on_loopback(count: usize) -> Result<Self, String> {
        // Addresses of its own, so that two runs do not meet.
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let ip = |last: usize| Ipv4Addr::new(127, 64 + high % 128, low, last as u8);
        let address = |node: usize| Addresses {
            listens: SocketAddr::from((ip(node + 101), PORT)),
            advertised: SocketAddr::from((ip(node + 1), PORT)),
        };
        let os_pids: Arc<Mutex<Vec<Option<u32>>>> = Arc::new(Mutex::new(vec![None; count]));
        let known = Arc::clone(&os_pids);
        let who: Who = Arc::new(move |caller| relay::owner(caller, &known));
        let addresses: Vec<Addresses> = (0..count).map(address).collect();
        Self::with_relays(None, addresses, os_pids, &who)
    }

    fn with_relays(
        namespaces: Option<Namespaces>,
        addresses: Vec<Addresses>,
        os_pids: Arc<Mutex<Vec<Option<u32>>>>,
        who: &Who,
    ) -> Result<Self, String> {
        os_pids.lock().expect("nobody panics with it").resize(addresses.len(), None);
        let relay = |(node, at): (usize, &Addresses)| {
            let namespace = match &namespaces {
                Some(_) => Some(Namespaces::open(node)?),
                None => None,
            };
            Relay::start(at.advertised, at.listens, namespace, Arc::clone(who))
        };
        let relays = addresses.iter().enumerate().map(relay).collect::<Result<_, String>>()?;
        Ok(Self { namespaces, relays, os_pids, addresses, cuts: Mutex::new(Vec::new()) })
    }

    pub(crate) fn has_namespaces(&self) -> bool {
        self.namespaces.is_some()
    }

    pub(crate) fn addresses(&self, node: usize) -> Addresses {
        self.addresses[node]
    }

    /// What starts a program in a node's part of the network.
    pub(crate) fn enter(&self, node: usize) -> Vec<String> {
        match &self.namespaces {
            Some(_) => ["ip", "netns", "exec", &Namespaces::name(node)].map(str::to_owned).into(),
            None => Vec::new(),
        }
    }

    /// Makes all that reaches a node, and what it answers, so late.
    pub(crate) fn delay(&self, node: usize, delay: Duration, jitter: Duration) {
        self.relays[node].links.send_modify(|links| {
            links.delay = delay;
            links.jitter = jitter;
        });
    }

    pub(crate) fn cut(&self, cut: Cut) -> Result<(), String> {
        self.cuts.lock().expect("nobody panics with it").push(cut);
        match &self.namespaces {
            Some(_) => Namespaces::cut(cut, true),
            None => {
                self.keep_back();
                Ok(())
            }
        }
    }

    pub(crate) fn mend(&self, cut: Cut) -> Result<(), String> {
        self.cuts.lock().expect("nobody panics with it").retain(|other| *other != cut);
        match &self.namespaces {
            Some(_) => Namespaces::cut(cut, false),
            None => {
                self.keep_back();
                Ok(())
            }
        }
    }

    /// Tells every relay from whom nothing is to come.
    fn keep_back(&self) {
        let cuts = self.cuts.lock().expect("nobody panics with it").clone();
        let count = self.relays.len();
        let is_cut = |a: usize, b: usize| {
            cuts.iter().any(|cut| match *cut {
                Cut::Node(node) => node == a || node == b,
                Cut::Pair(c, d) => (a, b) == (c, d) || (a, b) == (d, c),
            })
        };
        for (node, relay) in self.relays.iter().enumerate() {
            let from: HashSet<usize> = (0..count).filter(|other| is_cut(node, *other)).collect();
            relay.links.send_modify(|links| links.cut = from);
        }
    }
}

impl Namespaces {
    fn new(count: usize) -> Result<Self, String> {
        // From here on whatever was made is removed.
        let made = Self { count };
        let hub = Self::hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "bridge", "up"])?;
        for node in 0..count {
            let (name, port) = (Self::name(node), Self::port(node));
            let address = format!("{}/24", Self::ip(node));
            ip(&["netns", "add", &name])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            let veth = ["-n", &hub, "link", "add", &port, "type", "veth"];
            ip(&[&veth[..], &["peer", "name", "eth0", "netns", &name]].concat())?;
            ip(&["-n", &hub, "link", "set", &port, "master", "bridge"])?;
            ip(&["-n", &hub, "link", "set", &port, "up"])?;
            ip(&["-n", &name, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        }
        Ok(made)
    }

    fn hub() -> String {
        format!("{PREFIX}-{}-hub", std::process::id())
    }

    fn name(node: usize) -> String {
        format!("{PREFIX}-{}-{node}", std::process::id())
    }

    fn port(node: usize) -> String {
        format!("port{node}")
    }

    fn ip(node: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 91, 0, node as u8 + 1)
    }

    fn open(node: usize) -> Result<OwnedFd, String> {
        let path = format!("/run/netns/{}", Self::name(node));
        File::open(&path).map(OwnedFd::from).map_err(|error| format!("{path}: {error}"))
    }

    /// Cuts or mends.
    fn cut(cut: Cut, cuts: bool) -> Result<(), String> {
        match cut {
            Cut::Node(node) => {
                let state = if cuts { "down" } else { "up" };
                ip(&["-n", &Self::hub(), "link", "set", &Self::port(node), state])
            }
            Cut::Pair(a, b) => {
                let does = if cuts { "add" } else { "del" };
                for (from, to) in [(a, b), (b, a)] {
                    let route = format!("{}/32", Self::ip(to));
                    ip(&["-n", &Self::name(from), "route", does, "blackhole", &route])?;
                }
                Ok(())
            }
        }
    }

    /// Removes what runs have left that could not.
    fn sweep() {
        let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
        for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            let rest = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-'));
            let run = rest.and_then(|rest| rest.split('-').next());
            let is_over = |run: &str| {
                run.parse::<u32>()
                    .is_ok_and(|_| !std::fs::exists(format!("/proc/{run}")).unwrap_or(true))
            };
            if run.is_some_and(is_over) {
                let _ = ip(&["netns", "del", &name]);
            }
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &Self::hub()]);
        for node in 0..self.count {
            let _ = ip(&["netns", "del", &Self::name(node)]);
        }
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("ip {}: {}", words.join(" "), said.trim()))
        }
    }
}
