//! The error vocabulary: whose fault, how much ends, whether to retry, and what a client may be told.
