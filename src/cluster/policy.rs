//! What an operator says about reads.

use crate::word::word_enum;

word_enum! {
    /// Whether reads go to replicas.
    pub RouteReads {
        /// Everything goes to the primary.
        Off = "off",
        /// Everything goes to the primary, and what could have gone to a replica is counted.
        Advise = "advise",
        /// Reads go to replicas that are fresh enough.
        On = "on",
    }
}

word_enum! {
    /// Where reads of PostgreSQL's own catalog go.
    pub CatalogReads {
        /// To the primary: drivers look there for what they have just made.
        Primary = "primary",
        /// Where other reads go.
        Replica = "replica",
    }
}

word_enum! {
    /// Where reads of foreign tables go.
    pub ForeignReads {
        /// To the primary: a foreign server shows its own present.
        Primary = "primary",
        /// Where other reads go.
        Replica = "replica",
    }
}

word_enum! {
    /// Where redirected reads go that none of the named nodes can take.
    pub Otherwise {
        /// To any replica.
        Replica = "replica",
        /// To the primary.
        Primary = "primary",
    }
}
