//! A bytecode interpreter: one loop, one big switch, a stack in memory. The shape that rewriters of code do worst at.

use std::hint::black_box;

#[derive(Clone, Copy)]
enum Op {
    Push(i64),
    Load(u8),
    Store(u8),
    Add,
    Sub,
    Mul,
    Rem,
    Duplicate,
    Swap,
    Drop,
    Less,
    Jump(u16),
    JumpIfZero(u16),
    Halt,
}

/// Sums, for every number below a limit, the length of a pseudo-random walk modulo that number.
fn program(limit: i64) -> Vec<Op> {
    use Op::*;
    vec![
        Push(0),
        Store(0),
        Push(1),
        Store(1),
        Push(12_345),
        Store(2),
        // 6: while number < limit
        Load(1),
        Push(limit),
        Less,
        JumpIfZero(28),
        // 10: walk = (walk * 1103515245 + 12345) rem 2147483648
        Load(2),
        Push(1_103_515_245),
        Mul,
        Push(12_345),
        Add,
        Push(2_147_483_648),
        Rem,
        Duplicate,
        Store(2),
        // 19: sum += walk rem number
        Load(1),
        Rem,
        Load(0),
        Swap,
        Add,
        Store(0),
        // 25: number += 1, by a jump over the end
        Jump(31),
        Drop,
        Sub,
        // 28
        Load(0),
        Halt,
        Halt,
        // 31
        Load(1),
        Push(1),
        Add,
        Store(1),
        Jump(6),
    ]
}

fn run(code: &[Op]) -> i64 {
    let mut stack = [0_i64; 32];
    let mut locals = [0_i64; 8];
    let (mut top, mut at) = (0_usize, 0_usize);
    loop {
        let op = code[at];
        at += 1;
        match op {
            Op::Push(value) => {
                stack[top] = value;
                top += 1;
            }
            Op::Load(index) => {
                stack[top] = locals[usize::from(index)];
                top += 1;
            }
            Op::Store(index) => {
                top -= 1;
                locals[usize::from(index)] = stack[top];
            }
            Op::Add | Op::Sub | Op::Mul | Op::Rem | Op::Less => {
                let (left, right) = (stack[top - 2], stack[top - 1]);
                top -= 1;
                stack[top - 1] = match op {
                    Op::Add => left.wrapping_add(right),
                    Op::Sub => left.wrapping_sub(right),
                    Op::Mul => left.wrapping_mul(right),
                    Op::Rem => left.checked_rem(right).unwrap_or(0),
                    _ => i64::from(left < right),
                };
            }
            Op::Duplicate => {
                stack[top] = stack[top - 1];
                top += 1;
            }
            Op::Swap => stack.swap(top - 1, top - 2),
            Op::Drop => top -= 1,
            Op::Jump(target) => at = target.into(),
            Op::JumpIfZero(target) => {
                top -= 1;
                if stack[top] == 0 {
                    at = target.into();
                }
            }
            Op::Halt => return stack[top - 1],
        }
    }
}

fn main() {
    let code = program(20_000);
    let mut sum = 0;
    for _ in 0..guests::rounds(1) {
        sum = guests::fold(sum, run(black_box(&code)) as u64);
    }
    println!("interpreter {sum:016x}");
}
