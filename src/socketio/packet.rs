//! Socket.IO 5 packets: what they hold, and how they are written.
//!
//! A packet is a type, a namespace, perhaps an id, and JSON. Bytes do not go into JSON: they travel behind the packet as
//! binary messages, and where they belong stands a placeholder, `{"_placeholder":true,"num":0}`. Here the placeholder
//! stays where it is and [`Args::binary`] finds the bytes, so that an event that is passed on is not taken apart.
//!
//! Invariants: the name of an event is a string and none of [`RESERVED`]; a packet has at most [`ATTACHMENTS_MAX`]
//! attachments; keys such as `__proto__` are text like any other. Source: "Socket.IO protocol", revision 5, §Packet
//! encoding. Reading them is in [`binary`](super::binary).

use super::engine::{Frame, PacketType};
use serde_json::{Map, Value};
use std::fmt::{self, Write as _};
use std::rc::Rc;

/// Attachments of one packet at most, as in npm's `socket.io-parser`.
pub const ATTACHMENTS_MAX: usize = 10;

/// Names that events must not have: Node's emitters and Socket.IO itself give them a meaning.
pub const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// The namespace that has no name on the wire.
pub const MAIN: &str = "/";

/// A packet, whole: all its attachments are there.
#[derive(Clone, PartialEq, Debug)]
pub struct Packet {
    /// Of which namespace; begins with `/`.
    pub namespace: Rc<str>,
    /// Of an event: an answer is wanted, under this id. Of an acknowledgement: of which event. At most 2⁵³ − 1.
    pub id: Option<u64>,
    /// What it says.
    pub body: Body,
}

/// What a packet says.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// The client wants into a namespace, with what shows that it may; the server's yes, with the `sid`.
    Connect(Option<Map<String, Value>>),
    /// Out of the namespace.
    Disconnect,
    /// Something happened.
    Event(Event),
    /// The answer to an event.
    Ack(Args),
    /// The server's no: an object with a `message`, or text.
    ConnectError(Value),
}

/// An event: a name and what comes with it.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    name: String,
    args: Args,
}

impl Event {
    /// An event of this name.
    ///
    /// # Errors
    /// [`Wrong::ReservedName`] for a name that no event must have.
    pub fn new(name: impl Into<String>, args: Args) -> Result<Self, Wrong> {
        let name = name.into();
        if RESERVED.contains(&&*name) { Err(Wrong::ReservedName) } else { Ok(Self { name, args }) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn attach(&mut self, bytes: &[u8]) {
        self.args.attachments.push(bytes.into());
    }

    /// What came with it.
    #[must_use]
    pub const fn args(&self) -> &Args {
        &self.args
    }
}

/// Arguments of an event or of an acknowledgement: JSON values, and bytes that placeholders among them stand for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Args {
    pub(super) values: Vec<Value>,
    pub(super) attachments: Vec<Rc<[u8]>>,
}

impl Args {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These and one more.
    #[must_use]
    pub fn with(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds one.
    pub fn push(&mut self, value: impl Into<Value>) {
        self.values.push(value.into());
    }

    /// Attaches bytes, and gives the value to stand for them: as an argument, or anywhere inside of one. `None` when there
    /// are [`ATTACHMENTS_MAX`] already.
    pub fn attach(&mut self, bytes: impl Into<Rc<[u8]>>) -> Option<Value> {
        if self.attachments.len() == ATTACHMENTS_MAX {
            return None;
        }
        let mut placeholder = Map::new();
        placeholder.insert("_placeholder".into(), true.into());
        placeholder.insert("num".into(), self.attachments.len().into());
        self.attachments.push(bytes.into());
        Some(Value::Object(placeholder))
    }

    /// The values, in order; where bytes belong, a placeholder.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Those from this one on, with all bytes.
    #[must_use]
    pub fn tail(&self, first: usize) -> Self {
        Self {
            values: self.values.get(first..).unwrap_or_default().to_vec(),
            attachments: self.attachments.clone(),
        }
    }

    /// The bytes that travel with them.
    #[must_use]
    pub fn attachments(&self) -> &[Rc<[u8]>] {
        &self.attachments
    }

    /// The bytes that a value stands for, if it is a placeholder; `value` may be one of the values or any part of one.
    #[must_use]
    pub fn binary(&self, value: &Value) -> Option<&Rc<[u8]>> {
        let num = placeholder(value)??;
        self.attachments.get(num)
    }
}

/// One argument.
impl<T: Into<Value>> From<T> for Args {
    fn from(value: T) -> Self {
        Self::new().with(value)
    }
}

/// `None`: no placeholder. `Some(None)`: one without a number that could be one.
pub(super) fn placeholder(value: &Value) -> Option<Option<usize>> {
    let object = value.as_object()?;
    (object.get("_placeholder") == Some(&Value::Bool(true))).then(|| {
        let num = object.get("num").and_then(Value::as_u64);
        num.and_then(|num| usize::try_from(num).ok())
    })
}

impl Packet {
    /// A packet without an id.
    pub fn new(namespace: impl Into<Rc<str>>, body: Body) -> Self {
        Self { namespace: namespace.into(), id: None, body }
    }

