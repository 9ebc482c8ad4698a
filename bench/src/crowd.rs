//! What happens when thousands of peers do the same thing: leave, stall, take a burst, say nothing.
//!
//! These are questions about stentor alone: most of the answers are what it says of itself at `/stats`, or its memory. Each
//! has a bar that is a number and not a ratio.
//!
//! Invariants: a number is taken when what it is about has come to rest, or after a minute not at all.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::driver::{self, Failure, Fleet, Trust};
use crate::server::Running;

/// How long to wait for a server to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);
/// Until what is freed by the clock has been freed.
const REST: Duration = Duration::from_millis(2500);
const MESSAGE_BYTES: usize = 1024;

/// Everybody is reset at once: how many of a thousand turns are longer than 5 ms until all are gone.
///
/// # Errors
/// When somebody is not let in, or not let go.
pub fn parting(running: &Running, clients: usize) -> Result<f64, Failure> {
    let fleet = Fleet::connect(running.address(), "/broadcast", clients, Trust::Contents)?;
    let before = running.stats()?;
    fleet.reset()?;
    let after = wait(running, |stats| number(stats, "connections") == 1)?;
    let grown = |name| number(&after, name) - number(&before, name);
    Ok(grown("turns_long_total") as f64 * 1000.0 / grown("turns_total").max(1) as f64)
}

/// Nobody reads while `messages` are published: what that costs, in MiB of the server's own memory.
///
/// # Errors
/// When somebody is not let in, or not everybody falls behind.
pub fn stalled(running: &Running, clients: usize, messages: usize) -> Result<f64, Failure> {
    let _fleet = Fleet::connect_narrow(running.address(), "/broadcast", clients)?;
    thread::sleep(REST);
    let before = running.anonymous_bytes();
    fall_behind(running, clients, messages)?;
    Ok(running.anonymous_bytes().saturating_sub(before) as f64 / f64::from(1 << 20))
}

/// How long deliveries to a thousand who read take while nobody else is there, and beside `clients` who read nothing and were
/// left behind by a mebibyte; in turn, twice, publications of 1 KiB for `duration` each time.
///
/// A system asks those who take nothing again and again whether they do (window probes, RFC 9293 §3.8.6.1): after 0.2 s, then after
/// twice as long each time. Ten thousand who fell behind at once are all asked at once, whoever the server is. So what is
/// measured begins when that has become rare: after ten times `duration`, at most 14 s.
///
/// # Errors
/// When somebody is not let in, or not everybody falls behind.
pub fn beside(running: &Running, clients: usize, duration: Duration) -> Result<[Vec<Duration>; 2], Failure> {
    const READERS: usize = 1000;
    // The readers' turn takes a third of it.
    const INTERVAL: Duration = Duration::from_millis(20);
    const LARGE: [usize; 2] = [16 << 10, 64];
    const PROBES: Duration = Duration::from_secs(14);
    let mut readers = Fleet::connect(running.address(), "/broadcast", READERS, Trust::Nothing)?;
    let count = duration.div_duration_f64(INTERVAL).ceil() as usize;
    driver::paced(&mut readers, MESSAGE_BYTES, count, INTERVAL)?;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..2 {
        times[0].extend(driver::paced(&mut readers, MESSAGE_BYTES, count, INTERVAL)?);
        let stalled = Fleet::connect_narrow(running.address(), "/broadcast", clients)?;
        driver::paced(&mut readers, LARGE[0], LARGE[1], Duration::ZERO)?;
        let behind = number(&running.stats()?, "peers_behind");
        if behind != clients as u64 {
            return Err(io::Error::other(format!("{behind} of {clients} are behind")).into());
        }
        thread::sleep((duration * 10).min(PROBES));
        times[1].extend(driver::paced(&mut readers, MESSAGE_BYTES, count, INTERVAL)?);
        drop(stalled);
        wait(running, |stats| number(stats, "connections") == READERS as u64 + 1)?;
    }
    Ok(times)
}

/// A burst that leaves everybody behind, and is read in the end: memory afterwards, in times that of before.
///
/// # Errors
/// When somebody is not let in, not everybody falls behind, or somebody never catches up.
pub fn burst(running: &Running, clients: usize, messages: usize) -> Result<f64, Failure> {
    let few = clients / 8;
    let mut fleet = Fleet::connect_narrow(running.address(), "/broadcast", few)?;
    // Once with few: what the server keeps for itself, such as its receive buffer and the history, is there from then on.
    fall_behind_and_recover(running, &mut fleet, few, messages)?;
    let own = running.anonymous_bytes();
    fleet.grow(running.address(), "/broadcast", clients - few)?;
    thread::sleep(REST);
    let before = running.anonymous_bytes().saturating_sub(own);
    fall_behind_and_recover(running, &mut fleet, clients, messages)?;
    let after = running.anonymous_bytes().saturating_sub(own);
    Ok(after as f64 / before as f64)
}

/// A burst that all of `fleet` are behind with, until everybody has read it.
fn fall_behind_and_recover(
    running: &Running,
    fleet: &mut Fleet,
    clients: usize,
    messages: usize,
) -> Result<(), Failure> {
    fall_behind(running, clients, messages)?;
    let began = Instant::now();
    while number(&running.stats()?, "queued") > 0 {
        if began.elapsed() > PATIENCE {
            return Err(io::Error::other("somebody is still behind after a minute").into());
        }
        fleet.drain()?;
    }
    thread::sleep(REST);
    Ok(())
}

/// Nobody says anything: what pings and pongs cost, in percent of a core, and µs for each ping.
///
/// # Errors
/// When somebody is not let in, or something other than a ping comes.
pub fn heartbeats(running: &Running, clients: usize, interval: Duration) -> Result<(f64, f64), Failure> {
    let mut fleet = Fleet::connect(running.address(), "/broadcast", clients, Trust::Nothing)?;
    // By then the pings of those who came together are spread as they will be.
    driver::answer_pings(&mut fleet, interval * 2)?;
    let (began, spent) = (Instant::now(), running.cpu_ns());
    let pings = driver::answer_pings(&mut fleet, interval)?;
    let (wall, spent) = (began.elapsed(), running.cpu_ns() - spent);
    Ok((spent as f64 / wall.as_nanos() as f64 * 100.0, spent as f64 / 1e3 / pings.max(1) as f64))
}

/// Publishes, and waits until nothing moves any more.
fn fall_behind(running: &Running, clients: usize, messages: usize) -> Result<(), Failure> {
    let known = number(&running.stats()?, "publications_total");
    driver::publish(running.address(), MESSAGE_BYTES, messages)?;
    wait(running, |stats| number(stats, "publications_total") == known + messages as u64)?;
    let began = Instant::now();
    while !running.is_idle() {
        if began.elapsed() > PATIENCE {
            return Err(io::Error::other("no rest within a minute").into());
        }
    }
    let stats = running.stats()?;
    let behind = number(&stats, "peers_behind");
    if behind == clients as u64 {
        return Ok(());
    }
    Err(io::Error::other(format!("{behind} of {clients} are behind")).into())
}

fn wait(running: &Running, mut is_so: impl FnMut(&Value) -> bool) -> Result<Value, Failure> {
    const STEP: Duration = Duration::from_millis(300);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let stats = running.stats()?;
        if is_so(&stats) {
            return Ok(stats);
        }
        thread::sleep(STEP);
    }
    Err(io::Error::other("no rest within a minute").into())
}

fn number(stats: &Value, name: &str) -> u64 {
    stats[name].as_u64().unwrap_or(0)
}
