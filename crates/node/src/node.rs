//! A node, from its start to its end.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use api::{Error, ErrorCode};
use engine::Engine;
use protocol::{Machine, Rng};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use wire::{ClusterId, Incarnation, NodeId, Peer, Reply};

use crate::balancing::Balancing;
use crate::checkpoints::{Checkpoints, Stored};
use crate::chronicle::Chronicle;
use crate::clock::Clock;
use crate::codes::Codes;
use crate::control::{self, Caller};
use crate::disk::{DataDir, MEMBERSHIP, Membership, change_membership};
use crate::driver::{Arrivals, Driver, Event, Events, Parts};
use crate::halts::Halts;
use crate::home::Home;
use crate::join::{self, Certifier};
use crate::links::bulk::Bulk;
use crate::links::dial::Dialer;
use crate::links::hello::{Identity, Roster};
use crate::links::listen::Door;
use crate::links::messages::Messages;
use crate::logbook::Logbook;
use crate::seat::{Here, RegistryAt, Seat};
use crate::succession::{RECORDS, Succession};
use crate::trust::{Authority, Credentials, Tls, Token};

/// Messages from links that wait for the driver. When it is full, links wait.
const HEARD_MAX: usize = 256;

/// So long a start waits for the registry before it serves without it.
const NEWS_PATIENCE: Duration = Duration::from_secs(2);

/// How to start a node.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Its name, unique among the members.
    pub name: String,
    /// Where it keeps what it keeps; none: a directory that goes when the node does.
    pub data: Option<PathBuf>,
    /// Where it listens for other nodes. Port 0 is any free one, and the same again after a
    /// restart. None: the node is by itself and has no sockets but its control socket.
    pub listen: Option<SocketAddr>,
    /// What others are told to call, if that is another address: behind a relay, say.
    pub advertise: Option<String>,
    /// The member to join through (`HOST:PORT`), and the token to do it with. None founds a
    /// cluster, or takes up the one that the data directory belongs to.
    pub join: Option<(String, String)>,
    /// Where code and what was compiled of it are kept, shared by all nodes that name it; none: in
    /// the data directory.
    pub cache: Option<PathBuf>,
    /// How many threads run processes; none: as many as the machine has processors.
    pub workers: Option<usize>,
    /// Lets unknown functions of a WASI module answer `ENOSYS`.
    pub stub_missing: bool,
    /// What it is labelled with, `K=V` each: what processes are pinned to, or avoid.
    pub labels: BTreeSet<String>,
    /// It looks every few seconds for a process that would be better off on another node, and moves it there.
    pub balances: bool,
    /// It ends everything when it does not hear of the registry for some seconds, and the others take it as gone then.
    pub fenced: bool,
    /// Debugging aid, also the variable `WHIMBREL_PORTABLE` of the command: runs Wasmtime's portable
    /// bytecode, as on an architecture that has no native compiler.
    pub portable: bool,
    /// Debugging aid, also the variable `WHIMBREL_HALT_AT` of the command: where the node stands
    /// still, so that it or another can be killed exactly there.
    pub halts: Option<Halts>,
}

/// What a node says of itself when it serves.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Ready {
    /// Its name.
    pub name: String,
    /// Its number.
    pub node: u32,
    /// How often it has started.
    pub incarnation: u64,
    /// The cluster's id.
    pub cluster: String,
    /// Where it listens for other nodes; empty if it does not.
    pub address: String,
    /// Its data directory.
    pub data: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// The cluster has declared it gone: what it ran was ended.
    Expelled,
    /// It is fenced and did not hear of the registry: what it ran was ended.
    Lapsed,
}

/// A node that runs. Dropping it ends the node, some time after.
#[derive(Debug)]
pub struct Handle {
    ready: Ready,
    stop: watch::Sender<bool>,
    life: JoinHandle<Ended>,
}

