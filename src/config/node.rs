//! One entry of `nodes`.

use super::address::{DEFAULT_PORT, NodeAddress, ReadNode};
use super::tree::{Entry, Given};
use crate::cluster::roles::FixedRole;
use crate::word::Word;
use std::fmt;

/// Largest weight of a node.
pub(super) const WEIGHT_MAX: u32 = 1_000;

/// One PostgreSQL instance, and its part in its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOptions {
    /// Where it is.
    pub address: NodeAddress,
    /// Whether its role is found out.
    pub role: FixedRole,
    /// Its share of the reads; 0 = none.
    pub weight: u32,
    /// Where it stands, as `[routing] zone` says where we do.
    pub zone: Option<String>,
}

impl From<NodeAddress> for NodeOptions {
    fn from(address: NodeAddress) -> Self {
        Self { address, role: FixedRole::Auto, weight: 1, zone: None }
    }
}

/// The address, and what is not the default.
impl fmt::Display for NodeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.role != FixedRole::Auto {
            write!(f, " role={}", self.role)?;
        }
        if self.weight != 1 {
            write!(f, " weight={}", self.weight)?;
        }
        self.zone.as_ref().map_or(Ok(()), |zone| write!(f, " zone={zone}"))
    }
}

/// A node written as `{ host = "…", port = …, role = "…", weight = …, zone = "…" }`.
pub(super) fn node_table(entries: &[Entry]) -> Result<NodeOptions, String> {
    let (mut host, mut port) = (None, DEFAULT_PORT);
    let (mut role, mut weight, mut zone) = (FixedRole::Auto, 1, None);
    for entry in entries {
        let expected = |what: String| {
            format!("{}: expected {what}, found {}", entry.name, entry.given.describe())
        };
        match entry.name.as_str() {
            "host" => {
                let text = entry.given.as_text().ok_or_else(|| expected("a text".to_owned()))?;
                host = Some(NodeAddress::parse_host(text)?);
            }
            "port" => {
                let number = number(&entry.given, 1, u32::from(u16::MAX));
                port = number
                    .and_then(|number| u16::try_from(number).ok())
                    .ok_or_else(|| expected("a number from 1 to 65535".to_owned()))?;
            }
            "role" => {
                role =
                    entry.given.as_text().and_then(FixedRole::from_word).ok_or_else(|| {
                        expected(format!("one of {}", FixedRole::WORDS.join(", ")))
                    })?;
            }
            "weight" => {
                weight = number(&entry.given, 0, WEIGHT_MAX)
                    .ok_or_else(|| expected(format!("a number from 0 to {WEIGHT_MAX}")))?;
            }
            "zone" => {
                let text = entry.given.as_text().filter(|text| !text.is_empty());
                zone =
                    Some(text.ok_or_else(|| expected("the name of a zone".to_owned()))?.to_owned());
            }
            name => {
                return Err(format!(
                    "unknown key {name:?} of a node; it has host, port, role, weight and zone"
                ));
            }
        }
    }
    let host = host.ok_or("a node needs a host: write { host = \"10.0.0.1\", port = 5432 }")?;
    Ok(NodeOptions { address: NodeAddress { host, port }, role, weight, zone })
}

fn number(given: &Given, min: u32, max: u32) -> Option<u32> {
    let Given::Integer(number) = given else { return None };
    u32::try_from(*number).ok().filter(|number| (min..=max).contains(number))
}
