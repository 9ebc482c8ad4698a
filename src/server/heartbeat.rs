//! When a connection is next due, and what for: pings, deadlines, stalls, as one pure function.
//!
//! Every connection has one entry in the wheel. When it comes up, [`next`] looks at what is true *now* and says
//! what to do; activity in between only wrote `last_heard` ([the wheel](crate::base::wheel) tells why).
//!
//! ```text
//!   quiet for an interval ──▶ ping ──▶ heard anything? ──▶ quiet again
//!                                 └──▶ not for pong_timeout ──▶ departed: idle
//! ```
//!
//! Invariants: a peer is declared dead only if it was silent for `pong_timeout` after a ping *and* we were not
//! stalled meanwhile: a pong that waits in our own receive buffer is not the peer's fault.

use super::config::Config;
use super::limits::LINGER;
use crate::base::tick::{Nanos, SECOND, Tick};
use crate::service::Departure;

/// Pings are due at multiples of this.
const SLOT_TICKS: u32 = 20;
/// What is heard within this time after a ping is its pong, and nothing else has been heard since.
const PONG_SOON: Nanos = SECOND;
/// So many who stand side by side have the same place in the round.
const NEIGHBOURS: u32 = 32;
/// 2⁶⁴ over the golden ratio: its multiples leave no gap and no heap on a circle (Knuth, "The Art of Computer Programming" 6.4).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Intervals shorter than this, which nobody has but tests, are kept to the tick.
const SLOTTED_MIN: Nanos = 4 * SECOND;

/// Where in the round of pings a connection stands.
///
/// Who came one after the other also lies side by side, in our memory and in the kernel's, which is out of the caches by the time a
/// round comes back to it; so neighbours are pinged together, and the groups are spread.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    first: u64,
}

impl Places {
    /// The first group stands here.
    #[must_use]
    pub const fn new(first: u64) -> Self {
        Self { first }
    }

    /// The place of the connection in this slot of the roster, as a fraction of 2⁶⁴.
    #[inline]
    #[must_use]
    pub const fn of(self, index: u32) -> u64 {
        ((index / NEIGHBOURS) as u64).wrapping_mul(GOLDEN).wrapping_add(self.first)
    }
}

/// What the wheel needs to know of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Vitals {
    /// When a byte was last received.
    pub last_heard: Tick,
    /// When an unanswered ping was sent.
    pub pinged: Option<Tick>,
    /// Whether it is pinged: an open WebSocket peer is, whatever it has begun.
    pub is_pinged: bool,
    /// When the current stage of its life ends, and how it is then said to have departed.
    pub deadline: Option<(Tick, Departure)>,
    /// When it last took something that had waited for it: a ping that stands behind the rest has left no sooner.
    pub moved: Tick,
    /// Since when nothing could be written although something waits.
    pub stalled: Option<Tick>,
}

/// What to do about a connection that came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing before this moment.
    Wait(Tick),
    /// Nothing, ever, unless something changes.
    Rest,
    /// Ping it and come back at this moment.
    Ping(Tick),
    /// It is to be let go.
    Depart(Departure),
}

