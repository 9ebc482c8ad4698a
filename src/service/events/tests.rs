//! The service by itself: a hub, requests and messages made by hand, no socket and no worker.
//!
//! What needs a particular order of events within a turn is shown here; the rest in `tests/socketio_http.rs` and
//! `tests/socketio/`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::{Io, TimedOut};
use crate::base::id::ConnId;
use crate::base::tick::SECOND;
use crate::hub::Hub;
use crate::hub::delivery::Step;
use crate::hub::letter::Letter;
use crate::service::{Asked, Await, Ctx, Kind, Request, Service, Verb};

const NOW: u64 = SECOND;
const GET: ConnId = ConnId { index: 1, serial: 1 };
const POST: ConnId = ConnId { index: 2, serial: 2 };
const SOCKET: ConnId = ConnId { index: 3, serial: 3 };

/// A server whose clients are in the room `room` as soon as they come.
fn server() -> Io {
    let mut draws = 0;
    let mut io = Io::with_names(move || {
        draws += 1;
        [draws; 15]
    });
    io.on_connection(|socket| {
        socket.join("room");
    });
    io
}

fn with_request<T>(transport: &str, sid: Option<&str>, then: impl FnOnce(Request<'_>) -> T) -> T {
    let path = [Cow::Borrowed("socket.io")];
    let mut params = vec![("EIO".into(), "4".into()), ("transport".into(), transport.into())];
    params.extend(sid.map(|sid| ("sid".into(), sid.into())));
    then(Request { path: &path, params: &params, protocols: &[] })
}

/// Asks by HTTP, as `from`.
fn ask(io: &mut Io, hub: &mut Hub, from: ConnId, verb: Verb, sid: Option<&str>) -> Await {
    with_request("polling", sid, |request| {
        let asked = Asked { verb, request, announced: None, is_binary: false };
        io.asked(&mut Ctx::new(from, 0, NOW, hub), &asked)
    })
}

fn answered(hub: &mut Hub) -> String {
    let all = std::mem::take(&mut hub.answers);
    let bodies = all.into_iter().map(|answer| String::from_utf8(answer.body).unwrap());
    bodies.collect::<Vec<_>>().join(" ")
}

fn post(io: &mut Io, hub: &mut Hub, sid: &str, body: &str) -> String {
    assert!(matches!(ask(io, hub, POST, Verb::Post, Some(sid)), Await::Body(_)));
    io.body(&mut Ctx::new(POST, 0, NOW, hub), body.as_bytes());
    answered(hub)
}

fn say(io: &mut Io, hub: &mut Hub, text: &str) {
    io.message(&mut Ctx::new(SOCKET, 0, NOW, hub), Kind::Text, text.as_bytes());
}

/// A client that polls and is in its room, and the name of its session.
fn polling(io: &mut Io, hub: &mut Hub) -> String {
    ask(io, hub, GET, Verb::Get, None);
    let sid = answered(hub)[9..29].to_owned();
    assert_eq!(post(io, hub, &sid, "40"), "ok");
    ask(io, hub, GET, Verb::Get, Some(&sid));
    assert!(answered(hub).starts_with("40{"));
    sid
}

/// Begins every delivery that there is, and has the service overhear it, as a turn does.
fn deliver(io: &mut Io, hub: &mut Hub) {
    while let Some(delivery) = hub.next_delivery() {
        hub.end(delivery, NOW);
    }
    for news in std::mem::take(&mut hub.overheard) {
        io.overheard(&mut Ctx::new(ConnId::NONE, 0, NOW, hub), &news);
    }
}

/// The packets among what was sent to `SOCKET`.
fn sent(hub: &mut Hub) -> Vec<String> {
    let (arena, _) = hub.outbox.take();
    let text = String::from_utf8_lossy(&arena).into_owned();
    text.split("42[").skip(1).filter_map(|rest| rest.split(']').next()).map(str::to_owned).collect()
}

#[test]
fn what_waits_in_two_rooms_at_the_moment_of_an_upgrade_is_heard_once_from_each() {
    let (mut io, mut hub) = (server(), Hub::default());
    let sid = polling(&mut io, &mut hub);
    with_request("websocket", Some(&sid), |request| {
        io.opened(&mut Ctx::new(SOCKET, 0, NOW, &mut hub), &request);
    });
    say(&mut io, &mut hub, "2probe");
    // Both topics are busy when it takes over, one of them twice.
    for (topic, text) in [("io/\n", "42[1]"), ("io/\nroom", "42[2]"), ("io/\n", "42[3]")] {
        let (here, _) = hub.publish_named_but(topic, Kind::Text, text.as_bytes(), ConnId::NONE, NOW);
        assert_eq!(here, 1, "it is counted, though it has no connection there");
    }
    say(&mut io, &mut hub, "5");
    let topics = ["io/\n", "io/\nroom"].map(|name| hub.topics.find(name).unwrap());
    assert!(topics.iter().all(|topic| !hub.topics.contains(*topic, SOCKET)), "it would miss what waits");
    sent(&mut hub);

    deliver(&mut io, &mut hub);
    let mut heard = sent(&mut hub);
    heard.sort();
    assert_eq!(heard, ["1", "2", "3"]);
    assert!(topics.iter().all(|topic| hub.topics.contains(*topic, SOCKET)));
    assert!(topics.iter().all(|topic| hub.topics.subscribers(*topic) == 1), "once, not twice");

    // From now on it stands there, and nothing is overheard.
    hub.publish_named_but("io/\nroom", Kind::Text, b"42[4]", ConnId::NONE, NOW);
    deliver(&mut io, &mut hub);
    assert_eq!(sent(&mut hub), Vec::<String>::new());
    io.closed(&mut Ctx::new(SOCKET, 0, NOW, &mut hub), crate::service::Departure::PeerClosed);
    assert_eq!((io.sessions(), hub.topics.len()), (0, 0));
}

/// A WebSocket in the namespace `/`, in these rooms.
fn come(io: &mut Io, hub: &mut Hub, index: u32, rooms: &str) -> ConnId {
    let id = ConnId { index, serial: index + 10 };
    with_request("websocket", None, |request| io.opened(&mut Ctx::new(id, 0, NOW, hub), &request));
    io.message(&mut Ctx::new(id, 0, NOW, hub), Kind::Text, format!("40{{\"rooms\":\"{rooms}\"}}").as_bytes());
    id
}

/// A worker's server: who says `go` has an event go to rooms `a` and `b` but not to `c`, between two for everybody.
fn choosing() -> Io {
    let mut draws = 100;
    let mut io = Io::with_names(move || {
        draws += 1;
        [draws; 15]
    });
    io.on_connection(|socket| {
        let rooms = socket.auth()["rooms"].as_str().unwrap_or_default().to_owned();
        rooms.split_whitespace().for_each(|room| assert!(socket.join(room)));
        socket.on("go", |socket, _, _| {
            socket.io().emit("before", 1);
            socket.io().to("a").to("b").except("c").emit("some", 2);
            socket.broadcast().except("c").emit("others", 3);
            socket.io().emit("after", 4);
        });
    });
    io
}

/// Who hears which events, in which order, once everything has been delivered as a worker does it.
fn heard(hub: &mut Hub) -> Vec<(u32, String)> {
    let mut all = Vec::new();
    let mut note = |to: ConnId, bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let events = text.split("42[\"").skip(1).filter_map(|rest| rest.split('"').next());
        all.extend(events.map(|name| (to.index, name.to_owned())));
    };
    let post = |hub: &mut Hub, note: &mut dyn FnMut(ConnId, &[u8])| {
        let (arena, commands) = hub.outbox.take();
        for command in commands {
            note(command.to, &arena[command.from as usize..command.until as usize]);
        }
    };
    post(hub, &mut note);
    while let Some(mut delivery) = hub.next_delivery() {
        let members = hub.topics.members(delivery.topic()).to_vec();
        loop {
            match delivery.step(&members, &mut hub.ledger, NOW) {
                Step::Visit(id) => {
                    let end = hub.topics.begun(delivery.topic());
                    let first = end - delivery.publications() as u64;
                    let words = hub.interjections.take(id, delivery.topic(), end);
                    let mut from = 0;
                    for word in words {
                        let place = (word.behind - first) as usize;
                        delivery.narrow(id, from..place, false);
                        (0..delivery.frames()).for_each(|one| note(id, delivery.frame(one).block(0)));
                        note(id, &word.bytes);
                        from = place;
                    }
                    delivery.narrow(id, from..delivery.publications(), true);
                    (0..delivery.frames()).for_each(|one| note(id, delivery.frame(one).block(0)));
                }
                Step::Skip => {}
                Step::Done => break,
            }
        }
        hub.end(delivery, NOW);
        post(hub, &mut note);
    }
    all
}

