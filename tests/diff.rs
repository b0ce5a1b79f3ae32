//! `tidegate diff`: what another configuration would do differently, files and a running process.

use std::path::Path;

use crate::harness::{Config, Finished, Tidegate, tidegate};

const OLD: &str = "\
listeners: [{ name: web, bind: '127.0.0.1:0' }]
regions: { eu: { jurisdictions: [eu] }, us: { jurisdictions: [us] } }
upstreams:
  shop: { regions: { eu: { endpoints: ['10.1.0.1:80'] }, us: { endpoints: ['10.2.0.1:80'] } } }
routes:
  - { name: api, match: { path: /api/** }, upstream: shop }
  - { name: all, upstream: shop }
";

fn diff(old: &str, new: &str, options: &[&str]) -> Finished {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (old, new) = (path("old.yaml", old), path("new.yaml", new));
    tidegate(["diff", &old, &new].iter().chain(options))
}

#[test]
fn what_says_the_same_differs_in_nothing() {
    let new = format!(
        "# a comment\n{}",
        OLD.replace("{ name: all,", "{ timeout: 30s, name: all,")
    );
    let run = diff(OLD, &new, &[]);
    assert_eq!(
        (run.code, &*run.stdout),
        (0, "nothing differs\n"),
        "{}",
        run.stderr
    );
    assert_eq!(diff(OLD, &new, &["--json"]).json()["same"], true);
}

#[test]
fn behaviour_is_told_and_not_text() {
    let new = OLD
        .replace(
            "/api/** }, upstream: shop",
            "/api/** }, upstream: shop, residency: { allow: [eu] }",
        )
        .replace(
            "  - { name: all",
            "  - { name: login, match: { path: /api/login }, upstream: shop }\n  - { name: all",
        )
        .replace("name: web", "name: www");
    let run = diff(OLD, &new, &[]);
    let expected = "\
routes
  ~ api
    residency: nothing -> {allow: [eu]}
    loses us (residency)
  + login
    takes requests that took `api`
who may use which region
    us: lost by 1 route (api)
needs a restart
    listeners.web (removed), listeners.www (added)
";
    assert_eq!((run.code, &*run.stdout), (1, expected), "{}", run.stderr);
    let json = diff(OLD, &new, &["--json"]).json();
    assert_eq!(json["same"], false);
    assert_eq!(json["routes"][0]["loses"][0]["region"], "us");
    assert_eq!(json["eligibility"]["us"]["lost_by"][0], "api");
}

#[test]
fn an_invalid_side_is_refused_as_check_does() {
    let bad = OLD.replace("upstream: shop }", "upstream: shopp }");
    let run = diff(OLD, &bad, &[]);
    assert_eq!(run.code, 1);
    assert!(
        run.stderr.contains("did you mean `shop`?"),
        "{}",
        run.stderr
    );
    let missing = tidegate(["diff", "/nowhere/a.yaml", "/nowhere/b.yaml"]);
    assert_eq!(missing.code, 2, "{}", missing.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_process_is_compared_with_a_file() {
    let config = Config::with([("eu".to_owned(), ([127, 0, 0, 1], 9).into())]).yaml();
    let process = Tidegate::start(&config).await;
    let admin = process.admin().to_string();
    let run = |file: &Path| {
        let file = file.display().to_string();
        tidegate(["diff", "live", &file, "--admin", &admin])
    };
    let same = run(&process.config());
    assert_eq!(
        (same.code, &*same.stdout),
        (0, "nothing differs\n"),
        "{}",
        same.stderr
    );
    let next = process.directory().join("next.yaml");
    let routes = "routes:\n  - { name: gone, match: { path: /x }, upstream: ";
    assert!(config.contains("routes:\n"), "{config}");
    let upstream = config.split_once("upstream: ").unwrap().1;
    let upstream = upstream
        .split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap();
    std::fs::write(
        &next,
        config.replace("routes:\n", &format!("{routes}{upstream} }}\n")),
    )
    .unwrap();
    let differs = run(&next);
    assert_eq!(differs.code, 1, "{}", differs.stderr);
    assert!(
        differs.stdout.contains("routes\n  + gone\n"),
        "{}",
        differs.stdout
    );
    let nobody = tidegate([
        "diff",
        "live",
        &next.display().to_string(),
        "--admin",
        "127.0.0.1:1",
    ]);
    assert_eq!(nobody.code, 2, "{}", nobody.stderr);
}
