//! What is served at `/socket.io/` by the program itself: a relay, the tutorials' programs, and the broadcast channels.
//!
//! | namespace | what happens there |
//! |---|---|
//! | `/` | an event of a client goes to all others; `join ROOM`, `leave ROOM` and `to ROOM EVENT ARGS…` are acknowledged |
//! | `/chat` | `chat message` goes to everybody, with who said it; who comes and who goes is told to the others |
//! | `/tutorial` | `server message` on connection, to all and to the others; `client message`; `random` and `warn` |
//! | `/broadcast` | rooms are the channels of `/broadcast/NAME`: an event goes to all others in the client's rooms |
//!
//! Invariant: an acknowledgement that a client asks for is given, unless the event itself is relayed to others, who could not
//! all answer it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Ack, Args, Event, Io, Socket};
use crate::socketio::bridge;

/// Over this, a random value is warned of.
const WARN_OVER: f64 = 0.95;
/// How long after.
const WARN_AFTER: Duration = Duration::from_secs(1);

impl Io {
    /// With the namespaces of the program.
    #[must_use]
    pub fn with_words(mut self) -> Self {
        self.of("/").on_connection(relay);
        self.of("/chat").on_connection(chat);
        self.of("/tutorial").on_connection(tutorial);
        self.of(bridge::NAMESPACE).on_connection(relay).is_bridge = true;
        self
    }
}

/// Everything that a client says goes to the others, in rooms if it asks for that.
fn relay(socket: &mut Socket<'_, '_>) {
    socket.on("join", |socket, args, ack| {
        let is_in = first_text(args).is_some_and(|room| socket.join(room));
        answer(socket, ack, is_in, "join wants the name of a room, of 1 to 128 bytes; 256 rooms at most");
    });
    socket.on("leave", |socket, args, ack| {
        let room = first_text(args).map(str::to_owned);
        if let Some(room) = &room {
            socket.leave(room);
        }
        answer(socket, ack, room.is_some(), "leave wants the name of a room");
    });
    socket.on("to", |socket, args, ack| {
        let sent = match args.values() {
            [Value::String(room), Value::String(name), ..] if !room.is_empty() => {
                socket.to(room).emit(name, args.tail(2));
                Event::new(name.as_str(), Args::new()).is_ok()
            }
            _ => false,
        };
        answer(socket, ack, sent, "to wants the name of a room, that of an event, and what goes with it");
    });
    socket.on_any(|socket, event, _| {
        if !socket.is_bridged() {
            return socket.broadcast().emit(event.name(), event.args().clone());
        }
        let rooms: Vec<String> = socket.rooms().map(str::to_owned).collect();
        for room in rooms {
            socket.to(&room).emit(event.name(), event.args().clone());
        }
    });
}

/// The chat of the tutorials.
fn chat(socket: &mut Socket<'_, '_>) {
    let name = socket.id().as_str()[..6].to_owned();
    let present = socket.io().present();
    socket.emit("welcome", json!({ "name": name, "present": present }));
    socket.broadcast().emit("user joined", json!({ "name": name, "present": present }));
    let speaker = name.clone();
    socket.on("chat message", move |socket, args, ack| {
        let said = args.values().first().cloned().unwrap_or_default();
        socket.io().emit("chat message", Args::new().with(said).with(speaker.as_str()));
        answer(socket, ack, true, "");
    });
    socket.on("typing", {
        let name = name.clone();
        move |socket, _, _| socket.broadcast().emit("typing", name.as_str())
    });
    socket.on_disconnect(move |socket, _| {
        let present = socket.io().present();
        socket.broadcast().emit("user left", json!({ "name": name, "present": present }));
    });
}

/// The first program of the tutorials, and their example of a warning.
fn tutorial(socket: &mut Socket<'_, '_>) {
    socket.io().emit("server message", json!({ "msg": "hello, everybody" }));
    socket.broadcast().emit("server message", json!({ "msg": "broadcast" }));
    socket.on("client message", |socket, args, ack| {
        let said = args.values().first().cloned().unwrap_or_default();
        socket.io().emit("server message", json!({ "msg": said }));
        answer(socket, ack, true, "");
    });
    socket.on("random", |socket, args, _| {
        let value = args.values().first().and_then(Value::as_f64);
        if value.is_some_and(|value| value > WARN_OVER) {
            let count = socket.state::<u32>();
            *count += 1;
            let count = *count;
            socket.after(WARN_AFTER, move |socket| socket.emit("warn", count));
        }
    });
}

fn first_text(args: &Args) -> Option<&str> {
    args.values().first().and_then(Value::as_str)
}

/// Answers with `{"ok":true}`, or with what would have been right.
fn answer(socket: &mut Socket<'_, '_>, ack: Option<Ack>, is_ok: bool, wanted: &str) {
    if let Some(ack) = ack {
        ack.send(socket, if is_ok { json!({ "ok": true }) } else { json!({ "ok": false, "error": wanted }) });
    }
}
