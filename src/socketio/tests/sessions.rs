//! Sessions by polling or by WebSocket, without an upgrade: one test for each thing a client would notice.
//!
//! The stories are those of the protocol's own test suite, and those that its implementations got wrong once.

use super::*;

#[test]
fn a_get_waits_until_there_is_something() {
    let mut stage = Stage::polling();
    assert_eq!(stage.get(1), NOTHING);
    assert_eq!(stage.send("hello"), ["1:4hello"]);
    assert_eq!(stage.send("later"), NOTHING);
    assert_eq!(stage.get(2), ["2:4later"], "what waited is answered at once");
    assert_eq!(stage.get(2), NOTHING, "a connection may be used again");
}

#[test]
fn all_that_waits_is_one_payload_as_far_as_it_fits() {
    let mut stage = Stage::polling();
    for text in ["one", "two"] {
        assert_eq!(stage.send(text), NOTHING);
    }
    stage.session.send(&[Frame::Binary([1, 2, 3, 4].into())], &mut stage.out).unwrap();
    assert_eq!(stage.get(1), ["1:4one|4two|bAQIDBA=="]);
    let long = "x".repeat(60);
    stage.send(&long);
    stage.send(&long);
    assert_eq!(stage.get(1), [format!("1:4{long}")]);
    assert_eq!(stage.get(1), [format!("1:4{long}")]);
}

#[test]
fn a_post_brings_messages_in_order() {
    let mut stage = Stage::polling();
    let (messages, done) = stage.post(1, "4one\u{1e}bAQIDBA==\u{1e}4\u{1e}4two");
    assert_eq!(messages, ["one", "[1, 2, 3, 4]", "", "two"]);
    assert_eq!(done, ["1:ok"]);
}

#[test]
fn a_malformed_packet_ends_the_session_and_what_came_before_is_heard() {
    for body in ["abc", "", "4\u{1e}", "b?", "9"] {
        let mut stage = Stage::polling();
        stage.get(1);
        let (_, done) = stage.post(2, body);
        assert_eq!(done, ["1:1", "2:400", "end parse error"], "{body}");
        assert_eq!(stage.get(3), ["3:400"]);
    }
    let mut stage = Stage::polling();
    let (messages, done) = stage.post(1, "4heard\u{1e}x\u{1e}4lost");
    assert_eq!((messages, done), (vec!["heard".into()], vec!["1:400".into(), "end parse error".into()]));
    let mut stage = Stage::polling();
    assert!(stage.post_head(1, Some(3), false).0);
    assert_eq!(stage.post_body(1, b"4\xFF\xFE").1, ["1:400", "end parse error"]);
}

#[test]
fn a_post_over_the_payload_is_413_and_the_session_goes_on() {
    let mut stage = Stage::polling();
    assert_eq!(stage.post_head(1, Some(101), false), (false, vec!["1:413".into()]), "before it is read");
    assert!(stage.post_head(2, None, false).0, "in chunks");
    assert_eq!(stage.post_body(2, &[b'4'; 101]), (vec![], vec!["2:413".into()]));
    assert_eq!(stage.post(3, &"4".repeat(100)).1, ["3:ok"]);
}

#[test]
fn a_second_get_ends_the_session() {
    let mut stage = Stage::polling();
    stage.get(1);
    assert_eq!(stage.get(2), ["2:400", "1:1", "end transport error"]);
    assert_eq!(stage.get(3), ["3:400"]);
}

#[test]
fn an_overlapping_or_binary_post_ends_the_session() {
    let mut stage = Stage::polling();
    stage.get(1);
    assert!(stage.post_head(2, None, false).0);
    let done = vec!["3:400".into(), "1:1".into(), "2:400".into(), "end transport error".into()];
    assert_eq!(stage.post_head(3, None, false), (false, done));
    assert_eq!(stage.post_body(2, b"4late"), (vec![], vec![]), "it has been answered");

    let mut stage = Stage::polling();
    let done = vec!["1:400".into(), "end transport error".into()];
    assert_eq!(stage.post_head(1, Some(4), true), (false, done));
}

