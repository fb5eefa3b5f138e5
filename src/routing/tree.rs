//! The second reader: the parser's tree of what the first has spelled.
//!
//! Owns what may be in a tree: one query, in PostgreSQL's dialect, without locks and INTO, whose
//! relations, functions and types are all harmless. Every node is visited, by the visitor that
//! `sqlparser` derives from its types.

use super::names::{Judge, Qualified};
use super::verdict::Reason;
use crate::sql::{self, Stored};
use sqlparser::ast::{
    ArrayElemTypeDef, DataType, Expr, Function, FunctionArgumentClause, FunctionArguments, Ident,
    JsonTableColumn, ObjectName, ObjectNamePart, Query, Select, SelectFlavor, Statement,
    TableAlias, TableFactor, Visit, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::ops::ControlFlow::{self, Break, Continue};

type Step = ControlFlow<Reason>;

/// Whether the tree of `text` is a read too.
pub(super) fn agree(text: &str, judge: Judge<'_>) -> Result<(), Reason> {
    let statements =
        Parser::parse_sql(&PostgreSqlDialect {}, text).map_err(|_| Reason::Unparsed)?;
    let [Statement::Query(query)] = &statements[..] else { return Err(Reason::Unparsed) };
    let mut walk = Walk { judge, scopes: Vec::new(), called: None };
    match query.visit(&mut walk) {
        Break(reason) => Err(reason),
        Continue(()) => Ok(()),
    }
}

struct Walk<'a> {
    judge: Judge<'a>,
    scopes: Vec<Scope>,
    /// The name of a call in FROM, which the visitor takes for a relation.
    called: Option<*const ObjectName>,
}

/// The WITH list of a query.
struct Scope {
    entries: Vec<(Stored, *const Query)>,
    is_recursive: bool,
    /// How many are known at this place.
    known: usize,
}

fn step(result: Result<(), Reason>) -> Step {
    match result {
        Ok(()) => Continue(()),
        Err(reason) => Break(reason),
    }
}

/// A name as PostgreSQL stores it.
fn stored(name: &Ident) -> Stored {
    match name.quote_style {
        // The parser has taken doubled quotes for one.
        Some('"') => Stored::of_quoted(name.value.replace('"', "\"\"").as_bytes()),
        _ => Stored::of_word(name.value.as_bytes()),
    }
}

