//! What the self-test's server does wrong on purpose, as a pure function of the messages it passes on.
//!
//! Why: the test claims that loadgen reports each fault *exactly*; so the fault must be decided by counting, not by
//! chance, and the one who commits it keeps the books.
//!
//! Invariants: the same messages in the same order suffer the same faults; probes and warm-up pass unharmed and
//! uncounted; `expected = delivered + lost + corrupt + withheld` at any time for what is not still held.

pub use super::books::Counts;
use stentor::base::marker::{Found, Marker, decode};

/// A deliberate fault. `every` counts deliveries: each `every`th suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None: what a clean server looks like.
    None,
    /// Everything passes on so much later.
    Delay {
        /// How much.
        ns: u64,
    },
    /// Before this message (from 0) the server stands still once.
    Stall {
        /// Which message.
        before: u64,
        /// For how long.
        ns: u64,
    },
    /// A connection's messages are not read for a while, so that its publisher is blocked.
    Deaf {
        /// From this message of the connection (from 0) on.
        before: u64,
        /// For how long; [`FOR_GOOD_NS`]: until the end.
        ns: u64,
    },
    /// Deliveries are left out.
    Loss {
        /// Each so-manieth.
        every: u64,
    },
    /// Deliveries are sent twice.
    Duplicate {
        /// Each so-manieth.
        every: u64,
    },
    /// A delivery is sent behind the next one to the same subscriber.
    Reorder {
        /// Each so-manieth.
        every: u64,
    },
    /// A bit of the marker is flipped.
    Corrupt {
        /// Each so-manieth.
        every: u64,
    },
    /// Everything is heard and nothing passed on.
    Silence,
    /// Messages of its own are mixed in, which nobody sent.
    Foreign {
        /// After each so-manieth delivery.
        every: u64,
    },
    /// Connections are answered with 503.
    Refuse {
        /// The first connections, so many, are spared.
        from: u64,
        /// Each so-manieth of the others.
        every: u64,
    },
    /// All further connections are answered with 503.
    Full {
        /// As soon as so many have been let in.
        after: u64,
    },
    /// Connections are let in and never told anything.
    Forget {
        /// The first connections, so many, are spared.
        from: u64,
        /// Each so-manieth of the others.
        every: u64,
    },
    /// Connections are told one message twice.
    Again {
        /// The first connections, so many, are spared.
        from: u64,
        /// Which of the messages that each was told, from 1.
        after: u64,
    },
    /// A publisher is not told what it has said.
    LossAtSender {
        /// Each so-manieth message.
        every: u64,
    },
    /// Whoever says goodbye is not let go.
    Cling,
    /// With little room in its sockets, everybody waits for who does not read.
    Wait,
    /// With little room in its sockets, what somebody who does not read should have is left out.
    Omit {
        /// With a stentor's notice.
        tells: bool,
    },
    /// With little room in its sockets, who does not read is cut without a close frame.
    CutSlow,
    /// Connections are cut without a close frame.
    Cut {
        /// Each so-manieth connection.
        every: u64,
        /// Before this message (from 0).
        before: u64,
    },
}

/// A deafness that does not end before the experiment.
pub const FOR_GOOD_NS: u64 = u64::MAX;
/// Clients of most experiments: connections with these numbers are the first of each.
pub const CLIENTS: u64 = 20;
/// From when on a delivery counts as slow.
pub const SLOW_NS: u64 = 100_000_000;

/// What stands between the hub and one subscriber.
#[derive(Debug, Default)]
pub struct Line {
    /// A delivery that waits for the next one to overtake it.
    held: Option<Vec<u8>>,
    /// It is never told anything.
    is_forgotten: bool,
    /// How many messages it was told.
    told: u64,
    /// The message with this number, from 1, is told twice; 0: none.
    again: u64,
    /// Left out since the last notice.
    missed: u64,
}

/// Commits the fault and keeps the books.
#[derive(Debug)]
pub struct Saboteur {
    fault: Fault,
    counts: Counts,
}

/// Whether a message is one of the measured ones; gives its marker.
pub fn measured(payload: &[u8]) -> Option<Marker> {
    match decode(payload) {
        Found::Marker(marker) => Some(marker).filter(|m| m.flags & (Marker::WARM_UP | Marker::PROBE) == 0),
        Found::Absent | Found::Corrupt => None,
    }
}

