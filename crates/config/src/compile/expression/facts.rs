//! The variables of expressions: what a request is known by.

use tidegate_core::expression::{Fact, MapName, Node};

use super::thing::{Kind, Thing};

/// The fields of `request`.
pub(super) const REQUEST: [&str; 10] = [
    "method",
    "host",
    "path",
    "query",
    "headers",
    "cookies",
    "scheme",
    "client",
    "server_name",
    "time",
];

/// The fields of `request.client`.
pub(super) const CLIENT: [&str; 2] = ["ip", "subject"];

/// A field of `request`.
pub(super) fn of_request(name: &str) -> Option<Thing> {
    Some(match name {
        "method" => fact(Fact::Method),
        "host" => fact(Fact::Host),
        "path" => fact(Fact::Path),
        "scheme" => fact(Fact::Scheme),
        "server_name" => fact(Fact::ServerName),
        "time" => fact(Fact::Time),
        "query" => Thing::Map(MapName::Query),
        "headers" => Thing::Map(MapName::Headers),
        "cookies" => Thing::Map(MapName::Cookies),
        "client" => Thing::Client,
        _ => return None,
    })
}

/// A field of `request.client`.
pub(super) fn of_client(name: &str) -> Option<Thing> {
    match name {
        "ip" => Some(fact(Fact::ClientIp)),
        "subject" => Some(fact(Fact::ClientSubject)),
        _ => None,
    }
}

fn fact(fact: Fact) -> Thing {
    let kind = match fact {
        Fact::Time => Kind::Time,
        _ => Kind::Text,
    };
    Thing::Value(Node::Fact(fact), kind)
}
