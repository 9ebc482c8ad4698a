//! Deliberate mistakes, to show that the simulator would find them.
//!
//! An oracle that has never failed has shown nothing. So the server can be told, by a test and under the feature
//! `mutate`, to make one mistake of the kind that gets made; a world must then fail. Each is one line where the mistake
//! would be. Without the feature [`is_made`] is `false` for the compiler, and nothing of it is left.
//!
//! Invariant: no mistake is made unless [`make`] was called on this thread.

/// A mistake of a kind that gets made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A writable edge is overlooked.
    LostEdge,
    /// What a socket did not take of a reply is forgotten.
    DroppedRemainder,
    /// A half-written frame goes on one byte too late.
    OffByOne,
    /// A name that belongs to somebody who is gone finds whoever has its place now.
    StaleName,
    /// A connection that was looked at is not looked at again.
    TimerNotRearmed,
    /// What a departed peer was owed is not entered in the ledger.
    MissingEntry,
    /// A subscriber gets a publication twice.
    DoubledDelivery,
    /// A chat room is not told who leaves.
    LeaveNotTold,
    /// A pong is sent behind a close frame.
    PongBehindClose,
    /// A peer that has ended its side is let go before everything is written.
    LastWordsLost,
    /// When there is no descriptor, who knocks is forgotten.
    KnockForgotten,
    /// When there is no descriptor, accepting does not rest.
    AcceptSpins,
    /// A buffer of a departed peer does not come home.
    BufferNotReturned,
    /// A dropped publication is not told as a gap.
    GapNotTold,
    /// Who was answered 408 and does not go is answered again and again, and never let go.
    ToldForEver,
    /// What is published by HTTP while others wait is acknowledged and forgotten.
    PostForgotten,
    /// A publication to somebody for whom others wait goes before them.
    Overtaken,
    /// Nobody sets the alarm for the next tick.
    TickOverslept,
    /// A peer that left before it was accepted is taken for the last who knocks.
    AbortEndsAccepting,
    /// Accepting rests a hundred times too long when there is no descriptor.
    LongRest,
    /// Every violation is answered with the same code.
    WrongCode,
    /// A read that is interrupted by a signal is taken for a broken stream.
    InterruptBreaks,
    /// A write that is interrupted by a signal is taken for one that took everything.
    InterruptForgets,
    /// A broken stream is asked again and again, and the peer is never let go.
    BrokenIsKept,
    /// An assertion that does not hold: a peer that goes is expected to have been sent everything.
    Panics,
    /// The compressor that serves everybody remembers what it compressed before, which not everybody heard.
    ContextShared,
    /// What was promised to a compressed peer is not given back.
    MemoryKept,
    /// What came from another worker is published twice.
    HeardTwice,
    /// What a broken link held is not counted as lost.
    LossForgotten,
    /// When another worker is gone, those whom it had still count.
    PresenceKept,
    /// A letter of which a part has been written is begun again on the next link.
    WrittenTwice,
    /// A pong that waited in our own buffers while we were stopped comes too late.
    OwnStallBlamed,
}

#[cfg(feature = "mutate")]
thread_local! {
    static MADE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Has this mistake be made on this thread from now on, or none.
#[cfg(feature = "mutate")]
pub fn make(mutation: Option<Mutation>) {
    MADE.set(mutation);
}

/// Whether this mistake is to be made.
#[inline]
#[must_use]
pub fn is_made(mutation: Mutation) -> bool {
    #[cfg(feature = "mutate")]
    return MADE.get() == Some(mutation);
    #[cfg(not(feature = "mutate"))]
    {
        let _ = mutation;
        false
    }
}
