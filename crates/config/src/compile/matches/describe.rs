//! Names for routes that have none: what they match, as far as that fits into a label.
//!
//! Conditions are named, their values are not: what a header must be may be a secret, and names are
//! labels of metrics.

use http::Method;
use tidegate_core::route::RouteMatch;

use crate::compile::path_text;

/// Longest name that is made.
const NAME_MAX: usize = 100;

/// Host and path, `:` and methods, and in brackets what else is asked for:
/// `shop.example.com/api/**:GET,HEAD[x-plan,?debug]`. Not unique.
pub(crate) fn describe(matches: &RouteMatch) -> String {
    let host = matches.host.as_deref().unwrap_or("");
    let path = matches.path.as_ref().map(path_text).unwrap_or_default();
    let methods: Vec<&str> = matches.methods.iter().map(Method::as_str).collect();
    let place = format!("{host}{path}{}", listed(":", &methods, ""));
    let place = if place.is_empty() { "any" } else { &place };
    let conditions = listed("[", &conditions(matches), "]");
    let safe = |c: &char| c.is_ascii_graphic() && *c != '"' && *c != '\\';
    let name = place.chars().chain(conditions.chars());
    name.filter(safe).take(NAME_MAX).collect()
}

/// What is asked for beside host, path and methods.
fn conditions(matches: &RouteMatch) -> Vec<String> {
    let headers = matches.headers.iter().map(|(name, _)| name.to_string());
    let query = matches.query.iter().map(|(name, _)| format!("?{name}"));
    let cookies = matches.cookies.iter();
    let cookies = cookies.map(|(name, _)| format!("cookie:{name}"));
    let server_name = matches.server_name.iter();
    let server_name = server_name.map(|name| format!("tls:{name}"));
    let others = [
        ("clients", matches.clients.is_some()),
        ("certificate", matches.client_subject.is_some()),
        ("time", matches.time.is_some()),
        ("when", matches.when.is_some()),
    ];
    let others = others.into_iter().filter(|(_, given)| *given);
    let others = others.map(|(name, _)| name.to_owned());
    let named = headers.chain(query).chain(cookies).chain(server_name);
    named.chain(others).collect()
}

fn listed<T: AsRef<str>>(before: &str, words: &[T], after: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.is_empty() {
        true => String::new(),
        false => format!("{before}{}{after}", words.join(",")),
    }
}
