//! Authentication to a server.
//!
//! [`ServerLogin::on_request`] takes each Authentication message and says what to send. The server
//! has to prove itself as well where SCRAM is used: AuthenticationOk in the middle of SCRAM is refused.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use super::md5;
use super::scram::client::{Binding, Hello, NeedsKeys, ServerFault, Unverified};
use super::scram::{KeyRequest, MAX_ITERATIONS, MECHANISM, MECHANISM_PLUS, NONCE_BYTES, ScramKeys};
use super::stored_secret::{Md5Secret, Password, Secret};

/// What we have to log in with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing: only a server that asks for nothing lets us in.
    None,
    /// The password, which serves every method.
    Password(Password),
    /// A stored MD5 secret, which serves MD5 only.
    Md5(Md5Secret),
    /// Keys from a client's own login, which serve SCRAM with the same salt only.
    Keys(ScramKeys),
}

impl Credential {
    /// The credential in a stored secret. A verifier alone cannot log in anywhere: take the keys of
    /// the client's login ([`ClientExchange::take_keys`](super::ClientExchange::take_keys)) instead.
    #[must_use]
    pub fn from_secret(secret: &Secret) -> Self {
        match secret {
            Secret::Plain(password) => Self::Password(password.clone()),
            Secret::Md5(secret) => Self::Md5(secret.clone()),
            Secret::Scram(_) => Self::None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::None => "no password",
            Self::Password(_) => "a password",
            Self::Md5(_) => "an MD5 secret",
            Self::Keys(_) => "SCRAM keys",
        }
    }
}

/// An Authentication message of the server (`R`), by its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthRequest<'a> {
    /// 0.
    Ok,
    /// 3.
    Cleartext,
    /// 5, with its salt.
    Md5([u8; 4]),
    /// 10, with the list of mechanisms as it came: zero-terminated names and an empty one.
    Sasl(&'a [u8]),
    /// 11, with its data.
    SaslContinue(&'a [u8]),
    /// 12, with its data.
    SaslFinal(&'a [u8]),
    /// Any other code.
    Other(u32),
}

/// What to do next.
#[derive(Clone, PartialEq, Eq)]
pub enum LoginStep {
    /// Send a `p` message with this body, then read on.
    Send(Zeroizing<Vec<u8>>),
    /// Give [`ServerLogin::supply_keys`] the keys of our password for this salt: from a cache, or by
    /// [`KeyRequest::derive`] (0.5 ms at 4,096 iterations) off the threads that serve queries.
    NeedKeys(KeyRequest),
    /// Send nothing, read on.
    Wait,
    /// We are in.
    Done,
}

impl fmt::Debug for LoginStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Send(_) => "Send(..)",
            Self::NeedKeys(_) => "NeedKeys(..)",
            Self::Wait => "Wait",
            Self::Done => "Done",
        })
    }
}

