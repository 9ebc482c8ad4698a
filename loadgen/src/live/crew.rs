//! The crew of a run: every process that takes part, and a line of text for each.
//!
//! Why: a run of fifty thousand is half a dozen processes and more. Who looks at a busy machine, or at a log in which one of them
//! has died, wants to know which is which and who has what to do.
//!
//! Invariants: a client stands in the line of exactly one shard; a worker keeps its line, and one that is started anew takes
//! the line of the fallen; what cannot be read of a process is left out, never zero.

use crate::engine::assignment::Assignment;
use crate::engine::clock::now_ns;
use crate::engine::control::Second;
use crate::plan::Plan;
use crate::sample::{self, ProcessSample};
use crate::units::{NS_PER_S, format_bytes, format_count, format_ns, format_percent};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Source addresses and client numbers that are named before "and so many more".
const NAMED_MAX: usize = 3;

/// All processes, those of the server first.
#[derive(Debug)]
pub struct Crew {
    server: Option<ServerProcess>,
    workers: Vec<ServerProcess>,
    shards: Vec<Shard>,
    /// Loops in each shard.
    threads: u32,
    clients: u32,
    /// Where the server of our own listens.
    listens: Option<String>,
}

/// A process of the server: the one that was started, or a child of it.
#[derive(Debug, Default)]
struct ServerProcess {
    /// `None`: it is gone.
    pid: Option<u32>,
    before: Option<(u64, ProcessSample)>,
    cpu_ratio: Option<f64>,
    rss_bytes: Option<u64>,
    fds: Option<u64>,
}

/// A process of ours that plays clients.
#[derive(Debug)]
struct Shard {
    pid: u32,
    clients: u64,
    /// The numbers of its first clients.
    first: Vec<u32>,
    sources: Vec<IpAddr>,
    /// The last second of each of its loops.
    loops: Vec<Doing>,
}

/// What a loop did in its last second.
#[derive(Clone, Copy, Debug, Default)]
struct Doing {
    connected: u64,
    sent: u64,
    received: u64,
    cpu_ns: u64,
    loop_lag_max_ns: u64,
}

impl Crew {
    /// The processes of a plan whose server, if any, is up and whose shards run as `pids`.
    pub fn new(plan: &Plan, pids: &[u32]) -> Self {
        let shards = pids.iter().zip(0..).map(|(pid, number)| Shard::new(plan, number, *pid)).collect();
        let server = plan.server_pid.map(ServerProcess::of);
        let children = plan.server_pid.map(sample::children).unwrap_or_default();
        let listens = plan.targets.first().filter(|_| plan.embedded).map(|target| target.authority.clone());
        Self {
            server,
            workers: children.into_iter().map(ServerProcess::of).collect(),
            shards,
            threads: plan.threads.max(1),
            clients: plan.clients,
            listens,
        }
    }

    /// Whether there is more to say than "a generator, and a server".
    pub fn is_several(&self) -> bool {
        self.shards.len() > 1 || !self.workers.is_empty()
    }

    /// Takes in what the loop `index` did in a second.
    pub fn note(&mut self, index: u32, second: &Second) {
        let (shard, number) = ((index / self.threads) as usize, (index % self.threads) as usize);
        if let Some(doing) = self.shards.get_mut(shard).and_then(|shard| shard.loops.get_mut(number)) {
            *doing = Doing {
                connected: second.connected,
                sent: second.sent,
                received: second.received,
                cpu_ns: second.cpu_ns,
                loop_lag_max_ns: second.loop_lag_max_ns,
            };
        }
    }

    /// Looks at the server's processes.
    pub fn look(&mut self) {
        let Some(server) = &mut self.server else { return };
        let children = server.pid.map(sample::children).unwrap_or_default();
        server.look();
        reseat(&mut self.workers, &children);
        self.workers.iter_mut().for_each(ServerProcess::look);
    }

    /// Who does what, said once: a line for each process.
    pub fn introduction(&self) -> Vec<String> {
        let listens =
            self.listens.as_ref().map_or(String::new(), |address| format!(", listens on {address}"));
        let pid = |process: &ServerProcess| process.pid.map_or("gone".to_owned(), |pid| format!("pid {pid}"));
        let mut lines = Vec::new();
        if let Some(server) = &self.server {
            let (does, where_) = match self.workers.len() {
                0 => ("serves alone".to_owned(), &*listens),
                1 => ("starts and watches 1 worker".to_owned(), ""),
                count => (format!("starts and watches {count} workers"), ""),
            };
            lines.push(format!("server ({}): {does}{where_}", pid(server)));
        }
        for (worker, number) in self.workers.iter().zip(1..) {
            lines.push(format!("server worker {number} ({}): serves a share{listens}", pid(worker)));
        }
        for (shard, number) in self.shards.iter().zip(1..) {
            lines.push(format!(
                "shard {number} (pid {}): {} of {} clients ({}) from {}",
                shard.pid,
                shard.clients,
                self.clients,
                shard.numbers(),
                shard.sources()
            ));
        }
        lines
    }

