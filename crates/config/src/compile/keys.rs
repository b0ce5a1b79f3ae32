//! Lists of what is hashed to decide about a request: its region, its upstream.

use tidegate_core::plan::HashKey;

use crate::compile::{Context, balance};
use crate::raw;
use crate::span::Span;
use crate::yaml::Field;

/// The keys of a list, in its order; none when it is absent.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    field: &Field<Vec<Field<raw::HashOn>>>,
) -> Box<[HashKey]> {
    let mut keys: Vec<(HashKey, Option<Span>)> = Vec::new();
    for field in field.get().into_iter().flatten() {
        if let Some(key) = balance::hash_key(cx, field) {
            balance::check_reached(cx, &key, field.span(), &keys);
            keys.push((key, field.span()));
        }
    }
    keys.into_iter().map(|(key, _)| key).collect()
}
