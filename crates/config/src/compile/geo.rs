//! Where clients are: listed networks, and a database that is read, judged, and shared with the plan
//! that serves where it is still the same.
//!
//! A database that serves already outlives its file: what is wrong with the file is then a warning, so
//! that a download that fails at night does not also keep a reload from draining a region.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use tidegate_core::geo::{
    Atlas, Database, Fingerprint, Fingerprinter, InvalidDatabase, Origin, continent_of,
};
use tidegate_core::plan::{Policy, Upstream};
use tidegate_core::settings::Network;

use crate::compile::context::unreadable;
use crate::compile::{Context, places, regions, syntax};
use crate::defaults;
use crate::files::Opened;
use crate::problem::{Problem, quoted};
use crate::raw;
use crate::span::Span;
use crate::units;
use crate::yaml::{Entry, Field};

/// More networks than anybody lists by hand; who has more makes a database of them.
const NETWORKS_MAX: usize = 10_000;

/// Bytes that are read at once to see whether a database is still the same.
const PIECE: usize = 64 * 1024;

/// What became of `geo.database`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseRead {
    /// It was read.
    New,
    /// It is the one that serves already, which is shared.
    Same,
    /// It cannot be used; the one that was read before goes on serving.
    Kept {
        /// Why not.
        problem: String,
    },
}

/// The compiled section.
pub(crate) struct Geo {
    pub(crate) atlas: Arc<Atlas>,
    pub(crate) max_size: u64,
    /// None without a database.
    pub(crate) read: Option<DatabaseRead>,
}

pub(crate) fn compile(cx: &mut Context<'_>, config: &raw::Config) -> Option<Geo> {
    let raw = config.geo.get()?;
    if raw.database.is_absent() && raw.networks.is_absent() {
        let problem = Problem::error("empty_geo", "nothing tells where clients are");
        let help = "give it a `database`, `networks`, or both".to_owned();
        cx.report(problem.at(config.geo.span()).help(help));
    }
    let default = units::size(defaults::GEO_MAX_SIZE).expect("defaults are sizes");
    let max_size = cx.size(&raw.max_size, 1024..=4 << 30).unwrap_or(default);
    let networks = networks(cx, raw);
    let (database, read) = database(cx, &raw.database, max_size).unzip();
    Some(Geo {
        atlas: Arc::new(Atlas::new(&networks, database)),
        max_size,
        read,
    })
}

/// Warns where a section is without the other that it works with.
pub(crate) fn lint(cx: &mut Context<'_>, config: &raw::Config, upstreams: &[Arc<Upstream>]) {
    if !cx.gaps.is_whole("geo") || !cx.knows("upstreams", &["steering"], 1) {
        return;
    }
    let steers = |upstream: &Upstream| matches!(upstream.steering.policy, Policy::Geo { .. });
    let mut by_geo = upstreams.iter().filter(|upstream| steers(upstream));
    match (config.geo.span(), by_geo.next()) {
        (Some(span), None) => {
            let problem = Problem::warning("unused_geo", "no upstream steers by `geo`");
            let help = "set `steering: { policy: geo }`, or remove it".to_owned();
            cx.report(problem.at(span).help(help));
        }
        (None, Some(first)) => {
            let entries = config.upstreams.get().map_or(&[][..], |entries| &entries.0);
            let entry = entries.iter().find(|entry| *entry.name == *first.name);
            let message = format!(
                "{} steers by `geo`, but nothing tells where clients are",
                quoted(&first.name)
            );
            let problem = Problem::warning("missing_geo", message);
            let help = "add `geo: { database: places.mmdb }` or `geo: { networks: {} }`; without \
                        it `geo` chooses like `latency`";
            let span = entry.and_then(|entry| entry.name_span);
            cx.report(problem.at(span).help(help.to_owned()));
        }
        _ => {}
    }
}

fn networks(cx: &mut Context<'_>, raw: &raw::Geo) -> Vec<(Network, Origin)> {
    let entries = raw.networks.get().map_or(&[][..], |entries| &entries.0);
    if let Some(entry) = entries.get(NETWORKS_MAX) {
        let count = entries.len();
        let message = format!("{count} networks, at most {NETWORKS_MAX} can be listed");
        let help = "make a database of them, with MaxMind's or another writer".to_owned();
        let problem = Problem::error("too_many_networks", message);
        cx.report(problem.at(entry.name_span).help(help));
    }
    let mut seen = HashMap::new();
    let given = entries.iter().take(NETWORKS_MAX);
    given
        .filter_map(|entry| Some((network(cx, entry, &mut seen)?, origin(cx, entry)?)))
        .collect()
}

