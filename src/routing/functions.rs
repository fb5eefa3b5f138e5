//! Functions that the configuration, or the self-check, says more of than the catalog.
//!
//! Owns the patterns of `read_only_functions` and `write_functions`, and the names that are kept off the
//! replicas because their answers there were others. What a list says of a name is added to what the catalog
//! says; no list has power over what a text itself writes or locks, nor over PostgreSQL's own functions that
//! need the primary. Never asks a catalog.

use std::fmt;

/// A name in which `*` stands for any bytes, also for none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Glob(Box<[Piece]>);

/// A part of a name as PostgreSQL stores it, or a star.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Box<[u8]>),
    Star,
}

impl Glob {
    /// Whether a name is like it. Takes at most the product of both lengths.
    fn is_match(&self, name: &[u8]) -> bool {
        let mut pieces = self.0.iter().peekable();
        let (mut rest, mut floats) = (name, false);
        while let Some(piece) = pieces.next() {
            let bytes = match piece {
                Piece::Star => {
                    floats = true;
                    continue;
                }
                Piece::Bytes(bytes) => bytes,
            };
            if floats && pieces.peek().is_none() {
                return rest.ends_with(bytes);
            }
            // Behind a star a part is taken where it is found first, which leaves most to the others.
            let found =
                if floats { find(rest, bytes) } else { rest.starts_with(bytes).then_some(0) };
            let Some(at) = found else { return false };
            rest = rest.get(at + bytes.len()..).unwrap_or_default();
            floats = false;
        }
        floats || rest.is_empty()
    }

    fn is_exact(&self) -> bool {
        matches!(&*self.0, [Piece::Bytes(_)])
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    (0..=text.len().checked_sub(part.len())?)
        .find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(part)))
}

/// One entry of a list of functions: a name or a pattern, perhaps with its schema.
#[derive(Clone, PartialEq, Eq)]
pub struct FunctionPattern {
    text: Box<str>,
    schema: Option<Glob>,
    name: Glob,
}

impl fmt::Debug for FunctionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

/// As it was written.
impl fmt::Display for FunctionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FunctionPattern {
    /// Reads `name`, `schema.name`, `get_*`, `"Name"`: outside of quotes, upper case is folded as PostgreSQL
    /// does.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        if trimmed.contains('(') {
            return Err(format!(
                "{text:?} has arguments; write the name alone, which counts for all of them"
            ));
        }
        let mut parts = vec![Vec::new()];
        let mut quoted = false;
        let mut signs = trimmed.chars().peekable();
        while let Some(sign) = signs.next() {
            let Some(part) = parts.last_mut() else { break };
            match sign {
                '"' if quoted && signs.peek() == Some(&'"') => {
                    signs.next();
                    push(part, "\"");
                }
                '"' => quoted = !quoted,
                '.' if !quoted => parts.push(Vec::new()),
                '*' => part.push(Piece::Star),
                sign if quoted => push(part, sign.encode_utf8(&mut [0; 4])),
                sign if sign.is_whitespace() => return Err(wrong(text)),
                sign => push(part, sign.to_ascii_lowercase().encode_utf8(&mut [0; 4])),
            }
        }
        if quoted || parts.len() > 2 || parts.iter().any(Vec::is_empty) || trimmed.contains('\0') {
            return Err(wrong(text));
        }
        let mut globs = parts.into_iter().map(|part| Glob(part.into()));
        let (first, second) = (globs.next(), globs.next());
        let (schema, name) = if second.is_some() { (first, second) } else { (None, first) };
        let name = name.ok_or_else(|| wrong(text))?;
        Ok(Self { text: trimmed.into(), schema, name })
    }

    /// The name that it is, if it is no pattern and no other schema's than PostgreSQL's own.
    pub fn own_name(&self) -> Option<&[u8]> {
        let is_own = self
            .schema
            .as_ref()
            .is_none_or(|schema| schema.is_match(b"pg_catalog") && schema.is_exact());
        match &*self.name.0 {
            [Piece::Bytes(name)] if is_own => Some(name),
            _ => None,
        }
    }

    fn is_match(&self, schema: Option<&[u8]>, name: &[u8], without_schema: bool) -> bool {
        let is_schema = match (&self.schema, schema) {
            (None, _) => true,
            (Some(pattern), Some(schema)) => pattern.is_match(schema),
            (Some(_), None) => without_schema,
        };
        is_schema && self.name.is_match(name)
    }
}

