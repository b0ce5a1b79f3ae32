//! Where clients are, and how far from where.
//!
//! Distance gives an order of regions before anything is measured, and one for each client under `geo`
//! steering.

mod atlas;
mod database;
mod direction;
mod networks;
mod places;
mod record;

use std::fmt;

use crate::plan::Location;

pub use atlas::Atlas;
pub use database::{Database, Fingerprint, Fingerprinter, InvalidDatabase};
pub use direction::Direction;
pub use places::{Code, code, continent_of, continents, is_continent};

/// Where a client is, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Origin {
    /// ISO 3166-1 country, two capital letters.
    pub country: Option<Code>,
    /// Continent: AF, AN, AS, EU, NA, OC, SA.
    pub continent: Option<Code>,
    /// Coordinates.
    pub location: Option<Location>,
}

/// `DE, EU, [52.5, 13.4]`, without what is not known; `unknown` of nothing.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for code in [self.country, self.continent].into_iter().flatten() {
            write!(f, "{between}{}", code.as_slice().escape_ascii())?;
            between = ", ";
        }
        if let Some(place) = self.location {
            write!(f, "{between}[{}, {}]", place.latitude, place.longitude)?;
            between = ", ";
        }
        match between {
            "" => f.write_str("unknown"),
            _ => Ok(()),
        }
    }
}

/// Mean radius of the Earth in kilometres (IUGG).
const EARTH_KM: f64 = 6371.0088;

/// Kilometres between two places on a sphere of the Earth's mean radius (haversine formula, which
/// stays exact for short distances). 0 to 20,015; off by up to 0.5 % because the Earth is no sphere.
pub fn distance_km(a: Location, b: Location) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let (north_a, north_b) = (a.latitude.to_radians(), b.latitude.to_radians());
    let chord = half(a.latitude, b.latitude)
        + north_a.cos() * north_b.cos() * half(a.longitude, b.longitude);
    2.0 * EARTH_KM * chord.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRANKFURT: (f64, f64) = (50.11, 8.68);
    const DUBLIN: (f64, f64) = (53.35, -6.26);
    const ASHBURN: (f64, f64) = (39.04, -77.49);
    const SYDNEY: (f64, f64) = (-33.87, 151.21);
    const AUCKLAND: (f64, f64) = (-36.85, 174.76);
    const HONOLULU: (f64, f64) = (21.31, -157.86);

    fn check(a: (f64, f64), b: (f64, f64), expected: f64) {
        let place = |(latitude, longitude)| Location {
            latitude,
            longitude,
        };
        let (there, back) = (
            distance_km(place(a), place(b)),
            distance_km(place(b), place(a)),
        );
        assert!(
            (there - expected).abs() <= expected * 0.005 + 0.001,
            "{there} is not {expected}"
        );
        assert!((there - back).abs() < 1e-9, "{there} there, {back} back");
    }

    #[test]
    fn distances_between_cities() {
        check(FRANKFURT, FRANKFURT, 0.0);
        check(FRANKFURT, DUBLIN, 1_087.0);
        check(FRANKFURT, ASHBURN, 6_550.0);
        check(FRANKFURT, SYDNEY, 16_482.0);
        check(SYDNEY, AUCKLAND, 2_156.0);
        check(AUCKLAND, HONOLULU, 7_062.0);
    }

    #[test]
    fn poles_antipodes_and_the_date_line() {
        check((90.0, 0.0), (-90.0, 0.0), 20_015.1);
        check((0.0, 0.0), (0.0, 180.0), 20_015.1);
        check((0.0, 179.5), (0.0, -179.5), 111.195);
        check((90.0, 10.0), (90.0, -120.0), 0.0);
        check((0.0, 0.0), (0.0, 1.0), 111.195);
    }
}
