//! The simulator keeps its own promises: good seeds pass, planted bugs are found, a seed is one run everywhere.

use std::process::Command;

use boxoffice_sim::{Bug, Options, Report, Stats, run};

/// Seeds after which a planted bug counts as not found; the same as on the command line.
const SEEDS_MAX: u64 = 50;

fn run_seed(seed: u64, steps: u32, bug: Option<Bug>) -> Report {
    run(Options {
        seed,
        steps,
        bug,
        trace: false,
    })
}

#[test]
fn fixed_seeds_keep_every_promise_and_meet_every_rare_case() {
    let mut stats = Stats::default();
    for seed in 0..150 {
        let report = run_seed(seed, 700, None);
        if let Some(failure) = report.failure {
            panic!("{failure}");
        }
        stats.add(&report.stats);
    }
    for (name, count) in stats.list() {
        assert!(count > 0, "no seed came upon: {name}");
    }
}

#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        let found = (0..SEEDS_MAX).find_map(|seed| run_seed(seed, 1_000, Some(bug)).failure);
        let failure = found.unwrap_or_else(|| panic!("{bug} is not found in {SEEDS_MAX} seeds"));
        let without = run_seed(failure.options.seed, 1_000, None).failure;
        assert!(without.is_none(), "{bug}: this seed fails without it too");
        let again = run_seed(failure.options.seed, 1_000, Some(bug)).failure;
        let again = again.expect("what a seed finds it finds again");
        assert_eq!((failure.step, &failure.what), (again.step, &again.what));
        assert_ne!(
            failure.promise, 0,
            "{bug}: found by a check, not by an assertion: {failure}"
        );
        let command = format!("--seed {} --steps 1000 --bug {bug}", failure.options.seed);
        assert!(failure.to_string().contains(&command), "{failure}");
    }
}

#[test]
fn a_seed_is_the_same_run_every_time_and_in_every_process() {
    for seed in [3, 7, 11] {
        let (one, two) = (run_seed(seed, 400, None), run_seed(seed, 400, None));
        assert_eq!((one.hash, one.steps), (two.hash, two.steps));
        let trace = || {
            let seed = seed.to_string();
            let mut command = Command::new(env!("CARGO_BIN_EXE_boxoffice-sim"));
            let output = command
                .args(["--seed", &seed, "--steps", "400", "--trace"])
                .output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        let (first, second) = (trace(), trace());
        // The last line says how long it took.
        let lines = |text: &str| text.lines().count() - 1;
        assert!(
            first
                .lines()
                .take(lines(&first))
                .eq(second.lines().take(lines(&second)))
        );
        assert!(
            first.ends_with(&format!("{:016x}\n", one.hash)),
            "seed {seed}: another trace in another process"
        );
    }
    assert_ne!(run_seed(3, 400, None).hash, run_seed(7, 400, None).hash);
}

#[test]
fn a_broken_promise_ends_the_program_with_a_failure() {
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_boxoffice-sim"));
        command.args(args).output().unwrap()
    };
    let good = run(&["--seeds", "0..2", "--steps", "50"]);
    assert!(good.status.success());
    let bad = run(&["--seed", "0", "--bug", "answer-before-save"]);
    assert!(!bad.status.success());
    let said = String::from_utf8(bad.stdout).unwrap();
    assert!(
        said.contains("again: boxoffice-sim --seed 0 --steps 1000 --bug answer-before-save"),
        "{said}"
    );
    assert!(
        !run(&["--seed", "0", "--bug", "no-such-bug"])
            .status
            .success()
    );
    assert!(!run(&["--seeds", "5..5"]).status.success());
}
