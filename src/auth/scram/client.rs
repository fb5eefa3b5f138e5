//! SCRAM when we log in to a server: [`Hello`] → [`NeedsKeys`] → [`Unverified`] → done.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::attributes::{Attributes, is_printable};
use super::keys::{Key, KeyRequest, ScramKeys, hmac, parse_number};
use super::{BINDING_TYPE, MAX_MESSAGE_BYTES, NONCE_BYTES, binding_field, nonce_text};

/// Why a server's message is not to be believed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ServerFault {
    /// Breaks the grammar of RFC 5802.
    #[error("malformed SCRAM message from the server ({0})")]
    Malformed(&'static str),
    /// More rounds than we are ready to compute.
    #[error("the server asks for {asked} SCRAM iterations, more than the {limit} allowed")]
    Iterations {
        /// What the server asks for.
        asked: u32,
        /// What we would compute.
        limit: u32,
    },
    /// The server does not know the user's verifier: it is not the server we take it for.
    #[error("the server's SCRAM signature is wrong: it does not hold this user's secret")]
    Signature,
    /// The server reports `e=`: in practice a wrong password.
    #[error("the server refused the SCRAM proof")]
    Refused,
}

use ServerFault::Malformed;

/// A server's first message, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFirst<'a> {
    /// Our nonce followed by the server's.
    pub nonce: &'a [u8],
    /// Salt and iterations, at least 1.
    pub request: KeyRequest,
}

/// Reads a server's first message.
///
/// # Errors
/// Anything that is not `r=…,s=…,i=…` and optional extensions.
pub fn parse_server_first(message: &[u8]) -> Result<ServerFirst<'_>, ServerFault> {
    check_size(message)?;
    if message.starts_with(b"m") {
        return Err(Malformed("mandatory extension"));
    }
    let mut attributes = Attributes::new(message);
    let nonce = attributes.expect(b'r').ok_or(Malformed("nonce expected"))?;
    if !is_printable(nonce) {
        return Err(Malformed("non-printable characters in nonce"));
    }
    let salt = attributes.expect(b's').ok_or(Malformed("salt expected"))?;
    let salt = STANDARD.decode(salt).map_err(|_| Malformed("salt is not base64"))?;
    let iterations = attributes
        .expect(b'i')
        .and_then(parse_number)
        .filter(|count| *count > 0)
        .ok_or(Malformed("invalid iteration count"))?;
    if !attributes.only_optional_extensions() {
        return Err(Malformed("attribute expected"));
    }
    Ok(ServerFirst { nonce, request: KeyRequest { salt: salt.into(), iterations } })
}

/// Reads a server's last message: its signature.
///
/// # Errors
/// [`ServerFault::Refused`] for `e=`, else malformed.
pub fn parse_server_final(message: &[u8]) -> Result<Key, ServerFault> {
    check_size(message)?;
    if message.starts_with(b"e=") {
        return Err(ServerFault::Refused);
    }
    let mut attributes = Attributes::new(message);
    let signature = attributes.expect(b'v').ok_or(Malformed("signature expected"))?;
    let signature = Key::from_base64(signature).ok_or(Malformed("signature is not base64"))?;
    if !attributes.only_optional_extensions() {
        return Err(Malformed("attribute expected"));
    }
    Ok(signature)
}

fn check_size(message: &[u8]) -> Result<(), ServerFault> {
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(Malformed("message too long"));
    }
    Ok(())
}

/// Channel binding from our point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding<'a> {
    /// No TLS, or a certificate whose signature names no hash.
    Impossible,
    /// We could, but the server did not offer it; lets an honest server notice a downgrade.
    NotOffered,
    /// The hash of the server's certificate.
    EndPoint(&'a [u8]),
}

/// The exchange once our first message is made.
#[derive(Debug)]
pub struct Hello {
    nonce: String,
    bare: String,
    binding_field: String,
}

