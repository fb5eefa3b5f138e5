//! Bytes to frames and message views, and encoders that append to a buffer. Pure.
