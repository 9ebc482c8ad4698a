//! Publishing by HTTP: a batch is heard whole and in order or not at all, and who comes back hears what it missed.
//!
//! Input: a byte of settings, two of cuts, one that says how long a text for `?since=` is, that text, then the body of one `POST
//! /publish`. What plain subscribers and those who speak `stentor.v1` hear is compared with a reading of the lines one after the
//! other. Then somebody comes back to each place in the channel, and somebody with the text of the input.

use std::collections::HashSet;

use super::given::{Cuts, Given};
use super::response::{Answer, read_answer};
use super::scene::{Scene, WIDE, builtin, legal};
use serde_json::Value;
use stentor::server::Config;
use stentor::server::limits::{BATCH_LINES_MAX, ID_BYTES_MAX};
use stentor::service::builtin::Builtin;
use stentor::ws::{Header, Opcode, Role};

/// So small that inputs get there.
const MESSAGE_MAX: u64 = 120;
/// What the history of the channel keeps.
const KEPT: u64 = 5;

/// Holds the law.
pub fn run(data: &[u8]) {
    let mut given = Given::new(data);
    let settings = given.byte();
    let mut cuts = Cuts::new(given.word());
    let len = usize::from(given.byte());
    let since = given.take(len).to_vec();
    let body = given.rest();

    let mut config = Config::default();
    config.ws.message_max = MESSAGE_MAX;
    config.history.messages = KEPT as u32;
    let mut scene = Scene::new(builtin(), config);
    let plain = subscribe(&mut scene, "", false);
    let framed = subscribe(&mut scene, "", true);
    let path = if settings & 1 == 0 { "/publish" } else { "/publish/a" };
    let expected = judge(body, (settings & 1 != 0).then_some("a"));
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let status = post(&mut scene, &[head.as_bytes(), body].concat(), &mut cuts);
    let texts = match &expected {
        Some(texts) => texts.clone(),
        None => Vec::new(),
    };
    assert_eq!(status == 200, expected.is_some(), "{status} to {:?}", String::from_utf8_lossy(body));
    assert!(matches!(status, 200 | 400 | 413), "{status}");

    assert_eq!(heard(&scene, plain), texts);
    let said = heard(&scene, framed);
    let (welcome, messages) = said.split_first().expect("a welcome is the first");
    let epoch = member(welcome, "epoch").as_str().expect("it is told").to_owned();
    assert_eq!(member(welcome, "offset"), Value::from(0));
    assert_eq!(numbered(messages), (1..).zip(texts.iter().cloned()).collect::<Vec<_>>());
    come_back(&mut scene, &epoch, &texts);
    with_any_place(&mut scene, &since, &epoch, &texts);
    scene.end();
    for (line, sent) in scene.wire.borrow().lines.iter().zip(&scene.sent) {
        legal(sent, &line.said);
    }
}

/// What is to be heard in the channel `a`, if the batch is good.
fn judge(body: &[u8], channel: Option<&str>) -> Option<Vec<String>> {
    let (mut texts, mut ids, mut count) = (Vec::new(), HashSet::new(), 0);
    for line in std::str::from_utf8(body).ok()?.split('\n') {
        if line.trim().is_empty() {
            continue;
        }
        count += 1;
        let value: Value = serde_json::from_str(line.trim()).ok()?;
        let object = value.as_object()?;
        let is_known = |name: &String| matches!(&**name, "channel" | "data" | "id");
        let channel = object
            .get("channel")
            .map_or(channel.map(str::to_owned), |name| name.as_str().map(str::to_owned))?;
        let data = object.get("data")?;
        let text = data.as_str().map_or_else(|| data.to_string(), str::to_owned);
        let id = match object.get("id") {
            Some(id) => Some(id.as_str().filter(|id| (1..=ID_BYTES_MAX).contains(&id.len()))?.to_owned()),
            None => None,
        };
        let can_be_named = (1..=128).contains(&channel.len()) && !channel.contains(char::is_control);
        if !object.keys().all(is_known) || !can_be_named || text.len() as u64 > MESSAGE_MAX {
            return None;
        }
        let is_new = id.is_none_or(|id| ids.insert((channel.clone(), id)));
        if is_new && channel == "a" {
            texts.push(text);
        }
    }
    (1..=BATCH_LINES_MAX).contains(&count).then_some(texts)
}

