//! The program `loadgen`: flags in, exit code out.

fn main() {}
