//! What a statement does with a transaction block.
//!
//! Reads only the first words of a statement, and the last ones of one that ends a block. Pure; a text
//! that makes no sense does nothing.

use super::boundary::statements;
use super::lex::{Kind, Lexer, Token};
use super::rules::Rules;
use super::words::is_word;

/// What a statement that begins or ends a transaction block leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// An open one: BEGIN, and COMMIT AND CHAIN.
    Open,
    /// None: COMMIT, ROLLBACK, PREPARE TRANSACTION.
    Closed,
}

/// What a statement does with the transaction block in which it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT, END.
    Commit,
    /// ROLLBACK, ABORT.
    Rollback,
    /// PREPARE TRANSACTION.
    Prepare,
    /// COMMIT or ROLLBACK, AND CHAIN.
    Chain,
    /// ROLLBACK TO a savepoint.
    RollbackTo,
}

/// The first statement of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstStatement {
    /// What it does with its transaction block.
    pub control: Option<Control>,
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Whether others follow.
    pub is_followed: bool,
}

/// The first statement of a text; `None` if there is none in it.
pub fn first_statement(text: &[u8], rules: Rules) -> Option<FirstStatement> {
    let mut places = statements(text, rules.are_conforming());
    let place = places.next()?;
    let control = control_of(text.get(place.clone())?, rules);
    let is_followed = places.next().is_some();
    Some(FirstStatement { control, start: place.start, end: place.end, is_followed })
}

/// What one statement leaves of a transaction block, if it begins or ends one.
pub fn block_of(statement: &[u8], rules: Rules) -> Option<Block> {
    match control_of(statement, rules)? {
        Control::Begin | Control::Chain => Some(Block::Open),
        Control::Commit | Control::Rollback | Control::Prepare => Some(Block::Closed),
        Control::RollbackTo => None,
    }
}

fn control_of(statement: &[u8], rules: Rules) -> Option<Control> {
    let mut tokens = Lexer::new(statement, rules.are_conforming()).filter(Token::is_significant);
    let first = tokens.next().filter(|token| token.kind == Kind::Word)?;
    let is = |token: Token, words: &[&[u8]]| {
        token.kind == Kind::Word && words.iter().any(|word| is_word(token.bytes(statement), word))
    };
    let second = tokens.next();
    let second_is = |words: &[&[u8]]| second.is_some_and(|token| is(token, words));
    if is(first, &[b"begin"]) || is(first, &[b"start"]) && second_is(&[b"transaction"]) {
        return Some(Control::Begin);
    }
    if is(first, &[b"prepare"]) {
        return second_is(&[b"transaction"]).then_some(Control::Prepare);
    }
    let control = if is(first, &[b"commit", b"end"]) {
        Control::Commit
    } else if is(first, &[b"rollback", b"abort"]) {
        Control::Rollback
    } else {
        return None;
    };
    // A transaction that was prepared before is another.
    if second_is(&[b"prepared"]) {
        return None;
    }
    let rest: Vec<Token> = second.into_iter().chain(tokens).collect();
    if rest.iter().any(|token| is(*token, &[b"to"])) {
        return Some(Control::RollbackTo);
    }
    match rest.as_slice() {
        [.., last] if !is(*last, &[b"chain"]) => Some(control),
        [.., before, _] if is(*before, &[b"no"]) => Some(control),
        [] => Some(control),
        [..] => Some(Control::Chain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_statements_do_with_their_block() {
        for (text, expected) in [
            ("BEGIN", Some(Control::Begin)),
            ("/* a */ begin isolation level serializable", Some(Control::Begin)),
            ("START TRANSACTION READ ONLY", Some(Control::Begin)),
            ("COMMIT", Some(Control::Commit)),
            ("END TRANSACTION", Some(Control::Commit)),
            ("commit work and no chain", Some(Control::Commit)),
            ("COMMIT AND CHAIN", Some(Control::Chain)),
            ("ROLLBACK", Some(Control::Rollback)),
            ("ABORT", Some(Control::Rollback)),
            ("ROLLBACK WORK AND CHAIN", Some(Control::Chain)),
            ("ROLLBACK TO a", Some(Control::RollbackTo)),
            ("rollback transaction to savepoint a", Some(Control::RollbackTo)),
            ("PREPARE TRANSACTION 'a'", Some(Control::Prepare)),
            ("PREPARE a AS SELECT 1", None),
            ("COMMIT PREPARED 'a'", None),
            ("START_REPLICATION", None),
            ("SAVEPOINT a", None),
            ("SELECT 1", None),
            ("\"commit\"", None),
        ] {
            let found = first_statement(text.as_bytes(), Rules::STANDARD).expect("a statement");
            assert_eq!(found.control, expected, "{text}");
            assert!(!found.is_followed, "{text}");
        }
    }

    #[test]
    fn the_first_of_several_statements() {
        let text = b" ; ROLLBACK ; SELECT 1";
        let found = first_statement(text, Rules::STANDARD).expect("a statement");
        assert_eq!(&text[found.start..found.end], b"ROLLBACK");
        assert!(found.is_followed && found.control == Some(Control::Rollback));
        assert_eq!(first_statement(b" ; -- nothing", Rules::STANDARD), None);
    }
}
