//! Where clients are.

use std::path::Path;

use tidegate_core::geo::{Code, Origin};

use crate::compile::Geo;
use crate::emit::Doc;
use crate::resolved::{location, path, size};

/// The section; networks from the smallest to the largest.
pub(super) fn geo(geo: &Geo, base: &Path) -> Doc<'static> {
    let database = geo.atlas.database();
    let networks = geo.atlas.networks().map(|(network, origin)| {
        let name = format!("{}/{}", network.address, network.prefix);
        (name.into(), place(origin))
    });
    Doc::map([
        (
            "database",
            database.map(|database| path(Path::new(&**database.name()), base)),
        ),
        ("max_size", Some(size(geo.max_size))),
        ("networks", Some(Doc::Map(networks.collect()))),
    ])
}

fn place(origin: &Origin) -> Doc<'static> {
    let code = |code: Code| Doc::text(code.as_slice().escape_ascii());
    Doc::map([
        ("country", origin.country.map(code)),
        ("continent", origin.continent.map(code)),
        ("location", location(origin.location)),
    ])
}
