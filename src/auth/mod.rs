//! Password exchanges as pure state machines: bytes in, bytes out, verdict.
