//! The command as a script sees it: its exit status and its words.

use std::io::Write;
use std::process::{Command, Stdio};

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
    check(&["failover", "--fault", "flood"], 2, "flood");
    check(&["failover", "--regions", "1"], 2, "--regions");
    check(&["failover", "--warm", "--fault", "slow"], 2, "--warm");
    check(&["failover", "--only", "nobody"], 2, "not installed");
}

/// Whoever is installed serves, meets a fault and is in the file.
#[test]
fn a_short_failover_is_played() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = env!("CARGO_BIN_EXE_tidegate-bench");
    let mut command = Command::new(bench);
    command.args([
        "failover", "--fault", "refuse", "--only", "nginx", "--posts", "10",
    ]);
    command.args([
        "--lasts",
        "1",
        "--seconds",
        "1",
        "--rate",
        "50",
        "--regions",
        "2",
    ]);
    let ended = command.arg("--out").arg(directory.path()).output();
    let ended = ended.expect("the binary runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    if ended.status.code() == Some(2) && said.contains("not installed") {
        return;
    }
    assert_eq!(ended.status.code(), Some(0), "{said}");
    let file = std::fs::read_to_string(directory.path().join("failover.json"));
    let file = file.expect("the file is there");
    for part in [
        "\"fault\":\"refuse\"",
        "\"peer\":\"nginx\"",
        "\"samples\":[{",
    ] {
        assert!(file.contains(part), "{part}");
    }
    assert!(directory.path().join("failover.svg").exists());
}

#[test]
fn a_caller_says_what_is_wrong_and_ends() {
    for (order, answer) in [
        ("visit 1", "fault "),
        ("dance", "fault no such order: dance"),
    ] {
        let mut caller = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"));
        caller.args(["call", "--target", "127.0.0.1:1"]);
        caller.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut caller = caller.spawn().expect("the binary runs");
        let orders = caller.stdin.as_mut().expect("it has a standard input");
        writeln!(orders, "{order}").expect("it reads");
        let ended = caller.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(said.starts_with(answer), "{order}: {said}");
    }
}
