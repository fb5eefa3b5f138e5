//! What a reading of a text ends with.

/// Where a text may run, as far as the text itself says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may run on a hot standby, and is answered there as on the primary. Also a text without
    /// a statement.
    Read,
    /// It has to run on the primary.
    Primary(Reason),
    /// `BEGIN` or `START TRANSACTION`: its modes decide.
    Begin(Modes),
    /// It ends the transaction, and so runs where that is.
    End(End),
    /// `SAVEPOINT`, `RELEASE` or `ROLLBACK TO`: where the transaction is.
    Savepoint,
    /// `SET TRANSACTION`, or a `SET` or `RESET` of what it sets: of the transaction that runs.
    SetTransaction(Modes),
    /// `SET SESSION CHARACTERISTICS`, or a `SET` or `RESET` of what it sets: of the transactions
    /// that follow. `is_local`: until the end of the one that runs.
    SetDefaults {
        /// What is set.
        modes: Modes,
        /// Said with `SET LOCAL`.
        is_local: bool,
    },
    /// `SET` or `RESET` of another setting: the session's, wherever it runs.
    Setting,
    /// `PREPARE name AS statement`.
    Prepare {
        /// Of the prepared statement.
        name: Box<[u8]>,
        /// Whether that statement is a read.
        statement: Result<(), Reason>,
    },
    /// `EXECUTE name`, also in EXPLAIN: where the statement may run. Its arguments are harmless.
    Execute {
        /// Of the prepared statement.
        name: Box<[u8]>,
    },
    /// `DEALLOCATE` of one prepared statement or of all.
    Deallocate,
    /// `DECLARE name CURSOR`, which lives as long as its transaction.
    Declare {
        /// Of the cursor.
        name: Box<[u8]>,
        /// Whether its query is a read.
        query: Result<(), Reason>,
    },
    /// `LOCK` in a mode that a standby gives too: where the transaction is.
    LockTable,
    /// `FETCH`, `MOVE` or `CLOSE`: where the cursor is.
    Cursor {
        /// Of the cursor; `None` for all of them.
        name: Option<Box<[u8]>>,
    },
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// COMMIT; else ROLLBACK.
    pub commits: bool,
    /// `AND CHAIN`: another begins at once, with the same modes.
    pub chains: bool,
}

/// The modes of a transaction that a statement names (manual, "SET TRANSACTION").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// READ ONLY or READ WRITE.
    pub access: Option<Mode<Access>>,
    /// ISOLATION LEVEL.
    pub isolation: Option<Mode<Isolation>>,
    /// DEFERRABLE or NOT DEFERRABLE.
    pub deferrable: Option<Mode<bool>>,
}

/// What a mode is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode<T> {
    /// This.
    To(T),
    /// What the session began with.
    Default,
}

/// What a transaction may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// READ ONLY
    ReadOnly,
    /// READ WRITE
    ReadWrite,
}

/// An isolation level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// READ UNCOMMITTED
    ReadUncommitted,
    /// READ COMMITTED
    ReadCommitted,
    /// REPEATABLE READ
    RepeatableRead,
    /// SERIALIZABLE: refused on a hot standby, even to a transaction that only reads.
    Serializable,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident, $word:literal, $explanation:literal, $remedy:expr;)*) => {
        /// Why a text has to run on the primary.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// A short word for counters.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// What the reason is, for people.
            pub fn explanation(self) -> &'static str {
                match self {
                    $(Self::$name => $explanation,)*
                }
            }

            /// What can be done so that such a text may run elsewhere, if anything can.
            pub fn remedy(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => $remedy,)*
                }
            }
        }
    };
}

