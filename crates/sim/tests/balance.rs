//! A large cluster evens out its load and comes to rest; `cargo xtask bench balance` plays a larger one, and draws it.

use protocol::balance::SLACK;
use sim::balance::{Story, heaviest, play};

#[test]
fn five_hundred_nodes_even_out_and_hardly_anybody_moves_after_that() {
    let story = Story { nodes: 500, processes: 8_000, talkers: 20, seconds: 600 };
    for seed in 1..=3 {
        let moments = play(story, seed);
        let (first, last) = (moments[0], moments[moments.len() - 1]);
        assert!(2 * last.mean < first.most, "seed {seed}: it was uneven: {first:?}");
        assert!(last.most <= last.mean + SLACK + heaviest(), "seed {seed}: {last:?}");
        assert!(last.apart * 10 < first.apart, "seed {seed}: {last:?}");
        let sum = |moments: &[sim::balance::Moment]| moments.iter().map(|it| it.moves).sum::<u64>();
        // Each about twice: out of the crowd, and to those that it talks to.
        let (all, late) = (sum(&moments), sum(&moments[540..]));
        assert!(all < 3 * story.processes as u64, "seed {seed}: {all} moves");
        assert!(
            late * 250 < story.processes as u64,
            "seed {seed}: {late} moves in the last minute"
        );
        let returns: u64 = moments.iter().map(|it| it.returns).sum();
        assert!(returns * 20 < story.processes as u64, "seed {seed}: {returns} returns");
    }
}