impl Saboteur {
    /// A saboteur with clean books.
    pub fn new(fault: Fault) -> Self {
        Self { fault, counts: Counts { lag_min_ns: u64::MAX, ..Counts::default() } }
    }

    /// The books.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Notes a message heard; returns how long to stand still before passing it on, in nanoseconds.
    pub fn hear(&mut self, payload: &[u8]) -> u64 {
        let Some(marker) = measured(payload) else { return 0 };
        let number = self.counts.heard;
        self.counts.heard += 1;
        self.counts.lagged += u64::from(u64::from(marker.send_lag_ns) >= SLOW_NS);
        if let Fault::Stall { before, ns } = self.fault
            && before == number
        {
            return ns;
        }
        0
    }

    /// Decides about a new connection (from 0): `None` means refuse it.
    pub fn admit(&mut self, connection: u64) -> Option<Line> {
        let counts = &mut self.counts;
        let refuses = matches!(self.fault, Fault::Refuse { from, every } if due_from(connection, from, every))
            || matches!(self.fault, Fault::Full { after } if counts.admitted >= after);
        if refuses {
            counts.refused += 1;
            return None;
        }
        counts.admitted += 1;
        let mut line = Line::default();
        if let Fault::Forget { from, every } = self.fault {
            line.is_forgotten = due_from(connection, from, every);
            counts.forgotten += u64::from(line.is_forgotten);
        }
        if let Fault::Again { from, after } = self.fault {
            line.again = if connection >= from { after } else { 0 };
        }
        Some(line)
    }

    /// Somebody said goodbye and is not let go.
    pub fn cling(&mut self) {
        self.counts.unanswered += 1;
    }

    /// Somebody's socket is full; whether the connection is cut for that.
    pub fn meet_full(&mut self, line: &mut Line, payload: &[u8]) -> bool {
        if self.fault == Fault::CutSlow {
            self.counts.cut += 1;
            return true;
        }
        if measured(payload).is_some() {
            self.counts.expected += 1;
            self.counts.lost += 1;
            line.missed += 1;
        }
        false
    }

    /// What is to be told about what was left out, now that there is room.
    pub fn notice(&mut self, line: &mut Line) -> Option<String> {
        let missed = std::mem::take(&mut line.missed);
        if missed == 0 || self.fault != (Fault::Omit { tells: true }) {
            return None;
        }
        self.counts.told += 1;
        Some(format!("{{\"type\":\"gap\",\"missed\":{missed}}}"))
    }

    /// Decides before a message is passed on whether this connection (from 0) is cut now.
    pub fn cuts(&mut self, connection: u64) -> bool {
        let now = self.counts.heard;
        let cut =
            matches!(self.fault, Fault::Cut { every, before } if due(connection, every) && now > before);
        self.counts.cut += u64::from(cut);
        cut
    }

    /// Passes one message on to one subscriber at `now_ns`, who may be its sender: appends to `out` what is to be sent, in order.
    pub fn deliver(
        &mut self,
        line: &mut Line,
        payload: &[u8],
        is_sender: bool,
        now_ns: u64,
        out: &mut Vec<Vec<u8>>,
    ) {
        let Some(marker) = measured(payload) else {
            if self.fault != Fault::Silence {
                out.push(payload.to_vec());
            }
            return;
        };
        let number = self.counts.expected;
        self.counts.expected += 1;
        let lag_ns = now_ns.saturating_sub(marker.intended_ns);
        if self.keeps_back(line, payload, number, is_sender, out) {
            return;
        }
        if matches!(self.fault, Fault::Reorder { every } if due(number, every) && line.held.is_none()) {
            line.held = Some(payload.to_vec());
            self.note(lag_ns);
            return;
        }
        self.mix_in(line, payload, number, out);
        self.note(lag_ns);
        out.push(payload.to_vec());
        if let Some(held) = line.held.take() {
            self.counts.reordered += 1;
            out.push(held);
        }
    }

    /// Whether a delivery is not made, or made damaged.
    fn keeps_back(
        &mut self,
        line: &mut Line,
        payload: &[u8],
        number: u64,
        is_sender: bool,
        out: &mut Vec<Vec<u8>>,
    ) -> bool {
        if line.is_forgotten {
            self.counts.withheld += 1;
            return true;
        }
        line.told += 1;
        let message = self.counts.heard.saturating_sub(1);
        let is_lost = self.fault == Fault::Silence
            || matches!(self.fault, Fault::Loss { every } if due(number, every))
            || matches!(self.fault, Fault::LossAtSender { every } if is_sender && due(message, every));
        if is_lost {
            self.counts.lost += 1;
            return true;
        }
        let is_damaged = matches!(self.fault, Fault::Corrupt { every } if due(number, every));
        if is_damaged {
            self.counts.corrupt += 1;
            out.push(damaged(payload));
        }
        is_damaged
    }

