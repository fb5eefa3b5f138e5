//! Where a PostgreSQL server listens.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// The host part of an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeHost {
    /// An address.
    Ip(IpAddr),
    /// A name, resolved again after `dns_max_ttl`.
    Name(String),
    /// The directory of a Unix socket; the socket is `.s.PGSQL.<port>` in it.
    SocketDir(PathBuf),
}

impl fmt::Display for NodeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::SocketDir(path) => path.display().fmt(f),
        }
    }
}

/// One PostgreSQL instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeAddress {
    /// Its host or socket directory.
    pub host: NodeHost,
    /// Its port, also part of the socket's file name.
    pub port: u16,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            NodeHost::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            host @ (NodeHost::Ip(IpAddr::V4(_)) | NodeHost::Name(_) | NodeHost::SocketDir(_)) => {
                write!(f, "{host}:{}", self.port)
            }
        }
    }
}
