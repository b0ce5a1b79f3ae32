//! What every request of one client's connection shares.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::rc::Rc;

use tidegate_telemetry::access::{ConnectionWords, TlsRecord};

use crate::facts::ConnectionFacts;
use crate::forward::ClientWords;
use crate::listener::ListenerContext;
use crate::origin::LastOrigin;
use crate::worker::Worker;

/// One per connection.
pub(crate) struct Context {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<ListenerContext>,
    pub(crate) facts: ConnectionFacts,
    /// What upstreams are told of the client.
    pub(crate) words: ClientWords,
    /// What the access log says of the connection; made when it is first asked for.
    log_words: OnceCell<ConnectionWords>,
    /// Where its clients are.
    pub(crate) origin: LastOrigin,
}

impl Context {
    /// The context of a connection with these facts.
    pub(crate) fn new(
        worker: Rc<Worker>,
        listener: Rc<ListenerContext>,
        facts: ConnectionFacts,
    ) -> Rc<Self> {
        let ip: IpAddr = facts.client.ip();
        let words = ClientWords::new(ip, facts.scheme(), facts.trusted);
        Rc::new(Self {
            worker,
            listener,
            words,
            log_words: OnceCell::new(),
            origin: LastOrigin::default(),
            facts,
        })
    }

    /// What every line of the access log says of the connection.
    pub(crate) fn log_words(&self) -> &ConnectionWords {
        self.log_words.get_or_init(|| {
            let facts = &self.facts;
            let tls = facts.tls.as_ref().map(|tls| TlsRecord {
                sni: tls.sni.as_deref(),
                alpn: tls.alpn,
                version: tls.version,
            });
            ConnectionWords::new(facts.client, &facts.listener, tls)
        })
    }
}
