//! Socket.IO packets on the wire: good ones, and everything that is none.
//!
//! The examples are those of the protocol's document and of its test suite; the wrongs are what `socket.io-parser`
//! rejects, and what it accepts but no client sends.

use crate::socketio::binary::{Decoder, Limits};
use crate::socketio::engine::Frame;
use crate::socketio::packet::{ATTACHMENTS_MAX, Args, Body, Event, Packet, RESERVED, Wrong};
use serde_json::{Value, json};

fn decode(text: &str) -> Result<Option<Packet>, Wrong> {
    Decoder::default().text(text, &Limits::default())
}

fn whole(text: &str) -> Packet {
    decode(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}")).expect("no attachment is missing")
}

fn encoded(packet: &Packet) -> String {
    let mut text = String::new();
    packet.encode(&mut text);
    text
}

#[track_caller]
fn wrong(text: &str, expected: Wrong) {
    assert_eq!(decode(text), Err(expected), "{text}");
}

#[test]
fn good_packets_are_read_and_written_alike() {
    for text in [
        "0",
        r#"0{"token":"123"}"#,
        "0/admin,",
        r#"0/admin,{"sid":"oSO0OpakMV_3jnilAAAA"}"#,
        "1",
        "1/admin,",
        r#"2["hello",1]"#,
        r#"2["message",1,"2",{"3":[true,null,1.5]}]"#,
        r#"2/admin,456["project:delete",123]"#,
        r#"20["zero is an id"]"#,
        "3[]",
        "3/admin,456[]",
        r#"3456[1,"2",{"3":[false]}]"#,
        r#"4{"message":"Not authorized"}"#,
        r#"4/random,{"message":"Invalid namespace"}"#,
        r#"4"text""#,
        r#"2/admin?token=1,["the query is part of the name"]"#,
        r#"29007199254740991["the last id"]"#,
    ] {
        assert_eq!(encoded(&whole(text)), text);
    }
}

#[test]
fn what_can_be_written_in_two_ways() {
    for (text, canonical) in [("0/admin", "0/admin,"), ("0/,", "0"), ("3", "3[]")] {
        assert_eq!(encoded(&whole(text)), canonical, "{text}");
    }
}

#[test]
fn attachments_come_behind_their_packet() {
    let mut decoder = Decoder::default();
    let text = r#"52-/admin,7["put",{"_placeholder":true,"num":1},{"deep":[{"_placeholder":true,"num":0}]}]"#;
    assert_eq!(decoder.text(text, &Limits::default()), Ok(None));
    assert_eq!(decoder.binary(&[1, 2, 3]), Ok(None));
    assert!(decoder.is_waiting());
    let packet = decoder.binary(&[4]).unwrap().expect("it was the last");
    assert!(!decoder.is_waiting());
    let Body::Event(event) = &packet.body else { panic!("{packet:?}") };
    let args = event.args();
    assert_eq!((event.name(), packet.id), ("put", Some(7)));
    assert_eq!(args.binary(&args.values()[0]).map(|bytes| &**bytes), Some(&[4][..]));
    assert_eq!(args.binary(&args.values()[1]["deep"][0]).map(|bytes| &**bytes), Some(&[1, 2, 3][..]));
    assert_eq!(args.binary(&args.values()[1]), None);
    assert_eq!(
        packet.frames(),
        [Frame::Text(format!("4{text}").into()), Frame::Binary([1, 2, 3].into()), Frame::Binary([4].into())]
    );
}

