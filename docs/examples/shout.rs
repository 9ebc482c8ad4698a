//! A server of one's own in twenty lines: whatever a peer says is shouted across the square.
//!
//! ```text
//! cargo run --example shout
//! websocat ws://127.0.0.1:9001/shout
//! ```

use stentor::server::{Failure, Server};
use stentor::service::{Admission, Ctx, Kind, Request, Service};

struct Shout;

impl Service for Shout {
    fn admit(&self, request: &Request<'_>) -> Admission<'_> {
        if request.path == ["shout"] { Admission::accept(0) } else { Admission::NotFound }
    }

    fn opened(&mut self, ctx: &mut Ctx<'_>, _: &Request<'_>) {
        ctx.join("square");
    }

    fn message(&mut self, ctx: &mut Ctx<'_>, _: Kind, payload: &[u8]) {
        let loud = String::from_utf8_lossy(payload).to_uppercase();
        if let Some(square) = ctx.topic() {
            ctx.publish(square, Kind::Text, loud.as_bytes());
        }
    }
}

fn main() -> Result<(), Failure> {
    Server::builder().service(Shout).run()
}
