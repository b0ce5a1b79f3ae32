//! "Did you mean": the nearest known name, or the list of names when nothing is near.

use crate::problem::quoted;

/// Names shown when nothing is near; more would bury the message.
const LISTED_MAX: usize = 12;

/// A hint for `given`, which is none of `known`. Ties go to the earlier name.
pub(crate) fn one_of<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(given, &known) {
        Some(name) => format!("did you mean {}?", quoted(name)),
        None if known.is_empty() => "none is defined".to_owned(),
        None => format!("known here: {}", listed(&known)),
    }
}

/// The nearest of `known`, if it is near enough to be meant.
pub(crate) fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    // A hostile name of megabytes must not cost an edit distance to each of a thousand others.
    if given.len() > 100 {
        return None;
    }
    let lower = given.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    let allowed = 1 + given.chars().count() / 4;
    let candidates = known
        .iter()
        .filter(|name| name.len().abs_diff(given.len()) <= allowed + 3);
    let best = candidates
        .map(|name| (distance(name), *name))
        .min_by_key(|(distance, _)| *distance);
    best.filter(|(distance, _)| *distance <= allowed)
        .map(|(_, name)| name)
}

fn listed(known: &[&str]) -> String {
    let shown: Vec<String> = known
        .iter()
        .take(LISTED_MAX)
        .map(|name| quoted(name))
        .collect();
    match known.len().saturating_sub(LISTED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_nearest_or_list_what_is_there() {
        let known = ["eu-west", "us-east", "ap-south"];
        let check = |given: &str, expected: &str| assert_eq!(one_of(given, known), expected);
        check("eu-wset", "did you mean `eu-west`?");
        check("EU-West", "did you mean `eu-west`?");
        check("us-eats", "did you mean `us-east`?");
        check("mars", "known here: `eu-west`, `us-east`, `ap-south`");
        check(
            &"eu-west".repeat(50),
            "known here: `eu-west`, `us-east`, `ap-south`",
        );
        assert_eq!(one_of("x", []), "none is defined");
    }
}
