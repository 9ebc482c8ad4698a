//! `loadgen doctor`: what of this machine will limit or falsify a measurement, and what to type about it.
//!
//! Why: most wrong load tests are wrong before they start: 1024 descriptors, a backlog of 128, a clock that costs a
//! system call, a neighbour that takes the cores. Looking takes a second.
//!
//! Invariants: it changes nothing; every finding that is not `ok` says what to type; what cannot be read is left
//! out rather than guessed.

use crate::preflight::{Facts, meminfo_bytes};
use crate::report::Env;
use crate::units::{format_bytes, format_count};
use std::fmt::Write;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

/// How good one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Nothing to do.
    Ok,
    /// Large or fine measurements will suffer.
    Warn,
    /// Measurements will fail or mislead.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name.
    pub name: &'static str,
    /// How good it is.
    pub health: Health,
    /// What was found, with units.
    pub found: String,
    /// What to type, where something should be done.
    pub advice: Option<String>,
}

/// Looks at everything.
pub fn examine() -> Vec<Finding> {
    let facts = Facts::observe();
    let env = Env::observe();
    let mut findings = vec![descriptors(&facts), ports(&facts), cores(env.cores, env.load_average)];
    findings.extend(number("/proc/sys/net/core/somaxconn").map(backlog));
    findings.extend(number("/proc/sys/net/ipv4/tcp_max_syn_backlog").map(syn_backlog));
    findings.extend(text("/proc/sys/net/ipv4/tcp_congestion_control").map(|name| congestion(&name)));
    findings.extend(Some(env.clock_source.as_str()).filter(|name| !name.is_empty()).map(clock));
    findings.push(clock_cost(clock_read_ns()));
    findings.extend(text("/proc/sys/net/ipv4/tcp_mem").and_then(|pages| tcp_memory(&pages)));
    findings.extend(meminfo_bytes("MemAvailable").map(memory));
    findings.extend(number("/proc/sys/net/netfilter/nf_conntrack_max").map(conntrack));
    findings.extend(text("/sys/kernel/mm/transparent_hugepage/enabled").map(|modes| huge_pages(&modes)));
    findings
        .extend(text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").map(|name| governor(&name)));
    findings.push(loopback());
    findings
}

/// The worst of the findings.
pub fn worst(findings: &[Finding]) -> Health {
    findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Ok)
}

/// Renders the findings for a terminal.
pub fn render(findings: &[Finding], colour: bool) -> String {
    let mut out = String::new();
    for finding in findings {
        let (word, code) = match finding.health {
            Health::Ok => ("ok  ", "32"),
            Health::Warn => ("warn", "33"),
            Health::Bad => ("bad ", "31"),
        };
        let word = if colour { format!("\x1b[1;{code}m{word}\x1b[0m") } else { word.to_owned() };
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "{word}  {:<20} {}", finding.name, finding.found);
        if let Some(advice) = &finding.advice {
            let _ = writeln!(out, "      {:<20} {advice}", "");
        }
    }
    out
}

fn finding(name: &'static str, health: Health, found: String, advice: &str) -> Finding {
    let advice = (health != Health::Ok && !advice.is_empty()).then(|| advice.to_owned());
    Finding { name, health, found, advice }
}

fn descriptors(facts: &Facts) -> Finding {
    let health = match facts.nofile_hard {
        0..=4_096 => Health::Bad,
        4_097..=65_535 => Health::Warn,
        _ => Health::Ok,
    };
    let found = format!(
        "{} soft, {} hard: at most about {} connections per process",
        facts.nofile_soft,
        facts.nofile_hard,
        format_count(facts.nofile_hard.saturating_sub(crate::preflight::SPARE_DESCRIPTORS))
    );
    finding(
        "descriptors",
        health,
        found,
        "LimitNOFILE=1048576 (systemd), or ulimit -n 1048576 as root; or --procs",
    )
}

