//! Many listeners of one waiting room: how long a step of the serving counter takes to reach all of them, and what
//! each costs the server in memory.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;
use tokio::time::sleep;

use crate::accounts::for_each_limited;
use crate::client::{Client, Ended, Session};
use crate::http::{Chunks, Connection, Request, Target};
use crate::report::{Report, say};
use crate::scenario::{Common, CpuWatch, Prepared, results};
use crate::stage::{self, Stage, StagePlan, admission_body};
use crate::stats::{Step, micros, milliseconds, new_histogram};
use crate::usage;
use crate::verdict::{Check, Findings, judge_answers};

/// Streams from one address of ours; the system has some 28,000 ports for each.
const STREAMS_PER_ADDRESS: u32 = 20_000;
/// Streams that are opened at a time.
const OPENING_AT_A_TIME: usize = 64;
/// A step that has not reached everybody after this is reported with those it reached.
const STEP_WITHIN: Duration = Duration::from_secs(10);

/// Options of `streams`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Streams open at once
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=500_000))]
    streams: u32,
    /// Steps of the serving counter that are measured
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: u32,
    /// Time between two steps, milliseconds
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    every_ms: u64,
}

/// What all listeners tell.
#[derive(Debug, Default)]
struct Arrivals {
    /// The serving counter that is waited for.
    wanted: Cell<u64>,
    /// When listeners first heard of it.
    at: RefCell<Vec<Instant>>,
    /// Streams that ended by themselves.
    lost: Cell<u32>,
    /// Streams that have heard a first frame.
    greeted: Cell<u32>,
}

#[derive(Deserialize)]
struct ServingFrame {
    serving_counter: u64,
}

/// One step of the serving counter.
#[derive(Debug)]
struct Measured {
    reached: usize,
    /// From the operator's request to the first and to the last listener.
    first: Duration,
    last: Duration,
}

/// Runs the scenario; whether all promises held.
///
/// # Errors
/// The run could not be set up, or a stream not be opened.
pub(crate) async fn run(options: Options) -> Result<bool, String> {
    let common = &options.common;
    let prepared = common.prepare(u64::from(options.streams)).await?;
    if common.accounts < options.steps {
        return Err(format!("{} steps need as many --accounts", options.steps));
    }
    let mut stages = prepared.build(&StagePlan::line(1, 1_000.0, 0)).await?;
    let stage = Rc::new(stages.remove(0));
    let Prepared {
        target,
        client,
        operator,
        accounts,
    } = prepared;
    let sessions: Rc<Vec<Session>> = Rc::new(accounts.into_iter().map(Session::new).collect());
    join_some(&client, &sessions, &stage, options.steps)
        .await
        .map_err(|ended| ended.to_string())?;

    let before_kib = common.pid.and_then(usage::resident_kib);
    let arrivals = Rc::new(Arrivals::default());
    let opened_in = open_all(&options, &target, &sessions, &stage, &arrivals).await?;
    let after_kib = common.pid.and_then(usage::resident_kib);

    let cpu = CpuWatch::start(common.pid);
    let mut measured = Vec::new();
    for step in 1..=options.steps {
        sleep(Duration::from_millis(options.every_ms)).await;
        measured
            .push(step_once(&client, &operator, &stage, &arrivals, step, options.streams).await?);
    }
    let (own_us, server_us) = cpu.used_us();
    stage::close_all(&client, &operator, std::slice::from_ref(&*stage)).await;
    let (stats, mut findings) = results(client);
    findings.merge(judge_answers(&stats, false));
    for (step, measured) in measured.iter().enumerate() {
        check_reached(step + 1, measured.reached, options.streams, &mut findings);
    }
    let mut report = Report::new("streams", stats, findings);
    add_figures(&mut report, &options, &measured, &arrivals);
    report.figure("opened_in_s", opened_in.as_secs_f64());
    report.figure("server_resident_before_kib", before_kib);
    report.figure("server_resident_after_kib", after_kib);
    report.figure(
        "server_kib_per_stream",
        kib_per_stream(before_kib, after_kib, options.streams),
    );
    report.figure("load_cpu_us_per_step", own_us / u64::from(options.steps));
    report.figure(
        "server_cpu_us_per_step",
        server_us.map(|us| us / u64::from(options.steps)),
    );
    report
        .finish(common.json.as_deref())
        .map_err(|error| error.to_string())
}

