//! The name of a connection: where it stands, and which of all that ever stood there it is.
//!
//! Commands, topics, the wheel and events of the system all hold names, never references. A slot is reused
//! as soon as its connection is reaped, so a name carries the accept count as well: a stale one finds nothing.
//!
//! Invariant: `index` is never `u32::MAX`, which marks names that are not of connections.

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
