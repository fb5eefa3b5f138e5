//! The error vocabulary: whose fault, how much ends, and what a client may be told.
//!
//! A [`Fault`] is what remains of any error once it has to be answered: the text in it is public
//! by construction, because only the places that build one choose what goes in. It never carries a
//! foreign error's text unless that text came from PostgreSQL for this very client.

use std::borrow::Cow;

/// The side that caused the error. The metric label and the log level follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client broke a rule or gave up.
    Client,
    /// PostgreSQL failed, refused, or went away.
    Server,
    /// A limit or a defect of this process.
    Proxy,
    /// An operator of this process caused it.
    Operator,
}

/// What the error ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One statement or batch; the session goes on.
    Query,
    /// The client's session.
    Session,
}

/// The style of error messages and of those log lines that tools read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageStyle {
    /// PostgreSQL's messages, with its codes and with hints.
    #[default]
    Postgres,
    /// PgBouncer's messages where it has one, for processes that run its configuration.
    PgBouncer,
}

impl MessageStyle {
    /// The text for this style.
    pub fn choose<T>(self, postgresql: T, pgbouncer: T) -> T {
        match self {
            Self::Postgres => postgresql,
            Self::PgBouncer => pgbouncer,
        }
    }
}

/// PgBouncer's code for every error of its own, whatever the cause.
const PGBOUNCER_CODE: &str = "08P01";

/// An error that a client is going to be told about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The side that caused it.
    pub side: Side,
    /// What the error ends.
    pub scope: Scope,
    /// SQLSTATE, five characters (PostgreSQL manual, appendix A).
    pub code: &'static str,
    /// The primary message, in PostgreSQL's style: lower case, no full stop.
    pub message: Cow<'static, str>,
    /// What to change, as a full sentence; empty when there is nothing to say.
    pub hint: Cow<'static, str>,
    /// File and function of PostgreSQL that report the same error: drivers that repair it look for
    /// the function.
    pub origin: Option<(&'static str, &'static str)>,
    /// What PgBouncer says in this case, if it knows it.
    pub pgbouncer: Option<Box<str>>,
}

impl Fault {
    /// An error that ends one statement or batch.
    pub fn query(side: Side, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let (message, hint) = (message.into(), Cow::Borrowed(""));
        Self { side, scope: Scope::Query, code, message, hint, origin: None, pgbouncer: None }
    }

    /// An error that ends the session.
    pub fn session(side: Side, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { scope: Scope::Session, ..Self::query(side, code, message) }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same as reported by this file and function of PostgreSQL.
    #[must_use]
    pub fn origin(mut self, file: &'static str, routine: &'static str) -> Self {
        self.origin = Some((file, routine));
        self
    }

    /// The same with what PgBouncer says in this case.
    #[must_use]
    pub fn pgbouncer(mut self, message: impl Into<Box<str>>) -> Self {
        self.pgbouncer = Some(message.into());
        self
    }

    /// The same error in this style.
    #[must_use]
    pub fn in_style(self, style: MessageStyle) -> Self {
        match (style, self.pgbouncer) {
            (MessageStyle::PgBouncer, Some(message)) => Self {
                code: PGBOUNCER_CODE,
                message: Cow::Owned(message.into()),
                hint: Cow::Borrowed(""),
                origin: None,
                pgbouncer: None,
                ..self
            },
            (_, pgbouncer) => Self { pgbouncer, ..self },
        }
    }

    /// PostgreSQL's word for how bad it is: `ERROR` leaves the session alive, `FATAL` ends it.
    pub fn severity(&self) -> &'static str {
        match self.scope {
            Scope::Query => "ERROR",
            Scope::Session => "FATAL",
        }
    }

    /// A message that broke the protocol (08P01): the session cannot be understood any more.
    pub fn protocol(message: impl Into<Cow<'static, str>>) -> Self {
        Self::session(Side::Client, "08P01", message)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.severity(), self.message, self.code)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_pgbouncers_words_there_is_one_code_and_no_hint() {
        let fault = Fault::session(Side::Operator, "57P05", "idle").hint("H.").pgbouncer("idle!");
        assert_eq!(fault.clone().in_style(MessageStyle::Postgres), fault);
        let said = fault.in_style(MessageStyle::PgBouncer);
        assert_eq!((said.code, &*said.message, &*said.hint), ("08P01", "idle!", ""));
        assert_eq!(said.severity(), "FATAL");
        let unknown = Fault::query(Side::Client, "22023", "no").hint("H.");
        assert_eq!(unknown.clone().in_style(MessageStyle::PgBouncer), unknown);
    }
}
