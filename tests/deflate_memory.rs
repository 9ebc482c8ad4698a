//! What compression costs in memory, counted by the allocator: compressors, inflaters, and what a bomb takes.
//!
//! A server promises its peers contexts out of a bounded store, so the price of one must be known, and must not change
//! unnoticed when the library does. A program of its own, since it counts every allocation of the process:
//! `cargo test --test deflate_memory -- --nocapture` prints the table.

use cap::Cap;
use std::alloc::System;
use stentor::ws::deflate::{DEFLATER_BYTES_MAX, Deflater, INFLATER_BYTES_MAX, Inflater};
use stentor::ws::{Header, Kind, Limits, Role, Violation};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const KIB: usize = 1024;
const MIB: usize = KIB * KIB;

/// What `make` allocates and keeps.
fn kept<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATOR.allocated();
    let made = make();
    (made, ALLOCATOR.allocated() - before)
}

/// Rows as a dashboard would send them.
fn json(len: usize) -> Vec<u8> {
    let rows = (0..).map(|i: u32| {
        let price = i.wrapping_mul(2_654_435_761) >> 12;
        format!("{{\"id\":{i},\"symbol\":\"ABC{}\",\"price\":{price},\"side\":\"buy\"}},", i % 97)
    });
    rows.flat_map(String::into_bytes).take(len).collect()
}

fn compressed(deflater: &mut Deflater, message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    assert!(deflater.encode_deflated(&mut frame, Kind::Binary, message, false));
    let header = Header::decode(&frame, Role::Client).expect("our own frame").expect("a whole header");
    frame.split_off(header.header_len)
}

/// One test, because there is one allocator: what runs beside it would be counted too.
#[test]
fn what_compression_costs_in_memory() {
    println!("{:>22} {:>9} {:>12} {:>12} {:>12}", "", "bytes", "1 KiB JSON", "16 KiB", "256 KiB");
    for bits in 9..=15 {
        let (mut deflater, bytes) = kept(|| Box::new(Deflater::new(bits)));
        let lens = [KIB, 16 * KIB, 256 * KIB].map(|len| compressed(&mut deflater, &json(len)).len());
        println!("deflater, {bits:>2} bits {bytes:>14} {:>12} {:>12} {:>12}", lens[0], lens[1], lens[2]);
        let ((), more) = kept(|| drop(compressed(&mut deflater, &json(256 * KIB))));
        assert_eq!(more, 0, "it keeps nothing of what went through");
        assert!(bytes <= DEFLATER_BYTES_MAX && bytes * 2 > DEFLATER_BYTES_MAX, "{bits} bits: {bytes}");
    }
    let (mut inflater, bytes) = kept(|| Box::new(Inflater::new()));
    println!("inflater {bytes:>21}");
    assert!(bytes <= INFLATER_BYTES_MAX && bytes * 2 > INFLATER_BYTES_MAX, "{bytes}");

    // Twenty bombs of 1 GiB at the limit of 1 MiB, one inflater and one buffer for all of them.
    let mut bomb =
        [&compressed(&mut Deflater::new(15), &vec![0; MIB])[..], &[0, 0, 0xFF, 0xFF]].concat().repeat(1024);
    bomb.truncate(bomb.len() - 4);
    let limits = Limits { frame_max: MIB as u64, message_max: MIB as u64, fragments_max: 1 };
    let mut out = Vec::new();
    let before = ALLOCATOR.allocated();
    ALLOCATOR.set_limit(before + MIB + 1).expect("more than is in use");
    for _ in 0..20 {
        // Beyond the limit the allocator refuses, which ends the process.
        let result = inflater.inflate(Kind::Binary, &bomb, &mut out, &limits, false);
        assert_eq!(result, Err(Violation::InflatedTooBig));
    }
    ALLOCATOR.set_limit(usize::MAX).expect("no limit");
    let taken = ALLOCATOR.allocated() - before;
    println!("20 bombs of {} bytes, 1 GiB each: {taken} bytes in all", bomb.len());
    assert!(taken <= MIB + 1);
}
