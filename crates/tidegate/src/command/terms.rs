//! Under which terms something is ordered, and what becomes of it when the process ends.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::signature::Signature;

/// Who orders it, why, and for how long.
#[derive(Debug, Default, Args)]
pub(super) struct Terms {
    /// Take it back after so long, like 30m or 2h; at most 30 days.
    #[arg(long = "for", value_name = "DURATION")]
    lasts: Option<String>,
    #[command(flatten)]
    pub(super) signature: Signature,
}

#[derive(Deserialize)]
struct Kept {
    on: String,
    problem: Option<String>,
}

impl Terms {
    /// Adds what the admin listener has to know of them, but for whom.
    pub(super) fn add_to<'a>(&'a self, parameters: &mut Vec<(&'a str, &'a str)>) {
        if let Some(lasts) = &self.lasts {
            parameters.push(("for", lasts));
        }
    }
}

/// Until when an order is kept, in a line; nothing when that is until somebody takes it back.
pub(super) fn kept(answer: &Value) -> String {
    match Kept::deserialize(&answer["kept"]) {
        Ok(Kept { on, .. }) if on == "disk" => String::new(),
        Ok(Kept {
            problem: Some(problem),
            ..
        }) => format!("kept until this process ends only: {problem}\n"),
        _ => "kept until this process ends (it has no state directory)\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_kept_is_said() {
        let check = |answer: &Value, part: &str| {
            let told = kept(answer);
            assert!(told.contains(part), "{told}");
            assert_eq!(told.is_empty(), part.is_empty(), "{told}");
        };
        check(&json!({ "kept": { "on": "disk", "problem": null } }), "");
        check(
            &json!({ "kept": { "on": "memory", "problem": null } }),
            "no state directory",
        );
        check(
            &json!({ "kept": { "on": "memory", "problem": "disk full" } }),
            "disk full",
        );
        check(&json!({}), "until this process ends");
    }
}
