//! Rules that need more than one value: each error names the key to change.

use super::address::{ListenAddress, NodeAddress, NodeHost, ReadNode};
use super::build::WILDCARD;
use super::error::{Collector, Origin};
use super::keys::Section;
use super::node::NodeOptions;
use super::raw::{Raw, Scope};
use super::redirect::mistakes;
use super::value::Value;
use crate::cluster::roles::FixedRole;
use crate::routing::is_primary_builtin;
use std::net::SocketAddr;

/// PostgreSQL cuts names to this many bytes (NAMEDATALEN - 1).
const MAX_NAME_BYTES: usize = 63;

/// Longest path of a Unix socket (`sun_path` less its final zero).
const MAX_SOCKET_PATH: usize = 107;

/// Most nodes of a database: each is asked again and again.
const MAX_NODES: usize = 32;

/// A shorter token could be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// Names of the console.
const CONSOLE_NAMES: &[&str] = &["howdah", "pgbouncer"];

/// Checks everything; what was refused already is not complained about again.
pub(super) fn check(raw: &Raw, errors: &mut Collector) {
    let mut rules = Rules { raw, errors, several_nodes: false };
    rules.listening();
    rules.unix_socket();
    rules.keepalive();
    rules.pool_sizes(&Scope::section(Section::Pool), "default_pool_size");
    rules.auth();
    rules.tls_client();
    rules.tls_server();
    rules.slow_statements();
    rules.http();
    rules.databases();
    rules.probes();
    rules.redirects();
    rules.functions();
    rules.users();
    rules.peers();
}

/// What is wrong with a list of nodes, each by itself being right.
fn mistake_of(nodes: &[NodeOptions]) -> Option<String> {
    if nodes.is_empty() {
        return Some("no node; write nodes = [\"host:port\"]".to_owned());
    }
    if nodes.len() > MAX_NODES {
        return Some(format!("{} nodes; a database has at most {MAX_NODES}", nodes.len()));
    }
    let twice = |at: &usize| nodes[..*at].iter().any(|one| one.address == nodes[*at].address);
    if let Some(at) = (0..nodes.len()).find(twice) {
        return Some(format!("\"{}\" is listed twice", nodes[at].address));
    }
    let of_role = |role| nodes.iter().filter(|node| node.role == role).count();
    if of_role(FixedRole::Primary) > 1 {
        return Some(
            "more than one node has role = \"primary\"; leave the role to be found out".to_owned(),
        );
    }
    (of_role(FixedRole::Replica) == nodes.len()).then(|| {
        "every node has role = \"replica\", and writes need a primary; list it, or leave the role \
         to be found out"
            .to_owned()
    })
}

struct Rules<'a> {
    raw: &'a Raw,
    errors: &'a mut Collector,
    /// A database has several nodes.
    several_nodes: bool,
}

