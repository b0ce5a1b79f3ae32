//! The schema, held by an independent validator against every file that the compiler accepts: an
//! editor must not mark what is right.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

/// Every kind of value by the environment.
const VARIABLES: &str = "
listeners: [{ bind: '127.0.0.1:${PORT:-8080}', limits: { header_size: '${SIZE}', connections: '${MANY}' } }]
threads: '${THREADS:-auto}'
regions: { eu-west: { jurisdictions: ['${PLACE}'] } }
upstreams:
  shop:
    regions: { eu-west: { endpoints: ['${HOST}:80'], dial: '${DIAL:-100%}', capacity_rps: '${RPS}' } }
    steering: { policy: '${POLICY}' }
    retry: { attempts: '${ATTEMPTS}', on: ['${WHAT}'] }
routes: [{ upstream: shop, timeout: '${TIMEOUT}', idempotent: '${TWICE}' }]
";

struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn new() -> Self {
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        let name = "file:///tidegate.schema.json";
        compiler
            .add_resource(name, tidegate_config::schema())
            .unwrap();
        let index = compiler.compile(name, &mut schemas).unwrap();
        Self { schemas, index }
    }

    /// What is wrong with a text, as an editor sees it.
    fn complain(&self, text: &str) -> Option<String> {
        let value = read(text).unwrap();
        let valid = self.schemas.validate(&value, self.index);
        valid.err().map(|error| format!("{text}\n{error}"))
    }
}

/// YAML 1.2, where `off` is a word.
fn read(text: &str) -> Option<Value> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).ok()
}

fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let wanted = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
    paths.filter(wanted).collect()
}

fn texts(directory: &str, extension: &str) -> impl Iterator<Item = String> {
    let files = files(directory, extension).into_iter();
    files.map(|path| std::fs::read_to_string(path).unwrap())
}

/// The blocks of YAML in a document.
fn blocks(text: &str) -> Vec<String> {
    let blocks = text.split("```yaml\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

/// Whether a text has what the schema of a whole configuration asks for.
fn is_whole(text: &str) -> bool {
    let has = |value: &Value| value["listeners"].is_array() && value["routes"].is_array();
    read(text).is_some_and(|value| has(&value))
}

#[test]
fn what_the_compiler_accepts_fits_the_schema() {
    let schema = Schema::new();
    let wrong: Vec<String> = texts("tests/cases/ok", "yaml")
        .filter(|text| is_whole(text))
        .filter_map(|text| schema.complain(&text))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(files("tests/cases/ok", "yaml").len() > 40);
}

#[test]
fn what_the_documents_show_fits_the_schema() {
    let schema = Schema::new();
    let shown: Vec<String> = texts("../../docs", "md")
        .flat_map(|text| blocks(&text))
        .filter(|text| is_whole(text))
        .collect();
    assert!(shown.len() > 5, "{} blocks", shown.len());
    let wrong: Vec<String> = shown
        .iter()
        .filter_map(|text| schema.complain(text))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn variables_may_stand_for_every_value_and_nothing_else_may() {
    let schema = Schema::new();
    assert_eq!(schema.complain(VARIABLES), None);
    for value in ["1", "fast", "${", "$NAME", "${1}"] {
        let text = VARIABLES.replace("${TIMEOUT}", value);
        assert!(schema.complain(&text).is_some(), "{text}");
        let text = VARIABLES.replace("${POLICY}", value);
        assert!(schema.complain(&text).is_some(), "{text}");
    }
}
