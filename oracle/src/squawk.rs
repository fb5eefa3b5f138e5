//! Whether what howdah calls a read is one to a parser that shares nothing with it: squawk's.
//!
//! A text that squawk refuses, or gives up on, says nothing here.

use squawk_syntax::ast::AstNode;
use squawk_syntax::{SourceFile, SyntaxKind};

use crate::compare::Difference;

/// Statements of which a read may consist.
const READS: &[SyntaxKind] = &[
    SyntaxKind::SELECT,
    SyntaxKind::COMPOUND_SELECT,
    SyntaxKind::PAREN_SELECT,
    SyntaxKind::TABLE,
    SyntaxKind::VALUES,
    SyntaxKind::EXPLAIN,
    SyntaxKind::COPY,
    SyntaxKind::SHOW,
    SyntaxKind::EMPTY_STMT,
];

/// What a read has nowhere inside.
const FORBIDDEN: &[SyntaxKind] = &[
    SyntaxKind::INSERT,
    SyntaxKind::UPDATE,
    SyntaxKind::DELETE,
    SyntaxKind::MERGE,
    SyntaxKind::TRUNCATE,
    SyntaxKind::LOCK,
    SyntaxKind::SELECT_INTO,
    SyntaxKind::INTO_CLAUSE,
    SyntaxKind::LOCKING_CLAUSE,
    SyntaxKind::CREATE_TABLE_AS,
    SyntaxKind::REFRESH,
    SyntaxKind::EXECUTE,
    SyntaxKind::CALL,
    SyntaxKind::DO,
    SyntaxKind::NOTIFY,
    SyntaxKind::LISTEN,
    SyntaxKind::COPY_FROM,
    SyntaxKind::COPY_PROGRAM,
];

/// Looks at a text that was called a read: whether squawk could say anything of it, or the difference.
pub fn check(text: &str) -> Result<bool, Difference> {
    let parsed = std::panic::catch_unwind(|| {
        let parse = SourceFile::parse(text);
        parse.errors().is_empty().then(|| parse.tree())
    });
    let Ok(Some(file)) = parsed else { return Ok(false) };
    let statements = file.stmts().map(|statement| statement.syntax().kind());
    let strange = statements.into_iter().find(|kind| !READS.contains(kind));
    let inside = file.syntax().descendants().find(|node| FORBIDDEN.contains(&node.kind()));
    match strange.or(inside.map(|node| node.kind())) {
        None => Ok(true),
        Some(kind) => {
            let detail = format!("called a read, but squawk finds {kind:?}");
            Err(Difference { check: "squawk", detail })
        }
    }
}
