//! The edges between crates are those of `docs/ARCHITECTURE.md`, and no others.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::harness::{files, root};

/// Who may know whom. The binary may know everybody.
const EDGES: [(&str, &[&str]); 11] = [
    ("core", &[]),
    ("http1", &[]),
    ("lab", &[]),
    ("bench", &["lab"]),
    ("config", &["core"]),
    ("telemetry", &["core"]),
    ("tls", &["core"]),
    ("health", &["core", "http1", "telemetry", "tls"]),
    ("proxy", &["core", "http1", "telemetry", "tls"]),
    ("control", &["config", "core", "telemetry", "tls"]),
    (
        "tidegate",
        &[
            "config",
            "control",
            "core",
            "health",
            "lab",
            "proxy",
            "telemetry",
        ],
    ),
];

/// Frameworks, and the only crates that may depend on them directly.
const CONFINED: [(&str, &[&str]); 8] = [
    ("pingora-core", &["proxy"]),
    ("h2", &["bench", "proxy", "lab"]),
    ("hyper", &["control", "health", "lab"]),
    ("axum", &["control"]),
    ("serde-saphyr", &["config"]),
    ("cel", &["config"]),
    ("notify", &["control"]),
    ("rustls-native-certs", &["tls"]),
];

fn packages() -> Vec<Package> {
    let metadata = MetadataCommand::new()
        .no_deps()
        .exec()
        .expect("cargo metadata");
    metadata.packages
}

fn short(name: &str) -> &str {
    name.strip_prefix("tidegate-").unwrap_or(name)
}

fn normal_dependencies(package: &Package) -> impl Iterator<Item = &str> {
    let normal = |kind| kind == DependencyKind::Normal;
    package
        .dependencies
        .iter()
        .filter(move |dep| normal(dep.kind))
        .map(|dep| dep.name.as_str())
}

#[test]
fn crates_know_only_whom_they_may() {
    let allowed: BTreeMap<_, _> = EDGES.into_iter().collect();
    for package in packages() {
        let name = short(&package.name);
        let known: BTreeSet<_> = normal_dependencies(&package)
            .filter(|dep| dep.starts_with("tidegate"))
            .map(short)
            .collect();
        let may: BTreeSet<_> = allowed
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in EDGES"))
            .iter()
            .copied()
            .collect();
        let extra: Vec<_> = known.difference(&may).collect();
        assert!(extra.is_empty(), "{name} must not depend on {extra:?}");
    }
}

#[test]
fn frameworks_stay_where_they_belong() {
    for package in packages() {
        for (framework, owners) in CONFINED {
            let uses = normal_dependencies(&package).any(|dep| dep == framework);
            let name = short(&package.name);
            assert!(
                !uses || owners.contains(&name),
                "{name} must not depend on {framework}"
            );
        }
    }
}

#[test]
fn core_reads_no_clock_and_owns_no_randomness() {
    let banned = [
        "Instant::now",
        "SystemTime::now",
        "fastrand::Rng::new",
        "std::fs",
        "std::net::Tcp",
        "tokio",
    ];
    for path in files(&root().join("crates/core/src"), "rs") {
        let source = std::fs::read_to_string(&path).expect("source");
        let production = source.split("#[cfg(test)]").next().unwrap_or_default();
        for word in banned {
            let used = production
                .lines()
                .any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(!used, "{} uses {word}", path.display());
        }
    }
}

#[test]
fn every_direct_dependency_has_a_reason() {
    let reasons = std::fs::read_to_string("docs/adr/dependencies.md").expect("dependencies.md");
    for package in packages() {
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let listed = name.starts_with("tidegate") || reasons.contains(&format!("`{name}`"));
            assert!(
                listed,
                "{name} ({}) is not in docs/adr/dependencies.md",
                package.name
            );
        }
    }
}
