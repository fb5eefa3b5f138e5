//! Rules that send clients to nodes of their own.
//!
//! Owns the patterns and the first rule that matches a client. A rule is looked up when a session begins
//! and when its `application_name` or the rules change, not for each statement.

use super::NodeId;
use super::policy::Otherwise;

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

/// What a client says of itself.
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
    /// To these nodes. To the primary only if it is one of them and no other can take them.
    Nodes {
        /// The nodes.
        nodes: Box<[NodeId]>,
        /// Where they go while none of the nodes can take them.
        otherwise: Otherwise,
    },
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

/// A number for this rule out of that of the client: each rule draws for itself.
fn draw(random: u64, place: usize) -> u64 {
    let mixed =
        (random ^ (random >> 29)).wrapping_add(place as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 32
}

/// The place of the first rule that matches. `random` is drawn once for each client.
#[must_use]
pub fn matching(rules: &[Redirect], client: &Client<'_>, random: u64) -> Option<usize> {
    rules.iter().enumerate().position(|(place, rule)| {
        let is_drawn = rule.share >= 1000 || draw(random, place) % 1000 < u64::from(rule.share);
        is_drawn && rule.is_match(client)
    })
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
        let analysts = Target::Nodes { nodes: [NodeId(3)].into(), otherwise: Otherwise::Primary };
        let target = |rules: &[Redirect], client: &Client<'_>| {
            matching(rules, client, 999).map(|place| rules[place].target.clone())
        };
        let rules = [
            rule(Some("admin"), Some("psql"), Target::Primary),
            rule(Some("analyst_*"), None, analysts.clone()),
            rule(None, Some("psql"), Target::Replica),
        ];
        for (user, application, expected) in [
            ("admin", "psql", Some(Target::Primary)),
            ("admin", "pgbench", None),
            ("analyst_7", "psql", Some(analysts.clone())),
            ("bob", "psql", Some(Target::Replica)),
            ("bob", "", None),
        ] {
            let client = Client { database: "app", user, application };
            assert_eq!(target(&rules, &client), expected, "{user} {application}");
        }
    }

    #[test]
    fn each_rule_takes_its_share_of_the_clients_that_reach_it() {
        let mut rules = [rule(None, None, Target::Replica), rule(None, None, Target::Primary)];
        (rules[0].share, rules[1].share) = (300, 500);
        let client = Client { database: "app", user: "bob", application: "" };
        let random = |number: u64| number.wrapping_mul(0x2545_F491_4F6C_DD1D);
        let mut counts = [0u32; 3];
        for number in 0..10_000 {
            counts[matching(&rules, &client, random(number)).unwrap_or(2)] += 1;
        }
        for (count, expected) in counts.iter().zip([3000u32, 3500, 3500]) {
            assert!(count.abs_diff(expected) < 250, "{counts:?}");
        }
    }
}
