//! Conversations as text: the files in `tests/scripts/`.
//!
//! `== name` begins a script. `modes:` (default: all), `tags:` and `setup:` lines may follow, then
//! steps. A connection is a capital letter before the step, `A` if there is none; it logs in by
//! itself when first used.
//!
//! | Step | Does |
//! |---|---|
//! | `> Sync` | sends a message; lines that follow each other are one write, a blank line parts them |
//! | `>. Sync` | the same, each byte by its own write (`>~`: chunks of random sizes) |
//! | `< Z` | reads until a ReadyForQuery (`< Z*3`: three; `< 5`: five messages; `< closed`; `< end`: the same, whatever comes before; `< idle`: nothing comes; `< raw 1`: bytes) |
//! | `< Z = T D C Z:I` | the same, and says what PostgreSQL answers, with the SQLSTATE after `E:` and `N:`; ` \| ` parts the answers of different versions |
//! | `connect application_name=x` | logs in with more startup parameters |
//! | `open`, `open unix` | connects without a startup packet |
//! | `cancel`, `cancel wrong` | CancelRequest with the key of the connection, or with another secret |
//! | `disconnect`, `abort`, `finish` | closes, resets, closes the sending side |
//! | `sql TEXT` | runs TEXT beside the conversation, on PostgreSQL itself, as the owner of the schema |
//! | `super TEXT` | the same as a superuser |
//! | `wait TEXT` | waits until the query TEXT gives true there |
//! | `repeat 3` … `end` | the lines between, with `{i}` counting from 0 |
//!
//! `{x*70}` is seventy `x`, `@db` the database. `@db_other` is a database that the pooler knows too;
//! a script that wants it makes it. [`bytes`] has the messages.

use std::fs;
use std::path::{Path, PathBuf};

use super::messages::{self, Bind, PROTOCOL_3_0};

/// One conversation.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// The situation.
    pub(crate) name: String,
    /// Where it is written.
    pub(crate) file: PathBuf,
    /// The pool modes in which it must look like PostgreSQL.
    pub(crate) modes: Vec<String>,
    /// `calm`: no other client comes between the steps. `codes`: only message types and SQLSTATEs
    /// are compared, because the wording is each program's own. `own`: errors are compared without
    /// the place in PostgreSQL's source, because a pooler has to raise them itself. `turns`: the
    /// clients take turns, so one server is enough for all of them. No script needs more than two
    /// servers at a time, unless it is `calm`.
    pub(crate) tags: Vec<String>,
    /// Statements run beforehand.
    pub(crate) setup: Vec<String>,
    /// What happens.
    pub(crate) steps: Vec<Step>,
}

/// How a group of messages is cut into writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// One write.
    Whole,
    /// A write for each byte.
    Bytes,
    /// Writes of random sizes.
    Chunks,
}

/// What a read waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The n-th message of a type.
    Tag(u8, usize),
    /// A number of messages.
    Frames(usize),
    /// The end of the connection.
    Closed,
    /// The end of the connection, and what comes before it is not looked at.
    End,
    /// That nothing comes for a short while.
    Idle,
    /// A number of bytes outside messages.
    Raw(usize),
}

/// One step, on the connection named by its letter.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Log in.
    Connect(char, Vec<(String, String)>),
    /// Connect only, over TCP, or (true) over the Unix socket.
    Open(char, bool),
    /// Send messages, one a line.
    Send(char, Split, Vec<String>),
    /// Read, compare with what PostgreSQL is known to answer, and the line where that is written.
    Read(char, Until, Option<String>, usize),
    /// Cancel with the right key, or with a wrong secret.
    Cancel(char, bool),
    /// Close.
    Disconnect(char),
    /// Reset.
    Abort(char),
    /// Close the sending side.
    Finish(char),
    /// Run beside the conversation.
    Sql(String),
    /// Run beside the conversation, as a superuser.
    Super(String),
    /// Wait for a condition beside the conversation.
    Wait(String),
}

/// All scripts of `tests/scripts`, by file name.
pub(crate) fn load_all() -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let entries = fs::read_dir(&folder).expect("tests/scripts");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.iter().flat_map(|file| load(file)).collect()
}

