//! The command line: what it answers, how it exits, and what it never writes.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use http::Uri;
use serde_json::Value;
use tempfile::TempDir;
use tidegate_lab::tls::Authority;

use crate::harness::{Finished, files, root, tidegate};

const GOOD: &str = "\
listeners:
  - bind: 127.0.0.1:0
regions:
  eu-west: { jurisdictions: [eu] }
  us-east: { jurisdictions: [us] }
upstreams:
  shop:
    regions:
      eu-west: { endpoints: [\"10.1.0.10:8080\"] }
      us-east: { endpoints: [\"10.2.0.10:8080\"] }
routes:
  - { name: accounts, match: { host: shop.example.com, path: /accounts/** }, upstream: shop, residency: { allow: [eu] } }
  - { name: vip, match: { host: shop.example.com, headers: { x-plan: gold } }, upstream: shop }
  - { name: shop, match: { host: shop.example.com }, upstream: shop }
";

/// Four mistakes of different kinds.
const BAD: &str = "\
listners: []
regions:
  eu-west: {}
upstreams:
  shop:
    regions:
      eu-wset: { endpoints: [\"10.1.0.10:8080\"] }
routes:
  - upstream: shopp
    timeout: 5
";

struct File {
    directory: TempDir,
    name: &'static str,
}

impl File {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("tidegate.yaml"), text).unwrap();
        Self {
            directory,
            name: "tidegate.yaml",
        }
    }

    fn path(&self) -> String {
        self.directory.path().join(self.name).display().to_string()
    }
}

fn check(text: &str, options: &[&str]) -> Finished {
    let file = File::new(text);
    let path = file.path();
    tidegate(["check", &path].iter().chain(options))
}

#[test]
fn a_good_file_is_one_line_and_0() {
    let run = check(GOOD, &[]);
    assert_eq!((run.code, &*run.stderr), (0, ""), "{}", run.stdout);
    let told = "tidegate.yaml: ok (3 routes, 1 upstream, 2 regions, content ";
    assert!(run.stdout.contains(told), "{}", run.stdout);
    assert_eq!(run.stdout.lines().count(), 1);
    let verdict = check(GOOD, &["--json"]).json();
    assert_eq!(
        (&verdict["ok"], &verdict["routes"]),
        (&true.into(), &3.into())
    );
}

#[test]
fn a_bad_file_gets_every_problem_at_once_and_1() {
    let run = check(BAD, &[]);
    assert_eq!((run.code, &*run.stdout), (1, ""));
    let fragments = [
        "tidegate.yaml:1:1]",
        " 1 | listners: []",
        "^^^^^^^^",
        "help: did you mean `listeners`?",
        "tidegate.yaml:7:7]",
        "help: did you mean `eu-west`?",
        "help: did you mean `shop`?",
        "tidegate.yaml:10:14]",
        "help: did you mean `5s` or `5ms`?",
    ];
    for fragment in fragments {
        assert!(run.stderr.contains(fragment), "{fragment}:\n{}", run.stderr);
    }
    let last = run.stderr.trim_end().lines().last().unwrap();
    assert!(last.ends_with("5 errors"), "{last}");
}

#[test]
fn problems_as_json_have_their_place() {
    let run = check(BAD, &["--json"]);
    assert_eq!((run.code, &*run.stderr), (1, ""));
    let report = run.json();
    assert_eq!(
        (&report["ok"], &report["errors"]),
        (&false.into(), &5.into())
    );
    let problems = report["problems"].as_array().unwrap();
    let places: Vec<_> = problems
        .iter()
        .map(|problem| (problem["code"].as_str().unwrap(), problem["line"].as_u64()))
        .collect();
    let expected = [
        ("missing_key", None),
        ("unknown_key", Some(1)),
        ("unknown_region", Some(7)),
        ("unknown_upstream", Some(9)),
        ("invalid_unit", Some(10)),
    ];
    assert_eq!(places, expected);
}

#[test]
fn the_same_question_gets_the_same_bytes() {
    let (good, bad) = (File::new(GOOD), File::new(BAD));
    let questions: [&[&str]; 4] = [
        &["check", &good.path(), "--resolved"],
        &["check", &bad.path()],
        &["check", &bad.path(), "--json"],
        &["explain", &good.path(), "GET", "https://shop.example.com/"],
    ];
    for question in questions {
        let (one, two) = (tidegate(question), tidegate(question));
        assert_eq!((one.stdout, one.stderr), (two.stdout, two.stderr));
    }
}

/// Whatever it is called by, and wherever it is asked from: the same bytes, but for the name.
#[test]
fn a_file_gets_the_same_bytes_by_every_name_and_from_everywhere() {
    let directory = tempfile::tempdir().unwrap();
    let (inner, elsewhere) = (directory.path().join("inner"), tempfile::tempdir().unwrap());
    std::fs::create_dir(&inner).unwrap();
    let real = directory.path().join("tidegate.yaml");
    std::fs::write(&real, BAD).unwrap();
    let link = inner.join("tidegate.yaml");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let (real, link) = (real.to_str().unwrap(), link.to_str().unwrap());
    let names = [
        (elsewhere.path(), real),
        (directory.path(), real),
        (directory.path(), "tidegate.yaml"),
        (directory.path(), "./tidegate.yaml"),
        (directory.path(), "inner/../tidegate.yaml"),
        (inner.as_path(), "../tidegate.yaml"),
        (inner.as_path(), "tidegate.yaml"),
        (elsewhere.path(), link),
    ];
    for format in [&["--json"][..], &[]] {
        let ask = |(from, name): (&Path, &str)| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
            let run = command.args(["check", name]).args(format).current_dir(from);
            let run = run.output().unwrap();
            let text = [run.stdout, run.stderr].concat();
            String::from_utf8(text).unwrap().replace(name, "NAME")
        };
        let first = ask(names[0]);
        assert!(first.contains("unknown_region"), "{first}");
        for place in names.into_iter().cycle().take(50) {
            assert_eq!(ask(place), first, "{place:?}");
        }
    }
}

#[test]
fn what_cannot_be_asked_is_2() {
    let good = File::new(GOOD);
    let cases: [&[&str]; 6] = [
        &["check", "/nowhere/tidegate.yaml"],
        &["run", "/nowhere/tidegate.yaml"],
        &["check"],
        &["chekc", "x"],
        &["explain", &good.path(), "GET", "not a url"],
        &["explain", &good.path(), "G T", "/"],
    ];
    for arguments in cases {
        let run = tidegate(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stderr);
        assert!(
            !run.stderr.is_empty() && run.stdout.is_empty(),
            "{arguments:?}"
        );
    }
    let missing = tidegate(["check", "/nowhere/tidegate.yaml"]).stderr;
    assert!(missing.contains("/nowhere/tidegate.yaml"), "{missing}");
}

/// A directory that is named in full lies below the configuration's own, however that is named.
#[test]
fn the_content_is_the_same_wherever_it_is_looked_at_from() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let text = format!("{GOOD}state: {{ dir: {} }}\n", state.display());
    std::fs::write(directory.path().join("tidegate.yaml"), text).unwrap();
    let full = directory.path().join("tidegate.yaml").display().to_string();
    let whole = tidegate(["check", &full, "--json"]).json();
    let beside = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["check", "tidegate.yaml", "--json"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let beside: Value = serde_json::from_slice(&beside.stdout).unwrap();
    assert!(whole["hash"].is_string());
    assert_eq!(beside["hash"], whole["hash"]);
}

#[test]
fn the_resolved_form_loads_again_as_the_same() {
    let first = check(GOOD, &["--resolved"]);
    assert!(
        first.stdout.contains("idle_timeout: 1m"),
        "{}",
        first.stdout
    );
    let second = check(&first.stdout, &["--resolved"]);
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert_eq!(first.stdout, second.stdout);
    let hash = |text: &str| check(text, &["--json"]).json()["hash"].clone();
    assert_eq!(hash(GOOD), hash(&first.stdout));
}

/// `run` refuses what `check` refuses, in the same words.
#[test]
fn a_start_refuses_what_check_refuses() {
    let bad = File::new(BAD);
    let (start, check) = (
        tidegate(["run", &bad.path()]),
        tidegate(["check", &bad.path()]),
    );
    assert_eq!((start.code, start.stderr), (1, check.stderr));
}

#[test]
fn nothing_writes_escapes_without_a_terminal() {
    let (good, bad) = (File::new(GOOD), File::new(BAD));
    let questions: [&[&str]; 6] = [
        &["--help"],
        &["check", &bad.path()],
        &["check", &good.path()],
        &["check", "/nowhere"],
        &["explain", &good.path(), "GET", "/"],
        &["nonsense"],
    ];
    for question in questions {
        let run = tidegate(question);
        let said = run.stdout + &run.stderr;
        assert!(!said.contains('\x1b'), "{question:?}: {said}");
    }
}

#[test]
fn every_command_helps_with_examples() {
    let general = tidegate(["--help"]);
    assert!(general.stdout.contains("Examples:") && general.stdout.contains("Exit status:"));
    let commands = [
        "run",
        "check",
        "explain",
        "regions",
        "drain",
        "dial",
        "schema",
        "demo",
        "completions",
    ];
    for command in commands {
        assert!(general.stdout.contains(command), "{command}");
        let run = tidegate([command, "--help"]);
        assert_eq!((run.code, &*run.stderr), (0, ""), "{command}");
        let example = format!("  tidegate {command}");
        assert!(run.stdout.contains(&example), "{command}: {}", run.stdout);
        assert!(run.stdout.contains("Exit status:"), "{command}");
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let run = tidegate(["completions", shell]);
        assert_eq!(run.code, 0, "{shell}");
        assert!(run.stdout.contains("explain"), "{shell}");
        assert!(run.stdout.contains("deadline"), "{shell}");
    }
    assert_eq!(tidegate(["completions", "tcsh"]).code, 2);
}

fn explain(arguments: &[&str]) -> Finished {
    let good = File::new(GOOD);
    let path = good.path();
    tidegate(["explain", &path].iter().chain(arguments))
}

#[test]
fn an_explanation_names_the_route_and_what_is_left_out() {
    let run = explain(&["POST", "https://shop.example.com/accounts/7"]);
    assert_eq!((run.code, &*run.stderr), (0, ""));
    let fragments = [
        "request   POST https://shop.example.com/accounts/7",
        "route     accounts",
        "residency eu",
        "1.  eu-west",
        "-   us-east  residency does not allow its jurisdictions",
        "chosen    eu-west at 10.1.0.10:8080",
    ];
    for fragment in fragments {
        assert!(run.stdout.contains(fragment), "{fragment}:\n{}", run.stdout);
    }
}

#[test]
fn an_explanation_follows_host_header_and_absence() {
    let route = |arguments: &[&str]| {
        let all: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
        let run = explain(&all);
        let told = run.json();
        (run.code, told["route"].clone(), told["termination"].clone())
    };
    let host = "Host: shop.example.com";
    let found = |name: &str| (0, name.into(), Value::Null);
    assert_eq!(route(&["GET", "/", "-H", host]), found("shop"));
    let gold = ["GET", "/", "-H", host, "-H", "X-Plan: gold"];
    assert_eq!(route(&gold), found("vip"));
    let elsewhere = ["GET", "https://other.example.com/"];
    assert_eq!(route(&elsewhere), (1, Value::Null, "no_route".into()));
}

/// An editor that believes the schema accepts what the repository shows, and refuses nonsense.
#[test]
fn the_schema_fits_every_configuration_that_is_shown() {
    let run = tidegate(["schema"]);
    assert_eq!((run.code, &*run.stderr), (0, ""));
    let mut compiler = boon::Compiler::new();
    let mut schemas = boon::Schemas::new();
    let name = "file:///tidegate.schema.json";
    compiler.add_resource(name, run.json()).unwrap();
    let schema = compiler.compile(name, &mut schemas).unwrap();
    let shown = whole_configurations();
    assert!(shown.len() >= 4, "{shown:?}");
    for path in shown {
        let text = std::fs::read_to_string(&path).unwrap();
        let value = as_an_editor_reads(&text);
        let valid = schemas.validate(&value, schema);
        valid.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let bad = as_an_editor_reads(BAD);
    assert!(schemas.validate(&bad, schema).is_err());
}

/// What the repository shows, without the files that are only included by others.
fn whole_configurations() -> Vec<PathBuf> {
    let mut shown = files(&root().join("configs"), "yaml");
    shown.extend(files(&root().join("examples"), "yaml"));
    shown.retain(|path| !path.parent().unwrap().ends_with("policies/policies"));
    shown
}

/// Copies the files that are included from `policies/`, where there are any.
fn provide_policies(from: &Path, to: &Path) {
    let policies = from.join("policies");
    if policies.exists() {
        std::fs::create_dir(to.join("policies")).unwrap();
        for path in files(&policies, "yaml") {
            let name = path.file_name().unwrap();
            std::fs::copy(&path, to.join("policies").join(name)).unwrap();
        }
    }
}

/// YAML 1.2, where `off` is a word.
fn as_an_editor_reads(text: &str) -> Value {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).unwrap()
}

/// Every configuration that the repository shows is accepted by the binary, certificates given.
#[test]
fn every_configuration_that_is_shown_is_accepted() {
    for path in whole_configurations() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("tidegate.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        provide_files(&text, directory.path());
        std::fs::write(&copy, text).unwrap();
        provide_policies(path.parent().unwrap(), directory.path());
        let run = tidegate(["check", copy.to_str().unwrap()]);
        assert_eq!((run.code, &*run.stderr), (0, ""), "{}", path.display());
    }
}

/// Writes the files that stand in for those that the text names by a relative path.
fn provide_files(text: &str, directory: &Path) {
    let lines = text.lines().map(|line| line.split('#').next().unwrap());
    let words = lines.flat_map(|line| line.split([' ', ',', '}', '"', '[', ']']));
    for word in words.filter(|word| !word.starts_with('/')) {
        let place = directory.join(word);
        if let Some(stem) = word.strip_suffix(".pem") {
            provide_certificate(&directory.join(stem));
        } else if word.starts_with("secrets/") {
            provide_secret(&place);
        }
    }
}

fn provide_certificate(place: &Path) {
    let directory = place.parent().unwrap();
    std::fs::create_dir_all(directory).unwrap();
    let name = place.file_name().unwrap().to_str().unwrap();
    // It has no names: it stands in for those of every route.
    let leaf = Authority::new("test").unwrap().issue(&[]).unwrap();
    leaf.write_to(directory, name).unwrap();
}

/// For its owner only, as nothing else is accepted without a word.
fn provide_secret(place: &Path) {
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    let mut options = std::fs::OpenOptions::new();
    let options = options.write(true).create(true).mode(0o600);
    let mut file = options.open(place).unwrap();
    write!(file, "{}", "5a".repeat(32)).unwrap();
}

/// The examples of `--help` are addresses that `explain` understands.
#[test]
fn the_examples_of_the_help_are_right() {
    let help = tidegate(["explain", "--help"]).stdout;
    let urls = help
        .split_whitespace()
        .filter(|word| word.starts_with("https://"));
    let urls: Vec<Uri> = urls.map(|url| url.parse().unwrap()).collect();
    assert!(!urls.is_empty());
    for url in urls {
        let run = explain(&["GET", &url.to_string()]);
        assert_eq!(run.code, 0, "{}", run.stdout);
    }
}
