//! How a client proves its password to us.
//!
//! [`ClientExchange::start`] gives the first challenge, [`ClientExchange::respond`] takes each `p`
//! message and gives the next; it ends with [`Challenge::Ok`], [`Challenge::SaslFinal`] or a
//! [`Rejection`]. A user who does not exist, or whose secret cannot serve the method, goes through a
//! complete exchange that fails where a wrong password fails, so that nobody learns which names exist.

use std::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error;

use super::md5;
use super::scram::server::{Offer, Pending, ScramFault};
use super::scram::{Key, MECHANISM, MECHANISM_PLUS, NONCE_BYTES, ScramKeys, Verifier, hmac};
use super::stored_secret::{Md5Secret, Password, Secret};
use crate::word::word_enum;

word_enum! {
    /// How a client has to prove who it is (`auth_type`).
    pub Method {
        /// Not at all. Whether the name must be in the user list (PgBouncer demands it if there is one)
        /// is for the caller to decide: the exchange asks nothing and looks at no secret.
        Trust = "trust",
        /// The password in clear, against any kind of stored secret.
        Password = "password",
        /// An MD5 answer, or SCRAM if a verifier is stored, as PostgreSQL and PgBouncer do.
        Md5 = "md5",
        /// SCRAM-SHA-256, against a stored password or verifier.
        ScramSha256 = "scram-sha-256",
    }
}

impl Method {
    /// Whether [`ClientExchange::start`] with this secret has to derive keys (0.5 ms). The caller can
    /// avoid it by passing the result of [`Secret::to_verifier`] as the secret instead.
    ///
    /// It should: half a millisecond more than for a user who does not exist can be measured from
    /// outside, so derive when the user list is loaded, or once and keep the verifier.
    #[must_use]
    pub fn derives_keys_from(self, secret: &Secret) -> bool {
        self == Self::ScramSha256
            && matches!(secret, Secret::Plain(password) if !password.is_empty())
    }
}

/// The user that wants to log in.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The name in the startup packet, as MD5 uses it.
    pub user: &'a [u8],
    /// The stored secret; `None` for a user we do not know.
    pub secret: Option<&'a Secret>,
}

/// Fresh random bytes for one exchange, from the system's generator.
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    /// The salt of an MD5 challenge.
    pub md5_salt: [u8; 4],
    /// Our part of the SCRAM nonce.
    pub nonce: [u8; NONCE_BYTES],
}

/// A random key of this process, from which users who do not exist get a salt that never changes.
#[derive(Clone, Debug)]
pub struct MockKey(Key);

impl MockKey {
    /// `random` comes from the system's generator, once per process.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(Key::new(random))
    }

    /// The salt for `user`, whether that user exists or not: 16 bytes, as PostgreSQL's are.
    #[must_use]
    pub fn salt(&self, user: &[u8]) -> [u8; 16] {
        let mut salt = [0; 16];
        for (byte, random) in salt.iter_mut().zip(self.key(b"salt", user).bytes()) {
            *byte = *random;
        }
        salt
    }

    fn key(&self, purpose: &[u8], user: &[u8]) -> Key {
        hmac(&self.0, &[purpose, b"\0", user])
    }
}

/// What method `md5` asks of a user who does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownShape {
    /// An MD5 answer, as of users with a password or an MD5 secret.
    Md5,
    /// SCRAM, as of users with a verifier.
    Scram,
}

/// The settings of our door.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Salts for the unknown.
    pub mock: &'a MockKey,
    /// `scram_iterations`: for passwords and for the unknown. Should be what stored verifiers have.
    pub iterations: u32,
    /// The hash of our certificate if the client came by TLS (`tls-server-end-point`); with it
    /// SCRAM-SHA-256-PLUS is offered.
    pub binding: Option<&'a [u8]>,
    /// See [`Users::unknown_shape`](super::Users::unknown_shape).
    pub unknown: UnknownShape,
}

