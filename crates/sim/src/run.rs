//! One run: a world from a seed, some steps, the end, and what came of it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::bug::Bug;
use crate::stats::Stats;
use crate::world::World;

/// What to run.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// Steps before everything is let come to its end, from 1.
    pub steps: u32,
    /// What is done wrongly on purpose.
    pub bug: Option<Bug>,
    /// Whether each line of the trace goes to standard output.
    pub trace: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The fingerprint of the whole trace.
    pub hash: u64,
    /// Steps made, those of the end included.
    pub steps: u32,
    /// What the run came upon.
    pub stats: Stats,
    /// A promise that was broken.
    pub failure: Option<Failure>,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How it was run.
    pub options: Options,
    /// In which step.
    pub step: u32,
    /// Which promise; 0 for an assertion of the core.
    pub promise: u8,
    /// How it was broken.
    pub what: String,
    /// The last lines of the trace.
    pub last: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options {
            seed, steps, bug, ..
        } = self.options;
        for line in &self.last {
            writeln!(f, "{line}")?;
        }
        let bug = bug.map_or(String::new(), |bug| format!(" --bug {bug}"));
        writeln!(
            f,
            "seed {seed}, step {}: promise {} is broken: {}",
            self.step, self.promise, self.what
        )?;
        write!(
            f,
            "again: boxoffice-sim --seed {seed} --steps {steps}{bug} --trace"
        )
    }
}

/// Runs a seed to its end, or to the first broken promise.
#[must_use]
pub fn run(options: Options) -> Report {
    let mut world = World::new(options.seed, options.bug, options.trace);
    let steps = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..options.steps {
            world.step();
            if world.violation.is_some() {
                return;
            }
        }
        world.drain();
    }));
    if let Err(panic) = steps {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        world.violated(0, format!("an assertion failed: {what}"));
    }
    let failure = world.violation.take().map(|violation| Failure {
        options,
        step: world.step,
        promise: violation.promise,
        what: violation.what,
        last: world.trace.last(),
    });
    Report {
        hash: world.trace.hash(),
        steps: world.step,
        stats: world.stats,
        failure,
    }
}
