//! `[auth]`, `[tls.client]`, `[tls.server]` and `[log]`.

use super::super::log_settings::{LogFormat, LogLevel};
use super::super::value::Kind;
use super::row::Applies::{NextConnect, NextTransaction, Restart};
use super::row::{DefaultValue, Key, SECOND, flag, unset, word};
use crate::auth::Method;
use crate::net::{ClientSslMode, SslMode};

const LATER: &str = "is not available in this version";

/// The rows of `[auth]`.
pub(super) const AUTH: &[Key] = &[
    Key::new(
        "auth_type",
        Kind::Word { words: Method::WORDS, refused: &[("cert", LATER), ("hba", LATER)] },
        DefaultValue::Toml("\"scram-sha-256\""),
        "How clients prove who they are: trust = not at all, password = in clear text, md5 = MD5 \
         (SCRAM where the secret is a SCRAM verifier), scram-sha-256.",
    )
    .applies(NextConnect)
    .sample("\"scram-sha-256\""),
    unset(
        "auth_file",
        Kind::File,
        "none",
        "Users and their secrets, one \"name\" \"secret\" a line as in PgBouncer; a secret is a \
         password, an MD5 hash or a SCRAM verifier. A reload reads it again.",
    )
    .applies(NextConnect)
    .sample("\"userlist.txt\""),
    Key::new(
        "scram_iterations",
        Kind::Count { min: 4096, max: 10_000_000 },
        DefaultValue::Toml("4096"),
        "Iterations of the verifiers that are made from plain passwords in auth_file.",
    )
    .applies(NextConnect),
];

/// The rows of `[tls.client]`.
pub(super) const TLS_CLIENT: &[Key] = &[
    Key::new(
        "sslmode",
        Kind::Word {
            words: ClientSslMode::WORDS,
            refused: &[
                ("verify-ca", "is not available towards clients in this version"),
                ("verify-full", "is not available towards clients in this version"),
            ],
        },
        DefaultValue::Toml("\"disable\""),
        "disable = no TLS, allow and prefer = the client decides, require = TLS only.",
    )
    .applies(NextConnect)
    .console("client_tls_sslmode"),
    unset("cert_file", Kind::File, "none", "Certificate chain of howdah, in PEM.")
        .applies(NextConnect)
        .console("client_tls_cert_file")
        .example("\"server.crt\""),
    unset("key_file", Kind::File, "none", "Private key of that certificate, in PEM.")
        .applies(NextConnect)
        .console("client_tls_key_file")
        .example("\"server.key\""),
];

/// The rows of `[tls.server]`.
pub(super) const TLS_SERVER: &[Key] = &[
    Key::new(
        "sslmode",
        word(SslMode::WORDS),
        DefaultValue::Toml("\"prefer\""),
        "As in libpq: disable, allow, prefer, require, verify-ca = the certificate must be signed by \
         ca_file, verify-full = and name the host.",
    )
    .applies(NextConnect)
    .console("server_tls_sslmode"),
    unset("ca_file", Kind::File, "none", "Certificates that may sign a server's, in PEM.")
        .applies(NextConnect)
        .console("server_tls_ca_file")
        .example("\"servers-ca.crt\""),
    unset("cert_file", Kind::File, "none", "Certificate that howdah shows to servers, in PEM.")
        .applies(NextConnect)
        .console("server_tls_cert_file")
        .example("\"howdah.crt\""),
    unset("key_file", Kind::File, "none", "Private key of that certificate, in PEM.")
        .applies(NextConnect)
        .console("server_tls_key_file")
        .example("\"howdah.key\""),
];

/// The rows of `[log]`.
pub(super) const LOG: &[Key] = &[
    Key::new(
        "level",
        word(LogLevel::WORDS),
        DefaultValue::Toml("\"info\""),
        "Least important lines that are logged.",
    )
    .console("log_level"),
    Key::new(
        "format",
        word(LogFormat::WORDS),
        DefaultValue::Toml("\"text\""),
        "Shape of a line: text, or one JSON object.",
    )
    .applies(Restart)
    .console("log_format"),
    flag(
        "log_connections",
        "true",
        "Log each login of a client, and each new connection to a server.",
    ),
    flag(
        "log_disconnections",
        "true",
        "Log each client that leaves and each server that is closed, and why.",
    ),
    flag("log_pooler_errors", "true", "Log the errors that howdah itself sends to clients."),
    unset(
        "log_min_duration",
        Kind::DURATION,
        "none is logged",
        "Log each statement that takes at least so long, without its values. 0 = every statement. \
         PostgreSQL's log_min_duration_statement.",
    )
    .applies(NextTransaction)
    .example("\"1s\""),
    flag("log_stats", "true", "Log a line of figures each stats_period."),
    Key::new(
        "stats_period",
        Kind::Duration { min: SECOND, unit_required: false },
        DefaultValue::Toml("\"60s\""),
        "Time that averages cover.",
    )
    .applies(Restart),
];
