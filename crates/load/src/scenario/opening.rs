//! Everybody joins within a second: how many joins a second, how long each takes, and whether the order is just.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use tokio::time::{sleep, sleep_until};

use crate::client::{Client, Session};
use crate::http::Request;
use crate::ledger::Told;
use crate::pace::Pace;
use crate::report::{Report, say};
use crate::scenario::{Common, CpuWatch, Prepared, results};
use crate::stage::{self, Stage, StagePlan};
use crate::stats::Step;
use crate::verdict::{judge_answers, judge_line};
use crate::wire::Place;

/// Options of `opening`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Joins in all; each account joins each performance once
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    joins: u32,
    /// They are planned evenly over this many milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    within_ms: u64,
    /// Fans called per second meanwhile
    #[arg(long, default_value_t = 100.0)]
    per_s: f64,
    /// Fans called and inside at once
    #[arg(long, default_value_t = 1000)]
    active_max: u64,
    /// Connections at most
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
}

/// What the joins share.
#[derive(Debug)]
struct Opening {
    client: Client,
    sessions: Vec<Session>,
    stages: Vec<Stage>,
    told: RefCell<Vec<Told>>,
    last_answer: RefCell<Instant>,
}

/// Runs the scenario; whether all promises held.
///
/// # Errors
/// The run could not be set up.
pub(crate) async fn run(options: Options) -> Result<bool, String> {
    let common = &options.common;
    let prepared = common.prepare(options.connections.into()).await?;
    let performances = options.joins.div_ceil(common.accounts);
    let plan = StagePlan::line(performances as usize, options.per_s, options.active_max);
    let stages = prepared.build(&plan).await?;
    say(format_args!(
        "{} joins: {} accounts, each at up to {performances} performances",
        options.joins, common.accounts
    ));
    let Prepared {
        target,
        client,
        operator,
        accounts,
    } = prepared;
    let cpu = CpuWatch::start(common.pid);
    let started = Instant::now() + Duration::from_millis(100);
    let opening = Rc::new(Opening {
        client: Client::new(
            target,
            options.connections as usize,
            common.patience(),
            started,
        ),
        sessions: accounts.into_iter().map(Session::new).collect(),
        stages,
        told: RefCell::default(),
        last_answer: RefCell::new(started),
    });
    join_all(
        &opening,
        options.joins,
        Duration::from_millis(options.within_ms),
    )
    .await;
    let (own_us, server_us) = cpu.used_us();
    stage::close_all(&client, &operator, &opening.stages).await;
    drop(results(client));
    let opening = Rc::into_inner(opening).expect("all joins have ended");
    let took = opening
        .last_answer
        .borrow()
        .saturating_duration_since(started);
    let told = opening.told.into_inner();
    let used: Vec<_> = opening
        .sessions
        .into_iter()
        .map(Session::into_credentials)
        .collect();
    common.keep(&used);
    let (stats, mut findings) = opening.client.into_results();
    findings.merge(judge_line(&told));
    findings.merge(judge_answers(&stats, false));
    let mut report = Report::new("opening", stats, findings);
    add_figures(&mut report, &options, performances, told.len(), took);
    report.figure("load_cpu_us_per_join", own_us / u64::from(options.joins));
    report.figure(
        "server_cpu_us_per_join",
        server_us.map(|us| us / u64::from(options.joins)),
    );
    report
        .finish(common.json.as_deref())
        .map_err(|error| error.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn add_figures(
    report: &mut Report,
    options: &Options,
    performances: u32,
    joined: usize,
    took: Duration,
) {
    report.figure("joins_planned", options.joins);
    report.figure("joins_answered", joined);
    report.figure("accounts", options.common.accounts);
    report.figure("performances", performances);
    report.figure("planned_within_ms", options.within_ms);
    report.figure("took_ms", Value::from(took.as_secs_f64() * 1000.0));
    report.figure(
        "joins_per_s",
        Value::from((joined as f64 / took.as_secs_f64().max(0.001)).round()),
    );
}

/// Sends all joins at their planned times and waits for all answers.
async fn join_all(opening: &Rc<Opening>, joins: u32, within: Duration) {
    let pace = Pace::share(f64::from(joins) / within.as_secs_f64(), within, 0, 1);
    let started = opening.client.started;
    sleep_until(started.into()).await;
    let mut next = 0;
    let mut joining = Vec::with_capacity(joins as usize);
    while next < pace.count() {
        let due = pace.due(started.elapsed());
        while next < due {
            let opening = Rc::clone(opening);
            let planned = started + pace.planned(next);
            joining.push(tokio::task::spawn_local(async move {
                opening.join_one(next, planned).await
            }));
            next += 1;
        }
        sleep(Duration::from_millis(1)).await;
    }
    for join in joining {
        join.await.expect("a join neither panics nor is cancelled");
    }
}

impl Opening {
    async fn join_one(&self, join: u64, planned: Instant) {
        let accounts = self.sessions.len() as u64;
        // All fans join the first performance, then all the second: each line gets its own crowd.
        let account = usize::try_from(join % accounts).expect("below the length of a slice");
        let performance = usize::try_from(join / accounts).expect("below the length of a slice");
        let stage = &self.stages[performance];
        let request = Request::post(&stage.room_path, &[], b"{}");
        let join_sent_us = self.client.micros_at(Instant::now());
        let Ok(answer) = self
            .client
            .call(Step::Join, planned, Some(&self.sessions[account]), &request)
            .await
        else {
            return; // Counted by the call.
        };
        *self.last_answer.borrow_mut() = answer.at();
        let Ok(place) = self.client.read::<Place>(Step::Join, &answer) else {
            return;
        };
        self.told.borrow_mut().push(Told {
            performance: u32::try_from(performance).expect("few performances"),
            account: u32::try_from(account).expect("at most a million accounts"),
            number: place.number,
            join_sent_us,
            join_answered_us: self.client.micros_at(answer.at()),
            ..Told::default()
        });
    }
}
