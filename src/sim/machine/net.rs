//! The machine as one of its workers sees it.
//!
//! Invariant: as [`Net`] promises: a short read has drained, a short write has filled and an edge follows.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::exchange::Exchange;
use crate::base::id::ConnId;
use crate::base::tick::Nanos;
use crate::net::{Net, Peer, Ready};

/// One worker's view.
#[derive(Debug)]
pub(super) struct MachineNet {
    worker: usize,
    exchange: Rc<RefCell<Exchange>>,
}

/// A socket of the machine.
#[derive(Debug)]
pub(super) enum Plug {
    /// To a peer.
    Ear(usize),
    /// To another worker.
    Pipe {
        /// Its number.
        pipe: usize,
        /// Which of its two sides.
        side: usize,
    },
}

impl MachineNet {
    pub(super) const fn new(worker: usize, exchange: Rc<RefCell<Exchange>>) -> Self {
        Self { worker, exchange }
    }
}

fn would_block<T>() -> io::Result<T> {
    Err(io::ErrorKind::WouldBlock.into())
}

impl Net for MachineNet {
    type Socket = Plug;

    fn wait(&mut self, ready: &mut Vec<Ready>, _: Option<Duration>) -> io::Result<()> {
        // The world turns a worker when it likes: there is always something that might have woken it.
        ready.append(&mut self.exchange.borrow_mut().ready[self.worker]);
        Ok(())
    }

    fn now(&self) -> Nanos {
        self.exchange.borrow().now
    }

    fn entropy(&mut self) -> u64 {
        self.exchange.borrow_mut().random.u64(..)
    }

    fn listeners(&self) -> usize {
        1
    }

    fn accept(&mut self, _: usize, id: ConnId) -> io::Result<Plug> {
        let mut exchange = self.exchange.borrow_mut();
        let Some(ear) = exchange.knocks[self.worker].pop_front() else { return would_block() };
        exchange.ears[ear].id = Some(id);
        if exchange.ears[ear].is_gone {
            // As a socket that is registered when its end has come already.
            let end = Ready::Connection { id, readable: true, writable: true, closed: true };
            exchange.ready[self.worker].push(end);
        }
        Ok(Plug::Ear(ear))
    }

    fn dial(&mut self, sibling: u32, id: ConnId) -> io::Result<Plug> {
        let mut exchange = self.exchange.borrow_mut();
        if exchange.is_deaf[sibling as usize] {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Plug::Pipe { pipe: exchange.dial(self.worker, sibling as usize, id), side: 0 })
    }

    fn pick_up(&mut self, id: ConnId) -> io::Result<Plug> {
        let mut exchange = self.exchange.borrow_mut();
        let Some(pipe) = exchange.calls[self.worker].pop_front() else { return would_block() };
        exchange.pipes[pipe].0[1].id = id;
        Ok(Plug::Pipe { pipe, side: 1 })
    }

    fn peer(&self, _: &Plug) -> Peer {
        Peer::Local
    }

    fn recv(&mut self, socket: &mut Plug, into: &mut [u8]) -> io::Result<usize> {
        let mut exchange = self.exchange.borrow_mut();
        match *socket {
            Plug::Ear(ear) => {
                let ear = &mut exchange.ears[ear];
                let n = into.len().min(ear.to_say.len());
                if n == 0 {
                    return if ear.is_gone { Ok(0) } else { would_block() };
                }
                into.iter_mut().zip(ear.to_say.drain(..n)).for_each(|(slot, byte)| *slot = byte);
                Ok(n)
            }
            Plug::Pipe { pipe, side } => match exchange.read(pipe, side, into) {
                Some(n) => Ok(n),
                None => would_block(),
            },
        }
    }

    fn send(&mut self, socket: &mut Plug, bytes: &[u8]) -> io::Result<usize> {
        let mut exchange = self.exchange.borrow_mut();
        match *socket {
            Plug::Ear(ear) => {
                exchange.ears[ear].heard.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Plug::Pipe { pipe, side } => match exchange.write(pipe, side, bytes) {
                Some(0) => would_block(),
                Some(n) => Ok(n),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            },
        }
    }

    fn send_vectored(&mut self, socket: &mut Plug, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.send(socket, &bytes)
    }

    fn finish(&mut self, _: &mut Plug) {}

    fn close(&mut self, socket: Plug) {
        if let Plug::Pipe { pipe, side } = socket {
            self.exchange.borrow_mut().close(pipe, side);
        }
    }

    fn stop_listening(&mut self) {}
}
