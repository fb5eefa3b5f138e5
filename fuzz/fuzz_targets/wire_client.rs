//! Views of clients' messages: any body, and what the encoders write is read back.
#![no_main]

use howdah::wire::{HEADER_LEN, client, header};
use libfuzzer_sys::fuzz_target;

/// The body of the one message in `out`.
fn body(out: &[u8], tag: u8) -> &[u8] {
    let found = header(out, usize::MAX).expect("a valid length").expect("a whole header");
    assert_eq!((found.tag, found.total()), (tag, out.len()));
    &out[HEADER_LEN..]
}

fn any(data: &[u8]) {
    if let Some(view) = client::read_parse(data) {
        let mut out = Vec::new();
        client::parse(&mut out, view.name, view.sql, view.types);
        assert_eq!(body(&out, client::PARSE), data);
    }
    if let Some(view) = client::read_bind(data) {
        let rest = &data[view.names_len..];
        let mut out = Vec::new();
        client::bind_head(&mut out, view.portal, view.statement, rest.len());
        out.extend_from_slice(rest);
        assert_eq!(body(&out, client::BIND), data);
    }
    if let Some(view) = client::read_target(data) {
        let mut out = Vec::new();
        client::target(&mut out, client::DESCRIBE, view.kind, view.name);
        assert_eq!(body(&out, client::DESCRIBE), data);
    }
}

fn read_back(data: &[u8]) {
    let mut pieces = data.splitn(3, |byte| *byte == 0);
    let name = pieces.next().unwrap_or_default();
    let sql = pieces.next().unwrap_or_default();
    let mut out = Vec::new();
    client::parse(&mut out, name, sql, &[0, 1, 0, 0, 0, 23]);
    let view = client::read_parse(body(&out, client::PARSE)).expect("our own Parse");
    assert_eq!((view.name, view.sql, view.types), (name, sql, &[0, 1, 0, 0, 0, 23][..]));
    out.clear();
    client::query(&mut out, sql);
    assert_eq!(body(&out, client::QUERY).strip_suffix(&[0]), Some(sql));
    out.clear();
    client::target(&mut out, client::CLOSE, b'S', name);
    let view = client::read_target(body(&out, client::CLOSE)).expect("our own Close");
    assert_eq!((view.kind, view.name), (b'S', name));
}

fuzz_target!(|data: &[u8]| {
    any(data);
    read_back(data);
});
