//! Whatever a client asks for, what a rewrite makes of it can be written into any head, and a redirect
//! leads where its author meant.

use std::sync::Arc;

use http::{Method, StatusCode};
use proptest::prelude::*;
use tidegate_core::Snapshot;
use tidegate_core::action::{Capture, Hole, PathRewrite, TARGET_MAX, Template, is_origin_form};
use tidegate_core::plan::{Redirect, RedirectTo, UrlTemplate};
use tidegate_core::route::{Captures, PathMatch, Pattern, RouteMatch};

fn hole(name: &str) -> Option<Hole> {
    let capture = |at| Capture {
        name: name.into(),
        at,
    };
    Some(match name {
        "$1" => Hole::Group(capture(1)),
        "path" => Hole::Path,
        "host" => Hole::Host,
        _ => Hole::Captured(capture(1)),
    })
}

/// A match that captures everything after the first slash.
fn captures_all() -> RouteMatch {
    RouteMatch {
        path: Some(PathMatch::Regex(Arc::new(
            Pattern::new("^/(.*)$").expect("it is one"),
        ))),
        ..RouteMatch::default()
    }
}

fn rewrites() -> Vec<PathRewrite> {
    let regex = |regex: &str, to: &str| PathRewrite::Regex {
        regex: Arc::new(Pattern::new(regex).expect("it is one")),
        to: Template::parse_with_groups(to, hole).expect("it is one"),
    };
    let whole = |to: &str| PathRewrite::Whole(Template::parse(to, hole).expect("it is one"));
    let prefix = |matched: &str, to: &str| PathRewrite::Prefix {
        matched: matched.into(),
        to: to.into(),
    };
    vec![
        prefix("", "/v2"),
        prefix("/a", "/"),
        prefix("/a", "/b/c"),
        regex("^/(.*)$", "$1"),
        regex("a+(.?)", "/$1"),
        regex("", "x"),
        whole("/u/{all}"),
        whole("{path}{all}"),
        whole("/fixed"),
    ]
}

/// Targets of all kinds, those of attackers among them.
fn targets() -> impl Strategy<Value = String> {
    prop_oneof![
        "/(a|b|\\.|%2e|%2E|/|\\\\|@|:| |é|\\?|#|\r|\n|\u{0}){0,12}",
        "/[ -~]{0,40}",
        ".{0,20}",
    ]
}

/// What stands for the host in a location that has one.
fn host_of(location: &str) -> Option<&str> {
    let rest = location.strip_prefix("https://")?;
    rest.split(['/', '?', '#', '\\']).next()
}

proptest! {
    #[test]
    fn a_rewritten_target_is_always_one(target in targets()) {
        let matches = captures_all();
        let path = target.split('?').next().unwrap_or_default();
        let captured: Captures<'_> = matches.captures(path);
        let query = target.split_once('?').map(|(_, query)| query);
        for rewrite in rewrites() {
            let Ok(Some(rewritten)) = rewrite.target(&target, &captured) else {
                continue;
            };
            let (path, kept) = match rewritten.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (&*rewritten, None),
            };
            prop_assert!(is_origin_form(path), "{rewrite:?} {target:?} {rewritten:?}");
            prop_assert_eq!(kept, query, "the query stays as it is");
            prop_assert!(rewritten.len() <= TARGET_MAX);
            let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
            prop_assert!(!dots, "{rewritten:?}");
        }
    }

    #[test]
    fn nobody_is_sent_to_another_host(target in targets(), captured in targets()) {
        let matches = captures_all();
        let captured_path = format!("/{captured}");
        let captures = matches.captures(&captured_path);
        let cases = [
            ("https://{all}.safe.test", "{path}", ".safe.test"),
            ("https://safe.test", "{path}", "safe.test"),
            ("https://safe.test", "/{all}", "safe.test"),
            ("", "{path}", ""),
            ("", "/{all}", ""),
        ];
        for (origin, rest, host) in cases {
            let redirect = Redirect {
                status: StatusCode::FOUND,
                to: RedirectTo::Url(UrlTemplate {
                    origin: Template::parse(origin, hole).expect("it is one"),
                    rest: Template::parse(rest, hole).expect("it is one"),
                    fragment: None,
                }),
                keep_query: true,
            };
            let request = Snapshot::new(Method::GET, "a.test", &target);
            let Ok(location) = redirect.location(&request, &captures) else {
                continue;
            };
            prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "{location:?}");
            match host_of(&location) {
                Some(found) => prop_assert!(found.ends_with(host), "{location:?}"),
                None => {
                    prop_assert!(host.is_empty(), "{location:?}");
                    prop_assert!(location.starts_with('/'), "{location:?}");
                    let second = location.as_bytes().get(1);
                    prop_assert!(!matches!(second, Some(b'/' | b'\\')), "{location:?}");
                }
            }
        }
    }
}