/// Judges a connection at `now`. `place` is its [place](Places::of); `awake_since` is when our last own stall ended.
#[must_use]
pub fn next(vitals: &Vitals, now: Tick, awake_since: Tick, place: u64, config: &Config) -> Verdict {
    let mut wait: Option<Tick> = None;
    let mut sooner = |at: Tick| wait = Some(wait.map_or(at, |before| before.min(at)));

    if let Some((at, why)) = vitals.deadline {
        // What came, and what could have been written, while we were stopped is dealt with first.
        let at = latest(at, awake_since.after(LINGER));
        if !now.is_before(at) {
            return Verdict::Depart(why);
        }
        sooner(at);
    }
    if let (Some(since), true) = (vitals.stalled, config.stall_timeout > 0) {
        let at = latest(since, awake_since).after(config.stall_timeout);
        if !now.is_before(at) {
            return Verdict::Depart(Departure::SlowConsumer);
        }
        sooner(at);
    }
    if vitals.is_pinged && config.ping_interval > 0 {
        let unanswered = vitals.pinged.filter(|at| vitals.last_heard.is_before(*at));
        if let Some(pinged) = unanswered {
            let at = latest(latest(pinged, vitals.moved), awake_since).after(config.pong_timeout);
            if !now.is_before(at) {
                return Verdict::Depart(Departure::Idle);
            }
            sooner(at);
            // It may answer long before, fall silent, and be owed the next ping before this one would have been given up.
            sooner(now.after(config.ping_interval));
        } else {
            let (due, quiet_until) = match vitals.pinged {
                // All it has said for an interval is a pong: its pings are spread already, and stay in step.
                Some(pinged) if vitals.last_heard.is_before(pinged.after(PONG_SOON)) => {
                    let due = slotted(vitals.last_heard.after(config.ping_interval), config.ping_interval);
                    (due, due)
                }
                Some(_) | None => (
                    ping_due(vitals.last_heard, config.ping_interval, place),
                    slotted(vitals.last_heard.after(config.ping_interval / 4 * 3), config.ping_interval),
                ),
            };
            if !now.is_before(quiet_until) {
                // If the answer comes at once, the next ping may be due before this one would have been given up.
                let back = now.after(config.pong_timeout.min(config.ping_interval));
                let back = latest(slotted(back, config.ping_interval), now.after(0));
                return Verdict::Ping(wait.map_or(back, |at| at.min(back)));
            }
            sooner(due);
        }
    }
    wait.map_or(Verdict::Rest, Verdict::Wait)
}

/// When a peer that was last heard then is to be pinged, if it stays quiet.
///
/// Pings of the same fifth of a second leave together, and what wakes us for one pong has others with it: sending a
/// ping and reading its pong cost a third of what waking up for each of them does. A fifth, because a million peers then
/// are eight thousand at once, thirty turns full.
#[must_use]
pub const fn ping_due(last_heard: Tick, interval: Nanos, place: u64) -> Tick {
    slotted(last_heard.after(spread(interval, place)), interval)
}

/// The beginning of the fifth of a second in which `at` is.
const fn slotted(at: Tick, interval: Nanos) -> Tick {
    if interval < SLOTTED_MIN { at } else { Tick(at.0 - at.0 % SLOT_TICKS) }
}

/// Between three quarters of `interval` and all of it: peers that came together are soon spread out.
const fn spread(interval: Nanos, place: u64) -> Nanos {
    let back = (interval / 4) as u128 * place as u128;
    interval - (back >> 64) as Nanos
}

