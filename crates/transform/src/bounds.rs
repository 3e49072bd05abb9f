//! Loops that come to an end by themselves after few rounds, whatever the program's input: they need no poll, because a
//! stop that is asked for meanwhile waits for some microseconds.
//!
//! What is recognised is how compilers write a counted loop: a counter that is a constant before the loop, that
//! each round changes in one place and by a constant, and whose value there decides whether there is another round.
//!
//! ```wat
//! (local.set $i (i32.const 0))
//! (loop $round
//!   …                                                                        ;; $i is only read
//!   (br_if $round (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 256))))
//! ```

use wasmparser::Operator;

use crate::body::Body;

/// How many operators a loop may execute between two polls, in all: some microseconds' work.
const WORK_MAX: u32 = 16 << 10;

/// How far before a loop its counter's first value is looked for.
const BEFORE_MAX: usize = 64;

/// Whether a loop executes few operators before it ends.
pub(crate) fn is_bounded(body: &Body<'_>, at: u32) -> bool {
    let end = body.ops[at as usize].partner;
    let rounds = || {
        let counter = counter(body, at, end)?;
        let first = first_value(body, at, counter.local)?;
        counter.rounds(first)
    };
    let length = end - at;
    length <= WORK_MAX && rounds().is_some_and(|rounds| rounds <= WORK_MAX / length)
}

/// What decides whether there is another round.
struct Counter {
    local: u32,
    step: i32,
    /// The value after the step that ends the loop.
    last: i32,
}

impl Counter {
    /// How many rounds there are from a first value on. None if the counter steps over its last value.
    fn rounds(&self, first: i32) -> Option<u32> {
        let (distance, step) = match self.step {
            0 => return None,
            step if step < 0 => (first.wrapping_sub(self.last), step.unsigned_abs()),
            step => (self.last.wrapping_sub(first), step.unsigned_abs()),
        };
        let distance = distance.cast_unsigned();
        (distance != 0 && distance % step == 0).then(|| distance / step)
    }
}

/// The counter of a loop that goes round in one place only and does nothing that could take long.
fn counter(body: &Body<'_>, at: u32, end: u32) -> Option<Counter> {
    let mut depth = 0_u32;
    let mut back = None;
    for (inner, op) in (at + 1..end).zip(&body.ops[at as usize + 1..end as usize]) {
        match &op.operator {
            Operator::Block { .. } | Operator::If { .. } => depth += 1,
            Operator::End => depth -= 1,
            // Only the first way round that closes every round is one.
            Operator::BrIf { relative_depth: 0 } if depth == 0 && back.is_none() => {
                back = Some(inner);
            }
            Operator::Br { relative_depth } | Operator::BrIf { relative_depth }
                if *relative_depth == depth =>
            {
                return None;
            }
            Operator::BrTable { targets } => {
                let mut all = targets.targets().flatten().chain([targets.default()]);
                if all.any(|target| target == depth) {
                    return None;
                }
            }
            Operator::Loop { .. }
            | Operator::TryTable { .. }
            | Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::MemoryGrow { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryInit { .. }
            | Operator::TableGrow { .. }
            | Operator::TableCopy { .. }
            | Operator::TableFill { .. }
            | Operator::TableInit { .. } => return None,
            _ => {}
        }
    }
    let counter = condition(body, at, back?)?;
    let assigns = |op: &&Operator<'_>| {
        matches!(op, Operator::LocalSet { local_index } | Operator::LocalTee { local_index }
            if *local_index == counter.local)
    };
    let inner = body.ops[at as usize + 1..end as usize].iter().map(|op| &op.operator);
    (inner.filter(assigns).count() == 1).then_some(counter)
}

/// What the `br_if` that goes round looks at.
fn condition(body: &Body<'_>, at: u32, back: u32) -> Option<Counter> {
    /// The longest of what is recognised.
    const OPERATORS: u32 = 6;
    let from = (at + 1).max(back.saturating_sub(OPERATORS));
    let inner: Vec<&Operator<'_>> =
        body.ops[from as usize..back as usize].iter().map(|op| &op.operator).collect();
    let (step, last) = match inner.as_slice() {
        [step @ .., Operator::I32Const { value }, Operator::I32Ne] => (step, *value),
        step => (step, 0),
    };
    match step {
        [
            ..,
            Operator::LocalGet { local_index: read },
            Operator::I32Const { value },
            Operator::I32Add,
            Operator::LocalTee { local_index: written },
        ] if read == written => Some(Counter { local: *read, step: *value, last }),
        _ => None,
    }
}

/// The constant that a local has when a loop is entered.
fn first_value(body: &Body<'_>, at: u32, local: u32) -> Option<i32> {
    let before = &body.ops[..at as usize];
    for (index, op) in before.iter().enumerate().rev().take(BEFORE_MAX) {
        match &op.operator {
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index }
                if *local_index == local =>
            {
                return match before[..index].last()?.operator {
                    Operator::I32Const { value } => Some(value),
                    _ => None,
                };
            }
            // Control comes here from elsewhere too, or not from there.
            Operator::End
            | Operator::Else
            | Operator::If { .. }
            | Operator::Loop { .. }
            | Operator::TryTable { .. }
            | Operator::Br { .. }
            | Operator::BrTable { .. } => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_counted_from_the_first_value_to_the_last() {
        let rounds = |first, step, last| Counter { local: 0, step, last }.rounds(first);
        assert_eq!(rounds(0, 4, 256), Some(64));
        assert_eq!(rounds(-768, 16, 0), Some(48));
        assert_eq!(rounds(10, -1, 0), Some(10));
        assert_eq!(rounds(0, 3, 256), None, "it steps over its end");
        assert_eq!(rounds(1, 1, 0), Some(u32::MAX), "it wraps around");
        assert_eq!(rounds(0, 1, 0), None);
        assert_eq!(rounds(0, 0, 1), None);
    }
}
