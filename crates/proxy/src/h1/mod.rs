//! HTTP/1.1 on our own strict codec: the server side, the client side, and the reader of a
//! request's body. Everything is driven inline in the request's own future: no task, no channel.

use std::cell::RefCell;
use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_http1::Fields;

use crate::conn::Conn;

pub(crate) mod client;
pub(crate) mod reader;
pub(crate) mod respond;
pub(crate) mod server;

/// A client's connection, shared by whoever reads the request's body and whoever writes the answer.
/// Both live in one task and borrow only within a poll.
pub(crate) type SharedConn = Rc<RefCell<Conn>>;

/// A field block as a map: for trailers, which are rare, and for crossing over to HTTP/2. The codec
/// has checked names and values; what a `HeaderMap` cannot hold all the same is left out.
pub(crate) fn to_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields.iter() {
        let name = HeaderName::from_bytes(field.name);
        let value = HeaderValue::from_bytes(field.value);
        if let (Ok(name), Ok(value), false) = (name, value, field.hop_by_hop) {
            map.append(name, value);
        }
    }
    map
}
