//! HTTP requests that a service answers, at once or when there is something to say (long polling).
//!
//! A service sees no connection: it is told what was asked ([`Service::asked`]), and names the connection when it answers. In
//! between nothing is kept but how the answer is to be framed; that the peer goes meanwhile is noticed as the end of its
//! stream, and told.
//!
//! Invariants: every request of a service is answered once, or the service hears that it is gone; what pipelines behind a
//! request that waits is bounded; a page of another origin reads an answer only if an operator has listed it.

use std::borrow::Cow;

use super::connection::{Asking, Exchange, Session, Stage, Terms};
use super::exchange::{Reaction, segments};
use super::limits::PIPELINE_BYTES_MAX;
use super::worker::Worker;
use crate::base::buffer::Buffer;
use crate::base::id::ConnId;
use crate::http::{Barred, BodyLength, BodyReader, Method, Refusal, Request, Response, Status, query};
use crate::net::Net;
use crate::service::{self, Asked, Await, Ctx, Departure, Service, Verb};
use crate::ws::Cursor;

/// For how long a browser may remember what a preflight was answered, in seconds.
const PREFLIGHT_MAX_AGE: &str = "600";

impl<N: Net, S: Service> Worker<N, S> {
    /// Has the service answer, if the path is its own, or gives the client of Socket.IO.
    pub(super) fn hand_to_service(&mut self, id: ConnId, request: &Request<'_, '_>) -> Option<Reaction> {
        if let Some(reaction) = self.give_client(id, request) {
            return Some(reaction);
        }
        let path = segments(request.path).filter(|path| self.service.answers(path))?;
        Some(self.ask(id, request, &path))
    }

