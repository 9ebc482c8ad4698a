//! What the documents promise, tests hold: each test that a document names is there, and each wrong has its line.
//!
//! A table that names tests is worth as much as the names. When a test is renamed or goes, the table has to follow; and
//! a new test of the table of wrongs (`tests/wrongs_*.rs`) has to be told in `docs/security.md`.
//!
//! Invariant: what counts as the name of a test is a word in backticks with two underscores or more.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Documents whose tables name tests.
const DOCUMENTS: [&str; 3] = ["docs/security.md", "docs/protocols/http.md", "docs/protocols/websocket.md"];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `directory`.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the project can be read");
    let (mut files, mut below) = (Vec::new(), Vec::new());
    for path in entries.map(|entry| entry.expect("the project can be read").path()) {
        if path.is_dir() {
            below.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.extend(below);
    files
}

/// The names of the tests in a file: functions right behind `#[test]` or, in a `proptest!`, somewhere behind it.
fn tests_of(text: &str) -> BTreeSet<String> {
    let named = text.split("#[test]").skip(1).filter_map(|behind| {
        let name = behind.split("fn ").nth(1)?;
        Some(name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
    });
    named.collect()
}

/// What stands in backticks and is named like a test.
fn named_in(document: &str) -> BTreeSet<String> {
    // What RFC 7692 calls its parameters, or we our counters, is no test of ours.
    let endings = ["_window_bits", "no_context_takeover", "_total"];
    let is_parameter = |word: &str| endings.iter().any(|ending| word.ends_with(ending));
    let is_name = |word: &&str| {
        word.matches('_').count() >= 2
            && !is_parameter(word)
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    document.split('`').skip(1).step_by(2).filter(is_name).map(str::to_owned).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let files = ["src", "tests"].into_iter().flat_map(|room| sources(&top().join(room)));
    let known: BTreeSet<String> = files.flat_map(|file| tests_of(&read(&file))).collect();
    for document in DOCUMENTS {
        let missing: Vec<String> =
            named_in(&read(&top().join(document))).into_iter().filter(|name| !known.contains(name)).collect();
        assert!(missing.is_empty(), "{document} names tests that are not there: {missing:#?}");
    }
}

#[test]
fn every_wrong_that_is_tested_has_its_line() {
    let named = named_in(&read(&top().join("docs/security.md")));
    for file in sources(&top().join("tests")) {
        let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
        if name.starts_with("wrongs_") {
            let untold: Vec<String> =
                tests_of(&read(&file)).into_iter().filter(|test| !named.contains(test)).collect();
            assert!(untold.is_empty(), "docs/security.md says nothing of these in tests/{name}: {untold:#?}");
        }
    }
}

#[test]
fn names_are_found() {
    let document = "`a_b_c`, `tests/x_y_z.rs` and `no_name`, `Not_A_Name`\n| `one_more_name` |";
    assert_eq!(named_in(document).into_iter().collect::<Vec<_>>(), ["a_b_c", "one_more_name"]);
    let source = "#[test]\nfn plain_test() {}\n#[test]\n#[should_panic]\nfn second_test() {}\nfn helper() {}";
    assert_eq!(tests_of(source).into_iter().collect::<Vec<_>>(), ["plain_test", "second_test"]);
}
