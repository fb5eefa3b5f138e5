//! User lists and stored secrets: any bytes, and no secret in what is shown of them.
#![no_main]

use howdah::auth::{Credential, Secret, Users, Verifier};
use libfuzzer_sys::fuzz_target;

const PASSWORD: &[u8] = b"\"bob\" \"Tr0ub4dor-and-3\"\n";

fn secret(text: &[u8]) {
    match Secret::parse(text) {
        Ok(Secret::Scram(verifier)) => {
            let again = Verifier::parse(verifier.to_text().as_bytes());
            assert!(again.is_ok_and(|again| again == verifier));
        }
        Ok(Secret::Plain(password)) => assert_eq!(password.as_bytes(), text),
        Ok(found @ Secret::Md5(_)) => {
            assert!(matches!(Credential::from_secret(&found), Credential::Md5(_)));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fuzz_target!(|data: &[u8]| {
    secret(data);
    match Users::parse(data) {
        Ok(users) => {
            assert_eq!(users.iter().count(), users.len());
            for (name, _) in users.iter() {
                assert!(!name.is_empty() && users.secret(name).is_some());
            }
            let more = [data, b"\n", PASSWORD].concat();
            let users = Users::parse(&more).expect("a good list stays one with a good line");
            assert!(!format!("{users:?} {:?}", users.secret(b"bob")).contains("Tr0ub4dor"));
        }
        Err(errors) => {
            let lines = data.split(|byte| *byte == b'\n').count();
            assert!(errors.iter().all(|error| (1..=lines).contains(&error.line)));
            assert!(errors.is_sorted_by_key(|error| error.line) && !errors.is_empty());
        }
    }
});
