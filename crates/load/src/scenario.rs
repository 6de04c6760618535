//! What all scenarios have in common: their options, the accounts, the progress line and the samples of the sale.

pub(crate) mod check;
pub(crate) mod flows;
pub(crate) mod hall;
pub(crate) mod opening;
pub(crate) mod streams;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::accounts::{self, CrowdPlan};
use crate::client::{Client, Credentials, Ended, Session, unix_ms};
use crate::crowd::Tick;
use crate::http::Target;
use crate::ledger::{Header, PerformanceTold};
use crate::report::say;
use crate::stage::{self, Stage, StagePlan};
use crate::stats::{Stats, Step, milliseconds};
use crate::usage;
use crate::verdict::{Check, Findings, check_totals};

/// Patience of the set-up and of the verdict: a server may be restarted meanwhile.
const PATIENCE_SETUP: Duration = Duration::from_secs(120);
/// A sample of the sale that takes longer is left out.
const SAMPLE_WITHIN: Duration = Duration::from_secs(2);
/// Files open besides connections.
const FILES_BESIDE: u64 = 64;

/// Options of every scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// The server, http://host:port
    #[arg(long, default_value = "http://127.0.0.1:8082")]
    pub(crate) url: String,
    /// The operator's login, EMAIL:PASSWORD
    #[arg(long)]
    pub(crate) operator: String,
    /// Accounts of the crowd
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) accounts: u32,
    /// Keeps accounts and logins for the next run on the same server
    #[arg(long)]
    pub(crate) accounts_file: Option<PathBuf>,
    /// Calls at a time while accounts are made (the server's passwords are slow by design)
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) setup_concurrency: u32,
    /// A call without a final answer is given up after this many seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) patience_s: u64,
    /// The server's process, to report its CPU time and memory
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Writes all figures to this file
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

/// A run that is ready to begin.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) target: Target,
    /// The client of the set-up; what it measured is not part of the run.
    pub(crate) client: Rc<Client>,
    pub(crate) operator: Session,
    pub(crate) accounts: Vec<Credentials>,
}

impl Common {
    /// A client for the set-up or for the verdict.
    pub(crate) fn client(&self, target: &Target) -> Rc<Client> {
        Rc::new(Client::new(
            target.clone(),
            64,
            PATIENCE_SETUP,
            Instant::now(),
        ))
    }

    /// The operator's login.
    ///
    /// # Errors
    /// The option is not `EMAIL:PASSWORD`.
    pub(crate) fn operator(&self) -> Result<Session, String> {
        let (email, password) = self
            .operator
            .split_once(':')
            .ok_or("--operator wants EMAIL:PASSWORD")?;
        Ok(Session::new(Credentials {
            email: email.to_owned(),
            password: password.to_owned(),
            access_token: String::new(),
            refresh_token: String::new(),
            expires_unix_s: 0,
        }))
    }

    /// Logs the operator in and gathers the accounts.
    ///
    /// # Errors
    /// Wrong options, too few files, or the server refuses.
    pub(crate) async fn prepare(&self, connections: u64) -> Result<Prepared, String> {
        usage::raise_open_files(connections + FILES_BESIDE)?;
        let target = Target::parse(&self.url)?;
        let client = self.client(&target);
        let operator = self.operator()?;
        client
            .renew(&operator)
            .await
            .map_err(|ended| format!("the operator's login failed: {ended}"))?;
        let plan = CrowdPlan {
            url: &self.url,
            file: self.accounts_file.as_deref(),
            count: self.accounts as usize,
            concurrency: self.setup_concurrency as usize,
        };
        let accounts = accounts::gather(&client, &plan)
            .await
            .map_err(|ended| format!("failed to make accounts: {ended}"))?;
        Ok(Prepared {
            target,
            client,
            operator,
            accounts,
        })
    }

    /// Keeps the tokens that a run rotated.
    pub(crate) fn keep(&self, used: &[Credentials]) {
        if let Some(path) = &self.accounts_file {
            accounts::update(path, &self.url, used);
        }
    }

    /// Patience of the crowd.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_s)
    }
}

impl Prepared {
    /// Sets the sale up.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub(crate) async fn build(&self, plan: &StagePlan) -> Result<Vec<Stage>, String> {
        stage::build(&self.client, &self.operator, plan)
            .await
            .map_err(|ended| format!("failed to set up the sale: {ended}"))
    }
}

/// The head of a ledger for a run that begins now.
pub(crate) fn header(stages: &[Stage], accounts: &[Credentials]) -> Header {
    Header {
        started_unix_ms: unix_ms(),
        performances: stages
            .iter()
            .map(|stage| PerformanceTold {
                performance_id: stage.performance_id.clone(),
                seats_total: stage.seats_total,
            })
            .collect(),
        emails: accounts
            .iter()
            .map(|credentials| credentials.email.clone())
            .collect(),
    }
}

/// CPU time of the load and of the server over a stretch of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuWatch {
    pid: Option<u32>,
    own_us: u64,
    server_us: Option<u64>,
}

