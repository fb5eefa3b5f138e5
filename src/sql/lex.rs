//! Tokens, by the rules of PostgreSQL's scanner (manual, "Lexical Structure").
//!
//! Owns where a token begins and ends. Never looks at what a word means, never copies, never
//! decodes: the text may be in any encoding whose trail bytes are not ASCII. The tokens tile the
//! text: each begins where the last ended, and the last ends where the text does.
//! Where versions differ (numbers with `_` or `0x` are new in 16) a token may be cut differently
//! from what an old server does, but never so that a quote or a semicolon changes sides.

/// What a token is. Keywords are [`Kind::Word`].
// As wide as an offset: a token then has no padding, and copying one takes whole words only.
// With a byte here every token taken costs 10 ns more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// Blanks, tabs, line ends.
    Space,
    /// `-- …` up to the end of the line, or `/* … */` with nesting.
    Comment,
    /// An unquoted identifier or keyword.
    Word,
    /// `"…"`
    QuotedName,
    /// `U&"…"`
    UnicodeName,
    /// `'…'` or `N'…'`; backslashes are escapes if `standard_conforming_strings` is off.
    Text,
    /// `E'…'`
    EscapeText,
    /// `B'…'` or `X'…'`
    BitText,
    /// `U&'…'`
    UnicodeText,
    /// `$tag$ … $tag$`
    DollarText,
    /// `$1`
    Parameter,
    /// `1`, `1.5e3`, `0xFF`, `1_000`
    Number,
    /// One operator, such as `+` or `->>`.
    Operator,
    /// `::`
    Cast,
    /// `:=`
    Assign,
    /// `:`
    Colon,
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// `(`
    OpenParen,
    /// `)`
    CloseParen,
    /// `[`
    OpenBracket,
    /// `]`
    CloseBracket,
    /// A byte that begins no token: PostgreSQL refuses the text.
    Other,
    /// A comment, string or quoted name that the text ends in the middle of. Always the last.
    Unterminated,
}

/// A piece of the text: `text[start..end]`, in bytes, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Offset of its first byte.
    pub start: usize,
    /// Offset behind its last byte.
    pub end: usize,
}

impl Token {
    /// Its bytes, given the text it was cut from.
    pub fn bytes<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether the server's grammar sees it: neither space nor comment.
    pub fn is_significant(&self) -> bool {
        !matches!(self.kind, Kind::Space | Kind::Comment)
    }
}

/// Iterator over the tokens of a text.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// Up to here lie only `+` and `-` that are an operator each. Without it a long run of signs
    /// would be looked at once for each of its bytes.
    signs_until: usize,
    plain: Quoting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quoting {
    /// A quote ends it: bit strings.
    Bare,
    /// Two quotes are one.
    Doubled,
    /// Two quotes are one, and a backslash takes the next byte along.
    Backslash,
}

/// What a byte may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Other,
    Space,
    Letter,
    Digit,
    Dollar,
    Quote,
    DoubleQuote,
    Operator,
    Colon,
    Dot,
    Single,
}

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, which reports it")]
static CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = class_of(byte as u8);
        byte += 1;
    }
    classes
};

const fn class_of(byte: u8) -> Class {
    match byte {
        // Vertical tab is a blank since 16, and an error before.
        b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Space,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Letter,
        b'0'..=b'9' => Class::Digit,
        b'$' => Class::Dollar,
        b'\'' => Class::Quote,
        b'"' => Class::DoubleQuote,
        b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*'
        | b'/' | b'%' | b'<' | b'>' | b'=' => Class::Operator,
        b':' => Class::Colon,
        b'.' => Class::Dot,
        b',' | b';' | b'(' | b')' | b'[' | b']' => Class::Single,
        _ => Class::Other,
    }
}

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Other)
}

fn single(byte: u8) -> Kind {
    match byte {
        b',' => Kind::Comma,
        b';' => Kind::Semicolon,
        b'(' => Kind::OpenParen,
        b')' => Kind::CloseParen,
        b'[' => Kind::OpenBracket,
        _ => Kind::CloseBracket,
    }
}

fn is_name_byte(byte: u8) -> bool {
    matches!(class(byte), Class::Letter | Class::Digit | Class::Dollar)
}

impl<'a> Lexer<'a> {
    /// `standard_conforming_strings` is the session's setting when the text is sent: PostgreSQL
    /// cuts the whole text before it runs any of it.
    pub fn new(text: &'a [u8], standard_conforming_strings: bool) -> Self {
        let plain = if standard_conforming_strings { Quoting::Doubled } else { Quoting::Backslash };
        Self { text, at: 0, signs_until: 0, plain }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn rest(&self, at: usize) -> &'a [u8] {
        self.text.get(at..).unwrap_or_default()
    }

    fn skip(&self, from: usize, wanted: impl Fn(u8) -> bool) -> usize {
        let mut at = from;
        while self.byte(at).is_some_and(&wanted) {
            at += 1;
        }
        at
    }

