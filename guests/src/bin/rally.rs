//! Measures what messages between two processes cost: the first member of a group asks, the second answers.
//!
//! Arguments of the first: the name of the node on which the second is to be when the measuring starts, how long a
//! message is, how many of them go to and fro, and for how many milliseconds they then go one way as fast as they are
//! taken. It prints `ready` at once, and at the end one line: the median and the 99th percentile of a round trip, how
//! many went one way, and how long that took until the other had said that it has got them all; times are in
//! nanoseconds. An answer that is not due ends it with code 1.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use guest::Pid;
use guests::argument;

/// What the first byte of a message asks for.
mod ask {
    /// To be sent back.
    pub const BACK: u8 = 0;
    /// To be counted.
    pub const COUNT: u8 = 1;
    /// How many have been counted.
    pub const SUM: u8 = 2;
    /// On which node it is.
    pub const WHERE: u8 = 3;
    /// To end.
    pub const END: u8 = 4;
}

/// The clock is looked at when so many have been sent.
const STRETCH: u64 = 256;

/// What part of all is not measured, and comes first.
const WARM_UP: u32 = 4;

fn main() -> ExitCode {
    let (this, group) = (guest::this(), guest::group());
    if this != group[0] {
        answer();
        return ExitCode::SUCCESS;
    }
    println!("ready");
    let (node, length): (String, usize) = (argument(0, guest::node()), argument(1, 64));
    let (trips, millis): (u32, u64) = (argument(2, 1_000), argument(3, 1_000));
    let mut asker = Asker { to: group[1], message: vec![0; length.max(8)], got: Vec::new() };
    while asker.ask(ask::WHERE) != node.as_bytes() {}
    asker.trips(trips / WARM_UP);
    let mut trips = asker.trips(trips);
    trips.sort_unstable();
    let time = Duration::from_millis(millis);
    let rushed = asker.rush(time / WARM_UP).and_then(|_| asker.rush(time));
    guest::send(group[1], &[ask::END]).expect("it is of the group");
    let Some((count, took)) = rushed else {
        eprintln!("not all of them have arrived");
        return ExitCode::FAILURE;
    };
    let at = |share: usize| trips[(trips.len() - 1) * share / 100].as_nanos();
    println!("{} {} {count} {}", at(50), at(99), took.as_nanos());
    ExitCode::SUCCESS
}

struct Asker {
    to: Pid,
    message: Vec<u8>,
    got: Vec<u8>,
}

impl Asker {
    fn ask(&mut self, what: u8) -> &[u8] {
        self.message[0] = what;
        guest::send(self.to, &self.message).expect("it is of the group");
        guest::receive_into(&mut self.got);
        &self.got
    }

    /// How long each of so many round trips takes.
    fn trips(&mut self, count: u32) -> Vec<Duration> {
        let trip = |_| {
            let begun = Instant::now();
            self.ask(ask::BACK);
            begun.elapsed()
        };
        (0..count.max(1)).map(trip).collect()
    }

    /// Sends for so long, and waits until all have arrived: how many, and how long both took. `None` if as many have
    /// not arrived.
    fn rush(&mut self, time: Duration) -> Option<(u64, Duration)> {
        self.message[0] = ask::COUNT;
        let (begun, mut count) = (Instant::now(), 0);
        while begun.elapsed() < time {
            for _ in 0..STRETCH {
                guest::send(self.to, &self.message).expect("it is of the group");
            }
            count += STRETCH;
        }
        let all = self.ask(ask::SUM) == count.to_le_bytes();
        all.then(|| (count, begun.elapsed()))
    }
}

fn answer() {
    let (mut bytes, mut counted) = (Vec::new(), 0_u64);
    loop {
        let (from, _) = guest::receive_into(&mut bytes);
        match bytes.first() {
            Some(&ask::BACK) => guest::send(from, &bytes).expect("its sender may be answered"),
            Some(&ask::COUNT) => counted += 1,
            Some(&ask::SUM) => {
                guest::send(from, &counted.to_le_bytes()).expect("its sender may be answered");
                counted = 0;
            }
            Some(&ask::WHERE) => {
                let node = guest::node();
                guest::send(from, node.as_bytes()).expect("its sender may be answered");
            }
            _ => return,
        }
    }
}
