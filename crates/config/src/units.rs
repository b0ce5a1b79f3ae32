//! Numbers with units: the only way to write a duration, a size or a share. A bare number is
//! refused, because whoever reads it has to guess, and proxies have turned 5 seconds into 5
//! milliseconds that way.
//!
//! Parsed here and not while decoding, so that a bad unit is one problem among others. `show_*`
//! is the inverse: the shortest exact form.

use std::time::Duration;

/// Why a text is no such value: the reason, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnitError {
    pub(crate) message: String,
    pub(crate) help: String,
}

const SECOND: u128 = 1_000_000_000;

/// Nanoseconds of each unit, smallest first.
const DURATIONS: [(&str, u128); 5] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

/// Bytes of each unit.
const SIZES: [(&str, u128); 8] = [
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// Units that [`show_size`] chooses from.
const SHOWN_SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// `10ms`, `2s`, `1.5m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, UnitError> {
    let nanos = scaled(text, &DURATIONS, "a duration", bare_duration)?;
    if !nanos.is_multiple_of(1_000) {
        return Err(UnitError {
            message: "finer than a microsecond".to_owned(),
            help: "write whole microseconds, like `1us`".to_owned(),
        });
    }
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| too_large("a duration", "at most 720h"))
}

/// `512B`, `16KiB`, `10MB`, in bytes.
pub(crate) fn size(text: &str) -> Result<u64, UnitError> {
    let bytes = scaled(text, &SIZES, "a size", |n| {
        format!("did you mean `{n}KiB` or `{n}MiB`?")
    })?;
    u64::try_from(bytes).map_err(|_| too_large("a size", "at most what fits in memory"))
}

/// `20%` as 0.2. Never negative or infinite.
pub(crate) fn percent(text: &str) -> Result<f64, UnitError> {
    let number = |text: &str| {
        text.parse::<f64>()
            .ok()
            .filter(|n| n.is_finite() && *n >= 0.0)
    };
    match (text.strip_suffix('%').map(decimal), decimal(text)) {
        (Some(Some((digits, ""))), _) => number(digits).map(|n| n / 100.0),
        (None, Some((digits, ""))) => {
            let n = number(digits).unwrap_or(0.0);
            let percent = if n <= 1.0 && digits.contains('.') {
                n * 100.0
            } else {
                n
            };
            return Err(UnitError {
                message: "a share needs the unit `%`".to_owned(),
                help: format!("did you mean `{}`?", show_percent(percent / 100.0)),
            });
        }
        _ => None,
    }
    .ok_or_else(|| UnitError {
        message: "not a share".to_owned(),
        help: "write a number and `%`, like `20%`".to_owned(),
    })
}

/// The shortest exact form of a duration.
pub(crate) fn show_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let exact = DURATIONS
        .iter()
        .rev()
        .find(|(_, unit)| nanos.is_multiple_of(*unit) && nanos > 0);
    let (name, unit) = exact.copied().unwrap_or(("ms", 1_000_000));
    format!("{}{name}", nanos / unit)
}

/// The shortest exact form of a size.
pub(crate) fn show_size(bytes: u64) -> String {
    let exact = SHOWN_SIZES
        .iter()
        .find(|(_, unit)| bytes.is_multiple_of(*unit) && bytes > 0);
    let (name, unit) = exact.copied().unwrap_or(("B", 1));
    format!("{}{name}", bytes / unit)
}

/// A share as `20%`, to four decimals of a percent.
pub(crate) fn show_percent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

fn bare_duration(n: &str) -> String {
    format!("did you mean `{n}s` or `{n}ms`?")
}

fn too_large(what: &str, bound: &str) -> UnitError {
    UnitError {
        message: format!("too large for {what}"),
        help: bound.to_owned(),
    }
}

