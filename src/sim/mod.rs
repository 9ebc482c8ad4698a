//! The simulated network, clock, peers, faults and oracles.
