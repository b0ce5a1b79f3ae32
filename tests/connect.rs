//! `check --connect`: every endpoint is asked once, and each failure is told for what it is.

use std::path::Path;

use serde_json::Value;
use tidegate_lab::tls::{Alpn, Authority};
use tidegate_lab::{Link, LinkSpec, Mode, Region, RegionSpec};

use crate::harness::{Finished, HOST, tidegate};

/// Regions and ways to them, one of each kind.
struct Places {
    good: Region,
    secured: Region,
    strange: Region,
    refused: Link,
    silent: Link,
    authority: Authority,
}

impl Places {
    async fn start() -> Self {
        let good = Region::start(RegionSpec::new("good")).await.unwrap();
        let (authority, other) = (
            Authority::new("ours").unwrap(),
            Authority::new("other").unwrap(),
        );
        let refused = Link::start(good.addr(), LinkSpec::default()).await.unwrap();
        refused.set(Mode::Refuse).await.unwrap();
        let silent = Link::start(good.addr(), LinkSpec::default()).await.unwrap();
        silent.set(Mode::BlackHole).await.unwrap();
        Self {
            secured: secured("secured", &authority).await,
            strange: secured("strange", &other).await,
            good,
            refused,
            silent,
            authority,
        }
    }

    /// A configuration with all of them in `directory`, or with the good ones only.
    fn write(&self, directory: &Path, with_bad: bool) -> String {
        let Self {
            good,
            secured,
            strange,
            refused,
            silent,
            authority,
        } = self;
        std::fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
        let upstream = |name: &str, region: &str, address: &str, keys: &str| {
            format!(
                "  {name}: {{ regions: {{ {region}: {{ endpoints: [\"{address}\"] }} }}{keys} }}\n"
            )
        };
        let tls = format!(
            ", tls: {{ ca: ca.pem, server_name: {HOST} }}, health: {{ probe: {{ http: /healthz }} }}"
        );
        let probe = ", health: { probe: { http: /healthz } }";
        let mut upstreams = upstream("plain", "one", &good.addr().to_string(), probe)
            + &upstream(
                "unprobed",
                "one",
                &good.addr().to_string(),
                ", health: { probe: off }",
            )
            + &upstream("secured", "one", &secured.addr().to_string(), &tls);
        if with_bad {
            upstreams += &upstream("strange", "one", &strange.addr().to_string(), &tls);
            upstreams += &upstream("refused", "two", &refused.addr().to_string(), probe);
            upstreams += &upstream("silent", "two", &silent.addr().to_string(), probe);
        }
        let names = [
            "plain", "unprobed", "secured", "strange", "refused", "silent",
        ];
        let routes: String = names[..if with_bad { 6 } else { 3 }]
            .iter()
            .map(|name| format!("  - {{ match: {{ path: /{name} }}, upstream: {name} }}\n"))
            .collect();
        let text = format!(
            "listeners: [{{ bind: 127.0.0.1:0 }}]\nregions: {{ one: {{}}, two: {{}} }}\nupstreams:\n{upstreams}routes:\n{routes}"
        );
        let path = directory.join("tidegate.yaml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn check(&self, with_bad: bool, more: &[&str]) -> Finished {
        let directory = tempfile::tempdir().unwrap();
        let path = self.write(directory.path(), with_bad);
        let arguments = ["check", &path, "--connect"];
        tokio::task::block_in_place(|| tidegate(arguments.iter().chain(more)))
    }
}

async fn secured(name: &str, authority: &Authority) -> Region {
    let leaf = authority.issue(&[HOST]).unwrap();
    let spec = RegionSpec {
        tls: Some(leaf.server_config(Alpn::H1).unwrap()),
        ..RegionSpec::new(name)
    };
    Region::start(spec).await.unwrap()
}

fn endpoint<'a>(told: &'a Value, upstream: &str) -> &'a Value {
    let all = told["endpoints"].as_array().unwrap();
    all.iter().find(|one| one["upstream"] == upstream).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_answer_are_told_with_their_times() {
    let run = Places::start().await.check(false, &[]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].contains(": ok ("), "{}", run.stdout);
    assert!(lines[1].starts_with("UPSTREAM"), "{}", run.stdout);
    assert_eq!(lines.len(), 5, "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_is_told_for_what_it_is() {
    let run = Places::start().await.check(true, &["--json"]);
    let told = run.json();
    assert_eq!(run.code, 1, "{told:#}");
    assert_eq!(
        (&told["ok"], &told["reached"]),
        (&true.into(), &false.into())
    );
    for upstream in ["plain", "unprobed", "secured"] {
        let found = endpoint(&told, upstream);
        assert_eq!(found["reached"], true, "{found}");
        assert!(found["connect_ms"].is_number(), "{found}");
    }
    assert_eq!(endpoint(&told, "plain")["tls"], Value::Null);
    assert_eq!(endpoint(&told, "unprobed")["probe"], Value::Null);
    assert_eq!(endpoint(&told, "secured")["tls"], true);
    assert_eq!(endpoint(&told, "secured")["probe"], true);
    let strange = endpoint(&told, "strange");
    assert_eq!(
        (&strange["reached"], &strange["tls"]),
        (&false.into(), &false.into())
    );
    assert!(strange["connect_ms"].is_number(), "{strange}");
    let refused = endpoint(&told, "refused");
    assert_eq!(refused["connect_ms"], Value::Null);
    assert!(
        refused["connect_error"]
            .as_str()
            .unwrap()
            .contains("refused"),
        "{refused}"
    );
    // The kernel connects; nothing answers.
    let silent = endpoint(&told, "silent");
    assert_eq!(silent["probe"], false, "{silent}");
    assert!(
        silent["probe_error"]
            .as_str()
            .unwrap()
            .contains("within 5s"),
        "{silent}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_contacted_without_being_asked_to() {
    let places = Places::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = places.write(directory.path(), false);
    let run = tokio::task::block_in_place(|| tidegate(["check", &path]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(places.good.snapshot().connections, 0);
}
