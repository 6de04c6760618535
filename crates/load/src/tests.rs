//! Whole runs against the fake: an honest one passes, and each planted mistake turns the verdict red.

use clap::Parser;
use serde_json::Value;

use crate::fake::{Fake, Faults};
use crate::{Arguments, Command, scenario};

/// Runs a command line against a fake; the exit and the report.
fn run(faults: Faults, command: &str) -> (bool, Value) {
    let fake = Fake::start(faults);
    run_at(&fake.url, command)
}

fn run_at(url: &str, command: &str) -> (bool, Value) {
    let json = std::env::temp_dir().join(format!("boxoffice-load-{}.json", uuid::Uuid::now_v7()));
    let line = format!(
        "boxoffice-load {command} --url {url} --operator operator@example.com:secret --json {}",
        json.display()
    );
    let arguments = Arguments::parse_from(line.split(' '));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let passed = runtime.block_on(async {
        match arguments.command {
            Command::Flows(options) => scenario::flows::run(options).await,
            Command::Opening(options) => scenario::opening::run(options).await,
            Command::Streams(options) => scenario::streams::run(options).await,
            Command::Hall(options) => scenario::hall::run(options).await,
            Command::Check(options) => scenario::check::run(options).await,
        }
    });
    let report = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    (passed.unwrap(), report)
}

