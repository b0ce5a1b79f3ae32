//! What only follows from another problem. A key is judged by the keys beside it, and where one of those
//! could not be read something harmless stands in for it; then "this key has no effect" may be true of
//! the stand-in only. Such judgements are left out while something is wrong in the same part of the
//! same object: whoever corrects that hears them, if they still hold.
//!
//! Never leaves out the last error: what it follows from is one.

use std::collections::HashSet;

use crate::problem::Problem;

/// Judgements by other keys: those near them, or those of the part that is named.
const JUDGED: [(&str, &str); 30] = [
    ("all_weights_zero", ""),
    ("conflicting_times", ""),
    ("few_endpoints", "regions"),
    ("grpc_without_http2", "protocol"),
    ("impossible_timeout", ""),
    ("impossible_timeout", "max_duration"),
    ("impossible_timeout", "retry"),
    ("impossible_timeout", "timeout"),
    ("insecure_cookie", ""),
    ("late_silence", ""),
    ("missing_directory", ""),
    ("never_ejects", ""),
    ("never_ejects", "regions"),
    ("no_effect", ""),
    ("no_hash_key", ""),
    ("nothing_serves", ""),
    ("nowhere_to_retry", "regions"),
    ("partial_capacity", "regions"),
    ("shared_cookie", ""),
    ("single_target", ""),
    ("steep_ramp", ""),
    ("unknown_capture", "match"),
    ("unlisted_zone", ""),
    ("unreachable_key", ""),
    ("unreachable_limit", "circuit_breaker"),
    ("unused_key", ""),
    ("unused_key", "steering"),
    ("unused_value", "health"),
    ("unused_zone", ""),
    ("unusual_body", ""),
];

/// More of them, which are never left out: objects that do not go together, each of which is sound.
const BETWEEN: [&str; 5] = [
    "address_in_use",
    "duplicate_endpoint",
    "redirect_cycle",
    "residency_leaves_no_region",
    "shadowed_route",
];

/// What leaves a value unread, so that something stands in for it.
const UNREAD: [&str; 8] = [
    "invalid_path",
    "invalid_regex",
    "invalid_variable",
    "invalid_unit",
    "unknown_upstream",
    "unknown_value",
    "unset_variable",
    "wrong_type",
];

/// Sections whose entries are objects with parts of their own.
const OF_OBJECTS: [&str; 4] = ["listeners", "regions", "routes", "upstreams"];

/// The values that could not be read.
#[derive(Default)]
struct Unread {
    /// The parts that they are in.
    parts: HashSet<String>,
    /// The mappings that they are in, and those around them.
    around: HashSet<String>,
    /// The mappings that they are in.
    within: HashSet<String>,
}

/// Whether a problem is a judgement by other keys, and what it is at was read as it is written.
pub(crate) fn is_judgement(problem: &Problem) -> bool {
    let mut judged = JUDGED.iter().map(|(code, _)| *code).chain(BETWEEN);
    judged.any(|code| code == problem.code)
}

/// Leaves out what follows from what is there; paths must be known.
pub(crate) fn leave_out(problems: &mut Vec<Problem>) {
    let mut unread = Unread::default();
    for problem in problems.iter().filter(|one| UNREAD.contains(&one.code)) {
        unread.note(&problem.path);
    }
    if !unread.within.is_empty() {
        problems.retain(|problem| {
            let mut rules = JUDGED.iter().filter(|(code, _)| *code == problem.code);
            !rules.any(|(_, part)| unread.explains(&problem.path, part))
        });
    }
}

impl Unread {
    fn note(&mut self, path: &str) {
        self.parts.insert(part(path).to_owned());
        let mapping = mapping(path);
        self.around.extend(prefixes(&mapping).map(str::to_owned));
        self.within.insert(mapping);
    }

    /// Whether a value that was not read stands near `path`, or in a part of the same object.
    fn explains(&self, path: &str, other: &str) -> bool {
        if !other.is_empty() {
            let own = part(path);
            let object = own.rsplit_once('.').map_or("", |(object, _)| object);
            return self.parts.contains(&format!("{object}.{other}"));
        }
        let mapping = mapping(path);
        let below = prefixes(&mapping).any(|around| self.within.contains(around));
        below || self.around.contains(&mapping)
    }
}

/// The mapping that holds a key or an item, all items of a list alike: `routes[2].split` of
/// `routes[2].split[0].upstream`. The mapping is at least an object.
fn mapping(path: &str) -> String {
    let object = object(path);
    let rest = &path[object.len()..];
    let mut items = String::new();
    let mut is_index = false;
    for c in rest.chars() {
        is_index |= c == '[';
        if !is_index {
            items.push(c);
        }
        is_index &= c != ']';
    }
    let end = dots(&items).last().copied().unwrap_or(0);
    format!("{object}{}", &items[..end])
}

