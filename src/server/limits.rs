//! Every bound of the server in one place, each with its reason.
//!
//! What an operator may want to turn is in [`Config`](super::config::Config); here stand the bounds that follow from
//! the design. In brackets, where there is one: the metric that says how often it was met.

use crate::base::tick::{MILLI, Nanos, SECOND};
use crate::ws::deflate::{DEFLATER_BYTES_MAX, INFLATER_BYTES_MAX};

/// The receive buffer of the loop, in bytes. Measured: an echo of 1 MiB through 64 KiB costs twice the CPU of one
/// through 512 KiB. (`stentor_reads_full_total`)
pub const RECEIVE_BYTES: usize = 1280 * 1024;

/// Bytes read from one peer in one turn, beside the rest of a message that has begun: small frames cost by their number,
/// and what of them is not decoded in this turn has to be kept. In 64 KiB there are 10 923 empty frames.
pub const PEER_BYTES_MAX: usize = 64 * 1024;

/// Bytes read in one turn, all connections together: beyond, reading goes on in the next. (`stentor_turns_cut_total`)
pub const READ_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Connections accepted in one turn: a storm of newcomers does not keep those who are here waiting.
/// (`stentor_accepts_cut_total`)
pub const ACCEPTS_MAX: usize = 256;

/// Connections let in beyond `connections_max`, to be told so with 503; whoever comes after them waits in the backlog.
/// (`stentor_accepts_over_total`)
pub const OVER_MAX: usize = 16;

/// Wheel entries looked at in one turn: each may be a ping, which is a `send`. (`stentor_expiries_cut_total`)
pub const EXPIRIES_MAX: usize = 256;

/// Connections let go in one turn: a `close` costs 3 to 10 µs, and when a network fails all go at once.
/// (`stentor_reaps_cut_total`)
pub const REAPS_MAX: usize = 256;

/// Replies of one turn, in bytes: beyond, decoding goes on in the next turn. What is written while it is still in
/// the second-level cache costs half. (`stentor_turns_cut_total`)
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;

/// An arena that grew beyond this, by one large reply, is given back at once, in bytes.
pub const OUTBOX_KEEP_MAX: usize = 4 * 1024 * 1024;

/// Publications that wait for delivery, in bytes: beyond, publishers are not read from. Nothing is lost; they feel
/// the pressure through TCP. (`stentor_publishers_paused_total`)
pub const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Subscribers visited in one turn, all deliveries together. At 2 to 6 µs a send, this keeps a turn well under
/// 5 ms, also on a busy machine.
pub const DELIVERIES_MAX: usize = 256;

/// Subscribers visited for one topic before it is the next one's turn.
pub const SLICE_MAX: usize = 128;

