//! The room decides the order: numbers, calls and passes of each waiting room.
//!
//! In memory there is one loop per performance. What arrives while the journal writes one batch goes into the next:
//! decided on the room as it stands, journalled in one transaction, applied, answered. A batch that the store does not
//! take is not applied, and its clients are told that we are busy. Readers see applied changes only.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use boxoffice_core::admission::AdmissionPolicy;
use boxoffice_core::booking::Work;
use boxoffice_core::sale::SaleState;
use boxoffice_core::waiting_room::{Draft, PlaceView, RoomChanges, WaitingRoom};
use boxoffice_core::{AccountId, PerformanceId, Refusal, Timestamp};
use parking_lot::RwLock;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::Clock;
use crate::failure::Failure;
use crate::live::{Happening, Live};
use crate::metrics::Metrics;
use crate::performance::Performance;
use crate::store::Store;

/// Commands that may wait for a room's loop; more are refused with [`Failure::Busy`].
const QUEUE_MAX: usize = 65_536;
/// Commands in one batch.
const BATCH_MAX: usize = 1_024;
/// A loop looks at its room at least this often, seconds, so that nothing forgotten can stall a line.
const LOOK_EVERY_S: u32 = 1;

/// How a waiting room stands.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct RoomStatus {
    /// Where the sale stands.
    pub state: SaleState,
    /// Last number given.
    pub queue_counter: u32,
    /// Highest number called.
    pub serving_counter: u32,
    /// Live places not called yet.
    pub waiting: u32,
    /// Called, not entered yet.
    pub called: u32,
    /// Called or inside.
    pub active: u32,
    /// Calls a second over the last half minute, as they were.
    pub rate_seen: f64,
}

/// Where the order is decided.
#[derive(Debug)]
pub enum Room {
    /// In this process.
    Memory(MemoryRoom),
}

/// What all loops share.
#[derive(Debug)]
pub struct MemoryRoom {
    lines: RwLock<HashMap<PerformanceId, Arc<Line>>>,
    parts: Arc<LoopParts>,
}

#[derive(Debug)]
struct LoopParts {
    store: Arc<Store>,
    clock: Arc<Clock>,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    /// Where calls are handed to; the outbox has them too.
    calls: mpsc::Sender<Work>,
}

/// One performance's line.
#[derive(Debug)]
struct Line {
    performance: Arc<Performance>,
    room: RwLock<WaitingRoom>,
    commands: mpsc::Sender<Command>,
    rules_changed: Notify,
    /// The instant for which a batch was decided that is being saved, 0 when there is none: until it is applied the line is
    /// shown as of then, or a place whose time ends meanwhile would be seen to lapse and live again.
    deciding_at: AtomicI64,
}

/// Where an answer goes: what was decided, or that we failed.
type Reply<T> = oneshot::Sender<Result<Result<T, Refusal>, Failure>>;

/// What a fan (or the worker) asks of a room.
#[derive(Debug)]
enum Command {
    Join(AccountId, Reply<(PlaceView, bool)>),
    Leave(AccountId, Reply<()>),
    Enter(AccountId, Reply<(u32, Timestamp, bool)>),
    Used(u32),
}

/// What a batch has decided and not yet said.
enum Answer {
    Join(AccountId, Result<bool, Refusal>, Reply<(PlaceView, bool)>),
    Leave(Result<(), Refusal>, Reply<()>),
    Enter(
        AccountId,
        Result<(u32, Timestamp, bool), Refusal>,
        Reply<(u32, Timestamp, bool)>,
    ),
}

impl Room {
    /// Rooms in this process, journalled in the store. Calls are handed to `calls` once those who are called see them.
    #[must_use]
    pub fn memory(
        store: Arc<Store>,
        clock: Arc<Clock>,
        live: Arc<Live>,
        metrics: Arc<Metrics>,
        calls: mpsc::Sender<Work>,
    ) -> Self {
        let parts = Arc::new(LoopParts {
            store,
            clock,
            live,
            metrics,
            calls,
        });
        Self::Memory(MemoryRoom {
            lines: RwLock::default(),
            parts,
        })
    }

