//! Our WebSocket against tungstenite's, our compression against zlib's: both hear the same, and each reads the other.
//!
//! Two readings of RFC 6455 by different people make the same mistake less often than one. Where the two differ on
//! purpose, [`Verdict::agrees`] says so, one line for each difference, and nothing else may differ.

#[path = "differential/compression.rs"]
mod compression;

use std::io::{self, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use stentor::http::client::Response;
use stentor::http::{HeadScan, Limits as HttpLimits, Request, Storage};
use stentor::ws::handshake::{ClientHandshake, ClientRequest, Offer, encode_response};
use stentor::ws::{
    CloseCode, Cursor, Decoder, Event, Header, Kind, Limits, Opcode, Role, Violation, close, encode,
    encode_header, encode_masked, mask,
};
use tungstenite::protocol::{CloseFrame, Role as TheirRole, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

const MESSAGE_MAX: usize = 400;
const FRAME_MAX: usize = 300;

/// What either of them heard.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Heard {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// How our reading of a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// More may come.
    Waiting,
    /// A close frame came.
    Closed,
    Refused(Violation),
}

/// How theirs did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Theirs {
    Waiting,
    Closed,
    Protocol,
    Capacity,
    Utf8,
}

impl Verdict {
    /// Whether the two verdicts are the same, or differ as they are meant to.
    fn agrees(self, theirs: Theirs) -> bool {
        match (self, theirs) {
            (Self::Waiting, Theirs::Waiting) | (Self::Closed, Theirs::Closed) => true,
            // tungstenite judges a frame when all of it has come, and we judge every byte: it may still wait.
            (Self::Refused(_), Theirs::Waiting) => true,
            // It takes lengths in more bytes than they need, of control frames too (RFC 6455 §5.2 forbids them), so that
            // whatever follows may be judged.
            (Self::Refused(Violation::LengthNotMinimal | Violation::ControlTooLong), _) => true,
            // A forbidden close code is a close with 1002 in its reading.
            (Self::Refused(Violation::CloseCodeForbidden(_)), Theirs::Closed) => true,
            // A frame may be wrong in two ways, and each names what it sees first.
            (Self::Refused(_), Theirs::Protocol | Theirs::Capacity | Theirs::Utf8) => true,
            (Self::Waiting | Self::Closed | Self::Refused(_), _) => false,
        }
    }
}

/// A stream in pieces, and what is written to it.
#[derive(Default)]
struct Pipe {
    pieces: std::collections::VecDeque<Vec<u8>>,
    written: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(mut piece) = self.pieces.pop_front() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let len = piece.len().min(into.len());
        into[..len].copy_from_slice(&piece[..len]);
        if len < piece.len() {
            self.pieces.push_front(piece.split_off(len));
        }
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Cuts a stream at these lengths, again and again.
fn pieces(stream: &[u8], lens: &[usize]) -> Vec<Vec<u8>> {
    let (mut rest, mut pieces) = (stream, Vec::new());
    for len in lens.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*len).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces
}

fn ours(role: Role, pieces: &[Vec<u8>]) -> (Vec<Heard>, Verdict) {
    let limits =
        Limits { frame_max: FRAME_MAX as u64, message_max: MESSAGE_MAX as u64, fragments_max: u32::MAX };
    let (mut decoder, mut cursor) = (Decoder::new(role), Cursor::default());
    let (mut window, mut heard) = (Vec::new(), Vec::new());
    for piece in pieces {
        window.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut window, &mut cursor, &limits) {
                Ok(None) => break,
                Ok(Some(Event::Message { kind, payload })) => {
                    heard.push(Heard::Message(kind, payload.to_vec()))
                }
                Ok(Some(Event::Compressed { .. })) => panic!("nothing was agreed on"),
                Ok(Some(Event::Ping(payload))) => heard.push(Heard::Ping(payload.to_vec())),
                Ok(Some(Event::Pong(payload))) => heard.push(Heard::Pong(payload.to_vec())),
                Ok(Some(Event::Close(body))) => {
                    heard.push(Heard::Close(body.map(|(code, reason)| (code.get(), reason.to_owned()))));
                    return (heard, Verdict::Closed);
                }
                Err(violation) => return (heard, Verdict::Refused(violation)),
            }
        }
    }
    (heard, Verdict::Waiting)
}

fn theirs(role: Role, pieces: &[Vec<u8>]) -> (Vec<Heard>, Theirs) {
    let role = match role {
        Role::Server => TheirRole::Server,
        Role::Client => TheirRole::Client,
    };
    let config =
        WebSocketConfig::default().max_frame_size(Some(FRAME_MAX)).max_message_size(Some(MESSAGE_MAX));
    let pipe = Pipe { pieces: pieces.to_vec().into(), written: Vec::new() };
    let mut socket = WebSocket::from_raw_socket(pipe, role, Some(config));
    let mut heard = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => match said(message) {
                Some(close @ Heard::Close(_)) => {
                    heard.push(close);
                    return (heard, Theirs::Closed);
                }
                Some(one) => heard.push(one),
                None => panic!("a frame that is no message"),
            },
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (heard, Theirs::Waiting);
            }
            Err(Error::Protocol(_)) => return (heard, Theirs::Protocol),
            Err(Error::Capacity(_)) => return (heard, Theirs::Capacity),
            Err(Error::Utf8(_)) => return (heard, Theirs::Utf8),
            Err(error) => panic!("{error}"),
        }
    }
}

