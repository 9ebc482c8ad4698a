//! The table of wrongs, row *Handshake*: each wrong that an opening handshake can have, its exact answer, and what is
//! left of it.
//!
//! A handshake is where strangers meet. Each test here is a line of `docs/security.md`; the many ways to do one wrong
//! are cases of one test, and after each table of them a good client is served and nothing is left.
//!
//! Invariant: every refusal says in one line what was wrong, closes, and nothing comes behind it.

mod common;

use common::aftermath::Scene;
use common::{GOOD, upgrade_with};

#[test]
fn a_missing_host_is_400() {
    let scene = Scene::start(&[]);
    let good = String::from_utf8(upgrade_with("/echo", &GOOD)).expect("ASCII");
    scene.refuses(good.replacen("Host: test\r\n", "", 1).as_bytes(), 400, "missing Host");
    scene.aftermath();
}
