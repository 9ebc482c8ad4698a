//! HTTP for publishers: `POST /publish`, `GET /channels`, and who may ask for them.
//!
//! A publication is one body, or a batch of lines ([`super::batch`]). Channels can be listed, and each says how many are
//! there and how far it has come. Answers and refusals are JSON: who asks here is a program.
//!
//! Invariants: a batch is published whole or not at all; where no token is asked for, only this machine is listened to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::batch;
use super::connection::{Format, Posting};
use super::exchange::Reaction;
use super::limits::{BATCH_BYTES_MAX, CHANNELS_LISTED, CHANNELS_LISTED_MAX};
use super::routes::Answer;
use super::worker::Worker;
use crate::base::buffer::Buffer;
use crate::base::id::ConnId;
use crate::base::mutation::{Mutation, is_made};
use crate::http::{Barred, BodyLength, BodyReader, Method, Refusal, Request, Response, Status, query};
use crate::hub::Kind;
use crate::hub::history::Position;
use crate::net::Net;
use crate::net::socket::Address;
use crate::service::Service;

/// Which of the channels are to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Those behind this name.
    after: String,
    /// So many.
    limit: usize,
}

/// What a path that is ours lets one do.
pub(super) fn allowed(path: &str) -> Option<&'static str> {
    let begins =
        |room: &str| path.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if begins("/publish") { Some("POST") } else { begins("/channels").then_some("GET, HEAD") }
}

/// `POST /publish/CHANNEL`: `text/*` becomes a text message, lines of JSON become one each, anything else a binary one.
pub(super) fn post<S: Service>(
    request: &Request<'_, '_>,
    service: &S,
    channel: Option<&str>,
    message_max: u64,
) -> Answer {
    if request.method != Method::Post {
        return Answer::Refused(Refusal::MethodNotAllowed { allow: "POST" });
    }
    let has_name = channel.map_or(!request.path.ends_with('/'), |name| service.channel_topic(name).is_some());
    if !has_name {
        return Answer::Refused(Refusal::PathMalformed);
    }
    if request.body == BodyLength::None && request.header("content-length").is_none() {
        return Answer::Refused(Refusal::LengthRequired);
    }
    let coding = request.header("content-encoding").unwrap_or(b"identity");
    let media = request.header("content-type").unwrap_or_default();
    let essence = media.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let format = if essence.eq_ignore_ascii_case(b"application/x-ndjson") {
        Format::Lines
    } else if media.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"text/")) {
        Format::Text
    } else {
        Format::Binary
    };
    if !coding.eq_ignore_ascii_case(b"identity") || (channel.is_none() && format != Format::Lines) {
        return Answer::Refused(Refusal::MediaUnsupported);
    }
    let body_max = match format {
        Format::Lines => BATCH_BYTES_MAX.max(message_max),
        Format::Text | Format::Binary => message_max,
    };
    match BodyReader::new(request.body, body_max) {
        Ok(reader) => Answer::Post(Posting {
            reader,
            body: Buffer::default(),
            channel: channel.map(str::to_owned),
            format,
            keep_alive: true,
        }),
        Err(refusal) => Answer::Refused(refusal),
    }
}

/// `GET /channels`, with `?after=NAME&limit=N`.
pub(super) fn list(request: &Request<'_, '_>) -> Answer {
    if !matches!(request.method, Method::Get | Method::Head) {
        return Answer::Refused(Refusal::MethodNotAllowed { allow: "GET, HEAD" });
    }
    let limit = match query::get(request.query, "limit") {
        None => Some(CHANNELS_LISTED),
        Some(text) => text.parse().ok().filter(|limit| (1..=CHANNELS_LISTED_MAX).contains(limit)),
    };
    let after = query::get(request.query, "after").unwrap_or_default().into_owned();
    match limit {
        Some(limit) => Answer::Channels(Wanted { after, limit }),
        None => Answer::Malformed(format!("limit is from 1 to {CHANNELS_LISTED_MAX}")),
    }
}

/// `GET /channels/NAME`.
pub(super) fn one(request: &Request<'_, '_>, channel: &str) -> Answer {
    if matches!(request.method, Method::Get | Method::Head) {
        Answer::Channel(channel.to_owned())
    } else {
        Answer::Refused(Refusal::MethodNotAllowed { allow: "GET, HEAD" })
    }
}

/// The first address on which others than this machine can reach us.
pub(super) fn open_to_others<'a>(addresses: impl IntoIterator<Item = &'a Address>) -> Option<&'a Address> {
    let is_open = |address: &&Address| match address {
        Address::Tcp(address) => !address.ip().is_loopback(),
        Address::Unix(_) => false,
    };
    addresses.into_iter().find(is_open)
}

impl<N: Net, S: Service> Worker<N, S> {
    /// Whether the peer may publish, or see the channels: with the token of publishers; where none is set, with what lets it in;
    /// and where nothing is set, if only this machine can ask.
    pub(super) fn may_publish(&self, request: &Request<'_, '_>) -> Result<(), Barred> {
        let tls = self.config.tls.iter().flat_map(|tls| &tls.listen);
        match self.gate.knows_publisher(request) {
            Some(verdict) => verdict,
            None if open_to_others(self.config.listen.iter().chain(tls)).is_some() => {
                Err(Barred::PublishingClosed)
            }
            None => Ok(()),
        }
    }

