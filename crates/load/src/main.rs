//! `boxoffice-load`: a crowd that knows only the public API, and checks the promises afterwards.
//!
//! It depends on no crate of the server, so that a mistake in the server's own types cannot hide from it.

mod accounts;
mod audit;
mod client;
mod crowd;
#[cfg(test)]
mod fake;
mod flow;
mod http;
mod ledger;
mod pace;
mod pool;
mod report;
mod scenario;
mod stage;
mod stats;
#[cfg(test)]
mod tests;
mod usage;
mod verdict;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser, Debug)]
#[command(
    name = "boxoffice-load",
    version,
    about = "A crowd for Boxoffice: load through the public API, and the verdict"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Complete flows at a rate, join to ticket, then the verdict
    Flows(scenario::flows::Options),
    /// Everybody joins within a second
    Opening(scenario::opening::Options),
    /// Many open streams: how fast a step of the line reaches all
    Streams(scenario::streams::Options),
    /// A stadium: plan, availability and best available while it sells
    Hall(scenario::hall::Options),
    /// The verdict alone, from the ledger of an earlier run
    Check(scenario::check::Options),
}

/// Exit code 0: all promises held; 1: one was broken; 2: the run could not be made.
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let result = match runtime {
        Ok(runtime) => runtime.block_on(async {
            match arguments.command {
                Command::Flows(options) => scenario::flows::run(options).await,
                Command::Opening(options) => scenario::opening::run(options).await,
                Command::Streams(options) => scenario::streams::run(options).await,
                Command::Hall(options) => scenario::hall::run(options).await,
                Command::Check(options) => scenario::check::run(options).await,
            }
        }),
        Err(error) => Err(format!("failed to start: {error}")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(text) => {
            report::say(format_args!("boxoffice-load: {text}"));
            ExitCode::from(2)
        }
    }
}
