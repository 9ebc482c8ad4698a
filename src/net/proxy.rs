//! The PROXY protocol, version 2: whom a connection is from, as told by the proxy in front of us.
//!
//! A proxy that passes streams on hides its clients' addresses; before the first byte of a client it therefore writes a
//! header of its own. Only a proxy may: whoever else wrote one could claim to be anybody. So it is read on connections
//! from [listed](Proxies) addresses, where it must be, and nowhere else. It stands before TLS.
//!
//! ```text
//!    0              12        13       14       16                    16 + length
//!    ├ signature ───┼ ver|cmd ┼ family ┼ length ┼ addresses ┬ TLVs ───┤ the client's own bytes
//! ```
//!
//! Invariants: pure: bytes in, an address out; no byte behind the header is asked for; what is kept does not depend on
//! the length announced; how the header was cut makes no difference.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The first twelve bytes: no line of text of any protocol begins so.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;
/// The longest addresses that we read: two of IPv6, two ports. Those of Unix sockets (216) are skipped.
const ADDRESSES_BYTES: usize = 36;
/// Read and thrown away at a time, of what is skipped.
const SKIPPED_BYTES: usize = 64;
/// The most that may stand behind the first 16 bytes. The specification has a header fit into one segment of 536 bytes;
/// twice that leaves room for what proxies of clouds and TLS add.
pub const LENGTH_MAX: usize = 1072;

/// A header that is arriving.
#[derive(Debug, Clone)]
pub struct ProxyHeader {
    /// The header up to the end of the addresses, then room for what is skipped.
    bytes: [u8; FIXED_BYTES + ADDRESSES_BYTES + SKIPPED_BYTES],
    /// How much of the header has come.
    have: usize,
}

/// Whom a connection is from, according to its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// A client with this address.
    Client(SocketAddr),
    /// A client of a Unix socket on the proxy's machine.
    LocalClient,
    /// The proxy itself (`LOCAL`, as in health checks), or it does not know (`UNSPEC`).
    Itself,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It does not begin with the signature.
    Signature,
    /// Another version than 2.
    Version,
    /// Neither `LOCAL` nor `PROXY`.
    Command,
    /// Neither a stream of IPv4, IPv6 or Unix, nor unspecified.
    Family,
    /// Too short for its addresses, or longer than [`LENGTH_MAX`].
    Length,
}

impl Wrong {
    /// The metric label, if `error` says that a proxy's header was wrong.
    #[must_use]
    pub fn label_of(error: &io::Error) -> Option<&'static str> {
        error.get_ref()?.downcast_ref::<Self>().map(|wrong| wrong.label())
    }

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Version => "version",
            Self::Command => "command",
            Self::Family => "family",
            Self::Length => "length",
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PROXY protocol: wrong {}", self.label())
    }
}

impl std::error::Error for Wrong {}

impl Default for ProxyHeader {
    fn default() -> Self {
        Self { bytes: [0; _], have: 0 }
    }
}

impl ProxyHeader {
    /// Where the next bytes go: never more than are still missing of the header, never nothing.
    pub fn room(&mut self) -> &mut [u8] {
        let read_to = self.read_to();
        if self.have < read_to {
            return &mut self.bytes[self.have..read_to];
        }
        let left = self.end().saturating_sub(self.have).min(SKIPPED_BYTES);
        &mut self.bytes[FIXED_BYTES + ADDRESSES_BYTES..][..left]
    }

    /// Takes note of `n` bytes that came into [`room`](Self::room). `None` while the header is not whole.
    ///
    /// # Errors
    /// At the first byte that is wrong.
    pub fn fill(&mut self, n: usize) -> Result<Option<Claim>, Wrong> {
        let before = self.have;
        self.have += n;
        if before < FIXED_BYTES {
            self.check()?;
        }
        let is_whole = self.have >= FIXED_BYTES && self.have >= self.end();
        Ok(is_whole.then(|| self.claim()))
    }

    /// Checks what has come of the first sixteen bytes.
    fn check(&self) -> Result<(), Wrong> {
        let fixed = &self.bytes[..self.have.min(FIXED_BYTES)];
        if !fixed.iter().zip(&SIGNATURE).all(|(a, b)| a == b) {
            return Err(Wrong::Signature);
        }
        if let Some(byte) = fixed.get(12) {
            match (byte >> 4, byte & 0x0f) {
                (2, 0 | 1) => {}
                (2, _) => return Err(Wrong::Command),
                (_, _) => return Err(Wrong::Version),
            }
        }
        if fixed.get(13).is_some() && self.addresses().is_none() {
            return Err(Wrong::Family);
        }
        let is_complete = fixed.len() == FIXED_BYTES;
        if is_complete && (self.length() > LENGTH_MAX || Some(self.length()) < self.addresses()) {
            return Err(Wrong::Length);
        }
        Ok(())
    }