fn load(file: &Path) -> Vec<Script> {
    let text = fs::read_to_string(file).expect("a readable script");
    let mut scripts: Vec<Script> = Vec::new();
    let mut group_open = false;
    for (number, line) in expand_repeats(&text) {
        let line = line.trim();
        let place = || format!("{}:{number}: {line}", file.display());
        if line.is_empty() || line.starts_with('#') {
            group_open = false;
        } else if let Some(name) = line.strip_prefix("== ") {
            scripts.push(Script::new(name, file));
            group_open = false;
        } else {
            let script = scripts.last_mut();
            let script = script.unwrap_or_else(|| unreachable!("{}: no script yet", place()));
            let taken = script.take(line, number, group_open);
            group_open = taken.unwrap_or_else(|problem| unreachable!("{}: {problem}", place()));
        }
    }
    scripts
}

/// Lines with their numbers; repeated ones have number 0, since what they see differs.
fn expand_repeats(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let mut repeated: Option<(usize, Vec<&str>)> = None;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if let Some(times) = trimmed.strip_prefix("repeat ") {
            repeated = Some((times.parse().expect("a number of repetitions"), Vec::new()));
        } else if trimmed == "end" {
            let (times, lines) = repeated.take().expect("a repeat before end");
            for turn in 0..times {
                let turn = turn.to_string();
                out.extend(lines.iter().map(|line| (0, line.replace("{i}", &turn))));
            }
        } else if let Some((_, lines)) = &mut repeated {
            lines.push(line);
        } else {
            out.push((index + 1, line.to_owned()));
        }
    }
    out
}

