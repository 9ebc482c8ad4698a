//! HTTP on the way to a WebSocket, or instead of one: requests in, answers out, in order.
//!
//! A head is scanned as it arrives and parsed once, when it is whole; an idle connection keeps nothing of it. Requests
//! that come in one piece are answered one after another; how many at once is bounded by what may wait in the outbox.
//!
//! Invariants: every request gets exactly one answer; after a refusal nothing more is read.

use std::borrow::Cow;

use super::connection::{Asking, Exchange, Form, Posting, Session, Stage};
use super::deflate::Agreement;
use super::heartbeat::ping_due;
use super::limits::{KEEP_ALIVE, OUTBOX_BYTES_MAX};
use super::publishing;
use super::routes::{Answer, route};
use super::worker::Worker;
use crate::base::id::ConnId;
use crate::base::tick::Tick;
use crate::http::refusal::reason;
use crate::http::{Barred, HeadScan, Method, Refusal, Request, Response, Status, Storage, query};
use crate::hub::framed;
use crate::net::Net;
use crate::service::{self, Admission, Ctx, Departure, Service};
use crate::ws::handshake::{Offer, encode_response};
use crate::ws::{self, Cursor, Decoder, Role};

/// What a request comes to.
pub(super) enum Reaction {
    /// It has been answered; another may follow.
    Answered,
    /// Its body is to come.
    Body(Posting),
    /// Its body is to come, for a service.
    Asks(Asking),
    /// A service answers it, in this turn or later.
    Waits,
    /// It is a WebSocket now.
    Upgraded,
    /// The connection ends after the answer.
    Ended,
}

impl<N: Net, S: Service> Worker<N, S> {
    /// Serves the requests in `bytes` from where `cursor` stands.
    pub(super) fn exchange(&mut self, id: ConnId, bytes: &mut [u8], cursor: &mut Cursor) {
        loop {
            let from = cursor.next();
            let is_congested = self.is_congested();
            let Some(connection) = self.roster.get(id) else { return };
            if connection.stage != Stage::Open || from == bytes.len() {
                return;
            }
            if self.hub.outbox.len() > OUTBOX_BYTES_MAX || (is_congested && connection.facts.publishes) {
                connection.facts.undecoded = true;
                return;
            }
            let Session::Http(exchange) = &mut connection.session else { return };
            let reaction = match exchange.take().map(|exchange| *exchange) {
                // Whatever came behind a request that waits for its answer waits, too.
                Some(waiting @ Exchange::Waiting(_)) => {
                    self.park(id, waiting);
                    return self.bound_pipeline(id, bytes.len() - from);
                }
                Some(Exchange::Asking(asking)) => self.take_asked(id, asking, &bytes[from..], cursor),
                Some(Exchange::Posting(posting)) => self.take_body(id, posting, &bytes[from..], cursor),
                Some(Exchange::Head(scan)) => self.take_head(id, scan, &bytes[from..], cursor),
                None => {
                    self.await_rest(id);
                    self.take_head(id, HeadScan::new(), &bytes[from..], cursor)
                }
            };
            match reaction {
                Some(Reaction::Answered) => self.rest(id),
                Some(Reaction::Body(posting)) => self.park(id, Exchange::Posting(posting)),
                Some(Reaction::Asks(asking)) => self.park(id, Exchange::Asking(asking)),
                Some(Reaction::Upgraded | Reaction::Waits | Reaction::Ended) | None => return,
            }
        }
    }

    /// Continues with a head; `None` if it is still not whole.
    fn take_head(
        &mut self,
        id: ConnId,
        mut scan: HeadScan,
        bytes: &[u8],
        cursor: &mut Cursor,
    ) -> Option<Reaction> {
        match scan.scan(bytes, &self.config.http) {
            Ok(None) => {
                self.park(id, Exchange::Head(scan));
                None
            }
            Ok(Some(len)) => {
                *cursor = Cursor::behind(cursor.next() + len);
                let mut storage = Storage::new();
                Some(match Request::parse(&bytes[..len], &mut storage) {
                    Ok(request) => self.react(id, &request),
                    Err(refusal) => self.refuse_head(id, refusal, &bytes[..len]),
                })
            }
            Err(refusal) => Some(self.refuse_head(id, refusal, bytes)),
        }
    }

