//! Masking: every payload byte XOR the key's byte of its turn (RFC 6455 §5.3).
//!
//! Masking and unmasking are the same act, and it touches every byte a client sends: it works in place, a word at
//! a time, in a loop that the compiler turns into vector instructions. A payload that arrives in pieces is
//! unmasked piece by piece; instead of a count of bytes the *rotated key* is carried from one to the next, so that
//! each piece begins with byte 0 of the key it is given.
//!
//! ```text
//!   key      a b c d            first piece of 5 bytes:  a b c d a
//!   returned b c d a            next piece goes on with  b c d a …
//! ```

/// Masks or unmasks `bytes` in place and returns the key for the bytes that follow them.
#[inline]
pub fn apply(key: [u8; 4], bytes: &mut [u8]) -> [u8; 4] {
    // A key of zeros changes nothing; an unmasked frame bears it too.
    if key == [0; 4] {
        return key;
    }
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    // Words are a multiple of the key's length: the tail begins with the key's first byte again.
    for (byte, mask) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= mask;
    }
    rotate(key, tail.len())
}

/// The key as it stands after `count` bytes.
#[inline]
pub const fn rotate(key: [u8; 4], count: usize) -> [u8; 4] {
    u32::from_le_bytes(key).rotate_right(8 * (count as u32 % 4)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_key_turns_by_one_for_each_byte() {
        assert_eq!(rotate([1, 2, 3, 4], 0), [1, 2, 3, 4]);
        assert_eq!(rotate([1, 2, 3, 4], 1), [2, 3, 4, 1]);
        assert_eq!(rotate([1, 2, 3, 4], 7), [4, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn words_do_what_the_rfc_s_byte_loop_does_in_any_pieces(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            key: [u8; 4],
            cuts in prop::collection::vec(0usize..20, 0..30),
        ) {
            let expected: Vec<u8> = bytes.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let mut masked = bytes.clone();
            let (mut rest, mut turned) = (&mut masked[..], key);
            for cut in cuts {
                let (piece, behind) = rest.split_at_mut(cut.min(rest.len()));
                turned = apply(turned, piece);
                rest = behind;
            }
            turned = apply(turned, rest);
            prop_assert_eq!(turned, rotate(key, bytes.len()));
            prop_assert_eq!(&masked, &expected);
            apply(key, &mut masked);
            prop_assert_eq!(masked, bytes);
        }
    }
}