/// What to send to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// AuthenticationOk: the client is in.
    Ok,
    /// AuthenticationCleartextPassword.
    CleartextPassword,
    /// AuthenticationMD5Password.
    Md5 {
        /// The salt to be sent.
        salt: [u8; 4],
    },
    /// AuthenticationSASL.
    Sasl {
        /// Names to be sent, best first.
        mechanisms: &'static [&'static str],
    },
    /// AuthenticationSASLContinue with these data (none, if the client has yet to begin).
    SaslContinue(Vec<u8>),
    /// AuthenticationSASLFinal with these data, then AuthenticationOk: the client is in.
    SaslFinal(Vec<u8>),
}

impl Challenge {
    /// Whether the client is in, rather than asked for another message.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Ok | Self::SaslFinal(_) => true,
            Self::CleartextPassword | Self::Md5 { .. } | Self::Sasl { .. } => false,
            Self::SaslContinue(_) => false,
        }
    }
}

/// Why a client was denied. For the log; the client must not be able to tell.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Cause {
    /// Not the stored secret.
    #[error("the password does not match the stored secret")]
    WrongPassword,
    /// No such user.
    #[error("the user is unknown: add it to auth_file")]
    UnknownUser,
    /// Nobody logs in with an empty password.
    #[error("the stored secret is empty: set a password")]
    EmptySecret,
    /// An MD5 secret cannot serve SCRAM.
    #[error(
        "the stored secret is MD5, which scram-sha-256 cannot use: store the password or a SCRAM \
         verifier, or use auth_type md5"
    )]
    UnusableSecret,
}

/// The end of an exchange without a login. `Display` is what the client may be told.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Rejection {
    /// The client did not prove itself, for a reason that only the log may name.
    #[error("password authentication failed")]
    Denied(Cause),
    /// PostgreSQL distinguishes this, so that a driver without a password says so.
    #[error("empty password returned by client")]
    EmptyPassword,
    /// Not the message that the protocol demands here.
    #[error("{0}")]
    Protocol(&'static str),
    /// A SCRAM message that is refused before its proof matters.
    #[error("{0}")]
    Scram(#[from] ScramFault),
}

impl Rejection {
    /// The SQLSTATE that PostgreSQL gives: 28P01 for what is denied, 08P01 for what is malformed.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Denied(_) | Self::EmptyPassword => "28P01",
            Self::Protocol(_) | Self::Scram(ScramFault::Malformed(_)) => "08P01",
            Self::Scram(ScramFault::Unsupported(_)) => "0A000",
            Self::Scram(ScramFault::Binding(_)) => "28000",
        }
    }
}

enum State {
    Password {
        user: Box<[u8]>,
        secret: Secret,
    },
    Md5 {
        secret: Md5Secret,
        salt: [u8; 4],
    },
    /// The client has yet to choose a mechanism.
    SaslOffered(Offer),
    /// It chose one without a first message.
    SaslChosen {
        offer: Offer,
        plus: bool,
    },
    SaslPending(Pending),
    Over,
}

/// One client's proof, from the startup packet to the verdict.
pub struct ClientExchange {
    state: State,
    /// The exchange fails at its end, whatever the client answers.
    doomed: Option<Cause>,
    keys: Option<ScramKeys>,
}

