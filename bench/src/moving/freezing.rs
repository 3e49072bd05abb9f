//! Freezing and thawing without a network: how soon a process stops, and what it costs to go through a file.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use engine::{Code, Config, Engine, Event, EventSink, Frozen, Place, Process, Setup, Stamp, Thaw};
use wire::{Epoch, GroupId, Offer, Pid};

use crate::{program::Subject, report::Report, statistics::quantile};

const PID: Pid = Pid { group: GroupId(1), index: 0 };

/// How often each subject is stopped, for the time to its safepoint.
const STOPS: usize = 300;

/// How often each goes through a file.
const TRIPS: usize = 40;

/// Pieces that files are read in: as long as the pieces that images are written in.
const PIECE: usize = 1 << 19;

/// Pieces between two threads.
const PIECES_AHEAD: usize = 1;

/// Time from a request to the safepoint, over several programs in the middle of their work.
pub(super) fn safepoints(report: &mut Report, subjects: &[&Subject]) -> Result<(), String> {
    let engine = engine()?;
    let mut all = Vec::new();
    for subject in subjects {
        let mut running = Running::start(&engine, subject)?;
        running.until_ready(subject)?;
        let mut samples = Vec::new();
        for stop in 0..STOPS {
            // Not in step with anything that the program does.
            thread::sleep(Duration::from_micros(500 + 137 * (stop as u64 % 11)));
            let frozen = running.freeze()?;
            samples.extend(running.process.stats().safepoint);
            frozen.resume();
        }
        running.end();
        report.push(
            format!("{}/safepoint-p50-ms", subject.name),
            ms(quantile(&samples, 0.5)),
            "ms",
        );
        report.push(
            format!("{}/safepoint-p99-ms", subject.name),
            ms(quantile(&samples, 0.99)),
            "ms",
        );
        all.extend(samples);
    }
    report.push("safepoint-p99-ms", ms(quantile(&all, 0.99)), "ms");
    Ok(())
}

/// From the request to freeze, through a file, to the first word of the thawed process; beside it, in turn, the same
/// bytes written to a file and read back: into new memory, as a process that goes on needs them, and into one buffer
/// over and over.
pub(super) fn files(report: &mut Report, name: &str, subject: &Subject) -> Result<(), String> {
    let trips = through_files(&engine()?, subject)?;
    let (trip, plain) = (quantile(&trips.trip, 0.5), quantile(&trips.plain, 0.5));
    let thrown_away = quantile(&trips.thrown_away, 0.5);
    report.push(format!("freeze-thaw-{name}-ms"), ms(trip), "ms");
    report.push(format!("freeze-thaw-{name}-p99-ms"), ms(quantile(&trips.trip, 0.99)), "ms");
    report.push(format!("freeze-thaw-{name}-io-ms"), ms(plain), "ms");
    report.push(format!("freeze-thaw-{name}-io-thrown-away-ms"), ms(thrown_away), "ms");
    report.push(format!("freeze-thaw-{name}-bytes"), trips.bytes as f64, "bytes");
    // One millisecond is for everything that does not grow with the bytes.
    let beyond = trip.saturating_sub(Duration::from_millis(1));
    let ratio = |other: Duration| beyond.as_secs_f64() / other.as_secs_f64();
    report.push(format!("freeze-thaw-{name}-vs-io"), ratio(plain), "ratio");
    report.push(format!("freeze-thaw-{name}-vs-io-thrown-away"), ratio(thrown_away), "ratio");
    Ok(())
}

#[derive(Default)]
struct Trips {
    trip: Vec<Duration>,
    /// Written and read into new memory.
    plain: Vec<Duration>,
    /// Written and read into a buffer that is there already, one piece over the other.
    thrown_away: Vec<Duration>,
    bytes: u64,
}