/// Asks with the last two parts of a name.
fn ask<T>(name: &ObjectName, question: impl FnOnce(Qualified<'_>, bool) -> T) -> Option<T> {
    let mut parts = name.0.iter().rev().map(|part| match part {
        ObjectNamePart::Identifier(name) => Some((stored(name), name.quote_style.is_none())),
        ObjectNamePart::Function(_) => None,
    });
    let (name, is_plain) = parts.next()??;
    let schema = match parts.next() {
        Some(schema) => Some(schema?.0),
        None => None,
    };
    let is_bare = is_plain && schema.is_none();
    let schema = schema.as_ref().map(Stored::bytes);
    Some(question(Qualified { schema, name: name.bytes() }, is_bare))
}

impl Walk<'_> {
    fn function(&self, name: &ObjectName) -> Result<(), Reason> {
        let asked = ask(name, |called, is_bare| {
            // The reader has looked at its argument.
            let is_setting = called.name == b"current_setting"
                && called.schema.is_none_or(|schema| schema == b"pg_catalog");
            if is_setting || (is_bare && sql::is_keyword(called.name)) {
                self.judge.syntax(called.name)
            } else {
                self.judge.function(called)
            }
        });
        asked.unwrap_or(Err(Reason::Unparsed))
    }

    fn relation(&self, name: &ObjectName) -> Result<(), Reason> {
        let asked = ask(name, |read, _| {
            let is_entry = read.schema.is_none() && self.is_entry(read.name);
            if is_entry { Ok(()) } else { self.judge.relation(read) }
        });
        asked.unwrap_or(Err(Reason::Unparsed))
    }

    fn is_entry(&self, name: &[u8]) -> bool {
        let mut known = self.scopes.iter().flat_map(|scope| scope.entries.iter().take(scope.known));
        known.any(|(entry, _)| entry.bytes() == name)
    }

    fn type_name(&self, data_type: &DataType) -> Result<(), Reason> {
        match data_type {
            DataType::Custom(name, _) => {
                let asked = ask(name, |used, is_bare| self.judge.type_name(used, is_bare));
                asked.unwrap_or(Err(Reason::Unparsed))
            }
            DataType::Array(element) => match element {
                ArrayElemTypeDef::None => Ok(()),
                ArrayElemTypeDef::AngleBracket(of)
                | ArrayElemTypeDef::SquareBracket(of, _)
                | ArrayElemTypeDef::Parenthesis(of)
                | ArrayElemTypeDef::ParenthesisNotNull(of)
                | ArrayElemTypeDef::Qualified(of, _) => self.type_name(of),
            },
            // All others are words of the grammar.
            _ => Ok(()),
        }
    }

    fn alias(&self, alias: Option<&TableAlias>) -> Result<(), Reason> {
        let columns = alias.map(|alias| alias.columns.iter()).unwrap_or_default();
        for column in columns.filter_map(|column| column.data_type.as_ref()) {
            self.type_name(column)?;
        }
        Ok(())
    }

    fn json_columns(&self, columns: &[JsonTableColumn]) -> Result<(), Reason> {
        // Nested ones are as deep as the parentheses of the text.
        for column in columns {
            match column {
                JsonTableColumn::Named(named) => self.type_name(&named.r#type)?,
                JsonTableColumn::ForOrdinality(_) => {}
                JsonTableColumn::Nested(nested) => self.json_columns(&nested.columns)?,
            }
        }
        Ok(())
    }

    fn arguments(&self, function: &Function) -> Result<(), Reason> {
        let FunctionArguments::List(list) = &function.args else { return Ok(()) };
        for clause in &list.clauses {
            if let FunctionArgumentClause::JsonReturningClause(returning) = clause {
                self.type_name(&returning.data_type)?;
            }
        }
        Ok(())
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<(), Reason> {
        match factor {
            TableFactor::Table { name, args, alias, .. } => {
                if args.is_some() {
                    self.called = Some(std::ptr::from_ref(name));
                    self.function(name)?;
                }
                self.alias(alias.as_ref())
            }
            TableFactor::Function { name, alias, .. } => {
                self.function(name)?;
                self.alias(alias.as_ref())
            }
            TableFactor::Derived { alias, .. }
            | TableFactor::NestedJoin { alias, .. }
            | TableFactor::TableFunction { alias, .. } => self.alias(alias.as_ref()),
            TableFactor::UNNEST { alias, .. } => {
                self.judge.syntax(b"unnest")?;
                self.alias(alias.as_ref())
            }
            TableFactor::JsonTable { columns, alias, .. } => {
                self.json_columns(columns)?;
                self.alias(alias.as_ref())
            }
            TableFactor::XmlTable { columns, alias, .. } => {
                for column in columns {
                    if let sqlparser::ast::XmlTableColumnOption::NamedInfo { r#type, .. } =
                        &column.option
                    {
                        self.type_name(r#type)?;
                    }
                }
                self.alias(alias.as_ref())
            }
            // Of other dialects.
            _ => Err(Reason::Unparsed),
        }
    }
}

impl Visitor for Walk<'_> {
    type Break = Reason;

    fn pre_visit_query(&mut self, query: &Query) -> Step {
        let address = std::ptr::from_ref(query);
        if let Some(scope) = self.scopes.last_mut()
            && let Some(entry) = scope.entries.iter().position(|(_, body)| *body == address)
        {
            scope.known = if scope.is_recursive { scope.entries.len() } else { entry };
        }
        if !query.locks.is_empty() {
            return Break(Reason::Lock);
        }
        let is_foreign = query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        if is_foreign {
            return Break(Reason::Unparsed);
        }
        let mut scope = Scope { entries: Vec::new(), is_recursive: false, known: 0 };
        if let Some(with) = &query.with {
            scope.is_recursive = with.recursive;
            let entry = |cte: &sqlparser::ast::Cte| {
                (stored(&cte.alias.name), std::ptr::from_ref(cte.query.as_ref()))
            };
            scope.entries = with.cte_tables.iter().map(entry).collect();
        }
        self.scopes.push(scope);
        Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> Step {
        self.scopes.pop();
        let address = std::ptr::from_ref(query);
        if let Some(scope) = self.scopes.last_mut()
            && let Some(entry) = scope.entries.iter().position(|(_, body)| *body == address)
        {
            scope.known = entry.saturating_add(1);
        }
        Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> Step {
        if select.into.is_some() {
            return Break(Reason::Into);
        }
        let is_foreign = select.top.is_some()
            || select.select_modifiers.is_some()
            || select.exclude.is_some()
            || select.prewhere.is_some()
            || select.qualify.is_some()
            || select.value_table_mode.is_some()
            || select.flavor != SelectFlavor::Standard
            || !select.lateral_views.is_empty()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty();
        step(if is_foreign { Err(Reason::Unparsed) } else { Ok(()) })
    }

    fn pre_visit_statement(&mut self, _: &Statement) -> Step {
        // A query is none: what is visited is a write inside of it.
        Break(Reason::Write)
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> Step {
        if self.called.take_if(|called| *called == std::ptr::from_ref(name)).is_some() {
            return Continue(());
        }
        step(self.relation(name))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Step {
        step(self.factor(factor))
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> Step {
        step(match expression {
            Expr::Function(function) => {
                self.function(&function.name).and_then(|()| self.arguments(function))
            }
            Expr::Cast { data_type, .. } => self.type_name(data_type),
            Expr::TypedString(typed) => self.type_name(&typed.data_type),
            // Of other dialects.
            Expr::Convert { .. }
            | Expr::Lambda(_)
            | Expr::MatchAgainst { .. }
            | Expr::OuterJoin(_)
            | Expr::Prior(_)
            | Expr::MemberOf(_)
            | Expr::JsonAccess { .. }
            | Expr::Struct { .. }
            | Expr::Dictionary(_)
            | Expr::Map(_) => Err(Reason::Unparsed),
            _ => Ok(()),
        })
    }
}
