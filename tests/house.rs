//! The rules of the house that a program can check: floors, file openings, sizes, words.
//!
//! An architecture that only a document holds is gone within a year. These tests read the sources and name
//! each breach with its line, the rule, why the rule exists and what mends it; `docs/architecture.md` has the
//! plan behind them. The last tests of the file break every rule on purpose and expect to be caught.
//!
//! Invariant: a rule has no list of exceptions. Where a rule is wrong, the rule is changed.

#[path = "house/source.rs"]
mod source;

use source::{Source, is_word, whole_words};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A file without its tests.
const FILE_LINES_MAX: usize = 400;
/// A function, lines of comment and blank lines not counted.
const FUNCTION_LINES_MAX: usize = 60;
/// Below this a file may be one sentence and a few lines.
const TINY_LINES_MAX: usize = 15;

/// Floor by floor: a room of `src/`, and the rooms it may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("ws", &["base"]),
    ("http", &["base"]),
    ("socketio", &["base"]),
    ("net", &["base"]),
    ("hub", &["base", "ws", "socketio"]),
    ("service", &["base", "socketio", "hub"]),
    ("server", &["base", "ws", "http", "socketio", "net", "hub", "service"]),
    ("sim", &["base", "ws", "http", "socketio", "net", "hub", "service", "server"]),
    ("flags", &["base", "server"]),
];
/// `main.rs` and what lies beside it: flags in, exit code out.
const MAIN: &[&str] = &["base", "server"];
/// The load generator builds on the codec alone …
const LOADGEN: &[&str] = &["base", "ws", "http"];
/// … except for the one file that brings its own server.
const LOADGEN_EMBEDDED: &[&str] = &["base", "ws", "http", "server"];
/// Rooms that get time, bytes and chance as arguments, and what would bring them in by the back door.
const PURE_ROOMS: &[&str] = &["base", "ws", "http", "socketio", "hub", "service"];
const IMPURE: &[&str] =
    &["std::net", "std::time::Instant", "SystemTime", "Instant::now", "std::thread", "std::fs", "std::env"];
const IMPURE_CRATES: &[&str] = &["mio", "socket2", "rustix", "signal_hook", "signal_hook_mio", "fastrand"];

/// A rule: its name, why it exists, what to do about a breach.
struct Rule {
    name: &'static str,
    reason: &'static str,
    mend: &'static str,
}

const FLOORS: Rule = Rule {
    name: "a room imports rooms on lower floors only",
    reason: "a protocol that can see a socket will use it; what points down only can be read and tested floor by floor",
    mend: "hand the thing in as an argument, or move what both need to a lower floor",
};
const PURE: Rule = Rule {
    name: "below the server there is no socket, no clock, no chance",
    reason: "time, bytes and randomness are arguments, so that the simulator can replay a world exactly",
    mend: "take `now`, the bytes or the random number as an argument; only `net/` asks the system",
};
const OPENING: Rule = Rule {
    name: "a file opens with one sentence that says what it is, then a blank `//!` line, then why it exists",
    reason: "the reader decides by the first line whether this is the file",
    mend: "line 1 `//! What it is.`, then `//!`, then `//! Why, and its invariants.`",
};
const FILE_SIZE: Rule = Rule {
    name: "a file has at most 400 lines without its tests",
    reason: "a file is one idea; past that size a second one has moved in",
    mend: "give the second idea a file of its own",
};
const FUNCTION_SIZE: Rule = Rule {
    name: "a function has at most 60 lines of code",
    reason: "a function is read on one screen",
    mend: "decide outside, iterate inside; name the part that has a name",
};
const UNFINISHED: Rule = Rule {
    name: "nothing is left for later in the sources",
    reason: "a note in the code is read by nobody who could act on it",
    mend: "do it, or write an issue",
};
const SAFE: Rule = Rule {
    name: "no unsafe code",
    reason: "speed here comes from doing less, and the compiler's proof covers the whole house",
    mend: "use a library whose purpose is to wrap that call",
};
const PLACE: Rule = Rule {
    name: "the project does not know the machine it was written on",
    reason: "a path of one machine is wrong on every other; packages come by name, from where the user's own settings say",
    mend: "use a relative path, an argument or an environment variable; install by package name only",
};

