//! From polling to WebSocket: what a client sees when it upgrades, and when it does so badly.
//!
//! Whatever goes wrong on the new WebSocket before it has taken over, the session goes on as it was.

use super::*;

#[test]
fn an_upgrade_frees_the_get_and_takes_over() {
    let mut stage = Stage::polling();
    stage.get(1);
    assert_eq!(stage.open(2), NOTHING);
    assert_eq!(stage.text(2, "2probe"), ["2:3probe", "1:6"]);
    assert_eq!(stage.get(1), ["1:6"], "no GET waits any more");
    assert_eq!(stage.session.direct(), None);
    assert_eq!(stage.text(2, "5"), NOTHING);
    assert_eq!(stage.session.direct(), Some(conn(2)));
    assert_eq!(stage.send("hello"), ["2:4hello"]);
    assert_eq!(stage.frame(2, Incoming::Text("4hello")).0.as_deref(), Some("hello"));
}

#[test]
fn what_was_sent_meanwhile_comes_in_order() {
    let mut stage = Stage::polling();
    stage.get(1);
    stage.open(2);
    assert_eq!(stage.send("one"), ["1:4one"], "before the probe a GET gets it");
    stage.get(1);
    stage.text(2, "2probe");
    stage.send("two");
    assert_eq!(stage.get(1), ["1:4two"], "a GET still gets what there is");
    stage.send("three");
    stage.send("four");
    assert_eq!(stage.text(2, "5"), ["2:4three", "2:4four"]);
    assert_eq!(stage.send("five"), ["2:4five"]);
}

#[test]
fn what_is_posted_meanwhile_is_heard() {
    let mut stage = Stage::polling();
    stage.open(2);
    stage.text(2, "2probe");
    assert_eq!(stage.post(3, "4by post"), (vec!["by post".into()], vec!["3:ok".into()]));
    stage.text(2, "5");
    assert_eq!(stage.frame(2, Incoming::Text("4by frame")).0.as_deref(), Some("by frame"));
}

#[test]
fn requests_that_are_open_when_it_takes_over_are_answered() {
    let mut stage = Stage::polling();
    stage.get(1);
    stage.open(2);
    assert!(stage.post_head(3, None, false).0);
    assert_eq!(stage.text(2, "5"), ["1:6", "3:400"], "without a probe too, as elsewhere");
    assert_eq!((stage.gone(1), stage.gone(3)), (vec![], vec![]), "they mean nothing now");
    assert_eq!(stage.send("goes on"), ["2:4goes on"]);
}

#[test]
fn http_after_the_upgrade_is_refused_and_the_session_goes_on() {
    let mut stage = Stage::polling();
    stage.open(2);
    stage.text(2, "5");
    assert_eq!(stage.get(3), ["3:400"]);
    assert_eq!(stage.post_head(4, None, false), (false, vec!["4:400".into()]));
    assert_eq!(stage.send("goes on"), ["2:4goes on"]);
}

#[test]
fn a_second_web_socket_is_closed_and_the_first_goes_on() {
    let mut stage = Stage::polling();
    stage.open(2);
    assert_eq!(stage.open(3), ["3:shut"], "while it upgrades");
    assert_eq!(stage.text(3, "2probe"), NOTHING);
    assert_eq!(stage.text(2, "2probe"), ["2:3probe"]);
    assert_eq!(stage.text(2, "5"), NOTHING);
    assert_eq!(stage.open(4), ["4:shut"], "and when it has");
    assert_eq!(stage.gone(4), NOTHING);
    assert_eq!(stage.send("goes on"), ["2:4goes on"]);
    assert_eq!(Stage::web_socket().open(1), ["1:shut"], "a session that began with one has one");
}

#[test]
fn an_upgrade_that_takes_too_long_is_dropped() {
    let mut stage = Stage::polling();
    stage.open(2);
    stage.text(2, "2probe");
    assert_eq!(stage.session.deadline(), Some(10 * SECOND));
    assert_eq!(stage.after(10 * SECOND).tick(), ["2:shut"]);
    assert_eq!(stage.text(2, "5"), NOTHING, "too late");
    assert_eq!(stage.get(1), NOTHING, "GETs wait again");
    assert_eq!(stage.send("goes on"), ["1:4goes on"]);
    assert_eq!(stage.open(3), NOTHING, "and it may try again");
    assert_eq!(stage.text(3, "2probe"), ["3:3probe"]);
}

#[test]
fn nonsense_on_the_probe_drops_it_alone() {
    for wrong in ["2", "2prob", "4hello", "3probe", "1", "6", "", "x", "b?"] {
        let mut stage = Stage::polling();
        stage.get(1);
        stage.open(2);
        assert_eq!(stage.text(2, wrong), ["2:shut"], "{wrong}");
        assert_eq!(stage.send("goes on"), ["1:4goes on"]);
    }
    let mut stage = Stage::polling();
    stage.open(2);
    assert_eq!(stage.frame(2, Incoming::Binary(&[1])), (None, vec!["2:shut".into()]));
}

#[test]
fn a_probe_that_goes_away_is_no_end() {
    let mut stage = Stage::polling();
    stage.get(1);
    stage.open(2);
    stage.text(2, "2probe");
    assert_eq!(stage.gone(2), NOTHING);
    assert_eq!(stage.get(1), NOTHING);
    assert_eq!(stage.send("goes on"), ["1:4goes on"]);
}

#[test]
fn an_end_closes_the_probe_too() {
    let mut stage = Stage::polling();
    stage.get(1);
    stage.open(2);
    assert_eq!(stage.gone(1), ["2:shut", "end transport error"]);
}

#[test]
fn a_closing_session_can_end_on_the_new_web_socket() {
    let mut stage = Stage::polling();
    stage.open(2);
    stage.text(2, "2probe");
    stage.send("last");
    assert_eq!(stage.close(), NOTHING);
    assert_eq!(stage.text(2, "5"), ["2:4last", "2:shut", "end forced close"]);
}

#[test]
fn a_ping_survives_the_upgrade() {
    let mut stage = Stage::polling();
    stage.after(25 * SECOND);
    stage.open(2);
    assert_eq!(stage.text(2, "5"), ["2:2"]);
    assert_eq!(stage.after(20 * SECOND - 1).text(2, "3"), NOTHING);
    assert_eq!(stage.session.deadline(), Some(stage.now + 25 * SECOND));
}