impl Script {
    fn new(name: &str, file: &Path) -> Self {
        Self {
            name: name.to_owned(),
            file: file.to_owned(),
            modes: ["session", "transaction", "statement"].map(str::to_owned).to_vec(),
            tags: Vec::new(),
            setup: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Takes a line; true if it may be joined by messages on the next.
    fn take(&mut self, line: &str, number: usize, joins: bool) -> Result<bool, String> {
        let words = |rest: &str| rest.split_whitespace().map(str::to_owned).collect();
        if let Some(modes) = line.strip_prefix("modes:") {
            self.modes = words(modes);
        } else if let Some(tags) = line.strip_prefix("tags:") {
            self.tags = words(tags);
        } else if let Some(sql) = line.strip_prefix("setup:") {
            self.setup.push(expand(sql.trim()));
        } else if let Some(sql) = line.strip_prefix("sql ") {
            self.steps.push(Step::Sql(expand(sql)));
        } else if let Some(sql) = line.strip_prefix("super ") {
            self.steps.push(Step::Super(expand(sql)));
        } else if let Some(sql) = line.strip_prefix("wait ") {
            self.steps.push(Step::Wait(expand(sql)));
        } else {
            return self.take_step(line, number, joins);
        }
        Ok(false)
    }

    fn take_step(&mut self, line: &str, number: usize, joins: bool) -> Result<bool, String> {
        let (conn, line) = connection(line);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let step = match word {
            ">" | ">." | ">~" => return self.take_message(conn, word, rest, joins),
            "<" => {
                let (until, expected) = match rest.split_once(" = ") {
                    Some((until, expected)) => (until, Some(expected.trim().to_owned())),
                    None => (rest, None),
                };
                Step::Read(conn, parse_until(until.trim())?, expected, number)
            }
            "connect" => Step::Connect(conn, pairs(&expand(rest))?),
            "open" => Step::Open(conn, rest == "unix"),
            "cancel" => Step::Cancel(conn, rest != "wrong"),
            "disconnect" => Step::Disconnect(conn),
            "abort" => Step::Abort(conn),
            "finish" => Step::Finish(conn),
            _ => return Err(format!("no step {word:?}")),
        };
        self.steps.push(step);
        Ok(false)
    }

    fn take_message(
        &mut self,
        conn: char,
        sigil: &str,
        text: &str,
        joins: bool,
    ) -> Result<bool, String> {
        let split = match sigil {
            ">." => Split::Bytes,
            ">~" => Split::Chunks,
            _ => Split::Whole,
        };
        let text = expand(text);
        bytes(&text, "checked")?;
        match self.steps.last_mut() {
            Some(Step::Send(last, way, messages)) if joins && *last == conn && *way == split => {
                messages.push(text);
            }
            _ => self.steps.push(Step::Send(conn, split, vec![text])),
        }
        Ok(true)
    }
}

fn connection(line: &str) -> (char, &str) {
    let mut chars = line.chars();
    match (chars.next(), chars.next()) {
        (Some(letter @ 'A'..='Z'), Some(' ' | '>' | '<')) => (letter, line[1..].trim_start()),
        _ => ('A', line),
    }
}

fn parse_until(text: &str) -> Result<Until, String> {
    let (word, count) = text.split_once([' ', '*']).unwrap_or((text, "1"));
    let count: usize = count.parse().map_err(|_| format!("{count:?} is no number"))?;
    match (word, word.parse()) {
        ("closed", _) => Ok(Until::Closed),
        ("end", _) => Ok(Until::End),
        ("idle", _) => Ok(Until::Idle),
        ("raw", _) => Ok(Until::Raw(count)),
        ("ParseComplete", _) => Ok(Until::Tag(b'1', count)),
        (_, Ok(frames)) => Ok(Until::Frames(frames)),
        _ if word.len() == 1 => Ok(Until::Tag(word.as_bytes()[0], count)),
        _ => Err(format!("nothing to wait for in {text:?}")),
    }
}

/// Replaces `{text*times}`; other braces stay.
fn expand(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let repeated = after.split_once('}').and_then(|(inner, rest)| {
            let (text, times) = inner.rsplit_once('*')?;
            Some((text.repeat(times.parse().ok()?), rest))
        });
        match repeated {
            Some((text, after)) => {
                out.push_str(&text);
                rest = after;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out + rest
}

/// Words, where `'…'` holds spaces together. A quoted word is marked, so that `'null'` differs
/// from `null`.
fn quoted_words(text: &str) -> Result<Vec<(String, bool)>, String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut inside) = (String::new(), false, false);
    for letter in text.chars() {
        match letter {
            '\'' => {
                inside = !inside;
                quoted = true;
            }
            ' ' if !inside => {
                if quoted || !word.is_empty() {
                    words.push((std::mem::take(&mut word), quoted));
                }
                quoted = false;
            }
            other => word.push(other),
        }
    }
    if inside {
        return Err("an open quote".to_owned());
    }
    if quoted || !word.is_empty() {
        words.push((word, quoted));
    }
    Ok(words)
}

fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |(word, _): (String, bool)| {
        let (name, value) = word.split_once('=').ok_or("a parameter needs a value")?;
        Ok((name.to_owned(), value.to_owned()))
    };
    quoted_words(text)?.into_iter().map(pair).collect()
}

/// The bytes of a message:
/// `Query SQL`, `Parse NAME(OID,…) SQL`, `Bind PORTAL STATEMENT in=0,1 out=1 VALUE …`, `Describe S
/// NAME`, `Execute PORTAL ROWS`, `Close P NAME`, `Flush`, `Sync`, `Terminate`, `CopyData TEXT`,
/// `CopyDone`, `CopyFail REASON`, `FunctionCall OID text VALUE …`, `Startup NAME=VALUE …`,
/// `StartupVersion NUMBER NAME=VALUE …`, `SSLRequest`, `GSSENCRequest`, `CancelRequest TEXT`,
/// `Frame TAG BODY` (any type), `Header TAG LENGTH` (any length), `Bytes TEXT`. The unnamed
/// statement is `-`; a value is `null`, `word`, `'two words'` or `x:00ff`; TEXT knows `\n`, `\t`,
/// `\\` and `\x00`.
pub(crate) fn bytes(line: &str, database: &str) -> Result<Vec<u8>, String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    Ok(match word {
        "Query" => messages::query(&rest.replace("@db", database)),
        "Parse" => parse(&rest.replace("@db", database))?,
        "Bind" => messages::bind(&bind(rest)?),
        "Describe" | "Close" => {
            let (kind, name) = rest.split_once(' ').ok_or("S or P, and a name")?;
            let build = if word == "Close" { messages::close } else { messages::describe };
            build(kind.as_bytes()[0], unnamed(name))
        }
        "Execute" => {
            let (portal, rows) = rest.split_once(' ').unwrap_or((rest, "0"));
            let portal = if portal.is_empty() { "-" } else { portal };
            messages::execute(unnamed(portal), number(rows)?)
        }
        "Flush" => messages::flush(),
        "Sync" => messages::sync(),
        "Terminate" => messages::terminate(),
        "CopyData" => messages::copy_data(&unescape(rest)?),
        "CopyDone" => messages::copy_done(),
        "CopyFail" => messages::copy_fail(rest),
        "FunctionCall" => function_call(rest)?,
        "Startup" => startup(PROTOCOL_3_0, rest, database)?,
        "StartupVersion" => {
            let (version, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            startup(number(version)?, rest, database)?
        }
        "SSLRequest" => messages::ssl_request(),
        "GSSENCRequest" => messages::gssenc_request(),
        "CancelRequest" => messages::cancel_request(&unescape(rest)?),
        "Frame" => {
            let (tag, body) = rest.split_once(' ').unwrap_or((rest, ""));
            messages::message(tag.as_bytes()[0], &unescape(body)?)
        }
        "Header" => {
            let (tag, length) = rest.split_once(' ').ok_or("a type and a length")?;
            let length: i32 = number(length)?;
            [&tag.as_bytes()[..1], &length.to_be_bytes()].concat()
        }
        "Bytes" => unescape(rest)?,
        _ => return Err(format!("no message {word:?}")),
    })
}

fn unnamed(name: &str) -> &str {
    if name == "-" { "" } else { name }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn numbers<N: std::str::FromStr>(text: &str) -> Result<Vec<N>, String> {
    text.split(',').map(number).collect()
}

fn parse(rest: &str) -> Result<Vec<u8>, String> {
    let (head, sql) = rest.split_once(' ').unwrap_or((rest, ""));
    let (name, types) = match head.strip_suffix(')').and_then(|head| head.split_once('(')) {
        Some((name, types)) => (name, numbers(types)?),
        None => (head, Vec::new()),
    };
    Ok(messages::parse(unnamed(name), sql, &types))
}

fn bind(rest: &str) -> Result<Bind, String> {
    let mut words = quoted_words(rest)?.into_iter();
    let mut name = || words.next().map(|(name, _)| unnamed(&name).to_owned()).ok_or("a name");
    let mut bind = Bind { portal: name()?, statement: name()?, ..Bind::default() };
    for (word, quoted) in words {
        if let Some(formats) = word.strip_prefix("in=").filter(|_| !quoted) {
            bind.formats = numbers(formats)?;
        } else if let Some(formats) = word.strip_prefix("out=").filter(|_| !quoted) {
            bind.results = numbers(formats)?;
        } else {
            bind.values.push(value(&word, quoted)?);
        }
    }
    Ok(bind)
}

fn function_call(rest: &str) -> Result<Vec<u8>, String> {
    let mut words = quoted_words(rest)?.into_iter();
    let (oid, _) = words.next().ok_or("an oid")?;
    let format = match words.next().as_ref().map(|(word, _)| word.as_str()) {
        Some("text") => 0,
        Some("binary") => 1,
        _ => return Err("text or binary".to_owned()),
    };
    let arguments: Result<Vec<_>, _> = words.map(|(word, quoted)| value(&word, quoted)).collect();
    Ok(messages::function_call(number(&oid)?, format, &arguments?))
}

fn startup(version: u32, rest: &str, database: &str) -> Result<Vec<u8>, String> {
    let pairs = pairs(&rest.replace("@db", database))?;
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    Ok(messages::startup(version, &pairs))
}

fn value(word: &str, quoted: bool) -> Result<Option<Vec<u8>>, String> {
    match (word, quoted) {
        ("null", false) => Ok(None),
        (hex, false) if hex.starts_with("x:") => unhex(&hex[2..]).map(Some),
        _ => unescape(word).map(Some),
    }
}

fn unhex(hex: &str) -> Result<Vec<u8>, String> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).map_err(|_| "no hexadecimal")?;
        u8::from_str_radix(text, 16).map_err(|_| format!("{text:?} is not hexadecimal"))
    };
    pairs.map(byte).collect()
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'\\') => out.push(b'\\'),
            Some(b'x') => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                out.extend(unhex(&String::from_utf8_lossy(&digits))?);
            }
            other => return Err(format!("no escape {:?}", other.map(char::from))),
        }
    }
    Ok(out)
}