impl<'a> Rules<'a> {
    fn value(&self, scope: &Scope, name: &'static str) -> Option<&'a Value> {
        self.raw.get(scope, name).map(|setting| &setting.value)
    }

    fn origin(&self, scope: &Scope, name: &'static str) -> Origin {
        let found = self.raw.get(scope, name).map(|setting| setting.origin.clone());
        let entry = || self.raw.entries.get(scope).cloned();
        found.filter(|origin| *origin != Origin::Default).or_else(entry).unwrap_or(Origin::File)
    }

    fn has(&self, scope: &Scope, name: &'static str) -> bool {
        self.raw.get(scope, name).is_some() || self.raw.is_bad(scope, name)
    }

    fn count(&self, scope: &Scope, name: &'static str) -> Option<u32> {
        match self.value(scope, name) {
            Some(Value::Count(count)) => Some(*count),
            _ => None,
        }
    }

    fn add(&mut self, scope: &Scope, name: &'static str, message: impl Into<String>) {
        self.errors.add(&self.origin(scope, name), scope.key(name), message);
    }

    fn listening(&mut self) {
        let scope = Scope::section(Section::Howdah);
        let Some(Value::Listen(addresses)) = self.value(&scope, "listen_addr") else { return };
        let no_socket =
            matches!(self.value(&scope, "unix_socket_dir"), Some(Value::Path(p)) if p.is_empty());
        if addresses.is_empty() && no_socket {
            self.add(
                &scope,
                "listen_addr",
                "nothing to listen on; give an address here or a directory in unix_socket_dir",
            );
        }
        for (index, address) in addresses.iter().enumerate() {
            if addresses[..index].contains(address) {
                self.add(&scope, "listen_addr", format!("\"{address}\" is listed twice"));
            } else if *address != ListenAddress::Any && addresses.contains(&ListenAddress::Any) {
                let message = format!("\"*\" covers \"{address}\"; list one or the other");
                self.add(&scope, "listen_addr", message);
            }
        }
    }

    fn unix_socket(&mut self) {
        let scope = Scope::section(Section::Howdah);
        let Some(Value::Path(path)) = self.value(&scope, "unix_socket_dir") else { return };
        if path.starts_with('@') {
            let message = "abstract Unix sockets are not available in this version; \
                           give a directory";
            self.add(&scope, "unix_socket_dir", message);
        }
        let length = path.len() + "/.s.PGSQL.65535".len();
        if length > MAX_SOCKET_PATH {
            let message = format!(
                "too long: the socket's path may have {MAX_SOCKET_PATH} bytes and would have {length}"
            );
            self.add(&scope, "unix_socket_dir", message);
        }
    }

    fn keepalive(&mut self) {
        let scope = Scope::section(Section::Howdah);
        let off = matches!(self.value(&scope, "tcp_keepalive"), Some(Value::Flag(false)));
        for name in ["tcp_keepidle", "tcp_keepintvl", "tcp_keepcnt"] {
            let set = match self.value(&scope, name) {
                Some(Value::Duration(duration)) => {
                    if duration.subsec_nanos() != 0 {
                        self.add(&scope, name, "the system counts whole seconds here");
                    }
                    !duration.is_zero()
                }
                Some(Value::Count(count)) => *count > 0,
                _ => false,
            };
            if off && set {
                self.add(&scope, name, "has no effect while tcp_keepalive = false");
            }
        }
    }

    /// A pool cannot keep more servers than it may have.
    fn pool_sizes(&mut self, scope: &Scope, size_key: &'static str) {
        let general = Scope::section(Section::Pool);
        let own = |name| self.count(scope, name).filter(|_| scope.section != Section::Pool);
        let size = own("pool_size").or_else(|| self.count(&general, "default_pool_size"));
        let min =
            self.count(scope, "min_pool_size").or_else(|| self.count(&general, "min_pool_size"));
        let (Some(size), Some(min)) = (size, min) else { return };
        if size == 0 || min <= size {
            return;
        }
        let own_min = self.raw.get(scope, "min_pool_size").is_some();
        let own_size = self.raw.get(scope, size_key).is_some();
        // A database that sets neither is the general section's mistake.
        if own_min {
            let message = format!("{min} is more than the pool's size, {size}");
            self.add(scope, "min_pool_size", message);
        } else if own_size {
            let message = format!("{size} is less than [pool] min_pool_size, {min}");
            self.add(scope, size_key, message);
        }
    }

    fn auth(&mut self) {
        let scope = Scope::section(Section::Auth);
        let Some(Value::Word(word)) = self.value(&scope, "auth_type") else { return };
        if *word != "trust" && !self.has(&scope, "auth_file") {
            let message = format!("auth_type = \"{word}\" needs the users; name their file");
            let origin = self.origin(&scope, "auth_type");
            self.errors.add(&origin, scope.key("auth_file"), message);
        }
    }

    fn tls_client(&mut self) {
        let scope = Scope::section(Section::TlsClient);
        self.certificate_and_key(&scope);
        let Some(Value::Word(word)) = self.value(&scope, "sslmode") else { return };
        if *word != "disable" && !self.has(&scope, "cert_file") && !self.has(&scope, "key_file") {
            let message = format!("\"{word}\" needs a certificate; set cert_file and key_file");
            self.add(&scope, "sslmode", message);
        }
    }

    fn tls_server(&mut self) {
        let scope = Scope::section(Section::TlsServer);
        self.certificate_and_key(&scope);
        let Some(Value::Word(word)) = self.value(&scope, "sslmode") else { return };
        if word.starts_with("verify-") && !self.has(&scope, "ca_file") {
            let message = format!("\"{word}\" needs the certificates to trust; set ca_file");
            self.add(&scope, "sslmode", message);
        }
    }

    fn certificate_and_key(&mut self, scope: &Scope) {
        for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
            if self.has(scope, one) && !self.has(scope, other) {
                self.add(scope, one, format!("needs {other} too"));
            }
        }
    }

