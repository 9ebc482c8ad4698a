//! Socket.IO: packets and their attachments, against a reader written after npm's `socket.io-parser`.
//!
//! Input: messages; one byte each says whether it is text or bytes (the lowest bit) and how long it is, and it follows. What is
//! taken can be written and read again, and is never over the limits.

use super::given::Given;
use serde_json::Value;
use stentor::socketio::binary::Limits;
use stentor::socketio::packet::{ATTACHMENTS_MAX, Body, MAIN, RESERVED};
use stentor::socketio::{Args, Decoder, Packet};

/// So small that inputs get there.
const LIMITS: Limits = Limits { depth_max: 6, values_max: 40, namespace_max: 12, attachment_bytes_max: 100 };
/// Messages of one input.
const MESSAGES_MAX: u32 = 60;

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut given = Given::new(data);
    let mut decoder = Decoder::default();
    let mut missing = 0;
    let mut kept = 0;
    for _ in 0..MESSAGES_MAX {
        if given.is_empty() {
            break;
        }
        let about = given.byte();
        let message = given.take(usize::from(about >> 1));
        let read = match std::str::from_utf8(message) {
            Ok(text) if about & 1 == 0 => {
                let expected = if missing > 0 { None } else { naive(text) };
                missing = expected.unwrap_or(0);
                kept = 0;
                let read = decoder.text(text, &LIMITS);
                assert_eq!(read.is_ok(), expected.is_some(), "{text:?}: {read:?}");
                read
            }
            Ok(_) | Err(_) => {
                kept += message.len();
                let is_wanted = missing > 0 && kept <= LIMITS.attachment_bytes_max;
                missing = if is_wanted { missing - 1 } else { 0 };
                let read = decoder.binary(message);
                assert_eq!(read.is_ok(), is_wanted);
                read
            }
        };
        assert_eq!(decoder.is_waiting(), missing > 0);
        assert!(read.as_ref().map_or(true, |packet| packet.is_some() == (missing == 0)));
        if let Ok(Some(packet)) = read {
            within_limits(&packet);
            again(&packet);
        }
    }
}

/// How many attachments a text announces, if it is a packet.
fn naive(text: &str) -> Option<usize> {
    let mut rest = text;
    let mut next = |wanted: fn(char) -> bool| {
        let found = rest.chars().next().filter(|one| wanted(*one));
        rest = &rest[found.map_or(0, char::len_utf8)..];
        found
    };
    let kind = next(|one| ('0'..='6').contains(&one))?;
    let mut attachments = 0;
    if kind >= '5' {
        let mut digits = String::new();
        while let Some(digit) = next(|one| one.is_ascii_digit()) {
            digits.push(digit);
        }
        next(|one| one == '-')?;
        attachments = digits.parse().ok().filter(|count| (1..=ATTACHMENTS_MAX).contains(count))?;
    }
    let mut namespace = String::new();
    while let Some(one) = next(if namespace.is_empty() { |one| one == '/' } else { |one| one != ',' }) {
        namespace.push(one);
    }
    if !namespace.is_empty() {
        next(|one| one == ',');
    }
    let mut id = String::new();
    while let Some(digit) = next(|one| one.is_ascii_digit()) {
        id.push(digit);
    }
    let has_id = id.is_empty() || id.parse::<u64>().is_ok_and(|id| id <= 9_007_199_254_740_991);
    if !has_id || namespace.len() > LIMITS.namespace_max || namespace.chars().any(char::is_control) {
        return None;
    }
    let payload = match rest {
        "" => None,
        json if json.starts_with([' ', '\t', '\n', '\r']) => return None,
        json => Some(serde_json::from_str::<Value>(json).ok()?),
    };
    if payload.as_ref().is_some_and(|payload| is_too_much(payload, rest)) {
        return None;
    }
    let is_good = match (kind, &payload) {
        ('0', payload) => payload.as_ref().is_none_or(Value::is_object),
        ('1', payload) => payload.is_none(),
        ('4', Some(reason)) => reason.is_object() || reason.is_string(),
        ('3' | '6', None) => true,
        ('3' | '6', Some(Value::Array(values))) => attachments == 0 || fit(values, attachments),
        ('2' | '5', Some(Value::Array(values))) => {
            let name = values.first().and_then(Value::as_str);
            name.is_some_and(|name| !RESERVED.contains(&name))
                && (attachments == 0 || fit(values, attachments))
        }
        _ => false,
    };
    is_good.then_some(attachments)
}

