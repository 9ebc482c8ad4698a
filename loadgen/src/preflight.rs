//! Preflight: checks descriptors, source ports and memory for a run, on both sides, before the first socket.
//!
//! Why: a run that dies at connection 28 232 of 50 000 wastes an hour and blames the server. Every refusal says what
//! was needed, what there is, what was tried, and what would work, in words that can be typed.
//!
//! Invariants: [`check`] decides from [`Facts`] alone (tests need no special machine); the only thing it changes is
//! the descriptor limit, through the function it is given; a suggestion is made only when it would suffice.

use crate::units;
use rustix::process::{Resource, getrlimit};
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Descriptors a process needs beside its connections: standard streams, poll, timers, pipes to its processes,
/// output files, and room for libraries.
pub const SPARE_DESCRIPTORS: u64 = 37;
/// Memory one connection takes on each side that is on this machine: about 4.2 KB of kernel memory for an idle
/// socket, doubled for the buffers of a busy one, and our own 128 bytes.
pub const CONNECTION_MEMORY_BYTES: u64 = 8_704;
/// How many loopback addresses `--source auto` walks at most.
pub const LOOPBACK_SOURCES_MAX: u64 = 250;

/// What a run asks of the machine.
#[derive(Debug, Clone)]
pub struct Request {
    /// Connections over all processes.
    pub clients: u64,
    /// `--procs`; `None` is auto: as many as the descriptors ask for.
    pub procs: Option<u64>,
    /// Resolved targets.
    pub targets: Vec<SocketAddr>,
    /// `--source`; `None` is auto.
    pub sources: Option<Vec<IpAddr>>,
    /// Where the server is.
    pub server: ServerSide,
}

/// What is known about the server's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerSide {
    /// On another machine, or nothing is known.
    Remote,
    /// One that loadgen starts, under our own limits, with so many processes.
    Own {
        /// Processes that share the connections.
        workers: u64,
    },
    /// A process of this machine (`--server-pid`).
    Local {
        /// Its id.
        pid: u32,
        /// Its soft limit of descriptors.
        nofile: u64,
        /// Descriptors it has open already.
        open: u64,
    },
}

/// What the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Soft limit of descriptors.
    pub nofile_soft: u64,
    /// Hard limit of descriptors.
    pub nofile_hard: u64,
    /// First and last ephemeral port.
    pub port_range: (u16, u16),
    /// Ports of that range that are reserved.
    pub ports_reserved: u64,
    /// Memory that can be had without swapping; `None` where it is not known.
    pub memory_available_bytes: Option<u64>,
}

