//! Data structures that know nothing of networks.

pub mod marker;
