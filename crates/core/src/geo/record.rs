//! What a record of a database says of a place, in whichever layout.
//!
//! GeoIP2 and GeoLite2 (City, Country, Enterprise) and those who copy them nest: `country.iso_code`,
//! `registered_country.iso_code`, `continent.code`, `location.latitude`. Others are flat: `country` or
//! `country_code`, `continent` or `continent_code`, `latitude` or `lat`, numbers also as text. What is
//! of another type than it should be says nothing; only a record that cannot be read is an error.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::geo::Origin;
use crate::geo::places::{self, Code};
use crate::plan::Location;

/// What was found in one record.
#[derive(Debug, Default)]
pub(super) struct Record {
    country: Option<Code>,
    registered: Option<Code>,
    continent: Option<Code>,
    degrees: Degrees,
}

#[derive(Clone, Copy, Debug, Default)]
struct Degrees {
    north: Option<f64>,
    east: Option<f64>,
}

impl Record {
    /// The place; none if it says nothing. A network without a country is where its owner is
    /// registered.
    pub(super) fn origin(&self) -> Option<Origin> {
        let country = self.country.or(self.registered);
        let continent = self.continent.filter(|code| places::is_continent(*code));
        let origin = Origin {
            country,
            continent: continent.or_else(|| country.and_then(places::continent_of)),
            location: self.degrees.location(),
        };
        (origin != Origin::default()).then_some(origin)
    }

    fn hear<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "country" | "country_code" => self.country = code(map)?.or(self.country),
            "registered_country" => self.registered = code(map)?,
            "continent" | "continent_code" => self.continent = code(map)?.or(self.continent),
            "location" => {
                if let Loose(Some(degrees)) = map.next_value()? {
                    self.degrees = degrees;
                }
            }
            _ => return self.degrees.hear(key, map),
        }
        Ok(())
    }
}

impl Degrees {
    fn hear<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "latitude" | "lat" => self.north = number(map)?,
            "longitude" | "lon" | "lng" => self.east = number(map)?,
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    /// Both, and in range. What is neither is no place, least of all a place in the Gulf of Guinea.
    fn location(self) -> Option<Location> {
        let (latitude, longitude) = (self.north?, self.east?);
        let valid = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        valid.then_some(Location {
            latitude,
            longitude,
        })
    }
}

fn code<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Code>, A::Error> {
    let Loose(found) = map.next_value::<Loose<CodeIn>>()?;
    Ok(found.and_then(|CodeIn(code)| code))
}

fn number<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<f64>, A::Error> {
    let Loose(found) = map.next_value::<Loose<f64>>()?;
    Ok(found)
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Loose(record) = Loose::deserialize(deserializer)?;
        Ok(record.unwrap_or_default())
    }
}

/// A value if it is of the right type; none of any other.
struct Loose<T>(Option<T>);

/// What can be made of the values that a database may hold. Each makes nothing by default.
trait Make: Sized {
    fn of_text(_: &str) -> Option<Self> {
        None
    }

    fn of_number(_: f64) -> Option<Self> {
        None
    }

    /// Takes every entry of `map`.
    fn of_map<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        entries(map, (), |(), _, map| map.next_value().map(|IgnoredAny| ()))?;
        Ok(None)
    }
}

fn entries<'de, A: MapAccess<'de>, T>(
    mut map: A,
    mut made: T,
    mut hear: impl FnMut(&mut T, &str, &mut A) -> Result<(), A::Error>,
) -> Result<T, A::Error> {
    while let Some(key) = map.next_key::<&str>()? {
        hear(&mut made, key, &mut map)?;
    }
    Ok(made)
}

impl Make for Record {
    fn of_map<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        entries(map, Self::default(), Self::hear).map(Some)
    }
}

impl Make for Degrees {
    fn of_map<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        entries(map, Self::default(), Self::hear).map(Some)
    }
}

impl Make for f64 {
    fn of_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }

    fn of_number(number: f64) -> Option<Self> {
        Some(number)
    }
}

/// A code, or a map with one.
struct CodeIn(Option<Code>);

/// A code and nothing around it.
struct Bare(Code);

