//! Any bytes as a stream of requests: no panic, and no other meaning than hyper's.
//! Run it with `cargo +nightly fuzz run request` in `crates/http1`.
#![no_main]

#[allow(dead_code, reason = "the other target uses the rest")]
#[path = "../../tests/codec/differential.rs"]
mod differential;
#[allow(dead_code, reason = "the other target uses the rest")]
#[path = "../../tests/codec/transcript.rs"]
mod transcript;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    differential::request(bytes);
});
