//! Opening a file that is one.
//!
//! Settings name files, which are read at the start and on SIGHUP by the thread that serves everybody. Opening a named
//! pipe waits for somebody to write to it, and reading a device may never end.
//!
//! Invariant: no call here waits for anybody.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens the file at `path` for reading.
///
/// # Errors
/// As `open`; and when there is something else there than a file.
pub fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("is not a file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_nobody_writes_to_is_refused_at_once() {
        let path = std::env::temp_dir().join(format!("stentor-pipe-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let refused = open(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(refused.unwrap_err().to_string(), "is not a file");
        assert!(open(Path::new("/dev/zero")).is_err());
        assert!(open(Path::new("Cargo.toml")).is_ok());
    }
}