    fn cut(&self, first: u8) -> (Kind, usize) {
        let at = self.at;
        match class(first) {
            Class::Letter => self.word(first),
            Class::Space => (Kind::Space, self.skip(at + 1, |b| class(b) == Class::Space)),
            Class::Digit => (Kind::Number, self.number()),
            Class::Operator => self.operator(first),
            Class::Single => (single(first), at + 1),
            Class::Quote => self.string(Kind::Text, at + 1, self.plain),
            Class::DoubleQuote => self.quoted_name(Kind::QuotedName, at + 1),
            Class::Dollar => self.dollar(),
            Class::Colon => match self.byte(at + 1) {
                Some(b':') => (Kind::Cast, at + 2),
                Some(b'=') => (Kind::Assign, at + 2),
                _ => (Kind::Colon, at + 1),
            },
            Class::Dot => match self.byte(at + 1) {
                Some(b'.') => (Kind::DotDot, at + 2),
                Some(b'0'..=b'9') => (Kind::Number, self.exponent(self.digits(at + 1))),
                _ => (Kind::Dot, at + 1),
            },
            Class::Other => (Kind::Other, at + 1),
        }
    }

    fn word(&self, first: u8) -> (Kind, usize) {
        let next = self.at + 1;
        match (first | 0x20, self.byte(next)) {
            (b'e', Some(b'\'')) => self.string(Kind::EscapeText, next + 1, Quoting::Backslash),
            (b'n', Some(b'\'')) => self.string(Kind::Text, next + 1, self.plain),
            (b'b' | b'x', Some(b'\'')) => self.string(Kind::BitText, next + 1, Quoting::Bare),
            (b'u', Some(b'&')) => match self.byte(next + 1) {
                Some(b'\'') => self.string(Kind::UnicodeText, next + 2, Quoting::Doubled),
                Some(b'"') => self.quoted_name(Kind::UnicodeName, next + 2),
                _ => (Kind::Word, next),
            },
            _ => (Kind::Word, self.skip(next, is_name_byte)),
        }
    }

    /// From behind the opening quote to behind the closing one, continuations included.
    fn string(&self, kind: Kind, from: usize, quoting: Quoting) -> (Kind, usize) {
        let mut at = from;
        loop {
            let rest = self.rest(at);
            let found = match quoting {
                Quoting::Backslash => memchr::memchr2(b'\'', b'\\', rest),
                Quoting::Bare | Quoting::Doubled => memchr::memchr(b'\'', rest),
            };
            let Some(found) = found.map(|offset| at + offset) else { return self.unterminated() };
            let next = self.byte(found + 1);
            if self.byte(found) == Some(b'\\') {
                if next.is_none() {
                    return self.unterminated();
                }
                at = found + 2;
            } else if next == Some(b'\'') && quoting != Quoting::Bare {
                at = found + 2;
            } else if let Some(resumed) = self.continuation(found + 1) {
                at = resumed;
            } else {
                return (kind, found + 1);
            }
        }
    }

    /// Behind the quote that takes a string up again, if only space and `--` comments with at
    /// least one line end among them lie between (manual 4.1.2.1).
    fn continuation(&self, from: usize) -> Option<usize> {
        let mut at = from;
        let mut line_end_seen = false;
        loop {
            match self.byte(at)? {
                b'\n' | b'\r' => line_end_seen = true,
                b'\'' => return line_end_seen.then_some(at + 1),
                b'-' if self.byte(at + 1) == Some(b'-') => {
                    at = self.line_end(at);
                    continue;
                }
                byte if class(byte) == Class::Space => {}
                _ => return None,
            }
            at += 1;
        }
    }

    fn line_end(&self, from: usize) -> usize {
        memchr::memchr2(b'\n', b'\r', self.rest(from)).map_or(self.text.len(), |n| from + n)
    }

    fn unterminated(&self) -> (Kind, usize) {
        (Kind::Unterminated, self.text.len())
    }

    fn quoted_name(&self, kind: Kind, from: usize) -> (Kind, usize) {
        let mut at = from;
        while let Some(offset) = memchr::memchr(b'"', self.rest(at)) {
            at += offset + 1;
            if self.byte(at) != Some(b'"') {
                return (kind, at);
            }
            at += 1;
        }
        self.unterminated()
    }

    fn dollar(&self) -> (Kind, usize) {
        let at = self.at;
        match self.byte(at + 1).map(class) {
            Some(Class::Digit) => (Kind::Parameter, self.digits_only(at + 1)),
            Some(Class::Dollar) => self.dollar_text(at + 2),
            Some(Class::Letter) => {
                let end = self.skip(at + 2, |b| matches!(class(b), Class::Letter | Class::Digit));
                if self.byte(end) == Some(b'$') {
                    self.dollar_text(end + 1)
                } else {
                    (Kind::Other, at + 1)
                }
            }
            _ => (Kind::Other, at + 1),
        }
    }

