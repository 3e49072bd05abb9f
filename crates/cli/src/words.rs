//! What can be said, as clap parses it. The help texts here are docs/cli.md's source.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::units;

const LOCATE_HELP: &str = "How messages find the processes of the group when they move, a question of cost alone: \
    directory, update, forwarding, mailbox[@NODE], mailbox-pull[@NODE], or whichever is cheapest: adaptive";

/// Runs programs that move: a running WebAssembly program goes on, in mid-loop, on another machine.
#[derive(Debug, Parser)]
#[command(name = "whimbrel", version, about, max_term_width = 100)]
#[command(after_help = "\
Examples:
  whimbrel demo                          a running Python, moved around three nodes
  whimbrel run app.wasm -- arg           run a program here
  whimbrel move k3x9 --to osprey         the same process, still running, there
  whimbrel drain heron                   every process leaves heron

Exit codes: `run` and `thaw` exit as the program does; see docs/cli.md for all others.")]
pub struct Words {
    /// The daemon to ask: its name, its data directory or socket; else this user's only running one
    #[arg(long, global = true, env = "WHIMBREL_NODE", value_name = "NAME|PATH|HOST:PORT")]
    pub node: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub word: Word,
}

/// One word.
#[derive(Debug, Subcommand)]
pub enum Word {
    /// Run a program; without a daemon, in this very process
    Run(Run),
    /// List the processes of the cluster
    Ps(Ps),
    /// Show all that is known of a process, or the address table of a group
    Inspect(Inspect),
    /// Show what a process wrote, wherever it runs
    Logs(Logs),
    /// Move a running process to another node
    Move(Move),
    /// Send a message to a process
    Send(Send),
    /// Move every process away from a node
    Drain(Drain),
    /// Even out the load: move processes from full nodes to emptier ones
    Rebalance(Rebalance),
    /// Change how messages find a process, or those of a group, when they move
    Locate(Locate),
    /// End a process, or a whole group
    Kill(Kill),
    /// Move a process into a file
    Freeze(Freeze),
    /// Run the process in a file: once the same one, else a new one
    Thaw(Thaw),
    /// Look into images
    Image {
        /// What to do.
        #[command(subcommand)]
        word: ImageWord,
    },
    /// Make a program freezable, as `run` does by itself
    Transform(Transform),
    /// Show what happens: moves, decisions, members; of traced groups each message
    Events(Events),
    /// Draw what happens in a group as a sequence diagram
    Trace(Trace),
    /// List the members of the cluster
    Nodes(Nodes),
    /// Start, stop, show and forget daemons
    Node {
        /// What to do.
        #[command(subcommand)]
        word: NodeWord,
    },
    /// Hand the registry on to another member, or make it anew
    Registry {
        /// What to do.
        #[command(subcommand)]
        word: RegistryWord,
    },
    /// Make tokens for joining
    Token {
        /// What to do.
        #[command(subcommand)]
        word: TokenWord,
    },
    /// Show how the daemon, the cluster and its registry are
    Status(Status),
    /// See a running Python move around three nodes, its output unharmed
    Demo(Demo),
    /// Print completions for a shell
    Completions(Completions),
    /// Print the release, and that of the daemon
    Version(Version),
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: the API's own types.
    Json,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Printing {
    /// How to print
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORM")]
    pub format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel run app.wasm -- --port 80
  whimbrel run -d --name web --memory 256M app.wasm
  whimbrel run --dir ./data::/data:ro --env LANG=C --on osprey app.wasm
  whimbrel run ping.wasm 100 '||' pong.wasm      a group of two
  whimbrel run --together a.wasm '||' b.wasm     both end when one of them fails
  whimbrel run -d --durable --checkpoint 2s app.wasm   goes on after a crash of its node
  whimbrel run -d --count 10000 idle.wasm        a group of ten thousand
  whimbrel run --allow-send web client.wasm      it may send to the group of `web`

Programs that `||` separates are one group: its members 0, 1, 2 in this order, which may send
messages to each other. The first has standard input, and the name.

With --together, one that exits with another code than 0, traps, reaches a limit or is killed
takes all others of its group with it, wherever they are. One lost with its node takes nobody.

With --durable, a process begins another life from its newest image when its node is back after a
crash or a stop. What it did since that image is not undone: it may do it again. Those that wrote to
it or watch it are told that it has restarted.

The exit code is the program's; 134 after a trap, 137 if it was killed or reached a limit.
Ctrl-C ends the process; pressed twice, it leaves at once.")]
pub struct Run {
    /// Return at once, and print the id
    #[arg(short, long)]
    pub detach: bool,
    /// Start it on this node
    #[arg(long, value_name = "NODE")]
    pub on: Option<String>,
    /// Name the process
    #[arg(long)]
    pub name: Option<String>,
    /// Let it reach a directory
    #[arg(long = "dir", value_name = "HOST::GUEST[:ro]", value_parser = parse_dir)]
    pub dirs: Vec<api::Dir>,
    /// Set a variable of its environment; without a value, to the one it has here
    #[arg(long = "env", value_name = "K=V", value_parser = parse_variable)]
    pub env: Vec<(String, String)>,
    /// The most memory it may have
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    pub memory: Option<u64>,
    /// How messages find the processes of the group when they move
    #[arg(long, value_name = "STRATEGY", default_value_t, help = LOCATE_HELP)]
    pub locate: api::Locate,
    /// How often a mailbox that keeps messages is asked for them, in milliseconds
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub poll: Option<u32>,
    /// Where messages wait that come to a process while it moves
    #[arg(long, value_name = "WHERE", default_value = "sender-keeps")]
    pub in_transit: InTransit,
    /// End the whole group as soon as one of its processes fails
    #[arg(long)]
    pub together: bool,
    /// Keep an image of each on its node's disk: should the node crash, it begins anew from there when that is back
    #[arg(long)]
    pub durable: bool,
    /// How often that image is written [default: 10s]
    #[arg(long, value_name = "TIME", requires = "durable", value_parser = parse_checkpoint)]
    pub checkpoint: Option<u32>,
    /// Only on nodes with this label; no move takes it to another
    #[arg(long, value_name = "K=V", value_parser = parse_label)]
    pub pin: Vec<String>,
    /// Never on nodes with this label
    #[arg(long, value_name = "K=V", value_parser = parse_label)]
    pub avoid: Vec<String>,
    /// Rather on nodes with this label, when the load is evened out
    #[arg(long, value_name = "K=V", value_parser = parse_label)]
    pub affinity: Vec<String>,
    /// Let its processes send to another group: by its id, the name of a process in it, or all of them
    #[arg(long, value_name = "NAME|GROUP|*")]
    pub allow_send: Vec<String>,
    /// Record what becomes of the group's messages, for `whimbrel events` and `whimbrel trace`
    #[arg(long)]
    pub trace: bool,
    /// Let unknown WASI functions answer ENOSYS; a daemon must allow it too
    #[arg(long)]
    pub stub_missing: bool,
    /// Start the program so often, as one group; of several programs, the last
    #[arg(long, value_name = "N", default_value_t = 1, requires = "detach",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    #[command(flatten)]
    pub printing: Printing,
    /// The program: a WebAssembly module, binary
    #[arg(value_name = "PROG")]
    pub program: PathBuf,
    /// Its arguments; after `||` another program of the same group, and that one's arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

/// Where messages wait that come to a process while it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InTransit {
    /// With their sender, which repeats them
    SenderKeeps,
    /// With their sender, which cannot send more to that process meanwhile
    SenderBlocks,
    /// With the node that they have come to, which passes them on
    NodeKeeps,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel ps
  whimbrel ps --all -o json")]
pub struct Ps {
    /// Ended processes too, as far as they are remembered
    #[arg(short, long)]
    pub all: bool,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel inspect k3x9.0      a process
  whimbrel inspect k3x9        a group, if it has several processes")]
pub struct Inspect {
    /// An id, the beginning of one, or a name
    #[arg(value_name = "PID|GROUP")]
    pub process: String,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel logs web
  whimbrel logs -f k3x9")]
pub struct Logs {
    /// Go on until the process ends
    #[arg(short, long)]
    pub follow: bool,
    /// An id, the beginning of one, or a name
    #[arg(value_name = "PID")]
    pub process: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel move k3x9.0 --to osprey
  whimbrel move web --to osprey -o json
  whimbrel move k3x9 --to osprey         all processes of the group, or none")]
pub struct Move {
    /// An id, the beginning of one, or a name; or a group, whose processes move together or not at all
    #[arg(value_name = "PID|GROUP")]
    pub process: String,
    /// Where to
    #[arg(long, value_name = "NODE")]
    pub to: String,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel send k3x9.0 hello
  whimbrel send web - < request.json

The command ends when the message is in the process's inbox, wherever that is by then: once, after
all that was sent to it from this daemon before. If it says that no acknowledgement came, the message
may still arrive, once. A process that reads nothing takes 256 KiB from here.")]
pub struct Send {
    /// An id, the beginning of one, or a name
    #[arg(value_name = "PID")]
    pub process: String,
    /// The message, at most 1 MiB; `-` is what standard input has
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    pub text: String,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel drain heron --plan      say what would leave, and what cannot
  whimbrel drain heron             do it; then the machine may be erased

Exits with 75 if something stayed.")]
pub struct Drain {
    /// The node to empty
    #[arg(value_name = "NODE")]
    pub target: String,
    /// Only say what would be done
    #[arg(long)]
    pub plan: bool,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel rebalance --plan      say how full the nodes are, and what would move where
  whimbrel rebalance             do it

How full a node is: by what its processes would use of its processors if none had to wait, or by
their memory, whichever is more. Processes that talk to each other are brought together if there
is room. `--pin` and `--avoid` of `run` are kept; `node start --balance` does it by itself.

Exits with 75 if something stayed.")]
pub struct Rebalance {
    /// Only say what would be done
    #[arg(long)]
    pub plan: bool,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel locate k3x9 forwarding            a whole group
  whimbrel locate k3x9 mailbox@heron
  whimbrel locate k3x9.1 adaptive            one process

Nothing stops and nothing is lost meanwhile. What each strategy costs: docs/protocol.md.")]
pub struct Locate {
    /// An id, the beginning of one, or a name
    #[arg(value_name = "PID|GROUP")]
    pub target: String,
    #[arg(value_name = "STRATEGY", help = LOCATE_HELP)]
    pub locate: api::Locate,
    /// How often a mailbox that keeps messages is asked for them, in milliseconds
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub poll: Option<u32>,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel kill k3x9.1      a process
  whimbrel kill k3x9        a whole group, wherever its processes are")]
pub struct Kill {
    /// An id, the beginning of one, or a name
    #[arg(value_name = "PID|GROUP")]
    pub target: String,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel freeze web -o web.image            the process now is in the file
  whimbrel freeze web -o web.image --copy     it runs on; the file holds another one

The file is complete and on disk before the process leaves its node.")]
pub struct Freeze {
    /// An id, the beginning of one, or a name
    #[arg(value_name = "PID")]
    pub process: String,
    /// The file to write; it must not be there yet
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub file: PathBuf,
    /// Let the process run on
    #[arg(long)]
    pub copy: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel thaw web.image
  whimbrel thaw -d --new web.image

The exit code is the program's, as of `run`.")]
pub struct Thaw {
    /// Return at once, and print the id
    #[arg(short, long)]
    pub detach: bool,
    /// Make a new process in any case
    #[arg(long)]
    pub new: bool,
    /// Let unknown WASI functions answer ENOSYS; a daemon must allow it too
    #[arg(long)]
    pub stub_missing: bool,
    /// The image
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum ImageWord {
    /// Show an image's sections, sizes and stack; its code is not needed
    #[command(after_help = "\
Examples:
  whimbrel image show web.image")]
    Show {
        /// The image
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        printing: Printing,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel transform app.wasm -o app.freezable.wasm --report")]
pub struct Transform {
    /// The program: a WebAssembly module, binary
    #[arg(value_name = "IN")]
    pub file: PathBuf,
    /// The file to write: the form that runs from the start, and can stop anywhere
    #[arg(short = 'o', long = "output", value_name = "OUT")]
    pub output: PathBuf,
    /// Write the form that goes on from where the other stopped
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Write the table of safepoints and frame layouts
    #[arg(long, value_name = "FILE")]
    pub sites: Option<PathBuf>,
    /// Print what was done: sites, sizes, costs
    #[arg(long)]
    pub report: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel events                     what the nodes remember, in the order of causes
  whimbrel events -f k3x9             a group's, and what comes
  whimbrel events --on osprey -o json

Each node remembers moves, decisions of adaptive processes, beginnings and ends of processes, and members. Of messages it
remembers those of groups that are traced: `whimbrel trace GROUP`, or `whimbrel run --trace`.")]
pub struct Events {
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Those of one node
    #[arg(long, value_name = "NODE")]
    pub on: Option<String>,
    /// Those of a process or a group: an id, the beginning of one, or a name
    #[arg(value_name = "PID|GROUP")]
    pub of: Option<String>,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel trace k3x9                 what is remembered of the group, as text
  whimbrel trace k3x9 --follow        and what comes
  whimbrel trace k3x9 --svg a.svg     as a picture
  whimbrel trace k3x9 --off           record its messages no longer

From the first `trace` on, every node records what becomes of the group's messages; `run --trace` begins with the
group. What a message has caused stands below it, whatever the clocks of the nodes say.")]
pub struct Trace {
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Write the diagram to this file; with `--follow`, again and again
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Show acknowledgements and every step, too
    #[arg(long)]
    pub all: bool,
    /// How many rows to draw: the last ones
    #[arg(long, value_name = "N", default_value_t = 400,
          value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub last: u32,
    /// Record its messages no longer
    #[arg(long, conflicts_with_all = ["follow", "svg"])]
    pub off: bool,
    /// The group: its id, the beginning of one, or the name of a process in it
    #[arg(value_name = "GROUP")]
    pub group: String,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel nodes
  whimbrel nodes -o json")]
pub struct Nodes {
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Subcommand)]
pub enum NodeWord {
    /// Start a daemon
    Start(NodeStartArgs),
    /// Stop a daemon
    #[command(after_help = "\
Examples:
  whimbrel node stop heron
  whimbrel node stop heron --force      and its processes with it

A daemon that still has processes refuses; `whimbrel drain` empties it.")]
    Stop {
        /// The daemon; else that of `--node`
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Even if processes end with it
        #[arg(long)]
        force: bool,
    },
    /// Show how a daemon is
    #[command(after_help = "\
Examples:
  whimbrel node status heron")]
    Status {
        /// The daemon; else that of `--node`
        #[arg(value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        printing: Printing,
    },
    /// Declare a node gone; only if that machine is off
    #[command(after_help = "\
Examples:
  whimbrel node forget heron

What ran there is reported lost, its names are free, and it may not come back with the same data.
If the machine still runs, its processes are ended when it is told.")]
    Forget {
        /// The node that is gone
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        printing: Printing,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel node start                                        in the foreground
  whimbrel node start -d --name heron --listen 0.0.0.0:7700
  whimbrel node start -d --name osprey --join heron.example:7700 --token T

`--fence` decides what becomes of a node that nobody hears: it ends all its processes when it has not
heard of the registry for 4 s, and 3 s later the others take it as gone: what it ran is lost, and who
watches it is told so, without `node forget`. The registry is on one node yet: while that is off
every fenced node ends. So `--force` has to be said as well.

`whimbrel token create` on a member makes the token.")]
pub struct NodeStartArgs {
    /// Its name, unique in the cluster; else the machine's
    #[arg(long)]
    pub name: Option<String>,
    /// Where it listens for other nodes
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: String,
    /// What other nodes are told to call, if that is another address: behind a relay, say
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// A member of the cluster to join
    #[arg(long, value_name = "HOST:PORT", requires = "token")]
    pub join: Option<String>,
    /// The token to join with
    #[arg(long, value_name = "T", requires = "join")]
    pub token: Option<String>,
    /// Where it keeps what it keeps; else $XDG_STATE_HOME/whimbrel/NAME
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Let unknown WASI functions of programs answer ENOSYS
    #[arg(long)]
    pub stub_missing: bool,
    /// A label, for `run --pin`, `--avoid` and `--affinity`
    #[arg(long, value_name = "K=V", value_parser = parse_label)]
    pub label: Vec<String>,
    /// Look every few seconds for a process that would be better off elsewhere, and move it there
    #[arg(long)]
    pub balance: bool,
    /// End everything here when the registry is not heard of for 4 s, so that others need not wait
    #[arg(long)]
    pub fence: bool,
    /// Take `--fence` for good though the registry is on one node
    #[arg(long, requires = "fence")]
    pub force: bool,
    /// Return when it is ready
    #[arg(short, long)]
    pub detach: bool,
    /// What `--detach` starts: leave the terminal
    #[arg(long, hide = true)]
    pub detached: bool,
    /// What a demonstration starts: end when the command that started it does, however it ends
    #[arg(long, hide = true)]
    pub with_parent: bool,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Subcommand)]
pub enum RegistryWord {
    /// Hand it on: questions wait for a moment, processes run on
    Move(RegistryMove),
    /// Make it anew from what the members know, when its home is lost for good
    Rebuild(RegistryRebuild),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel registry move --to osprey

`whimbrel status` says where it is. `whimbrel drain` of its home hands it on first.")]
pub struct RegistryMove {
    /// The member that is to have it
    #[arg(long, value_name = "NODE")]
    pub to: String,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel registry rebuild --forget heron
  whimbrel registry rebuild --forget heron --key backup/ca.key

The registry is at this node then. All members that are not forgotten must answer. What the others had is lost:
forget only machines that are off. Processes in files start as new ones. Without the key no node
can join and no certificate is renewed.")]
pub struct RegistryRebuild {
    /// A member that will not come back: the registry's home, and whoever does not answer
    #[arg(long, value_name = "NODE", required = true)]
    pub forget: Vec<String>,
    /// A copy of the file `ca.key` of the last home
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Subcommand)]
pub enum TokenWord {
    /// Make a token: good for one join, within an hour
    Create(TokenCreate),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel token create --for 5m
  whimbrel node start --join HOST:PORT --token $(whimbrel token create --quiet)")]
pub struct TokenCreate {
    /// Print the token alone
    #[arg(short, long)]
    pub quiet: bool,
    /// How long it is good for; at most an hour
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = token_life)]
    pub valid: u64,
    #[command(flatten)]
    pub printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel status
  whimbrel status --node heron -o json")]
pub struct Status {
    #[command(flatten)]
    pub printing: Printing,
}

/// How to show the demonstration.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel demo
  whimbrel demo --digits 2000 --every 50
  whimbrel demo --bundled

Starts three daemons on this machine, moves a program that prints digits of π from one to the next,
and compares what it printed with a run that was not moved. Everything it starts ends with it.")]
pub struct Demo {
    /// How many digits of π to compute; else as many as take some seconds
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub digits: Option<u32>,
    /// How long it stays on each node, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub every: u64,
    /// Use the Rust program inside this binary instead of CPython, which npm fetches
    #[arg(long)]
    pub bundled: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel completions bash > ~/.local/share/bash-completion/completions/whimbrel")]
pub struct Completions {
    /// Which shell
    pub shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  whimbrel version
  whimbrel version -o json")]
pub struct Version {
    #[command(flatten)]
    pub printing: Printing,
}

impl Words {
    /// How this word prints: errors take the same form.
    pub fn format(&self) -> Format {
        let printing = match &self.word {
            Word::Ps(word) => word.printing,
            Word::Inspect(word) => word.printing,
            Word::Move(word) => word.printing,
            Word::Send(word) => word.printing,
            Word::Drain(word) => word.printing,
            Word::Rebalance(word) => word.printing,
            Word::Locate(word) => word.printing,
            Word::Kill(word) => word.printing,
            Word::Image { word: ImageWord::Show { printing, .. } } => *printing,
            Word::Events(word) => word.printing,
            Word::Trace(word) => word.printing,
            Word::Nodes(word) => word.printing,
            Word::Node { word } => match word {
                NodeWord::Start(word) => word.printing,
                NodeWord::Status { printing, .. } | NodeWord::Forget { printing, .. } => *printing,
                NodeWord::Stop { .. } => Printing::default(),
            },
            Word::Registry { word: RegistryWord::Move(word) } => word.printing,
            Word::Registry { word: RegistryWord::Rebuild(word) } => word.printing,
            Word::Token { word: TokenWord::Create(word) } => word.printing,
            Word::Status(word) => word.printing,
            Word::Version(word) => word.printing,
            Word::Run(_)
            | Word::Logs(_)
            | Word::Freeze(_)
            | Word::Thaw(_)
            | Word::Transform(_)
            | Word::Demo(_)
            | Word::Completions(_) => Printing::default(),
        };
        printing.format
    }
}

/// Prints the completions of all words.
pub(crate) fn completions(shell: Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Words::command(), "whimbrel", &mut script);
    crate::say::out(String::from_utf8_lossy(&script).trim_end());
    0
}

/// `HOST::GUEST[:ro]`; a lone `HOST[:ro]` is seen under the same path.
fn parse_dir(text: &str) -> Result<api::Dir, String> {
    let (text, read_only) = match text.strip_suffix(":ro") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err("expected HOST::GUEST, as in ./data::/data".to_owned());
    }
    // A process is bound to the same path wherever it goes, so the path must not depend on ours.
    let host = std::path::absolute(host).map_err(|error| error.to_string())?;
    let host = host.into_os_string().into_string().map_err(|_| "not UTF-8".to_owned())?;
    Ok(api::Dir { host, guest: guest.to_owned(), read_only })
}

/// What processes and nodes are matched by.
fn parse_label(text: &str) -> Result<String, String> {
    let known = |char: char| char.is_ascii_alphanumeric() || "-_./".contains(char);
    let word = |word: &str| !word.is_empty() && word.chars().all(known);
    match text.split_once('=') {
        Some((key, value)) if word(key) && word(value) && text.len() <= 128 => Ok(text.to_owned()),
        _ => Err("expected K=V of letters, digits, `-`, `_`, `.` and `/`, as in zone=b".to_owned()),
    }
}

fn parse_checkpoint(text: &str) -> Result<u32, String> {
    match u32::try_from(units::parse_millis(text)?) {
        Ok(millis @ 100..=86_400_000) => Ok(millis),
        _ => Err("from 100ms to 24h".to_owned()),
    }
}

fn token_life(text: &str) -> Result<u64, String> {
    let life = units::parse_millis(text)?;
    match life <= api::TokenRequest::VALID_MS_MAX {
        true => Ok(life),
        false => Err("at most 1h".to_owned()),
    }
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => (text, std::env::var(text).map_err(|_| format!("`{text}` is not set here"))?),
    };
    if name.is_empty() {
        return Err("expected NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Words, clap::Error> {
        Words::try_parse_from(line.split(' '))
    }

    #[test]
    fn clap_finds_no_fault() {
        Words::command().debug_assert();
    }

    #[test]
    fn arguments_after_the_program_are_the_programs() {
        for line in ["whimbrel run -d a.wasm -- -x 1", "whimbrel run -d a.wasm -x 1"] {
            let Word::Run(run) = parse(line).unwrap().word else { panic!("{line}") };
            assert!(run.detach);
            assert_eq!(run.args, ["-x", "1"], "{line}");
        }
    }

    #[test]
    fn a_directory_is_absolute_and_may_be_read_only() {
        let dir = parse_dir("/a/b::/data:ro").unwrap();
        assert_eq!((&*dir.host, &*dir.guest, dir.read_only), ("/a/b", "/data", true));
        let dir = parse_dir("data").unwrap();
        assert!(dir.host.starts_with('/') && dir.host.ends_with("/data"), "{}", dir.host);
        assert_eq!((&*dir.guest, dir.read_only), ("data", false));
        assert!(parse_dir("::/data").is_err());
    }

    #[test]
    fn a_variable_has_a_name() {
        assert_eq!(parse_variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(parse_variable("=b").is_err());
        assert!(parse_variable("WHIMBREL_TEST_UNSET").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "whimbrel",
            "whimbrel fly",
            "whimbrel move k3x9",
            "whimbrel run --memory much a.wasm",
            "whimbrel node start --join a:1",
            "whimbrel demo --digits 1",
            "whimbrel ps -o yaml",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn every_word_has_examples() {
        fn visit(command: &clap::Command) {
            if command.has_subcommands() {
                command.get_subcommands().for_each(visit);
            } else {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:"), "{}", command.get_name());
            }
        }
        Words::command().get_subcommands().for_each(visit);
    }
}
