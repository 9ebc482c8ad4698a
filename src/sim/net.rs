//! The simulated system as the server sees it: the [`Net`] trait and nothing else.
//!
//! Modelled exactly as the trait promises: an edge is reported once; a short `recv` has drained the socket; a short
//! `send` has filled it, and a writable edge follows. Code that forgets to drain, or a remainder, hangs here first.
//!
//! Invariant: every call takes a moment, so that time passes even in a loop that never sleeps.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::outside::Outside;
use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use crate::net::{Net, Peer, Ready};

/// The server's view of the outside.
#[derive(Debug, Clone)]
pub struct SimNet(Rc<RefCell<Outside>>);

/// A socket: the number of its peer. Not to be copied, so that it is closed once.
#[derive(Debug, PartialEq, Eq)]
pub struct SimSocket(usize);

impl SimNet {
    /// The server's view of `outside`.
    pub fn new(outside: Rc<RefCell<Outside>>) -> Self {
        Self(outside)
    }

    fn call<T>(&self, call: impl FnOnce(&mut Outside) -> T) -> T {
        let mut outside = self.0.borrow_mut();
        outside.called();
        call(&mut outside)
    }
}

impl Net for SimNet {
    type Socket = SimSocket;

    fn wait(&mut self, ready: &mut Vec<Ready>, timeout: Option<Duration>) -> io::Result<()> {
        self.call(|outside| outside.wait(ready, timeout))
    }

    fn now(&self) -> Nanos {
        self.0.borrow().now
    }

    fn entropy(&mut self) -> u64 {
        self.call(|outside| outside.entropy())
    }

    fn listeners(&self) -> usize {
        self.0.borrow().doors.len()
    }

    fn accept(&mut self, listener: usize, id: ConnId) -> io::Result<SimSocket> {
        self.call(|outside| outside.accept(listener, id)).map(SimSocket)
    }

    /// Peers share few addresses, as behind routers.
    fn peer(&self, socket: &SimSocket) -> Peer {
        let host = u8::try_from(socket.0 % 8).expect("below eight");
        Peer::Ip(([10, 0, 0, host], 1024).into())
    }

    fn recv(&mut self, socket: &mut SimSocket, into: &mut [u8]) -> io::Result<usize> {
        self.call(|outside| outside.recv(socket.0, into))
    }

    fn send(&mut self, socket: &mut SimSocket, bytes: &[u8]) -> io::Result<usize> {
        self.send_vectored(socket, &[io::IoSlice::new(bytes)])
    }

    fn send_vectored(&mut self, socket: &mut SimSocket, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.call(|outside| outside.send(socket.0, slices))
    }

    fn finish(&mut self, socket: &mut SimSocket) {
        self.call(|outside| outside.finish(socket.0));
    }

    fn close(&mut self, socket: SimSocket) {
        self.call(|outside| outside.close(socket.0));
    }

    fn stop_listening(&mut self) {
        self.call(Outside::stop_listening);
    }
}
