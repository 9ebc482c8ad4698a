//! What must be true in every dialect: whoever is sent what, all hear the same.
//!
//! The ear of these tests inflates with one window from the first frame to the last, as a client with context takeover
//! does, and with a window no larger than was agreed on.

use super::super::compressors::{Compressors, OwnCompressor};
use super::super::delivery::Step as Found;
use super::super::dialect::Dialect;
use super::{ConnId, Hub, Kind, deliver, id};
use crate::ws::{Header, Role, encode};
use flate2::{Decompress, FlushDecompress};
use proptest::prelude::*;

/// A client's receiving half: frames in, messages out.
struct Ear(Decompress);

impl Ear {
    fn new(dialect: Dialect) -> Self {
        Self(Decompress::new_with_window_bits(false, dialect.window_bits().max(9)))
    }

    fn hear(&mut self, mut frames: &[u8]) -> Vec<(Kind, Vec<u8>)> {
        let mut messages = Vec::new();
        while let Some(header) = Header::decode(frames, Role::Client).unwrap() {
            let (payload, rest) = frames[header.header_len..].split_at(header.payload_len as usize);
            let payload = if header.reserved == 0x40 { self.inflate(payload) } else { payload.to_vec() };
            messages.push((
                if header.opcode == Kind::Text.opcode() { Kind::Text } else { Kind::Binary },
                payload,
            ));
            frames = rest;
        }
        messages
    }

    /// RFC 7692 §7.2.2: four bytes are put back, and what was compressed is decompressed.
    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let (mut message, whole) = (Vec::with_capacity(1 << 20), [payload, &[0, 0, 0xff, 0xff]].concat());
        let before = self.0.total_in();
        self.0.decompress_vec(&whole, &mut message, FlushDecompress::Sync).expect("valid within the window");
        assert_eq!(self.0.total_in() - before, whole.len() as u64);
        message
    }
}

/// Messages small and large, some that shrink, some that do not; words come again, so that a window is of use.
fn message() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    let word = prop::sample::select(vec![
        "{\"price\":",
        "gannet",
        "},",
        "sea,",
        "0.125",
        "{\"volume\":",
        "kittiwake",
    ]);
    let words = prop::collection::vec(word, 0..400).prop_map(|words| words.concat().into_bytes());
    let noise = prop::collection::vec(any::<u8>(), 0..600);
    let payload = prop_oneof![4 => words, 1 => noise];
    (prop_oneof![Just(Kind::Text), Just(Kind::Binary)], payload)
}

