//! The mappings that a process runs in: its memories, and the words that stop it.
//!
//! Rooms are kept for the next process of the same code (see [`Code::make_room`]): a room that was
//! left by one that went to sleep is as the program's own start leaves it, and its pages are there
//! already, which saves the kernel and us most of the work of a start.

use std::io;
use std::sync::Arc;

use crate::code::Code;
use crate::image::guest_memories;
use crate::layout::{MemoryLayout, Role};
use crate::raw::{Budget, Control, Lent, Mapping};

/// What a process runs in.
pub(crate) struct Room {
    pub(crate) control: Control,
    /// All memories but the control words, in the order of the layout.
    pub(crate) memories: Vec<Mapping>,
}

impl Room {
    /// Fresh memories of the sizes that they have at the start, all zero.
    pub(crate) fn new(code: &Code, budget: Option<&Arc<Budget>>) -> io::Result<Self> {
        let mapping = |layout: &MemoryLayout| {
            let bytes = usize::try_from(layout.bytes_min).map_err(io::Error::other)?;
            let charged = budget.filter(|_| matches!(layout.role, Role::Guest(_))).cloned();
            Mapping::new(bytes, charged)
        };
        let memories = code.layout().mapped().map(mapping).collect::<io::Result<_>>()?;
        Ok(Self { control: control(code)?, memories })
    }

    /// For a process that starts: as the program's own start leaves it, or all zero, which the start
    /// changes.
    pub(crate) fn blank(code: &Code, budget: &Arc<Budget>) -> io::Result<Self> {
        code.take_room(budget).map_or_else(|| Self::new(code, Some(budget)), Ok)
    }

    /// Puts what the program starts with into memories that are all zero.
    pub(crate) fn lay_out(&mut self, code: &Code) {
        for (_, initial, mapping) in guest_memories(code.layout(), &mut self.memories) {
            initial.write(mapping, |_| true);
        }
    }

    /// Hands all of it to the instance that is about to be made.
    pub(crate) fn lend(&mut self, code: &Code) -> Vec<Lent> {
        let Self { control, memories } = self;
        let mut mapped = memories.iter_mut();
        let lent = code.layout().memories.iter().map(|memory| match memory.role {
            Role::Control => control.lend(),
            Role::Guest(_) | Role::Frames => {
                mapped.next().expect("as many mappings as mapped memories").lend()
            }
        });
        lent.collect()
    }

    /// The memory that frames lie in.
    pub(crate) fn frames(&mut self, code: &Code) -> &mut Mapping {
        let mapped = code.layout().mapped().zip(&mut self.memories);
        let mut frames = mapped.filter(|(memory, _)| memory.role == Role::Frames);
        frames.next().expect("a layout has frames").1
    }

    /// How long that is.
    pub(crate) fn frames_bytes(&self, code: &Code) -> u64 {
        let mapped = code.layout().mapped().zip(&self.memories);
        let frames = mapped.filter(|(memory, _)| memory.role == Role::Frames);
        frames.map(|(_, mapping)| mapping.size() as u64).sum()
    }
}

fn control(code: &Code) -> io::Result<Control> {
    let memories = &code.layout().memories;
    let control = memories.iter().find(|memory| memory.role == Role::Control);
    let bytes = control.expect("a layout has control words").bytes_min;
    Control::new(usize::try_from(bytes).map_err(io::Error::other)?)
}
