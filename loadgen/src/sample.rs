//! Samples of processes and servers once a second: CPU time, memory, descriptors, threads, Prometheus metrics.
//!
//! Why: latency without the server's cost is half a result, and a generator that does not watch itself cannot say
//! whether to believe its own numbers. All of it is read from outside, so the server needs no cooperation.
//!
//! Invariants: a sample never blocks longer than [`METRICS_TIMEOUT`]; what cannot be read is absent, never zero;
//! CPU times only grow and are compared as differences.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Longest wait for `--server-metrics`: a scrape must not outlive its second.
pub const METRICS_TIMEOUT: Duration = Duration::from_millis(800);
/// Entries of `/proc/PID/fd` that are read to count them.
pub const DESCRIPTORS_READ_MAX: usize = 20_000;
/// Largest answer of a metrics endpoint that is read.
pub const METRICS_BYTES_MAX: u64 = 4 << 20;

/// What `/proc` says about a process at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessSample {
    /// User and system time of all its threads since it started, exited threads included, in nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Open descriptors; absent where we may not look.
    pub fds: Option<u64>,
    /// Its threads.
    pub threads: Vec<ThreadSample>,
}

/// One thread at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThreadSample {
    /// Its id.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// Time on a processor since it started, in nanoseconds.
    pub cpu_ns: u64,
}

/// Samples a process.
///
/// # Errors
/// When there is no such process or `/proc` cannot be read.
pub fn process(pid: u32) -> io::Result<ProcessSample> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, ticks) = parse_stat(&stat).ok_or_else(|| invalid("/proc/PID/stat is not as expected"))?;
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| invalid("/proc/PID/statm is not as expected"))?;
    let threads = threads(pid)?;
    // The scheduler's own account is in nanoseconds, /proc/PID/stat in 10 ms ticks that also hold exited threads.
    let running: u64 = threads.iter().map(|thread| thread.cpu_ns).sum();
    Ok(ProcessSample {
        cpu_ns: running.max(ticks_to_ns(ticks)),
        rss_bytes: pages * rustix::param::page_size() as u64,
        fds: descriptors(pid),
        threads,
    })
}

/// Open descriptors of a process. Since Linux 6.2 the size of the directory is their number. Before, it has to be read, and that
/// of a server with a million kept a run from beginning for minutes: beyond [`DESCRIPTORS_READ_MAX`] the number is not known.
fn descriptors(pid: u32) -> Option<u64> {
    let path = format!("/proc/{pid}/fd");
    if let Ok(told) = fs::metadata(&path)
        && told.len() > 0
    {
        return Some(told.len());
    }
    let read = fs::read_dir(path).ok()?.take(DESCRIPTORS_READ_MAX + 1).count();
    (read <= DESCRIPTORS_READ_MAX).then_some(read as u64)
}

/// Samples a process and its children: the workers of a server are one server.
///
/// # Errors
/// As [`process`], for the parent; a child that ends meanwhile is left out.
pub fn family(pid: u32) -> io::Result<ProcessSample> {
    let mut all = process(pid)?;
    for child in children(pid).into_iter().filter_map(|child| process(child).ok()) {
        all.cpu_ns += child.cpu_ns;
        all.rss_bytes += child.rss_bytes;
        all.fds = all.fds.zip(child.fds).map(|(own, more)| own + more);
        all.threads.extend(child.threads);
    }
    Ok(all)
}

/// The children of a process. A kernel may be built without that list: then none are known.
pub fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Our own memory at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnMemory {
    /// Resident memory.
    pub rss_bytes: u64,
    /// The anonymous part of it: heap and stacks, without the pages of programs and files.
    pub anon_bytes: u64,
}

impl OwnMemory {
    /// Reads it; zeros where it cannot be read.
    pub fn now() -> Self {
        // The exact account first: statm's counters are summed up lazily, hundreds of KiB behind.
        let exact =
            fs::read_to_string("/proc/self/smaps_rollup").ok().and_then(|text| Self::of_rollup(&text));
        exact.or_else(Self::of_statm).unwrap_or_default()
    }

    fn of_rollup(text: &str) -> Option<Self> {
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
        };
        Some(Self { rss_bytes: bytes("Rss")?, anon_bytes: bytes("Anonymous")? })
    }

    fn of_statm() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/statm").ok()?;
        let mut pages = text.split_whitespace().skip(1).map(str::parse::<u64>);
        let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
        let page_bytes = rustix::param::page_size() as u64;
        Some(Self {
            rss_bytes: resident * page_bytes,
            anon_bytes: resident.saturating_sub(shared) * page_bytes,
        })
    }
}

/// Samples the threads of a process; one that ends meanwhile is left out.
///
/// # Errors
/// When there is no such process.
pub fn threads(pid: u32) -> io::Result<Vec<ThreadSample>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Some(tid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        threads.extend(thread(pid, tid));
    }
    threads.sort_by_key(|thread| thread.tid);
    Ok(threads)
}