/// One breach of a rule.
struct Breach {
    place: String,
    what: String,
}

/// Fails with all breaches of `rule` at once, since they are mended together.
fn hold(rule: &Rule, breaches: &[Breach]) {
    if breaches.is_empty() {
        return;
    }
    let mut report = format!("{} breach(es) of the rule: {}\n", breaches.len(), rule.name);
    for Breach { place, what } in breaches {
        let _ = writeln!(report, "  {place}: {what}");
    }
    let _ = write!(report, "  why   {}\n  mend  {}", rule.reason, rule.mend);
    panic!("{report}");
}

fn breach(source: &Source, offset: usize, what: String) -> Breach {
    Breach { place: format!("{}:{}", source.path, source.line_of(offset)), what }
}

#[test]
fn rooms_import_lower_floors_only() {
    hold(&FLOORS, &rust_sources().iter().flat_map(imports_upwards).collect::<Vec<_>>());
}

#[test]
fn rooms_below_the_server_are_pure() {
    hold(&PURE, &rust_sources().iter().flat_map(impurities).collect::<Vec<_>>());
}

#[test]
fn files_open_with_a_sentence() {
    hold(&OPENING, &rust_sources().iter().filter_map(bad_opening).collect::<Vec<_>>());
}

#[test]
fn files_are_short() {
    hold(&FILE_SIZE, &rust_sources().iter().filter_map(too_long).collect::<Vec<_>>());
}

