//! The worker: brings every payment to an end, and with it every booking.
//!
//! Bookings come as the store accepts them, in batches: charged together, settled together. Whatever does not come to an
//! end at once (a silent provider, a crash, a failure of the store) is still in the outbox and is taken up again from
//! there, by asking the provider what it knows. Doing anything twice changes nothing.

use std::sync::Arc;
use std::time::Duration;

use boxoffice_adapters::Failure;
use boxoffice_adapters::clock::Clock;
use boxoffice_adapters::live::Live;
use boxoffice_adapters::metrics::Metrics;
use boxoffice_adapters::pay::Provider;
use boxoffice_adapters::room::Room;
use boxoffice_adapters::store::Store;
use boxoffice_core::BookingId;
use boxoffice_core::booking::{Booking, BookingState, Work};
use boxoffice_core::payment::{ChargeAnswer, Status, Step, Verdict, next_step};
use tokio::sync::{Semaphore, mpsc};

/// Batches under way at once: one is written while the next is charged.
const BATCHES_MAX: usize = 4;
/// Bookings in one batch.
const BATCH_MAX: usize = 512;
/// A provider that has not answered by then has not answered.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(10);
/// When a silent provider is first asked what it knows, seconds.
const ASK_AFTER_S: u32 = 1;

/// What the worker works with.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) store: Arc<Store>,
    pub(crate) room: Arc<Room>,
    pub(crate) live: Arc<Live>,
    pub(crate) provider: Provider,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<Clock>,
}

impl Worker {
    /// Works off what was just accepted, until the queue closes.
    pub(crate) async fn run(self, mut begun: mpsc::Receiver<Work>) {
        let places = Arc::new(Semaphore::new(BATCHES_MAX));
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while begun.recv_many(&mut batch, BATCH_MAX).await > 0 {
            self.metrics.batch_size("worker", batch.len());
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            // What came while there was no place goes along.
            while batch.len() < BATCH_MAX
                && let Ok(more) = begun.try_recv()
            {
                batch.push(more);
            }
            let (worker, works) = (self.clone(), std::mem::take(&mut batch));
            tokio::spawn(async move {
                worker.work_off(works).await;
                drop(place);
            });
        }
    }

    /// Asks about bookings whose provider called back; the callback itself proves nothing.
    pub(crate) async fn listen(self, mut callbacks: mpsc::Receiver<BookingId>) {
        while let Some(booking) = callbacks.recv().await {
            self.note(self.take_up(&Work::Pay(booking)).await);
        }
    }

    async fn work_off(&self, works: Vec<Work>) {
        let (mut pay, mut others) = (Vec::new(), Vec::new());
        for work in works {
            match work {
                Work::Pay(booking) => pay.push(booking),
                Work::Refund(_) | Work::TellBooking(_) | Work::Call(..) => others.push(work),
            }
        }
        self.note(self.charge(pay).await);
        for work in others {
            self.note(self.take_up(&work).await);
        }
    }

    /// A failure is no end: the work is still in the outbox.
    fn note(&self, outcome: Result<(), Failure>) {
        if let Err(failure) = outcome {
            self.metrics.failure("pay");
            tracing::warn!(%failure, "failed to bring a payment to an end; it is taken up again");
        }
    }

    async fn charge(&self, ids: Vec<BookingId>) -> Result<(), Failure> {
        if ids.is_empty() {
            return Ok(());
        }
        let bookings = self.store.find_bookings(ids).await?;
        let pending: Vec<&Booking> = bookings
            .iter()
            .filter(|booking| booking.state == BookingState::Pending)
            .collect();
        let answers = tokio::time::timeout(PROVIDER_TIMEOUT, self.provider.charge(&pending))
            .await
            .map_err(|_| Failure::BUSY)??;
        let mut verdicts = Vec::with_capacity(answers.len());
        let mut open = Vec::new();
        for (booking, answer) in pending.iter().zip(answers) {
            let step = match answer {
                ChargeAnswer::Said(status) => {
                    next_step(status, booking.give_up_at, self.clock.now())
                }
                ChargeAnswer::Silence => Step::AskAgain(self.clock.now().plus_s(ASK_AFTER_S)),
            };
            match step {
                Step::Settle(verdict) => verdicts.push((booking.booking_id, verdict)),
                Step::Charge | Step::AskAgain(_) | Step::CallOff => {
                    open.push((booking.booking_id, step))
                }
            }
        }
        self.settle(verdicts).await?;
        for (booking, step) in open {
            match step {
                Step::AskAgain(at) => self.store.put_off(Work::Pay(booking), at).await?,
                Step::Charge | Step::CallOff | Step::Settle(_) => self.ask(booking).await?,
            }
        }
        Ok(())
    }

    async fn settle(&self, verdicts: Vec<(BookingId, Verdict)>) -> Result<(), Failure> {
        if verdicts.is_empty() {
            return Ok(());
        }
        for booking in self.store.settle(verdicts).await? {
            if let (BookingState::Confirmed, Some(place)) = (&booking.state, booking.place) {
                self.room.used(booking.performance_id, place);
            }
            self.live.booking(&booking);
        }
        Ok(())
    }

    /// Takes up work that is not done yet.
    ///
    /// # Errors
    /// [`Failure`]: it stays in the outbox and is taken up again.
    pub(crate) async fn take_up(&self, work: &Work) -> Result<(), Failure> {
        match work {
            Work::Pay(booking) => self.ask(*booking).await,
            Work::Refund(booking) => {
                let refunded =
                    tokio::time::timeout(PROVIDER_TIMEOUT, self.provider.refund(*booking))
                        .await
                        .map_err(|_| Failure::BUSY)??;
                self.store.refunded(*booking, refunded).await
            }
            // The notifier's.
            Work::TellBooking(_) | Work::Call(..) => Ok(()),
        }
    }

    /// Asks the provider about a booking, and does what follows.
    async fn ask(&self, id: BookingId) -> Result<(), Failure> {
        let Some(booking) = self.store.find_booking(id).await? else {
            return Ok(());
        };
        let asked = async {
            let status = self.provider.status(id).await?;
            match next_step(status, booking.give_up_at, self.clock.now()) {
                // Decided already, and the provider knows of no money: nothing more is to be taken.
                Step::Charge if booking.state != BookingState::Pending => Ok(Status::Cancelled),
                Step::CallOff => self.provider.call_off(id).await,
                Step::Charge => match self.provider.charge(&[&booking]).await?.pop() {
                    Some(ChargeAnswer::Said(status)) => Ok(status),
                    Some(ChargeAnswer::Silence) | None => Ok(Status::Processing),
                },
                Step::AskAgain(_) | Step::Settle(_) => Ok(status),
            }
        };
        let status = tokio::time::timeout(PROVIDER_TIMEOUT, asked)
            .await
            .map_err(|_| Failure::BUSY)??;
        match next_step(status, booking.give_up_at, self.clock.now()) {
            Step::Settle(verdict) => self.settle(vec![(id, verdict)]).await,
            Step::AskAgain(at) => self.store.put_off(Work::Pay(id), at).await,
            // Taken up again when the outbox says so.
            Step::Charge | Step::CallOff => Ok(()),
        }
    }
}
