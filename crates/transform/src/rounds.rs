//! Which loops need no poll of their own, because each of their rounds meets another one: the
//! poll of an inner loop, or the entry of a function that polls; or because there are few rounds.
//!
//! A poll in a loop costs a test each round, and what is worse, keeps the control memory's address
//! in a register. It stands at the loop's head. (Where the loop is gone round instead, so that who
//! only enters it does not poll, was tried: allocators and sorts gain 1 to 3 %, loops of many rounds
//! lose 10 to 30, by the branch that it puts into their way.)

use std::collections::HashSet;

use wasmparser::{Catch, Operator};

use crate::analyze::Analysis;
use crate::body::{Body, NONE};
use crate::bounds::is_bounded;
use crate::index::FuncIdx;

/// The loops that need a poll, by the operators that open them.
pub(crate) fn polled_loops(analysis: &Analysis, body: &Body<'_>) -> HashSet<u32> {
    let polls = |op: &Operator<'_>| match op {
        Operator::Call { function_index } => analysis.polls_entry[FuncIdx(*function_index)],
        _ => false,
    };
    let mut polled = HashSet::new();
    // Where something stands that polls, or a loop that may; in order.
    let mut others = Vec::new();
    let mut loops = Vec::new();
    for (at, op) in body.ops.iter().enumerate().filter(|(_, op)| op.reachable) {
        let is_loop = matches!(op.operator, Operator::Loop { .. });
        if is_loop {
            loops.push(at as u32);
        }
        if is_loop || polls(&op.operator) {
            others.push(at as u32);
        }
    }
    // Inner ones first.
    for &at in loops.iter().rev() {
        if is_bounded(body, at) {
            continue;
        }
        let end = body.ops[at as usize].partner;
        let first = others.partition_point(|&other| other <= at);
        let alone = others.get(first).is_none_or(|&other| other >= end);
        let polls = |at: u32| polled.contains(&at) || polls(&body.ops[at as usize].operator);
        if alone || Walk::new(body, &polls).comes_round(at) {
            polled.insert(at);
        }
    }
    polled
}

/// What is known where control comes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    /// On some way there, there was no poll.
    Unpolled,
    Polled,
    Never,
}

/// A walk through one round of a loop.
struct Walk<'w, 'a> {
    body: &'w Body<'a>,
    /// Whether whoever comes to this operator has polled.
    polls: &'w dyn Fn(u32) -> bool,
    /// What is known at the labels of the blocks that are open, the loop's first.
    labels: Vec<Reached>,
    /// Where each of them was entered.
    entered: Vec<Reached>,
    here: Reached,
}

impl<'w, 'a> Walk<'w, 'a> {
    fn new(body: &'w Body<'a>, polls: &'w dyn Fn(u32) -> bool) -> Self {
        Self { body, polls, labels: Vec::new(), entered: Vec::new(), here: Reached::Unpolled }
    }

    /// Whether the loop can come round without a poll.
    fn comes_round(mut self, at: u32) -> bool {
        self.open();
        for inner in at + 1..self.body.ops[at as usize].partner {
            self.operator(inner);
            if self.labels[0] == Reached::Unpolled {
                return true;
            }
        }
        false
    }

    fn open(&mut self) {
        self.labels.push(Reached::Never);
        self.entered.push(self.here);
    }

    fn branch(&mut self, depth: u32) {
        // A branch that leaves the loop ends the round.
        if let Some(label) = self.labels.len().checked_sub(1 + depth as usize) {
            self.labels[label] = self.labels[label].min(self.here);
        }
    }

    fn operator(&mut self, at: u32) {
        let body = self.body;
        let op = &body.ops[at as usize];
        if op.reachable && self.here != Reached::Never && (self.polls)(at) {
            self.here = Reached::Polled;
        }
        match &op.operator {
            Operator::Block { .. } | Operator::If { .. } | Operator::Loop { .. } => self.open(),
            Operator::TryTable { try_table } => {
                // An exception may come before the first poll.
                for catch in &try_table.catches {
                    let (Catch::One { label, .. }
                    | Catch::OneRef { label, .. }
                    | Catch::All { label }
                    | Catch::AllRef { label }) = *catch;
                    self.branch(label);
                }
                self.open();
            }
            Operator::Else => {
                self.branch(0);
                self.here = *self.entered.last().expect("the code is valid");
            }
            Operator::End => {
                let opener = &body.ops[op.partner as usize];
                let label = self.labels.pop().expect("the code is valid");
                let entered = self.entered.pop().expect("the code is valid");
                match opener.operator {
                    // Its label is its head.
                    Operator::Loop { .. } => {}
                    Operator::If { .. } if opener.otherwise == NONE => {
                        self.here = self.here.min(label).min(entered);
                    }
                    _ => self.here = self.here.min(label),
                }
            }
            Operator::BrIf { relative_depth } => self.branch(*relative_depth),
            Operator::Br { relative_depth } => {
                self.branch(*relative_depth);
                self.here = Reached::Never;
            }
            Operator::BrTable { targets } => {
                for depth in targets.targets().flatten().chain([targets.default()]) {
                    self.branch(depth);
                }
                self.here = Reached::Never;
            }
            Operator::Return
            | Operator::Unreachable
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. } => self.here = Reached::Never,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Options, check, transform};

