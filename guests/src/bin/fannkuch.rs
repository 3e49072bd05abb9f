//! Fannkuch: permutations flipped like pancakes; short loops over a short array, all branches.

use std::hint::black_box;

const CAKES: usize = 8;

/// The most flips any permutation takes, and the alternating sum of all.
fn fannkuch(size: usize) -> (u32, i32) {
    let mut order: Vec<usize> = (0..size).collect();
    let mut flipped = order.clone();
    let mut counts: Vec<usize> = vec![0; size];
    let (mut most, mut sum, mut number) = (0, 0, 0_u32);
    let mut rotation = size;
    loop {
        while rotation != 1 {
            counts[rotation - 1] = rotation;
            rotation -= 1;
        }
        flipped.copy_from_slice(&order);
        let mut flips = 0;
        while flipped[0] != 0 {
            let top = flipped[0];
            flipped[..=top].reverse();
            flips += 1;
        }
        most = most.max(flips);
        sum += if number % 2 == 0 { flips as i32 } else { -(flips as i32) };
        number += 1;
        loop {
            if rotation == size {
                return (most, sum);
            }
            order[..=rotation].rotate_left(1);
            counts[rotation] -= 1;
            if counts[rotation] > 0 {
                break;
            }
            rotation += 1;
        }
    }
}

fn main() {
    let mut sum = 0;
    for _ in 0..guests::rounds(1) {
        let (most, alternating) = fannkuch(black_box(CAKES));
        sum = guests::fold(guests::fold(sum, most.into()), alternating as u64);
    }
    println!("fannkuch {sum:016x}");
}
