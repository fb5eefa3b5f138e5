//! Keeps the house tidy: layers import downwards only, pure files stay pure, files and docs stay
//! findable. A failure names the file and the line.

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. A module may name only modules of a lower rank.
const LAYERS: &[(&str, u32)] = &[
    ("fault", 0),
    ("metrics", 0),
    ("wire", 1),
    ("sql", 1),
    ("auth", 2),
    ("net", 2),
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
    "auth/",
    "backend/state.rs",
    "catalog/extensions.rs",
    "catalog/graph.rs",
    "catalog/queries.rs",
    "catalog/rows.rs",
    "catalog/schedule.rs",
    "catalog/snapshot.rs",
    "catalog/source.rs",
    "session/state.rs",
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

#[test]
fn modules_import_downwards_only() {
    let mut problems = Vec::new();
    for (name, code) in files() {
        let own = name.split('/').next().unwrap_or(&name).trim_end_matches(".rs").to_owned();
        if own == "lib" || own == "main" {
            continue;
        }
        let Some(own_rank) = rank(&own) else {
            problems.push(format!("src/{name}: module {own} has no layer in tests/tidy.rs"));
            continue;
        };
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            for target in line.split("crate::").skip(1) {
                let target: String =
                    target.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let allowed = target == own || rank(&target).is_none_or(|r| r < own_rank);
                if !allowed {
                    problems.push(format!("src/{name}:{}: {own} imports {target}", number + 1));
                }
            }
        }
    }
    report(problems);
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
