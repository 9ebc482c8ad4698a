//! The seam to the system: readiness, bytes, time and entropy behind one trait.
