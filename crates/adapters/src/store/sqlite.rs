//! The embedded store: SQLite with one writer thread and readers beside it.
//!
//! Group commit: what arrives while one transaction is written goes into the next. The writer drains its queue, runs each
//! job on the rows in turn, commits once (`synchronous=FULL`), and only then answers them all. A job that fails takes its
//! transaction down; the others of that batch are then run one by one, so that it hurts nobody else.

use std::cell::RefCell;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use boxoffice_core::Timestamp;
use boxoffice_core::booking::Work;
use boxoffice_core::seating::{SeatNo, SeatState};
use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::performance::Performance;

use super::kept::{Follows, Kept, mark};

/// Jobs that may wait for the writer; more are refused with [`Failure::Busy`].
const QUEUE_MAX: usize = 16_384;
/// Jobs in one transaction.
const BATCH_MAX: usize = 512;
/// Reader threads, each with a connection of its own.
const READERS: usize = 2;
/// Reads that may wait for a reader.
const READS_MAX: usize = 4_096;
/// Prepared statements kept by each connection.
const STATEMENTS_MAX: usize = 128;

refinery::embed_migrations!("src/store/migrations");

/// What a process opens the file for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// To sell: nobody else may meanwhile.
    Serve,
    /// For one command, beside whoever serves.
    Beside,
}

/// A transaction as a job sees it: rows, the instant of the batch, and what is to follow when it is committed.
pub(super) struct Tx<'a> {
    pub(super) rows: &'a Connection,
    /// Stamped once for the batch; the store's clock, by which expiry is judged.
    pub(super) now: Timestamp,
    pub(super) kept: &'a Kept,
    follow: RefCell<Follow>,
}

/// What follows a commit, or undoes what was marked before it.
#[derive(Default)]
struct Follow {
    changes: Vec<(Arc<Performance>, Follows)>,
    /// Seats that were marked as held before the commit, so that the batch picks no seat twice.
    picked: Vec<(Arc<Performance>, Vec<SeatNo>)>,
    /// Work that the outbox holds now.
    work: Vec<Work>,
}

impl Tx<'_> {
    /// What the picture and the counts follow once this is committed.
    pub(super) fn follow(&self, performance: &Arc<Performance>, change: Follows) {
        self.follow
            .borrow_mut()
            .changes
            .push((Arc::clone(performance), change));
    }

    /// Marks free seats as held right away, so that the next job of the batch picks others; taken back if the commit fails.
    pub(super) fn pick(&self, performance: &Arc<Performance>, seats: &[SeatNo]) {
        mark(performance, seats, SeatState::Held);
        self.follow
            .borrow_mut()
            .picked
            .push((Arc::clone(performance), seats.to_vec()));
    }

    /// Takes the last pick back: the rules refused it.
    pub(super) fn unpick(&self) {
        if let Some((performance, seats)) = self.follow.borrow_mut().picked.pop() {
            mark(&performance, &seats, SeatState::Free);
        }
    }

    /// Hands work on once this is committed.
    pub(super) fn begin(&self, work: Work) {
        self.follow.borrow_mut().work.push(work);
    }

    /// Runs a statement that changes rows.
    pub(super) fn change(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<usize, Failure> {
        self.rows
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(failure)
    }

    /// Asks for one row, which may be missing.
    pub(super) fn one<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Failure> {
        self.rows
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params, read).optional())
            .map_err(failure)
    }
}

/// A job for the writer: run (perhaps twice), then answered.
trait Job: Send {
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), Failure>;
    fn answer(self: Box<Self>, committed: Result<(), Failure>);
}

struct Task<F, T> {
    work: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, Failure>>,
}

