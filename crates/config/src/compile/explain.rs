//! `explain`: what is recorded of decisions.

use tidegate_core::plan::Explain;

use super::Context;
use crate::defaults;
use crate::raw;
use crate::yaml::{Field, WordOr};

/// What is recorded; none if nothing is.
pub(super) fn compile(
    cx: &mut Context<'_>,
    field: &Field<raw::OffOrMap<raw::Explain>>,
) -> Option<Explain> {
    let default = raw::Explain::default();
    let raw = match field.get() {
        None => &default,
        Some(WordOr::Value(raw)) => raw,
        Some(WordOr::Word(_)) => return None,
    };
    let share = cx.percent(&raw.sample, 1.0, defaults::EXPLAIN_SAMPLE);
    let keep = cx.number(&raw.keep, 1..=1_000_000, defaults::EXPLAIN_KEEP);
    Some(Explain::new(share, keep as u32))
}
