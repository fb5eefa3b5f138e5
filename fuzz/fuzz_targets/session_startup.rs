//! What a startup packet asks for: within bounds, and the same when it is asked for again in the
//! words in which we sorted it.
#![no_main]

use howdah::session::startup_request::{StartupRequest, read_startup_request};
use howdah::wire::{First, first, startup_message};
use libfuzzer_sys::fuzz_target;

fn sorted(pairs: &[(&[u8], &[u8])]) -> Option<StartupRequest> {
    let mut packet = Vec::new();
    startup_message(&mut packet, pairs.iter().copied());
    match first(&packet) {
        Ok(First::Startup { parameters, .. }) => {
            let mut startup = read_startup_request(parameters, &["ignored".to_owned()]).ok()?;
            // Switches stand before parameters; that does not matter between different names.
            startup.extras.sort_by(|(one, _), (other, _)| one.cmp(other));
            Some(startup)
        }
        other => panic!("our own packet is refused: {other:?}"),
    }
}

/// A setting that could not be told from a parameter of another meaning, or not be sent.
fn is_ambiguous(name: &str) -> bool {
    name.is_empty()
        || ["user", "database", "options", "replication"].contains(&name)
        || name.starts_with("_pq_.")
}

fuzz_target!(|data: &[u8]| {
    let mut pieces = data.split(|byte| *byte == 0);
    let mut sent = vec![(&b"user"[..], &b"bob"[..])];
    while let (Some(name), Some(value)) = (pieces.next(), pieces.next()) {
        if name.is_empty() {
            break;
        }
        sent.push((name, value));
    }
    let Some(startup) = sorted(&sent) else { return };
    assert!((1..=63).contains(&startup.user.len()) && (1..=63).contains(&startup.database.len()));
    assert!(startup.settings.iter().chain(&startup.extras).all(|(name, _)| name != "ignored"));
    if startup.settings.iter().any(|(name, _)| is_ambiguous(name)) {
        return;
    }
    let mut again = vec![
        (&b"user"[..], startup.user.as_bytes()),
        (&b"database"[..], startup.database.as_bytes()),
    ];
    let words = startup.settings.iter().chain(&startup.extras);
    again.extend(words.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    again.extend(startup.unknown_options.iter().map(|name| (&name[..], &b""[..])));
    assert_eq!(sorted(&again).as_ref(), Some(&startup));
});
