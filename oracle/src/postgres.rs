//! PostgreSQL's scanner, its tokens in howdah's words.

use std::ops::Range;

use crate::sql::{Kind, Token};

/// What PostgreSQL's scanner makes of a text.
pub enum Scan {
    /// The tokens, comments among them.
    Tokens(Vec<Scanned>),
    /// The text ends inside a string, a quoted name or a comment.
    Unterminated,
    /// Refused for something else, such as `1a` or `""`. Where is not told, so nothing can be compared.
    Refused,
}

/// A token of PostgreSQL's.
#[derive(Clone, Copy, Debug)]
pub struct Scanned {
    pub token: Token,
    /// It is in PostgreSQL's list of keywords.
    pub is_keyword: bool,
}

const IDENT: i32 = pg_query::protobuf::Token::Ident as i32;
const UIDENT: i32 = pg_query::protobuf::Token::Uident as i32;
const FCONST: i32 = pg_query::protobuf::Token::Fconst as i32;
const SCONST: i32 = pg_query::protobuf::Token::Sconst as i32;
const USCONST: i32 = pg_query::protobuf::Token::Usconst as i32;
const BCONST: i32 = pg_query::protobuf::Token::Bconst as i32;
const XCONST: i32 = pg_query::protobuf::Token::Xconst as i32;
const OP: i32 = pg_query::protobuf::Token::Op as i32;
const ICONST: i32 = pg_query::protobuf::Token::Iconst as i32;
const PARAM: i32 = pg_query::protobuf::Token::Param as i32;
const TYPECAST: i32 = pg_query::protobuf::Token::Typecast as i32;
const DOT_DOT: i32 = pg_query::protobuf::Token::DotDot as i32;
const COLON_EQUALS: i32 = pg_query::protobuf::Token::ColonEquals as i32;
const EQUALS_GREATER: i32 = pg_query::protobuf::Token::EqualsGreater as i32;
const LESS_EQUALS: i32 = pg_query::protobuf::Token::LessEquals as i32;
const GREATER_EQUALS: i32 = pg_query::protobuf::Token::GreaterEquals as i32;
const NOT_EQUALS: i32 = pg_query::protobuf::Token::NotEquals as i32;
const SQL_COMMENT: i32 = pg_query::protobuf::Token::SqlComment as i32;
const C_COMMENT: i32 = pg_query::protobuf::Token::CComment as i32;
const NCHAR: i32 = pg_query::protobuf::Token::Nchar as i32;

/// Runs PostgreSQL's scanner, `standard_conforming_strings` on.
pub fn scan(text: &str) -> Scan {
    // For a text without tokens pg_query makes a slice of a null pointer.
    if text.bytes().all(|byte| b" \t\n\r\x0b\x0c".contains(&byte)) {
        return Scan::Tokens(Vec::new());
    }
    let raw = match pg_query::scan_tokens(text) {
        Ok(raw) => raw,
        Err(error) if error.to_string().contains("unterminated") => return Scan::Unterminated,
        Err(_) => return Scan::Refused,
    };
    let mut out: Vec<Scanned> = Vec::with_capacity(raw.len());
    let mut raw = raw.iter().peekable();
    while let Some(token) = raw.next() {
        let (start, mut end) = (token.start as usize, token.end as usize);
        let mut kind = kind(token.token, text.as_bytes().get(start).copied().unwrap_or_default());
        if token.token == NCHAR && end == start + 1 {
            // PostgreSQL has `N'x'` as a keyword and a string; to us it is one literal.
            if let Some(string) =
                raw.next_if(|next| next.token == SCONST && next.start as usize == end)
            {
                (kind, end) = (Kind::Text, string.end as usize);
            }
        }
        let is_keyword = token.keyword_kind != 0;
        out.push(Scanned { token: Token { kind, start, end }, is_keyword });
    }
    Scan::Tokens(out)
}

fn kind(token: i32, first: u8) -> Kind {
    match token {
        IDENT if first == b'"' => Kind::QuotedName,
        UIDENT => Kind::UnicodeName,
        SCONST => match first {
            b'$' => Kind::DollarText,
            b'e' | b'E' => Kind::EscapeText,
            _ => Kind::Text,
        },
        USCONST => Kind::UnicodeText,
        BCONST | XCONST => Kind::BitText,
        FCONST | ICONST => Kind::Number,
        PARAM => Kind::Parameter,
        TYPECAST => Kind::Cast,
        DOT_DOT => Kind::DotDot,
        COLON_EQUALS => Kind::Assign,
        OP | EQUALS_GREATER | LESS_EQUALS | GREATER_EQUALS | NOT_EQUALS => Kind::Operator,
        SQL_COMMENT | C_COMMENT => Kind::Comment,
        byte if (1..256).contains(&byte) => match byte as u8 {
            b',' => Kind::Comma,
            b';' => Kind::Semicolon,
            b'(' => Kind::OpenParen,
            b')' => Kind::CloseParen,
            b'[' => Kind::OpenBracket,
            b']' => Kind::CloseBracket,
            b'.' => Kind::Dot,
            b':' => Kind::Colon,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'<' | b'>' | b'=' => Kind::Operator,
            _ => Kind::Other,
        },
        // What is left are names and keywords.
        _ => Kind::Word,
    }
}

/// Where the statements lie, by PostgreSQL's grammar. `None` if it refuses the text.
pub fn parsed_statements(text: &str) -> Option<Vec<Range<usize>>> {
    pg_query::split_with_parser(text).ok().map(|pieces| ranges(text, &pieces))
}

/// Where the statements lie, as libpg_query guesses from the tokens.
pub fn scanned_statements(text: &str) -> Option<Vec<Range<usize>>> {
    pg_query::split_with_scanner(text).ok().map(|pieces| ranges(text, &pieces))
}

fn ranges(text: &str, pieces: &[&str]) -> Vec<Range<usize>> {
    let from = text.as_ptr() as usize;
    pieces
        .iter()
        .map(|piece| {
            let start = piece.as_ptr() as usize - from;
            start..start + piece.len()
        })
        .collect()
}

/// libpg_query's fingerprint, with every part of a name counted. `None` if the grammar refuses the text.
pub fn fingerprint(text: &str) -> Option<u64> {
    let options = pg_query::FingerprintOptions::RANGEVAR_INCLUDE_SCHEMA
        | pg_query::FingerprintOptions::FULL_RELNAME;
    pg_query::fingerprint(text, 0, options).ok().map(|found| found.value)
}
