//! `howdah import --check`: asks a PgBouncer that runs what it is set to.

use super::error::AppError;
use crate::auth::{Credential, Password};
use crate::backend::key_cache::KeyCache;
use crate::backend::login::{Account, LoginContext, open};
use crate::backend::reported_parameters::ReportedParameters;
use crate::backend::server::Server;
use crate::backend::settings::SettingsTable;
use crate::config::import::{Comparison, Shown, compare};
use crate::config::{Config, console_of};
use crate::net::{Resolver, ServerTls, SslMode, TcpOptions};
use parking_lot::Mutex;
use std::time::Duration;

/// Longest wait for its login.
const PATIENCE: Duration = Duration::from_secs(10);

/// As the system has it: it is one short visit.
const TCP: TcpOptions = TcpOptions {
    keepalive: false,
    keepidle: None,
    keepintvl: None,
    keepcnt: None,
    user_timeout: None,
};

/// Compares the PgBouncer at `url` (of its console: postgres://user@host:6432/pgbouncer) with `ours`.
///
/// # Errors
/// When it cannot be asked, or its settings make no configuration.
pub fn check_against(url: &str, ours: &Config) -> Result<Comparison, AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AppError::Runtime)?;
    let (config, databases) = runtime.block_on(ask(url))?;
    compare(&config, &databases, ours).map_err(|errors| AppError::Setup(errors.to_string()))
}

async fn ask(url: &str) -> Result<(Vec<Shown>, Vec<Shown>), AppError> {
    let setup = |reason: String| AppError::Setup(format!("cannot ask PgBouncer: {reason}"));
    let console = console_of(url).map_err(setup)?;
    let password = console.password.map(|secret| Password::new(secret.expose().as_bytes()));
    let account = Account {
        address: console.address,
        user: console.user.into(),
        dbname: console.dbname.into(),
        credential: Mutex::new(password.map_or(Credential::None, Credential::Password)),
        connect_query: None,
        neutral: SettingsTable::default().intern([]),
        reported_parameters: ReportedParameters::default(),
        replaced: tokio::sync::Notify::new(),
    };
    let context = LoginContext {
        reports: crate::backend::login::SharedReports::default(),
        resolver: Resolver::new(PATIENCE),
        tcp: TCP,
        connect_timeout: Some(PATIENCE),
        keys: KeyCache::default(),
        tls: ServerTls::new(SslMode::Prefer, None, None)
            .map_err(|error| setup(error.to_string()))?,
    };
    let mut server =
        open(&account, &context, &[]).await.map_err(|error| setup(error.to_string()))?;
    Ok((rows(&mut server, "SHOW CONFIG").await?, rows(&mut server, "SHOW DATABASES").await?))
}

async fn rows(server: &mut Server, sql: &str) -> Result<Vec<Shown>, AppError> {
    let (columns, rows) = server
        .table(sql)
        .await
        .map_err(|error| AppError::Setup(format!("cannot ask PgBouncer: {sql}: {error}")))?;
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    let row = |row: Vec<Option<Vec<u8>>>| {
        let values = columns.iter().zip(row);
        values.filter_map(|(name, value)| Some((name.clone(), text(value?)))).collect()
    };
    Ok(rows.into_iter().map(row).collect())
}
