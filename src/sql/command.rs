//! Which command a statement is, by its first words.

/// The kind of a statement. Where a command has several forms that matter, each is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is PostgreSQL's command of that name")]
pub enum Command {
    /// Nothing but space, comments and semicolons.
    #[default]
    Empty,
    /// Also `WITH … SELECT` and `(SELECT …)`.
    Select,
    Values,
    Table,
    Insert,
    Update,
    Delete,
    Merge,
    /// `BEGIN` or `START TRANSACTION`.
    Begin,
    /// `COMMIT` or `END`.
    Commit,
    /// `ROLLBACK` or `ABORT`.
    Rollback,
    /// `ROLLBACK TO SAVEPOINT`.
    RollbackTo,
    Savepoint,
    /// `RELEASE SAVEPOINT`.
    Release,
    PrepareTransaction,
    CommitPrepared,
    RollbackPrepared,
    /// Every form of `SET`, those for the transaction too.
    Set,
    Reset,
    Show,
    Discard,
    /// SQL's `PREPARE name AS`.
    Prepare,
    Execute,
    Deallocate,
    Listen,
    Unlisten,
    Notify,
    Declare,
    Close,
    Fetch,
    Move,
    Copy,
    Load,
    Lock,
    Do,
    Call,
    Explain,
    Create,
    Alter,
    Drop,
    Truncate,
    Comment,
    Grant,
    Revoke,
    Vacuum,
    /// `ANALYZE` as a command of its own.
    Analyze,
    Cluster,
    Reindex,
    /// `REFRESH MATERIALIZED VIEW`.
    Refresh,
    Checkpoint,
    /// `REASSIGN OWNED`.
    Reassign,
    /// `IMPORT FOREIGN SCHEMA`.
    Import,
    /// `SECURITY LABEL`.
    Security,
    /// A first word that PostgreSQL's commands up to 18 do not have.
    Other,
}

impl Command {
    /// Whether it begins, ends or nests a transaction.
    pub fn is_transaction_control(self) -> bool {
        matches!(
            self,
            Self::Begin
                | Self::Commit
                | Self::Rollback
                | Self::RollbackTo
                | Self::Savepoint
                | Self::Release
                | Self::PrepareTransaction
        )
    }

    /// By the first word, in lower case; the caller settles forms that need a second word.
    /// `WITH` is [`Command::Other`] until its main verb is seen.
    pub(super) fn of_first_word(word: &[u8]) -> Self {
        match word {
            b"select" => Self::Select,
            b"insert" => Self::Insert,
            b"update" => Self::Update,
            b"delete" => Self::Delete,
            b"begin" | b"start" => Self::Begin,
            b"commit" | b"end" => Self::Commit,
            b"set" => Self::Set,
            b"rollback" | b"abort" => Self::Rollback,
            b"values" => Self::Values,
            b"table" => Self::Table,
            b"merge" => Self::Merge,
            b"savepoint" => Self::Savepoint,
            b"release" => Self::Release,
            b"reset" => Self::Reset,
            b"show" => Self::Show,
            b"discard" => Self::Discard,
            b"prepare" => Self::Prepare,
            b"execute" => Self::Execute,
            b"deallocate" => Self::Deallocate,
            b"listen" => Self::Listen,
            b"unlisten" => Self::Unlisten,
            b"notify" => Self::Notify,
            b"declare" => Self::Declare,
            b"close" => Self::Close,
            b"fetch" => Self::Fetch,
            b"move" => Self::Move,
            b"copy" => Self::Copy,
            b"load" => Self::Load,
            b"lock" => Self::Lock,
            b"do" => Self::Do,
            b"call" => Self::Call,
            b"explain" => Self::Explain,
            b"create" => Self::Create,
            b"alter" => Self::Alter,
            b"drop" => Self::Drop,
            b"truncate" => Self::Truncate,
            b"comment" => Self::Comment,
            b"grant" => Self::Grant,
            b"revoke" => Self::Revoke,
            b"vacuum" => Self::Vacuum,
            b"analyze" | b"analyse" => Self::Analyze,
            b"cluster" => Self::Cluster,
            b"reindex" => Self::Reindex,
            b"refresh" => Self::Refresh,
            b"checkpoint" => Self::Checkpoint,
            b"reassign" => Self::Reassign,
            b"import" => Self::Import,
            b"security" => Self::Security,
            _ => Self::Other,
        }
    }
}
