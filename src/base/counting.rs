//! Whether the ledger and the metrics count: always, but in the one build that shows what counting costs.
//!
//! `bench/counting.sh` makes that build (`RUSTFLAGS="--cfg uncounted"`) and holds the server against it. It is no server to run: what it
//! says of publications, writes, bytes out, messages and turns stands still.

/// False only in the build without counting.
pub const COUNTING: bool = cfg!(not(uncounted));
