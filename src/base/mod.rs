//! Data structures that know nothing of networks.
//!
//! Everything above stands on these: how time is counted, how a connection is named, when it is due,
//! where its bytes wait. None of them performs a system call.

pub mod buffer;
pub mod counting;
pub mod id;
pub mod marker;
pub mod mutation;
pub mod pool;
pub mod tick;
pub mod wheel;
