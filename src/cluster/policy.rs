//! What an operator says about reads.

use crate::word::word_enum;

word_enum! {
    /// Whether reads go to replicas.
    pub RouteReads {
        /// Everything goes to the primary.
        Off = "off",
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
