//! The corpus: one file per behaviour, or one directory where it takes several files: `main.yaml`, what
//! it includes, and the variables of its environment in `environment`. Each case in `cases/bad` shows its exact problems in the
//! `.stderr` beside it; each one in `cases/ok` shows in its `.resolved` how it was understood, and
//! its warnings, if it has any, in a `.stderr`. `UPDATE_GOLDEN=1` rewrites them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod broken;
mod certs;
mod codes;
mod places;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tidegate_config::{
    Bundle, Loaded, RenderStyle, Report, Surroundings, Variables, compile_bundle,
};

fn cases(kind: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(kind);
    let files = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.is_dir() || path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    files.sort();
    files
}

fn load(path: &Path) -> Result<Loaded, Report> {
    match path.is_dir() {
        true => load_directory(path),
        false => {
            let name = path.file_name().unwrap().to_str().unwrap();
            let text = std::fs::read_to_string(path).unwrap();
            load_bundle(&Bundle::of(name, text), &Variables::default())
        }
    }
}

fn load_bundle(bundle: &Bundle, environment: &Variables) -> Result<Loaded, Report> {
    let surroundings = Surroundings {
        files: &certs::files(),
        environment,
        now: certs::now(),
        serving: None,
    };
    compile_bundle(bundle, &surroundings)
}

/// A case of several files, its variables, and the environment that it is compiled in.
fn load_directory(path: &Path) -> Result<Loaded, Report> {
    let mut files = below(path);
    // The order of a directory must not count.
    files.reverse();
    let read = |file: &PathBuf| std::fs::read_to_string(file).unwrap();
    let main = path.join("main.yaml");
    let others = files.iter().filter(|file| **file != main);
    let bundle = others.fold(Bundle::of("main.yaml", read(&main)), |bundle, file| {
        bundle.with(file.strip_prefix(path).unwrap(), read(file))
    });
    load_bundle(&bundle, &variables(path))
}

fn variables(case: &Path) -> Variables {
    let text = std::fs::read_to_string(case.join("environment")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .collect()
}

/// The YAML files below a directory, sorted.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| match path.is_dir() {
            true => below(&path),
            false => vec![path],
        })
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
}

/// Compares `actual` with the file beside the case; an empty text means that there is no file.
/// Returns what is wrong.
fn compare(case: &Path, extension: &str, actual: &str) -> Option<String> {
    let path = case.with_extension(extension);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        match actual {
            "" => drop(std::fs::remove_file(&path)),
            actual => std::fs::write(&path, actual).unwrap(),
        }
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let shown = path.display();
    (expected != actual).then(|| format!("{shown}\n--- expected\n{expected}\n--- actual\n{actual}"))
}

fn assert_none(failures: Vec<String>) {
    assert!(
        failures.is_empty(),
        "{}\nUPDATE_GOLDEN=1 rewrites",
        failures.join("\n")
    );
}

#[test]
fn bad_files_show_exactly_their_problems() {
    let failures = cases("bad")
        .into_iter()
        .filter_map(|case| match load(&case) {
            Ok(_) => Some(format!("{} was accepted", case.display())),
            Err(report) => compare(&case, "stderr", &report.render(RenderStyle::PLAIN)),
        });
    assert_none(failures.collect());
}

#[test]
fn every_problem_says_what_to_do_about_it() {
    let bad = cases("bad")
        .into_iter()
        .filter_map(|case| load(&case).err());
    let good = cases("ok").into_iter().filter_map(|case| load(&case).ok());
    for report in bad.chain(good.map(|loaded| loaded.report())) {
        for problem in &report.problems {
            let hint = problem.help.as_deref().unwrap_or_default();
            assert!(!hint.is_empty(), "{}: {problem:?}", report.source_name);
        }
    }
}

#[test]
fn good_files_are_understood_as_written_beside_them() {
    let failures = cases("ok").into_iter().flat_map(|case| match load(&case) {
        Err(report) => vec![format!("{report}")],
        Ok(loaded) => {
            let warnings = loaded.report().render(RenderStyle::PLAIN);
            let resolved = compare(&case, "resolved", &loaded.resolved);
            resolved
                .into_iter()
                .chain(compare(&case, "stderr", &warnings))
                .collect()
        }
    });
    assert_none(failures.collect());
}

#[test]
fn what_is_resolved_loads_again_and_is_the_same() {
    for case in cases("ok") {
        let first = load(&case).unwrap();
        let bundle = Bundle::of("again.yaml", &*first.resolved);
        let again = load_bundle(&bundle, &variables(&case));
        let again = again.unwrap_or_else(|report| panic!("{}: {report}", case.display()));
        assert_eq!(again.resolved, first.resolved, "{}", case.display());
        assert_eq!(
            again.plan.content_hash,
            first.plan.content_hash,
            "{}",
            case.display()
        );
        assert_eq!(again.settings, first.settings, "{}", case.display());
    }
}

#[test]
fn different_good_files_have_different_hashes() {
    let hashes: BTreeSet<String> = cases("ok")
        .iter()
        .map(|case| load(case).unwrap().plan.content_hash.to_string())
        .collect();
    assert_eq!(hashes.len(), cases("ok").len());
}

#[test]
fn the_corpus_is_as_large_as_promised() {
    assert!(cases("bad").len() >= 35, "{}", cases("bad").len());
    assert!(cases("ok").len() >= 12, "{}", cases("ok").len());
}

#[test]
fn every_kind_of_problem_has_a_case() {
    let cases = cases("bad").into_iter().chain(cases("ok"));
    let shown: BTreeSet<String> = cases
        .filter_map(|case| std::fs::read_to_string(case.with_extension("stderr")).ok())
        .flat_map(|text| codes::shown(&text))
        .collect();
    let missing: Vec<String> = codes::declared().difference(&shown).cloned().collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}
