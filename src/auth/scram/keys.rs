//! The keys of SCRAM and where they come from (RFC 5802 section 3).

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use super::MAX_STORED_ITERATIONS;
use crate::auth::saslprep;

/// PostgreSQL's decoder demands padding and refuses white space, but ignores the bits that the last
/// digit has to spare. A stored verifier that PostgreSQL accepts must be accepted here.
const STORED_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// 32 bytes that nobody else may learn: overwritten on drop, hidden from `Debug`, compared in
/// constant time.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

impl Key {
    pub(in crate::auth) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// SHA-256 of `bytes`.
    pub(in crate::auth) fn digest(bytes: &[u8]) -> Self {
        Self::new(Sha256::digest(bytes).into())
    }

    pub(in crate::auth) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Bitwise exclusive or: a proof is a key so masked by a signature, and back.
    pub(super) fn masked_by(&self, mask: &Self) -> Self {
        let mut masked = self.clone();
        for (byte, mask) in masked.0.iter_mut().zip(mask.0.iter()) {
            *byte ^= mask;
        }
        masked
    }

    /// Reads a key from a message, where only the canonical base64 is valid.
    pub(super) fn from_base64(text: &[u8]) -> Option<Self> {
        Self::decode(&STANDARD, text)
    }

    pub(super) fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.as_slice()))
    }

    fn decode(engine: &GeneralPurpose, text: &[u8]) -> Option<Self> {
        let bytes = Zeroizing::new(engine.decode(text).ok()?);
        bytes.as_slice().try_into().ok().map(Self::new)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// HMAC-SHA-256 over the concatenation of `parts`.
pub(in crate::auth) fn hmac(key: &Key, parts: &[&[u8]]) -> Key {
    // A key shorter than SHA-256's block of 64 bytes is padded with zeroes by definition (RFC 2104);
    // padding it here gives a length that cannot be wrong.
    let mut block = Zeroizing::new([0_u8; 64]);
    for (byte, key) in block.iter_mut().zip(key.bytes()) {
        *byte = *key;
    }
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    Key::new(mac.finalize().into_bytes().into())
}

/// What checks a client's proof: enough to recognise a password, not enough to log in with.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Box<[u8]>,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    pub(in crate::auth) const PREFIX: &[u8] = b"SCRAM-SHA-256$";

    /// Derives the verifier of `password`: `iterations` (at least 1) rounds of PBKDF2, 0.5 ms for
    /// 4,096. Keep it off the threads that serve queries.
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        ScramKeys::derive(password, salt, iterations).to_verifier()
    }

    /// A verifier that no proof can satisfy, for an exchange that is bound to fail.
    pub(in crate::auth) fn unsatisfiable(salt: &[u8], iterations: u32, key: Key) -> Self {
        let server_key = hmac(&key, &[b"mock server key"]);
        Self { iterations, salt: salt.into(), stored_key: key, server_key }
    }

    /// Reads `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
    ///
    /// # Errors
    /// The first part that is wrong. A salt may have any length but none.
    pub fn parse(text: &[u8]) -> Result<Self, VerifierError> {
        let body = text.strip_prefix(Self::PREFIX).ok_or(VerifierError::Shape)?;
        let (iterations, rest) = split_once(body, b':')?;
        let (salt, keys) = split_once(rest, b'$')?;
        let (stored_key, server_key) = split_once(keys, b':')?;
        let iterations = parse_number(iterations)
            .filter(|count| (1..=MAX_STORED_ITERATIONS).contains(count))
            .ok_or(VerifierError::Iterations)?;
        let salt = STORED_BASE64
            .decode(salt)
            .ok()
            .filter(|salt| !salt.is_empty())
            .ok_or(VerifierError::Salt)?;
        let key = |text| Key::decode(&STORED_BASE64, text).ok_or(VerifierError::Keys);
        Ok(Self {
            iterations,
            salt: salt.into(),
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// The form in which PostgreSQL stores it. To be guarded like a secret: it lets its reader guess
    /// passwords offline, and impersonate the server.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            self.stored_key.to_base64().as_str(),
            self.server_key.to_base64().as_str(),
        ))
    }

    /// Rounds of PBKDF2.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The salt, decoded.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Whether `password` is the right one: as expensive as [`Verifier::derive`].
    #[must_use]
    pub fn accepts(&self, password: &[u8]) -> bool {
        Self::derive(password, &self.salt, self.iterations).server_key == self.server_key
    }

    pub(super) fn stored_key(&self) -> &Key {
        &self.stored_key
    }

    pub(super) fn server_key(&self) -> &Key {
        &self.server_key
    }

    /// The keys for logging in elsewhere, once a client's proof has given away its ClientKey.
    pub(super) fn into_keys(self, client_key: Key) -> ScramKeys {
        ScramKeys {
            request: KeyRequest { salt: self.salt, iterations: self.iterations },
            client_key,
            server_key: self.server_key,
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

fn split_once(text: &[u8], separator: u8) -> Result<(&[u8], &[u8]), VerifierError> {
    let at = memchr::memchr(separator, text).ok_or(VerifierError::Shape)?;
    let (before, rest) = text.split_at_checked(at).ok_or(VerifierError::Shape)?;
    let (_, after) = rest.split_first().ok_or(VerifierError::Shape)?;
    Ok((before, after))
}

/// A decimal number without sign or space.
pub(super) fn parse_number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What is wrong with a verifier.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum VerifierError {
    /// Parts missing.
    #[error("is not SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")]
    Shape,
    /// Not a number, or not from 1 to [`MAX_STORED_ITERATIONS`].
    #[error("its iteration count is not a number from 1 to 10000000")]
    Iterations,
    /// Empty, or not base64.
    #[error("its salt is not base64")]
    Salt,
    /// Not base64, or not 32 bytes.
    #[error("its keys are not 32 bytes in base64 each")]
    Keys,
}

/// What keys must be derived for, beside the password.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRequest {
    /// The server's salt for this user, decoded.
    pub salt: Box<[u8]>,
    /// Rounds of PBKDF2; already checked against the cap.
    pub iterations: u32,
}

/// What a client of SCRAM needs: proves itself with one key, knows the server by the other.
///
/// As good as the password towards every server that stores the same verifier, so guard it like one.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    request: KeyRequest,
    client_key: Key,
    server_key: Key,
}

