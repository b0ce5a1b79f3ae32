//! The codes that a call of gRPC ends with, by the names that `retry.on` uses.

/// What stands before each name, so that none is mistaken for a failure of another kind.
const PREFIX: &str = "grpc-";

/// The name of each code, by its number.
const NAMES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

/// The code of `grpc-unavailable`.
pub(crate) fn code(word: &str) -> Option<u8> {
    let name = word.strip_prefix(PREFIX)?;
    let code = NAMES.iter().position(|known| *known == name)?;
    u8::try_from(code).ok()
}

/// `grpc-unavailable` of its code; none of a number that is no code.
pub(crate) fn word(code: u8) -> Option<String> {
    let name = NAMES.get(usize::from(code))?;
    Some(format!("{PREFIX}{name}"))
}

/// The words of all codes that say of a failure: all but that of 0.
pub(crate) fn retryable() -> Vec<String> {
    (1..=16).filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_one_name_each_by_their_number() {
        let check = |text: &str, expected| assert_eq!(code(text), expected, "{text}");
        check("grpc-ok", Some(0));
        check("grpc-deadline-exceeded", Some(4));
        check("grpc-unavailable", Some(14));
        check("grpc-unauthenticated", Some(16));
        check("unavailable", None);
        check("grpc-Unavailable", None);
        check("grpc-14", None);
        for number in 0..=16 {
            assert_eq!(code(&word(number).unwrap()), Some(number));
        }
        assert_eq!((word(17), retryable().len()), (None, 16));
    }
}
