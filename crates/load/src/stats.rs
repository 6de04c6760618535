//! What a run measures: one histogram of latencies per step, and every answer that was not a plain success.
//!
//! Latencies are microseconds against the planned time, so that a load generator that falls behind shows it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency that is told apart, microseconds; a longer one counts as this.
const LATENCY_US_MAX: u64 = 600_000_000;

macro_rules! steps {
    ($($(#[doc = $doc:literal])+ $step:ident = $name:literal,)+) => {
        /// What is measured; a row of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Step { $($(#[doc = $doc])+ $step,)+ }

        impl Step {
            /// All steps in the order of the table.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$step,)+];

            /// The name in tables and files.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$step => $name,)+ }
            }
        }
    };
}

steps! {
    /// Joining the waiting room.
    Join = "join",
    /// Asking for the place.
    Poll = "place",
    /// Taking a pass.
    Pass = "pass",
    /// Holding seats.
    Hold = "hold",
    /// Asking for a booking, and waiting for its end.
    Book = "book",
    /// Asking how a booking stands.
    BookPoll = "booking",
    /// A complete flow: from its planned start to the confirmed booking.
    Flow = "whole flow",
    /// How late a flow was begun.
    Lateness = "start late by",
    /// How long a refusal (429, 503) took.
    Refusal = "refusal",
    /// Giving a place up.
    Leave = "leave",
    /// Giving a hold up.
    Release = "release",
    /// A new access token, or a login.
    Refresh = "refresh",
    /// The whole seating plan.
    Plan = "seating plan",
    /// The seating plan again, with its `ETag`.
    PlanUnchanged = "seating plan (304)",
    /// The availability as JSON.
    Availability = "availability",
    /// The availability in the denser form.
    AvailabilityDense = "availability, dense",
    /// A look at the sale while it runs.
    Sample = "sample",
    /// Making accounts, venue, event, performance.
    Setup = "set-up",
    /// Reading everything back for the verdict.
    Audit = "audit",
}

/// What one thread measured; merged afterwards.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    steps: Vec<Option<Histogram<u64>>>,
    /// Final answers with a status of 400 and above, but no refusals: by step, status, code.
    pub(crate) answers: BTreeMap<(Step, u16, String), u64>,
    /// 429 and 503: by step, status, code.
    pub(crate) refused: BTreeMap<(Step, u16, String), u64>,
    /// Broken connections and time-outs: by step and kind.
    pub(crate) transport: BTreeMap<(Step, String), u64>,
    /// Connections that were opened.
    pub(crate) connections_opened: u64,
    /// Complete flows.
    pub(crate) flows_done: u64,
    /// Flows that ended without a confirmed booking: by reason.
    pub(crate) flows_failed: BTreeMap<String, u64>,
}

/// A row of the table, times in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) step: &'static str,
    pub(crate) count: u64,
    pub(crate) errors: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

/// A histogram of microseconds with three significant digits.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
        .expect("the bounds are in order and the digits are 3")
}

