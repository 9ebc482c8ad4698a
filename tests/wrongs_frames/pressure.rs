//! Many frames, large messages and unfinished ones: what they may cost.
//!
//! Invariant: memory follows what was received, and nobody waits for somebody else's flood.

use super::*;
use common::Response;
use stentor::server::limits::PEER_BYTES_MAX;

/// Peers that announce much and send little: enough of them that each KiB for one is 3 MiB for all.
const CROWD: usize = 3000;

fn crowd(scene: &Scene) -> Vec<Peer> {
    (0..CROWD).map(|_| scene.open("/echo")).collect()
}

/// The server has handled all that was sent before: buffers are lent to everybody in the crowd.
fn wait_for_buffers(scene: &Scene) {
    wait_for("a buffer to be lent to each", || {
        (metric(scene, "stentor_buffers_lent") == CROWD as u64).then_some(())
    });
}

#[test]
fn memory_follows_the_bytes_received_and_never_those_announced() {
    let scene = Scene::start(&["--ping-interval", "0"]);
    let mut peers = crowd(&scene);
    let before = Footprint::of(scene.pid()).memory;
    let announced = &raw(0x82, &very_long(65_536), b"x")[..15];
    peers.iter_mut().for_each(|peer| peer.stream.write_all(announced).expect("the server reads"));
    wait_for_buffers(&scene);
    let grown = Footprint::of(scene.pid()).memory.saturating_sub(before);
    eprintln!(
        "{CROWD} peers announce 64 KiB and send 1 byte: {} KiB more, {} bytes each",
        grown >> 10,
        grown / CROWD as u64
    );
    assert!(grown < CROWD as u64 * 6 * 1024, "{grown} bytes for {CROWD} bytes received");
    drop(peers);
    scene.aftermath();
}

#[test]
fn a_large_message_leaves_no_large_buffer_to_the_small_remainder_behind_it() {
    let scene = Scene::start(&["--ping-interval", "0"]);
    let mut peers = crowd(&scene);
    let before = Footprint::of(scene.pid()).memory;
    let large = encode(true, BINARY, &[7; 60_000]);
    for peer in &mut peers {
        peer.stream.write_all(&large[..40_000]).expect("the server reads");
    }
    wait_for_buffers(&scene);
    let peak = Footprint::of(scene.pid()).memory.saturating_sub(before);
    let tail = [&large[40_000..], &raw(0x82, &very_long(65_536), b"x")[..15]].concat();
    for peer in &mut peers {
        peer.stream.write_all(&tail).expect("the server reads");
        assert_eq!(peer.read().payload.len(), 60_000);
    }
    wait_for_buffers(&scene);
    // What lies on the shelf goes within two seconds.
    wait_for("the shelf to be emptied", || (metric(&scene, "stentor_buffers_kept_bytes") == 0).then_some(()));
    let (lent, grown) = (
        metric(&scene, "stentor_buffers_lent_bytes"),
        Footprint::of(scene.pid()).memory.saturating_sub(before),
    );
    eprintln!(
        "{CROWD} peers with 40 000 bytes each: {} KiB more; with 1 byte behind it: {} KiB lent, {} KiB more",
        peak >> 10,
        lent >> 10,
        grown >> 10
    );
    assert!(lent < (CROWD as u64) * 4096 + (5 << 20), "{lent} bytes are lent for {CROWD} bytes held");
    drop(peers);
    scene.aftermath();
}

#[test]
fn a_message_of_many_fragments_costs_no_object_per_fragment() {
    let scene = Scene::start(&["--fragments-max", "1000000", "--message-max", "1mi", "--ping-interval", "0"]);
    let before = Footprint::of(scene.pid()).memory;
    let mut peers: Vec<Peer> = (0..8).map(|_| scene.open("/echo")).collect();
    let fragments: Vec<u8> = std::iter::once(encode(false, BINARY, b"x"))
        .chain(std::iter::repeat_n(encode(false, 0, b"x"), 99_999))
        .flatten()
        .collect();
    for peer in &mut peers {
        peer.stream.write_all(&fragments).expect("the server reads");
        assert!(peer.settle().is_empty(), "the message is still open");
    }
    let grown = Footprint::of(scene.pid()).memory.saturating_sub(before);
    eprintln!("8 messages of 100 000 fragments are open: {} KiB more", grown >> 10);
    // The payload is 100 000 bytes each; an object per fragment would be at least 16 bytes for each of them more.
    assert!(grown < 8 * 100_000 * 4 + (4 << 20), "{grown} bytes");
    for peer in &mut peers {
        peer.send(0, b"!");
        assert_eq!(peer.message().payload.len(), 100_001);
    }
    drop(peers);
    scene.aftermath();
}