#[test]
fn a_request_that_goes_away_ends_the_session() {
    let mut stage = Stage::polling();
    stage.get(1);
    assert_eq!(stage.gone(1), ["end transport error"]);
    assert_eq!(stage.get(2), ["2:400"]);

    let mut stage = Stage::polling();
    stage.get(1);
    stage.post_head(2, None, false);
    assert_eq!(stage.gone(2), ["1:1", "end transport error"]);

    let mut stage = Stage::polling();
    stage.get(1);
    stage.send("answered");
    assert_eq!(stage.gone(1), NOTHING, "an answered request may go");
    assert_eq!(stage.get(2), NOTHING);
}

#[test]
fn a_client_can_close() {
    let mut stage = Stage::polling();
    stage.get(1);
    let (messages, done) = stage.post(2, "4heard\u{1e}1\u{1e}4not heard");
    assert_eq!(messages, ["heard"]);
    assert_eq!(done, ["2:ok", "1:6", "end transport close"]);

    let mut stage = Stage::web_socket();
    assert_eq!(stage.text(0, "1"), ["0:shut", "end transport close"]);
}

#[test]
fn pings_go_out_and_pongs_come_back() {
    let mut stage = Stage::polling();
    stage.get(1);
    for _ in 0..3 {
        assert_eq!(stage.session.deadline(), Some(stage.now + 25 * SECOND));
        assert_eq!(stage.after(25 * SECOND - 1).tick(), NOTHING);
        assert_eq!(stage.after(1).tick(), ["1:2"]);
        assert_eq!(stage.get(1), NOTHING);
        assert_eq!(stage.after(20 * SECOND - 1).post(2, "3").1, ["2:ok"]);
    }
    let mut stage = Stage::web_socket();
    assert_eq!(stage.after(25 * SECOND).tick(), ["0:2"]);
    assert_eq!(stage.session.deadline(), Some(45 * SECOND));
    assert_eq!(stage.after(SECOND).text(0, "3"), NOTHING);
    assert_eq!(stage.session.deadline(), Some(51 * SECOND));
}

#[test]
fn the_first_ping_may_come_earlier() {
    let mut out = Vec::new();
    let named = (Sid::new([7; 15]), Rc::new(Config::default()));
    let session = Session::open_polling(named, conn(0), SECOND, 300 * MILLI, &mut out);
    assert_eq!(session.deadline(), Some(1300 * MILLI));
}

#[test]
fn an_unanswered_ping_ends_the_session() {
    let mut stage = Stage::polling();
    stage.get(1);
    stage.after(25 * SECOND).tick();
    stage.get(1);
    assert_eq!(stage.after(20 * SECOND).tick(), ["1:1", "end ping timeout"]);

    let mut stage = Stage::web_socket();
    stage.after(25 * SECOND).tick();
    assert_eq!(stage.after(20 * SECOND - 1).tick(), NOTHING);
    assert_eq!(stage.after(1).tick(), ["0:shut", "end ping timeout"]);
}

#[test]
fn deadlines_are_looked_at_with_every_request() {
    // No timer has run; whoever comes after interval and timeout finds the session gone.
    let late = 45 * SECOND;
    assert_eq!(Stage::polling().after(late).get(1), ["end ping timeout", "1:400"]);
    let (wanted, done) = Stage::polling().after(late).post_head(1, None, false);
    assert_eq!((wanted, done), (false, vec!["end ping timeout".into(), "1:400".into()]));
    assert_eq!(Stage::polling().after(late).open(1), ["end ping timeout", "1:shut"]);
    assert_eq!(Stage::polling().after(late - 1).get(1), ["1:2"], "just in time for the ping");
    let mut stage = Stage::web_socket();
    stage.after(25 * SECOND).tick();
    let (message, done) = stage.after(20 * SECOND).frame(0, Incoming::Text("4late"));
    assert_eq!((message, done), (None, vec!["0:shut".into(), "end ping timeout".into()]));
}

