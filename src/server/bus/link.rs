//! A link: one stream to one other worker, with what waits to be written and what has been read of it.
//!
//! Invariant: a post stays in the queue until its last byte has been written, so that it is known which publications a
//! sibling has missed when the stream breaks.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use super::is_temporary;
use crate::base::mutation::{Mutation, is_made};
use crate::base::tick::Nanos;
use crate::hub::abroad::Post;
use crate::hub::letter::{ENVELOPE_BYTES_MAX, Letter};
use crate::net::Net;
use crate::server::limits::{LINK_READ_BYTES, LINK_STALL};
use crate::ws::{Cursor, Decoder, Event, Limits, Role};

/// One stream to one other worker.
#[derive(Debug)]
pub(super) struct Link<K> {
    pub(super) socket: K,
    /// Tells this link from others that stood in its slot.
    pub(super) serial: u32,
    /// Who is at the other end, as far as it is known.
    pub(super) sibling: Option<u32>,
    /// It has said hello.
    pub(super) is_up: bool,
    pub(super) is_readable: bool,
    pub(super) is_blocked: bool,
    window: Vec<u8>,
    inbox: Option<Inbox>,
    outgoing: VecDeque<Rc<Post>>,
    /// Bytes of the first post that have been written.
    written: usize,
    queued_bytes: usize,
    /// When a byte was last written, or the queue began to wait.
    progress: Nanos,
}

/// Where reading stands.
#[derive(Debug)]
pub(super) struct Inbox {
    decoder: Decoder,
    cursor: Cursor,
    limits: Limits,
}

/// Why a link ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The stream has ended or is broken.
    End,
    /// Nothing was taken for too long.
    Stalled,
    /// What came makes no sense.
    Garbled(&'static str),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::End => "the stream has ended",
            Self::Stalled => "nothing was taken for too long",
            Self::Garbled(what) => what,
        })
    }
}

impl<K> Link<K> {
    pub(super) fn new(socket: K, serial: u32, sibling: Option<u32>, now: Nanos) -> Self {
        Self {
            socket,
            serial,
            sibling,
            is_up: false,
            // Something may have come before it was registered.
            is_readable: true,
            is_blocked: false,
            window: Vec::new(),
            inbox: Some(Inbox::new()),
            outgoing: VecDeque::new(),
            written: 0,
            queued_bytes: 0,
            progress: now,
        }
    }

    /// Queues a letter for this link alone.
    pub(super) fn say(&mut self, letter: Letter<'_>, now: Nanos) {
        let mut post = Post::default();
        letter.encode(&mut post.bytes);
        self.push(Rc::new(post), now);
    }

    /// Queues what all links are sent.
    pub(super) fn push(&mut self, post: Rc<Post>, now: Nanos) {
        if self.outgoing.is_empty() {
            self.progress = now;
        }
        self.queued_bytes += post.bytes.len();
        self.outgoing.push_back(post);
    }

    /// What waits to be written, in bytes.
    pub(super) const fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Publications that have not been written whole.
    pub(super) fn queued(&self) -> u64 {
        let first = self.outgoing.front().map_or(0, |post| post.unsent(self.written));
        first + self.outgoing.iter().skip(1).map(|post| post.ends.len() as u64).sum::<u64>()
    }

    /// When it is given up if nothing moves until then.
    pub(super) fn stalled_at(&self) -> Option<Nanos> {
        (!self.outgoing.is_empty()).then_some(self.progress + LINK_STALL)
    }

    /// Writes what the stream takes; returns how many publications have left whole.
    pub(super) fn write<N: Net<Socket = K>>(&mut self, net: &mut N, now: Nanos) -> Result<u64, Loss> {
        let before = self.queued();
        while !self.is_blocked
            && let Some(post) = self.outgoing.front()
        {
            let rest = &post.bytes[self.written..];
            match net.send(&mut self.socket, rest) {
                Ok(n) => {
                    self.is_blocked = n < rest.len();
                    (self.written, self.progress) = (self.written + n, now);
                    self.queued_bytes -= n;
                    if is_made(Mutation::WrittenTwice) && n < rest.len() {
                        self.queued_bytes += std::mem::take(&mut self.written);
                        return Ok(0);
                    }
                    if self.written == post.bytes.len() {
                        self.outgoing.pop_front();
                        self.written = 0;
                    }
                }
                Err(error) if is_temporary(&error) => self.is_blocked = true,
                Err(_) => {
                    self.is_blocked = true;
                    return Err(Loss::End);
                }
            }
        }
        if self.stalled_at().is_some_and(|at| at <= now) {
            return Err(Loss::Stalled);
        }
        Ok(before - self.queued())
    }

    /// Reads once. What has come is served before the end of the stream is heard: hence the result in the result.
    pub(super) fn read<N: Net<Socket = K>>(
        &mut self,
        net: &mut N,
        message_max: u64,
    ) -> Result<Result<(), Loss>, Loss> {
        let Some(inbox) = &mut self.inbox else { return Ok(Ok(())) };
        let max = message_max + ENVELOPE_BYTES_MAX as u64;
        inbox.limits = Limits { frame_max: max, message_max: max, fragments_max: 1 };
        let len = self.window.len();
        let kept = inbox.cursor.compact(&mut self.window, len);
        // Room follows what has come: a large message doubles it, whatever its header says.
        self.window.resize(kept + LINK_READ_BYTES.max(kept), 0);
        let received = net.recv(&mut self.socket, &mut self.window[kept..]);
        let room = self.window.len() - kept;
        let n = received.as_ref().map_or(0, |n| *n);
        self.window.truncate(kept + n);
        match received {
            Ok(0) => {
                self.is_readable = false;
                Ok(Err(Loss::End))
            }
            Ok(n) => {
                self.is_readable = n == room;
                Ok(Ok(()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(Ok(())),
            Err(error) if is_temporary(&error) => {
                self.is_readable = false;
                Ok(Ok(()))
            }
            Err(_) => Err(Loss::End),
        }
    }

    /// Takes what has been read out of the link, so that letters can be lent from it.
    pub(super) fn take_inbox(&mut self) -> (Vec<u8>, Inbox) {
        (std::mem::take(&mut self.window), self.inbox.take().unwrap_or_else(Inbox::new))
    }

    /// Puts back what [`take_inbox`](Self::take_inbox) took.
    pub(super) fn put_back(&mut self, mut window: Vec<u8>, mut inbox: Inbox) {
        if inbox.cursor.is_clear(window.len()) {
            inbox.cursor = Cursor::default();
            window.clear();
            window.shrink_to(LINK_READ_BYTES);
        }
        (self.window, self.inbox) = (window, Some(inbox));
    }
}

impl Inbox {
    fn new() -> Self {
        let limits = Limits { frame_max: 0, message_max: 0, fragments_max: 1 };
        Self { decoder: Decoder::new(Role::Client), cursor: Cursor::default(), limits }
    }

    /// The next letter that is whole.
    pub(super) fn next<'w>(&mut self, window: &'w mut [u8]) -> Result<Option<Letter<'w>>, Loss> {
        match self.decoder.decode(window, &mut self.cursor, &self.limits) {
            Ok(None) => Ok(None),
            Ok(Some(Event::Message { payload, .. })) => {
                Letter::decode(payload).map(Some).map_err(|_| Loss::Garbled("a letter that cannot be read"))
            }
            Ok(Some(_)) => Err(Loss::Garbled("a frame that is no letter")),
            Err(_) => Err(Loss::Garbled("bytes that are no frame")),
        }
    }
}