/// What the run may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Processes to use.
    pub procs: u64,
    /// Source addresses to bind, in turn; empty: let the kernel choose.
    pub sources: Vec<IpAddr>,
    /// Connections that the ports allow; `u64::MAX` where ports do not limit.
    pub capacity: u64,
    /// The descriptor limit after raising.
    pub nofile: u64,
}

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was needed and what there is.
    pub needed: String,
    /// What was tried to get it.
    pub tried: Option<String>,
    /// What would work, each to be typed.
    pub works: Vec<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.needed)?;
        if let Some(tried) = &self.tried {
            write!(f, "\n  tried   {tried}")?;
        }
        if !self.works.is_empty() {
            write!(f, "\n  works   {}", self.works.join("  or  "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// Raises the descriptor limit: is asked for a number, answers the soft limit that stands then, or why not.
pub type Raise<'a> = &'a mut dyn FnMut(u64) -> Result<u64, String>;

/// Decides whether the run can be made.
///
/// # Errors
/// With everything that is missing, not only the first.
pub fn check(request: &Request, facts: &Facts, raise: Raise<'_>) -> Result<Grant, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let (procs, nofile, tried) = descriptors(request, facts, raise, &mut refusals);
    server_descriptors(request, (nofile, tried), &mut refusals);
    let (sources, capacity) = ports(request, facts, &mut refusals);
    memory(request, facts, &mut refusals);
    if refusals.is_empty() { Ok(Grant { procs, sources, capacity, nofile }) } else { Err(refusals) }
}

/// Our own side: returns the processes to use, the limit that stands, and what was tried in vain to raise it.
fn descriptors(
    request: &Request,
    facts: &Facts,
    raise: Raise<'_>,
    refusals: &mut Vec<Refusal>,
) -> (u64, u64, Option<String>) {
    let share = request.clients.div_ceil(request.procs.unwrap_or(1).max(1));
    let needed = share + SPARE_DESCRIPTORS;
    // A server of our own inherits our limit, and may need more than one of our processes.
    let inherited = match request.server {
        ServerSide::Own { workers } => request.clients.div_ceil(workers.max(1)) + SPARE_DESCRIPTORS,
        ServerSide::Remote | ServerSide::Local { .. } => 0,
    };
    let wanted = needed.max(inherited);
    let (mut limit, mut tried) = (facts.nofile_soft, None);
    if wanted > limit {
        // The whole need first (root may go above the hard limit), then what the hard limit leaves.
        match raise(wanted) {
            Ok(soft) => limit = soft,
            Err(why) => {
                tried = Some(format!("setrlimit({wanted}): {why}"));
                limit = raise(facts.nofile_hard).unwrap_or(limit);
            }
        }
    }
    let per_process = limit.saturating_sub(SPARE_DESCRIPTORS);
    let procs_needed = if per_process == 0 { u64::MAX } else { request.clients.div_ceil(per_process).max(1) };
    match request.procs {
        None if per_process > 0 => (procs_needed, limit, tried),
        Some(procs) if needed <= limit => (procs, limit, tried),
        None | Some(_) => {
            let who = if request.procs.unwrap_or(1) > 1 { "each process" } else { "this process" };
            let mut works = Vec::new();
            if per_process > 0 {
                works.push(format!("--procs {procs_needed} (each process has its own limit)"));
            }
            works.push(systemd(needed));
            works.extend(fewer(per_process * request.procs.unwrap_or(1)));
            refusals.push(Refusal {
                needed: format!(
                    "{share} connections need {needed} file descriptors, {who} may open {limit} (soft {}, hard {})",
                    facts.nofile_soft, facts.nofile_hard
                ),
                tried: tried.clone(),
                works,
            });
            (request.procs.unwrap_or(1), limit, tried)
        }
    }
}

/// The server's side, where it is on this machine.
///
/// A server of our own inherits our limit, as it stands after what was tried.
fn server_descriptors(
    request: &Request,
    (own_nofile, tried): (u64, Option<String>),
    refusals: &mut Vec<Refusal>,
) {
    let clients = request.clients;
    match request.server {
        ServerSide::Remote => {}
        ServerSide::Own { workers } => {
            let share = clients.div_ceil(workers.max(1));
            let needed = share + SPARE_DESCRIPTORS;
            if needed > own_nofile {
                let room = own_nofile.saturating_sub(SPARE_DESCRIPTORS) * workers.max(1);
                let mut works = vec![systemd(needed)];
                works.extend(fewer(room));
                works.push("a URL of a server with a higher limit".to_owned());
                refusals.push(Refusal {
                    needed: format!(
                        "{share} connections need {needed} file descriptors in loadgen's own server, it may open {own_nofile}"
                    ),
                    tried,
                    works,
                });
            }
        }
        ServerSide::Local { pid, nofile, open } => {
            let needed = clients + open;
            if needed > nofile {
                let mut works = vec![
                    format!("prlimit --pid {pid} --nofile={}", needed.next_power_of_two()),
                    systemd(needed),
                ];
                works.extend(fewer(nofile.saturating_sub(open)));
                refusals.push(Refusal {
                    needed: format!(
                        "{clients} connections need {needed} file descriptors in the server (pid {pid}, {open} open), \
                         it may open {nofile}"
                    ),
                    tried: None,
                    works,
                });
            }
        }
    }
}

/// Ports: returns the sources to bind and the capacity.
fn ports(request: &Request, facts: &Facts, refusals: &mut Vec<Refusal>) -> (Vec<IpAddr>, u64) {
    let targets = request.targets.len() as u64;
    let range = u64::from(facts.port_range.1.saturating_sub(facts.port_range.0)) + 1;
    let ports = range.saturating_sub(facts.ports_reserved);
    if targets == 0 {
        return (request.sources.clone().unwrap_or_default(), u64::MAX);
    }
    let per_source = (targets * ports).max(1);
    let wanted = request.clients.div_ceil(per_source).max(1);
    let walks = request.sources.is_none() && request.targets.iter().all(|target| is_loopback_v4(target.ip()));
    // Linux gives `connect` every other port first, and when these are taken looks at all of them each time before it tries
    // the others: beyond half the search takes longer than the connection. Loopback has sources enough to stay below.
    let spread = request.clients.div_ceil((per_source * 2 / 5).max(1));
    let sources = match &request.sources {
        Some(sources) => sources.clone(),
        // One source is enough: leave the choice to the kernel.
        None if spread <= 1 || !walks => Vec::new(),
        None => (1..=spread.min(LOOPBACK_SOURCES_MAX)).map(loopback).collect(),
    };
    let count = (sources.len() as u64).max(1);
    let capacity = count * per_source;
    if capacity < request.clients {
        let plural = |count: u64, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let mut works = Vec::new();
        if !walks {
            let example: Vec<_> = (5..5 + wanted.min(4)).map(|last| format!("10.0.0.{last}")).collect();
            let more = if wanted > 4 {
                format!(",… ({wanted} of this machine's addresses)")
            } else {
                String::new()
            };
            works.push(format!("--source {}{more}", example.join(",")));
        }
        works.push(format!("{} target ports", request.clients.div_ceil((count * ports).max(1))));
        if count * targets * 64_512 >= request.clients && ports < 64_512 {
            works.push("sysctl net.ipv4.ip_local_port_range=\"1024 65535\"".to_owned());
        }
        refusals.push(Refusal {
            needed: format!(
                "not enough source ports: {} connections, capacity {capacity} = {} × {} × {ports} ports",
                request.clients,
                plural(count, "source"),
                plural(targets, "target")
            ),
            tried: None,
            works,
        });
    }
    (sources, capacity)
}

fn memory(request: &Request, facts: &Facts, refusals: &mut Vec<Refusal>) {
    let Some(available) = facts.memory_available_bytes else { return };
    let sides = if request.server == ServerSide::Remote { 1 } else { 2 };
    let per_client = sides * CONNECTION_MEMORY_BYTES;
    let needed = request.clients.saturating_mul(per_client);
    if needed > available {
        let side = if sides == 2 { "both sides are on this machine" } else { "our side" };
        let mut works: Vec<_> = fewer(available / per_client).into_iter().collect();
        if sides == 2 {
            works.push("the server on another machine".to_owned());
        }
        refusals.push(Refusal {
            needed: format!(
                "not enough memory: {} connections take about {} bytes ({side}), available are {}",
                request.clients,
                units::format_bytes(needed),
                units::format_bytes(available)
            ),
            tried: None,
            works,
        });
    }
}

fn systemd(needed: u64) -> String {
    format!("LimitNOFILE={} (systemd)", needed.next_power_of_two())
}

/// `--clients` that would fit, rounded down to hundreds; nothing when none would.
fn fewer(room: u64) -> Option<String> {
    let rounded = if room >= 200 { room / 100 * 100 } else { room };
    (rounded > 0).then(|| format!("--clients {rounded}"))
}

fn is_loopback_v4(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(_) => false,
    }
}

/// The `n`th loopback source: 127.0.0.1, 127.0.0.2, …; `n` is at most [`LOOPBACK_SOURCES_MAX`].
fn loopback(n: u64) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, u8::try_from(n).unwrap_or(u8::MAX)))
}

