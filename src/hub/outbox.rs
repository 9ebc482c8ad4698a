//! The outbox: what handlers want sent to single peers, kept until nothing is borrowed any more.
//!
//! A handler runs while the receive buffer is lent to it, so it cannot write to a socket; it leaves commands.
//! Frames are encoded once, into one arena for the whole turn, and consecutive replies to one peer become one
//! range of it: sixteen echoes that came in one read leave in one write, and no allocation is made for them. Only a long
//! message that goes back as it came is not copied here at all: it is *lent*.
//!
//! Invariants: commands are carried out in the order they were left; the arena is empty between turns.

use super::dialect::Dialect;
use super::frame::Frame;
use crate::base::id::ConnId;
use crate::ws::close::{CloseCode, encode_body};
use crate::ws::encoder::encode;
use crate::ws::{Kind, Opcode, encode_header};

/// What a command weighs beside its bytes: two thousand of them fill a turn.
const COMMAND_WEIGHT_BYTES: usize = 128;
/// What an ending weighs beside that, in bytes: its close frame, our FIN, and what follows from both cost four times what
/// an echo does.
const ENDING_WEIGHT_BYTES: usize = 2048;

/// What a reply to a compressed peer weighs, in times its length: compressing is so much dearer than copying.
const COMPRESS_WEIGHT: usize = 4;

/// What is to be done for single peers, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    arena: Vec<u8>,
    commands: Vec<Command>,
    /// What [`Action::Shared`] is about.
    shared: Vec<Frame>,
    burden: usize,
    /// Whose replies are compressed on their way, a bit for each index.
    compressed: Vec<u64>,
    lent: Option<Lent>,
}

/// The long message that is being handled: where it lies, and whether its peer is to get it back.
#[derive(Debug)]
struct Lent {
    to: ConnId,
    address: usize,
    len: usize,
    /// How many commands waited when it was lent.
    commands: usize,
    repeated: Option<Kind>,
}

/// One thing to do, with the bytes of the arena that belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// For whom.
    pub to: ConnId,
    /// What kind of bytes these are, and what follows them.
    pub action: Action,
    /// Where the bytes begin in the arena.
    pub from: u32,
    /// Where they end.
    pub until: u32,
    /// Where the last of several pongs begins.
    pub newest: u32,
}

/// What a command's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Data: queued behind what waits already.
    Reply,
    /// Pongs, one or several in a row: while the peer does not read, only the newest is kept (RFC 6455 §5.5.3).
    Pong,
    /// A close frame with this code: nothing is sent behind it.
    Close(CloseCode),
    /// The answer that makes it a WebSocket: replies behind it are sent in this dialect. Peers that are sent plain
    /// frames need no such mark.
    Upgrade(Dialect),
    /// Data that is shared with others: `from..until` are places among the frames of [`Outbox::take_shared`].
    Shared,
    /// Nothing more will be written once this has left (HTTP's last response).
    Finish,
}

impl Outbox {
    /// Sends `to` a message.
    #[inline]
    pub fn reply(&mut self, to: ConnId, kind: Kind, payload: &[u8]) {
        if let Some(lent) = &mut self.lent
            && (lent.to, lent.address, lent.len) == (to, payload.as_ptr().addr(), payload.len())
            && lent.commands == self.commands.len()
            && lent.repeated.is_none()
        {
            lent.repeated = Some(kind);
            return;
        }
        self.append(to, Action::Reply, |arena| encode(arena, kind.opcode(), payload));
    }

    /// Tells of a message of `from` that is about to be handled and could be sent back from where it lies: if `from` is
    /// sent just that before anything else, it is not copied, and [`repeated`](Self::repeated) says so.
    ///
    /// Nothing is lent while a command for `from` waits: the message would overtake it.
    pub fn lend(&mut self, from: ConnId, payload: &[u8]) {
        if self.commands.iter().all(|command| command.to != from) {
            let (address, len) = (payload.as_ptr().addr(), payload.len());
            self.lent = Some(Lent { to: from, address, len, commands: self.commands.len(), repeated: None });
        }
    }