impl Hello {
    /// Begins the exchange; gives our first message as well. The user's name is left empty as in
    /// libpq: PostgreSQL takes it from the startup packet.
    #[must_use]
    pub fn new(random: &[u8; NONCE_BYTES], binding: Binding<'_>) -> (Self, Vec<u8>) {
        Self::with_nonce("", nonce_text(random), binding)
    }

    fn with_nonce(user: &str, nonce: String, binding: Binding<'_>) -> (Self, Vec<u8>) {
        let (gs2_header, bound) = match binding {
            Binding::Impossible => ("n,,".to_owned(), [].as_slice()),
            Binding::NotOffered => ("y,,".to_owned(), [].as_slice()),
            Binding::EndPoint(hash) => (format!("p={BINDING_TYPE},,"), hash),
        };
        let bare = format!("n={user},r={nonce}");
        let message = format!("{gs2_header}{bare}").into_bytes();
        let binding_field = binding_field(gs2_header.as_bytes(), bound);
        (Self { nonce, bare, binding_field }, message)
    }

    /// Takes the server's first message.
    ///
    /// # Errors
    /// Malformed messages, a nonce that does not extend ours, more than `max_iterations`.
    pub fn on_server_first(
        self,
        message: &[u8],
        max_iterations: u32,
    ) -> Result<NeedsKeys, ServerFault> {
        let first = parse_server_first(message)?;
        // The server's part must not be empty: it is what keeps an old answer from being replayed.
        if first.nonce.strip_prefix(self.nonce.as_bytes()).is_none_or(<[u8]>::is_empty) {
            return Err(Malformed("nonce does not extend ours"));
        }
        if first.request.iterations > max_iterations {
            let asked = first.request.iterations;
            return Err(ServerFault::Iterations { asked, limit: max_iterations });
        }
        let binding = format!("c={},r=", self.binding_field);
        let without_proof = [binding.as_bytes(), first.nonce].concat();
        let signed = [self.bare.as_bytes(), b",", message, b",", &without_proof].concat();
        Ok(NeedsKeys { request: first.request, without_proof, signed })
    }
}

/// The exchange once the server has named salt and iterations.
#[derive(Debug)]
pub struct NeedsKeys {
    request: KeyRequest,
    without_proof: Vec<u8>,
    signed: Vec<u8>,
}

impl NeedsKeys {
    /// What the keys must be derived for.
    #[must_use]
    pub fn request(&self) -> &KeyRequest {
        &self.request
    }

    /// Gives the message that proves possession of `keys`.
    #[must_use]
    pub fn prove(self, keys: &ScramKeys) -> (Unverified, Vec<u8>) {
        let signature = hmac(&keys.stored_key(), &[&self.signed]);
        let proof = keys.client_key().masked_by(&signature);
        let message =
            [&self.without_proof, b",p=".as_slice(), proof.to_base64().as_bytes()].concat();
        let expected = hmac(keys.server_key(), &[&self.signed]);
        (Unverified { expected }, message)
    }
}

/// The exchange while the server has yet to prove itself.
#[derive(Debug)]
pub struct Unverified {
    expected: Key,
}