    /// Opens a performance's line from the journal. To be done before it is sold, and at each start.
    ///
    /// # Errors
    /// [`Failure`] when the journal cannot be read.
    pub async fn open(&self, performance: &Arc<Performance>) -> Result<(), Failure> {
        let Self::Memory(memory) = self;
        let parts = &memory.parts;
        let room = parts
            .store
            .load_room(
                performance.performance_id,
                performance.epoch,
                parts.clock.now(),
            )
            .await?;
        let (commands, received) = mpsc::channel(QUEUE_MAX);
        let line = Arc::new(Line {
            performance: Arc::clone(performance),
            room: RwLock::new(room),
            commands,
            rules_changed: Notify::new(),
            deciding_at: AtomicI64::new(0),
        });
        let known = memory
            .lines
            .write()
            .insert(performance.performance_id, Arc::clone(&line));
        assert!(known.is_none(), "a line is opened once");
        tokio::spawn(run(line, Arc::clone(parts), received));
        Ok(())
    }

    /// Takes a place, or finds the live one: true when it is new.
    ///
    /// # Errors
    /// [`Failure::Busy`]: the same request may be repeated.
    pub async fn join(
        &self,
        performance: &Performance,
        account: AccountId,
    ) -> Result<Result<(PlaceView, bool), Refusal>, Failure> {
        if performance.rules().admission.is_none() {
            return Ok(Err(Refusal::NoWaitingRoom));
        }
        // A repeat is the commonest call at an opening, and memory knows the answer.
        if let Some(view) = self.place(performance, account).filter(is_live) {
            return Ok(Ok((view, false)));
        }
        self.ask(performance.performance_id, |reply| {
            Command::Join(account, reply)
        })
        .await
    }

    /// Gives the fan's place up.
    ///
    /// # Errors
    /// [`Failure::Busy`]: the same request may be repeated.
    pub async fn leave(
        &self,
        performance: &Performance,
        account: AccountId,
    ) -> Result<Result<(), Refusal>, Failure> {
        self.ask(performance.performance_id, |reply| {
            Command::Leave(account, reply)
        })
        .await
    }

    /// Takes a pass for a called place: number, when it runs out, and whether it is new.
    ///
    /// # Errors
    /// [`Failure::Busy`]: the same request may be repeated.
    pub async fn enter(
        &self,
        performance: &Performance,
        account: AccountId,
    ) -> Result<Result<(u32, Timestamp, bool), Refusal>, Failure> {
        if performance.rules().admission.is_none() {
            return Ok(Err(Refusal::NoWaitingRoom));
        }
        self.ask(performance.performance_id, |reply| {
            Command::Enter(account, reply)
        })
        .await
    }

    /// A booking of this place's pass is confirmed, and its row says so: the slot is free.
    pub fn used(&self, performance: PerformanceId, number: u32) {
        if let Some(line) = self.line(performance) {
            // When the queue is full the slot stays taken until its pass runs out: never wrong, only slower.
            let _ = line.commands.try_send(Command::Used(number));
        }
    }

    /// The fan's place, as it stands.
    #[must_use]
    pub fn place(&self, performance: &Performance, account: AccountId) -> Option<PlaceView> {
        let line = self.line(performance.performance_id)?;
        let rules = performance.rules();
        let policy = rules.admission.unwrap_or(NOBODY);
        let room = line.room.read();
        room.view(account, &rules.sale, &policy, line.shown_at(self.now()))
    }

    /// How the line stands.
    #[must_use]
    pub fn status(&self, performance: &Performance) -> RoomStatus {
        let now = self.now();
        let state = performance.rules().sale.state(now);
        let Some(line) = self.line(performance.performance_id) else {
            return RoomStatus {
                state,
                queue_counter: 0,
                serving_counter: 0,
                waiting: 0,
                called: 0,
                active: 0,
                rate_seen: 0.0,
            };
        };
        let room = line.room.read();
        let now = line.shown_at(now);
        RoomStatus {
            state,
            queue_counter: room.queue_counter(),
            serving_counter: room.serving_counter(),
            waiting: room.waiting(),
            called: room.called(now),
            active: room.active(now),
            rate_seen: room.rate_seen(now).unwrap_or(0.0),
        }
    }

    /// New rules are in force; the loop acts on them at once.
    pub fn rules_changed(&self, performance: &Arc<Performance>) {
        if let Some(line) = self.line(performance.performance_id) {
            line.rules_changed.notify_one();
        }
    }

    fn line(&self, performance: PerformanceId) -> Option<Arc<Line>> {
        let Self::Memory(memory) = self;
        memory.lines.read().get(&performance).cloned()
    }

    fn now(&self) -> Timestamp {
        let Self::Memory(memory) = self;
        memory.parts.clock.now()
    }