/// Starts nodes.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Starts a node, on the Tokio runtime that this is called on. It serves when this returns.
    ///
    /// # Errors
    ///
    /// If it cannot; nothing is left behind but its data directory.
    pub async fn start(config: Config) -> Result<Handle, Error> {
        let clock = Clock::start();
        let dir = match &config.data {
            Some(path) => DataDir::open(path),
            None => DataDir::ephemeral(),
        };
        let dir = Arc::new(dir.map_err(Error::from)?);
        let incarnation = dir.raise_incarnation().map_err(Error::from)?;
        let settings = engine::Config {
            cache: Some(config.cache.clone().unwrap_or_else(|| dir.file("code"))),
            stub_missing: config.stub_missing,
            target: if config.portable { engine::Target::Pulley } else { engine::Target::Native },
            ..engine::Config::default()
        };
        let settings = match config.workers {
            Some(workers) => engine::Config { workers, ..settings },
            None => settings,
        };
        let engine =
            Engine::new(settings).map_err(|error| Error::new(ErrorCode::Io, error.to_string()))?;
        let start = Start { config: &config, clock, dir: &dir, incarnation };
        let place = match config.listen {
            Some(listen) => start.in_cluster(listen).await?,
            None => start.alone().await?,
        };
        assemble(config, clock, dir, incarnation, engine, place).await
    }
}

impl Handle {
    /// What the node is and where.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Tells the node to end. Its processes end with it.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Ended {
        (&mut self.life).await.unwrap_or(Ended::Stopped)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a start knows before it knows its cluster.
struct Start<'a> {
    config: &'a Config,
    clock: Clock,
    dir: &'a DataDir,
    incarnation: Incarnation,
}

/// The node's place in a cluster.
struct PlaceInCluster {
    cluster: ClusterId,
    node: NodeId,
    registry: RegistryAt,
    /// The registry, if it is here.
    here: Option<Here>,
    /// The other members as of the last time.
    peers: Vec<(NodeId, String)>,
    promised: Option<(u64, NodeId)>,
    address: String,
    others: Option<Others>,
}

/// What a node has that is not alone.
struct Others {
    listener: TcpListener,
    credentials: Credentials,
    renew_at: u64,
}

