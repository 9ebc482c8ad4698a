//! The client side of Engine.IO 4 and Socket.IO 5 over a WebSocket, as much of it as measuring takes.
//!
//! Why of our own: what measures servers shares no code with one of them, so that a mistake cannot hide behind itself. And
//! a delivery must cost the generator next to nothing: of a packet it looks at two bytes, and never parses its JSON.
//!
//! ```text
//!   server                      client
//!   0{"sid":…}              →   40/ns,                     Opening  → Entering
//!   40/ns,{"sid":…}         →   42/ns,0["join","room"]     Entering → Joining, with a room; else → In
//!   43/ns,0[{"ok":true}]                                   Joining  → In
//!   2                       →   3                          wherever it stands
//!   42/ns,["message",…]                                    In: heard
//! ```
//!
//! Bare Engine.IO knows no namespaces: behind its open packet a client is in, and a message is `4` and the payload.
//!
//! Invariants: no socket, no clock; a stage only moves downwards; what comes before a client is in is never heard.
//! Sources: "Engine.IO protocol", revision 4, and "Socket.IO protocol", revision 5.

use super::Reason;
use crate::plan::{Fill, Plan, Scenario};
use serde_json::Value;
use stentor::base::marker::{Found, decode};
use stentor::ws::Kind;

/// The id under which a room is asked for.
const JOIN_ID: char = '0';
/// The id under which echoes are asked for: answers are told apart by their markers.
const ECHO_ID: &str = "1";
/// How much of a server's own words stands in a reason, in characters.
const QUOTE_MAX: usize = 80;

/// How far a client has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// The server has not opened the session yet.
    #[default]
    Opening,
    /// It has not let us into the namespace yet.
    Entering,
    /// It has not acknowledged the room yet.
    Joining,
    /// What comes is heard.
    In,
}

/// What is to be done about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'s> {
    /// Nothing.
    Nothing,
    /// To say this, as text.
    Say(&'s str),
    /// To begin: the client is in.
    Begin,
    /// To count it as a delivery, or as unexpected.
    Hear,
}

/// What all clients of a run say, encoded once.
#[derive(Clone, Debug)]
pub struct Speech {
    is_bare: bool,
    /// Whether acknowledgements may bear a marker.
    is_echo: bool,
    /// CONNECT, which its answer begins with too.
    enter: String,
    refused: String,
    left: String,
    join: Option<String>,
    joined: String,
    /// What stands before a payload, and behind it.
    around: (String, &'static str),
}

impl Stage {
    /// What a client that comes no further lacks.
    pub const fn lacks(self) -> &'static str {
        match self {
            Self::Opening => "timed out: upgraded, but no Engine.IO open packet came",
            Self::Entering => "timed out: the server did not answer CONNECT to the namespace",
            Self::Joining => "timed out: the server did not acknowledge `join`",
            Self::In => "timed out",
        }
    }
}

impl Speech {
    /// Of a plan; `None` where plain messages are spoken.
    pub fn new(plan: &Plan) -> Option<Self> {
        let wanted = plan.socketio.as_ref()?;
        let namespace =
            if wanted.namespace == "/" { String::new() } else { format!("{},", wanted.namespace) };
        let is_echo = plan.scenario == Scenario::Echo;
        let quoted = |text: &str| Value::from(text).to_string();
        let (quote, after) = if plan.fill == Fill::Json { ("", "]") } else { ("\"", "\"]") };
        let id = if is_echo { ECHO_ID } else { "" };
        let event = format!("42{namespace}{id}[{},{quote}", quoted(&wanted.event));
        Some(Self {
            is_bare: wanted.is_bare,
            is_echo,
            enter: format!("40{namespace}"),
            refused: format!("44{namespace}"),
            left: format!("41{namespace}"),
            join: wanted
                .room
                .as_ref()
                .map(|room| format!("42{namespace}{JOIN_ID}[\"join\",{}]", quoted(room))),
            joined: format!("43{namespace}{JOIN_ID}"),
            around: if wanted.is_bare { ("4".to_owned(), "") } else { (event, after) },
        })
    }

    /// How many bytes a packet is longer than its payload.
    pub const fn envelope_bytes(&self) -> usize {
        self.around.0.len() + self.around.1.len()
    }

    /// Makes the packet that bears a payload. The payload needs no escaping: it is letters, or JSON itself.
    pub fn wrap(&self, payload: &[u8], packet: &mut Vec<u8>) {
        packet.clear();
        packet.extend_from_slice(self.around.0.as_bytes());
        packet.extend_from_slice(payload);
        packet.extend_from_slice(self.around.1.as_bytes());
    }

