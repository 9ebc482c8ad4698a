//! What must hold of any input: property tests of both protocols.
//!
//! What is encoded is decoded; a payload comes apart where it was put together; nothing that a peer sends panics. And of
//! sessions, whatever happens to them in whatever order: every request gets one answer, the end comes once, and what was
//! sent arrives once and in order.

use super::*;
use crate::socketio::binary::{Decoder, Limits};
use crate::socketio::engine::{Packet as EnginePacket, PacketType, Payload};
use crate::socketio::packet::{Args, Body, Event, Packet, RESERVED};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};
use std::collections::HashMap;

fn frames() -> impl Strategy<Value = Frame> {
    let kind = prop::sample::select(&PacketType::ALL[..]);
    prop_oneof![
        (kind, "[^\u{1e}]{0,40}").prop_map(|(kind, text)| Frame::packet(kind, &text)),
        vec(any::<u8>(), 0..60).prop_map(|bytes| Frame::Binary(bytes.into())),
    ]
}

/// JSON values as a client would make them; numbers that are not changed by being read.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1000i32..1000).prop_map(|number| Value::from(f64::from(number) / 8.0)),
        ".{0,20}".prop_map(Value::from),
    ];
    let key = prop_oneof![4 => ".{0,8}", 1 => Just("__proto__".to_string()), 1 => Just("num".to_string())];
    leaf.prop_recursive(4, 30, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((key.clone(), inner), 0..5).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn args() -> impl Strategy<Value = Args> {
    (vec(values(), 0..4), vec(vec(any::<u8>(), 0..20), 0..=10)).prop_map(|(values, attachments)| {
        let mut args = Args::new();
        values.into_iter().for_each(|value| args.push(value));
        for (at, bytes) in attachments.into_iter().enumerate() {
            let placeholder = args.attach(bytes).expect("at most ten");
            // Some stand alone, some deep inside.
            args.push(if at % 2 == 0 { placeholder } else { serde_json::json!([{ "a": placeholder }]) });
        }
        args
    })
}

fn packets() -> impl Strategy<Value = Packet> {
    let object =
        || vec((".{0,8}", values()), 0..4).prop_map(|pairs| pairs.into_iter().collect::<Map<_, _>>());
    let name = ".{0,12}".prop_filter("reserved", |name| !RESERVED.contains(&name.as_str()));
    let body = prop_oneof![
        prop::option::of(object()).prop_map(Body::Connect),
        Just(Body::Disconnect),
        object().prop_map(|object| Body::ConnectError(Value::Object(object))),
        (name, args()).prop_map(|(name, args)| Body::Event(Event::new(name, args).unwrap())),
        args().prop_map(Body::Ack),
    ];
    let namespace = prop_oneof![Just("/".to_string()), "/[^,\\pC]{1,20}"];
    (namespace, prop::option::of(0..=(1u64 << 53) - 1), body).prop_map(|(namespace, id, body)| Packet {
        namespace: namespace.into(),
        id,
        body,
    })
}

/// Text that is nearly a packet: a good one with something taken out or put in.
fn near_packets() -> impl Strategy<Value = String> {
    (packets(), any::<prop::sample::Index>(), prop::option::of(any::<char>())).prop_map(
        |(packet, at, put)| {
            let mut text = String::new();
            packet.encode(&mut text);
            let mut chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len());
            match put {
                Some(put) => chars.insert(at, put),
                None => drop(chars.remove(at)),
            }
            chars.into_iter().collect()
        },
    )
}

