//! The command as a script sees it: its exit status and its words.

use std::process::Command;

fn check(arguments: &[&str], status: i32, words: &str) {
    let bench = env!("CARGO_BIN_EXE_tidegate-bench");
    let ended = Command::new(bench).args(arguments).output();
    let ended = ended.expect("the binary runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(status), "{arguments:?}: {said}");
    assert!(said.contains(words), "{arguments:?}: {said}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    check(&["size", "--rounds", "0"], 2, "--rounds");
    check(&["size", "--percent", "0"], 2, "--percent");
    check(&["speed"], 2, "speed");
}
