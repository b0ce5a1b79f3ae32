//! Where clients are.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::{Coordinates, Size};
use crate::yaml::{Entries, Field};

/// Where clients are.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Geo {
    /// A database of countries or cities in MaxMind's format (`.mmdb`): GeoLite2, GeoIP2, and those of other providers in their layouts. A new file in its place serves without a reload; while it is missing or no good, the last good one serves.
    pub(crate) database: Field<String>,
    /// A larger database is refused. It is held in memory.
    #[schemars(extend("default" = defaults::GEO_MAX_SIZE))]
    pub(crate) max_size: Field<Size>,
    /// Networks and where their clients are: `"10.20.0.0/16": { country: DE }`. They come before the database, the smallest network that holds an address first.
    #[schemars(extend("default" = {}))]
    pub(crate) networks: Field<Entries<Place>>,
}

/// Where the clients of a network are.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Place {
    /// The country, two capital letters (ISO 3166-1): `DE`.
    pub(crate) country: Field<String>,
    /// The continent: `AF`, `AN`, `AS`, `EU`, `NA`, `OC` or `SA`. By default the country's.
    pub(crate) continent: Field<String>,
    /// Latitude and longitude in degrees, for the region that is nearest.
    pub(crate) location: Field<Coordinates>,
}
