//! Socket.IO clients: into namespaces and out, events and answers both ways, and what has a client let go.
//!
//! A client is told of by what it hears and by the text of the frames that it is to be sent.

use super::conn;
use crate::base::tick::SECOND;
use crate::socketio::binary;
use crate::socketio::client::{
    AckTo, Client, Expired, Fault, Heard, INVALID_NAMESPACE, Limits, TOO_MANY_NAMESPACES, Unasked,
};
use crate::socketio::engine::{Config, Frame, Message, Sid};
use crate::socketio::packet::{Args, Body, Event, Packet, Wrong};
use crate::socketio::session::{Incoming, Session};
use serde_json::json;
use std::rc::Rc;

fn limits() -> Limits {
    Limits { acks_max: 3, ..Limits::default() }
}

fn sid() -> Sid {
    Sid::new([0; 15])
}

fn say(client: &mut Client, text: &str) -> Heard {
    client.receive(Message::Text(text), &limits())
}

fn text(frame: &Frame) -> String {
    match frame {
        Frame::Text(text) => text.to_string(),
        Frame::Binary(bytes) => format!("{bytes:?}"),
    }
}

fn texts(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(text).collect()
}

fn event(name: &str, args: Args) -> Event {
    Event::new(name, args).unwrap()
}

/// A client that is in these namespaces.
fn client_in(namespaces: &[&str]) -> Client {
    let mut client = Client::new(0, &limits());
    for namespace in namespaces {
        assert!(matches!(say(&mut client, &format!("0{namespace},")), Heard::Connect { .. }));
        client.accept(namespace, &sid()).expect("it has asked");
    }
    client
}

/// An event that wants an answer.
fn asks(client: &mut Client, text: &str) -> AckTo {
    let Heard::Event { ack: Some(ack), .. } = say(client, text) else { panic!("{text} asks nothing") };
    ack
}

