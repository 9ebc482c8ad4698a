//! Reads Socket.IO packets, and puts those with attachments together.
//!
//! A packet with attachments comes as text that says how many, and as many binary messages behind it. Whatever can be wrong
//! with it is found in the text, before the first byte is kept for it.
//!
//! Invariants: what npm's `socket.io-parser` rejects is rejected; a packet that both take means the same to both;
//! what is kept is bounded by [`Limits::attachment_bytes_max`]; no input panics. Stricter than there, because no client does so: counts
//! and ids are decimal digits (there also spaces, `0x1`), an event has a name and it is a string.

use super::json;
use super::packet::{ATTACHMENTS_MAX, Args, Body, Event, MAIN, Packet, RESERVED, Wrong, placeholder};
use serde_json::Value;
use std::rc::Rc;

/// What a client may send at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Arrays and objects inside one another; the array of an event counts.
    pub depth_max: usize,
    /// JSON values of one packet. Each takes some seventy bytes while the packet is handled.
    pub values_max: usize,
    /// Bytes of a namespace's name.
    pub namespace_max: usize,
    /// Bytes of the attachments of one packet, together.
    pub attachment_bytes_max: usize,
}

impl Default for Limits {
    /// Depth 64, 200 000 values, names of 256 bytes, ten attachments of 1 MB.
    fn default() -> Self {
        Self { depth_max: 64, values_max: 200_000, namespace_max: 256, attachment_bytes_max: 10_000_000 }
    }
}

/// The last id that JavaScript can count to.
const ID_MAX: u64 = (1 << 53) - 1;

/// The reading state of one client: 8 bytes, while no attachment is missing.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Option<Box<Pending>>,
}

/// A packet whose attachments are on their way.
#[derive(Debug)]
struct Pending {
    packet: Packet,
    /// Attachments that are still to come, at least one.
    missing: usize,
    /// Bytes that they may have together.
    room: usize,
}

impl Decoder {
    /// Takes a text message; gives back a packet, unless attachments must come first.
    ///
    /// # Errors
    /// What is wrong. Nothing of it is kept.
    pub fn text(&mut self, text: &str, limits: &Limits) -> Result<Option<Packet>, Wrong> {
        if self.pending.take().is_some() {
            return Err(Wrong::AttachmentMissing);
        }
        let (packet, missing) = decode(text, limits)?;
        if missing == 0 {
            return Ok(Some(packet));
        }
        self.pending = Some(Box::new(Pending { packet, missing, room: limits.attachment_bytes_max }));
        Ok(None)
    }

    /// Takes a binary message; gives back the packet whose last attachment it was.
    ///
    /// # Errors
    /// What is wrong. Nothing of the packet is kept.
    pub fn binary(&mut self, bytes: &[u8]) -> Result<Option<Packet>, Wrong> {
        let mut pending = self.pending.take().ok_or(Wrong::AttachmentStray)?;
        pending.room = pending.room.checked_sub(bytes.len()).ok_or(Wrong::AttachmentsTooBig)?;
        match &mut pending.packet.body {
            Body::Event(event) => event.attach(bytes),
            Body::Ack(args) => args.attachments.push(bytes.into()),
            Body::Connect(_) | Body::Disconnect | Body::ConnectError(_) => {}
        }
        pending.missing -= 1;
        if pending.missing == 0 {
            return Ok(Some(pending.packet));
        }
        self.pending = Some(pending);
        Ok(None)
    }

    /// Whether attachments are missing.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }
}

