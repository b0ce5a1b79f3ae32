//! How an endpoint of a region is chosen. Options belong to policies; one that its policy does not
//! have is refused, and what would quietly not balance is told.

mod prequal;

use http::HeaderName;
use tidegate_core::plan::{Balance, HashKey, Hashing, Maglev, RingHash, TableSize, UpstreamRegion};

use crate::compile::{Context, headers};
use crate::defaults;
use crate::problem::{Problem, quoted};
use crate::raw::{self, BalancePolicy as Policy};
use crate::span::Span;
use crate::yaml::{Field, WordOr};

/// Largest ring and table: Envoy's.
const RING_MAX: u64 = 8_388_608;
const TABLE_MAX: u64 = 5_000_011;

/// More draws than this are a look at everyone.
const CHOICES_MAX: u64 = 16;

/// Compiles the policy of an upstream that lives in `regions`.
pub(crate) fn compile(
    cx: &mut Context<'_>,
    field: &Field<raw::BalanceEntry>,
    regions: &[UpstreamRegion],
) -> Balance {
    let default = raw::Balance::default();
    let (policy, raw) = match field.get() {
        None => (Policy::PeakEwma, &default),
        Some(WordOr::Word(policy)) => (*policy, &default),
        Some(WordOr::Value(raw)) => (raw.policy.or(Policy::PeakEwma), raw),
    };
    refuse_options(cx, policy, raw);
    let largest = regions.iter().map(|region| region.endpoints.len()).max();
    let largest = largest.unwrap_or(0);
    match policy {
        Policy::PeakEwma => Balance::PeakEwma,
        Policy::LeastRequest => Balance::LeastRequest {
            choice_count: cx.number(&raw.choice_count, 2..=CHOICES_MAX, defaults::CHOICE_COUNT)
                as u32,
        },
        Policy::RoundRobin => Balance::RoundRobin,
        Policy::Random => Balance::Random,
        Policy::RingHash => Balance::RingHash(ring_hash(cx, raw, field.span(), largest)),
        Policy::Maglev => Balance::Maglev(Maglev {
            table_size: table_size(cx, &raw.table_size, largest),
            hashing: hashing(cx, raw, field.span()),
        }),
        Policy::Prequal => Balance::Prequal(prequal::prequal(cx, raw, field.span(), largest)),
    }
}

/// Every option with the policies that have it.
fn refuse_options(cx: &mut Context<'_>, policy: Policy, raw: &raw::Balance) {
    use Policy::{LeastRequest, Maglev, Prequal, RingHash};
    let options: [(&str, Option<Span>, &[Policy], &str); 7] = [
        (
            "choice_count",
            raw.choice_count.span(),
            &[LeastRequest],
            "`policy: least_request`",
        ),
        (
            "hash_on",
            raw.hash_on.span(),
            &[RingHash, Maglev],
            "`policy: ring_hash` and `policy: maglev`",
        ),
        (
            "hash_balance_factor",
            raw.hash_balance_factor.span(),
            &[RingHash, Maglev],
            "`policy: ring_hash` and `policy: maglev`",
        ),
        (
            "minimum_ring_size",
            raw.minimum_ring_size.span(),
            &[RingHash],
            "`policy: ring_hash`",
        ),
        (
            "maximum_ring_size",
            raw.maximum_ring_size.span(),
            &[RingHash],
            "`policy: ring_hash`",
        ),
        (
            "table_size",
            raw.table_size.span(),
            &[Maglev],
            "`policy: maglev`",
        ),
        ("probe", raw.probe.span(), &[Prequal], "`policy: prequal`"),
    ];
    for (key, span, policies, only_with) in options {
        if !policies.contains(&policy) {
            cx.unused_if_given(span, key, only_with);
        }
    }
}