impl Start<'_> {
    /// A cluster of one, without sockets, that is forgotten at its end.
    async fn alone(&self) -> Result<PlaceInCluster, Error> {
        let home = self.succession().home(None, 0)?;
        let node = self.found(&home, "-").await?;
        let mut cluster = [0; 16];
        getrandom::fill(&mut cluster).expect("the system's generator answers");
        Ok(PlaceInCluster {
            cluster: ClusterId(cluster),
            node,
            registry: RegistryAt { term: 0, node, address: String::new() },
            here: Some(Here { home, certifier: None }),
            peers: Vec::new(),
            promised: None,
            address: String::new(),
            others: None,
        })
    }

    async fn in_cluster(&self, listen: SocketAddr) -> Result<PlaceInCluster, Error> {
        let membership = self.dir.membership().map_err(Error::from)?;
        let before = membership.as_ref().and_then(|membership| membership.address.parse().ok());
        // An address that others were told to call says nothing of where we listened.
        let before = before.filter(|_| self.config.advertise.is_none());
        let listener = bind(listen, before).await?;
        let credentials = Credentials::load(self.dir).map_err(Error::from)?;
        let place = match (membership, credentials, &self.config.join) {
            (Some(membership), Some(credentials), join) => {
                if let Some((_, token)) = join
                    && parse(token)?.cluster != credentials.fingerprint()
                {
                    let data = self.dir.path().display();
                    let message = format!("{data} belongs to another cluster than the token");
                    return Err(Error::new(ErrorCode::ForeignCertificate, message));
                }
                self.take_up(listener, membership, credentials)?
            }
            (_, _, Some((at, token))) => self.join(listener, at, token).await?,
            (_, _, None) => self.found_cluster(listener).await?,
        };
        self.remember(&place)?;
        Ok(place)
    }

    fn take_up(
        &self,
        listener: TcpListener,
        membership: Membership,
        credentials: Credentials,
    ) -> Result<PlaceInCluster, Error> {
        let Membership { term, registry, registry_address, .. } = membership;
        let at_home = membership.node == registry;
        let here = at_home.then(|| self.succession().open(term)).transpose()?;
        let address = self.advertised(&listener, None);
        let registry_address = if at_home { address.clone() } else { registry_address };
        Ok(PlaceInCluster {
            cluster: credentials.fingerprint().cluster(),
            node: membership.node,
            registry: RegistryAt { term, node: registry, address: registry_address },
            here,
            peers: membership.peers,
            promised: membership.promised,
            address,
            others: Some(Others { listener, credentials, renew_at: membership.renew_at }),
        })
    }

    async fn join(
        &self,
        listener: TcpListener,
        at: &str,
        token: &str,
    ) -> Result<PlaceInCluster, Error> {
        let token = parse(token)?;
        let address = |stream: &TcpStream| {
            self.advertised(&listener, stream.local_addr().ok().map(|address| address.ip()))
        };
        let (credentials, reply, address) =
            join::join(at, &token, &self.config.name, address).await?;
        credentials.save(self.dir).map_err(Error::from)?;
        Ok(PlaceInCluster {
            cluster: credentials.fingerprint().cluster(),
            node: reply.node,
            registry: RegistryAt {
                term: reply.term,
                node: reply.registry,
                address: reply.registry_address,
            },
            here: None,
            peers: Vec::new(),
            promised: None,
            address,
            others: Some(Others { listener, credentials, renew_at: join::renew_at() }),
        })
    }

    async fn found_cluster(&self, listener: TcpListener) -> Result<PlaceInCluster, Error> {
        let authority = Authority::open(self.dir).map_err(Error::from)?;
        let home = self.succession().home(Some(&self.dir.file(RECORDS)), 0)?;
        let address = self.advertised(&listener, None);
        let node = self.found(&home, &address).await?;
        let credentials = join::found(&authority, node);
        credentials.save(self.dir).map_err(Error::from)?;
        Ok(PlaceInCluster {
            cluster: credentials.fingerprint().cluster(),
            node,
            registry: RegistryAt { term: 0, node, address: address.clone() },
            here: Some(Here { home, certifier: Some(Arc::new(Certifier(authority))) }),
            peers: Vec::new(),
            promised: None,
            address,
            others: Some(Others { listener, credentials, renew_at: join::renew_at() }),
        })
    }

    /// What others call to reach the listener.
    fn advertised(&self, listener: &TcpListener, towards: Option<IpAddr>) -> String {
        self.config.advertise.clone().unwrap_or_else(|| reachable(listener, towards))
    }

    fn succession(&self) -> Succession {
        let halts = self.config.halts.clone();
        Succession::new(self.dir.path(), self.clock, self.incarnation, halts)
    }

    /// Makes this node the first member.
    async fn found(&self, home: &Home, address: &str) -> Result<NodeId, Error> {
        let failed = |what: String| Error::new(ErrorCode::Internal, what);
        let nobody = Peer { node: NodeId(0), incarnation: Incarnation(0) };
        let join = wire::Request::Join {
            token: wire::TokenHash([0; 32]),
            name: self.config.name.clone(),
            address: address.to_owned(),
        };
        // A start that was cut off after this one's answer finds itself in the list.
        let news = home.news().await.ok_or_else(|| failed("the registry ended".to_owned()))?;
        if let [only] = &news.members[..] {
            return Ok(only.peer.node);
        }
        match home.asked(nobody, join).await {
            Some(Reply::Joined(node)) => Ok(node),
            Some(Reply::Refused(refusal)) => Err(control::of_registry(&refusal)),
            other => Err(failed(format!("the registry answered {other:?}"))),
        }
    }

    fn remember(&self, place: &PlaceInCluster) -> Result<(), Error> {
        let Some(others) = &place.others else { return Ok(()) };
        let membership = Membership {
            node: place.node,
            name: self.config.name.clone(),
            registry: place.registry.node,
            registry_address: place.registry.address.clone(),
            term: place.registry.term,
            peers: place.peers.clone(),
            promised: place.promised,
            address: place.address.clone(),
            renew_at: others.renew_at,
        };
        self.dir.save_membership(&membership).map_err(Error::from)
    }
}

