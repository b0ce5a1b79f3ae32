//! What a route's actions would do with a request, told for people and for tools.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::plan::{Actions, FieldEdits, HostRewrite, Reply, Route};
use crate::route::RequestFacts;

/// What a route would do with a request besides sending it on. `Display` prints it in aligned lines,
/// without a line end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Acted {
    /// The route's name.
    pub by: Arc<str>,
    /// The status that it would answer by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Where it would send the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Box<str>>,
    /// Path and query that its upstream would get, if they are others than the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Box<str>>,
    /// The host that its upstream would get, if it is another; `upstream` for the endpoint's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Box<str>>,
    /// What is edited of fields: `request: set x-real-ip; remove cookie`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Box<str>>,
    /// What may be injected: `5% wait 200ms`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Box<str>>,
    /// Why it cannot be rewritten, or sent elsewhere: it would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Box<str>>,
}

impl Acted {
    /// What `route` would do with `request`. None: nothing but to send it on.
    pub fn of(route: &Route, request: &impl RequestFacts) -> Option<Self> {
        let actions = route.actions.as_deref()?;
        let mut acted = Self {
            by: route.name.clone(),
            headers: edited(actions),
            faults: injected(actions),
            host: actions.host.as_ref().map(|host| match host {
                HostRewrite::Fixed(host) => (&**host).into(),
                HostRewrite::Upstream => "upstream".into(),
            }),
            status: None,
            location: None,
            target: None,
            refused: None,
        };
        acted.rewrite(actions, route, request);
        acted.reply(actions, route, request);
        Some(acted)
    }

    fn rewrite(&mut self, actions: &Actions, route: &Route, request: &impl RequestFacts) {
        let captured = route.matches.captures(request.path());
        let Some(rewrite) = &actions.path else { return };
        match rewrite.target(request.path_and_query(), &captured) {
            Ok(target) => self.target = target.map(Into::into),
            Err(why) => self.refused = Some(why.to_string().into()),
        }
    }

    fn reply(&mut self, actions: &Actions, route: &Route, request: &impl RequestFacts) {
        match &actions.reply {
            Some(Reply::Redirect(redirect)) => {
                let captured = route.matches.captures(request.path());
                match redirect.location(request, &captured) {
                    Ok(location) => {
                        self.status = Some(redirect.status.as_u16());
                        self.location = Some(location.into());
                    }
                    Err(why) => self.refused = Some(why.to_string().into()),
                }
            }
            Some(Reply::Respond(respond)) => self.status = Some(respond.status.as_u16()),
            None => {}
        }
    }
}

fn edited(actions: &Actions) -> Vec<Box<str>> {
    let both = [
        ("request", &actions.request),
        ("response", &actions.response),
    ];
    let given = both.into_iter().filter(|(_, edits)| !edits.is_empty());
    given
        .map(|(of, edits)| format!("{of}: {}", words(edits)).into())
        .collect()
}

fn words(edits: &FieldEdits) -> String {
    let named = |deed: &str, names: Vec<&str>| {
        (!names.is_empty()).then(|| format!("{deed} {}", names.join(", ")))
    };
    let parts = [
        named(
            "remove",
            edits.remove.iter().map(|name| name.as_str()).collect(),
        ),
        named(
            "set",
            edits.set.iter().map(|edit| edit.name.as_str()).collect(),
        ),
        named(
            "append",
            edits.append.iter().map(|edit| edit.name.as_str()).collect(),
        ),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    parts.join("; ")
}

fn injected(actions: &Actions) -> Vec<Box<str>> {
    let share = |share: f64| share * 100.0;
    let delay = actions.fault.delay.map(|delay| {
        let (of, time) = (share(delay.share.share()), delay.time);
        format!("{of}% wait {time:?}").into()
    });
    let abort = actions.fault.abort.map(|abort| {
        let of = share(abort.share.share());
        format!("{of}% are answered {}", abort.status.as_u16()).into()
    });
    delay.into_iter().chain(abort).collect()
}

impl fmt::Display for Acted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = Vec::new();
        match (self.status, &self.location) {
            (Some(status), Some(to)) => lines.push(format!("answers   {status}, to {to}")),
            (Some(status), None) => lines.push(format!("answers   {status}")),
            (None, _) => {}
        }
        let mut line = |name: &str, text: &str| lines.push(format!("{name:9} {text}"));
        if let Some(target) = &self.target {
            line("path", target);
        }
        match self.host.as_deref() {
            Some("upstream") => line("host", "the endpoint's own"),
            Some(host) => line("host", host),
            None => {}
        }
        self.headers.iter().for_each(|edits| line("headers", edits));
        self.faults.iter().for_each(|fault| line("faults", fault));
        if let Some(why) = &self.refused {
            line("refused", why);
        }
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderName, Method, StatusCode};

    use super::super::{PathRewrite, Template, Word};
    use super::*;
    use crate::ids::UpstreamIdx;
    use crate::plan::{Delay, Edit, Fault, Respond};
    use crate::route::RouteMatch;
    use crate::snapshot::Snapshot;
    use crate::standing::Dial;

    fn told(actions: Actions, target: &str) -> String {
        let route = Route {
            actions: Some(Arc::new(actions)),
            ..Route::new("all", RouteMatch::default(), UpstreamIdx(0))
        };
        let request = Snapshot::new(Method::GET, "a.example", target);
        Acted::of(&route, &request).unwrap().to_string()
    }

    #[test]
    fn everything_is_told() {
        let actions = Actions {
            path: Some(PathRewrite::Prefix {
                matched: "/api".into(),
                to: "/v2".into(),
            }),
            host: Some(HostRewrite::Upstream),
            request: FieldEdits {
                remove: [HeaderName::from_static("cookie")].into(),
                set: [Edit {
                    name: HeaderName::from_static("x-real-ip"),
                    value: Template::parse("{client.address}", Word::named).unwrap(),
                }]
                .into(),
                append: Box::default(),
            },
            fault: Fault {
                delay: Some(Delay {
                    time: Duration::from_millis(200),
                    share: Dial::new(0.05),
                }),
                abort: None,
            },
            ..Actions::default()
        };
        assert_eq!(
            told(actions.clone(), "/api/x?q"),
            "path      /v2/x?q\nhost      the endpoint's own\n\
             headers   request: remove cookie; set x-real-ip\nfaults    5% wait 200ms"
        );
        assert!(
            told(actions, "/api/..")
                .ends_with("refused   the rewritten path would have a dot segment")
        );
        let respond = Reply::Respond(Respond {
            status: StatusCode::GONE,
            content_type: "text/plain".into(),
            body: (*b"").into(),
            fields: Box::default(),
        });
        let actions = Actions {
            reply: Some(respond),
            ..Actions::default()
        };
        assert_eq!(told(actions, "/"), "answers   410");
        let plain = Route::new("all", RouteMatch::default(), UpstreamIdx(0));
        let request = Snapshot::new(Method::GET, "a.example", "/");
        assert_eq!(Acted::of(&plain, &request), None);
    }
}