#[test]
fn an_event_for_several_rooms_or_all_but_one_reaches_the_sockets_of_every_worker_in_its_place() {
    let (mut here, mut there) = (choosing(), choosing());
    let (mut hub, mut far) = (Hub::default(), Hub::default());
    hub.open_abroad();
    let speaker = come(&mut here, &mut hub, 1, "a");
    for (index, rooms) in [(2, "a b"), (3, "b c"), (4, "")] {
        come(&mut here, &mut hub, index, rooms);
        come(&mut there, &mut far, index, rooms);
    }
    heard(&mut hub);
    heard(&mut far);
    _ = hub.abroad.take();

    here.message(&mut Ctx::new(speaker, 0, NOW, &mut hub), Kind::Text, b"42[\"go\"]");
    let post = hub.abroad.take();
    assert_eq!((post.ends.len(), hub.abroad.published), (4, 4), "each is a publication, and counted");
    let mut from = 0;
    for end in post.ends {
        // Short letters have a head of two bytes.
        let letter = Letter::decode(&post.bytes[from + 2..end]).unwrap();
        if let Letter::Publish { kind, topic, payload } = letter {
            far.publish_heard(topic, None, kind, payload, NOW);
        } else if let Letter::Selected(told) = letter {
            there.selected(&mut Ctx::new(ConnId::NONE, 0, NOW, &mut far), told);
        } else {
            panic!("{letter:?}");
        }
        from = end;
    }
    let of = |all: &[(u32, String)], index: u32| -> Vec<String> {
        all.iter().filter(|(who, _)| *who == index).map(|(_, name)| name.clone()).collect()
    };
    for all in [heard(&mut hub), heard(&mut far)] {
        assert_eq!(of(&all, 2), ["before", "some", "others", "after"], "once, though in both rooms");
        assert_eq!(of(&all, 3), ["before", "after"]);
        assert_eq!(of(&all, 4), ["before", "others", "after"]);
        if !of(&all, 1).is_empty() {
            assert_eq!(of(&all, 1), ["before", "some", "after"]);
        }
    }
    assert!(hub.interjections.is_empty() && far.interjections.is_empty());
    assert_eq!(hub.interjections.weight() + far.interjections.weight(), 0);
    assert!(hub.ledger.balances() && !far.is_busy());
}

