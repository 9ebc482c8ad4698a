//! Data structures that know nothing of networks.