    /// How long the addresses are, by command and family; `None` for a family that is no stream's.
    fn addresses(&self) -> Option<usize> {
        match (self.bytes[12] & 0x0f, self.bytes[13]) {
            // Of a LOCAL header nothing else counts, whatever it says.
            (0, _) | (_, 0x00) => Some(0),
            (_, 0x11) => Some(12),
            (_, 0x21) => Some(36),
            (_, 0x31) => Some(216),
            (_, _) => None,
        }
    }

    fn length(&self) -> usize {
        usize::from(u16::from_be_bytes([self.bytes[14], self.bytes[15]]))
    }

    fn end(&self) -> usize {
        FIXED_BYTES + self.length()
    }

    /// Up to where the header is kept: it ends before the client's bytes.
    fn read_to(&self) -> usize {
        if self.have < FIXED_BYTES { FIXED_BYTES } else { self.end().min(FIXED_BYTES + ADDRESSES_BYTES) }
    }

    fn claim(&self) -> Claim {
        if self.bytes[12] & 0x0f == 0 {
            return Claim::Itself;
        }
        let port = |at: usize| u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        match self.bytes[13] {
            0x11 => {
                let [a, b, c, d] = self.array(FIXED_BYTES);
                Claim::Client((Ipv4Addr::new(a, b, c, d), port(24)).into())
            }
            0x21 => Claim::Client((Ipv6Addr::from(self.array::<16>(FIXED_BYTES)), port(48)).into()),
            0x31 => Claim::LocalClient,
            _ => Claim::Itself,
        }
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|n| self.bytes[at + n])
    }
}

/// The proxies whose word is taken for a client's address: `10.0.0.0/8,::1,unix`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Proxy>);

/// One entry of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proxy {
    /// All addresses with these leading bits.
    Network(IpAddr, u8),
    /// Whoever may connect to a Unix socket of ours.
    Unix,
}

impl Proxies {
    /// Whether nobody is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a peer at `ip` is listed.
    #[must_use]
    pub fn has(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|proxy| match proxy {
            Proxy::Network(network, bits) => leading(ip, *bits) == Some(*network),
            Proxy::Unix => false,
        })
    }

    /// Whether peers of Unix sockets are.
    #[must_use]
    pub fn has_unix(&self) -> bool {
        self.0.contains(&Proxy::Unix)
    }
}

/// `ip` with all but its first `bits` cleared; `None` if it has not as many.
fn leading(ip: IpAddr, bits: u8) -> Option<IpAddr> {
    let bits = u32::from(bits);
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits)?).unwrap_or(0);
            Some(Ipv4Addr::from_bits(ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(bits)?).unwrap_or(0);
            Some(Ipv6Addr::from_bits(ip.to_bits() & mask).into())
        }
    }
}

impl FromStr for Proxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|one| one.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Proxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let wanted = "a proxy is IP, IP/BITS or unix, as in 10.0.0.0/8 or ::1";
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().map_err(|_| format!("`{text}`: {wanted}"))?;
        let whole = if ip.is_ipv4() { 32 } else { 128 };
        let bits = match bits.map(str::parse) {
            None => whole,
            Some(Ok(bits)) if bits <= whole => bits,
            Some(_) => return Err(format!("`{text}`: a network has from 0 to {whole} bits; {wanted}")),
        };
        match leading(ip, bits) {
            Some(network) if network == ip => Ok(Self::Network(network, bits)),
            Some(network) => Err(format!("`{text}`: this network is written {network}/{bits}")),
            None => Err(format!("`{text}`: {wanted}")),
        }
    }
}