impl<T: Send, F: FnMut(&Tx<'_>) -> Result<T, Failure> + Send> Job for Task<F, T> {
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), Failure> {
        self.result = Some((self.work)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), Failure>) {
        let Self {
            work: _,
            result,
            reply,
        } = *self;
        let result = committed.and_then(|()| {
            result.ok_or_else(|| Failure::Broken("a committed job has no result".to_owned()))
        });
        // The client may have gone; the work stands all the same.
        let _ = reply.send(result);
    }
}

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The embedded store's threads, spoken to by queue.
#[derive(Debug)]
pub struct Sqlite {
    writer: SyncSender<Box<dyn Job>>,
    readers: SyncSender<Read>,
    pub(super) kept: Arc<Kept>,
    threads: parking_lot::Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Sqlite {
    /// Opens (or makes) the file, brings its schema up to date, and starts the threads. `begun` gets each commit's work.
    ///
    /// # Errors
    /// [`Failure::Broken`] when the file cannot be opened, locked or migrated; the text says which and why.
    pub(super) fn open(
        path: &Path,
        purpose: Use,
        clock: Arc<Clock>,
        metrics: Arc<Metrics>,
        begun: impl Fn(Vec<Work>) + Send + 'static,
    ) -> Result<Self, Failure> {
        let broken = |what: &str, why: &dyn std::fmt::Display| {
            Failure::Broken(format!("failed to {what} {}: {why}", path.display()))
        };
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(|why| broken("make the folder of", &why))?;
        }
        let lock = lock(path, purpose).map_err(|why| broken("lock", &why))?;
        let mut connection = connect(path).map_err(|why| broken("open", &why))?;
        migrations::runner()
            .run(&mut connection)
            .map_err(|why| broken("migrate", &why))?;
        let kept = Arc::new(Kept::new(Arc::clone(&metrics)));
        let (writer, jobs) = sync_channel(QUEUE_MAX);
        let (readers, reads) = sync_channel::<Read>(READS_MAX);
        let reads = Arc::new(parking_lot::Mutex::new(reads));
        let mut threads = Vec::new();
        for number in 0..READERS {
            let (connection, reads) = (
                connect(path).map_err(|why| broken("open", &why))?,
                Arc::clone(&reads),
            );
            connection
                .pragma_update(None, "query_only", true)
                .map_err(|why| broken("set up", &why))?;
            let thread = thread::Builder::new()
                .name(format!("read-{number}"))
                .spawn(move || read(&connection, &reads));
            threads.push(thread.map_err(|why| broken("start a reader of", &why))?);
        }
        let mut writing = Writer {
            _lock: lock,
            connection,
            clock,
            metrics,
            kept: Arc::clone(&kept),
            begun,
        };
        let thread = thread::Builder::new()
            .name("write".to_owned())
            .spawn(move || writing.run(&jobs));
        threads.push(thread.map_err(|why| broken("start the writer of", &why))?);
        Ok(Self {
            writer,
            readers,
            kept,
            threads: parking_lot::Mutex::new(threads),
        })
    }

    /// Runs a job in the next transaction; answered when that is durable.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Tx<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Task {
            work,
            result: None,
            reply,
        });
        self.writer.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Failure::BUSY,
            TrySendError::Disconnected(_) => {
                Failure::Broken("the store's writer has ended".to_owned())
            }
        })?;
        answer.await.map_err(|_| Failure::BUSY)?
    }

    /// Reads on a snapshot of what is committed.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move |rows| {
            let _ = reply.send(work(rows).map_err(failure));
        });
        self.readers.try_send(read).map_err(|_| Failure::BUSY)?;
        answer.await.map_err(|_| Failure::BUSY)?
    }
}

/// One process owns the file: two would each believe their own memory. The file, its journal and this lock are for their
/// owner's eyes only: they hold secrets.
fn lock(path: &Path, purpose: Use) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let open = |path: &Path| {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
    };
    // SQLite gives its journal the rights of the file, so the file must be there first.
    drop(open(path)?);
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = open(Path::new(&name))?;
    if purpose == Use::Serve {
        lock.try_lock().map_err(|why| match why {
            TryLockError::WouldBlock => std::io::Error::other("another boxoffice has it open; end that one, or give this one a file of its own by store.url"),
            TryLockError::Error(error) => error,
        })?;
    }
    Ok(lock)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    Ok(connection)
}

