//! A place as a direction from the Earth's centre, so that distances cost next to nothing.

use super::EARTH_KM;
use crate::plan::Location;

/// A unit vector: what a [`Location`] becomes once for many distances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direction([f64; 3]);

impl From<Location> for Direction {
    fn from(place: Location) -> Self {
        let (sin_north, cos_north) = place.latitude.to_radians().sin_cos();
        let (sin_east, cos_east) = place.longitude.to_radians().sin_cos();
        Self([cos_north * cos_east, cos_north * sin_east, sin_north])
    }
}

impl Direction {
    /// Kilometres to another place: the same as [`distance_km`](super::distance_km). By the chord and
    /// not by the angle, which is inexact for short distances.
    pub fn distance_km(self, other: Self) -> f64 {
        let sides = self.0.iter().zip(other.0).map(|(a, b)| (a - b) * (a - b));
        let half_chord = sides.sum::<f64>().sqrt() / 2.0;
        2.0 * EARTH_KM * half_chord.min(1.0).asin()
    }
}

#[cfg(test)]
mod tests {
    use super::super::distance_km;
    use super::*;

    #[test]
    fn distances_are_those_of_places() {
        let places = [
            (50.11, 8.68),
            (50.11, 8.680_01),
            (-33.87, 151.21),
            (90.0, 10.0),
            (-90.0, 0.0),
            (0.0, 179.999),
            (0.0, -179.999),
        ];
        let place = |(latitude, longitude)| Location {
            latitude,
            longitude,
        };
        for a in places.map(place) {
            for b in places.map(place) {
                let off = Direction::from(a).distance_km(b.into()) - distance_km(a, b);
                assert!(off.abs() < 1e-3, "{a:?} {b:?}: {off} km off");
            }
        }
    }
}
