//! The target `tokens`: hands libFuzzer's bytes to the laws of `stentor_fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stentor_fuzz::tokens::run(data));