fn read(connection: &Connection, reads: &parking_lot::Mutex<Receiver<Read>>) {
    loop {
        // The lock covers the wait for the next read only: one reader waits, the others read.
        let next = reads.lock().recv();
        match next {
            Ok(work) => work(connection),
            Err(_) => return,
        }
    }
}

/// What the writer's thread works with.
struct Writer<B> {
    /// Held as long as the store is open.
    _lock: File,
    connection: Connection,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    kept: Arc<Kept>,
    begun: B,
}

impl<B: Fn(Vec<Work>)> Writer<B> {
    fn run(&mut self, jobs: &Receiver<Box<dyn Job>>) {
        while let Ok(first) = jobs.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX {
                let Ok(job) = jobs.try_recv() else { break };
                batch.push(job);
            }
            self.metrics.batch_size("store", batch.len());
            let outcome = self.commit(&mut batch);
            if outcome.is_ok() || batch.len() == 1 {
                self.finish(batch, &outcome);
                continue;
            }
            // One of them is bad: each on its own, so that it fails alone.
            for job in batch {
                let mut alone = vec![job];
                let outcome = self.commit(&mut alone);
                self.finish(alone, &outcome);
            }
        }
    }

    fn finish(&self, batch: Vec<Box<dyn Job>>, outcome: &Result<(), Failure>) {
        if let Err(failure) = outcome {
            self.metrics.failure("store");
            tracing::error!(%failure, "failed to commit a batch");
        }
        for job in batch {
            job.answer(outcome.clone());
        }
    }

    fn commit(&self, batch: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let run = |sql: &str| {
            self.connection
                .prepare_cached(sql)
                .and_then(|mut statement| statement.execute([]))
                .map(|_| ())
                .map_err(failure)
        };
        run("BEGIN IMMEDIATE")?;
        let tx = Tx {
            rows: &self.connection,
            now: self.clock.now(),
            kept: &self.kept,
            follow: RefCell::default(),
        };
        let decide = || batch.iter_mut().try_for_each(|job| job.run(&tx));
        // A broken invariant in one job must not take the writer down with it: the batch is rolled back like any failure.
        let decided = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decide))
            .unwrap_or_else(|_| {
                self.metrics.assertions_failed.inc();
                Err(Failure::Broken("an invariant did not hold".to_owned()))
            });
        let outcome = decided.and_then(|()| run("COMMIT"));
        let (now, follow) = (tx.now, tx.follow.into_inner());
        if let Err(failure) = outcome {
            if !self.connection.is_autocommit() {
                let _ = run("ROLLBACK");
            }
            for (performance, seats) in follow.picked.iter().rev() {
                mark(performance, seats, SeatState::Free);
            }
            return Err(failure);
        }
        for (performance, change) in follow.changes {
            self.kept.follow(&performance, change, now);
        }
        if !follow.work.is_empty() {
            (self.begun)(follow.work);
        }
        Ok(())
    }
}

/// What an error of SQLite means to us.
pub(super) fn failure(error: rusqlite::Error) -> Failure {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly,
        ) => {
            tracing::warn!(%error, "the store is away for the moment");
            Failure::BUSY
        }
        Some(_) | None => Failure::Broken(format!("failed to run a statement: {error}")),
    }
}

/// A row count that must be this; anything else means that the rows are not what the batch was decided on.
pub(super) fn expect_rows(what: &str, changed: usize, expected: usize) -> Result<(), Failure> {
    if changed == expected {
        Ok(())
    } else {
        Err(Failure::Broken(format!(
            "{what}: {changed} rows changed where {expected} must"
        )))
    }
}

impl Sqlite {
    /// Lets the queue run empty and ends the threads. Nothing may be sent afterwards.
    pub(super) fn close(self) {
        let Self {
            writer,
            readers,
            kept: _,
            threads,
        } = self;
        drop((writer, readers));
        for thread in threads.into_inner() {
            let _ = thread.join();
        }
    }
}