#[test]
fn functions_are_short() {
    hold(&FUNCTION_SIZE, &rust_sources().iter().flat_map(long_functions).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_for_later() {
    let mut breaches: Vec<Breach> = all_sources().iter().flat_map(notes).collect();
    breaches.extend(rust_sources().iter().flat_map(placeholders));
    hold(&UNFINISHED, &breaches);
}

#[test]
fn nothing_is_unsafe() {
    hold(&SAFE, &rust_sources().iter().flat_map(unsafe_code).collect::<Vec<_>>());
}

#[test]
fn no_machine_is_named() {
    hold(&PLACE, &all_sources().iter().flat_map(places).collect::<Vec<_>>());
}

/// Which rooms of `stentor` the file may name; `None` where there is no rule.
fn may_import(path: &str) -> Option<Result<&'static [&'static str], String>> {
    if path == "loadgen/src/embedded.rs" {
        return Some(Ok(LOADGEN_EMBEDDED));
    }
    if path.starts_with("loadgen/src/") || path.starts_with("loadgen/examples/") {
        return Some(Ok(LOADGEN));
    }
    let inside = path.strip_prefix("src/")?;
    match inside.split_once('/') {
        None if inside == "lib.rs" => None,
        None => Some(Ok(MAIN)),
        Some((room, _)) => Some(
            ROOMS
                .iter()
                .find(|(name, _)| *name == room)
                .map(|(_, below)| *below)
                .ok_or_else(|| format!("`src/{room}/` is a room that has no floor yet")),
        ),
    }
}

fn imports_upwards(source: &Source) -> Vec<Breach> {
    let allowed = match may_import(&source.path) {
        None => return Vec::new(),
        Some(Err(unknown)) => return Vec::from([breach(source, 0, unknown)]),
        Some(Ok(allowed)) => allowed,
    };
    let home =
        source.path.strip_prefix("src/").and_then(|inside| inside.split_once('/')).map(|(room, _)| room);
    // Another package names the library; inside it a path starts at `crate` or climbs by `super`.
    let mut paths = source.paths_from("stentor");
    if source.path.starts_with("src/") {
        paths.extend(source.paths_from("crate"));
        paths.extend(source.climbs());
    }
    // In another package `crate::` is its own; and a macro at the root (`crate::name!`) is no room.
    let is_room = |name: &str| name == "*" || ROOMS.iter().any(|(room, _)| *room == name);
    paths.retain(|(_, name)| {
        is_room(name) && Some(name.as_str()) != home && !allowed.contains(&name.as_str())
    });
    let from = home.unwrap_or("this file");
    let told = |(at, name): (usize, String)| {
        let may = if allowed.is_empty() { "no other room".to_string() } else { allowed.join(", ") };
        breach(source, at, format!("imports `{name}`; {from} may import {may}"))
    };
    paths.into_iter().map(told).collect()
}

fn impurities(source: &Source) -> Vec<Breach> {
    let room = source.path.strip_prefix("src/").and_then(|inside| inside.split('/').next()).unwrap_or("");
    if !PURE_ROOMS.contains(&room) || is_test_file(&source.path) {
        return Vec::new();
    }
    let end = source.tests_begin();
    let mut found: Vec<(usize, &str)> = Vec::new();
    for name in IMPURE {
        found.extend(source.words(name).map(|at| (at, *name)));
    }
    for name in IMPURE_CRATES {
        found.extend(source.paths_from(name).into_iter().map(|(at, _)| (at, *name)));
    }
    found.retain(|(at, _)| *at < end);
    found.into_iter().map(|(at, name)| breach(source, at, format!("`{room}` uses `{name}`"))).collect()
}

fn bad_opening(source: &Source) -> Option<Breach> {
    let lines: Vec<&str> = source.text.lines().collect();
    let at = |line: usize, what: String| Some(Breach { place: format!("{}:{line}", source.path), what });
    let opening: Vec<&str> = lines.iter().map_while(|line| line.strip_prefix("//!")).collect();
    // The sentence may break once; it ends where the first empty line of the header stands.
    let sentence: Vec<&str> = opening.iter().copied().take_while(|line| !line.trim().is_empty()).collect();
    let joined = sentence.join("");
    if sentence.is_empty() {
        return at(1, "does not open with `//!`".to_string());
    }
    if sentence.len() > 2 || !joined.trim_end().ends_with('.') || ends_inside(&joined) {
        return at(1, format!("the first paragraph is not one sentence: `{}`", joined.trim()));
    }
    let says_why = opening.iter().skip(sentence.len() + 1).any(|line| !line.trim().is_empty());
    if lines.len() >= TINY_LINES_MAX && !says_why {
        return at(1 + sentence.len(), "says what it is, but not why it exists".to_string());
    }
    None
}

/// Whether a sentence ends before the end of `paragraph`.
fn ends_inside(paragraph: &str) -> bool {
    let text = paragraph.trim();
    text.match_indices(". ").any(|(at, _)| text[at + 2..].trim_start().starts_with(char::is_uppercase))
}

fn too_long(source: &Source) -> Option<Breach> {
    if is_test_file(&source.path) {
        return None;
    }
    let lines = source.text[..source.tests_begin()].lines().count();
    (lines > FILE_LINES_MAX).then(|| Breach {
        place: format!("{}:{lines}", source.path),
        what: format!("{lines} lines without tests"),
    })
}

fn long_functions(source: &Source) -> Vec<Breach> {
    if is_test_file(&source.path) {
        return Vec::new();
    }
    let functions = source.functions(source.tests_begin()).into_iter();
    let sized = functions.map(|function| (source.code_lines(&function.lines), function));
    sized
        .filter(|(lines, _)| *lines > FUNCTION_LINES_MAX)
        .map(|(lines, function)| Breach {
            place: format!("{}:{}", source.path, function.lines.start),
            what: format!("`{}` has {lines} lines of code", function.name),
        })
        .collect()
}

fn notes(source: &Source) -> Vec<Breach> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let found = words.iter().flat_map(|word| whole_words(&source.text, word).map(move |at| (at, word)));
    found.map(|(at, word)| breach(source, at, format!("`{word}`"))).collect()
}

fn placeholders(source: &Source) -> Vec<Breach> {
    let macros = ["todo", "unimplemented", "dbg"];
    let found = macros.iter().flat_map(|name| source.words(name).map(move |at| (at, name)));
    found
        .filter(|(at, name)| source.code[at + name.len()..].starts_with('!'))
        .map(|(at, name)| breach(source, at, format!("`{name}!`")))
        .collect()
}

fn unsafe_code(source: &Source) -> Vec<Breach> {
    source.words("unsafe").map(|at| breach(source, at, "`unsafe`".to_string())).collect()
}

