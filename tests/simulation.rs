//! Sixty made-up worlds with fixed seeds, in each of which everything must go well; the script of CI runs more.
//!
//! A failure prints its seed; `cargo run --bin sim -- --seed SEED` shows it.

use stentor::sim::run;

#[test]
fn sixty_worlds_go_well() {
    let failed: Vec<_> =
        (0..60).map(|seed| run(seed, None)).filter(|outcome| outcome.failure.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// What happens follows from the seed and nothing else, so a failure can be looked at again.
#[test]
fn the_same_seed_is_the_same_world() {
    let hashes: Vec<u64> = (100..112).map(|seed| run(seed, None).hash).collect();
    let again: Vec<u64> = (100..112).map(|seed| run(seed, None).hash).collect();
    assert_eq!(hashes, again);
    let different: std::collections::BTreeSet<u64> = hashes.iter().copied().collect();
    assert_eq!(different.len(), hashes.len());
}

/// The worlds are worth the time: in sixty of them everything that can go wrong has.
#[test]
fn narrating_a_world_does_not_change_it() {
    use std::cell::Cell;
    use std::rc::Rc;
    let lines = Rc::new(Cell::new(0_u64));
    let counted = Rc::clone(&lines);
    let narrated = run(7, Some(Box::new(move |_| counted.set(counted.get() + 1))));
    assert_eq!(narrated, run(7, None));
    assert_eq!(lines.get(), narrated.events);
}
