//! The name of a connection: where it stands, and which of all that ever stood there it is.
//!
//! Commands, topics, the wheel and events of the system all hold names, never references. A slot is reused
//! as soon as its connection is reaped, so a name carries the accept count as well: a stale one finds nothing.
//!
//! Invariant: `index` is never `u32::MAX`, which marks names that are not of connections.

/// From here on, indices are those of links to other workers: a roster never has so many slots.
const LINKS: u32 = 1 << 31;

/// The name of a connection, eight bytes, unique over the life of the process (until 2³² accepts).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// The slot in the roster.
    pub index: u32,
    /// How many connections had been accepted when this one was.
    pub serial: u32,
}

impl ConnId {
    /// Nobody: the tombstone in a list of names.
    pub const NONE: Self = Self { index: u32::MAX, serial: u32::MAX };

    /// A name that no connection of the roster has: that of link `slot`, opened as the `serial`-th.
    #[must_use]
    pub const fn of_link(slot: u32, serial: u32) -> Self {
        Self { index: LINKS | slot, serial }
    }

    /// The slot, if this is the name of a link.
    #[inline]
    #[must_use]
    pub const fn link(self) -> Option<u32> {
        if self.index >= LINKS && self.index != u32::MAX { Some(self.index ^ LINKS) } else { None }
    }

    /// As one word, for the token that the system hands back with an event.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.serial as u64) << 32 | self.index as u64
    }

    /// The name that [`to_bits`](Self::to_bits) made into `bits`.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, serial: (bits >> 32) as u32 }
    }

    /// Whether this is [`NONE`](Self::NONE).
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.index == u32::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_no_connection() {
        assert_eq!(ConnId::of_link(5, 7).link(), Some(5));
        assert_eq!(ConnId { index: LINKS - 1, serial: 7 }.link(), None);
        assert_eq!(ConnId::NONE.link(), None);
    }

    #[test]
    fn a_name_survives_the_way_through_a_token() {
        for id in [
            ConnId { index: 0, serial: 0 },
            ConnId { index: 7, serial: u32::MAX },
            ConnId { index: u32::MAX - 1, serial: 1 },
        ] {
            assert_eq!(ConnId::from_bits(id.to_bits()), id);
            assert!(!id.is_none());
        }
        assert!(ConnId::from_bits(ConnId::NONE.to_bits()).is_none());
    }
}