fn network(
    cx: &mut Context<'_>,
    entry: &Entry<raw::Place>,
    seen: &mut HashMap<(IpAddr, u8), Option<Span>>,
) -> Option<Network> {
    let (text, span) = (entry.name.as_str(), entry.name_span);
    let network = match syntax::network(text) {
        Ok(network) => network.canonical(),
        Err(help) => {
            cx.invalid(span, "network", "an IP network", text, &help);
            return None;
        }
    };
    if let Some(first) = seen.insert((network.address, network.prefix), span) {
        let shown = format!("{}/{}", network.address, network.prefix);
        let message = format!("the network {} is listed twice", quoted(&shown));
        let problem = Problem::error("duplicate_network", message).at(span);
        let help = "remove one; of networks of different sizes the smaller one counts".to_owned();
        cx.report(problem.label(first, "first here").help(help));
    }
    Some(network)
}

fn origin(cx: &mut Context<'_>, entry: &Entry<raw::Place>) -> Option<Origin> {
    let place = entry.value.get()?;
    if place.country.is_absent() && place.continent.is_absent() && place.location.is_absent() {
        let message = format!("nothing tells where {} is", quoted(&entry.name));
        let problem = Problem::error("empty_place", message).at(entry.value.span());
        let help = "give it a `country`, a `continent` or a `location`".to_owned();
        cx.report(problem.help(help));
    }
    let country = places::country(cx, &place.country);
    let continent = places::continent(cx, &place.continent);
    Some(Origin {
        country,
        continent: continent.or_else(|| country.and_then(continent_of)),
        location: regions::location(cx, &place.location),
    })
}

fn database(
    cx: &mut Context<'_>,
    field: &Field<String>,
    max_size: u64,
) -> Option<(Arc<Database>, DatabaseRead)> {
    let path = cx.watched_path(field)?;
    let last = cx.atlas.as_ref().and_then(|atlas| atlas.database());
    let last = last.filter(|last| **last.name() == *path.to_string_lossy());
    let last = last.cloned();
    let problem = match read(cx, &path, max_size, last.as_ref()) {
        Ok(found) => return Some(found),
        Err(problem) => problem,
    };
    let Some(last) = last else {
        cx.report(problem.at(field.span()));
        return None;
    };
    let message = format!(
        "{}; the database that was read before goes on serving",
        problem.message
    );
    let warning = Problem::warning("database_kept", message).at(field.span());
    cx.report(warning.help(problem.help));
    let problem = problem.message;
    Some((last, DatabaseRead::Kept { problem }))
}

fn read(
    cx: &Context<'_>,
    path: &Path,
    max_size: u64,
    last: Option<&Arc<Database>>,
) -> Result<(Arc<Database>, DatabaseRead), Box<Problem>> {
    let failed = |error: io::Error| Box::new(unreadable(path, &error));
    let open = || {
        let opened = cx.open(path).map_err(failed)?;
        match opened.bytes > max_size {
            true => Err(too_large(path, opened.bytes, max_size)),
            false => Ok(opened),
        }
    };
    if let Some(last) = last {
        let opened = open()?;
        let same = opened.bytes == last.fingerprint().bytes
            && fingerprint(opened).map_err(failed)? == last.fingerprint();
        if same {
            return Ok((last.clone(), DatabaseRead::Same));
        }
    }
    let bytes = content(open()?, max_size).map_err(failed)?;
    if bytes.len() as u64 > max_size {
        return Err(too_large(path, bytes.len() as u64, max_size));
    }
    let database = Database::open(path.to_string_lossy(), bytes);
    let database = database.map_err(|error| invalid(path, &error))?;
    Ok((Arc::new(database), DatabaseRead::New))
}

/// The fingerprint of a file, without ever holding more than a piece of it.
fn fingerprint(mut file: Opened) -> io::Result<Fingerprint> {
    let mut made = Fingerprinter::default();
    let mut piece = vec![0; PIECE];
    // What is longer than it was is another one, however much longer.
    while made.bytes() <= file.bytes {
        match file.content.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => made.add(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(made.finish())
}

/// All of a file, and one byte more than `max_size` if it has more. It takes no more memory than that,
/// and an error where there is not so much.
fn content(file: Opened, max_size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(file.bytes as usize + 1)?;
    file.content.take(max_size + 1).read_to_end(&mut bytes)?;
    bytes.shrink_to_fit();
    Ok(bytes)
}

fn too_large(path: &Path, bytes: u64, max_size: u64) -> Box<Problem> {
    let message = format!(
        "{} is {bytes} bytes long, and `max_size` is {}",
        quoted(&path.display().to_string()),
        units::show_size(max_size)
    );
    let help = "it is held in memory; raise `geo.max_size` if there is enough of it".to_owned();
    Box::new(Problem::error("database_too_large", message).help(help))
}

fn invalid(path: &Path, error: &InvalidDatabase) -> Box<Problem> {
    let message = format!("{} {error}", quoted(&path.display().to_string()));
    let help = match error {
        InvalidDatabase::Placeless(_) => {
            "take one of countries or cities, like GeoLite2-Country or GeoLite2-City"
        }
        InvalidDatabase::Packed(_) => "only the `.mmdb` file itself can be read",
        InvalidDatabase::Empty | InvalidDatabase::Damaged(_) => {
            "it may be half a download, or of another format; fetch it again, and rename it into \
             its place once it is whole"
        }
    };
    Box::new(Problem::error("invalid_database", message).help(help.to_owned()))
}
