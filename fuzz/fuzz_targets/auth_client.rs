//! Any answers of a client to any method and secret: a verdict, and none after it.
#![no_main]

use howdah::auth::{
    Account, Challenge, ClientExchange, Entropy, Method, MockKey, Secret, Terms, UnknownShape,
};
use libfuzzer_sys::fuzz_target;

const SECRETS: &[&[u8]] = &[
    b"Tr0ub4dor",
    b"",
    b"md5acbd18db4cc2f85cedef654fccc4a4d8",
    b"SCRAM-SHA-256$1:AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
];
const METHODS: &[Method] = &[Method::Password, Method::Md5, Method::ScramSha256];

fuzz_target!(|data: &[u8]| {
    let Some((&kind, answers)) = data.split_first() else { return };
    let kind = usize::from(kind);
    let secret = SECRETS.get(kind % 5).map(|text| Secret::parse(text).expect("a valid secret"));
    let method = METHODS[kind / 5 % METHODS.len()];
    let mock = MockKey::new([7; 32]);
    let binding = (kind & 0x80 != 0).then_some(&[3u8; 32][..]);
    let unknown = if kind & 0x40 == 0 { UnknownShape::Md5 } else { UnknownShape::Scram };
    let terms = Terms { mock: &mock, iterations: 1, binding, unknown };
    let account = Account { user: b"bob", secret: secret.as_ref() };
    let entropy = Entropy { md5_salt: [1; 4], nonce: [2; 18] };
    let (mut exchange, challenge) = ClientExchange::start(method, account, entropy, &terms);
    assert!(!challenge.is_final());
    let mut over = false;
    for answer in answers.split(|byte| *byte == 0xff) {
        match exchange.respond(answer) {
            Ok(Challenge::Ok | Challenge::SaslFinal(_)) => {
                assert!(!over && secret.is_some(), "somebody unknown got in");
                over = true;
            }
            Ok(_) => assert!(!over, "a question after the verdict"),
            Err(rejection) => {
                assert_eq!(rejection.sqlstate().len(), 5);
                assert!(!format!("{rejection} {rejection:?}").contains("Tr0ub4dor"));
                over = true;
            }
        }
    }
});
