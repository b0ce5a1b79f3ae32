//! In what two decisions for one request differ, in words.

use super::Looked;
use super::replay::Round;
use crate::choose::Choice;
use crate::decision::Decision;

impl Round<'_> {
    /// What differs between a decision that was recorded and one that was made again. The endpoint is
    /// looked at only if it is `certain`.
    pub(super) fn differences(
        &self,
        looked: &Looked,
        decision: &Decision,
        choice: Option<&Choice>,
        certain: bool,
    ) -> Vec<String> {
        let then = |region| self.record.region(region);
        let now = |region| &*self.plan.region(region).name;
        let mut differences = Vec::new();
        let before = looked
            .decision
            .candidates
            .iter()
            .map(|one| then(one.region));
        let after = decision.candidates.iter().map(|one| now(one.region));
        let (before, after): (Vec<_>, Vec<_>) = (before.collect(), after.collect());
        if before != after {
            let list = |names: &[&str]| match names {
                [] => "none".to_owned(),
                names => names.join(", "),
            };
            let text = format!("candidates {} instead of {}", list(&after), list(&before));
            differences.push(text);
        }
        for one in &decision.excluded {
            let had = looked
                .decision
                .excluded
                .iter()
                .find(|had| then(had.region) == now(one.region));
            if had.map(|had| had.why) != Some(one.why) {
                let text = format!("{} is left out: {}", now(one.region), one.why.told());
                differences.push(text);
            }
        }
        let place = |region: &str, endpoint: &str| match certain {
            true => format!("{region} at {endpoint}"),
            false => region.to_owned(),
        };
        let before = looked.chosen.as_ref();
        let before = before.map(|one| place(then(one.region), &one.endpoint));
        let after = choice.map(|one| place(now(one.region), &one.endpoint().address));
        if before != after {
            let none = || "nowhere".to_owned();
            let (after, before) = (after.unwrap_or_else(none), before.unwrap_or_else(none));
            differences.push(format!("goes to {after} instead of {before}"));
        }
        differences
    }
}