proptest! {
    #[test]
    fn a_payload_comes_apart_where_it_was_put_together(frames in vec(frames(), 1..12)) {
        let mut payload = String::new();
        for frame in &frames {
            frame.append_to(&mut payload);
        }
        let separators = frames.len() - 1;
        let len: usize = frames.iter().map(Frame::payload_len).sum();
        prop_assert_eq!(payload.len(), len + separators);
        let read: Vec<Frame> = Payload::new(&payload)
            .map(|packet| match packet.unwrap() {
                EnginePacket::Text(kind, text) => Frame::packet(kind, text),
                EnginePacket::Binary(bytes) => Frame::Binary((*bytes).into()),
            })
            .collect();
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn any_text_is_a_payload_or_says_why_not(text in "[0-9b\u{1e}a-z=]{0,40}|\\PC{0,40}|(?s).{0,40}") {
        let pieces = text.split('\u{1e}').count();
        let read: Vec<_> = Payload::new(&text).collect();
        prop_assert!(!read.is_empty() && read.len() <= pieces);
        let (last, before) = read.split_last().expect("it is not empty");
        prop_assert!(before.iter().all(Result::is_ok));
        prop_assert!(last.is_err() || read.len() == pieces);
    }

    #[test]
    fn what_is_encoded_is_decoded(packet in packets()) {
        let mut text = String::new();
        packet.encode(&mut text);
        let mut decoder = Decoder::default();
        let mut read = decoder.text(&text, &Limits::default()).unwrap();
        for bytes in packet.attachments() {
            prop_assert!(read.is_none() && decoder.is_waiting());
            read = decoder.binary(bytes).unwrap();
        }
        prop_assert_eq!(read, Some(packet));
        prop_assert!(!decoder.is_waiting());
    }

    #[test]
    fn nothing_panics_and_what_is_taken_can_be_written(
        messages in vec(prop_oneof![
            near_packets().prop_map(Ok),
            "[0-6][0-9]{0,2}-?(/[a-z]{0,3},?)?[0-9]{0,3}[\\[\\]{}\",:a-z0-9]{0,12}".prop_map(Ok),
            "(?s).{0,30}".prop_map(Ok),
            vec(any::<u8>(), 0..20).prop_map(Err),
        ], 1..8)
    ) {
        let mut decoder = Decoder::default();
        for message in messages {
            let read = match &message {
                Ok(text) => decoder.text(text, &Limits::default()),
                Err(bytes) => decoder.binary(bytes),
            };
            if let Ok(Some(packet)) = read {
                let mut text = String::new();
                packet.encode(&mut text);
                let mut again = Decoder::default();
                prop_assert!(again.text(&text, &Limits::default()).is_ok(), "{text}");
            }
        }
    }
}

/// Something that happens to a session.
#[derive(Clone, Debug)]
enum Happens {
    Get,
    PostHead,
    PostBody(String),
    WebSocket,
    Frame(String),
    Gone(u32),
    Send,
    Close,
    Wait(Nanos),
}

fn happenings() -> impl Strategy<Value = Happens> {
    let packet = prop_oneof![
        4 => Just("4x".to_string()),
        2 => Just("3".to_string()),
        3 => Just("2probe".to_string()),
        2 => Just("5".to_string()),
        1 => "[0-9b][a-z]{0,3}",
    ];
    let few = packet.clone();
    prop_oneof![
        8 => Just(Happens::Get),
        3 => Just(Happens::PostHead),
        3 => vec(packet, 1..4).prop_map(|packets| Happens::PostBody(packets.join("\u{1e}"))),
        2 => Just(Happens::WebSocket),
        6 => few.prop_map(Happens::Frame),
        1 => (0u32..60).prop_map(Happens::Gone),
        10 => Just(Happens::Send),
        1 => Just(Happens::Close),
        3 => (0..12 * SECOND).prop_map(Happens::Wait),
    ]
}

/// The world around a session: it keeps the books.
struct World {
    stage: Stage,
    /// Requests that have no answer yet.
    open: Vec<u32>,
    /// The newest WebSocket and the newest POST.
    web_socket: u32,
    post: Option<u32>,
    /// Messages that `send` took, and those that arrived.
    sent: u32,
    arrived: u32,
    ended: bool,
    closed: HashMap<u32, bool>,
}

impl World {
    fn happen(&mut self, what: &Happens, number: u32) {
        let (session, now, out) = (&mut self.stage.session, &mut self.stage.now, &mut self.stage.out);
        match what {
            Happens::Get => {
                self.open.push(number);
                session.poll(conn(number), *now, out);
            }
            Happens::PostHead => {
                self.open.push(number);
                if session.post_began(conn(number), (None, false), *now, out) {
                    self.post = Some(number);
                }
            }
            Happens::PostBody(body) => {
                if let Some(from) = self.post.take() {
                    self.stage.post_body_quietly(from, body);
                }
            }
            Happens::WebSocket => {
                if session.direct().is_none() {
                    self.web_socket = number;
                }
                session.upgrade(conn(number), *now, out);
            }
            Happens::Frame(text) => {
                session.frame(conn(self.web_socket), Incoming::Text(text), *now, out);
            }
            Happens::Gone(which) => {
                self.open.retain(|open| open != which);
                session.gone(conn(*which), out);
            }
            Happens::Send => {
                if session.send(&[Frame::message(&self.sent.to_string())], out).is_ok() {
                    self.sent += 1;
                }
            }
            Happens::Close => session.close(*now, out),
            Happens::Wait(nanos) => {
                *now += nanos;
                session.tick(*now, out);
            }
        }
        self.settle();
    }

    /// Does what the session asked for, and looks whether it may.
    fn settle(&mut self) {
        for action in std::mem::take(&mut self.stage.out) {
            match action {
                Action::Answer { to, answer } => {
                    let at = self.open.iter().position(|open| *open == to.index);
                    self.open.remove(at.unwrap_or_else(|| panic!("{to:?} has no request")));
                    assert!(!self.ended || matches!(answer, Answer::Refused(_)), "{answer:?} after the end");
                    if let Answer::Packets(payload) = answer {
                        payload.split('\u{1e}').for_each(|packet| self.arrive(packet));
                    }
                }
                Action::Send { to, frame: Frame::Text(text) } => {
                    assert!(!self.ended && !self.closed.contains_key(&to.index), "{text} on a closed one");
                    self.arrive(&text);
                }
                Action::Send { frame: Frame::Binary(_), .. } => panic!("no bytes were sent"),
                Action::CloseWebSocket { to } => {
                    assert!(self.closed.insert(to.index, true).is_none(), "{to:?} is closed twice");
                }
                Action::End(_) => {
                    assert!(!self.ended, "a second end");
                    self.ended = true;
                }
            }
        }
        assert_eq!(self.ended, self.stage.session.transport().is_none());
        assert_eq!(self.ended, self.stage.session.deadline().is_none());
    }

    fn arrive(&mut self, packet: &str) {
        if let Some(message) = packet.strip_prefix('4') {
            assert_eq!(message, self.arrived.to_string(), "once and in order");
            self.arrived += 1;
        }
    }
}

impl Stage {
    fn post_body_quietly(&mut self, from: u32, body: &str) {
        let mut post = self.session.post(conn(from), body.as_bytes(), self.now, &mut self.out);
        while self.session.next_message(&mut post, self.now, &mut self.out).is_some() {}
    }
}

proptest! {
    #[test]
    fn every_session_keeps_its_promises(happenings in vec(happenings(), 1..60)) {
        let stage = Stage::polling();
        let (open, closed) = (Vec::new(), HashMap::new());
        let mut world =
            World { stage, open, web_socket: 0, post: None, sent: 0, arrived: 0, ended: false, closed };
        for (happens, number) in happenings.iter().zip(1..) {
            world.happen(happens, number);
        }
        // Whoever goes on living gets all that was sent: by its WebSocket at once, or by its next GETs.
        let mut number = 1000;
        while !world.ended && world.arrived < world.sent {
            number += 1;
            prop_assert!(number < 1100, "{} of {} arrived", world.arrived, world.sent);
            world.happen(&Happens::Get, number);
        }
        // At the end nobody is left without an answer.
        world.happen(&Happens::Close, 0);
        world.happen(&Happens::Wait(100 * SECOND), 0);
        prop_assert!(world.ended && world.open.is_empty(), "{:?} have no answer", world.open);
    }
}