    fn slow_statements(&mut self) {
        let scope = Scope::section(Section::Log);
        let tracked = self.count(&Scope::section(Section::Howdah), "max_tracked_queries");
        if tracked == Some(0) && self.value(&scope, "log_min_duration").is_some() {
            let message =
                "has no effect while max_tracked_queries = 0: nothing knows the statements";
            self.add(&scope, "log_min_duration", message);
        }
    }

    fn http(&mut self) {
        let scope = Scope::section(Section::Http);
        if let Some(Value::File(token)) = self.value(&scope, "token_file")
            && token.contents().trim_ascii().len() < MIN_TOKEN_BYTES
        {
            let message = format!("the token has fewer than {MIN_TOKEN_BYTES} bytes");
            self.add(&scope, "token_file", message);
        }
        let listen = match self.value(&scope, "listen") {
            Some(Value::Text(text)) if !text.is_empty() => text,
            _ => {
                if self.value(&scope, "token_file").is_some() {
                    self.add(&scope, "token_file", "has no effect without listen");
                }
                return;
            }
        };
        let Ok(address) = listen.parse::<SocketAddr>() else {
            let message = format!(
                "{listen:?} is not an address and a port, such as \"127.0.0.1:9930\" or \"[::1]:9930\""
            );
            self.add(&scope, "listen", message);
            return;
        };
        if !address.ip().is_loopback() && !self.has(&scope, "token_file") {
            let message = format!(
                "{address} can be reached from elsewhere; set token_file, or listen on 127.0.0.1"
            );
            self.add(&scope, "listen", message);
        }
    }

    fn databases(&mut self) {
        let scopes: Vec<Scope> = self.scopes(Section::Database);
        if scopes.is_empty() && !self.raw.no_databases {
            self.errors.add(
                &Origin::File,
                "databases",
                "no database; add [databases.NAME] with nodes = [\"host:port\"]",
            );
        }
        for scope in scopes {
            self.name(&scope);
            self.nodes(&scope);
            self.pool_sizes(&scope, "pool_size");
            if self.has(&scope, "password") && !self.has(&scope, "user") {
                self.add(&scope, "password", "whose? Set user, or leave the password to auth_file");
            }
            for name in ["dbname", "user"] {
                if let Some(Value::Text(text)) = self.value(&scope, name)
                    && text.len() > MAX_NAME_BYTES
                {
                    let message = format!("longer than PostgreSQL's {MAX_NAME_BYTES} bytes");
                    self.add(&scope, name, message);
                }
            }
        }
    }

    fn scopes(&self, section: Section) -> Vec<Scope> {
        self.raw.entries.keys().filter(|scope| scope.section == section).cloned().collect()
    }

    fn nodes(&mut self, scope: &Scope) {
        let Some(Value::Nodes(nodes)) = self.value(scope, "nodes") else {
            if !self.raw.is_bad(scope, "nodes") {
                self.add(scope, "nodes", "required; write nodes = [\"host:port\"]");
            }
            return;
        };
        if let Some(message) = mistake_of(nodes) {
            self.add(scope, "nodes", message);
        }
        if nodes.len() > 1 {
            self.several_nodes = true;
        }
        for node in nodes {
            if let NodeHost::SocketDir(path) = &node.address.host
                && path.as_os_str().len() + "/.s.PGSQL.65535".len() > MAX_SOCKET_PATH
            {
                self.add(scope, "nodes", "the path of the Unix socket is too long");
            }
        }
    }

