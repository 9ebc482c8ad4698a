//! The 32 bytes by which `loadgen` recognises its own messages behind any server.
//!
//! A load generator that only counts frames cannot tell a lost message from a late one, nor a duplicate from the
//! next. So every message it sends names its run, its publisher and its place in that publisher's sequence, and
//! says when it *should* have been sent. The marker stands here, on the lowest floor, because two programs write
//! it: `loadgen`, and the server's own `/tick` source.
//!
//! ```text
//!  0    'L' 'G'        magic
//!  2    1              version
//!  3    flags          1 warm-up, 2 probe, 4 last
//!  4    run            u32, drawn once per run: what belongs to another run is not ours
//!  8    publisher      u32
//! 12    sequence       u32, from 0, without gaps, per publisher
//! 16    intended       u64, CLOCK_MONOTONIC nanoseconds at which the schedule wanted it sent
//! 24    send lag       u32, nanoseconds from there to the write, saturating (4.29 s)
//! 28    CRC-32C        u32 of bytes 0..28 and of the payload's length (u32)
//! ```
//!
//! All integers are little-endian. In text the same 32 bytes travel as `~LG1` and 43 base64url characters, which
//! survive JSON, Socket.IO and Phoenix unescaped, and are found wherever the server put them.
//!
//! Invariants: `decode` never panics and never accepts a marker whose CRC does not hold; a binary marker also
//! vouches for the length of its payload, a text marker only for itself, since a server may wrap text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes that a binary marker takes at the front of a payload.
pub const MARKER_BYTES: usize = 32;

/// Bytes that a text marker takes: the prefix and 43 base64url characters.
pub const MARKER_TEXT_BYTES: usize = PREFIX.len() + ENCODED_BYTES;

/// What a text marker begins with.
const PREFIX: &[u8; 4] = b"~LG1";
/// 32 bytes in base64 without padding.
const ENCODED_BYTES: usize = 43;
const MAGIC: &[u8; 2] = b"LG";
const VERSION: u8 = 1;

/// What a message of a run says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marker {
    /// [`Marker::WARM_UP`], [`Marker::PROBE`] and [`Marker::LAST`], or-ed.
    pub flags: u8,
    /// The run it belongs to.
    pub run: u32,
    /// Who published it.
    pub publisher: u32,
    /// Its place in the publisher's sequence, from 0, without gaps.
    pub sequence: u32,
    /// When the schedule wanted it sent: `CLOCK_MONOTONIC`, in nanoseconds.
    pub intended_ns: u64,
    /// How much later it was really written, in nanoseconds, saturating.
    pub send_lag_ns: u32,
}

/// What [`decode`] found in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No marker: somebody else's message.
    Absent,
    /// Something that began as a marker and does not hold: damaged, cut, or of another version.
    Corrupt,
    /// A marker whose CRC holds.
    Marker(Marker),
}

impl Marker {
    /// Flag: sent during the warm-up, counted for completeness but not for latency.
    pub const WARM_UP: u8 = 1;
    /// Flag: sent to find out whether the server passes messages on at all.
    pub const PROBE: u8 = 2;
    /// Flag: its publisher sends nothing after it.
    pub const LAST: u8 = 4;

    /// Writes the marker over the first [`MARKER_BYTES`] of `payload`, whose final length the CRC covers.
    ///
    /// # Panics
    /// If `payload` is shorter than [`MARKER_BYTES`].
    pub fn encode(&self, payload: &mut [u8]) {
        let bound_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        payload[..MARKER_BYTES].copy_from_slice(&self.to_bytes(bound_bytes));
    }

    /// Writes the text form over the first [`MARKER_TEXT_BYTES`] of `out`.
    ///
    /// # Panics
    /// If `out` is shorter than [`MARKER_TEXT_BYTES`].
    pub fn encode_text(&self, out: &mut [u8]) {
        let bytes = self.to_bytes(MARKER_TEXT_BYTES as u32);
        out[..PREFIX.len()].copy_from_slice(PREFIX);
        let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut out[PREFIX.len()..MARKER_TEXT_BYTES]);
        assert_eq!(written, Ok(ENCODED_BYTES), "32 bytes make 43 characters");
    }

    /// The layout above, sealed with the length that it vouches for.
    fn to_bytes(self, bound_bytes: u32) -> [u8; MARKER_BYTES] {
        let mut bytes = [0; MARKER_BYTES];
        bytes[0..2].copy_from_slice(MAGIC);
        bytes[2] = VERSION;
        bytes[3] = self.flags;
        bytes[4..8].copy_from_slice(&self.run.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.publisher.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.intended_ns.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.send_lag_ns.to_le_bytes());
        let crc = seal(&bytes, bound_bytes);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The inverse of [`Marker::to_bytes`]; `None` if version or CRC do not hold.
    fn from_bytes(bytes: &[u8; MARKER_BYTES], bound_bytes: u32) -> Option<Marker> {
        if &bytes[0..2] != MAGIC || bytes[2] != VERSION || u32_at(bytes, 28) != seal(bytes, bound_bytes) {
            return None;
        }
        Some(Marker {
            flags: bytes[3],
            run: u32_at(bytes, 4),
            publisher: u32_at(bytes, 8),
            sequence: u32_at(bytes, 12),
            intended_ns: u64::from(u32_at(bytes, 16)) | u64::from(u32_at(bytes, 20)) << 32,
            send_lag_ns: u32_at(bytes, 24),
        })
    }
}

