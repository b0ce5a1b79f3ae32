//! What every request of one client's connection shares.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::facts::ConnectionFacts;
use crate::forward::ClientWords;
use crate::listener::ListenerContext;
use crate::worker::Worker;

/// One per connection.
pub(crate) struct Context {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<ListenerContext>,
    pub(crate) facts: ConnectionFacts,
    /// What upstreams are told of the client.
    pub(crate) words: ClientWords,
    /// The client's address as text, for the log.
    pub(crate) client: Arc<str>,
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
            client: ip.to_canonical().to_string().into(),
            facts,
        })
    }
}
