//! How many connections each address has.
//!
//! The address is not kept in the connection, which must stay small: a table beside it says for each connection which
//! address it is counted under, and exists only when addresses are limited.
//!
//! Invariants: an address without connections has no entry; whoever is over its limit is not counted under it, so that a
//! place is free as soon as one who has a place leaves; at most [`OVER_MAX`] are over at once.

use std::collections::HashMap;
use std::net::IpAddr;

use super::super::limits::OVER_MAX;
use crate::base::id::ConnId;

/// Whom we take for one peer: an IPv4 address, or the network of an IPv6 one. A subscriber of IPv6 has a /64 at least
/// and may use each of its addresses (RFC 6177), so that a limit on single ones would limit nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    V4(u32),
    V6(u64),
}

/// The table.
#[derive(Debug)]
pub struct Addresses {
    max: usize,
    /// How many places each source has.
    taken: HashMap<Source, usize>,
    /// What each connection has: a place of this source, or none.
    places: HashMap<ConnId, Option<Source>>,
    /// Connections without a place.
    over: usize,
}

/// What becomes of a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has a place.
    In,
    /// Its address has all its places: it is to be told so.
    Over,
    /// The same, and too many are waiting to be told.
    Full,
}

impl Addresses {
    /// A table where one address may have `max` connections.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, taken: HashMap::new(), places: HashMap::new(), over: 0 }
    }

    /// Gives `id` at `ip` a place, or says why not.
    pub fn enter(&mut self, id: ConnId, ip: IpAddr) -> Verdict {
        let source = Source::of(ip);
        let taken = self.taken.entry(source).or_default();
        if *taken < self.max {
            *taken += 1;
            self.places.insert(id, Some(source));
            return Verdict::In;
        }
        if self.over >= OVER_MAX {
            return Verdict::Full;
        }
        self.over += 1;
        self.places.insert(id, None);
        Verdict::Over
    }

    /// Gives back what `id` has, if anything.
    pub fn leave(&mut self, id: ConnId) {
        match self.places.remove(&id) {
            None => {}
            Some(None) => self.over -= 1,
            Some(Some(source)) => {
                if let Some(taken) = self.taken.get_mut(&source) {
                    *taken -= 1;
                    if *taken == 0 {
                        self.taken.remove(&source);
                    }
                }
            }
        }
    }

    /// Whether `id` is here without a place.
    #[must_use]
    pub fn is_over(&self, id: ConnId) -> bool {
        self.places.get(&id) == Some(&None)
    }
}

impl Source {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(serial: u32) -> ConnId {
        ConnId { index: serial, serial }
    }

    fn enter(addresses: &mut Addresses, serial: u32, ip: &str) -> Verdict {
        addresses.enter(id(serial), ip.parse().unwrap())
    }

    #[test]
    fn each_address_has_its_own_places_and_gets_them_back() {
        let mut addresses = Addresses::new(2);
        assert_eq!(enter(&mut addresses, 0, "10.0.0.1"), Verdict::In);
        assert_eq!(enter(&mut addresses, 1, "::ffff:10.0.0.1"), Verdict::In);
        assert_eq!(enter(&mut addresses, 2, "10.0.0.1"), Verdict::Over);
        assert_eq!(enter(&mut addresses, 3, "10.0.0.2"), Verdict::In);
        assert!(addresses.is_over(id(2)) && !addresses.is_over(id(0)) && !addresses.is_over(id(9)));
        addresses.leave(id(0));
        assert_eq!(enter(&mut addresses, 4, "10.0.0.1"), Verdict::In);
        for serial in [1, 2, 3, 4, 4, 99] {
            addresses.leave(id(serial));
        }
        assert!(addresses.taken.is_empty() && addresses.places.is_empty() && addresses.over == 0);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let mut addresses = Addresses::new(1);
        assert_eq!(enter(&mut addresses, 0, "2001:db8:0:1::1"), Verdict::In);
        assert_eq!(enter(&mut addresses, 1, "2001:db8:0:1:ffff::2"), Verdict::Over);
        assert_eq!(enter(&mut addresses, 2, "2001:db8:0:2::1"), Verdict::In);
        assert_eq!(enter(&mut addresses, 3, "::1"), Verdict::In);
        // 0.0.0.0 and ::, of two families, are two.
        assert_eq!(enter(&mut addresses, 4, "0.0.0.0"), Verdict::In);
    }

    #[test]
    fn only_so_many_wait_to_be_told() {
        let mut addresses = Addresses::new(1);
        assert_eq!(enter(&mut addresses, 0, "10.0.0.1"), Verdict::In);
        for serial in 1..=OVER_MAX as u32 {
            assert_eq!(enter(&mut addresses, serial, "10.0.0.1"), Verdict::Over);
        }
        assert_eq!(enter(&mut addresses, 100, "10.0.0.1"), Verdict::Full);
        addresses.leave(id(100));
        addresses.leave(id(1));
        assert_eq!(enter(&mut addresses, 101, "10.0.0.1"), Verdict::Over);
        assert_eq!(addresses.places.len(), 1 + OVER_MAX);
    }
}