/// Whether a payload is over the limits. Values that a later one of the same key replaces count as well, and so may the end of an
/// empty array or object: they are counted in the text.
fn is_too_much(payload: &Value, text: &str) -> bool {
    let (mut depth, mut deepest, mut count, mut in_string, mut escaped) = (0, 0, 1, false, false);
    for byte in text.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => (depth, count) = (depth + 1, count + 1),
            b']' | b'}' => depth -= 1,
            b',' => count += 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    assert!(values(payload) <= count, "no value is missed");
    deepest > LIMITS.depth_max || count > LIMITS.values_max
}

fn values(value: &Value) -> usize {
    1 + parts(value).map(values).sum::<usize>()
}

fn parts(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(values) => Box::new(values.iter()),
        Value::Object(object) => Box::new(object.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Box::new(std::iter::empty()),
    }
}

/// Whether every placeholder stands for an attachment.
fn fit(values: &[Value], attachments: usize) -> bool {
    values.iter().all(|value| {
        if value.get("_placeholder") == Some(&Value::Bool(true)) {
            return value.get("num").and_then(Value::as_u64).is_some_and(|num| num < attachments as u64);
        }
        fit(&parts(value).cloned().collect::<Vec<_>>(), attachments)
    })
}

fn within_limits(packet: &Packet) {
    let bytes: usize = packet.attachments().iter().map(|bytes| bytes.len()).sum();
    assert!(bytes <= LIMITS.attachment_bytes_max && packet.attachments().len() <= ATTACHMENTS_MAX);
    assert!(packet.namespace.len() <= LIMITS.namespace_max && packet.namespace.starts_with(MAIN));
    let of = |args: &Args| args.values().iter().map(values).sum::<usize>();
    let count = match &packet.body {
        Body::Event(event) => of(event.args()),
        Body::Ack(args) => of(args),
        Body::Connect(auth) => auth.as_ref().map_or(0, |auth| auth.values().map(values).sum()),
        Body::ConnectError(reason) => values(reason),
        Body::Disconnect => 0,
    };
    assert!(count <= LIMITS.values_max);
}

/// What was taken, written and read again, is the same. Numbers may lose their last digit, and text may become longer than it was.
fn again(packet: &Packet) {
    let wide = Limits { values_max: 1000, ..LIMITS };
    let mut text = String::new();
    packet.encode(&mut text);
    let mut decoder = Decoder::default();
    let mut read = decoder.text(&text, &wide);
    for bytes in packet.attachments() {
        assert_eq!(read, Ok(None));
        read = decoder.binary(bytes);
    }
    let read = read.unwrap_or_else(|wrong| panic!("{text:?}: {wrong}")).expect("it is whole");
    assert_eq!(
        (&read.namespace, read.id, read.attachments()),
        (&packet.namespace, packet.id, packet.attachments())
    );
    let is_same = match (&read.body, &packet.body) {
        (Body::Connect(None), Body::Connect(None)) | (Body::Disconnect, Body::Disconnect) => true,
        (Body::Connect(Some(a)), Body::Connect(Some(b))) => {
            same(&Value::Object(a.clone()), &Value::Object(b.clone()))
        }
        (Body::Event(a), Body::Event(b)) => a.name() == b.name() && same_args(a.args(), b.args()),
        (Body::Ack(a), Body::Ack(b)) => same_args(a, b),
        (Body::ConnectError(a), Body::ConnectError(b)) => same(a, b),
        _ => false,
    };
    assert!(is_same, "{text:?} is {read:?} and was {packet:?}");
}

fn same_args(a: &Args, b: &Args) -> bool {
    a.values().len() == b.values().len() && a.values().iter().zip(b.values()).all(|(a, b)| same(a, b))
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (near, far) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(0.0));
            a == b || (near - far).abs() <= near.abs() * 1e-15
        }
        (Value::Array(_), Value::Array(_)) => {
            parts(a).count() == parts(b).count() && parts(a).zip(parts(b)).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((name, a), (other, b))| name == other && same(a, b))
        }
        _ => a == b,
    }
}
