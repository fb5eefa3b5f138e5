//! Cancel requests on their way, from clients and from the console. Run on the control thread.

use super::door::Door;
use crate::net::Endpoints;
use crate::session::card::Card;
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
pub(super) struct Cancels(RefCell<Slab<Underway>>);

impl Cancels {
    /// All of them.
    pub(super) fn list(&self) -> Vec<Underway> {
        self.0.borrow().iter().map(|(_, one)| one.clone()).collect()
    }
}

/// A request's entry, as long as it is on its way.
struct Entry<'a> {
    all: &'a Cancels,
    place: usize,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        drop(self.all.0.borrow_mut().remove(self.place));
    }
}

/// Cancels what the client with this key runs.
pub(super) async fn by_key(door: &Door, key: &[u8], asker: Asker) {
    match door.common.clients.find(key) {
        Some(card) => deliver(door, &card, asker).await,
        None => tracing::debug!("cancel request with an unknown key"),
    }
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
    let place = door.cancels.0.borrow_mut().insert(entry);
    let entry = Entry { all: &door.cancels, place };
    let now = door.now();
    let limit = now.config.timeouts.cancel_wait_timeout.unwrap_or(Duration::MAX);
    let delivery = async {
        let stream = request.dial(&now.context.resolver, &now.context.tcp).await?;
        if let Some(one) = door.cancels.0.borrow_mut().get_mut(entry.place) {
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
