//! SCRAM when a client logs in to us: [`Offer`] → [`Pending`] → keys.

use thiserror::Error;

use super::attributes::{Attributes, is_printable};
use super::keys::{Key, ScramKeys, Verifier, hmac};
use super::{
    BINDING_TYPE, MAX_MESSAGE_BYTES, MECHANISM, MECHANISM_PLUS, NONCE_BYTES, binding_field,
    nonce_text,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Why a client's message ends the exchange at once. The texts and SQLSTATEs are PostgreSQL's.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ScramFault {
    /// Breaks the grammar: 08P01.
    #[error("malformed SCRAM message ({0})")]
    Malformed(&'static str),
    /// Asks for what PostgreSQL does not support either: 0A000.
    #[error("{0}")]
    Unsupported(&'static str),
    /// Channel binding does not hold, which is how a man in the middle shows: 28000.
    #[error("{0}")]
    Binding(&'static str),
}

use ScramFault::Malformed;

/// What a client says about channel binding (RFC 5802 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingFlag<'a> {
    /// `n`: it cannot.
    Unsupported,
    /// `y`: it could, but believes that we cannot.
    NotOffered,
    /// `p=`: it did, with the binding of this name.
    Bound(&'a [u8]),
}

/// A client's first message, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientFirst<'a> {
    /// The client's word on channel binding.
    pub flag: BindingFlag<'a>,
    /// Everything up to the second comma; comes back in the final message.
    pub gs2_header: &'a [u8],
    /// What follows it, and is signed.
    pub bare: &'a [u8],
    /// The client's nonce: printable, not empty.
    pub nonce: &'a [u8],
}

/// Reads a client's first message.
///
/// # Errors
/// As PostgreSQL: also for an authorization identity and for mandatory extensions.
pub fn parse_client_first(message: &[u8]) -> Result<ClientFirst<'_>, ScramFault> {
    check_size(message)?;
    let comma = memchr::memchr(b',', message).ok_or(Malformed("comma expected"))?;
    let (flag, rest) = message.split_at_checked(comma).ok_or(Malformed("comma expected"))?;
    let flag = match flag {
        b"n" => BindingFlag::Unsupported,
        b"y" => BindingFlag::NotOffered,
        [b'p', b'=', name @ ..] => BindingFlag::Bound(name),
        _ => return Err(Malformed("unexpected channel-binding flag")),
    };
    if rest.starts_with(b",a") {
        return Err(ScramFault::Unsupported(
            "client uses authorization identity, but it is not supported",
        ));
    }
    let bare = rest
        .strip_prefix(b",,")
        .ok_or(Malformed("unexpected attribute in client-first-message"))?;
    let gs2_header = message.strip_suffix(bare).unwrap_or_default();
    if bare.starts_with(b"m") {
        return Err(ScramFault::Unsupported("client requires an unsupported SCRAM extension"));
    }
    let mut attributes = Attributes::new(bare);
    // PostgreSQL's manual, section "SASL Authentication": the name in the startup packet counts.
    attributes.expect(b'n').ok_or(Malformed("attribute \"n\" expected"))?;
    let nonce = attributes.expect(b'r').ok_or(Malformed("attribute \"r\" expected"))?;
    if nonce.is_empty() || !is_printable(nonce) {
        return Err(Malformed("non-printable characters in SCRAM nonce"));
    }
    if !attributes.only_optional_extensions() {
        return Err(Malformed("attribute expected"));
    }
    Ok(ClientFirst { flag, gs2_header, bare, nonce })
}

/// A client's last message, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFinal<'a> {
    /// The `c=` field, still in base64.
    pub binding: &'a [u8],
    /// Both nonces.
    pub nonce: &'a [u8],
    /// What is signed of this message.
    pub without_proof: &'a [u8],
    /// ClientKey masked by the client's signature.
    pub proof: Key,
}

/// Reads a client's last message.
///
/// # Errors
/// As PostgreSQL, and a proof in base64 that is not canonical.
pub fn parse_client_final(message: &[u8]) -> Result<ClientFinal<'_>, ScramFault> {
    check_size(message)?;
    let missing = Malformed("malformed proof in client-final-message");
    let comma = memchr::memrchr(b',', message).ok_or(missing)?;
    let (without_proof, last) = message.split_at_checked(comma).ok_or(missing)?;
    let proof = last.strip_prefix(b",p=").and_then(Key::from_base64).ok_or(missing)?;
    let mut attributes = Attributes::new(without_proof);
    let binding = attributes.expect(b'c').ok_or(Malformed("attribute \"c\" expected"))?;
    let nonce = attributes.expect(b'r').ok_or(Malformed("attribute \"r\" expected"))?;
    if !attributes.only_optional_extensions() {
        return Err(Malformed("attribute expected"));
    }
    Ok(ClientFinal { binding, nonce, without_proof, proof })
}

