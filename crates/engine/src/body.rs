//! A process as it is handed from one worker to the next, or to an image: its memory, and either an
//! instance or what is left of one.
//!
//! ```text
//!   begun ──▶ in a room, with an instance ◀──▶ in a room, bare ──▶ frozen, resumed, written
//!                          ▲                          │
//!                          └───── rouse ◀── packed ◀──┘ pack
//! ```

use std::io;
use std::sync::Arc;

use crate::cache::Form;
use crate::code::Code;
use crate::host::{Host, Outside, World};
use crate::instance::{Broken, Instance, Phase, Stop, Values, outcome};
use crate::packed::Packed;
use crate::raw::{Budget, Control};
use crate::room::Room;
use crate::wasi::Wasi;
use crate::{Outcome, StartError, Wait};
use wire::Pid;

/// A process with more linear memory than this is not put to sleep.
const SLEEP_BYTES_MAX: u64 = 16 << 20;

/// Everything of a process but its handles. Whoever has it, has the process.
pub(crate) struct Body {
    pub(crate) code: Arc<Code>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) phase: Phase,
    /// Whether there are frames to go on from. If not, the entry point has not been entered yet.
    pub(crate) frames: bool,
    keep: Keep,
    seat: Seat,
}

/// Where a process's memory is.
pub(crate) enum Keep {
    /// Nowhere yet: it has not begun.
    Unmade,
    /// In mappings, where it can run.
    Room(Room),
    /// In few bytes: it sleeps.
    Packed(Packed),
}

/// Where a process's state is besides its memories.
enum Seat {
    /// In an instance.
    Instance(Box<Instance>),
    /// Taken out of one, or not put into one yet.
    Bare(Box<Host>, Values),
    /// Nowhere: the instance could not be made, and the process is over.
    Gone,
}

impl Body {
    /// A process at its beginning: no memory, and no instance before it runs.
    pub(crate) fn start(
        pid: Pid,
        code: &Arc<Code>,
        wasi: Wasi,
        outside: Arc<Outside>,
        memory_max: Option<u64>,
    ) -> Result<Self, StartError> {
        let needed = code.layout().guest_bytes_min();
        if let Some(limit) = memory_max.filter(|limit| *limit < needed) {
            return Err(StartError::Memory { needed, limit });
        }
        let world = World::new(pid, code.clone(), outside);
        Ok(Self {
            code: code.clone(),
            budget: Budget::new(memory_max),
            phase: Phase::Start,
            frames: false,
            keep: Keep::Unmade,
            seat: Seat::Bare(Box::new(host(wasi, world)), Values::default()),
        })
    }

    /// A process that goes on from its frames.
    pub(crate) fn thawed(pid: Pid, parts: Parts, wasi: Wasi, outside: Arc<Outside>) -> Self {
        let Parts { code, room, budget, phase, values } = parts;
        let world = World::new(pid, code.clone(), outside);
        let seat = Seat::Bare(Box::new(host(wasi, world)), values);
        Self { code, budget, phase, frames: true, keep: Keep::Room(room), seat }
    }

    /// Runs until the program unwinds or ends. It has been roused.
    pub(crate) fn run(&mut self) -> (Stop, Option<Wait>) {
        self.try_run()
            .unwrap_or_else(|broken| (Stop::Ended(Outcome::Fault(format!("{broken:#}"))), None))
    }

    fn try_run(&mut self) -> Result<(Stop, Option<Wait>), Broken> {
        loop {
            if let Some(ended) = self.seat_instance()? {
                return Ok((Stop::Ended(ended), None));
            }
            let (Seat::Instance(instance), Keep::Room(room)) = (&mut self.seat, &self.keep) else {
                return Err(Broken::msg("the instance is gone"));
            };
            instance.host().world.enter();
            let stop = instance.enter(&self.code, &room.control, self.phase, self.frames);
            let wait = instance.host().world.leave();
            match (stop?, self.phase) {
                (Stop::Returned, Phase::Start) => (self.phase, self.frames) = (Phase::Main, false),
                (Stop::Returned, Phase::Main) => return Ok((Stop::Ended(Outcome::Exit(0)), None)),
                (Stop::Unwound, _) => {
                    self.frames = true;
                    return Ok((Stop::Unwound, wait));
                }
                (ended @ Stop::Ended(_), _) => return Ok((ended, None)),
            }
        }
    }

