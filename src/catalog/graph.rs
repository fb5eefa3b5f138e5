//! Which objects reach an effect, by way of which others.
//!
//! Owns the graph of one database while a snapshot is made of it: objects by OID, the names that texts
//! can mention, and who uses whom. Effects are carried along the edges until nothing changes, with a
//! list of work instead of the stack, in time linear in the graph. A function mentions names, not
//! objects, because which of several it calls is decided when it runs: each counts.

use super::extensions;
use super::rows::{
    BuiltinRow, CATALOG_RELATION, EVERY_DEFINITION, EVERY_TEXT, EdgeRow, FunctionRow, NameRow,
    OPERATOR, Object, PROC, PartRow, RELATION, ROW_LOCK, TYPE,
};
use super::snapshot::{KNOWN_MAX, Names, Snapshot, known};
use super::source::{self, Lookup, Source};
use super::standing::Standings;
use crate::routing::is_read_builtin;
use crate::sql::{EveryName, Meaning, NoVocabulary, Use, facts, is_harmless_builtin, leaves_state};
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeSet;

/// Names of custom settings that are kept; when there are more, they count as unknown.
const CUSTOM_MAX: usize = 256;

/// Names that a snapshot keeps, and nodes and edges that are followed: some ten times what a schema of
/// 100,000 functions has. Beyond that every text may touch the session.
const NAMES_MAX: usize = 500_000;
const GRAPH_MAX: usize = 30_000_000;

/// Number of a node: an object, or a name.
type Node = u32;

/// What becomes of an effect on its way along an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It stays what it is.
    Same,
    /// The user runs: writing to what it uses is what it does.
    Runs,
    /// The user only reads.
    Reads,
    /// The used one is a part that acts when the user is written to.
    WhenWritten,
    /// Only that it needs the primary goes on: the rest is known of the user without it.
    NeedsPrimary,
}

impl Way {
    fn carry(self, meaning: Meaning) -> Meaning {
        let (always, on_write) = (Meaning::MOVES_SEQUENCE, Meaning::MOVES_SEQUENCE_ON_WRITE);
        // Who writes is on the primary anyway.
        let meaning = match self {
            Self::WhenWritten => meaning.difference(Meaning::OF_PRIMARY),
            Self::NeedsPrimary => meaning & Meaning::OF_PRIMARY,
            Self::Same | Self::Runs | Self::Reads => meaning,
        };
        match self {
            Self::Same | Self::NeedsPrimary => meaning,
            Self::Runs if meaning.contains(on_write) => meaning.difference(on_write) | always,
            Self::Runs => meaning,
            Self::Reads => meaning.difference(on_write),
            Self::WhenWritten if meaning.contains(always) => meaning.difference(always) | on_write,
            Self::WhenWritten => meaning,
        }
    }
}

struct Edge {
    from: Node,
    to: Node,
    way: Way,
}

/// Names and the nodes that stand for them.
#[derive(Default)]
struct Nodes {
    words: HashMap<Vec<u8>, Node, foldhash::fast::RandomState>,
    operators: HashMap<Vec<u8>, Node, foldhash::fast::RandomState>,
    /// Functions of the server's program that have an effect, and which.
    internal: HashMap<Vec<u8>, Meaning, foldhash::fast::RandomState>,
    /// The node of all names that are not ASCII.
    unreadable: Option<Node>,
}

impl Lookup for Nodes {
    fn word(&self, name: &[u8]) -> Option<Node> {
        if name.is_ascii() { self.words.get(name).copied() } else { self.unreadable }
    }

    fn operator(&self, symbol: &[u8]) -> Option<Node> {
        self.operators.get(symbol).copied()
    }

    fn internal(&self, symbol: &[u8]) -> Meaning {
        self.internal.get(symbol).copied().unwrap_or_default()
    }
}

/// Makes a snapshot of the rows of a database. Rows with names come first, then functions and parts.
pub struct Builder {
    objects: HashMap<Object, Node, foldhash::fast::RandomState>,
    names: Nodes,
    meanings: Vec<Meaning>,
    edges: Vec<Edge>,
    /// What stands for each name.
    known: Vec<u64>,
    /// Names that only functions of `pg_catalog` have.
    own_words: HashSet<Node, foldhash::fast::RandomState>,
    custom: BTreeSet<Box<str>>,
    has_unknown_custom: bool,
    /// Edges that are kept.
    graph_max: usize,
    /// Not all were.
    is_too_large: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            objects: HashMap::default(),
            names: Nodes::default(),
            meanings: Vec::new(),
            edges: Vec::new(),
            known: Vec::new(),
            own_words: HashSet::default(),
            custom: BTreeSet::new(),
            has_unknown_custom: false,
            graph_max: GRAPH_MAX,
            is_too_large: false,
        }
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (nodes, edges) = (self.meanings.len(), self.edges.len());
        f.debug_struct("Builder").field("nodes", &nodes).field("edges", &edges).finish()
    }
}