    /// Sends what is too much, before the delivery itself.
    fn mix_in(&mut self, line: &Line, payload: &[u8], number: u64, out: &mut Vec<Vec<u8>>) {
        let is_again = matches!(self.fault, Fault::Duplicate { every } if due(number, every))
            || matches!(self.fault, Fault::Again { .. } if line.told == line.again);
        if is_again {
            self.counts.duplicate += 1;
            out.push(payload.to_vec());
        }
        if matches!(self.fault, Fault::Foreign { every } if due(number, every)) {
            self.counts.foreign += 1;
            out.push(b"nobody sent this".to_vec());
        }
    }

    /// Lets go of a held delivery when nothing is left to overtake it.
    pub fn flush(&mut self, line: &mut Line) -> Option<Vec<u8>> {
        line.held.take()
    }

    fn note(&mut self, lag_ns: u64) {
        self.counts.delivered += 1;
        self.counts.lag_min_ns = self.counts.lag_min_ns.min(lag_ns);
        self.counts.lag_max_ns = self.counts.lag_max_ns.max(lag_ns);
        self.counts.slow += u64::from(lag_ns >= SLOW_NS);
    }
}

/// Whether number `n` (from 0) is the `every`th, the twice `every`th, …; never for 0.
const fn due(n: u64, every: u64) -> bool {
    every > 0 && n % every == every - 1
}

/// The same for the connections from the number `from` on; never for those before.
const fn due_from(connection: u64, from: u64, every: u64) -> bool {
    connection >= from && due(connection - from, every)
}

impl Fault {
    /// Whether it shows only when sockets have little room.
    pub(super) const fn wants_little_room(self) -> bool {
        matches!(self, Self::Wait | Self::Omit { .. } | Self::CutSlow)
    }

    /// Whether a socket that is full is waited for.
    pub(super) const fn waits(self) -> bool {
        !matches!(self, Self::Omit { .. } | Self::CutSlow)
    }
}

