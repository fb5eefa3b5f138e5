//! SCRAM's messages taken apart, and an exchange with one message damaged on its way: only one
//! that arrives as it was sent may succeed.
#![no_main]

use howdah::auth::scram::client::{parse_server_final, parse_server_first};
use howdah::auth::scram::server::{parse_client_final, parse_client_first};
use howdah::auth::{
    Account, AuthRequest, Challenge, ClientExchange, Credential, Entropy, LoginStep, Method,
    MockKey, Password, Secret, ServerLogin, Terms, UnknownShape,
};
use libfuzzer_sys::fuzz_target;

fn views(data: &[u8]) {
    if let Ok(view) = parse_client_first(data) {
        assert_eq!([view.gs2_header, view.bare].concat(), data);
        assert!(!view.nonce.is_empty());
    }
    if let Ok(view) = parse_client_final(data) {
        assert!(data.starts_with(view.without_proof));
    }
    if let Ok(view) = parse_server_first(data) {
        assert!(view.request.iterations > 0);
    }
    let seen = parse_server_final(data);
    assert!(!format!("{seen:?}").is_empty());
}

/// Changes one message: which one, where, and by what.
struct Damage<'a> {
    at: &'a [u8],
    left: u8,
    done: bool,
}

impl Damage<'_> {
    fn pass(&mut self, message: &[u8]) -> Vec<u8> {
        let mut out = message.to_vec();
        if let ([place, by, cut, ..], 0) = (self.at, self.left) {
            let place = usize::from(*place) % out.len().max(1);
            if let Some(byte) = out.get_mut(place) {
                *byte ^= by;
            }
            out.truncate(out.len().saturating_sub(usize::from(*cut) % 4));
        }
        self.left = self.left.wrapping_sub(1);
        self.done |= out != message;
        out
    }
}

/// Whether both sides believed each other.
fn exchange(damage: &mut Damage<'_>, bound: bool) -> bool {
    let mock = MockKey::new([7; 32]);
    let binding = bound.then_some(&[3u8; 32][..]);
    let terms = Terms { mock: &mock, iterations: 1, binding, unknown: UnknownShape::Scram };
    let password = Password::new(b"secret");
    let secret = Secret::Plain(password.clone());
    let account = Account { user: b"bob", secret: Some(&secret) };
    let entropy = Entropy { md5_salt: [1; 4], nonce: [2; 18] };
    let (mut ours, challenge) =
        ClientExchange::start(Method::ScramSha256, account, entropy, &terms);
    let Challenge::Sasl { mechanisms } = challenge else { panic!("no SASL: {challenge:?}") };
    let mut theirs = ServerLogin::new(b"bob", Credential::Password(password), [9; 18], binding);
    let mut list = mechanisms.join("\0").into_bytes();
    list.extend_from_slice(&[0, 0]);
    let list = damage.pass(&list);
    let mut step = theirs.on_request(AuthRequest::Sasl(&list));
    loop {
        let answer = match step {
            Ok(LoginStep::NeedKeys(request)) => {
                if request.iterations > 1 {
                    return false;
                }
                step = theirs.supply_keys(&request.derive(b"secret"));
                continue;
            }
            Ok(LoginStep::Send(body)) => ours.respond(&damage.pass(&body)),
            Ok(LoginStep::Wait | LoginStep::Done) | Err(_) => return false,
        };
        step = match answer {
            Ok(Challenge::SaslContinue(data)) => {
                theirs.on_request(AuthRequest::SaslContinue(&damage.pass(&data)))
            }
            Ok(Challenge::SaslFinal(data)) => {
                assert!(ours.take_keys().is_some());
                let seen = theirs.on_request(AuthRequest::SaslFinal(&damage.pass(&data)));
                return seen == Ok(LoginStep::Wait)
                    && theirs.on_request(AuthRequest::Ok) == Ok(LoginStep::Done);
            }
            Ok(_) | Err(_) => return false,
        };
    }
}

fuzz_target!(|data: &[u8]| {
    views(data);
    let Some((&which, at)) = data.split_first() else { return };
    let mut damage = Damage { at, left: which % 6, done: false };
    let agreed = exchange(&mut damage, which & 0x80 != 0);
    // Damage to the list of mechanisms may leave a list that does as well, and the last message may
    // carry extensions; nothing else may be changed unnoticed.
    if !damage.done {
        assert!(agreed, "an exchange that nobody touched failed");
    } else if (1..=3).contains(&(which % 6)) {
        assert!(!agreed, "a changed message was believed");
    }
});