    /// The delimiter is what lies between here and `body`. A delimiter holds `$` at its ends
    /// only, so no byte is compared more than twice.
    fn dollar_text(&self, body: usize) -> (Kind, usize) {
        let delimiter = self.text.get(self.at..body).unwrap_or_default();
        let mut at = body;
        while let Some(offset) = memchr::memchr(b'$', self.rest(at)) {
            at += offset;
            if self.rest(at).starts_with(delimiter) {
                return (Kind::DollarText, at + delimiter.len());
            }
            at += 1;
        }
        self.unterminated()
    }

    fn digits_only(&self, from: usize) -> usize {
        self.skip(from, |b| b.is_ascii_digit())
    }

    /// Digits with single underscores between them.
    fn digits(&self, from: usize) -> usize {
        self.digits_of(from, |b| b.is_ascii_digit())
    }

    fn digits_of(&self, from: usize, wanted: impl Fn(u8) -> bool) -> usize {
        let mut at = self.skip(from, &wanted);
        while self.byte(at) == Some(b'_') && self.byte(at + 1).is_some_and(&wanted) {
            at = self.skip(at + 1, &wanted);
        }
        at
    }

    fn number(&self) -> usize {
        let at = self.at;
        if self.byte(at) == Some(b'0') {
            let end = match self.byte(at + 1).map(|b| b | 0x20) {
                Some(b'x') => self.digits_of(at + 2, |b| b.is_ascii_hexdigit()),
                Some(b'o') => self.digits_of(at + 2, |b| matches!(b, b'0'..=b'7')),
                Some(b'b') => self.digits_of(at + 2, |b| matches!(b, b'0' | b'1')),
                _ => at,
            };
            if end > at + 2 {
                return end;
            }
        }
        let mut end = self.digits(at);
        // `1..10` is a number, two dots and a number.
        if self.byte(end) == Some(b'.') && self.byte(end + 1) != Some(b'.') {
            end += 1;
            if self.byte(end).is_some_and(|b| b.is_ascii_digit()) {
                end = self.digits(end);
            }
        }
        self.exponent(end)
    }

    fn exponent(&self, mantissa: usize) -> usize {
        if self.byte(mantissa).map(|b| b | 0x20) != Some(b'e') {
            return mantissa;
        }
        let sign = usize::from(matches!(self.byte(mantissa + 1), Some(b'+' | b'-')));
        let digits = mantissa + 1 + sign;
        if self.byte(digits).is_some_and(|b| b.is_ascii_digit()) {
            self.digits(digits)
        } else {
            mantissa
        }
    }

    fn operator(&self, first: u8) -> (Kind, usize) {
        match (first, self.byte(self.at + 1)) {
            (b'-', Some(b'-')) => (Kind::Comment, self.line_end(self.at)),
            (b'/', Some(b'*')) => self.block_comment(),
            (_, Some(next)) if class(next) == Class::Operator => (Kind::Operator, self.long()),
            _ => (Kind::Operator, self.at + 1),
        }
    }

    /// The end of the longest run of operator bytes that holds no comment's beginning.
    fn long(&self) -> usize {
        let mut at = self.at;
        while let Some(byte) = self.byte(at).filter(|b| class(*b) == Class::Operator) {
            match (byte, self.byte(at + 1)) {
                (b'/', Some(b'*')) | (b'-', Some(b'-')) => break,
                _ => at += 1,
            }
        }
        at
    }

    /// An operator ends in `+` or `-` only if it also holds one of `~ ! @ # ^ & | ` ? %`
    /// (manual 4.1.3). Returns its end, and how far single signs follow.
    fn trim_signs(&self, end: usize) -> (usize, usize) {
        let run = self.text.get(self.at..end).unwrap_or_default();
        let Some((last, before)) = run.split_last() else { return (end, 0) };
        let special = |b: &u8| !matches!(b, b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=');
        if before.is_empty() || !matches!(last, b'+' | b'-') || before.iter().any(special) {
            return (end, 0);
        }
        let signs = run.iter().rev().take_while(|b| matches!(b, b'+' | b'-')).count();
        (self.at + (run.len() - signs).max(1), end)
    }

    fn block_comment(&self) -> (Kind, usize) {
        let mut at = self.at + 2;
        let mut depth = 1_usize;
        while let Some(offset) = memchr::memchr2(b'*', b'/', self.rest(at)) {
            at += offset;
            match (self.byte(at), self.byte(at + 1)) {
                (Some(b'*'), Some(b'/')) => {
                    at += 2;
                    depth -= 1;
                    if depth == 0 {
                        return (Kind::Comment, at);
                    }
                }
                (Some(b'/'), Some(b'*')) => {
                    at += 2;
                    depth += 1;
                }
                _ => at += 1,
            }
        }
        self.unterminated()
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    #[inline]
    fn next(&mut self) -> Option<Token> {
        let start = self.at;
        let first = self.byte(start)?;
        let (kind, mut end) =
            if start < self.signs_until { (Kind::Operator, start + 1) } else { self.cut(first) };
        if kind == Kind::Operator && end > start + 1 {
            (end, self.signs_until) = self.trim_signs(end);
        }
        self.at = end;
        Some(Token { kind, start, end })
    }
}