    /// The same with an id.
    #[must_use]
    pub fn with_id(self, id: u64) -> Self {
        Self { id: Some(id), ..self }
    }

    /// The attachments that travel behind the text.
    #[must_use]
    pub fn attachments(&self) -> &[Rc<[u8]>] {
        match &self.body {
            Body::Event(event) => &event.args.attachments,
            Body::Ack(args) => &args.attachments,
            Body::Connect(_) | Body::Disconnect | Body::ConnectError(_) => &[],
        }
    }

    /// Appends the text of the packet; its attachments follow as binary messages.
    pub fn encode(&self, out: &mut String) {
        let count = self.attachments().len();
        out.push(match (&self.body, count) {
            (Body::Connect(_), _) => '0',
            (Body::Disconnect, _) => '1',
            (Body::Event(_), 0) => '2',
            (Body::Ack(_), 0) => '3',
            (Body::ConnectError(_), _) => '4',
            (Body::Event(_), _) => '5',
            (Body::Ack(_), _) => '6',
        });
        // Writing to a String cannot fail.
        if count > 0 {
            let _ = write!(out, "{count}-");
        }
        if &*self.namespace != MAIN {
            let _ = write!(out, "{},", self.namespace);
        }
        if let Some(id) = self.id {
            let _ = write!(out, "{id}");
        }
        match &self.body {
            Body::Connect(None) | Body::Disconnect => {}
            Body::Connect(Some(object)) => put_object(object, out),
            Body::Event(event) => put_array(Some(&event.name), &event.args.values, out),
            Body::Ack(args) => put_array(None, &args.values, out),
            Body::ConnectError(value) => {
                let _ = write!(out, "{value}");
            }
        }
    }

    /// The frames to send: the packet as an Engine.IO message, and its attachments behind it.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        let mut text = String::from(PacketType::Message.digit());
        self.encode(&mut text);
        let attachments = self.attachments().iter().map(|bytes| Frame::Binary(Rc::clone(bytes)));
        std::iter::once(Frame::Text(text.into())).chain(attachments).collect()
    }
}

fn put_array(first: Option<&str>, values: &[Value], out: &mut String) {
    out.push('[');
    if let Some(name) = first {
        let _ = write!(out, "{}", Value::from(name));
    }
    for (at, value) in values.iter().enumerate() {
        if at > 0 || first.is_some() {
            out.push(',');
        }
        let _ = write!(out, "{value}");
    }
    out.push(']');
}

fn put_object(object: &Map<String, Value>, out: &mut String) {
    out.push('{');
    for (at, (key, value)) in object.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let _ = write!(out, "{}:{value}", Value::from(&**key));
    }
    out.push('}');
}

