//! A post office: runs the processes of a group, carries their messages, and moves them between
//! engines meanwhile.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::{
    Dir, Engine, Event, EventSink, Frozen, Outcome, Outgoing, Place, Process, Setup, Stamp, Status,
    Thaw, What,
};
use wire::{Epoch, GroupId, Offer, Pid, Share};

/// The group of all that are started here.
pub(crate) const GROUP: GroupId = GroupId(1);

/// One of them.
pub(crate) fn pid(index: u32) -> Pid {
    Pid { group: GROUP, index }
}

/// A program, and what it is started with.
pub(crate) type Program = (Vec<u8>, Setup);

/// The office.
pub(crate) struct Post<'a> {
    engines: &'a [Engine],
    members: Vec<Member>,
    sink: Sender<(usize, Event)>,
    events: Receiver<(usize, Event)>,
}

struct Member {
    process: Process,
    engine: usize,
    freezing: bool,
    /// What its inbox had no room for.
    waiting: VecDeque<(Pid, Share)>,
    ran: Ran,
}

/// What has come of a process.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) output: String,
    pub(crate) outcome: Outcome,
    pub(crate) moves: usize,
}

pub(crate) fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("it parses")
}

pub(crate) fn guest(name: &str) -> Vec<u8> {
    std::fs::read(programs::guest(name).expect("it builds")).expect("it was built")
}

pub(crate) fn args(args: &[&str]) -> Setup {
    Setup { args: args.iter().map(ToString::to_string).collect(), ..Setup::default() }
}

pub(crate) fn python(source: &str) -> Option<Program> {
    let program = programs::present()?.cpython();
    let dir = |dir: programs::Dir| Dir { host: dir.host, guest: dir.guest, read_only: true };
    let dirs = program.dirs.into_iter().map(dir).collect();
    let wasm = std::fs::read(program.wasm).expect("it is present");
    Some((wasm, Setup { dirs, env: program.env, ..args(&["python", "-c", source]) }))
}

impl<'a> Post<'a> {
    /// Starts a group on the first of the engines.
    pub(crate) fn start(engines: &'a [Engine], programs: Vec<Program>) -> Self {
        let (sink, events) = channel();
        let members = 0..programs.len() as u32;
        let codes: Vec<_> = programs
            .iter()
            .map(|(wasm, _)| {
                let codes = engines.iter().map(|engine| engine.prepare(wasm, &|_| {}));
                let codes: Vec<_> = codes.map(|code| code.expect("it compiles")).collect();
                codes.iter().for_each(|code| code.make_resumable().expect("it compiles"));
                codes[0].clone()
            })
            .collect();
        let mut post = Self { engines, members: vec![], sink, events };
        for ((index, (_, setup)), code) in (0..).zip(programs).zip(codes) {
            let setup = Setup { members: members.clone(), ..setup };
            let sink = post.sink(index as usize);
            let process = engines[0].start(pid(index), &code, setup, sink).expect("it starts");
            let ran = Ran { output: String::new(), outcome: Outcome::Killed, moves: 0 };
            let waiting = VecDeque::new();
            post.members.push(Member { process, engine: 0, freezing: false, waiting, ran });
        }
        post
    }

    fn sink(&self, index: usize) -> EventSink {
        let sender = Mutex::new(self.sink.clone());
        Arc::new(move |_, event| {
            // Whoever has seen enough has dropped the other end.
            let _ = sender.lock().expect("no panic").send((index, event));
        })
    }

    pub(crate) fn process(&self, index: usize) -> &Process {
        &self.members[index].process
    }

    /// What happens next; a test that waits longer than this for it fails.
    pub(crate) fn next(&self) -> (usize, Event) {
        self.events.recv_timeout(Duration::from_secs(60)).expect("an event")
    }

    pub(crate) fn try_next(&self) -> Option<(usize, Event)> {
        self.events.try_recv().ok()
    }

    /// How it ends.
    pub(crate) fn outcome(&self, index: usize) -> Outcome {
        loop {
            match self.next() {
                (at, Event::Ended(outcome)) if at == index => return outcome,
                _ => {}
            }
        }
    }

    /// Until it waits for that.
    pub(crate) fn waits(&self, index: usize, that: impl Fn(Status) -> bool) {
        while !that(self.process(index).stats().status) {
            std::thread::yield_now();
        }
    }