fn check_size(message: &[u8]) -> Result<(), ScramFault> {
    if message.is_empty() {
        return Err(Malformed("empty message"));
    }
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(Malformed("message too long"));
    }
    if message.contains(&0) {
        return Err(Malformed("length mismatch"));
    }
    Ok(())
}

/// The exchange before the client has spoken.
#[derive(Debug)]
pub struct Offer {
    verifier: Verifier,
    nonce: String,
    binding: Option<Box<[u8]>>,
}

impl Offer {
    /// `binding` is the hash of our TLS certificate (`tls-server-end-point`); with it the mechanism
    /// with channel binding is offered too.
    #[must_use]
    pub fn new(verifier: Verifier, random: &[u8; NONCE_BYTES], binding: Option<&[u8]>) -> Self {
        Self { verifier, nonce: nonce_text(random), binding: binding.map(Into::into) }
    }

    /// The mechanisms to send in AuthenticationSASL, best first.
    #[must_use]
    pub fn mechanisms(&self) -> &'static [&'static str] {
        match self.binding {
            Some(_) => &[MECHANISM_PLUS, MECHANISM],
            None => &[MECHANISM],
        }
    }

    /// Takes the client's first message, under the mechanism it chose, and gives ours.
    ///
    /// # Errors
    /// Malformed messages; channel binding that does not agree with the mechanism.
    pub fn on_client_first(
        self,
        plus: bool,
        message: &[u8],
    ) -> Result<(Pending, Vec<u8>), ScramFault> {
        let first = parse_client_first(message)?;
        let bound = match (first.flag, &self.binding) {
            (BindingFlag::Bound(name), Some(binding)) if plus => {
                if name != BINDING_TYPE.as_bytes() {
                    return Err(Malformed("unsupported SCRAM channel-binding type"));
                }
                binding.as_ref()
            }
            (BindingFlag::Bound(_), _) => {
                return Err(Malformed("channel binding without SCRAM-SHA-256-PLUS"));
            }
            (BindingFlag::Unsupported | BindingFlag::NotOffered, _) if plus => {
                return Err(Malformed("SCRAM-SHA-256-PLUS without channel binding"));
            }
            // RFC 5802 section 6: somebody has removed PLUS from our offer on its way.
            (BindingFlag::NotOffered, Some(_)) => {
                return Err(ScramFault::Binding("SCRAM channel binding negotiation error"));
            }
            (BindingFlag::Unsupported | BindingFlag::NotOffered, _) => &[],
        };
        let expected_binding = binding_field(first.gs2_header, bound);
        let nonce = [first.nonce, self.nonce.as_bytes()].concat();
        let salt = STANDARD.encode(self.verifier.salt());
        let tail = format!(",s={salt},i={}", self.verifier.iterations());
        let server_first = [b"r=".as_slice(), &nonce, tail.as_bytes()].concat();
        let signed = [first.bare, b",", &server_first, b","].concat();
        let pending = Pending { verifier: self.verifier, expected_binding, nonce, signed, plus };
        Ok((pending, server_first))
    }
}

/// The exchange while we wait for the client's proof.
pub struct Pending {
    verifier: Verifier,
    expected_binding: String,
    nonce: Vec<u8>,
    signed: Vec<u8>,
    plus: bool,
}

