//! Rules that send clients to nodes of their own.
//!
//! Owns the patterns and the first rule that matches a client. A rule is looked up when a session
//! begins, not for each statement.

use super::NodeId;

/// A name, or a part of one: `*` stands for any characters, also for none. Everything else, upper and
/// lower case too, has to be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Of a text of the configuration.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether a name is like it. Takes at most the product of both lengths.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return *self.0 == *name };
        let Some(mut name) = name.strip_prefix(first) else { return false };
        // Each part in the middle is taken where it is found first, which leaves most to the others.
        let mut parts = rest.split('*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return name.ends_with(part);
            }
            let Some((_, behind)) = name.split_once(part) else { return false };
            name = behind;
        }
        false
    }
}

/// What a client said of itself at login.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The database that it asked for.
    pub database: &'a str,
    /// Its user.
    pub user: &'a str,
    /// `application_name`; empty if it has none.
    pub application: &'a str,
}

/// Where the reads of a client go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the primary.
    Primary,
    /// To any replica.
    Replica,
    /// To these nodes, if they are replicas.
    Nodes(Box<[NodeId]>),
}

/// One rule. What it does not name, it does not look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Of the database.
    pub database: Option<Pattern>,
    /// Of the user.
    pub user: Option<Pattern>,
    /// Of the application.
    pub application: Option<Pattern>,
    /// Where its reads go.
    pub target: Target,
    /// What share of the clients, in thousandths. The others look at the rules that follow.
    pub share: u16,
}

impl Redirect {
    fn is_match(&self, client: &Client<'_>) -> bool {
        let is_like = |pattern: &Option<Pattern>, name: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.is_match(name))
        };
        is_like(&self.database, client.database)
            && is_like(&self.user, client.user)
            && is_like(&self.application, client.application)
    }
}

/// The target of the first rule that matches. `random` is drawn once for each client.
#[must_use]
pub fn target<'a>(rules: &'a [Redirect], client: &Client<'_>, random: u64) -> Option<&'a Target> {
    let is_drawn = |rule: &&Redirect| random % 1000 < u64::from(rule.share);
    rules.iter().filter(is_drawn).find(|rule| rule.is_match(client)).map(|rule| &rule.target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, matching, other) in [
            ("app", &["app"][..], &["", "App", "app1", "xapp"][..]),
            ("", &[""], &["a"]),
            ("*", &["", "a", "a*"], &[]),
            ("report*", &["report", "reports"], &["a report", "repor"]),
            ("*_ro", &["_ro", "app_ro", "_ro_ro"], &["ro", "app_rw"]),
            ("a*b*c", &["abc", "a1b2c", "abbcc", "abcbc"], &["ac", "acb", "abcd", "xabc"]),
            ("a**c", &["ac", "abc"], &["a", "c"]),
            ("ab*ba", &["abba", "ab ba"], &["aba"]),
            ("é*", &["été"], &["ete"]),
        ] {
            let pattern = Pattern::new(pattern);
            for name in matching {
                assert!(pattern.is_match(name), "{pattern:?} {name}");
            }
            for name in other {
                assert!(!pattern.is_match(name), "{pattern:?} {name}");
            }
        }
    }

    fn rule(user: Option<&str>, application: Option<&str>, target: Target) -> Redirect {
        let pattern = |text: Option<&str>| text.map(Pattern::new);
        let (user, application) = (pattern(user), pattern(application));
        Redirect { database: None, user, application, target, share: 1000 }
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let analysts = Target::Nodes([NodeId(3)].into());
        let rules = [
            rule(Some("admin"), Some("psql"), Target::Primary),
            rule(Some("analyst_*"), None, analysts.clone()),
            rule(None, Some("psql"), Target::Replica),
        ];
        for (user, application, expected) in [
            ("admin", "psql", Some(&Target::Primary)),
            ("admin", "pgbench", None),
            ("analyst_7", "psql", Some(&analysts)),
            ("bob", "psql", Some(&Target::Replica)),
            ("bob", "", None),
        ] {
            let client = Client { database: "app", user, application };
            assert_eq!(target(&rules, &client, 999), expected, "{user} {application}");
        }
    }

    #[test]
    fn a_share_of_the_clients_is_redirected() {
        let mut rules = [rule(None, None, Target::Replica)];
        rules[0].share = 300;
        let client = Client { database: "app", user: "bob", application: "" };
        let redirected = (0..5000).filter(|random| target(&rules, &client, *random).is_some());
        assert_eq!(redirected.count(), 1500);
    }
}