    /// Takes a message of the server.
    ///
    /// # Errors
    /// The server speaks something else, lets us not in, or throws us out; in words that count together.
    #[inline]
    pub fn heed(&self, stage: &mut Stage, kind: Kind, message: &[u8]) -> Result<Step<'_>, Reason> {
        match *stage {
            Stage::In => self.inside(kind, message),
            Stage::Opening => self.open(stage, kind, message),
            Stage::Entering | Stage::Joining => match (kind, message) {
                (Kind::Binary, _) | (Kind::Text, [b'6']) => Ok(Step::Nothing),
                (Kind::Text, [b'2', ..]) => Ok(Step::Say("3")),
                (Kind::Text, [b'1', ..]) => Err("socketio: the server closed the session".into()),
                (Kind::Text, _) => self.enter(stage, std::str::from_utf8(message).unwrap_or_default()),
            },
        }
    }

    /// A message to a client that is in.
    #[inline]
    fn inside(&self, kind: Kind, message: &[u8]) -> Result<Step<'_>, Reason> {
        match message {
            // An attachment, or a bare binary message.
            _ if kind == Kind::Binary => Ok(Step::Hear),
            [b'4', ..] if self.is_bare => Ok(Step::Hear),
            [b'4', b'2' | b'5', ..] => Ok(Step::Hear),
            // An answer without a marker is only polite.
            [b'4', b'3' | b'6', ..] if self.is_echo && decode(message) != Found::Absent => Ok(Step::Hear),
            [b'4', b'3' | b'6', ..] | [b'6'] => Ok(Step::Nothing),
            [b'2', ..] => Ok(Step::Say("3")),
            [b'1', ..] => Err("socketio: the server closed the session".into()),
            [b'4', b'1', ..] => Err("socketio: the server disconnected us from the namespace".into()),
            _ => Err("socketio: the server sent no packet of Engine.IO 4 or Socket.IO 5".into()),
        }
    }

    /// The first message must be the open packet.
    fn open(&self, stage: &mut Stage, kind: Kind, message: &[u8]) -> Result<Step<'_>, Reason> {
        let opening = message.strip_prefix(b"0").filter(|_| kind == Kind::Text);
        if !opening.is_some_and(|json| has_sid(serde_json::from_slice(json).ok().as_ref())) {
            return Err(Reason::from(format!(
                "socketio: the first message is no Engine.IO 4 open packet: {}",
                quote(&String::from_utf8_lossy(message))
            )));
        }
        if self.is_bare {
            *stage = Stage::In;
            return Ok(Step::Begin);
        }
        *stage = Stage::Entering;
        Ok(Step::Say(&self.enter))
    }

    /// On the way in; what others say meanwhile is passed over.
    fn enter(&self, stage: &mut Stage, packet: &str) -> Result<Step<'_>, Reason> {
        if let Some(why) = packet.strip_prefix(&self.refused) {
            return Err(Reason::from(format!("socketio: not let into the namespace: {}", quote(why))));
        }
        if packet.starts_with(&self.left) {
            return Err("socketio: the server disconnected us from the namespace".into());
        }
        if *stage == Stage::Entering {
            let Some(answer) = packet.strip_prefix(&self.enter) else { return Ok(Step::Nothing) };
            if !has_sid(serde_json::from_str(answer).ok().as_ref()) {
                return Err("socketio: CONNECT was answered without a sid: no Socket.IO 3 or newer".into());
            }
            if let Some(join) = &self.join {
                *stage = Stage::Joining;
                return Ok(Step::Say(join));
            }
        } else {
            let Some(answer) = packet.strip_prefix(&self.joined) else { return Ok(Step::Nothing) };
            let answer: Value = serde_json::from_str(answer).unwrap_or_default();
            if answer[0]["ok"] == false {
                let why = quote(&answer[0].to_string());
                return Err(Reason::from(format!("socketio: `join` was refused: {why}")));
            }
        }
        *stage = Stage::In;
        Ok(Step::Begin)
    }
}

fn has_sid(object: Option<&Value>) -> bool {
    object.is_some_and(|object| object["sid"].is_string())
}

