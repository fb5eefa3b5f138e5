//! Which source file imports which: a file is a node, a path that leads into another file is an
//! edge. Reads the code with `syn`, so that grouped imports, renamings, re-exports and paths in the
//! middle of an expression or a macro count like a plain `use`. A re-export counts where it is used:
//! for the file that declares it, only when its own code uses the name as well.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use syn::visit::Visit;

/// A path of names from the root of the crate; the root itself is empty.
type ModulePath = Vec<String>;

/// What `use module::*` imports from a module.
const EVERYTHING: &str = "*";

/// Longest chain of re-exports that is followed.
const MAX_HOPS: usize = 16;

/// One module: a file, or a `mod name { … }` in a file.
#[derive(Default)]
struct Module {
    file: String,
    /// What it defines itself.
    items: BTreeSet<String>,
    /// What its `use` declarations bring in, by the name they give it.
    uses: HashMap<String, Vec<String>>,
    /// Modules of which it imports everything.
    globs: Vec<Vec<String>>,
}

/// One path in the code.
struct Mention {
    /// The module that names it.
    module: ModulePath,
    segments: Vec<String>,
    line: usize,
    /// It stands in code for tests only.
    is_test: bool,
}

/// One import: who, from where, on which line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) line: usize,
    pub(crate) is_test: bool,
}

/// The crate, read.
#[derive(Default)]
pub(crate) struct Sources {
    modules: BTreeMap<ModulePath, Module>,
    mentions: Vec<Mention>,
}

impl Sources {
    /// Reads every file that `lib.rs` below `root` leads to.
    pub(crate) fn read(root: &Path) -> Self {
        let mut sources = Self::default();
        sources.read_file(root, "lib.rs", Vec::new(), false);
        sources
    }

    fn read_file(&mut self, root: &Path, name: &str, path: ModulePath, is_test: bool) {
        let text = fs::read_to_string(root.join(name)).expect(name);
        let file = syn::parse_file(&text).expect(name);
        self.add_module(root, Reader::new(name, path, is_test), &file.items);
    }

    fn add_module(&mut self, root: &Path, mut reader: Reader, items: &[syn::Item]) {
        items.iter().for_each(|item| reader.visit_item(item));
        let Reader { module, path, mentions, children, .. } = reader;
        let file = module.file.clone();
        self.modules.insert(path.clone(), module);
        self.mentions.extend(mentions);
        for Child { name, items, is_test } in children {
            let child = [path.as_slice(), std::slice::from_ref(&name)].concat();
            match items {
                Some(items) => {
                    self.add_module(root, Reader::new(&file, child, is_test), &items);
                }
                None => {
                    let at = file_of(root, &child);
                    self.read_file(root, &at, child, is_test);
                }
            }
        }
    }

