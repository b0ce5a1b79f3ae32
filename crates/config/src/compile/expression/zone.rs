//! Time zones of expressions: names of the IANA database, which comes with the program, and fixed
//! distances from UTC.

use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use crate::suggest;

/// The zone of this name or distance (`Europe/Berlin`, `UTC`, `+05:30`); a hint if there is none.
pub(super) fn parse(text: &str) -> Result<TimeZone, String> {
    if let Some(zone) = fixed(text) {
        return Ok(zone);
    }
    let database = TimeZoneDatabase::bundled();
    database.get(text).map_err(|_| hint(text, &database))
}

/// `+hh:mm` or `-hh:mm`, less than a day.
fn fixed(text: &str) -> Option<TimeZone> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, text.get(1..)?),
        b'-' => (-1, text.get(1..)?),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |digits: &str, below: i32| {
        let two = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        let number = digits.parse().ok().filter(|_| two);
        number.filter(|number: &i32| *number < below)
    };
    let seconds = number(hours, 24)? * 3600 + number(minutes, 60)? * 60;
    Offset::from_seconds(sign * seconds)
        .ok()
        .map(TimeZone::fixed)
}

fn hint(text: &str, database: &TimeZoneDatabase) -> String {
    let names: Vec<String> = database.available().map(|name| name.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match suggest::nearest(text, &names) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => "a name like `Europe/Berlin`, `UTC`, or a distance like `+05:30`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn zones_have_names_or_distances() {
        let hour = |text: &str| {
            let noon = Timestamp::from_second(1_768_478_400).unwrap();
            parse(text).map(|zone| zone.to_datetime(noon).hour())
        };
        assert_eq!(hour("UTC"), Ok(12));
        assert_eq!(hour("Europe/Berlin"), Ok(13));
        assert_eq!(hour("+05:30"), Ok(17));
        assert_eq!(hour("-08:00"), Ok(4));
        assert_eq!(
            hour("Europe/Berln"),
            Err("did you mean `Europe/Berlin`?".into())
        );
        for wrong in [
            "",
            "+5:30",
            "+24:00",
            "+01:60",
            "+01",
            "/etc/localtime",
            "nowhere at all",
        ] {
            assert!(hour(wrong).is_err(), "{wrong}");
        }
    }
}
