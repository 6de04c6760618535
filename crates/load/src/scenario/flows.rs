//! Complete flows at a rate, then the verdict.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::mpsc;

use crate::audit;
use crate::client::{Client, Credentials};
use crate::crowd::{self, Drive, Outcome, Share};
use crate::flow::Choice;
use crate::ledger::{self, Told};
use crate::pace::Pace;
use crate::report::{Report, say};
use crate::scenario::{Common, CpuWatch, Monitor, Prepared, header, results};
use crate::stage::{self, Stage, StagePlan};
use crate::stats::Stats;
use crate::verdict::{Check, Findings, judge_answers};

/// The crowd begins this long after all is ready, so that all threads begin together.
const LEAD: Duration = Duration::from_millis(100);
/// Seats made for a closed loop, which has no rate: more than it can sell in a second.
const CLOSED_FLOWS_PER_S_MAX: f64 = 8_000.0;

/// Options of `flows`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) sale: SaleOptions,
}

/// Options of every scenario that sells.
#[derive(Args, Clone, Debug)]
pub(crate) struct SaleOptions {
    /// Flows planned per second
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
    /// How long flows are started, seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Closed loop: this many flows at a time and no rate; finds the ceiling, says nothing about latency
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) closed: Option<u32>,
    /// Seats of the hall; default: enough for every flow
    #[arg(long)]
    pub(crate) seats: Option<u64>,
    /// Performances that are sold at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) performances: u32,
    /// Seats per fan
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) quantity: u32,
    /// Best available seats (the default)
    #[arg(long, group = "choice")]
    pub(crate) best: bool,
    /// Best available seats, one section after the other
    #[arg(long, group = "choice")]
    pub(crate) best_by_section: bool,
    /// Spots of a standing area
    #[arg(long, group = "choice")]
    pub(crate) area: bool,
    /// Seats by name, each asked for once
    #[arg(long, group = "choice")]
    pub(crate) seats_mode: bool,
    /// Seats by name at random, so that fans collide
    #[arg(long, group = "choice")]
    pub(crate) seats_contended: bool,
    /// Fans called per second
    #[arg(long, default_value_t = 100_000.0)]
    pub(crate) per_s: f64,
    /// Fans called and inside at once
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) active_max: u64,
    /// Connections at most
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// Flows under way at most; more start late, which counts as latency
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) in_flight_max: u32,
    /// Threads of the crowd
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) threads: u32,
    /// The server will be killed and started again: broken connections are no violation
    #[arg(long)]
    pub(crate) through_restarts: bool,
    /// Writes what the clients were told, for `check`
    #[arg(long)]
    pub(crate) ledger: Option<PathBuf>,
}

impl SaleOptions {
    fn choice(&self) -> Choice {
        if self.area {
            Choice::Area
        } else if self.seats_contended {
            Choice::SeatsContended
        } else if self.seats_mode {
            Choice::Seats
        } else if self.best_by_section {
            Choice::BestBySection
        } else {
            Choice::Best
        }
    }

    /// The sale that is to be set up: with seats for every flow, and some that adjacency may strand.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a run sells far fewer than 2^52 seats, and no factor is negative"
    )]
    pub(crate) fn plan(&self) -> StagePlan {
        let rate = if self.closed.is_some() {
            CLOSED_FLOWS_PER_S_MAX
        } else {
            self.rate
        };
        let sold =
            rate * self.seconds as f64 * f64::from(self.quantity) / f64::from(self.performances);
        let choice = self.choice();
        StagePlan {
            seats: self.seats.unwrap_or((sold * 1.05) as u64 + 100),
            performances: self.performances as usize,
            is_area: choice == Choice::Area,
            is_named: matches!(choice, Choice::Seats | Choice::SeatsContended),
            seats_max: self.quantity.saturating_mul(2).clamp(8, 100),
            per_s: self.per_s,
            active_max: self.active_max,
        }
    }
}

