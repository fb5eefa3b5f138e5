//! A server connection that ends while a session has it: what the client loses. Pure.
//!
//! If nothing of the client's has reached the server since its last transaction, and the session is as it
//! was, the session takes another server and the client is not told. Otherwise the client is told, once:
//! its session ends, or, where the database has other nodes and nothing but a transaction or an answer is
//! lost, what it asked fails and the session goes on.

/// What is asked on our own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    /// What the session has left on the server.
    Check,
    /// The client's own messages are awaited.
    Client,
    /// Anything else.
    Other,
}

/// What the decision rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct LostServer {
    /// The server itself has sent the client the error that ends the session.
    pub(super) server_sent_fatal: bool,
    /// A question of ours is all that the server was ever asked.
    pub(super) only_we_ask: bool,
    pub(super) asked: Asked,
    /// ReadyForQuery is withheld, or the client has a part of a message.
    pub(super) owes_client: bool,
    /// The server was sent something of the client's.
    pub(super) is_used: bool,
    /// The server is at rest by what it owes.
    pub(super) is_at_rest: bool,
    /// Nothing but a transaction ties the client to its server.
    pub(super) is_free: bool,
    /// Its database has other nodes: sessions outlive one.
    pub(super) has_other_nodes: bool,
    /// Something of the session is lost with the server that nobody can make again, and the client was
    /// told that it has it; or the client cannot be told an error and go on.
    pub(super) is_tied: bool,
}

/// What becomes of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It asks for another server, in its place in line.
    TryAnother,
    /// It goes on without a server.
    GoOn,
    /// It goes on without a server. What was not answered fails, and a transaction has failed.
    Fail,
    /// It ends; the client has been told why.
    EndSilently,
    /// It ends, and the client is told.
    End,
}

impl LostServer {
    /// Whether the client loses nothing with its server: it was sent nothing of the client's, or it
    /// is outside a transaction and may go to anybody else.
    pub(super) fn loses_nothing(self) -> bool {
        if self.owes_client {
            return false;
        }
        match self.asked {
            // It is asked whether it owes anything, and not what the client has there.
            Asked::Check if self.is_free => true,
            Asked::Check | Asked::Other => false,
            Asked::Nothing | Asked::Client => !self.is_used || (self.is_free && self.is_at_rest),
        }
    }

    /// Decides.
    pub(super) fn verdict(self) -> Verdict {
        if self.server_sent_fatal {
            Verdict::EndSilently
        } else if self.only_we_ask {
            Verdict::TryAnother
        } else if self.loses_nothing() {
            Verdict::GoOn
        } else if self.has_other_nodes && !self.is_tied {
            Verdict::Fail
        } else {
            Verdict::End
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss() {
        let used = LostServer {
            server_sent_fatal: false,
            only_we_ask: false,
            asked: Asked::Nothing,
            owes_client: false,
            is_used: true,
            is_at_rest: true,
            is_free: true,
            has_other_nodes: false,
            is_tied: false,
        };
        let routed = LostServer { has_other_nodes: true, ..used };
        for (lost, expected) in [
            (used, Verdict::GoOn),
            (LostServer { is_at_rest: false, ..used }, Verdict::End),
            (LostServer { is_free: false, ..used }, Verdict::End),
            (
                LostServer { is_used: false, is_at_rest: false, is_free: false, ..used },
                Verdict::GoOn,
            ),
            (LostServer { owes_client: true, is_used: false, ..used }, Verdict::End),
            (LostServer { asked: Asked::Check, ..used }, Verdict::GoOn),
            (LostServer { asked: Asked::Check, is_free: false, ..used }, Verdict::End),
            (LostServer { asked: Asked::Other, ..used }, Verdict::End),
            (LostServer { asked: Asked::Client, is_at_rest: false, ..used }, Verdict::End),
            (LostServer { only_we_ask: true, asked: Asked::Other, ..used }, Verdict::TryAnother),
            (routed, Verdict::GoOn),
            (LostServer { is_at_rest: false, ..routed }, Verdict::Fail),
            (LostServer { is_at_rest: false, is_tied: true, ..routed }, Verdict::End),
            (LostServer { only_we_ask: true, ..routed }, Verdict::TryAnother),
            (LostServer { server_sent_fatal: true, ..routed }, Verdict::EndSilently),
            (
                LostServer { server_sent_fatal: true, only_we_ask: true, ..used },
                Verdict::EndSilently,
            ),
        ] {
            assert_eq!(lost.verdict(), expected, "{lost:?}");
        }
    }
}