fn check_reached(step: usize, reached: usize, streams: u32, findings: &mut Findings) {
    if reached != streams as usize {
        findings.add(Check::Streams, || {
            format!("step {step} reached {reached} of {streams}")
        });
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn kib_per_stream(before: Option<u64>, after: Option<u64>, streams: u32) -> Option<f64> {
    Some(after?.saturating_sub(before?) as f64 / f64::from(streams))
}

fn add_figures(report: &mut Report, options: &Options, measured: &[Measured], arrivals: &Arrivals) {
    let (mut last, mut spread) = (new_histogram(), new_histogram());
    for step in measured {
        last.saturating_record(micros(step.last));
        spread.saturating_record(micros(step.last.saturating_sub(step.first)));
    }
    report.figure("streams", options.streams);
    report.figure("streams_lost", arrivals.lost.get());
    report.figure("steps", options.steps);
    report.figure(
        "step_reached_min",
        measured.iter().map(|step| step.reached).min(),
    );
    report.figure(
        "first_to_last_ms_p50",
        milliseconds(spread.value_at_quantile(0.5)),
    );
    report.figure("first_to_last_ms_max", milliseconds(spread.max()));
    report.figure(
        "asked_to_last_ms_p50",
        milliseconds(last.value_at_quantile(0.5)),
    );
    report.figure("asked_to_last_ms_max", milliseconds(last.max()));
}

/// So many fans join that every step has one to call.
async fn join_some(
    client: &Client,
    sessions: &[Session],
    stage: &Stage,
    count: u32,
) -> Result<(), Ended> {
    for session in &sessions[..count as usize] {
        let request = Request::post(&stage.room_path, &[], b"{}");
        drop(
            client
                .call(Step::Join, Instant::now(), Some(session), &request)
                .await?,
        );
    }
    Ok(())
}

async fn open_all(
    options: &Options,
    target: &Target,
    sessions: &Rc<Vec<Session>>,
    stage: &Rc<Stage>,
    arrivals: &Rc<Arrivals>,
) -> Result<Duration, String> {
    let started = Instant::now();
    let path: Rc<str> = Rc::from(format!("{}/stream", stage.room_path));
    let (target, sessions, shared) = (target.clone(), Rc::clone(sessions), Rc::clone(arrivals));
    let work = move |index: u32| {
        let (target, sessions) = (target.clone(), Rc::clone(&sessions));
        let (arrivals, path) = (Rc::clone(&shared), Rc::clone(&path));
        async move {
            let session = &sessions[index as usize % sessions.len()];
            let listener = Listener::open(&target, session, &path, index).await;
            let listener = listener.map_err(|error| {
                Ended::Malformed(Step::Setup, format!("stream {index}: {error}"))
            })?;
            tokio::task::spawn_local(listener.listen(arrivals));
            Ok(())
        }
    };
    for_each_limited((0..options.streams).collect(), OPENING_AT_A_TIME, work)
        .await
        .map_err(|ended| format!("failed to open all streams: {ended}"))?;
    let waiting = Instant::now();
    while arrivals.greeted.get() < options.streams && waiting.elapsed() < STEP_WITHIN {
        sleep(Duration::from_millis(50)).await;
    }
    say(format_args!(
        "{} streams open, {} have heard a first frame",
        options.streams,
        arrivals.greeted.get()
    ));
    Ok(started.elapsed())
}

/// Raises the ceiling by one, so that one more fan is called, and waits until every listener has heard it.
async fn step_once(
    client: &Client,
    operator: &Session,
    stage: &Stage,
    arrivals: &Arrivals,
    step: u32,
    streams: u32,
) -> Result<Measured, String> {
    arrivals.at.borrow_mut().clear();
    arrivals.wanted.set(step.into());
    let asked = Instant::now();
    stage::set_admission(
        client,
        operator,
        stage,
        admission_body(1_000.0, step.into()),
    )
    .await
    .map_err(|ended| format!("failed to change the admission: {ended}"))?;
    while arrivals.at.borrow().len() < streams as usize && asked.elapsed() < STEP_WITHIN {
        sleep(Duration::from_millis(5)).await;
    }
    let at = arrivals.at.borrow();
    let since = |instant: Option<&Instant>| {
        instant.map_or(STEP_WITHIN, |at| at.saturating_duration_since(asked))
    };
    let measured = Measured {
        reached: at.len(),
        first: since(at.first()),
        last: since(at.last()),
    };
    say(format_args!(
        "step {step}: {} of {streams} reached, first after {:.1} ms, last after {:.1} ms",
        measured.reached,
        milliseconds(micros(measured.first)),
        milliseconds(micros(measured.last)),
    ));
    Ok(measured)
}

/// One stream.
#[derive(Debug)]
struct Listener {
    connection: Connection,
    chunks: Chunks,
    text: Vec<u8>,
}

impl Listener {
    async fn open(
        target: &Target,
        session: &Session,
        path: &str,
        index: u32,
    ) -> std::io::Result<Self> {
        let host = u8::try_from(index / STREAMS_PER_ADDRESS + 1).map_err(std::io::Error::other)?;
        // Other loopback addresses reach only a server on loopback; elsewhere the system chooses.
        let source = target
            .address
            .ip()
            .is_loopback()
            .then_some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)));
        let source = source.filter(|_| target.address.is_ipv4());
        let mut connection = Connection::open(target, source).await?;
        let (mut chunks, mut text) = (Chunks::default(), Vec::new());
        let request = Request::get(path, &["accept: text/event-stream\r\n"]);
        let authorization = session.authorization();
        connection
            .exchange_stream(
                &target.host,
                &authorization,
                &request,
                &mut chunks,
                &mut text,
            )
            .await?;
        Ok(Self {
            connection,
            chunks,
            text,
        })
    }

    /// Listens until the stream ends; tells once for each counter that is waited for.
    async fn listen(mut self, arrivals: Rc<Arrivals>) {
        let (mut told, mut is_greeted) = (0, false);
        loop {
            let mut highest = 0;
            while let Some(counter) = next_serving(&mut self.text) {
                highest = highest.max(counter);
                if !is_greeted {
                    is_greeted = true;
                    arrivals.greeted.set(arrivals.greeted.get() + 1);
                }
            }
            let wanted = arrivals.wanted.get();
            if highest >= wanted && wanted > told {
                told = wanted;
                arrivals.at.borrow_mut().push(Instant::now());
            }
            if self
                .connection
                .stream_read(&mut self.chunks, &mut self.text)
                .await
                .is_err()
            {
                arrivals.lost.set(arrivals.lost.get() + 1);
                return;
            }
        }
    }
}

