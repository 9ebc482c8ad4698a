//! Histories against a model that keeps every message: what can be had is exactly the last of them, within the bounds.
//!
//! The hub is used as the server uses it: peers join, publish and leave, deliveries go a few steps, and somebody comes back.

use super::*;
use crate::base::id::ConnId;
use crate::hub::Kind;
use crate::hub::delivery::Step;
use crate::hub::dialect::Dialect;
use crate::hub::outbox::Action;
use crate::hub::{Hub, compressors::Compressors};
use crate::ws::{Header, Role};
use proptest::prelude::*;

const TOPICS: [&str; 2] = ["broadcast/sea", "broadcast/sky"];

fn hub(messages: u32, memory: usize) -> Hub {
    let mut hub = Hub::new(Compressors::default());
    hub.topics.histories = Histories::new(Bounds { messages, memory }, 7);
    hub
}

fn id(index: u32) -> ConnId {
    ConnId { index, serial: index + 1 }
}

fn join(hub: &mut Hub, index: u32, name: &str) {
    let topic = hub.topics.join(id(index), name);
    hub.topics.remember(topic, &name[10..]);
}

fn publish(hub: &mut Hub, name: &str, text: &str) -> Position {
    hub.publish_named(name, &name[10..], Kind::Text, text.as_bytes(), 0);
    hub.topics.histories.find(name).unwrap_or(Position { epoch: String::new(), offset: 0, kept: 0 })
}

/// Takes everything round.
fn deliver(hub: &mut Hub, ears: &mut Vec<Vec<u8>>) {
    while let Some(delivery) = hub.next_delivery() {
        finish(hub, delivery, ears);
    }
}

fn finish(hub: &mut Hub, mut delivery: crate::hub::delivery::Delivery, ears: &mut Vec<Vec<u8>>) {
    let members = hub.topics.members(delivery.topic()).to_vec();
    loop {
        match delivery.step(&members, &mut hub.ledger, 0) {
            Step::Visit(id) => {
                for frame in (0..delivery.frames()).map(|index| delivery.frame(index)) {
                    ear(ears, id).extend_from_slice(frame.block(0));
                    hub.paid(frame.debt(0), 0);
                }
            }
            Step::Skip => {}
            Step::Done => break,
        }
    }
    hub.end(delivery, 0);
}

fn ear(ears: &mut Vec<Vec<u8>>, id: ConnId) -> &mut Vec<u8> {
    if ears.len() <= id.index as usize {
        ears.resize(id.index as usize + 1, Vec::new());
    }
    &mut ears[id.index as usize]
}

/// What was left for single peers.
fn hand_out(hub: &mut Hub, ears: &mut Vec<Vec<u8>>) {
    let shared = hub.outbox.take_shared();
    let (_, commands) = hub.outbox.take();
    for command in commands.iter().filter(|command| command.action == Action::Shared) {
        for frame in &shared[command.from as usize..command.until as usize] {
            assert!(frame.is_reply(), "no ledger counts it");
            ear(ears, command.to).extend_from_slice(frame.block(0));
        }
    }
}

fn messages(mut frames: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while let Some(header) = Header::decode(frames, Role::Client).unwrap() {
        let (payload, rest) = frames[header.header_len..].split_at(header.payload_len as usize);
        messages.push(String::from_utf8(payload.to_vec()).unwrap());
        frames = rest;
    }
    messages
}

/// What everything holds, counted by hand.
fn recount(histories: &Histories) -> (usize, u64) {
    let weigh = |record: &Record| {
        let blocks = record.blocks.iter().map(|block| block.weight() + block.framed_weight());
        record.own_weight() + blocks.sum::<usize>()
    };
    let all = || histories.records.iter().map(|(_, record)| record);
    let most = histories.bounds.messages;
    (all().map(weigh).sum(), all().map(|record| kept(&record.blocks, record.taken, most)).sum())
}

