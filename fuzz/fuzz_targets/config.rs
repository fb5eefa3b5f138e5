//! Any configuration: checked, or refused with errors that stand in its lines.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let lines = data.split(|byte| *byte == b'\n').count();
    match howdah::config::parse_bytes(data) {
        Ok(config) => assert!(!format!("{config:?}").is_empty()),
        Err(errors) => {
            assert!(!errors.errors().is_empty());
            for error in errors.errors() {
                assert!(!error.message.is_empty() && !error.to_string().is_empty());
                if let howdah::config::Origin::Line(line) = error.origin {
                    assert!((1..=lines).contains(&(line as usize)), "{error}");
                }
            }
        }
    }
});