fn ports(facts: &Facts) -> Finding {
    let (first, last) = facts.port_range;
    let ports = u64::from(last.saturating_sub(first)) + 1 - facts.ports_reserved.min(u64::from(last - first));
    let health = if ports < 10_000 { Health::Bad } else { Health::Ok };
    let found = format!("{first}–{last}: {ports} connections per source address and target port");
    finding("source ports", health, found, "sysctl net.ipv4.ip_local_port_range=\"1024 65535\"")
}

fn cores(cores: u64, load_average: f64) -> Finding {
    let busy = load_average / cores.max(1) as f64;
    let (health, advice) = if cores < 2 {
        (Health::Bad, "server and generator share one core: put the server on another machine")
    } else if busy > 0.5 {
        (Health::Warn, "others work here (`top`): wait, or compare only runs that were interleaved")
    } else {
        (Health::Ok, "")
    };
    finding("cores", health, format!("{cores} usable, load average {load_average:.2}"), advice)
}

fn backlog(somaxconn: u64) -> Finding {
    let health = if somaxconn < 1_024 { Health::Warn } else { Health::Ok };
    let found = format!("{somaxconn} connections may wait for accept (net.core.somaxconn)");
    finding(
        "accept backlog",
        health,
        found,
        "sysctl net.core.somaxconn=4096, and the server must ask for it in listen()",
    )
}

fn syn_backlog(syns: u64) -> Finding {
    let health = if syns < 512 { Health::Warn } else { Health::Ok };
    let found = format!("{syns} half-open connections (net.ipv4.tcp_max_syn_backlog)");
    finding("SYN backlog", health, found, "sysctl net.ipv4.tcp_max_syn_backlog=4096")
}

fn congestion(name: &str) -> Finding {
    // On loopback BBR paces large messages: 329 µs for a 1 MiB echo where reno takes 202.
    let health = if name.starts_with("bbr") { Health::Warn } else { Health::Ok };
    let found = format!("{name}; compare large messages only under the same one");
    finding(
        "congestion control",
        health,
        found,
        "sysctl net.ipv4.tcp_congestion_control=cubic for loopback measurements",
    )
}

fn clock(name: &str) -> Finding {
    let health = match name {
        "tsc" | "arch_sys_counter" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "timebase" => Health::Ok,
        _ => Health::Warn,
    };
    let advice =
        "this source may cost a system call per reading; boot with clocksource=tsc where it is stable";
    finding("clock source", health, name.to_owned(), advice)
}

fn clock_cost(read_ns: u64) -> Finding {
    let health = if read_ns > 500 { Health::Warn } else { Health::Ok };
    let found = format!("{read_ns} ns to read the monotonic clock");
    finding(
        "clock cost",
        health,
        found,
        "every delivery reads the clock: expect the generator to be the slower side",
    )
}

/// The cheapest of a few rounds: what the clock costs, not what the neighbours cost.
fn clock_read_ns() -> u64 {
    const READS: u32 = 1_000;
    let round = || {
        let start = Instant::now();
        for _ in 0..READS {
            std::hint::black_box(Instant::now());
        }
        start.elapsed().as_nanos() as u64 / u64::from(READS)
    };
    (0..5).map(|_| round()).min().unwrap_or(0)
}

fn tcp_memory(pages: &str) -> Option<Finding> {
    let high: u64 = pages.split_whitespace().nth(2)?.parse().ok()?;
    let bytes = high.saturating_mul(rustix::param::page_size() as u64);
    let health = if bytes < 256 << 20 { Health::Warn } else { Health::Ok };
    let found = format!("{} bytes for all TCP buffers (net.ipv4.tcp_mem)", format_bytes(bytes));
    Some(finding(
        "TCP memory",
        health,
        found,
        "sysctl net.ipv4.tcp_mem=\"262144 524288 1048576\" before many slow readers",
    ))
}

fn memory(available: u64) -> Finding {
    let clients = available / (2 * crate::preflight::CONNECTION_MEMORY_BYTES);
    let health = if available < 256 << 20 { Health::Bad } else { Health::Ok };
    let found = format!(
        "{} bytes available: about {} connections with both sides here",
        format_bytes(available),
        format_count(clients)
    );
    finding("memory", health, found, "stop something, or use fewer --clients")
}

