//! Every fallible call of thirty scripted scenarios fails once, with every error it can have.
//!
//! Whatever fails: nothing panics, the oracles hold, whoever was not hit is served as if nothing had happened, and
//! everybody is gone in the end. `sim --exhaustive` runs the same and prints how many calls and runs there were.

use std::num::NonZeroUsize;

use stentor::sim::exhaustive::{exhaust, run_once, scenarios};
use stentor::sim::{batch, outside::failing::Call};

#[test]
fn whichever_call_fails_the_others_are_served() {
    let reports: Vec<_> = scenarios().iter().map(|scenario| exhaust(scenario, batch::cores())).collect();
    for report in &reports {
        println!("{report}");
        assert!(report.failures.is_empty(), "{report}");
        assert!(report.calls.iter().all(|calls| *calls > 0), "{report}: a kind of call is missing");
        assert!(report.runs > 50, "{report}: too few");
    }
    assert!(reports.len() >= 20);
}

/// What is told does not depend on how many run at the same time.
#[test]
fn jobs_change_nothing() {
    let told = |jobs| exhaust(&scenarios()[0], NonZeroUsize::new(jobs).unwrap()).to_string();
    assert_eq!(told(1), told(3));
}

/// A wait that fails for good, with anything but an interruption, ends the server with that error and without a panic.
#[test]
fn a_wait_that_fails_for_good_ends_the_server() {
    const EBADF: i32 = 9;
    for scenario in scenarios() {
        for call in 0..3 {
            let ended = run_once(scenario, call, EBADF);
            let is_wait = ended.as_ref().is_err_and(|text| text.starts_with("wait: "));
            assert!(is_wait || call > 0, "{}: {ended:?}", scenario.name);
        }
    }
    assert_eq!(Call::Wait.errors().len(), 1, "an interruption is all that a wait survives");
}