/// Runs the scenario; whether all promises held.
///
/// # Errors
/// The run could not be set up or judged.
pub(crate) async fn run(options: Options) -> Result<bool, String> {
    let (common, sale) = (&options.common, &options.sale);
    let prepared = common.prepare(sale.connections.into()).await?;
    let stages = prepared.build(&sale.plan()).await?;
    say(format_args!(
        "{} performances of {} seats are on sale",
        stages.len(),
        stages[0].seats_total
    ));
    let Sold {
        mut stats,
        mut findings,
        told,
        accounts,
        figures,
        verdict,
    } = sell(common, sale, prepared, stages).await?;
    let (audit_stats, audit_findings) = verdict.judge(common, &told, accounts).await;
    stats.merge(audit_stats);
    findings.merge(audit_findings);
    findings.merge(judge_answers(&stats, sale.through_restarts));
    let mut report = Report::new("flows", stats, findings);
    for (name, value) in figures {
        report.figure(name, value);
    }
    report
        .finish(common.json.as_deref())
        .map_err(|error| error.to_string())
}

/// What a sale left behind.
#[derive(Debug)]
pub(crate) struct Sold {
    pub(crate) stats: Stats,
    pub(crate) findings: Findings,
    pub(crate) told: Vec<Told>,
    pub(crate) accounts: Vec<Credentials>,
    pub(crate) figures: Vec<(&'static str, serde_json::Value)>,
    pub(crate) verdict: Verdict,
}

/// What the verdict needs besides what was told.
#[derive(Debug)]
pub(crate) struct Verdict {
    client: Rc<Client>,
    operator: crate::client::Session,
    header: ledger::Header,
    stages: Arc<Vec<Stage>>,
}

impl Verdict {
    /// Reads everything back, judges it, ends the sales. A verdict that cannot be reached is a broken promise too.
    pub(crate) async fn judge(
        self,
        common: &Common,
        told: &[Told],
        accounts: Vec<Credentials>,
    ) -> (Stats, Findings) {
        let mut findings = Findings::default();
        match audit::audit(&self.client, &self.operator, &self.header, told, accounts).await {
            Ok((judged, used)) => {
                findings = judged;
                common.keep(&used);
            }
            Err(ended) => findings.add(Check::Audit, || ended.to_string()),
        }
        stage::close_all(&self.client, &self.operator, &self.stages).await;
        let (stats, seen) = results(self.client);
        findings.merge(seen);
        (stats, findings)
    }
}

/// Lets the crowd buy; nothing is judged yet but what was seen on the way.
///
/// # Errors
/// A thread could not be started, or the ledger not be written.
pub(crate) async fn sell(
    common: &Common,
    sale: &SaleOptions,
    prepared: Prepared,
    stages: Vec<Stage>,
) -> Result<Sold, String> {
    let stages = Arc::new(stages);
    let header = header(&stages, &prepared.accounts);
    let shares = sale.threads as usize;
    let length = Duration::from_secs(sale.seconds);
    let cpu = CpuWatch::start(common.pid);
    let started = Instant::now() + LEAD;
    let (sender, ticks) = mpsc::unbounded_channel();
    let threads = start_threads(common, sale, &prepared, &stages, started, &sender)?;
    drop(sender);
    let monitor_client = Client::new(prepared.target.clone(), 4, common.patience(), started);
    let monitor = Monitor {
        client: &monitor_client,
        operator: &prepared.operator,
        stages: &stages,
        active_max: sale.active_max,
        shares,
    };
    monitor.run(ticks).await;
    let mut outcomes = Vec::with_capacity(shares);
    for thread in threads {
        let outcome = thread
            .join()
            .map_err(|_| "a thread of the crowd panicked".to_owned())?;
        outcomes.push(outcome.map_err(|error| error.to_string())?);
    }
    let cpu_us = cpu.used_us();
    let (mut stats, mut findings) = monitor_client.into_results();
    let ended = outcomes
        .iter()
        .map(|outcome| outcome.ended)
        .max()
        .unwrap_or(started);
    let (told, accounts) = gather(outcomes, &mut stats, &mut findings);
    let figures = figures(
        sale,
        &stats,
        length,
        ended.saturating_duration_since(started),
        cpu_us,
    );
    if let Some(path) = &sale.ledger {
        ledger::save(path, &header, &told)
            .map_err(|error| format!("failed to write the ledger: {error}"))?;
    }
    let verdict = Verdict {
        client: common.client(&prepared.target),
        operator: prepared.operator,
        header,
        stages,
    };
    Ok(Sold {
        stats,
        findings,
        told,
        accounts,
        figures,
        verdict,
    })
}

type Running = std::thread::JoinHandle<std::io::Result<Outcome>>;

fn start_threads(
    common: &Common,
    sale: &SaleOptions,
    prepared: &Prepared,
    stages: &Arc<Vec<Stage>>,
    started: Instant,
    ticks: &mpsc::UnboundedSender<crowd::Tick>,
) -> Result<Vec<Running>, String> {
    let shares = sale.threads as usize;
    let per_share = |total: u32| (total as usize).div_ceil(shares);
    let length = Duration::from_secs(sale.seconds);
    (0..shares)
        .map(|index| {
            let accounts = (0_u32..)
                .zip(prepared.accounts.iter().cloned())
                .skip(index)
                .step_by(shares)
                .collect();
            let share = Share {
                target: prepared.target.clone(),
                accounts,
                stages: Arc::clone(stages),
                choice: sale.choice(),
                quantity: sale.quantity,
                drive: match sale.closed {
                    Some(in_flight) => Drive::Closed {
                        in_flight: per_share(in_flight),
                    },
                    None => Drive::Open(Pace::share(sale.rate, length, index, shares)),
                },
                length,
                in_flight_max: per_share(sale.in_flight_max),
                connections_max: per_share(sale.connections),
                patience: common.patience(),
                started,
                ticks: ticks.clone(),
                index,
                shares,
            };
            let name = format!("crowd-{index}");
            let thread = std::thread::Builder::new()
                .name(name)
                .spawn(move || crowd::run_share(share));
            thread.map_err(|error| format!("failed to start a thread: {error}"))
        })
        .collect()
}

/// Puts the threads' results together; accounts come back in the order of their index.
fn gather(
    outcomes: Vec<Outcome>,
    stats: &mut Stats,
    findings: &mut Findings,
) -> (Vec<Told>, Vec<Credentials>) {
    let (mut told, mut accounts) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        stats.merge(outcome.stats);
        findings.merge(outcome.findings);
        told.extend(outcome.told);
        accounts.extend(outcome.accounts);
    }
    accounts.sort_by_key(|(index, _)| *index);
    // The verdict reads them in the order in which their numbers were told.
    told.sort_by_key(|flow| flow.join_sent_us);
    (
        told,
        accounts
            .into_iter()
            .map(|(_, credentials)| credentials)
            .collect(),
    )
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn figures(
    sale: &SaleOptions,
    stats: &Stats,
    length: Duration,
    took: Duration,
    (own_us, server_us): (u64, Option<u64>),
) -> Vec<(&'static str, serde_json::Value)> {
    let rounded = |value: f64| serde_json::Value::from((value * 10.0).round() / 10.0);
    let per_flow = |us: u64| rounded(us as f64 / stats.flows_done.max(1) as f64);
    let mut figures = vec![
        (
            "loop",
            if sale.closed.is_some() {
                "closed".into()
            } else {
                "open".into()
            },
        ),
        ("planned_s", length.as_secs().into()),
        ("took_s", rounded(took.as_secs_f64())),
        (
            "flows_per_s",
            rounded(stats.flows_done as f64 / took.as_secs_f64().max(0.001)),
        ),
        ("connections_opened", stats.connections_opened.into()),
        ("load_cpu_us_per_flow", per_flow(own_us)),
    ];
    match sale.closed {
        Some(in_flight) => figures.push(("in_flight", in_flight.into())),
        None => figures.push(("planned_flows_per_s", rounded(sale.rate))),
    }
    if let Some(server_us) = server_us {
        figures.push(("server_cpu_us_per_flow", per_flow(server_us)));
        figures.push(("server_cpu_s", rounded(server_us as f64 / 1e6)));
    }
    figures
}
