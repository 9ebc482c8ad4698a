//! Runs every experiment of `loadgen selftest`, some at a time: each fault must be reported exactly.
//!
//! Why: the self-test is a promise to users; here it is kept on every change. Counts do not depend on speed, so the
//! experiments may share the machine.
//!
//! Invariants: no experiment waits for another; a failure names the experiment and every number that differs.

use loadgen::run::measure_plan;
use loadgen::selftest::cases::{Case, all};
use loadgen::selftest::run_case;
use std::thread;

/// Experiments at a time: more would only make the machine busier than the faults.
const LANES: usize = 4;

fn problems_of(case: &Case) -> Option<String> {
    match run_case(case, &measure_plan) {
        Ok((_, problems)) if problems.is_empty() => None,
        Ok((counts, problems)) => Some(format!("{}: {} ({counts:?})", case.name, problems.join("; "))),
        Err(why) => Some(format!("{}: {why}", case.name)),
    }
}

#[test]
fn every_fault_is_reported_exactly() {
    let problems: Vec<String> = thread::scope(|scope| {
        let lane = |lane: usize| all().skip(lane).step_by(LANES).filter_map(problems_of).collect::<Vec<_>>();
        let lanes: Vec<_> = (0..LANES).map(|number| scope.spawn(move || lane(number))).collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("no experiment panics")).collect()
    });
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}
