//! One evaluation: from the root down, left to right, no further than the value needs it.

use arrayvec::ArrayVec;
use http::HeaderName;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::cost::{LOOK_UP, PATTERN};
use super::node::{Comparison, Conversion, Fact, List, MapName, Node, Range, Search, TimePart};
use super::scratch::Scratch;
use super::value::{Fault, Value};
use super::{MAX_LOOPS, MAX_STEPS, maps, number};
use crate::route::{Networks, RequestFacts};

/// Bytes of a client's text that are looked through in one step.
const STEP: usize = 64;

/// So many texts are faster gone through than searched by halves.
const FEW: usize = 8;

type Evaluated<'a> = Result<Value<'a>, Fault>;

/// An evaluation under way.
pub(super) struct Run<'a, R> {
    request: &'a R,
    scratch: Scratch<'a>,
    locals: ArrayVec<Value<'a>, MAX_LOOPS>,
    steps: u32,
}

impl<'a, R: RequestFacts> Run<'a, R> {
    pub(super) fn new(request: &'a R, room: &'a mut [u8]) -> Self {
        Self {
            request,
            scratch: Scratch::new(room),
            locals: ArrayVec::new(),
            steps: MAX_STEPS,
        }
    }

    /// The value of a node.
    pub(super) fn value(&mut self, node: &'a Node) -> Evaluated<'a> {
        self.spend(1)?;
        match node {
            Node::Bool(truth) => Ok(Value::Bool(*truth)),
            Node::Int(number) => Ok(Value::Int(*number)),
            Node::Double(number) => Ok(Value::Double(*number)),
            Node::Text(text) => Ok(Value::Text(text)),
            Node::Time(moment) => Ok(Value::Time(*moment)),
            Node::Fact(fact) => self.fact(*fact),
            Node::Header(name) => self.header(name),
            Node::Entry(map, name) => self.entry(*map, name),
            Node::Nothing => Err(Fault::Missing),
            Node::Local(at) => self.local(*at),
            Node::Negate(node) => self.negated(node),
            Node::Choose(parts) => match self.truth(&parts[0])? {
                true => self.value(&parts[1]),
                false => self.value(&parts[2]),
            },
            Node::Arithmetic(how, sides) => match self.both(sides)? {
                (Value::Int(a), Value::Int(b)) => number::ints(*how, a, b).map(Value::Int),
                (Value::Double(a), Value::Double(b)) => {
                    number::doubles(*how, a, b).map(Value::Double)
                }
                _ => Err(Fault::Mismatch),
            },
            Node::Concat(sides) => {
                let (a, b) = self.texts(sides)?;
                let text = self.scratch.write(format_args!("{a}{b}"));
                text.map(Value::Text)
            }
            Node::Size(node) => {
                let text = self.scanned(node)?;
                Ok(Value::Int(text.chars().count() as i64))
            }
            Node::Convert(to, node) => {
                let value = self.value(node)?;
                self.converted(*to, value)
            }
            Node::TimePart(part, zone, node) => match self.value(node)? {
                Value::Time(moment) => Ok(Value::Int(part_of(*part, zone, moment))),
                _ => Err(Fault::Mismatch),
            },
            node => self.asked(node).map(Value::Bool),
        }
    }

    /// The truth of a node whose value is nothing else.
    fn asked(&mut self, node: &'a Node) -> Result<bool, Fault> {
        match node {
            Node::HasFact(fact) => Ok(self.has(*fact)),
            Node::HasHeader(name) => {
                self.spend(LOOK_UP)?;
                let found = self.request.find_field(name, |_| Some(()));
                Ok(found.is_some())
            }
            Node::HasEntry(map, name) => Ok(self.find(*map, name)?.is_some()),
            Node::Not(node) => self.truth(node).map(|truth| !truth),
            Node::And(parts) => self.fold(parts, false),
            Node::Or(parts) => self.fold(parts, true),
            Node::Compare(Comparison::Equal, sides) if let [of, Node::Text(text)] = &**sides => {
                Ok(self.value(of)?.text()? == &**text)
            }
            Node::Compare(how, sides) => {
                let (a, b) = self.both(sides)?;
                a.compares(*how, b)
            }
            Node::In(node, list) => {
                let value = self.value(node)?;
                self.spend(list.len() as u32 / 64)?;
                contains(list, value)
            }
            Node::Search(how, sides) => self.search(*how, sides),
            Node::Matches(node, pattern) => {
                let text = self.scanned(node)?;
                self.spend(PATTERN)?;
                Ok(pattern.is_match(text))
            }
            Node::ClientIn(networks) => {
                let client = self.request.client().ok_or(Fault::Missing)?;
                Ok(networks.contains(client))
            }
            Node::AddressIn(node, networks) => self.address_in(node, networks),
            Node::Exists(range, body) => self.through(range, body, true),
            Node::ForAll(range, body) => self.through(range, body, false),
            _ => Err(Fault::Mismatch),
        }
    }

    fn truth(&mut self, node: &'a Node) -> Result<bool, Fault> {
        self.value(node)?.truth()
    }

    fn both(&mut self, sides: &'a [Node; 2]) -> Result<(Value<'a>, Value<'a>), Fault> {
        Ok((self.value(&sides[0])?, self.value(&sides[1])?))
    }

    fn texts(&mut self, sides: &'a [Node; 2]) -> Result<(&'a str, &'a str), Fault> {
        let (a, b) = self.both(sides)?;
        Ok((a.text()?, b.text()?))
    }

    /// A text that is about to be looked through.
    fn scanned(&mut self, node: &'a Node) -> Result<&'a str, Fault> {
        let text = self.value(node)?.text()?;
        self.scan(text.len())?;
        Ok(text)
    }

    fn scan(&mut self, bytes: usize) -> Result<(), Fault> {
        self.spend(u32::try_from(bytes / STEP).unwrap_or(u32::MAX))
    }

    /// Once they are used up they stay so: no part that comes later gives a value.
    fn spend(&mut self, steps: u32) -> Result<(), Fault> {
        match self.steps.checked_sub(steps) {
            Some(left) => self.steps = left,
            None => self.steps = 0,
        }
        match self.steps {
            0 => Err(Fault::Budget),
            _ => Ok(()),
        }
    }

    /// `decisive` if one part is, whatever becomes of the others.
    fn fold(&mut self, parts: &'a [Node], decisive: bool) -> Result<bool, Fault> {
        let mut outcome = Ok(!decisive);
        for part in parts {
            match self.truth(part) {
                Ok(truth) if truth == decisive => return Ok(decisive),
                Ok(_) => {}
                Err(fault) => outcome = outcome.and(Err(fault)),
            }
        }
        outcome
    }

    fn fact(&mut self, fact: Fact) -> Evaluated<'a> {
        let request = self.request;
        let text = match fact {
            Fact::Method => request.method().as_str(),
            Fact::Host => self.host()?,
            Fact::Path => request.path(),
            Fact::Scheme => request.scheme(),
            Fact::ClientIp => {
                let client = request.client().ok_or(Fault::Missing)?;
                self.scratch
                    .write(format_args!("{}", client.to_canonical()))?
            }
            Fact::ClientSubject => request.client_subject().ok_or(Fault::Missing)?,
            Fact::ServerName => request.server_name().ok_or(Fault::Missing)?,
            Fact::Time => {
                let moment = Timestamp::try_from(request.at()).map_err(|_| Fault::Overflow)?;
                return Ok(Value::Time(moment));
            }
        };
        Ok(Value::Text(text))
    }

    fn host(&mut self) -> Result<&'a str, Fault> {
        let host = self.request.host().trim_end_matches('.');
        match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => self.scratch.write_lower(host.as_bytes()),
            false => Ok(host),
        }
    }

    fn has(&self, fact: Fact) -> bool {
        match fact {
            Fact::ClientIp => self.request.client().is_some(),
            Fact::ClientSubject => self.request.client_subject().is_some(),
            Fact::ServerName => self.request.server_name().is_some(),
            Fact::Method | Fact::Host | Fact::Path | Fact::Scheme | Fact::Time => true,
        }
    }

    fn header(&mut self, name: &HeaderName) -> Evaluated<'a> {
        self.spend(LOOK_UP)?;
        let value = self.request.find_field(name, Some);
        self.client_text(value)
    }

    fn entry(&mut self, map: MapName, name: &str) -> Evaluated<'a> {
        let value = self.find(map, name)?;
        self.client_text(value)
    }

    fn find(&mut self, map: MapName, name: &str) -> Result<Option<&'a [u8]>, Fault> {
        self.spend(LOOK_UP)?;
        self.scan(maps::extent(self.request, map))?;
        Ok(maps::entry(self.request, map, name))
    }

    fn client_text(&mut self, value: Option<&'a [u8]>) -> Evaluated<'a> {
        let value = value.ok_or(Fault::Missing)?;
        self.scan(value.len())?;
        maps::text(value).map(Value::Text)
    }

    fn local(&self, at: u8) -> Evaluated<'a> {
        let value = self.locals.get(usize::from(at)).copied();
        value.ok_or(Fault::Mismatch)
    }

    fn negated(&mut self, node: &'a Node) -> Evaluated<'a> {
        match self.value(node)? {
            Value::Int(number) => number.checked_neg().map(Value::Int).ok_or(Fault::Overflow),
            Value::Double(number) => Ok(Value::Double(-number)),
            _ => Err(Fault::Mismatch),
        }
    }

    fn converted(&mut self, to: Conversion, value: Value<'a>) -> Evaluated<'a> {
        match (to, value) {
            (Conversion::Int, Value::Int(_))
            | (Conversion::Double, Value::Double(_))
            | (Conversion::Text, Value::Text(_)) => Ok(value),
            (Conversion::Int, Value::Text(text)) => {
                let number = text.parse().map_err(|_| Fault::NotNumber);
                number.map(Value::Int)
            }
            (Conversion::Int, Value::Double(number)) => number::truncated(number).map(Value::Int),
            (Conversion::Int, Value::Time(moment)) => Ok(Value::Int(moment.as_second())),
            (Conversion::Double, Value::Int(number)) => Ok(Value::Double(number as f64)),
            (Conversion::Double, Value::Text(text)) => {
                let number = text.parse().map_err(|_| Fault::NotNumber);
                number.map(Value::Double)
            }
            (Conversion::Text, Value::Int(number)) => {
                let text = self.scratch.write(format_args!("{number}"));
                text.map(Value::Text)
            }
            (Conversion::Text, Value::Bool(truth)) => {
                Ok(Value::Text(if truth { "true" } else { "false" }))
            }
            _ => Err(Fault::Mismatch),
        }
    }

    fn search(&mut self, how: Search, sides: &'a [Node; 2]) -> Result<bool, Fault> {
        let (text, part) = self.texts(sides)?;
        Ok(match how {
            Search::Start => text.starts_with(part),
            Search::End => text.ends_with(part),
            Search::Anywhere => {
                self.scan(text.len().saturating_add(part.len()))?;
                text.contains(part)
            }
        })
    }

    fn address_in(&mut self, node: &'a Node, networks: &Networks) -> Result<bool, Fault> {
        let text = self.value(node)?.text()?;
        let address = text.parse().map_err(|_| Fault::NotAddress)?;
        Ok(networks.contains(address))
    }

    /// `decisive` if the body is for one element, whatever becomes of it for the others.
    fn through(&mut self, range: &'a Range, body: &'a Node, decisive: bool) -> Result<bool, Fault> {
        let mut turn = Turn {
            body,
            decisive,
            outcome: Ok(!decisive),
        };
        let mut ends = |element| turn.ends(self, element);
        match range {
            Range::List(List::Texts(list)) => {
                list.iter().any(|text| ends(Element::Text(text)));
            }
            Range::List(List::Ints(list)) => {
                list.iter().any(|it| ends(Element::Value(Value::Int(*it))));
            }
            Range::List(List::Doubles(list)) => {
                list.iter()
                    .any(|it| ends(Element::Value(Value::Double(*it))));
            }
            Range::List(List::Bools(list)) => {
                list.iter().any(|it| ends(Element::Value(Value::Bool(*it))));
            }
            Range::List(List::Times(list)) => {
                list.iter().any(|it| ends(Element::Value(Value::Time(*it))));
            }
            Range::Names(map) => self.through_names(*map, &mut turn),
        }
        turn.outcome
    }

    fn through_names(&mut self, map: MapName, turn: &mut Turn<'a>) {
        let request = self.request;
        match map {
            MapName::Query => {
                let mut names = maps::parameters(request.query());
                names.any(|(name, _)| turn.ends(self, Element::Text(name)));
            }
            MapName::Cookies => {
                request.find_field(&http::header::COOKIE, |line| {
                    let mut names = maps::cookie_names(line);
                    let ended = names.any(|name| turn.ends(self, Element::Bytes(name)));
                    ended.then_some(())
                });
            }
            MapName::Headers => {
                let mut ended = false;
                request.each_field(|name, _| {
                    ended = ended || turn.ends(self, Element::Field(name));
                });
            }
        }
    }

    /// The truth of a loop's body for one element. What it writes is forgotten after it, so that a client
    /// cannot fill the room with what comes before the element that counts.
    fn turn(&mut self, element: Element<'_>, body: &Node) -> Result<bool, Fault> {
        // Even if the body is never looked at.
        self.spend(1)?;
        let mut inner = Run {
            request: self.request,
            scratch: self.scratch.lent(),
            locals: self.locals.clone(),
            steps: self.steps,
        };
        let truth = inner.element(element).and_then(|element| {
            let pushed = inner.locals.try_push(element);
            pushed.map_err(|_| Fault::Mismatch)?;
            inner.truth(body)
        });
        let left = inner.steps;
        self.steps = left;
        truth
    }

    fn element(&mut self, element: Element<'a>) -> Evaluated<'a> {
        match element {
            Element::Value(value) => Ok(value),
            Element::Text(text) => Ok(Value::Text(text)),
            Element::Bytes(bytes) => maps::text(bytes).map(Value::Text),
            Element::Field(name) => self.scratch.write_lower(name).map(Value::Text),
        }
    }
}

/// What a loop goes through.
enum Element<'a> {
    Value(Value<'a>),
    Text(&'a str),
    /// What should be a text.
    Bytes(&'a [u8]),
    /// The name of a field, in any case.
    Field(&'a [u8]),
}

/// A loop under way.
struct Turn<'a> {
    body: &'a Node,
    decisive: bool,
    outcome: Result<bool, Fault>,
}

impl<'a> Turn<'a> {
    /// Takes the next element; says whether that ends it.
    fn ends<R: RequestFacts>(&mut self, run: &mut Run<'a, R>, element: Element<'a>) -> bool {
        match run.turn(element, self.body) {
            Ok(truth) if truth == self.decisive => self.outcome = Ok(truth),
            Ok(_) => return false,
            Err(Fault::Budget) => self.outcome = Err(Fault::Budget),
            Err(fault) => {
                self.outcome = self.outcome.and(Err(fault));
                return false;
            }
        }
        true
    }
}

fn contains(list: &List, value: Value<'_>) -> Result<bool, Fault> {
    match (list, value) {
        (List::Texts(list), Value::Text(text)) if list.len() <= FEW => {
            Ok(list.iter().any(|have| **have == *text))
        }
        (List::Texts(list), Value::Text(text)) => {
            Ok(list.binary_search_by(|have| (**have).cmp(text)).is_ok())
        }
        (List::Ints(list), Value::Int(number)) => Ok(list.contains(&number)),
        (List::Doubles(list), Value::Double(number)) => Ok(list.contains(&number)),
        (List::Bools(list), Value::Bool(truth)) => Ok(list.contains(&truth)),
        (List::Times(list), Value::Time(moment)) => Ok(list.contains(&moment)),
        _ => Err(Fault::Mismatch),
    }
}

fn part_of(part: TimePart, zone: &TimeZone, moment: Timestamp) -> i64 {
    let local = zone.to_datetime(moment);
    match part {
        TimePart::FullYear => local.year().into(),
        TimePart::Month => i64::from(local.month()) - 1,
        TimePart::Date => local.day().into(),
        TimePart::DayOfMonth => i64::from(local.day()) - 1,
        TimePart::DayOfWeek => local.weekday().to_sunday_zero_offset().into(),
        TimePart::DayOfYear => i64::from(local.day_of_year()) - 1,
        TimePart::Hours => local.hour().into(),
        TimePart::Minutes => local.minute().into(),
        TimePart::Seconds => local.second().into(),
        TimePart::Milliseconds => local.millisecond().into(),
    }
}
