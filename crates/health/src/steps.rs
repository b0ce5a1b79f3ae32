//! The steps of a synthetic transaction, and what they hand on to each other.

use std::sync::Arc;

use http::HeaderName;
use tidegate_core::plan::{HttpProbe, UpstreamProtocol};

use crate::answer::Answer;
use crate::error::ProbeError;
use crate::request::{Parts, Request};
use crate::template::{Manner, Template, Values};
use crate::{expect, extract};

/// One step: a request with places for values of earlier answers.
pub(crate) struct Step {
    probe: HttpProbe,
    path: Template,
    fields: Box<[(HeaderName, Template)]>,
    body: Option<Template>,
}

impl Step {
    pub(crate) fn new(probe: &HttpProbe) -> Self {
        let field = |(name, value): &(HeaderName, Arc<str>)| (name.clone(), Template::parse(value));
        Self {
            path: Template::parse(&probe.path),
            fields: probe.headers.iter().map(field).collect(),
            body: probe.body.as_deref().map(Template::parse),
            probe: probe.clone(),
        }
    }

    /// The request to `host`, or the one that the step names.
    ///
    /// # Errors
    /// When a value is missing, or something cannot be sent.
    pub(crate) fn request(
        &self,
        scheme: &'static str,
        host: &str,
        protocol: UpstreamProtocol,
        values: &Values,
    ) -> Result<Request, ProbeError> {
        let field = |(name, value): &'_ (HeaderName, Template)| {
            let value = value.fill(values, Manner::Plain)?.into_owned();
            Ok::<_, ProbeError>((name.clone(), value))
        };
        let fields: Vec<(HeaderName, String)> =
            self.fields.iter().map(field).collect::<Result<_, _>>()?;
        let body = self.body.as_ref();
        let body = body
            .map(|body| body.fill(values, Manner::Plain))
            .transpose()?;
        let parts = Parts {
            path: self.path.fill(values, Manner::Encoded)?,
            fields: fields
                .iter()
                .map(|(name, value)| (name, value.into()))
                .collect(),
            body,
            ..Parts::of(
                &self.probe,
                scheme,
                self.probe.host.as_deref().unwrap_or(host),
            )
        };
        Request::new(&parts, protocol)
    }

    /// Compares `answer` with what is expected, and takes from it what later steps use.
    ///
    /// # Errors
    /// What is otherwise, or missing.
    pub(crate) fn enter(&self, answer: &Answer, values: &mut Values) -> Result<(), ProbeError> {
        expect::meets(&self.probe, answer)?;
        let found = extract::values(&self.probe.extract, answer)?;
        for (extract, value) in self.probe.extract.iter().zip(found) {
            values.set(extract.name.clone(), value);
        }
        Ok(())
    }
}