    /// Asks the service, or answers for it: preflights, and those who may not ask.
    fn ask(&mut self, id: ConnId, request: &Request<'_, '_>, path: &[Cow<'_, str>]) -> Reaction {
        let is_preflight = request.method == Method::Options;
        let origins = &self.config.admission.origins;
        let barred = match is_preflight {
            // A preflight brings no token (Fetch §4.8).
            true => origins.judge(request.headers(), request.host),
            false => self.may_enter(request),
        };
        if let Err(why) = barred {
            return self.refuse(id, Refusal::Barred(why), Departure::Refused);
        }
        let origin = self.config.admission.origins.shared_with(request.headers(), request.host);
        let keep_alive = request.keep_alive && self.farewell.is_none();
        let terms = Terms { keep_alive, origin: origin.map(Cow::into_owned).map(String::into_boxed_str) };
        if is_preflight {
            let response = Response::new(Status::NO_CONTENT)
                .header("Access-Control-Allow-Methods", "GET, POST")
                .header("Access-Control-Allow-Headers", "Content-Type, Authorization")
                .header("Access-Control-Max-Age", PREFLIGHT_MAX_AGE);
            let is_bodied = request.body != BodyLength::None;
            return self.answer(id, &with_origin(response, &terms), keep_alive && !is_bodied);
        }
        if self.farewell.is_some() {
            return self.refuse(id, Refusal::Unavailable, Departure::Shutdown);
        }
        let is_opening = query::pairs(request.query).all(|(name, _)| name != "sid");
        if is_opening && !self.gate.keeps_pace(self.now) {
            return self.refuse(id, Refusal::Barred(Barred::TooManyHandshakes), Departure::Refused);
        }
        let params: Vec<_> = query::pairs(request.query).collect();
        let media = request.header("content-type").unwrap_or_default();
        let asked = Asked {
            verb: match request.method {
                Method::Get => Verb::Get,
                Method::Post => Verb::Post,
                Method::Head | Method::Options | Method::Other => Verb::Other,
            },
            request: service::Request { path, params: &params, protocols: &[] },
            announced: match request.body {
                BodyLength::Length(len) => Some(len),
                BodyLength::None | BodyLength::Chunked => None,
            },
            is_binary: media.eq_ignore_ascii_case(b"application/octet-stream"),
        };
        let wanted = self.service.asked(&mut Ctx::new(id, 0, self.now, &mut self.hub), &asked);
        self.await_body(id, request, wanted, terms)
    }

    /// Goes on as the service wants: with the body, or with waiting for the answer.
    fn await_body(
        &mut self,
        id: ConnId,
        request: &Request<'_, '_>,
        wanted: Await,
        mut terms: Terms,
    ) -> Reaction {
        let Await::Body(body_max) = wanted else {
            // A body that nobody reads would be taken for the next request.
            terms.keep_alive &= request.body == BodyLength::None;
            self.wait(id, terms);
            return Reaction::Waits;
        };
        match BodyReader::new(request.body, body_max) {
            Ok(reader) => {
                let asking = Asking { reader, body: Buffer::default(), terms };
                if asking.reader.is_done() {
                    self.hand_body(id, asking);
                    return Reaction::Waits;
                }
                if request.expects_continue() {
                    self.hub.outbox.raw(id, crate::http::response::CONTINUE);
                }
                Reaction::Asks(asking)
            }
            Err(refusal) => {
                self.service.hung_up(&mut Ctx::new(id, 0, self.now, &mut self.hub));
                self.refuse(id, refusal, Departure::Refused)
            }
        }
    }

    /// Continues with a body; `None` if it is still not whole.
    pub(super) fn take_asked(
        &mut self,
        id: ConnId,
        mut asking: Asking,
        bytes: &[u8],
        cursor: &mut Cursor,
    ) -> Option<Reaction> {
        match asking.reader.feed(bytes, &mut asking.body) {
            Ok((taken, is_whole)) => {
                *cursor = Cursor::behind(cursor.next() + taken);
                if is_whole {
                    self.hand_body(id, asking);
                    return Some(Reaction::Waits);
                }
                self.park(id, Exchange::Asking(asking));
                None
            }
            Err(refusal) => {
                self.service.hung_up(&mut Ctx::new(id, 0, self.now, &mut self.hub));
                Some(self.refuse(id, refusal, Departure::Refused))
            }
        }
    }

    fn hand_body(&mut self, id: ConnId, asking: Asking) {
        self.wait(id, asking.terms);
        self.service.body(&mut Ctx::new(id, 0, self.now, &mut self.hub), asking.body.filled());
    }

    /// From here on a service has to answer `id`: no deadline of ours runs.
    fn wait(&mut self, id: ConnId, terms: Terms) {
        self.park(id, Exchange::Waiting(terms));
        if let Some(connection) = self.roster.get(id) {
            connection.facts.has_deadline = false;
        }
    }

    /// Lets go of a peer that sends more behind a request that waits than anybody needs to.
    pub(super) fn bound_pipeline(&mut self, id: ConnId, bytes: usize) {
        if bytes > PIPELINE_BYTES_MAX {
            self.metrics.pipelines_cut += 1;
            self.doom(id, Departure::Refused);
        }
    }

    /// Sends what services have answered.
    pub(super) fn give_answers(&mut self) {
        for answer in std::mem::take(&mut self.hub.answers) {
            let id = answer.to;
            let Some(connection) = self.roster.get(id).filter(|one| one.stage == Stage::Open) else {
                continue;
            };
            let exchange = match &mut connection.session {
                Session::Http(exchange) => exchange.take(),
                Session::Ws(_) => None,
            };
            let terms = match exchange.map(|exchange| *exchange) {
                Some(Exchange::Waiting(terms)) => terms,
                // Nobody wants the rest of its body any more, and it would be taken for the next request.
                Some(Exchange::Asking(asking)) => Terms { keep_alive: false, ..asking.terms },
                Some(other @ (Exchange::Head(_) | Exchange::Posting(_))) => {
                    self.park(id, other);
                    continue;
                }
                None => continue,
            };
            let response = Response::new(Status(answer.status)).header("Cache-Control", "no-store");
            let response = with_origin(response, &terms).body(answer.content_type, &answer.body);
            let keep_alive = terms.keep_alive && self.farewell.is_none();
            if let Reaction::Answered = self.answer(id, &response, keep_alive) {
                self.rest(id);
                self.go_on_reading(id);
            }
        }
    }

    /// The next request may be here already.
    fn go_on_reading(&mut self, id: ConnId) {
        let Some(connection) = self.roster.get(id) else { return };
        let deadline = connection.deadline;
        connection.facts.has_deadline = true;
        connection.facts.undecoded |= connection.held.is_some();
        if connection.facts.undecoded {
            self.list_readable(id);
        }
        self.arm(id, deadline);
    }

    /// Refuses a handshake whose clients want to be told in JSON.
    pub(super) fn refuse_in_json(&mut self, id: ConnId, text: &str) -> Reaction {
        self.metrics.refusals.count("handshake", "parameters");
        let response = Response::new(Status::BAD_REQUEST).body("application/json", text.as_bytes());
        self.answer(id, &response, false)
    }
}

/// Lets the page that asked read the answer, if it is not one of ours.
fn with_origin<'r>(response: Response<'r>, terms: &'r Terms) -> Response<'r> {
    match &terms.origin {
        None => response,
        Some(origin) if **origin == *"*" => response.header("Access-Control-Allow-Origin", "*"),
        Some(origin) => response
            .header("Access-Control-Allow-Origin", &**origin)
            .header("Access-Control-Allow-Credentials", "true")
            .header("Vary", "Origin"),
    }
}