    /// Ends the loan. If the message is to go back to its peer: as which kind. It goes before what was left since.
    #[must_use]
    pub fn repeated(&mut self) -> Option<Kind> {
        self.lent.take()?.repeated
    }

    /// Sends `to` one message that is put together from `parts`.
    pub fn reply_parts(&mut self, to: ConnId, kind: Kind, parts: &[&[u8]]) {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        self.append(to, Action::Reply, |arena| {
            let (header, header_len) = encode_header(kind.opcode(), true, len, None);
            arena.extend_from_slice(&header[..header_len]);
            parts.iter().for_each(|part| arena.extend_from_slice(part));
        });
    }

    /// Sends `to` bytes as they are.
    pub fn raw(&mut self, to: ConnId, bytes: &[u8]) {
        self.append(to, Action::Reply, |arena| arena.extend_from_slice(bytes));
    }

    /// Sends `to` whatever `write` appends.
    pub fn raw_with(&mut self, to: ConnId, write: impl FnOnce(&mut Vec<u8>)) {
        self.append(to, Action::Reply, write);
    }

    /// Sends `to` frames that many may be sent, and that are not copied.
    pub fn share(&mut self, to: ConnId, frames: Vec<Frame>) {
        let (from, until) = (self.shared.len() as u32, (self.shared.len() + frames.len()) as u32);
        // What they weigh is what writing them costs.
        self.burden += frames.iter().map(Frame::len).sum::<usize>();
        self.shared.extend(frames);
        self.commands.push(Command { to, action: Action::Shared, from, until, newest: from });
    }

