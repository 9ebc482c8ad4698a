//! The descriptors of this process: the limit raised, and room made for as many as will be needed.
//!
//! Every client is a descriptor, and what the system does about the first of many it does at the worst of times otherwise.
//!
//! Invariant: a refusal changes nothing.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Sets the soft limit of descriptors to at least `wanted`, and the hard limit too where that is needed and allowed.
///
/// # Errors
/// With the system's reason, as one word or two.
pub fn raise_nofile(wanted: u64) -> Result<u64, String> {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|soft| soft >= wanted) {
        return Ok(now.current.unwrap_or(u64::MAX));
    }
    let maximum = now.maximum.map(|hard| hard.max(wanted));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => Ok(wanted),
        Err(rustix::io::Errno::PERM) => Err("not permitted".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Has the system make the table of descriptors long enough for `wanted` of them, by opening the highest for a moment: in a process
/// of several threads each growth holds up whoever needs it for 10 to 20 ms (Linux's `expand_fdtable` waits for all processors). A
/// refusal changes nothing.
pub fn make_room(wanted: u64) {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if let Ok(highest) = i32::try_from(wanted.next_power_of_two().min(limit).saturating_sub(1)) {
        let _ = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), highest);
    }
}
