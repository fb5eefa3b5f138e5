//! DDL under statements that clients share: whoever prepares after it sees the new table.
//!
//! Owns the knowledge of the table's shape. A lock in this process keeps questions and DDL apart, so that each client
//! knows which shape its Parse meets; what howdah keeps on its servers meanwhile is what is tested.

use parking_lot::RwLock;

use super::expect::{Expect, columns, complete, row};
use super::model::Unnamed;
use super::rider::{Rider, Trouble};
use super::support::messages::{self, Bind};

const INT4: u32 = 23;
const TEXT: u32 = 25;

/// What the table `shape` is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shape {
    /// Nobody knows: a client was lost in the middle of DDL.
    #[default]
    Unknown,
    /// `v` is an int4.
    Number,
    /// `v` is a text.
    Letters,
    /// `v` is a text, and there is one more column.
    Wide,
}

/// The shape, under the lock that keeps DDL and questions apart.
#[derive(Debug, Default)]
pub(crate) struct Shapes(RwLock<Shape>);

impl Shape {
    /// From any shape to this one. The names stay.
    fn ddl(self) -> &'static [&'static str] {
        match self {
            Self::Unknown => &[],
            Self::Number => &[
                "ALTER TABLE shape DROP COLUMN IF EXISTS w",
                "ALTER TABLE shape ALTER v TYPE int4 USING v::text::int4",
            ],
            Self::Letters => &[
                "ALTER TABLE shape DROP COLUMN IF EXISTS w",
                "ALTER TABLE shape ALTER v TYPE text USING v::text",
            ],
            Self::Wide => &[
                "ALTER TABLE shape ALTER v TYPE text USING v::text",
                "ALTER TABLE shape ADD COLUMN IF NOT EXISTS w text DEFAULT 'wide'",
            ],
        }
    }
}

impl Rider<'_> {
    /// Changes the table, or prepares and runs what everybody prepares and runs.
    pub(crate) fn shapes(&mut self) -> Result<(), Trouble> {
        let run = self.run;
        // Who lets a server go in the middle of DDL does not know whether it was done.
        let _seat = run.evil.spare();
        if self.random.once_in(4) {
            let mut shape = run.shapes.0.write();
            let next = [Shape::Number, Shape::Letters, Shape::Wide][self.random.below(3)];
            *shape = Shape::Unknown;
            self.change_to(next)?;
            *shape = next;
            return Ok(());
        }
        let shape = run.shapes.0.read();
        if *shape == Shape::Unknown {
            return Ok(());
        }
        self.prepare_on(*shape)
    }

    fn change_to(&mut self, next: Shape) -> Result<(), Trouble> {
        // A NOTICE would be one more message.
        let quiet = "SET LOCAL client_min_messages = warning";
        let sql = format!("{quiet}; {}", next.ddl().join("; "));
        let mut wants = vec![complete("SET")];
        wants.extend(next.ddl().iter().map(|_| complete("ALTER TABLE")));
        self.simple(&sql, wants);
        self.want_ready();
        self.play("changes the table")
    }

    fn prepare_on(&mut self, shape: Shape) -> Result<(), Trouble> {
        let (oid, value) = if shape == Shape::Number { (INT4, "7") } else { (TEXT, "7") };
        let name = if self.random.once_in(2) { "shaped" } else { "" };
        let stars = self.random.once_in(2);
        let list = if stars { "*" } else { "v" };
        let sql = format!("SELECT {list} FROM shape WHERE v = $1");
        self.push(&messages::parse(name, &sql, &[]));
        self.want(Expect::Tag(b'1'));
        if name.is_empty() {
            self.model.unnamed = Unnamed::Other;
        }
        let wide = shape == Shape::Wide && stars;
        if self.random.once_in(2) {
            self.push(&messages::describe(b'S', name));
            self.want(Expect::Parameters(vec![oid]));
            let names: &[&str] = match (stars, wide) {
                (false, _) => &["v"],
                (true, false) => &["id", "v"],
                (true, true) => &["id", "v", "w"],
            };
            self.want(columns(names));
        }
        let values = vec![Some(value.as_bytes().to_vec())];
        self.push(&messages::bind(&Bind { statement: name.to_owned(), values, ..Bind::default() }));
        self.want(Expect::Tag(b'2'));
        self.push(&messages::execute("", 0));
        self.want(match (stars, wide) {
            (false, _) => row(&["7"]),
            (true, false) => row(&["1", "7"]),
            (true, true) => row(&["1", "7", "wide"]),
        });
        self.want(complete("SELECT 1"));
        if !name.is_empty() {
            self.push(&messages::close(b'S', name));
            self.want(Expect::Tag(b'3'));
        }
        self.sync();
        self.play("prepares on the table")
    }
}
