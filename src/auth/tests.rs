//! Both doors against each other, message by message.

mod properties;

use super::scram::client::{ServerFault, parse_server_first};
use super::*;

const USER: &[u8] = b"bob";
const ENTROPY: Entropy = Entropy { md5_salt: [1, 2, 3, 4], nonce: [7; 18] };
/// Keeps thousands of derivations cheap; the real count is exercised where it matters.
const ITERATIONS: u32 = 3;

fn terms(mock: &MockKey) -> Terms<'_> {
    Terms { mock, iterations: ITERATIONS, binding: None, unknown: UnknownShape::Md5 }
}

fn mock() -> MockKey {
    MockKey::new([9; 32])
}

fn plain(password: &[u8]) -> Secret {
    Secret::Plain(Password::new(password))
}

fn verifier(password: &[u8]) -> Secret {
    Secret::Scram(Verifier::derive(password, b"another salt", ITERATIONS))
}

fn md5_secret(password: &[u8]) -> Secret {
    Secret::Md5(md5::stored(USER, password))
}

fn start(
    method: Method,
    secret: Option<&Secret>,
    terms: &Terms<'_>,
) -> (ClientExchange, Challenge) {
    ClientExchange::start(method, Account { user: USER, secret }, ENTROPY, terms)
}

fn sasl_initial(mechanism: &str, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("short").to_be_bytes();
    [mechanism.as_bytes(), b"\0", &length, data].concat()
}

/// What the network may do to the n-th message that passes, counted over both directions.
type Tamper<'a> = &'a dyn Fn(usize, Vec<u8>) -> Vec<u8>;

/// How a login ended: at our door, and in the mind of the one who logs in.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    door: Option<Result<(), Rejection>>,
    client: Result<(), LoginError>,
    keys: Option<ScramKeys>,
}

impl Outcome {
    fn is_success(&self) -> bool {
        self.door == Some(Ok(())) && self.client.is_ok()
    }

    fn cause(&self) -> Option<Cause> {
        match self.door {
            Some(Err(Rejection::Denied(cause))) => Some(cause),
            _ => None,
        }
    }
}

/// Runs our client's side against our server's side.
fn run(
    (mut exchange, mut challenge): (ClientExchange, Challenge),
    credential: Credential,
    tamper: Tamper<'_>,
) -> Outcome {
    let password = match &credential {
        Credential::Password(password) => Some(password.clone()),
        Credential::None | Credential::Md5(_) | Credential::Keys(_) => None,
    };
    let mut login = ServerLogin::new(USER, credential, [5; 18], None);
    let mut passed = 0;
    let mut pass = |message: Vec<u8>| {
        passed += 1;
        tamper(passed - 1, message)
    };
    let mut door = None;
    loop {
        if challenge.is_final() {
            door = Some(Ok(()));
        }
        let step = deliver(&mut login, &challenge, &mut pass).and_then(|step| match step {
            LoginStep::NeedKeys(request) => {
                login.supply_keys(&request.derive(password.as_ref().expect("asked").as_bytes()))
            }
            LoginStep::Wait => login.on_request(AuthRequest::Ok),
            step @ (LoginStep::Send(_) | LoginStep::Done) => Ok(step),
        });
        let client = match step {
            Ok(LoginStep::Send(body)) => match exchange.respond(&pass(body.to_vec())) {
                Ok(next) => {
                    challenge = next;
                    continue;
                }
                Err(rejection) => {
                    door = Some(Err(rejection));
                    Err(LoginError::OutOfOrder("ErrorResponse"))
                }
            },
            Ok(LoginStep::Done) => Ok(()),
            Ok(other) => panic!("{other:?} after a challenge"),
            Err(error) => Err(error),
        };
        return Outcome { door, client, keys: exchange.take_keys() };
    }
}