impl ClientExchange {
    /// Begins an exchange; gives the first challenge as well, which is [`Challenge::Ok`] for trust.
    ///
    /// Expensive only if [`Method::derives_keys_from`] says so.
    #[must_use]
    pub fn start(
        method: Method,
        account: Account<'_>,
        entropy: Entropy,
        terms: &Terms<'_>,
    ) -> (Self, Challenge) {
        if method == Method::Trust {
            let exchange = Self { state: State::Over, doomed: None, keys: None };
            return (exchange, Challenge::Ok);
        }
        let (secret, doomed) = effective_secret(method, account, terms);
        let (state, challenge) = match (method, secret) {
            (Method::Password | Method::Trust, secret) => (
                State::Password { user: account.user.into(), secret },
                Challenge::CleartextPassword,
            ),
            (Method::Md5, Secret::Plain(password)) => {
                md5_challenge(md5::stored(account.user, password.as_bytes()), entropy)
            }
            (Method::Md5, Secret::Md5(secret)) => md5_challenge(secret, entropy),
            (Method::Md5 | Method::ScramSha256, secret) => {
                let salt = terms.mock.salt(account.user);
                let verifier = secret
                    .to_verifier(terms.iterations, &salt)
                    .unwrap_or_else(|| mock_verifier(account.user, terms));
                let offer = Offer::new(verifier, &entropy.nonce, terms.binding);
                let mechanisms = offer.mechanisms();
                (State::SaslOffered(offer), Challenge::Sasl { mechanisms })
            }
        };
        (Self { state, doomed, keys: None }, challenge)
    }

    /// Takes the body of the client's `p` message (without type and length).
    ///
    /// Derives keys (0.5 ms at 4,096 iterations) for a cleartext password against a verifier.
    ///
    /// # Errors
    /// The exchange is over; any further response is a protocol violation.
    pub fn respond(&mut self, body: &[u8]) -> Result<Challenge, Rejection> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Password { user, secret } => {
                let given = password_of(body)?;
                self.verdict(matches_password(&secret, &user, given), Challenge::Ok)
            }
            State::Md5 { secret, salt } => {
                let given = password_of(body)?;
                let expected = md5::answer(&secret, salt);
                self.verdict(given.ct_eq(&expected).into(), Challenge::Ok)
            }
            State::SaslOffered(offer) => {
                let initial = parse_sasl_initial(body)?;
                let plus = plus_of(initial.mechanism, &offer)?;
                match initial.data {
                    Some(data) => self.on_client_first(offer, plus, data),
                    // PostgreSQL's manual, "SASL Authentication": the initial response is optional.
                    None => {
                        self.state = State::SaslChosen { offer, plus };
                        Ok(Challenge::SaslContinue(Vec::new()))
                    }
                }
            }
            State::SaslChosen { offer, plus } => self.on_client_first(offer, plus, body),
            State::SaslPending(pending) => self.on_client_final(pending, body),
            State::Over => Err(Rejection::Protocol("unexpected password message")),
        }
    }

    /// After a login by SCRAM: what lets us log in as this client to servers whose verifier equals
    /// the stored one. Only once.
    pub fn take_keys(&mut self) -> Option<ScramKeys> {
        self.keys.take()
    }

    fn on_client_first(
        &mut self,
        offer: Offer,
        plus: bool,
        message: &[u8],
    ) -> Result<Challenge, Rejection> {
        let (pending, answer) = offer.on_client_first(plus, message)?;
        self.state = State::SaslPending(pending);
        Ok(Challenge::SaslContinue(answer))
    }

    fn on_client_final(&mut self, pending: Pending, body: &[u8]) -> Result<Challenge, Rejection> {
        // The proof is checked also where the exchange is doomed: both take the same time.
        match pending.on_client_final(body)? {
            Some((answer, keys)) => {
                let challenge = self.verdict(true, Challenge::SaslFinal(answer))?;
                self.keys = Some(keys);
                Ok(challenge)
            }
            None => self.verdict(false, Challenge::Ok),
        }
    }

    fn verdict(&self, is_right: bool, success: Challenge) -> Result<Challenge, Rejection> {
        match self.doomed {
            Some(cause) => Err(Rejection::Denied(cause)),
            None if is_right => Ok(success),
            None => Err(Rejection::Denied(Cause::WrongPassword)),
        }
    }
}

