//! PROXY protocol v2: whom a connection is from, however the header was cut, and no byte of the client's is taken.
//!
//! Input: one byte. *Even*: two bytes of cuts, then the stream, which is compared with a reading of the whole header at
//! once. *Odd*: the text of a list of proxies; it can be written and read again, and who is listed is what a comparison
//! bit by bit says, for the addresses in the text and their neighbours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::given::{Cuts, Given};
use stentor::net::proxy::{Claim, LENGTH_MAX, Proxies, ProxyHeader, SIGNATURE, Wrong};

/// Whom it is from and how long the header was, if it is whole; or what is wrong with it.
type Read = Result<Option<(Claim, usize)>, Wrong>;

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut given = Given::new(data);
    if given.byte().is_multiple_of(2) {
        let mut cuts = Cuts::new(given.word());
        header(&mut cuts, given.rest());
    } else if let Ok(text) = std::str::from_utf8(given.rest()) {
        list(text);
    }
}

fn header(cuts: &mut Cuts, stream: &[u8]) {
    let expected = judge(stream);
    assert_eq!(read([stream]), expected, "{stream:x?}");
    assert_eq!(read(cuts.pieces(stream)), expected, "the cuts change nothing: {stream:x?}");
}

/// Fills a header as a socket does: no more than there is room for, no more than has come.
fn read<'s>(pieces: impl IntoIterator<Item = &'s [u8]>) -> Read {
    let (mut header, mut taken) = (ProxyHeader::default(), 0);
    for mut piece in pieces {
        while !piece.is_empty() {
            let room = header.room();
            assert!(!room.is_empty(), "a header that is not whole has room");
            let len = room.len().min(piece.len());
            room[..len].copy_from_slice(&piece[..len]);
            piece = &piece[len..];
            taken += len;
            assert!(taken <= 16 + LENGTH_MAX, "never more than the longest header");
            if let Some(claim) = header.fill(len)? {
                return Ok(Some((claim, taken)));
            }
        }
    }
    Ok(None)
}

/// The verdict on what has come so far, byte by byte in the order of the specification (§2.2).
fn judge(stream: &[u8]) -> Read {
    for (at, byte) in stream.iter().take(16).enumerate() {
        let local = stream.get(12).is_some_and(|byte| byte & 15 == 0);
        match at {
            0..12 if *byte != SIGNATURE[at] => return Err(Wrong::Signature),
            12 if byte >> 4 != 2 => return Err(Wrong::Version),
            12 if byte & 15 > 1 => return Err(Wrong::Command),
            13 if !local && !matches!(byte, 0 | 0x11 | 0x21 | 0x31) => return Err(Wrong::Family),
            _ => {}
        }
    }
    let Some(fixed) = stream.get(..16) else { return Ok(None) };
    let len = usize::from(fixed[14]) << 8 | usize::from(fixed[15]);
    let (local, family) = (fixed[12] == 0x20, fixed[13]);
    let needed = match family {
        0x11 if !local => 12,
        0x21 if !local => 36,
        0x31 if !local => 216,
        _ => 0,
    };
    if len > LENGTH_MAX || len < needed {
        return Err(Wrong::Length);
    }
    let Some(rest) = stream[16..].get(..len) else { return Ok(None) };
    let port = |at: usize| u16::from(rest[at]) << 8 | u16::from(rest[at + 1]);
    let claim = match family {
        _ if local => Claim::Itself,
        0x11 => Claim::Client(SocketAddr::from(([rest[0], rest[1], rest[2], rest[3]], port(8)))),
        0x21 => {
            let ip: [u8; 16] = rest[..16].try_into().expect("sixteen bytes");
            Claim::Client(SocketAddr::from((ip, port(32))))
        }
        0x31 => Claim::LocalClient,
        _ => Claim::Itself,
    };
    Ok(Some((claim, 16 + len)))
}

fn list(text: &str) {
    let Ok(proxies) = text.parse::<Proxies>() else { return };
    let written = proxies.to_string();
    assert_eq!(written.parse().as_ref(), Ok(&proxies), "{written}");
    let entries: Vec<&str> = text.split(',').map(str::trim).collect();
    assert_eq!(proxies.has_unix(), entries.contains(&"unix"));
    let networks: Vec<(IpAddr, u32)> =
        entries.iter().filter(|entry| **entry != "unix").map(|entry| network(entry)).collect();
    for (ip, _) in &networks {
        for bit in 0..128 {
            let Some(neighbour) = flipped(*ip, bit) else { break };
            let listed = networks
                .iter()
                .any(|(network, bits)| shared_bits(*network, neighbour).is_some_and(|same| same >= *bits));
            assert_eq!(proxies.has(neighbour), listed, "{neighbour} in {text}");
        }
    }
}

/// An entry that was taken, as its address and how many bits of it count.
fn network(entry: &str) -> (IpAddr, u32) {
    let (ip, bits) = entry.split_once('/').unwrap_or((entry, ""));
    let ip: IpAddr = ip.parse().expect("it was taken for an address");
    let all = if ip.is_ipv4() { 32 } else { 128 };
    (ip, if bits.is_empty() { all } else { bits.parse().expect("it was taken for a number") })
}

/// `ip` with one bit changed; `None` if it has not as many.
fn flipped(ip: IpAddr, bit: u32) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => Some(Ipv4Addr::from_bits(ip.to_bits() ^ 1_u32.checked_shl(bit)?).into()),
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() ^ 1_u128.checked_shl(bit)?).into()),
    }
}

/// How many leading bits two addresses of one family have in common. An IPv4 address that is written as one of IPv6 is one of IPv4.
fn shared_bits(network: IpAddr, ip: IpAddr) -> Option<u32> {
    match (network, ip.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Some((a.to_bits() ^ b.to_bits()).leading_zeros()),
        (IpAddr::V6(a), IpAddr::V6(b)) => Some((a.to_bits() ^ b.to_bits()).leading_zeros()),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}
