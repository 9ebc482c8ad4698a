//! What is left when compressed peers have fallen silent.
//!
//! Memory that nobody uses is what a server for many connections is judged by. Invariant: `--deflate shared` keeps nothing
//! for a peer between two messages.

use super::*;

/// What compresses and unfolds belongs to the process: whoever has talked holds no more than who has not.
#[test]
fn in_shared_who_has_talked_and_is_silent_holds_nothing() {
    // An inflater each would be 16 MiB.
    const PEERS: usize = 500;
    let server = start("shared", &[]);
    assert_echoes(&server);
    let before = memory(&server, "VmRSS:");
    let mut peers: Vec<Deflated> = (0..PEERS).map(|_| Deflated::open(&server, "/echo", OFFER)).collect();
    for (seed, peer) in (0..).zip(&mut peers) {
        let said = json(20_000, seed);
        peer.send(TEXT, &said);
        let heard = peer.read();
        assert!(heard.is_compressed && heard.payload == said);
    }
    let after = memory(&server, "VmRSS:");
    assert!(
        after.saturating_sub(before) < PEERS * 4,
        "{before} KiB before, {after} with {PEERS} that have talked"
    );
    drop(peers);
    server.aftermath();
}