    async fn ask<T>(
        &self,
        performance: PerformanceId,
        command: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> Command,
    ) -> Result<T, Failure> {
        let line = self.line(performance).ok_or(Failure::BUSY)?;
        let (reply, answer) = oneshot::channel();
        line.commands
            .try_send(command(reply))
            .map_err(|_| Failure::BUSY)?;
        answer.await.map_err(|_| Failure::BUSY)?
    }
}

impl Line {
    /// As of when the line is shown. Asked with the room's lock held, so that it fits what is read.
    fn shown_at(&self, now: Timestamp) -> Timestamp {
        match self.deciding_at.load(Ordering::Acquire) {
            0 => now,
            at => Timestamp(at),
        }
    }
}

/// The rules of a room that calls nobody.
const NOBODY: AdmissionPolicy = AdmissionPolicy {
    per_s: 0.0,
    active_max: 0,
    pass_ttl_s: 1,
    claim_within_s: 1,
};

fn is_live(view: &PlaceView) -> bool {
    use boxoffice_core::waiting_room::Stage;
    match view.stage {
        Stage::Lobby | Stage::Waiting | Stage::Called | Stage::Entered => true,
        Stage::Lapsed | Stage::Left => false,
    }
}

/// One performance's loop; ends with the process.
async fn run(line: Arc<Line>, parts: Arc<LoopParts>, mut commands: mpsc::Receiver<Command>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut decided_at = parts.clock.now();
    loop {
        // As seen from the last decision: what became possible while that was being saved is late, and is measured so.
        let due_at = next_due(&line, decided_at);
        let wake = Duration::from_micros(due_at.since_us(parts.clock.now()));
        tokio::select! {
            biased;
            received = commands.recv_many(&mut batch, BATCH_MAX) => if received == 0 { return },
            () = line.rules_changed.notified() => (),
            () = tokio::time::sleep(wake) => (),
        }
        decided_at = parts.clock.now();
        if turn(&line, &parts, &mut batch, due_at).await.is_err() {
            parts.metrics.failure("room");
            reload(&line, &parts).await;
        }
    }
}

/// One batch: decided, saved, applied, answered, published. After an error the room may be anything. `due_at` is when a
/// call was possible at the earliest.
async fn turn(
    line: &Line,
    parts: &LoopParts,
    batch: &mut Vec<Command>,
    due_at: Timestamp,
) -> Result<(), Failure> {
    let (changes, answers) = guarded(parts, || decide(line, parts, batch.drain(..)))?;
    let saved = save(line, parts, &changes).await;
    guarded(parts, || {
        // Nobody knows what a failed save has written: the line stays as of before until it is reloaded.
        if saved.is_ok() {
            let mut room = line.room.write();
            room.apply(&changes);
            line.deciding_at.store(0, Ordering::Release);
        }
    })?;
    guarded(parts, || {
        answer(line, parts, answers, &saved);
        if saved.is_ok() {
            measure_lag(parts, &changes, due_at);
        }
        publish(line, parts, &changes, saved.is_ok());
    })?;
    saved
}

/// A broken invariant ends one batch, whose clients are told that we are busy; never the line.
fn guarded<T>(parts: &LoopParts, step: impl FnOnce() -> T) -> Result<T, Failure> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(step)).map_err(|_| {
        parts.metrics.assertions_failed.inc();
        Failure::Broken("an invariant of a waiting room did not hold".to_owned())
    })
}

/// After a failure nobody knows what the journal took: the room is put together from it again.
async fn reload(line: &Line, parts: &LoopParts) {
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let room = parts
            .store
            .load_room(
                line.performance.performance_id,
                line.performance.epoch,
                parts.clock.now(),
            )
            .await;
        if let Ok(room) = room {
            *line.room.write() = room;
            line.deciding_at.store(0, Ordering::Release);
            return;
        }
    }
}

/// When the loop has to look at its room unasked: a second after `now` at the latest.
fn next_due(line: &Line, now: Timestamp) -> Timestamp {
    let rules = line.performance.rules();
    let at = line
        .room
        .read()
        .next_wake(&rules.sale, &rules.admission.unwrap_or(NOBODY), now);
    let latest = now.plus_s(LOOK_EVERY_S);
    at.map_or(latest, |at| at.min(latest))
}