#[test]
fn what_waits_and_what_has_set_out_is_sent_again_in_one_piece() {
    let (mut hub, mut ears) = (hub(100, 1 << 20), Vec::new());
    join(&mut hub, 0, TOPICS[0]);
    let first = publish(&mut hub, TOPICS[0], "1");
    publish(&mut hub, TOPICS[0], "2");
    let under_way = hub.next_delivery().unwrap();
    publish(&mut hub, TOPICS[0], "3");
    publish(&mut hub, TOPICS[0], "4");
    for (index, since) in [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)] {
        join(&mut hub, index, TOPICS[0]);
        let topic = hub.topics.find(TOPICS[0]).unwrap();
        assert!(hub.replay(id(index), topic, &first.epoch, since));
    }
    hand_out(&mut hub, &mut ears);
    finish(&mut hub, under_way, &mut ears);
    publish(&mut hub, TOPICS[0], "5");
    deliver(&mut hub, &mut ears);
    for (index, since) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 3), (5, 4)] {
        let expected: Vec<String> = (since + 1..=5).map(|n: u32| n.to_string()).collect();
        assert_eq!(messages(&ears[index]), expected, "peer {index}");
    }
    assert!(hub.ledger.balances() && hub.ledger.open_batches() == 0);
}

#[test]
fn a_channel_is_forgotten_when_it_has_been_idle_and_no_sooner() {
    let mut hub = hub(10, 1 << 20);
    let first = publish(&mut hub, TOPICS[0], "1");
    join(&mut hub, 0, TOPICS[1]);
    let second = publish(&mut hub, TOPICS[1], "1");
    deliver(&mut hub, &mut Vec::new());
    let histories = &mut hub.topics.histories;
    histories.tick(IDLE - 1);
    assert_eq!(histories.find(TOPICS[0]), Some(first.clone()));
    assert_eq!(histories.next_due(), Some(IDLE));
    histories.tick(IDLE);
    assert_eq!((histories.find(TOPICS[0]), histories.counts.idle, histories.next_due()), (None, 1, None));
    histories.tick(9 * IDLE);
    assert_eq!(histories.find(TOPICS[1]).map(|at| at.epoch), Some(second.epoch), "somebody is there");
    hub.topics.leave_all(id(0));
    let histories = &mut hub.topics.histories;
    histories.tick(10 * IDLE - 1);
    assert_eq!(histories.len(), 1, "since it was left, it has not been so long");
    histories.tick(10 * IDLE);
    assert!(histories.is_empty() && histories.bytes() == 0 && histories.kept() == 0);
    assert_ne!(publish(&mut hub, TOPICS[0], "again").epoch, first.epoch);
}

#[test]
fn nothing_is_kept_where_nothing_is_to_be() {
    let mut hub = hub(0, 1 << 20);
    join(&mut hub, 0, TOPICS[0]);
    let at = publish(&mut hub, TOPICS[0], "1");
    deliver(&mut hub, &mut Vec::new());
    assert_eq!((at.offset, at.kept), (1, 0));
    publish(&mut hub, TOPICS[1], "nobody is there");
    hub.topics.leave_all(id(0));
    assert!(hub.topics.histories.is_empty() && hub.topics.histories.bytes() == 0);
}

#[derive(Debug, Clone)]
enum Deed {
    Publish { topic: usize, len: usize, by: Option<u32> },
    Join { peer: u32, topic: usize, since: u64, is_framed: bool },
    Leave { peer: u32 },
    Deliver,
    Wait { seconds: u64 },
}

fn deed() -> impl Strategy<Value = Deed> {
    let topic = || 0..TOPICS.len();
    prop_oneof![
        4 => (topic(), prop_oneof![4 => 0..30_usize, 1 => 0..3000_usize], prop::option::of(0..6_u32))
            .prop_map(|(topic, len, by)| Deed::Publish { topic, len, by }),
        3 => (0..6_u32, topic(), 0..40_u64, any::<bool>())
            .prop_map(|(peer, topic, since, is_framed)| Deed::Join { peer, topic, since, is_framed }),
        2 => (0..6_u32).prop_map(|peer| Deed::Leave { peer }),
        2 => Just(Deed::Deliver),
        1 => (1..400_u64).prop_map(|seconds| Deed::Wait { seconds }),
    ]
}

/// What a peer is to hear: of which topic, whether from what is remembered, and each message with its offset.
type Due = (usize, bool, Vec<(u64, String)>);