impl Make for Bare {
    fn of_text(text: &str) -> Option<Self> {
        places::code(text).map(Self)
    }
}

impl Make for CodeIn {
    fn of_text(text: &str) -> Option<Self> {
        Some(Self(places::code(text)))
    }

    fn of_map<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        let hear = |found: &mut Self, key: &str, map: &mut A| {
            match key {
                "iso_code" | "code" => {
                    let Loose(code) = map.next_value::<Loose<Bare>>()?;
                    found.0 = code.map(|Bare(code)| code);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(())
        };
        entries(map, Self(None), hear).map(Some)
    }
}

impl<'de, T: Make> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor(PhantomData))
    }
}

struct LooseVisitor<T>(PhantomData<T>);

impl<'de, T: Make> Visitor<'de> for LooseVisitor<T> {
    type Value = Loose<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Loose(T::of_text(text)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Loose(T::of_number(number)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Loose(T::of_number(number as f64)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Loose(T::of_number(number as f64)))
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Self::Value, E> {
        Ok(Loose(None))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Loose(None))
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(Loose(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::of_map(map).map(Loose)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(record: Value, country: &str, continent: &str, location: Option<(f64, f64)>) {
        let text = record.to_string();
        let read: Record = serde_json::from_str(&text).unwrap();
        let origin = read.origin().unwrap_or_default();
        let expected = Origin {
            country: places::code(country),
            continent: places::code(continent),
            location: location.map(|(latitude, longitude)| Location {
                latitude,
                longitude,
            }),
        };
        assert_eq!(origin, expected, "{text}");
    }

    #[test]
    fn layouts_of_all_providers_are_read() {
        let names = json!({ "en": "somewhere", "de": "irgendwo" });
        let city = json!({
            "city": { "geoname_id": 1, "names": names },
            "continent": { "code": "EU", "geoname_id": 2, "names": names },
            "country": { "geoname_id": 3, "is_in_european_union": true, "iso_code": "DE", "names": names },
            "location": { "accuracy_radius": 20, "latitude": 52.5, "longitude": 13.4, "time_zone": "Europe/Berlin" },
            "registered_country": { "iso_code": "US" },
            "subdivisions": [{ "iso_code": "BE" }],
            "traits": {},
        });
        check(city, "DE", "EU", Some((52.5, 13.4)));
        check(
            json!({ "registered_country": { "iso_code": "AU" } }),
            "AU",
            "OC",
            None,
        );
        check(json!({ "country_code": "br" }), "BR", "SA", None);
        let flat = json!({ "country": "US", "country_name": "x", "continent": "NA", "lat": "37.4", "lng": "-122.1" });
        check(flat, "US", "NA", Some((37.4, -122.1)));
        let words = json!({
            "country": "United States", "country_code": "US",
            "continent": "North America", "continent_code": "NA", "asn": "AS1",
        });
        check(words, "US", "NA", None);
        let words = json!({ "country_code": "US", "country": "United States" });
        check(words, "US", "NA", None);
        check(
            json!({ "latitude": -33, "longitude": 151 }),
            "",
            "",
            Some((-33.0, 151.0)),
        );
        check(json!({ "continent": { "code": "AS" } }), "", "AS", None);
    }

    #[test]
    fn what_makes_no_sense_says_nothing() {
        let nothing = |record| check(record, "", "", None);
        nothing(json!({}));
        nothing(json!([1, { "country": "DE" }]));
        nothing(json!("DE"));
        nothing(
            json!({ "autonomous_system_number": 64496, "autonomous_system_organization": "x" }),
        );
        nothing(json!({ "country": 5, "continent": [], "location": true }));
        nothing(json!({ "country": { "iso_code": { "iso_code": "DE" } } }));
        nothing(json!({ "country": { "iso_code": "DEU" }, "continent": { "code": "XX" } }));
        nothing(json!({ "location": { "latitude": 91.0, "longitude": 0.0 } }));
        nothing(json!({ "location": { "latitude": 50.0 } }));
        nothing(json!({ "lat": "NaN", "lon": "0" }));
        check(json!({ "country": "ZZ" }), "ZZ", "", None);
    }
}
