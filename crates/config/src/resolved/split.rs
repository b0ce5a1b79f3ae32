//! Where else a route's requests go: split between upstreams, copied to another, kept in a region.

use tidegate_core::plan::{Isolation, Mirror, Plan, Route, Split, SplitTarget};

use super::{percent, size};
use crate::emit::Doc;

pub(super) fn targets<'a>(plan: &'a Plan, split: &Split) -> Doc<'a> {
    let target = |target: &SplitTarget| {
        Doc::map([
            (
                "upstream",
                Some(Doc::quote(&plan.upstream(target.upstream).name)),
            ),
            ("weight", Some(Doc::plain(target.weight))),
        ])
    };
    Doc::List(split.targets.iter().map(target).collect())
}

/// The one upstream of a route that is not split, if it has one.
pub(super) fn upstream<'a>(plan: &'a Plan, route: &Route) -> Option<Doc<'a>> {
    let alone = route.upstream.filter(|_| route.split.is_none());
    alone.map(|upstream| Doc::quote(&plan.upstream(upstream).name))
}

pub(super) fn mirror<'a>(plan: &'a Plan, mirror: &Mirror) -> Doc<'a> {
    Doc::map([
        (
            "upstream",
            Some(Doc::quote(&plan.upstream(mirror.upstream).name)),
        ),
        ("share", Some(percent(mirror.share.share()))),
        ("max_body", Some(size(mirror.max_body))),
    ])
}

pub(super) fn isolation(isolation: Isolation) -> Doc<'static> {
    Doc::word(match isolation {
        Isolation::Off => "off",
        Isolation::Nearest => "nearest",
        Isolation::Strict => "strict",
    })
}
