//! Wiring: all parts of one process, started in the order in which they need each other and ended in the reverse.

use std::sync::Arc;
use std::time::Duration;

use boxoffice_adapters::Failure;
use boxoffice_adapters::clock::Clock;
use boxoffice_adapters::live::Live;
use boxoffice_adapters::metrics::Metrics;
use boxoffice_adapters::notify::Mailer;
use boxoffice_adapters::pay::Provider;
use boxoffice_adapters::performance::Catalogue;
use boxoffice_adapters::room::Room;
use boxoffice_adapters::store::Store;
use boxoffice_api::auth::{Auth, derive};
use boxoffice_api::config::AuthConfig;
use boxoffice_api::proof::Proofs;
use boxoffice_api::{App, Frames, Parts, serve};
use boxoffice_core::Timestamp;
use boxoffice_core::booking::Work;
use boxoffice_core::pass::Signer;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::config::Config;
use crate::notifier::Notifier;
use crate::setup;
use crate::worker::Worker;

/// Work that may wait in this process; more stays in the outbox and is taken up from there.
const WORK_MAX: usize = 16_384;
/// How often the outbox is looked through for work that was not ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often expired holds are swept out of the picture; the contract allows them 2 s.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// Where work goes when the store has committed it.
#[derive(Clone)]
struct Desk {
    worker: mpsc::Sender<Work>,
    notifier: mpsc::Sender<Work>,
}

impl Desk {
    /// Hands work to whoever does it. A full queue is no loss: the outbox has it.
    fn hand(&self, work: Work) {
        match work {
            Work::Pay(_) | Work::Refund(_) => drop(self.worker.try_send(work)),
            Work::TellBooking(_) | Work::Call(..) => drop(self.notifier.try_send(work)),
        }
    }
}

/// What everything in the process shares.
#[derive(Clone)]
struct Base {
    store: Arc<Store>,
    room: Arc<Room>,
    catalogue: Arc<Catalogue>,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
}

/// What the loops take their work from.
struct Queues {
    worker: mpsc::Receiver<Work>,
    notifier: mpsc::Receiver<Work>,
}

/// Runs everything until the process is told to end.
///
/// # Errors
/// What could not be started and why, as a sentence.
pub(crate) async fn serve(config: Config) -> Result<(), String> {
    // The address first: a second start by mistake must not touch the store of the first.
    let listener = serve::bind(config.listen)?;
    let mailer = Mailer::from_url(config.notify.smtp_url.as_deref(), &config.notify.from)
        .map_err(|fault| fault.to_string())?;
    let (to_worker, for_worker) = mpsc::channel(WORK_MAX);
    let (to_notifier, for_notifier) = mpsc::channel(WORK_MAX);
    let (desk, queues) = (
        Desk {
            worker: to_worker,
            notifier: to_notifier,
        },
        Queues {
            worker: for_worker,
            notifier: for_notifier,
        },
    );
    let started = start(&config, &desk).await;
    let (base, auth, signer, proofs) = started.map_err(|failure| failure.to_string())?;
    spawn_loops(&base, &config, mailer, desk, queues);

    let (end, ending) = watch::channel(false);
    let parts = Parts {
        store: Arc::clone(&base.store),
        room: base.room,
        catalogue: Arc::clone(&base.catalogue),
        live: base.live,
        metrics: base.metrics,
        clock: base.clock,
        signer,
        auth,
        proofs,
        http: config.http.clone(),
        shutdown: ending.clone(),
        streams: Arc::new(Semaphore::new(config.http.streams_max)),
        lines: Frames::default(),
    };
    let router = boxoffice_api::router(App::new(parts))
        .map_err(|why| format!("failed to write the OpenAPI document: {why}"))?;
    setup::say_where_to_look(&config, &base.catalogue);
    tokio::spawn(async move {
        told_to_end().await;
        tracing::info!("ending: no new requests, streams are told to come back");
        let _ = end.send(true);
    });
    serve::serve(listener, router, &config.http, ending).await;
    Ok(())
}

