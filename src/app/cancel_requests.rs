//! Cancel requests on their way: who asks, for whom, since when. Belongs to the control thread.

use crate::net::Endpoints;
use crate::session::client_handle::ClientHandle;
use slab::Slab;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::SystemTime;

/// The connection that asks for a cancel request.
pub(super) struct Requester {
    /// The number of its connection.
    pub id: u64,
    /// Both ends of it.
    pub ends: Endpoints,
    /// TLS version and cipher, if it is encrypted.
    pub tls: Option<Box<str>>,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct CancelRequest {
    /// The number of the connection that asks.
    pub id: u64,
    /// The number of the connection that carries it to the server.
    pub carrier: u64,
    /// Both ends of the connection that asks.
    pub asker: Endpoints,
    /// Its TLS version and cipher.
    pub tls: Option<Box<str>>,
    /// Whose statement is to be cancelled.
    pub client: Arc<ClientHandle>,
    /// Since when.
    pub since: SystemTime,
    /// The connection that carries it, once there is one: PostgreSQL's answer is awaited.
    pub carried: Option<Endpoints>,
}

/// All requests on their way.
#[derive(Debug, Default)]
pub(super) struct CancelRequests {
    own: RefCell<Slab<CancelRequest>>,
    /// The peers that are handed one at this moment.
    passed_on: RefCell<Vec<u16>>,
}

impl CancelRequests {
    /// All of them.
    pub(super) fn list(&self) -> Vec<CancelRequest> {
        self.own.borrow().iter().map(|(_, one)| one.clone()).collect()
    }

    /// The peer of each request that is being passed on.
    pub(super) fn passed_on(&self) -> Vec<u16> {
        self.passed_on.borrow().clone()
    }

    /// Lists a request for as long as what is returned lives.
    pub(super) fn begin(&self, request: CancelRequest) -> Listed<'_> {
        Listed { all: self, place: self.own.borrow_mut().insert(request) }
    }

    /// Lists a request that is passed on to this peer, for as long as what is returned lives.
    pub(super) fn begin_passing(&self, peer: u16) -> Passing<'_> {
        Passing::begin(&self.passed_on, peer)
    }
}

/// A request's entry, as long as it is on its way.
pub(super) struct Listed<'a> {
    all: &'a CancelRequests,
    place: usize,
}

impl Listed<'_> {
    /// The connection that carries it to the server is there.
    pub(super) fn set_carrier(&self, ends: Endpoints) {
        if let Some(one) = self.all.own.borrow_mut().get_mut(self.place) {
            one.carried = Some(ends);
        }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        drop(self.all.own.borrow_mut().remove(self.place));
    }
}

/// A request that is being passed on, as long as it is.
pub(super) struct Passing<'a>(&'a RefCell<Vec<u16>>, u16);

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
