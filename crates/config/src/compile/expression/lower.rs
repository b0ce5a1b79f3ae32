//! Syntax tree to typed tree: names, operators, types. Calls are in [`call`](super::call).
//!
//! A part that is wrong is reported once, and what contains it is left without a word; the rest goes
//! on, so that all that is wrong with an expression is told at once.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, ListExpr, LiteralValue, SelectExpr, SourceInfo, operators};
use http::HeaderName;
use tidegate_core::expression::{Arithmetic, Comparison, MAX_DEPTH, MapName, Node};

use super::operator::{arithmetic, comparison, conversion, flatten, list_of};
use super::thing::{Kind, Thing};
use super::{Complaint, facts, lint};
use crate::problem::{Problem, quoted};
use crate::suggest;

/// One expression on its way.
pub(super) struct Lowering<'t> {
    pub(super) text: &'t str,
    pub(super) places: &'t SourceInfo,
    /// The variables of the loops around, outermost first.
    pub(super) locals: Vec<(String, Kind)>,
    pub(super) complaints: Vec<Complaint>,
    depth: usize,
}

impl<'t> Lowering<'t> {
    pub(super) fn new(text: &'t str, places: &'t SourceInfo) -> Self {
        Self {
            text,
            places,
            locals: Vec::new(),
            complaints: Vec::new(),
            depth: 0,
        }
    }

    /// The whole expression, which must be a truth.
    pub(super) fn root(&mut self, expr: &IdedExpr, what: &str) -> Option<Node> {
        match self.thing(expr)? {
            Thing::Value(node, Kind::Bool) => Some(node),
            thing => {
                let message = format!("{what} must be a bool, this is {thing}");
                let help = match thing {
                    Thing::Value(_, Kind::Text) => "compare it: `... == \"value\"`",
                    Thing::Map(_) => "ask for an entry: `\"name\" in ...`",
                    _ => "compare it with something",
                };
                self.wrong_type(expr, message, help);
                None
            }
        }
    }

    /// What a part is; none if it was reported.
    pub(super) fn thing(&mut self, expr: &IdedExpr) -> Option<Thing> {
        if self.depth >= 2 * MAX_DEPTH {
            let message = format!("the expression is nested more than {MAX_DEPTH} deep");
            self.complain(expr, Problem::error("expression_too_complex", message));
            return None;
        }
        self.depth += 1;
        let thing = match &expr.expr {
            Expr::Literal(literal) => self.literal(expr, literal),
            Expr::Ident(name) => self.name(expr, name),
            Expr::Select(select) => self.select(expr, select),
            Expr::List(list) => self.list(expr, list),
            Expr::Call(call) => self.operation(expr, call),
            Expr::Map(_) => self.unsupported(expr, "a map", ""),
            Expr::Struct(_) => self.unsupported(expr, "a message", ""),
            Expr::Comprehension(_) | Expr::Unspecified => self.unsupported(expr, "this", ""),
        };
        self.depth -= 1;
        thing
    }

    /// A part that must be a value.
    pub(super) fn value(&mut self, expr: &IdedExpr) -> Option<(Node, Kind)> {
        match self.thing(expr)? {
            Thing::Value(node, kind) => Some((node, kind)),
            thing => {
                let help = match thing {
                    Thing::Map(_) => "ask for an entry: `...[\"name\"]`",
                    Thing::List(..) => {
                        "lists stand behind `in`, or before `.exists(..)` and `.all(..)`"
                    }
                    _ => "ask for one of its fields",
                };
                self.wrong_type(expr, format!("{thing} is no value to reckon with"), help);
                None
            }
        }
    }

    /// A part that must be a value of this type.
    pub(super) fn of(&mut self, expr: &IdedExpr, wanted: Kind, by: &str) -> Option<Node> {
        let (node, kind) = self.value(expr)?;
        if kind == wanted {
            return Some(node);
        }
        let help = conversion(kind, wanted);
        self.wrong_type(expr, format!("{by} needs {wanted}, this is {kind}"), help);
        None
    }

