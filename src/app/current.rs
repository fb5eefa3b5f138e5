//! What a reload replaces as a whole: the configuration and what is made from it.

use super::error::AppError;
use crate::auth::Users;
use crate::backend::key_cache::KeyCache;
use crate::backend::login::{LoginContext, SharedReports};
use crate::config::{self, Config};
use crate::net::{ClientTls, Identity, Resolver, ServerTls};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

/// The configuration that counts now. A task that holds one uses it until its work is done.
#[derive(Debug)]
pub(super) struct Current {
    /// The configuration.
    pub config: Arc<Config>,
    /// Users and their secrets.
    pub users: Option<Users>,
    /// Encryption towards clients.
    pub tls: ClientTls,
    /// How to reach servers.
    pub context: LoginContext,
}

impl Current {
    /// Made from `config`.
    ///
    /// # Errors
    /// What is wrong in a file that the configuration names.
    pub(super) fn new(config: &Arc<Config>) -> Result<Self, AppError> {
        check_role_hook(config)?;
        Ok(Self {
            users: users(config)?,
            tls: client_tls(config)?,
            context: LoginContext {
                reports: SharedReports::default(),
                resolver: Resolver::new(config.howdah.dns_max_ttl),
                tcp: config.howdah.tcp,
                connect_timeout: config.timeouts.server_connect_timeout,
                keys: KeyCache::default(),
                tls: server_tls(config)?,
            },
            config: Arc::clone(config),
        })
    }
}

/// The program of `role_hook` has to be there before it is needed.
fn check_role_hook(config: &Config) -> Result<(), AppError> {
    let Some(path) = &config.routing.role_hook else { return Ok(()) };
    let refused =
        |why: &str| AppError::Setup(format!("routing.role_hook: {} {why}", path.display()));
    let found =
        std::fs::metadata(path).map_err(|error| refused(&format!("cannot be run: {error}")))?;
    let may_run = found.is_file() && found.permissions().mode() & 0o111 != 0;
    if may_run {
        Ok(())
    } else {
        Err(refused("is not a program; chmod +x, and name the file itself"))
    }
}

/// Reads the users' secrets.
fn users(config: &Config) -> Result<Option<Users>, AppError> {
    let Some(file) = &config.auth.auth_file else { return Ok(None) };
    Users::parse(file.contents()).map(Some).map_err(|errors| {
        let lines: Vec<String> =
            errors.iter().map(|error| format!("{}: {error}", file.path().display())).collect();
        AppError::Setup(lines.join("\n"))
    })
}

fn identity(files: Option<&config::Identity>) -> Option<Identity<'_>> {
    files.map(|files| Identity {
        cert_pem: files.cert_file.contents(),
        key_pem: files.key_file.contents(),
    })
}

fn client_tls(config: &Config) -> Result<ClientTls, AppError> {
    ClientTls::new(config.tls_client.sslmode, identity(config.tls_client.identity.as_ref()))
        .map_err(|error| AppError::Setup(error.to_string()))
}

fn server_tls(config: &Config) -> Result<ServerTls, AppError> {
    let options = &config.tls_server;
    let ca = options.ca_file.as_ref().map(config::LoadedFile::contents);
    ServerTls::new(options.sslmode, ca, identity(options.identity.as_ref()))
        .map_err(|error| AppError::Setup(error.to_string()))
}
