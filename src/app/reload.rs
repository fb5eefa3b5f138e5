//! A changed configuration comes to bear: the file was read again, or SET changed a setting.

use super::current::Current;
use super::limits::{admission_options, check_open_files, raise_open_files};
use super::pooler::Pooler;
use super::probes::news::take_in;
use crate::config::{self, Applies, Change, Config, Unchangeable};
use crate::metrics::EventKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a reload would change.
///
/// # Errors
/// What is wrong in the configuration.
pub(super) fn preview(pooler: &Pooler) -> Result<Vec<Change>, Vec<String>> {
    let old = pooler.current();
    Ok(config::difference(&old.config, &read(&old.config)?.config))
}

/// Reads the configuration again, applies what differs and says what that was. When anything in it
/// is wrong, all of the old one stays.
///
/// # Errors
/// What is wrong, which is in the log as well.
pub(super) fn reload(pooler: &Pooler) -> Result<Vec<Change>, Vec<String>> {
    pooler.logging.reopen();
    let old = pooler.current();
    let new = match read(&old.config) {
        Ok(new) => new,
        Err(reasons) => {
            for reason in &reasons {
                tracing::error!("configuration not reloaded: {reason}");
                let what = format!("configuration not reloaded: {reason}");
                pooler.record_event(("error", EventKind::Reload), ("", ""), &what);
            }
            return Err(reasons);
        }
    };
    Ok(adopt(pooler, &old, new))
}

/// Changes one setting until the next reload, by its name in `SHOW CONFIG`.
///
/// # Errors
/// Why that cannot be.
pub(super) fn set(pooler: &Pooler, name: &str, value: &str) -> Result<Vec<Change>, Unset> {
    let old = pooler.current();
    let config = old.config.with(name, value).map_err(Unset::Config)?;
    let new = with_files(config).map_err(Unset::Setup)?;
    Ok(adopt(pooler, &old, new))
}

/// Why a setting cannot be changed.
pub(super) enum Unset {
    /// The configuration's rules.
    Config(Unchangeable),
    /// What is made from it.
    Setup(Vec<String>),
}

/// Brings a configuration to bear, and says what that changes.
fn adopt(pooler: &Pooler, old: &Current, new: Current) -> Vec<Change> {
    let changes = config::difference(&old.config, &new.config);
    for warning in &new.config.warnings {
        tracing::warn!("{warning}");
    }
    log(&changes);
    pooler.logging.set_level(new.config.log.level);
    pooler.logs_server_ends.store(new.config.log.log_disconnections, Ordering::Relaxed);
    pooler.common.queries.set_limit(new.config.howdah.max_tracked_queries);
    let limits = admission_options(&new.config);
    pooler.admission.lock().set_options(limits);
    // Servers that were reached another way are replaced as they come free.
    let reconnect = changes.iter().any(|change| change.key.starts_with("tls.server."));
    let new = Rc::new(new);
    *pooler.current.borrow_mut() = Rc::clone(&new);
    pooler.routes.borrow_mut().reload(&new.config, new.users.as_ref(), reconnect);
    for (watched, news) in pooler.probes.reload(&new.config) {
        take_in(pooler, &watched, &news);
    }
    // Idle servers beyond a smaller limit go before anybody takes them.
    pooler.common.pools.upkeep();
    let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
    let what = format!("configuration reloaded: {} change(s)", changes.len());
    let event = format!("{what} {}", keys.join(", "));
    pooler.record_event(("info", EventKind::Reload), ("", ""), event.trim_end());
    tracing::info!("{what}");
    changes
}

fn read(old: &Config) -> Result<Current, Vec<String>> {
    let config = config::load_from(&old.source, &config::process_environment())
        .map_err(|errors| errors.errors().iter().map(ToString::to_string).collect::<Vec<_>>())?;
    with_files(config)
}

/// What is made from a configuration, if this machine has room for it.
fn with_files(config: Config) -> Result<Current, Vec<String>> {
    let config = Arc::new(config);
    let limit = raise_open_files().map_err(|error| vec![error.to_string()])?;
    check_open_files(&config, limit).map_err(|error| vec![error.to_string()])?;
    Current::new(&config)
        .map_err(|error| error.to_string().lines().map(str::to_owned).collect::<Vec<_>>())
}

fn log(changes: &[Change]) {
    for change in changes {
        let Change { key, old, new, applies } = change;
        if *applies == Applies::Restart {
            tracing::warn!("{key} changed from {old} to {new}: it needs a restart");
        } else {
            tracing::info!("{key} changed from {old} to {new} (applies: {applies})");
        }
    }
}
