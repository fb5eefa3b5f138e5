//! Sockets: listen, dial, resolve, TLS, and the stream both sides use.
