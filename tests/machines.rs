//! Several workers over a bus that is slow, torn and breaks, in the machines of many seeds.
//!
//! What peers of one server are promised must hold for peers of all workers of a machine together; every seed has its own
//! misfortune. That these machines would notice a mistake is shown in `tests/oracles.rs`.
//!
//! Invariant: a failure names its seed, which is the whole test again.

use stentor::sim::machine::{Fared, run};

#[test]
fn whatever_the_bus_does_everybody_hears_in_order_once_and_what_is_lost_is_counted() {
    let mut all = Fared::default();
    for seed in 0..300 {
        let fared = run(seed);
        assert_eq!(fared.failure, None, "seed {seed}");
        all.said += fared.said;
        all.heard += fared.heard;
        all.lost += fared.lost;
        all.breaks += fared.breaks;
    }
    // Nothing of it was vacuous.
    assert!(all.heard > 5 * all.said && all.lost > 100 && all.breaks > 100, "{all:?}");
}

#[test]
fn the_same_seed_is_the_same_machine() {
    assert_eq!(run(7), run(7));
}
