//! First packets: any bytes, and what we encode is read back.
#![no_main]

use howdah::wire::{First, STARTUP_MAX, cancel_request, first, startup_length, startup_message};
use libfuzzer_sys::fuzz_target;

fn read_back(data: &[u8]) {
    let mut pieces = data.split(|byte| *byte == 0).filter(|piece| !piece.is_empty());
    let mut sent = Vec::new();
    while let (Some(name), Some(value)) = (pieces.next(), pieces.next()) {
        sent.push((name, value));
    }
    let mut packet = Vec::new();
    startup_message(&mut packet, sent.iter().copied());
    let length = startup_length(&packet);
    assert_eq!(length.is_ok(), (8..=STARTUP_MAX).contains(&packet.len()));
    let Ok(First::Startup { minor, parameters }) = first(&packet) else {
        panic!("our own packet is refused: {packet:?}");
    };
    assert_eq!(minor, 0);
    assert_eq!(parameters.collect::<Vec<_>>(), sent);
}

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(length)) = startup_length(data) {
        assert!((8..=STARTUP_MAX).contains(&length));
    }
    match first(data) {
        Ok(First::Cancel(key)) => {
            let mut packet = Vec::new();
            cancel_request(&mut packet, key);
            assert_eq!(packet.get(4..), data.get(4..));
        }
        Ok(First::Startup { parameters, .. }) => {
            let used: usize = parameters.map(|(name, value)| name.len() + value.len() + 2).sum();
            assert_eq!(data.len(), 8 + used + 1);
        }
        Ok(First::Ssl | First::Gss) => assert_eq!(data.len(), 8),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    read_back(data);
});
