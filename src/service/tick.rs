//! Ticks: the server itself broadcasts, a given number of messages a second, each bearing loadgen's marker.
//!
//! `/tick/RATE?size=BYTES` is a source for testing clients and proxies: whoever connects with the same rate and
//! size hears the same messages. The marker's intended time is that of the schedule, so what a receiver measures
//! includes any delay of ours.
//!
//! Invariants: a source exists while somebody listens, and there are at most `SOURCES_MAX`; after a stall at most
//! `BURST_MAX` messages a source and `BURST_BYTES_MAX` in all are made up for at once, and the schedule then goes on
//! from the present.

use super::{Admission, CloseCode, Ctx, Kind, Request, TopicId};
use crate::base::marker::{MARKER_BYTES, Marker};
use crate::base::tick::{Nanos, SECOND};

/// Messages a second, at most.
const RATE_MAX: f64 = 100_000.0;
/// Messages a second, at least: one in a hundred seconds.
const RATE_MIN: f64 = 0.01;
/// Payload bytes, at most.
const SIZE_MAX: usize = 1 << 20;
/// Messages made up for in one turn.
const BURST_MAX: u32 = 256;
/// Bytes published in one turn by all sources together: large messages burst less.
const BURST_BYTES_MAX: usize = 4 << 20;
/// Different rates and sizes at once: each holds a payload and is looked at in every turn.
const SOURCES_MAX: usize = 64;

/// The sources that run.
#[derive(Debug, Default)]
pub struct Ticks {
    sources: Vec<Source>,
    started: u32,
}

#[derive(Debug)]
struct Source {
    topic: TopicId,
    name: String,
    number: u32,
    interval_ns: Nanos,
    next_ns: Nanos,
    sequence: u32,
    payload: Vec<u8>,
}

/// What `/tick/RATE?size=BYTES` asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wanted {
    rate: f64,
    size: usize,
}

impl Wanted {
    pub(super) fn read(request: &Request<'_>) -> Result<Self, Admission<'static>> {
        let wrong = |text: &str| Err(Admission::Malformed(text.to_owned()));
        let rate = request.path.get(1).map_or("1", |rate| rate);
        let Ok(rate) = rate.parse::<f64>() else {
            return wrong("RATE in /tick/RATE is a number of messages a second");
        };
        if !(RATE_MIN..=RATE_MAX).contains(&rate) {
            return wrong("RATE in /tick/RATE is from 0.01 to 100000 messages a second");
        }
        match request.param("size").unwrap_or("64").parse::<usize>() {
            Ok(size) if (MARKER_BYTES..=SIZE_MAX).contains(&size) => Ok(Self { rate, size }),
            Ok(_) | Err(_) => wrong("size is from 32 (the marker) to 1048576 bytes"),
        }
    }

    fn name(self) -> String {
        format!("tick/{}/{}", self.rate, self.size)
    }
}

impl Ticks {
    /// Whether there is room for a source of this rate and size, or it runs already.
    pub(super) fn has_room(&self, wanted: Wanted) -> bool {
        let name = wanted.name();
        self.sources.len() < SOURCES_MAX || self.sources.iter().any(|source| source.name == name)
    }

    pub(super) fn opened(&mut self, ctx: &mut Ctx<'_>, wanted: Wanted) {
        let name = wanted.name();
        let topic = ctx.join(&name);
        if self.sources.iter().any(|source| source.name == name) {
            return;
        }
        let interval_ns = (SECOND as f64 / wanted.rate) as Nanos;
        self.started = self.started.wrapping_add(1);
        self.sources.push(Source {
            topic,
            name,
            number: self.started,
            interval_ns,
            next_ns: ctx.now() + interval_ns,
            sequence: 0,
            payload: vec![0; wanted.size],
        });
    }

    pub(super) fn message(ctx: &mut Ctx<'_>) {
        ctx.close(CloseCode::POLICY, "a tick source is only heard");
    }

    pub(super) fn closed(&mut self, ctx: &mut Ctx<'_>) {
        let Some(topic) = ctx.topic() else { return };
        ctx.leave(topic);
        if ctx.subscribers_here(topic) == 0 {
            self.sources.retain(|source| source.topic != topic);
        }
    }

    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.sources.iter().map(|source| source.next_ns).min()
    }

    pub(super) fn due(&mut self, ctx: &mut Ctx<'_>) {
        let mut bytes_left = BURST_BYTES_MAX;
        for source in &mut self.sources {
            source.due(ctx, &mut bytes_left);
        }
        // Whoever came first this time comes last the next.
        if !self.sources.is_empty() {
            self.sources.rotate_left(1);
        }
    }
}

impl Source {
    fn due(&mut self, ctx: &mut Ctx<'_>, bytes_left: &mut usize) {
        for _ in 0..BURST_MAX {
            if self.next_ns > ctx.now() || *bytes_left < self.payload.len() {
                return;
            }
            *bytes_left -= self.payload.len();
            let marker = Marker {
                flags: 0,
                run: 0,
                publisher: self.number,
                sequence: self.sequence,
                intended_ns: self.next_ns,
                send_lag_ns: (ctx.now() - self.next_ns).min(u64::from(u32::MAX)) as u32,
            };
            marker.encode(&mut self.payload);
            // Every worker has a source of its own for its own peers.
            ctx.publish_here(self.topic, Kind::Binary, &self.payload);
            self.sequence = self.sequence.wrapping_add(1);
            self.next_ns += self.interval_ns;
        }
        // Too far behind to make up for: what was missed shows as missing time, not as a flood.
        if self.next_ns < ctx.now() {
            self.next_ns = ctx.now() + self.interval_ns;
        }
    }
}