fn frame((kind, payload): &(Kind, Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(&mut frame, kind.opcode(), payload);
    frame
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(vec![Dialect::Raw, Dialect::Wide, Dialect::Narrow])
}

proptest! {
    /// Replies by a peer's own compressor, one or several at once, and publications by everybody's in between.
    #[test]
    fn own_and_shared_compressors_take_turns(
        turns in prop::collection::vec((any::<bool>(), prop::collection::vec(message(), 1..4)), 1..40),
        dialect in prop::sample::select(&Dialect::DEFLATED[..]),
    ) {
        let (mut compressors, mut own) = (Compressors::new(16), OwnCompressor::default());
        let (mut ear, mut said, mut heard) = (Ear::new(dialect), Vec::new(), Vec::new());
        for (is_reply, messages) in turns {
            let mut out = Vec::new();
            if is_reply {
                let frames = messages.iter().flat_map(frame).collect::<Vec<_>>();
                compressors.append_all(dialect, Some(&mut own), &frames, &mut out);
            } else {
                for message in &messages {
                    if compressors.append(dialect, &frame(message), &mut out) {
                        own.bypassed();
                    }
                }
            }
            heard.extend(ear.hear(&out));
            said.extend(messages);
        }
        prop_assert_eq!(heard, said);
    }

    /// Whoever comes, goes, speaks without hearing itself, and whatever each is sent: all who are there hear the same.
    #[test]
    fn everybody_hears_the_same_in_its_own_dialect(
        steps in prop::collection::vec(
            prop_oneof![
                3 => dialect().prop_map(Step::Join),
                1 => any::<prop::sample::Index>().prop_map(Step::Leave),
                4 => (message(), prop::option::of(any::<prop::sample::Index>()))
                    .prop_map(|(message, except)| Step::Publish(message, except)),
                2 => Just(Step::Deliver),
            ],
            1..80,
        ),
    ) {
        let mut room = Room::default();
        for step in steps {
            room.step(step);
        }
        room.step(Step::Deliver);
        for peer in room.peers.iter().filter(|peer| peer.is_here) {
            let heard = Ear::new(peer.dialect).hear(&peer.received);
            prop_assert_eq!(&heard, &peer.owed, "{:?}", peer.dialect);
        }
        prop_assert!(room.hub.ledger.balances() && room.hub.ledger.queued == 0 && !room.hub.is_busy());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join(Dialect),
    Leave(prop::sample::Index),
    Publish((Kind, Vec<u8>), Option<prop::sample::Index>),
    Deliver,
}

struct Listener {
    dialect: Dialect,
    is_here: bool,
    owed: Vec<(Kind, Vec<u8>)>,
    received: Vec<u8>,
}

#[derive(Default)]
struct Room {
    hub: Hub,
    peers: Vec<Listener>,
}

impl Room {
    fn step(&mut self, step: Step) {
        match step {
            Step::Join(dialect) => {
                let id = id(self.peers.len() as u32);
                self.hub.topics.speak(id, dialect);
                self.hub.topics.join(id, "sea");
                self.peers.push(Listener { dialect, is_here: true, owed: Vec::new(), received: Vec::new() });
            }
            Step::Leave(which) if !self.peers.is_empty() => {
                let index = which.index(self.peers.len());
                self.hub.topics.leave_all(id(index as u32));
                self.peers[index].is_here = false;
            }
            Step::Publish(message, except) => {
                let except =
                    except.filter(|_| !self.peers.is_empty()).map(|which| which.index(self.peers.len()));
                let Some(sea) = self.hub.topics.find("sea") else { return };
                let name = except.map_or(ConnId::NONE, |index| id(index as u32));
                self.hub.publish(sea, message.0, &message.1, name, 0);
                let here = self.peers.iter_mut().enumerate().filter(|(_, peer)| peer.is_here);
                here.filter(|(index, _)| Some(*index) != except)
                    .for_each(|(_, peer)| peer.owed.push(message.clone()));
            }
            Step::Deliver => {
                for (index, bytes) in deliver(&mut self.hub) {
                    self.peers[index as usize].received.extend(bytes);
                }
            }
            Step::Leave(_) => {}
        }
    }
}

#[test]
fn a_publication_is_compressed_once_for_each_dialect_and_for_none_that_nobody_is_sent() {
    let mut hub = Hub::default();
    let mut sea = hub.topics.join(id(0), "sea");
    let long = vec![b'x'; 2000];
    hub.publish(sea, Kind::Text, &long, ConnId::NONE, 0);
    assert_eq!(deliver(&mut hub)[0].1.len(), 2004);
    assert_eq!(hub.compressors.messages, 0, "nobody is sent compressed frames");
    for n in 1..500 {
        hub.topics.speak(id(n), if n % 3 == 0 { Dialect::Narrow } else { Dialect::Wide });
        sea = hub.topics.join(id(n), "sea");
    }
    hub.publish(sea, Kind::Text, &long, ConnId::NONE, 0);
    hub.publish(sea, Kind::Text, b"short", ConnId::NONE, 0);
    let got = deliver(&mut hub);
    assert_eq!((got.len(), hub.compressors.messages), (500, 2), "two dialects, one message that is worth it");
    assert!(got.iter().all(|(index, bytes)| if *index == 0 {
        bytes.len() == 2011
    } else {
        bytes.len() < 50
    }));
    (1..500).for_each(|n| hub.topics.leave_all(id(n)));
    hub.publish(sea, Kind::Text, &long, ConnId::NONE, 0);
    assert_eq!((deliver(&mut hub).len(), hub.compressors.messages), (1, 2), "they have left");
}

#[test]
fn what_does_not_shrink_and_what_is_too_small_or_too_large_is_sent_as_it_is() {
    let mut compressors = Compressors::new(100);
    let mut noise = vec![0; 4000];
    let mut state = 1_u32;
    noise.iter_mut().for_each(|byte| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    });
    let zeros = vec![0; super::super::compressors::COMPRESS_BYTES_MAX + 1];
    for payload in [&noise[..], &[0; 99], &zeros] {
        let (plain, mut out) = (frame(&(Kind::Binary, payload.to_vec())), Vec::new());
        assert!(!compressors.append(Dialect::Wide, &plain, &mut out));
        assert_eq!(out, plain);
    }
    assert_eq!((compressors.messages, compressors.unshrunk, compressors.oversized), (0, 1, 1));
    assert!(compressors.append(Dialect::Wide, &frame(&(Kind::Binary, vec![0; 100])), &mut Vec::new()));
}

#[test]
fn what_is_too_short_to_shrink_costs_nobody_its_memory() {
    let (mut compressors, mut own) = (Compressors::new(0), OwnCompressor::default());
    let mut ear = Ear::new(Dialect::Wide);
    let mut reply = |payload: &[u8]| {
        let mut out = Vec::new();
        let frames = frame(&(Kind::Text, payload.to_vec()));
        compressors.append_all(Dialect::Wide, Some(&mut own), &frames, &mut out);
        assert_eq!(ear.hear(&out), [(Kind::Text, payload.to_vec())]);
        out.len()
    };
    let first = reply(b"{\"gannet\":0.125,\"kittiwake\":17}");
    for short in [&b""[..], b"1", b"ok", b"okay"] {
        assert_eq!(reply(short), 2 + short.len(), "as it is");
        let again = reply(b"{\"gannet\":0.125,\"kittiwake\":17}");
        assert!(again < first / 2, "{again} of {first} bytes behind {short:?}");
    }
}

#[test]
fn all_who_hear_events_are_sent_one_encoding_of_all_that_was_published() {
    let mut hub = Hub::default();
    let sea = hub.topics.join(id(0), "sea");
    (1..5).for_each(|n| _ = hub.topics.join_in(id(n), "sea", Dialect::Event));
    hub.publish(sea, Kind::Text, b"ahoy", ConnId::NONE, 0);
    hub.publish(sea, Kind::Text, b"land", ConnId::NONE, 0);
    let mut delivery = hub.next_delivery().unwrap();
    let members = hub.topics.members(sea).to_vec();
    let (mut sent, mut places) = (Vec::new(), Vec::new());
    loop {
        match delivery.step(&members, &mut hub.ledger, 0) {
            Found::Visit(to) => {
                let frame = delivery.frame(0);
                assert_eq!(delivery.frames(), 1, "two publications leave in one write");
                if to != id(0) {
                    places.push(frame.block(0).as_ptr());
                }
                sent.push((to.index, String::from_utf8_lossy(frame.block(0)).into_owned()));
                hub.paid(frame.debt(0), 0);
            }
            Found::Skip => {}
            Found::Done => break,
        }
    }
    hub.end(delivery, 0);
    let events =
        "\u{fffd}\u{1f}42/broadcast,[\"message\",\"ahoy\"]\u{fffd}\u{1f}42/broadcast,[\"message\",\"land\"]";
    sent.sort();
    assert_eq!(sent[0], (0, "\u{fffd}\u{4}ahoy\u{fffd}\u{4}land".to_owned()), "plain peers hear it as it is");
    assert!(sent[1..].iter().all(|(_, text)| text == events), "{sent:?}");
    assert!(places.iter().all(|place| *place == places[0]), "the same bytes, not copies of them");
    assert_eq!((hub.ledger.written, hub.ledger.queued), (10, 0));
}