/// A server's words, so short that they can stand in a reason.
fn quote(text: &str) -> String {
    let plain = |letter: char| if letter.is_control() { '?' } else { letter };
    let short: String = text.chars().map(plain).take(QUOTE_MAX).collect();
    if short.is_empty() { "it says nothing".to_owned() } else { format!("`{short}`") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;
    use proptest::prelude::*;
    use stentor::base::marker::Marker;

    const OPEN: &[u8] =
        br#"0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

    fn speech(flags: &str) -> Speech {
        let words = ["loadgen", "--protocol", "socketio"].into_iter().chain(flags.split_whitespace());
        let cli = Cli::try_parse_from(words).expect("known flags");
        Speech::new(&Plan::new(&cli.run).expect("valid")).expect("asked for")
    }

    fn wrapped(speech: &Speech, payload: &str) -> String {
        let mut packet = b"of the last message".to_vec();
        speech.wrap(payload.as_bytes(), &mut packet);
        assert_eq!(packet.len(), payload.len() + speech.envelope_bytes());
        String::from_utf8(packet).expect("text")
    }

    /// All steps to these texts, from the beginning.
    fn steps<'s>(speech: &'s Speech, texts: &[&[u8]]) -> (Stage, Vec<Result<Step<'s>, Reason>>) {
        let mut stage = Stage::default();
        let steps = texts.iter().map(|text| speech.heed(&mut stage, Kind::Text, text)).collect();
        (stage, steps)
    }

    #[test]
    fn into_the_main_namespace_and_hears_events_alone() {
        let speech = speech("");
        let texts: [&[u8]; 8] =
            [OPEN, b"2", br#"40{"sid":"y"}"#, b"2", br#"42["message","x"]"#, b"6", b"43[1]", b"451-[]"];
        let (stage, steps) = steps(&speech, &texts);
        let expected = [
            Step::Say("40"),
            Step::Say("3"),
            Step::Begin,
            Step::Say("3"),
            Step::Hear,
            Step::Nothing,
            Step::Nothing,
            Step::Hear,
        ];
        assert_eq!((stage, steps), (Stage::In, expected.map(Ok).to_vec()));
        assert_eq!(wrapped(&speech, "abc"), r#"42["message","abc"]"#);
    }

    #[test]
    fn into_a_room_of_a_namespace() {
        let speech = speech("--namespace /broadcast --room a\"b --event said");
        let texts: [&[u8]; 5] = [
            OPEN,
            br#"40/broadcast,{"sid":"y"}"#,
            br#"42/broadcast,["message","before its time"]"#,
            br#"43/broadcast,0[{"ok":true}]"#,
            br#"42/broadcast,["message","in time"]"#,
        ];
        let (stage, steps) = steps(&speech, &texts);
        let join = r#"42/broadcast,0["join","a\"b"]"#;
        let expected = [Step::Say("40/broadcast,"), Step::Say(join), Step::Nothing, Step::Begin, Step::Hear];
        assert_eq!((stage, steps), (Stage::In, expected.map(Ok).to_vec()));
        assert_eq!(wrapped(&speech, "abc"), r#"42/broadcast,["said","abc"]"#);
    }

    #[test]
    fn json_is_an_argument_and_no_text() {
        let speech = speech("--fill json");
        assert_eq!(wrapped(&speech, r#"{"m":"x"}"#), r#"42["message",{"m":"x"}]"#);
    }

    #[test]
    fn an_echo_wants_an_answer_and_hears_it_if_it_is_marked() {
        let speech = speech("-s echo ws://h/socket.io/");
        assert_eq!(wrapped(&speech, "abc"), r#"421["message","abc"]"#);
        let mut text = [0; stentor::base::marker::MARKER_TEXT_BYTES];
        Marker::default().encode_text(&mut text);
        let answer = [b"431[\"", text.as_slice(), b"\"]"].concat();
        let mut stage = Stage::In;
        assert_eq!(speech.heed(&mut stage, Kind::Text, &answer), Ok(Step::Hear));
        assert_eq!(speech.heed(&mut stage, Kind::Text, b"431[\"ok\"]"), Ok(Step::Nothing));
    }

    #[test]
    fn bare_engine_io_is_open_at_once() {
        let speech = speech("-s echo ws://h/");
        let (stage, steps) = steps(&speech, &[OPEN, b"4anything", b"2"]);
        assert_eq!((stage, steps), (Stage::In, [Step::Begin, Step::Hear, Step::Say("3")].map(Ok).to_vec()));
        assert_eq!(wrapped(&speech, "abc"), "4abc");
    }

    #[test]
    fn who_speaks_something_else_is_told_so() {
        let namespaced = speech("--namespace /x --room r");
        let cases: [(&[&[u8]], &str); 9] = [
            (&[b"hel\nlo"], "no Engine.IO 4 open packet: `hel?lo`"),
            (&[b""], "no Engine.IO 4 open packet: it says nothing"),
            (&[b"0{}"], "no Engine.IO 4 open packet"),
            (&[OPEN, b"40/x,"], "without a sid"),
            (&[OPEN, br#"44/x,{"message":"Invalid namespace"}"#], "Invalid namespace"),
            (&[OPEN, b"41/x,"], "disconnected us"),
            (&[OPEN, b"1"], "closed the session"),
            (&[OPEN, br#"40/x,{"sid":"y"}"#, br#"43/x,0[{"ok":false,"error":"full"}]"#], "full"),
            (&[OPEN, br#"40/x,{"sid":"y"}"#, b"43/x,0[]", b"nonsense"], "no packet"),
        ];
        for (texts, words) in cases {
            let (_, steps) = steps(&namespaced, texts);
            let (last, before) = steps.split_last().expect("there are some");
            assert!(before.iter().all(Result::is_ok), "{words}: {before:?}");
            assert!(last.as_ref().is_err_and(|why| why.contains(words)), "{words}: {last:?}");
        }
        let mut stage = Stage::Opening;
        assert!(namespaced.heed(&mut stage, Kind::Binary, OPEN).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_step_or_a_short_reason(
            messages in proptest::collection::vec((any::<bool>(), ".{0,200}"), 0..8),
        ) {
            let speech = speech("--namespace /x --room r");
            let mut stage = Stage::default();
            for (is_text, message) in messages {
                let kind = if is_text { Kind::Text } else { Kind::Binary };
                if let Err(why) = speech.heed(&mut stage, kind, message.as_bytes()) {
                    prop_assert!(why.len() < 600);
                }
            }
        }
    }
}
