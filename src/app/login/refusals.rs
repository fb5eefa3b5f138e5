//! Why a client is not let in, and how it is told.

use crate::app::pooler::Pooler;
use crate::fault::{Fault, Side};
use crate::net::Framed;
use crate::pool::admission::Refused;
use crate::session::client_auth::LoginEnd;
use crate::wire;
use std::time::Duration;

/// Longest wait for a client that does not read why it is refused.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a login ended without a client.
pub(in crate::app) enum Ended {
    /// The client left.
    Left(String),
    /// The client is told why.
    Refused(Fault),
    /// With the cause, which the client is not told.
    Denied(Box<Fault>, String),
}

impl From<LoginEnd> for Ended {
    fn from(end: LoginEnd) -> Self {
        match end {
            LoginEnd::Left(reason) => Self::Left(reason),
            LoginEnd::Refused(fault) => Self::Refused(fault),
            LoginEnd::Denied(fault, cause) => Self::Denied(fault, cause),
        }
    }
}

/// The limit that is reached.
pub(in crate::app) fn refused(refused: &Refused) -> Fault {
    let key = match refused {
        Refused::Clients => "max_client_conn",
        Refused::Database => "max_db_client_connections",
        Refused::User => "max_user_client_connections",
        Refused::Logins => "max_client_conn",
    };
    let others = match refused {
        Refused::Clients | Refused::Logins => "no more connections allowed (max_client_conn)",
        Refused::Database => "client connections exceeded (max_db_client_connections)",
        Refused::User => "client connections exceeded (max_user_client_connections)",
    };
    Fault::session(Side::Proxy, "53300", refused.to_string())
        .hint(format!("Raise {key}, or close connections."))
        .pgbouncer(others)
}

/// Clients have made up too many names.
pub(in crate::app) fn too_many_names() -> Fault {
    Fault::session(Side::Proxy, "53300", "too many databases and users in use").hint(
        "There is a limit for those that the configuration does not name: give them entries of \
         their own.",
    )
}

/// The database lets nobody in.
pub(in crate::app) fn disabled(database: &str) -> Fault {
    let text = format!("database \"{database}\" is disabled");
    Fault::session(Side::Operator, "55000", text.clone())
        .hint("ENABLE on the console lets clients in.")
        .pgbouncer(text)
}

/// The login took too long.
pub(in crate::app) fn too_late() -> Fault {
    Fault::session(Side::Client, "57014", "canceling authentication due to timeout")
        .hint("The login took longer than client_login_timeout.")
        .pgbouncer("client_login_timeout")
}

/// Tells a client why and closes, without waiting for one that does not read.
pub(in crate::app) async fn dismiss(pooler: &Pooler, mut framed: Framed, fault: Fault) {
    let mut out = Vec::new();
    wire::fault(&mut out, &fault.in_style(pooler.common.message_style));
    let told = async {
        framed.send(&out).await?;
        std::future::poll_fn(|cx| framed.stream().poll_close(cx)).await
    };
    drop(tokio::time::timeout(FAREWELL, told).await);
}

/// Closes in order, for TLS too, without waiting for a client that does not.
pub(in crate::app) async fn close(mut framed: Framed) {
    let closed = std::future::poll_fn(|cx| framed.stream().poll_close(cx));
    drop(tokio::time::timeout(FAREWELL, closed).await);
}
