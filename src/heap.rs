//! What a burst has taken goes back to the system: glibc's thresholds, held where they begin.
//!
//! When a program frees something large, glibc concludes that it will want it again: it maps only what is larger than that from then
//! on, and lets twice as much lie free at the end of its heap. A broadcast server frees its largest thing after its worst burst, and
//! would keep what that took for ever. Both thresholds stay what they are if one of them is set, which without unsafe code is possible
//! only in the environment that a process starts with. So the program starts itself once more, in the same process.
//!
//! Invariants: it does so once, also where the loader takes the setting out of the environment (setuid, capabilities of the file);
//! whoever has set one of the thresholds is left alone; what cannot be started again goes on as it is.

use std::env;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use stentor::server::KEEP_FREE;

/// Says that it was done: a name that no loader knows.
const AGAIN: &str = "STENTOR_STARTED_AGAIN";
/// Each of these holds both thresholds (mallopt(3)).
const HOLDS: [&str; 4] =
    ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_"];

/// Starts this program again with [`KEEP_FREE`], unless the environment says how glibc is to do it, be it with an empty
/// `GLIBC_TUNABLES`. Returns if it is so, or cannot be.
pub(crate) fn settle() {
    let tunables = env::var_os("GLIBC_TUNABLES");
    let is_tuned =
        tunables.is_some_and(|all| all.is_empty() || all.to_string_lossy().contains("glibc.malloc."));
    let is_held = HOLDS.iter().any(|name| env::var_os(name).is_some());
    if cfg!(not(target_env = "gnu")) || is_tuned || is_held || env::var_os(AGAIN).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    // Started by the loader as its argument (`ld.so stentor …`): the program that runs is the loader.
    if program.file_name().and_then(OsStr::to_str).is_none_or(|name| name.starts_with("ld")) {
        return;
    }
    let mut words = env::args_os();
    let name = words.next().unwrap_or_default();
    let mut again = Command::new(program);
    // Comes back only with an error.
    let _ = again.arg0(name).args(words).env(KEEP_FREE.0, KEEP_FREE.1).env(AGAIN, "1").exec();
}