/// Why a login to a server cannot succeed. Ready to be logged: holds no secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LoginError {
    /// The server asks for a password and there is none.
    #[error(
        "the server asks for a password ({wanted}), but none is known for this user: add the user \
         with its password to auth_file, or set password for the database"
    )]
    NoSecret {
        /// The method.
        wanted: &'static str,
    },
    /// What we have does not serve the method.
    #[error("the server asks for {wanted}, for which {have} cannot be used: store the password")]
    WrongSecret {
        /// The method.
        wanted: &'static str,
        /// What we have.
        have: &'static str,
    },
    /// The keys of a client's login belong to another verifier than the server's.
    #[error(
        "the server stores another SCRAM verifier for this user than auth_file: copy rolpassword \
         from its pg_authid again, or store the password"
    )]
    OtherVerifier,
    /// A method we do not speak.
    #[error(
        "the server asks for {0} authentication, which is not supported: change its pg_hba.conf to \
         scram-sha-256 for connections from here"
    )]
    UnsupportedMethod(String),
    /// None of the SASL mechanisms is ours. Holds their names, cut short and made printable.
    #[error("none of the server's SASL authentication mechanisms is supported: {0}")]
    UnsupportedMechanisms(String),
    /// The message does not belong here, for instance AuthenticationOk before the server has proved
    /// itself.
    #[error("the server sent {0} out of order during authentication")]
    OutOfOrder(&'static str),
    /// The password cannot be sent.
    #[error("the password contains a zero byte, which the protocol cannot carry")]
    NulInPassword,
    /// The SCRAM exchange itself.
    #[error(transparent)]
    Scram(#[from] ServerFault),
}

enum State {
    Start,
    /// A password or its MD5 was sent; the verdict is due.
    Answered,
    ScramHello(Hello),
    ScramNeedsKeys(NeedsKeys),
    ScramUnverified(Unverified),
    /// The server has proved itself; its AuthenticationOk is due.
    Verified,
    Over,
}

/// One login to a server, from the startup packet to AuthenticationOk.
pub struct ServerLogin {
    user: Box<[u8]>,
    credential: Credential,
    nonce: [u8; NONCE_BYTES],
    binding: Option<Box<[u8]>>,
    max_iterations: u32,
    state: State,
}

impl ServerLogin {
    /// `user` is the name in our startup packet, `nonce` fresh random bytes, `binding` the hash of
    /// the server's certificate if the connection is encrypted and the certificate names a hash.
    #[must_use]
    pub fn new(
        user: &[u8],
        credential: Credential,
        nonce: [u8; NONCE_BYTES],
        binding: Option<&[u8]>,
    ) -> Self {
        Self {
            user: user.into(),
            credential,
            nonce,
            binding: binding.map(Into::into),
            max_iterations: MAX_ITERATIONS,
            state: State::Start,
        }
    }

    /// Raises or lowers the cap on what the server may make us compute ([`MAX_ITERATIONS`]).
    #[must_use]
    pub fn with_max_iterations(mut self, max_iterations: u32) -> Self {
        self.max_iterations = max_iterations;
        self
    }

    /// Takes an Authentication message. Never expensive.
    ///
    /// # Errors
    /// The login has failed: close the connection.
    pub fn on_request(&mut self, request: AuthRequest<'_>) -> Result<LoginStep, LoginError> {
        match (std::mem::replace(&mut self.state, State::Over), request) {
            (State::Start | State::Answered | State::Verified, AuthRequest::Ok) => {
                Ok(LoginStep::Done)
            }
            (State::Start, AuthRequest::Cleartext) => self.answer_cleartext(),
            (State::Start, AuthRequest::Md5(salt)) => self.answer_md5(salt),
            (State::Start, AuthRequest::Sasl(mechanisms)) => self.begin_scram(mechanisms),
            (State::ScramHello(hello), AuthRequest::SaslContinue(data)) => {
                self.continue_scram(hello, data)
            }
            (State::ScramUnverified(unverified), AuthRequest::SaslFinal(data)) => {
                unverified.on_server_final(data)?;
                self.state = State::Verified;
                Ok(LoginStep::Wait)
            }
            (State::Start, AuthRequest::Other(code)) => {
                Err(LoginError::UnsupportedMethod(method_name(code)))
            }
            (_, request) => Err(LoginError::OutOfOrder(request_name(request))),
        }
    }

    /// Answers [`LoginStep::NeedKeys`].
    ///
    /// # Errors
    /// Keys for another salt or count, or keys that nobody asked for.
    pub fn supply_keys(&mut self, keys: &ScramKeys) -> Result<LoginStep, LoginError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::ScramNeedsKeys(needs) => self.prove(needs, keys),
            State::Start
            | State::Answered
            | State::ScramHello(_)
            | State::ScramUnverified(_)
            | State::Verified
            | State::Over => Err(LoginError::OutOfOrder("no request for keys")),
        }
    }

    fn answer_cleartext(&mut self) -> Result<LoginStep, LoginError> {
        const WANTED: &str = "cleartext password";
        let password = match &self.credential {
            Credential::Password(password) if !password.is_empty() => password.as_bytes(),
            Credential::Password(_)
            | Credential::None
            | Credential::Md5(_)
            | Credential::Keys(_) => {
                return Err(self.unfit(WANTED));
            }
        };
        if password.contains(&0) {
            return Err(LoginError::NulInPassword);
        }
        let body = Zeroizing::new([password, b"\0"].concat());
        self.state = State::Answered;
        Ok(LoginStep::Send(body))
    }

    fn answer_md5(&mut self, salt: [u8; 4]) -> Result<LoginStep, LoginError> {
        let secret = match &self.credential {
            Credential::Password(password) if !password.is_empty() => {
                md5::stored(&self.user, password.as_bytes())
            }
            Credential::Md5(secret) => secret.clone(),
            Credential::Password(_) | Credential::None | Credential::Keys(_) => {
                return Err(self.unfit("md5"));
            }
        };
        let body = Zeroizing::new([md5::answer(&secret, salt).as_slice(), b"\0"].concat());
        self.state = State::Answered;
        Ok(LoginStep::Send(body))
    }

    fn begin_scram(&mut self, mechanisms: &[u8]) -> Result<LoginStep, LoginError> {
        let offers =
            |name: &str| mechanisms.split(|b| *b == 0).any(|offer| offer == name.as_bytes());
        let (mechanism, binding) = match &self.binding {
            Some(hash) if offers(MECHANISM_PLUS) => (MECHANISM_PLUS, Binding::EndPoint(hash)),
            Some(_) => (MECHANISM, Binding::NotOffered),
            None => (MECHANISM, Binding::Impossible),
        };
        if !offers(mechanism) {
            return Err(LoginError::UnsupportedMechanisms(printable_list(mechanisms)));
        }
        match &self.credential {
            Credential::Password(password) if !password.is_empty() => {}
            Credential::Keys(_) => {}
            Credential::Password(_) | Credential::None | Credential::Md5(_) => {
                return Err(self.unfit("scram-sha-256"));
            }
        }
        let (hello, message) = Hello::new(&self.nonce, binding);
        self.state = State::ScramHello(hello);
        Ok(LoginStep::Send(sasl_initial(mechanism, &message)))
    }

    fn continue_scram(&mut self, hello: Hello, data: &[u8]) -> Result<LoginStep, LoginError> {
        let needs = hello.on_server_first(data, self.max_iterations)?;
        if let Credential::Keys(keys) = &self.credential {
            let keys = keys.clone();
            return self.prove(needs, &keys);
        }
        let request = needs.request().clone();
        self.state = State::ScramNeedsKeys(needs);
        Ok(LoginStep::NeedKeys(request))
    }

    fn prove(&mut self, needs: NeedsKeys, keys: &ScramKeys) -> Result<LoginStep, LoginError> {
        if !keys.fits(needs.request()) {
            return Err(LoginError::OtherVerifier);
        }
        let (unverified, message) = needs.prove(keys);
        self.state = State::ScramUnverified(unverified);
        Ok(LoginStep::Send(Zeroizing::new(message)))
    }

    fn unfit(&self, wanted: &'static str) -> LoginError {
        match &self.credential {
            Credential::None => LoginError::NoSecret { wanted },
            Credential::Password(password) if password.is_empty() => {
                LoginError::NoSecret { wanted }
            }
            other @ (Credential::Password(_) | Credential::Md5(_) | Credential::Keys(_)) => {
                LoginError::WrongSecret { wanted, have: other.name() }
            }
        }
    }
}

