//! What differs between two parts of resolved configurations, key by key, in the words of the file.
//!
//! Compared is what a plan was understood as, every default written out: a default that changes is
//! seen, a comment or another order of keys is not, and a key that comes with a later version needs
//! nothing here.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

/// Longer values are cut: a person reads them, and `--json` has them whole.
const SHOWN_MAX: usize = 120;

/// One key that has another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// The keys that lead to it: `steering.tolerance`. Empty: the whole.
    pub key: String,
    /// What it was; none if it was not there.
    pub from: Option<Value>,
    /// What it is; none if it is gone.
    pub to: Option<Value>,
}

/// Every key below `old` and `new` whose values differ, by name. Lists count as one value.
pub(super) fn between(old: &Value, new: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    compare(&mut String::new(), Some(old), Some(new), &mut found);
    found
}

fn compare(key: &mut String, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Field>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let length = key.len();
                if length > 0 {
                    key.push('.');
                }
                key.push_str(name);
                compare(key, old.get(name), new.get(name), found);
                key.truncate(length);
            }
        }
        (old, new) => found.push(Field {
            key: key.clone(),
            from: old.cloned(),
            to: new.cloned(),
        }),
    }
}

/// A value in one line, as the file would have it: cut where it is long.
pub(super) fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "nothing".to_owned();
    };
    let mut text = String::new();
    write(value, &mut text);
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn write(value: &Value, into: &mut String) {
    match value {
        Value::String(text) => {
            into.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }))
        }
        Value::Array(items) => {
            into.push('[');
            for (at, item) in items.iter().enumerate() {
                into.push_str(if at > 0 { ", " } else { "" });
                write(item, into);
            }
            into.push(']');
        }
        Value::Object(entries) => {
            into.push('{');
            for (at, (name, item)) in entries.iter().enumerate() {
                into.push_str(if at > 0 { ", " } else { "" });
                into.push_str(name);
                into.push_str(": ");
                write(item, into);
            }
            into.push('}');
        }
        plain => into.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_named_by_its_keys() {
        let old = json!({ "a": { "b": "1s", "c": [1, 2] }, "d": true, "gone": { "x": 1 } });
        let new = json!({ "a": { "b": "2s", "c": [1] }, "d": true, "new": "off" });
        let told: Vec<_> = between(&old, &new)
            .iter()
            .map(|field| {
                let (from, to) = (shown(field.from.as_ref()), shown(field.to.as_ref()));
                format!("{} {from} -> {to}", field.key)
            })
            .collect();
        let expected = [
            "a.b 1s -> 2s",
            "a.c [1, 2] -> [1]",
            "gone {x: 1} -> nothing",
            "new nothing -> off",
        ];
        assert_eq!(told, expected);
        assert!(between(&old, &old).is_empty());
    }

    #[test]
    fn long_values_are_cut_and_stay_on_one_line() {
        let text = shown(Some(&json!("é\n".repeat(200))));
        assert_eq!(text.chars().count(), SHOWN_MAX + 3);
        assert!(!text.contains('\n'));
    }
}