    /// Every import between two files.
    pub(crate) fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for mention in &self.mentions {
            let module = &self.modules[&mention.module];
            // One name alone may as well be a variable.
            if let [name] = mention.segments.as_slice()
                && !module.uses.contains_key(name)
            {
                continue;
            }
            let from = &module.file;
            if let Some(to) = self.target(&mention.module, &mention.segments, MAX_HOPS)
                && to != from
            {
                let (from, to) = (from.clone(), to.to_owned());
                let Mention { line, is_test, .. } = *mention;
                imports.insert(Import { from, to, line, is_test });
            }
        }
        imports
    }

    /// The file where the thing of this name is defined, if it is one of ours.
    fn target(&self, module: &[String], segments: &[String], hops: usize) -> Option<&str> {
        let hops = hops.checked_sub(1)?;
        let (mut at, mut rest) = self.start(module, segments, hops)?;
        loop {
            let here = &self.modules[&at];
            let Some((name, behind)) = rest.split_first() else {
                // A module as such is where its path goes on.
                return None;
            };
            if name == EVERYTHING {
                return Some(&here.file);
            }
            let child = [at.as_slice(), std::slice::from_ref(name)].concat();
            if self.modules.contains_key(&child) {
                (at, rest) = (child, behind.to_vec());
            } else if here.items.contains(name) {
                return Some(&here.file);
            } else if let Some(used) = here.uses.get(name).filter(|used| **used != rest) {
                let onward = [used.as_slice(), behind].concat();
                return self.target(&at, &onward, hops).or(Some(&here.file));
            } else {
                let glob = here.globs.iter().find_map(|glob| {
                    let onward = [glob.as_slice(), &rest].concat();
                    self.target(&at, &onward, hops).filter(|file| *file != here.file)
                });
                return glob.or(Some(&here.file));
            }
        }
    }

    /// The module where a path begins, and what is left of the path.
    fn start(
        &self,
        module: &[String],
        segments: &[String],
        hops: usize,
    ) -> Option<(ModulePath, Vec<String>)> {
        let (head, rest) = segments.split_first()?;
        let child = [module, std::slice::from_ref(head)].concat();
        match head.as_str() {
            "crate" => Some((Vec::new(), rest.to_vec())),
            "self" => Some((module.to_vec(), rest.to_vec())),
            "super" => {
                let parent = module.split_last()?.1.to_vec();
                if rest.first().is_some_and(|next| next == "super") {
                    return self.start(&parent, rest, hops);
                }
                Some((parent, rest.to_vec()))
            }
            _ if self.modules.contains_key(&child) => Some((child, rest.to_vec())),
            _ => {
                let used = self.modules[module].uses.get(head)?;
                if used == segments || used.first() == Some(head) {
                    return None;
                }
                self.start(module, &[used.as_slice(), rest].concat(), hops.checked_sub(1)?)
            }
        }
    }
}

/// The file of a module below `root`.
fn file_of(root: &Path, module: &[String]) -> String {
    let plain = format!("{}.rs", module.join("/"));
    if root.join(&plain).exists() { plain } else { format!("{}/mod.rs", module.join("/")) }
}

/// A module inside another.
struct Child {
    name: String,
    /// Its text, if that is in the same file.
    items: Option<Vec<syn::Item>>,
    is_test: bool,
}

/// Reads one module.
struct Reader {
    module: Module,
    path: ModulePath,
    mentions: Vec<Mention>,
    children: Vec<Child>,
    is_test: bool,
    /// Within a `pub use`.
    is_re_export: bool,
    /// How many functions and blocks we are in.
    depth: usize,
}

/// Whether an item is compiled for tests only.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let words = attribute.meta.require_list().map(|list| list.tokens.to_string());
        let is_for_tests = |words: String| words == "test" || words.contains("fuzzing");
        attribute.path().is_ident("cfg") && words.is_ok_and(is_for_tests)
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "syn may add kinds of items")]
fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "syn may add kinds of items")]
fn name(item: &syn::Item) -> Option<&syn::Ident> {
    match item {
        syn::Item::Const(item) => Some(&item.ident),
        syn::Item::Enum(item) => Some(&item.ident),
        syn::Item::Fn(item) => Some(&item.sig.ident),
        syn::Item::Macro(item) => item.ident.as_ref(),
        syn::Item::Static(item) => Some(&item.ident),
        syn::Item::Struct(item) => Some(&item.ident),
        syn::Item::Trait(item) => Some(&item.ident),
        syn::Item::Type(item) => Some(&item.ident),
        _ => None,
    }
}

impl Reader {
    fn new(file: &str, path: ModulePath, is_test: bool) -> Self {
        let module = Module { file: file.to_owned(), ..Module::default() };
        let (mentions, children) = (Vec::new(), Vec::new());
        Self { module, path, mentions, children, is_test, is_re_export: false, depth: 0 }
    }

    fn mention(&mut self, segments: Vec<String>, line: usize) {
        let (module, is_test) = (self.path.clone(), self.is_test);
        self.mentions.push(Mention { module, segments, line, is_test });
    }

