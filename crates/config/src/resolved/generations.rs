//! Where generations are kept, and when a new one goes again.

use std::path::Path;

use tidegate_core::plan::Rollback;
use tidegate_core::settings::State;

use super::{duration, off_or, path};
use crate::emit::Doc;
use crate::units::show_percent;

pub(super) fn state(state: &State, base: &Path) -> Doc<'static> {
    Doc::map([
        ("dir", state.dir.as_ref().map(|dir| path(dir, base))),
        ("keep", Some(Doc::plain(state.keep))),
    ])
}

pub(super) fn rollback(rollback: Option<&Rollback>) -> Doc<'static> {
    off_or(rollback, |rollback| {
        let rise = |rise: f64| Doc::text(format!("+{}", show_percent(rise)));
        let factor = |factor: f64| Doc::text(format!("{factor}x"));
        let limit = |limit: Option<Doc<'static>>| Some(limit.unwrap_or(Doc::word("off")));
        Doc::map([
            ("watch", Some(duration(rollback.watch))),
            ("max_error_rate", limit(rollback.max_error_rate.map(rise))),
            ("max_latency", limit(rollback.max_latency.map(factor))),
            ("min_requests", Some(Doc::plain(rollback.min_requests))),
        ])
    })
}