fn thread(pid: u32, tid: u32) -> Option<ThreadSample> {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    let (name, ticks) = parse_stat(&stat)?;
    // schedstat is exact but may be compiled out of the kernel.
    let exact = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok();
    let exact =
        exact.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).filter(|ns| *ns > 0);
    Some(ThreadSample { tid, name: name.to_owned(), cpu_ns: exact.unwrap_or(ticks_to_ns(ticks)) })
}

/// Name and user + system ticks of a `stat` line; the name stands in parentheses and may hold any character.
fn parse_stat(stat: &str) -> Option<(&str, u64)> {
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let mut fields = stat.get(close + 1..)?.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((stat.get(open + 1..close)?, user + system))
}

fn ticks_to_ns(ticks: u64) -> u64 {
    ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

impl ProcessSample {
    /// CPU of the process between two samples, 1 is one core; zero when no time has passed.
    pub fn cpu_ratio_since(&self, earlier: &Self, wall_ns: u64) -> f64 {
        ratio(self.cpu_ns.saturating_sub(earlier.cpu_ns), wall_ns)
    }

    /// CPU of each thread between two samples, 1 is a whole core; threads born since count from zero.
    pub fn thread_ratios_since<'a>(
        &'a self,
        earlier: &'a Self,
        wall_ns: u64,
    ) -> impl Iterator<Item = (&'a ThreadSample, f64)> + 'a {
        self.threads.iter().map(move |thread| {
            let before =
                earlier.threads.iter().find(|other| other.tid == thread.tid).map_or(0, |other| other.cpu_ns);
            (thread, ratio(thread.cpu_ns.saturating_sub(before), wall_ns))
        })
    }

    /// The largest of [`Self::thread_ratios_since`], zero without threads.
    pub fn busiest_since(&self, earlier: &Self, wall_ns: u64) -> f64 {
        self.thread_ratios_since(earlier, wall_ns).map(|(_, ratio)| ratio).fold(0.0, f64::max)
    }
}

fn ratio(cpu_ns: u64, wall_ns: u64) -> f64 {
    if wall_ns == 0 { 0.0 } else { cpu_ns as f64 / wall_ns as f64 }
}

/// One scrape: every sample by its name and labels as written, with whether it is a counter.
pub type Metrics = BTreeMap<String, Metric>;

/// One Prometheus sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its value.
    pub value: f64,
    /// It only grows (declared `counter`, or part of a histogram or summary): differences make sense.
    pub counter: bool,
}

/// Reads a Prometheus endpoint once over plain HTTP.
///
/// # Errors
/// When the URL is no `http://` URL, the server does not answer 200 in [`METRICS_TIMEOUT`], or answers too much.
pub fn metrics(url: &str) -> io::Result<Metrics> {
    Ok(parse_metrics(&http_get(url)?))
}

/// What changed between two scrapes: counters as differences, gauges as they stand now.
pub fn metrics_since(now: &Metrics, earlier: &Metrics) -> BTreeMap<String, f64> {
    let change = |(name, metric): (&String, &Metric)| {
        let before = if metric.counter { earlier.get(name).map_or(0.0, |metric| metric.value) } else { 0.0 };
        (name.clone(), metric.value - before)
    };
    now.iter().filter(|(_, metric)| metric.value.is_finite()).map(change).collect()
}

/// Parses Prometheus text exposition; lines that are not samples are left out.
fn parse_metrics(text: &str) -> Metrics {
    let mut counters: BTreeMap<&str, bool> = BTreeMap::new();
    let mut metrics = Metrics::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            if let Some((name, kind)) = declared.trim().split_once(' ') {
                counters.insert(name, matches!(kind.trim(), "counter" | "histogram" | "summary"));
            }
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        // `name{labels} value [timestamp]`; a label's value may hold spaces, so split behind the brace.
        let name_end = line.rfind('}').map_or_else(|| line.find(' '), |brace| Some(brace + 1));
        let Some((name, rest)) = name_end.and_then(|end| line.split_at_checked(end)) else { continue };
        let Some(Ok(value)) = rest.split_whitespace().next().map(str::parse) else { continue };
        let base = name.split('{').next().unwrap_or(name);
        let suffixed = || ["_bucket", "_count", "_sum"].iter().find_map(|end| base.strip_suffix(end));
        let counter = counters.get(base).copied().or_else(|| counters.get(suffixed()?).copied());
        metrics
            .insert(name.to_owned(), Metric { value, counter: counter.unwrap_or(base.ends_with("_total")) });
    }
    metrics
}