/// Flips one bit where the marker says when it was intended, so that only the CRC can tell.
fn damaged(payload: &[u8]) -> Vec<u8> {
    const INTENDED_AT: usize = 16;
    let mut payload = payload.to_vec();
    if let Some(byte) = payload.get_mut(INTENDED_AT) {
        *byte ^= 0x10;
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: u32, flags: u8) -> Vec<u8> {
        let mut payload = vec![0; 64];
        Marker { sequence, flags, intended_ns: 1_000, ..Marker::default() }.encode(&mut payload);
        payload
    }

    /// Passes ten messages to one subscriber; returns the books and what arrived.
    fn ten(fault: Fault) -> (Counts, Vec<Found>) {
        let (mut saboteur, mut line, mut out) = (Saboteur::new(fault), Line::default(), Vec::new());
        for sequence in 0..10 {
            saboteur.hear(&message(sequence, 0));
            saboteur.deliver(&mut line, &message(sequence, 0), false, 5_000, &mut out);
        }
        out.extend(saboteur.flush(&mut line));
        (*saboteur.counts(), out.iter().map(|payload| decode(payload)).collect())
    }

    fn sequences(found: &[Found]) -> Vec<u32> {
        let sequence = |found: &Found| match found {
            Found::Marker(marker) => Some(marker.sequence),
            Found::Absent | Found::Corrupt => None,
        };
        found.iter().filter_map(sequence).collect()
    }

    #[test]
    fn each_fault_happens_as_often_as_the_books_say() {
        let (counts, found) = ten(Fault::Loss { every: 3 });
        assert_eq!((counts.lost, counts.delivered, found.len()), (3, 7, 7));
        let (counts, found) = ten(Fault::Duplicate { every: 5 });
        assert_eq!((counts.duplicate, found.len()), (2, 12));
        assert_eq!(sequences(&found), [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 9]);
        let (counts, found) = ten(Fault::Corrupt { every: 4 });
        assert_eq!((counts.corrupt, counts.delivered), (2, 8));
        assert_eq!(found.iter().filter(|found| **found == Found::Corrupt).count(), 2);
        let (counts, found) = ten(Fault::Foreign { every: 4 });
        assert_eq!((counts.foreign, counts.delivered), (2, 10));
        assert_eq!(found.iter().filter(|found| **found == Found::Absent).count(), 2);
        let (counts, found) = ten(Fault::Silence);
        assert_eq!((counts.lost, counts.heard, found.len()), (10, 10, 0));
    }

    #[test]
    fn a_held_delivery_with_nothing_behind_it_was_not_reordered() {
        let (counts, found) = ten(Fault::Reorder { every: 5 });
        assert_eq!(sequences(&found), [0, 1, 2, 3, 5, 4, 6, 7, 8, 9]);
        assert_eq!((counts.reordered, counts.delivered, counts.lost), (1, 10, 0));
    }

    #[test]
    fn warm_up_and_probes_pass_unharmed() {
        let mut saboteur = Saboteur::new(Fault::Loss { every: 1 });
        let mut out = Vec::new();
        for flags in [Marker::WARM_UP, Marker::PROBE] {
            saboteur.hear(&message(0, flags));
            saboteur.deliver(&mut Line::default(), &message(0, flags), false, 0, &mut out);
        }
        assert_eq!((out.len(), saboteur.counts().heard, saboteur.counts().expected), (2, 0, 0));
    }

    #[test]
    fn newcomers_suffer_and_the_first_are_spared() {
        let admitted = |fault: Fault| {
            let mut saboteur = Saboteur::new(fault);
            let lines: Vec<_> = (0..8).map(|connection| saboteur.admit(connection)).collect();
            (saboteur, lines)
        };
        let (saboteur, lines) = admitted(Fault::Refuse { from: 4, every: 2 });
        assert_eq!(
            lines.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, true, true, true, true, false, true, false]
        );
        assert_eq!((saboteur.counts().admitted, saboteur.counts().refused), (6, 2));
        let (saboteur, lines) = admitted(Fault::Full { after: 5 });
        assert_eq!((lines.iter().flatten().count(), saboteur.counts().refused), (5, 3));

        let told = |fault: Fault, connection: usize| {
            let (mut saboteur, mut lines) = admitted(fault);
            let (line, mut out) = (lines[connection].as_mut().expect("let in"), Vec::new());
            (0..10)
                .for_each(|sequence| saboteur.deliver(line, &message(sequence, 0), false, 5_000, &mut out));
            (out.len(), *saboteur.counts())
        };
        let forget = Fault::Forget { from: 4, every: 2 };
        assert_eq!((told(forget, 3).0, told(forget, 4).0), (10, 10));
        let (heard, counts) = told(forget, 5);
        assert_eq!((heard, counts.withheld, counts.forgotten, counts.lost), (0, 10, 2, 0));
        let again = Fault::Again { from: 4, after: 3 };
        assert_eq!((told(again, 3).0, told(again, 4).0, told(again, 4).1.duplicate), (10, 11, 1));
    }

    #[test]
    fn what_a_full_socket_does_not_get_is_lost_and_told_if_so_wanted() {
        for (fault, notice) in [
            (Fault::Omit { tells: true }, Some("{\"type\":\"gap\",\"missed\":2}".to_owned())),
            (Fault::Omit { tells: false }, None),
        ] {
            let (mut saboteur, mut line) = (Saboteur::new(fault), Line::default());
            assert!((0..2).all(|sequence| !saboteur.meet_full(&mut line, &message(sequence, 0))));
            assert_eq!((saboteur.counts().lost, saboteur.counts().expected), (2, 2));
            assert_eq!(saboteur.notice(&mut line), notice);
            assert_eq!(saboteur.notice(&mut line), None, "it is told once");
        }
        let mut saboteur = Saboteur::new(Fault::CutSlow);
        assert!(saboteur.meet_full(&mut Line::default(), &message(0, 0)));
        assert_eq!((saboteur.counts().cut, saboteur.counts().expected), (1, 0));
    }

    #[test]
    fn times_are_counted_from_the_intended_time() {
        let mut saboteur = Saboteur::new(Fault::None);
        for now_ns in [2_000, SLOW_NS + 1_000] {
            saboteur.deliver(&mut Line::default(), &message(0, 0), false, now_ns, &mut Vec::new());
        }
        let counts = saboteur.counts();
        assert_eq!((counts.lag_min_ns, counts.lag_max_ns, counts.slow), (1_000, SLOW_NS, 1));
    }
}
