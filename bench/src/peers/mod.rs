//! Other people's WebSocket servers, each tuned as well as we know how, behind the same two paths.
//!
//! A comparison is worth what its weakest contestant is worth, so every peer here gets what its library offers:
//! one thread, no Nagle, small buffers, payloads encoded or shared once, everything waiting for a subscriber
//! flushed together where the library can do that. The versions stand in the manifests.
//!
//! Invariants: `/echo` sends back, any other path broadcasts to everybody on it, the sender included; each says
//! `listening on ADDRESS` on stderr, as stentor does.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::task::LocalSet;

pub mod fastwebsockets;
pub mod tungstenite;

/// Runs a server on a current-thread runtime until it is killed.
fn run<F: Future<Output = io::Result<()>>>(
    name: &str,
    port: u16,
    accept: impl FnOnce(TcpListener) -> F,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
        let listener = socket.listen(4096)?;
        eprintln!("{name}: listening on {}", listener.local_addr()?);
        accept(listener).await
    })
}

/// Everybody who hears broadcasts, in accept order.
#[derive(Clone, Default)]
struct Channel(Rc<RefCell<Vec<Rc<Subscriber>>>>);

/// A subscriber's own queue of shared payloads.
#[derive(Default)]
struct Subscriber {
    queue: RefCell<VecDeque<Bytes>>,
    wake: Notify,
}

impl Channel {
    fn join(&self) -> Rc<Subscriber> {
        let subscriber = Rc::<Subscriber>::default();
        self.0.borrow_mut().push(Rc::clone(&subscriber));
        subscriber
    }

    fn leave(&self, subscriber: &Rc<Subscriber>) {
        self.0.borrow_mut().retain(|other| !Rc::ptr_eq(other, subscriber));
    }

    fn publish(&self, payload: &Bytes) {
        for subscriber in self.0.borrow().iter() {
            subscriber.queue.borrow_mut().push_back(payload.clone());
            subscriber.wake.notify_one();
        }
    }
}

impl Subscriber {
    fn next(&self) -> Option<Bytes> {
        self.queue.borrow_mut().pop_front()
    }
}
