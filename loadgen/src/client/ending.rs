//! How a client goes: with a close frame, a FIN, a reset, or because the connection is over.
//!
//! Why apart: a server must cope with all of them, so all of them are asked for.
//!
//! Invariants: after the first word of farewell the state is at least closing; a client that is gone owns nothing.

use super::{Client, Lent, Progress, Reason, State};
use stentor::ws::{CloseCode, Opcode, close, encode_masked};

impl Client {
    /// Begins the closing handshake; the server closes the connection (RFC 6455 §7.1.1), so the port is free at once.
    pub fn close(&mut self, lent: &mut Lent) {
        if self.state == State::Open {
            self.state = State::Closing;
            self.farewell(CloseCode::NORMAL, lent);
        }
    }

    /// Sends a close frame; whether it arrives is no longer our concern.
    pub(super) fn farewell(&mut self, code: CloseCode, lent: &mut Lent) {
        let mut body = Vec::with_capacity(2);
        close::encode_body(&mut body, code, "");
        lent.encode.clear();
        encode_masked(&mut lent.encode, Opcode::Close, &body, lent.rng.u32(..).to_ne_bytes());
        let _ = self.write(&lent.encode);
    }

    /// Says without a word that nothing more will come; the server is to end the connection.
    pub fn shut(&mut self) {
        if self.state == State::Open {
            self.state = State::Closing;
            if let Some(stream) = self.stream.as_mut() {
                // One that is broken already tells by itself.
                let _ = stream.tcp().shutdown(std::net::Shutdown::Write);
            }
        }
    }

    /// Ends the connection with a reset, whatever is under way (RFC 9293 §3.5.2).
    pub fn reset(&mut self) {
        if let Some(stream) = self.stream.as_mut() {
            let _ = socket2::SockRef::from(&*stream.tcp()).set_linger(Some(std::time::Duration::ZERO));
        }
        self.drop_connection();
    }

    /// Gives everything back.
    pub fn drop_connection(&mut self) {
        self.state = State::Gone;
        self.stream = None;
        self.partial = None;
        self.unwritten = None;
    }

    pub(super) fn gone(&mut self, why: impl Into<Reason>) -> Progress {
        self.drop_connection();
        Progress::Gone(why.into())
    }
}