/// What is wrong with a packet. The client is let go: "parse error".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// There is nothing.
    Empty,
    /// It does not begin with a type, 0 to 6.
    Type(char),
    /// A binary packet without `N-` behind its type, N at least 1.
    AttachmentCount,
    /// More than [`ATTACHMENTS_MAX`] attachments are announced.
    TooManyAttachments,
    /// A namespace that is too long or has control characters in it.
    Namespace,
    /// An id over 2⁵³ − 1, the last that JavaScript can count to.
    Id,
    /// What should be JSON is not.
    Json,
    /// JSON nested deeper than [`Limits::depth_max`](super::binary::Limits).
    TooDeep,
    /// More JSON values than [`Limits::values_max`](super::binary::Limits).
    TooManyValues,
    /// CONNECT with something that is no object.
    ConnectPayload,
    /// DISCONNECT with something.
    DisconnectPayload,
    /// CONNECT_ERROR with something that is neither an object nor text, or with nothing.
    ErrorPayload,
    /// An event without an array.
    EventPayload,
    /// An acknowledgement with something that is no array.
    AckPayload,
    /// An event whose name is no string, or that has none.
    EventName,
    /// An event with one of the [`RESERVED`] names.
    ReservedName,
    /// A placeholder for an attachment that was not announced.
    Placeholder,
    /// Text where an attachment was due.
    AttachmentMissing,
    /// Bytes where no attachment was due.
    AttachmentStray,
    /// The attachments of a packet are together over [`Limits::attachment_bytes_max`](super::binary::Limits).
    AttachmentsTooBig,
}

impl Wrong {
    /// The metric label: stable, lower case, a bounded set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Type(_) => "type",
            Self::AttachmentCount => "attachment_count",
            Self::TooManyAttachments => "too_many_attachments",
            Self::Namespace => "namespace",
            Self::Id => "id",
            Self::Json => "json",
            Self::TooDeep => "too_deep",
            Self::TooManyValues => "too_many_values",
            Self::ConnectPayload => "connect_payload",
            Self::DisconnectPayload => "disconnect_payload",
            Self::ErrorPayload => "error_payload",
            Self::EventPayload => "event_payload",
            Self::AckPayload => "ack_payload",
            Self::EventName => "event_name",
            Self::ReservedName => "reserved_name",
            Self::Placeholder => "placeholder",
            Self::AttachmentMissing => "attachment_missing",
            Self::AttachmentStray => "attachment_stray",
            Self::AttachmentsTooBig => "attachments_too_big",
        }
    }
}

/// One line that says what was wrong and what would be right.
impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a packet begins with its type, 0 to 6; this one is empty"),
            Self::Type(found) => write!(f, "a packet begins with its type, 0 to 6, not with {found:?}"),
            Self::AttachmentCount => {
                f.write_str("a binary packet says how many attachments follow, at least one: 51-[…]")
            }
            Self::TooManyAttachments => write!(f, "a packet has at most {ATTACHMENTS_MAX} attachments"),
            Self::Namespace => f.write_str("the namespace is too long or has control characters in it"),
            Self::Id => f.write_str("the id must be at most 9007199254740991"),
            Self::Json => f.write_str("the payload must be JSON"),
            Self::TooDeep => f.write_str("the payload is nested too deep"),
            Self::TooManyValues => f.write_str("the payload holds too many values"),
            Self::ConnectPayload => f.write_str("the payload of CONNECT must be an object, or none"),
            Self::DisconnectPayload => f.write_str("DISCONNECT has no payload"),
            Self::ErrorPayload => f.write_str("the payload of CONNECT_ERROR must be an object or text"),
            Self::EventPayload => f.write_str("the payload of an event must be an array"),
            Self::AckPayload => f.write_str("the payload of an acknowledgement must be an array"),
            Self::EventName => f.write_str("the first element of an event is its name, a string"),
            Self::ReservedName => write!(f, "an event must not be named {}", RESERVED.join(", ")),
            Self::Placeholder => {
                f.write_str("a placeholder's num must be less than the number of attachments")
            }
            Self::AttachmentMissing => f.write_str("text came where an attachment was due"),
            Self::AttachmentStray => f.write_str("bytes came, but no packet announced an attachment"),
            Self::AttachmentsTooBig => f.write_str("the attachments are too big together"),
        }
    }
}

impl std::error::Error for Wrong {}
