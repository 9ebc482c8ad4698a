//! What the system counts about listeners, whoever listens: connections that nobody came to accept in time.
//!
//! Invariant: read when somebody asks, never by itself; absent where the system has no such file.

/// Connections that found the queue of a listener full, and those dropped before they were accepted, since the system started.
pub(super) fn listen_overflows() -> Option<(u64, u64)> {
    overflows_in(&std::fs::read_to_string("/proc/net/netstat").ok()?)
}

/// `ListenOverflows` and `ListenDrops` of `/proc/net/netstat`, whose lines come in pairs: names, then numbers.
fn overflows_in(netstat: &str) -> Option<(u64, u64)> {
    let mut lines =
        netstat.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_ascii_whitespace);
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.zip(values);
    let mut find = |wanted: &str| pairs.find(|(name, _)| *name == wanted)?.1.parse().ok();
    // In this order in every kernel.
    Some((find("ListenOverflows")?, find("ListenDrops")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflows_are_found_by_their_names() {
        let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPTimeouts\nTcpExt: 1 23 45 6\nIpExt: A\nIpExt: 9\n";
        assert_eq!(overflows_in(netstat), Some((23, 45)));
        assert_eq!(overflows_in("TcpExt: A B\nTcpExt: 1 2\n"), None);
        assert_eq!(overflows_in(""), None);
    }
}