    /// Nodes are told apart by asking each what it is.
    fn probes(&mut self) {
        let scope = Scope::section(Section::Routing);
        for (name, example) in [("probe_user", "howdah"), ("probe_dbname", "postgres")] {
            let is_empty =
                matches!(self.value(&scope, name), Some(Value::Text(text)) if text.is_empty());
            if self.several_nodes && is_empty {
                let message =
                    format!("is empty; databases with several nodes need it, such as {example:?}");
                self.add(&scope, name, message);
            }
        }
    }

    fn redirects(&mut self) {
        let scope = Scope::section(Section::Routing);
        let Some(Value::Redirects(redirects)) = self.value(&scope, "redirects") else { return };
        let scopes = self.scopes(Section::Database);
        let databases: Vec<(&str, &[NodeOptions])> = scopes
            .iter()
            .filter_map(|scope| match self.value(scope, "nodes") {
                Some(Value::Nodes(nodes)) => Some((scope.entry.as_deref()?, nodes.as_slice())),
                _ => None,
            })
            .collect();
        for (line, message) in mistakes(redirects, &databases) {
            let mut origin = self.origin(&scope, "redirects");
            if let Origin::Line(first) = &mut origin {
                *first = line;
            }
            self.errors.add(&origin, scope.key("redirects"), message);
        }
    }

    /// No list makes a read of what PostgreSQL's own functions do on the primary.
    fn functions(&mut self) {
        let sections = std::iter::once(Scope::section(Section::Routing));
        for scope in sections.chain(self.scopes(Section::Database)) {
            let Some(Value::Functions(list)) = self.value(&scope, "read_only_functions") else {
                continue;
            };
            for function in list {
                if function.own_name().is_some_and(is_primary_builtin) {
                    let message = format!(
                        "{function} is PostgreSQL's own and needs the primary; leave it out"
                    );
                    self.add(&scope, "read_only_functions", message);
                }
            }
        }
    }

    fn users(&mut self) {
        for scope in self.scopes(Section::User) {
            if scope.entry.as_deref() == Some(WILDCARD) {
                let message = "there is no user \"*\"; what counts for every user goes into \
                               [pool] and [timeouts]";
                let origin = self.raw.entries.get(&scope).cloned().unwrap_or(Origin::File);
                self.errors.add(&origin, scope.text(), message);
            }
            self.name(&scope);
        }
    }

    fn peers(&mut self) {
        for scope in &self.scopes(Section::Peer) {
            let name = scope.entry.as_deref().unwrap_or_default();
            // One way to write a number, so that none is there twice.
            let number = name.parse().ok().filter(|n: &u16| (1..=16_383).contains(n));
            if number.is_none_or(|number| number.to_string() != name) {
                let origin = self.raw.entries.get(scope).cloned().unwrap_or(Origin::File);
                let message = "a peer is called by its peer_id, a number from 1 to 16383";
                self.errors.add(&origin, scope.text(), message);
            }
            match self.value(scope, "host") {
                Some(Value::Text(host)) => {
                    if let Err(message) = NodeAddress::parse_host(host) {
                        self.add(scope, "host", message);
                    }
                }
                _ if self.raw.is_bad(scope, "host") => {}
                _ => self.add(scope, "host", "required; write host = \"10.0.1.2\""),
            }
        }
    }

    /// The name of an entry.
    fn name(&mut self, scope: &Scope) {
        let name = scope.entry.as_deref().unwrap_or_default();
        let reserved = scope.section == Section::Database && CONSOLE_NAMES.contains(&name);
        let message = if name.is_empty() {
            "the name is empty".to_owned()
        } else if name.contains('\0') {
            "the name contains a zero byte".to_owned()
        } else if name.len() > MAX_NAME_BYTES {
            format!("the name is longer than PostgreSQL's {MAX_NAME_BYTES} bytes")
        } else if reserved {
            "the name belongs to the console; choose another and set dbname".to_owned()
        } else {
            return;
        };
        let origin = self.raw.entries.get(scope).cloned().unwrap_or(Origin::File);
        self.errors.add(&origin, scope.text(), message);
    }
}
