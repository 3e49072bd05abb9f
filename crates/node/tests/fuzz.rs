//! The body of the fuzz target that concerns tokens and ids, for a second.

#[path = "../../../tests/seeded.rs"]
mod seeded;
mod words;

use std::collections::BTreeMap;

use node::trust::{Fingerprint, Token};
use wire::{CodeHash, GroupId, Pid};

#[test]
fn random_tokens_and_ids_are_refused_or_read_as_they_are_printed() {
    let mut read = BTreeMap::new();
    seeded::run(|mut random| {
        let group = GroupId(random.next() >> (random.next() % 64));
        let good = match random.below(4) {
            0 => Token::new(Fingerprint([random.next() as u8; 32])).to_string(),
            1 => group.to_string(),
            2 => Pid { group, index: random.next() as u32 >> random.below(32) }.to_string(),
            _ => CodeHash([random.next() as u8; 32]).to_string(),
        };
        let text = match random.below(4) {
            0 => good,
            _ => String::from_utf8_lossy(&random.damaged(good.as_bytes())).into_owned(),
        };
        *read.entry(words::check(&text)?).or_insert(0_u64) += 1;
        Ok(())
    });
    println!("{read:?}");
    assert_eq!(read.len(), 5, "some are each of four things, and some are none: {read:?}");
}