#[test]
fn bytes_are_attached_where_their_value_stands() {
    let mut args = Args::new().with("text");
    let inside = args.attach([9, 9]).unwrap();
    args.push(json!({ "file": inside }));
    let packet = Packet::new("/", Body::Ack(args)).with_id(3);
    assert_eq!(encoded(&packet), r#"61-3["text",{"file":{"_placeholder":true,"num":0}}]"#);
    let mut args = Args::new();
    assert!((0..ATTACHMENTS_MAX).all(|_| args.attach([]).is_some()));
    assert_eq!(args.attach([]), None, "ten and no more");
}

#[test]
fn attachments_out_of_turn() {
    let limits = Limits::default();
    let announced = r#"51-["put",{"_placeholder":true,"num":0}]"#;
    assert_eq!(Decoder::default().binary(&[1]), Err(Wrong::AttachmentStray));
    let mut decoder = Decoder::default();
    decoder.text(announced, &limits).unwrap();
    assert_eq!(decoder.text("2[\"x\"]", &limits), Err(Wrong::AttachmentMissing));
    assert!(!decoder.is_waiting(), "nothing is kept");
    let mut decoder = Decoder::default();
    assert_eq!(decoder.text("50-[\"x\"]", &limits), Err(Wrong::AttachmentCount));
    assert_eq!(decoder.binary(&[1]), Err(Wrong::AttachmentStray), "nothing is kept for a count of 0");
    let mut decoder = Decoder::default();
    decoder.text("52-[\"x\"]", &Limits { attachment_bytes_max: 10, ..limits }).unwrap();
    assert_eq!(decoder.binary(&[0; 10]), Ok(None));
    assert_eq!(decoder.binary(&[0]), Err(Wrong::AttachmentsTooBig));
}

#[test]
fn counts_of_attachments() {
    for text in [
        "5",
        "5[]",
        "5-[\"x\"]",
        "5x-[\"x\"]",
        "51",
        "51[\"x\"]",
        "5 1-[\"x\"]",
        "50x1-[]",
        "5-1-[]",
        "51.0-[\"x\"]",
        "50-[\"x\"]",
        "500-[\"x\"]",
        "60-1[]",
    ] {
        wrong(text, Wrong::AttachmentCount);
    }
    wrong("511-[\"x\"]", Wrong::TooManyAttachments);
    wrong("599999999999999999999999-[\"x\"]", Wrong::TooManyAttachments);
    assert_eq!(decode("510-[\"x\"]"), Ok(None), "ten may come");
}

#[test]
fn placeholders_stand_for_what_was_announced() {
    for num in ["1", "-1", "0.5", "null", "\"0\"", "splice"] {
        let text = format!(r#"51-["x",[{{"a":{{"_placeholder":true,"num":{num}}}}}]]"#);
        let expected = if num == "splice" { Wrong::Json } else { Wrong::Placeholder };
        wrong(&text, expected);
    }
    wrong(r#"51-["x",{"_placeholder":true}]"#, Wrong::Placeholder);
    assert_eq!(decode(r#"51-["x",{"_placeholder":1,"num":7}]"#), Ok(None), "that is none");
    let packet = whole(r#"2["x",{"_placeholder":true,"num":0}]"#);
    let Body::Event(event) = &packet.body else { panic!() };
    assert_eq!(event.args().binary(&event.args().values()[0]), None, "only text here");
}

#[test]
fn wrong_types() {
    wrong("", Wrong::Empty);
    for first in ['7', '9', 'a', ' ', '-', 'é', '['] {
        wrong(&format!("{first}[]"), Wrong::Type(first));
    }
}

#[test]
fn wrong_payloads() {
    for payload in ["[]", "\"x\"", "null", "true"] {
        wrong(&format!("0{payload}"), Wrong::ConnectPayload);
    }
    for payload in ["{}", "[]", "\"x\"", "null"] {
        wrong(&format!("1{payload}"), Wrong::DisconnectPayload);
    }
    for payload in ["", "[]", "null", "true"] {
        wrong(&format!("4{payload}"), Wrong::ErrorPayload);
    }
    for payload in ["", "{}", "\"x\"", "null", "7"] {
        wrong(&format!("2{payload}"), Wrong::EventPayload);
    }
    for payload in ["{}", "\"x\"", "null"] {
        wrong(&format!("3{payload}"), Wrong::AckPayload);
    }
    for text in [
        "2[",
        "2[\"x\"",
        "2[\"x\"]]",
        "2abc[\"x\"]",
        "2[\"x\",]",
        "1x",
        "0{",
        "2['x']",
        "2[\"x\",NaN]",
        "3x[]",
        "2 [\"x\"]",
        "31 []",
    ] {
        wrong(text, Wrong::Json);
    }
}

#[test]
fn what_json_is_here() {
    for value in ["\"\\ud800\"", "1e400", "\"\u{1}\"", "01", "+1", ".5", "'x'", "undefined"] {
        wrong(&format!("2[\"x\",{value}]"), Wrong::Json);
    }
    for value in ["\"\\ud83d\\ude00\"", "1e300", "-0.0", "18446744073709551615", "\"\\u0000\""] {
        assert!(decode(&format!("2[\"x\",{value}]")).is_ok(), "{value}");
    }
}

#[test]
fn events_have_a_name() {
    for payload in ["[]", "[1]", "[null]", "[{}]", "[[\"x\"]]", "[true]"] {
        wrong(&format!("2{payload}"), Wrong::EventName);
        wrong(&format!("51-{payload}"), Wrong::EventName);
    }
    for name in RESERVED {
        wrong(&format!("2[\"{name}\"]"), Wrong::ReservedName);
        wrong(&format!("51-[\"{name}\"]"), Wrong::ReservedName);
        assert_eq!(Event::new(name, Args::new()), Err(Wrong::ReservedName));
    }
    wrong(r#"2["\u0063onnect"]"#, Wrong::ReservedName);
    assert!(decode("2[\"Connect\"]").is_ok());
}

#[test]
fn names_that_mean_something_elsewhere_are_only_text() {
    for name in ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "error", ""] {
        let text = format!("2[\"{name}\",{{\"{name}\":{{\"{name}\":1}}}}]");
        let packet = whole(&text);
        let Body::Event(event) = &packet.body else { panic!() };
        assert_eq!(event.name(), name);
        assert_eq!(event.args().values()[0][name][name], Value::from(1));
        assert_eq!(encoded(&packet), text);
    }
}

#[test]
fn namespaces_are_bounded_names() {
    assert!(decode(&format!("0/{}", "x".repeat(255))).is_ok());
    wrong(&format!("0/{}", "x".repeat(256)), Wrong::Namespace);
    wrong("0/a\u{1e}b,", Wrong::Namespace);
    wrong("0admin,", Wrong::Json);
}

#[test]
fn ids_are_numbers_that_javascript_can_count_to() {
    for id in ["9007199254740992", "99999999999999999999999999"] {
        wrong(&format!("2{id}[\"x\"]"), Wrong::Id);
    }
    assert_eq!(whole("2007[\"x\"]").id, Some(7));
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let nested = |depth: usize| format!("2[\"x\",{}{}]", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(decode(&nested(64)).is_ok());
    wrong(&nested(65), Wrong::TooDeep);
    wrong(&nested(100_000), Wrong::TooDeep);
    wrong(&format!("0{}", "{\"a\":".repeat(500_000)), Wrong::TooDeep);
    let many = |count: usize| format!("2[\"x\"{}]", ",0".repeat(count - 2));
    assert!(decode(&many(200_000)).is_ok());
    wrong(&many(200_001), Wrong::TooManyValues);
}

#[test]
fn every_wrong_says_what_would_be_right_in_one_line() {
    for text in
        ["", "x", "5", "511-[]", "0/\u{1}", "2{}", "2[]", "2[\"connect\"]", "3{}", "4", "1{}", "0[]", "2["]
    {
        let wrong = decode(text).unwrap_err();
        let told = wrong.to_string();
        assert!(told.len() > 20 && !told.contains('\n'), "{told}");
        assert!(wrong.label().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    }
}
