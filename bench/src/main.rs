//! The program `bench`: runs an experiment and prints its table.

fn main() {}