impl fmt::Display for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, proxy) in self.0.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { "," })?;
            match proxy {
                Proxy::Network(ip, bits) => write!(f, "{ip}/{bits}")?,
                Proxy::Unix => f.write_str("unix")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    /// Feeds `bytes`, at most `most` at a time: the verdict, and how many were taken for it.
    fn read(bytes: &[u8], most: usize) -> (Result<Option<Claim>, Wrong>, usize) {
        let (mut header, mut taken) = (ProxyHeader::default(), 0);
        loop {
            let room = header.room();
            assert!(!room.is_empty(), "room is never nothing");
            let n = room.len().min(most).min(bytes.len() - taken);
            if n == 0 {
                return (Ok(None), taken);
            }
            room[..n].copy_from_slice(&bytes[taken..taken + n]);
            taken += n;
            match header.fill(n) {
                Ok(None) => {}
                verdict => return (verdict, taken),
            }
        }
    }

    const TCP4: [u8; 12] = [192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x34, 0x23, 0x29];

    fn tcp6() -> Vec<u8> {
        let from: Ipv6Addr = "2001:db8::7".parse().unwrap();
        [&from.octets()[..], &[0; 16], &[0x12, 0x34, 0x23, 0x29]].concat()
    }

    #[test]
    fn every_family_is_read_and_nothing_behind_the_header() {
        let tlvs = [&TCP4[..], &[4, 1, 44], &[b'x'; 300]].concat();
        let v4 = Claim::Client("192.0.2.7:4660".parse().unwrap());
        for (bytes, claim) in [
            (header(0x21, 0x11, &TCP4), v4),
            (header(0x21, 0x11, &tlvs), v4),
            (header(0x21, 0x21, &tcp6()), Claim::Client("[2001:db8::7]:4660".parse().unwrap())),
            (header(0x21, 0x31, &[b'/'; 216]), Claim::LocalClient),
            (header(0x21, 0x31, &[b'/'; 240]), Claim::LocalClient),
            (header(0x21, 0x00, b""), Claim::Itself),
            (header(0x21, 0x00, b"whatever"), Claim::Itself),
            (header(0x20, 0x00, b""), Claim::Itself),
            (header(0x20, 0x11, b"xyz"), Claim::Itself),
            (header(0x20, 0x77, &[0; LENGTH_MAX]), Claim::Itself),
        ] {
            let stream = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
            for most in [1, 2, 15, 16, 17, 100, 10_000] {
                assert_eq!(read(&stream, most), (Ok(Some(claim)), bytes.len()), "{bytes:?} by {most}");
            }
            assert_eq!(read(&bytes[..bytes.len() - 1], 7).0, Ok(None), "one byte is missing: {bytes:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_at_its_first_byte() {
        let too_long = [&SIGNATURE[..], &[0x21, 0x11], &(LENGTH_MAX as u16 + 1).to_be_bytes()].concat();
        for (bytes, wrong, at) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), Wrong::Signature, 1),
            (b"PROXY TCP4 192.0.2.7".to_vec(), Wrong::Signature, 1),
            (b"\x16\x03\x01".to_vec(), Wrong::Signature, 1),
            (b"\r\n\r\n\0\r\nQUIX\n".to_vec(), Wrong::Signature, 11),
            (header(0x11, 0x11, &TCP4), Wrong::Version, 13),
            (header(0x31, 0x11, &TCP4), Wrong::Version, 13),
            (header(0x22, 0x11, &TCP4), Wrong::Command, 13),
            (header(0x21, 0x12, &TCP4), Wrong::Family, 14),
            (header(0x21, 0x41, &TCP4), Wrong::Family, 14),
            (header(0x21, 0x11, &TCP4[..11]), Wrong::Length, 16),
            (header(0x21, 0x21, &TCP4), Wrong::Length, 16),
            (header(0x21, 0x31, &[0; 215]), Wrong::Length, 16),
            (too_long, Wrong::Length, 16),
        ] {
            assert_eq!(read(&bytes, 1), (Err(wrong), at), "{bytes:?}");
            assert_eq!(read(&bytes, 1000).0, Err(wrong), "{bytes:?}");
        }
    }

    #[test]
    fn proxies_are_networks_hosts_and_unix() {
        let list: Proxies = "10.0.0.0/8, 192.0.2.7,2001:db8::/32,::1,unix".parse().unwrap();
        assert_eq!(list.to_string(), "10.0.0.0/8,192.0.2.7/32,2001:db8::/32,::1/128,unix");
        assert_eq!(list.to_string().parse(), Ok(list.clone()));
        let has = |ip: &str| list.has(ip.parse().unwrap());
        for ip in ["10.255.0.1", "192.0.2.7", "2001:db8:ffff::1", "::1", "::ffff:10.1.2.3"] {
            assert!(has(ip), "{ip}");
        }
        for ip in ["11.0.0.0", "192.0.2.8", "2001:db9::", "::2", "127.0.0.1"] {
            assert!(!has(ip), "{ip}");
        }
        assert!(list.has_unix());
        let all: Proxies = "0.0.0.0/0,::/0".parse().unwrap();
        assert!(all.has("1.2.3.4".parse().unwrap()) && all.has("::9".parse().unwrap()) && !all.has_unix());
        for wrong in
            ["", "x", "10.0.0.0/33", "10.0.0.1/8", "::1/129", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/8,"]
        {
            let error = wrong.parse::<Proxies>().unwrap_err();
            assert!(
                error.contains(if wrong == "10.0.0.1/8" { "10.0.0.0/8" } else { "::1" }),
                "{wrong}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn cuts_make_no_difference_and_random_bytes_no_panic(
            command in 0x1f_u8..0x24, family in prop::sample::select(vec![0_u8, 0x11, 0x21, 0x31, 0x12]),
            body in prop::collection::vec(any::<u8>(), 0..300), most in 1_usize..40, cut in 0_usize..320,
        ) {
            let mut bytes = header(command, family, &body);
            let whole = read(&bytes, usize::MAX);
            let in_pieces = read(&bytes, most);
            prop_assert_eq!(whole.0, in_pieces.0);
            bytes.truncate(cut);
            let _ = read(&bytes, most);
            let _ = read(&body, most);
        }
    }
}