impl fmt::Debug for ClientExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Password { .. } => "Password",
            State::Md5 { .. } => "Md5",
            State::SaslOffered(_) => "SaslOffered",
            State::SaslChosen { .. } => "SaslChosen",
            State::SaslPending(_) => "SaslPending",
            State::Over => "Over",
        };
        f.debug_struct("ClientExchange").field("state", &state).finish_non_exhaustive()
    }
}

/// The secret to check against: the stored one, or one that nobody has and the reason for that.
fn effective_secret(
    method: Method,
    account: Account<'_>,
    terms: &Terms<'_>,
) -> (Secret, Option<Cause>) {
    let cause = match account.secret {
        None => Cause::UnknownUser,
        Some(Secret::Plain(password)) if password.is_empty() => Cause::EmptySecret,
        Some(Secret::Md5(_)) if method == Method::ScramSha256 => Cause::UnusableSecret,
        Some(secret) => return (secret.clone(), None),
    };
    let mock = if method == Method::ScramSha256 || terms.unknown == UnknownShape::Scram {
        Secret::Scram(mock_verifier(account.user, terms))
    } else {
        let password = terms.mock.key(b"md5", account.user);
        Secret::Md5(md5::stored(account.user, password.bytes()))
    };
    (mock, Some(cause))
}

fn mock_verifier(user: &[u8], terms: &Terms<'_>) -> Verifier {
    let key = terms.mock.key(b"stored key", user);
    Verifier::unsatisfiable(&terms.mock.salt(user), terms.iterations.max(1), key)
}

fn md5_challenge(secret: Md5Secret, entropy: Entropy) -> (State, Challenge) {
    let salt = entropy.md5_salt;
    (State::Md5 { secret, salt }, Challenge::Md5 { salt })
}

/// The string of a PasswordMessage: PostgreSQL wants exactly one zero byte, at its end.
fn password_of(body: &[u8]) -> Result<&[u8], Rejection> {
    let password = body
        .strip_suffix(b"\0")
        .filter(|password| !password.contains(&0) && password.len() <= super::MAX_PASSWORD_BYTES)
        .ok_or(Rejection::Protocol("invalid password packet size"))?;
    if password.is_empty() { Err(Rejection::EmptyPassword) } else { Ok(password) }
}

fn matches_password(secret: &Secret, user: &[u8], given: &[u8]) -> bool {
    match secret {
        Secret::Plain(password) => *password == Password::new(given),
        Secret::Md5(stored) => md5::stored(user, given) == *stored,
        Secret::Scram(verifier) => verifier.accepts(given),
    }
}

fn plus_of(mechanism: &[u8], offer: &Offer) -> Result<bool, Rejection> {
    if !offer.mechanisms().iter().any(|offered| offered.as_bytes() == mechanism) {
        return Err(Rejection::Protocol(
            "client selected an invalid SASL authentication mechanism",
        ));
    }
    debug_assert!(mechanism == MECHANISM.as_bytes() || mechanism == MECHANISM_PLUS.as_bytes());
    Ok(mechanism == MECHANISM_PLUS.as_bytes())
}

struct SaslInitial<'a> {
    mechanism: &'a [u8],
    data: Option<&'a [u8]>,
}

/// The body of a SASLInitialResponse: name, zero byte, length or -1, data.
fn parse_sasl_initial(body: &[u8]) -> Result<SaslInitial<'_>, Rejection> {
    const FAULT: Rejection = Rejection::Protocol("malformed SASLInitialResponse");
    let end = memchr::memchr(0, body).ok_or(FAULT)?;
    let (mechanism, rest) = body.split_at_checked(end).ok_or(FAULT)?;
    let rest = rest.strip_prefix(b"\0").ok_or(FAULT)?;
    let (length, data) = rest.split_first_chunk::<4>().ok_or(FAULT)?;
    let data = match i32::from_be_bytes(*length) {
        -1 if data.is_empty() => None,
        length if usize::try_from(length) == Ok(data.len()) => Some(data),
        _ => return Err(FAULT),
    };
    Ok(SaslInitial { mechanism, data })
}