/// Puts the parts together and sets them going.
async fn assemble(
    config: Config,
    clock: Clock,
    dir: Arc<DataDir>,
    incarnation: Incarnation,
    engine: Engine,
    place: PlaceInCluster,
) -> Result<Handle, Error> {
    let me = Peer { node: place.node, incarnation };
    let roster = Roster::default();
    if place.here.is_none() {
        // The first news of who is a member comes over the home's own link, so the home is let in
        // on its certificate alone until then; and those who may know where that is, by now.
        let RegistryAt { node, address, .. } = place.registry.clone();
        let peers = place.peers.iter().filter(|(peer, _)| *peer != node).cloned();
        let known = peers.chain([(node, address)]).map(|(node, address)| wire::Member {
            peer: Peer { node, incarnation: Incarnation(0) },
            name: String::new(),
            address,
            standing: wire::MemberStanding::Joined,
            settled: Incarnation(0),
            fenced: false,
        });
        roster.set(&known.collect::<Vec<_>>());
    }
    let file = place.others.is_some().then(|| dir.file(MEMBERSHIP));
    let seat = Seat::new(place.registry, place.here, place.promised, file);
    let halts = config.halts.clone();
    let succession = Succession::new(dir.path(), clock, incarnation, halts);
    let identity = Identity::new(place.cluster, me);
    let dialer = match &place.others {
        Some(others) => {
            let tls = Tls::new(&others.credentials)
                .map_err(|error| Error::new(ErrorCode::Io, error.to_string()))?;
            Dialer::new(identity, roster.clone(), Some(tls), seat.clone())
        }
        None => Dialer::new(identity, roster.clone(), None, seat.clone()),
    };
    let (events, inbox) = mpsc::unbounded_channel();
    let events = Events(events);
    let (heard, hearing) = mpsc::channel(HEARD_MAX);
    // Letters have a thread to themselves: the driver and the message links take turns on it, so that a letter passes
    // from socket to process and back without another thread being woken in between.
    let letters = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let letters = letters.map_err(|error| Error::new(ErrorCode::Io, error.to_string()))?;
    let messages = Messages::new(dialer.clone(), letters.handle().clone());
    let arrivals = Arrivals::default();
    let caller = Caller::new(place.others.is_some().then(|| dialer.clone()));
    let codes = Codes::new(engine.clone(), caller.clone());
    let logbook = Logbook::new(dir.file("logs"));
    let chronicle = Chronicle::default();
    let (stop, _) = watch::channel(false);

    let checkpoints = Checkpoints::new(dir.file("durable"));
    let stored = load_stored(&checkpoints, &engine).await?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).expect("the system's generator answers");
    let machine = Machine::new(
        clock.now(),
        protocol::Config {
            me,
            name: config.name.clone(),
            address: if place.address.is_empty() { "-".to_owned() } else { place.address.clone() },
            rng: Rng::seeded(u64::from_le_bytes(seed)),
            stored: stored.iter().map(|stored| stored.section.clone()).collect(),
            fenced: config.fenced,
        },
    );
    let (first_news, has_news) = oneshot::channel();
    let driver = Driver::new(
        Parts {
            first_news,
            machine,
            me,
            name: config.name.clone(),
            clock,
            engine: engine.clone(),
            logbook: logbook.clone(),
            checkpoints: checkpoints.clone(),
            stored,
            labels: config.labels.clone(),
            roster: roster.clone(),
            seat: seat.clone(),
            messages: messages.clone(),
            bulk: Bulk::new(dialer.clone()),
            arrivals: arrivals.clone(),
            codes: codes.clone(),
            halts: config.halts.clone(),
            elsewhere: tokio::runtime::Handle::current(),
            chronicle: chronicle.clone(),
        },
        events.clone(),
    );

    let socket = dir.control_socket();
    let control_listener = bind_control(&socket)
        .map_err(|error| Error::new(ErrorCode::Io, format!("{}: {error}", socket.display())))?;
    let others = place.others.map(|Others { listener, credentials, renew_at }| {
        (listener, credentials.authority.to_vec(), renew_at)
    });
    let node = Arc::new(control::Node {
        me,
        name: config.name.clone(),
        address: place.address.clone(),
        data: dir.path().to_owned(),
        cluster: place.cluster,
        started: Instant::now(),
        events: events.clone(),
        engine: engine.clone(),
        caller,
        codes,
        roster,
        logbook,
        chronicle,
        seat: seat.clone(),
        succession,
        balancing: Balancing::new(me.node, config.labels, config.workers),
        authority: RwLock::new(others.as_ref().map(|(_, authority, _)| authority.clone())),
        filing: std::sync::Mutex::default(),
        emptying: tokio::sync::Mutex::default(),
        stop: stop.clone(),
    });

    let mut tasks = Vec::new();
    if let Some((listener, _, renew_at)) = others {
        let door = Door {
            dialer: dialer.clone(),
            seat: seat.clone(),
            messages,
            letters: letters.handle().clone(),
            heard: heard.clone(),
            arrivals,
            engine,
            checkpoints,
            events: events.clone(),
            members: control::members(node.clone()),
            joiners: join::router(node.clone()),
        };
        tasks.push(tokio::spawn(door.serve(listener)));
        let keeper = dir.clone();
        let renewed = move |credentials: Credentials, at| renewed(&keeper, &credentials, at);
        let use_it = move |tls| dialer.replace_tls(tls);
        tasks.push(tokio::spawn(join::keep_certified(node.clone(), renew_at, renewed, use_it)));
        tasks.push(tokio::spawn(node.clone().keep_seated(place.peers)));
        if !seat.is_here() && node.succession.is_left() {
            tasks.push(tokio::spawn(node.clone().see_it_taken()));
        }
    }
    tasks.push(tokio::spawn(node.clone().hand_logs_on()));
    if config.balances {
        tasks.push(tokio::spawn(node.clone().keep_balanced()));
    }
    tasks.push(tokio::spawn(control::serve(control_listener, control::operators(node))));

    let ready = Ready {
        name: config.name,
        node: me.node.0,
        incarnation: incarnation.0,
        cluster: crate::trust::cluster_text(place.cluster),
        address: place.address,
        data: dir.path().to_owned(),
        socket,
    };
    let life = Life { driver, inbox, hearing, _heard: heard, tasks, seat, dir };
    let life = live(letters, life.run(events, stop.subscribe()))?;
    // Whoever hears that a node is ready may ask who the members are. If the registry is silent the
    // node serves all the same: what runs elsewhere goes on, and what is asked here says so.
    let _ = tokio::time::timeout(NEWS_PATIENCE, has_news).await;
    Ok(Handle { ready, stop, life })
}

