//! `howdah demo`: a throw-away cluster with howdah in front of it.
