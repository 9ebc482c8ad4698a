//! The header `Sec-WebSocket-Extensions`: elements, names, parameters, quoted values (RFC 6455 §9.1, RFC 7692 §7.1).
//!
//! ```text
//!   element      =  token *( ";" parameter )         separated by commas, over any number of lines
//!   parameter    =  token [ "=" ( token | quoted-string that holds a token ) ]
//! ```
//!
//! Each byte is looked at a constant number of times. What is malformed is malformed alone: the next element is read
//! as if it were the first, since commas within quotes do not count.

use super::FULL_BITS;
use crate::ws::handshake::is_token;
use std::borrow::Cow;
use std::fmt;

/// Elements of `Sec-WebSocket-Extensions` that are looked at, all lines together. Browsers send one, libraries one or
/// two; each costs a scan.
pub const OFFERS_MAX: usize = 16;

/// The number of bits of a window, 8 to 15, or nothing said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(super) struct Bits(u8);

impl Bits {
    pub(super) const UNSAID: Self = Self(0);

    pub(super) const fn new(bits: u8) -> Self {
        Self(bits)
    }

    /// The number, if it was said.
    pub(super) const fn get(self) -> Option<u8> {
        match self {
            Self::UNSAID => None,
            Self(bits) => Some(bits),
        }
    }

    /// The number; nothing said means the largest (RFC 7692 §7.1.2).
    pub(super) const fn or_full(self) -> u8 {
        match self {
            Self::UNSAID => FULL_BITS,
            Self(bits) => bits,
        }
    }

    /// A value "8" to "15", decimal, without leading zeros (RFC 7692 §7.1.2.1).
    fn parse(value: &[u8]) -> Result<Self, Malformed> {
        match value {
            [digit @ b'8'..=b'9'] => Ok(Self(digit - b'0')),
            [b'1', digit @ b'0'..=b'5'] => Ok(Self(10 + digit - b'0')),
            _ => Err(Malformed::Bits),
        }
    }
}

/// The parameters of one element, each said at most once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Params {
    pub server_no_context_takeover: bool,
    pub client_no_context_takeover: bool,
    pub server_max_window_bits: Bits,
    /// Whether the parameter is there, with or without a value.
    pub client_max_window_bits_said: bool,
    pub client_max_window_bits: Bits,
}

/// Why an element with our name is no offer, or no answer, of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// It is not `name; parameter; parameter=value`.
    Syntax,
    /// A parameter that permessage-deflate does not have.
    Unknown,
    /// A parameter twice.
    Repeated,
    /// A value on a parameter that has none.
    Value,
    /// Window bits that are not a number from 8 to 15, or are missing where they must be.
    Bits,
}

/// One line that says what was wrong.
impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "it is not a name followed by parameters",
            Self::Unknown => "permessage-deflate has no such parameter",
            Self::Repeated => "a parameter is there twice",
            Self::Value => "a parameter that takes no value has one",
            Self::Bits => "window bits must be a number from 8 to 15",
        })
    }
}

/// The elements of one line: what lies between commas that are not in quotes. Empty ones are left out (RFC 9110
/// §5.6.1).
pub(super) fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(line, b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Splits at a delimiter outside of quoted strings, in which a backslash makes the next byte ordinary (RFC 9110 §5.6.4).
fn split(text: &[u8], delimiter: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |byte| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        is_escaped = is_quoted && *byte == b'\\';
        is_quoted ^= *byte == b'"';
        !is_quoted && *byte == delimiter
    })
}

/// What an element asks for; `None` if it is another extension's.
pub(super) fn offer(element: &[u8], name: &str) -> Option<Result<Params, Malformed>> {
    let mut parts = split(element, b';').map(<[u8]>::trim_ascii);
    // Names are tokens, compared in any case as all of HTTP's are.
    let is_ours = parts.next().is_some_and(|first| first.eq_ignore_ascii_case(name.as_bytes()));
    is_ours.then(|| read(parts))
}

fn read<'h>(parts: impl Iterator<Item = &'h [u8]>) -> Result<Params, Malformed> {
    let mut params = Params::default();
    for part in parts {
        let (name, value) = match part.iter().position(|byte| *byte == b'=') {
            Some(at) => (part[..at].trim_ascii_end(), Some(unquoted(part[at + 1..].trim_ascii_start())?)),
            None => (part, None),
        };
        params.note(name, value.as_deref())?;
    }
    Ok(params)
}

impl Params {
    /// Takes up one parameter.
    fn note(&mut self, name: &[u8], value: Option<&[u8]>) -> Result<(), Malformed> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("server_no_context_takeover") {
            return flag(&mut self.server_no_context_takeover, value);
        }
        if is("client_no_context_takeover") {
            return flag(&mut self.client_no_context_takeover, value);
        }
        if is("server_max_window_bits") {
            if self.server_max_window_bits != Bits::UNSAID {
                return Err(Malformed::Repeated);
            }
            self.server_max_window_bits = Bits::parse(value.ok_or(Malformed::Bits)?)?;
            return Ok(());
        }
        if is("client_max_window_bits") {
            if std::mem::replace(&mut self.client_max_window_bits_said, true) {
                return Err(Malformed::Repeated);
            }
            if let Some(value) = value {
                self.client_max_window_bits = Bits::parse(value)?;
            }
            return Ok(());
        }
        Err(if is_token(name) { Malformed::Unknown } else { Malformed::Syntax })
    }
}

/// Takes up a parameter that is there or not.
fn flag(said: &mut bool, value: Option<&[u8]>) -> Result<(), Malformed> {
    if value.is_some() {
        return Err(Malformed::Value);
    }
    if std::mem::replace(said, true) { Err(Malformed::Repeated) } else { Ok(()) }
}

/// A value without its quotes. Quoted or not, what it says must be a token (RFC 6455 §9.1).
fn unquoted(value: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return if is_token(value) { Ok(Cow::Borrowed(value)) } else { Err(Malformed::Syntax) };
    };
    let mut text = Vec::new();
    let mut bytes = quoted.iter();
    loop {
        match bytes.next() {
            Some(b'"') if bytes.as_slice().is_empty() && is_token(&text) => return Ok(Cow::Owned(text)),
            Some(b'\\') => text.extend(bytes.next()),
            Some(b'"') | None => return Err(Malformed::Syntax),
            Some(byte) => text.push(*byte),
        }
    }
}