impl ScramKeys {
    /// Derives the keys of `password`, which is prepared as PostgreSQL does (SASLprep, or the raw
    /// bytes where that is impossible): `iterations` (at least 1) rounds of PBKDF2, 0.5 ms for 4,096.
    /// Keep it off the threads that serve queries, and keep the result.
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let prepared = saslprep::prepare(password);
        let mut salted = Zeroizing::new([0_u8; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(&prepared, salt, iterations.max(1), salted.as_mut_slice());
        let salted = Key(salted);
        Self {
            request: KeyRequest { salt: salt.into(), iterations: iterations.max(1) },
            client_key: hmac(&salted, &[b"Client Key"]),
            server_key: hmac(&salted, &[b"Server Key"]),
        }
    }

    /// Whether these keys answer `request`. Keys of another salt cannot log in, whatever the password.
    #[must_use]
    pub fn fits(&self, request: &KeyRequest) -> bool {
        self.request == *request
    }

    /// Whether these are the keys of this verifier's password, by its salt and count.
    #[must_use]
    pub fn belong_to(&self, verifier: &Verifier) -> bool {
        self.to_verifier() == *verifier
    }

    /// The verifier of the same password.
    #[must_use]
    pub fn to_verifier(&self) -> Verifier {
        Verifier {
            iterations: self.request.iterations,
            salt: self.request.salt.clone(),
            stored_key: self.stored_key(),
            server_key: self.server_key.clone(),
        }
    }

    pub(super) fn stored_key(&self) -> Key {
        Key::digest(self.client_key.bytes())
    }

    pub(super) fn client_key(&self) -> &Key {
        &self.client_key
    }

    pub(super) fn server_key(&self) -> &Key {
        &self.server_key
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramKeys(..)")
    }
}

impl KeyRequest {
    /// [`ScramKeys::derive`] for this request: expensive.
    #[must_use]
    pub fn derive(&self, password: &[u8]) -> ScramKeys {
        ScramKeys::derive(password, &self.salt, self.iterations)
    }
}