fn push(part: &mut Vec<Piece>, text: &str) {
    if let Some(Piece::Bytes(bytes)) = part.last_mut() {
        *bytes = [bytes, text.as_bytes()].concat().into();
    } else {
        part.push(Piece::Bytes(text.as_bytes().into()));
    }
}

fn wrong(text: &str) -> String {
    format!("{text:?} is no name of a function; write name, schema.name or a pattern such as get_*")
}

/// What is said of functions beside the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Functions {
    /// They only read.
    pub reads: Box<[FunctionPattern]>,
    /// They write.
    pub writes: Box<[FunctionPattern]>,
    /// They have answered otherwise on a replica: functions and relations, as PostgreSQL stores their names.
    pub distrusted: Box<[Box<[u8]>]>,
}

impl Functions {
    /// Whether a function is among those that write. Without a schema each may be meant.
    pub(super) fn is_write(&self, schema: Option<&[u8]>, name: &[u8]) -> bool {
        self.writes.iter().any(|pattern| pattern.is_match(schema, name, true))
    }

    /// Whether a function is among those that only read. One with a schema has to be called with it.
    pub(super) fn is_read(&self, schema: Option<&[u8]>, name: &[u8]) -> bool {
        self.reads.iter().any(|pattern| pattern.is_match(schema, name, false))
    }

    /// Whether a function or relation of this name is kept off the replicas.
    pub(super) fn is_distrusted(&self, name: &[u8]) -> bool {
        self.distrusted.iter().any(|known| **known == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> FunctionPattern {
        FunctionPattern::parse(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn names_and_patterns_by_postgresqls_rules_of_case() {
        for (text, matching, other) in [
            ("get_total", &["get_total"][..], &["get_totals", "GET_TOTAL", "a.get"][..]),
            ("GET_Total", &["get_total"], &["GET_Total"]),
            ("\"Get Total\"", &["Get Total"], &["get total"]),
            ("\"a\"\"b\"", &["a\"b"], &["ab"]),
            ("\"a.b\"", &["a.b"], &["b"]),
            ("get_*", &["get_", "get_x"], &["get", "xget_"]),
            ("*_ro", &["_ro", "app_ro", "_ro_ro"], &["ro", "app_rw"]),
            ("a*b*c", &["abc", "a1b2c", "abbcc"], &["ac", "acb", "abcd"]),
            ("ab*ba", &["abba", "ab ba"], &["aba"]),
            ("*", &["", "a"], &[]),
            ("a**c", &["ac", "abc"], &["a"]),
        ] {
            let pattern = pattern(text);
            for name in matching {
                assert!(pattern.is_match(None, name.as_bytes(), false), "{text} {name}");
            }
            for name in other {
                assert!(!pattern.is_match(None, name.as_bytes(), false), "{text} {name}");
            }
        }
    }

    #[test]
    fn a_schema_counts_where_it_is_written() {
        let functions = Functions {
            reads: [pattern("app.total")].into(),
            writes: [pattern("audit.*")].into(),
            distrusted: [b"liar"[..].into()].into(),
        };
        assert!(functions.is_read(Some(b"app"), b"total"));
        assert!(!functions.is_read(Some(b"other"), b"total"));
        assert!(!functions.is_read(None, b"total"), "another schema's may be meant");
        assert!(functions.is_write(Some(b"audit"), b"total"));
        assert!(functions.is_write(None, b"total"), "that schema's may be meant");
        assert!(!functions.is_write(Some(b"app"), b"total"));
        assert!(functions.is_distrusted(b"liar") && !functions.is_distrusted(b"total"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", " ", "a.b.c", ".a", "a.", "f(int)", "\"a", "a b", "\"\"", "a\0"] {
            assert!(FunctionPattern::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_own_name_is_written_out() {
        assert_eq!(pattern("nextval").own_name(), Some(&b"nextval"[..]));
        assert_eq!(pattern("pg_catalog.nextval").own_name(), Some(&b"nextval"[..]));
        assert_eq!(pattern("app.nextval").own_name(), None);
        assert_eq!(pattern("next*").own_name(), None);
    }
}