/// Floods the server with `flood` from one peer while another is echoed; hands out the flooding one.
fn others_are_served_during(scene: &Scene, flood: &[u8], while_reading: bool) -> Peer {
    let mut peer = scene.open("/echo");
    let mut other = scene.open("/echo");
    let mut writer = peer.stream.try_clone().expect("a second handle");
    let bytes = flood.to_vec();
    let flooding = std::thread::spawn(move || writer.write_all(&bytes));
    let mut rounds = 0;
    let mut drained = [0; 65_536];
    peer.stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout can be set");
    while !flooding.is_finished() || rounds < 20 {
        if while_reading {
            let _ = peer.stream.read(&mut drained);
        }
        other.send_text("meanwhile");
        assert_eq!(other.message().text(), "meanwhile");
        rounds += 1;
    }
    flooding.join().expect("no panic").expect("the server takes it all in");
    peer.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    other.close();
    peer
}

#[test]
fn a_hundred_thousand_pings_empty_frames_and_one_byte_fragments_hold_nobody_up_and_nothing_back() {
    let scene = Scene::start(&["--ping-interval", "0", "--fragments-max", "1000000", "--message-max", "1mi"]);
    let count = 100_000;
    let repeated = |frame: Vec<u8>| frame.repeat(count);
    let fragments =
        [encode(false, BINARY, b"x"), repeated(encode(false, 0, b"x")), encode(true, 0, b"")].concat();
    let floods = [
        ("pings", repeated(encode(true, PING, b"")), true),
        ("pings with a payload", repeated(encode(true, PING, &[b'x'; 125])), true),
        ("pongs", repeated(encode(true, PONG, b"")), false),
        ("empty messages", repeated(encode(true, TEXT, b"")), true),
        ("1-byte fragments", fragments, false),
        ("messages of 1 byte", repeated(encode(true, TEXT, b"x")), true),
    ];
    for (what, flood, is_answered) in &floods {
        let peer = others_are_served_during(&scene, flood, *is_answered);
        let grown = Footprint::of(scene.pid()).memory.saturating_sub(scene.before().memory);
        eprintln!("{what}: {} KiB more", grown >> 10);
        assert!(grown < 12 << 20, "{what}: {grown} bytes more");
        drop(peer);
    }
    scene.aftermath();
}

#[test]
fn of_many_pings_only_the_newest_pong_is_owed_to_a_peer_that_does_not_read() {
    let scene = Scene::start(&["--ping-interval", "0"]);
    let count = 400_000_u32;
    let number = |ping: u32| {
        let mut payload = [0; 125];
        payload[..4].copy_from_slice(&ping.to_be_bytes());
        payload
    };
    let flood: Vec<u8> = (0..count).flat_map(|ping| encode(true, PING, &number(ping))).collect();
    let mut peer = others_are_served_during(&scene, &flood, false);
    let grown = Footprint::of(scene.pid()).memory.saturating_sub(scene.before().memory);
    assert!(grown < 12 << 20, "{grown} bytes more for {count} pings that are not read the answer to");
    let (mut last, mut heard) = (None, 0);
    while last != Some(count - 1) {
        let pong = peer.read();
        assert_eq!((pong.opcode, pong.payload.len()), (PONG, 125));
        let ping = u32::from_be_bytes(pong.payload[..4].try_into().expect("four bytes"));
        assert!(last.is_none_or(|last| last < ping), "left out, never mixed up (RFC 6455 §5.5.3)");
        (last, heard) = (Some(ping), heard + 1);
    }
    assert!(heard < count, "what the system did not take was left out, but for the newest");
    peer.close();
    scene.aftermath();
}

/// What the server says of itself, over a connection that goes on: how many bytes it had received when it answered.
fn bytes_in(asker: &mut TcpStream) -> u64 {
    let stats: serde_json::Value = serde_json::from_slice(&Response::read(asker, false).body).expect("JSON");
    stats["bytes_in_total"].as_u64().expect("a number")
}