fn deliver(
    login: &mut ServerLogin,
    challenge: &Challenge,
    pass: &mut dyn FnMut(Vec<u8>) -> Vec<u8>,
) -> Result<LoginStep, LoginError> {
    match challenge {
        Challenge::Ok => login.on_request(AuthRequest::Ok),
        Challenge::CleartextPassword => login.on_request(AuthRequest::Cleartext),
        Challenge::Md5 { salt } => login.on_request(AuthRequest::Md5(*salt)),
        Challenge::Sasl { mechanisms } => {
            let list = format!("{}\0\0", mechanisms.join("\0"));
            login.on_request(AuthRequest::Sasl(list.as_bytes()))
        }
        Challenge::SaslContinue(data) => {
            login.on_request(AuthRequest::SaslContinue(&pass(data.clone())))
        }
        Challenge::SaslFinal(data) => login.on_request(AuthRequest::SaslFinal(&pass(data.clone()))),
    }
}

fn honest(_: usize, message: Vec<u8>) -> Vec<u8> {
    message
}

fn login(method: Method, secret: Option<&Secret>, password: &[u8]) -> Outcome {
    let mock = mock();
    let started = start(method, secret, &terms(&mock));
    run(started, Credential::Password(Password::new(password)), &honest)
}

#[test]
fn every_method_takes_the_secrets_that_pgbouncer_takes() {
    let secrets = [plain(b"secret"), md5_secret(b"secret"), verifier(b"secret")];
    for method in [Method::Trust, Method::Password, Method::Md5, Method::ScramSha256] {
        for secret in &secrets {
            let right = login(method, Some(secret), b"secret");
            let wrong = login(method, Some(secret), b"Secret");
            let usable = !(method == Method::ScramSha256 && matches!(secret, Secret::Md5(_)));
            assert_eq!(right.is_success(), usable, "{method:?} {secret:?} {right:?}");
            assert_eq!(wrong.is_success(), method == Method::Trust, "{method:?} {secret:?}");
            if !usable {
                assert_eq!(right.cause(), Some(Cause::UnusableSecret));
            } else if method != Method::Trust {
                assert_eq!(wrong.cause(), Some(Cause::WrongPassword), "{method:?} {secret:?}");
            }
        }
    }
}

#[test]
fn md5_with_a_stored_verifier_is_scram() {
    let mock = mock();
    let (_, challenge) = start(Method::Md5, Some(&verifier(b"secret")), &terms(&mock));
    assert_eq!(challenge, Challenge::Sasl { mechanisms: &["SCRAM-SHA-256"] });
    let (_, challenge) = start(Method::Md5, Some(&plain(b"secret")), &terms(&mock));
    assert_eq!(challenge, Challenge::Md5 { salt: ENTROPY.md5_salt });
}

#[test]
fn an_empty_stored_secret_lets_nobody_in() {
    for method in [Method::Password, Method::Md5, Method::ScramSha256] {
        let mock = mock();
        let (mut exchange, _) = start(method, Some(&plain(b"")), &terms(&mock));
        let answer = match method {
            Method::Md5 => md5::answer(&md5::stored(USER, b""), ENTROPY.md5_salt).to_vec(),
            Method::Trust | Method::Password | Method::ScramSha256 => b"x".to_vec(),
        };
        let body = [answer.as_slice(), b"\0"].concat();
        assert!(exchange.respond(&body).is_err(), "{method:?}");
        assert_eq!(login(method, Some(&plain(b"")), b"x").cause(), Some(Cause::EmptySecret));
    }
}

#[test]
fn password_messages_end_with_their_only_zero_byte() {
    let secret = plain(b"secret");
    let mock = mock();
    for method in [Method::Password, Method::Md5] {
        let verdict = |body: &[u8]| {
            start(method, Some(&secret), &terms(&mock)).0.respond(body).expect_err("rejected")
        };
        for body in [b"".as_slice(), b"secret", b"secret\0\0", b"sec\0ret\0", &[b'a'; 65_537]] {
            let rejection = verdict(body);
            assert_eq!(rejection.sqlstate(), "08P01", "{rejection:?}");
        }
        assert_eq!(verdict(b"\0"), Rejection::EmptyPassword);
        assert_eq!(verdict(b"\0").sqlstate(), "28P01");
        assert_eq!(verdict(b"wrong\0").sqlstate(), "28P01");
    }
}

#[test]
fn after_the_verdict_nothing_is_accepted() {
    let mock = mock();
    let secret = plain(b"secret");
    let (mut exchange, _) = start(Method::Password, Some(&secret), &terms(&mock));
    assert!(exchange.respond(b"wrong\0").is_err());
    let again = exchange.respond(b"secret\0").expect_err("over");
    assert_eq!(again.sqlstate(), "08P01");
}

