//! What a burst has taken goes back to the system: glibc's thresholds, held where they begin.
//!
//! When a program frees something large, glibc concludes that it will want it again: it maps only what is larger than that from then
//! on, and lets twice as much lie free at the end of its heap. A broadcast server frees its largest thing after its worst burst, and
//! would keep what that took for ever. Both thresholds stay what they are if one of them is set, which without unsafe code is possible
//! only in the environment that a process starts with. So the program starts itself once more, in the same process.
//!
//! Invariants: whoever has set something of the allocator's is left alone; what cannot be started again goes on as it is.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use stentor::server::KEEP_FREE;

/// Starts this program again with [`KEEP_FREE`], unless the environment says something of the allocator already. Returns if it is
/// so, or cannot be.
pub(crate) fn settle() {
    let is_told = |(name, _): (std::ffi::OsString, _)| {
        let name = name.to_string_lossy();
        name.starts_with("MALLOC_") || name == "GLIBC_TUNABLES"
    };
    if cfg!(not(target_env = "gnu")) || env::vars_os().any(is_told) {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut again = Command::new(program);
    again.args(env::args_os().skip(1)).env(KEEP_FREE.0, KEEP_FREE.1);
    if let Some(name) = env::args_os().next() {
        again.arg0(name);
    }
    // Comes back only with an error.
    let _ = again.exec();
}