    /// How many loops poll, and how many need not.
    fn loops(code: &str) -> (u32, u32) {
        let text = format!(
            "(module
               (func $self (export \"self\") (param i32)
                 (if (local.get 0) (then (call $self (local.get 0)))))
               (func $other)
               (func (param $x i32) {code}))"
        );
        let wasm = wat::parse_str(&text).unwrap();
        let made = transform(&wasm, &Options::default()).unwrap();
        made.validate().unwrap();
        check::check(&wasm, &made.sites).unwrap();
        (made.report.sites_loop, made.report.loops_without_poll)
    }

    #[test]
    fn a_loop_polls() {
        assert_eq!(loops("(loop $a (br_if $a (local.get $x)))"), (1, 0));
        assert_eq!(loops("(loop $a (call $other) (br_if $a (local.get $x)))"), (1, 0));
        // It never comes round.
        assert_eq!(loops("(loop $a (br_if 1 (local.get $x)))"), (1, 0));
    }

    #[test]
    fn who_always_calls_what_polls_need_not() {
        let call = "(call $self (local.get $x))";
        assert_eq!(loops(&format!("(loop $a {call} (br_if $a (local.get $x)))")), (0, 1));
        // A way round it.
        let around = format!("(loop $a (br_if $a (local.get $x)) {call} (br $a))");
        assert_eq!(loops(&around), (1, 0));
        let one = format!("(loop $a (if (local.get $x) (then {call})) (br_if $a (local.get $x)))");
        assert_eq!(loops(&one), (1, 0));
        let both = format!(
            "(loop $a (if (local.get $x) (then {call}) (else {call})) (br_if $a (local.get $x)))"
        );
        assert_eq!(loops(&both), (0, 1));
        let table = format!(
            "(loop $a (block $b (block $c (br_table $b $c $a (local.get $x))) {call}) (br $a))"
        );
        assert_eq!(loops(&table), (1, 0));
        let leaves = format!("(loop $a (br_if 1 (local.get $x)) {call} (br $a))");
        assert_eq!(loops(&leaves), (0, 1));
    }

    #[test]
    fn few_rounds_need_no_poll() {
        let counted = |first: &str, inner: &str, step: i32, last: i32| {
            loops(&format!(
                "(local $i i32) {first} (loop $a {inner}
                   (br_if $a (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const {step}))) (i32.const {last}))))"
            ))
        };
        let zero = "(local.set $i (i32.const 0))";
        assert_eq!(counted(zero, "(drop (local.get $i))", 4, 256), (0, 1));
        assert_eq!(counted(&format!("{zero} (br_if 0 (local.get $x)) (block)"), "", 1, 9), (1, 0));
        assert_eq!(counted(&format!("{zero} (br_if 0 (local.get $x))"), "", 1, 9), (0, 1));
        assert_eq!(counted("(local.set $i (i32.const 48))", "", -1, 0), (0, 1));
        assert_eq!(counted(zero, "", 1, 1_000_000), (1, 0), "many rounds");
        assert_eq!(counted(zero, "", 3, 256), (1, 0), "it steps over its end");
        assert_eq!(counted("", "", 1, 9), (1, 0), "nobody says where it begins");
        assert_eq!(counted("(local.set $i (local.get $x))", "", 1, 9), (1, 0));
        assert_eq!(counted(&format!("(if (local.get $x) (then {zero}))"), "", 1, 9), (1, 0));
        assert_eq!(
            counted(zero, "(local.set $i (i32.const 1))", 1, 9),
            (1, 0),
            "set by more than the step"
        );
        assert_eq!(counted(zero, "(br_if $a (local.get $x))", 1, 9), (1, 0), "another way round");
        assert_eq!(counted(zero, "(call $other)", 1, 9), (1, 0), "calls take long");
        let inner = "(loop $b (br_if $b (local.get $x)))";
        assert_eq!(counted(zero, inner, 1, 9), (1, 1), "the inner loop polls");
        let down = "(local $i i32) (local.set $i (i32.const -768))
            (loop $a (br_if $a (local.tee $i (i32.add (local.get $i) (i32.const 16)))))";
        assert_eq!(loops(down), (0, 1));
    }

    #[test]
    fn inner_loops_poll_for_outer_ones() {
        let inner = "(loop $b (br_if $b (local.get $x)))";
        assert_eq!(loops(&format!("(loop $a {inner} (br_if $a (local.get $x)))")), (1, 1));
        let some = format!("(loop $a (block (br_if 0 (local.get $x)) {inner}) (br $a))");
        assert_eq!(loops(&some), (2, 0));
        // The inner one's own round has a call, and may be left before that.
        let early = "(loop $a
            (block $out (loop $b (br_if $out (local.get $x)) (call $self (local.get $x)) (br $b)))
            (br_if $a (local.get $x)))";
        assert_eq!(loops(early), (1, 1));
    }
}
