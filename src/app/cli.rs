//! The command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

/// A PostgreSQL connection pooler and router.
#[derive(Debug, Parser)]
#[command(name = "howdah", version, about, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 = done, 1 = failed, 2 = wrong usage.\n\
    Any key of the file can be set in the environment: HOWDAH_POOL__DEFAULT_POOL_SIZE=40.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Itself, if there is anything to run. `environment`: it may say all of it.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn something_to_run(self, environment: bool) -> Result<Self, clap::Error> {
        if let Command::Run(FileArgument { file: None, database_url: None })
        | Command::Check(FileArgument { file: None, database_url: None }) = &self.command
            && !environment
        {
            return Err(Self::command().error(
                ErrorKind::MissingRequiredArgument,
                "no configuration: name a file, or set HOWDAH_DATABASE_URL or \
                 HOWDAH_DATABASES__<NAME>__NODES",
            ));
        }
        Ok(self)
    }
}

/// PgBouncer's command line, for a link of that name.
#[derive(Debug, PartialEq, Eq, Parser)]
#[command(name = "pgbouncer", disable_version_flag = true)]
#[command(about = "howdah in PgBouncer's place: runs PgBouncer's configuration file")]
#[command(after_help = "Exit codes: 0 = done, 1 = failed or wrong usage.")]
pub struct BouncerCli {
    /// Run in the background; the file must name a pidfile
    #[arg(short, long)]
    pub daemon: bool,
    /// Log nothing on standard error
    #[arg(short, long)]
    pub quiet: bool,
    /// Not available: take over the sockets of a process that runs
    #[arg(short = 'R', long)]
    pub reboot: bool,
    /// Become this user
    #[arg(short, long, value_name = "USERNAME")]
    pub user: Option<String>,
    /// Log more; may be repeated. A reload goes back to what the file says
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print the version
    #[arg(short = 'V', long)]
    pub version: bool,
    /// The process that -d has started
    #[arg(long, hide = true)]
    pub detached: bool,
    /// PgBouncer's configuration file
    #[arg(value_name = "CONFIG_FILE", required_unless_present = "version")]
    pub file: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the pooler
    Run(FileArgument),
    /// Check a configuration: every error at once, with its line
    Check(FileArgument),
    /// Write a howdah.toml from files of PgBouncer and Pgpool-II, and list what becomes of each setting
    Import {
        /// pgbouncer.ini, pgpool.conf, a list of users, HBA rules: told apart by name or content
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Where to write it; standard output if absent
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// Write nothing: compare one file, ours or PgBouncer's, with the PgBouncer that runs at this
        /// URL of its console (postgres://user@host:6432/pgbouncer). Exit code 1 if they differ
        #[arg(long, value_name = "URL", conflicts_with = "output")]
        check: Option<String>,
    },
    /// Try it: a throw-away PostgreSQL cluster with howdah in front
    Demo {
        /// Exit after one round; exit code 0 if every transaction succeeded
        #[arg(long)]
        once: bool,
    },
    /// About the configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// The configuration of a command.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct FileArgument {
    /// The configuration file (TOML, or PgBouncer's own); without one the environment has to say
    /// everything
    pub file: Option<PathBuf>,
    /// Instead of a file: postgres://user:password@host:port/database. Better in the variable
    /// HOWDAH_DATABASE_URL, or in a file that HOWDAH_DATABASE_URL_FILE names, where nobody sees it
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    pub database_url: Option<String>,
}

/// About the configuration file.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Print every key: meaning, default, unit, when a reload applies it
    Reference {
        /// A page, or a commented sample file
        #[arg(long, value_enum, default_value_t = ReferenceFormat::Markdown)]
        format: ReferenceFormat,
    },
}

/// Shape of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReferenceFormat {
    /// A page with a table for each section.
    Markdown,
    /// A sample file with every key.
    Toml,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, ErrorKind> {
        let words = std::iter::once("howdah").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
        BouncerCli::command().debug_assert();
    }

    #[test]
    fn commands() {
        let file = || FileArgument { file: Some("h.toml".into()), database_url: None };
        assert_eq!(parse("run h.toml"), Ok(Command::Run(file())));
        assert_eq!(parse("check h.toml"), Ok(Command::Check(file())));
        let url = FileArgument { file: None, database_url: Some("u".into()) };
        assert_eq!(parse("run --database-url u"), Ok(Command::Run(url)));
        for words in [["howdah", "run"], ["howdah", "check"]] {
            let cli = || Cli::try_parse_from(words).expect("well-formed");
            assert!(cli().something_to_run(true).is_ok());
            let error = cli().something_to_run(false).expect_err("nothing to run");
            assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
        }
        assert_eq!(parse("demo"), Ok(Command::Demo { once: false }));
        assert_eq!(parse("demo --once"), Ok(Command::Demo { once: true }));
        let import = |files: &[&str], output: Option<&str>| {
            let files = files.iter().map(PathBuf::from).collect();
            Ok(Command::Import { files, output: output.map(PathBuf::from), check: None })
        };
        assert_eq!(parse("import p.ini"), import(&["p.ini"], None));
        assert_eq!(
            parse("import p.ini u.txt -o h.toml"),
            import(&["p.ini", "u.txt"], Some("h.toml"))
        );
        let reference = |format| Ok(Command::Config(ConfigCommand::Reference { format }));
        assert_eq!(parse("config reference"), reference(ReferenceFormat::Markdown));
        assert_eq!(parse("config reference --format toml"), reference(ReferenceFormat::Toml));
    }

    #[test]
    fn pgbouncers_command_line() {
        let parse = |line: &str| {
            let words = std::iter::once("pgbouncer").chain(line.split_whitespace());
            BouncerCli::try_parse_from(words).map_err(|error| error.kind())
        };
        let all = parse("-d -q -v -v -u postgres p.ini").expect("all of it");
        assert!(all.daemon && all.quiet && all.verbose == 2 && !all.reboot);
        assert_eq!((all.user.as_deref(), all.file), (Some("postgres"), Some("p.ini".into())));
        assert_eq!(parse("-dqRvvu x p.ini").map(|cli| (cli.reboot, cli.verbose)), Ok((true, 2)));
        assert!(parse("-V").expect("alone").version);
        assert_eq!(parse("-h"), Err(ErrorKind::DisplayHelp));
        assert_eq!(parse(""), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(parse("a b"), Err(ErrorKind::UnknownArgument));
        assert_eq!(parse("-x p.ini"), Err(ErrorKind::UnknownArgument));
    }

    #[test]
    fn wrong_usage() {
        assert_eq!(parse("--version"), Err(ErrorKind::DisplayVersion));
        assert_eq!(parse("--help"), Err(ErrorKind::DisplayHelp));
        assert_eq!(parse("run h.toml --database-url u"), Err(ErrorKind::ArgumentConflict));
        assert_eq!(parse("check a b"), Err(ErrorKind::UnknownArgument));
        assert_eq!(parse("import"), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(parse("walk"), Err(ErrorKind::InvalidSubcommand));
        assert_eq!(parse("config reference --format html"), Err(ErrorKind::InvalidValue));
    }
}