    /// Publishes what was posted and says to how many.
    pub(super) fn publish_posted(&mut self, id: ConnId, posting: &Posting) -> Reaction {
        let body = posting.body.filled();
        let kind = match posting.format {
            Format::Lines => return self.publish_batch(id, posting),
            Format::Text => Kind::Text,
            Format::Binary => Kind::Binary,
        };
        if kind == Kind::Text && std::str::from_utf8(body).is_err() {
            let text = "a text/* body must be UTF-8; send binary data as application/octet-stream";
            return self.refuse_handshake(id, Status::BAD_REQUEST, &[], text, "body_not_utf8");
        }
        let is_forgotten = is_made(Mutation::PostForgotten) && self.hub.topics.waiting_bytes() > 0;
        let channel = posting.channel.as_deref().unwrap_or_default();
        let (subscribers, at) = match self.service.channel_topic(channel).filter(|_| !is_forgotten) {
            Some(topic) => self.publish_to(&topic, channel, kind, body),
            None => (0, None),
        };
        let mut answer = json!({ "channel": channel, "subscribers": subscribers });
        if let Some(Position { epoch, offset, .. }) = at {
            answer["epoch"] = epoch.into();
            answer["offset"] = offset.into();
        }
        self.answer_json(id, &answer, posting.keep_alive)
    }

    fn publish_to(&mut self, topic: &str, channel: &str, kind: Kind, body: &[u8]) -> (u32, Option<Position>) {
        let (here, abroad) = self.hub.publish_named(topic, channel, kind, body, self.now);
        (here + abroad, self.hub.topics.histories.find(topic))
    }

    fn publish_batch(&mut self, id: ConnId, posting: &Posting) -> Reaction {
        let message_max = self.config.ws.message_max;
        let read = batch::read(posting.body.filled(), posting.channel.as_deref(), message_max);
        let judged = read.and_then(|lines| {
            let judge = |(at, line): (usize, batch::Line)| match self.service.channel_topic(&line.channel) {
                Some(topic) => Ok((topic, line)),
                None => Err((
                    Status::BAD_REQUEST,
                    "batch_malformed",
                    format!("message {}: no channel can be called so", at + 1),
                )),
            };
            lines.into_iter().enumerate().map(judge).collect::<Result<Vec<_>, _>>()
        });
        let lines = match judged {
            Ok(lines) => lines,
            Err((status, label, text)) => return self.refuse_handshake(id, status, &[], &text, label),
        };
        let (mut published, mut duplicates, mut reached) = (0, 0, BTreeMap::new());
        for (topic, line) in &lines {
            if line.id.as_ref().is_some_and(|id| !self.ids.is_new(&line.channel, id, self.now)) {
                duplicates += 1;
                continue;
            }
            published += 1;
            let (subscribers, _) = self.publish_to(topic, &line.channel, Kind::Text, line.text.as_bytes());
            reached.insert(&line.channel, subscribers);
        }
        let subscribers: u32 = reached.values().sum();
        let answer = json!({ "published": published, "duplicates": duplicates, "subscribers": subscribers });
        self.answer_json(id, &answer, posting.keep_alive)
    }

    /// Lists the channels where somebody is, on any worker, or of which something is kept here.
    pub(super) fn list_channels(&mut self, id: ConnId, wanted: &Wanted, keep_alive: bool) -> Reaction {
        let here = self.hub.topics.iter().filter(|(_, live)| *live > 0).map(|(name, _)| name);
        let topics = here.chain(self.hub.abroad.topics()).chain(self.hub.topics.histories.names());
        let mut names = BTreeSet::new();
        for name in topics.filter_map(|topic| self.service.topic_channel(topic)) {
            if name > wanted.after.as_str() {
                names.insert(name);
            }
            // One more than wanted tells whether there are more.
            if names.len() > wanted.limit + 1 {
                names.pop_last();
            }
        }
        let is_more = names.len() > wanted.limit;
        let names: Vec<&str> = names.into_iter().take(wanted.limit).collect();
        let tell = |name: &&str| json!({ "channel": name, "subscribers": self.present_in(name) });
        let mut answer = json!({ "channels": names.iter().map(tell).collect::<Vec<_>>() });
        if let Some(last) = names.last().filter(|_| is_more) {
            answer["next"] = (*last).into();
        }
        self.answer_json(id, &answer, keep_alive)
    }

    /// Tells about one channel.
    pub(super) fn tell_channel(&mut self, id: ConnId, channel: &str, keep_alive: bool) -> Reaction {
        let topic = self.service.channel_topic(channel);
        let at = topic.as_ref().and_then(|topic| self.hub.topics.histories.find(topic));
        let subscribers = self.present_in(channel);
        if subscribers == 0 && at.as_ref().is_none_or(|at| at.kept == 0) {
            return self.refuse(id, Refusal::ChannelUnknown, crate::service::Departure::Refused);
        }
        let answer = match at {
            Some(Position { epoch, offset, kept }) => json!({
                "channel": channel, "subscribers": subscribers, "epoch": epoch, "offset": offset, "kept": kept,
            }),
            None => {
                json!({ "channel": channel, "subscribers": subscribers, "epoch": null, "offset": 0, "kept": 0 })
            }
        };
        self.answer_json(id, &answer, keep_alive)
    }

    /// How many are in a channel, on all workers.
    fn present_in(&self, channel: &str) -> u32 {
        self.service.channel_topic(channel).map_or(0, |topic| self.present(&topic))
    }

    fn answer_json(&mut self, id: ConnId, answer: &Value, keep_alive: bool) -> Reaction {
        let keep_alive = keep_alive && self.farewell.is_none();
        let answer = answer.to_string();
        let response = Response::new(Status::OK).header("Cache-Control", "no-store");
        self.answer(id, &response.body("application/json", answer.as_bytes()), keep_alive)
    }
}
