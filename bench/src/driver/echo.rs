//! What a message costs when everybody sends and hears back.
//!
//! Invariants: a client has `inflight` messages under way until time is up; what came back in one read is
//! answered in one write. (A write per message instead makes the result a matter of luck: client and server
//! fall in or out of step, and the same floor took 1.4 µs or 4.1 µs per message, from run to run.)

use std::time::{Duration, Instant};

use super::{Failure, Fleet, Sample};

/// Echoes messages of `size` bytes, `inflight` per client, until `duration` is over and all are back.
///
/// # Errors
/// When anything is lost, too much, or wrong.
pub fn echo(fleet: &mut Fleet, size: usize, inflight: usize, duration: Duration) -> Result<Sample, Failure> {
    fleet.begin(size, inflight);
    let mut sent = vec![0u64; fleet.len()];
    let mut send = |fleet: &mut Fleet, client: usize, messages: usize| {
        fleet.expect(messages as u64, 1);
        sent[client] += messages as u64;
        fleet.send(client, messages)
    };
    let began = Instant::now();
    for client in 0..fleet.len() {
        send(fleet, client, inflight)?;
    }
    while !fleet.is_complete() {
        // One look at the clock per batch of events is enough.
        let over = began.elapsed() >= duration;
        fleet.pump(|fleet, client, messages| if over { Ok(()) } else { send(fleet, client, messages) })?;
    }
    let wall = began.elapsed();
    fleet.finish(|client| sent[client])?;
    Ok(Sample { operations: sent.iter().sum(), wall })
}