    /// Continues with a body; `None` if it is still not whole.
    fn take_body(
        &mut self,
        id: ConnId,
        mut posting: Posting,
        bytes: &[u8],
        cursor: &mut Cursor,
    ) -> Option<Reaction> {
        match posting.reader.feed(bytes, &mut posting.body) {
            Ok((taken, is_whole)) => {
                *cursor = Cursor::behind(cursor.next() + taken);
                if is_whole {
                    return Some(self.publish_posted(id, &posting));
                }
                self.park(id, Exchange::Posting(posting));
                None
            }
            Err(refusal) => Some(self.refuse(id, refusal, Departure::Refused)),
        }
    }

    /// Answers a request whose head is whole.
    fn react(&mut self, id: ConnId, request: &Request<'_, '_>) -> Reaction {
        let Some(connection) = self.roster.get(id) else { return Reaction::Ended };
        let is_program = publishing::allowed(request.path).is_some();
        connection.facts.form = Form::of(request.method == Method::Head, is_program);
        if connection.facts.over {
            if self.gate.is_over(id) {
                return self.refuse(id, Refusal::Barred(Barred::AddressFull), Departure::Refused);
            }
            self.metrics.accepts_over += 1;
            return self.refuse(id, Refusal::Unavailable, Departure::Refused);
        }
        if request.wants_upgrade() {
            return self.upgrade(id, request);
        }
        if let Some(reaction) = self.hand_to_service(id, request) {
            return reaction;
        }
        let answer = route(request, &self.service, self.config.ws.message_max);
        if let Err(why) = self.may_have(request, &answer) {
            return self.refuse(id, Refusal::Barred(why), Departure::Refused);
        }
        if matches!(answer, Answer::Post(_)) && self.is_congested() {
            return self.refuse(id, Refusal::Congested, Departure::Refused);
        }
        // A body that nobody reads would be taken for the next request.
        let is_bodied = request.body != crate::http::BodyLength::None && !matches!(answer, Answer::Post(_));
        let keep_alive = request.keep_alive && self.farewell.is_none() && !is_bodied;
        match answer {
            Answer::Page(page) => self.answer(id, &page.response(), keep_alive),
            Answer::Text(of) => {
                let (content_type, body) = self.expose(of);
                let response = Response::new(Status::OK).header("Cache-Control", "no-store");
                self.answer(id, &response.body(content_type, body.as_bytes()), keep_alive)
            }
            Answer::Post(posting) => {
                let posting = Posting { keep_alive, ..posting };
                self.begin_posting(id, posting, request.expects_continue())
            }
            Answer::Channels(wanted) => self.list_channels(id, &wanted, keep_alive),
            Answer::Channel(name) => self.tell_channel(id, &name, keep_alive),
            Answer::WebSocketOnly => {
                let refusal = ws::handshake::Refusal::NotUpgrade;
                self.refuse_handshake(
                    id,
                    Status(refusal.status()),
                    refusal.headers(),
                    &refusal.to_string(),
                    refusal.label(),
                )
            }
            Answer::Malformed(text) => {
                self.refuse_handshake(id, Status::BAD_REQUEST, &[], &text, "parameters")
            }
            Answer::Refused(refusal) => self.refuse(id, refusal, Departure::Refused),
        }
    }

    /// Waits for what is to be published, unless it is all there.
    fn begin_posting(&mut self, id: ConnId, posting: Posting, expects_continue: bool) -> Reaction {
        if let Some(connection) = self.roster.get(id) {
            connection.facts.publishes = true;
        }
        if posting.reader.is_done() {
            return self.publish_posted(id, &posting);
        }
        if expects_continue {
            self.hub.outbox.raw(id, crate::http::response::CONTINUE);
        }
        Reaction::Body(posting)
    }

