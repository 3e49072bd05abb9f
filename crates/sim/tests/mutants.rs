//! Each rule of the protocol is needed: without it, some seed fails.
//!
//! Those that take more than a few hundred seeds are left to the exhaustive model in
//! `crates/protocol/tests`, or to a longer run: `SIM_MUTANT_SEEDS=10000`.

use protocol::{Rule, Rules};

/// How many seeds a mutant may survive here.
const SEEDS: u64 = 10_000;

#[test]
fn every_rule_is_needed() {
    std::panic::set_hook(Box::new(|_| ()));
    let seeds = std::env::var("SIM_MUTANT_SEEDS").ok().and_then(|n| n.parse().ok());
    let mut standing = Vec::new();
    for rule in Rule::ALL {
        if EXHAUSTIVE.contains(rule) {
            continue;
        }
        let rules = Rules::without(*rule);
        let fallen = (0..seeds.unwrap_or(SEEDS))
            .find_map(|seed| Some((seed, sim::run(seed, rules, false).violation?)));
        match fallen {
            Some((seed, violation)) => println!("{rule}: seed {seed}: {violation}"),
            None => standing.push(*rule),
        }
    }
    assert!(standing.is_empty(), "nothing shows that these are needed: {standing:?}");
}

/// Rules whose breach is so rare here that only the exhaustive model shows it.
const EXHAUSTIVE: &[Rule] = &[];
