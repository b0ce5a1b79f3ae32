//! Keys that are designed but not built. They are unknown keys, because a key that does nothing
//! would be a lie; the hint tells them from typos.

const LATER: &[&str] = &["rate_limit"];

/// The hint for a key of a later version; none for every other key.
pub(crate) fn hint(key: &str) -> Option<String> {
    let planned = LATER.binary_search(&key).is_ok();
    planned.then(|| "this version does not support it yet; remove the key".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_so_that_every_key_is_found() {
        assert!(LATER.is_sorted());
        assert!(LATER.iter().all(|key| hint(key).is_some()));
        assert!(hint("mirrors").is_none());
    }
}