/// How late fans were called: from when it was possible until it is remembered.
fn measure_lag(parts: &LoopParts, changes: &RoomChanges, due_at: Timestamp) {
    if let Some(admission) = &changes.admission {
        // Who joins while there is room is called at once, before the loop would have looked.
        let lag_us = parts.clock.now().since_us(due_at.min(admission.at));
        let lag = Duration::from_micros(lag_us);
        parts.metrics.admission_lag.set(lag.as_secs_f64());
    }
}

fn decide(
    line: &Line,
    parts: &LoopParts,
    batch: impl Iterator<Item = Command>,
) -> (RoomChanges, Vec<Answer>) {
    let rules = line.performance.rules();
    let policy = rules.admission.unwrap_or(NOBODY);
    let room = line.room.read();
    let now = parts.clock.now();
    line.deciding_at.store(now.0, Ordering::Release);
    let mut draft = Draft::new(&room, now);
    let mut answers = Vec::new();
    for command in batch {
        match command {
            Command::Join(account, reply) => answers.push(Answer::Join(
                account,
                draft.join(account, &rules.sale),
                reply,
            )),
            Command::Leave(account, reply) => {
                answers.push(Answer::Leave(draft.leave(account), reply))
            }
            Command::Enter(account, reply) => answers.push(Answer::Enter(
                account,
                draft.enter(account, &rules.sale, &policy),
                reply,
            )),
            Command::Used(number) => draft.used(number),
        }
    }
    if !answers.is_empty() {
        parts.metrics.batch_size("room", answers.len());
    }
    draft.admit(&rules.sale, &policy);
    (draft.into_changes(), answers)
}

async fn save(line: &Line, parts: &LoopParts, changes: &RoomChanges) -> Result<(), Failure> {
    if !changes.must_be_saved() {
        return Ok(());
    }
    parts
        .store
        .journal(
            line.performance.performance_id,
            line.performance.epoch,
            changes.clone(),
        )
        .await
}

/// Says what was decided, now that it is remembered; or that we are busy.
fn answer(line: &Line, parts: &LoopParts, answers: Vec<Answer>, saved: &Result<(), Failure>) {
    let rules = line.performance.rules();
    let policy = rules.admission.unwrap_or(NOBODY);
    let now = parts.clock.now();
    let room = line.room.read();
    for answer in answers {
        // A client that has gone is not waited for; what it asked for stands.
        match answer {
            Answer::Join(account, decided, reply) => {
                let view = |new| {
                    room.view(account, &rules.sale, &policy, now)
                        .map(|view| (view, new))
                        .ok_or(Refusal::NoPlace)
                };
                let _ = reply.send(saved.clone().map(|()| decided.and_then(view)));
            }
            Answer::Leave(decided, reply) => drop(reply.send(saved.clone().map(|()| decided))),
            Answer::Enter(account, decided, reply) => {
                // The position is said as of now, like everybody else's: what was decided before this batch may be behind it.
                let view = || room.view(account, &rules.sale, &policy, now);
                let decided = decided.map_err(|refusal| match (refusal, view()) {
                    (Refusal::NotYourTurn { .. }, Some(view)) if view.position > 0 => {
                        Refusal::NotYourTurn {
                            position: view.position,
                            poll_after_ms: view.poll_after_ms,
                        }
                    }
                    (refusal, _) => refusal,
                });
                drop(reply.send(saved.clone().map(|()| decided)));
            }
        }
    }
}

/// Lets streams and figures follow.
fn publish(line: &Line, parts: &LoopParts, changes: &RoomChanges, saved: bool) {
    if !saved || changes.is_empty() {
        return;
    }
    parts
        .metrics
        .joins
        .inc_by(u64::try_from(changes.joined.len()).unwrap_or(0));
    let id = line.performance.performance_id;
    let touched = {
        let room = line.room.read();
        let called = changes
            .admission
            .iter()
            .flat_map(|admission| &admission.called)
            .copied();
        let others = changes
            .left
            .iter()
            .chain(&changes.used)
            .copied()
            .chain(changes.entered.iter().map(|(number, _)| *number));
        called
            .chain(others)
            .filter_map(|number| room.place(number).map(|place| place.account))
            .collect::<Vec<_>>()
    };
    for account in touched {
        parts.live.tell(account, &Happening::Place(id));
    }
    if let Some(admission) = &changes.admission {
        drop(parts.calls.try_send(Work::Call(id, admission.last)));
    }
}

#[cfg(test)]
mod tests;
