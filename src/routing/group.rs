//! What the reader remembers of the parentheses that it is in.

/// What a parenthesis or bracket holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Holds {
    /// An expression, a list of them, or a query.
    #[default]
    Values,
    /// Names of columns, with or without types; nothing is called there.
    Columns,
    /// The modifiers of a type.
    Modifiers,
    /// The arguments of a call.
    Arguments(Call),
    /// The query of a WITH list's entry.
    Entry,
    /// The calls of ROWS FROM.
    Calls,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// A function.
    Function,
    /// A function that takes the name of a relation in a string.
    Regclass,
    /// CAST, TREAT, XMLSERIALIZE: a type follows AS.
    Cast,
    /// Words of its own lie between the arguments: EXTRACT, SUBSTRING, TRIM, and so on.
    Words,
    /// XMLATTRIBUTES, XMLFOREST: labels follow AS.
    Labels,
    /// XMLTABLE, JSON_TABLE: columns follow.
    Table,
}

/// Which part of a query the reader is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Clause {
    /// Of no query, or behind its FROM.
    #[default]
    Other,
    /// A WITH list.
    With(With),
    /// Behind SELECT: FROM may follow.
    Select,
    /// FROM.
    From(From),
    /// GROUP BY.
    Group,
    /// A parenthesis of GROUP BY.
    Grouping,
}

/// Where in an entry of a WITH list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    /// Its name comes.
    Name,
    /// Behind its name.
    Head,
    /// Behind AS.
    Body,
    /// Behind its query.
    Tail,
}

/// Where in FROM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// A relation, a call or a parenthesis comes.
    Item,
    /// Behind one: an alias, JOIN, a comma.
    Behind,
    /// The condition of a join.
    On,
}

/// A parenthesis or bracket that is open, or the statement itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub(super) holds: Holds,
    pub(super) clause: Clause,
    /// WITH RECURSIVE: an entry knows itself.
    pub(super) is_recursive: bool,
    /// Where the name of the WITH list's entry at hand is.
    pub(super) entry: usize,
    /// Entries of WITH lists that are known outside.
    pub(super) known: usize,
}
