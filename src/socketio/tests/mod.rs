//! Tests of the whole room: sessions, upgrades, packets, clients, and what must hold of any input.
//!
//! What one file alone promises is tested in that file; here are the stories that go through several.

mod clients;
mod laws;
mod packets;
mod sessions;
mod upgrades;

use super::action::{Action, Answer, Reason};
use super::engine::{Config, Frame, Message, Sid};
use super::session::{Incoming, Session, Unsent};
use crate::base::id::ConnId;
use crate::base::tick::{MILLI, Nanos, SECOND};
use std::rc::Rc;

/// A connection; tests number them as they like.
fn conn(number: u32) -> ConnId {
    ConnId { index: number, serial: number }
}

/// What was done, in short: `1:4hello` is an answer or a frame to connection 1, `1:400` a refusal, `1:ok` a POST taken,
/// `1:shut` a WebSocket closed, `end ping timeout` the end.
fn told(action: &Action) -> String {
    match action {
        Action::Answer { to, answer: Answer::Packets(payload) } => {
            format!("{}:{}", to.index, payload.replace('\u{1e}', "|"))
        }
        Action::Answer { to, answer: Answer::Taken } => format!("{}:ok", to.index),
        Action::Answer { to, answer } => format!("{}:{}", to.index, answer.status()),
        Action::Send { to, frame: Frame::Text(text) } => format!("{}:{text}", to.index),
        Action::Send { to, frame: Frame::Binary(bytes) } => format!("{}:{bytes:?}", to.index),
        Action::CloseWebSocket { to } => format!("{}:shut", to.index),
        Action::End(Reason::ParseError(_)) => "end parse error".to_string(),
        Action::End(why) => format!("end {why}"),
    }
}

fn heard(message: &Message<'_>) -> String {
    match message {
        Message::Text(text) => (*text).to_string(),
        Message::Binary(bytes) => format!("{bytes:?}"),
    }
}

/// A session, its clock, and what it asked to be done.
struct Stage {
    session: Session,
    now: Nanos,
    out: Vec<Action>,
}

impl Stage {
    fn config() -> Config {
        Config { max_payload: 100, queue_max: 1000, ..Config::default() }
    }

    /// A session that polls; its opening by connection 0 is over.
    fn polling() -> Self {
        let mut out = Vec::new();
        let named = (Sid::new([7; 15]), Rc::new(Self::config()));
        let session = Session::open_polling(named, conn(0), 0, u64::MAX, &mut out);
        let mut stage = Self { session, now: 0, out };
        assert!(
            stage.done()[0].starts_with("0:0{\"sid\":\"BwcHBwcHBwcHBwcHBwcH\",\"upgrades\":[\"websocket\"]")
        );
        stage
    }

    /// A session on WebSocket 0.
    fn web_socket() -> Self {
        let mut out = Vec::new();
        let named = (Sid::new([7; 15]), Rc::new(Self::config()));
        let session = Session::open_websocket(named, conn(0), 0, u64::MAX, &mut out);
        let mut stage = Self { session, now: 0, out };
        assert!(stage.done()[0].starts_with("0:0{\"sid\":\"BwcHBwcHBwcHBwcHBwcH\",\"upgrades\":[]"));
        stage
    }

    fn done(&mut self) -> Vec<String> {
        self.out.drain(..).map(|action| told(&action)).collect()
    }

    fn after(&mut self, nanos: Nanos) -> &mut Self {
        self.now += nanos;
        self
    }

    fn tick(&mut self) -> Vec<String> {
        self.session.tick(self.now, &mut self.out);
        self.done()
    }

    fn get(&mut self, from: u32) -> Vec<String> {
        self.session.poll(conn(from), self.now, &mut self.out);
        self.done()
    }

    /// The head of a POST; whether its body is wanted, and what was done.
    fn post_head(&mut self, from: u32, announced: Option<u64>, binary: bool) -> (bool, Vec<String>) {
        let wanted = self.session.post_began(conn(from), (announced, binary), self.now, &mut self.out);
        (wanted, self.done())
    }

    /// The body of a POST: its messages, and what was done.
    fn post_body(&mut self, from: u32, body: &[u8]) -> (Vec<String>, Vec<String>) {
        let mut post = self.session.post(conn(from), body, self.now, &mut self.out);
        let mut messages = Vec::new();
        while let Some(message) = self.session.next_message(&mut post, self.now, &mut self.out) {
            messages.push(heard(&message));
        }
        (messages, self.done())
    }

    /// A whole POST that is let in.
    fn post(&mut self, from: u32, body: &str) -> (Vec<String>, Vec<String>) {
        let (wanted, _) = self.post_head(from, Some(body.len() as u64), false);
        assert!(wanted, "the body of a good POST is wanted");
        self.post_body(from, body.as_bytes())
    }

    fn open(&mut self, from: u32) -> Vec<String> {
        self.session.upgrade(conn(from), self.now, &mut self.out);
        self.done()
    }

    fn frame(&mut self, from: u32, incoming: Incoming<'_>) -> (Option<String>, Vec<String>) {
        let message = self.session.frame(conn(from), incoming, self.now, &mut self.out);
        let message = message.as_ref().map(heard);
        (message, self.done())
    }

    /// A text that is no message: what was done.
    fn text(&mut self, from: u32, text: &str) -> Vec<String> {
        let (message, done) = self.frame(from, Incoming::Text(text));
        assert_eq!(message, None, "{text}");
        done
    }

    fn gone(&mut self, from: u32) -> Vec<String> {
        self.session.gone(conn(from), &mut self.out);
        self.done()
    }

    fn send(&mut self, text: &str) -> Vec<String> {
        assert_eq!(self.try_send(text), Ok(()), "{text}");
        self.done()
    }

    fn try_send(&mut self, text: &str) -> Result<(), Unsent> {
        self.session.send(&[Frame::message(text)], &mut self.out)
    }

    fn close(&mut self) -> Vec<String> {
        self.session.close(self.now, &mut self.out);
        self.done()
    }
}

/// Nothing was done.
const NOTHING: [&str; 0] = [];