#[test]
fn into_the_main_namespace_and_into_another() {
    let mut client = Client::new(0, &limits());
    let Heard::Connect { namespace, auth } = say(&mut client, "0") else { panic!() };
    assert_eq!((&*namespace, auth), ("/", None));
    let frame = client.accept("/", &sid()).unwrap();
    assert_eq!(text(&frame), r#"40{"sid":"AAAAAAAAAAAAAAAAAAAA"}"#);
    let Heard::Connect { namespace, auth } = say(&mut client, r#"0/custom,{"token":"abc"}"#) else {
        panic!()
    };
    assert_eq!(auth.map(|auth| auth["token"].clone()), Some(json!("abc")));
    let frame = client.accept(&namespace, &sid()).unwrap();
    assert_eq!(text(&frame), r#"40/custom,{"sid":"AAAAAAAAAAAAAAAAAAAA"}"#);
    assert_eq!(client.namespaces().map(|name| &**name).collect::<Vec<_>>(), ["/", "/custom"]);
    assert_eq!(client.accept("/", &sid()), None, "once");
    assert_eq!(client.accept("/other", &sid()), None, "it did not ask");
}

#[test]
fn not_into_an_unknown_one() {
    let mut client = Client::new(0, &limits());
    assert!(matches!(say(&mut client, "0/random"), Heard::Connect { .. }));
    let frame = client.refuse("/random", INVALID_NAMESPACE).unwrap();
    assert_eq!(text(&frame), r#"44/random,{"message":"Invalid namespace"}"#);
    assert!(matches!(say(&mut client, "0/random"), Heard::Connect { .. }), "it may ask again");
    assert_eq!(client.namespaces().count(), 0);
}

#[test]
fn sixteen_namespaces_and_no_more() {
    let names: Vec<String> = (0..16).map(|number| format!("/{number}")).collect();
    let mut client = client_in(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let Heard::Refused(frame) = say(&mut client, "0/16") else { panic!() };
    assert_eq!(text(&frame), format!(r#"44/16,{{"message":"{TOO_MANY_NAMESPACES}"}}"#));
    assert_eq!(say(&mut client, "1/3"), Heard::Left { namespace: "/3".into() });
    assert!(matches!(say(&mut client, "0/16"), Heard::Connect { .. }));
}

#[test]
fn events_both_ways() {
    let mut client = client_in(&["/", "/custom"]);
    let Heard::Event { namespace, event: heard, ack: None } =
        say(&mut client, r#"2/custom,["message",1,"2"]"#)
    else {
        panic!()
    };
    assert_eq!(
        (&*namespace, heard.name(), heard.args().values()),
        ("/custom", "message", &[json!(1), json!("2")][..])
    );
    let back = event("message-back", Args::new().with(1).with("2"));
    assert_eq!(
        texts(&client.emit("/custom", back.clone()).unwrap()),
        [r#"42/custom,["message-back",1,"2"]"#]
    );
    assert_eq!(client.emit("/other", back), None);
}

#[test]
fn binary_both_ways() {
    let mut client = client_in(&["/"]);
    let announced = r#"52-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    assert_eq!(say(&mut client, announced), Heard::Nothing);
    assert_eq!(client.receive(Message::Binary([1, 2, 3][..].into()), &limits()), Heard::Nothing);
    let last = client.receive(Message::Binary([4, 5, 6][..].into()), &limits());
    let Heard::Event { event, .. } = last else { panic!() };
    let frames = Packet::new("/", Body::Event(event)).frames();
    assert_eq!(texts(&frames), [format!("4{announced}"), "[1, 2, 3]".into(), "[4, 5, 6]".into()]);
}

#[test]
fn answers_to_the_client() {
    let mut client = client_in(&["/", "/custom"]);
    let ack = asks(&mut client, r#"2456["message-with-ack",1]"#);
    assert_eq!(texts(&client.acknowledge(ack, Args::new().with(1)).unwrap()), ["43456[1]"]);
    let ack = asks(&mut client, r#"2/custom,0["message-with-ack"]"#);
    let mut args = Args::new();
    let bytes = args.attach([7]).unwrap();
    let frames = client.acknowledge(ack, args.with(bytes)).unwrap();
    assert_eq!(texts(&frames), [r#"461-/custom,0[{"_placeholder":true,"num":0}]"#, "[7]"]);
}

#[test]
fn an_answer_is_not_for_who_comes_again() {
    let mut client = client_in(&["/"]);
    let ack = asks(&mut client, r#"27["ask"]"#);
    say(&mut client, "1");
    assert!(matches!(say(&mut client, "0"), Heard::Connect { .. }));
    client.accept("/", &sid());
    assert_eq!(client.acknowledge(ack, Args::new()), None);
}

#[test]
fn answers_of_the_client() {
    let mut client = client_in(&["/", "/custom"]);
    let ask = || event("ask", Args::new());
    let (first, frames) = client.emit_with_ack("/", ask(), 5 * SECOND, &limits()).unwrap();
    assert_eq!(texts(&frames), [r#"420["ask"]"#]);
    let (second, frames) = client.emit_with_ack("/custom", ask(), 3 * SECOND, &limits()).unwrap();
    assert_eq!(texts(&frames), [r#"42/custom,1["ask"]"#]);
    assert_eq!(say(&mut client, "31[]"), Heard::Nothing, "not by another namespace");
    assert_eq!(
        say(&mut client, r#"3/custom,1["yes"]"#),
        Heard::Ack { namespace: "/custom".into(), id: second, args: Args::new().with("yes") }
    );
    assert_eq!(say(&mut client, "3/custom,1[]"), Heard::Nothing, "once");
    assert_eq!((say(&mut client, "3[]"), say(&mut client, "399[]")), (Heard::Nothing, Heard::Nothing));
    assert_eq!(client.deadline(), Some(5 * SECOND));
    assert_eq!(client.expire(5 * SECOND - 1), None);
    assert_eq!(client.expire(5 * SECOND), Some(Expired::Ack { namespace: "/".into(), id: first }));
    assert_eq!(client.expire(5 * SECOND), None);
    assert_eq!(say(&mut client, "30[]"), Heard::Nothing, "too late");
}

#[test]
fn only_so_many_answers_are_outstanding() {
    let mut client = client_in(&["/", "/custom"]);
    let ask = |client: &mut Client, namespace: &str| {
        client.emit_with_ack(namespace, event("ask", Args::new()), SECOND, &limits()).map(|(id, _)| id)
    };
    assert_eq!(ask(&mut client, "/other"), Err(Unasked::NotIn));
    for (id, namespace) in ["/custom", "/custom", "/"].into_iter().enumerate() {
        assert_eq!(ask(&mut client, namespace), Ok(id as u64));
    }
    assert_eq!(ask(&mut client, "/"), Err(Unasked::TooMany));
    say(&mut client, "1/custom");
    assert_eq!(ask(&mut client, "/"), Ok(3), "those of a namespace that it left are forgotten");
    assert_eq!(client.expire(SECOND), Some(Expired::Ack { namespace: "/".into(), id: 2 }));
}

#[test]
fn out_of_one_namespace_or_of_all() {
    let mut client = client_in(&["/", "/a", "/b"]);
    assert_eq!(say(&mut client, "1/a"), Heard::Left { namespace: "/a".into() });
    assert!(matches!(say(&mut client, r#"2["still in the main one"]"#), Heard::Event { .. }));
    assert_eq!(text(&client.disconnect("/b").unwrap()), "41/b,");
    assert_eq!(client.disconnect("/b"), None);
    assert_eq!(texts(&client.disconnect_all()), ["41"]);
    assert_eq!(say(&mut client, r#"2["late"]"#), Heard::Nothing);
    assert_eq!(client.namespaces().count(), 0);
}

#[test]
fn who_is_in_no_namespace_in_time_is_let_go() {
    let mut client = Client::new(SECOND, &limits());
    say(&mut client, "0/random");
    client.refuse("/random", INVALID_NAMESPACE);
    assert_eq!(client.deadline(), Some(46 * SECOND));
    assert_eq!(client.expire(46 * SECOND - 1), None);
    assert_eq!(client.expire(46 * SECOND), Some(Expired::Connect));
    assert_eq!((client.expire(46 * SECOND), client.deadline()), (None, None));

    let mut client = client_in(&["/"]);
    say(&mut client, "1");
    assert_eq!((client.expire(u64::MAX), client.deadline()), (None, None), "who was in one may stay");
}

#[test]
fn what_no_client_does() {
    for (wrong, fault) in [
        ("abc", Fault::Malformed(Wrong::Type('a'))),
        ("", Fault::Malformed(Wrong::Empty)),
        ("2{}", Fault::Malformed(Wrong::EventPayload)),
        (r#"2abc["message-with-ack"]"#, Fault::Malformed(Wrong::Json)),
        (r#"2["disconnect"]"#, Fault::Malformed(Wrong::ReservedName)),
        ("0", Fault::ConnectTwice),
        (r#"2/other,["x"]"#, Fault::NotIn),
        ("3/other,1[]", Fault::NotIn),
        ("1/other", Fault::NotIn),
        (r#"4{"message":"x"}"#, Fault::ServersPacket),
    ] {
        let mut client = client_in(&["/"]);
        assert_eq!(say(&mut client, wrong), Heard::Fault(fault), "{wrong}");
        assert_eq!(say(&mut client, r#"2["late"]"#), Heard::Nothing, "nothing more is heard");
        assert!(!fault.to_string().is_empty() && !fault.label().is_empty());
    }
    let mut client = client_in(&["/"]);
    let stray = client.receive(Message::Binary([1][..].into()), &limits());
    assert_eq!(stray, Heard::Fault(Fault::Malformed(Wrong::AttachmentStray)));
}

#[test]
fn nothing_is_heard_before_the_server_has_said_yes() {
    let mut client = Client::new(0, &limits());
    say(&mut client, "0");
    assert_eq!(say(&mut client, "2[\"early\"]"), Heard::Fault(Fault::NotIn));
    let mut client = Client::new(0, &limits());
    say(&mut client, "0");
    assert_eq!(say(&mut client, "0"), Heard::Fault(Fault::ConnectTwice));
}

#[test]
fn limits_are_the_servers() {
    let tight = Limits { packet: binary::Limits { depth_max: 2, ..binary::Limits::default() }, ..limits() };
    let mut client = client_in(&["/"]);
    let heard = client.receive(Message::Text("2[\"x\",[[]]]"), &tight);
    assert_eq!(heard, Heard::Fault(Fault::Malformed(Wrong::TooDeep)));
}

/// Both floors together, as the server will join them: an event by WebSocket, and the answer on it.
#[test]
fn a_client_upon_a_session() {
    let mut out = Vec::new();
    let named = (sid(), Rc::new(Config::default()));
    let mut session = Session::open_websocket(named, conn(1), 0, u64::MAX, &mut out);
    let mut client = Client::new(0, &limits());
    out.clear();
    for incoming in ["40", r#"427["ask"]"#] {
        let message = session.frame(conn(1), Incoming::Text(incoming), 0, &mut out).unwrap();
        let heard = client.receive(message, &limits());
        let frames = if let Heard::Event { ack, .. } = heard {
            client.acknowledge(ack.expect("it asks"), Args::new().with("ok")).unwrap()
        } else {
            Vec::from_iter(client.accept("/", &sid()))
        };
        session.send(&frames, &mut out).unwrap();
    }
    let sent: Vec<String> = out.iter().map(super::told).collect();
    assert_eq!(sent, [r#"1:40{"sid":"AAAAAAAAAAAAAAAAAAAA"}"#, r#"1:437["ok"]"#]);
}
