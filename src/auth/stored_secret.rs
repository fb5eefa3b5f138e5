//! What we know about a user: a password, or something derived from it.

use std::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use super::scram::{Key, Verifier, VerifierError};

/// A password in clear. Overwritten on drop, hidden from `Debug`, compared in constant time.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Copies `bytes`; PostgreSQL treats a password as bytes of no particular encoding.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The password itself. Do not log it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// An empty password never lets anybody in (PostgreSQL refuses to store one).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Password {
    /// Compares digests, so that the time taken tells nothing about a common prefix or a length.
    fn eq(&self, other: &Self) -> bool {
        Key::digest(&self.0) == Key::digest(&other.0)
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The 32 digits of a stored MD5 secret. As good as the password for an MD5 login.
#[derive(Clone)]
pub struct Md5Secret(Zeroizing<[u8; 32]>);

impl Md5Secret {
    pub(super) fn from_digits(digits: Zeroizing<[u8; 32]>) -> Self {
        Self(digits)
    }

    /// The digits without `md5` in front.
    pub(super) fn digits(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl PartialEq for Md5Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Md5Secret {}

impl fmt::Debug for Md5Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Secret(..)")
    }
}

/// A secret as PostgreSQL's `pg_authid.rolpassword` or a user list holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The password.
    Plain(Password),
    /// `md5` and 32 lower-case hexadecimal digits.
    Md5(Md5Secret),
    /// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
    Scram(Verifier),
}

impl Secret {
    /// Reads a stored secret. As in PostgreSQL, what is neither an MD5 secret nor a verifier is a
    /// password, `md5` followed by something else included.
    ///
    /// # Errors
    /// Text that begins like a verifier and is none. PostgreSQL and PgBouncer would take it for a
    /// password, so that a typing error in a user list makes its text the password of that user.
    pub fn parse(text: &[u8]) -> Result<Self, SecretError> {
        if text.len() > super::MAX_PASSWORD_BYTES {
            return Err(SecretError::TooLong);
        }
        if text.contains(&0) {
            return Err(SecretError::Nul);
        }
        if let Some(digits) = md5_digits(text) {
            return Ok(Self::Md5(Md5Secret(digits)));
        }
        if text.starts_with(Verifier::PREFIX) {
            return Ok(Self::Scram(Verifier::parse(text)?));
        }
        Ok(Self::Plain(Password::new(text)))
    }

    /// The verifier by which SCRAM checks this secret; `None` for an MD5 secret, from which there
    /// is none.
    ///
    /// For a password this runs `iterations` rounds of PBKDF2 (0.5 ms for 4,096): keep it off the
    /// threads that serve queries, and keep the result. A salt from
    /// [`MockKey::salt`](super::MockKey::salt) makes this user look like one who does not exist.
    #[must_use]
    pub fn to_verifier(&self, iterations: u32, salt: &[u8]) -> Option<Verifier> {
        match self {
            Self::Plain(password) => Some(Verifier::derive(password.as_bytes(), salt, iterations)),
            Self::Md5(_) => None,
            Self::Scram(verifier) => Some(verifier.clone()),
        }
    }
}

fn md5_digits(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let digits: [u8; 32] = text.strip_prefix(b"md5")?.try_into().ok()?;
    let digits = Zeroizing::new(digits);
    digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(digits)
}

