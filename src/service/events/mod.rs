//! Socket.IO as a service: namespaces, rooms, events and acknowledgements, in the words that its users know.
//!
//! The protocols are in [`crate::socketio`], pure. Here their sessions meet peers: [`core`] keeps them and does what
//! they ask for, [`rooms`] puts their sockets into topics of the hub, [`socket`] is what a handler sees, and [`everybody`] who else can be
//! told.
//!
//! ```
//! use std::time::Duration;
//! use serde_json::json;
//! use stentor::service::events::{Args, Io};
//!
//! let mut io = Io::new();
//! io.on_connection(|socket| {
//!     let mut io = socket.io();
//!     io.emit("server message", json!({"msg": "hello, everybody"}));
//!     socket.broadcast().emit("server message", json!({"msg": "broadcast"}));
//!
//!     socket.on("client message", |socket, args, ack| {
//!         let said = args.values().first().cloned().unwrap_or_default();
//!         socket.io().emit("server message", json!({"msg": said}));
//!         if let Some(ack) = ack {
//!             ack.send(socket, "heard");
//!         }
//!     });
//!
//!     // A value over 0.95 is warned of, with a count, a second later.
//!     socket.on("random", |socket, args, _| {
//!         let value = args.values().first().and_then(|value| value.as_f64()).unwrap_or(0.0);
//!         if value > 0.95 {
//!             let count = socket.state::<u32>();
//!             *count += 1;
//!             let count = *count;
//!             socket.after(Duration::from_secs(1), move |socket| socket.emit("warn", count));
//!         }
//!     });
//!
//!     socket.on("join", |socket, args, _| {
//!         if let Some(room) = args.values().first().and_then(|room| room.as_str()) {
//!             socket.join(room);
//!             let who = Args::new().with(socket.id().as_str());
//!             let mut io = socket.io();
//!             io.to(room).except("quiet").emit("joined", who);
//!         }
//!     });
//!     socket.emit_with_ack("are you there?", Args::new(), Duration::from_secs(5), |socket, answer| {
//!         if answer.is_err() {
//!             socket.disconnect();
//!         }
//!     });
//! });
//! // Without a socket in hand: what is told everybody by the server's own clock.
//! io.every(Duration::from_secs(60), |io| {
//!     let present = io.present();
//!     io.emit("present", present);
//!     io.of("/chat").to("hall").emit("server message", json!({"msg": "another minute"}));
//! });
//! // Server::builder().service(io).run()
//! ```
//!
//! One socket hears what is sent to it, to its namespace and to one of its rooms in the order of the calls. What it does not do: events
//! to different rooms, or to a room and to all, keep no order between them; and who leaves a room, or is put out, in the turn in which
//! something was sent there may miss that.

pub mod clock;
pub mod core;
pub mod everybody;
pub mod life;
pub mod rooms;
mod selected;
pub mod served;
pub mod socket;
pub mod words;

use std::rc::Rc;
use std::time::Duration;

pub use self::core::Io;
pub use self::everybody::{Broadcast, Everybody};
pub use self::socket::{Ack, Socket, TimedOut};
pub use crate::socketio::engine::Config as EngineConfig;
pub use crate::socketio::{Args, Event, Sid};

/// What is called when a client has entered a namespace.
pub type OnConnection = Rc<dyn Fn(&mut Socket<'_, '_>)>;
/// What is called for an event, with its arguments and what answers it, if an answer is wanted.
pub type OnEvent = Rc<dyn Fn(&mut Socket<'_, '_>, &Args, Option<Ack>)>;
/// What is called for an event that nothing else is called for, with its name.
pub type OnAny = Rc<dyn Fn(&mut Socket<'_, '_>, &Event, Option<Ack>)>;
/// What the server's own clock calls.
pub type OnTime = Box<dyn FnMut(&mut Everybody<'_, '_>)>;
/// What is called when a socket leaves its namespace, with the reason in Socket.IO's words.
pub type OnDisconnect = Rc<dyn Fn(&mut Socket<'_, '_>, &str)>;

/// A namespace: what is served there.
pub struct Namespace {
    name: Rc<str>,
    on_connection: Vec<OnConnection>,
    /// Its rooms are the broadcast channels of the same names.
    is_bridge: bool,
}

impl Namespace {
    /// Has `handler` called for every socket that comes into the namespace.
    pub fn on_connection(&mut self, handler: impl Fn(&mut Socket<'_, '_>) + 'static) -> &mut Self {
        self.on_connection.push(Rc::new(handler));
        self
    }
}

/// Nanoseconds, as far as they can be counted.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
