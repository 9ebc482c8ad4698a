//! The self-test.
pub mod fault;
pub mod server;
