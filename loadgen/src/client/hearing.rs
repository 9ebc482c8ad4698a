//! What a client does about each event in what it has received: hear it, answer it, or go.
//!
//! Why apart: here protocols meet. A message is heard as it is, or `--protocol socketio` says what it is worth.
//!
//! Invariants: a ping is answered at once, of either protocol; what comes before a client is open is heard by nobody but the
//! handshake of Socket.IO.

use super::socketio::Step;
use super::{Client, Heard, LIMITS, Lent, Reason, Speech, State};
use stentor::ws::{CloseCode, Cursor, Event, Kind, Opcode, encode_masked, frame_len};

impl Client {
    /// Why it is given up when it takes too long.
    pub const fn overdue(&self) -> &'static str {
        match self.state {
            State::Entering => self.stage.lacks(),
            State::New
            | State::Connecting
            | State::Handshaking
            | State::Open
            | State::Closing
            | State::Gone => "timed out",
        }
    }

    /// Every event in a window.
    pub(super) fn decode(
        &mut self,
        window: &mut [u8],
        cursor: &mut Cursor,
        lent: &mut Lent,
        now_ns: u64,
        message: &mut impl FnMut(Heard<'_>),
    ) -> Result<(), Reason> {
        loop {
            match self.decoder.decode(window, cursor, &LIMITS) {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Message { kind, payload })) => {
                    let heard = Heard { payload, wire_bytes: frame_len(payload.len()), now_ns };
                    let speaking = (lent.speech.as_ref(), &mut lent.encode, &mut lent.rng);
                    self.take_message(kind, heard, speaking, message)?;
                }
                Ok(Some(Event::Compressed { kind, payload })) => {
                    let wire_bytes = frame_len(payload.len());
                    let compression = lent.compression.get_or_insert_default();
                    let heard = Heard { payload: compression.inflate(kind, payload)?, wire_bytes, now_ns };
                    let speaking = (lent.speech.as_ref(), &mut lent.encode, &mut lent.rng);
                    self.take_message(kind, heard, speaking, message)?;
                }
                Ok(Some(Event::Ping(payload))) => {
                    lent.encode.clear();
                    let key = lent.rng.u32(..).to_ne_bytes();
                    encode_masked(&mut lent.encode, Opcode::Pong, payload, key);
                    self.write(&lent.encode)?;
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(body))) => {
                    let code = body.map_or(CloseCode::NO_STATUS, |(code, _)| code);
                    self.farewell(if code.may_be_sent() { code } else { CloseCode::NORMAL }, lent);
                    if self.state != State::Closing {
                        return Err(Reason::from(format!("the server closed with {}", code.get())));
                    }
                    return Ok(());
                }
                Err(violation) => return Err(Reason::from(format!("bad frame: {violation}"))),
            }
        }
    }

    /// A message is heard; where Socket.IO is spoken, only what it says is so.
    #[inline]
    fn take_message(
        &mut self,
        kind: Kind,
        heard: Heard<'_>,
        (speech, encode, rng): (Option<&Speech>, &mut Vec<u8>, &mut fastrand::Rng),
        message: &mut impl FnMut(Heard<'_>),
    ) -> Result<(), Reason> {
        let Some(speech) = speech else {
            message(heard);
            return Ok(());
        };
        match speech.heed(&mut self.stage, kind, heard.payload)? {
            Step::Nothing => {}
            Step::Hear => message(heard),
            Step::Begin if self.state == State::Entering => self.state = State::Open,
            Step::Begin => {}
            Step::Say(text) => {
                encode.clear();
                encode_masked(encode, Opcode::Text, text.as_bytes(), rng.u32(..).to_ne_bytes());
                self.write(encode)?;
            }
        }
        Ok(())
    }
}
