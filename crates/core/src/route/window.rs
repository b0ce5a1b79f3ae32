//! Times of the week, by the clock on the wall of some place.
//!
//! The wall clock decides, not the time that passed: where clocks are set forward, the times that are
//! left out never come, and where they are set back, those that come twice count twice. The rules of
//! zones come with the program, so that every machine has the same.

use std::fmt;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// A time window: on some days of the week from a minute up to, not including, another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeWindow {
    /// The days on which it begins. Never empty.
    pub days: Days,
    /// Minute of the day at which it begins, below 1440.
    pub from: u16,
    /// Minute of the day at which it ends, up to 1440. If that is not after `from`, of the next day.
    pub to: u16,
    /// Whose clock counts.
    pub zone: Zone,
}

/// Days of the week: one bit each, Monday first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Days(u8);

/// A time zone of the IANA database.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// The days in English, three letters each, Monday first.
pub const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl TimeWindow {
    /// Whether `at` lies in the window. What is beyond the year 9999 does not.
    pub fn contains(&self, at: SystemTime) -> bool {
        let Ok(at) = Timestamp::try_from(at) else {
            return false;
        };
        let at = self.zone.0.to_datetime(at);
        let (today, now) = (at.weekday(), minute(at.time()));
        let yesterday = today.previous();
        if self.from < self.to {
            return self.days.has(today) && (self.from..self.to).contains(&now);
        }
        (self.days.has(today) && now >= self.from) || (self.days.has(yesterday) && now < self.to)
    }

    /// Whether every moment of `other` lies in this one.
    pub fn covers(&self, other: &Self) -> bool {
        // On every day of the week, because where a zone's clocks jump does not matter then.
        let minutes = 0..7 * usize::from(DAY);
        self.zone == other.zone && minutes.clone().all(|at| !other.has(at) || self.has(at))
    }

    /// Whether it holds this minute of the week.
    fn has(&self, at: usize) -> bool {
        let (day, now) = (at / usize::from(DAY), (at % usize::from(DAY)) as u16);
        let on = |day: usize| self.days.0 & 1 << (day % 7) != 0;
        match self.from < self.to {
            true => on(day) && (self.from..self.to).contains(&now),
            false => (on(day) && now >= self.from) || (on(day + 6) && now < self.to),
        }
    }
}

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0x7f);

    /// None.
    pub const NONE: Self = Self(0);

    /// With the days from the `first` to the `last`, counted from 0 for Monday; past Sunday if the last
    /// is before the first.
    #[must_use]
    pub fn with(self, first: usize, last: usize) -> Self {
        let count = (last + 7 - first) % 7 + 1;
        let days = (first..first + count).map(|day| 1 << (day % 7));
        Self(days.fold(self.0, |all, day| all | day))
    }

    /// Their names, Monday first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let days = DAY_NAMES.into_iter().enumerate();
        days.filter(move |(day, _)| self.0 & 1 << day != 0)
            .map(|(_, name)| name)
    }

    fn has(self, day: Weekday) -> bool {
        self.0 & 1 << day.to_monday_zero_offset() != 0
    }
}

impl Zone {
    /// The zone of this name, in any case: `Europe/Berlin`. None: there is no such zone.
    pub fn named(name: &str) -> Option<Self> {
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        zone.iana_name().is_some().then_some(Self(zone))
    }

