//! The page at `/`, which is in the binary, and the figures that it draws.

use crate::admin::json::{self, Rows};
use crate::admin::{Column, View};
use crate::app::pooler::Pooler;
use crate::app::show::{Row, rows};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

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
    ("nodes", View::Nodes, 200),
    ("queries", View::Queries, 50),
    ("clients", View::Clients, 200),
    ("events", View::Events, 100),
    ("totals", View::Totals, usize::MAX),
];

/// The figures, as JSON. `unready`: why clients had better go elsewhere.
///
/// # Errors
/// When they are no JSON.
pub(super) fn data(pooler: &Pooler, unready: Option<&str>) -> serde_json::Result<Vec<u8>> {
    let tables = VIEWS.iter().map(|(name, view, max)| {
        let mut rows = rows(pooler, *view);
        rows.truncate(*max);
        (*name, view.columns(), rows)
    });
    json::to_vec(&Data { tables: tables.collect(), unready })
}

/// What the page draws.
struct Data<'a> {
    /// By name, with columns.
    tables: Vec<(&'static str, &'static [Column], Vec<Row>)>,
    unready: Option<&'a str>,
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for (name, columns, rows) in &self.tables {
            object.serialize_entry(name, &Rows { columns, rows })?;
        }
        object.serialize_entry("version", concat!("howdah ", env!("CARGO_PKG_VERSION")))?;
        object.serialize_entry("ready", &self.unready)?;
        object.end()
    }
}
