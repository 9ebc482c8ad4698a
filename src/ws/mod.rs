//! RFC 6455 as pure state machines, both roles.