    /// Carries messages until all have ended. If `every` is not 0, a member that is drawn is moved
    /// after so many events.
    pub(crate) fn run(mut self, every: usize) -> Vec<Ran> {
        let mut random = Random::new();
        let (mut left, mut seen) = (self.members.len(), 0);
        while left > 0 {
            let (index, event) = self.next();
            left -= usize::from(matches!(event, Event::Ended(_)));
            self.on_event(index, event);
            seen += 1;
            if every != 0 && seen % every == 0 {
                let drawn = random.below(self.members.len());
                let member = &mut self.members[drawn];
                if !member.freezing {
                    member.freezing = true;
                    member.process.freeze();
                }
            }
        }
        self.members.into_iter().map(|member| member.ran).collect()
    }

    fn on_event(&mut self, index: usize, event: Event) {
        let member = &mut self.members[index];
        match event {
            Event::Output { bytes, offset, .. } => {
                member.ran.output.push_str(&String::from_utf8_lossy(&bytes));
                member.process.output_taken(offset + bytes.len() as u64);
            }
            Event::InputTaken { .. } => {}
            Event::Sent => {
                for message in sent(&member.process) {
                    let Pid { group, index: to } = message.to;
                    if group == GROUP && (to as usize) < self.members.len() {
                        let waiting = &mut self.members[to as usize].waiting;
                        waiting.push_back((pid(index as u32), message.bytes));
                        self.deliver(to as usize);
                    }
                }
            }
            Event::Took => {
                assert!(!member.process.took().is_empty());
                self.deliver(index);
            }
            Event::Frozen(frozen) => {
                member.freezing = false;
                let image = image(&frozen);
                drop(frozen);
                self.thaw(index, &image, false);
            }
            Event::Ended(outcome) => member.ran.outcome = outcome,
        }
    }

    fn deliver(&mut self, index: usize) {
        let Member { process, waiting, .. } = &mut self.members[index];
        while let Some((from, bytes)) = waiting.front() {
            if !process.deliver(*from, What::Message, bytes.clone()) {
                break;
            }
            waiting.pop_front();
        }
    }

    /// Its image; it is gone then.
    pub(crate) fn freeze(&self, index: usize) -> Vec<u8> {
        self.freeze_with(index, None)
    }

    /// The same, with a message that comes when it is frozen.
    pub(crate) fn freeze_with(&self, index: usize, message: Option<&[u8]>) -> Vec<u8> {
        self.process(index).freeze();
        loop {
            match self.next() {
                (at, Event::Frozen(frozen)) if at == index => {
                    let delivered = message.is_none_or(|bytes| {
                        self.process(index).deliver(pid(9), What::Message, bytes.into())
                    });
                    assert!(delivered, "there is room");
                    return image(&frozen);
                }
                (_, Event::Ended(outcome)) => panic!("{outcome}"),
                _ => {}
            }
        }
    }

    pub(crate) fn thaw(&mut self, index: usize, image: &[u8], hold: bool) {
        self.thaw_as(index, pid(index as u32), image, hold);
    }

    /// Thaws an image on the next engine.
    pub(crate) fn thaw_as(&mut self, index: usize, pid: Pid, image: &[u8], hold: bool) {
        let engine = (self.members[index].engine + 1) % self.engines.len();
        let mut thaw = Thaw::new(&self.engines[engine]);
        thaw.push(image).expect("it thaws");
        let staged = thaw.finish().expect("it is whole");
        let sink = self.sink(index);
        let process = staged.run(pid, Place::default(), hold, sink).expect("it runs");
        let member = &mut self.members[index];
        (member.process, member.engine) = (process, engine);
        member.ran.moves += 1;
        // There may be room for what there was none for.
        self.deliver(index);
    }

    pub(crate) fn migrate(&mut self, index: usize) {
        let image = self.freeze(index);
        self.thaw(index, &image, false);
    }
}

/// All that a process has sent.
pub(crate) fn sent(process: &Process) -> Vec<Outgoing> {
    let mut sent = vec![];
    process.carry(|message| {
        sent.push(message.clone());
        true
    });
    sent
}

fn image(frozen: &Frozen) -> Vec<u8> {
    let stamp = Stamp { node: "heron".into(), epoch: Epoch(1), offer: Offer(1) };
    let (mut image, mut piece) = (vec![], vec![]);
    let mut writer = frozen.image(stamp, vec![]);
    while writer.next(&mut piece).expect("it is frozen") {
        image.append(&mut piece);
    }
    image
}

/// Draws whom to move. Says its seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = time.map_or(1, |time| time.as_nanos() as u64) | 1;
        eprintln!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