fn ring_hash(
    cx: &mut Context<'_>,
    raw: &raw::Balance,
    whole: Option<Span>,
    largest: usize,
) -> RingHash {
    let (lower, upper) = (&raw.minimum_ring_size, &raw.maximum_ring_size);
    let maximum = cx.number(upper, 1..=RING_MAX, defaults::MAXIMUM_RING_SIZE);
    let minimum = cx.number(lower, 1..=RING_MAX, defaults::MINIMUM_RING_SIZE);
    if minimum > maximum && (!lower.is_absent() || !upper.is_absent()) {
        let message =
            format!("`minimum_ring_size` ({minimum}) is above `maximum_ring_size` ({maximum})");
        let problem = Problem::error("conflicting_sizes", message);
        let problem = match (lower.span(), upper.span()) {
            (Some(lower), upper) => problem.at(Some(lower)).label(upper, "the maximum"),
            (None, upper) => problem.at(upper),
        };
        cx.report(problem.help("lower the one, or raise the other".to_owned()));
    }
    if maximum < largest as u64 && !upper.is_absent() {
        let span = upper.span();
        let few = "a ring of so few points has no room for all: each endpoint has one in any case, and weights do not count";
        too_small(cx, span, "points", maximum, largest, few.to_owned());
    }
    RingHash {
        minimum_ring_size: minimum as u32,
        maximum_ring_size: maximum as u32,
        hashing: hashing(cx, raw, whole),
    }
}

fn table_size(cx: &mut Context<'_>, field: &Field<u64>, largest: usize) -> TableSize {
    let size = cx.number(field, 2..=TABLE_MAX, defaults::TABLE_SIZE) as u32;
    let Some(prime) = TableSize::new(size) else {
        let mut above = (size..=TABLE_MAX as u32).filter_map(TableSize::new);
        let mut below = (2..size).rev().filter_map(TableSize::new);
        let near = below.next().into_iter().chain(above.next());
        let near: Vec<_> = near.map(|prime| format!("`{}`", prime.get())).collect();
        let problem = Problem::error("invalid_value", format!("{size} is not a prime"));
        let help = format!(
            "every endpoint must be able to reach every slot; write {}",
            near.join(" or ")
        );
        cx.report(problem.at(field.span()).help(help));
        return TableSize::DEFAULT;
    };
    if (size as usize) < largest {
        let help =
            "some endpoints would get no request; a prime of some hundred times their number";
        too_small(
            cx,
            field.span(),
            "slots",
            size.into(),
            largest,
            help.to_owned(),
        );
    }
    prime
}

fn too_small(
    cx: &mut Context<'_>,
    span: Option<Span>,
    what: &str,
    size: u64,
    largest: usize,
    help: String,
) {
    let message = format!("{size} {what} for the {largest} endpoints of the largest region");
    cx.report(Problem::error("too_small", message).at(span).help(help));
}

fn hashing(cx: &mut Context<'_>, raw: &raw::Balance, whole: Option<Span>) -> Hashing {
    let on = hash_on(cx, &raw.hash_on, whole);
    let balance_factor = cx.unless_off(&raw.hash_balance_factor, "off", |cx, field| {
        let written = field.get().map_or("", AsRef::as_ref);
        if let Some(percent) = as_percent(written) {
            let message = format!("{}: a share needs the unit `%`", quoted(written));
            let problem = Problem::error("invalid_unit", message).at(field.span());
            cx.report(problem.help(format!("did you mean `{percent}%`?")));
            return 1.0;
        }
        cx.percent_within(field, 1.0..=10.0, defaults::HASH_BALANCE_FACTOR)
    });
    Hashing { on, balance_factor }
}

/// What a factor (`1.25`) or a bare percentage (`125`, as in Envoy) is in percent.
fn as_percent(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    let percent = if number < 10.0 {
        number * 100.0
    } else {
        number
    };
    (100.0..=1000.0).contains(&percent).then_some(percent)
}