/// Opens the store and brings what is kept in memory up from it; the first start makes what is missing.
async fn start(config: &Config, desk: &Desk) -> Result<(Base, Auth, Signer, Proofs), Failure> {
    let (clock, metrics) = (Arc::new(Clock::default()), Arc::new(Metrics::default()));
    let live = Arc::new(Live::default());
    let begun = desk.clone();
    let hand_on = move |works: Vec<Work>| works.into_iter().for_each(|work| begun.hand(work));
    let store = Store::open(
        &config.store.url,
        Arc::clone(&clock),
        Arc::clone(&metrics),
        hand_on,
    )?;
    let store = Arc::new(store);
    let catalogue = store.load(clock.now()).await?;
    store.restore_notice_counts().await?;
    let secret = setup::secret(config, &store).await?;
    let auth_config = AuthConfig {
        secret: secret.clone(),
        ..config.auth.clone()
    };
    // A session that ended longer ago has no access token that still lives.
    let since = Timestamp(clock.now().0 - i64::from(config.auth.access_ttl_s) * 1_000_000);
    let ended = store.sessions_ended_since(since).await?;
    let auth = Auth::new(&auth_config, ended)?;
    let signer = Signer::new(&derive(&secret, "pass"));
    let proofs = Proofs::new(&derive(&secret, "proof"), &config.http, clock.now());
    setup::first_start(config, &store, &catalogue, &auth, &clock).await?;
    let room = Arc::new(Room::memory(
        Arc::clone(&store),
        Arc::clone(&clock),
        Arc::clone(&live),
        Arc::clone(&metrics),
        desk.notifier.clone(),
    ));
    for performance in catalogue.performances(None) {
        room.open(&performance).await?;
    }
    Ok((
        Base {
            store,
            room,
            catalogue,
            live,
            metrics,
            clock,
        },
        auth,
        signer,
        proofs,
    ))
}

/// Starts the worker, the notifier and what looks after them.
fn spawn_loops(base: &Base, config: &Config, mailer: Mailer, desk: Desk, queues: Queues) {
    let (provider, callbacks) = Provider::sandbox(Arc::clone(&base.store));
    let worker = Worker {
        store: Arc::clone(&base.store),
        room: Arc::clone(&base.room),
        live: Arc::clone(&base.live),
        provider,
        metrics: Arc::clone(&base.metrics),
        clock: Arc::clone(&base.clock),
    };
    let notifier = Notifier {
        store: Arc::clone(&base.store),
        catalogue: Arc::clone(&base.catalogue),
        live: Arc::clone(&base.live),
        mailer: Arc::new(mailer),
        metrics: Arc::clone(&base.metrics),
        clock: Arc::clone(&base.clock),
        public_url: config.http.public_url.as_str().into(),
        under_way: Arc::default(),
        news: Arc::default(),
    };
    tokio::spawn(worker.clone().run(queues.worker));
    tokio::spawn(worker.listen(callbacks));
    tokio::spawn(notifier.clone().run(queues.notifier));
    tokio::spawn(notifier.send_due());
    tokio::spawn(look_through(Arc::clone(&base.store), desk));
    tokio::spawn(housekeeping(base.clone()));
}

/// Takes up what should be done by now and is not: after a crash, a silence, a failure.
async fn look_through(store: Arc<Store>, desk: Desk) {
    loop {
        match store.take_due().await {
            Ok(due) => due.into_iter().for_each(|work| desk.hand(work)),
            Err(failure) => {
                tracing::warn!(%failure, "failed to look through the outbox; the next look will")
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Small things that time brings: expired holds, listeners that are gone, figures of the lines.
async fn housekeeping(base: Base) {
    let Base {
        store,
        room,
        catalogue,
        live,
        metrics,
        clock,
    } = base;
    let mut round = 0_u64;
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        if let Err(failure) = store.sweep_holds(clock.now()).await {
            tracing::warn!(%failure, "failed to sweep expired holds; the next round will");
        }
        round += 1;
        if round.is_multiple_of(4) {
            live.sweep();
            for performance in catalogue.performances(None) {
                let status = room.status(&performance);
                if status.queue_counter > 0 {
                    metrics.room(
                        &performance.performance_id.to_string(),
                        status.waiting,
                        status.serving_counter,
                    );
                }
            }
        }
    }
}

/// Ends when the process is asked to end, by the terminal or by its supervisor.
async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "failed to listen for signals; end the process by force");
            std::future::pending::<()>().await;
        }
    }
}
