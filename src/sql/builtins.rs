//! Names of PostgreSQL's own things that leave nothing behind in a session: types, operators,
//! relations, keywords.
//!
//! Owns the lists (`builtin/*.txt`, printed by `builtin/names.sql`; the functions are in `calls.rs`).
//! Never knows what a database has beside them.

use super::calls;
use super::words::Words;

static KEYWORDS: Words<1024> = Words::new(include_bytes!("builtin/keywords.txt"));
static OPERATORS: Words<256> = Words::new(include_bytes!("builtin/operators.txt"));
static RELATIONS: Words<512> = Words::new(include_bytes!("builtin/relations.txt"));
/// Relations and domains of `information_schema`.
static SCHEMA: Words<256> = Words::new(include_bytes!("builtin/schema.txt"));
static TYPES: Words<512> = Words::new(include_bytes!("builtin/types.txt"));

/// Names that the grammar has for types (manual, "Data Types"). In quotes they are others.
static TYPE_WORDS: Words<64> = Words::new(
    b"bigint\nboolean\ncharacter\ndec\ndecimal\ndouble\nfloat\nint\ninteger\nnational\nnchar\nreal\nsmallint\n",
);

/// Words that stand before a string without naming its type, beside those of [`calls::is_keyword`]:
/// of expressions, of COPY's options, and of PL/pgSQL.
static LITERAL_LEADERS: Words<64> = Words::new(
    b"escape\nuescape\nzone\npath\npassing\nisnull\nnotnull\noverlaps\ndelimiter\nquote\nencoding\n\
    program\nheader\ncsv\nlanguage\nsqlstate\nnotice\nexception\nwarning\ninfo\ndebug\nlog\nreturn\n\
    perform\nlogged\nexecute\ncall\n",
);

/// Whether the name of a relation without a schema, or in `pg_catalog`, is PostgreSQL's own.
pub fn is_relation(name: &[u8]) -> bool {
    RELATIONS.contains(name)
}

/// Whether `information_schema` has such a relation or type.
pub fn is_in_information_schema(name: &[u8]) -> bool {
    SCHEMA.contains(name)
}

/// Whether a type is PostgreSQL's own; `is_bare`: it has neither quotes nor a schema.
pub fn is_type(name: &[u8], is_bare: bool) -> bool {
    TYPES.contains(name) || RELATIONS.contains(name) || (is_bare && TYPE_WORDS.contains(name))
}

/// Whether PostgreSQL itself has an operator that is written so.
#[inline]
pub fn is_operator(symbol: &[u8]) -> bool {
    matches!(symbol, b"=" | b"*" | b"<" | b">" | b"+" | b"-") || OPERATORS.contains(symbol)
}

/// Whether a bare word before a string is not the name of its type.
pub fn leads_literal(word: &[u8]) -> bool {
    calls::is_keyword(word) || LITERAL_LEADERS.contains(word)
}

/// Whether a bare word means nothing but what PostgreSQL makes of it, unless it names a relation or a
/// type.
pub(super) fn is_word(word: &[u8]) -> bool {
    KEYWORDS.contains(word)
        || calls::is_judged(word)
        || is_type(word, true)
        || matches!(word, b"pg_catalog" | b"information_schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgresqls_own_names_are_known() {
        for operator in ["=", "->>", "@>", "!=", "=>", "&<|", "~~*", "@?"] {
            assert!(is_operator(operator.as_bytes()), "{operator}");
        }
        assert!(!is_operator(b"===") && !is_operator(b"") && !is_operator(b"<=>"));
        for name in ["int4", "jsonb", "_text", "timestamptz", "int4range", "pg_class", "record"] {
            assert!(is_type(name.as_bytes(), false), "{name}");
        }
        assert!(is_type(b"integer", true) && !is_type(b"integer", false));
        assert!(is_relation(b"pg_class") && is_relation(b"pg_stat_io"));
        assert!(!is_relation(b"orders") && !is_relation(b"pg_stat_statements"));
        assert!(
            is_in_information_schema(b"columns") && is_in_information_schema(b"sql_identifier")
        );
        for word in ["select", "now", "int4", "merge_action", "set_config", "pg_catalog"] {
            assert!(is_word(word.as_bytes()), "{word}");
        }
        assert!(!is_word(b"orders") && !is_word(b"query_to_xml"));
        assert!(leads_literal(b"like") && leads_literal(b"zone") && !leads_literal(b"mood"));
    }
}