/// What was sent to single peers, whole.
fn said(hub: &mut Hub) -> String {
    String::from_utf8_lossy(&hub.outbox.take().0).into_owned()
}

#[test]
fn a_client_that_is_asked_answers_or_is_given_up_after_its_time() {
    let mut io = Io::with_names(|| [7; 15]);
    io.on_connection(|socket| {
        socket.emit_with_ack("there?", "x", Duration::from_secs(5), |socket, answer| match answer {
            Ok(args) => socket.emit("answered", args.clone()),
            Err(TimedOut) => socket.emit("silent", 0),
        });
    });
    let mut hub = Hub::default();
    let (one, two) = (come(&mut io, &mut hub, 1, ""), come(&mut io, &mut hub, 2, ""));
    assert_eq!(said(&mut hub).matches("420[\"there?\",\"x\"]").count(), 2);
    io.message(&mut Ctx::new(one, 0, NOW, &mut hub), Kind::Text, b"430[\"yes\",1]");
    assert!(said(&mut hub).ends_with("42[\"answered\",\"yes\",1]"));
    let due = |io: &mut Io, hub: &mut Hub, at: u64| {
        Service::due(io, &mut Ctx::new(ConnId::NONE, 0, at, hub));
        said(hub)
    };
    assert_eq!(due(&mut io, &mut hub, NOW + 4 * SECOND), "", "there is time yet");
    assert!(due(&mut io, &mut hub, NOW + 6 * SECOND).ends_with("42[\"silent\",0]"));
    // Too late: nobody waits for it any more.
    io.message(&mut Ctx::new(two, 0, NOW + 6 * SECOND, &mut hub), Kind::Text, b"430[\"yes\"]");
    assert_eq!(said(&mut hub), "");
}

