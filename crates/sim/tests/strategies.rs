//! What `cargo xtask bench strategies` measures, at a few points: the model is near what is counted, and an adaptive
//! process near the best. The benchmark itself is stricter.

use sim::strategies::{Place, Ratio, Strategy, count, predict};

const SEED: u64 = 11;

fn place(correspondents: u32, nodes: usize) -> Place {
    Place { correspondents, nodes }
}

fn ratio(letters: u32, moves: u32) -> Ratio {
    Ratio { letters, moves }
}

#[test]
fn the_model_is_near_what_is_counted() {
    for (place, ratio) in
        [(place(1, 16), ratio(1, 1)), (place(8, 16), ratio(10, 1)), (place(8, 3), ratio(1, 1))]
    {
        for strategy in Strategy::FIXED {
            let counted = count(place, strategy, SEED, &[(ratio, 3_000)]).unwrap();
            let (counted, predicted) = (counted[0].cost(), predict(place, strategy, ratio));
            let off = (counted - predicted).abs() / predicted;
            let name = strategy.name();
            println!("{place:?} {ratio} {name}: {counted:.3}, predicted {predicted:.3}");
            assert!(off < 0.16, "{place:?} {ratio} {name}: {counted:.3}, predicted {predicted:.3}");
        }
    }
}

#[test]
fn who_chooses_for_himself_chooses_well() {
    for (place, before) in [(place(8, 16), ratio(10, 1)), (place(1, 3), ratio(1, 10))] {
        let stretches = [(before, 1_000), (before, 1_000), (before.flipped(), 4_000)];
        let run = |strategy| count(place, strategy, SEED, &stretches).unwrap();
        let fixed: Vec<_> = Strategy::FIXED.into_iter().map(run).collect();
        let adaptive = run(Strategy::Adaptive);
        for (stretch, most) in [(1, 1.05), (2, 1.25)] {
            let costs = fixed.iter().map(|counted| counted[stretch].cost());
            let best = costs.fold(f64::INFINITY, f64::min);
            let cost = adaptive[stretch].cost() - 0.02;
            assert!(cost <= most * best, "{place:?} {before}: {cost:.3}, the best {best:.3}");
        }
        assert!(adaptive[2].changes <= 2, "{place:?}: {} changes", adaptive[2].changes);
    }
}

#[test]
fn a_run_replays_exactly() {
    let run = || count(place(8, 3), Strategy::Adaptive, SEED, &[(ratio(1, 1), 200)]).unwrap();
    assert_eq!(run()[0].meter.cost(), run()[0].meter.cost());
}
