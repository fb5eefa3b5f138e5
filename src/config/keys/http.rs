//! `[http]`: figures over HTTP.

use super::super::value::Kind;
use super::row::Applies::Restart;
use super::row::{Key, unset};

/// The rows of `[http]`.
pub(super) const KEYS: &[Key] = &[
    unset(
        "listen",
        Kind::Text,
        "no HTTP",
        "Address and port of /metrics, /live, /ready and the page. An address other than loopback \
         needs token_file.",
    )
    .applies(Restart)
    .console("http_listen")
    .example("\"127.0.0.1:9930\""),
    unset(
        "token_file",
        Kind::File,
        "none",
        "A file with the token that /metrics and the page's figures ask for: Authorization: Bearer \
         TOKEN. A reload reads it again.",
    )
    .console("http_token_file")
    .example("\"http.token\""),
];
