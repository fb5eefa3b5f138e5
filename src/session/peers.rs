//! Whose client a cancel key names, when several processes share a port.
//!
//! A key of a process that is one of several holds the number of the process and how many more times
//! the request may be passed on, at the places where PgBouncer has them, so that both can be peers
//! of one another: bytes 1 and 2, the lower first, and the two lowest bits of the last byte.

/// The process id and the secret of BackendKeyData, as clients send them back.
pub type Key = [u8; 8];

/// How often a request may be passed on.
const HOPS: u8 = 0b11;
const LAST: usize = 7;

/// Where a cancel request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The client with this key, if there is one.
    Here(Key),
    /// The process of this number gets this key.
    Peer(u16, Key),
    /// It has been passed on too often, or is no key at all: nobody.
    Nobody,
}

/// Marks a new key as that of process `own`; zero is a process without peers.
pub fn mark(key: &mut Key, own: u16) {
    if own != 0 {
        [key[1], key[2]] = own.to_le_bytes();
        key[LAST] |= HOPS;
    }
}

/// Who can answer for `key`, as process `own` sees it.
pub fn owner(key: &[u8], own: u16) -> Owner {
    let Ok(mut key) = Key::try_from(key) else { return Owner::Nobody };
    if own == 0 {
        return Owner::Here(key);
    }
    let (number, hops) = (u16::from_le_bytes([key[1], key[2]]), key[LAST] & HOPS);
    if number == own {
        key[LAST] |= HOPS;
        return Owner::Here(key);
    }
    match hops.checked_sub(1) {
        None => Owner::Nobody,
        Some(left) => {
            key[LAST] = key[LAST] & !HOPS | left;
            Owner::Peer(number, key)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_peers_takes_every_key_as_it_is() {
        let mut key = [1, 2, 3, 4, 5, 6, 7, 8];
        mark(&mut key, 0);
        assert_eq!(key, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(owner(&key, 0), Owner::Here(key));
        assert_eq!(owner(&key[1..], 0), Owner::Nobody);
    }

    #[test]
    fn a_key_finds_its_process_in_at_most_three_hops() {
        let mut key = [1, 2, 3, 4, 5, 6, 7, 8];
        mark(&mut key, 0x1234);
        assert_eq!(key, [1, 0x34, 0x12, 4, 5, 6, 7, 11], "as PgBouncer writes it");
        assert_eq!(owner(&key, 0x1234), Owner::Here(key));
        let mut passed = key;
        for hop in 1..=3 {
            let Owner::Peer(0x1234, next) = owner(&passed, 9) else { panic!("hop {hop}") };
            assert_eq!(owner(&next, 0x1234), Owner::Here(key), "hop {hop}");
            passed = next;
        }
        assert_eq!(owner(&passed, 9), Owner::Nobody, "a fourth hop");
        assert_eq!(owner(&passed, 0x1234), Owner::Here(key), "it has arrived");
    }
}
