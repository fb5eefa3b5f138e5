//! Names that clients make up.

use super::*;
use crate::backend::settings::SettingsTable;
use crate::backend::statements::StatementTable;
use crate::cluster::last_writes::LastWrites;
use crate::config::parse_bytes;
use crate::pool::Pools;
use crate::session::client_handle::Clients;
use std::time::Duration;

const TEXT: &str = "[auth]\nauth_type = \"trust\"\n[timeouts]\nautodb_idle_timeout = \"60s\"\n\
    [databases.named]\nnodes = [\"h\"]\n[databases.\"*\"]\nnodes = [\"h\"]\n[users.known]\n";
const LIMIT: Duration = Duration::from_secs(60);

fn config() -> Config {
    parse_bytes(TEXT.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn routes(invented_max: usize) -> Routes {
    let common = Arc::new(Common {
        pools: Arc::new(Pools::new(1, 7)),
        statements: Arc::new(StatementTable::default()),
        settings: SettingsTable::default(),
        clients: Clients::default(),
        last_writes: LastWrites::default(),
        message_style: crate::fault::MessageStyle::default(),
        suspended: false.into(),
        events: crate::metrics::Events::default(),
        queries: Arc::new(crate::metrics::Queries::new(1, 0)),
    });
    Routes { invented_max, ..Routes::new(common, 1, None) }
}

/// A login; `None` when there is no room.
fn log_in(routes: &mut Routes, database: &str, user: &str) -> Option<Destination> {
    let (config, names) = (config(), (database, user));
    let has_room = routes.has_room(&config, None, names);
    has_room.then(|| routes.find(&config, None, names, None).expect("the wildcard"))
}

/// Routes, accounts, pools, names of databases and of users.
fn sizes(routes: &Routes) -> [usize; 5] {
    let pools = routes.common.pools.snapshot().len();
    let (databases, users) = (routes.databases.len(), routes.users.len());
    [routes.routes.len(), routes.accounts.len(), pools, databases, users]
}

#[test]
fn a_scanner_takes_a_bounded_place() {
    let mut routes = routes(100);
    let named = log_in(&mut routes, "named", "known").expect("room");
    let used = log_in(&mut routes, "used", "known").expect("room");
    drop(named);
    for n in 0..3_000 {
        assert!(log_in(&mut routes, &format!("db{n}"), &format!("user{n}")).is_some());
        let [routes, accounts, pools, databases, users] = sizes(&routes);
        assert!(routes <= 101 && accounts == routes && pools == routes, "{routes} {pools}");
        assert!(databases <= 101 && users <= 101, "{databases} {users}");
    }
    routes.prune(&config());
    assert!(routes.catalogs.len() <= 101, "catalogs outlive their routes");
    let again = log_in(&mut routes, "used", "known").expect("room");
    assert!(Arc::ptr_eq(&again.route, &used.route), "a route in use was dropped");
    assert!(routes.routes.contains_key(&("named".to_owned(), "known".to_owned())));
}

#[test]
fn when_all_are_in_use_nobody_else_makes_one_up() {
    let mut routes = routes(10);
    let users = |n: usize| format!("user{n}");
    let mut held: Vec<_> =
        (0..10).map(|n| log_in(&mut routes, "named", &users(n)).expect("room")).collect();
    assert!(log_in(&mut routes, "named", &users(10)).is_none());
    assert!(log_in(&mut routes, "named", &users(3)).is_some(), "it is there already");
    assert!(log_in(&mut routes, "named", "known").is_some(), "nobody made it up");
    held.pop();
    assert!(log_in(&mut routes, "named", &users(10)).is_some());
}

#[test]
fn what_nobody_uses_is_forgotten_in_time() {
    let (mut routes, config) = (routes(100), config());
    let used = log_in(&mut routes, "used", "a").expect("room");
    drop(log_in(&mut routes, "unused", "b"));
    drop(log_in(&mut routes, "named", "known"));
    let start = Instant::now();
    routes.forget_unused(&config, start + LIMIT / 2);
    assert_eq!(sizes(&routes), [3, 3, 3, 3, 3]);
    routes.forget_unused(&config, start + LIMIT + LIMIT / 4);
    assert_eq!(sizes(&routes), [2, 2, 2, 2, 2], "the unused one goes");
    drop(used);
    routes.forget_unused(&config, start + LIMIT * 2);
    assert_eq!(sizes(&routes), [2, 2, 2, 2, 2], "it was in use until now");
    routes.forget_unused(&config, start + LIMIT * 3);
    assert_eq!(sizes(&routes), [1, 1, 1, 1, 1], "what has names of its own stays");
}

#[test]
fn a_session_from_before_a_reload_keeps_its_pool() {
    let (mut routes, config) = (routes(100), config());
    let used = log_in(&mut routes, "used", "a").expect("room");
    routes.reload(&config, None, false);
    let start = Instant::now();
    routes.forget_unused(&config, start + LIMIT * 2);
    assert_eq!(sizes(&routes), [1, 1, 1, 1, 1]);
    assert_eq!(routes.routes.values().next().map(|route| route.pool), Some(used.route.pool));
    drop(used);
    routes.forget_unused(&config, start + LIMIT * 4);
    assert_eq!(sizes(&routes), [0, 0, 0, 0, 0]);
}

#[test]
fn a_database_that_moves_keeps_its_pool_and_those_in_it() {
    let mut routes = routes(100);
    let before = log_in(&mut routes, "named", "known").expect("room");
    let moved = TEXT.replacen("\"h\"", "\"elsewhere\"", 1);
    let config = parse_bytes(moved.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    routes.reload(&config, None, false);
    let after = routes.find(&config, None, ("named", "known"), None).expect("it is there");
    assert_eq!(after.route.pool, before.route.pool);
    let account = routes.account(before.route.pool).expect("it has one");
    assert_eq!(account.address.to_string(), "elsewhere:5432");
    assert_eq!(sizes(&routes), [1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn a_verifier_is_that_of_the_password_that_counts() {
    let routes = std::cell::RefCell::new(routes(10));
    let mock = MockKey::new([7; 32]);
    for (password, iterations) in [("old", 1), ("new", 1), ("new", 2), ("old", 2)] {
        let secret = Secret::Plain(Password::new(password.as_bytes()));
        let found = Routes::verifier(&routes, b"app", &secret, (&mock, iterations)).await;
        let found = found.expect("a password has a verifier");
        assert!(found.accepts(password.as_bytes()), "{password}");
        assert_eq!(found.iterations(), iterations);
    }
    assert_eq!(routes.borrow().verifiers.len(), 1, "one for each user");
}

/// The credential of a route after a login or a reload with this configuration.
fn credential_now(
    routes: &mut Routes,
    password: &str,
    users: &str,
    keys: Option<ScramKeys>,
) -> Credential {
    let text = format!("[auth]\nauth_type = \"trust\"\n[databases.d]\nnodes = [\"h\"]\n{password}");
    let config = parse_bytes(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    let users = Users::parse(users.as_bytes()).expect("a list of users");
    let found = routes.find(&config, Some(&users), ("d", "app"), keys).expect("a database");
    found.route.account.credential.lock().clone()
}

#[test]
fn a_secret_that_leaves_the_configuration_is_used_no_more() {
    let mut routes = routes(10);
    let forced = "user = \"app\"\npassword = \"right\"\n";
    let now = credential_now(&mut routes, forced, "", None);
    assert!(matches!(now, Credential::Password(_)));
    assert!(matches!(credential_now(&mut routes, "", "", None), Credential::None));
    // Keys that a login has shown stay as long as the verifier stays.
    let keys = ScramKeys::derive(b"right", b"0123456789abcdef", 1);
    let line =
        |keys: &ScramKeys| format!("\"app\" \"{}\"\n", keys.to_verifier().to_text().as_str());
    let (own, other) = (line(&keys), line(&ScramKeys::derive(b"other", b"0123456789abcdef", 1)));
    let now = credential_now(&mut routes, "", &own, Some(keys.clone()));
    assert!(matches!(now, Credential::Keys(_)));
    assert!(matches!(credential_now(&mut routes, "", &own, None), Credential::Keys(_)));
    assert!(matches!(credential_now(&mut routes, "", &other, None), Credential::None));
    // A login that began before the reload shows keys of the verifier that is gone.
    assert!(matches!(credential_now(&mut routes, "", &other, Some(keys)), Credential::None));
}