fn hash_on(
    cx: &mut Context<'_>,
    field: &Field<Vec<Field<raw::HashOn>>>,
    whole: Option<Span>,
) -> Box<[HashKey]> {
    let list = field.get().map_or(&[][..], Vec::as_slice);
    if list.is_empty() {
        let message = "nothing is hashed: every request goes to an endpoint drawn at random";
        let problem = Problem::warning("no_hash_key", message).at(field.span().or(whole));
        let help = "say what, for example `hash_on: [{ cookie: session }, client_address]`";
        cx.report(problem.help(help.to_owned()));
    }
    let mut keys: Vec<(HashKey, Option<Span>)> = Vec::new();
    for field in list {
        let Some(key) = hash_key(cx, field) else {
            continue;
        };
        check_reached(cx, &key, field.span(), &keys);
        keys.push((key, field.span()));
    }
    keys.into_iter().map(|(key, _)| key).collect()
}

/// Every request has an address and a path, so nothing after them is ever looked at.
pub(super) fn check_reached(
    cx: &mut Context<'_>,
    key: &HashKey,
    span: Option<Span>,
    before: &[(HashKey, Option<Span>)],
) {
    let always = |key: &HashKey| matches!(key, HashKey::ClientAddress | HashKey::Path);
    let mut before = before.iter();
    if let Some((first, first_span)) = before.find(|(first, _)| first == key || always(first)) {
        let message = format!("`{key}` never decides");
        let why = match first == key {
            true => "it is in the list already".to_owned(),
            false => format!("every request has what stands before it (`{first}`); put that last"),
        };
        let problem = Problem::warning("unreachable_key", message).at(span);
        cx.report(problem.label(*first_span, "this one").help(why));
    }
}

pub(super) fn hash_key(cx: &mut Context<'_>, field: &Field<raw::HashOn>) -> Option<HashKey> {
    let raw = match field.get()? {
        WordOr::Word(raw::HashWord::ClientAddress) => return Some(HashKey::ClientAddress),
        WordOr::Word(raw::HashWord::Path) => return Some(HashKey::Path),
        WordOr::Value(raw) => raw,
    };
    named_key(cx, raw, field.span())
}

/// The one thing that a mapping names.
pub(super) fn named_key(
    cx: &mut Context<'_>,
    raw: &raw::HashKey,
    span: Option<Span>,
) -> Option<HashKey> {
    let given = [&raw.header, &raw.cookie, &raw.query];
    if given.iter().filter(|name| !name.is_absent()).count() != 1 {
        let message = "exactly one of `header`, `cookie` and `query` is needed here";
        let help = "what comes first in the list and is there decides, like `[{ cookie: a }, { header: b }]`";
        let problem = Problem::error("one_of", message).at(span);
        cx.report(problem.help(help.to_owned()));
        return None;
    }
    let header = header_key(cx, &raw.header);
    let cookie = || cookie_key(cx, &raw.cookie);
    header.or_else(cookie).or_else(|| query_key(cx, &raw.query))
}

fn header_key(cx: &mut Context<'_>, field: &Field<String>) -> Option<HashKey> {
    let name: HeaderName = headers::name(cx, field.get()?, field.span())?;
    Some(HashKey::Header(name))
}

fn cookie_key(cx: &mut Context<'_>, field: &Field<String>) -> Option<HashKey> {
    let name = field.get()?;
    // A token of RFC 9110, which is also what a name of a header is.
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        let help = "letters, digits and `-_.`, without `=` and spaces";
        cx.invalid(field.span(), "name", "a name of a cookie", name, help);
        return None;
    }
    Some(HashKey::Cookie(name.as_str().into()))
}

fn query_key(cx: &mut Context<'_>, field: &Field<String>) -> Option<HashKey> {
    let name = field.get()?;
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"&=#?".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        let help = "as it is written in the URL, without `?`, `&` and `=`";
        cx.invalid(
            field.span(),
            "name",
            "a name of a query parameter",
            name,
            help,
        );
        return None;
    }
    Some(HashKey::Query(name.as_str().into()))
}