impl Builder {
    fn new_node(meanings: &mut Vec<Meaning>) -> Node {
        meanings.push(Meaning::empty());
        // 4 billion rows do not fit into memory.
        u32::try_from(meanings.len() - 1).unwrap_or(u32::MAX)
    }

    fn object(&mut self, object: Object) -> Node {
        let meanings = &mut self.meanings;
        *self.objects.entry(object).or_insert_with(|| Self::new_node(meanings))
    }

    fn word(&mut self, name: &[u8]) -> Node {
        let meanings = &mut self.meanings;
        if !name.is_ascii() {
            return *self.names.unreadable.get_or_insert_with(|| Self::new_node(meanings));
        }
        *self.names.words.entry_ref(name).or_insert_with(|| Self::new_node(meanings))
    }

    fn symbol(&mut self, symbol: &[u8]) -> Node {
        let meanings = &mut self.meanings;
        *self.names.operators.entry_ref(symbol).or_insert_with(|| Self::new_node(meanings))
    }

    fn mean(&mut self, node: Node, meaning: Meaning) {
        if let Some(known) = self.meanings.get_mut(node as usize) {
            *known |= meaning;
        }
    }

    fn unmean(&mut self, node: Node, meaning: Meaning) {
        if let Some(known) = self.meanings.get_mut(node as usize) {
            known.remove(meaning);
        }
    }

    fn link(&mut self, from: Node, to: Node, way: Way) {
        // Each node has an edge, so that this bounds both.
        if self.edges.len() < self.graph_max {
            self.edges.push(Edge { from, to, way });
        } else {
            self.is_too_large = true;
        }
    }

    /// A function of `pg_catalog`. Those that are known to be harmless are left out.
    pub fn builtin(&mut self, row: BuiltinRow<'_>) {
        let is_read = is_read_builtin(row.name);
        if is_harmless_builtin(row.name) && is_read {
            return;
        }
        if !is_read {
            self.needs_primary(row);
        }
        if is_harmless_builtin(row.name) {
            return;
        }
        let meaning = match row.name {
            b"set_config" => Meaning::TOUCHES | Meaning::SETS_LOCAL,
            b"nextval" | b"setval" => Meaning::MOVES_SEQUENCE,
            b"currval" | b"lastval" => Meaning::READS_SEQUENCE,
            b"setseed" => Meaning::LEAVES_STATE,
            name if leaves_state(name) => Meaning::LEAVES_STATE | source::opaque(),
            _ => source::opaque(),
        };
        let node = self.object(Object { class: PROC, oid: row.oid });
        self.mean(node, meaning);
        *self.names.internal.entry_ref(row.symbol).or_default() |= meaning;
        // The reader of texts knows most of them by itself, and better.
        let text = [b"SELECT ", row.name, b"(1)"].concat();
        let known = facts(&text, true, &EveryName);
        let unknown = facts(&text, true, &NoVocabulary);
        if known.is_harmless() && !known.currval && known.releases.is_empty() && unknown.taint {
            let name = self.word(row.name);
            self.link(node, name, Way::Same);
        }
    }

    /// A function of `pg_catalog` that writes, or whose answer holds for one node only. Texts that call it
    /// are known to need the primary; here it counts for what calls it: sources by its name, expressions
    /// by its OID.
    fn needs_primary(&mut self, row: BuiltinRow<'_>) {
        let node = self.object(Object { class: PROC, oid: row.oid });
        self.mean(node, Meaning::VOLATILE);
        *self.names.internal.entry_ref(row.symbol).or_default() |= Meaning::VOLATILE;
        if !self.names.words.contains_key(row.name) {
            let name = self.word(row.name);
            self.own_words.insert(name);
        }
        let name = self.word(row.name);
        self.link(node, name, Way::NeedsPrimary);
    }

