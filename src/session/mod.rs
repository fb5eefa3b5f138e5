//! One client: hello, login, decide, relay, goodbye.
