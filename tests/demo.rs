//! The demonstration ends with nothing lost, tells it in figures, and leaves nothing behind.

use std::process::{Command, Stdio};

use serde_json::Value;

const PHASES: [&str; 7] = [
    "calm",
    "black hole",
    "back",
    "drain",
    "undrain",
    "resets",
    "recovery",
];

#[test]
fn nothing_is_lost_and_nothing_is_left_behind() {
    let place = tempfile::tempdir().unwrap();
    let scratch = place.path().join("tmp");
    std::fs::create_dir(&scratch).unwrap();
    let figures = place.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["demo", "--seconds", "14", "--rate", "100", "--json"])
        .arg(&figures)
        .current_dir(place.path())
        .env("TMPDIR", &scratch)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let diagnostics = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}\n{diagnostics}");
    assert!(!told.contains('\x1b') && !told.contains('\r'), "{told}");
    assert!(!diagnostics.contains('\x1b'), "{diagnostics}");
    assert!(told.contains("Verdict: nothing lost."), "{told}");
    let figures: Value = serde_json::from_str(&std::fs::read_to_string(&figures).unwrap()).unwrap();
    check_figures(&figures, &told);
    let left: Vec<_> = std::fs::read_dir(&scratch).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
}

fn check_figures(figures: &Value, told: &str) {
    let phases = figures["phases"].as_array().unwrap();
    let names: Vec<_> = phases.iter().map(|phase| &phase["phase"]).collect();
    assert_eq!(names, PHASES);
    for phase in phases {
        assert_eq!(phase["lost"], 0, "{phase}");
        assert_eq!(phase["wrong_bodies"], 0, "{phase}");
        assert_eq!(phase["ok"], phase["requests"], "{phase}");
        assert!(phase["requests"].as_u64() > Some(0), "{phase}");
        for figure in ["p50", "p99", "max"] {
            assert!(phase["latency_ms"][figure].as_f64() > Some(0.0), "{phase}");
        }
        let row = told.lines().any(|line| {
            let name = phase["phase"].as_str().unwrap();
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.split_whitespace().next() == Some(&phase["requests"].to_string())
        });
        assert!(row, "{phase} is not in the table:\n{told}");
    }
    let served = |phase: &str, region: &str| {
        let at = PHASES.iter().position(|name| *name == phase).unwrap();
        phases[at]["regions"][region].as_u64().unwrap()
    };
    // The nearest region serves while it is well, and not while it is silent.
    assert!(served("calm", "eu-west") > served("calm", "us-east") + served("calm", "ap-south"));
    assert!(served("recovery", "eu-west") > 0);
    let total = &figures["total"];
    assert_eq!(figures["verdict"], "nothing_lost");
    assert_eq!(
        (&total["lost"], &total["lost_by_proxy"]),
        (&0.into(), &0.into())
    );
    assert_eq!(total["ok"], total["requests"], "{total}");
    assert!(total["rescued"].as_u64() > Some(0), "{total}");
    assert_eq!(figures["dns_failover_s"], 90);
    assert!(figures["settled_s"].as_f64() < Some(90.0), "{figures}");
}

#[test]
fn a_demonstration_that_is_too_short_is_no_question() {
    let run = crate::harness::tidegate(["demo", "--seconds", "3"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("12"), "{}", run.stderr);
}
