//! Many worlds at once, one to a thread at a time, told in the order of their seeds.
//!
//! Worlds share nothing, so they may run wherever there is a core; only the telling needs an order, or a failure
//! would stand in another place each time.
//!
//! Invariant: what is told, and in what order, does not depend on how many threads there are.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Runs `work` for every number below `count` on `jobs` threads and hands what it returns to `told`, in order. One job
/// is done on the caller's own thread.
pub fn in_order<T: Send>(
    count: usize,
    jobs: NonZeroUsize,
    work: impl Fn(usize) -> T + Sync,
    mut told: impl FnMut(T),
) {
    if jobs == NonZeroUsize::MIN {
        return (0..count).for_each(|number| told(work(number)));
    }
    let (next, (send, done)) = (AtomicUsize::new(0), mpsc::channel());
    thread::scope(|scope| {
        for _ in 0..jobs.get().min(count) {
            let (send, next, work) = (send.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || send.send((number, work(number))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let (mut early, mut expected) = (BTreeMap::new(), 0);
        for (number, result) in done {
            early.insert(number, result);
            while let Some(result) = early.remove(&expected) {
                told(result);
                expected += 1;
            }
        }
    });
}

/// As many threads as there are cores.
#[must_use]
pub fn cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whoever_is_done_first() {
        let mut told = Vec::new();
        let jobs = NonZeroUsize::new(4).unwrap();
        let slow_first =
            |number: usize| (0..(100 - number) * 50).fold(number, |sum, _| std::hint::black_box(sum));
        in_order(100, jobs, slow_first, |number| told.push(number));
        assert_eq!(told, (0..100).collect::<Vec<_>>());
    }
}
