//! Processes of the generator that die in the midst of a run, as the kernel's out-of-memory killer would have it.
//!
//! A run that has lost a part of itself must not look like one about the server: it says so first, ends the rest, and still
//! writes what was measured.
//!
//! Invariant: waits end when the awaited thing is there; the deadline only turns a hang into a failure.

#![cfg(all(feature = "embedded", target_os = "linux"))]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// The children of `pid` whose command line holds `word`.
fn children(pid: u32, word: &str) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let has_word = |child: &u32| {
        fs::read(format!("/proc/{child}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(word))
    };
    list.split_whitespace().filter_map(|child| child.parse().ok()).filter(has_word).collect()
}

#[test]
fn a_shard_that_is_killed_makes_the_run_invalid_and_says_so() {
    let report = std::env::temp_dir().join(format!("loadgen-shards-{}.json", std::process::id()));
    let mut run = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["--clients", "60", "--procs", "3", "--warmup", "0s", "-d", "50s", "--no-tui", "--json"])
        .arg(&report)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let began = Instant::now();
    let shards = loop {
        let shards = children(run.id(), "__shard");
        if shards.len() == 3 {
            break shards;
        }
        assert!(began.elapsed() < PATIENCE, "three shards are started");
        std::thread::sleep(Duration::from_millis(5));
    };
    let killed = Command::new("kill").args(["-9", &shards[1].to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let status = loop {
        if let Some(status) = run.try_wait().expect("a child can be waited for") {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "the rest is ended");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(0), "without --strict a verdict is no failure");
    let text = fs::read_to_string(&report).expect("what was measured is written");
    let _ = fs::remove_file(&report);
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["verdict"], "INVALID", "{report:#}");
    assert!(report["reasons"].to_string().contains(&format!("its process {} died", shards[1])), "{report:#}");
    assert!(
        shards.iter().all(|shard| !fs::exists(format!("/proc/{shard}")).unwrap_or(false)),
        "none is left"
    );
}

/// The process that a line names in `(pid N)`, and its command line.
fn named(line: &str) -> (u32, String) {
    let pid = line.split_once("(pid ").and_then(|(_, rest)| rest.split_once(')')).map(|(pid, _)| pid);
    let pid = pid.and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("no process in `{line}`"));
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    (pid, String::from_utf8_lossy(&command).replace('\0', " "))
}

#[test]
fn a_log_gets_a_line_for_each_process_and_then_nothing() {
    let mut run = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["--clients", "41", "--procs", "2", "--threads", "1", "--source", "127.0.0.2,127.0.0.3"])
        .args(["--ramp", "1k", "--warmup", "0s", "-d", "3s"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stderr = BufReader::new(run.stderr.take().expect("a pipe"));
    let lines: Vec<String> = (0..3)
        .map(|_| {
            let mut line = String::new();
            stderr.read_line(&mut line).expect("text");
            line.trim_end().to_owned()
        })
        .collect();
    let (server, command) = named(&lines[0]);
    assert!(command.contains("__server"), "{lines:?}: {command}");
    assert!(
        lines[0].starts_with(&format!("server (pid {server}): serves alone, listens on 127.0.0.1:")),
        "{lines:?}"
    );
    // The clients are dealt out in turn, and so are the addresses.
    let told = [
        "21 of 41 clients (numbers 0, 2, 4 …) from 127.0.0.2",
        "20 of 41 clients (numbers 1, 3, 5 …) from 127.0.0.3",
    ];
    for ((line, told), number) in lines[1..].iter().zip(told).zip(1..) {
        let (shard, command) = named(line);
        assert!(command.contains("__shard"), "{lines:?}: {command}");
        assert_eq!(*line, format!("shard {number} (pid {shard}): {told}"));
    }
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("text");
    assert_eq!(run.wait().expect("a child can be waited for").code(), Some(0), "{rest}");
    assert_eq!(rest, "", "seconds go to a terminal alone");
}

#[test]
fn without_lines_that_change_there_are_words_and_quiet_is_quiet() {
    let said = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args([
                "--clients",
                "10",
                "--procs",
                "2",
                "--threads",
                "1",
                "--ramp",
                "1k",
                "-s",
                "idle",
                "-d",
                "1s",
            ])
            .args(more)
            .stdin(Stdio::null())
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).expect("text")
    };
    let lines = said(&["--no-tui"]);
    assert_eq!(lines.lines().filter(|line| line.starts_with("shard ")).count(), 2, "{lines}");
    assert_eq!(said(&["-q"]), "");
}
