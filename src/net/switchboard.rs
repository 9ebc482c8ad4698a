//! The switchboard: where the workers of one machine call each other, as Unix sockets in a private directory.
//!
//! Invariant: the file of worker *i* is `i.sock`; one that an earlier life of the worker has left is replaced.

use std::io;
use std::path::{Path, PathBuf};

use mio::net::{UnixListener, UnixStream};

use super::os::UNIX_MODE;
use super::socket::listen_unix;

/// Workers that may wait to be answered by one of them.
const BACKLOG: i32 = 64;

/// One worker's place at it.
pub(super) struct Switchboard {
    listener: UnixListener,
    directory: PathBuf,
}

impl Switchboard {
    /// Takes the place of worker `index`.
    pub(super) fn open(directory: &Path, index: u32) -> io::Result<Self> {
        let path = directory.join(place(index));
        let _ = std::fs::remove_file(&path);
        Ok(Self { listener: listen_unix(&path, UNIX_MODE, BACKLOG)?, directory: directory.to_owned() })
    }

    /// What tells that somebody calls.
    pub(super) const fn listener(&mut self) -> &mut UnixListener {
        &mut self.listener
    }

    /// Calls worker `sibling`.
    pub(super) fn dial(&self, sibling: u32) -> io::Result<UnixStream> {
        UnixStream::connect(self.directory.join(place(sibling)))
    }

    /// Answers a call.
    pub(super) fn pick_up(&self) -> io::Result<UnixStream> {
        self.listener.accept().map(|(stream, _)| stream)
    }
}

fn place(index: u32) -> String {
    format!("{index}.sock")
}
