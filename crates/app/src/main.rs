//! The `boxoffice` binary: its command line. `boxoffice` alone is `boxoffice serve`.
//!
//! Keeps true: what goes wrong is said on standard error in plain lines; exit code 1, or 2 when the command line is wrong.

mod check;
mod config;
mod demo;
mod log;
mod notifier;
mod operator;
mod run;
mod setup;
mod worker;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use boxoffice_adapters::store::Store;
use clap::{Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Files that the process needs beside its connections: the store, the log, connections to a mail server.
const OTHER_FILES: u64 = 64;

/// Sells tickets when far more people come than there are seats.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// The configuration; without it boxoffice.toml, if it is there. The environment (`BOXOFFICE_<SECTION>__<KEY>`) wins.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything in this process (the default).
    Serve {
        /// What this process does. In this version all four must be in one process.
        #[arg(long, value_enum, value_delimiter = ',', default_values_t = Role::ALL)]
        roles: Vec<Role>,
    },
    /// Reads the configuration, tries every part, and names what is wrong or unsafe; exits with 1 when something is wrong.
    Check,
    /// Makes the database, or brings it to this version's schema.
    Migrate,
    /// Operators' accounts.
    Operator {
        #[command(subcommand)]
        command: OperatorCommand,
    },
}

#[derive(Subcommand)]
enum OperatorCommand {
    /// Makes an operator's account. The password is `operator.password` of the configuration, else asked for on the
    /// terminal, else made and printed once.
    Add {
        /// The address to log in with.
        email: String,
    },
}

/// What a process may do.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Answers HTTP.
    Api,
    /// Brings bookings to an end.
    Worker,
    /// Lets fans in.
    Admitter,
    /// Sends notices.
    Notifier,
}

impl Role {
    const ALL: [Self; 4] = [Self::Api, Self::Worker, Self::Admitter, Self::Notifier];

    fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Admitter => "admitter",
            Self::Notifier => "notifier",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(why) => {
            let mut errors = std::io::stderr().lock();
            for line in why.lines() {
                // Nobody is left to tell when this fails.
                let _ = writeln!(errors, "boxoffice: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, String> {
    let config = Config::load(arguments.config.as_deref()).map_err(|faults| faults.to_string())?;
    let command = arguments.command.unwrap_or(Command::Serve {
        roles: Role::ALL.to_vec(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|why| format!("failed to start the runtime: {why}"))?;
    match command {
        Command::Serve { roles } => {
            check_roles(&roles)?;
            log::start(&config.log)?;
            runtime.block_on(run::serve(fit_open_files(config)))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check => Ok(runtime.block_on(check::check(&config))),
        Command::Migrate => {
            let store = runtime.block_on(async { open_store(&config) })?;
            store.close();
            setup::say("the database has this version's schema");
            Ok(ExitCode::SUCCESS)
        }
        Command::Operator {
            command: OperatorCommand::Add { email },
        } => {
            runtime.block_on(operator::add(&config, &email))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// In this version the parts share memory, so each needs the others beside it.
fn check_roles(roles: &[Role]) -> Result<(), String> {
    let missing: Vec<_> = Role::ALL
        .iter()
        .filter(|role| !roles.contains(role))
        .map(|role| role.name())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    Err(format!(
        "--roles: {missing} missing; this version runs all roles in one process (--roles api,worker,admitter,notifier, or none named), since spreading them needs a database server, Redis and Kafka, which are not built in yet"
    ))
}

/// Opens the store for a command that does one thing with it.
fn open_store(config: &Config) -> Result<Store, String> {
    Store::open_beside(&config.store.url).map_err(|failure| failure.to_string())
}

/// Raises the limit of open files as far as it goes. What still does not fit bounds connections and streams.
fn fit_open_files(mut config: Config) -> Config {
    let files_max = open_files_max();
    let fit = usize::try_from(files_max.saturating_sub(OTHER_FILES))
        .unwrap_or(usize::MAX)
        .max(16);
    if fit < config.http.connections_max {
        tracing::warn!(
            files_max,
            connections_max = fit,
            "the system allows {files_max} open files: at most {fit} connections"
        );
        config.http.connections_max = fit;
        // A fifth is kept for calls.
        config.http.streams_max = config.http.streams_max.min(fit * 4 / 5);
    }
    config
}

/// How many files may be open, once the soft limit is raised to the hard one.
fn open_files_max() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() {
        raised
    } else {
        limit
    };
    limit.current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn all_roles_or_a_clear_no() {
        assert_eq!(check_roles(&Role::ALL), Ok(()));
        let why = check_roles(&[Role::Api, Role::Worker]).unwrap_err();
        assert!(
            why.contains("admitter, notifier missing") && why.contains("not built in yet"),
            "{why}"
        );
    }

    #[test]
    fn what_does_not_fit_the_open_files_is_cut() {
        let mut config = Config::load(None).unwrap_or_else(|faults| panic!("{faults}"));
        config.http.connections_max = usize::MAX;
        config.http.streams_max = usize::MAX - 1;
        let http = fit_open_files(config).http;
        let files_max = open_files_max();
        assert!(http.connections_max as u64 <= files_max - OTHER_FILES || files_max == u64::MAX);
        assert!(http.streams_max < http.connections_max);
    }
}