#[test]
fn a_socket_has_a_state_of_its_own_and_a_clock_that_ends_with_it() {
    let mut io = Io::with_names(|| [7; 15]);
    io.on_connection(|socket| {
        socket.on("count", |socket, _, _| {
            *socket.state::<u32>() += 1;
            socket.after(Duration::from_secs(1), |socket| {
                let count = *socket.state::<u32>();
                socket.emit("so many", count);
            });
        });
    });
    let mut hub = Hub::default();
    let (one, two) = (come(&mut io, &mut hub, 1, ""), come(&mut io, &mut hub, 2, ""));
    for who in [one, one, two] {
        io.message(&mut Ctx::new(who, 0, NOW, &mut hub), Kind::Text, b"42[\"count\"]");
    }
    io.message(&mut Ctx::new(two, 0, NOW, &mut hub), Kind::Text, b"41");
    said(&mut hub);
    Service::due(&mut io, &mut Ctx::new(ConnId::NONE, 0, NOW + 2 * SECOND, &mut hub));
    let heard = said(&mut hub);
    assert_eq!(heard.matches("42[\"so many\",2]").count(), 2, "{heard}");
    assert_eq!(heard.matches("so many").count(), 2, "the other has left: {heard}");
}

#[test]
fn a_handler_puts_its_socket_out_of_one_namespace_or_of_all() {
    let reasons = Rc::new(RefCell::new(Vec::new()));
    let mut io = Io::with_names(|| [7; 15]);
    for namespace in ["/", "/b"] {
        let reasons = Rc::clone(&reasons);
        io.of(namespace).on_connection(move |socket| {
            let reasons = Rc::clone(&reasons);
            socket.on_disconnect(move |_, why| reasons.borrow_mut().push(format!("{namespace} {why}")));
            socket.on("out", |socket, _, _| {
                socket.emit("last word", 1);
                socket.disconnect();
                socket.emit("nobody hears", 2);
            });
            socket.on("all", |socket, _, _| socket.disconnect_all());
        });
    }
    let mut hub = Hub::default();
    let who = come(&mut io, &mut hub, 1, "");
    let say = |io: &mut Io, hub: &mut Hub, text: &str| {
        io.message(&mut Ctx::new(who, 0, NOW, hub), Kind::Text, text.as_bytes());
        said(hub)
    };
    say(&mut io, &mut hub, "40/b,");
    let heard = say(&mut io, &mut hub, "42/b,[\"out\"]");
    assert!(heard.contains("42/b,[\"last word\",1]") && heard.ends_with("41/b,"), "{heard}");
    assert_eq!(*reasons.borrow(), ["/b server namespace disconnect"]);
    let heard = say(&mut io, &mut hub, "42[\"all\"]");
    assert!(heard.contains("41") && heard.ends_with("\u{0}"), "the packet, then the end: {heard:?}");
    assert_eq!((reasons.borrow().len(), io.sessions(), hub.topics.len()), (2, 0, 0));
}