    /// An object that texts can name.
    pub fn name(&mut self, row: &NameRow<'_>) {
        let node = self.object(row.object);
        self.mean(node, row.meaning);
        let used_as = match row.object.class {
            PROC => Some(Use::Function),
            RELATION => Some(Use::Relation),
            TYPE => Some(Use::Type),
            OPERATOR => Some(Use::Operator),
            _ => None,
        };
        if self.known.len() < KNOWN_MAX {
            self.known.extend(used_as.map(|used_as| known(row.name, used_as)));
        }
        let name =
            if row.object.class == OPERATOR { self.symbol(row.name) } else { self.word(row.name) };
        self.own_words.remove(&name);
        self.link(node, name, Way::Same);
    }

    /// A function and its source; its name came before.
    pub fn function(&mut self, row: &FunctionRow<'_>) {
        let mut source = source::of_function(row, &self.names);
        source.meaning.set(
            Meaning::LEAVES_STATE,
            source.meaning.contains(Meaning::LEAVES_STATE) || leaves_state(row.name),
        );
        let node = self.object(Object { class: PROC, oid: row.oid });
        if row.language == b"c" && extensions::only_varies(row.extension, row.name) {
            self.unmean(node, Meaning::VOLATILE);
        }
        if row.language == b"c" && extensions::runs_text(row.extension, row.name) {
            source.meaning |= Meaning::VOLATILE;
        }
        self.take(node, source);
    }

    /// A part of an object.
    pub fn part(&mut self, row: &PartRow<'_>) {
        let (part, owner) = (self.object(row.part), self.object(row.owner));
        if !row.text.is_empty() {
            let source = source::of_expression(row.text, &self.names);
            self.take(part, source);
        }
        let way = if row.when_written { Way::WhenWritten } else { Way::Same };
        self.link(part, owner, way);
    }

    /// One object uses another.
    pub fn edge(&mut self, row: EdgeRow) {
        let (used, user) = (self.object(row.used), self.object(row.user));
        let way = if row.user.class == PROC { Way::Runs } else { Way::Same };
        self.link(used, user, way);
    }

    /// A setting that a database or role begins with.
    pub fn setting(&mut self, name: &[u8]) {
        match std::str::from_utf8(name) {
            Ok(name) if name.contains('.') => self.keep_custom(name.to_ascii_lowercase().into()),
            Ok(_) => {}
            Err(_) => self.has_unknown_custom = true,
        }
    }

    fn take(&mut self, node: Node, source: Source) {
        self.mean(node, source.meaning);
        let way = if source.writes { Way::Runs } else { Way::Reads };
        for name in source.mentions {
            self.link(name, node, way);
        }
        self.has_unknown_custom |= source.computes_setting;
        source.custom.into_iter().for_each(|name| self.keep_custom(name));
    }

    fn keep_custom(&mut self, name: Box<str>) {
        if self.custom.len() < CUSTOM_MAX {
            self.custom.insert(name);
        } else if !self.custom.contains(&name) {
            self.has_unknown_custom = true;
        }
    }

