//! Authentication of clients.

use crate::auth::{
    Account, Cause, Challenge, ClientExchange, Entropy, Method, Rejection, ScramKeys, Terms,
};
use crate::fault::{Fault, Side};
use crate::net::{FrameError, Framed};
use crate::wire::{client, server};

/// Longest password message: PostgreSQL's own limit.
const PASSWORD_MAX: usize = 65_536;

/// Why a login ended.
#[derive(Debug)]
pub enum LoginEnd {
    /// The client left.
    Left(String),
    /// The client is told why.
    Refused(Fault),
    /// The client is told less than the cause.
    Denied(Box<Fault>, String),
}

impl From<FrameError> for LoginEnd {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Malformed(error) => {
                Self::Refused(Fault::protocol(format!("invalid password packet: {error}")))
            }
            FrameError::Closed | FrameError::Io(_) => Self::Left(error.to_string()),
        }
    }
}

impl From<std::io::Error> for LoginEnd {
    fn from(error: std::io::Error) -> Self {
        Self::Left(error.to_string())
    }
}

/// What a client has proved.
#[derive(Debug, Default)]
pub struct Proof {
    /// What lets us log in to servers as this client.
    pub keys: Option<ScramKeys>,
}

/// Runs the exchange up to, and without, AuthenticationOk. Not cancel safe. Derives keys only
/// where [`Method::derives_keys_from`] and its like say so: off the threads that serve queries.
///
/// # Errors
/// Why the client may not come in.
pub async fn authenticate(
    framed: &mut Framed,
    method: Method,
    account: Account<'_>,
    terms: &Terms<'_>,
) -> Result<Proof, LoginEnd> {
    let user = String::from_utf8_lossy(account.user).into_owned();
    let entropy = entropy().map_err(LoginEnd::Refused)?;
    let (mut exchange, mut challenge) = ClientExchange::start(method, account, entropy, terms);
    loop {
        if let Challenge::Ok = challenge {
            return Ok(Proof { keys: exchange.take_keys() });
        }
        framed.send(&encode(&challenge)).await?;
        if challenge.is_final() {
            return Ok(Proof { keys: exchange.take_keys() });
        }
        let answer = framed.frame(PASSWORD_MAX).await?;
        if answer.tag != client::PASSWORD {
            let text = format!("expected password response, got message type {}", answer.tag);
            return Err(LoginEnd::Refused(Fault::protocol(text)));
        }
        let is_sasl = matches!(challenge, Challenge::Sasl { .. } | Challenge::SaslContinue(_));
        let next = exchange.respond(&answer.body);
        challenge = next.map_err(|rejection| rejected(&rejection, &user, is_sasl))?;
    }
}

fn entropy() -> Result<Entropy, Fault> {
    let mut bytes = [0; 4 + crate::auth::scram::NONCE_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|_| Fault::session(Side::Proxy, "XX000", "the system has no randomness"))?;
    let (salt, nonce) = bytes.split_at(4);
    let mut entropy = Entropy { md5_salt: [0; 4], nonce: [0; crate::auth::scram::NONCE_BYTES] };
    entropy.md5_salt.copy_from_slice(salt);
    entropy.nonce.copy_from_slice(nonce);
    Ok(entropy)
}

/// PostgreSQL's words; the true cause is for the log only.
fn rejected(rejection: &Rejection, user: &str, is_sasl: bool) -> LoginEnd {
    if let Rejection::Denied(cause) = rejection {
        let cause: &Cause = cause;
        let text = format!("password authentication failed for user \"{user}\"");
        let others =
            if is_sasl { "SASL authentication failed" } else { "password authentication failed" };
        let fault = Fault::session(Side::Client, rejection.sqlstate(), text).pgbouncer(others);
        return LoginEnd::Denied(Box::new(fault), cause.to_string());
    }
    let text = rejection.to_string();
    let fault = Fault::session(Side::Client, rejection.sqlstate(), text.clone());
    // PgBouncer says more to nobody.
    LoginEnd::Refused(fault.pgbouncer(if is_sasl {
        "SASL authentication failed".into()
    } else {
        text
    }))
}

/// The challenge as an Authentication message (manual, "Message Formats").
fn encode(challenge: &Challenge) -> Vec<u8> {
    let mut out = Vec::new();
    match challenge {
        Challenge::Ok => server::authentication(&mut out, 0, b""),
        Challenge::CleartextPassword => server::authentication(&mut out, 3, b""),
        Challenge::Md5 { salt } => server::authentication(&mut out, 5, salt),
        Challenge::Sasl { mechanisms } => {
            let mut list = Vec::new();
            for mechanism in *mechanisms {
                list.extend_from_slice(mechanism.as_bytes());
                list.push(0);
            }
            list.push(0);
            server::authentication(&mut out, 10, &list);
        }
        Challenge::SaslContinue(data) => server::authentication(&mut out, 11, data),
        Challenge::SaslFinal(data) => server::authentication(&mut out, 12, data),
    }
    out
}