/// The least of an HTTP client: one GET with `Connection: close` .
fn http_get(url: &str) -> io::Result<String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| invalid("a metrics URL begins with http://"))?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let with_port = if authority.rfind(':') > authority.rfind(']') {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let address = with_port.to_socket_addrs()?.next().ok_or_else(|| invalid("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, METRICS_TIMEOUT)?;
    stream.set_read_timeout(Some(METRICS_TIMEOUT))?;
    stream.set_write_timeout(Some(METRICS_TIMEOUT))?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nAccept: text/plain\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(METRICS_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).map_err(|_| invalid("the answer is not UTF-8"))?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| invalid("the answer has no end of its head"))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(io::Error::other(format!("the metrics endpoint answered {status}")));
    }
    let chunked =
        head.lines().any(|line| line.to_ascii_lowercase().replace(' ', "") == "transfer-encoding:chunked");
    if chunked { unchunk(body) } else { Ok(body.to_owned()) }
}

/// Joins the chunks of a body (RFC 9112 §7.1); trailers are dropped.
fn unchunk(mut body: &str) -> io::Result<String> {
    let wrong = || invalid("the answer is badly chunked");
    let mut out = String::with_capacity(body.len());
    loop {
        let (size, rest) = body.split_once("\r\n").ok_or_else(wrong)?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
            .map_err(|_| wrong())?;
        if size == 0 {
            return Ok(out);
        }
        // The chunk may end inside a character; metrics are ASCII, so that is refused rather than repaired.
        let (chunk, rest) = rest.split_at_checked(size).ok_or_else(wrong)?;
        out.push_str(chunk);
        body = rest.strip_prefix("\r\n").ok_or_else(wrong)?;
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn our_own_work_shows_in_our_own_sample() {
        let pid = std::process::id();
        let before = process(pid).expect("we exist");
        assert!(before.rss_bytes > 0 && !before.threads.is_empty() && before.fds.is_some());
        let mut sum = 0_u64;
        let mut after = process(pid).expect("we exist");
        while after.cpu_ns <= before.cpu_ns {
            sum = (0..100_000_u64).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(n));
            after = process(pid).expect("we exist");
        }
        assert!(after.cpu_ratio_since(&before, 1_000_000_000) > 0.0, "{sum}");
        assert!(after.busiest_since(&ProcessSample::default(), 1_000_000_000) > 0.0);
        assert!(process(u32::MAX).is_err());
    }

    #[test]
    fn a_name_may_hold_parentheses_and_spaces() {
        let stat = "7 (a) (b c) S 1 1 1 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(parse_stat(stat), Some(("a) (b c", 300)));
        assert_eq!(parse_stat("7 nothing"), None);
    }

    #[test]
    fn prometheus_text_is_read_with_its_types() {
        let text = "# HELP a what it is\n# TYPE a_total counter\na_total{path=\"/a b\"} 5\n# TYPE g gauge\ng 1.5 123\n\
                    # TYPE h histogram\nh_bucket{le=\"+Inf\"} 9\nrubbish\nu_total 2\n";
        let metrics = parse_metrics(text);
        assert_eq!(metrics.len(), 4);
        assert_eq!(metrics["a_total{path=\"/a b\"}"], Metric { value: 5.0, counter: true });
        assert_eq!(metrics["g"], Metric { value: 1.5, counter: false });
        assert!(metrics["h_bucket{le=\"+Inf\"}"].counter && metrics["u_total"].counter);
        let earlier =
            parse_metrics("# TYPE a_total counter\na_total{path=\"/a b\"} 2\n# TYPE g gauge\ng 1\n");
        let change = metrics_since(&metrics, &earlier);
        assert_eq!((change["a_total{path=\"/a b\"}"], change["g"]), (3.0, 1.5));
    }

    /// Serves one answer and returns the URL.
    fn serve(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/metrics", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("one client");
            let mut request = [0; 512];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        });
        url
    }

    #[test]
    fn an_endpoint_is_scraped_plain_or_chunked() {
        let plain = metrics(&serve("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nx 1\n")).expect("scraped");
        assert_eq!(plain["x"].value, 1.0);
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nx \r\n2;e=1\r\n3\n\r\n0\r\n\r\n";
        assert_eq!(metrics(&serve(chunked)).expect("scraped")["x"].value, 3.0);
        let refused = metrics(&serve("HTTP/1.1 404 Not Found\r\n\r\n")).expect_err("no 200");
        assert!(refused.to_string().contains("404"));
        assert!(metrics("https://localhost/").is_err());
    }

    #[test]
    fn our_own_memory_is_read_from_either_account() {
        let exact = OwnMemory::now();
        assert!(exact.anon_bytes > 0 && exact.anon_bytes <= exact.rss_bytes, "{exact:?}");
        let rough = OwnMemory::of_statm().expect("our own /proc");
        assert!(rough.anon_bytes > 0 && rough.anon_bytes <= rough.rss_bytes, "{rough:?}");
        let text = "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss:    100 kB\nAnonymous:   60 kB\n";
        let memory = OwnMemory::of_rollup(text).expect("both lines");
        assert_eq!((memory.rss_bytes, memory.anon_bytes), (102_400, 61_440));
    }
}