fn through_files(engine: &Engine, subject: &Subject) -> Result<Trips, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = directory.path().join("image");
    let mut running = Running::start(engine, subject)?;
    running.until_ready(subject)?;
    let mut trips = Trips::default();
    for _ in 0..TRIPS {
        // Whoever freezes into a file makes a new one.
        let _ = std::fs::remove_file(&path);
        let begun = Instant::now();
        let frozen = running.freeze()?;
        trips.bytes = write(&frozen, &path)?;
        drop(frozen);
        running = read(engine, &path)?;
        running.first_word()?;
        trips.trip.push(begun.elapsed());
        trips.plain.push(plain(&path, true)?);
        trips.thrown_away.push(plain(&path, false)?);
    }
    running.end();
    Ok(trips)
}

/// Writes an image as a node does: one thread takes it out of the memory while another writes the file. What fits in
/// one piece needs no second thread.
fn write(frozen: &Frozen, path: &Path) -> Result<u64, String> {
    let said = |error: &dyn std::fmt::Display| format!("writing an image: {error}");
    let stamp = Stamp { node: "bench".to_owned(), epoch: Epoch(0), offer: Offer(0) };
    let mut image = frozen.image(stamp, Vec::new());
    let mut file = File::create(path).map_err(|error| said(&error))?;
    let mut piece = Vec::new();
    image.next(&mut piece).map_err(|error| said(&error))?;
    let mut bytes = piece.len() as u64;
    if piece.len() < PIECE {
        file.write_all(&piece).map_err(|error| said(&error))?;
        return Ok(bytes);
    }
    thread::scope(|scope| {
        let (filled, pieces) = sync_channel(PIECES_AHEAD);
        let (empties, emptied) = channel();
        let maker = scope.spawn(move || {
            loop {
                let mut piece: Vec<u8> = emptied.try_recv().unwrap_or_default();
                if !image.next(&mut piece)? || filled.send(piece).is_err() {
                    return Ok::<_, engine::WriteError>(());
                }
            }
        });
        file.write_all(&piece).map_err(|error| said(&error))?;
        for piece in pieces {
            file.write_all(&piece).map_err(|error| said(&error))?;
            bytes += piece.len() as u64;
            // The maker may have ended.
            let _ = empties.send(piece);
        }
        let made = maker.join().map_err(|_| said(&"a thread panicked"))?;
        made.map_err(|error| said(&error))?;
        Ok(bytes)
    })
}

/// Reads a file on one thread and puts what is in it into place on another.
fn read(engine: &Engine, path: &Path) -> Result<Running, String> {
    let said = |error: &dyn std::fmt::Display| format!("reading an image: {error}");
    let mut file = File::open(path).map_err(|error| said(&error))?;
    let mut thaw = Thaw::new(engine);
    let mut piece = vec![0; PIECE];
    let length = file.read(&mut piece).map_err(|error| said(&error))?;
    thaw.push(&piece[..length]).map_err(|error| said(&error))?;
    if length == PIECE {
        thread::scope(|scope| {
            let (filled, pieces) = sync_channel::<Vec<u8>>(PIECES_AHEAD);
            let (empties, emptied) = channel::<Vec<u8>>();
            let reader = scope.spawn(move || {
                loop {
                    let mut piece = emptied.try_recv().unwrap_or_default();
                    piece.resize(PIECE, 0);
                    let length = file.read(&mut piece)?;
                    piece.truncate(length);
                    if length == 0 || filled.send(piece).is_err() {
                        return Ok::<_, std::io::Error>(());
                    }
                }
            });
            for piece in pieces {
                thaw.push(&piece).map_err(|error| said(&error))?;
                let _ = empties.send(piece);
            }
            let read = reader.join().map_err(|_| said(&"a thread panicked"))?;
            read.map_err(|error| said(&error))
        })?;
    }
    let staged = thaw.finish().map_err(|error| said(&error))?;
    let (sink, events) = listen();
    let process = staged.run(PID, Place::default(), false, sink).map_err(|error| said(&error))?;
    Ok(Running { process, events })
}

