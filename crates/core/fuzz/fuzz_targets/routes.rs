//! Routes and requests made of any bytes: the index finds what a plain search finds. Run it with
//! `cargo +nightly fuzz run routes` in `crates/core`.
#![no_main]

#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
#[path = "../../tests/decisions/routes.rs"]
mod routes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    routes::made_of(bytes);
});
