//! A service with a clock of its own: tells everybody the time since the start, once a second.
//!
//! Shows [`Service::next_due`] and [`Service::due`]: a service has no timer and no thread; it says when it wants to be
//! called, and the loop calls it. Nobody is called while nobody listens.
//!
//! ```text
//! cargo run --example clock
//! websocat ws://127.0.0.1:9001/clock
//! ```

use stentor::base::tick::{Nanos, SECOND};
use stentor::server::{Failure, Server};
use stentor::service::{Admission, Ctx, Departure, Kind, Request, Service, TopicId};

#[derive(Default)]
struct Clock {
    face: Option<TopicId>,
    next: Nanos,
    seconds: u64,
}

impl Service for Clock {
    fn admit(&self, request: &Request<'_>) -> Admission<'_> {
        if request.path == ["clock"] { Admission::accept(0) } else { Admission::NotFound }
    }

    fn opened(&mut self, ctx: &mut Ctx<'_>, _: &Request<'_>) {
        let face = ctx.join("clock");
        if self.face.replace(face).is_none() {
            self.next = ctx.now() + SECOND;
        }
    }

    fn message(&mut self, ctx: &mut Ctx<'_>, _: Kind, _: &[u8]) {
        ctx.reply(Kind::Text, format!("{} s so far", self.seconds).as_bytes());
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>, _: Departure) {
        if let Some(face) = self.face {
            ctx.leave(face);
            self.face = (ctx.subscribers(face) > 0).then_some(face);
        }
    }

    fn next_due(&self) -> Option<Nanos> {
        self.face.map(|_| self.next)
    }

    fn due(&mut self, ctx: &mut Ctx<'_>) {
        self.next += SECOND;
        self.seconds += 1;
        if let Some(face) = self.face {
            ctx.publish(face, Kind::Text, format!("tick {}", self.seconds).as_bytes());
        }
    }
}

fn main() -> Result<(), Failure> {
    Server::builder().service(Clock::default()).run()
}
