//! What every request of one client's connection shares.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::rc::Rc;

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
    /// The client's address and port as text; made when it is first asked for.
    client: OnceCell<Box<str>>,
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
            client: OnceCell::new(),
            origin: LastOrigin::default(),
            facts,
        })
    }

    /// The client's address and port, for logs.
    pub(crate) fn client(&self) -> &str {
        self.client
            .get_or_init(|| self.facts.client.to_string().into())
    }
}
