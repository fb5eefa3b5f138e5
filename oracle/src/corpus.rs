//! Texts to begin with: SQL files, and howdah's own scripts.
//!
//! The files of PostgreSQL's regression tests are written for psql. What of them is SQL is found by two rules: a line
//! that begins with a backslash is psql's and ends a piece; the lines between `COPY … FROM STDIN` and `\.` are data. What
//! else psql reads (`:variable`, `\gset` behind a statement) is left: to the scanner it is tokens like others.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::sql::{Kind, Lexer, statements};

/// The texts, and where they are from.
#[derive(Default)]
pub struct Corpus {
    /// Files as they are.
    pub files: Vec<String>,
    /// What psql would send, several statements long.
    pub pieces: Vec<String>,
    /// Each statement by itself, and the bodies of functions; each once.
    pub statements: Vec<String>,
    /// Files in another encoding than UTF-8, which libpg_query's binding does not take.
    pub skipped: usize,
    known: HashSet<String>,
}

impl Corpus {
    /// Reads every `.sql` file below `dir`, and every `.txt` file of scripts.
    pub fn read(&mut self, dir: &Path) -> io::Result<()> {
        let mut paths: Vec<PathBuf> = fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()?;
        paths.sort();
        for path in paths {
            if path.is_dir() {
                self.read(&path)?;
                continue;
            }
            let extension = path.extension().and_then(|extension| extension.to_str());
            let (Some("sql" | "txt"), bytes) = (extension, fs::read(&path)?) else { continue };
            match String::from_utf8(bytes) {
                Ok(text) if text.contains('\0') => self.skipped += 1,
                Ok(text) if extension == Some("txt") => self.add_script(&text),
                Ok(text) => self.add_file(text),
                Err(_) => self.skipped += 1,
            }
        }
        Ok(())
    }

    fn add_script(&mut self, text: &str) {
        for line in text.lines() {
            let query = line.strip_prefix("> Query ").or_else(|| line.strip_prefix("setup: "));
            let parse = || line.strip_prefix("> Parse ")?.split_once(' ').map(|(_, text)| text);
            if let Some(sql) = query.or_else(parse) {
                self.add_piece(sql);
            }
        }
    }

    fn add_file(&mut self, text: String) {
        let mut piece = String::new();
        let mut lines = text.split_inclusive('\n').peekable();
        while let Some(line) = lines.next() {
            if line.starts_with('\\') {
                self.add_piece(&std::mem::take(&mut piece));
                continue;
            }
            piece.push_str(line);
            let is_copy = line.to_ascii_lowercase().contains("from stdin");
            if is_copy && line.trim_end().ends_with(';') && lines.clone().any(is_end_of_data) {
                self.add_piece(&std::mem::take(&mut piece));
                lines.by_ref().find(|line| is_end_of_data(line));
            }
        }
        self.add_piece(&piece);
        self.files.push(text);
    }

    fn add_piece(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        for range in statements(text.as_bytes(), true) {
            self.add_statement(text.get(range).unwrap_or_default());
        }
        self.pieces.push(text.to_owned());
    }

    fn add_statement(&mut self, text: &str) {
        if !self.known.insert(text.to_owned()) {
            return;
        }
        self.statements.push(text.to_owned());
        for token in
            Lexer::new(text.as_bytes(), true).filter(|token| token.kind == Kind::DollarText)
        {
            let body = text.get(token.start..token.end).unwrap_or_default();
            let tag = body.get(1..).and_then(|rest| rest.find('$')).unwrap_or_default() + 2;
            let body = body.get(tag..body.len() - tag).unwrap_or_default().trim();
            if !body.is_empty() && self.known.insert(body.to_owned()) {
                self.statements.push(body.to_owned());
            }
        }
    }
}

fn is_end_of_data(line: &str) -> bool {
    line.trim_end() == "\\."
}
