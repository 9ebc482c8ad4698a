//! Experiments that compare stentor with a floor and with its peers, in one run.
//!
//! A number alone says little: machines differ, neighbours are noisy, kernels change. So nothing here is
//! reported without the *floor* of the same run (a loop that moves the same bytes without a protocol) and
//! without other servers measured in turn with ours, by the same driver, over the same minutes.
//!
//! - [`floor`]: what one thread and the kernel cost without any protocol.
//! - [`peers`]: other people's servers, tuned as well as we know how.
//! - [`driver`]: the client all of them have to face.
//! - [`server`]: starts a server as a process, pins it, reads its processor time and memory.
//! - [`question`] and [`experiment`]: what is asked, in which order, how often.
//! - [`crowd`]: what is asked of thousands together.
//! - [`plot`]: the pictures of the studies, from the data beside them.
//! - [`bars`] and [`mod@table`]: what should come out, and what did.

pub mod bars;
pub mod crowd;
pub mod driver;
pub mod experiment;
pub mod floor;
pub mod peers;
pub mod plot;
pub mod question;
pub mod server;
pub mod table;
