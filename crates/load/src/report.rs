//! What people and machines read at the end: a table of steps, the answers that were no success, the verdict line,
//! and all of it as JSON.

use std::fmt;
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use crate::stats::Stats;
use crate::verdict::Findings;

/// Writes a line for people, on standard error: progress must not mix with the report.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    // Nobody to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes a line of the report, on standard output.
pub(crate) fn print(line: fmt::Arguments<'_>) {
    // A reader that went away (`| head`) is no reason to fail the run.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The report of one run.
#[derive(Debug)]
pub(crate) struct Report {
    scenario: &'static str,
    figures: serde_json::Map<String, Value>,
    stats: Stats,
    findings: Findings,
}

impl Report {
    /// The report of `scenario`.
    pub(crate) fn new(scenario: &'static str, stats: Stats, findings: Findings) -> Self {
        Self {
            scenario,
            figures: serde_json::Map::new(),
            stats,
            findings,
        }
    }

    /// Adds a figure; the unit is the end of its name.
    pub(crate) fn figure(&mut self, name: &str, value: impl Serialize) {
        let value =
            serde_json::to_value(value).expect("figures are numbers, strings and lists of them");
        self.figures.insert(name.to_owned(), value);
    }

    /// Prints everything, writes `json` when given, and says whether all promises held.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn finish(&self, json_path: Option<&Path>) -> std::io::Result<bool> {
        self.print_table();
        for (name, value) in &self.figures {
            print(format_args!("{name}: {value}"));
        }
        self.print_answers();
        for (check, finding) in self.findings.iter() {
            print(format_args!(
                "broken: {} {} times",
                check.name(),
                finding.count
            ));
            for example in &finding.examples {
                print(format_args!("    {example}"));
            }
        }
        if let Some(path) = json_path {
            std::fs::write(path, serde_json::to_vec_pretty(&self.to_json())?)?;
        }
        print(format_args!("{}", self.verdict()));
        Ok(self.findings.is_empty())
    }

    /// The line for machines: `verdict: pass …` or `verdict: FAIL …`.
    fn verdict(&self) -> String {
        let refused: u64 = self.stats.refused.values().sum();
        let failed: u64 = self.stats.flows_failed.values().sum();
        let counts = format!(
            "scenario={} flows={} flows_failed={failed} errors={} refused={refused}",
            self.scenario,
            self.stats.flows_done,
            self.stats.errors()
        );
        if self.findings.is_empty() {
            return format!("verdict: pass {counts}");
        }
        let broken: Vec<_> = self
            .findings
            .iter()
            .map(|(check, finding)| format!("{}:{}", check.name(), finding.count))
            .collect();
        format!("verdict: FAIL {counts} broken={}", broken.join(","))
    }

    fn print_table(&self) {
        print(format_args!(
            "{:<20} {:>9} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "step (ms)", "count", "errors", "p50", "p90", "p99", "p99.9", "max"
        ));
        for row in self.stats.rows() {
            print(format_args!(
                "{:<20} {:>9} {:>8} {:>10.2} {:>10.2} {:>10.2} {:>10.2} {:>10.2}",
                row.step,
                row.count,
                row.errors,
                row.p50_ms,
                row.p90_ms,
                row.p99_ms,
                row.p999_ms,
                row.max_ms
            ));
        }
    }

    fn print_answers(&self) {
        for ((step, status, code), count) in &self.stats.answers {
            print(format_args!(
                "answer: {} {status} {code}: {count}",
                step.name()
            ));
        }
        for ((step, status, code), count) in &self.stats.refused {
            print(format_args!(
                "refused for the moment: {} {status} {code}: {count}",
                step.name()
            ));
        }
        for ((step, kind), count) in &self.stats.transport {
            print(format_args!(
                "connection failed: {} {kind}: {count}",
                step.name()
            ));
        }
        for (reason, count) in &self.stats.flows_failed {
            print(format_args!("flows without a booking: {reason}: {count}"));
        }
    }

    fn to_json(&self) -> Value {
        let answers = |map: &std::collections::BTreeMap<(crate::stats::Step, u16, String), u64>| -> Vec<Value> {
            map.iter()
                .map(|((step, status, code), count)| {
                    json!({ "step": step.name(), "status": status, "code": code, "count": count })
                })
                .collect()
        };
        let transport: Vec<Value> = self
            .stats
            .transport
            .iter()
            .map(|((step, kind), count)| json!({ "step": step.name(), "kind": kind, "count": count }))
            .collect();
        json!({
            "scenario": self.scenario,
            "verdict": if self.findings.is_empty() { "pass" } else { "FAIL" },
            "figures": self.figures,
            "steps": self.stats.rows(),
            "answers": answers(&self.stats.answers),
            "refused": answers(&self.stats.refused),
            "connections_failed": transport,
            "connections_opened": self.stats.connections_opened,
            "flows_done": self.stats.flows_done,
            "flows_failed": self.stats.flows_failed,
            "broken": self.findings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Check;

    #[test]
    fn the_verdict_line_names_what_broke() {
        let mut findings = Findings::default();
        let passed = Report::new("flows", Stats::default(), findings.clone());
        assert!(
            passed
                .verdict()
                .starts_with("verdict: pass scenario=flows ")
        );
        findings.add(Check::SeatsOnce, || "seat A-1".to_owned());
        let failed = Report::new("flows", Stats::default(), findings);
        assert!(
            failed.verdict().starts_with("verdict: FAIL ")
                && failed.verdict().ends_with("broken=seats_once:1")
        );
        assert_eq!(failed.to_json()["verdict"], "FAIL");
        assert_eq!(
            failed.to_json()["broken"]["broken"]["seats_once"]["count"],
            1
        );
    }
}
