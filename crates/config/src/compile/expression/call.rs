//! Functions: those that an expression may call, and what they take.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use regex::{Regex, RegexBuilder};
use tidegate_core::expression::{Conversion, Fact, Node, Range, Search, TimePart};
use tidegate_core::route::Networks;
use tidegate_core::settings::Network;

use super::lower::Lowering;
use super::thing::{Kind, Thing};
use super::{Complaint, zone};
use crate::compile::syntax;
use crate::problem::{Problem, quoted};
use crate::suggest;

/// Every function, for hints.
const FUNCTIONS: [&str; 24] = [
    "has",
    "size",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "exists",
    "all",
    "string",
    "int",
    "double",
    "timestamp",
    "ip_in",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "in",
];

/// What CEL has and expressions here do not.
const REFUSED: [&str; 9] = [
    "exists_one",
    "map",
    "filter",
    "type",
    "dyn",
    "bool",
    "bytes",
    "uint",
    "duration",
];

/// Largest automaton of a pattern, and of what is remembered of it, in bytes.
const PATTERN_BYTES: usize = 256 * 1024;

impl Lowering<'_> {
    /// A call of a function, as `f(x)` or `x.f(y)`.
    pub(super) fn call(&mut self, expr: &IdedExpr, call: &CallExpr) -> Option<Thing> {
        let target = call.target.as_deref();
        match (call.func_name.as_str(), target, &call.args[..]) {
            ("has", None, [one]) => self.has(one),
            ("size", None, [one]) | ("size", Some(one), []) => self.size(one),
            ("startsWith", Some(one), [part]) => self.search(Search::Start, one, part),
            ("endsWith", Some(one), [part]) => self.search(Search::End, one, part),
            ("contains", Some(one), [part]) => self.search(Search::Anywhere, one, part),
            ("matches", Some(one), [pattern]) | ("matches", None, [one, pattern]) => {
                self.matches(one, pattern)
            }
            ("exists", Some(range), [name, body]) => self.each(range, name, body, Node::Exists),
            ("all", Some(range), [name, body]) => self.each(range, name, body, Node::ForAll),
            ("string", None, [one]) => self.conversion(Conversion::Text, Kind::Text, one),
            ("int", None, [one]) => self.conversion(Conversion::Int, Kind::Int, one),
            ("double", None, [one]) => self.conversion(Conversion::Double, Kind::Double, one),
            ("timestamp", None, [one]) => self.moment(one),
            ("ip_in", None, [one, networks]) => self.address_in(one, networks),
            (name, Some(one), zone @ ([] | [_])) if time_part(name).is_some() => {
                self.time_part(time_part(name)?, one, zone.first())
            }
            (name, ..) => self.unknown(expr, name, target.is_some()),
        }
    }

    fn unknown(&mut self, expr: &IdedExpr, name: &str, method: bool) -> Option<Thing> {
        let (code, message, help) = match () {
            () if REFUSED.contains(&name) => (
                "unsupported_expression",
                format!("{} of CEL cannot be used here", quoted(name)),
                "docs/expressions.md lists what can".to_owned(),
            ),
            () if FUNCTIONS.contains(&name) => {
                let message = format!("{} is not called like this", quoted(name));
                ("expression_type", message, usage(name, method))
            }
            () => (
                "unknown_function",
                format!("there is no function {}", quoted(name)),
                suggest::one_of(name, FUNCTIONS),
            ),
        };
        let (start, end) = self.name_place(expr, name);
        self.complaints.push(Complaint {
            problem: Problem::error(code, message).help(help),
            start,
            end,
        });
        None
    }

    fn has(&mut self, one: &IdedExpr) -> Option<Thing> {
        let Expr::Select(select) = &one.expr else {
            let help = "`has(request.query.name)`; of a name that is no word: `\"x-name\" in request.headers`";
            self.wrong_type(one, "`has` asks for a field".to_owned(), help);
            return None;
        };
        let operand = self.thing(&select.operand)?;
        if let Thing::Map(map) = operand {
            return Some(self.has_entry(one, map, &select.field));
        }
        // That it exists at all is checked like any other use of it.
        let found = self.thing(one)?;
        let node = match found {
            Thing::Value(Node::Fact(fact), _) if may_lack(fact) => Node::HasFact(fact),
            _ => Node::Bool(true),
        };
        Some(Thing::Value(node, Kind::Bool))
    }

    fn size(&mut self, one: &IdedExpr) -> Option<Thing> {
        let node = match self.thing(one)? {
            Thing::Value(node, Kind::Text) => Node::Size(node.into()),
            Thing::List(_, _, len) => Node::Int(i64::try_from(len).unwrap_or(i64::MAX)),
            thing => {
                self.wrong_type(one, format!("`size` needs a string, this is {thing}"), "");
                return None;
            }
        };
        Some(Thing::Value(node, Kind::Int))
    }

    fn search(&mut self, how: Search, one: &IdedExpr, part: &IdedExpr) -> Option<Thing> {
        let by = match how {
            Search::Start => "`startsWith`",
            Search::End => "`endsWith`",
            Search::Anywhere => "`contains`",
        };
        let (one, part) = (self.of(one, Kind::Text, by), self.of(part, Kind::Text, by));
        let node = Node::Search(how, Box::new([one?, part?]));
        Some(Thing::Value(node, Kind::Bool))
    }

    fn matches(&mut self, one: &IdedExpr, pattern: &IdedExpr) -> Option<Thing> {
        let node = self.of(one, Kind::Text, "`matches`");
        let text = self.literal_text(pattern, "a pattern")?;
        match regex(&text) {
            Ok(regex) => Some(Thing::Value(Node::Matches(node?.into(), regex), Kind::Bool)),
            Err(reason) => {
                let message = format!("{} is no pattern: {reason}", quoted(&text));
                let help = "`\\` is doubled in a text, or write `r\"...\"`";
                let help = text.contains('\\').then(|| help.to_owned());
                self.complain(
                    pattern,
                    Problem::error("invalid_pattern", message).help(help),
                );
                None
            }
        }
    }

    fn each(
        &mut self,
        range: &IdedExpr,
        name: &IdedExpr,
        body: &IdedExpr,
        make: impl FnOnce(Range, Box<Node>) -> Node,
    ) -> Option<Thing> {
        let (range, kind) = match self.thing(range)? {
            Thing::List(list, kind, _) => (Range::List(list), kind),
            Thing::Map(map) => (Range::Names(map), Kind::Text),
            thing => {
                self.wrong_type(
                    range,
                    format!("only lists and maps can be gone through, this is {thing}"),
                    "",
                );
                return None;
            }
        };
        let Expr::Ident(variable) = &name.expr else {
            self.wrong_type(
                name,
                "this must be the name of a variable".to_owned(),
                "like `.exists(x, x == 1)`",
            );
            return None;
        };
        self.locals.push((variable.clone(), kind));
        let body = self.of(body, Kind::Bool, "what is asked of each");
        self.locals.pop();
        Some(Thing::Value(make(range, body?.into()), Kind::Bool))
    }

    fn conversion(&mut self, how: Conversion, to: Kind, one: &IdedExpr) -> Option<Thing> {
        let (node, from) = self.value(one)?;
        let can = match to {
            _ if from == to => return Some(Thing::Value(node, to)),
            Kind::Int => matches!(from, Kind::Text | Kind::Double | Kind::Time),
            Kind::Double => matches!(from, Kind::Text | Kind::Int),
            _ => matches!(from, Kind::Int | Kind::Bool),
        };
        if !can {
            self.wrong_type(one, format!("{from} cannot be made into {to}"), "");
            return None;
        }
        Some(Thing::Value(Node::Convert(how, node.into()), to))
    }

    fn moment(&mut self, one: &IdedExpr) -> Option<Thing> {
        let text = self.literal_text(one, "a moment")?;
        match text.parse::<Timestamp>() {
            Ok(moment) if is_rfc3339(&text) => Some(Thing::Value(Node::Time(moment), Kind::Time)),
            _ => {
                let message = format!("{} is no moment", quoted(&text));
                let help = "like `2026-01-31T18:00:00Z` or `2026-01-31T18:00:00+01:00`".to_owned();
                self.complain(one, Problem::error("invalid_timestamp", message).help(help));
                None
            }
        }
    }

    fn address_in(&mut self, one: &IdedExpr, networks: &IdedExpr) -> Option<Thing> {
        let address = self.of(one, Kind::Text, "`ip_in`");
        let networks = self.networks(networks)?;
        let node = match address? {
            Node::Fact(Fact::ClientIp) => Node::ClientIn(networks),
            node => Node::AddressIn(node.into(), networks),
        };
        Some(Thing::Value(node, Kind::Bool))
    }

    /// A network, or a list of them.
    fn networks(&mut self, expr: &IdedExpr) -> Option<Box<Networks>> {
        let elements = match &expr.expr {
            Expr::List(list) => &list.elements[..],
            _ => std::slice::from_ref(expr),
        };
        let networks: Vec<_> = elements.iter().map(|one| self.network(one)).collect();
        let networks: Option<Networks> = networks.into_iter().collect();
        networks.map(Box::new)
    }

    fn network(&mut self, expr: &IdedExpr) -> Option<Network> {
        let text = self.literal_text(expr, "a network")?;
        let network = syntax::network(&text);
        network
            .map_err(|help| {
                let message = format!("{} is not a network", quoted(&text));
                self.complain(expr, Problem::error("invalid_network", message).help(help));
            })
            .ok()
    }

    fn time_part(
        &mut self,
        part: TimePart,
        one: &IdedExpr,
        zone: Option<&IdedExpr>,
    ) -> Option<Thing> {
        let moment = self.of(one, Kind::Time, "a part of the time");
        let zone = match zone {
            None => TimeZone::UTC,
            Some(zone) => self.zone(zone)?,
        };
        Some(Thing::Value(
            Node::TimePart(part, zone, moment?.into()),
            Kind::Int,
        ))
    }

    fn zone(&mut self, expr: &IdedExpr) -> Option<TimeZone> {
        let text = self.literal_text(expr, "a time zone")?;
        let zone = zone::parse(&text);
        zone.map_err(|help| {
            let message = format!("there is no time zone {}", quoted(&text));
            self.complain(expr, Problem::error("unknown_zone", message).help(help));
        })
        .ok()
    }
}

