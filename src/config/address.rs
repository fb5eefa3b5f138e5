//! Addresses: where clients are awaited and where nodes are.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// PostgreSQL's port.
pub const DEFAULT_PORT: u16 = 5432;

/// One entry of `listen_addr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `"*"`: every address of both families.
    Any,
    /// One address.
    Ip(IpAddr),
    /// A name to resolve at start.
    Name(String),
}

impl ListenAddress {
    /// Reads one entry of `listen_addr`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        if text.contains(':') {
            return Err(format!("{text:?} is not an address; the port goes into listen_port"));
        }
        host_name(text).map(Self::Name)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

pub use crate::net::{NodeAddress, NodeHost};

/// Reading of [`NodeAddress`].
pub(super) trait ReadNode: Sized {
    /// Reads "host", "host:port", "[::1]:port", "::1", "/socket/dir" or "/socket/dir:port".
    fn parse(text: &str) -> Result<Self, String>;
    /// Reads a host without a port.
    fn parse_host(text: &str) -> Result<NodeHost, String>;
}

impl ReadNode for NodeAddress {
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse() {
            return Ok(Self { host: NodeHost::Ip(ip), port: DEFAULT_PORT });
        }
        if let Some((host, port)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            let ip = host.parse().map_err(|_| format!("{host:?} is not an IPv6 address"))?;
            let port = match port.strip_prefix(':') {
                Some(port) => parse_port(port)?,
                None if port.is_empty() => DEFAULT_PORT,
                None => return Err(format!("{text:?} is not an address; write \"[{host}]:5432\"")),
            };
            return Ok(Self { host: NodeHost::Ip(ip), port });
        }
        match text.rsplit_once(':') {
            Some((host, port)) => {
                Ok(Self { host: Self::parse_host(host)?, port: parse_port(port)? })
            }
            None => Ok(Self { host: Self::parse_host(text)?, port: DEFAULT_PORT }),
        }
    }

    fn parse_host(text: &str) -> Result<NodeHost, String> {
        if text.starts_with('/') {
            return Ok(NodeHost::SocketDir(PathBuf::from(text)));
        }
        if let Ok(ip) = text.parse() {
            return Ok(NodeHost::Ip(ip));
        }
        if text.contains(':') {
            return Err(format!(
                "{text:?} is not an address; write an IPv6 address as \"[::1]:5432\""
            ));
        }
        host_name(text).map(NodeHost::Name)
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("{text:?} is not a port; expected a number from 1 to 65535"))
}

/// A name that may be resolved (RFC 1123, and underscores, which container networks use).
fn host_name(text: &str) -> Result<String, String> {
    if text.starts_with('@') {
        return Err(format!("{text:?}: abstract Unix sockets are not available in this version"));
    }
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let dotted_digits = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if text.is_empty() || text.len() > 253 || !text.chars().all(known) || dotted_digits {
        return Err(format!("{text:?} is neither an address nor a host name"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes() {
        for (text, shown) in [
            ("db", "db:5432"),
            ("db.example.org:6000", "db.example.org:6000"),
            ("10.0.0.1", "10.0.0.1:5432"),
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("::1", "[::1]:5432"),
            ("[::1]", "[::1]:5432"),
            ("[fe80::1]:77", "[fe80::1]:77"),
            ("/run/postgresql", "/run/postgresql:5432"),
            ("/run/postgresql:5433", "/run/postgresql:5433"),
        ] {
            assert_eq!(NodeAddress::parse(text).expect(text).to_string(), shown);
            assert_eq!(NodeAddress::parse(shown), NodeAddress::parse(text), "reads back");
        }
    }

    #[test]
    fn what_is_not_a_node() {
        for (text, message) in [
            ("", "\"\" is neither an address nor a host name"),
            ("db:0", "\"0\" is not a port; expected a number from 1 to 65535"),
            ("db:x", "\"x\" is not a port; expected a number from 1 to 65535"),
            ("db:", "\"\" is not a port; expected a number from 1 to 65535"),
            ("10.0.0.1000", "\"10.0.0.1000\" is neither an address nor a host name"),
            ("a b", "\"a b\" is neither an address nor a host name"),
            ("[x]:1", "\"x\" is not an IPv6 address"),
            ("[::1]x", "\"[::1]x\" is not an address; write \"[::1]:5432\""),
            ("a:b:1", "\"a:b\" is not an address; write an IPv6 address as \"[::1]:5432\""),
            ("@pg", "\"@pg\": abstract Unix sockets are not available in this version"),
        ] {
            assert_eq!(NodeAddress::parse(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn listen_addresses() {
        assert_eq!(ListenAddress::parse("*"), Ok(ListenAddress::Any));
        assert_eq!(ListenAddress::parse("localhost"), Ok(ListenAddress::Name("localhost".into())));
        for text in ["127.0.0.1", "::"] {
            assert_eq!(ListenAddress::parse(text).expect(text).to_string(), text);
        }
        assert_eq!(
            ListenAddress::parse("127.0.0.1:6432"),
            Err("\"127.0.0.1:6432\" is not an address; the port goes into listen_port".into())
        );
    }
}