impl Facts {
    /// Reads them from the running system; what cannot be read is as Linux has it by default.
    pub fn observe() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let port_range = read_pair("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or((32_768, 60_999));
        let reserved = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
        Self {
            nofile_soft: limit.current.unwrap_or(u64::MAX),
            nofile_hard: limit.maximum.unwrap_or(u64::MAX),
            port_range,
            ports_reserved: count_reserved(reserved.trim(), port_range),
            memory_available_bytes: meminfo_bytes("MemAvailable"),
        }
    }
}

/// What `/proc` says about a server on this machine; `None` when it may not be read.
pub fn server_side(pid: u32) -> Option<ServerSide> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    let nofile = if soft == "unlimited" { u64::MAX } else { soft.parse().ok()? };
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    Some(ServerSide::Local { pid, nofile, open })
}

/// One line of `/proc/meminfo`, in bytes.
pub(crate) fn meminfo_bytes(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}

pub(crate) fn read_pair(path: &str) -> Option<(u16, u16)> {
    let text = fs::read_to_string(path).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Counts the ports of a list like `8080,9000-9010` that are within a range.
fn count_reserved(list: &str, range: (u16, u16)) -> u64 {
    list.split(',')
        .filter_map(|item| {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            let (first, last) = (first.max(range.0), last.min(range.1));
            (first <= last).then(|| u64::from(last - first) + 1)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts {
        nofile_soft: 20_000,
        nofile_hard: 20_000,
        port_range: (32_768, 60_999),
        ports_reserved: 0,
        memory_available_bytes: Some(16 << 30),
    };

    fn request(clients: u64, target: &str) -> Request {
        let targets = vec![target.parse().expect("an address")];
        Request { clients, procs: Some(1), targets, sources: None, server: ServerSide::Remote }
    }

    fn refused(request: &Request, facts: &Facts) -> String {
        let mut raise =
            |wanted| if wanted > facts.nofile_hard { Err("not permitted".to_owned()) } else { Ok(wanted) };
        let refusals = check(request, facts, &mut raise).expect_err("must be refused");
        refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    fn granted(request: &Request, facts: &Facts) -> Grant {
        let mut raise =
            |wanted| if wanted > facts.nofile_hard { Err("not permitted".to_owned()) } else { Ok(wanted) };
        check(request, facts, &mut raise).expect("must be granted")
    }

    #[test]
    fn too_few_descriptors_say_what_works() {
        assert_eq!(
            refused(&request(50_000, "127.0.0.1:9001"), &FACTS),
            "50000 connections need 50037 file descriptors, this process may open 20000 (soft 20000, hard 20000)\n  \
             tried   setrlimit(50037): not permitted\n  \
             works   --procs 3 (each process has its own limit)  or  LimitNOFILE=65536 (systemd)  or  --clients 19900"
        );
    }

    #[test]
    fn too_few_ports_say_what_works() {
        let facts = Facts { nofile_soft: 1 << 20, nofile_hard: 1 << 20, ..FACTS };
        assert_eq!(
            refused(&request(50_000, "10.0.0.9:80"), &facts),
            "not enough source ports: 50000 connections, capacity 28232 = 1 source × 1 target × 28232 ports\n  \
             works   --source 10.0.0.5,10.0.0.6  or  2 target ports  or  \
             sysctl net.ipv4.ip_local_port_range=\"1024 65535\""
        );
    }

    #[test]
    fn loopback_sources_are_walked_by_themselves() {
        let facts = Facts { nofile_soft: 1 << 20, nofile_hard: 1 << 20, ..FACTS };
        let grant = granted(&request(50_000, "127.0.0.1:9001"), &facts);
        assert_eq!(grant.sources, [1, 2, 3, 4, 5].map(loopback));
        assert_eq!(grant.capacity, 141_160);
        assert!(granted(&request(11_000, "127.0.0.1:9001"), &facts).sources.is_empty());
    }

    #[test]
    fn auto_takes_as_many_processes_as_the_limit_asks_for() {
        let grant = granted(&Request { procs: None, ..request(50_000, "127.0.0.1:9001") }, &FACTS);
        assert_eq!(grant.procs, 3);
        let low = Facts { nofile_soft: 1_024, ..FACTS };
        let grant = granted(&Request { procs: None, ..request(50_000, "127.0.0.1:9001") }, &low);
        assert_eq!(
            (grant.procs, grant.nofile),
            (3, 20_000),
            "the soft limit is raised to the hard one first"
        );
        assert_eq!(granted(&Request { procs: None, ..request(100, "127.0.0.1:9001") }, &low).nofile, 1_024);
    }

    #[test]
    fn the_servers_side_is_checked_too() {
        let own = Request {
            procs: None,
            server: ServerSide::Own { workers: 1 },
            ..request(50_000, "127.0.0.1:9001")
        };
        let text = refused(&own, &FACTS);
        assert!(text.contains("in loadgen's own server, it may open 20000"), "{text}");
        assert!(text.contains("tried   setrlimit(50037): not permitted"), "{text}");
        assert!(text.contains("LimitNOFILE=65536 (systemd)  or  --clients 19900"), "{text}");
        assert!(!text.contains("--procs"), "more of our processes would not help the server: {text}");
        let local = ServerSide::Local { pid: 7, nofile: 1_024, open: 24 };
        let text = refused(&Request { server: local, ..request(5_000, "127.0.0.1:9001") }, &FACTS);
        assert!(
            text.contains("need 5024 file descriptors in the server (pid 7, 24 open), it may open 1024"),
            "{text}"
        );
        assert!(text.contains("prlimit --pid 7 --nofile=8192") && text.contains("--clients 1000"), "{text}");
    }

    #[test]
    fn memory_counts_both_sides() {
        let facts = Facts { memory_available_bytes: Some(64 << 20), ..FACTS };
        let own = Request { server: ServerSide::Own { workers: 1 }, ..request(10_000, "127.0.0.1:9001") };
        let text = refused(&own, &facts);
        assert!(text.starts_with("not enough memory: 10000 connections take about 166mi bytes"), "{text}");
        assert!(text.contains("--clients 3800"), "{text}");
        granted(&request(5_000, "127.0.0.1:9001"), &facts);
    }

    #[test]
    fn everything_missing_is_said_at_once() {
        let text = refused(&request(50_000, "10.0.0.9:80"), &FACTS);
        assert!(text.contains("file descriptors") && text.contains("source ports"), "{text}");
    }

    #[test]
    fn the_running_system_can_be_read() {
        let facts = Facts::observe();
        assert!(facts.nofile_soft > 0 && facts.port_range.0 < facts.port_range.1);
        assert_eq!(count_reserved("", (1, 9)), 0);
        assert_eq!(count_reserved("8080,9000-9010", (9_005, 60_000)), 6);
        let own = server_side(std::process::id()).expect("our own /proc");
        assert!(matches!(own, ServerSide::Local { open, .. } if open > 0));
    }
}