fn said(message: Message) -> Option<Heard> {
    Some(match message {
        Message::Text(text) => Heard::Message(Kind::Text, text.as_bytes().to_vec()),
        Message::Binary(bytes) => Heard::Message(Kind::Binary, bytes.to_vec()),
        Message::Ping(bytes) => Heard::Ping(bytes.to_vec()),
        Message::Pong(bytes) => Heard::Pong(bytes.to_vec()),
        Message::Close(close) => {
            Heard::Close(close.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned())))
        }
        Message::Frame(_) => return None,
    })
}

/// One frame, as it might be sent: mostly right, sometimes not.
#[derive(Clone, Debug)]
struct Sent {
    first: u8,
    payload: Vec<u8>,
    is_masked_wrong: bool,
    /// The length in more bytes than it needs.
    is_long: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]),
        1 => Just(0x88u8),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => "\\PC{0,20}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..150),
        1 => (900u16..5100, "\\PC{0,9}").prop_map(|(code, text)| [&code.to_be_bytes(), text.as_bytes()].concat()),
        1 => (120usize..320).prop_map(|len| vec![b'x'; len]),
    ];
    (first, payload, prop::bool::weighted(0.02), prop::bool::weighted(0.02)).prop_map(
        |(first, payload, is_masked_wrong, is_long)| Sent { first, payload, is_masked_wrong, is_long },
    )
}

