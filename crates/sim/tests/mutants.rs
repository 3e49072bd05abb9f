//! Each rule of the protocol is needed: without it, some seed fails.
//!
//! A few rules are broken too seldom here; the exhaustive model in `crates/protocol/tests/model.rs`
//! shows those.

use protocol::{Rule, Rules};

/// How many seeds a mutant may survive here.
const SEEDS: u64 = 10_000;

/// All of them, or the one that the environment names as `RULE`.
#[test]
fn every_rule_is_needed() {
    let only = std::env::var("RULE").ok();
    if let Some(only) = &only {
        assert!(Rule::named(only).is_some(), "there is no rule {only}");
    }
    std::panic::set_hook(Box::new(|_| ()));
    let mut standing = Vec::new();
    for rule in Rule::ALL {
        if EXHAUSTIVE.contains(rule) || only.as_ref().is_some_and(|only| rule.name() != only) {
            continue;
        }
        let rules = Rules::without(*rule);
        let fallen =
            (0..SEEDS).find_map(|seed| Some((seed, sim::run(seed, rules, false).violation?)));
        match fallen {
            Some((seed, violation)) => println!("{rule}: seed {seed}: {violation}"),
            None => standing.push(*rule),
        }
    }
    assert!(standing.is_empty(), "nothing shows that these are needed: {standing:?}");
}

/// Rules whose breach is so rare here that only the exhaustive model shows it.
const EXHAUSTIVE: &[Rule] =
    &[Rule::DroppedBySame, Rule::FreshOffers, Rule::AnswerForgotten, Rule::TakeBackIsBound];
