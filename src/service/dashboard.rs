//! The dashboard: peers that look at the server's own numbers.
//!
//! A service cannot see what the server counts. So this one only keeps the list of who looks ([`Service::watchers`]), and the
//! worker, which has the numbers, sends them: at most four times a second, and nothing while the list is empty.
//!
//! Invariants: at most [`WATCHERS_MAX`] look at once; whoever is on the list is connected.
//!
//! [`Service::watchers`]: super::Service::watchers

use super::{Admission, CloseCode, Ctx};
use crate::base::id::ConnId;

/// Peers that look at once: each is sent some two kilobytes four times a second, all in one turn.
pub const WATCHERS_MAX: usize = 64;

/// Who looks.
#[derive(Debug, Default)]
pub struct Dashboard {
    watchers: Vec<ConnId>,
}

impl Dashboard {
    /// Whether one more may look.
    pub(super) fn check(&self) -> Result<(), Admission<'static>> {
        if self.watchers.len() < WATCHERS_MAX {
            return Ok(());
        }
        Err(Admission::Malformed(format!(
            "{WATCHERS_MAX} look at the dashboard already, and more may not; /stats has the same numbers"
        )))
    }

    pub(super) fn opened(&mut self, ctx: &Ctx<'_>) {
        self.watchers.push(ctx.id());
    }

    pub(super) fn message(ctx: &mut Ctx<'_>) {
        ctx.close(CloseCode::POLICY, "the dashboard is only looked at");
    }

    pub(super) fn closed(&mut self, ctx: &Ctx<'_>) {
        self.watchers.retain(|id| *id != ctx.id());
        if self.watchers.is_empty() {
            self.watchers = Vec::new();
        }
    }

    pub(super) fn watchers(&self) -> &[ConnId] {
        &self.watchers
    }
}
