//! `boxoffice-sim`: runs seeds and planted bugs, and says how to repeat what it found.

use std::io::Write as _;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use boxoffice_sim::{Bug, Failure, Options, Stats, run};
use clap::Parser;

/// Seeds after which a planted bug counts as not found.
const SEEDS_MAX: u64 = 50;

/// The simulator: a sale under seeded faults, checked after every step.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Args {
    /// Run this seed
    #[arg(long, conflicts_with_all = ["seeds", "planted"])]
    seed: Option<u64>,
    /// Run these seeds, A..B without B
    #[arg(long, value_name = "A..B", value_parser = seeds, conflicts_with = "planted")]
    seeds: Option<Range<u64>>,
    /// Run every planted bug until a seed finds it
    #[arg(long, conflicts_with = "bug")]
    planted: bool,
    /// Steps of a run before it is let come to its end
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: u32,
    /// Plant this bug
    #[arg(long, value_name = "NAME", value_parser = Bug::from_name)]
    bug: Option<Bug>,
    /// Print each step
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // A failed assertion is a finding like any other; it is shown with its seed.
    std::panic::set_hook(Box::new(|_| ()));
    let good = if args.planted {
        planted(args.steps)
    } else {
        let seeds = args
            .seeds
            .clone()
            .unwrap_or(args.seed.map_or(0..0, |seed| seed..seed + 1));
        sweep(&args, seeds)
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs seeds until one fails.
fn sweep(args: &Args, seeds: Range<u64>) -> bool {
    let (begun, mut steps, mut stats, mut runs, mut hash) =
        (Instant::now(), 0_u64, Stats::default(), 0_u64, 0_u64);
    for seed in seeds {
        let report = run(Options {
            seed,
            steps: args.steps,
            bug: args.bug,
            trace: args.trace,
        });
        if let Some(failure) = report.failure {
            say(&failure.to_string());
            return false;
        }
        stats.add(&report.stats);
        steps += u64::from(report.steps);
        hash ^= report
            .hash
            .rotate_left(u32::try_from(runs % 64).unwrap_or(0));
        runs += 1;
    }
    for (name, count) in stats.list() {
        say(&format!("{name:>18} {count}"));
    }
    let took_s = begun.elapsed().as_secs_f64();
    say(&format!(
        "{runs} seeds, {steps} steps in {took_s:.1} s, every promise kept; trace {hash:016x}"
    ));
    true
}

/// Runs each planted bug until it is found.
fn planted(steps: u32) -> bool {
    let mut all = true;
    for bug in Bug::ALL {
        match first_found(bug, steps) {
            Some((seed, failure)) => say(&format!(
                "{bug:<26} seed {seed:>2} (run {:>2}), step {:>4}, promise {}: {}",
                seed + 1,
                failure.step,
                failure.promise,
                failure.what
            )),
            None => {
                all = false;
                say(&format!("{bug:<26} NOT FOUND in {SEEDS_MAX} seeds"));
            }
        }
    }
    all
}

fn first_found(bug: Bug, steps: u32) -> Option<(u64, Failure)> {
    (0..SEEDS_MAX).find_map(|seed| {
        let report = run(Options {
            seed,
            steps,
            bug: Some(bug),
            trace: false,
        });
        report.failure.map(|failure| (seed, failure))
    })
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("give a range such as 0..200")?;
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| format!("{text:?} is not a whole number"))
    };
    let range = number(from)?..number(to)?;
    if range.is_empty() {
        Err("the range has no seeds".to_owned())
    } else {
        Ok(range)
    }
}

fn say(line: &str) {
    // A reader that went away is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{line}");
}