    /// Turns the connection into a WebSocket, or says why not.
    fn upgrade(&mut self, id: ConnId, request: &Request<'_, '_>) -> Reaction {
        if request.method != Method::Get {
            return self.refuse(id, Refusal::MethodNotAllowed { allow: "GET" }, Departure::Refused);
        }
        if self.farewell.is_some() {
            return self.refuse(id, Refusal::Unavailable, Departure::Shutdown);
        }
        if let Err(why) = self.may_enter(request) {
            return self.refuse(id, Refusal::Barred(why), Departure::Refused);
        }
        let Some(path) = segments(request.path) else {
            return self.refuse(id, Refusal::PathMalformed, Departure::Refused);
        };
        let params: Vec<_> = query::pairs(request.query).collect();
        let offer = Offer::read(request.headers());
        let mut protocols: Vec<&str> = offer.iter().flat_map(Offer::protocols).collect();
        protocols.retain(|name| !self.gate.is_secret(name));
        let wanted = service::Request { path: &path, params: &params, protocols: &protocols };
        let (tag, protocol, agreement) = match (self.service.admit(&wanted), &offer) {
            (Admission::NotFound, _) => return self.refuse(id, Refusal::PathUnknown, Departure::Refused),
            (_, Err(refusal)) => {
                let (status, text) = (Status(refusal.status()), refusal.to_string());
                return self.refuse_handshake(id, status, refusal.headers(), &text, refusal.label());
            }
            (Admission::Malformed(text), _) => {
                return self.refuse_handshake(id, Status::BAD_REQUEST, &[], &text, "parameters");
            }
            (Admission::Json(text), _) => return self.refuse_in_json(id, &text),
            (Admission::Accept { .. } | Admission::Uncompressed { .. }, Ok(_))
                if !self.gate.keeps_pace(self.now) =>
            {
                return self.refuse(id, Refusal::Barred(Barred::TooManyHandshakes), Departure::Refused);
            }
            (Admission::Uncompressed { tag }, Ok(offer)) => {
                let protocol = self.gate.protocol(None, &protocols);
                self.hub.outbox.raw_with(id, |out| encode_response(out, offer.key(), protocol, None));
                (tag, protocol.is_some(), None)
            }
            (Admission::Accept { tag, protocol }, Ok(offer)) => {
                let protocol = self.gate.protocol(protocol, &protocols);
                let agreement = match protocol {
                    // What has offsets is made once for all, and not compressed.
                    Some(framed::PROTOCOL) => None,
                    Some(_) | None => self.deflation.agree(offer.extensions(), &self.config.deflate),
                };
                let (dialect, agreed) = agreement.as_ref().map(|one| (one.dialect, one.agreed)).unzip();
                self.hub.outbox.upgrade(id, dialect.unwrap_or_default(), |out| {
                    encode_response(out, offer.key(), protocol, agreed);
                });
                (tag, protocol.is_some(), agreement)
            }
        };
        let Some(connection) = self.roster.get(id) else { return Reaction::Ended };
        // The path without its query, which may hold a token.
        let (path, socket) = (request.path, &connection.socket);
        tracing::debug!(connection = id.serial, peer = %self.net.peer(socket), path, protocol, "upgraded");
        self.begin_websocket(id, tag, agreement);
        self.service.opened(&mut Ctx::new(id, tag, self.now, &mut self.hub), &wanted);
        Reaction::Upgraded
    }

    /// From here on `id` speaks WebSocket, as it was agreed.
    fn begin_websocket(&mut self, id: ConnId, tag: u8, agreement: Option<Agreement>) {
        self.metrics.upgraded += 1;
        let place = self.places.of(id.index);
        let Some(connection) = self.roster.get(id) else { return };
        connection.session = Session::Ws(match agreement {
            None => Decoder::new(Role::Server),
            Some(Agreement { dialect, memory, .. }) => {
                connection.memory = memory;
                self.hub.topics.speak(id, dialect);
                Decoder::with_deflate(Role::Server)
            }
        });
        connection.tag = tag;
        connection.facts.opened = true;
        connection.facts.has_deadline = false;
        if self.config.ping_interval > 0 {
            let at = ping_due(connection.last_heard, self.config.ping_interval, place);
            self.arm(id, at);
        }
    }

    /// Sends an answer; the connection ends after it unless another request may follow.
    pub(super) fn answer(&mut self, id: ConnId, response: &Response<'_>, keep_alive: bool) -> Reaction {
        let head_only = self.form(id).is_head();
        self.hub.outbox.raw_with(id, |out| response.encode(out, head_only, keep_alive));
        self.metrics.requests += 1;
        if keep_alive {
            return Reaction::Answered;
        }
        self.hub.outbox.finish(id);
        Reaction::Ended
    }

