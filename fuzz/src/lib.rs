//! What must hold of any bytes, target by target: the laws that libFuzzer tries to break.
//!
//! Each law is an ordinary function of the bytes it is given, so it runs twice: in `fuzz_targets/`, where libFuzzer
//! looks for bytes that break it, and in `tests/corpus.rs`, where the stable compiler holds it for every input that
//! was ever of interest.
//!
//! Invariant: a law is a function of its input alone, or a finding could not be seen again.

pub mod body;
pub mod connection;
pub mod frames;
pub mod given;
pub mod head;
pub mod inflate;
pub mod lists;
pub mod memory_net;
pub mod naive;
pub mod packets;
pub mod payload;
pub mod proxy;
pub mod publishing;
pub mod query;
pub mod response;
pub mod scene;
pub mod sessions;
pub mod tokens;
pub mod utf8;

/// Holds something of the bytes, or panics.
pub type Law = fn(&[u8]);

/// The targets by name: one file in `fuzz_targets/` and one folder in `corpus/` each.
pub const TARGETS: &[(&str, Law)] = &[
    ("head", head::run),
    ("lists", lists::run),
    ("response", response::run),
    ("frames_server", frames::server),
    ("frames_client", frames::client),
    ("utf8", utf8::run),
    ("body", body::run),
    ("query", query::run),
    ("inflate", inflate::run),
    ("connection", connection::run),
    ("tokens", tokens::run),
    ("proxy", proxy::run),
    ("payload", payload::run),
    ("packets", packets::run),
    ("publishing", publishing::run),
    ("sessions", sessions::run),
];