/// The images that an earlier incarnation has left.
async fn load_stored(checkpoints: &Checkpoints, engine: &Engine) -> Result<Vec<Stored>, Error> {
    let (checkpoints, engine) = (checkpoints.clone(), engine.clone());
    let loaded = tokio::task::spawn_blocking(move || checkpoints.load(&engine)).await;
    let of_io = |error: std::io::Error| {
        Error::new(ErrorCode::Io, format!("the images of durable processes: {error}"))
    };
    loaded.map_err(|error| of_io(error.into()))?.map_err(of_io)
}

/// Lives on a thread of its own, which carries this runtime.
fn live(
    runtime: Runtime,
    life: impl Future<Output = Ended> + Send + 'static,
) -> Result<JoinHandle<Ended>, Error> {
    let (ended, end) = oneshot::channel();
    let lives = move || {
        let _ = ended.send(runtime.block_on(life));
        // Somebody may still read or write an image, and is not waited for.
        runtime.shutdown_background();
    };
    std::thread::Builder::new()
        .name("letters".into())
        .spawn(lives)
        .map_err(|error| Error::new(ErrorCode::Io, error.to_string()))?;
    Ok(tokio::spawn(async move { end.await.unwrap_or(Ended::Stopped) }))
}

/// Everything that ends with the node.
struct Life {
    driver: Driver,
    inbox: mpsc::UnboundedReceiver<Event>,
    hearing: mpsc::Receiver<wire::Envelope>,
    /// A node without a door hears nothing, which is not the same as an end.
    _heard: mpsc::Sender<wire::Envelope>,
    tasks: Vec<JoinHandle<()>>,
    seat: Seat,
    dir: Arc<DataDir>,
}

