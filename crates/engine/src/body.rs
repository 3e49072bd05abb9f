//! A process as it is handed from one worker to the next, or to an image: memories, and either an
//! instance or what is left of one.

use std::io;
use std::sync::Arc;

use crate::cache::Form;
use crate::code::Code;
use crate::host::{Host, Outside, World};
use crate::instance::{Broken, Instance, Phase, Stop, Values};
use crate::layout::Role;
use crate::raw::{Budget, Control, Lent, Mapping};
use crate::wasi::Wasi;
use crate::{Outcome, StartError, Wait};
use wire::Pid;

/// Everything of a process but its handles. Whoever has it, has the process.
pub(crate) struct Body {
    pub(crate) code: Arc<Code>,
    pub(crate) control: Control,
    /// All memories but the control words, in the order of the layout.
    pub(crate) memories: Vec<Mapping>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) phase: Phase,
    /// Whether there are frames to go on from. If not, the entry point has not been entered yet.
    pub(crate) frames: bool,
    seat: Seat,
}

/// Where a process's state is besides its memories.
enum Seat {
    /// In an instance.
    Instance(Box<Instance>),
    /// Taken out of one.
    Bare(Box<Host>, Values),
    /// Nowhere: the instance could not be made, and the process is over.
    Gone,
}

impl Body {
    /// A process at its beginning.
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
        let system = |error: io::Error| StartError::Instantiate(error.to_string());
        let budget = Budget::new(memory_max);
        let mut memories = memories(code, Some(&budget)).map_err(system)?;
        let control = control(code).map_err(system)?;
        let world = World::new(pid, control.clone(), code.clone(), outside);
        let lent = lend(code, &control, &mut memories);
        let instance = Instance::new(code, Form::Run, code.run(), lent, host(wasi, world))
            .map_err(|(error, _)| StartError::Instantiate(format!("{error:#}")))?;
        Ok(Self {
            code: code.clone(),
            control,
            memories,
            budget,
            phase: Phase::Start,
            frames: false,
            seat: Seat::Instance(Box::new(instance)),
        })
    }

    /// A process that goes on from its frames.
    pub(crate) fn thawed(
        pid: Pid,
        parts: Parts,
        wasi: Wasi,
        outside: Arc<Outside>,
    ) -> io::Result<Self> {
        let Parts { code, memories, budget, phase, values } = parts;
        let control = control(&code)?;
        let world = World::new(pid, control.clone(), code.clone(), outside);
        let seat = Seat::Bare(Box::new(host(wasi, world)), values);
        Ok(Self { code, control, memories, budget, phase, frames: true, seat })
    }

    /// Runs until the program unwinds or ends.
    pub(crate) fn run(&mut self) -> (Stop, Option<Wait>) {
        self.try_run()
            .unwrap_or_else(|broken| (Stop::Ended(Outcome::Fault(format!("{broken:#}"))), None))
    }

    fn try_run(&mut self) -> Result<(Stop, Option<Wait>), Broken> {
        loop {
            self.seat_instance()?;
            let Seat::Instance(instance) = &mut self.seat else {
                return Err(Broken::msg("the instance is gone"));
            };
            instance.host().world.enter();
            let stop = instance.enter(&self.code, &self.control, self.phase, self.frames);
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

    /// Sees to it that there is an instance of the form that can go on from here.
    fn seat_instance(&mut self) -> Result<(), Broken> {
        if let Seat::Instance(instance) = &self.seat
            && (!self.frames || instance.form() == Form::Resume)
        {
            return Ok(());
        }
        let code = self.code.clone();
        let resume = code.resume().map_err(|error| Broken::msg(error.to_string()))?;
        let (host, values) = self.take()?;
        let lent = lend(&code, &self.control, &mut self.memories);
        let mut instance =
            Instance::new(&code, Form::Resume, resume, lent, *host).map_err(|(error, _)| error)?;
        instance.set_values(&code, &values)?;
        self.seat = Seat::Instance(Box::new(instance));
        Ok(())
    }

    /// Takes the state out of the instance, which ends, and the memories back.
    pub(crate) fn vacate(&mut self) -> Result<Vacated<'_>, Broken> {
        let (host, values) = self.take()?;
        self.seat = Seat::Bare(host, values);
        match &mut self.seat {
            Seat::Bare(host, values) => Ok((host, values, &mut self.memories)),
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
        let mapped = self.code.layout().mapped().zip(&self.memories);
        let frames = mapped.filter(|(layout, _)| layout.role == Role::Frames);
        frames.map(|(_, mapping)| mapping.size() as u64).sum()
    }
}

/// A process's state when no instance has it.
pub(crate) type Vacated<'a> = (&'a mut Host, &'a Values, &'a mut [Mapping]);

/// What a thaw has put together.
pub(crate) struct Parts {
    pub(crate) code: Arc<Code>,
    pub(crate) memories: Vec<Mapping>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) phase: Phase,
    pub(crate) values: Values,
}

/// Fresh memories of the sizes that they have at the start.
pub(crate) fn memories(code: &Code, budget: Option<&Arc<Budget>>) -> io::Result<Vec<Mapping>> {
    let mapping = |layout: &crate::layout::MemoryLayout| {
        let bytes = usize::try_from(layout.bytes_min).map_err(io::Error::other)?;
        let charged = budget.filter(|_| matches!(layout.role, Role::Guest(_))).cloned();
        Mapping::new(bytes, charged)
    };
    code.layout().mapped().map(mapping).collect()
}

fn control(code: &Code) -> io::Result<Control> {
    let memories = &code.layout().memories;
    let control = memories.iter().find(|memory| memory.role == Role::Control);
    let bytes = control.expect("a layout has control words").bytes_min;
    Control::new(usize::try_from(bytes).map_err(io::Error::other)?)
}

fn lend(code: &Code, control: &Control, memories: &mut [Mapping]) -> Vec<Lent> {
    let mut mapped = memories.iter_mut();
    let lent = code.layout().memories.iter().map(|memory| match memory.role {
        Role::Control => control.lend(),
        Role::Guest(_) | Role::Frames => {
            mapped.next().expect("as many mappings as mapped memories").lend()
        }
    });
    lent.collect()
}

fn host(wasi: Wasi, world: World) -> Host {
    Host { wasi, world, memory: None, limits: wasmtime::StoreLimits::default() }
}
