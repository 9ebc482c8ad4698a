//! Numbers with units, as people type them and as people read them: `50k`, `64ki`, `10ms`, `10%`.
//!
//! Why: one grammar for every flag and threshold, and errors that say what was wrong and what would be right,
//! because a load test that silently ran with 50 clients instead of 50k costs an afternoon.
//!
//! Invariants: parsing is exact (integers, no floating point) except for rates and percents, which are ratios;
//! nothing wraps: a value that does not fit is an error; the formatters' output parses back to the same unit.

use std::fmt;

/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;

/// Says why a text is no number of the wanted kind, and what would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    given: String,
    what: &'static str,
    why: String,
    right: &'static str,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not {}: {}; write for example {}", self.given, self.what, self.why, self.right)
    }
}

impl std::error::Error for UnitError {}

/// One kind of quantity: its name, its units with their factors, and a good example.
struct Grammar {
    what: &'static str,
    right: &'static str,
    /// `("", 1)` stands for "no unit written"; where it is absent a unit is required.
    units: &'static [(&'static str, u64)],
}

const COUNT: Grammar = Grammar {
    what: "a count",
    right: "`1000`, `50k` or `2m`",
    units: &[("", 1), ("k", 1_000), ("m", 1_000_000), ("g", 1_000_000_000)],
};

const BYTES: Grammar = Grammar {
    what: "a size in bytes",
    right: "`128`, `64ki` (65536), `64k` (64000) or `1mi`",
    units: &[
        ("", 1),
        ("b", 1),
        ("k", 1_000),
        ("ki", 1 << 10),
        ("m", 1_000_000),
        ("mi", 1 << 20),
        ("g", 1_000_000_000),
        ("gi", 1 << 30),
    ],
};

const DURATION: Grammar = Grammar {
    what: "a duration",
    right: "`250us`, `10ms`, `5s`, `2m` or `1h`",
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", NS_PER_S),
        ("m", 60 * NS_PER_S),
        ("h", 3_600 * NS_PER_S),
    ],
};

/// Parses a count: digits, optionally a fraction, optionally `k`, `m` or `g` (powers of 1000).
///
/// # Errors
/// When the text is not such a number, is not whole (`0.5`), or does not fit 64 bits.
pub fn parse_count(text: &str) -> Result<u64, UnitError> {
    COUNT.parse(text)
}

/// Parses a size in bytes: `k m g` are powers of 1000, `ki mi gi` powers of 1024.
///
/// # Errors
/// As [`parse_count`].
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    BYTES.parse(text)
}

/// Parses a duration into nanoseconds; the unit is required (`ns us ms s m h`), only `0` stands without.
///
/// # Errors
/// As [`parse_count`], and when the unit is missing.
pub fn parse_duration_ns(text: &str) -> Result<u64, UnitError> {
    DURATION.parse(text)
}

/// Parses a rate into events per second: a number with an optional `k`, `m`, and an optional `/s`, `/m` or `/h`.
///
/// # Errors
/// When the text is not such a number or is negative or infinite.
pub fn parse_rate_per_s(text: &str) -> Result<f64, UnitError> {
    const WHAT: &str = "a rate";
    const RIGHT: &str = "`1/s`, `0.5`, `2k/s` or `30/m`";
    let fail = |why: String| UnitError { given: text.to_owned(), what: WHAT, why, right: RIGHT };
    let (number, per_s) = match text.trim().split_once('/') {
        None => (text.trim(), 1.0),
        Some((number, "s")) => (number, 1.0),
        Some((number, "m")) => (number, 60.0),
        Some((number, "h")) => (number, 3_600.0),
        Some((_, unit)) => return Err(fail(format!("`/{unit}` is no unit of time (s, m, h)"))),
    };
    let (digits, unit) = split(number);
    let factor = COUNT
        .units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(|| fail(format!("`{unit}` is no unit (k, m, g)")))?
        .1;
    parse_decimal(digits).map(|value| value * factor as f64 / per_s).map_err(fail)
}

/// Parses a percentage such as `10%` or `99.9%` into a ratio (`0.1`); at most 100 %.
///
/// # Errors
/// When the `%` is missing, the number is not one, or it is above 100.
pub fn parse_percent(text: &str) -> Result<f64, UnitError> {
    let fail = |why: String| UnitError {
        given: text.to_owned(),
        what: "a percentage",
        why,
        right: "`10%` or `99.9%`",
    };
    let digits = text.trim().strip_suffix('%').ok_or_else(|| fail("the `%` is missing".to_owned()))?;
    let percent = parse_decimal(digits.trim_end()).map_err(fail)?;
    if percent > 100.0 {
        return Err(fail("it is above 100 %".to_owned()));
    }
    Ok(percent / 100.0)
}