    /// Carries every effect to all that reach it.
    fn spread(&mut self) {
        for (object, meaning) in
            [(ROW_LOCK, Meaning::LOCKS_ROWS), (CATALOG_RELATION, Meaning::READS_CATALOG)]
        {
            let node = self.object(object);
            self.mean(node, meaning);
        }
        let nodes = self.meanings.len();
        // Where the edges of each node begin, once they are sorted by where they come from.
        let mut begin = vec![0usize; nodes + 1];
        for edge in &self.edges {
            if let Some(count) = begin.get_mut(edge.from as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in &mut begin {
            sum += *count;
            *count = sum;
        }
        self.edges.sort_unstable_by_key(|edge| edge.from);
        let marked = (0u32..).zip(&self.meanings).filter(|(_, meaning)| !meaning.is_empty());
        let mut work: Vec<Node> = marked.map(|(node, _)| node).collect();
        while let Some(node) = work.pop() {
            let at = node as usize;
            let (Some(&meaning), Some(&from), Some(&to)) =
                (self.meanings.get(at), begin.get(at), begin.get(at + 1))
            else {
                continue;
            };
            for edge in self.edges.get(from..to).unwrap_or_default() {
                let carried = edge.way.carry(meaning);
                let Some(known) = self.meanings.get_mut(edge.to as usize) else { continue };
                if !known.contains(carried) {
                    *known |= carried;
                    work.push(edge.to);
                }
            }
        }
    }

    fn of(&self, object: Object) -> Meaning {
        let node = self.objects.get(&object);
        node.and_then(|node| self.meanings.get(*node as usize)).copied().unwrap_or_default()
    }

    /// What stands for the names that need the primary, and why they do.
    fn of_primary(&self) -> Standings {
        let of = |names: &HashMap<Vec<u8>, Node, _>, is_operator| -> Vec<u64> {
            let meaning = |node: &Node| self.meanings.get(*node as usize).copied();
            let all = names.iter().filter(|(_, node)| !self.own_words.contains(*node));
            let all = all.filter_map(|(name, node)| Some((name, meaning(node)?)));
            all.filter_map(|(name, meaning)| Standings::entry(name, is_operator, meaning)).collect()
        };
        let mut all = of(&self.names.words, false);
        all.extend(of(&self.names.operators, true));
        Standings::new(all)
    }

    /// OIDs of the types that mean some of this, sorted.
    fn types_that(&self, meaning: Meaning) -> Box<[u32]> {
        let is_it =
            |object: &&Object| object.class == TYPE && self.of(**object).intersects(meaning);
        let mut types: Vec<u32> =
            self.objects.keys().filter(is_it).map(|object| object.oid).collect();
        types.sort_unstable();
        types.into()
    }

    /// With room for so many edges only.
    #[cfg(test)]
    pub(super) fn with_room(graph_max: usize) -> Self {
        Self { graph_max, ..Self::default() }
    }

    /// Nothing of it can be told apart: every text may do anything.
    fn of_too_many(self) -> Snapshot {
        Snapshot {
            everything: Meaning::all().difference(Meaning::CHANGES_CATALOG),
            custom: self.custom.into_iter().collect(),
            has_unknown_custom: true,
            ..Snapshot::default()
        }
        .finish()
    }

    /// The snapshot.
    pub fn finish(mut self) -> Snapshot {
        if self.is_too_large {
            return self.of_too_many();
        }
        self.spread();
        let meaning = |node: Node| self.meanings.get(node as usize).copied().unwrap_or_default();
        let matter = |names: &HashMap<Vec<u8>, Node, _>| -> Vec<(Vec<u8>, Meaning)> {
            let all = names.iter().map(|(name, node)| (name.clone(), meaning(*node)));
            all.filter(|(_, meaning)| meaning.intersects(Meaning::TO_SESSION)).collect()
        };
        let (mut words, operators) = (matter(&self.names.words), matter(&self.names.operators));
        let of_primary = self.of_primary();
        if words.len() + operators.len() > NAMES_MAX {
            return self.of_too_many();
        }
        for (symbol, meaning) in &operators {
            words.extend(keywords_of(symbol).iter().map(|word| (word.to_vec(), *meaning)));
        }
        let (types, types_of_primary) =
            (self.types_that(Meaning::TOUCHES), self.types_that(Meaning::OF_PRIMARY));
        let mut known = std::mem::take(&mut self.known);
        known.sort_unstable();
        known.dedup();
        Snapshot {
            known: known.into(),
            of_primary,
            types,
            types_of_primary,
            everything: self.of(EVERY_TEXT),
            definition: self.of(EVERY_DEFINITION),
            unreadable: self.names.unreadable.map_or(Meaning::empty(), meaning),
            words: Names::new(words),
            operators: Names::new(operators),
            custom: self.custom.into_iter().collect(),
            has_unknown_custom: self.has_unknown_custom,
            any: Meaning::empty(),
        }
        .finish()
    }
}

/// Words that call an operator without naming it (manual, "Operators" and "Subquery Expressions").
fn keywords_of(symbol: &[u8]) -> &'static [&'static [u8]] {
    match symbol {
        b"=" => &[
            b"in",
            b"case",
            b"nullif",
            b"distinct",
            b"using",
            b"natural",
            b"group",
            b"union",
            b"except",
            b"intersect",
            b"partition",
            b"recursive",
        ],
        b"<>" | b"!=" => &[b"in", b"distinct"],
        b"<" | b"<=" | b">" | b">=" => {
            &[b"between", b"order", b"greatest", b"least", b"sort", b"over"]
        }
        b"~~" | b"!~~" => &[b"like"],
        b"~~*" | b"!~~*" => &[b"ilike"],
        b"~" | b"!~" => &[b"similar"],
        _ => &[],
    }
}
