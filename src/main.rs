//! The `howdah` command.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;

use howdah::app::cli::{Cli, Command, ConfigCommand, ReferenceFormat};
use howdah::config::import::{Ground, Source, translate};
use howdah::config::{self, Config};
use howdah::demo;

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
            tell(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(argument) => Ok(howdah::app::run(Arc::new(load(&argument.file)?))?),
        Command::Check(argument) => {
            let config = load(&argument.file)?;
            for warning in &config.warnings {
                tell(warning);
            }
            let databases = config.databases.len() + usize::from(config.wildcard.is_some());
            let file = argument.file.display();
            print(&format!("{file}: ok, {databases} database(s), {} user(s)\n", config.users.len()))
        }
        Command::Import { files, output } => import(files, output.as_deref()),
        Command::Demo { once } => demo::run(once),
        Command::Config(ConfigCommand::Reference { format }) => print(&match format {
            ReferenceFormat::Markdown => config::markdown(),
            ReferenceFormat::Toml => config::sample(),
        }),
    }
}

/// Writes the configuration that `files` of other poolers describe. What becomes of each setting is
/// told where the configuration does not go.
fn import(files: Vec<PathBuf>, output: Option<&Path>) -> anyhow::Result<()> {
    let read = |path: PathBuf| {
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Source { path, text })
    };
    let sources = files.into_iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let translation = translate(&sources, &Ground::of_process())?;
    let Some(path) = output else {
        for finding in &translation.findings {
            tell(finding);
        }
        return print(&translation.toml);
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // It may hold passwords, as PgBouncer's file does.
    let mode = if translation.secret { 0o600 } else { 0o644 };
    options
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(translation.toml.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    let list = translation.findings.iter().map(|finding| format!("{finding}\n"));
    print(&list.collect::<String>())
}

/// A line on standard error, which may be closed: nobody is left to tell that.
fn tell(line: impl std::fmt::Display) {
    _ = writeln!(io::stderr(), "{line}");
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
