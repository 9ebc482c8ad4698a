//! Shows that the simulator finds bugs: for each deliberate mistake some world fails, and the right oracle says so.
//!
//! Run with `--features mutate`; without it the server cannot be told to make a mistake.

use stentor::base::mutation::{Mutation, make};
use stentor::sim::{exhaustive, machine, run};

/// Seeds that are tried until one fails.
const SEEDS_MAX: u64 = 2500;

/// Makes the mistake in one world after the other until an oracle sees it, which must be one of `oracles`.
fn found(mutation: Mutation, oracles: &[&str]) {
    make(Some(mutation));
    let failure = (0..SEEDS_MAX).find_map(|seed| run(seed, None).failure.map(|failure| (seed, failure)));
    make(None);
    let Some((seed, failure)) = failure else { panic!("{SEEDS_MAX} worlds do not show {mutation:?}") };
    println!("{mutation:?}: seed {seed}: {}: {}", failure.oracle, failure.text);
    assert!(oracles.contains(&failure.oracle), "{mutation:?} in world {seed}: {failure:?}");
}

/// The same in the scripted scenarios, with one call after the other made to fail: the right scenario shows it.
fn found_exhaustively(mutation: Mutation, scenario: &str) {
    let scenario =
        exhaustive::scenarios().iter().find(|one| one.name == scenario).expect("there is such a scenario");
    make(Some(mutation));
    let report = exhaustive::exhaust(scenario, std::num::NonZeroUsize::MIN);
    make(None);
    assert!(!report.failures.is_empty(), "{mutation:?} is not shown by {report}");
}

#[test]
fn failing_calls_show_what_is_wrong_with_their_handling() {
    found_exhaustively(Mutation::InterruptBreaks, "echo");
    found_exhaustively(Mutation::InterruptForgets, "echo");
    found_exhaustively(Mutation::AbortEndsAccepting, "many-at-once");
    found_exhaustively(Mutation::KnockForgotten, "connect");
    found_exhaustively(Mutation::BrokenIsKept, "broadcast-5");
}

/// Mistakes in what workers tell each other show in some machine, in words that fit.
#[test]
fn mistakes_on_the_bus_are_found() {
    let mistakes = [
        (Mutation::HeardTwice, "behind"),
        (Mutation::LossForgotten, "accounted for"),
        (Mutation::PresenceKept, "quiet"),
        (Mutation::WrittenTwice, ""),
    ];
    for (mutation, words) in mistakes {
        make(Some(mutation));
        // Which machines show one changes with the length of every letter: with each number that workers tell each other.
        let failure = (0..1000).find_map(|seed| machine::run(seed).failure);
        make(None);
        let failure = failure.unwrap_or_else(|| panic!("a thousand machines do not show {mutation:?}"));
        assert!(failure.contains(words), "{mutation:?}: {failure}");
    }
}

macro_rules! mistakes {
    ($($(#[doc = $doc:literal])* $name:ident: $mutation:ident => [$($oracle:literal),+];)+) => {$(
        $(#[doc = $doc])*
        #[test]
        fn $name() {
            found(Mutation::$mutation, &[$($oracle),+]);
        }
    )+};
}

mistakes! {
    a_lost_edge: LostEdge => ["liveness", "handshake", "departure", "close", "lost", "frames"];
    a_dropped_remainder: DroppedRemainder => ["frames", "http", "handshake", "liveness", "close", "not owed", "order"];
    an_off_by_one_in_the_send_offset: OffByOne => ["frames", "not owed", "doubled", "order", "liveness", "close"];
    a_stale_name_that_is_served: StaleName => ["not owed", "service", "departure", "close", "ledger", "heard", "frames"];
    a_timer_that_is_not_rearmed: TimerNotRearmed => ["reaping", "leak"];
    a_missing_entry_in_the_ledger: MissingEntry => ["ledger"];
    a_doubled_delivery: DoubledDelivery => ["doubled"];
    a_leave_that_is_not_told: LeaveNotTold => ["ledger", "lost", "order"];
    a_pong_behind_a_close_frame: PongBehindClose => ["close"];
    last_words_that_are_lost: LastWordsLost => ["close", "frames", "http"];
    a_knock_that_is_forgotten: KnockForgotten => ["served", "liveness", "leak", "spinning"];
    an_accept_that_spins: AcceptSpins => ["spinning"];
    a_buffer_that_does_not_come_home: BufferNotReturned => ["leak"];
    a_gap_that_is_not_told: GapNotTold => ["lost"];
    a_refusal_that_never_ends: ToldForEver => ["leak", "reaping"];
    a_post_that_is_acknowledged_and_forgotten: PostForgotten => ["lost"];
    a_publication_that_overtakes_others: Overtaken => ["lost", "order", "doubled", "not owed", "frames", "handshake"];
    a_tick_that_is_overslept: TickOverslept => ["liveness"];
    an_aborted_accept_that_ends_accepting: AbortEndsAccepting => ["served", "liveness"];
    a_rest_that_is_too_long: LongRest => ["served"];
    a_violation_that_is_answered_wrongly: WrongCode => ["violation"];
    an_interrupted_read_that_ends_a_connection: InterruptBreaks => ["departure", "close", "handshake", "http"];
    an_interrupted_write_that_is_forgotten: InterruptForgets =>
        ["frames", "http", "handshake", "liveness", "close", "not owed", "order", "lost", "departure"];
    a_broken_stream_that_is_kept: BrokenIsKept => ["departure", "spinning", "leak", "reaping"];
    a_compressor_that_remembers_too_much: ContextShared => ["frames", "not owed"];
    a_promise_that_is_kept_for_the_dead: MemoryKept => ["leak"];
    an_assertion_that_does_not_hold: Panics => ["panic"];
    a_stall_of_our_own_that_is_blamed_on_peers: OwnStallBlamed => ["departure", "handshake", "close"];
}

/// The seeds that show mistakes show none where there is none.
#[test]
fn no_mistake_is_found_where_none_is_made() {
    make(None);
    let failed = (0..40).find_map(|seed| run(seed, None).failure.map(|failure| (seed, failure)));
    assert_eq!(failed, None);
}
