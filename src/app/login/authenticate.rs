//! Asks a client to prove who it is, by `auth_type` and `auth_file`.

use super::refusals::Ended;
use crate::app::current::Current;
use crate::app::pooler::Pooler;
use crate::app::routes::Routes;
use crate::auth::{Account, Method, Secret, Terms, UnknownShape, Users};
use crate::fault::{Fault, Side};
use crate::net::Framed;
use crate::session::client_auth::{Proof, authenticate};
use crate::session::startup_request::StartupRequest;

/// `now`: what counted when the connection began, and encrypted it.
pub(in crate::app) async fn prove(
    pooler: &Pooler,
    now: &Current,
    framed: &mut Framed,
    startup: &StartupRequest,
) -> Result<Proof, Ended> {
    let method = now.config.auth.auth_type;
    let user = startup.user.as_bytes();
    let stored = now.users.as_ref().and_then(|users| users.secret(user));
    if method == Method::Trust && now.users.is_some() && stored.is_none() {
        let text = format!("role \"{}\" is not in auth_file", startup.user);
        let fault = Fault::session(Side::Client, "28000", text);
        return Err(Ended::Refused(fault.pgbouncer("\"trust\" authentication failed")));
    }
    let iterations = now.config.auth.scram_iterations.get();
    let derived = match stored {
        Some(secret) if method.derives_keys_from(secret) => {
            Routes::verifier(&pooler.routes, user, secret, (&pooler.mock, iterations)).await
        }
        Some(_) | None => None,
    };
    let derived = derived.map(Secret::Scram);
    let secret = derived.as_ref().or(stored);
    let binding = framed.stream().tls().and_then(|_| now.tls.end_point());
    let unknown = now.users.as_ref().map_or(UnknownShape::Scram, Users::unknown_shape);
    let terms = Terms { mock: &pooler.mock, iterations, binding, unknown };
    let mut proof = authenticate(framed, method, Account { user, secret }, &terms).await?;
    if derived.is_some() {
        // Keys for a verifier of our own open no server; the password does.
        proof.keys = None;
    }
    Ok(proof)
}

/// TLS version and cipher of a connection; empty when it is not encrypted.
pub(in crate::app) fn tls_of(framed: &mut Framed) -> String {
    framed.stream().tls_words().unwrap_or_default().into()
}
