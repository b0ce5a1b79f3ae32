//! Any bytes as a configuration; what must hold is in `checks`. Run it with `cargo +nightly fuzz run compile`
//! in `crates/config`.
#![no_main]

#[allow(dead_code, reason = "the other targets use the rest")]
#[path = "../../tests/hostile/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    checks::compile(bytes);
});
