//! Trees built, walked and dropped: allocation and recursion, with one tree of some 17 MB that stays.
//!
//! Arguments: rounds (0: for ever), depth of the tree that stays (default 8: small; 20 makes 17 MB). With a third
//! argument `talk`, prints a number after each round.

use guests::{argument, fold, rounds};

struct Tree(Option<Box<(Tree, Tree)>>);

fn grow(depth: u32) -> Tree {
    Tree((depth > 0).then(|| Box::new((grow(depth - 1), grow(depth - 1)))))
}

fn count(tree: &Tree) -> u64 {
    match &tree.0 {
        None => 1,
        Some(children) => 1 + count(&children.0) + count(&children.1),
    }
}

fn main() {
    let rounds = rounds(1);
    let talk = argument(2, String::new()) == "talk";
    let stays = grow(argument(1, 8));
    println!("ready {}", count(&stays));
    let mut sum = 0;
    let mut round = 0_u64;
    while rounds == 0 || round < rounds.into() {
        let depth = 10 + (round % 3) as u32;
        sum = fold(sum, count(&grow(depth)));
        round += 1;
        if talk {
            println!("{round}");
        }
    }
    println!("binary_trees {:016x}", fold(sum, count(&stays)));
}