impl Unverified {
    /// Takes the server's last message.
    ///
    /// # Errors
    /// [`ServerFault::Signature`] if the server does not hold the user's verifier.
    pub fn on_server_final(self, message: &[u8]) -> Result<(), ServerFault> {
        let signature = parse_server_final(message)?;
        if bool::from(signature.bytes().ct_eq(self.expected.bytes())) {
            Ok(())
        } else {
            Err(ServerFault::Signature)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verifier;
    use super::super::server::Offer;
    use super::*;

    const FIRST: &[u8] = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn hello() -> Hello {
        let (hello, message) =
            Hello::with_nonce("user", "rOprNGfwEbeRWgbNEkqO".to_owned(), Binding::Impossible);
        assert_eq!(message, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        hello
    }

    /// The exchange printed in RFC 7677 section 3.
    #[test]
    fn rfc_7677_example() {
        let needs = hello().on_server_first(FIRST, 4096).expect("valid");
        let keys = needs.request().derive(b"pencil");
        let (unverified, message) = needs.prove(&keys);
        assert_eq!(
            message,
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(unverified.on_server_final(FINAL), Ok(()));
    }

    #[test]
    fn rfc_7677_verifier() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        assert_eq!(
            Verifier::derive(b"pencil", &salt, 4096).to_text().as_str(),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
             $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn a_server_that_does_not_know_the_secret_is_found_out() {
        let needs = hello().on_server_first(FIRST, 4096).expect("valid");
        let keys = needs.request().derive(b"Pencil");
        let (unverified, _) = needs.prove(&keys);
        assert_eq!(unverified.on_server_final(FINAL), Err(ServerFault::Signature));
    }

    #[test]
    fn server_first_is_checked() {
        let fault = |text: &str| {
            hello().on_server_first(text.as_bytes(), 100).expect_err("not to be believed")
        };
        assert_eq!(
            fault("r=rOprNGfwEbeRWgbNEkqOx,s=YQ==,i=101"),
            ServerFault::Iterations { asked: 101, limit: 100 }
        );
        for text in [
            "",
            "r=rOprNGfwEbeRWgbNEkqO,s=YQ==,i=1",
            "r=xOprNGfwEbeRWgbNEkqOx,s=YQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=YQ=,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=YQ==,i=0",
            "r=rOprNGfwEbeRWgbNEkqOx,s=YQ==,i=-1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=YQ==,i=99999999999",
            "r=rOprNGfwEbeRWgbNEkqOx,s=YQ==,i=1,m=x",
            "m=x,r=rOprNGfwEbeRWgbNEkqOx,s=YQ==,i=1",
        ] {
            assert!(matches!(fault(text), Malformed(_)), "{text}");
        }
    }

    #[test]
    fn server_final_is_checked() {
        assert_eq!(parse_server_final(b"e=invalid-proof"), Err(ServerFault::Refused));
        for text in [b"".as_slice(), b"v=", b"v=YQ==", b"x=1", b"\xff"] {
            assert!(matches!(parse_server_final(text), Err(Malformed(_))), "{text:?}");
        }
    }

    /// Both halves of ours, bound and unbound, with every disagreement about the binding.
    #[test]
    fn channel_binding_agrees_or_fails() {
        let keys = ScramKeys::derive(b"secret", b"salt", 2);
        let run = |server: Option<&[u8]>, plus: bool, client: Binding<'_>| {
            let (hello, message) = Hello::new(&[1; 18], client);
            let offer = Offer::new(keys.to_verifier(), &[2; 18], server);
            let (pending, first) = offer.on_client_first(plus, &message).map_err(|_| "first")?;
            let needs = hello.on_server_first(&first, 2).map_err(|_| "server first")?;
            let (unverified, message) = needs.prove(&keys);
            let (last, recovered) =
                pending.on_client_final(&message).map_err(|_| "binding")?.ok_or("proof")?;
            assert_eq!(recovered, keys);
            unverified.on_server_final(&last).map_err(|_| "signature")
        };
        let hash = Some(b"hash".as_slice());
        assert_eq!(run(None, false, Binding::Impossible), Ok(()));
        assert_eq!(run(None, false, Binding::NotOffered), Ok(()));
        assert_eq!(run(hash, true, Binding::EndPoint(b"hash")), Ok(()));
        assert_eq!(run(hash, false, Binding::Impossible), Ok(()));
        assert_eq!(run(hash, true, Binding::EndPoint(b"other")), Err("binding"));
        assert_eq!(run(hash, false, Binding::NotOffered), Err("first"), "a downgrade");
        assert_eq!(run(hash, true, Binding::Impossible), Err("first"));
        assert_eq!(run(hash, false, Binding::EndPoint(b"hash")), Err("first"));
        assert_eq!(run(None, true, Binding::EndPoint(b"hash")), Err("first"));
    }
}