reasons! {
    /// INSERT, UPDATE, DELETE, MERGE, TRUNCATE, COPY FROM; also inside of WITH.
    Write, "write", "it changes rows", None;
    /// FOR UPDATE, FOR SHARE and their like, and LOCK.
    Lock, "lock", "it takes locks, which have to be the primary's",
        Some("leave out FOR UPDATE or FOR SHARE where the rows are only read");
    /// SELECT … INTO.
    Into, "into", "SELECT INTO creates a table", None;
    /// CREATE, ALTER, DROP, GRANT, COMMENT and their like.
    Definition, "definition", "it changes what the database has", None;
    /// VACUUM, ANALYZE, REINDEX, CHECKPOINT and their like.
    Maintenance, "maintenance", "it maintains the node that it runs on", None;
    /// DO and CALL.
    Procedure, "procedure", "what DO and CALL run may do anything", None;
    /// LISTEN, UNLISTEN, NOTIFY.
    Notification, "notification", "notifications are the primary's", None;
    /// LOAD, DISCARD.
    Session, "session", "it changes the session beyond its settings", None;
    /// PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED.
    TwoPhase, "two_phase", "transactions in two phases are the primary's", None;
    /// SET TRANSACTION SNAPSHOT.
    Snapshot, "snapshot", "a snapshot can be taken over only on the node that has exported it", None;
    /// A transaction that is not read only, or that begins elsewhere than at the front.
    Transaction, "transaction", "its transaction is not READ ONLY from its beginning on",
        Some("BEGIN READ ONLY where nothing is written");
    /// A transaction that is SERIALIZABLE, by `default_transaction_isolation` too.
    Serializable, "serializable", "a standby has no SERIALIZABLE transactions",
        Some("REPEATABLE READ where nothing is written");
    /// A cursor that is not of a READ ONLY transaction.
    Cursor, "cursor", "it uses a cursor outside of a READ ONLY transaction", None;
    /// A cursor WITH HOLD.
    Hold, "hold", "a cursor WITH HOLD outlives its transaction", Some("declare the cursor without WITH HOLD");
    /// COPY to a file or a program.
    File, "file", "it reads or writes a file of the node that runs it", Some("COPY … TO STDOUT");
    /// A function that writes, or whose answer holds for one node only.
    Function, "function", "it calls a function that is volatile or that asks its own node",
        Some("declare the function STABLE or IMMUTABLE, or name it in read_only_functions, if it neither writes nor asks its node");
    /// A function that neither PostgreSQL nor the catalog as it was read has.
    UnknownFunction, "unknown_function", "it calls a function that is not known here",
        Some("wait until the catalog has been read again");
    /// An operator whose function may write.
    Operator, "operator", "it uses an operator whose function is volatile",
        Some("declare the operator's function STABLE or IMMUTABLE if it neither writes nor asks its node");
    /// An operator that is not known.
    UnknownOperator, "unknown_operator", "it uses an operator that is not known here",
        Some("wait until the catalog has been read again");
    /// A type whose input, cast or check may write.
    Type, "type", "it uses a type whose cast or check is volatile",
        Some("declare the functions behind the type STABLE or IMMUTABLE if they neither write nor ask their node");
    /// A type that is not known.
    UnknownType, "unknown_type", "it uses a type that is not known here",
        Some("wait until the catalog has been read again");
    /// A relation whose reading writes or locks: a view, a policy.
    Relation, "relation", "it reads a view or table that writes, locks or calls what is volatile", None;
    /// A relation that is not known.
    UnknownRelation, "unknown_relation", "it reads a table that is not known here",
        Some("wait until the catalog has been read again");
    /// A temporary table.
    Temporary, "temporary", "it uses something temporary of its session", None;
    /// An unlogged table.
    Unlogged, "unlogged", "an unlogged table is on the primary only", None;
    /// A foreign table.
    Foreign, "foreign", "it reads a foreign table, whose server may be asked by the primary only",
        Some("foreign_reads = \"replica\" where the standbys reach that server too");
    /// A sequence.
    Sequence, "sequence", "sequences are ahead of their values on a standby", None;
    /// A relation of the catalog.
    Catalog, "catalog", "it reads the catalog, which follows changes late on a standby",
        Some("catalog_reads = \"replica\" where no client looks there for what it has just made");
    /// A view or setting that shows the node it is read on.
    Node, "node", "it asks the node that runs it about itself", None;
    /// A write that is only planned.
    PlanOfWrite, "plan_of_write", "a write is planned where it would run", None;
    /// A setting's value that cannot be understood.
    Value, "value", "the value of the setting is not understood", None;
    /// Several statements that are not all reads.
    Several, "several", "it is several statements, not all of them plain reads",
        Some("send the statements one by one");
    /// A statement that is not known.
    UnknownStatement, "unknown_statement", "it is no statement that is known here", None;
    /// A comment in front of it says so.
    Hint, "hint", "a comment in front of it keeps it on the primary", None;
    /// A comment in front of it speaks to the pooler and is not understood.
    UnknownHint, "unknown_hint", "the comment in front of it is not understood",
        Some("write /* howdah: primary */, group=NAME or consistency=LEVEL");
    /// A batch whose end cannot be waited for: Flush, FunctionCall, too long.
    Endless, "endless", "the client asks for answers before the end of its batch, which is not known then", None;
    /// A message that makes no sense.
    Malformed, "malformed", "a message of it makes no sense", None;
    /// A text whose encoding or rules are not known now.
    Unreadable, "unreadable", "it cannot be read by the rules that its session has now", None;
    /// A prepared statement that the session does not have, or whose text was not kept.
    UnknownPrepared, "unknown_prepared", "it runs a prepared statement that is not known here", None;
    /// Not understood.
    Unparsed, "unparsed", "it is not understood", None;
    /// A name with Unicode escapes.
    EscapedName, "escaped_name", "it has a name that is written with U&", Some("write the name plainly");
    /// More text than is read.
    TooLong, "too_long", "it is longer than 16 KiB", Some("pass long lists as an array in a parameter");
    /// Nested too deep, or too long a chain of operators.
    TooDeep, "too_deep", "it is nested too deep or has too long a chain of operators",
        Some("pass long lists as an array in a parameter");
    /// A function that `write_functions` names.
    Listed, "listed", "it calls a function that write_functions names",
        Some("take the function out of write_functions if it only reads");
    /// A function or relation that has answered otherwise on a replica.
    Distrusted, "distrusted", "the self-check has seen a function or relation of it answer otherwise on a replica",
        Some("correct the volatility of the function, then RELOAD");
}

