//! Tests of the service without sockets follow.