    fn read_use(&mut self, tree: &syn::UseTree, path: &[String], line: usize) {
        match tree {
            syn::UseTree::Path(tree) => {
                let path = [path, &[tree.ident.to_string()]].concat();
                self.read_use(&tree.tree, &path, line);
            }
            syn::UseTree::Name(tree) if tree.ident == "self" => {
                let name = path.last().cloned().unwrap_or_default();
                self.bring_in(name, path.to_vec(), line);
            }
            syn::UseTree::Name(tree) => {
                let name = tree.ident.to_string();
                let path = [path, std::slice::from_ref(&name)].concat();
                self.bring_in(name, path, line);
            }
            syn::UseTree::Rename(tree) => {
                let path = [path, &[tree.ident.to_string()]].concat();
                self.bring_in(tree.rename.to_string(), path, line);
            }
            syn::UseTree::Glob(_) => {
                if !self.is_re_export {
                    self.mention([path, &[EVERYTHING.to_owned()]].concat(), line);
                }
                self.module.globs.push(path.to_vec());
            }
            syn::UseTree::Group(tree) => {
                tree.items.iter().for_each(|tree| self.read_use(tree, path, line));
            }
        }
    }

    fn bring_in(&mut self, name: String, path: Vec<String>, line: usize) {
        if !self.is_re_export {
            self.mention(path.clone(), line);
        }
        self.module.uses.insert(name, path);
    }

    /// The paths in the text of a macro.
    fn read_tokens(&mut self, text: &str, line: usize) {
        let text = text.replace(" :: ", "::");
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for path in text.split(|c| !is_part(c)).filter(|word| word.contains("::")) {
            let segments = path.split("::").filter(|part| !part.is_empty()).map(str::to_owned);
            self.mention(segments.collect(), line);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if self.depth == 0
            && let Some(name) = name(item)
        {
            self.module.items.insert(name.to_string());
        }
        let before = self.is_test;
        self.is_test |= is_for_tests(attributes(item));
        self.depth += 1;
        syn::visit::visit_item(self, item);
        self.depth -= 1;
        self.is_test = before;
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let items = item.content.as_ref().map(|(_, items)| items.clone());
        self.children.push(Child { name: item.ident.to_string(), items, is_test: self.is_test });
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let line = item.use_token.span.start().line;
        self.is_re_export = !matches!(item.vis, syn::Visibility::Inherited);
        self.read_use(&item.tree, &[], line);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |first| first.ident.span().start().line);
        self.mention(segments, line);
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let line = item.path.segments.first().map_or(0, |first| first.ident.span().start().line);
        self.read_tokens(&item.tokens.to_string(), line);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(in crate::app)` imports nothing.
    }
}

/// The groups of files of which each imports each other, directly or through others.
pub(crate) fn circles(imports: &BTreeSet<Import>) -> Vec<BTreeSet<String>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports.iter().filter(|import| !import.is_test) {
        next.entry(&import.from).or_default().insert(&import.to);
    }
    let reach: BTreeMap<&str, BTreeSet<&str>> = next
        .keys()
        .map(|&start| {
            let (mut found, mut open) = (BTreeSet::new(), vec![start]);
            while let Some(file) = open.pop() {
                let new = next.get(file).into_iter().flatten().filter(|to| found.insert(**to));
                open.extend(new.copied().collect::<Vec<_>>());
            }
            (start, found)
        })
        .collect();
    let mut circles = BTreeSet::new();
    for (file, _) in reach.iter().filter(|(file, found)| found.contains(**file)) {
        let both = |other: &&&str| {
            reach[file].contains(**other) && reach.get(**other).is_some_and(|r| r.contains(file))
        };
        circles.insert(reach.keys().filter(both).map(|&f| f.to_owned()).collect::<BTreeSet<_>>());
    }
    circles.into_iter().collect()
}
