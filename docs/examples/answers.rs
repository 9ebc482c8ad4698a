//! A Socket.IO server of one's own: it tells clients what they brought, and says back what they say.
//!
//!     cargo run --release --example answers
//!
//! It is what the protocol suites of the Socket.IO project (`docs/…-protocol/…-test-suite` of its repository) want to talk to:
//! port 3000 (or the address that is its argument), pings of 300 ms, the namespaces `/` and `/custom`. It also asks: whoever
//! says `ask` is sent a `question` with the same arguments, and told `answered` with what came back, or `unanswered`.

use std::time::Duration;

use serde_json::Value;
use stentor::base::tick::MILLI;
use stentor::server::Server;
use stentor::service::events::{EngineConfig, Io, Socket};

fn answer(socket: &mut Socket<'_, '_>) {
    let auth = Value::Object(socket.auth().clone());
    socket.emit("auth", auth);
    socket.on("message", |socket, args, _| socket.emit("message-back", args.clone()));
    socket.on("message-with-ack", |socket, args, ack| {
        if let Some(ack) = ack {
            ack.send(socket, args.clone());
        }
    });
    socket.on("ask", |socket, args, _| {
        socket.emit_with_ack(
            "question",
            args.clone(),
            Duration::from_secs(1),
            |socket, answer| match answer {
                Ok(args) => socket.emit("answered", args.clone()),
                Err(timed_out) => socket.emit("unanswered", timed_out.to_string()),
            },
        );
    });
}

fn main() -> Result<(), stentor::server::Failure> {
    let times =
        EngineConfig { ping_interval: 300 * MILLI, ping_timeout: 200 * MILLI, ..EngineConfig::default() };
    let mut io = Io::new().with_config(times).with_connect_timeout(Duration::from_secs(1));
    io.on_connection(answer);
    io.of("/custom").on_connection(answer);
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    Server::builder().listen(address.parse().expect("an address and a port")).service(io).run()
}