/// The number of smallest units. Exact: nothing passes through a float.
fn scaled(
    text: &str,
    units: &[(&str, u128)],
    what: &str,
    bare: impl Fn(&str) -> String,
) -> Result<u128, UnitError> {
    let names = || {
        units
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let Some((digits, unit)) = decimal(text) else {
        let help = format!("write a number and a unit ({}), without a space", names());
        return Err(UnitError {
            message: format!("not {what}"),
            help,
        });
    };
    if unit.is_empty() {
        return Err(UnitError {
            message: format!("{what} needs a unit"),
            help: bare(digits),
        });
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let help = format!("the units are {}", names());
        return Err(UnitError {
            message: format!("unknown unit of {what}"),
            help,
        });
    };
    multiply(digits, *factor).ok_or_else(|| UnitError {
        message: format!("not {what} that can be represented"),
        help: "use a smaller number or fewer decimals".to_owned(),
    })
}

/// Splits `1.5s` into `1.5` and `s`. None when there is no number in front.
fn decimal(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let fits = !whole.is_empty() && !fraction.is_empty() && !fraction.contains('.');
    fits.then_some((number, unit))
}

/// `digits x factor`, when that is a whole number in range.
fn multiply(digits: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let parts: u128 = format!("{whole}{fraction}").parse().ok()?;
    let product = parts.checked_mul(factor)?;
    product.is_multiple_of(scale).then(|| product / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_are_exact() {
        let check = |text: &str, expected: Result<u64, &str>| {
            let actual = duration(text)
                .map(|d| d.as_micros() as u64)
                .map_err(|error| error.message);
            assert_eq!(actual, expected.map_err(str::to_owned), "{text:?}");
        };
        check("10ms", Ok(10_000));
        check("1.5s", Ok(1_500_000));
        check("250us", Ok(250));
        check("2m", Ok(120_000_000));
        check("1h", Ok(3_600_000_000));
        check("0s", Ok(0));
        check("1.5us", Err("finer than a microsecond"));
        check("5", Err("a duration needs a unit"));
        check("5 s", Err("unknown unit of a duration"));
        check("5d", Err("unknown unit of a duration"));
        check("-5s", Err("not a duration"));
        check("", Err("not a duration"));
        check(".5s", Err("not a duration"));
        check("1.2.3s", Err("not a duration"));
        check(
            "9999999999999999999999999999999999999999h",
            Err("not a duration that can be represented"),
        );
        check("99999999999h", Err("too large for a duration"));
    }

    #[test]
    fn bare_numbers_get_a_hint_that_can_be_copied() {
        assert_eq!(
            duration("5").unwrap_err().help,
            "did you mean `5s` or `5ms`?"
        );
        assert_eq!(
            size("16").unwrap_err().help,
            "did you mean `16KiB` or `16MiB`?"
        );
        assert_eq!(percent("0.2").unwrap_err().help, "did you mean `20%`?");
        assert_eq!(percent("20").unwrap_err().help, "did you mean `20%`?");
    }

    #[test]
    fn sizes_know_binary_and_decimal_units() {
        let check =
            |text: &str, expected: Option<u64>| assert_eq!(size(text).ok(), expected, "{text}");
        check("16KiB", Some(16_384));
        check("10MB", Some(10_000_000));
        check("1.5MiB", Some(1_572_864));
        check("0B", Some(0));
        check("1.5B", None);
        check("16K", None);
        check("99999999999999999999GiB", None);
    }

    #[test]
    fn shares_are_percentages() {
        let check =
            |text: &str, expected: Option<f64>| assert_eq!(percent(text).ok(), expected, "{text}");
        check("20%", Some(0.2));
        check("12.5%", Some(0.125));
        check("7%", Some(0.07));
        check("100%", Some(1.0));
        check("-1%", None);
        check("%", None);
        check("inf%", None);
        check("1e3%", None);
    }

    #[test]
    fn what_is_shown_reads_back_the_same() {
        for text in ["1us", "10ms", "1500ms", "90s", "1m", "36h", "0ms"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["1B", "1000B", "16KiB", "1536KiB", "1MiB", "3GiB", "0B"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        for text in ["0%", "7%", "12.5%", "100%", "0.0001%"] {
            assert_eq!(show_percent(percent(text).unwrap()), text);
        }
    }
}