/// Takes whole events off the front of `text` up to the next `serving`; its counter.
fn next_serving(text: &mut Vec<u8>) -> Option<u64> {
    while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
        let event: Vec<u8> = text.drain(..end + 2).collect();
        let (mut is_serving, mut data) = (false, &b""[..]);
        for line in event.split(|byte| *byte == b'\n') {
            if let Some(name) = line.strip_prefix(b"event:") {
                is_serving = name.trim_ascii() == b"serving";
            } else if let Some(value) = line.strip_prefix(b"data:") {
                data = value.trim_ascii();
            }
        }
        if is_serving && let Ok(frame) = serde_json::from_slice::<ServingFrame>(data) {
            return Some(frame.serving_counter);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_does_not_reach_everybody_is_red() {
        let mut findings = Findings::default();
        check_reached(1, 10, 10, &mut findings);
        assert!(findings.is_empty());
        check_reached(2, 9, 10, &mut findings);
        assert_eq!(
            findings.iter().map(|(check, _)| check).collect::<Vec<_>>(),
            [Check::Streams]
        );
    }

    #[test]
    fn serving_events_are_found_among_others_and_only_when_whole() {
        let mut text = b"event: place\ndata: {\"number\":1}\n\n: still here\n\nid: 4\nevent: serving\ndata: {\"serving_counter\":7,\"state\":\"open\"}\n".to_vec();
        assert_eq!(next_serving(&mut text), None);
        text.extend_from_slice(b"\nevent: serving\ndata: {\"serving_counter\":8}\n\n");
        assert_eq!(next_serving(&mut text), Some(7));
        assert_eq!(next_serving(&mut text), Some(8));
        assert_eq!(next_serving(&mut text), None);
        assert!(text.is_empty());
    }
}
