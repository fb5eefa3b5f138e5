//! Where clients come in: the addresses of the configuration, or the sockets of a service manager.

use super::error::AppError;
use crate::config::{Config, ListenAddress};
use crate::net::{ListenOptions, Listener};
use std::io;
use std::net::SocketAddr;

async fn addresses(config: &Config) -> Result<Vec<SocketAddr>, AppError> {
    let port = config.howdah.listen_port;
    let mut all = Vec::new();
    for address in &config.howdah.listen_addr {
        match address {
            ListenAddress::Any => {
                all.push(SocketAddr::from(([0u8; 4], port)));
                all.push(SocketAddr::from(([0u16; 8], port)));
            }
            ListenAddress::Ip(ip) => all.push(SocketAddr::new(*ip, port)),
            ListenAddress::Name(name) => {
                let found = tokio::net::lookup_host((name.as_str(), port)).await;
                all.extend(found.map_err(|error| {
                    AppError::Setup(format!("howdah.listen_addr: cannot resolve {name}: {error}"))
                })?);
            }
        }
    }
    Ok(all)
}

/// The number of a group, which may be given as such, as in PostgreSQL's `unix_socket_group`.
fn group_id(name: &str) -> Result<u32, AppError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let wrong = |reason: &str| {
        AppError::Setup(format!("howdah.unix_socket_group: cannot find group {name}: {reason}"))
    };
    let groups = std::fs::read_to_string("/etc/group").map_err(|e| wrong(&e.to_string()))?;
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    number.ok_or_else(|| {
        wrong("it is not in /etc/group; a group from elsewhere is given by its number")
    })
}

/// The sockets that systemd has opened (`systemd.socket`).
fn inherited(config: &Config) -> Result<Vec<Listener>, AppError> {
    let mut sockets = listenfd::ListenFd::from_env();
    let wrong = |index: usize, error: io::Error| {
        AppError::Setup(format!(
            "socket {} of the service manager (LISTEN_FDS) is not a listening stream socket: {error}",
            index + 1
        ))
    };
    let mut listeners = Vec::new();
    for index in 0..sockets.len() {
        let listener = match sockets.take_tcp_listener(index) {
            Ok(Some(listener)) => Listener::inherited_tcp(listener, config.howdah.tcp),
            Ok(None) => continue,
            Err(_) => match sockets.take_unix_listener(index) {
                Ok(Some(listener)) => Listener::inherited_unix(listener),
                Ok(None) => continue,
                Err(error) => Err(error),
            },
        };
        listeners.push(listener.map_err(|error| wrong(index, error))?);
    }
    if !listeners.is_empty() {
        tracing::info!(
            "listening on {} socket(s) of the service manager, instead of listen_addr and \
             unix_socket_dir",
            listeners.len()
        );
    }
    Ok(listeners)
}

/// Opens all listeners: those of a service manager, if it has opened any, else those of the
/// configuration. An address family that this machine does not have is no error while another address
/// works.
pub(super) async fn listen(config: &Config) -> Result<Vec<Listener>, AppError> {
    let inherited = inherited(config)?;
    if !inherited.is_empty() {
        return Ok(inherited);
    }
    let options = ListenOptions {
        backlog: config.howdah.listen_backlog,
        reuse_port: config.howdah.so_reuseport,
        tcp: config.howdah.tcp,
    };
    let (mut listeners, mut missing) = (Vec::new(), None);
    for address in addresses(config).await? {
        match Listener::tcp(address, &options) {
            Ok(listener) => {
                tracing::info!("listening on {address}");
                listeners.push(listener);
            }
            Err(error)
                if address.is_ipv6()
                    && (error.kind() == io::ErrorKind::AddrNotAvailable
                        || error.raw_os_error() == Some(97)) =>
            {
                missing = Some(format!("cannot listen on {address}: {error}"));
            }
            Err(error) => {
                return Err(AppError::Setup(format!("cannot listen on {address}: {error}")));
            }
        }
    }
    if let Some(directory) = &config.howdah.unix_socket_dir {
        let path = directory.join(format!(".s.PGSQL.{}", config.howdah.listen_port));
        let group = config.howdah.unix_socket_group.as_deref().map(group_id).transpose()?;
        let mode = config.howdah.unix_socket_mode;
        let opened = Listener::unix(&path, mode, group, options.backlog);
        listeners.push(opened.map_err(|error| {
            AppError::Setup(format!("cannot listen on unix socket {}: {error}", path.display()))
        })?);
        tracing::info!("listening on unix:{}", path.display());
    }
    match (listeners.is_empty(), missing) {
        (true, Some(reason)) => Err(AppError::Setup(reason)),
        (_, Some(reason)) => {
            tracing::info!("{reason}");
            Ok(listeners)
        }
        (_, None) => Ok(listeners),
    }
}
