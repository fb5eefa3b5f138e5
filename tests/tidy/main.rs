//! Keeps the house tidy: layers import downwards only, no file imports itself through others, pure
//! files stay pure, files and docs stay findable. A failure names the file and the line.

mod imports;

use imports::{Import, Sources, circles};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. A module may name only modules of a lower rank.
const LAYERS: &[(&str, u32)] = &[
    ("fault", 0),
    ("metrics", 0),
    ("word", 0),
    ("wire", 1),
    ("sql", 1),
    ("auth", 2),
    ("net", 2),
    ("routing", 2),
    ("backend", 3),
    ("catalog", 4),
    ("cluster", 4),
    ("pool", 5),
    ("notify", 6),
    ("session", 7),
    ("admin", 8),
    ("config", 9),
    ("app", 10),
    ("demo", 10),
];

/// Files that decide: no runtime, no socket, no clock.
const PURE: &[&str] = &[
    "wire/",
    "sql/",
    "routing/",
    "auth/",
    "backend/state.rs",
    "catalog/extensions.rs",
    "catalog/graph.rs",
    "catalog/queries.rs",
    "catalog/rows.rs",
    "catalog/schedule.rs",
    "catalog/snapshot.rs",
    "catalog/source.rs",
    "cluster/choice.rs",
    "cluster/difference.rs",
    "cluster/failover.rs",
    "cluster/features.rs",
    "cluster/floors.rs",
    "cluster/freshness.rs",
    "cluster/health.rs",
    "cluster/history.rs",
    "cluster/lsn.rs",
    "cluster/moment.rs",
    "cluster/pace.rs",
    "cluster/primary_log.rs",
    "cluster/progress.rs",
    "cluster/questions.rs",
    "cluster/redirect.rs",
    "cluster/report.rs",
    "cluster/roles.rs",
    "cluster/roles/",
    "cluster/policy.rs",
    "cluster/survey.rs",
    "cluster/urgency.rs",
    "cluster/waiting.rs",
    "session/state_check.rs",
    "session/custom_settings.rs",
    "session/effects.rs",
    "session/own/registry.rs",
    "session/own/scope.rs",
    "session/own/statement.rs",
    "session/own/steps.rs",
    "session/own/terms.rs",
    "session/own/values.rs",
    "session/server_lost.rs",
    "session/reading.rs",
    "session/settle.rs",
    "session/startup_request.rs",
    "session/unbound.rs",
    "session/statements/errors.rs",
    "session/statements/named.rs",
    "session/statements/rewrite.rs",
    "pool/core",
    "pool/admission.rs",
];
const IMPURE_WORDS: &[&str] =
    &["tokio", "std::net", "std::os", "std::fs", "Instant::now", "SystemTime", "socket2"];

const MAX_LINES_WITHOUT_TESTS: usize = 600;

fn rank(module: &str) -> Option<u32> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Every source file as (path below `src/`, text without its test module).
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("below src").display().to_string();
            let text = fs::read_to_string(&path).expect("a readable source file");
            let code = text.split("\n#[cfg(test)]").next().unwrap_or_default().to_owned();
            (name, code)
        })
        .collect()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn report(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// The imports of every source file.
fn imports() -> BTreeSet<Import> {
    Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).imports()
}

fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

#[test]
fn modules_import_downwards_only() {
    let mut problems = BTreeSet::new();
    for (file, _) in files() {
        let module = module_of(&file);
        if !["lib", "main"].contains(&module) && rank(module).is_none() {
            problems.insert(format!("src/{file}: module {module} has no layer in tests/tidy"));
        }
    }
    for Import { from, to, line, .. } in imports() {
        let (own, target) = (module_of(&from), module_of(&to));
        let is_lower = rank(target).zip(rank(own)).is_none_or(|(target, own)| target < own);
        if own != target && own != "lib" && !is_lower {
            problems.insert(format!("src/{from}:{line}: {own} imports {target} ({to})"));
        }
    }
    report(problems.into_iter().collect());
}

#[test]
fn no_file_imports_itself_through_others() {
    let imports = imports();
    let mut problems = Vec::new();
    for circle in circles(&imports) {
        let inside = |import: &&Import| {
            !import.is_test && circle.contains(&import.from) && circle.contains(&import.to)
        };
        problems.push(format!("a circle of {} files:", circle.len()));
        let pairs: BTreeSet<_> =
            imports.iter().filter(inside).map(|one| (&one.from, &one.to)).collect();
        problems.extend(pairs.iter().map(|(from, to)| format!("    src/{from} imports {to}")));
    }
    report(problems);
}

