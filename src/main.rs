//! The `howdah` command.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;

use howdah::app::Start;
use howdah::app::cli::{BouncerCli, Cli, Command, ConfigCommand, FileArgument, ReferenceFormat};
use howdah::config::import::{self, Ground, translate};
use howdah::config::{self, Config, LogLevel, Secret, Source};
use howdah::demo;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage of the command line.
const USAGE: u8 = 2;

/// Wrong usage of PgBouncer's.
const BOUNCER_USAGE: u8 = 1;

fn main() -> ExitCode {
    let name = std::env::args_os().next().map(PathBuf::from);
    let done = if name.is_some_and(|name| name.file_name() == Some("pgbouncer".as_ref())) {
        BouncerCli::try_parse().map(|cli| as_pgbouncer(&cli)).map_err(|e| (e, BOUNCER_USAGE))
    } else {
        Cli::try_parse()
            .and_then(|cli| cli.something_to_run(!config::process_environment().is_empty()))
            .map(|cli| execute(cli.command))
            .map_err(|e| (e, USAGE))
    };
    let done = match done {
        Ok(done) => done,
        Err((error, code)) => {
            // Help and version are no errors; nobody is left to tell that they cannot be printed.
            _ = error.print();
            return if error.use_stderr() { ExitCode::from(code) } else { ExitCode::SUCCESS };
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(argument) => {
            let config = load(&source(argument))?;
            Ok(howdah::app::run(Arc::new(config), Start::default())?)
        }
        Command::Check(argument) => {
            let source = source(argument);
            let config = load(&source)?;
            for warning in &config.warnings {
                tell(warning);
            }
            let config = Arc::new(config);
            for note in howdah::app::probe_user_notes(&config)? {
                tell(note);
            }
            let databases = config.databases.len() + usize::from(config.wildcard.is_some());
            let name = match source {
                Source::File(path) => path.display().to_string(),
                Source::Url(_) => "database URL".to_owned(),
                Source::Environment => "environment".to_owned(),
            };
            print(&format!("{name}: ok, {databases} database(s), {} user(s)\n", config.users.len()))
        }
        Command::Import { files, output: _, check: Some(url) } => compared(&files, &url),
        Command::Import { files, output, check: None } => translated(files, output.as_deref()),
        Command::Demo { once } => demo::run(once),
        Command::Config(ConfigCommand::Reference { format }) => print(&match format {
            ReferenceFormat::Markdown => config::markdown(),
            ReferenceFormat::Toml => config::sample(),
        }),
    }
}

/// What PgBouncer does with the same command line.
fn as_pgbouncer(cli: &BouncerCli) -> anyhow::Result<()> {
    let Some(file) = cli.file.as_ref().filter(|_| !cli.version) else {
        // Scripts read the version from the first line.
        return print(&format!("{}\n{}\n", howdah::app::PGBOUNCER, howdah::app::HOWDAH));
    };
    anyhow::ensure!(
        !cli.reboot,
        "-R: sockets are not taken over from a process that runs; set so_reuseport = 1, start the \
         new process, and end the old one with SIGTERM"
    );
    let mut config = load(&Source::File(file.clone()))?;
    if let Some(user) = &cli.user {
        config.process.user = Some(user.clone());
    }
    match cli.verbose {
        0 => {}
        1 if config.log.level != LogLevel::Trace => config.log.level = LogLevel::Debug,
        _ => config.log.level = LogLevel::Trace,
    }
    howdah::app::refuse_root(&config)?;
    if cli.daemon && !cli.detached {
        let arguments = std::env::args_os().skip(1).chain(["--detached".into()]);
        return Ok(howdah::app::detach(&config, &arguments.collect::<Vec<_>>())?);
    }
    if cli.detached {
        howdah::app::leave_terminal()?;
    }
    let start = Start { quiet: cli.quiet || cli.detached, announce: cli.detached };
    Ok(howdah::app::run(Arc::new(config), start)?)
}

/// Writes the configuration that `files` of other poolers describe. What becomes of each setting is
/// told where the configuration does not go.
fn translated(files: Vec<PathBuf>, output: Option<&Path>) -> anyhow::Result<()> {
    let read = |path: PathBuf| {
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(import::Source { path, text })
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

/// Lists what differs between a configuration and a PgBouncer that runs.
fn compared(files: &[PathBuf], url: &str) -> anyhow::Result<()> {
    let [file] = files else { anyhow::bail!("--check compares one file: ours, or PgBouncer's") };
    let ours = load(&Source::File(file.clone()))?;
    let found = howdah::app::check_against(url, &ours)?;
    let mut list = String::new();
    for change in &found.changes {
        let (old, new) = (&change.old, &change.new);
        list += &format!("{}: {old} in PgBouncer, {new} in {}\n", change.key, file.display());
    }
    for setting in &found.without_equivalent {
        list += &format!("no equivalent: {setting}\n");
    }
    for setting in &found.unknown {
        list += &format!("unknown: {setting}\n");
    }
    print(&list)?;
    anyhow::ensure!(found.changes.is_empty(), "{} setting(s) differ", found.changes.len());
    tell("no setting differs");
    Ok(())
}

/// A line on standard error, which may be closed: nobody is left to tell that.
fn tell(line: impl std::fmt::Display) {
    _ = writeln!(io::stderr(), "{line}");
}

fn load(source: &Source) -> anyhow::Result<Config> {
    Ok(config::load_from(source, &config::process_environment())?)
}

/// Where the configuration comes from: the command line, or else the environment.
fn source(argument: FileArgument) -> Source {
    match (argument.file, argument.database_url) {
        (Some(file), _) => Source::File(file),
        (None, Some(url)) => Source::Url(Secret::new(url)),
        (None, None) => Source::Environment,
    }
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
