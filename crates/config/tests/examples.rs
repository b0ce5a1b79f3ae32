//! Whatever this repository shows as a configuration is one: the files in `configs/` and
//! `examples/`, and every block in the documentation.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_config::{Bundle, Files, Loaded, Surroundings, Variables, compile, compile_bundle};

/// Gives every file that is asked for: the key under `*.key`, else its certificate.
struct AnyCertificate {
    certificate: String,
    key: String,
}

impl AnyCertificate {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        // Without a name it fits whatever host an example serves.
        let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            certificate,
            key: key.serialize_pem(),
        }
    }
}

impl Files for AnyCertificate {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let is_key = path.extension().is_some_and(|extension| extension == "key");
        Ok(if is_key {
            self.key.clone()
        } else {
            self.certificate.clone()
        }
        .into_bytes())
    }

    fn is_dir(&self, _: &Path) -> io::Result<bool> {
        Ok(true)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_782_000_000)
}

/// Loads a text that must be without problems, warnings included.
fn load(name: &str, text: &str) -> Loaded {
    let loaded = compile(name, text, &AnyCertificate::new(), now());
    let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.report());
    loaded
}

/// The same of several files, where no variable is set: each has a default.
fn load_bundle(bundle: &Bundle) {
    let surroundings = Surroundings {
        files: &AnyCertificate::new(),
        environment: &Variables::default(),
        now: now(),
        serving: None,
    };
    let loaded = compile_bundle(bundle, &surroundings);
    let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.report());
}

fn load_file(path: &str) -> Loaded {
    load(path, &std::fs::read_to_string(root().join(path)).unwrap())
}

/// Every file below `dir` with this extension.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path, extension)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    found
}

#[test]
fn every_example_loads_without_a_warning() {
    let examples = [root().join("configs"), root().join("examples")];
    let found: Vec<PathBuf> = examples.iter().flat_map(|dir| files(dir, "yaml")).collect();
    assert!(found.len() >= 7, "{found:?}");
    let bundles: Vec<Bundle> = found
        .iter()
        .map(|path| Bundle::read(path).unwrap_or_else(|report| panic!("{report}")))
        .collect();
    let parts: BTreeSet<&PathBuf> = bundles
        .iter()
        .flat_map(|bundle| &bundle.files[1..])
        .map(|(path, _)| path)
        .collect();
    assert!(parts.len() >= 3, "{parts:?}");
    for bundle in bundles
        .iter()
        .filter(|bundle| !parts.contains(&bundle.main))
    {
        load_bundle(bundle);
    }
}

#[test]
fn the_minimal_file_needs_no_other_file() {
    let loaded = tidegate_config::load(&root().join("configs/minimal.yaml")).unwrap();
    assert_eq!(loaded.watched, [root().join("configs/minimal.yaml")]);
    assert_eq!(loaded.plan.regions.len(), 2);
}

#[test]
fn the_reference_file_gives_the_defaults() {
    let text = "
listeners: [{ bind: '0.0.0.0:8080' }]
regions: { eu-west: {}, us-east: {} }
upstreams:
  shop:
    regions:
      eu-west: { endpoints: ['10.1.0.10:8080'] }
      us-east: { endpoints: ['10.2.0.10:8080'] }
routes: [{ upstream: shop }]
";
    assert_eq!(
        load_file("configs/reference.yaml").resolved,
        load("defaults.yaml", text).resolved
    );
}

#[test]
fn the_reference_file_has_every_key() {
    let text = std::fs::read_to_string(root().join("configs/reference.yaml")).unwrap();
    let schema = tidegate_config::schema();
    let defs = schema["$defs"].as_object().unwrap().values();
    let keys = std::iter::once(&schema)
        .chain(defs)
        .filter_map(|def| def["properties"].as_object());
    for key in keys.flat_map(|properties| properties.keys()) {
        assert!(text.contains(&format!("{key}:")), "`{key}` is missing");
    }
}

#[test]
fn every_configuration_in_the_documentation_loads() {
    let mut pages = files(&root().join("docs"), "md");
    pages.extend(files(&root().join("examples"), "md"));
    pages.push(root().join("README.md"));
    for page in pages.iter().filter(|page| page.exists()) {
        let text = std::fs::read_to_string(page).unwrap();
        for (index, block) in blocks(&text).iter().enumerate() {
            load(&format!("{} block {}", page.display(), index + 1), block);
        }
    }
}

/// The fenced YAML blocks that are whole configurations.
fn blocks(markdown: &str) -> Vec<String> {
    let fenced = markdown
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next());
    let starts = |block: &str| {
        let first = block
            .lines()
            .find(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let keys = ["pop:", "listeners:", "regions:"];
        first.is_some_and(|line| keys.iter().any(|key| line.starts_with(key)))
    };
    fenced
        .filter(|block| starts(block))
        .map(str::to_owned)
        .collect()
}

#[test]
fn blocks_are_found_by_their_first_key() {
    let page = "```yaml\n# a\nlisteners: []\n```\n```yaml\nretry: {}\n```\n```yaml\npop: {}\n```\n";
    assert_eq!(blocks(page), ["# a\nlisteners: []", "pop: {}"]);
}
