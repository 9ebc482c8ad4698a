//! Echo: sends back what it hears, text as text, binary as binary.
//!
//! `/echo?prefix=ECHO:` puts the prefix before every message. The tutorials' server it stands in for builds a
//! string of whatever came, so with a prefix the answer is always text, and bytes that are not UTF-8 become U+FFFD.
//!
//! Invariant: a prefix is kept only for peers that asked for one.

use std::collections::HashMap;

use super::{Ctx, Kind, Request};
use crate::base::id::ConnId;

/// The echo service.
#[derive(Debug, Default)]
pub struct Echo {
    prefixes: HashMap<ConnId, Box<str>>,
}

impl Echo {
    /// The parameter that asks for a prefix.
    pub const PREFIX: &'static str = "prefix";

    pub(super) fn opened(&mut self, ctx: &mut Ctx<'_>, request: &Request<'_>) {
        if let Some(prefix) = request.param(Self::PREFIX) {
            self.prefixes.insert(ctx.id(), prefix.into());
        }
    }

    #[inline]
    pub(super) fn message(&mut self, ctx: &mut Ctx<'_>, has_prefix: bool, kind: Kind, payload: &[u8]) {
        if !has_prefix {
            ctx.reply(kind, payload);
            return;
        }
        let prefix = self.prefixes.get(&ctx.id()).map_or("", |prefix| prefix);
        ctx.reply_parts(Kind::Text, &[prefix.as_bytes(), String::from_utf8_lossy(payload).as_bytes()]);
    }

    pub(super) fn closed(&mut self, ctx: &Ctx<'_>) {
        self.prefixes.remove(&ctx.id());
    }
}