fn places(source: &Source) -> Vec<Breach> {
    let paths =
        [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/opt/wh", "eels")];
    let indexes = [
        concat!("replace", "-with"),
        concat!("sparse+", "http"),
        concat!("index", "-url"),
        concat!("find", "-links"),
        concat!("--reg", "istry"),
        concat!("static.crates", ".io"),
        concat!("index.crates", ".io"),
        concat!("registry.npm", "js"),
        concat!("pypi", ".org/simple"),
        concat!("files.python", "hosted"),
    ];
    let text = &source.text;
    let rooted =
        |at: &usize| !text[..*at].ends_with(|c| is_word(c) || matches!(c, '.' | '/' | '-' | '}' | '~'));
    let found = paths
        .iter()
        .flat_map(|word| text.match_indices(word).map(|(at, _)| at).filter(rooted).map(move |at| (at, word)));
    let found =
        found.chain(indexes.iter().flat_map(|word| text.match_indices(word).map(move |(at, _)| (at, word))));
    found.map(|(at, word)| breach(source, at, format!("`{word}`"))).collect()
}

/// Files that are nothing but tests: their length is the number of promises they check.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|part| part == "tests")
}

fn rust_sources() -> Vec<Source> {
    let mut sources = all_sources();
    sources.retain(|source| source.path.ends_with(".rs"));
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the sources are not where they were");
    sources
}

