//! Broadcast channels: whatever a peer sends goes to every peer of the channel.
//!
//! `/broadcast` is the channel `default`, `/broadcast/NAME` any other. `?self=0` leaves the sender out,
//! `?role=listen` may only hear, and `?since=EPOCH:OFFSET` is sent what it missed first.
//!
//! Invariant: a peer is in one channel, which is its first and only topic; the service itself keeps nothing.

use super::{Admission, CloseCode, Ctx, Kind, Request};
use crate::hub::framed;

/// What the topics of channels begin with.
const PREFIX: &str = "broadcast/";
/// The channel of `/broadcast`.
const DEFAULT: &str = "default";
/// Bytes of a channel's name.
pub(super) const NAME_MAX: usize = 128;

/// How a peer takes part, the low bits of its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Hears everybody.
    Everybody = 0,
    /// Hears everybody else.
    Others = 1,
    /// Hears everybody and may not speak.
    Listen = 2,
}

/// The bit of its tag that says that it speaks `stentor.v1`.
pub(super) const FRAMED: u8 = 4;

/// Whether a peer with this tag speaks `stentor.v1`.
pub(super) const fn is_framed(tag: u8) -> bool {
    tag & FRAMED != 0
}

/// Reads the role that the parameters ask for.
pub(super) fn role(request: &Request<'_>) -> Result<Role, Admission<'static>> {
    let own = match request.param("self") {
        None | Some("1" | "true") => Role::Everybody,
        Some("0" | "false") => Role::Others,
        Some(_) => return Err(Admission::Malformed("self is 0 (do not hear yourself) or 1".to_owned())),
    };
    match request.param("role") {
        None | Some("both") => Ok(own),
        Some("listen") => Ok(Role::Listen),
        Some(_) => Err(Admission::Malformed("role is listen (may only hear) or both".to_owned())),
    }
}

/// The topic of a channel.
pub(super) fn topic(channel: &str) -> String {
    format!("{PREFIX}{channel}")
}

/// The channel of a topic, if it is one of ours.
pub(super) fn channel_of(topic: &str) -> Option<&str> {
    topic.strip_prefix(PREFIX)
}

/// How far a peer that comes back had got: the epoch and the offset of the last message that it knows.
pub(super) fn since<'a>(request: &'a Request<'_>) -> Result<Option<(&'a str, u64)>, Admission<'static>> {
    let Some(text) = request.param("since") else { return Ok(None) };
    let is_epoch = |epoch: &&str| {
        (1..=64).contains(&epoch.len()) && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let parts = text.split_once(':').filter(|(epoch, _)| is_epoch(epoch));
    let offset = parts.filter(|(_, offset)| offset.bytes().all(|byte| byte.is_ascii_digit()));
    match offset.and_then(|(epoch, offset)| Some((epoch, offset.parse().ok()?))) {
        Some(since) => Ok(Some(since)),
        None => Err(Admission::Malformed("since is EPOCH:OFFSET, as the server has told them".to_owned())),
    }
}

/// The channel that a path names.
pub(super) fn channel<'a>(request: &'a Request<'_>) -> &'a str {
    request.path.get(1).map_or(DEFAULT, |name| name)
}

/// Whether a channel can be called this: not empty, not too long, nothing invisible.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX && !name.chars().any(char::is_control)
}

pub(super) fn opened(ctx: &mut Ctx<'_>, request: &Request<'_>) {
    let (channel, is_framed) = (channel(request), is_framed(ctx.tag()));
    if is_framed {
        ctx.speak_framed();
    }
    let topic = ctx.join(&topic(channel));
    ctx.remember(topic, channel);
    if is_framed && let Some(at) = ctx.position(topic) {
        ctx.reply(Kind::Text, framed::welcome(channel, &at).as_bytes());
    }
    if let Ok(Some((epoch, offset))) = since(request)
        && !ctx.replay(topic, epoch, offset)
        && let Some(at) = ctx.position(topic)
    {
        ctx.reply(Kind::Text, framed::reset(&at).as_bytes());
    }
}

#[inline]
pub(super) fn message(ctx: &mut Ctx<'_>, role: u8, kind: Kind, payload: &[u8]) {
    let (Some(topic), role) = (ctx.topic(), role & !FRAMED) else { return };
    if role == Role::Everybody as u8 {
        ctx.publish(topic, kind, payload);
    } else if role == Role::Others as u8 {
        ctx.publish_to_others(topic, kind, payload);
    } else {
        ctx.close(CloseCode::POLICY, "role=listen may only hear");
    }
}
