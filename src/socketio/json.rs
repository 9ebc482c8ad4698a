//! A look over JSON text before it is read: how deep it goes and how many values it holds.
//!
//! A parser makes an object of every value, some seventy bytes each, and a megabyte of `0,0,0…` holds half a million of them.
//! One pass over the bytes tells before anything is made.
//!
//! Invariant: of valid JSON the depth is exact, and the count is at most one too high for each empty array or object.

/// What a text of JSON takes to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Extent {
    /// Arrays and objects inside one another, at the deepest place.
    pub(super) depth: usize,
    /// Values, and arrays and objects among them.
    pub(super) values: usize,
}

/// Looks over a text. Of what is no JSON it says something that means nothing.
pub(super) fn extent(text: &str) -> Extent {
    let mut found = Extent { depth: 0, values: 1 };
    let mut depth: usize = 0;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                found.depth = found.depth.max(depth);
                found.values += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => found.values += 1,
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    found
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_values() {
        for (text, depth, values) in [
            ("1", 0, 1),
            ("[1,2]", 1, 3),
            (r#"{"a":[{}]}"#, 3, 4),
            (r#"["[[[,",1]"#, 1, 3),
            (r#"["\"[",[2]]"#, 2, 4),
            ("]]]][", 1, 2),
            ("\"\\", 0, 1),
        ] {
            assert_eq!(extent(text), Extent { depth, values }, "{text}");
        }
    }
}
