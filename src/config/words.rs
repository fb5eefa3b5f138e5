//! Settings that are one word of a closed list.

use std::fmt;

/// An enum whose variants are the words of a key.
pub(super) trait Word: Sized {
    /// The variant a word names.
    fn from_word(word: &str) -> Option<Self>;
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word of the configuration file.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl Word for $name {
            fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// When a server goes back to its pool.
    PoolMode {
        /// When the client leaves.
        Session = "session",
        /// When the transaction ends.
        Transaction = "transaction",
        /// When the statement ends; transactions of several statements are refused.
        Statement = "statement",
    }
}

words! {
    /// What happens to session state that cannot be replayed, in transaction and statement mode.
    SessionStatePolicy {
        /// The client keeps its server while the cause lasts.
        Pin = "pin",
        /// The statement is refused.
        Error = "error",
        /// Nothing: the state is lost with the server, as in PgBouncer.
        Ignore = "ignore",
    }
}

words! {
    /// How clients prove who they are.
    AuthType {
        /// Not at all.
        Trust = "trust",
        /// With the password in clear text.
        Password = "password",
        /// With an MD5 hash, or SCRAM where the secret is a SCRAM verifier.
        Md5 = "md5",
        /// With SCRAM-SHA-256.
        ScramSha256 = "scram-sha-256",
    }
}

words! {
    /// TLS towards clients.
    ClientSslMode {
        /// Plain only.
        Disable = "disable",
        /// TLS if the client asks for it.
        Allow = "allow",
        /// The same as `allow`: the client decides.
        Prefer = "prefer",
        /// Plain connections are refused.
        Require = "require",
    }
}

words! {
    /// TLS towards servers, as in libpq.
    ServerSslMode {
        /// Plain only.
        Disable = "disable",
        /// Plain first, TLS if the server refuses.
        Allow = "allow",
        /// TLS if the server has it.
        Prefer = "prefer",
        /// TLS, with any certificate.
        Require = "require",
        /// TLS, with a certificate that `ca_file` vouches for.
        VerifyCa = "verify-ca",
        /// The same, and the certificate names the host.
        VerifyFull = "verify-full",
    }
}

words! {
    /// Least important lines that are logged.
    LogLevel {
        /// What cannot go on.
        Error = "error",
        /// What an operator should look at.
        Warn = "warn",
        /// Life of the process and its clients.
        Info = "info",
        /// Decisions.
        Debug = "debug",
        /// Messages.
        Trace = "trace",
    }
}

words! {
    /// Shape of log lines.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_read_back<T: Word + fmt::Display>(words: &[&str]) {
        for word in words {
            assert_eq!(T::from_word(word).map(|w| w.to_string()).as_deref(), Some(*word));
        }
        assert!(T::from_word("").is_none());
    }

    #[test]
    fn every_word_names_its_variant() {
        all_read_back::<PoolMode>(PoolMode::WORDS);
        all_read_back::<SessionStatePolicy>(SessionStatePolicy::WORDS);
        all_read_back::<AuthType>(AuthType::WORDS);
        all_read_back::<ClientSslMode>(ClientSslMode::WORDS);
        all_read_back::<ServerSslMode>(ServerSslMode::WORDS);
        all_read_back::<LogLevel>(LogLevel::WORDS);
        all_read_back::<LogFormat>(LogFormat::WORDS);
    }
}
