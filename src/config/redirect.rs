//! One entry of `redirects`.

use super::address::{NodeAddress, ReadNode};
use super::node::NodeOptions;
use super::tree::{Entry, Given, Located};
use crate::cluster::policy::Otherwise;
use crate::cluster::redirect::Pattern;
use crate::word::Word;
use std::fmt;

/// Where the reads of some clients go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectOptions {
    /// The database that they ask for; None = any.
    pub database: Option<String>,
    /// Their user.
    pub user: Option<String>,
    /// Their `application_name`.
    pub application: Option<String>,
    /// Where their reads go.
    pub to: RedirectTo,
    /// How many of them, of a hundred.
    pub percent: u8,
    /// Where it stands in the file.
    pub(super) line: Line,
}

/// A line of the file. It makes no difference.
#[derive(Debug, Clone, Copy, Eq)]
pub(super) struct Line(pub(super) u32);

impl PartialEq for Line {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Where reads go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectTo {
    /// To the primary.
    Primary,
    /// To any replica.
    Replica,
    /// To these nodes.
    Nodes {
        /// At least one.
        nodes: Vec<NodeAddress>,
        /// Where they go while none of the nodes can take them.
        otherwise: Otherwise,
    },
}

impl fmt::Display for RedirectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            ("database", &self.database),
            ("user", &self.user),
            ("application", &self.application),
        ];
        for (key, value) in names {
            if let Some(value) = value {
                write!(f, "{key}={value} ")?;
            }
        }
        match &self.to {
            RedirectTo::Primary => f.write_str("to=primary")?,
            RedirectTo::Replica => f.write_str("to=replica")?,
            RedirectTo::Nodes { nodes, otherwise } => {
                f.write_str("to=")?;
                for (index, node) in nodes.iter().enumerate() {
                    let comma = if index > 0 { "+" } else { "" };
                    write!(f, "{comma}{node}")?;
                }
                if *otherwise != Otherwise::Replica {
                    write!(f, " otherwise={otherwise}")?;
                }
            }
        }
        if self.percent == 100 { Ok(()) } else { write!(f, " percent={}", self.percent) }
    }
}

/// A redirect written as a table.
pub(super) fn redirect(value: &Located) -> Result<RedirectOptions, String> {
    let entries = value
        .given
        .as_table()
        .ok_or_else(|| format!("expected a table, found {}", value.given.describe_type()))?;
    let read = read(entries, value.line);
    read.map_err(
        |message| if value.line == 0 { message } else { format!("line {}: {message}", value.line) },
    )
}

fn read(entries: &[Entry], line: u32) -> Result<RedirectOptions, String> {
    let (mut database, mut user, mut application) = (None, None, None);
    let (mut to, mut percent, mut otherwise) = (None, 100, None);
    for entry in entries {
        let expected = |what: &str| {
            format!("{}: expected {what}, found {}", entry.name, entry.given.describe())
        };
        let text = || entry.given.as_text().map(str::to_owned).ok_or_else(|| expected("a text"));
        match entry.name.as_str() {
            "database" => database = Some(text()?),
            "user" => user = Some(text()?),
            "application" => application = Some(text()?),
            "to" => to = Some(target(&entry.given)?),
            "percent" => {
                let Given::Integer(number) = entry.given else {
                    return Err(expected("a whole number from 1 to 100"));
                };
                percent = u8::try_from(number)
                    .ok()
                    .filter(|number| (1..=100).contains(number))
                    .ok_or_else(|| expected("a whole number from 1 to 100"))?;
            }
            "otherwise" => {
                let word = entry.given.as_text().and_then(Otherwise::from_word);
                let words = format!("one of {}", Otherwise::WORDS.join(", "));
                otherwise = Some(word.ok_or_else(|| expected(&words))?);
            }
            name => {
                return Err(format!(
                    "unknown key {name:?} of a redirect; it has database, user, application, to, \
                     percent and otherwise"
                ));
            }
        }
    }
    if database.is_none() && user.is_none() && application.is_none() {
        return Err(
            "a redirect names a database, a user or an application; all reads of a database \
                    go where its route says"
                .to_owned(),
        );
    }
    let to = to.ok_or("a redirect needs to = \"primary\", \"replica\" or a list of nodes")?;
    let to = match (to, otherwise) {
        (RedirectTo::Nodes { nodes, .. }, Some(otherwise)) => {
            RedirectTo::Nodes { nodes, otherwise }
        }
        (_, Some(_)) => {
            return Err("otherwise has no effect where to is no list of nodes".to_owned());
        }
        (to, None) => to,
    };
    Ok(RedirectOptions { database, user, application, to, percent, line: Line(line) })
}

