//! What a portal of the console has to give.

use crate::admin::command::Command;
use crate::admin::table::{Format, Value};
use std::collections::VecDeque;

/// What a portal has to give: of a command that was run, the rows not fetched yet.
#[derive(Debug)]
pub(super) struct Portal {
    pub(super) command: Option<Command>,
    pub(super) formats: Vec<Format>,
    pub(super) left: Option<VecDeque<Vec<Value>>>,
}
