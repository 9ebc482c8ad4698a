//! The corpus of the fuzzer, replayed by the stable compiler: every input that was ever of interest, each law.
//!
//! libFuzzer needs a nightly compiler and hours; what it found needs neither. `fuzz/README.md` tells how the corpus
//! grows. Of inputs written by hand the beginnings are tried as well, because a stream may end anywhere.

#[allow(dead_code, unreachable_pub, reason = "it is a library of its own, of which a part is used here")]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Inputs longer than this are replayed as they are, and their beginnings are left out.
const BEGINNINGS_MAX: usize = 256;

/// The files of `fuzz/FOLDER/TARGET`, in order.
fn inputs(folder: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(target);
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the corpus can be read").path()).collect();
    files.sort();
    files
}

/// Replays all inputs of a target, and names the one that breaks its law.
fn replay(target: &str) {
    let (_, law) = fuzz::TARGETS.iter().find(|(name, _)| *name == target).expect("it is a target");
    let corpus = inputs("corpus", target);
    assert!(!corpus.is_empty(), "the corpus of {target} is not there");
    for file in corpus.into_iter().chain(inputs("regressions", target)) {
        let data = fs::read(&file).expect("the corpus can be read");
        let by_hand = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-"));
        let shortest = if by_hand && data.len() <= BEGINNINGS_MAX { 0 } else { data.len() };
        for len in shortest..=data.len() {
            let held = catch_unwind(AssertUnwindSafe(|| law(&data[..len])));
            assert!(held.is_ok(), "{target}: broken by the first {len} bytes of {}", file.display());
        }
    }
}

macro_rules! replayed {
    ($($target:ident),*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn every_target_is_replayed_and_has_a_program() {
            let names: Vec<&str> = fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($target)),*]);
            for name in names {
                let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/fuzz_targets/{name}.rs"));
                assert!(program.is_file(), "{}", program.display());
            }
        }
    };
}

replayed!(
    head,
    lists,
    response,
    frames_server,
    frames_client,
    utf8,
    body,
    query,
    inflate,
    connection,
    tokens,
    proxy,
    payload,
    packets,
    publishing,
    sessions
);