/// Looks for a marker: a binary one at the front of `payload`, else a text one anywhere in it.
pub fn decode(payload: &[u8]) -> Found {
    if payload.starts_with(MAGIC) && payload.len() >= MARKER_BYTES && payload[2] == VERSION {
        let bound_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let bytes = payload.first_chunk().expect("the length was checked above");
        return Marker::from_bytes(bytes, bound_bytes).map_or(Found::Corrupt, Found::Marker);
    }
    match payload.windows(PREFIX.len()).position(|window| window == PREFIX) {
        None => Found::Absent,
        Some(at) => decode_text(&payload[at + PREFIX.len()..]),
    }
}

/// Decodes what follows the prefix of a text marker.
fn decode_text(rest: &[u8]) -> Found {
    // base64 asks for room by estimate, three bytes for each begun group of four characters.
    let mut bytes = [0; ENCODED_BYTES.div_ceil(4) * 3];
    let Some(encoded) = rest.get(..ENCODED_BYTES) else { return Found::Corrupt };
    match URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes) {
        Ok(MARKER_BYTES) => {
            let bytes = bytes.first_chunk().expect("the buffer is longer than a marker");
            Marker::from_bytes(bytes, MARKER_TEXT_BYTES as u32).map_or(Found::Corrupt, Found::Marker)
        }
        Ok(_) | Err(_) => Found::Corrupt,
    }
}

/// CRC-32C of everything before the CRC itself, and of the length the marker vouches for.
fn seal(bytes: &[u8; MARKER_BYTES], bound_bytes: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..28]), &bound_bytes.to_le_bytes())
}

fn u32_at(bytes: &[u8; MARKER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_marker() -> impl Strategy<Value = Marker> {
        (any::<u8>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u32>()).prop_map(
            |(flags, run, publisher, sequence, intended_ns, send_lag_ns)| Marker {
                flags,
                run,
                publisher,
                sequence,
                intended_ns,
                send_lag_ns,
            },
        )
    }

    #[test]
    fn layout_is_the_published_one() {
        let marker = Marker {
            flags: Marker::LAST,
            run: 0x0403_0201,
            publisher: 7,
            sequence: 9,
            intended_ns: 0x0807_0605_0403_0201,
            send_lag_ns: 0x0d0c_0b0a,
        };
        let mut payload = [0xee; 40];
        marker.encode(&mut payload);
        assert_eq!(&payload[..4], b"LG\x01\x04");
        assert_eq!(&payload[4..16], &[1, 2, 3, 4, 7, 0, 0, 0, 9, 0, 0, 0]);
        assert_eq!(&payload[16..28], &[1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13]);
        assert_eq!(&payload[32..], &[0xee; 8], "what follows the marker is not touched");
    }

    #[test]
    fn what_is_no_marker_is_absent() {
        assert_eq!(decode(b""), Found::Absent);
        assert_eq!(decode(b"hello"), Found::Absent);
        assert_eq!(decode(&[b'L'; 64]), Found::Absent);
        assert_eq!(decode(b"LG but only text that happens to begin so"), Found::Absent);
        assert_eq!(decode(b"~LG1 cut"), Found::Corrupt);
    }

    proptest! {
        #[test]
        fn binary_round_trip(marker in any_marker(), len in MARKER_BYTES..200) {
            let mut payload = vec![0x55; len];
            marker.encode(&mut payload);
            prop_assert_eq!(decode(&payload), Found::Marker(marker));
        }

        #[test]
        fn binary_damage_is_seen(marker in any_marker(), len in MARKER_BYTES..200, at in 3usize..32, bit in 0u8..8) {
            let mut payload = vec![0x55; len];
            marker.encode(&mut payload);
            payload[at] ^= 1 << bit;
            prop_assert_eq!(decode(&payload), Found::Corrupt);
            payload[at] ^= 1 << bit;
            payload.push(0);
            prop_assert_eq!(decode(&payload), Found::Corrupt, "the length is covered too");
        }

        #[test]
        fn text_is_found_anywhere(marker in any_marker(), before in "[ -}]{0,40}", after in "[ -}]{0,40}") {
            let mut text = [0; MARKER_TEXT_BYTES];
            marker.encode_text(&mut text);
            let wrapped = [before.as_bytes(), &text, after.as_bytes()].concat();
            prop_assert_eq!(decode(&wrapped), Found::Marker(marker));
        }

        #[test]
        fn anything_is_decoded_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = decode(&bytes);
            let _ = decode(&[&b"LG\x01"[..], &bytes].concat());
            let _ = decode(&[&b"~LG1"[..], &bytes].concat());
        }
    }
}
