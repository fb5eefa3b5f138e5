//! PostgreSQL's MD5 scheme: `md5(md5(password || user) || salt)`, both in hexadecimal.
//!
//! Kept because servers and user lists still hold such secrets; anybody who can read the stored
//! secret can log in with it.

use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::stored_secret::Md5Secret;

/// The 32 hexadecimal digits that PostgreSQL stores, without their `md5` prefix.
pub(super) fn stored(user: &[u8], password: &[u8]) -> Md5Secret {
    Md5Secret::from_digits(hex(&[password, user]))
}

/// What a client answers to a challenge with `salt`: `md5` and 32 digits, no terminator.
pub(super) fn answer(secret: &Md5Secret, salt: [u8; 4]) -> Zeroizing<Vec<u8>> {
    let digits = hex(&[secret.digits(), &salt]);
    Zeroizing::new([b"md5".as_slice(), digits.as_slice()].concat())
}

fn hex(parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    let digest = Zeroizing::new(<[u8; 16]>::from(hash.finalize()));
    let mut digits = Zeroizing::new([0_u8; 32]);
    for (pair, byte) in digits.chunks_exact_mut(2).zip(digest.iter()) {
        for (digit, value) in pair.iter_mut().zip([byte >> 4, byte & 0x0f]) {
            *digit = digit_of(value);
        }
    }
    digits
}

fn digit_of(value: u8) -> u8 {
    match value {
        0..=9 => b'0'.saturating_add(value),
        _ => b'a'.saturating_add(value.saturating_sub(10)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_postgres_protocol(user: Vec<u8>, password: Vec<u8>, salt: [u8; 4]) {
            let ours = answer(&stored(&user, &password), salt);
            let theirs =
                postgres_protocol::authentication::md5_hash(&user, &password, salt);
            prop_assert_eq!(ours.as_slice(), theirs.as_bytes());
        }
    }

    #[test]
    fn stored_form_is_the_one_of_pg_authid() {
        let secret = stored(b"md5_user", b"password");
        let text = postgres_protocol::password::md5(b"password", "md5_user");
        assert_eq!([b"md5".as_slice(), secret.digits()].concat(), text.as_bytes());
    }
}
