//! What operators see and order: the console over SQL, figures over HTTP.
//!
//! [`Command`] is what a text asks for, [`Console`] speaks the protocol and [`Table`] is an answer;
//! all three are pure. `app` runs the commands and supplies the tables.

mod capacity;
mod command;
mod console;
mod exposition;
#[cfg(any(test, fuzzing))]
mod fuzz;
pub mod json;
mod table;
mod view_columns;

pub use capacity::Load;
pub use command::{Command, HELP, Harmless, Shutdown, VIEWS, View};
pub use console::{Console, LOGIN_PARAMETERS, Outcome, Step};
pub use exposition::{CONTENT_TYPE, Exposition, Label, Measure};
pub use table::{Column, Type, Value};

#[cfg(fuzzing)]
pub use fuzz::fuzz;