/// A small crate with every way to import: groups, re-exports, paths in code and in macros.
#[test]
fn every_way_to_import_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    write("lib.rs", "pub mod a;\npub mod b;\nmod c;\n");
    write("a/mod.rs", "mod inner;\npub use inner::Inner;\n");
    write(
        "a/inner.rs",
        "pub struct Inner;\nuse crate::{b::{self, B}, c::*};\nfn f(_: B) { b::g() }\n",
    );
    write("b.rs", "pub struct B;\npub fn g() { drop(crate::a::Inner); }\n");
    write(
        "c.rs",
        "#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n\
                   fn h() { println!(\"{}\", super::b::g()); }\n",
    );
    let sources = Sources::read(folder.path());
    let seen = sources.imports().into_iter().map(|one| (one.from, one.to, one.is_test));
    let import = |from: &str, to: &str, is_test| (from.to_owned(), to.to_owned(), is_test);
    let expected = [
        import("a/inner.rs", "b.rs", false),
        import("a/inner.rs", "c.rs", false),
        import("b.rs", "a/inner.rs", false),
        import("c.rs", "b.rs", false),
        import("c.rs", "b.rs", true),
    ];
    assert_eq!(seen.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    let circle = ["a/inner.rs", "b.rs", "c.rs"].map(str::to_owned);
    assert_eq!(circles(&sources.imports()), [BTreeSet::from(circle)]);
}

#[test]
fn deciders_are_pure() {
    let mut problems = Vec::new();
    for (name, code) in files() {
        if !PURE.iter().any(|pure| name.starts_with(pure)) {
            continue;
        }
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            for word in IMPURE_WORDS.iter().filter(|word| line.contains(**word)) {
                problems.push(format!("src/{name}:{}: a pure file names {word}", number + 1));
            }
        }
    }
    report(problems);
}

#[test]
fn files_are_documented_and_of_readable_size() {
    let mut problems = Vec::new();
    for (name, code) in files() {
        if !code.starts_with("//!") {
            problems.push(format!("src/{name}: does not begin with a module doc"));
        }
        let lines = code.lines().count();
        if lines > MAX_LINES_WITHOUT_TESTS {
            problems.push(format!("src/{name}: {lines} lines; split it by reason to change"));
        }
        for (number, line) in code.lines().enumerate() {
            if line.contains(concat!("TO", "DO")) || line.contains(concat!("FIX", "ME")) {
                problems.push(format!("src/{name}:{}: an open mark", number + 1));
            }
        }
    }
    report(problems);
}

/// A file of the repository.
fn text_of(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

#[test]
fn the_architecture_page_names_every_module() {
    let page = text_of("ARCHITECTURE.md");
    let mut problems = Vec::new();
    for (name, _) in files() {
        let module = name.split('/').next().unwrap_or(&name).trim_end_matches(".rs").to_owned();
        if !["lib", "main"].contains(&module.as_str()) && !page.contains(&format!("`{module}`")) {
            problems.push(format!("ARCHITECTURE.md does not name `{module}`"));
        }
    }
    problems.dedup();
    report(problems);
}

#[test]
fn the_architecture_page_has_a_reason_for_every_crate() {
    let (page, manifest) = (text_of("ARCHITECTURE.md"), text_of("Cargo.toml"));
    let mut problems = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| inside)
            && !page.contains(&format!("`{name}`"))
        {
            problems.push(format!("ARCHITECTURE.md does not say why we depend on `{name}`"));
        }
    }
    report(problems);
}

#[test]
fn the_readme_shows_the_minimal_configuration() {
    let (page, sample) = (text_of("README.md"), text_of("config/minimal.toml"));
    let shown = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let settings = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(settings(shown.expect("a block of TOML")), settings(&sample));
}

#[test]
fn pages_link_to_files_that_exist() {
    let mut problems = Vec::new();
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"] {
        for target in text_of(page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
            if !target.contains("://") && !path.exists() {
                problems.push(format!("{page} links to {target}, which does not exist"));
            }
        }
    }
    report(problems);
}
