//! The crowd of one thread: starts flows at their planned times, each by a fan who has none under way.
//!
//! Threads share nothing: each has its own part of the fans, of the plan and of the connections. What it keeps true:
//! a flow that could not start in time starts late, and its lateness is part of its latency.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use crate::client::{Client, Credentials, Session};
use crate::flow::{self, Choice, Fan, Purchase};
use crate::http::Target;
use crate::ledger::Told;
use crate::pace::Pace;
use crate::stage::Stage;
use crate::stats::{Stats, Step, micros};
use crate::verdict::Findings;

/// Timers have this grain; a shorter sleep would only spin.
const GRAIN: Duration = Duration::from_millis(1);

/// What drives the crowd.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Drive {
    /// Planned times: the open loop.
    Open(Pace),
    /// So many flows at a time: a closed loop, good only for finding the ceiling.
    Closed {
        /// Flows at a time.
        in_flight: usize,
    },
}

/// The part of a run that one thread does.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) target: Target,
    /// The accounts with their index in the run.
    pub(crate) accounts: Vec<(u32, Credentials)>,
    pub(crate) stages: Arc<Vec<Stage>>,
    pub(crate) choice: Choice,
    pub(crate) quantity: u32,
    pub(crate) drive: Drive,
    /// How long flows are started.
    pub(crate) length: Duration,
    pub(crate) in_flight_max: usize,
    pub(crate) connections_max: usize,
    pub(crate) patience: Duration,
    pub(crate) started: Instant,
    pub(crate) ticks: UnboundedSender<Tick>,
    pub(crate) index: usize,
    pub(crate) shares: usize,
}

/// What one thread says about its last second.
#[derive(Debug)]
pub(crate) struct Tick {
    pub(crate) flows_done: u64,
    pub(crate) flows_failed: u64,
    pub(crate) in_flight: usize,
    /// Flows whose time has come and that have not started.
    pub(crate) late: u64,
    pub(crate) errors: u64,
    pub(crate) refused: u64,
    pub(crate) latencies: Histogram<u64>,
}

/// What one thread brings home.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stats: Stats,
    pub(crate) findings: Findings,
    pub(crate) told: Vec<Told>,
    pub(crate) accounts: Vec<(u32, Credentials)>,
    /// When the last flow ended.
    pub(crate) ended: Instant,
}

#[derive(Debug)]
struct Crowd {
    client: Client,
    fans: Vec<Fan>,
    free: RefCell<VecDeque<usize>>,
    stages: Arc<Vec<Stage>>,
    purchase: Purchase,
    in_flight: Cell<usize>,
    late: Cell<u64>,
    finished: Notify,
    told: RefCell<Vec<Told>>,
    /// Flows and their latencies since the last tick.
    recent: RefCell<Histogram<u64>>,
    recent_failed: Cell<u64>,
}

/// Runs a share to its end, on the thread it is called on.
///
/// # Errors
/// The runtime cannot be started.
pub(crate) fn run_share(share: Share) -> std::io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    Ok(runtime.block_on(run(share)))
}

async fn run(share: Share) -> Outcome {
    let (drive, length, in_flight_max) = (share.drive, share.length, share.in_flight_max);
    let (patience, ticks) = (share.patience, share.ticks.clone());
    let crowd = Rc::new(Crowd::new(share));
    let ticker = tokio::task::spawn_local(tell(Rc::clone(&crowd), ticks));
    match drive {
        Drive::Open(pace) => {
            let not_started =
                start_at_planned_times(&crowd, pace, in_flight_max, length + patience).await;
            for _ in 0..not_started {
                crowd
                    .client
                    .stats
                    .borrow_mut()
                    .count_failed("never started".to_owned());
            }
        }
        Drive::Closed { in_flight } => keep_in_flight(&crowd, in_flight, length).await,
    }
    while crowd.in_flight.get() > 0 {
        crowd.finished.notified().await;
    }
    let ended = Instant::now();
    ticker.abort();
    // The only other owner is the ticker; its end has to be waited for.
    let _ = ticker.await;
    let crowd = Rc::into_inner(crowd).expect("all flows and the ticker have ended");
    let (stats, findings) = crowd.client.into_results();
    let accounts = crowd
        .fans
        .into_iter()
        .map(|fan| (fan.index, fan.session.into_credentials()))
        .collect();
    Outcome {
        stats,
        findings,
        told: crowd.told.into_inner(),
        accounts,
        ended,
    }
}

fn recent_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 2)
        .expect("the bounds are in order and the digits are 2")
}

