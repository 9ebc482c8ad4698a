//! Broadcast channels: whatever a peer sends goes to every peer of the channel.
//!
//! `/broadcast` is the channel `default`, `/broadcast/NAME` any other. `?self=0` leaves the sender out,
//! `?role=listen` may only hear.
//!
//! Invariant: a peer is in one channel, which is its first and only topic; the service itself keeps nothing.

use super::{Admission, CloseCode, Ctx, Kind, Request};

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
    format!("broadcast/{channel}")
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
    ctx.join(&topic(channel(request)));
}

#[inline]
pub(super) fn message(ctx: &mut Ctx<'_>, role: u8, kind: Kind, payload: &[u8]) {
    let Some(topic) = ctx.topic() else { return };
    if role == Role::Everybody as u8 {
        ctx.publish(topic, kind, payload);
    } else if role == Role::Others as u8 {
        ctx.publish_to_others(topic, kind, payload);
    } else {
        ctx.close(CloseCode::POLICY, "role=listen may only hear");
    }
}