    /// What each process does now, a line for each, in columns.
    pub fn lines(&self) -> Vec<String> {
        let mut rows = Vec::new();
        if let Some(server) = &self.server {
            rows.push(("server".to_owned(), server.pid, server.doing()));
        }
        for (worker, number) in self.workers.iter().zip(1..) {
            rows.push((format!("server worker {number}"), worker.pid, worker.doing()));
        }
        for (shard, number) in self.shards.iter().zip(1..) {
            rows.push((format!("shard {number}"), Some(shard.pid), shard.doing()));
        }
        let name_width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        let pid_text = |pid: &Option<u32>| pid.map_or("–".to_owned(), |pid| pid.to_string());
        let pid_width = rows.iter().map(|(_, pid, _)| pid_text(pid).chars().count()).max().unwrap_or(0);
        rows.iter()
            .map(|(name, pid, doing)| {
                format!("  {name:<name_width$}  {:>pid_width$}  {doing}", pid_text(pid))
            })
            .collect()
    }
}

/// Gives the fallen workers' lines to those that were started in their place; further ones get new lines.
fn reseat(workers: &mut Vec<ServerProcess>, children: &[u32]) {
    let known: BTreeSet<u32> = workers.iter().filter_map(|worker| worker.pid).collect();
    let mut new = children.iter().copied().filter(|pid| !known.contains(pid));
    for worker in workers.iter_mut() {
        if worker.pid.is_none_or(|pid| !children.contains(&pid)) {
            *worker = ServerProcess { pid: new.next(), ..ServerProcess::default() };
        }
    }
    workers.extend(new.map(ServerProcess::of));
}

impl ServerProcess {
    fn of(pid: u32) -> Self {
        Self { pid: Some(pid), ..Self::default() }
    }

    fn look(&mut self) {
        let at_ns = now_ns();
        let now = self.pid.and_then(|pid| sample::process(pid).ok());
        self.cpu_ratio = match (&self.before, &now) {
            (Some((before_ns, before)), Some(now)) => {
                Some(now.cpu_ratio_since(before, at_ns.saturating_sub(*before_ns)))
            }
            (_, _) => None,
        };
        self.rss_bytes = now.as_ref().map(|now| now.rss_bytes);
        self.fds = now.as_ref().and_then(|now| now.fds);
        self.before = now.map(|now| (at_ns, now));
    }

