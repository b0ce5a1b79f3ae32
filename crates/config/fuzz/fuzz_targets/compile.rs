//! Any bytes as a configuration: no panic; what is refused can be shown; what is accepted can be
//! printed and loads again to the same. Run it with `cargo +nightly fuzz run compile` in
//! `crates/config`.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use tidegate_config::{Loaded, Memory, RenderStyle, Report, compile};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match load(text) {
        Err(report) => {
            assert!(report.errors() > 0);
            report.to_json();
            report.render(RenderStyle::PLAIN);
        }
        Ok(loaded) => {
            let again = load(&loaded.resolved).expect("what is printed loads again");
            assert_eq!(again.plan.content_hash, loaded.plan.content_hash);
        }
    }
});

fn load(text: &str) -> Result<Loaded, Report> {
    let now = UNIX_EPOCH + Duration::from_secs(1_782_000_000);
    compile("fuzz.yaml", text, &Memory::new(), now)
}
