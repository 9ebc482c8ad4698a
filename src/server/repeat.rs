//! Sending a long message back from where it lies.
//!
//! An echo of a megabyte by way of the outbox is copied once more on its way, which is a quarter of what it costs. So
//! a long message is lent to the outbox while a service handles it, and if the service sends just that back, header and
//! payload leave in one vectored write, straight from the receive buffer.
//!
//! Invariant: nothing of the peer waits, in its queue or in the outbox, when its message goes back this way.

use std::io;

use super::connection::Facts;
use super::converse::Halt;
use super::limits::LENT_BYTES_MIN;
use super::metrics::Metrics;
use super::send_queue::SendQueue;
use crate::base::id::ConnId;
use crate::hub::frame::Frame;
use crate::hub::outbox::Outbox;
use crate::net::Net;
use crate::ws::{Kind, encode_header};

/// The parts of a connection that writing touches.
pub(super) struct Line<'c, K> {
    pub(super) socket: &'c mut K,
    pub(super) facts: &'c mut Facts,
    pub(super) queue: &'c mut SendQueue,
    /// Whether it is sent plain frames.
    pub(super) is_raw: bool,
}

impl<K> Line<'_, K> {
    /// Lends `payload`, which `id` has just sent, if it may go back from where it lies. Returns whether it did.
    #[inline]
    pub(super) fn lend(&self, outbox: &mut Outbox, id: ConnId, payload: &[u8]) -> bool {
        let may =
            self.is_raw && payload.len() >= LENT_BYTES_MIN && self.queue.is_empty() && !self.facts.blocked;
        if may {
            outbox.lend(id, payload);
        }
        may
    }

    /// Writes `payload` as a message. What the socket does not take is queued, and nothing more decoded for now.
    pub(super) fn repeat<N: Net<Socket = K>>(
        &mut self,
        net: &mut N,
        metrics: &mut Metrics,
        kind: Kind,
        payload: &[u8],
    ) -> Result<(), Halt> {
        let (header, len) = encode_header(kind.opcode(), true, payload.len() as u64, None);
        let header = &header[..len];
        let mut gone = 0;
        loop {
            let rest = [&header[gone.min(len)..], &payload[gone.saturating_sub(len)..]].map(io::IoSlice::new);
            metrics.wrote();
            match net.send_vectored(self.socket, &rest) {
                Ok(n) => {
                    metrics.sent(n);
                    gone += n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(Halt::Reset),
            }
            if gone == len + payload.len() {
                return Ok(());
            }
            if self.facts.widened {
                break;
            }
            // What it is to hear again is nobody else's, and would have to be copied here.
            self.facts.widened = true;
            net.widen(self.socket);
        }
        self.facts.blocked = true;
        self.queue.push(Frame::rest([header, payload], gone), 0);
        Err(Halt::Stalled)
    }
}
