//! Where in a statement the scan is, as far as it decides what a name is used as.

use super::lex::Token;
use super::scan_state::bit;
use smallvec::SmallVec;

/// Depth from which on there are no bits.
pub(super) const DEPTH_MAX: u32 = 64;
/// Names that WITH declares, and names that may be among them, in one statement. Each of these is compared
/// with each of those.
pub(super) const NAMES_MAX: usize = 64;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A relation, or a function if a parenthesis follows.
    Source,
    /// A relation, whatever follows.
    Target,
    /// Directly behind USING: a relation, or the group of columns of a join.
    Using,
    /// Inside of that group: a column, unless it is a join.
    UsingGroup,
    /// A type.
    Type,
}

/// The last part of a name, and the part before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) name: Token,
    pub(super) schema: Option<Token>,
}

/// What the next token means.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum State {
    /// Nothing special.
    #[default]
    Idle,
    /// A name begins here.
    Awaits(Place),
    /// A name ends here, unless a dot comes.
    Named(Place, Part),
    /// The next part of a name comes; this is the part before.
    Dotted(Place, Token),
}

/// How far `name [(columns)] AS [[NOT] MATERIALIZED] (` is spelled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Declaration {
    #[default]
    None,
    /// The name comes.
    Begins,
    /// A name, at this depth.
    Named(Token, u32),
    /// AS has come too.
    As(Token, u32),
}

/// What is remembered of the statement at hand.
#[derive(Default)]
pub(super) struct Places {
    pub(super) state: State,
    pub(super) declaration: Declaration,
    /// A bit for each depth: in a list of relations.
    pub(super) lists: u64,
    /// A bit for each depth: in a WITH list.
    pub(super) with_lists: u64,
    /// A bit for each depth: in a group whose FROM is not that of a query, such as EXTRACT's.
    pub(super) syntax_groups: u64,
    /// A bit for each depth: in a group where AS or RETURNING names a type.
    pub(super) cast_groups: u64,
    /// What WITH declares.
    pub(super) declared: SmallVec<[Token; 2]>,
    /// Relations that the vocabulary does not have, unless WITH declares them.
    pub(super) missing: SmallVec<[Token; 2]>,
    /// Where the alias of a relation begins that was seen last.
    pub(super) alias: Option<usize>,
    /// Something else is used that the vocabulary does not have.
    pub(super) is_unknown: bool,
}

impl Places {
    pub(super) fn await_name(&mut self, place: Place) {
        self.state = State::Awaits(place);
    }

    pub(super) fn open_list(&mut self, depth: u32) {
        self.lists |= bit(depth);
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!((&self.state, &self.declaration), (State::Idle, Declaration::None))
    }

    /// Whether this is the alias of a relation; its columns may follow.
    pub(super) fn is_alias(&self, name: Token) -> bool {
        self.alias == Some(name.start)
    }

    pub(super) fn close_list(&mut self, depth: u32) {
        self.lists &= !bit(depth);
    }
}