    fn doing(&self) -> String {
        if self.pid.is_none() {
            return "has fallen".to_owned();
        }
        let parts = [
            self.cpu_ratio.map(|ratio| format!("cpu {}", format_percent(ratio))),
            self.rss_bytes.map(|bytes| format!("memory {}", format_bytes(bytes))),
            self.fds.map(|fds| format!("{} descriptors open", format_count(fds))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }
}

impl Shard {
    fn new(plan: &Plan, number: u32, pid: u32) -> Self {
        let loops = number * plan.threads..(number + 1) * plan.threads;
        let of_loop = |index| Assignment { index, loops: plan.loops(), origin_ns: 0 }.clients(plan.clients);
        let clients = loops.clone().map(|index| u64::from(of_loop(index))).sum();
        let mine = || (0..plan.clients).filter(|global| loops.contains(&(global % plan.loops())));
        // Loops, targets and sources are each taken in turn: after so many clients everything comes again.
        let turn = plan.loops() as usize * plan.targets.len().max(1) * plan.sources.len().max(1);
        let sources: BTreeSet<_> = mine()
            .take_while(|global| (*global as usize) < turn)
            .filter_map(|global| plan.source(global))
            .collect();
        Self {
            pid,
            clients,
            first: mine().take(NAMED_MAX).collect(),
            sources: sources.into_iter().collect(),
            loops: vec![Doing::default(); plan.threads as usize],
        }
    }

    /// Clients are dealt out to the loops in turn, so their numbers have a rhythm.
    fn numbers(&self) -> String {
        let named: Vec<_> = self.first.iter().map(ToString::to_string).collect();
        let more = if self.clients > named.len() as u64 { " …" } else { "" };
        format!("numbers {}{more}", named.join(", "))
    }

    fn sources(&self) -> String {
        if self.sources.is_empty() {
            return "the address that the system chooses".to_owned();
        }
        let named: Vec<_> = self.sources.iter().take(NAMED_MAX).map(ToString::to_string).collect();
        match self.sources.len() - named.len() {
            0 => named.join(", "),
            more => format!("{} and {more} more", named.join(", ")),
        }
    }

    fn doing(&self) -> String {
        let sum = |field: fn(&Doing) -> u64| self.loops.iter().map(field).sum::<u64>();
        let cpu_ratio = sum(|doing| doing.cpu_ns) as f64 / NS_PER_S as f64;
        let lag_ns = self.loops.iter().map(|doing| doing.loop_lag_max_ns).max().unwrap_or(0);
        let from =
            if self.sources.is_empty() { String::new() } else { format!(" · from {}", self.sources()) };
        format!(
            "{}/{} connected · out {}/s · in {}/s · cpu {} · lag {}{from}",
            format_count(sum(|doing| doing.connected)),
            format_count(self.clients),
            format_count(sum(|doing| doing.sent)),
            format_count(sum(|doing| doing.received)),
            format_percent(cpu_ratio),
            format_ns(lag_ns)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    fn plan(line: &str) -> Plan {
        let words = ["loadgen"].into_iter().chain(line.split_whitespace());
        Plan::new(&Cli::try_parse_from(words).expect("flags").run).expect("a plan")
    }

    fn three() -> Crew {
        let line = "ws://127.0.0.1:9 -c 50k --procs 3 --threads 1 --source 127.0.0.2,127.0.0.3,127.0.0.4";
        Crew::new(&plan(line), &[41, 42, 43])
    }

    #[test]
    fn each_shard_is_introduced_with_its_clients_and_addresses() {
        let crew = three();
        assert!(crew.is_several());
        assert_eq!(
            crew.introduction(),
            [
                "shard 1 (pid 41): 16667 of 50000 clients (numbers 0, 3, 6 …) from 127.0.0.2",
                "shard 2 (pid 42): 16667 of 50000 clients (numbers 1, 4, 7 …) from 127.0.0.3",
                "shard 3 (pid 43): 16666 of 50000 clients (numbers 2, 5, 8 …) from 127.0.0.4",
            ]
        );
    }

    #[test]
    fn many_addresses_are_counted_and_few_clients_all_named() {
        let sources: Vec<_> = (2..62).map(|last| format!("127.0.0.{last}")).collect();
        let line = format!("ws://127.0.0.1:9 -c 1k --procs 2 --threads 2 --source {}", sources.join(","));
        let crew = Crew::new(&plan(&line), &[1, 2]);
        let second = &crew.introduction()[1];
        // Loops 2 and 3 of 4 play the numbers 2, 3, 6, 7 …, so every other pair of addresses is theirs.
        assert!(second.contains("500 of 1000 clients (numbers 2, 3, 6 …)"), "{second}");
        assert!(second.ends_with("from 127.0.0.4, 127.0.0.5, 127.0.0.8 and 27 more"), "{second}");
        let few = Crew::new(&plan("ws://127.0.0.1:9 -c 4 --procs 2 --threads 1"), &[1, 2]);
        let said = &few.introduction()[1];
        assert!(
            said.ends_with("2 of 4 clients (numbers 1, 3) from the address that the system chooses"),
            "{said}"
        );
    }

    #[test]
    fn a_second_of_two_loops_is_one_line_of_their_shard() {
        let line = "ws://127.0.0.1:9 -c 20k --procs 2 --threads 2 --source 127.0.0.2";
        let mut crew = Crew::new(&plan(line), &[7, 1234]);
        for (index, loop_lag_max_ns) in [(2, 1_500_000), (3, 2_500_000)] {
            let second = Second {
                connected: 4_000,
                sent: 5,
                received: 20_000,
                cpu_ns: NS_PER_S / 4,
                loop_lag_max_ns,
                ..Second::default()
            };
            crew.note(index, &second);
        }
        assert_eq!(
            crew.lines(),
            [
                "  shard 1     7  0/10k connected · out 0/s · in 0/s · cpu 0% · lag 0ns · from 127.0.0.2",
                "  shard 2  1234  8000/10k connected · out 10/s · in 40k/s · cpu 50% · lag 2.5ms · from 127.0.0.2",
            ]
        );
    }

    #[test]
    fn a_worker_keeps_its_line_and_its_successor_takes_it() {
        let mut workers: Vec<_> = [10, 11, 12].map(ServerProcess::of).into();
        let pids = |workers: &[ServerProcess]| workers.iter().map(|worker| worker.pid).collect::<Vec<_>>();
        reseat(&mut workers, &[10, 12]);
        assert_eq!(pids(&workers), [Some(10), None, Some(12)]);
        assert_eq!(workers[1].doing(), "has fallen");
        reseat(&mut workers, &[10, 12, 15, 16]);
        assert_eq!(pids(&workers), [Some(10), Some(15), Some(12), Some(16)]);
    }

    #[test]
    fn a_server_is_looked_at_and_nothing_is_said_of_one_that_cannot_be() {
        let mut crew = three();
        crew.server = Some(ServerProcess::of(std::process::id()));
        crew.workers = vec![ServerProcess::of(u32::MAX)];
        crew.server.as_mut().expect("just set").look();
        crew.workers[0].look();
        let lines = crew.lines();
        assert!(lines[0].starts_with("  server  ") && lines[0].contains(" descriptors open"), "{lines:?}");
        assert!(
            lines[0].contains("memory ") && !lines[0].contains("cpu"),
            "one look tells no share: {lines:?}"
        );
        assert_eq!(lines[1].trim_end(), format!("  server worker 1  {}", u32::MAX));
        assert_eq!(
            crew.introduction()[0],
            format!("server (pid {}): starts and watches 1 worker", std::process::id())
        );
    }

    #[test]
    fn one_process_and_a_server_need_no_introduction() {
        assert!(!Crew::new(&plan("ws://127.0.0.1:9 -c 5"), &[1]).is_several());
    }
}
