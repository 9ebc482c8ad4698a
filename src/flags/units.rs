//! Sizes, counts and times as people write them.
//!
//! Invariant: what is not understood is answered with what would be.

use stentor::base::tick::{MILLI, Nanos, SECOND};

/// A number and its unit, split where the letters begin.
fn split(text: &str) -> Option<(f64, &str)> {
    let letters = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let number: f64 = text[..letters].trim().parse().ok()?;
    (number >= 0.0 && number.is_finite()).then_some((number, &text[letters..]))
}

fn scaled(text: &str, units: &[(&str, f64)], wanted: &str) -> Result<f64, String> {
    let found = split(text).and_then(|(number, unit)| {
        let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
        Some(number * factor)
    });
    found.filter(|value| *value < 1e18).ok_or_else(|| format!("wants {wanted}"))
}

pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("", 1.0),
        ("b", 1.0),
        ("k", 1e3),
        ("m", 1e6),
        ("g", 1e9),
        ("ki", 1024.0),
        ("mi", 1048576.0),
        ("gi", 1073741824.0),
    ];
    scaled(text, &units, "a number of bytes, as in 65536, 64ki or 1m").map(|value| value as u64)
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    scaled(text, &[("", 1.0), ("k", 1e3), ("m", 1e6)], "a number, as in 50000 or 50k")
        .map(|value| value as usize)
}

pub(super) fn time(text: &str) -> Result<Nanos, String> {
    let units = [("ms", 1e6), ("s", 1e9), ("", 1e9), ("m", 60e9), ("h", 3600e9)];
    scaled(text, &units, "a time, as in 500ms, 25s or 2m; 0 is off").map(|value| value as Nanos)
}

/// A time as [`time`] reads it.
pub(super) fn shown(ns: Nanos) -> String {
    if ns.is_multiple_of(SECOND) { format!("{}s", ns / SECOND) } else { format!("{}ms", ns / MILLI) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood_and_nonsense_is_told_what_would_be_right() {
        assert_eq!((bytes("64ki"), bytes("1m"), bytes("7")), (Ok(65_536), Ok(1_000_000), Ok(7)));
        assert_eq!(
            (time("500ms"), time("25s"), time("2m")),
            (Ok(500 * MILLI), Ok(25 * SECOND), Ok(120 * SECOND))
        );
        assert_eq!(count("50k"), Ok(50_000));
        for wrong in ["", "x", "-1", "5 parsecs", "1e400"] {
            assert!(bytes(wrong).is_err() && time(wrong).is_err(), "{wrong}");
        }
    }
}