#[test]
fn a_ping_that_we_were_late_with_may_take_its_time() {
    let mut stage = Stage::web_socket();
    assert_eq!(stage.after(60 * SECOND).tick(), ["0:2"]);
    assert_eq!(stage.session.deadline(), Some(80 * SECOND));
    let mut stage = Stage::polling();
    stage.get(1);
    assert_eq!(stage.after(60 * SECOND).tick(), ["1:2"]);
}

#[test]
fn what_only_the_server_may_send() {
    let mut stage = Stage::web_socket();
    assert_eq!(stage.text(0, "2"), ["0:shut", "end transport error"], "only we ping");
    let mut stage = Stage::web_socket();
    for passed_over in ["0", "5", "6"] {
        assert_eq!(stage.text(0, passed_over), NOTHING);
    }
}

#[test]
fn messages_by_web_socket() {
    let mut stage = Stage::web_socket();
    assert_eq!(stage.session.direct(), Some(conn(0)));
    assert_eq!(stage.frame(0, Incoming::Text("4hello")).0.as_deref(), Some("hello"));
    assert_eq!(stage.frame(0, Incoming::Binary(&[1, 2])).0.as_deref(), Some("[1, 2]"));
    assert_eq!(stage.frame(0, Incoming::Text("bAQI=")).0.as_deref(), Some("[1, 2]"));
    assert_eq!(stage.send("a\u{1e}b"), ["0:4a\u{1e}b"]);
    assert_eq!(stage.frame(9, Incoming::Text("4stranger")), (None, vec![]));
    assert_eq!(stage.text(0, "abc"), ["0:shut", "end parse error"]);
    assert_eq!(stage.text(0, "abc"), NOTHING);

    let mut stage = Stage::web_socket();
    assert_eq!(stage.gone(0), ["end transport close"]);
    assert_eq!(stage.try_send("x"), Err(Unsent::Closed));
}

#[test]
fn the_server_can_close() {
    let mut stage = Stage::polling();
    stage.get(1);
    assert_eq!(stage.close(), ["1:1", "end forced close"]);

    let mut stage = Stage::polling();
    stage.send("last");
    assert_eq!(stage.close(), NOTHING, "it waits for a GET");
    assert_eq!(stage.try_send("too late"), Err(Unsent::Closed));
    assert_eq!(stage.post(1, "4not heard"), (vec![], vec!["1:ok".into()]));
    assert_eq!(stage.get(2), ["2:4last|1", "end forced close"]);
    assert_eq!(stage.close(), NOTHING);

    let mut stage = Stage::polling();
    stage.close();
    assert_eq!(stage.session.deadline(), Some(30 * SECOND));
    assert_eq!(stage.after(30 * SECOND).tick(), ["end forced close"], "but not for ever");

    let mut stage = Stage::web_socket();
    assert_eq!(stage.close(), ["0:shut", "end forced close"]);
}

#[test]
fn a_closing_session_gives_out_all_that_waits() {
    let mut stage = Stage::polling();
    let long = "x".repeat(60);
    stage.send(&long);
    stage.send(&long);
    stage.close();
    assert_eq!(stage.get(1), [format!("1:4{long}")]);
    assert_eq!(stage.get(2), [format!("2:4{long}|1"), "end forced close".to_string()]);
}

#[test]
fn what_cannot_be_sent_is_not_sent_in_part() {
    let mut stage = Stage::polling();
    assert_eq!(stage.try_send("a\u{1e}b"), Err(Unsent::Separator));
    let two = [Frame::message("small"), Frame::message(&"x".repeat(1000))];
    assert_eq!(stage.session.send(&two, &mut stage.out), Err(Unsent::Full));
    assert_eq!((stage.session.queued(), stage.get(1)), (0, vec![]));
}