    /// Takes the frames that were left with [`share`](Self::share); to be called with [`take`](Self::take).
    #[must_use]
    pub fn take_shared(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.shared)
    }

    /// Sends `to` the answer to its handshake, which `write` appends; from there on it is sent `dialect`.
    pub fn upgrade(&mut self, to: ConnId, dialect: Dialect, write: impl FnOnce(&mut Vec<u8>)) {
        let action = if dialect == Dialect::Raw { Action::Reply } else { Action::Upgrade(dialect) };
        self.append(to, action, write);
        if dialect.slot().is_some() {
            let at = to.index as usize / 64;
            self.compressed.resize(self.compressed.len().max(at + 1), 0);
            self.compressed[at] |= 1 << (to.index % 64);
        }
    }

    /// `of` has gone, and somebody else may come to be called so.
    pub fn forget(&mut self, of: ConnId) {
        if let Some(word) = self.compressed.get_mut(of.index as usize / 64) {
            *word &= !(1 << (of.index % 64));
        }
    }

    /// Counts a message that is sent to `to` from elsewhere, `bytes` long, as if it waited here.
    pub(super) fn weigh(&mut self, to: ConnId, bytes: usize) {
        self.burden += bytes * if self.is_compressed(to) { COMPRESS_WEIGHT } else { 1 };
    }

    #[inline]
    fn is_compressed(&self, to: ConnId) -> bool {
        self.compressed.get(to.index as usize / 64).is_some_and(|word| word >> (to.index % 64) & 1 == 1)
    }

    /// Answers a ping of `to`.
    pub fn pong(&mut self, to: ConnId, payload: &[u8]) {
        self.append(to, Action::Pong, |arena| encode(arena, Opcode::Pong, payload));
    }

    /// Pings `to`.
    pub fn ping(&mut self, to: ConnId, payload: &[u8]) {
        self.append(to, Action::Reply, |arena| encode(arena, Opcode::Ping, payload));
    }

    /// Closes the WebSocket of `to` with `code`; the reason is cut at 123 bytes.
    pub fn close(&mut self, to: ConnId, code: CloseCode, reason: &str) {
        self.append(to, Action::Close(code), |arena| {
            let mut body = Vec::with_capacity(125);
            encode_body(&mut body, code, reason);
            encode(arena, Opcode::Close, &body);
        });
    }

    /// Answers the close frame of `to` with its own code, or with none if it had none (RFC 6455 §5.5.1), and with its own
    /// reason: what a browser's `onclose` shows is what the server said.
    pub fn close_with(&mut self, to: ConnId, body: Option<(CloseCode, &str)>) {
        match body {
            Some((code, reason)) if code.may_be_sent() => self.close(to, code, reason),
            Some(_) | None => {
                self.append(to, Action::Close(CloseCode::NO_STATUS), |arena| {
                    encode(arena, Opcode::Close, b"")
                });
            }
        }
    }

    /// Sends `to` a close frame with `code` that is encoded already.
    pub(super) fn close_encoded(&mut self, to: ConnId, code: CloseCode, frame: &[u8]) {
        self.append(to, Action::Close(code), |arena| arena.extend_from_slice(frame));
    }

    /// Ends the connection of `to` once everything before has left.
    pub fn finish(&mut self, to: ConnId) {
        self.append(to, Action::Finish, |_| {});
    }

    /// What waits, in bytes: those of the arena, and for each command what a system call weighs against copying, so
    /// that a flood of empty pings is as bounded as one of long echoes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arena.len() + self.burden + self.commands.len() * COMMAND_WEIGHT_BYTES
    }

    /// Whether the last thing to be done for `to` is to close it: nothing more of it need be heard.
    #[inline]
    #[must_use]
    pub fn is_closing(&self, to: ConnId) -> bool {
        self.commands.last().is_some_and(|last| last.to == to && matches!(last.action, Action::Close(_)))
    }

    /// Whether no command waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Takes everything out, to be carried out and handed back with [`restore`](Self::restore).
    #[must_use]
    pub fn take(&mut self) -> (Vec<u8>, Vec<Command>) {
        self.burden = 0;
        (std::mem::take(&mut self.arena), std::mem::take(&mut self.commands))
    }

    /// Gives the allocations back, emptied; an arena that grew beyond `keep_max` bytes is let go.
    pub fn restore(&mut self, mut arena: Vec<u8>, mut commands: Vec<Command>, keep_max: usize) {
        debug_assert!(self.is_empty(), "carrying out a command leaves no command");
        if arena.capacity() <= keep_max {
            arena.clear();
            self.arena = arena;
        }
        if commands.capacity() * size_of::<Command>() <= keep_max {
            commands.clear();
            self.commands = commands;
        }
    }

    #[inline]
    fn append(&mut self, to: ConnId, action: Action, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.arena.len() as u32;
        write(&mut self.arena);
        let until = self.arena.len() as u32;
        if action == Action::Reply && self.is_compressed(to) {
            self.burden += (until - from) as usize * (COMPRESS_WEIGHT - 1);
        }
        if matches!(action, Action::Close(_) | Action::Finish) {
            self.burden += ENDING_WEIGHT_BYTES;
        }
        match self.commands.last_mut() {
            // Natural corking: what one peer is owed in a row leaves in one write.
            Some(last)
                if last.to == to
                    && last.action == action
                    && matches!(action, Action::Reply | Action::Pong) =>
            {
                (last.until, last.newest) = (until, from);
            }
            _ => self.commands.push(Command { to, action, from, until, newest: from }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: ConnId = ConnId { index: 1, serial: 1 };
    const BOB: ConnId = ConnId { index: 2, serial: 2 };

    #[test]
    fn replies_in_a_row_become_one_write() {
        let mut outbox = Outbox::default();
        outbox.reply(ANN, Kind::Text, b"a");
        outbox.reply(ANN, Kind::Binary, b"b");
        outbox.reply(BOB, Kind::Text, b"c");
        outbox.reply(ANN, Kind::Text, b"d");
        let (arena, commands) = outbox.take();
        assert_eq!(arena, b"\x81\x01a\x82\x01b\x81\x01c\x81\x01d");
        let ranges: Vec<_> = commands.iter().map(|c| (c.to, c.from, c.until)).collect();
        assert_eq!(ranges, [(ANN, 0, 6), (BOB, 6, 9), (ANN, 9, 12)]);
    }

    #[test]
    fn an_ending_weighs_as_much_as_several_echoes() {
        let (mut echoes, mut endings) = (Outbox::default(), Outbox::default());
        (0..4).for_each(|serial| echoes.reply(ConnId { index: 1, serial }, Kind::Text, &[b'a'; 256]));
        endings.close(ANN, CloseCode::NORMAL, "");
        assert!(endings.len() > echoes.len());
        let _ = endings.take();
        assert_eq!(endings.len(), 0);
    }

    #[test]
    fn pongs_in_a_row_become_one_write_and_the_newest_is_known() {
        let mut outbox = Outbox::default();
        (b'a'..b'd').for_each(|payload| outbox.pong(ANN, &[payload]));
        let (arena, commands) = outbox.take();
        assert_eq!(arena, b"\x8a\x01a\x8a\x01b\x8a\x01c");
        let ranges: Vec<_> = commands.iter().map(|c| (c.from, c.until, c.newest)).collect();
        assert_eq!(ranges, [(0, 9, 6)]);
    }

    #[test]
    fn a_lent_message_goes_back_without_a_copy_if_nothing_of_its_peer_waits() {
        let mut outbox = Outbox::default();
        outbox.reply(BOB, Kind::Text, b"b");
        let lent = b"long".to_vec();
        outbox.lend(ANN, &lent);
        outbox.reply(ANN, Kind::Binary, &lent);
        outbox.reply(ANN, Kind::Binary, &lent);
        assert_eq!(outbox.repeated(), Some(Kind::Binary), "the first goes back from where it lies");
        assert_eq!(outbox.repeated(), None);
        outbox.lend(ANN, &lent);
        outbox.reply(ANN, Kind::Binary, &lent);
        assert_eq!(outbox.repeated(), None, "it would overtake the second");
        let (arena, _) = outbox.take();
        assert_eq!(arena, b"\x81\x01b\x82\x04long\x82\x04long");
    }

    #[test]
    fn a_lent_message_that_is_not_sent_back_first_is_copied() {
        let lent = b"long".to_vec();
        type Handler = fn(&mut Outbox, &[u8]);
        let others: [Handler; 4] = [
            |outbox, lent| outbox.reply(BOB, Kind::Text, lent),
            |outbox, _| outbox.reply(ANN, Kind::Text, b"long"),
            |outbox, lent| outbox.reply(ANN, Kind::Text, &lent[1..]),
            |outbox, lent| {
                outbox.pong(ANN, b"");
                outbox.reply(ANN, Kind::Text, lent);
            },
        ];
        for handle in others {
            let mut outbox = Outbox::default();
            outbox.lend(ANN, &lent);
            handle(&mut outbox, &lent);
            assert_eq!(outbox.repeated(), None);
            assert!(!outbox.is_empty());
        }
    }

    #[test]
    fn what_is_compressed_for_a_peer_weighs_more_whoever_had_it_sent() {
        let weight = |outbox: &mut Outbox, to| {
            let before = outbox.len();
            outbox.reply(to, Kind::Text, &[b'x'; 100]);
            outbox.len() - before
        };
        let mut outbox = Outbox::default();
        let far = ConnId { index: 200, serial: 3 };
        outbox.upgrade(BOB, Dialect::Wide, |_| {});
        outbox.upgrade(far, Dialect::Narrow, |_| {});
        outbox.upgrade(ANN, Dialect::Raw, |_| {});
        let plain = weight(&mut outbox, ANN);
        assert_eq!(weight(&mut outbox, BOB) - plain, 3 * 102 + COMMAND_WEIGHT_BYTES);
        assert_eq!(weight(&mut outbox, far) - plain, 3 * 102 + COMMAND_WEIGHT_BYTES);
        outbox.forget(BOB);
        let another = ConnId { serial: 9, ..BOB };
        assert_eq!(weight(&mut outbox, another) - plain, COMMAND_WEIGHT_BYTES);
    }

    #[test]
    fn a_close_stands_behind_what_was_said_before() {
        let mut outbox = Outbox::default();
        outbox.reply(ANN, Kind::Text, b"a");
        outbox.close(ANN, CloseCode::NORMAL, "done");
        let (arena, commands) = outbox.take();
        assert_eq!(commands[1].action, Action::Close(CloseCode::NORMAL));
        assert_eq!(&arena[commands[1].from as usize..], b"\x88\x06\x03\xe8done");
        outbox.restore(arena, commands, 1 << 20);
        assert!(outbox.is_empty());
        assert_eq!(outbox.len(), 0);
    }
}