/// Why a text is no secret. Never holds any of it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SecretError {
    /// A damaged verifier.
    #[error(
        "begins like a SCRAM verifier, but {0}; copy rolpassword from pg_authid again, in one piece"
    )]
    Verifier(#[from] VerifierError),
    /// Above [`MAX_PASSWORD_BYTES`](super::MAX_PASSWORD_BYTES).
    #[error("is longer than 65535 bytes")]
    TooLong,
    /// PostgreSQL's password messages end at the first zero byte.
    #[error("contains a zero byte, which no client can send")]
    Nul,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
        $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn kinds_are_told_apart_as_in_postgresql() {
        let digits = "0123456789abcdef0123456789abcdef";
        let kind = |text: &str| match Secret::parse(text.as_bytes()).expect(text) {
            Secret::Plain(_) => "plain",
            Secret::Md5(_) => "md5",
            Secret::Scram(_) => "scram",
        };
        assert_eq!(kind(&format!("md5{digits}")), "md5");
        assert_eq!(kind(&format!("md5{}", digits.to_uppercase())), "plain");
        assert_eq!(kind(&format!("md5{digits}0")), "plain");
        assert_eq!(kind("md5"), "plain");
        assert_eq!(kind(""), "plain");
        assert_eq!(kind(VERIFIER), "scram");
        assert_eq!(kind("scram-sha-256$4096"), "plain");
    }

    #[test]
    fn a_damaged_verifier_is_an_error_not_a_password() {
        let broken = |text: String| Secret::parse(text.as_bytes()).expect_err("damaged");
        assert_eq!(broken(VERIFIER.replace("$4096:", "$0:")), VerifierError::Iterations.into());
        assert_eq!(
            broken(VERIFIER.replace("$4096:", "$10000001:")),
            VerifierError::Iterations.into()
        );
        assert_eq!(broken(VERIFIER.replace("$4096:", "$+4096:")), VerifierError::Iterations.into());
        assert_eq!(broken(VERIFIER.replace("gQ==", "gQ")), VerifierError::Salt.into());
        assert_eq!(
            broken(VERIFIER.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "")),
            VerifierError::Salt.into()
        );
        assert_eq!(broken(VERIFIER.replace("4qY=:", "4qY=")), VerifierError::Shape.into());
        assert_eq!(broken(VERIFIER.replace("T4qY=", "=")), VerifierError::Keys.into());
        assert_eq!(broken(format!("{VERIFIER} ")), VerifierError::Keys.into());
        assert_eq!(broken("SCRAM-SHA-256$".to_owned()), VerifierError::Shape.into());
    }

    #[test]
    fn any_salt_length_is_read() {
        for salt in
            ["YQ==", "YWJj", "W22ZaJ0SNY7soEsUEjb6gVsdmWidEjWO7KBLFBI2+oFbHZlonRI1juygSxQSNvqB"]
        {
            let text = VERIFIER.replace("W22ZaJ0SNY7soEsUEjb6gQ==", salt);
            assert!(matches!(Secret::parse(text.as_bytes()), Ok(Secret::Scram(_))), "{salt}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        for text in ["hunter2", "md50123456789abcdef0123456789abcdef", VERIFIER] {
            let secret = Secret::parse(text.as_bytes()).expect("a secret");
            let shown = format!("{secret:?}");
            for piece in ["hunter2", "0123456789abcdef", "WG5d8o", "wfPLwc", "W22Z", "104, 117"] {
                assert!(!shown.contains(piece), "{shown}");
            }
        }
        let shown = Secret::parse(b"SCRAM-SHA-256$hunter2").expect_err("damaged").to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn bytes_no_message_can_carry_are_refused() {
        assert_eq!(Secret::parse(b"a\0b"), Err(SecretError::Nul));
        assert_eq!(Secret::parse(&[b'a'; 65_536]), Err(SecretError::TooLong));
    }

    proptest! {
        #[test]
        fn verifiers_survive_their_text(
            salt in proptest::collection::vec(any::<u8>(), 1..40), iterations in 1_u32..20
        ) {
            let verifier = Verifier::derive(b"secret", &salt, iterations);
            let parsed = Secret::parse(verifier.to_text().as_bytes());
            prop_assert_eq!(parsed, Ok(Secret::Scram(verifier)));
        }

        #[test]
        fn parsing_never_panics(text: Vec<u8>) {
            for prefix in [b"".as_slice(), b"md5", b"SCRAM-SHA-256$", b"SCRAM-SHA-256$1:YQ==$"] {
                let secret = Secret::parse(&[prefix, &text].concat());
                prop_assert!(secret.is_ok() || prefix.starts_with(b"SCRAM") || text.contains(&0));
            }
        }
    }

    #[test]
    fn verifiers_equal_those_of_postgres_protocol() {
        let text = postgres_protocol::password::scram_sha_256("p\u{2168}ss".as_bytes());
        let Ok(Secret::Scram(theirs)) = Secret::parse(text.as_bytes()) else {
            panic!("not a verifier: {text}");
        };
        let ours = Verifier::derive("p\u{2168}ss".as_bytes(), theirs.salt(), theirs.iterations());
        assert_eq!(ours, theirs);
        assert_eq!(ours.to_text().as_str(), text);
    }
}
