//! Random passwords against a real driver's SCRAM, and messages changed on their way.

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use proptest::prelude::*;

use super::super::scram::client::parse_server_final;
use super::super::scram::server::{ScramFault, parse_client_final, parse_client_first};
use super::*;
use crate::auth::saslprep;

/// A real driver's SCRAM against our door.
fn driver(
    secret: &Secret,
    password: &[u8],
    door: Option<&[u8]>,
    end: ChannelBinding,
) -> Result<(), String> {
    let mock = mock();
    let terms = Terms { binding: door, ..terms(&mock) };
    let (mut exchange, challenge) = start(Method::ScramSha256, Some(secret), &terms);
    let Challenge::Sasl { mechanisms } = challenge else { panic!("{challenge:?}") };
    let mut peer = ScramSha256::new(password, end);
    let first = sasl_initial(mechanisms[0], peer.message());
    let next = exchange.respond(&first).map_err(|rejection| rejection.to_string())?;
    let Challenge::SaslContinue(data) = next else { panic!("{next:?}") };
    peer.update(&data).map_err(|error| error.to_string())?;
    let last = exchange.respond(peer.message()).map_err(|rejection| rejection.to_string())?;
    let Challenge::SaslFinal(data) = last else { panic!("{last:?}") };
    peer.finish(&data).map_err(|error| error.to_string())
}

#[test]
fn a_driver_binds_its_channel() {
    let secret = verifier(b"secret");
    let end = |hash: &[u8]| ChannelBinding::tls_server_end_point(hash.to_vec());
    assert_eq!(driver(&secret, b"secret", Some(b"hash"), end(b"hash")), Ok(()));
    assert_eq!(
        driver(&secret, b"secret", Some(b"hash"), end(b"other")),
        Err(ScramFault::Binding("SCRAM channel binding check failed").to_string())
    );
    assert_eq!(driver(&secret, b"secret", None, ChannelBinding::unrequested()), Ok(()));
}

fn any_password() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(1_u8.., 1..40),
        "[ -~]{1,20}".prop_map(String::into_bytes),
        "[^\0]{1,12}".prop_map(String::into_bytes),
    ]
}

/// One change to one message: a byte replaced, removed or put in, or the end cut off.
#[derive(Clone, Copy, Debug)]
enum Change {
    Replace(u8),
    Remove,
    Insert(u8),
    Cut,
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<u8>().prop_map(Change::Replace),
        proptest::sample::select(b"npyrcvesim=,AB09\0".as_slice()).prop_map(Change::Replace),
        Just(Change::Remove),
        any::<u8>().prop_map(Change::Insert),
        Just(Change::Cut),
    ]
}

fn changed(mut message: Vec<u8>, change: Change, at: prop::sample::Index) -> Vec<u8> {
    if message.is_empty() {
        return b"x".to_vec();
    }
    let at = at.index(message.len());
    match change {
        Change::Replace(byte) if message[at] == byte => message[at] = byte ^ 1,
        Change::Replace(byte) => message[at] = byte,
        Change::Remove => {
            message.remove(at);
        }
        Change::Insert(byte) => message.insert(at, byte),
        Change::Cut => message.truncate(at),
    }
    message
}

proptest! {
    #[test]
    fn drivers_log_in_with_their_password_only(password in any_password(), other in any_password()) {
        // That driver prepares some passwords otherwise than PostgreSQL and we do: those of which nothing is
        // left, and those with characters that only normalising makes valid.
        let is_read_alike = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok();
            let theirs = text.and_then(|text| stringprep::saslprep(text).ok());
            let theirs = theirs.as_ref().map_or(bytes, |text| text.as_bytes());
            theirs == saslprep::prepare(bytes).as_slice()
        };
        prop_assume!(is_read_alike(&password) && is_read_alike(&other));
        for secret in [plain(&password), verifier(&password)] {
            let end = ChannelBinding::unsupported;
            prop_assert_eq!(driver(&secret, &password, None, end()), Ok(()));
            let same = Verifier::derive(&password, b"s", 1) == Verifier::derive(&other, b"s", 1);
            prop_assert_eq!(driver(&secret, &other, None, end()).is_ok(), same);
        }
    }

    #[test]
    fn our_client_logs_in_at_our_door(password in any_password(), other in any_password()) {
        for secret in [plain(&password), md5_secret(&password), verifier(&password)] {
            for method in [Method::Password, Method::Md5, Method::ScramSha256] {
                if method == Method::ScramSha256 && matches!(secret, Secret::Md5(_)) {
                    continue;
                }
                prop_assert!(login(method, Some(&secret), &password).is_success());
                if prepared(&password) != prepared(&other) {
                    prop_assert!(!login(method, Some(&secret), &other).is_success());
                }
            }
        }
    }

    #[test]
    fn no_change_on_the_way_goes_unnoticed(
        message in 0_usize..4, change in any_change(), at: prop::sample::Index
    ) {
        let mock = mock();
        let secret = verifier(b"secret");
        let tamper = |number: usize, sent: Vec<u8>| {
            if number == message { changed(sent, change, at) } else { sent }
        };
        let started = start(Method::ScramSha256, Some(&secret), &terms(&mock));
        let outcome = run(started, password(), &tamper);
        prop_assert!(!outcome.is_success(), "{outcome:?}");
        // Only the last message is changed after the door has made up its mind.
        prop_assert_eq!(outcome.door == Some(Ok(())), message == 3, "{:?}", outcome);
        prop_assert!(outcome.client.is_err());
    }

    #[test]
    fn no_changed_password_is_accepted(change in any_change(), at: prop::sample::Index) {
        let mock = mock();
        for (method, secret) in [
            (Method::Password, plain(b"secret")),
            (Method::Password, verifier(b"secret")),
            (Method::Md5, md5_secret(b"secret")),
        ] {
            let started = start(method, Some(&secret), &terms(&mock));
            let outcome = run(started, password(), &|_, sent| changed(sent, change, at));
            prop_assert!(!outcome.is_success(), "{outcome:?}");
        }
    }

    #[test]
    fn parsers_never_panic(text in "[npyrcvesima=,AB09\0 +/-]{0,60}", raw: Vec<u8>) {
        for message in [text.as_bytes(), &raw] {
            if let Ok(first) = parse_client_first(message) {
                prop_assert_eq!([first.gs2_header, first.bare].concat(), message);
            }
            if let Ok(last) = parse_client_final(message) {
                prop_assert!(message.starts_with(last.without_proof));
            }
            if let Ok(first) = parse_server_first(message) {
                prop_assert!(first.request.iterations > 0);
            }
            prop_assert!(parse_server_final(message).is_err() || message.starts_with(b"v="));
            let mock = mock();
            let secret = verifier(b"secret");
            for method in [Method::Password, Method::Md5, Method::ScramSha256] {
                let (mut exchange, _) = start(method, Some(&secret), &terms(&mock));
                for _ in 0..3 {
                    let verdict = exchange.respond(message);
                    prop_assert!(!verdict.is_ok_and(|next| next.is_final()));
                }
            }
        }
    }
}

/// Two passwords with one prepared form are one password to SCRAM.
fn prepared(password: &[u8]) -> Vec<u8> {
    saslprep::prepare(password).to_vec()
}
