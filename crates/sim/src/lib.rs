//! The simulator: the core and a model of the pipeline around it, under seeded faults, checked after every step.
//!
//! Keeps true: one seed is one run, byte for byte, on every machine; the planted bugs live in the model's drivers only.

mod book_loop;
mod bug;
mod checks;
mod fan;
mod history;
mod hold_loop;
mod net;
mod notifier;
mod provider;
mod rng;
mod room_loop;
mod run;
mod setup;
mod stats;
mod store;
mod trace;
mod worker;
mod world;

pub use bug::Bug;
pub use run::{Failure, Options, Report, run};
pub use stats::Stats;
