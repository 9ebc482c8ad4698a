//! The program `stentor`: flags in, exit code out.

fn main() {}