    fn literal(&mut self, expr: &IdedExpr, literal: &LiteralValue) -> Option<Thing> {
        let (node, kind) = match literal {
            LiteralValue::Boolean(truth) => (Node::Bool(*truth.inner()), Kind::Bool),
            LiteralValue::Int(number) => (Node::Int(*number.inner()), Kind::Int),
            LiteralValue::Double(number) => (Node::Double(*number.inner()), Kind::Double),
            LiteralValue::String(text) => (Node::Text(text.inner().into()), Kind::Text),
            LiteralValue::UInt(_) => {
                return self.unsupported(expr, "an unsigned number", "write it without `u`");
            }
            LiteralValue::Bytes(_) => {
                return self.unsupported(expr, "a text of bytes", "write it without `b`");
            }
            LiteralValue::Null => {
                return self.unsupported(
                    expr,
                    "`null`",
                    "whether something is there, `has(..)` and `in` say",
                );
            }
        };
        Some(Thing::Value(node, kind))
    }

    fn name(&mut self, expr: &IdedExpr, name: &str) -> Option<Thing> {
        let local = self.locals.iter().rposition(|(local, _)| local == name);
        if let Some(at) = local {
            let depth = u8::try_from(at).unwrap_or(u8::MAX);
            return Some(Thing::Value(Node::Local(depth), self.locals[at].1));
        }
        if name == "request" {
            return Some(Thing::Request);
        }
        let help = match () {
            () if facts::REQUEST.contains(&name) => format!("did you mean `request.{name}`?"),
            () if facts::CLIENT.contains(&name) => format!("did you mean `request.client.{name}`?"),
            () => {
                let locals = self.locals.iter().map(|(local, _)| local.as_str());
                suggest::one_of(name, locals.chain(["request"]))
            }
        };
        let problem = Problem::error("unknown_variable", format!("there is no {}", quoted(name)));
        self.complain(expr, problem.help(help));
        None
    }

    fn select(&mut self, expr: &IdedExpr, select: &SelectExpr) -> Option<Thing> {
        let (found, of, known) = match self.thing(&select.operand)? {
            Thing::Map(map) => return self.entry(expr, map, &select.field),
            Thing::Request => {
                let found = facts::of_request(&select.field);
                (found, "request", &facts::REQUEST[..])
            }
            Thing::Client => {
                let found = facts::of_client(&select.field);
                (found, "request.client", &facts::CLIENT[..])
            }
            thing => {
                let message = format!("{thing} has no fields");
                self.wrong_type(
                    expr,
                    message,
                    "only `request`, `request.client` and maps have",
                );
                return None;
            }
        };
        if found.is_none() {
            let message = format!("`{of}` has no field {}", quoted(&select.field));
            let help = suggest::one_of(&select.field, known.iter().copied());
            let (start, end) = self.field_place(expr, select);
            self.complaints.push(Complaint {
                problem: Problem::error("unknown_variable", message).help(help),
                start,
                end,
            });
        }
        found
    }

    /// The value of an entry of a map.
    fn entry(&mut self, at: &IdedExpr, map: MapName, name: &str) -> Option<Thing> {
        let node = match map {
            MapName::Headers => self.header(at, name).map_or(Node::Nothing, Node::Header),
            map => Node::Entry(map, name.into()),
        };
        Some(Thing::Value(node, Kind::Text))
    }

    /// Whether a map has an entry.
    pub(super) fn has_entry(&mut self, at: &IdedExpr, map: MapName, name: &str) -> Thing {
        let node = match map {
            MapName::Headers => self
                .header(at, name)
                .map_or(Node::Bool(false), Node::HasHeader),
            map => Node::HasEntry(map, name.into()),
        };
        Thing::Value(node, Kind::Bool)
    }

    /// The header of this name; none, with a warning, if none can have it.
    fn header(&mut self, at: &IdedExpr, name: &str) -> Option<HeaderName> {
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        if header
            .as_ref()
            .is_some_and(|header| header.as_str() == name)
        {
            return header;
        }
        let message = format!("no header is ever called {} here", quoted(name));
        let help = match &header {
            Some(lower) => format!("names are in lower case: `{lower}`"),
            None => "a name is letters, digits and `-`".to_owned(),
        };
        self.complain(
            at,
            Problem::warning("header_never_there", message).help(help),
        );
        None
    }

