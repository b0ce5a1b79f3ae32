//! What a route matches: one key for each thing that can be asked of a request.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;
use crate::raw::text::{ClockTime, DayRange, Expression, Host, Network, PathPattern};
use crate::yaml::{Entries, Field, WordOr};

/// What a route matches. Everything that is given must hold; of the routes whose match holds the most specific one is taken.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Match {
    /// Host without port: `shop.example.com`, or `*.example.com` for every name below it.
    pub(crate) host: Field<Host>,
    /// Path, compared as it is written: exactly (`/login`), with names that stand for a segment each (`/users/{id}/orders`) or for the rest (`/files/{rest=**}`), with everything below it (`/api/**`), or by a regular expression (`~^/v[0-9]+/`).
    pub(crate) path: Field<PathPattern>,
    /// Methods; empty: any.
    #[schemars(extend("default" = []))]
    pub(crate) methods: Field<Vec<Field<String>>>,
    /// Header fields by name, and what they must be: exactly a value, or one of the forms below. If a field is there several times, one of them must be so.
    #[schemars(extend("default" = {}))]
    pub(crate) headers: Field<Entries<ValueForm>>,
    /// Query parameters by name, and what they must be, the same way. They are compared as they are written: nothing is decoded, and a parameter without `=` has an empty value.
    #[schemars(extend("default" = {}))]
    pub(crate) query: Field<Entries<ValueForm>>,
    /// Cookies by name, and what they must be, the same way. They are compared as they are written.
    #[schemars(extend("default" = {}))]
    pub(crate) cookies: Field<Entries<ValueForm>>,
    /// Networks, one of which the client's address must lie in; empty: any. A client that the listener trusts is taken for the one it says it speaks for.
    #[schemars(extend("default" = []))]
    pub(crate) clients: Field<Vec<Field<Network>>>,
    /// The name that the client asked for in its TLS handshake (SNI): `shop.example.com`, or `*.example.com` for every name below it. Never holds without TLS.
    pub(crate) server_name: Field<Host>,
    /// What the certificate must be that the client showed in its TLS handshake, where the listener has a `client_ca`.
    pub(crate) client_certificate: Field<Box<ClientCertificate>>,
    /// When the request must come.
    pub(crate) time: Field<Box<TimeWindow>>,
    /// What else must hold, as an expression in CEL: `request.headers["x-tier"] == "gold"`. For what the other keys cannot say.
    pub(crate) when: Field<Expression>,
}

/// What a value must be: exactly a text, or a mapping.
pub(crate) type ValueForm = WordOr<String, Value>;

/// What the value of a header field, a query parameter or a cookie must be: one of these keys. A bare text means the same as `exact`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct Value {
    /// Exactly this.
    pub(crate) exact: Field<String>,
    /// It starts with this.
    pub(crate) prefix: Field<String>,
    /// This regular expression is found in it, anywhere unless it is anchored (`^`, `$`). It works on bytes: `\d` is `[0-9]`. At most 1024 bytes.
    pub(crate) regex: Field<String>,
    /// `true`: it is there, whatever its value is.
    #[schemars(extend("const" = true))]
    pub(crate) present: Field<bool>,
    /// `true`: it is not there at all.
    #[schemars(extend("const" = true))]
    pub(crate) absent: Field<bool>,
}

/// What the certificate of a client must be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["subject"]))]
pub(crate) struct ClientCertificate {
    /// Its subject in the form of RFC 4514, the most specific part first (`CN=billing,OU=shop,O=Example`), as `openssl x509 -noout -subject -nameopt RFC2253` prints it; or one of the forms of a value. `{ absent: true }`: no certificate.
    pub(crate) subject: Field<ValueForm>,
}

/// When a request must come: on some days, between two times of a day, by the clock of a place.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TimeWindow {
    /// Days on which the window begins: `mon` to `sun`, or from one to another, `mon-fri`. Empty: every day.
    #[schemars(extend("default" = []))]
    pub(crate) days: Field<Vec<Field<DayRange>>>,
    /// When it begins.
    #[schemars(extend("default" = defaults::WINDOW_FROM))]
    pub(crate) from: Field<ClockTime>,
    /// When it is over: the first moment that is not in it. Before `from`: on the next day.
    #[schemars(extend("default" = defaults::WINDOW_TO))]
    pub(crate) to: Field<ClockTime>,
    /// Whose clock counts, as the IANA database names it: `Europe/Berlin`. Summer time is heeded.
    #[schemars(extend("default" = defaults::WINDOW_ZONE))]
    pub(crate) zone: Field<String>,
}
