//! The configuration file: raw shape, checked configuration, reload difference.
