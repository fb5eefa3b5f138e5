//! The configuration: a TOML file and the environment to a checked [`Config`], and the difference
//! between two of them.
//!
//! `tree` knows TOML, `keys` is the table of everything that may be set, `raw` and `environment`
//! collect values by key, `check` has the rules that need more than one value, `build` makes the
//! typed [`Config`]. `import` makes one of PgBouncer's own file. Every error is collected and carries its place, key and remedy.

mod address;
mod build;
mod change;
mod check;
mod difference;
mod effective;
mod environment;
mod error;
mod files;
mod fraction;
pub mod import;
mod keys;
mod load;
mod log_settings;
mod nearest;
mod node;
mod options;
mod parse;
mod raw;
mod redirect;
mod reference;
mod secret;
mod tree;
mod units;
mod url;
mod value;

pub use address::{DEFAULT_PORT, ListenAddress, NodeAddress, NodeHost};
pub use change::Unchangeable;
pub use difference::{Change, ShownSetting, difference};
pub use effective::EffectiveOptions;
pub use environment::process_environment;
pub use error::{ConfigError, ConfigErrors, Origin};
pub use fraction::WHOLE;
pub use keys::{Applies, DefaultValue, Key, Section};
pub use load::{load, load_from};
pub use log_settings::{LogFormat, LogLevel};
pub use node::NodeOptions;
pub use options::{
    AuthOptions, CheckQuery, ClientTlsOptions, Config, DatabaseOptions, HowdahOptions, HttpOptions,
    Identity, Limit, LogOptions, PoolOptions, ProcessOptions, RoutingOptions, ServerTlsOptions,
    SessionSettings, Source, TcpOptions, Timeout, TimeoutOptions, UserOptions,
};
pub use parse::parse_bytes;
pub use redirect::{RedirectOptions, RedirectTo};
pub use reference::{markdown, sample};
pub use secret::{HIDDEN, LoadedFile, Secret};
pub use units::{MAX_DURATION, parse_duration, parse_size, show_duration, show_size};
pub use url::{ConsoleUrl, console_of};
pub use value::{Kind, Value};

#[cfg(test)]
mod tests;