#[test]
fn a_body_that_comes_when_its_session_has_ended_is_answered() {
    let (mut io, mut hub) = (server(), Hub::default());
    let sid = polling(&mut io, &mut hub);
    assert!(matches!(ask(&mut io, &mut hub, POST, Verb::Post, Some(&sid)), Await::Body(_)));
    // A second one at a time: both are refused, the first before its body is there.
    ask(&mut io, &mut hub, GET, Verb::Post, Some(&sid));
    assert_eq!(answered(&mut hub).matches("\"code\":3").count(), 2);
    io.body(&mut Ctx::new(POST, 0, NOW, &mut hub), b"4late");
    assert!(answered(&mut hub).contains("\"code\":1"), "nobody is left without an answer");
    assert_eq!(io.sessions(), 0);
}

#[test]
fn the_numbers_are_those_of_what_happened() {
    let (mut io, mut hub) = (server(), Hub::default());
    let figure = |io: &Io, name: &str| {
        io.figures().iter().find(|figure| figure.name == name).map(|figure| figure.value)
    };
    let sid = polling(&mut io, &mut hub);
    assert_eq!(figure(&io, "socketio_sessions"), Some(1));
    assert_eq!(figure(&io, "socketio_polled_total"), Some(1));
    assert_eq!(post(&mut io, &mut hub, &sid, "4nonsense"), "ok");
    assert_eq!(figure(&io, "socketio_faults_total"), Some(1));
    assert_eq!(io.message_max(0), Some(1_000_000));
}

#[test]
fn the_server_has_a_clock_of_its_own_by_which_everybody_is_told() {
    let mut io = choosing();
    io.of("/side").on_connection(|_| {});
    io.after(Duration::from_secs(3), |io| {
        io.to("a").except("b").emit("once", 0);
        io.of("/side").emit("aside", 0);
        io.of("/nowhere").emit("never", 0);
        assert_eq!((io.of("/nowhere").present(), io.of("/side").present()), (0, 0));
    });
    io.every(Duration::from_secs(2), |io| {
        let present = io.present();
        io.emit(&format!("present {present}"), present);
    });
    let mut hub = Hub::default();
    let due = |io: &mut Io, hub: &mut Hub, seconds: u64| {
        Service::due(io, &mut Ctx::new(ConnId::NONE, 0, NOW + seconds * SECOND, hub));
        let mut all: Vec<_> = heard(hub).into_iter().map(|(who, name)| format!("{who}: {name}")).collect();
        all.sort();
        all
    };
    // Before anything is known of the time, it wants to be told.
    assert_eq!(Service::next_due(&io), Some(0));
    assert_eq!(due(&mut io, &mut hub, 0), [""; 0], "times count from the server's beginning");
    come(&mut io, &mut hub, 1, "a");
    come(&mut io, &mut hub, 2, "a b");
    heard(&mut hub);
    assert_eq!(Service::next_due(&io), Some(NOW + 2 * SECOND));
    assert_eq!(due(&mut io, &mut hub, 1), [""; 0]);
    assert_eq!(due(&mut io, &mut hub, 2), ["1: present 2", "2: present 2"]);
    assert_eq!(due(&mut io, &mut hub, 3), ["1: once"]);
    assert_eq!(due(&mut io, &mut hub, 11), ["1: present 2", "2: present 2"], "once, after a stall");
    assert_eq!(due(&mut io, &mut hub, 12), [""; 0]);
    assert_eq!(due(&mut io, &mut hub, 13), ["1: present 2", "2: present 2"]);
}
