//! What this program calls itself.

/// Its name and version.
pub const HOWDAH: &str = concat!("howdah ", env!("CARGO_PKG_VERSION"));
/// The one whose files, command line and console it understands: where that is asked for.
pub const PGBOUNCER: &str = "PgBouncer 1.25.2";
/// As a server's version, of PgBouncer's console.
pub(super) const PGBOUNCER_SERVER: &str = "1.25.2/bouncer";

/// What the line says that the process is up, in PgBouncer's form.
pub(super) const PGBOUNCER_UP: &str = concat!(
    "PgBouncer 1.25.2, howdah ",
    env!("CARGO_PKG_VERSION"),
    " (epoll), adns: libc, tls: rustls"
);
