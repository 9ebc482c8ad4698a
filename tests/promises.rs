//! What the documents promise, tests hold: each test that a document names is there, and each wrong has its line.
//!
//! A table that names tests is worth as much as the names. When a test is renamed or goes, the table has to follow; and
//! a new test of the table of wrongs (`tests/wrongs_*.rs`) has to be told in `docs/security.md`.
//!
//! Invariant: what counts as the name of a test is, in backticks, a word with two underscores or more, what stands behind the last
//! `::` of a path in lower case, or what stands behind `NAME.mjs: `; an ellipsis at its end stands for whatever follows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Documents whose tables name tests.
const DOCUMENTS: [&str; 6] = [
    "docs/security.md",
    "docs/protocols/bus.md",
    "docs/protocols/history.md",
    "docs/protocols/http.md",
    "docs/protocols/socketio.md",
    "docs/protocols/websocket.md",
];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `directory`.
fn sources(directory: &Path) -> Vec<PathBuf> {
    files_of(directory, "rs")
}

/// Every file below `directory` whose name ends so.
fn files_of(directory: &Path, wanted: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the project can be read");
    let (mut files, mut below) = (Vec::new(), Vec::new());
    for path in entries.map(|entry| entry.expect("the project can be read").path()) {
        if path.is_dir() {
            if !path.ends_with("node_modules") {
                below.extend(files_of(&path, wanted));
            }
        } else if path.extension().is_some_and(|ending| ending == wanted) {
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
    // What RFC 7692 calls its parameters, we our counters, or JavaScript its secrets, is no test of ours.
    let endings = ["_window_bits", "no_context_takeover", "_total"];
    let is_parameter = |word: &str| {
        word.starts_with("stentor_")
            || word.starts_with("__")
            || endings.iter().any(|ending| word.ends_with(ending))
    };
    let name = |quoted: &str| {
        if let Some((_, test)) = quoted.split_once(".mjs: ") {
            return Some(test.to_owned());
        }
        let (path, word) = quoted.rsplit_once("::").unwrap_or(("", quoted));
        let begin = word.trim_end_matches('…');
        let is_word =
            |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let is_name = word.matches('_').count() >= 2 || (word != "tests" && !path.is_empty());
        (is_name && is_word(begin) && is_word(&path.replace("::", "_")) && !is_parameter(word))
            .then(|| word.to_owned())
    };
    document.split('`').skip(1).step_by(2).filter_map(name).collect()
}

/// The names of the tests in a program for Node.
fn node_tests_of(text: &str) -> BTreeSet<String> {
    let named = ["test(\"", "test('", "test(`"].into_iter().flat_map(|begin| {
        let end = begin.chars().last().expect("a quotation mark");
        text.split(begin).skip(1).filter_map(move |behind| behind.split(end).next().map(str::to_owned))
    });
    named.collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let files = ["src", "tests"].into_iter().flat_map(|room| sources(&top().join(room)));
    let programs = files_of(&top().join("tests"), "mjs");
    let of_programs = programs.iter().flat_map(|file| node_tests_of(&read(file)));
    let known: BTreeSet<String> = files.flat_map(|file| tests_of(&read(&file))).chain(of_programs).collect();
    for document in DOCUMENTS {
        let is_known = |name: &String| match name.strip_suffix('…') {
            Some(begin) => known.iter().any(|known| known.starts_with(begin)),
            None => known.contains(name),
        };
        let named = named_in(&read(&top().join(document)));
        let missing: Vec<String> = named.into_iter().filter(|name| !is_known(name)).collect();
        assert!(missing.is_empty(), "{document} names tests that are not there: {missing:#?}");
    }
}

#[test]
fn every_wrong_that_is_tested_has_its_line() {
    let named = named_in(&read(&top().join("docs/security.md")));
    for file in sources(&top().join("tests")) {
        let name =
            file.strip_prefix(top().join("tests")).expect("it is there").to_string_lossy().into_owned();
        if name.starts_with("wrongs_") {
            let untold: Vec<String> =
                tests_of(&read(&file)).into_iter().filter(|test| !named.contains(test)).collect();
            assert!(untold.is_empty(), "docs/security.md says nothing of these in tests/{name}: {untold:#?}");
        }
    }
}

#[test]
fn names_are_found() {
    let document = "`a_b_c`, `tests/x_y_z.rs` and `no_name`, `Not_A_Name`\n| `one_more_name` |\n\
                    `m::one`, `m::tests`, `Type::name`, `a.mjs: says: it`, `m::begins_…`";
    let names: Vec<String> = named_in(document).into_iter().collect();
    assert_eq!(names, ["a_b_c", "begins_…", "one", "one_more_name", "says: it"]);
    let program = "test(\"one\", async () => {}); test(`in ${x}`, f);";
    assert_eq!(node_tests_of(program).into_iter().collect::<Vec<_>>(), ["in ${x}", "one"]);
    let source = "#[test]\nfn plain_test() {}\n#[test]\n#[should_panic]\nfn second_test() {}\nfn helper() {}";
    assert_eq!(tests_of(source).into_iter().collect::<Vec<_>>(), ["plain_test", "second_test"]);
}
