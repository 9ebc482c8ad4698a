//! The worker: connections, the phases of the turn, HTTP routes, metrics.
//!
//! Reading order: [`worker`] is the whole server as one function; then its phases in their order: [`accept`],
//! [`receive`] with [`exchange`] (HTTP), [`admission`] (who may come in) and [`converse`] (WebSocket), [`expire`] with
//! [`heartbeat`], [`deliver`] with [`overflow`], [`flush`] and [`reap`]; [`deflate`] is compression in both directions.
//! [`connection`], [`roster`] and [`send_queue`] are what they work on,
//! [`limits`] holds every bound, [`departing`] ends it all; `dashboard` shows its numbers to whoever looks.
//!
//! To run a server of your own, implement [`Service`](crate::service::Service):
//!
//! ```no_run
//! use stentor::server::Server;
//! use stentor::service::{Admission, Ctx, Kind, Request, Service};
//!
//! struct Shout;
//!
//! impl Service for Shout {
//!     fn admit(&self, request: &Request<'_>) -> Admission<'_> {
//!         if request.path == ["shout"] { Admission::accept(0) } else { Admission::NotFound }
//!     }
//!     fn opened(&mut self, ctx: &mut Ctx<'_>, _: &Request<'_>) {
//!         ctx.join("square");
//!     }
//!     fn message(&mut self, ctx: &mut Ctx<'_>, _: Kind, payload: &[u8]) {
//!         let loud = String::from_utf8_lossy(payload).to_uppercase();
//!         let square = ctx.topic().expect("everybody joined the square");
//!         ctx.publish(square, Kind::Text, loud.as_bytes());
//!     }
//! }
//!
//! fn main() -> Result<(), stentor::server::Failure> {
//!     Server::builder().listen("127.0.0.1:9001".parse().expect("an address")).service(Shout).run()
//! }
//! ```

pub mod accept;
pub mod admission;
pub mod asked;
pub mod batch;
pub mod bus;
pub mod config;
pub mod connection;
pub mod converse;
mod dashboard;
pub mod deflate;
pub mod deliver;
pub mod departing;
pub mod engineio;
pub mod exchange;
pub mod expire;
pub mod exposition;
pub mod flush;
pub mod heartbeat;
pub mod inspect;
mod interject;
pub mod limits;
pub mod metrics;
pub mod overflow;
mod page;
pub mod pages;
pub mod publishing;
pub mod reap;
pub mod receive;
pub mod repeat;
pub mod roster;
pub mod routes;
pub mod send_queue;
pub mod start;
mod stint;
pub mod supervisor;
pub mod worker;

pub use crate::net::identity::{Certificate, TlsSettings, TlsVersion};
pub use crate::net::socket::{Address, Queues};
pub use crate::service::builtin::DefaultService;
pub use config::{Config, Overflow};
pub use start::{Builder, Failure, KEEP_FREE, Server, make_room};
pub use worker::{Turn, Worker};