const fn latest(a: Tick, b: Tick) -> Tick {
    if a.is_before(b) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::of(seconds * SECOND)
    }

    fn quiet_since(seconds: u64) -> Vitals {
        Vitals {
            last_heard: at(seconds),
            pinged: None,
            is_pinged: true,
            deadline: None,
            moved: at(0),
            stalled: None,
        }
    }

    fn judge(vitals: &Vitals, now: u64) -> Verdict {
        next(vitals, at(now), at(0), 0, &Config::default())
    }

    #[test]
    fn who_was_heard_lately_is_left_alone() {
        assert_eq!(judge(&quiet_since(100), 110), Verdict::Wait(at(125)));
    }

    #[test]
    fn who_is_quiet_is_pinged_and_who_stays_quiet_is_dead() {
        let mut peer = quiet_since(100);
        assert_eq!(judge(&peer, 125), Verdict::Ping(at(145)));
        peer.pinged = Some(at(125));
        assert_eq!(judge(&peer, 130), Verdict::Wait(at(145)));
        assert_eq!(judge(&peer, 145), Verdict::Depart(Departure::Idle));
        peer.last_heard = at(126);
        assert_eq!(judge(&peer, 145), Verdict::Ping(at(165)));
        assert_eq!(judge(&peer, 144), Verdict::Wait(at(151)));
    }

    /// With a pong timeout longer than the interval it took twice the timeout to miss a peer that had answered once.
    #[test]
    fn who_has_answered_is_pinged_again_after_an_interval_however_long_a_pong_may_take() {
        let config = Config { ping_interval: 2 * SECOND, pong_timeout: 25 * SECOND, ..Config::default() };
        let judge = |peer: &Vitals, now| next(peer, at(now), at(0), 0, &config);
        let mut peer = quiet_since(100);
        assert_eq!(judge(&peer, 102), Verdict::Ping(at(104)));
        peer.pinged = Some(at(102));
        assert_eq!(judge(&peer, 104), Verdict::Wait(at(106)), "it may have been heard by then");
        assert_eq!(judge(&peer, 126), Verdict::Wait(at(127)));
        peer.last_heard = at(103);
        assert_eq!(judge(&peer, 105), Verdict::Ping(at(107)));
    }

    #[test]
    fn a_ping_that_waits_behind_what_the_peer_still_reads_is_not_unanswered() {
        let mut peer = Vitals { pinged: Some(at(125)), moved: at(140), ..quiet_since(100) };
        assert_eq!(judge(&peer, 145), Verdict::Wait(at(160)));
        peer.stalled = Some(at(140));
        assert_eq!(judge(&peer, 160), Verdict::Depart(Departure::Idle));
    }

    /// What begins to wait later is no reason for its pong to be late.
    #[test]
    fn a_ping_that_left_at_once_is_unanswered_whatever_waits_now() {
        let peer = Vitals { pinged: Some(at(125)), stalled: Some(at(140)), ..quiet_since(100) };
        assert_eq!(judge(&peer, 145), Verdict::Depart(Departure::Idle));
    }

    #[test]
    fn our_own_stall_is_not_the_peer_s_death() {
        let peer = Vitals { pinged: Some(at(125)), stalled: Some(at(120)), ..quiet_since(100) };
        let verdict = next(&peer, at(200), at(199), 0, &Config::default());
        assert_eq!(verdict, Verdict::Wait(at(219)));
    }

    #[test]
    fn a_stage_that_lasts_too_long_ends() {
        let peer = Vitals {
            deadline: Some((at(10), Departure::HandshakeTimeout)),
            is_pinged: false,
            ..quiet_since(0)
        };
        assert_eq!(judge(&peer, 9), Verdict::Wait(at(10)));
        assert_eq!(judge(&peer, 10), Verdict::Depart(Departure::HandshakeTimeout));
    }

    #[test]
    fn a_message_that_is_not_complete_in_time_ends_it_however_busily_bytes_come() {
        let mut peer = Vitals { deadline: Some((at(60), Departure::MessageTimeout)), ..quiet_since(0) };
        assert_eq!(judge(&peer, 25), Verdict::Ping(at(45)), "it is pinged meanwhile");
        peer.last_heard = at(59);
        assert_eq!(judge(&peer, 59), Verdict::Wait(at(60)));
        assert_eq!(judge(&peer, 60), Verdict::Depart(Departure::MessageTimeout));
    }

    #[test]
    fn a_deadline_that_passed_while_we_were_stopped_leaves_time_for_what_came_meanwhile() {
        let peer =
            Vitals { deadline: Some((at(10), Departure::PeerClosed)), is_pinged: false, ..quiet_since(0) };
        let judge = |now| next(&peer, at(now), at(70), 0, &Config::default());
        assert_eq!(judge(71), Verdict::Wait(at(72)));
        assert_eq!(judge(72), Verdict::Depart(Departure::PeerClosed));
    }

    #[test]
    fn who_does_not_read_is_given_up() {
        let peer = Vitals { stalled: Some(at(100)), ..quiet_since(129) };
        assert_eq!(judge(&peer, 129), Verdict::Wait(at(130)));
        assert_eq!(judge(&peer, 130), Verdict::Depart(Departure::SlowConsumer));
    }

    #[test]
    fn without_pings_and_debts_a_peer_may_rest_for_ever() {
        let config = Config { ping_interval: 0, ..Config::default() };
        assert_eq!(next(&quiet_since(0), at(1000), at(0), 7, &config), Verdict::Rest);
    }

    /// What a mass connect does: fifty thousand within a second, and no fifth of a second has many more pings than
    /// its share.
    #[test]
    fn those_who_came_together_are_not_pinged_together() {
        let places = Places::new(7);
        let mut slots = std::collections::BTreeMap::<u32, u32>::new();
        for n in 0..50_000_u32 {
            let due = ping_due(Tick::of(SECOND + u64::from(n) * 20_000), 25 * SECOND, places.of(n));
            assert_eq!(due.0 % SLOT_TICKS, 0);
            *slots.entry(due.0).or_default() += 1;
        }
        // A quarter of the interval is 31 such slots, and a second of coming five more.
        let most = slots.values().max().unwrap();
        assert!((30..=37).contains(&slots.len()) && *most <= 2 * 50_000 / 31, "{most} of {}", slots.len());
    }

    /// Otherwise what left together would soon wake us many times a second more, and one peer in four be pinged too early.
    #[test]
    fn who_only_answers_is_pinged_an_interval_later_with_those_it_was_pinged_with() {
        let config = Config::default();
        for heard in [12_501, 12_504, 12_530] {
            let vitals = Vitals { last_heard: Tick(heard), pinged: Some(Tick(12_500)), ..quiet_since(0) };
            let visits: Vec<_> =
                (14_500..15_100).map(|now| next(&vitals, Tick(now), at(0), 99, &config)).collect();
            let due = heard / SLOT_TICKS * SLOT_TICKS + 2500;
            assert_eq!(visits[0], Verdict::Wait(Tick(due)), "when its pong would have been given up");
            let pinged = visits.iter().position(|verdict| matches!(verdict, Verdict::Ping(_)));
            assert_eq!(pinged.map(|nth| nth as u32 + 14_500), Some(due));
        }
        // Whoever has said something else may have been made to by what all others heard as well.
        let vitals = Vitals { last_heard: Tick(12_700), pinged: Some(Tick(12_500)), ..quiet_since(0) };
        let due = |place| next(&vitals, Tick(14_500), at(0), place, &config);
        assert_ne!(due(0), due(u64::MAX));
    }

    /// It was, for the last slot of the spread: the loop asked again and again until the time had come.
    #[test]
    fn nobody_is_told_to_come_back_at_once() {
        // A pong may take less than a slot.
        let hasty = Config { pong_timeout: SECOND / 10, ..Config::default() };
        for place in [0, u64::MAX / 3, u64::MAX - u64::MAX / 500, u64::MAX] {
            for heard in 5_000..5_010 {
                let vitals = Vitals { last_heard: Tick(heard), ..quiet_since(0) };
                for now in heard..heard + 3_000 {
                    match next(&vitals, Tick(now), at(0), place, &hasty) {
                        Verdict::Wait(at) | Verdict::Ping(at) => {
                            assert!(Tick(now).is_before(at), "{now} {at:?} {place}");
                        }
                        other @ (Verdict::Rest | Verdict::Depart(_)) => panic!("{other:?}"),
                    }
                }
                let due = ping_due(Tick(heard), 25 * SECOND, place);
                let verdict = next(&vitals, due, at(0), place, &Config::default());
                assert!(matches!(verdict, Verdict::Ping(_)), "{verdict:?}");
            }
        }
    }

    #[test]
    fn pings_are_spread_over_a_quarter_of_the_interval() {
        let places = Places::new(u64::MAX / 3);
        let mut all: Vec<Nanos> = (0..100).map(|n| spread(25 * SECOND, places.of(n * NEIGHBOURS))).collect();
        all.sort_unstable();
        assert!(all.iter().all(|&ns| (75 * SECOND / 4..=25 * SECOND).contains(&ns)));
        // No gap is twice what a hundred even steps would be.
        let widest = all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(widest < 2 * (25 * SECOND / 4) / 100, "{widest}");
        assert_eq!(places.of(0), places.of(NEIGHBOURS - 1));
        assert_ne!(places.of(0), places.of(NEIGHBOURS));
    }
}