/// Every file that people write, from the top of the project.
fn all_sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    collect(top, "", &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn collect(directory: &Path, prefix: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("the project can be read") {
        let entry = entry.expect("the project can be read");
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let made_by_tools =
            matches!(name.as_str(), "target" | "node_modules" | ".git" | ".venv" | "corpus" | "artifacts");
        if path.is_dir() && !path.is_symlink() && !made_by_tools {
            collect(&path, &format!("{prefix}{name}/"), sources);
        }
        let written =
            ["rs", "toml", "md", "sh", "py", "js", "mjs", "html", "css", "json", "yml", "yaml", "txt", "run"];
        let ending = name.rsplit('.').next().unwrap_or("");
        if path.is_file() && (written.contains(&ending) || name == "run") && name != "package-lock.json" {
            let text = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            // Only Rust has comments and literals as this reader knows them.
            let read = if ending == "rs" {
                Source::read(&format!("{prefix}{name}"), &text)
            } else {
                Source { path: format!("{prefix}{name}"), code: text.clone(), text }
            };
            sources.push(read);
        }
    }
}

/// Each rule, broken on purpose: a rule that cannot fail holds nothing.
mod broken {
    use super::*;

    fn upwards(path: &str, text: &str) -> Vec<String> {
        imports_upwards(&Source::read(path, text))
            .into_iter()
            .map(|breach| format!("{} {}", breach.place, breach.what))
            .collect()
    }

    #[test]
    fn floors_are_held() {
        let told =
            upwards("src/ws/close.rs", "//! A.\nuse crate::base::id::ConnId;\nuse crate::http::Method;\n");
        assert_eq!(told, ["src/ws/close.rs:3 imports `http`; ws may import base"]);
        assert_eq!(upwards("src/base/pool.rs", "use crate::ws;").len(), 1, "base imports nothing");
        assert_eq!(
            upwards("src/hub/topics.rs", "use crate::{base::id, net::Net, ws::{self, Role}};").len(),
            1
        );
        assert_eq!(
            upwards("src/hub/topics.rs", "fn f() { crate::server::run() }").len(),
            1,
            "a path without use"
        );
        assert_eq!(
            upwards("src/service/echo.rs", "use crate::ws::Kind;").len(),
            1,
            "a service sees no protocol"
        );
        assert_eq!(upwards("src/hub/topics.rs", "use crate::*;").len(), 1, "a glob hides everything");
        assert_eq!(upwards("src/attic/mod.rs", "").len(), 1, "a room without a floor");
        assert_eq!(upwards("src/main.rs", "use stentor::{base::tick, server, sim};").len(), 1);
        assert_eq!(upwards("loadgen/src/client.rs", "use stentor::server::Config;").len(), 1);
        assert_eq!(upwards("loadgen/src/embedded.rs", "use stentor::server::Config;").len(), 0);
        assert_eq!(
            upwards("loadgen/src/client.rs", "use crate::server::Sampler;").len(),
            0,
            "its own module"
        );
        assert_eq!(
            upwards("src/hub/frame.rs", "// crate::net\nconst S: &str = \"crate::net\"; use crate::ws;")
                .len(),
            0
        );
    }

    #[test]
    fn climbing_does_not_help() {
        assert_eq!(upwards("src/ws/close.rs", "use super::super::http::Method;").len(), 1);
        assert_eq!(upwards("src/ws/mod.rs", "use super::http::Method;").len(), 1);
        assert_eq!(
            upwards("src/ws/mod.rs", "mod tests { use super::http::Method; }").len(),
            0,
            "a child of ws"
        );
        assert_eq!(upwards("src/ws/mod.rs", "mod tests { use super::super::http::Method; }").len(), 1);
        assert_eq!(upwards("src/main.rs", "mod tests { use super::*; }").len(), 0, "the file itself");
        assert_eq!(upwards("src/server/worker.rs", "use super::http::page;").len(), 0, "a child of server");
    }

    #[test]
    fn purity_is_held() {
        let bad = |path, text| impurities(&Source::read(path, text)).len();
        assert_eq!(bad("src/ws/mask.rs", "let key = fastrand::u32(..);"), 1);
        assert_eq!(bad("src/hub/ledger.rs", "use std::time::Instant;"), 1);
        assert_eq!(bad("src/net/os.rs", "use std::time::Instant;"), 0);
        assert_eq!(bad("src/hub/ledger.rs", "fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }\n"), 0);
    }

    #[test]
    fn openings_are_held() {
        let bad = |text: &str| bad_opening(&Source::read("src/ws/a.rs", text)).is_some();
        let long = "fn f() {}\n".repeat(TINY_LINES_MAX);
        assert!(bad("use std::fmt;\n"));
        assert!(bad("//! No full stop\n"));
        assert!(bad("//! Two sentences. In one line.\n"));
        assert!(bad(&format!("//! What it is.\n{long}")));
        assert!(bad(&format!("//! What it is.\n//! Why, without a line between.\n{long}")));
        assert!(!bad("//! What it is.\n"));
        assert!(!bad(&format!("//! What it is (RFC 6455 §5.5.1), e.g. this.\n//!\n//! Why.\n{long}")));
    }

    #[test]
    fn sizes_are_held() {
        let lines = "    f();\n".repeat(FUNCTION_LINES_MAX);
        let function = format!("fn long(a: [u8; 4]) -> u8 where u8: Copy {{\n{lines}}}\n");
        let comments = format!("fn told() {{\n{}}}\n", "    // Because.\n\n".repeat(FUNCTION_LINES_MAX));
        let literals = "fn odd<'a>() { let (a, b, c) = ('{', \"{\", r#\"{\"#); }\n";
        let tests = format!("#[cfg(test)]\nmod tests {{\n{function}{}}}\n", "\n".repeat(FILE_LINES_MAX));
        let source = Source::read("src/ws/a.rs", &format!("{literals}{comments}{function}{tests}"));
        let told: Vec<String> = long_functions(&source).into_iter().map(|breach| breach.what).collect();
        assert_eq!(told, ["`long` has 62 lines of code"]);
        assert!(too_long(&source).is_none(), "tests and their lines are not counted");
        assert!(too_long(&Source::read("src/ws/a.rs", &"\n".repeat(FILE_LINES_MAX + 1))).is_some());
        assert!(too_long(&Source::read("tests/a.rs", &"\n".repeat(FILE_LINES_MAX + 1))).is_none());
    }

    #[test]
    fn words_are_held() {
        let read = |text: &str| Source::read("src/ws/a.rs", text);
        assert_eq!(notes(&read(concat!("// TO", "DO: later"))).len(), 1);
        assert_eq!(placeholders(&read("fn f() { todo!() } fn g() { todo() }")).len(), 1);
        assert_eq!(
            unsafe_code(&read("#![forbid(unsafe_code)] // unsafe\nfn f() { unsafe { g() } }")).len(),
            1
        );
        assert_eq!(places(&read(concat!("// see /wo", "rk/notes, docs/wo", "rk/notes"))).len(), 1);
        assert_eq!(places(&read(concat!("pip install --index", "-url x"))).len(), 1);
    }
}