    fn list(&mut self, expr: &IdedExpr, list: &ListExpr) -> Option<Thing> {
        let mut nodes = Vec::with_capacity(list.elements.len());
        let mut of: Option<Kind> = None;
        for element in &list.elements {
            let (node, kind) = self.value(element)?;
            if !lint::is_literal(&node) {
                let message = "an element of a list must be a literal";
                self.wrong_type(
                    element,
                    message.to_owned(),
                    "compare with `==` and `||` instead",
                );
                return None;
            }
            let wanted = *of.get_or_insert(kind);
            if kind != wanted {
                let message =
                    format!("a list of one type: the first element is {wanted}, this is {kind}");
                self.wrong_type(element, message, conversion(kind, wanted));
                return None;
            }
            nodes.push(node);
        }
        let Some(kind) = of else {
            self.wrong_type(
                expr,
                "the list is empty".to_owned(),
                "nothing is ever in it",
            );
            return None;
        };
        Some(Thing::List(list_of(&nodes, kind), kind, nodes.len()))
    }

    fn operation(&mut self, expr: &IdedExpr, call: &CallExpr) -> Option<Thing> {
        match (call.func_name.as_str(), &call.args[..]) {
            (operators::LOGICAL_AND, _) => self.logic(expr, operators::LOGICAL_AND, Node::And),
            (operators::LOGICAL_OR, _) => self.logic(expr, operators::LOGICAL_OR, Node::Or),
            (operators::LOGICAL_NOT, [one]) => {
                let node = self.of(one, Kind::Bool, "`!`")?;
                Some(Thing::Value(Node::Not(node.into()), Kind::Bool))
            }
            (operators::NEGATE, [one]) => self.negation(one),
            (operators::CONDITIONAL, [condition, yes, no]) => self.choice(condition, yes, no),
            (operators::INDEX, [of, key]) => self.index(expr, of, key),
            (operators::IN, [one, of]) => self.membership(one, of),
            (name, [one, other]) if call.target.is_none() => {
                match (comparison(name), arithmetic(name)) {
                    (Some(how), _) => self.comparison(expr, how, one, other),
                    (_, Some(how)) => self.arithmetic(expr, how, one, other),
                    _ => self.call(expr, call),
                }
            }
            _ => self.call(expr, call),
        }
    }

    /// All parts of a chain, so that a long one is not deep.
    fn logic(
        &mut self,
        expr: &IdedExpr,
        operator: &str,
        make: impl FnOnce(Box<[Node]>) -> Node,
    ) -> Option<Thing> {
        let mut parts = Vec::new();
        flatten(expr, operator, &mut parts);
        let sign = if operator == operators::LOGICAL_AND {
            "`&&`"
        } else {
            "`||`"
        };
        let nodes: Vec<_> = parts
            .iter()
            .map(|part| self.of(part, Kind::Bool, sign))
            .collect();
        let nodes: Option<Box<[Node]>> = nodes.into_iter().collect();
        Some(Thing::Value(make(nodes?), Kind::Bool))
    }

    fn negation(&mut self, one: &IdedExpr) -> Option<Thing> {
        match self.value(one)? {
            (node, kind @ (Kind::Int | Kind::Double)) => {
                Some(Thing::Value(Node::Negate(node.into()), kind))
            }
            (_, kind) => {
                self.wrong_type(one, format!("`-` needs a number, this is {kind}"), "");
                None
            }
        }
    }

