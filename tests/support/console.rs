//! The console as a test looks at it: rows with named columns.

use super::behaviour::eventually;
use super::howdah::Howdah;
use super::postgres::RIDER;
use super::transcript::Frame;
use super::wire::{Wire, lines};

/// A client of the console; the settings have to make [`RIDER`] an admin.
pub(crate) fn console(howdah: &Howdah) -> Wire {
    Wire::login(howdah.address(), RIDER, "pgbouncer")
}

/// One row of a view.
#[derive(Clone, Debug)]
pub(crate) struct Row(Vec<(String, Option<String>)>);

impl Row {
    /// A column's value; NULL reads as an empty string.
    pub(crate) fn get(&self, column: &str) -> String {
        let found = self.0.iter().find(|(name, _)| name == column);
        let (_, value) =
            found.unwrap_or_else(|| unreachable!("no column {column} in {:?}", self.0));
        value.clone().unwrap_or_default()
    }

    /// A column's value as a number.
    pub(crate) fn number(&self, column: &str) -> f64 {
        self.get(column).parse().expect("a number")
    }
}

/// The names of a RowDescription's columns (manual, "Message Formats").
fn names(description: &Frame) -> Vec<String> {
    let mut rest = &description.body[2..];
    let mut names = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = &rest[end + 1 + 18..];
    }
    names
}

/// All rows of a view.
pub(crate) fn rows(console: &mut Wire, view: &str) -> Vec<Row> {
    let frames = console.query(&format!("SHOW {view}"));
    let description = frames.iter().find(|frame| frame.tag == b'T');
    let names = names(description.unwrap_or_else(|| unreachable!("{view}: {}", lines(&frames))));
    let text = |value: Option<Vec<u8>>| value.map(|v| String::from_utf8_lossy(&v).into_owned());
    let row = |cells: Vec<Option<Vec<u8>>>| {
        Row(names.iter().cloned().zip(cells.into_iter().map(text)).collect())
    };
    frames.iter().filter(|frame| frame.tag == b'D').filter_map(Frame::columns).map(row).collect()
}

/// The rows of a view in which these columns have these values.
pub(crate) fn rows_with(console: &mut Wire, view: &str, keys: &[(&str, &str)]) -> Vec<Row> {
    let mut all = rows(console, view);
    all.retain(|row| keys.iter().all(|(column, value)| row.get(column) == *value));
    all
}

/// The one row of a view in which these columns have these values.
pub(crate) fn the_row(console: &mut Wire, view: &str, keys: &[(&str, &str)]) -> Row {
    let found = rows_with(console, view, keys);
    assert_eq!(found.len(), 1, "{view} {keys:?}: {:?}", rows(console, view));
    found.into_iter().next().expect("checked")
}

/// Waits until the one row with these keys shows all of these: `("pools.cl_active", "1")`.
pub(crate) fn shows(console: &mut Wire, keys: &[(&str, &str)], columns: &[(&str, &str)]) {
    let view = columns[0].0.split('.').next().unwrap_or_default().to_owned();
    let mut last = Vec::new();
    let what = format!("{keys:?}: {columns:?}");
    let end = super::deadline();
    loop {
        last.clone_from(&rows_with(console, &view, keys));
        let is_it = |row: &Row| {
            columns.iter().all(|(path, value)| {
                let column = path.strip_prefix(&format!("{view}."));
                let column = column.unwrap_or_else(|| unreachable!("{path} is not of {view}"));
                row.get(column) == *value
            })
        };
        if last.len() == 1 && is_it(&last[0]) {
            return;
        }
        assert!(super::look_again(end), "{what} was never shown; last: {last:?}");
    }
}

/// Waits until a number of the one row with these keys is above `limit`.
pub(crate) fn exceeds(console: &mut Wire, keys: &[(&str, &str)], path: &str, limit: f64) {
    let (view, column) = path.split_once('.').expect("view.column");
    eventually(&format!("{keys:?}: {path} > {limit}"), || {
        let found = rows_with(console, view, keys);
        found.len() == 1 && !found[0].get(column).is_empty() && found[0].number(column) > limit
    });
}
