//! Keys that were derived from passwords for logins to servers.
//!
//! Owns keys under everything that they were derived from or are meant for: node, user, password,
//! salt and count. Never gives keys to a login whose password is another. Holds at most
//! [`KeyCache::MAX`] entries; the oldest makes room.

use crate::auth::{KeyRequest, Password, ScramKeys};
use crate::net::NodeAddress;
use std::cell::RefCell;

/// What keys are derived from, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOrigin {
    /// The node that asks for them.
    pub node: NodeAddress,
    /// The user on the server.
    pub user: Box<str>,
    /// Salt and count that the server has sent.
    pub request: KeyRequest,
    /// The password. Compared last, because that takes longest.
    pub password: Password,
}

/// Keys that were derived from passwords, so that each is derived once.
#[derive(Debug, Default)]
pub struct KeyCache(RefCell<Vec<(KeyOrigin, ScramKeys)>>);

impl KeyCache {
    /// Entries that are kept.
    const MAX: usize = 256;

    /// The keys of this origin: known, or derived on a thread that may block. `None` when that thread
    /// fails.
    pub(super) async fn keys(&self, origin: KeyOrigin) -> Option<ScramKeys> {
        let known = self.0.borrow().iter().find(|(known, _)| *known == origin).cloned();
        if let Some((_, keys)) = known {
            return Some(keys);
        }
        let asked = origin.clone();
        let derive = move || asked.request.derive(asked.password.as_bytes());
        let keys = tokio::task::spawn_blocking(derive).await.ok()?;
        let mut cache = self.0.borrow_mut();
        if cache.len() >= Self::MAX {
            cache.remove(0);
        }
        cache.push((origin, keys.clone()));
        Some(keys)
    }

    /// Forgets the keys for this user at this node: the server has refused a login.
    pub(super) fn forget(&self, node: &NodeAddress, user: &str) {
        self.0.borrow_mut().retain(|(known, _)| known.node != *node || *known.user != *user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::NodeHost;

    fn origin(password: &str) -> KeyOrigin {
        KeyOrigin {
            node: NodeAddress { host: NodeHost::Name("a".into()), port: 5432 },
            user: "app".into(),
            request: KeyRequest { salt: b"0123456789abcdef".as_slice().into(), iterations: 1 },
            password: Password::new(password.as_bytes()),
        }
    }

    #[tokio::test]
    async fn keys_belong_to_everything_that_they_were_derived_from() {
        let cache = KeyCache::default();
        let right = cache.keys(origin("right")).await.expect("derived");
        let mut others = vec![origin("wrong")];
        others.push(KeyOrigin { user: "other".into(), ..origin("right") });
        let node = NodeAddress { host: NodeHost::Name("b".into()), port: 5432 };
        others.push(KeyOrigin { node: node.clone(), ..origin("right") });
        let request = KeyRequest { iterations: 2, ..origin("right").request };
        others.push(KeyOrigin { request, ..origin("right") });
        for (count, other) in others.into_iter().enumerate() {
            let expected = other.request.derive(other.password.as_bytes());
            assert_eq!(cache.keys(other).await, Some(expected));
            assert_eq!(cache.0.borrow().len(), count + 2, "an entry of its own");
        }
        assert_eq!(cache.keys(origin("right")).await, Some(right));
        assert_eq!(cache.0.borrow().len(), 5, "a known entry");
        cache.forget(&node, "app");
        assert_eq!(cache.0.borrow().len(), 4, "only the node that refused");
    }

    #[tokio::test]
    async fn the_oldest_entry_makes_room() {
        let cache = KeyCache::default();
        for number in 0..=KeyCache::MAX {
            cache.keys(origin(&number.to_string())).await.expect("derived");
        }
        let cache = cache.0.borrow();
        assert_eq!(cache.len(), KeyCache::MAX);
        assert_eq!(cache.first().map(|(origin, _)| origin.password.as_bytes()), Some(&b"1"[..]));
    }
}