/// Has these floods and two questions wait for the server together; returns how many bytes it had taken of the floods when it had
/// answered the questions. The floods go on meanwhile, and are read to their ends in the end.
fn taken_before_the_answers(scene: &Scene, floods: &[&[u8]]) -> u64 {
    const ASK: &[u8] = b"GET /stats HTTP/1.1\r\nHost: test\r\n\r\n";
    let last = encode(true, PING, b"the last");
    let mut asker = scene.connect();
    let mut other = scene.open("/echo");
    let mut peers: Vec<Peer> = floods.iter().map(|_| scene.open("/echo")).collect();
    asker.write_all(ASK).expect("the server reads");
    let before = bytes_in(&mut asker);
    scene.signal("STOP");
    wait_for("the server to stand still", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", scene.pid())).expect("it is there");
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')).then_some(())
    });
    // As much of each as the system takes, and the rest when the server takes it.
    let rests: Vec<JoinHandle<()>> = peers
        .iter_mut()
        .zip(floods)
        .map(|(peer, flood)| {
            let flood = [flood, &last[..]].concat();
            peer.stream.set_nonblocking(true).expect("it can be");
            let mut sent = 0;
            while let Ok(count @ 1..) = peer.stream.write(&flood[sent..]) {
                sent += count;
            }
            peer.stream.set_nonblocking(false).expect("it can be");
            assert!(sent > 3 * PEER_BYTES_MAX, "more lies before the server than it may take: {sent}");
            let mut writer = peer.stream.try_clone().expect("a second handle");
            std::thread::spawn(move || writer.write_all(&flood[sent..]).expect("the server takes it all in"))
        })
        .collect();
    other.send_text("meanwhile");
    asker.write_all(ASK).expect("the system takes it");
    scene.signal("CONT");
    // Whichever of the two was answered first: the numbers are of the moment when this one was.
    let after = bytes_in(&mut asker);
    assert_eq!(other.message().text(), "meanwhile");
    for (peer, rest) in peers.iter_mut().zip(rests) {
        while peer.read() != (Frame { opcode: PONG, payload: b"the last".to_vec() }) {}
        rest.join().expect("no panic");
    }
    after - before - ASK.len() as u64
}

/// A share of time that no clock is needed for: of 100 000 frames that wait already when somebody else asks, 10 922 are handled
/// before the answer, one turn's worth; of each flood, if there are many.
#[test]
fn between_a_question_and_its_answer_one_mouthful_of_each_flood_is_handled_at_most() {
    let scene = Scene::start(&["--ping-interval", "0", "--fragments-max", "1000000", "--message-max", "1mi"]);
    let repeated = |frame: Vec<u8>| frame.repeat(100_000);
    let floods = [
        ("pings", repeated(encode(true, PING, b""))),
        ("pings with a payload", repeated(encode(true, PING, &[b'x'; 125]))),
        ("pongs", repeated(encode(true, PONG, b""))),
        ("empty messages", repeated(encode(true, TEXT, b""))),
        ("messages of 1 byte", repeated(encode(true, TEXT, b"x"))),
        (
            "fragments of 1 byte",
            [encode(false, BINARY, b"x"), repeated(encode(false, 0, b"x")), encode(true, 0, b"")].concat(),
        ),
        (
            "empty fragments",
            [encode(false, BINARY, b""), repeated(encode(false, 0, b"")), encode(true, 0, b"")].concat(),
        ),
    ];
    // One turn serves everybody who is ready once. The other's question of some bytes may be among what was taken.
    let share = |flooders: usize| (flooders * PEER_BYTES_MAX + 64) as u64;
    for (what, flood) in &floods {
        let taken = taken_before_the_answers(&scene, &[flood]);
        eprintln!("{what}: {taken} bytes of {} before the answers", flood.len());
        assert!(taken <= share(1), "{what}: {taken} bytes");
    }
    let all: Vec<&[u8]> = floods.iter().map(|(_, flood)| &flood[..]).collect();
    let taken = taken_before_the_answers(&scene, &all);
    eprintln!("all at once: {taken} bytes before the answers");
    assert!(taken <= share(all.len()), "{taken} bytes of all");
    scene.aftermath();
}
