//! SQL text to tokens and facts. Pure.
