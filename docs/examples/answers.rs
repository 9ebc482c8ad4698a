//! A Socket.IO server of one's own: it tells clients what they brought, and says back what they say.
//!
//!     cargo run --release --example answers
//!
//! It is what the protocol suites of the Socket.IO project (`docs/…-protocol/…-test-suite` of its repository) want to talk to:
//! port 3000, pings of 300 ms, the namespaces `/` and `/custom`.

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
}

fn main() -> Result<(), stentor::server::Failure> {
    let times =
        EngineConfig { ping_interval: 300 * MILLI, ping_timeout: 200 * MILLI, ..EngineConfig::default() };
    let mut io = Io::new().with_config(times).with_connect_timeout(Duration::from_secs(1));
    io.on_connection(answer);
    io.of("/custom").on_connection(answer);
    Server::builder().listen("127.0.0.1:3000".parse().expect("an address")).service(io).run()
}