impl Pending {
    /// Takes the client's last message. `Some` if its proof is right: what to send back, and the
    /// keys by which this client can be represented at servers that store the same verifier.
    ///
    /// # Errors
    /// Malformed messages, a nonce that is not ours, a binding to another TLS connection.
    pub fn on_client_final(
        self,
        message: &[u8],
    ) -> Result<Option<(Vec<u8>, ScramKeys)>, ScramFault> {
        let last = parse_client_final(message)?;
        if last.binding != self.expected_binding.as_bytes() {
            return Err(if self.plus {
                ScramFault::Binding("SCRAM channel binding check failed")
            } else {
                Malformed("unexpected channel-binding attribute in client-final-message")
            });
        }
        if last.nonce != self.nonce {
            return Err(Malformed("nonce mismatch"));
        }
        let signed: [&[u8]; 2] = [&self.signed, last.without_proof];
        let signature = hmac(self.verifier.stored_key(), &signed);
        let client_key = last.proof.masked_by(&signature);
        if Key::digest(client_key.bytes()) != *self.verifier.stored_key() {
            return Ok(None);
        }
        let server_signature = hmac(self.verifier.server_key(), &signed);
        let answer = format!("v={}", server_signature.to_base64().as_str()).into_bytes();
        Ok(Some((answer, self.verifier.into_keys(client_key))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &[u8]) -> ScramFault {
        parse_client_first(message).expect_err("refused")
    }

    #[test]
    fn client_first_is_taken_apart() {
        let first = parse_client_first(b"n,,n=\xffuser,r=abc,x=1").expect("valid");
        assert_eq!(first.gs2_header, b"n,,");
        assert_eq!(first.bare, b"n=\xffuser,r=abc,x=1");
        assert_eq!(first.nonce, b"abc");
        let bound = parse_client_first(b"p=tls-unique,,n=,r=abc").expect("valid");
        assert_eq!(bound.flag, BindingFlag::Bound(b"tls-unique"));
        assert_eq!(bound.gs2_header, b"p=tls-unique,,");
    }

    #[test]
    fn what_postgresql_refuses_in_client_first_is_refused() {
        let malformed: [&[u8]; 14] = [
            b"",
            b"n",
            b"x,,n=,r=a",
            b"nn,,n=,r=a",
            b"n,n=,r=a",
            b"n,,r=a",
            b"n,,n=",
            b"n,,n=,r=",
            b"n,,n=,r=a\x01",
            b"n,,n=,r=a,",
            b"n,,n=,r=a,1=x",
            b"n,,n=,r=a,m=x",
            b"n,,n=,r=a\0",
            b"n,,n=,s=a",
        ];
        for message in malformed {
            assert!(matches!(refused(message), Malformed(_)), "{message:?}");
        }
        for message in [b"n,,m=x,n=,r=a".as_slice(), b"n,a=root,n=,r=a"] {
            assert!(matches!(refused(message), ScramFault::Unsupported(_)), "{message:?}");
        }
        let long = [b"n,,n=,r=".as_slice(), &[b'a'; 1024]].concat();
        assert_eq!(refused(&long), Malformed("message too long"));
    }

    #[test]
    fn a_proof_must_be_last_and_whole() {
        let proof = STANDARD.encode([7; 32]);
        let check = |text: String| parse_client_final(text.as_bytes()).is_ok();
        assert!(check(format!("c=biws,r=ab,p={proof}")));
        assert!(check(format!("c=biws,r=ab,x=1,p={proof}")));
        assert!(!check(format!("c=biws,r=ab,p={proof},x=1")));
        assert!(!check(format!("c=biws,r=ab,m=1,p={proof}")));
        assert!(!check(format!("r=ab,c=biws,p={proof}")));
        assert!(!check(format!("c=biws,r=ab,p={}", STANDARD.encode([7; 31]))));
        assert!(!check("c=biws,r=ab".to_owned()));
    }
}