    /// Refuses a head that is none. Whose answer must not have a body is told by how it begins: the request before it on
    /// this connection says nothing about that.
    fn refuse_head(&mut self, id: ConnId, refusal: Refusal, head: &[u8]) -> Reaction {
        if let Some(connection) = self.roster.get(id) {
            connection.facts.form = Form::of(begins_as_head(head), false);
        }
        self.refuse(id, refusal, Departure::Refused)
    }

    /// Refuses a request and ends the connection behind the answer.
    pub(super) fn refuse(&mut self, id: ConnId, refusal: Refusal, why: Departure) -> Reaction {
        self.metrics.refusals.count("request", refusal.label());
        let form = self.form(id);
        self.hub.outbox.raw_with(id, |out| refusal.encode(out, form.is_head(), form.is_json()));
        self.part(id, why)
    }

    /// In which form the request of `id` is answered.
    fn form(&mut self, id: ConnId) -> Form {
        self.roster.get(id).map_or(Form::Words, |connection| connection.facts.form)
    }

    pub(super) fn refuse_handshake(
        &mut self,
        id: ConnId,
        status: Status,
        headers: &'static [(&'static str, &'static str)],
        text: &str,
        label: &'static str,
    ) -> Reaction {
        self.metrics.refusals.count("handshake", label);
        let (content_type, text) = reason(text, self.form(id).is_json());
        let mut response = Response::new(status).body(content_type, text.as_bytes());
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let head_only = self.form(id).is_head();
        self.hub.outbox.raw_with(id, |out| response.encode(out, head_only, false));
        self.part(id, Departure::Refused)
    }

    pub(super) fn part(&mut self, id: ConnId, why: Departure) -> Reaction {
        if let Some(connection) = self.roster.get(id) {
            connection.parting = why;
        }
        self.hub.outbox.finish(id);
        Reaction::Ended
    }

    /// A request has begun: it has the handshake timeout from now, or from accept if it is the first.
    fn await_rest(&mut self, id: ConnId) {
        let deadline = Tick::of(self.now).after(self.config.handshake_timeout);
        let Some(connection) = self.roster.get(id) else { return };
        if connection.facts.requested {
            connection.deadline = deadline;
            self.arm(id, deadline);
        }
    }

    /// A request has been answered: the next may take its time.
    pub(super) fn rest(&mut self, id: ConnId) {
        let deadline = Tick::of(self.now).after(KEEP_ALIVE);
        if let Some(connection) = self.roster.get(id) {
            connection.facts.requested = true;
            // What comes next may be no request at all, and its refusal has a body.
            connection.facts.form = Form::Words;
            connection.deadline = deadline;
        }
    }

    pub(super) fn park(&mut self, id: ConnId, exchange: Exchange) {
        if let Some(connection) = self.roster.get(id) {
            connection.session = Session::Http(Some(Box::new(exchange)));
        }
    }
}

/// The decoded segments of a path, one slash at its end left out; `None` if an escape is malformed. `//` is not `/`: its
/// segment is there and empty, and nothing has an empty name.
pub(super) fn segments(path: &str) -> Option<Vec<Cow<'_, str>>> {
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.strip_suffix('/').unwrap_or(path).split('/').map(query::decode_segment).collect()
}

/// Whether a request that cannot be read begins as a HEAD: behind empty lines (RFC 9112 §2.2), and behind nothing else.
fn begins_as_head(mut head: &[u8]) -> bool {
    while let Some(rest) = head.strip_prefix(b"\r\n") {
        head = rest;
    }
    head.starts_with(b"HEAD ")
}

#[cfg(test)]
mod tests {
    use super::begins_as_head;

    /// What counts must be the same however the stream is cut: a tab or a bare line feed is refused as soon as it is there.
    #[test]
    fn only_empty_lines_may_stand_before_a_head() {
        assert!(begins_as_head(b"HEAD /") && begins_as_head(b"\r\n\r\nHEAD "));
        for other in [&b"\tHEAD /"[..], b"\nHEAD /", b" HEAD /", b"HEAD", b"GET /"] {
            assert!(!begins_as_head(other), "{other:?}");
        }
    }
}
