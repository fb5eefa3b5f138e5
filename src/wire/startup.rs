//! The first packet of a connection, which has a length but no tag.

use super::cstring;
use thiserror::Error;

/// Bytes that a startup packet may have, as in PostgreSQL (`MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_MAX: usize = 10_000;
/// Bytes of a cancel request's key at most (protocol 3.2 allows 256).
pub const CANCEL_BODY_MAX: usize = 256;

const PROTOCOL_MAJOR: u16 = 3;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// Why a first packet cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MalformedStartup {
    /// The length is below eight or above [`STARTUP_MAX`].
    #[error("invalid length of startup packet")]
    Length,
    /// A string is not terminated, or bytes follow the final terminator.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// A major version other than 3.
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0")]
    Version {
        /// The major version asked for.
        major: u16,
        /// The minor version asked for.
        minor: u16,
    },
}

/// What a client wants with its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First<'a> {
    /// TLS, please.
    Ssl,
    /// GSSAPI encryption, please.
    Gss,
    /// Cancel the query of the session with this key (process id and secret).
    Cancel(&'a [u8]),
    /// A session.
    Startup {
        /// The minor protocol version asked for.
        minor: u16,
        /// The parameters.
        parameters: StartupParameters<'a>,
    },
}

/// Name and value pairs of a startup packet, in order, duplicates included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartupParameters<'a>(&'a [u8]);

impl<'a> Iterator for StartupParameters<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = cstring(self.0)?;
        if name.is_empty() {
            return None;
        }
        let (value, rest) = cstring(rest)?;
        self.0 = rest;
        Some((name, value))
    }
}

/// Bytes in the whole first packet at the start of `bytes`; `None` when fewer than four are there.
///
/// # Errors
/// When the announced length is out of bounds: checked before anything is read or allocated.
pub fn startup_length(bytes: &[u8]) -> Result<Option<usize>, MalformedStartup> {
    let Some((length, _)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    match usize::try_from(u32::from_be_bytes(*length)) {
        Ok(n) if (8..=STARTUP_MAX).contains(&n) => Ok(Some(n)),
        Ok(_) | Err(_) => Err(MalformedStartup::Length),
    }
}

/// Opens a whole first packet, its length included.
///
/// # Errors
/// When its layout or its version is not one we speak.
pub fn first(packet: &[u8]) -> Result<First<'_>, MalformedStartup> {
    let (code, body) =
        packet.get(4..).and_then(<[u8]>::split_first_chunk::<4>).ok_or(MalformedStartup::Length)?;
    let code = u32::from_be_bytes(*code);
    match code {
        SSL_REQUEST if body.is_empty() => return Ok(First::Ssl),
        GSSENC_REQUEST if body.is_empty() => return Ok(First::Gss),
        CANCEL_REQUEST if (8..=CANCEL_BODY_MAX).contains(&body.len()) => {
            return Ok(First::Cancel(body));
        }
        CANCEL_REQUEST => return Err(MalformedStartup::Length),
        _ => {}
    }
    let [a, b, c, d] = code.to_be_bytes();
    let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if major != PROTOCOL_MAJOR {
        return Err(MalformedStartup::Version { major, minor });
    }
    let parameters = StartupParameters(body);
    let used = parameters.fold(0usize, |sum, (name, value)| {
        sum.saturating_add(name.len()).saturating_add(value.len()).saturating_add(2)
    });
    if body.get(used..) != Some(&[0]) {
        return Err(MalformedStartup::Layout);
    }
    Ok(First::Startup { minor, parameters })
}

fn untagged(out: &mut Vec<u8>, code: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&code.to_be_bytes());
    body(out);
    let length = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(start..start.saturating_add(4)) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends SSLRequest.
pub fn ssl_request(out: &mut Vec<u8>) {
    untagged(out, SSL_REQUEST, |_| {});
}

/// Appends CancelRequest with a server's process id and key.
pub fn cancel_request(out: &mut Vec<u8>, key: &[u8]) {
    untagged(out, CANCEL_REQUEST, |out| out.extend_from_slice(key));
}

/// Appends StartupMessage for protocol 3.0.
pub fn startup_message<'a>(
    out: &mut Vec<u8>,
    parameters: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) {
    untagged(out, u32::from(PROTOCOL_MAJOR) << 16, |out| {
        for (name, value) in parameters {
            out.extend_from_slice(name);
            out.push(0);
            out.extend_from_slice(value);
            out.push(0);
        }
        out.push(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        untagged(&mut out, code, |out| out.extend_from_slice(body));
        out
    }

    #[test]
    fn a_startup_is_read_back() {
        let mut out = Vec::new();
        startup_message(&mut out, [(&b"user"[..], &b"bob"[..]), (b"database", b"")].into_iter());
        let First::Startup { minor, parameters } = first(&out).unwrap() else { panic!() };
        assert_eq!(minor, 0);
        let seen: Vec<_> = parameters.collect();
        assert_eq!(seen, [(&b"user"[..], &b"bob"[..]), (b"database", b"")]);
    }

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(first(&packet(SSL_REQUEST, b"")), Ok(First::Ssl));
        assert_eq!(first(&packet(GSSENC_REQUEST, b"")), Ok(First::Gss));
        assert_eq!(first(&packet(CANCEL_REQUEST, b"12345678")), Ok(First::Cancel(b"12345678")));
    }

    #[test]
    fn a_missing_or_surplus_terminator_is_refused() {
        for body in [&b"user\0bob\0"[..], b"user\0bob", b"user\0bob\0\0x", b""] {
            assert_eq!(first(&packet(3 << 16, body)), Err(MalformedStartup::Layout), "{body:?}");
        }
    }

    #[test]
    fn other_versions_are_refused() {
        assert_eq!(
            first(&packet(2 << 16, b"")),
            Err(MalformedStartup::Version { major: 2, minor: 0 })
        );
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!(startup_length(&[0, 0, 0]), Ok(None));
        for length in [0u32, 7, 10_001, u32::MAX] {
            assert_eq!(startup_length(&length.to_be_bytes()), Err(MalformedStartup::Length));
        }
    }

    proptest! {
        #[test]
        fn first_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            drop((startup_length(&bytes), first(&bytes)));
        }
    }
}
