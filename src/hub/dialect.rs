//! Dialects: the wire forms of one publication, and who in a topic is sent which.
//!
//! Fifty thousand compressed peers need two compressions of a publication at most, not fifty thousand, if it is
//! compressed without context takeover (RFC 7692 §7.1.1) and in one of two windows. A message made for the smallest
//! window can be read by whoever asked for a small one; whoever asked for none gets the largest. And whoever wants to know the
//! offset of each message is sent it as JSON, and who speaks Socket.IO is sent it as an event; these are not compressed.
//!
//! Invariant: a topic in which everybody is sent plain frames keeps nothing about dialects.

/// A wire form of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Dialect {
    /// As it was published.
    #[default]
    Raw,
    /// Deflated with the largest window, 32 KiB.
    Wide,
    /// Deflated with the smallest window, 512 bytes: for whoever asked for less than the largest
    /// (RFC 7692 §7.1.2.1).
    Narrow,
    /// As JSON, with channel and offset: [`stentor.v1`](super::framed).
    Framed,
    /// As an event of Socket.IO ([`bridge`](crate::socketio::bridge)).
    Event,
}

impl Dialect {
    /// The compressed ones, in the order of their [`slot`](Self::slot).
    pub const DEFLATED: [Self; 2] = [Self::Wide, Self::Narrow];

    /// How many there are, the plain one included.
    pub const COUNT: usize = 3 + Self::DEFLATED.len();

    /// The place of a compressed dialect in an array of them.
    #[inline]
    #[must_use]
    pub const fn slot(self) -> Option<usize> {
        match self {
            Self::Raw | Self::Framed | Self::Event => None,
            Self::Wide => Some(0),
            Self::Narrow => Some(1),
        }
    }

    /// For a peer that reads no window larger than that of `bits`.
    #[must_use]
    pub const fn within(bits: u8) -> Self {
        if bits >= Self::Wide.window_bits() { Self::Wide } else { Self::Narrow }
    }

    /// The window as RFC 7692 §7.1.2 counts it: the base-2 logarithm of its size; 0 without compression.
    #[must_use]
    pub const fn window_bits(self) -> u8 {
        match self {
            Self::Raw | Self::Framed | Self::Event => 0,
            Self::Wide => 15,
            Self::Narrow => 9,
        }
    }
}

/// Who in a topic is sent what, by position.
#[derive(Debug, Default)]
pub(super) struct Dialects {
    /// Empty while everybody is sent plain frames, else as long as the subscribers.
    by_position: Vec<Dialect>,
    /// How many of each dialect are there, the plain one left out.
    speakers: [u32; Dialect::COUNT],
}

impl Dialects {
    /// Somebody comes to stand at `position`, behind everybody else.
    pub(super) fn join(&mut self, position: usize, dialect: Dialect) {
        if self.by_position.is_empty() && dialect == Dialect::Raw {
            return;
        }
        self.by_position.resize(position, Dialect::Raw);
        self.by_position.push(dialect);
        if dialect != Dialect::Raw {
            self.speakers[dialect as usize] += 1;
        }
    }

    /// Who stood at `position` has left.
    pub(super) fn leave(&mut self, position: usize) {
        if let Some(dialect) = self.by_position.get_mut(position).map(std::mem::take)
            && dialect != Dialect::Raw
        {
            self.speakers[dialect as usize] -= 1;
        }
    }

    /// Who stands at `from` comes to stand at `to`, further to the front.
    pub(super) fn move_to(&mut self, from: usize, to: usize) {
        if let Some(&dialect) = self.by_position.get(from) {
            self.by_position[to] = dialect;
        }
    }

    /// Only the first `kept` positions are left; without anybody who is sent anything but plain frames, nothing is.
    pub(super) fn truncate(&mut self, kept: usize) {
        if self.speakers == [0; Dialect::COUNT] {
            self.by_position = Vec::new();
        } else {
            self.by_position.truncate(kept);
            self.by_position.shrink_to(kept * 2);
        }
    }

    /// Whether anybody is sent `dialect`; not asked of [`Dialect::Raw`].
    pub(super) fn is_spoken(&self, dialect: Dialect) -> bool {
        self.speakers[dialect as usize] > 0
    }

    /// What each is sent, as it is now; nothing if all are sent plain frames.
    pub(super) fn snapshot(&self) -> Box<[Dialect]> {
        if self.speakers == [0; Dialect::COUNT] { Box::default() } else { self.by_position.as_slice().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_for_a_small_window_gets_the_smallest() {
        let asked = (8..=15).map(Dialect::within).collect::<Vec<_>>();
        assert_eq!(asked, [[Dialect::Narrow; 7].as_slice(), &[Dialect::Wide]].concat());
        for (slot, dialect) in Dialect::DEFLATED.into_iter().enumerate() {
            assert_eq!((dialect.slot(), Dialect::within(dialect.window_bits())), (Some(slot), dialect));
        }
    }

    #[test]
    fn nothing_is_kept_where_nobody_is_sent_compressed_frames() {
        let mut dialects = Dialects::default();
        (0..3).for_each(|position| dialects.join(position, Dialect::Raw));
        assert!(dialects.snapshot().is_empty());
        dialects.join(3, Dialect::Narrow);
        dialects.join(4, Dialect::Raw);
        assert_eq!(
            &*dialects.snapshot(),
            [Dialect::Raw, Dialect::Raw, Dialect::Raw, Dialect::Narrow, Dialect::Raw]
        );
        assert!(dialects.is_spoken(Dialect::Narrow) && !dialects.is_spoken(Dialect::Wide));
        dialects.move_to(3, 0);
        dialects.truncate(1);
        assert_eq!(&*dialects.snapshot(), [Dialect::Narrow]);
        dialects.leave(0);
        assert!(dialects.snapshot().is_empty());
        dialects.truncate(0);
        dialects.join(0, Dialect::Raw);
        assert!(dialects.by_position.is_empty());
    }
}