    /// Its name as the database writes it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The names of all zones.
    pub fn all() -> Vec<String> {
        let database = TimeZoneDatabase::bundled();
        database.available().map(|name| name.to_string()).collect()
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

fn minute(time: Time) -> u16 {
    time.hour() as u16 * 60 + time.minute() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: Days, from: u16, to: u16, zone: &str) -> TimeWindow {
        let zone = Zone::named(zone).expect("a zone");
        TimeWindow {
            days,
            from,
            to,
            zone,
        }
    }

    fn check(window: &TimeWindow, at: &str, expected: bool) {
        let moment: Timestamp = at.parse().unwrap();
        assert_eq!(window.contains(moment.into()), expected, "{at} {window:?}");
    }

    #[test]
    fn a_window_is_told_by_the_clock_of_its_zone() {
        let work = window(Days::NONE.with(0, 4), 8 * 60, 18 * 60, "Europe/Berlin");
        // A Wednesday in summer (+02:00), then one in winter (+01:00).
        check(&work, "2026-07-15T05:59:59Z", false);
        check(&work, "2026-07-15T06:00:00Z", true);
        check(&work, "2026-07-15T15:59:59Z", true);
        check(&work, "2026-07-15T16:00:00Z", false);
        check(&work, "2026-01-14T06:59:59Z", false);
        check(&work, "2026-01-14T07:00:00Z", true);
        check(&work, "2026-01-14T16:59:59Z", true);
        check(&work, "2026-07-18T10:00:00Z", false);
        let island = window(Days::NONE.with(0, 0), 0, DAY, "Pacific/Kiritimati");
        check(&island, "2026-07-12T10:00:00Z", true);
        check(&island, "2026-07-13T09:59:59Z", true);
        check(&island, "2026-07-13T10:00:00Z", false);
    }

    #[test]
    fn a_window_past_midnight_belongs_to_the_day_on_which_it_begins() {
        let night = window(Days::NONE.with(4, 4), 22 * 60, 6 * 60, "UTC");
        check(&night, "2026-07-17T21:59:59Z", false);
        check(&night, "2026-07-17T22:00:00Z", true);
        check(&night, "2026-07-18T05:59:59Z", true);
        check(&night, "2026-07-18T06:00:00Z", false);
        check(&night, "2026-07-17T05:00:00Z", false);
        check(&night, "2026-07-18T22:00:00Z", false);
    }

    #[test]
    fn what_the_clock_skips_never_comes_and_what_it_repeats_comes_twice() {
        let early = window(Days::ALL, 2 * 60 + 15, 2 * 60 + 45, "Europe/Berlin");
        // Set forward on 2026-03-29 from 02:00 to 03:00: the window does not happen.
        check(&early, "2026-03-29T00:59:59Z", false);
        check(&early, "2026-03-29T01:00:00Z", false);
        check(&early, "2026-03-29T01:30:00Z", false);
        // Set back on 2026-10-25 from 03:00 to 02:00: it happens twice.
        check(&early, "2026-10-25T00:30:00Z", true);
        check(&early, "2026-10-25T01:00:00Z", false);
        check(&early, "2026-10-25T01:30:00Z", true);
        check(&early, "2026-10-25T01:45:00Z", false);
    }

    #[test]
    fn a_window_covers_what_lies_in_it() {
        let check = |a: (Days, u16, u16), b: (Days, u16, u16), expected| {
            let (one, other) = (window(a.0, a.1, a.2, "UTC"), window(b.0, b.1, b.2, "UTC"));
            assert_eq!(one.covers(&other), expected, "{a:?} {b:?}");
        };
        let friday = Days::NONE.with(4, 4);
        let weekend = Days::NONE.with(5, 6);
        check((Days::ALL, 0, DAY), (friday, 1320, 360), true);
        check((Days::ALL, 480, 1080), (friday, 540, 600), true);
        check((friday, 540, 600), (Days::ALL, 480, 1080), false);
        check((friday, 1320, 360), (friday, 1380, 300), true);
        check((friday, 1320, 360), (friday, 1320, 420), false);
        check((Days::NONE.with(4, 6), 0, DAY), (weekend, 0, DAY), true);
        let zones = ["UTC", "Europe/Berlin"].map(|zone| window(Days::ALL, 0, DAY, zone));
        assert!(!zones[0].covers(&zones[1]));
    }

    #[test]
    fn days_go_round_and_zones_have_names() {
        let check = |first, last, expected: &str| {
            let names: Vec<_> = Days::NONE.with(first, last).names().collect();
            assert_eq!(names.join(" "), expected);
        };
        check(0, 4, "mon tue wed thu fri");
        check(5, 0, "mon sat sun");
        check(3, 3, "thu");
        check(0, 6, "mon tue wed thu fri sat sun");
        assert_eq!(
            Zone::named("europe/berlin").unwrap().name(),
            "Europe/Berlin"
        );
        assert!(Zone::named("Europe/Berlinn").is_none());
        assert!(Zone::all().len() > 400);
    }
}
