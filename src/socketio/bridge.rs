//! Broadcast channels for Socket.IO clients: a message as an event, and an event as a message.
//!
//! Room `X` of the namespace `/broadcast` and the channel `/broadcast/X` are one. What a plain peer says is heard as the event
//! `message`, with its text or its bytes; the event `message` of a Socket.IO client, with one text or some bytes and nothing
//! else, is heard as that text or those bytes, and any other as JSON.
//!
//! Invariant: text and bytes come through either way unchanged.

use super::engine::Frame;
use super::packet::{Args, Body, Event, Packet};

/// The namespace whose rooms are channels.
pub const NAMESPACE: &str = "/broadcast";
/// The event that stands for a message.
pub const EVENT: &str = "message";

/// What a Socket.IO client is sent of a message: text if it is text, else bytes.
#[must_use]
pub fn frames(text: Result<&str, &[u8]>) -> Vec<Frame> {
    let mut args = Args::new();
    match text {
        Ok(text) => args.push(text),
        Err(bytes) => {
            if let Some(placeholder) = args.attach(bytes) {
                args.push(placeholder);
            }
        }
    }
    let event = Event::new(EVENT, args);
    event.map(|event| Packet::new(NAMESPACE, Body::Event(event)).frames()).unwrap_or_default()
}

/// What a plain peer is sent of an event: text, or bytes.
///
/// # Errors
/// There is no error: the bytes are the other kind of message.
pub fn message(event: &Event) -> Result<String, Vec<u8>> {
    let args = event.args();
    if event.name() == EVENT
        && let [value] = args.values()
    {
        if let Some(text) = value.as_str() {
            return Ok(text.to_owned());
        }
        if let Some(bytes) = args.binary(value) {
            return Err(bytes.to_vec());
        }
    }
    let all: Vec<_> = std::iter::once(event.name().into()).chain(args.values().iter().cloned()).collect();
    Ok(serde_json::Value::Array(all).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(name: &str, args: Args) -> Event {
        Event::new(name, args).unwrap()
    }

    #[test]
    fn a_message_is_an_event() {
        let text = r#"42/broadcast,["message","say \"hi\""]"#;
        assert_eq!(frames(Ok("say \"hi\"")), [Frame::Text(text.into())]);
        let text = r#"451-/broadcast,["message",{"_placeholder":true,"num":0}]"#;
        assert_eq!(frames(Err(&[1, 2])), [Frame::Text(text.into()), Frame::Binary([1, 2].into())]);
    }

    #[test]
    fn an_event_is_a_message() {
        assert_eq!(message(&event("message", Args::new().with("hi"))), Ok("hi".to_owned()));
        let mut args = Args::new();
        let bytes = args.attach([7; 3]).unwrap();
        args.push(bytes);
        assert_eq!(message(&event("message", args)), Err(vec![7; 3]));
        let args = Args::new().with(json!({"x": 1})).with(2);
        assert_eq!(message(&event("move", args)), Ok(r#"["move",{"x":1},2]"#.to_owned()));
    }
}