    /// Sees to it that there is an instance of the form that can go on from here. Says how the
    /// program has ended, if it has none because of what it is.
    fn seat_instance(&mut self) -> Result<Option<Outcome>, Broken> {
        if let Seat::Instance(instance) = &self.seat
            && (!self.frames || instance.form() == Form::Resume)
        {
            return Ok(None);
        }
        let code = self.code.clone();
        // Between its start function and its entry point a process keeps the instance it has.
        let form = if self.frames { Form::Resume } else { Form::Run };
        let compiled = match form {
            Form::Run => code.run(),
            Form::Resume => code.resume().map_err(|error| Broken::msg(error.to_string()))?,
        };
        let (mut host, values) = self.take()?;
        let Keep::Room(room) = &mut self.keep else {
            return Err(Broken::msg("there is no memory to run in"));
        };
        host.world.control = Some(room.control.clone());
        let lent = room.lend(&code);
        match Instance::new(&code, form, compiled, lent, *host) {
            Ok(mut instance) => {
                if form == Form::Resume {
                    instance.set_values(&code, &values)?;
                }
                self.seat = Seat::Instance(Box::new(instance));
                Ok(None)
            }
            // A segment of data that does not fit, for one.
            Err((error, _)) if form == Form::Run => Ok(Some(outcome(&code, &error, None))),
            Err((error, _)) => Err(error),
        }
    }

    /// Whether it is in mappings.
    pub(crate) fn is_roomed(&self) -> bool {
        matches!(self.keep, Keep::Room(_))
    }

    /// Whether it is worth putting to sleep. What is larger keeps its mappings: to pack it takes long,
    /// and what it has is not mostly emptiness.
    pub(crate) fn may_sleep(&self) -> bool {
        self.budget.used() <= SLEEP_BYTES_MAX
    }

    /// Whether it sleeps.
    pub(crate) fn is_packed(&self) -> bool {
        matches!(self.keep, Keep::Packed(_))
    }

    /// Sees to it that it has mappings to run in, and hands out what stops it there.
    pub(crate) fn rouse(&mut self) -> io::Result<Control> {
        let room = match std::mem::replace(&mut self.keep, Keep::Unmade) {
            Keep::Room(room) => room,
            Keep::Unmade => Room::blank(&self.code, &self.budget)?,
            Keep::Packed(packed) => packed.unpack(&self.code)?,
        };
        let control = room.control.clone();
        self.keep = Keep::Room(room);
        Ok(control)
    }

    /// Puts it to sleep: the instance ends, what differs from the program's own start is kept in few
    /// bytes, and the mappings go to whoever is next. One that cannot be taken out of its instance
    /// stays as it is. The handles have let go of the control words before.
    pub(crate) fn pack(&mut self) {
        if let Seat::Instance(instance) = &mut self.seat {
            let Ok(values) = instance.values(&self.code) else { return };
            let Seat::Instance(instance) = std::mem::replace(&mut self.seat, Seat::Gone) else {
                unreachable!("it was just looked at");
            };
            self.seat = Seat::Bare(Box::new(instance.into_host()), values);
        }
        let Seat::Bare(host, values) = &mut self.seat else { return };
        let Keep::Room(room) = std::mem::replace(&mut self.keep, Keep::Unmade) else {
            unreachable!("only what is in a room is packed");
        };
        host.world.control = None;
        host.memory = None;
        let packed = Packed::pack(&self.code, room, values.top as usize, self.budget.clone());
        self.keep = Keep::Packed(packed);
    }

    /// Takes the state out of the instance, which ends, and the memories back.
    pub(crate) fn vacate(&mut self) -> Result<Vacated<'_>, Broken> {
        let (host, values) = self.take()?;
        self.seat = Seat::Bare(host, values);
        match &mut self.seat {
            Seat::Bare(host, values) => Ok((host, values, &mut self.keep)),
            Seat::Instance(_) | Seat::Gone => unreachable!("it was just set"),
        }
    }

    fn take(&mut self) -> Result<(Box<Host>, Values), Broken> {
        match std::mem::replace(&mut self.seat, Seat::Gone) {
            Seat::Instance(mut instance) => {
                let values = instance.values(&self.code)?;
                Ok((Box::new(instance.into_host()), values))
            }
            Seat::Bare(host, values) => Ok((host, values)),
            Seat::Gone => Err(Broken::msg("the instance is gone")),
        }
    }

    /// How large its frames are at most.
    pub(crate) fn frames_bytes_max(&self) -> u64 {
        match &self.keep {
            Keep::Room(room) => room.frames_bytes(&self.code),
            Keep::Packed(packed) => packed.frames().len() as u64,
            Keep::Unmade => 0,
        }
    }
}

/// A process's state when no instance has it.
pub(crate) type Vacated<'a> = (&'a mut Host, &'a Values, &'a mut Keep);

/// What a thaw has put together.
pub(crate) struct Parts {
    pub(crate) code: Arc<Code>,
    pub(crate) room: Room,
    pub(crate) budget: Arc<Budget>,
    pub(crate) phase: Phase,
    pub(crate) values: Values,
}

fn host(wasi: Wasi, world: World) -> Host {
    Host { wasi, world, memory: None, limits: wasmtime::StoreLimits::default() }
}