proptest! {
    /// Whatever happens: who joins with a place it could be given hears everything behind it, once and in order.
    #[test]
    fn who_comes_back_hears_all_that_it_missed(
        deeds in prop::collection::vec(deed(), 1..80),
        messages_max in 1..12_u32,
        memory in prop_oneof![Just(3_000_usize), Just(1 << 20)],
    ) {
        let (mut hub, mut ears) = (hub(messages_max, memory), vec![Vec::new(); 6]);
        // By topic: the epoch, and all its messages. By peer: the topic, and what is to be heard.
        let mut said: Vec<(String, Vec<String>)> = vec![(String::new(), Vec::new()); 2];
        let mut heard: Vec<Option<Due>> = vec![None; 6];
        let mut now = 0;
        for (n, deed) in deeds.into_iter().enumerate() {
            match deed {
                Deed::Publish { topic, len, by } => {
                    let text = format!("{n}{}", "x".repeat(len));
                    let except = by.map_or(ConnId::NONE, id);
                    match hub.topics.find(TOPICS[topic]) {
                        Some(found) => _ = hub.publish(found, Kind::Text, text.as_bytes(), except, now),
                        None => _ = hub.publish_named(TOPICS[topic], &TOPICS[topic][10..], Kind::Text, text.as_bytes(), now),
                    }
                    let Some(at) = hub.topics.histories.find(TOPICS[topic]) else { continue };
                    if said[topic].0 != at.epoch {
                        said[topic] = (at.epoch, Vec::new());
                    }
                    said[topic].1.push(text.clone());
                    prop_assert_eq!(at.offset, said[topic].1.len() as u64);
                    for (peer, ear) in heard.iter_mut().enumerate() {
                        if let Some((its, _, due)) = ear && *its == topic && by != Some(peer as u32) {
                            due.push((at.offset, text.clone()));
                        }
                    }
                }
                Deed::Join { peer, topic, since, is_framed } => {
                    if heard[peer as usize].is_some() {
                        continue;
                    }
                    hub.topics.speak(id(peer), if is_framed { Dialect::Framed } else { Dialect::Raw });
                    join(&mut hub, peer, TOPICS[topic]);
                    let at = hub.topics.histories.find(TOPICS[topic]).unwrap();
                    if said[topic].0 != at.epoch {
                        said[topic] = (at.epoch.clone(), Vec::new());
                    }
                    let since = at.offset.saturating_sub(since % 15);
                    let found = hub.topics.find(TOPICS[topic]).unwrap();
                    let is_served = hub.replay(id(peer), found, &at.epoch, since);
                    prop_assert_eq!(is_served, at.offset - since <= at.kept);
                    let missed = said[topic].1.iter().enumerate().skip(since as usize).filter(|_| is_served);
                    let due = missed.map(|(before, text)| (before as u64 + 1, text.clone())).collect();
                    heard[peer as usize] = Some((topic, is_framed, due));
                    hand_out(&mut hub, &mut ears);
                }
                Deed::Leave { peer } => {
                    deliver(&mut hub, &mut ears);
                    if let Some((topic, is_framed, due)) = heard[peer as usize].take() {
                        let got = messages(&std::mem::take(&mut ears[peer as usize]));
                        let due: Vec<String> = due.into_iter().map(|(offset, text)| {
                            if !is_framed {
                                return text;
                            }
                            let channel = &TOPICS[topic][10..];
                            format!(r#"{{"type":"message","channel":"{channel}","offset":{offset},"data":"{text}"}}"#)
                        }).collect();
                        prop_assert_eq!(got, due);
                    }
                    hub.topics.leave_all(id(peer));
                }
                Deed::Deliver => deliver(&mut hub, &mut ears),
                Deed::Wait { seconds } => {
                    now += seconds * SECOND;
                    hub.topics.histories.tick(now);
                }
            }
            let histories = &hub.topics.histories;
            prop_assert_eq!((histories.bytes, histories.kept), recount(histories));
            let own: usize = histories.records.iter().map(|(_, record)| record.own_weight()).sum();
            prop_assert!(histories.bytes <= memory.max(own), "{} bytes", histories.bytes);
        }
        prop_assert!(hub.ledger.balances());
    }
}
