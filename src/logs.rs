//! Log lines leave through a thread of their own, so that the loop never waits for whoever reads them.
//!
//! A pipe that nobody empties, a full disk, a closed stderr: each makes a write to stderr block or fail, and the loop
//! logs. So a line is put into a bounded queue and forgotten. What the queue does not take, and what could not be
//! written, is counted (`stentor_log_lines_dropped_total`) and otherwise lost: a log is for people, and people are
//! patient.
//!
//! Invariants: putting a line into the queue never blocks; at most [`LINES_MAX`] lines of together [`BYTES_MAX`]
//! bytes wait; nothing here panics when stderr is gone.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that may wait.
const LINES_MAX: usize = 4096;
/// Bytes that may wait.
const BYTES_MAX: usize = 1 << 20;
/// Written in one call, about.
const BATCH_BYTES: usize = 32 * 1024;
/// How long the end of the process waits for the last lines.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Puts lines into the queue; one for every line that is logged.
#[derive(Clone)]
pub(crate) struct LogWriter {
    lines: SyncSender<Vec<u8>>,
    state: Arc<State>,
}

struct State {
    waiting_bytes: AtomicUsize,
    dropped: Arc<AtomicU64>,
}

/// Lets the last lines out, for a moment, when the process ends.
pub(crate) struct LastWords(LogWriter);

impl LastWords {
    /// Says a line behind those that wait: also where nobody reads, the process ends.
    pub(crate) fn say(&mut self, line: &str) {
        // Never an error.
        let _ = self.0.write(format!("{line}\n").as_bytes());
    }
}

/// Starts the thread that writes to `out`. Lines that get lost are counted in `dropped`.
///
/// # Errors
/// When the system refuses a thread.
pub(crate) fn start(
    out: impl Write + Send + 'static,
    dropped: Arc<AtomicU64>,
) -> io::Result<(LogWriter, LastWords)> {
    let (lines, queue) = sync_channel(LINES_MAX);
    let state = Arc::new(State { waiting_bytes: AtomicUsize::new(0), dropped });
    let ours = Arc::clone(&state);
    thread::Builder::new().name("log".to_owned()).spawn(move || write_all(out, &queue, &ours))?;
    let writer = LogWriter { lines, state };
    Ok((writer.clone(), LastWords(writer)))
}

/// Writes what waits, many lines in one call, until nobody can log any more.
fn write_all(mut out: impl Write, queue: &Receiver<Vec<u8>>, state: &State) {
    while let Ok(mut batch) = queue.recv() {
        let mut count = 1;
        while batch.len() < BATCH_BYTES
            && let Ok(line) = queue.try_recv()
        {
            batch.extend_from_slice(&line);
            count += 1;
        }
        if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
            state.dropped.fetch_add(count, Ordering::Relaxed);
        }
        state.waiting_bytes.fetch_sub(batch.len(), Ordering::Release);
    }
}

impl Write for LogWriter {
    /// Takes a line whole, or drops and counts it: never an error, which would itself be reported on stderr.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let waiting = self.state.waiting_bytes.fetch_add(line.len(), Ordering::Relaxed);
        if waiting + line.len() > BYTES_MAX || self.lines.try_send(line.to_vec()).is_err() {
            self.state.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        let until = Instant::now() + LAST_WORDS;
        while self.0.state.waiting_bytes.load(Ordering::Acquire) > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    /// Writes into memory, once it may.
    struct Gate(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Open for ever once the other end is gone.
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn while_nobody_reads_lines_are_dropped_and_counted_and_those_kept_stay_in_order() {
        let (gate, written, dropped) =
            (channel(), Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
        let (mut log, last_words) = start(Gate(gate.1, Arc::clone(&written)), Arc::clone(&dropped)).unwrap();
        let all = 8 * LINES_MAX as u64;
        for number in 0..all {
            assert!(log.write(format!("{number}\n").as_bytes()).is_ok(), "it neither blocks nor fails");
        }
        let lost = dropped.load(Ordering::Relaxed);
        assert!(lost >= all - LINES_MAX as u64 - BATCH_BYTES as u64 / 2, "{lost} of {all}");
        drop(gate.0);
        drop(last_words);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let numbers: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers.len() as u64 + lost, all, "each line is written or counted");
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn long_lines_are_bounded_in_bytes() {
        let (gate, written, dropped) =
            (channel(), Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
        let (mut log, _last_words) = start(Gate(gate.1, Arc::clone(&written)), Arc::clone(&dropped)).unwrap();
        for _ in 0..10 {
            log.write_all(&[b'x'; BYTES_MAX / 4]).unwrap();
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 6);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let dropped = Arc::new(AtomicU64::new(0));
        let (mut log, last_words) = start(Full, Arc::clone(&dropped)).unwrap();
        (0..7).for_each(|_| log.write_all(b"line\n").unwrap());
        drop(last_words);
        assert_eq!(dropped.load(Ordering::Relaxed), 7);
    }
}