fn wire(role: Role, frames: &[Sent]) -> Vec<u8> {
    let mut stream = Vec::new();
    for Sent { first, payload, is_masked_wrong, is_long } in frames {
        let is_masked = (role == Role::Server) != *is_masked_wrong;
        let key = is_masked.then_some([7, *first, 0, 200]);
        let (mut header, mut len) = encode_header(Opcode::Binary, true, payload.len() as u64, key);
        header[0] = *first;
        if *is_long && payload.len() < 126 {
            header[1] = header[1] & 0x80 | 126;
            header[2..4].copy_from_slice(&(payload.len() as u16).to_be_bytes());
            header[4..8].copy_from_slice(&key.unwrap_or_default());
            len = if is_masked { 8 } else { 4 };
        }
        stream.extend_from_slice(&header[..len]);
        let start = stream.len();
        stream.extend_from_slice(payload);
        mask::apply(key.unwrap_or_default(), &mut stream[start..]);
    }
    stream
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

/// Holds that the two readings agree.
fn compare(role: Role, stream: &[u8], lens: &[usize]) -> Result<(), TestCaseError> {
    let pieces = pieces(stream, lens);
    let (heard, verdict) = ours(role, &pieces);
    let (theirs, end) = theirs(role, &pieces);
    // 1014 entered the registry in 2012; tungstenite takes it for a code of nobody.
    if heard.iter().any(|one| matches!(one, Heard::Close(Some((1014, _))))) {
        return Ok(());
    }
    prop_assert!(verdict.agrees(end), "{verdict:?} and {end:?}, after {heard:?} and {theirs:?}");
    match verdict {
        Verdict::Waiting | Verdict::Closed => prop_assert_eq!(heard, theirs),
        // What they go on to take, nobody promises us.
        Verdict::Refused(Violation::LengthNotMinimal | Violation::ControlTooLong) => {
            prop_assert!(theirs.starts_with(&heard))
        }
        Verdict::Refused(Violation::CloseCodeForbidden(_)) => {
            prop_assert_eq!(&theirs[..heard.len()], &heard[..]);
            let told = Heard::Close(Some((1002, "Protocol violation".to_owned())));
            prop_assert!(theirs[heard.len()..].iter().all(|one| *one == told));
        }
        Verdict::Refused(_) => prop_assert_eq!(heard, theirs),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn both_hear_the_same_of_frames_right_and_wrong(
        role in role(),
        frames in vec(sent(), 0..9),
        lens in vec(1usize..60, 1..6),
    ) {
        compare(role, &wire(role, &frames), &lens)?;
    }

    #[test]
    fn both_hear_the_same_of_streams_with_bytes_changed(
        role in role(),
        frames in vec(sent(), 1..6),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        lens in vec(1usize..60, 1..6),
    ) {
        let mut stream = wire(role, &frames);
        prop_assume!(!stream.is_empty());
        for (at, byte) in changes {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        compare(role, &stream, &lens)?;
    }

    #[test]
    fn they_read_what_we_write(
        role in role(),
        all in vec((0u8..4, vec(any::<u8>(), 0..FRAME_MAX), any::<[u8; 4]>()), 0..9),
        reason in prop::option::of("\\PC{0,150}"),
        lens in vec(1usize..60, 1..6),
    ) {
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        let mut write = |opcode, payload: &[u8], key| match role {
            Role::Client => encode(&mut stream, opcode, payload),
            Role::Server => encode_masked(&mut stream, opcode, payload, key),
        };
        for (what, mut payload, key) in all {
            let heard = match what {
                0 => {
                    let text: String = String::from_utf8_lossy(&payload).chars().take(FRAME_MAX / 4).collect();
                    write(Opcode::Text, text.as_bytes(), key);
                    Heard::Message(Kind::Text, text.into_bytes())
                }
                1 => {
                    write(Opcode::Binary, &payload, key);
                    Heard::Message(Kind::Binary, payload)
                }
                _ => {
                    payload.truncate(125);
                    let opcode = if what == 2 { Opcode::Ping } else { Opcode::Pong };
                    write(opcode, &payload, key);
                    if what == 2 { Heard::Ping(payload) } else { Heard::Pong(payload) }
                }
            };
            expected.push(heard);
        }
        if let Some(reason) = &reason {
            let mut body = Vec::new();
            close::encode_body(&mut body, CloseCode::GOING_AWAY, reason);
            write(Opcode::Close, &body, [1, 2, 3, 4]);
            let kept = std::str::from_utf8(&body[2..]).expect("a reason is cut between characters");
            expected.push(Heard::Close(Some((1001, kept.to_owned()))));
        }
        let (heard, end) = theirs(role, &pieces(&stream, &lens));
        prop_assert_eq!(heard, expected);
        prop_assert_eq!(end, if reason.is_some() { Theirs::Closed } else { Theirs::Waiting });
    }

    #[test]
    fn we_read_what_they_write(
        role in role(),
        all in vec((0u8..4, vec(any::<u8>(), 0..125)), 0..9),
        lens in vec(1usize..60, 1..6),
    ) {
        let writer = match role {
            Role::Server => TheirRole::Client,
            Role::Client => TheirRole::Server,
        };
        let mut socket = WebSocket::from_raw_socket(Pipe::default(), writer, None);
        let mut expected = Vec::new();
        for (what, payload) in all {
            let message = match what {
                0 => Message::text(String::from_utf8_lossy(&payload).into_owned()),
                1 => Message::binary(payload),
                2 => Message::Ping(payload.into()),
                _ => Message::Pong(payload.into()),
            };
            expected.extend(said(message.clone()));
            socket.send(message).expect("a pipe takes everything");
        }
        socket.close(Some(CloseFrame { code: 4000.into(), reason: "bye".into() })).expect("a pipe takes everything");
        expected.push(Heard::Close(Some((4000, "bye".to_owned()))));
        let (heard, verdict) = ours(role, &pieces(&socket.get_ref().written, &lens));
        prop_assert_eq!(heard, expected);
        prop_assert_eq!(verdict, Verdict::Closed);
    }
}

/// Answers the request that was written to it, as our server does.
#[derive(Default)]
struct Answering {
    asked: Vec<u8>,
    answer: Vec<u8>,
}

impl Write for Answering {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.asked.extend_from_slice(bytes);
        if let Ok(Some(len)) = HeadScan::new().scan(&self.asked, &HttpLimits::default()) {
            let mut storage = Storage::new();
            let request =
                Request::parse(&self.asked[..len], &mut storage).expect("their request is a good one");
            let offer = Offer::read(request.headers()).expect("and a good handshake");
            assert_eq!(offer.protocols().collect::<Vec<_>>(), ["chat", "superchat"]);
            encode_response(&mut self.answer, offer.key(), Some("superchat"), None);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Answering {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.answer.len().min(into.len());
        into[..len].copy_from_slice(&self.answer[..len]);
        self.answer.drain(..len);
        Ok(len)
    }
}

#[test]
fn their_client_takes_our_answer() {
    use tungstenite::client::IntoClientRequest as _;
    let mut request = "ws://localhost/echo".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "chat, superchat".parse().unwrap());
    let (_, response) = tungstenite::client(request, Answering::default()).expect("it is a WebSocket");
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-protocol"], "superchat");
}

#[test]
fn our_client_takes_their_answer() {
    let handshake = ClientHandshake::new([9; 16]);
    let request = ClientRequest { host: "localhost", target: "/echo", ..ClientRequest::default() };
    let mut asked = Vec::new();
    handshake.encode_request(&mut asked, &request);
    let pipe = Pipe { pieces: vec![asked].into(), written: Vec::new() };
    let socket = tungstenite::accept(pipe).expect("our request is a good one");
    let answer = &socket.get_ref().written;
    let len = HeadScan::new().scan(answer, &HttpLimits::default()).unwrap().expect("the answer is whole");
    let mut storage = Storage::new();
    let response = Response::parse(&answer[..len], &mut storage).unwrap();
    let accepted = handshake.check_response(&request, response.status.code(), response.headers());
    assert_eq!(accepted.map(|accepted| accepted.protocol), Ok(None));
}
