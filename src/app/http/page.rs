//! The page at `/`, which is in the binary, and the figures that it draws.

use crate::admin::{View, json};
use crate::app::pooler::Pooler;
use crate::app::show::rows;

/// The page, its script and its style: path, content type, text.
pub(super) const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("../../admin/page/index.html")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("../../admin/page/page.js")),
    ("/page.css", "text/css; charset=utf-8", include_str!("../../admin/page/page.css")),
];

/// What the page may load: what comes from here, and nothing else.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The views that the page shows, and how many rows of each at most.
const VIEWS: &[(&str, View, usize)] = &[
    ("pools", View::Pools, 200),
    ("capacity", View::Capacity, 200),
    ("queries", View::Queries, 50),
    ("clients", View::Clients, 200),
    ("events", View::Events, 100),
    ("totals", View::Totals, usize::MAX),
];

/// The figures, as JSON. `unready`: why clients had better go elsewhere.
pub(super) fn data(pooler: &Pooler, unready: Option<&str>) -> String {
    let mut out = String::from("{");
    for (name, view, max) in VIEWS {
        let mut rows = rows(pooler, *view);
        rows.truncate(*max);
        json::text(&mut out, name);
        out.push(':');
        json::rows(&mut out, view.columns(), &rows);
        out.push(',');
    }
    out.push_str("\"version\":");
    json::text(&mut out, concat!("howdah ", env!("CARGO_PKG_VERSION")));
    out.push_str(",\"ready\":");
    match unready {
        Some(reason) => json::text(&mut out, reason),
        None => out.push_str("null"),
    }
    out.push('}');
    out
}