impl fmt::Debug for ServerLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLogin").field("credential", &self.credential).finish_non_exhaustive()
    }
}

/// The body of a SASLInitialResponse.
fn sasl_initial(mechanism: &str, message: &[u8]) -> Zeroizing<Vec<u8>> {
    // Ours is some 60 bytes; a length that does not fit would be refused by the server.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    Zeroizing::new([mechanism.as_bytes(), b"\0", &length, message].concat())
}

/// Authentication codes of PostgreSQL's manual, section "Message Formats".
fn method_name(code: u32) -> String {
    match code {
        2 => "Kerberos V5".to_owned(),
        4 => "crypt".to_owned(),
        6 => "SCM credential".to_owned(),
        7 | 8 => "GSSAPI".to_owned(),
        9 => "SSPI".to_owned(),
        other => format!("unknown (code {other})"),
    }
}

fn request_name(request: AuthRequest<'_>) -> &'static str {
    match request {
        AuthRequest::Ok => "AuthenticationOk",
        AuthRequest::Cleartext => "AuthenticationCleartextPassword",
        AuthRequest::Md5(_) => "AuthenticationMD5Password",
        AuthRequest::Sasl(_) => "AuthenticationSASL",
        AuthRequest::SaslContinue(_) => "AuthenticationSASLContinue",
        AuthRequest::SaslFinal(_) => "AuthenticationSASLFinal",
        AuthRequest::Other(_) => "an unknown authentication request",
    }
}

/// Names from a server go into our log: at most 100 characters, none that could break a line.
fn printable_list(mechanisms: &[u8]) -> String {
    let names = mechanisms.split(|b| *b == 0).filter(|name| !name.is_empty());
    let names = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>();
    let visible = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    names.join(", ").chars().take(100).map(visible).collect()
}
