//! The region that a trusted peer names for a request, in the field `tidegate-region`: for tests and
//! drills.
//!
//! It comes before what steering and affinity prefer, and before nothing else: residency, health,
//! drains and dials at 0 hold for it as for any region. What anybody else says in this field counts for
//! nothing, and it never reaches an upstream, whoever said it.

use http::HeaderName;
use tidegate_core::plan::{Plan, Upstream};
use tidegate_core::{RegionIdx, Termination};
use tidegate_http1::Known;

use crate::context::Context;
use crate::head::RequestHead;
use crate::problem::Refusal;

const FIELD: HeaderName = HeaderName::from_static("tidegate-region");

/// The region that the client names, if it may and does.
///
/// # Errors
/// It names none of the upstream's regions, or more than one: the answer lists them.
pub(crate) fn region(
    context: &Context,
    head: &RequestHead,
    plan: &Plan,
    upstream: &Upstream,
) -> Result<Option<RegionIdx>, Refusal> {
    if !context.words.trusted() {
        return Ok(None);
    }
    let (name, more) = match head {
        RequestHead::H1(head) if !head.fields.contains(Known::TidegateRegion) => (None, false),
        RequestHead::H1(head) => first(head.fields.get_all(Known::TidegateRegion)),
        RequestHead::H2(parts) => {
            let values = parts.headers.get_all(FIELD).iter();
            first(values.map(|value| value.as_bytes()))
        }
    };
    let Some(name) = name else {
        return Ok(None);
    };
    let mut regions = upstream.regions.iter().map(|one| one.region);
    let found = regions.find(|region| plan.region(*region).name.as_bytes() == name);
    match found {
        Some(region) if !more => Ok(Some(region)),
        _ => Err(unknown(name, more, plan, upstream)),
    }
}

/// The first value, and whether there is another.
fn first<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> (Option<&'a [u8]>, bool) {
    (values.next(), values.next().is_some())
}

fn unknown(name: &[u8], more: bool, plan: &Plan, upstream: &Upstream) -> Refusal {
    let known: Vec<&str> = upstream
        .regions
        .iter()
        .map(|one| &*plan.region(one.region).name)
        .collect();
    let (upstream, known) = (&upstream.name, known.join(", "));
    let detail = match more {
        true => format!("{FIELD} names more than one region; those of {upstream} are {known}"),
        false => {
            let name = name.escape_ascii();
            format!("{upstream} has no region {name} ({FIELD}); it has {known}")
        }
    };
    Refusal::new(Termination::BadRequest, Some(detail))
}
