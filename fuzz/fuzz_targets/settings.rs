//! Any settings: the query that aligns a server holds what it should, and nothing gets out of its
//! quotes, whatever `standard_conforming_strings` says.
#![no_main]

use howdah::backend::settings::{SettingsTable, alignment, quote_literal};
use howdah::sql::{Kind, Lexer, NoVocabulary, facts, statements};
use libfuzzer_sys::fuzz_target;

fn pairs(text: &str) -> Vec<(String, String)> {
    let split = text.split('\0').filter_map(|piece| piece.split_once('='));
    split.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut quoted = Vec::new();
    quote_literal(&mut quoted, &text.replace('\0', ""));
    for conforming in [true, false] {
        let mut tokens = Lexer::new(&quoted, conforming).filter(|token| token.is_significant());
        let kind = tokens.next().map(|token| token.kind);
        assert!(matches!(kind, Some(Kind::Text | Kind::EscapeText)), "{kind:?}");
        assert_eq!(tokens.next(), None);
    }
    let (from, to) = text.split_once("\0\0").unwrap_or(("", text));
    let table = SettingsTable::default();
    let (from, to) = (table.intern(pairs(from)), table.intern(pairs(to)));
    assert_eq!(alignment(&from, &to, false).is_empty(), from == to);
    for unlisted in [false, true] {
        let sql = alignment(&from, &to, unlisted).join(&b';');
        assert!(sql.is_ascii(), "{}", String::from_utf8_lossy(&sql));
        for conforming in [true, false] {
            assert!(
                !facts(&sql, conforming, &NoVocabulary).broken,
                "{}",
                String::from_utf8_lossy(&sql)
            );
            let mut selects = 0;
            for range in statements(&sql, conforming) {
                let statement = sql[range].trim_ascii();
                let statement = statement.strip_suffix(b";").unwrap_or(statement);
                // The latter is a RESET whose name is not ASCII.
                let resets =
                    statement.starts_with(b"RESET ") || statement.ends_with(b",NULL,false)");
                let sets = statement.starts_with(b"SELECT pg_catalog.set_config(");
                selects += usize::from(sets && !resets);
                let ours = selects > 0 || resets;
                assert!(ours && selects <= 1, "{}", String::from_utf8_lossy(&sql));
            }
        }
    }
});