#[test]
fn expensive_steps_are_announced() {
    assert!(Method::ScramSha256.derives_keys_from(&plain(b"x")));
    assert!(!Method::ScramSha256.derives_keys_from(&verifier(b"x")));
    assert!(!Method::Md5.derives_keys_from(&plain(b"x")));
}

#[test]
fn a_cached_verifier_looks_like_one_derived_on_the_spot() {
    let mock = mock();
    let terms = terms(&mock);
    let cached = plain(b"secret").to_verifier(ITERATIONS, &mock.salt(USER)).expect("a verifier");
    let first = |secret: &Secret| {
        let (mut exchange, _) = start(Method::ScramSha256, Some(secret), &terms);
        exchange.respond(&sasl_initial("SCRAM-SHA-256", b"n,,n=,r=abc")).expect("continued")
    };
    assert_eq!(first(&plain(b"secret")), first(&Secret::Scram(cached)));
}

/// Names of the challenges and the message that ended it all, as an attacker sees them.
fn visible(method: Method, secret: Option<&Secret>, unknown: UnknownShape) -> Vec<String> {
    let mock = mock();
    let terms = Terms { unknown, ..terms(&mock) };
    let (mut exchange, mut challenge) = start(method, secret, &terms);
    let mut seen = Vec::new();
    loop {
        let (name, answer) = match &challenge {
            Challenge::CleartextPassword => ("cleartext".to_owned(), b"guess\0".to_vec()),
            Challenge::Md5 { .. } => ("md5".to_owned(), b"md5guess\0".to_vec()),
            Challenge::Sasl { mechanisms } => {
                (mechanisms.join(","), sasl_initial(mechanisms[0], b"n,,n=,r=abc"))
            }
            Challenge::SaslContinue(data) => {
                let first = parse_server_first(data).expect("well formed");
                let nonce = String::from_utf8(first.nonce.to_vec()).expect("printable");
                let proof = "A".repeat(43);
                let shape = format!("{nonce} i={}", first.request.iterations);
                (shape, format!("c=biws,r={nonce},p={proof}=").into_bytes())
            }
            Challenge::Ok | Challenge::SaslFinal(_) => panic!("let in"),
        };
        seen.push(name);
        match exchange.respond(&answer) {
            Ok(next) => challenge = next,
            Err(rejection) => {
                seen.push(format!("{} {rejection}", rejection.sqlstate()));
                return seen;
            }
        }
    }
}

#[test]
fn who_does_not_exist_cannot_be_told_from_who_guesses_wrong() {
    let all = [Method::Password, Method::Md5, Method::ScramSha256];
    for method in all {
        let unknown = visible(method, None, UnknownShape::Md5);
        assert_eq!(visible(method, Some(&plain(b"secret")), UnknownShape::Md5), unknown);
        assert_eq!(visible(method, Some(&md5_secret(b"secret")), UnknownShape::Md5), unknown);
        let unknown = visible(method, None, UnknownShape::Scram);
        assert_eq!(visible(method, Some(&verifier(b"secret")), UnknownShape::Scram), unknown);
        assert_eq!(login(method, None, b"secret").cause(), Some(Cause::UnknownUser));
    }
}

#[test]
fn the_salt_of_the_unknown_is_stable_and_personal() {
    assert_eq!(mock().salt(b"eve"), mock().salt(b"eve"));
    assert_ne!(mock().salt(b"eve"), mock().salt(b"adam"));
    assert_ne!(mock().salt(b"eve"), MockKey::new([8; 32]).salt(b"eve"));
}