/// A mapping and those around it, up to its object.
fn prefixes(mapping: &str) -> impl Iterator<Item = &str> {
    let object = object(mapping).len();
    let joints = dots(mapping).into_iter().filter(move |at| *at >= object);
    let inner = joints.map(|at| &mapping[..at]);
    inner.chain([mapping])
}

/// The object that a path leads into; of a section without objects the section.
fn object(path: &str) -> &str {
    let section = path.split(['.', '[']).next().unwrap_or_default();
    let dots = dots(path);
    let end = match path.as_bytes().get(section.len()) {
        _ if !OF_OBJECTS.contains(&section) => Some(&section.len()),
        Some(b'.') => dots.get(1),
        _ => dots.first(),
    };
    &path[..end.copied().unwrap_or(path.len())]
}

/// The part that a path leads into: `routes[2].split` of `routes[2].split[0].upstream`.
fn part(path: &str) -> &str {
    let object = object(path).len();
    let end = path[object..]
        .char_indices()
        .skip(1)
        .find(|(_, c)| ".[".contains(*c));
    &path[..end.map_or(path.len(), |(at, _)| object + at)]
}

/// Where the parts of a path are joined; not within quotes.
fn dots(path: &str) -> Vec<usize> {
    let mut is_quoted = false;
    let joints = path.bytes().enumerate().filter_map(|(at, c)| {
        is_quoted ^= c == b'"';
        (c == b'.' && !is_quoted).then_some(at)
    });
    joints.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_objects() {
        let check = |path: &str, expected: &str| assert_eq!(part(path), expected, "{path}");
        check("", "");
        check("replay.spool", "replay.spool");
        check("routes[2]", "routes[2]");
        check("routes[2].timeout", "routes[2].timeout");
        check("routes[2].split[0].upstream", "routes[2].split");
        check("routes[2].split[0]", "routes[2].split");
        check("upstreams.shop", "upstreams.shop");
        check("upstreams.shop.retry.on[1]", "upstreams.shop.retry");
        check("upstreams.\"a.b\".retry.on", "upstreams.\"a.b\".retry");
        check(
            "upstreams.shop.regions.eu.zones[0]",
            "upstreams.shop.regions",
        );
    }

    #[test]
    fn mappings_have_no_items() {
        let check = |path: &str, expected: &[&str]| {
            let mapping = mapping(path);
            assert_eq!(prefixes(&mapping).collect::<Vec<_>>(), expected, "{path}");
        };
        check("", &[""]);
        check("replay.spool", &["replay"]);
        check("routes[2].timeout", &["routes[2]"]);
        let split = ["routes[2]", "routes[2].split"];
        check("routes[2].split[0].upstream", &split);
        check(
            "upstreams.a.retry.on[1]",
            &["upstreams.a", "upstreams.a.retry"],
        );
    }

    #[test]
    fn what_another_problem_explains_is_left_out() {
        let check = |cause: (&'static str, &str), judged: (&'static str, &str), expected| {
            let at = |(code, path): (&'static str, &str)| Problem {
                path: path.to_owned(),
                ..Problem::error(code, "x")
            };
            let mut problems = vec![at(cause), at(judged)];
            leave_out(&mut problems);
            assert_eq!(problems.len(), expected, "{cause:?} {judged:?}");
        };
        let unused = ("unused_key", "upstreams.a.balance.choice_count");
        check(("wrong_type", "upstreams.a.balance.policy"), unused, 1);
        check(("wrong_type", "upstreams.a.retry.attempts"), unused, 2);
        check(("wrong_type", "upstreams.b.balance.policy"), unused, 2);
        check(("wrong_type", "upstreams.a.steering.policy"), unused, 1);
        check(("wrong_type", "upstreams.a.balance.probe.x"), unused, 1);
        check(("invalid_name", "upstreams.a.balance.policy"), unused, 2);
        let zero = ("all_weights_zero", "routes[0].split[1].weight");
        check(("unknown_upstream", "routes[0].split[0].upstream"), zero, 1);
        check(("unknown_upstream", "routes[1].split[0].upstream"), zero, 2);
        let capture = ("unknown_capture", "routes[0].rewrite.path");
        check(("wrong_type", "routes[0].match.path"), capture, 1);
        check(("wrong_type", "routes[1].match.path"), capture, 2);
    }
}