/// A packet without its attachments, and how many of them will come.
fn decode(text: &str, limits: &Limits) -> Result<(Packet, usize), Wrong> {
    let kind = text.chars().next().ok_or(Wrong::Empty)?;
    if !matches!(kind, '0'..='6') {
        return Err(Wrong::Type(kind));
    }
    let mut rest = &text[1..];
    let mut attachments = 0;
    if matches!(kind, '5' | '6') {
        (attachments, rest) = attachment_count(rest)?;
    }
    let namespace = if rest.starts_with('/') {
        let (name, behind) = rest.split_once(',').unwrap_or((rest, ""));
        rest = behind;
        name
    } else {
        MAIN
    };
    if namespace.len() > limits.namespace_max || namespace.contains(char::is_control) {
        return Err(Wrong::Namespace);
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (id, json) = rest.split_at(digits);
    let id = match id.parse() {
        Ok(id) if id <= ID_MAX => Some(id),
        Err(_) if id.is_empty() => None,
        Ok(_) | Err(_) => return Err(Wrong::Id),
    };
    let payload = if json.is_empty() { None } else { Some(read_json(json, limits)?) };
    let body = body(kind, payload, attachments)?;
    Ok((Packet { namespace: Rc::from(namespace), id, body }, attachments))
}

/// `N-` and what follows.
fn attachment_count(text: &str) -> Result<(usize, &str), Wrong> {
    let (digits, rest) = text.split_once('-').ok_or(Wrong::AttachmentCount)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::AttachmentCount);
    }
    // Digits that do not fit are a number that is too high.
    match digits.parse().unwrap_or(usize::MAX) {
        0 => Err(Wrong::AttachmentCount),
        count if count > ATTACHMENTS_MAX => Err(Wrong::TooManyAttachments),
        count => Ok((count, rest)),
    }
}

fn read_json(text: &str, limits: &Limits) -> Result<Value, Wrong> {
    let extent = json::extent(text);
    if extent.depth > limits.depth_max {
        return Err(Wrong::TooDeep);
    }
    if extent.values > limits.values_max {
        return Err(Wrong::TooManyValues);
    }
    // White space before the value is JSON, but elsewhere a space there is taken for an id.
    if text.starts_with(|first: char| first.is_ascii_whitespace()) {
        return Err(Wrong::Json);
    }
    serde_json::from_str(text).map_err(|_| Wrong::Json)
}

/// What a payload means in a packet of this type.
fn body(kind: char, payload: Option<Value>, attachments: usize) -> Result<Body, Wrong> {
    match (kind, payload) {
        ('0', None) => Ok(Body::Connect(None)),
        ('0', Some(Value::Object(auth))) => Ok(Body::Connect(Some(auth))),
        ('0', Some(_)) => Err(Wrong::ConnectPayload),
        ('1', None) => Ok(Body::Disconnect),
        ('1', Some(_)) => Err(Wrong::DisconnectPayload),
        ('4', Some(reason @ (Value::Object(_) | Value::String(_)))) => Ok(Body::ConnectError(reason)),
        ('4', _) => Err(Wrong::ErrorPayload),
        ('3' | '6', None) => args(Vec::new(), attachments).map(Body::Ack),
        ('3' | '6', Some(Value::Array(values))) => args(values, attachments).map(Body::Ack),
        ('3' | '6', Some(_)) => Err(Wrong::AckPayload),
        (_, Some(Value::Array(values))) => event(values, attachments).map(Body::Event),
        (_, _) => Err(Wrong::EventPayload),
    }
}

fn event(mut values: Vec<Value>, attachments: usize) -> Result<Event, Wrong> {
    let Some(Value::String(name)) = values.first_mut().map(Value::take) else {
        return Err(Wrong::EventName);
    };
    if RESERVED.contains(&&*name) {
        return Err(Wrong::ReservedName);
    }
    values.remove(0);
    Event::new(name, args(values, attachments)?)
}

/// Arguments whose placeholders all stand for something that will come. In a packet without attachments what looks like a
/// placeholder is none.
fn args(values: Vec<Value>, attachments: usize) -> Result<Args, Wrong> {
    if attachments > 0 && !values.iter().all(|value| are_in_range(value, attachments)) {
        return Err(Wrong::Placeholder);
    }
    Ok(Args { values, attachments: Vec::new() })
}

/// Recursion is bounded by [`Limits::depth_max`].
fn are_in_range(value: &Value, attachments: usize) -> bool {
    if let Some(num) = placeholder(value) {
        return num.is_some_and(|num| num < attachments);
    }
    match value {
        Value::Array(values) => values.iter().all(|value| are_in_range(value, attachments)),
        Value::Object(object) => object.values().all(|value| are_in_range(value, attachments)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}
