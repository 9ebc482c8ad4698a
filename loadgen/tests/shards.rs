//! Processes of the generator that die in the midst of a run, as the kernel's out-of-memory killer would have it.
//!
//! A run that has lost a part of itself must not look like one about the server: it says so first, ends the rest, and still
//! writes what was measured.
//!
//! Invariant: waits end when the awaited thing is there; the deadline only turns a hang into a failure.

#![cfg(all(feature = "embedded", target_os = "linux"))]

use std::fs;
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