/// Writes the image's own bytes (what a file system makes of their content is the same for both) to another file, and
/// reads them back: into new memory, or each piece over the one before it.
fn plain(path: &Path, keep: bool) -> Result<Duration, String> {
    let said = |error: std::io::Error| format!("{}: {error}", path.display());
    let content = std::fs::read(path).map_err(said)?;
    let copy = path.with_extension("plain");
    let _ = std::fs::remove_file(&copy);
    let mut buffer = vec![0; PIECE];
    let begun = Instant::now();
    let mut file = File::create(&copy).map_err(said)?;
    for piece in content.chunks(PIECE) {
        file.write_all(piece).map_err(said)?;
    }
    drop(file);
    if keep {
        let read = std::fs::read(&copy).map_err(said)?;
        let time = begun.elapsed();
        assert!(read == content, "a file holds what was written to it");
        return Ok(time);
    }
    let mut file = File::open(&copy).map_err(said)?;
    while file.read(&mut buffer).map_err(said)? != 0 {}
    Ok(begun.elapsed())
}

/// A process, and what it says.
struct Running {
    process: Process,
    events: Receiver<Event>,
}

impl Running {
    fn start(engine: &Engine, subject: &Subject) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| format!("{}: {error}", subject.name);
        let code: Arc<Code> =
            engine.prepare(&subject.wasm, &|_| {}).map_err(|error| said(&error))?;
        code.make_resumable().map_err(|error| said(&error))?;
        let setup = Setup {
            args: subject.args.clone(),
            env: subject.env.clone(),
            dirs: subject.dirs.clone(),
            ..Setup::default()
        };
        let (sink, events) = listen();
        let process = engine.start(PID, &code, setup, sink).map_err(|error| said(&error))?;
        Ok(Self { process, events })
    }

    /// Waits until it is in the middle of its work.
    fn until_ready(&mut self, subject: &Subject) -> Result<(), String> {
        let mut said = Vec::new();
        while !said.contains(&b'\n') {
            said.extend(self.output()?);
        }
        // Some have warmed up only after a while more.
        thread::sleep(subject.warm_up);
        Ok(())
    }

    /// Waits for something that it says now: what it said before is thrown away.
    fn first_word(&mut self) -> Result<(), String> {
        self.output().map(drop)
    }

    /// The next piece of output, acknowledged.
    fn output(&mut self) -> Result<Vec<u8>, String> {
        loop {
            match self.events.recv().map_err(|error| error.to_string())? {
                Event::Output { bytes, offset, .. } => {
                    self.process.output_taken(offset + bytes.len() as u64);
                    return Ok(bytes);
                }
                Event::Ended(outcome) => return Err(format!("it ended: {outcome}")),
                Event::Frozen(_) => return Err("it was frozen by nobody".to_owned()),
                Event::InputTaken { .. } | Event::Sent | Event::Took => {}
            }
        }
    }

    fn freeze(&mut self) -> Result<Frozen, String> {
        self.process.freeze();
        loop {
            match self.events.recv().map_err(|error| error.to_string())? {
                Event::Frozen(frozen) => return Ok(frozen),
                Event::Output { bytes, offset, .. } => {
                    self.process.output_taken(offset + bytes.len() as u64);
                }
                Event::Ended(outcome) => return Err(format!("it ended: {outcome}")),
                Event::InputTaken { .. } | Event::Sent | Event::Took => {}
            }
        }
    }

    fn end(self) {
        self.process.kill();
    }
}

fn engine() -> Result<Engine, String> {
    Engine::new(Config { workers: 1, ..Config::default() }).map_err(|error| error.to_string())
}

fn listen() -> (EventSink, Receiver<Event>) {
    let (sender, receiver) = channel();
    // Nobody listens to a process that was killed.
    (Arc::new(move |_, event| _ = sender.send(event)), receiver)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
