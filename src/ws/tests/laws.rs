//! What must hold of every stream, however it is cut: property tests of decoder and encoder together.
//!
//! The strongest of them is chop invariance: the same bytes give the same events, whichever way they are cut and
//! wherever the window is moved in between, in both roles, for good streams and for bad ones.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// One read: how many bytes come, and what becomes of the window after it.
fn reads() -> impl Strategy<Value = Vec<(usize, Between)>> {
    let between = prop_oneof![Just(Between::Stay), Just(Between::Compact), Just(Between::Carry)];
    vec((prop_oneof![1usize..4, 1usize..40, 1usize..400], between), 1..60)
}

/// Listens to a stream in these reads; the last of them brings all the rest.
fn hear_in_reads(role: Role, limits: Limits, stream: &[u8], reads: &[(usize, Between)]) -> Listener {
    let mut listener = Listener::new(role, limits);
    let mut rest = stream;
    for (len, between) in reads {
        let (piece, behind) = rest.split_at((*len).min(rest.len()));
        listener.receive(piece);
        listener.between(*between);
        rest = behind;
    }
    listener.receive(rest);
    listener
}

/// A message to be sent: what it is and at which lengths it is divided; control frames go between.
#[derive(Clone, Debug)]
enum Said {
    Message { kind: Kind, payload: Vec<u8>, fragments: Vec<usize>, between: Option<Control> },
    Control(Control),
}

/// A ping, or a pong that nobody asked for.
#[derive(Clone, Debug)]
enum Control {
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn control() -> impl Strategy<Value = Control> {
    let payload = || vec(any::<u8>(), 0..=125);
    prop_oneof![payload().prop_map(Control::Ping), payload().prop_map(Control::Pong)]
}

fn said() -> impl Strategy<Value = Said> {
    let payload = prop_oneof![
        "\\PC{0,60}".prop_map(|text| (Kind::Text, text.into_bytes())),
        "\\PC{100,200}".prop_map(|text| (Kind::Text, text.into_bytes())),
        vec(any::<u8>(), 0..300).prop_map(|bytes| (Kind::Binary, bytes)),
    ];
    prop_oneof![
        3 => (payload, vec(0usize..60, 0..5), prop::option::of(control())).prop_map(
            |((kind, payload), fragments, between)| Said::Message { kind, payload, fragments, between }
        ),
        1 => control().prop_map(Said::Control),
    ]
}

/// Keys of all sorts, drawn by counting: the decoder must not care.
struct Sender {
    role: Role,
    key: u32,
    stream: Vec<u8>,
    expected: Vec<Heard>,
}

impl Sender {
    /// A sender whose listener has this role.
    fn new(listener: Role) -> Self {
        Self { role: listener, key: 0, stream: Vec::new(), expected: Vec::new() }
    }

    fn frame(&mut self, opcode: Opcode, fin: bool, payload: &[u8]) {
        let key = match self.role {
            Role::Server => Some(self.key.to_le_bytes()),
            Role::Client => None,
        };
        self.key = self.key.wrapping_mul(0x9E37_79B9).wrapping_add(0x7F4A_7C15);
        match (fin, key) {
            (true, Some(key)) => encode_masked(&mut self.stream, opcode, payload, key),
            (true, None) => encode(&mut self.stream, opcode, payload),
            (false, _) => {
                let (header, len) = encode_header(opcode, false, payload.len() as u64, key);
                self.stream.extend_from_slice(&header[..len]);
                let start = self.stream.len();
                self.stream.extend_from_slice(payload);
                mask::apply(key.unwrap_or_default(), &mut self.stream[start..]);
            }
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Ping(payload) => {
                self.frame(Opcode::Ping, true, &payload);
                self.expected.push(Heard::Ping(payload));
            }
            Control::Pong(payload) => {
                self.frame(Opcode::Pong, true, &payload);
                self.expected.push(Heard::Pong(payload));
            }
        }
    }

    fn say(&mut self, said: Said) {
        match said {
            Said::Control(control) => self.control(control),
            Said::Message { kind, payload, fragments, mut between } => {
                let mut rest = &payload[..];
                let mut opcode = kind.opcode();
                for len in fragments {
                    let (fragment, behind) = rest.split_at(len.min(rest.len()));
                    self.frame(opcode, false, fragment);
                    opcode = Opcode::Continuation;
                    rest = behind;
                    if let Some(control) = between.take() {
                        self.control(control);
                    }
                }
                self.frame(opcode, true, rest);
                self.expected.push(Heard::Message(kind, payload));
            }
        }
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        let mut body = Vec::new();
        close::encode_body(&mut body, code, reason);
        self.frame(Opcode::Close, true, &body);
        let reason = std::str::from_utf8(&body[2..]).expect("a reason is cut between characters");
        self.expected.push(Heard::Close(Some((code.get(), reason.to_string()))));
    }
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

proptest! {
    #[test]
    fn what_is_said_is_heard_however_it_is_cut(
        role in role(),
        all in vec(said(), 0..8),
        reason in prop::option::of("\\PC{0,150}"),
        reads in reads(),
    ) {
        let mut sender = Sender::new(role);
        all.into_iter().for_each(|said| sender.say(said));
        let closes = reason.is_some();
        if let Some(reason) = reason {
            sender.close(CloseCode::GOING_AWAY, &reason);
        }
        let listener = hear_in_reads(role, WIDE, &sender.stream, &reads);
        prop_assert_eq!(&listener.heard, &sender.expected);
        prop_assert!(listener.decoder.is_idle() && listener.cursor.is_clear(listener.window.len()));
        prop_assert!(!closes || hear(role, WIDE, &[&sender.stream[..], b"\x81"].concat()) == sender.expected);
    }

    #[test]
    fn chop_invariance_of_streams_with_mistakes(
        role in role(),
        all in vec(said(), 1..6),
        mistakes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        narrow: bool,
        reads in reads(),
    ) {
        let mut sender = Sender::new(role);
        all.into_iter().for_each(|said| sender.say(said));
        let mut stream = sender.stream;
        for (at, byte) in mistakes {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let limits = if narrow { Limits { frame_max: 90, message_max: 120, fragments_max: 3 } } else { WIDE };
        let whole = hear(role, limits, &stream);
        prop_assert_eq!(&hear_in_reads(role, limits, &stream, &reads).heard, &whole);
        prop_assert_eq!(hear_in_pieces(role, limits, &stream, 1), whole);
    }

    /// Mistakes soon stop a decoder, so bytes that are merely random would not get far: these have the mask bit right.
    #[test]
    fn random_bytes_never_panic_and_give_the_same_events_however_cut(
        role in role(),
        chunks in vec((any::<u8>(), 0u8..128, vec(any::<u8>(), 0..40)), 0..20),
        reads in reads(),
    ) {
        let mask = if role == Role::Server { 0x80 } else { 0 };
        let stream: Vec<u8> =
            chunks.into_iter().flat_map(|(first, len, rest)| [vec![first & 0x8F, len | mask], rest].concat()).collect();
        let whole = hear(role, WIDE, &stream);
        let pieces = hear_in_reads(role, WIDE, &stream, &reads);
        prop_assert_eq!(&pieces.heard, &whole);
        let ends = |heard: &Heard| matches!(heard, Heard::Violation(_) | Heard::Close(_));
        let end = whole.iter().position(ends);
        prop_assert!(end.is_none_or(|end| end + 1 == whole.len()), "nothing comes after the end");
    }
}
