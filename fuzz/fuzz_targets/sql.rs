//! Any text: tokens tile it, statements lie in it in order, and the facts agree with both.
#![no_main]

use howdah::sql::{
    Command, Lexer, Mention, Name, NoVocabulary, Rules, Skeleton, facts, mentions, normalise,
    skeleton, statements,
};
use libfuzzer_sys::fuzz_target;

fn inspect(text: &[u8], standard_conforming_strings: bool) {
    let mut at = 0;
    for token in Lexer::new(text, standard_conforming_strings) {
        assert_eq!(token.start, at, "a gap or an overlap");
        assert!(token.end > at, "an empty token");
        at = token.end;
    }
    assert_eq!(at, text.len());
    let facts = facts(text, standard_conforming_strings, &NoVocabulary);
    let (mut last, mut count) = (0, 0);
    for range in statements(text, standard_conforming_strings) {
        assert!(range.start >= last && range.end > range.start && range.end <= text.len());
        last = range.end;
        count += 1;
    }
    assert_eq!(facts.statements, count);
    assert_eq!(facts.first == Command::Empty, count == 0);
    assert!(!facts.broken || facts.taint);
}

fn name_of(mention: &Mention) -> Option<&Name> {
    match mention {
        Mention::Prepare { name, .. } | Mention::Execute(name) | Mention::Deallocate(name) => {
            Some(name)
        }
        Mention::DeallocateAll | Mention::DiscardAll => None,
    }
}

/// A name in quotes is read back, and names lie in the text in order.
fn named(data: &[u8]) {
    let found = mentions(data, Rules::STANDARD);
    assert!(found.len() <= facts(data, true, &NoVocabulary).statements as usize);
    let mut last = 0;
    for name in found.iter().filter_map(name_of) {
        assert!(name.place.start >= last && name.place.end > name.place.start);
        last = name.place.end;
    }
    assert!(last <= data.len());
    if data.is_empty() || data.contains(&0) {
        return;
    }
    let mut text = b"DEALLOCATE \"".to_vec();
    for byte in data {
        text.push(*byte);
        if *byte == b'"' {
            text.push(*byte);
        }
    }
    text.push(b'"');
    let found = mentions(&text, Rules::STANDARD);
    let [Mention::Deallocate(name)] = &found[..] else { panic!("one DEALLOCATE: {found:?}") };
    assert_eq!(name.uncut.as_deref().unwrap_or(&name.bytes), data);
    assert_eq!(name.place, 11..text.len());
}

/// Texts that differ in their digits: with the same skeleton they are the same statement.
fn alike(data: &[u8]) {
    let other: Vec<u8> =
        data.iter().map(|byte| if byte.is_ascii_digit() { b'7' } else { *byte }).collect();
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let both = [skeleton(data, &mut one), skeleton(&other, &mut two)];
    if both.contains(&Skeleton::None) || one != two {
        return;
    }
    for conforming in [true, false] {
        let (first, second) =
            (facts(data, conforming, &NoVocabulary), facts(&other, conforming, &NoVocabulary));
        assert_eq!(first.by_value, second.by_value);
        assert!(first.by_value || first == second);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        normalise(data, conforming, &mut one);
        normalise(&other, conforming, &mut two);
        assert_eq!(String::from_utf8_lossy(&one), String::from_utf8_lossy(&two));
    }
}

fuzz_target!(|data: &[u8]| {
    alike(data);
    inspect(data, true);
    inspect(data, false);
    named(data);
});