/// Whether a request may be without it.
fn may_lack(fact: Fact) -> bool {
    matches!(
        fact,
        Fact::ClientIp | Fact::ClientSubject | Fact::ServerName
    )
}

fn usage(name: &str, method: bool) -> String {
    match name {
        "has" => "`has(request.query.name)`".to_owned(),
        "size" => "`size(request.path)`".to_owned(),
        "exists" | "all" => format!("`[1, 2].{name}(x, x > 1)`"),
        "ip_in" => "`ip_in(request.client.ip, \"10.0.0.0/8\")`".to_owned(),
        "startsWith" | "endsWith" | "contains" | "matches" => {
            format!("`request.path.{name}(\"/a\")`")
        }
        "in" => "`\"x-name\" in request.headers`".to_owned(),
        name if name.starts_with("get") => format!("`request.time.{name}(\"Europe/Berlin\")`"),
        name if method => format!("`{name}(..)` stands before what it takes"),
        name => format!("`{name}(..)` takes one value"),
    }
}

/// RE2's grammar, as CEL has it, in linear time.
fn regex(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text)
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(PATTERN_BYTES)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        error => {
            let told = error.to_string();
            let last = told.lines().next_back().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        }
    })
}

/// As CEL writes moments: date, `T`, time, and `Z` or a distance, and nothing else.
fn is_rfc3339(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_digit() || "T:.Z+-".contains(c);
    text.get(10..11) == Some("T") && text.chars().all(allowed) && text.len() >= 20
}

fn time_part(name: &str) -> Option<TimePart> {
    Some(match name {
        "getFullYear" => TimePart::FullYear,
        "getMonth" => TimePart::Month,
        "getDate" => TimePart::Date,
        "getDayOfMonth" => TimePart::DayOfMonth,
        "getDayOfWeek" => TimePart::DayOfWeek,
        "getDayOfYear" => TimePart::DayOfYear,
        "getHours" => TimePart::Hours,
        "getMinutes" => TimePart::Minutes,
        "getSeconds" => TimePart::Seconds,
        "getMilliseconds" => TimePart::Milliseconds,
        _ => return None,
    })
}