/// Whole microseconds of a duration.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Stats {
    /// Records one latency.
    pub(crate) fn record(&mut self, step: Step, latency: Duration) {
        if self.steps.is_empty() {
            self.steps.resize(Step::ALL.len(), None);
        }
        let histogram = self.steps[step as usize].get_or_insert_with(new_histogram);
        histogram.saturating_record(micros(latency));
    }

    /// Counts an answer that was no success.
    pub(crate) fn count_answer(&mut self, step: Step, status: u16, code: &str) {
        *self
            .answers
            .entry((step, status, code.to_owned()))
            .or_default() += 1;
    }

    /// Counts a 429 or 503.
    pub(crate) fn count_refused(&mut self, step: Step, status: u16, code: &str) {
        *self
            .refused
            .entry((step, status, code.to_owned()))
            .or_default() += 1;
    }

    /// Counts a broken connection or a time-out.
    pub(crate) fn count_transport(&mut self, step: Step, error: &io::Error) {
        *self
            .transport
            .entry((step, format!("{:?}", error.kind())))
            .or_default() += 1;
    }

    /// Counts a flow that did not end with tickets.
    pub(crate) fn count_failed(&mut self, reason: String) {
        *self.flows_failed.entry(reason).or_default() += 1;
    }

    /// The latencies of one step.
    pub(crate) fn histogram(&self, step: Step) -> Option<&Histogram<u64>> {
        self.steps.get(step as usize)?.as_ref()
    }

    /// Adds what another thread measured.
    pub(crate) fn merge(&mut self, other: Self) {
        if self.steps.is_empty() {
            self.steps.resize(Step::ALL.len(), None);
        }
        for (mine, theirs) in self.steps.iter_mut().zip(other.steps) {
            match (mine.as_mut(), theirs) {
                (Some(mine), Some(theirs)) => mine
                    .add(theirs)
                    .expect("all histograms have the same bounds"),
                (None, theirs) => *mine = theirs,
                (Some(_), None) => (),
            }
        }
        add_all(&mut self.answers, other.answers);
        add_all(&mut self.refused, other.refused);
        add_all(&mut self.transport, other.transport);
        add_all(&mut self.flows_failed, other.flows_failed);
        self.connections_opened += other.connections_opened;
        self.flows_done += other.flows_done;
    }

    /// How many answers, refusals and broken connections were no success.
    pub(crate) fn errors(&self) -> u64 {
        self.answers.values().chain(self.transport.values()).sum()
    }

    /// The table: one row per step that was seen.
    pub(crate) fn rows(&self) -> Vec<Row> {
        Step::ALL
            .iter()
            .filter_map(|step| self.row(*step))
            .collect()
    }

    fn row(&self, step: Step) -> Option<Row> {
        let of_step = |map: &BTreeMap<(Step, u16, String), u64>| -> u64 {
            map.iter()
                .filter(|((of, _, _), _)| *of == step)
                .map(|(_, count)| count)
                .sum()
        };
        let broken: u64 = self
            .transport
            .iter()
            .filter(|((of, _), _)| *of == step)
            .map(|(_, count)| count)
            .sum();
        let errors = of_step(&self.answers) + of_step(&self.refused) + broken;
        let empty = new_histogram();
        let histogram = self.histogram(step).unwrap_or(&empty);
        if histogram.is_empty() && errors == 0 {
            return None;
        }
        let at = |quantile: f64| milliseconds(histogram.value_at_quantile(quantile));
        Some(Row {
            step: step.name(),
            count: histogram.len(),
            errors,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: milliseconds(histogram.max()),
        })
    }
}

/// Milliseconds with three decimals.
#[expect(
    clippy::cast_precision_loss,
    reason = "latencies are far below 2^52 microseconds"
)]
pub(crate) fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn add_all<K: Ord>(into: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
    for (key, count) in from {
        *into.entry(key).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_all_threads_together() {
        let (mut one, mut two) = (Stats::default(), Stats::default());
        for ms in 1..=50 {
            one.record(Step::Join, Duration::from_millis(ms));
            two.record(Step::Join, Duration::from_millis(50 + ms));
        }
        two.record(Step::Hold, Duration::from_millis(3));
        two.count_answer(Step::Join, 500, "internal");
        one.count_answer(Step::Join, 500, "internal");
        one.count_refused(Step::Join, 503, "busy");
        one.merge(two);
        let rows = one.rows();
        assert_eq!(
            rows.iter().map(|row| row.step).collect::<Vec<_>>(),
            ["join", "hold"]
        );
        assert_eq!((rows[0].count, rows[0].errors, one.errors()), (100, 3, 2));
        assert!(
            (rows[0].p50_ms - 50.0).abs() < 0.1 && (rows[0].p99_ms - 99.0).abs() < 0.2,
            "{rows:?}"
        );
        assert!((rows[0].max_ms - 100.0).abs() < 0.2);
    }

    #[test]
    fn a_latency_beyond_the_scale_is_kept_as_the_longest() {
        let mut stats = Stats::default();
        stats.record(Step::Flow, Duration::from_secs(100_000));
        assert!(stats.rows()[0].max_ms >= 599_000.0);
    }
}