/// Formats a count for people: exact below 10 000, then with three or four significant digits (`51.2k`, `2m`).
pub fn format_count(count: u64) -> String {
    match count {
        0..=9_999 => count.to_string(),
        10_000..=999_499 => scaled(count as f64 / 1e3, "k"),
        999_500..=999_499_999 => scaled(count as f64 / 1e6, "m"),
        _ => scaled(count as f64 / 1e9, "g"),
    }
}

/// Formats bytes for people, in powers of 1024 (`64ki`, `1.5mi`), exact below 1024.
pub fn format_bytes(bytes: u64) -> String {
    match bytes {
        0..=1_023 => bytes.to_string(),
        1_024..=1_048_063 => scaled(bytes as f64 / 1_024.0, "ki"),
        1_048_064..=1_073_217_535 => scaled(bytes as f64 / 1_048_576.0, "mi"),
        _ => scaled(bytes as f64 / 1_073_741_824.0, "gi"),
    }
}

/// Formats nanoseconds for people with three significant digits in the unit that fits (`1.25ms`, `310us`).
pub fn format_ns(ns: u64) -> String {
    match ns {
        0..=999 => format!("{ns}ns"),
        1_000..=999_499 => scaled(ns as f64 / 1e3, "us"),
        999_500..=999_499_999 => scaled(ns as f64 / 1e6, "ms"),
        _ if ns < 120 * NS_PER_S => scaled(ns as f64 / 1e9, "s"),
        _ if ns < 7_200 * NS_PER_S => scaled(ns as f64 / 60e9, "m"),
        _ => scaled(ns as f64 / 3_600e9, "h"),
    }
}

/// Formats a rate for people: `1/s`, `0.5/s`, `51.2k/s`.
pub fn format_rate(per_s: f64) -> String {
    if per_s < 100.0 {
        format!("{}/s", trim_zeros(&format!("{per_s:.2}")))
    } else {
        format!("{}/s", format_count(per_s.round() as u64))
    }
}

/// Formats a ratio for people: `0.853` becomes `85.3%`.
pub fn format_percent(ratio: f64) -> String {
    format!("{}%", trim_zeros(&format!("{:.1}", ratio * 100.0)))
}

impl Grammar {
    fn parse(&self, text: &str) -> Result<u64, UnitError> {
        let fail =
            |why: String| UnitError { given: text.to_owned(), what: self.what, why, right: self.right };
        let (digits, unit) = split(text.trim());
        if digits.is_empty() {
            return Err(fail(if text.trim().starts_with('-') {
                "it must not be negative".to_owned()
            } else {
                "it does not start with a digit".to_owned()
            }));
        }
        let factor = match self.units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
            Some((_, factor)) => *factor,
            // Zero is zero in every unit: `--think 0` needs none.
            None if unit.is_empty() && digits.bytes().all(|byte| byte == b'0') => 1,
            None if unit.is_empty() => return Err(fail("the unit is missing".to_owned())),
            None => {
                let known: Vec<_> =
                    self.units.iter().map(|(name, _)| *name).filter(|n| !n.is_empty()).collect();
                return Err(fail(format!("`{unit}` is no unit ({})", known.join(", "))));
            }
        };
        scale(digits, factor).map_err(fail)
    }
}

/// Splits `1.5k` into `1.5` and `k`.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Multiplies a decimal text by a factor, exactly.
fn scale(digits: &str, factor: u64) -> Result<u64, String> {
    const TOO_LARGE: &str = "it is too large";
    let digits = digits.replace('_', "");
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    if fraction.contains('.') {
        return Err("it has more than one decimal point".to_owned());
    }
    if whole.is_empty() {
        return Err("there is no digit before the decimal point".to_owned());
    }
    let whole: u64 = whole.parse().map_err(|_| TOO_LARGE.to_owned())?;
    let mut value = whole.checked_mul(factor).ok_or(TOO_LARGE)?;
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        let places =
            u32::try_from(fraction.len()).ok().filter(|n| *n <= 18).ok_or("it has too many digits")?;
        let part: u128 = fraction.parse().map_err(|_| TOO_LARGE.to_owned())?;
        let (part, unit) = (part * u128::from(factor), 10_u128.pow(places));
        if part % unit != 0 {
            return Err("it is not a whole number".to_owned());
        }
        // part < unit * factor, so the quotient is below the factor and fits.
        value = value.checked_add(u64::try_from(part / unit).map_err(|_| TOO_LARGE)?).ok_or(TOO_LARGE)?;
    }
    Ok(value)
}

