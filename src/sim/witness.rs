//! The witness: a service that tells the book everything it hears, and otherwise is the one it watches over.
//!
//! The book hears first, so that it has worked out who is owed what before the hub is told to publish.
//!
//! Invariant: the server cannot tell the witness from the service.

use std::cell::RefCell;
use std::rc::Rc;

use super::book::Book;
use crate::base::tick::Nanos;
use crate::service::{Admission, Ctx, Departure, Kind, Request, Service};

/// A service that tells the book everything it hears.
#[derive(Debug)]
pub struct Witness<S> {
    inner: S,
    book: Rc<RefCell<Book>>,
}

impl<S> Witness<S> {
    /// Watches over `inner`.
    pub fn new(inner: S, book: Rc<RefCell<Book>>) -> Self {
        Self { inner, book }
    }
}

impl<S: Service> Service for Witness<S> {
    fn admit(&self, request: &Request<'_>) -> Admission<'_> {
        self.inner.admit(request)
    }

    fn opened(&mut self, ctx: &mut Ctx<'_>, request: &Request<'_>) {
        self.book.borrow_mut().opened(ctx.id(), request);
        self.inner.opened(ctx, request);
    }

    fn message(&mut self, ctx: &mut Ctx<'_>, kind: Kind, payload: &[u8]) {
        self.book.borrow_mut().message(ctx.id(), kind, payload);
        self.inner.message(ctx, kind, payload);
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>, why: Departure) {
        self.book.borrow_mut().closed(ctx.id(), why);
        self.inner.closed(ctx, why);
    }

    fn next_due(&self) -> Option<Nanos> {
        self.inner.next_due()
    }

    fn due(&mut self, ctx: &mut Ctx<'_>) {
        self.inner.due(ctx);
    }

    fn channel_topic(&self, channel: &str) -> Option<String> {
        self.inner.channel_topic(channel)
    }

    fn topic_channel<'t>(&self, topic: &'t str) -> Option<&'t str> {
        self.inner.topic_channel(topic)
    }
}