fn conntrack(entries: u64) -> Finding {
    let health = if entries < 262_144 { Health::Warn } else { Health::Ok };
    let found = format!("the firewall tracks at most {entries} connections (nf_conntrack_max)");
    finding("connection tracking", health, found, "sysctl net.netfilter.nf_conntrack_max=1048576")
}

fn huge_pages(modes: &str) -> Finding {
    let health = if modes.contains("[always]") { Health::Warn } else { Health::Ok };
    let found = format!("{modes}: resident memory per connection is rounded up under `always`");
    finding("huge pages", health, found, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
}

fn governor(name: &str) -> Finding {
    let health = if name == "performance" { Health::Ok } else { Health::Warn };
    let found = format!("{name}: an idle core needs time to speed up");
    finding("frequency governor", health, found, "cpupower frequency-set -g performance")
}

/// Whether 127.0.0.2 can be a source: `--source auto` walks there beyond one port range.
fn loopback() -> Finding {
    const NAME: &str = "loopback";
    let trip = || -> std::io::Result<u64> {
        let listener = TcpListener::bind("127.0.0.2:0")?;
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        let mut byte = [0; 1];
        let mut best = u64::MAX;
        for _ in 0..64 {
            let start = Instant::now();
            client.write_all(&[1])?;
            server.read_exact(&mut byte)?;
            best = best.min(start.elapsed().as_nanos() as u64);
        }
        Ok(best)
    };
    match trip() {
        Ok(ns) => finding(NAME, Health::Ok, format!("127.0.0.2 answers, one byte takes {ns} ns"), ""),
        Err(error) => {
            finding(NAME, Health::Bad, format!("127.0.0.2 cannot be used: {error}"), "ip link set lo up")
        }
    }
}

fn text(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}

fn number(path: &str) -> Option<u64> {
    text(path)?.parse().ok()
}

impl Env {
    /// Reads the environment block off the running system; what cannot be read stays empty or zero.
    pub fn observe() -> Self {
        let facts = Facts::observe();
        let model = |info: String| {
            let line = info.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let load = text("/proc/loadavg").and_then(|load| load.split(' ').next()?.parse().ok());
        Self {
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            kernel: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            cpu: text("/proc/cpuinfo").and_then(model).unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u64),
            memory_bytes: meminfo_bytes("MemTotal").unwrap_or(0),
            clock_source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
                .unwrap_or_default(),
            congestion_control: text("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default(),
            nofile: facts.nofile_soft,
            port_range: [facts.port_range.0, facts.port_range.1],
            load_average: load.unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_examined() {
        let findings = examine();
        for name in ["descriptors", "source ports", "cores", "clock cost", "loopback"] {
            assert!(findings.iter().any(|finding| finding.name == name), "{name} is missing");
        }
        let text = render(&findings, false);
        assert!(text.lines().count() >= findings.len() && !text.contains('\x1b'));
    }

    #[test]
    fn what_is_not_ok_says_what_to_type() {
        let low = Facts {
            nofile_soft: 1_024,
            nofile_hard: 4_096,
            port_range: (60_000, 60_999),
            ports_reserved: 0,
            memory_available_bytes: None,
        };
        let findings = [
            descriptors(&low),
            ports(&low),
            cores(1, 0.0),
            backlog(128),
            clock("hpet"),
            memory(1 << 20),
            congestion("bbr"),
        ];
        for finding in &findings {
            assert!(finding.health != Health::Ok && finding.advice.is_some(), "{finding:?}");
        }
        assert_eq!(worst(&findings), Health::Bad);
    }

    #[test]
    fn what_is_ok_gives_no_advice() {
        let findings = [
            backlog(4_096),
            clock("tsc"),
            congestion("cubic"),
            cores(8, 0.1),
            huge_pages("always [madvise] never"),
        ];
        for finding in &findings {
            assert!(finding.health == Health::Ok && finding.advice.is_none(), "{finding:?}");
        }
    }
}
