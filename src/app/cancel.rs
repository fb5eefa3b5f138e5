//! Sends cancel requests of clients and of the console. Runs on the control thread.

use super::cancel_requests::{CancelRequest, Requester};
use super::pooler::Pooler;
use crate::backend::cancel::pass_cancel_on;
use crate::metrics::counted::{self, CancelOutcome};
use crate::session::client_handle::ClientHandle;
use crate::session::peers::{Owner, owner};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// Cancels what the client with this key runs, or hands the request to the process that has it.
pub(super) async fn by_key(pooler: &Pooler, key: &[u8], asker: Requester) {
    let clients = &pooler.common.clients;
    match owner(key, clients.peer_id()) {
        Owner::Here(key) => match clients.find(&key) {
            Some(handle) => deliver(pooler, &handle, asker).await,
            None => ignore("cancel request with an unknown key"),
        },
        Owner::Peer(number, key) => pass_on(pooler, number, &key).await,
        Owner::Nobody => ignore("cancel request with a key of nobody's"),
    }
}

fn ignore(why: &str) {
    counted::cancel_request(CancelOutcome::Unknown);
    tracing::debug!("{why}");
}

/// Hands a cancel request to the process whose client it names, and waits until it has arrived.
async fn pass_on(pooler: &Pooler, number: u16, key: &[u8]) {
    let now = pooler.current();
    let Some(peer) = now.config.peers.get(&number) else {
        tracing::debug!("cancel request for the unknown peer {number}");
        return;
    };
    let _passing = pooler.cancels.begin_passing(number);
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
pub(super) async fn deliver(pooler: &Pooler, handle: &Arc<ClientHandle>, asker: Requester) {
    let now = pooler.current();
    let limit = now.config.timeouts.cancel_wait_timeout.unwrap_or(Duration::MAX);
    // A session that is suspended decides later, or never.
    let Ok(Some(request)) = timeout(limit, handle.cancel()).await else { return };
    let entry = CancelRequest {
        id: asker.id,
        carrier: pooler.common.clients.next_id(),
        asker: asker.ends,
        tls: asker.tls,
        client: Arc::clone(handle),
        since: SystemTime::now(),
        carried: None,
    };
    let listed = pooler.cancels.begin(entry);
    let delivery = async {
        let stream = request.dial(&now.context.resolver, &now.context.tcp).await?;
        listed.set_carrier(stream.endpoints());
        request.send(stream).await
    };
    match timeout(limit, delivery).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(client = handle.id, "cancel request failed: {error}"),
        Err(_) => tracing::warn!(client = handle.id, "cancel request failed: cancel_wait_timeout"),
    }
}
