//! Cancel requests on their way, from clients and from the console. Run on the control thread.

use super::door::Door;
use crate::backend::cancel::pass_cancel_on;
use crate::net::Endpoints;
use crate::session::card::Card;
use crate::session::peers::{Owner, owner};
use slab::Slab;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// Who asks.
pub(super) struct Asker {
    /// The number of its connection.
    pub id: u64,
    /// Both ends of it.
    pub ends: Endpoints,
    /// TLS version and cipher, if it is encrypted.
    pub tls: Option<Box<str>>,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct Underway {
    /// The number of the connection that asks.
    pub id: u64,
    /// The number of the connection that carries it to the server.
    pub carrier: u64,
    /// Both ends of the connection that asks.
    pub asker: Endpoints,
    /// Its TLS version and cipher.
    pub tls: Option<Box<str>>,
    /// Whose statement is to be cancelled.
    pub client: Arc<Card>,
    /// Since when.
    pub since: SystemTime,
    /// The connection that carries it, once there is one: PostgreSQL's answer is awaited.
    pub carried: Option<Endpoints>,
}

/// All requests on their way.
#[derive(Debug, Default)]
pub(super) struct Cancels {
    own: RefCell<Slab<Underway>>,
    /// The peers that are handed one at this moment.
    passed_on: RefCell<Vec<u16>>,
}

impl Cancels {
    /// All of them.
    pub(super) fn list(&self) -> Vec<Underway> {
        self.own.borrow().iter().map(|(_, one)| one.clone()).collect()
    }

    /// The peer of each request that is being passed on.
    pub(super) fn passed_on(&self) -> Vec<u16> {
        self.passed_on.borrow().clone()
    }
}

/// A request's entry, as long as it is on its way.
struct Entry<'a> {
    all: &'a Cancels,
    place: usize,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        drop(self.all.own.borrow_mut().remove(self.place));
    }
}

/// Cancels what the client with this key runs, or hands the request to the process that has it.
pub(super) async fn by_key(door: &Door, key: &[u8], asker: Asker) {
    let clients = &door.common.clients;
    match owner(key, clients.peer_id()) {
        Owner::Here(key) => match clients.find(&key) {
            Some(card) => deliver(door, &card, asker).await,
            None => tracing::debug!("cancel request with an unknown key"),
        },
        Owner::Peer(number, key) => pass_on(door, number, &key).await,
        Owner::Nobody => tracing::debug!("cancel request with a key of nobody's"),
    }
}

/// A request that is being passed on, as long as it is.
struct Passing<'a>(&'a RefCell<Vec<u16>>, u16);

impl<'a> Passing<'a> {
    fn begin(all: &'a RefCell<Vec<u16>>, number: u16) -> Self {
        all.borrow_mut().push(number);
        Self(all, number)
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        let mut all = self.0.borrow_mut();
        if let Some(place) = all.iter().position(|number| *number == self.1) {
            all.swap_remove(place);
        }
    }
}

/// Hands a cancel request to the process whose client it names, and waits until it has arrived.
async fn pass_on(door: &Door, number: u16, key: &[u8]) {
    let now = door.now();
    let Some(peer) = now.config.peers.get(&number) else {
        tracing::debug!("cancel request for the unknown peer {number}");
        return;
    };
    let _passing = Passing::begin(&door.cancels.passed_on, number);
    let limit = now.config.timeouts.cancel_wait_timeout.unwrap_or(Duration::MAX);
    let passed = pass_cancel_on(peer, key, &now.context.resolver, &now.context.tcp);
    let reason = match timeout(limit, passed).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "cancel_wait_timeout".to_owned(),
    };
    tracing::warn!("cancel request for peer {number} at {peer} failed: {reason}");
}

/// Cancels what a client runs.
pub(super) async fn deliver(door: &Door, card: &Arc<Card>, asker: Asker) {
    let Some(request) = card.cancel() else { return };
    let entry = Underway {
        id: asker.id,
        carrier: door.common.clients.next_id(),
        asker: asker.ends,
        tls: asker.tls,
        client: Arc::clone(card),
        since: SystemTime::now(),
        carried: None,
    };
    let place = door.cancels.own.borrow_mut().insert(entry);
    let entry = Entry { all: &door.cancels, place };
    let now = door.now();
    let limit = now.config.timeouts.cancel_wait_timeout.unwrap_or(Duration::MAX);
    let delivery = async {
        let stream = request.dial(&now.context.resolver, &now.context.tcp).await?;
        if let Some(one) = door.cancels.own.borrow_mut().get_mut(entry.place) {
            one.carried = Some(stream.endpoints());
        }
        request.send(stream).await
    };
    match timeout(limit, delivery).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(client = card.id, "cancel request failed: {error}"),
        Err(_) => tracing::warn!(client = card.id, "cancel request failed: cancel_wait_timeout"),
    }
}