impl CpuWatch {
    /// Starts watching.
    pub(crate) fn start(pid: Option<u32>) -> Self {
        Self {
            pid,
            own_us: usage::own_cpu_us(),
            server_us: pid.and_then(usage::cpu_us),
        }
    }

    /// Microseconds since the start: own, and the server's when it is known and still the same process.
    pub(crate) fn used_us(&self) -> (u64, Option<u64>) {
        let server = self
            .pid
            .and_then(usage::cpu_us)
            .zip(self.server_us)
            .map(|(now, then)| now.saturating_sub(then));
        (usage::own_cpu_us() - self.own_us, server)
    }
}

/// Watches a sale while the crowd runs: prints a line a second, and looks whether every sample adds up.
#[derive(Debug)]
pub(crate) struct Monitor<'a> {
    pub(crate) client: &'a Client,
    pub(crate) operator: &'a Session,
    pub(crate) stages: &'a [Stage],
    pub(crate) active_max: u64,
    pub(crate) shares: usize,
}

impl Monitor<'_> {
    /// Runs until all threads have ended.
    pub(crate) async fn run(&self, mut ticks: UnboundedReceiver<Tick>) {
        let started = Instant::now();
        let mut last_serving = vec![0; self.stages.len()];
        while let Some(tick) = ticks.recv().await {
            let mut sum = tick;
            for _ in 1..self.shares {
                // The others speak at the same second; one that has ended speaks no more.
                let Ok(Some(other)) = timeout(Duration::from_millis(500), ticks.recv()).await
                else {
                    break;
                };
                sum.flows_done += other.flows_done;
                sum.flows_failed += other.flows_failed;
                sum.in_flight += other.in_flight;
                sum.late += other.late;
                sum.errors += other.errors;
                sum.refused += other.refused;
                sum.latencies
                    .add(other.latencies)
                    .expect("all have the same bounds");
            }
            print_tick(started.elapsed(), &sum);
            for (index, stage) in self.stages.iter().enumerate() {
                let sample = self.sample(stage, &mut last_serving[index]);
                // Out of reach while it is restarted: the next second has a sample again.
                let _ = timeout(SAMPLE_WITHIN, sample).await;
            }
        }
    }

    async fn sample(&self, stage: &Stage, last_serving: &mut u64) -> Result<(), Ended> {
        let stats = stage::stats(
            self.client,
            self.operator,
            &stage.performance_id,
            Step::Sample,
        )
        .await?;
        check_totals(
            &stats,
            stage.seats_total,
            &mut self.client.findings.borrow_mut(),
        );
        check_inside(
            stats.called + stats.active,
            self.active_max,
            &mut self.client.findings.borrow_mut(),
        );
        let room = stage::room(self.client, stage, Step::Sample).await?;
        check_counters(
            room.queue_counter,
            room.serving_counter,
            last_serving,
            &mut self.client.findings.borrow_mut(),
        );
        Ok(())
    }
}

fn check_inside(inside: u64, active_max: u64, findings: &mut Findings) {
    if inside > active_max {
        findings.add(Check::Inside, || {
            format!("{inside} called and entered, the ceiling is {active_max}")
        });
    }
}

fn check_counters(queue: u64, serving: u64, last_serving: &mut u64, findings: &mut Findings) {
    if serving > queue {
        findings.add(Check::Places, || {
            format!("serving counter {serving} is beyond the last number {queue}")
        });
    }
    if serving < *last_serving {
        findings.add(Check::Places, || {
            format!("the serving counter went back from {last_serving} to {serving}")
        });
    }
    *last_serving = serving.max(*last_serving);
}

fn print_tick(elapsed: Duration, tick: &Tick) {
    let at = |quantile: f64| milliseconds(tick.latencies.value_at_quantile(quantile));
    say(format_args!(
        "{:>4} s  {:>6} flows/s  in flight {:>5}  p50 {:>8.1} ms  p99 {:>8.1} ms  late {}  failed {}  errors {}  refused {}",
        elapsed.as_secs(),
        tick.flows_done,
        tick.in_flight,
        at(0.5),
        at(0.99),
        tick.late,
        tick.flows_failed,
        tick.errors,
        tick.refused,
    ));
}

/// Takes what a client measured and found. All its users have ended.
pub(crate) fn results(client: Rc<Client>) -> (Stats, Findings) {
    Rc::into_inner(client)
        .expect("all users of the client have ended")
        .into_results()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_house_and_counters_that_go_back_are_red() {
        let broken =
            |findings: &Findings| findings.iter().map(|(check, _)| check).collect::<Vec<_>>();
        let mut findings = Findings::default();
        check_inside(10, 10, &mut findings);
        let mut last = 0;
        check_counters(9, 9, &mut last, &mut findings);
        assert!(findings.is_empty());
        check_inside(11, 10, &mut findings);
        assert_eq!(broken(&findings), [Check::Inside]);
        for (queue, serving) in [(9, 8), (9, 10)] {
            let mut findings = Findings::default();
            check_counters(queue, serving, &mut last, &mut findings);
            assert_eq!(broken(&findings), [Check::Places], "{queue} {serving}");
        }
    }
}