/// Parses digits with an optional fraction as a ratio's numerator; never negative, never infinite.
fn parse_decimal(digits: &str) -> Result<f64, String> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err("it is not a decimal number".to_owned());
    }
    let value: f64 = digits.parse().map_err(|_| "it is not a decimal number".to_owned())?;
    if value.is_finite() { Ok(value) } else { Err("it is too large".to_owned()) }
}

/// Three significant digits, without trailing zeros.
fn scaled(value: f64, unit: &str) -> String {
    let places = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{}{unit}", trim_zeros(&format!("{value:.places$}")))
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_bytes_and_durations_parse_exactly() {
        assert_eq!(parse_count("50k"), Ok(50_000));
        assert_eq!(parse_count("50_000"), Ok(50_000));
        assert_eq!(parse_count("1.5M"), Ok(1_500_000));
        assert_eq!(parse_bytes("64ki"), Ok(65_536));
        assert_eq!(parse_bytes("64k"), Ok(64_000));
        assert_eq!(parse_bytes("1Mi"), Ok(1_048_576));
        assert_eq!(parse_bytes("0.5ki"), Ok(512));
        assert_eq!(parse_duration_ns("10ms"), Ok(10_000_000));
        assert_eq!(parse_duration_ns("1.5s"), Ok(1_500_000_000));
        assert_eq!(parse_duration_ns("2m"), Ok(120 * NS_PER_S));
        assert_eq!(parse_duration_ns("0"), Ok(0));
    }

    #[test]
    fn rates_and_percents_parse() {
        assert_eq!(parse_rate_per_s("2k/s"), Ok(2_000.0));
        assert_eq!(parse_rate_per_s("0.5"), Ok(0.5));
        assert_eq!(parse_rate_per_s("30/m"), Ok(0.5));
        assert_eq!(parse_percent("10%"), Ok(0.1));
        assert!(parse_percent("10").is_err());
        assert!(parse_percent("101%").is_err());
        assert!(parse_rate_per_s("5/day").is_err());
        assert!(parse_rate_per_s("-1").is_err());
    }

    #[test]
    fn errors_say_what_was_wrong_and_what_would_be_right() {
        let text = |result: Result<u64, UnitError>| result.expect_err("must fail").to_string();
        assert_eq!(
            text(parse_duration_ns("10")),
            "`10` is not a duration: the unit is missing; write for example `250us`, `10ms`, `5s`, `2m` or `1h`"
        );
        assert!(text(parse_count("5q")).contains("`q` is no unit (k, m, g)"));
        assert!(text(parse_count("")).contains("does not start with a digit"));
        assert!(text(parse_count("-5")).contains("must not be negative"));
        assert!(text(parse_count("0.5")).contains("not a whole number"));
        assert!(text(parse_count("1.2.3")).contains("more than one decimal point"));
        assert!(text(parse_count("99999999999999999999")).contains("too large"));
        assert!(text(parse_count("18446744073709551615k")).contains("too large"));
        assert!(text(parse_bytes(".5k")).contains("before the decimal point"));
    }

    #[test]
    fn values_read_well() {
        assert_eq!(format_count(9_999), "9999");
        assert_eq!(format_count(50_000), "50k");
        assert_eq!(format_count(51_234), "51.2k");
        assert_eq!(format_count(999_499), "999k");
        assert_eq!(format_count(999_500), "1m");
        assert_eq!(format_count(1_500_000), "1.5m");
        assert_eq!(format_bytes(65_536), "64ki");
        assert_eq!(format_ns(999), "999ns");
        assert_eq!(format_ns(1_250_000), "1.25ms");
        assert_eq!(format_ns(310_400), "310us");
        assert_eq!(format_ns(5 * NS_PER_S), "5s");
        assert_eq!(format_percent(0.8534), "85.3%");
        assert_eq!(format_rate(0.5), "0.5/s");
        assert_eq!(format_rate(51_200.0), "51.2k/s");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9._ a-zµ%/-]{0,24}") {
            let _ = (parse_count(&text), parse_bytes(&text), parse_duration_ns(&text));
            let _ = (parse_rate_per_s(&text), parse_percent(&text));
        }

        #[test]
        fn what_is_formatted_parses_back_to_nearly_the_same(ns in 0_u64..10_000_000_000_000) {
            let back = parse_duration_ns(&format_ns(ns)).expect("formatted text parses");
            prop_assert!(back.abs_diff(ns) <= ns / 150);
        }
    }
}
