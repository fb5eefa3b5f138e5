//! A connection's first packets: encryption, cancel, or a session.
//!
//! Runs before the client is known: everything is bounded and nothing is trusted. A connection that
//! opens and closes is not logged.

use super::startup_request::{StartupRequest, read_startup_request};
use crate::fault::{Fault, Side};
use crate::net::{ClientTls, DIRECT_TLS_BYTE, FrameError, Framed, Socket, Stream, handshake};
use crate::wire::{self, First, MalformedStartup, server};

/// Packets that may come before the one that counts: SSLRequest and GSSENCRequest.
const PRELUDES: usize = 2;

/// What a connection turned out to be.
#[derive(Debug)]
pub enum FirstPacket {
    /// Opened and closed: a health check.
    Nothing,
    /// A request to cancel the query of the client with this key. The connection is to be closed
    /// when the request has been delivered: clients wait for that.
    Cancel(Framed, Vec<u8>),
    /// A session.
    Session(Framed, StartupRequest),
    /// It cannot go on; it is told why.
    Refused(Framed, Fault),
}

/// Reads a connection up to its startup packet. Not cancel safe: drop the connection with it. The
/// caller sets the deadline.
pub async fn read_first_packet(stream: Stream, tls: &ClientTls, ignored: &[String]) -> FirstPacket {
    let mut framed = Framed::new(stream);
    match read_request(&mut framed, tls, ignored).await {
        Ok(Request::Cancel(key)) => FirstPacket::Cancel(framed, key),
        Ok(Request::Startup(startup)) => FirstPacket::Session(framed, startup),
        Err(Ended::Obsolete(text)) => {
            // As PostgreSQL answers clients older than 7.4: a text without a length.
            let told = [b"EFATAL:  ", text.as_bytes(), b"\n\0"].concat();
            drop(framed.send(&told).await);
            FirstPacket::Nothing
        }
        Err(Ended::Silent(reason)) => {
            tracing::debug!("connection ended before its startup packet: {reason}");
            FirstPacket::Nothing
        }
        Err(Ended::Refused(fault)) => FirstPacket::Refused(framed, fault),
    }
}

enum Request {
    Cancel(Vec<u8>),
    Startup(StartupRequest),
}

enum Ended {
    Obsolete(String),
    Silent(String),
    Refused(Fault),
}

impl From<FrameError> for Ended {
    fn from(error: FrameError) -> Self {
        Self::Silent(error.to_string())
    }
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        Self::Silent(error.to_string())
    }
}

impl From<MalformedStartup> for Ended {
    fn from(error: MalformedStartup) -> Self {
        let code = match error {
            // Somebody who does not speak the protocol would not understand an answer either.
            MalformedStartup::Length => return Self::Silent(error.to_string()),
            MalformedStartup::Version { major: ..3, .. } => {
                return Self::Obsolete(error.to_string());
            }
            MalformedStartup::Version { .. } => "0A000",
            MalformedStartup::Layout => "08P01",
        };
        let fault = Fault::session(Side::Client, code, error.to_string());
        Self::Refused(match error {
            MalformedStartup::Layout => {
                fault.pgbouncer("invalid startup packet layout: expected terminator as last byte")
            }
            MalformedStartup::Length | MalformedStartup::Version { .. } => fault,
        })
    }
}

async fn read_request(
    framed: &mut Framed,
    tls: &ClientTls,
    ignored: &[String],
) -> Result<Request, Ended> {
    let (mut ssl_asked, mut gss_asked) = (false, false);
    for _ in 0..=PRELUDES {
        let start = framed.peek(1).await?;
        if start.first() == Some(&DIRECT_TLS_BYTE) && !ssl_asked && tls.is_offered() {
            let begun = framed.consume(usize::MAX);
            direct(framed, tls, begun).await?;
            ssl_asked = true;
            continue;
        }
        let packet = packet(framed).await?;
        match wire::first(&packet)? {
            First::Ssl if !ssl_asked => {
                ssl_asked = true;
                encrypt(framed, tls).await?;
            }
            First::Gss if !gss_asked && framed.stream().tls().is_none() => {
                gss_asked = true;
                nothing_follows(framed, "GSSAPI encryption")?;
                framed.send(b"N").await?;
            }
            First::Ssl | First::Gss => {
                return Err(MalformedStartup::Version { major: 1234, minor: 5679 }.into());
            }
            First::Cancel(key) => return Ok(Request::Cancel(key.to_vec())),
            First::Startup { minor, parameters } => {
                let startup = read_startup_request(parameters, ignored).map_err(Ended::Refused)?;
                require_encryption(framed, tls)?;
                negotiate(framed, minor, &startup).await?;
                return Ok(Request::Startup(startup));
            }
        }
    }
    Err(MalformedStartup::Layout.into())
}

async fn packet(framed: &mut Framed) -> Result<Vec<u8>, Ended> {
    let length = wire::startup_length(framed.peek(4).await?)?;
    let length = length.ok_or(MalformedStartup::Length)?;
    framed.peek(length).await?;
    Ok(framed.consume(length))
}

/// Bytes that came with the request were not encrypted: somebody in the middle may have put them
/// there (CVE-2021-23214).
fn nothing_follows(framed: &Framed, request: &str) -> Result<(), Ended> {
    if framed.has_more() {
        return Err(Ended::Refused(Fault::protocol(format!(
            "received unencrypted data after {request} request"
        ))));
    }
    Ok(())
}

async fn encrypt(framed: &mut Framed, tls: &ClientTls) -> Result<(), Ended> {
    let unix = matches!(framed.stream().socket(), Some(Socket::Unix(_)));
    if !tls.is_offered() || unix {
        framed.send(b"N").await?;
        return Ok(());
    }
    nothing_follows(framed, "SSL")?;
    framed.send(b"S").await?;
    let connection = tls.connection().map_err(|error| Ended::Silent(error.to_string()))?;
    framed.stream().start_tls(connection);
    handshake(framed.stream()).await?;
    Ok(())
}

async fn direct(framed: &mut Framed, tls: &ClientTls, begun: Vec<u8>) -> Result<(), Ended> {
    let silent = |error: crate::net::TlsError| Ended::Silent(error.to_string());
    let connection = tls.connection().map_err(silent)?;
    framed.stream().start_direct_tls(connection, begun);
    handshake(framed.stream()).await?;
    ClientTls::check_direct(framed.stream()).map_err(silent)
}

fn require_encryption(framed: &mut Framed, tls: &ClientTls) -> Result<(), Ended> {
    let unix = matches!(framed.stream().socket(), Some(Socket::Unix(_)));
    if tls.is_required() && framed.stream().tls().is_none() && !unix {
        return Err(Ended::Refused(
            Fault::session(Side::Client, "28000", "SSL connection is required")
                .hint("Connect with sslmode=require.")
                .pgbouncer("SSL required"),
        ));
    }
    Ok(())
}

/// Newer minor versions and protocol options are turned down politely (manual, "Start-up").
async fn negotiate(framed: &mut Framed, minor: u16, startup: &StartupRequest) -> Result<(), Ended> {
    if minor == 0 && startup.unknown_options.is_empty() {
        return Ok(());
    }
    let mut out = Vec::new();
    let unknown: Vec<&[u8]> = startup.unknown_options.iter().map(Vec::as_slice).collect();
    server::negotiate(&mut out, &unknown);
    framed.send(&out).await?;
    Ok(())
}