/// Who had got to any of the places of the channel hears what follows, or that it cannot be had.
fn come_back(scene: &mut Scene<Builtin>, epoch: &str, texts: &[String]) {
    let newest = texts.len() as u64;
    for at in newest.saturating_sub(KEPT + 1)..=newest + 1 {
        let place = format!("?since={epoch}:{at}");
        let is_there = at <= newest && newest - at <= KEPT;
        let line = subscribe(scene, &place, false);
        let said = heard(scene, line);
        let line = subscribe(scene, &place, true);
        let framed = heard(scene, line);
        assert_eq!(member(&framed[0], "offset"), Value::from(newest));
        if is_there {
            let missed = &texts[at as usize..];
            assert_eq!(said, missed);
            assert_eq!(numbered(&framed[1..]), (at + 1..).zip(missed.iter().cloned()).collect::<Vec<_>>());
        } else {
            assert!(is_reset(&said, newest) && is_reset(&framed[1..], newest), "{said:?} {framed:?}");
        }
    }
}

/// A place that anybody made up: it is one of the channel's, or one that cannot be had, or it is refused.
fn with_any_place(scene: &mut Scene<Builtin>, since: &[u8], epoch: &str, texts: &[String]) {
    let text = String::from_utf8_lossy(since);
    let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let parts = text.split_once(':').filter(|(epoch, offset)| {
        let is_name = (1..=64).contains(&epoch.len()) && epoch.chars().all(|one| one.is_ascii_alphanumeric());
        is_name && !offset.is_empty() && offset.chars().all(|one| one.is_ascii_digit())
    });
    let place = parts.and_then(|(epoch, offset)| Some((epoch, offset.parse::<u64>().ok()?)));
    let line = subscribe(scene, &format!("?since={escaped}"), false);
    let said = scene.wire.borrow().lines[line].said.clone();
    let Answer::Complete { status, .. } = read_answer(&said, false) else { panic!("it is answered") };
    let newest = texts.len() as u64;
    match place {
        None => assert_eq!(status, 400, "{text:?}"),
        Some((other, at)) if other == epoch && at <= newest && newest - at <= KEPT => {
            assert_eq!(heard(scene, line), texts[at as usize..]);
        }
        Some(_) => assert!(status == 101 && is_reset(&heard(scene, line), newest), "{text:?}"),
    }
}

fn is_reset(said: &[String], newest: u64) -> bool {
    matches!(said, [one] if member(one, "type") == "reset" && member(one, "offset") == newest)
}

fn member(text: &str, name: &str) -> Value {
    let value: Value = serde_json::from_str(text).expect("it is JSON");
    value[name].clone()
}

/// Messages of `stentor.v1` with their offsets. That others have come is none.
fn numbered(said: &[String]) -> Vec<(u64, String)> {
    let messages = said.iter().filter(|one| !matches!(member(one, "type").as_str(), Some("join" | "leave")));
    let read = |one: &String| {
        assert_eq!((member(one, "type"), member(one, "channel")), ("message".into(), "a".into()));
        let text = member(one, "data").as_str().expect("it was text").to_owned();
        (member(one, "offset").as_u64().expect("it has one"), text)
    };
    messages.map(read).collect()
}

/// Sends a request in pieces; the status of its answer.
fn post(scene: &mut Scene<Builtin>, request: &[u8], cuts: &mut Cuts) -> u16 {
    let line = scene.wire.borrow_mut().connect(WIDE);
    scene.sent.push(Vec::new());
    for piece in cuts.pieces(request) {
        scene.write(line, piece);
        scene.turn();
    }
    scene.settle();
    match read_answer(&scene.wire.borrow().lines[line].said, false) {
        Answer::Complete { status, .. } => status,
        Answer::Begun => panic!("a request that is whole is answered"),
    }
}

/// Somebody comes to the channel `a`.
fn subscribe(scene: &mut Scene<Builtin>, query: &str, is_framed: bool) -> usize {
    let line = scene.wire.borrow_mut().connect(WIDE);
    scene.sent.push(Vec::new());
    let protocol = if is_framed { "Sec-WebSocket-Protocol: stentor.v1\r\n" } else { "" };
    let request = format!(
        "GET /broadcast/a{query} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{protocol}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    scene.write(line, request.as_bytes());
    scene.settle();
    line
}

/// The texts that a subscriber has heard.
fn heard(scene: &Scene<Builtin>, line: usize) -> Vec<String> {
    let said = &scene.wire.borrow().lines[line].said;
    let Answer::Complete { status: 101, len, .. } = read_answer(said, false) else { panic!("it is let in") };
    let (mut texts, mut rest) = (Vec::new(), &said[len..]);
    while let Some(header) = Header::decode(rest, Role::Client).expect("our own header is legal") {
        let end = header.header_len + header.payload_len as usize;
        assert_eq!(header.opcode, Opcode::Text);
        texts.push(String::from_utf8(rest[header.header_len..end].to_vec()).expect("text is UTF-8"));
        rest = &rest[end..];
    }
    assert!(rest.is_empty());
    texts
}