#[test]
fn sasl_initial_response_is_checked() {
    let mock = mock();
    let secret = verifier(b"secret");
    let respond =
        |body: &[u8]| start(Method::ScramSha256, Some(&secret), &terms(&mock)).0.respond(body);
    for body in [
        b"".as_slice(),
        b"SCRAM-SHA-256",
        b"SCRAM-SHA-256\0",
        b"SCRAM-SHA-256\0\0\0\0\x0cn,,n=,r=abc",
        b"SCRAM-SHA-256\0\0\0\0\x0an,,n=,r=abc",
        b"SCRAM-SHA-256\0\xff\xff\xff\xfen,,n=,r=abc",
        b"SCRAM-SHA-256\0\xff\xff\xff\xffn,,n=,r=abc",
        b"SCRAM-SHA-256-PLUS\0\0\0\0\x0bn,,n=,r=abc",
        b"PLAIN\0\0\0\0\x0bn,,n=,r=abc",
    ] {
        assert_eq!(respond(body).expect_err("malformed").sqlstate(), "08P01", "{body:?}");
    }
    assert!(respond(b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc").is_ok());
}

#[test]
fn the_initial_response_may_come_late() {
    let mock = mock();
    let secret = verifier(b"secret");
    let (mut exchange, _) = start(Method::ScramSha256, Some(&secret), &terms(&mock));
    let empty = exchange.respond(b"SCRAM-SHA-256\0\xff\xff\xff\xff");
    assert_eq!(empty, Ok(Challenge::SaslContinue(Vec::new())));
    assert!(matches!(exchange.respond(b"n,,n=,r=abc"), Ok(Challenge::SaslContinue(_))));
}

#[test]
fn keys_of_a_client_log_in_to_a_server_with_the_same_verifier_only() {
    let stored = verifier(b"secret");
    let outcome = login(Method::ScramSha256, Some(&stored), b"secret");
    let keys = outcome.keys.clone().expect("recovered");
    assert_eq!(format!("{keys:?}"), "ScramKeys(..)");
    let mock = mock();
    let onward = |secret: &Secret| {
        let started = start(Method::ScramSha256, Some(secret), &terms(&mock));
        run(started, Credential::Keys(keys.clone()), &honest)
    };
    assert!(onward(&stored).is_success());
    assert_eq!(onward(&plain(b"secret")).client, Err(LoginError::OtherVerifier));
    assert_eq!(login(Method::ScramSha256, Some(&stored), b"wrong").keys, None);
}

fn server(credential: Credential) -> ServerLogin {
    ServerLogin::new(USER, credential, [5; 18], None)
}

fn password() -> Credential {
    Credential::Password(Password::new(b"secret"))
}

#[test]
fn ok_before_the_server_has_proved_itself_is_refused() {
    let mut login = server(password());
    let sent = login.on_request(AuthRequest::Sasl(b"SCRAM-SHA-256\0\0")).expect("begun");
    let LoginStep::Send(body) = sent else { panic!("{sent:?}") };
    let refused = Err(LoginError::OutOfOrder("AuthenticationOk"));
    assert_eq!(login.on_request(AuthRequest::Ok), refused);

    let mut login = server(password());
    login.on_request(AuthRequest::Sasl(b"SCRAM-SHA-256\0\0")).expect("begun");
    let nonce = body.split(|b| *b == b'=').next_back().expect("a nonce");
    let first = [b"r=".as_slice(), nonce, b"x,s=YQ==,i=1"].concat();
    let step = login.on_request(AuthRequest::SaslContinue(&first)).expect("continued");
    let LoginStep::NeedKeys(request) = step else { panic!("{step:?}") };
    login.supply_keys(&request.derive(b"secret")).expect("proved");
    assert_eq!(login.on_request(AuthRequest::Ok), refused);
}

#[test]
fn servers_that_ask_for_nothing_are_believed() {
    for credential in [Credential::None, password()] {
        assert_eq!(server(credential).on_request(AuthRequest::Ok), Ok(LoginStep::Done));
    }
}

#[test]
fn what_cannot_be_answered_is_named() {
    let ask = |credential: Credential, request: AuthRequest<'_>| {
        server(credential).on_request(request).expect_err("cannot be answered").to_string()
    };
    let Secret::Md5(md5) = md5_secret(b"secret") else { panic!("an MD5 secret") };
    let keys = Credential::Keys(ScramKeys::derive(b"secret", b"salt", 1));
    let scram = AuthRequest::Sasl(b"SCRAM-SHA-256\0\0");
    for (text, expect) in [
        (ask(password(), AuthRequest::Other(7)), "GSSAPI"),
        (ask(password(), AuthRequest::Other(9)), "SSPI"),
        (ask(password(), AuthRequest::Other(77)), "code 77"),
        (ask(password(), AuthRequest::Sasl(b"OAUTHBEARER\0X\n\0\0")), "OAUTHBEARER, X?"),
        (ask(password(), AuthRequest::Sasl(b"SCRAM-SHA-256-PLUS\0\0")), "SCRAM-SHA-256-PLUS"),
        (ask(password(), AuthRequest::Sasl(b"")), "mechanisms"),
        (ask(Credential::None, AuthRequest::Cleartext), "none is known"),
        (ask(Credential::None, AuthRequest::Md5([0; 4])), "none is known"),
        (ask(Credential::None, scram), "none is known"),
        (ask(Credential::Password(Password::new(b"")), scram), "none is known"),
        (ask(Credential::Md5(md5.clone()), scram), "an MD5 secret cannot"),
        (ask(Credential::Md5(md5), AuthRequest::Cleartext), "an MD5 secret cannot"),
        (ask(keys.clone(), AuthRequest::Md5([0; 4])), "SCRAM keys cannot"),
        (ask(keys, AuthRequest::Cleartext), "SCRAM keys cannot"),
        (ask(Credential::Password(Password::new(b"a\0b")), AuthRequest::Cleartext), "zero byte"),
        (ask(password(), AuthRequest::SaslContinue(b"")), "AuthenticationSASLContinue"),
    ] {
        assert!(text.contains(expect), "{text}");
    }
}

#[test]
fn a_server_may_not_ask_twice() {
    let mut login = server(password());
    assert!(matches!(login.on_request(AuthRequest::Md5([0; 4])), Ok(LoginStep::Send(_))));
    assert!(login.on_request(AuthRequest::Cleartext).is_err(), "downgrade in mid-exchange");
}

#[test]
fn plus_first_in_the_list_is_no_obstacle_and_used_when_bound() {
    let list = AuthRequest::Sasl(b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    let begins = |binding: Option<&[u8]>, request| {
        let step = ServerLogin::new(USER, password(), [5; 18], binding).on_request(request);
        let Ok(LoginStep::Send(body)) = step else { panic!("{step:?}") };
        String::from_utf8_lossy(&body).into_owned()
    };
    assert!(begins(None, list).starts_with("SCRAM-SHA-256\0\0\0\0\x20n,,n=,r="));
    let bound = begins(Some(b"hash"), list);
    assert!(
        bound.starts_with("SCRAM-SHA-256-PLUS\0") && bound.contains("p=tls-server-end-point,,")
    );
    let stripped = begins(Some(b"hash"), AuthRequest::Sasl(b"SCRAM-SHA-256\0\0"));
    assert!(stripped.starts_with("SCRAM-SHA-256\0\0\0\0\x20y,,n="), "{stripped:?}");
}

#[test]
fn the_iteration_cap_holds_and_can_be_raised() {
    let first = |cap: Option<u32>| {
        let mut login = server(password());
        if let Some(cap) = cap {
            login = login.with_max_iterations(cap);
        }
        let step = login.on_request(AuthRequest::Sasl(b"SCRAM-SHA-256\0\0"));
        let Ok(LoginStep::Send(body)) = step else { panic!("{step:?}") };
        let nonce = body.split(|b| *b == b'=').next_back().expect("a nonce").to_vec();
        let message = [b"r=".as_slice(), &nonce, b"x,s=YQ==,i=100001"].concat();
        login.on_request(AuthRequest::SaslContinue(&message))
    };
    let fault = ServerFault::Iterations { asked: 100_001, limit: 100_000 };
    assert_eq!(first(None), Err(LoginError::Scram(fault)));
    assert!(matches!(first(Some(100_001)), Ok(LoginStep::NeedKeys(_))));
}

#[test]
fn nothing_secret_is_shown_by_machines() {
    let login = server(password());
    let body = server(password()).on_request(AuthRequest::Cleartext);
    let mock = mock();
    let exchange = start(Method::Password, Some(&plain(b"secret")), &terms(&mock)).0;
    let shown = format!("{login:?} {body:?} {exchange:?} {mock:?}");
    assert!(!shown.contains("secret") && !shown.contains("115, 101"), "{shown}");
}
