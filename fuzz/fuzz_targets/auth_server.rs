//! Any requests of a server, with any credential: we are in only when it has proved itself.
#![no_main]

use howdah::auth::{AuthRequest, Credential, LoginStep, Password, Secret, ServerLogin};
use libfuzzer_sys::fuzz_target;

fn credential(kind: u8) -> Credential {
    let md5 = Secret::parse(b"md5acbd18db4cc2f85cedef654fccc4a4d8").expect("a valid secret");
    match kind % 3 {
        0 => Credential::None,
        1 => Credential::Password(Password::new(b"Tr0ub4dor")),
        _ => Credential::from_secret(&md5),
    }
}

fn request(piece: &[u8]) -> AuthRequest<'_> {
    let (code, data) = piece.split_first().map_or((0, piece), |(code, data)| (code % 16, data));
    match code {
        0 => AuthRequest::Ok,
        3 => AuthRequest::Cleartext,
        5 => AuthRequest::Md5([4; 4]),
        10 => AuthRequest::Sasl(data),
        11 => AuthRequest::SaslContinue(data),
        12 => AuthRequest::SaslFinal(data),
        other => AuthRequest::Other(u32::from(other)),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, requests)) = data.split_first() else { return };
    let binding = (kind & 0x80 != 0).then_some(&[3u8; 32][..]);
    let mut login =
        ServerLogin::new(b"bob", credential(kind), [9; 18], binding).with_max_iterations(2);
    let (mut over, mut scram) = (false, false);
    for piece in requests.split(|byte| *byte == 0xff) {
        let request = request(piece);
        scram |= matches!(request, AuthRequest::SaslContinue(_));
        let mut step = login.on_request(request);
        if let Ok(LoginStep::NeedKeys(request)) = &step {
            assert!(request.iterations <= 2);
            step = login.supply_keys(&request.derive(b"Tr0ub4dor"));
        }
        match step {
            Ok(LoginStep::Done) => {
                assert!(!over && !scram, "a server got away without its proof");
                over = true;
            }
            Ok(_) => assert!(!over),
            Err(error) => {
                assert!(!format!("{error} {error:?}").contains("Tr0ub4dor"));
                over = true;
            }
        }
    }
});
