//! Figures over HTTP, for Prometheus, for probes and for people.
//!
//! Runs on the control thread. Each connection has one request and little time, and there are few
//! connections. A client that asks too much gets no answer. Clients of databases are not affected.
//! Nothing can be changed here.

mod page;
mod scrape;

use super::limits::HTTP_CONNECTIONS_MAX;
use super::pooler::Pooler;
use crate::admin::CONTENT_TYPE;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Bytes and number of a request's headers.
const HEAD_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// Longest life of a connection, its answer included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause when no connection can be accepted.
const EXHAUSTED: Duration = Duration::from_millis(200);

type Answer = Response<Full<Bytes>>;

/// Opens the pooler for figures.
///
/// # Errors
/// What the system says.
pub(super) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let kind = socket2::Type::STREAM.nonblocking();
    let socket = socket2::Socket::new(domain, kind, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(HTTP_CONNECTIONS_MAX).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Serves until it is dropped.
pub(super) async fn serve(pooler: Rc<Pooler>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!("cannot accept an HTTP connection: {error}");
                tokio::time::sleep(EXHAUSTED).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!("too many HTTP connections: {peer} is turned away");
            continue;
        };
        let pooler = Rc::clone(&pooler);
        tokio::task::spawn_local(async move {
            converse(pooler, stream, peer).await;
            drop(place);
        });
    }
}

async fn converse(pooler: Rc<Pooler>, stream: TcpStream, peer: SocketAddr) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&pooler, &request, peer);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(PATIENCE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, "HTTP connection ended: {error}"),
        Err(_) => tracing::debug!(%peer, "HTTP connection ended: it took too long"),
    }
}

/// The answer to one request. Bodies are not read.
fn answer(pooler: &Pooler, request: &Request<Incoming>, peer: SocketAddr) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let path = request.uri().path();
    // Probes learn nothing that a connection to the pooler would not tell them.
    match path {
        "/live" => return text(StatusCode::OK, "alive\n"),
        "/ready" => {
            return match unready(pooler) {
                None => text(StatusCode::OK, "ready\n"),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            };
        }
        _ => {}
    }
    // The page has no figures in it; its script asks for them, with the token.
    if let Some((_, kind, file)) = page::FILES.iter().find(|(name, ..)| *name == path) {
        let mut answer = with_type(text(StatusCode::OK, *file), kind);
        let policy = HeaderValue::from_static(page::POLICY);
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        return answer;
    }
    if let Some(refused) = refusal(pooler, request, peer) {
        return refused;
    }
    match path {
        "/metrics" => figures(scrape::metrics(pooler), CONTENT_TYPE),
        "/data.json" => figures(page::data(pooler, unready(pooler)), "application/json"),
        _ => text(StatusCode::NOT_FOUND, "not found: there are /, /metrics, /live and /ready\n"),
    }
}

/// Figures, if they could be written.
fn figures(
    written: Result<impl Into<Bytes>, impl std::fmt::Display>,
    kind: &'static str,
) -> Answer {
    match written {
        Ok(figures) => with_type(text(StatusCode::OK, figures), kind),
        Err(error) => {
            tracing::error!("figures cannot be written: {error}");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the figures cannot be written\n")
        }
    }
}

/// Why clients had better go elsewhere.
fn unready(pooler: &Pooler) -> Option<&'static str> {
    if pooler.is_shutting_down.get() {
        Some("shutting down")
    } else if pooler.routes.borrow().paused().all {
        Some("paused")
    } else {
        None
    }
}

/// The answer to a client that may not see figures.
fn refusal(pooler: &Pooler, request: &Request<Incoming>, peer: SocketAddr) -> Option<Answer> {
    let now = pooler.current();
    let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let Some(token) = &now.config.http.token_file else {
        // A web page that the operator looks at may have its own name resolve to this address: its
        // requests carry that name.
        if header(header::HOST).is_none_or(is_loopback) {
            return None;
        }
        let said = "ask by a loopback address or localhost, or set [http] token_file\n";
        return Some(text(StatusCode::FORBIDDEN, said));
    };
    let digest = |bytes: &[u8]| Sha256::digest(bytes);
    let given = header(header::AUTHORIZATION).and_then(bearer).map(digest);
    let right = digest(token.contents().trim_ascii());
    if given.is_some_and(|given| bool::from(given.ct_eq(&right))) {
        return None;
    }
    if given.is_some() {
        tracing::warn!(%peer, "HTTP request with a wrong token");
    }
    let said = "the token of [http] token_file is needed: Authorization: Bearer TOKEN\n";
    let mut refused = text(StatusCode::UNAUTHORIZED, said);
    let ask = HeaderValue::from_static("Bearer realm=\"howdah\"");
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
    Some(refused)
}

/// The token of an Authorization header.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Whether a Host header names this machine as only this machine does.
fn is_loopback(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    ip.map_or_else(|_| name.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback())
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    with_type(answer, "text/plain; charset=utf-8")
}

fn with_type(mut answer: Answer, kind: &'static str) -> Answer {
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_only_this_machine_has() {
        for host in
            ["localhost", "LocalHost:9930", "127.0.0.1:9930", "[::1]:80", "127.0.0.2", "[::1]"]
        {
            assert!(is_loopback(host.as_bytes()), "{host}");
        }
        for host in
            ["example.com", "localhost.example.com:9930", "10.0.0.1", "", "127.0.0.1:x", "\u{fffd}"]
        {
            assert!(!is_loopback(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn tokens_of_headers() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"Bear"), None);
    }
}
