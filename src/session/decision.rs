//! Where a unit of a client's messages went, and why: for counters and for people. Pure.

use crate::routing::Reason;

/// A decision about one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// A replica got it.
    Replica,
    /// The primary, because of what it is.
    Primary(Reason),
    /// The primary, as no replica was fresh enough or well.
    NoReplica,
    /// The primary, as a replica had refused it or was lost in it.
    Refused,
    /// The primary, as its session has asked for it.
    WishedPrimary,
    /// A replica, as its session has asked for it.
    WishedReplica,
    /// The primary, as the route is `advise`; a replica could have had it.
    Advised,
    /// The primary: `route_percent` has kept it there.
    Withheld,
    /// The primary, by a redirect.
    Redirected,
}

/// Those without a reason of the text.
const OWN: [Decision; 8] = [
    Decision::Replica,
    Decision::NoReplica,
    Decision::Refused,
    Decision::WishedPrimary,
    Decision::WishedReplica,
    Decision::Advised,
    Decision::Withheld,
    Decision::Redirected,
];

/// How many there are.
pub const DECISIONS: usize = OWN.len() + Reason::ALL.len();

impl Decision {
    /// All of them, in the order of [`index`](Self::index).
    pub fn all() -> impl Iterator<Item = Self> {
        let reasons = Reason::ALL.iter().map(|reason| Self::Primary(*reason));
        OWN.into_iter().chain(reasons)
    }

    /// Its place among all.
    pub fn index(self) -> usize {
        match self {
            Self::Replica => 0,
            Self::NoReplica => 1,
            Self::Refused => 2,
            Self::WishedPrimary => 3,
            Self::WishedReplica => 4,
            Self::Advised => 5,
            Self::Withheld => 6,
            Self::Redirected => 7,
            Self::Primary(reason) => {
                OWN.len() + Reason::ALL.iter().position(|one| *one == reason).unwrap_or_default()
            }
        }
    }

    /// `replica` or `primary`.
    pub fn target(self) -> &'static str {
        match self {
            Self::Replica | Self::WishedReplica => "replica",
            Self::Primary(_)
            | Self::NoReplica
            | Self::Refused
            | Self::WishedPrimary
            | Self::Advised
            | Self::Withheld
            | Self::Redirected => "primary",
        }
    }

    /// A short word for counters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Replica => "read",
            Self::NoReplica => "no_replica",
            Self::Refused => "refused",
            Self::WishedPrimary => "session_primary",
            Self::WishedReplica => "session_replica",
            Self::Advised => "advise",
            Self::Withheld => "route_percent",
            Self::Redirected => "redirect",
            Self::Primary(reason) => reason.word(),
        }
    }

    /// Why, for people.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Replica => "it only reads",
            Self::NoReplica => "no replica was fresh enough and well",
            Self::Refused => "a replica refused it, or was lost before it answered",
            Self::WishedPrimary | Self::WishedReplica => {
                "its session asks for it with howdah.route"
            }
            Self::Advised => "it only reads; the route is advise",
            Self::Withheld => "it only reads; route_percent keeps it on the primary",
            Self::Redirected => "it only reads; a redirect sends it to the primary",
            Self::Primary(reason) => reason.explanation(),
        }
    }

    /// What can be done so that a replica gets such a unit, if anything can.
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Replica | Self::Refused | Self::WishedReplica | Self::Redirected => None,
            Self::WishedPrimary => {
                Some("SET howdah.route = auto where the session may read on replicas")
            }
            Self::Advised => Some("route = \"on\""),
            Self::Withheld => Some("a larger route_percent"),
            Self::NoReplica => {
                Some("SHOW NODES says how far each is; a lower consistency asks for less")
            }
            Self::Primary(reason) => reason.remedy(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_has_its_own_place_and_word() {
        let all: Vec<Decision> = Decision::all().collect();
        assert_eq!(all.len(), DECISIONS);
        assert!(all.iter().enumerate().all(|(place, one)| one.index() == place));
        let words: HashSet<_> = all.iter().map(|one| one.word()).collect();
        assert_eq!(words.len(), DECISIONS);
    }
}
