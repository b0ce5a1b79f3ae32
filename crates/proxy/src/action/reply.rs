//! Answers that a route gives by itself: redirects and fixed replies. Nothing is attempted for them, and
//! their requests' bodies are not read. A call of gRPC is told of them by the code that stands for their
//! status, because its client cannot read anything else.

use std::fmt::Write as _;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tidegate_core::Termination;
use tidegate_core::plan::{Redirect, Reply, Respond};
use tidegate_core::route::RequestFacts;

use super::fields::Words;
use super::refusal;
use crate::answer::{Answer, AnswerHead, AnswerWords};
use crate::context::Context;
use crate::download::Download;
use crate::finish::Finish;
use crate::forward::Sink;
use crate::grpc::{CallEnd, Dialect};
use crate::held::HeldRoute;
use crate::keys::Parts;
use crate::problem::Refusal;
use crate::request_id::RequestId;

/// What a route answers to one request.
pub(crate) struct Replied {
    route: Rc<HeldRoute>,
    termination: Termination,
    status: StatusCode,
    location: Option<String>,
    body: Bytes,
    dialect: Option<Dialect>,
}

/// The fields of an answer that a route gives.
pub(crate) struct ReplyHead {
    fields: Box<[(HeaderName, HeaderValue)]>,
}

impl ReplyHead {
    /// Writes them.
    pub(crate) fn write(&self, sink: &mut impl Sink) {
        for (name, value) in &self.fields {
            sink.add_typed(name, value);
        }
    }
}

impl Replied {
    /// What `route` answers. None if it sends its requests on.
    ///
    /// # Errors
    /// There is no address to send the client to, or the client would take the answer for a tunnel.
    pub(crate) fn of(
        route: &Rc<HeldRoute>,
        parts: &Parts<'_>,
        dialect: Option<Dialect>,
    ) -> Result<Option<Self>, Refusal> {
        let actions = route.route.actions.as_ref();
        let Some(reply) = actions.and_then(|actions| actions.reply.as_ref()) else {
            return Ok(None);
        };
        let replied = |termination, status| Self {
            route: route.clone(),
            termination,
            status,
            location: None,
            body: Bytes::new(),
            dialect,
        };
        Ok(Some(match reply {
            Reply::Redirect(redirect) => Self {
                location: Some(location(redirect, route, parts)?),
                ..replied(Termination::Redirected, redirect.status)
            },
            Reply::Respond(respond) if is_taken_for_tunnel(parts, respond.status) => {
                let detail = "the route answers by itself, and there is nothing to connect to";
                return Err(Refusal::new(
                    Termination::BadRequest,
                    Some(detail.to_owned()),
                ));
            }
            Reply::Respond(respond) => Self {
                body: Bytes::from_owner(respond.body.clone()),
                ..replied(Termination::Responded, respond.status)
            },
        }))
    }

    fn respond(&self) -> Option<&Respond> {
        match &self.route.route.actions.as_ref()?.reply {
            Some(Reply::Respond(respond)) => Some(respond),
            _ => None,
        }
    }

    fn head(&self, words: &Words<'_>) -> ReplyHead {
        let location = self.location.as_ref();
        let location = location.and_then(|to| HeaderValue::from_str(to).ok());
        let respond = self.respond();
        let typed = respond.filter(|respond| !respond.body.is_empty());
        let content = typed.and_then(|respond| HeaderValue::from_str(&respond.content_type).ok());
        let own = [
            (header::LOCATION, location),
            (header::CONTENT_TYPE, content),
        ];
        let own = own
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let listed = words.fill(respond.into_iter().flat_map(|respond| &respond.fields));
        // What is listed goes before what is ours.
        let own = own.filter(|(name, _)| !listed.iter().any(|(listed, _)| listed == name));
        ReplyHead {
            fields: own.chain(listed.iter().cloned()).collect(),
        }
    }

    /// The same for a call of gRPC.
    fn call_end(&self) -> CallEnd {
        let mut words = format!("{}: {}", self.termination.as_str(), self.status.as_u16());
        if let Some(location) = &self.location {
            let _infallible = write!(words, " {location}");
        }
        CallEnd::of_status(self.status, &words)
    }
}

/// Whether the answer says to who asked that a tunnel is open (RFC 8441 section 5, RFC 9110 section 9.3.6).
fn is_taken_for_tunnel(parts: &Parts<'_>, status: StatusCode) -> bool {
    *parts.method() == Method::CONNECT && status.is_success()
}

fn location(redirect: &Redirect, route: &HeldRoute, parts: &Parts<'_>) -> Result<String, Refusal> {
    let captured = route.route.matches.captures(parts.path());
    redirect.location(parts, &captured).map_err(refusal)
}

/// The answer itself.
pub(crate) fn answer(
    context: &Context,
    parts: &Parts<'_>,
    id: RequestId,
    mut finish: Box<Finish>,
    replied: &Replied,
) -> Box<Answer> {
    let words = Words {
        context,
        head: parts.head,
        id: &id,
        route: &replied.route,
        upstream: None,
        region: None,
    };
    let (status, head, body) = match replied.dialect {
        None => {
            let head = AnswerHead::Reply(replied.head(&words));
            (replied.status, head, Download::full(replied.body.clone()))
        }
        Some(dialect) => {
            let head = AnswerHead::Local {
                content_type: dialect.content_type(),
                retry_after: None,
                call: Some(Box::new(replied.call_end())),
            };
            (StatusCode::OK, head, Download::empty())
        }
    };
    let edits = words.of_answer();
    finish.takes(&replied.route);
    finish.sample(context, parts.head);
    finish.failed(replied.termination);
    finish.answered_locally(status);
    Box::new(Answer {
        status,
        head,
        body,
        tunnel: None,
        words: AnswerWords {
            pop: replied.route.pop.clone(),
            region: None,
            attempts: None,
            server_timing: None,
            set_cookie: None,
            edits,
            request_id: id,
        },
        finish,
    })
}
