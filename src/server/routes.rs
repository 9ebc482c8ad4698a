//! What a request that asks for no WebSocket gets, by method and path.
//!
//! Pages come from a table in memory ([`pages`]), numbers from the worker, and a path that only speaks
//! WebSocket says so.
//!
//! Invariant: nothing here changes anything; the answer is carried out by the [exchange](super::exchange).

use super::connection::Posting;
use super::exchange::segments;
use super::pages::{self, Page};
use super::publishing::{self, Wanted};
use crate::http::{Method, Refusal, Request, query};
use crate::service::{self, Admission, Service};

/// The answer to a request.
pub enum Answer {
    /// A page of the table.
    Page(Page<'static>),
    /// Numbers, rendered now.
    Text(Numbers),
    /// A publication, once its body is here.
    Post(Posting),
    /// Which channels there are.
    Channels(Wanted),
    /// What there is to know about one.
    Channel(String),
    /// The path speaks WebSocket and nothing else (426).
    WebSocketOnly,
    /// The parameters make no sense (400).
    Malformed(String),
    /// No.
    Refused(Refusal),
}

/// What can be asked about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// `/healthz`
    Health,
    /// `/stats`
    Stats,
    /// `/metrics`
    Metrics,
}

/// Chooses the answer.
pub fn route<S: Service>(request: &Request<'_, '_>, service: &S, body_max: u64) -> Answer {
    if matches!(request.method, Method::Options | Method::Other) {
        let allow = publishing::allowed(request.path).unwrap_or("GET, HEAD");
        return Answer::Refused(Refusal::MethodNotAllowed { allow });
    }
    let Some(path) = segments(request.path) else { return Answer::Refused(Refusal::PathMalformed) };
    let is_read = matches!(request.method, Method::Get | Method::Head);
    match path.first().map(|first| &**first).filter(|_| path.len() <= 2) {
        Some("publish") => {
            return publishing::post(request, service, path.get(1).map(|name| &**name), body_max);
        }
        Some("channels") => {
            return path
                .get(1)
                .map_or_else(|| publishing::list(request), |channel| publishing::one(request, channel));
        }
        Some(_) | None => {}
    }
    let numbers = match request.path {
        "/healthz" => Some(Numbers::Health),
        "/stats" => Some(Numbers::Stats),
        "/metrics" => Some(Numbers::Metrics),
        _ => None,
    };
    let answer = match (pages::find(request.path), numbers) {
        (Some(page), _) => Answer::Page(page),
        (None, Some(numbers)) => Answer::Text(numbers),
        (None, None) => return web_socket(request, service, &path, is_read),
    };
    if is_read { answer } else { Answer::Refused(Refusal::MethodNotAllowed { allow: "GET, HEAD" }) }
}

/// A path that is neither a page nor a number: perhaps a service's.
fn web_socket<S: Service>(
    request: &Request<'_, '_>,
    service: &S,
    path: &[std::borrow::Cow<'_, str>],
    is_read: bool,
) -> Answer {
    let params: Vec<_> = query::pairs(request.query).collect();
    match service.admit(&service::Request { path, params: &params, protocols: &[] }) {
        Admission::NotFound => Answer::Refused(Refusal::PathUnknown),
        Admission::Malformed(_)
        | Admission::Json(_)
        | Admission::Accept { .. }
        | Admission::Uncompressed { .. }
            if !is_read =>
        {
            Answer::Refused(Refusal::MethodNotAllowed { allow: "GET" })
        }
        Admission::Malformed(text) | Admission::Json(text) => Answer::Malformed(text),
        Admission::Accept { .. } | Admission::Uncompressed { .. } => Answer::WebSocketOnly,
    }
}