fn broken(report: &Value) -> Vec<&str> {
    report["broken"]["broken"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn steps(report: &Value, step: &str) -> u64 {
    let rows = report["steps"].as_array().unwrap();
    rows.iter()
        .find(|row| row["step"] == step)
        .map_or(0, |row| row["count"].as_u64().unwrap())
}

const FLOWS: &str = "flows --rate 200 --seconds 1 --accounts 50";

#[test]
fn an_honest_fake_passes() {
    let (passed, report) = run(Faults::default(), &format!("{FLOWS} --quantity 2"));
    assert!(passed, "{report:#}");
    assert_eq!(
        (report["flows_done"].as_u64(), steps(&report, "whole flow")),
        (Some(200), 200)
    );
    for step in ["join", "pass", "hold", "book"] {
        assert_eq!(steps(&report, step), 200, "{step}");
    }
    assert_eq!(steps(&report, "place"), 0);
    assert_eq!(report["answers"].as_array().unwrap().len(), 0);
}

#[test]
fn waiting_slow_bookings_chunks_and_threads_pass() {
    let faults = Faults {
        polls: 3,
        is_slow_booking: true,
        is_chunked: true,
        ..Faults::default()
    };
    let (passed, report) = run(faults, &format!("{FLOWS} --threads 2 --performances 3"));
    assert!(passed, "{report:#}");
    assert_eq!(
        (steps(&report, "place"), steps(&report, "booking")),
        (600, 200)
    );
}

#[test]
fn refusals_for_the_moment_are_obeyed_and_counted() {
    let (passed, report) = run(
        Faults {
            busy: 7,
            ..Faults::default()
        },
        FLOWS,
    );
    assert!(passed, "{report:#}");
    assert_eq!(report["flows_done"], 200);
    assert!(!report["refused"].as_array().unwrap().is_empty());
}

#[test]
fn a_retry_waits_as_long_as_it_is_told() {
    let faults = Faults {
        busy: 41,
        retry_after_s: 1,
        ..Faults::default()
    };
    let (passed, report) = run(faults, "flows --rate 40 --seconds 1 --accounts 50");
    assert!(passed, "{report:#}");
    let rows = report["steps"].as_array().unwrap();
    let flow = rows.iter().find(|row| row["step"] == "whole flow").unwrap();
    let longest_ms = flow["max_ms"].as_f64().unwrap();
    assert!((1_000.0..4_000.0).contains(&longest_ms), "{longest_ms} ms");
}

#[test]
fn lost_answers_are_repeated_with_the_same_ids() {
    let faults = Faults {
        answer_lost: 9,
        ..Faults::default()
    };
    let (passed, report) = run(faults, &format!("{FLOWS} --through-restarts"));
    assert!(passed, "{report:#}");
    assert_eq!(report["flows_done"], 200);
}

/// The checks that turn red with these mistakes.
fn red(faults: Faults) -> Vec<String> {
    let (passed, report) = run(faults, FLOWS);
    assert!(!passed, "{faults:?} was not seen");
    broken(&report).into_iter().map(str::to_owned).collect()
}

#[test]
fn mistakes_in_the_line_turn_the_verdict_red() {
    let fault = Faults::default();
    assert_eq!(
        red(Faults {
            number_given_twice: 150,
            ..fault
        }),
        ["numbers"]
    );
    assert_eq!(
        red(Faults {
            order_reversed: true,
            ..fault
        }),
        ["order"]
    );
    assert_eq!(
        red(Faults {
            polls: 3,
            is_moved_back: true,
            ..fault
        }),
        ["places"]
    );
    assert_eq!(
        red(Faults {
            polls: 3,
            is_renumbered: true,
            ..fault
        }),
        ["places"]
    );
    assert_eq!(
        red(Faults {
            turn_lost: 49,
            ..fault
        }),
        ["answers", "places"]
    );
}

#[test]
fn mistakes_in_selling_turn_the_verdict_red() {
    let fault = Faults::default();
    assert_eq!(
        red(Faults {
            seat_sold_twice: 150,
            ..fault
        }),
        ["seats_once"]
    );
    assert_eq!(
        red(Faults {
            booking_lost: 100,
            ..fault
        }),
        ["kept", "sold"]
    );
    assert_eq!(
        red(Faults {
            ticket_missing: 100,
            ..fault
        }),
        ["kept", "money", "sold", "tickets"]
    );
    assert_eq!(
        red(Faults {
            is_miscounted: true,
            ..fault
        }),
        ["totals"]
    );
}

#[test]
fn a_ledger_is_checked_again_and_accounts_are_kept() {
    let fake = Fake::start(Faults::default());
    let folder = std::env::temp_dir().join(format!("boxoffice-load-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    let files = format!(
        "--accounts-file {0}/accounts --ledger {0}/ledger",
        folder.display()
    );
    let (first, _) = run_at(&fake.url, &format!("{FLOWS} {files}"));
    let (again, report) = run_at(&fake.url, &format!("check {files}"));
    assert!(first && again, "{report:#}");
    assert_eq!(report["flows_done"], 200);
    let other = Fake::start(Faults::default());
    let accounts = std::fs::read_to_string(folder.join("accounts"))
        .unwrap()
        .replace(&fake.url, &other.url);
    std::fs::write(folder.join("accounts"), accounts).unwrap();
    let (elsewhere, report) = run_at(&other.url, &format!("check {files}"));
    assert!(
        !elsewhere,
        "a server that knows nothing of the run must not pass"
    );
    // Its accounts are unknown there: the kept access token is refused, then the login.
    assert_eq!(broken(&report), ["answers", "audit"]);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_opening_reports_joins_and_judges_the_order() {
    let opening = "opening --joins 600 --within-ms 200 --accounts 250";
    let (passed, report) = run(Faults::default(), opening);
    assert!(passed, "{report:#}");
    assert_eq!(
        (
            report["figures"]["performances"].as_u64(),
            steps(&report, "join")
        ),
        (Some(3), 600)
    );
    let (passed, report) = run(
        Faults {
            number_given_twice: 200,
            ..Faults::default()
        },
        opening,
    );
    assert!(!passed);
    assert_eq!(broken(&report), ["contiguous", "numbers"]);
    let (passed, report) = run(
        Faults {
            order_reversed: true,
            ..Faults::default()
        },
        opening,
    );
    assert!(!passed && broken(&report).contains(&"order"));
}

#[test]
fn streams_hear_every_step() {
    let (passed, report) = run(
        Faults::default(),
        "streams --streams 40 --steps 3 --every-ms 100 --accounts 5",
    );
    assert!(passed, "{report:#}");
    assert_eq!(report["figures"]["step_reached_min"], 40);
}

#[test]
fn a_closed_loop_says_so() {
    let (passed, report) = run(
        Faults::default(),
        "flows --closed 10 --seconds 1 --accounts 20 --seats 30000",
    );
    assert!(passed, "{report:#}");
    assert_eq!(report["figures"]["loop"], "closed");
    assert!(report["flows_done"].as_u64().unwrap() > 20);
}

#[test]
fn a_sold_out_hall_is_no_violation_and_not_counted_as_flows() {
    let (passed, report) = run(Faults::default(), &format!("{FLOWS} --seats 40"));
    assert!(passed, "{report:#}");
    assert_eq!(
        (
            report["flows_done"].as_u64(),
            report["flows_failed"]["hold: 409 sold-out"].as_u64()
        ),
        (Some(40), Some(160))
    );
}

#[test]
fn a_hall_is_looked_at_in_every_form_while_it_sells() {
    let (passed, report) = run(
        Faults::default(),
        "hall --seats 600 --rate 100 --seconds 1 --accounts 20 --quantity 2",
    );
    assert!(passed, "{report:#}");
    for step in [
        "seating plan",
        "seating plan (304)",
        "availability",
        "availability, dense",
    ] {
        assert_eq!(steps(&report, step), 11, "{step}");
    }
    assert_eq!(report["figures"]["dense_accept"], "application/x-dense");
    assert_eq!(
        (
            report["figures"]["availability_dense_bytes"].as_u64(),
            steps(&report, "hold")
        ),
        (Some(3), 100)
    );
}
