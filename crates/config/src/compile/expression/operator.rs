//! Operators of CEL, what they stand for, and what makes the types of their sides one.

use cel::IdedExpr;
use cel::common::ast::{Expr, operators};
use tidegate_core::expression::{Arithmetic, Comparison, List, Node};

use super::thing::Kind;

pub(super) fn flatten<'e>(expr: &'e IdedExpr, operator: &str, parts: &mut Vec<&'e IdedExpr>) {
    match &expr.expr {
        Expr::Call(call) if call.func_name == operator => {
            call.args
                .iter()
                .for_each(|part| flatten(part, operator, parts));
        }
        _ => parts.push(expr),
    }
}

pub(super) fn comparison(operator: &str) -> Option<Comparison> {
    Some(match operator {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::LessOrEqual,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

pub(super) fn arithmetic(operator: &str) -> Option<Arithmetic> {
    Some(match operator {
        operators::ADD => Arithmetic::Add,
        operators::SUBSTRACT => Arithmetic::Subtract,
        operators::MULTIPLY => Arithmetic::Multiply,
        operators::DIVIDE => Arithmetic::Divide,
        operators::MODULO => Arithmetic::Remainder,
        _ => return None,
    })
}

/// What makes a value of one type one of another.
pub(super) fn conversion(from: Kind, to: Kind) -> &'static str {
    match (from, to) {
        (Kind::Text | Kind::Double, Kind::Int) | (Kind::Int, Kind::Text) => {
            "`int(..)` makes an int of a string; strings have quotation marks"
        }
        (Kind::Text | Kind::Int, Kind::Double) => "`double(..)` makes one of it; `1.0` is a double",
        (Kind::Bool, Kind::Text) => "write it in quotation marks",
        (Kind::Text, Kind::Bool) => "compare it: `... == \"true\"`",
        (Kind::Text, Kind::Time) => "`timestamp(\"2026-01-31T00:00:00Z\")` makes one of it",
        _ => "",
    }
}

pub(super) fn list_of(nodes: &[Node], kind: Kind) -> List {
    macro_rules! each {
        ($variant:ident) => {
            nodes.iter().filter_map(|node| match node {
                Node::$variant(value) => Some(value.clone()),
                _ => None,
            })
        };
    }
    match kind {
        Kind::Text => List::texts(each!(Text)),
        Kind::Int => List::Ints(each!(Int).collect()),
        Kind::Double => List::Doubles(each!(Double).collect()),
        Kind::Bool => List::Bools(each!(Bool).collect()),
        Kind::Time => List::Times(each!(Time).collect()),
    }
}