impl Reason {
    /// Whether a text that has to run on the primary for this reason may write although no word of it says
    /// so: it runs what is not seen, or it is not understood.
    pub fn may_hide_write(self) -> bool {
        match self {
            Self::Write
            | Self::Into
            | Self::Definition
            | Self::Maintenance
            | Self::Procedure
            | Self::TwoPhase
            | Self::Function
            | Self::UnknownFunction
            | Self::Operator
            | Self::UnknownOperator
            | Self::Type
            | Self::UnknownType
            | Self::Relation
            | Self::UnknownRelation
            | Self::Several
            | Self::UnknownStatement
            | Self::Endless
            | Self::Malformed
            | Self::Unreadable
            | Self::UnknownPrepared
            | Self::Unparsed
            | Self::EscapedName
            | Self::TooLong
            | Self::TooDeep
            | Self::Listed
            | Self::Distrusted => true,
            Self::Lock
            | Self::Notification
            | Self::Session
            | Self::Snapshot
            | Self::Transaction
            | Self::Serializable
            | Self::Cursor
            | Self::Hold
            | Self::File
            | Self::Temporary
            | Self::Unlogged
            | Self::Foreign
            | Self::Sequence
            | Self::Catalog
            | Self::Node
            | Self::PlanOfWrite
            | Self::Value
            | Self::Hint
            | Self::UnknownHint => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: HashSet<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let word = reason.word();
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{word}");
            assert!(!reason.explanation().is_empty() && !reason.explanation().ends_with('.'));
            assert_ne!(reason.remedy(), Some(""));
        }
    }
}
