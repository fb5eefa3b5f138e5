//! The `howdah` command.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use howdah::app::cli::{Cli, Command, ConfigCommand, ReferenceFormat};
use howdah::config::{self, Config};
use howdah::demo::{self, DemoOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage of the command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; nobody is left to tell that they cannot be printed.
            _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed: the exit code says it all the same.
            _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(argument) => Ok(howdah::app::run(Arc::new(load(&argument.file)?))?),
        Command::Check(argument) => {
            let config = load(&argument.file)?;
            let databases = config.databases.len() + usize::from(config.wildcard.is_some());
            let file = argument.file.display();
            print(&format!("{file}: ok, {databases} database(s), {} user(s)\n", config.users.len()))
        }
        Command::Demo { once } => Ok(demo::run(DemoOptions { once })?),
        Command::Config(ConfigCommand::Reference { format }) => print(&match format {
            ReferenceFormat::Markdown => config::markdown(),
            ReferenceFormat::Toml => config::sample(),
        }),
    }
}

fn load(file: &Path) -> anyhow::Result<Config> {
    Ok(config::load(file, &config::process_environment())?)
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