/// Starts every flow at its time, or as soon after it as a fan and a place among those in flight are free. How many
/// were not started before `end`.
async fn start_at_planned_times(
    crowd: &Rc<Crowd>,
    pace: Pace,
    in_flight_max: usize,
    end: Duration,
) -> u64 {
    let started = crowd.client.started;
    let mut next = 0;
    while next < pace.count() {
        let now = started.elapsed();
        if now > end {
            break;
        }
        let due = pace.due(now);
        while next < due
            && crowd.in_flight.get() < in_flight_max
            && crowd.start(next, started + pace.planned(next))
        {
            next += 1;
        }
        crowd.late.set(due - next);
        let until_next = pace.planned(next).saturating_sub(started.elapsed());
        sleep(until_next.max(GRAIN)).await;
    }
    crowd.late.set(0);
    pace.count() - next
}

async fn keep_in_flight(crowd: &Rc<Crowd>, in_flight: usize, length: Duration) {
    let started = crowd.client.started;
    sleep(started.saturating_duration_since(Instant::now())).await;
    let mut next = 0;
    while started.elapsed() < length {
        while crowd.in_flight.get() < in_flight && crowd.start(next, Instant::now()) {
            next += 1;
        }
        crowd.finished.notified().await;
    }
}

impl Crowd {
    fn new(share: Share) -> Self {
        let new_fan = |(index, credentials)| Fan {
            index,
            session: Session::new(credentials),
            has_old_place: Cell::new(false),
        };
        let fans: Vec<Fan> = share.accounts.into_iter().map(new_fan).collect();
        Self {
            client: Client::new(
                share.target,
                share.connections_max,
                share.patience,
                share.started,
            ),
            free: RefCell::new((0..fans.len()).collect()),
            fans,
            stages: share.stages,
            purchase: Purchase {
                choice: share.choice,
                quantity: share.quantity,
                turn: Cell::new(share.index as u64),
                turn_step: share.shares as u64,
            },
            in_flight: Cell::new(0),
            late: Cell::new(0),
            finished: Notify::new(),
            told: RefCell::default(),
            recent: RefCell::new(recent_histogram()),
            recent_failed: Cell::new(0),
        }
    }

    /// Starts a flow; `false` when every fan has one under way.
    fn start(self: &Rc<Self>, flow: u64, planned: Instant) -> bool {
        let Some(fan) = self.free.borrow_mut().pop_front() else {
            return false;
        };
        self.in_flight.set(self.in_flight.get() + 1);
        let stage =
            usize::try_from(flow % self.stages.len() as u64).expect("below the length of a slice");
        let crowd = Rc::clone(self);
        tokio::task::spawn_local(async move { crowd.one_flow(fan, stage, planned).await });
        true
    }

    async fn one_flow(self: Rc<Self>, fan: usize, stage: usize, planned: Instant) {
        self.client
            .stats
            .borrow_mut()
            .record(Step::Lateness, planned.elapsed());
        let performance = u32::try_from(stage).expect("few performances");
        let mut told = Told {
            performance,
            account: self.fans[fan].index,
            ..Told::default()
        };
        let result = flow::run(
            &self.client,
            &self.fans[fan],
            &self.stages[stage],
            &self.purchase,
            planned,
            &mut told,
        )
        .await;
        match result {
            Ok(()) => {
                self.client.stats.borrow_mut().flows_done += 1;
                self.recent
                    .borrow_mut()
                    .saturating_record(micros(planned.elapsed()));
            }
            Err(ended) => {
                self.client.stats.borrow_mut().count_failed(ended.reason());
                self.recent_failed.set(self.recent_failed.get() + 1);
            }
        }
        self.told.borrow_mut().push(told);
        self.in_flight.set(self.in_flight.get() - 1);
        self.free.borrow_mut().push_back(fan);
        self.finished.notify_one();
    }
}

/// Tells once a second how it goes.
async fn tell(crowd: Rc<Crowd>, ticks: UnboundedSender<Tick>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.tick().await;
    loop {
        every.tick().await;
        let latencies = crowd.recent.replace(recent_histogram());
        let tick = {
            let stats = crowd.client.stats.borrow();
            Tick {
                flows_done: latencies.len(),
                flows_failed: crowd.recent_failed.take(),
                in_flight: crowd.in_flight.get(),
                late: crowd.late.get(),
                errors: stats.errors(),
                refused: stats.refused.values().sum(),
                latencies,
            }
        };
        if ticks.send(tick).is_err() {
            return;
        }
    }
}