impl Life {
    async fn run(self, events: Events, mut stop: watch::Receiver<bool>) -> Ended {
        let stopper = tokio::spawn(async move {
            let _ = stop.wait_for(|stop| *stop).await;
            events.send(Event::Stop);
        });
        let ended = self.driver.run(self.inbox, self.hearing).await;
        stopper.abort();
        for task in self.tasks {
            task.abort();
        }
        if let Some(home) = self.seat.home() {
            home.stop();
        }
        drop(self.dir);
        ended
    }
}

fn renewed(dir: &DataDir, credentials: &Credentials, at: u64) -> Result<Tls, String> {
    let tls = Tls::new(credentials).map_err(|error| error.to_string())?;
    credentials.save(dir).map_err(|error| error.to_string())?;
    change_membership(&dir.file(MEMBERSHIP), |membership| membership.renew_at = at)
        .map_err(|error| error.to_string())?;
    Ok(tls)
}

fn parse(token: &str) -> Result<Token, Error> {
    token.parse().map_err(|error: crate::trust::TokenError| {
        Error::new(ErrorCode::BadToken, error.to_string())
    })
}

/// Binds the address; for any free port, the one that this node had before if it is still free.
async fn bind(listen: SocketAddr, before: Option<SocketAddr>) -> Result<TcpListener, Error> {
    if let Some(before) = before
        && listen.port() == 0
        && let Ok(listener) = TcpListener::bind((listen.ip(), before.port())).await
    {
        return Ok(listener);
    }
    TcpListener::bind(listen).await.map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::AddrInUse => ErrorCode::AddressInUse,
            _ => ErrorCode::Io,
        };
        Error::new(code, format!("cannot listen on {listen}: {error}"))
    })
}

/// Where a listener can be reached.
fn reachable(listener: &TcpListener, towards: Option<IpAddr>) -> String {
    let local = listener.local_addr().expect("a bound socket has an address");
    if !local.ip().is_unspecified() {
        return local.to_string();
    }
    let ip = towards.or_else(outward).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    SocketAddr::new(ip, local.port()).to_string()
}

/// The address that this machine uses towards the world. Nothing is sent.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Binds the control socket, whatever the length of its path: the system's limit of 107 bytes does
/// not hold for a path through the directory's descriptor.
fn bind_control(socket: &Path) -> std::io::Result<UnixListener> {
    use std::os::fd::AsRawFd as _;

    let _ = std::fs::remove_file(socket);
    let (parent, name) = (socket.parent(), socket.file_name());
    let (Some(parent), Some(name)) = (parent, name) else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let dir = std::fs::File::open(parent)?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    let listener = UnixListener::bind(short)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
