//! What must hold whatever is read. The tests and the fuzz targets call the same functions.

use std::time::{Duration, UNIX_EPOCH};

use http::Method;
use tidegate_config::{
    Bundle, Loaded, Memory, RenderStyle, Report, Surroundings, Variables, compile_bundle,
};
use tidegate_core::Snapshot;

/// What starts the text of another file, or `environment`, in the input of [`bundle`].
const FILE: &str = "\n=== ";

/// Any bytes as one configuration: what is refused can be shown; what is accepted can be printed and
/// loads again to the same.
pub(crate) fn compile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    check(&Bundle::of("x.yaml", text), &Variables::default());
}

/// The same of several files and an environment, each after a line `=== NAME`; values are shown nowhere.
pub(crate) fn bundle(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let text = format!("\n{text}");
    let mut parts = text.split(FILE);
    let mut bundle = Bundle::of("x.yaml", parts.next().unwrap_or_default());
    let mut environment = Vec::new();
    for (name, text) in parts.filter_map(|part| part.split_once('\n')).take(8) {
        match name {
            "environment" => {
                environment.extend(text.lines().filter_map(|line| line.split_once('=')))
            }
            name => bundle = bundle.with(name, text),
        }
    }
    check(&bundle, &environment.into_iter().collect());
}

/// Any bytes to be formatted: what comes out is formatted, and means the same.
pub(crate) fn format(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(once) = tidegate_config::format("x.yaml", text) else {
        return;
    };
    let again = tidegate_config::format("x.yaml", &once).expect("what was formatted can be");
    assert_eq!(again, once, "formatting again changes nothing");
    let both = [text, &once].map(|text| load(&Bundle::of("x.yaml", text), &Variables::default()));
    match both {
        [Ok(before), Ok(after)] => {
            assert_eq!(before.plan.content_hash, after.plan.content_hash);
        }
        [Err(before), Err(after)] => {
            let codes = |report: &Report| -> Vec<_> {
                let mut codes: Vec<_> = report.problems.iter().map(|one| one.code).collect();
                codes.sort_unstable();
                codes
            };
            assert_eq!(codes(&before), codes(&after), "{once}");
        }
        _ => panic!("one of both is accepted: {once}"),
    }
}

/// An expression, and in the lines after it a path and fields (`name: value`) of a request.
pub(crate) fn expression(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut lines = text.split('\n');
    let source = serde_json::to_string(lines.next().unwrap_or_default()).expect("texts are JSON");
    let text = format!(
        "listeners: [{{ bind: '127.0.0.1:0' }}]\nregions: {{ a: {{}} }}\n\
         upstreams: {{ s: {{ regions: {{ a: {{ endpoints: ['a:1'] }} }} }} }}\n\
         routes: [{{ upstream: s, match: {{ when: {source} }} }}]\n"
    );
    let bundle = Bundle::of("x.yaml", text);
    if let Some(loaded) = check(&bundle, &Variables::default()) {
        let target = lines.next().unwrap_or("/");
        let mut request = Snapshot::new(Method::GET, "shop.example.com", target);
        let fields = lines.filter_map(|line| line.split_once(": ")).take(64);
        let fields =
            fields.filter_map(|(name, value)| Some((name.parse().ok()?, value.as_bytes().into())));
        request.fields = fields.collect();
        let (found, again) = (
            loaded.plan.table.find(&request),
            loaded.plan.table.find(&request),
        );
        assert_eq!(found, again, "an expression has one answer");
    }
}

/// Compiles and shows; the configuration if it was accepted.
fn check(bundle: &Bundle, environment: &Variables) -> Option<Loaded> {
    match load(bundle, environment) {
        Ok(loaded) => {
            let printed = Bundle::of("x.yaml", &*loaded.resolved);
            let again = load(&printed, environment).unwrap_or_else(|report| {
                panic!("{report}\n{}", loaded.resolved);
            });
            assert_eq!(again.resolved, loaded.resolved);
            assert_eq!(again.plan.content_hash, loaded.plan.content_hash);
            shown(&loaded.report());
            Some(loaded)
        }
        Err(report) => {
            assert!(report.errors() > 0);
            shown(&report);
            None
        }
    }
}

fn shown(report: &Report) {
    for problem in &report.problems {
        let is_inside = |start| start <= report.text.len();
        assert!(problem.span.is_none_or(|span| is_inside(span.start)));
    }
    report.to_json();
    let shown = report.render(RenderStyle::PLAIN);
    let is_harmless = |c: char| c == '\n' || !c.is_control();
    assert!(shown.chars().all(is_harmless), "{shown:?}");
}

fn load(bundle: &Bundle, environment: &Variables) -> Result<Loaded, Report> {
    let surroundings = Surroundings {
        files: &Memory::new(),
        environment,
        now: UNIX_EPOCH + Duration::from_secs(1_782_000_000),
        serving: None,
    };
    compile_bundle(bundle, &surroundings)
}