fn target(given: &Given) -> Result<RedirectTo, String> {
    match (given.as_text(), given.as_list()) {
        (Some("primary"), _) => Ok(RedirectTo::Primary),
        (Some("replica"), _) => Ok(RedirectTo::Replica),
        (_, Some(list)) if !list.is_empty() => {
            let node = |value: &Located| {
                let text = value.given.as_text();
                let text = text.ok_or_else(|| {
                    format!(
                        "to: expected a node such as \"10.0.0.2:5432\", found {}",
                        value.given.describe()
                    )
                })?;
                NodeAddress::parse(text)
            };
            let nodes: Result<Vec<_>, String> = list.iter().map(node).collect();
            Ok(RedirectTo::Nodes { nodes: nodes?, otherwise: Otherwise::Replica })
        }
        _ => Err(format!(
            "to: expected \"primary\", \"replica\" or a list of nodes such as [\"10.0.0.2:5432\"], found {}",
            given.describe()
        )),
    }
}

/// What is wrong with redirects, each by itself being right, and on which line: `databases` are the names
/// and nodes of all, the wildcard under `*`.
pub(super) fn mistakes(
    redirects: &[RedirectOptions],
    databases: &[(&str, &[NodeOptions])],
) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for redirect in redirects {
        let RedirectTo::Nodes { nodes, .. } = &redirect.to else { continue };
        let pattern = redirect.database.as_deref().map(Pattern::new);
        let is_of = |(name, _): &&(&str, &[NodeOptions])| {
            *name == "*" || pattern.as_ref().is_none_or(|pattern| pattern.is_match(name))
        };
        let known: Vec<&NodeAddress> = databases
            .iter()
            .filter(is_of)
            .flat_map(|(_, nodes)| nodes.iter().map(|node| &node.address))
            .collect();
        for (at, node) in nodes.iter().enumerate() {
            let message = if nodes.iter().take(at).any(|other| other == node) {
                format!("\"{node}\" is named twice")
            } else if !known.contains(&node) {
                format!(
                    "\"{node}\" is no node of a database that the redirect is for; write it as nodes has it"
                )
            } else {
                continue;
            };
            found.push((redirect.line.0, message));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::parse_bytes;

    const NODES: &str = "[auth]\nauth_type = \"trust\"\n[databases.app]\nnodes = [\"a\", \"b:5433\"]\n\
                         [databases.other]\nnodes = [\"c\"]\n";

    fn errors(text: &str) -> String {
        let text = format!("{NODES}{text}");
        parse_bytes(text.as_bytes()).map_or_else(|errors| errors.to_string(), |_| String::new())
    }

    #[test]
    fn redirects_are_read_in_their_order() {
        let text = format!(
            "{NODES}[[routing.redirects]]\nuser = \"analyst_*\"\nto = [\"b:5433\"]\notherwise = \"primary\"\n\
             [[routing.redirects]]\ndatabase = \"app\"\napplication = \"psql\"\nto = \"primary\"\npercent = 30\n"
        );
        let config = parse_bytes(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        let shown: Vec<String> = config.routing.redirects.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "user=analyst_* to=b:5433 otherwise=primary",
                "database=app application=psql to=primary percent=30"
            ]
        );
    }

    #[test]
    fn mistakes_are_told_with_their_lines() {
        let redirect =
            |text: &str| errors(&format!("[[routing.redirects]]\nuser = \"u\"\n{text}\n"));
        for (text, says) in [
            ("to = [\"d\"]", ":7: routing.redirects: \"d:5432\" is no node of a database"),
            ("to = [\"b\"]", "is no node"),
            ("database = \"o*\"\nto = [\"a\"]", "is no node"),
            ("to = [\"a\", \"a:5432\"]", "\"a:5432\" is named twice"),
            ("to = \"standby\"", "line 7: to: expected"),
            ("to = []", "to: expected"),
            ("", "needs to ="),
            ("to = \"replica\"\npercent = 0", "percent: expected a whole number from 1 to 100"),
            ("to = \"replica\"\notherwise = \"primary\"", "otherwise has no effect"),
            ("to = \"replica\"\nport = 1", "unknown key \"port\" of a redirect"),
        ] {
            let said = redirect(text);
            assert!(said.contains(says), "{text}: {said}");
        }
        assert!(
            errors("[[routing.redirects]]\nto = \"replica\"\n")
                .contains("names a database, a user")
        );
        assert!(errors("[routing]\nredirects = [1]\n").contains("expected a table"));
    }

    #[test]
    fn a_wildcard_answers_for_any_database() {
        let text = "[databases.\"*\"]\nnodes = [\"w\"]\n[[routing.redirects]]\ndatabase = \"new\"\nto = [\"w\"]\n";
        assert_eq!(errors(text), "");
    }
}