    fn choice(&mut self, condition: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> Option<Thing> {
        let condition = self.of(condition, Kind::Bool, "`? :`");
        let (yes, other) = (self.value(yes), self.value(no));
        let ((yes, kind), (other, other_kind)) = (yes?, other?);
        if kind != other_kind {
            let message = format!(
                "both sides of `:` must be of one type; one is {kind}, this is {other_kind}"
            );
            self.wrong_type(no, message, conversion(other_kind, kind));
            return None;
        }
        Some(Thing::Value(
            Node::Choose(Box::new([condition?, yes, other])),
            kind,
        ))
    }

    fn index(&mut self, expr: &IdedExpr, of: &IdedExpr, key: &IdedExpr) -> Option<Thing> {
        match self.thing(of)? {
            Thing::Map(map) => {
                let name = self.literal_text(key, "the name of an entry")?;
                self.entry(key, map, &name)
            }
            thing => {
                let message = format!("`[..]` asks a map, this is {thing}");
                self.wrong_type(
                    expr,
                    message,
                    "maps are `request.headers`, `.query` and `.cookies`",
                );
                None
            }
        }
    }

    fn membership(&mut self, one: &IdedExpr, of: &IdedExpr) -> Option<Thing> {
        match self.thing(of)? {
            Thing::Map(map) => {
                let name = self.literal_text(one, "the name of an entry")?;
                Some(self.has_entry(one, map, &name))
            }
            Thing::List(list, kind, _) => {
                let node = self.of(one, kind, "what is looked for in this list")?;
                Some(Thing::Value(Node::In(node.into(), list), Kind::Bool))
            }
            thing => {
                let help = "whether a text has a part, `.contains(..)` says";
                self.wrong_type(
                    of,
                    format!("`in` needs a list or a map, this is {thing}"),
                    help,
                );
                None
            }
        }
    }

    fn comparison(
        &mut self,
        expr: &IdedExpr,
        how: Comparison,
        one: &IdedExpr,
        other: &IdedExpr,
    ) -> Option<Thing> {
        let (left, right) = (self.value(one), self.value(other));
        let ((left, kind), (right, other_kind)) = (left?, right?);
        if kind != other_kind {
            let message = format!("{kind} is compared with {other_kind}");
            self.wrong_type(expr, message, conversion(other_kind, kind));
            return None;
        }
        if let Some(problem) = lint::impossible(how, &left, &right) {
            self.complain(expr, problem);
        }
        Some(Thing::Value(
            Node::Compare(how, Box::new([left, right])),
            Kind::Bool,
        ))
    }

    fn arithmetic(
        &mut self,
        expr: &IdedExpr,
        how: Arithmetic,
        one: &IdedExpr,
        other: &IdedExpr,
    ) -> Option<Thing> {
        let (left, right) = (self.value(one), self.value(other));
        let ((left, kind), (right, other_kind)) = (left?, right?);
        let sides = Box::new([left, right]);
        let node = match (kind, other_kind, how) {
            (Kind::Int, Kind::Int, _) => Node::Arithmetic(how, sides),
            (Kind::Double, Kind::Double, how) if how != Arithmetic::Remainder => {
                Node::Arithmetic(how, sides)
            }
            (Kind::Text, Kind::Text, Arithmetic::Add) => Node::Concat(sides),
            _ => {
                let message = format!("{kind} and {other_kind} cannot be reckoned with like this");
                self.wrong_type(expr, message, conversion(other_kind, kind));
                return None;
            }
        };
        Some(Thing::Value(node, kind))
    }

    /// A text that stands there as it is.
    pub(super) fn literal_text(&mut self, expr: &IdedExpr, what: &str) -> Option<Box<str>> {
        match self.thing(expr)? {
            Thing::Value(Node::Text(text), _) => Some(text),
            _ => {
                let message = format!("{what} must be written out, as a string");
                self.wrong_type(expr, message, "like `\"name\"`");
                None
            }
        }
    }

    pub(super) fn unsupported(&mut self, expr: &IdedExpr, what: &str, help: &str) -> Option<Thing> {
        let message = format!("{what} cannot be used here");
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.complain(
            expr,
            Problem::error("unsupported_expression", message).help(help),
        );
        None
    }

    pub(super) fn wrong_type(&mut self, expr: &IdedExpr, message: String, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.complain(expr, Problem::error("expression_type", message).help(help));
    }

    pub(super) fn complain(&mut self, expr: &IdedExpr, problem: Problem) {
        let (start, end) = self.place(expr);
        self.complaints.push(Complaint {
            problem,
            start,
            end,
        });
    }
}