/// Bytes sent to subscribers in one turn: large messages make short slices.
pub const DELIVERY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Slices of one write: what a peer is owed leaves in one call up to this. (IOV_MAX is 1024; more than 64 small
/// frames waiting for one peer are rare, and one call of 64 is already cheap per frame.)
pub const SLICES_MAX: usize = 64;

/// What a frame that waits weighs beside its bytes: its place in the queue, and for a reply its allocations. Without
/// it, 256 KiB of the smallest publications would be ten times as much memory.
pub const FRAME_WEIGHT_BYTES: usize = 128;

/// Replies queued for one peer, in bytes: beyond, nothing more is read from it until half has gone.
/// (`stentor_readers_paused_total`)
pub const REPLY_BYTES_SOFT_MAX: usize = 64 * 1024;

/// Replies queued for one peer, in bytes, beside one message of the largest size: only a service that sends to others
/// than it heard can get here, and its peer is given up. (`stentor_departures_total`, `slow_consumer`)
pub const REPLY_BYTES_HARD_MAX: usize = 16 * 1024 * 1024;

/// How long accepting rests after the system had no descriptor left. (`stentor_accepts_exhausted_total`)
pub const ACCEPT_PAUSE: Nanos = 100 * MILLI;

/// After we have said everything, how long a peer may take to end its side. (`stentor_departures_total`)
pub const LINGER: Nanos = 2 * SECOND;

/// How long an HTTP connection may rest between two requests.
pub const KEEP_ALIVE: Nanos = 60 * SECOND;

/// A gap between two turns beyond what was slept: our own stall, for which no peer is to blame.
/// (`stentor_stalls_total`)
pub const STALL: Nanos = 500 * MILLI;

/// Buffers kept for the next incomplete message, in bytes; what is not needed is freed within seconds.
pub const POOL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Buffers lent for incomplete messages, in bytes: beyond, one that a large message has left nearly empty is exchanged
/// for a small one. Below, copying would cost more than the memory. (`stentor_buffers_lent_bytes`)
pub const LENT_BYTES_SOFT_MAX: usize = 4 * 1024 * 1024;

/// What an incomplete message is given, in bytes, or twice what has arrived if that is more: memory follows bytes
/// received, never bytes announced.
pub const AHEAD_BYTES_MIN: usize = 4096;

/// What may come behind a request that waits for its answer, in bytes: as much as one head. (`stentor_pipelines_cut_total`)
pub const PIPELINE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of publications compressed in one turn: beyond, deliveries go on in the next. At tens of microseconds a kilobyte
/// this is a few milliseconds.
pub const COMPRESS_TURN_BYTES_MAX: u64 = 128 * 1024;

/// Bytes that compressed messages unfold to in one turn, all connections together; beyond, reading goes on in the next.
/// (`stentor_turns_cut_total`)
pub const INFLATE_TURN_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Bytes that the messages of one peer may unfold to before it is somebody else's turn: 64 KiB on the wire may be
/// 64 MiB. (`stentor_turns_cut_total`)
pub const INFLATE_PEER_BYTES_MAX: u64 = 256 * 1024;

/// A scratch buffer of compression that grew beyond this, by one large message, is given back at once, in bytes.
pub const SCRATCH_KEEP_MAX: usize = 1024 * 1024;

/// What a compressor of one's own takes, with the largest window, in bytes.
pub const OWN_COMPRESSOR_BYTES: usize = DEFLATER_BYTES_MAX;

/// What an inflater of one's own takes, in bytes.
pub const INFLATER_BYTES: usize = INFLATER_BYTES_MAX;

/// What a phase of a turn takes before it leaves the rest for the next: five of them, and what they hand on, are to stay
/// below [`TURN_LONG`]. Accepting, reading, publishing, writing what waited and reaping each have their own.
/// (`stentor_accepts_cut_total`, `stentor_turns_cut_total`, `stentor_flushes_cut_total`, `stentor_reaps_cut_total`)
pub const STINT: Nanos = MILLI;

/// Peers served between two looks at the clock, which takes 30 ns.
pub const STINT_LOOK: u32 = 8;

/// A turn that is longer keeps everybody waiting for more than they should. (`stentor_turns_long_total`)
pub const TURN_LONG: Nanos = 5 * MILLI;

/// How often what lies idle is freed.
pub const HOUSEKEEPING: Nanos = SECOND;

/// Places that the lists of who is to be read from and written to keep when nobody stands in them: as many as two waits report.
pub const LISTED_KEEP: usize = 2048;

/// Peers that are behind for whom the list of them always has room: beyond, room that is not needed is given back.
pub const BEHIND_KEEP: usize = 32;

/// Descriptors that are not for peers: logs, listeners, epoll, signals, files read at start.
pub const DESCRIPTORS_RESERVED: u64 = 32;

/// A connection with its socket, its decoder and its queue, in bytes: three cache lines and a bit.
pub const CONNECTION_BYTES_MAX: usize = 208;

/// A message that goes back as it came is not copied from this length on: below, one copy costs less than a second buffer
/// in the system call.
pub const LENT_BYTES_MIN: usize = 16 << 10;

/// What a compressed byte costs beside what it unfolds to, in bytes of that: blocks may be made that say much and give
/// nothing.
pub const INFLATE_WEIGHT: u64 = 8;

/// A batch of publications by HTTP, in bytes, or one message of the largest size: it is read into memory whole. (`stentor_refusals_total`,
/// `body_too_large`)
pub const BATCH_BYTES_MAX: u64 = 1024 * 1024;

/// Messages of one batch: they are published in one turn. (`stentor_refusals_total`, `batch_too_long`)
pub const BATCH_LINES_MAX: usize = 1000;

/// The longest id of a publication, in bytes.
pub const ID_BYTES_MAX: usize = 128;

/// Ids of publications that are remembered, together at most a megabyte. (`stentor_publish_ids_forgotten_total`)
pub const IDS_MAX: usize = 4096;

/// How long one is remembered.
pub const ID_TIME: Nanos = 120 * SECOND;

/// Channels that are listed in one answer, unless another number is asked for.
pub const CHANNELS_LISTED: usize = 100;
/// Channels that are listed in one answer at most.
pub const CHANNELS_LISTED_MAX: usize = 1000;

/// What waits for one other worker, in bytes, before publishers are not read from. (`stentor_bus_full_total`)
pub const LINK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Read from one link in one turn, in bytes; of a large message as much again as has come.
pub const LINK_READ_BYTES: usize = 256 * 1024;

/// Without any progress in writing, a link is given up after so long. (`stentor_bus_stalls_total`)
pub const LINK_STALL: Nanos = 10 * SECOND;

/// Pauses between two calls of a worker that does not answer: doubled from the first to the second.
pub const REDIAL_MIN: Nanos = 20 * MILLI;
/// See [`REDIAL_MIN`].
pub const REDIAL_MAX: Nanos = SECOND;

/// How long a worker that starts waits for its links before it accepts anybody.
pub const JOIN_MAX: Nanos = 2 * SECOND;

/// How often workers tell each other their numbers.
pub const FIGURES: Nanos = SECOND;

/// How often the dashboard's watchers are sent the numbers, at most.
pub const SHOWN: Nanos = 250 * MILLI;

/// How often they are sent those of all workers: siblings tell theirs no more often.
pub const ALL_SHOWN: Nanos = FIGURES;

/// Peers that `/stats` lists as the slowest.
pub const SLOWEST_MAX: usize = 10;

/// A worker that has closed its share of the listeners, because it is full, opens it again when this part of its places is
/// taken, in hundredths. (`stentor_listener_rests_total`)
pub const LISTEN_AGAIN_PERCENT: usize = 95;
