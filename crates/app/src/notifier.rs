//! The notifier: tells fans that it is their turn, and what became of their bookings.
//!
//! Work comes as the store commits it, and again from the outbox when it was not ended. What is to be sent is recorded in the
//! transaction that ends the work, each attempt right before it is made: a crash can repeat an attempt, but never lose a
//! notice, and never repeat more often than the rules allow. No more is begun than is sent at once, so that a slow mail
//! server makes the others wait, not be sent twice.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use boxoffice_adapters::Failure;
use boxoffice_adapters::clock::Clock;
use boxoffice_adapters::live::{Happening, Live};
use boxoffice_adapters::metrics::Metrics;
use boxoffice_adapters::notify::{CONNECTIONS_MAX, Locale, Mailer, Message, link, notice_id};
use boxoffice_adapters::performance::{Catalogue, Performance};
use boxoffice_adapters::store::Account;
use boxoffice_adapters::store::{Notice, Store, Told};
use boxoffice_core::booking::{Booking, BookingState, Work};
use boxoffice_core::notice::{self, Attempt, Channel, Next, Reason, UNCLEAR_MAX};
use boxoffice_core::seating::{SeatNo, Spot};
use boxoffice_core::{AccountId, BookingId, Money, PerformanceId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

/// Works taken at once.
const BATCH_MAX: usize = 256;
/// Batches under way at once, so that a slow mail server does not stand in the way of those who are told on a stream.
const BATCHES_MAX: usize = 8;
/// How often it is looked for what is to be sent again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long news of a booking is of use, seconds.
const BOOKING_USEFUL_S: u32 = 24 * 3_600;

/// What the notifier works with.
#[derive(Clone)]
pub(crate) struct Notifier {
    pub(crate) store: Arc<Store>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) live: Arc<Live>,
    pub(crate) mailer: Arc<Mailer>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) public_url: Arc<str>,
    /// Work under way here: not taken up a second time meanwhile.
    pub(crate) under_way: Arc<Mutex<BTreeSet<Work>>>,
    /// There is something new to send.
    pub(crate) news: Arc<Notify>,
}

/// Work that is under way until this is dropped, however that comes about.
struct UnderWay {
    notifier: Notifier,
    works: Vec<Work>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = self.notifier.under_way.lock();
        for work in &self.works {
            under_way.remove(work);
        }
    }
}

/// One fan to be told one thing.
struct Telling {
    account: AccountId,
    performance: Arc<Performance>,
    reason: Reason,
    booking: Option<Booking>,
    recorded_at: Timestamp,
    useful_until: Timestamp,
}

impl Notifier {
    /// Tells what the store has just committed, until the queue closes.
    pub(crate) async fn run(self, mut begun: mpsc::Receiver<Work>) {
        let places = Arc::new(Semaphore::new(BATCHES_MAX));
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while begun.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let (notifier, mut works) = (self.clone(), std::mem::take(&mut batch));
            works.retain(|work| notifier.under_way.lock().insert(work.clone()));
            tokio::spawn(async move {
                let under_way = UnderWay { notifier, works };
                let notifier = &under_way.notifier;
                if let Err(failure) = notifier.tell(&under_way.works).await {
                    notifier.metrics.failure("notify");
                    tracing::warn!(%failure, "failed to tell fans; it is taken up again");
                }
                drop(place);
            });
        }
    }

    async fn tell(&self, works: &[Work]) -> Result<(), Failure> {
        let (mut tellings, mut told) = (Vec::new(), Vec::new());
        let bookings = works.iter().filter_map(|work| match work {
            Work::TellBooking(booking) => Some(*booking),
            Work::Call(..) | Work::Pay(_) | Work::Refund(_) => None,
        });
        for booking in self.store.find_bookings(bookings.collect()).await? {
            let (work, state) = (Work::TellBooking(booking.booking_id), booking.state.clone());
            tellings.push(Vec::from_iter(self.of_booking(booking)));
            told.push(Told {
                work,
                state: Some(state),
                notices: Vec::new(),
            });
        }
        for work in works {
            if let Work::Call(performance, last) = work {
                tellings.push(self.called(*performance, *last).await?);
                told.push(Told {
                    work: work.clone(),
                    state: None,
                    notices: Vec::new(),
                });
            }
        }
        let fans = tellings.iter().flatten().map(|telling| telling.account);
        let accounts = self.store.recipients(fans.collect()).await?;
        for (told, tellings) in told.iter_mut().zip(&tellings) {
            for telling in tellings {
                let Some(account) = accounts.get(&telling.account) else {
                    continue;
                };
                told.notices.extend(self.tell_one(telling, account).await);
            }
        }
        let notices = told.iter().flat_map(|told| &told.notices);
        let to_send = notices
            .filter(|(_, next)| matches!(next, Next::RetryAt(_)))
            .count();
        self.store.record_notices(told).await?;
        if to_send > 0 {
            self.news.notify_one();
        }
        Ok(())
    }

    /// Tells a fan who listens; the notice for the others, and what is to become of it.
    async fn tell_one(&self, telling: &Telling, account: &Account) -> Option<(Notice, Next)> {
        let listening = self
            .live
            .is_listening(telling.account, telling.performance.performance_id);
        if listening {
            self.tell_live(telling);
        }
        let mail = self.mailer.channel();
        let channel = notice::channel(telling.reason, account.wishes, listening, mail)?;
        let mut notice = notice_of(telling, channel);
        Some(match channel {
            // A line in the log arrives at once, and twice does no harm: one record is enough.
            Channel::Log => {
                (notice.tries, notice.unclear) = (1, 1);
                let message = self.message(telling, account);
                let attempt = self.mailer.send(&message, self.clock.now()).await;
                let result = self.after(notice, attempt);
                self.count(&result);
                result
            }
            Channel::Email => (notice, Next::RetryAt(self.clock.now())),
        })
    }

    /// Who is to be called by this admission; nobody once their slots are over.
    async fn called(&self, id: PerformanceId, last: u32) -> Result<Vec<Telling>, Failure> {
        let Some(performance) = self.catalogue.performance(id) else {
            return Ok(Vec::new());
        };
        let called = self.store.called_by(id, performance.epoch, last).await?;
        let now = self.clock.now();
        let of_use = called.into_iter().filter(|called| now < called.expires_at);
        Ok(of_use
            .map(|called| Telling {
                account: called.account,
                performance: Arc::clone(&performance),
                reason: Reason::YourTurn,
                booking: None,
                recorded_at: called.at,
                useful_until: called.expires_at,
            })
            .collect())
    }

    fn of_booking(&self, booking: Booking) -> Option<Telling> {
        let reason = reason_of(&booking.state)?;
        if reason == Reason::BookingCancelled {
            self.live.booking(&Arc::new(booking.clone()));
        }
        Some(Telling {
            account: booking.account_id,
            performance: self.catalogue.performance(booking.performance_id)?,
            reason,
            recorded_at: booking.changed_at,
            useful_until: booking.changed_at.plus_s(BOOKING_USEFUL_S),
            booking: Some(booking),
        })
    }

    fn tell_live(&self, telling: &Telling) {
        let booking = telling.booking.as_ref().map(|booking| booking.booking_id);
        let id = telling.performance.performance_id;
        self.live.tell(
            telling.account,
            &Happening::Notice(id, telling.reason, booking, telling.recorded_at),
        );
        if telling.reason == Reason::YourTurn {
            self.metrics.notice("stream", "sent");
            self.observe(id, telling.recorded_at);
        }
    }

    fn message(&self, telling: &Telling, account: &Account) -> Message {
        let (performance, booking) = (&telling.performance, telling.booking.as_ref());
        Message {
            to_email: account.email.clone(),
            to_name: account.name.clone(),
            locale: account.locale,
            reason: telling.reason,
            title: performance.event.title.clone(),
            starts_at: performance.starts_at,
            url: link(
                &self.public_url,
                performance.performance_id,
                telling.reason,
                booking.map(|booking| booking.booking_id),
            ),
            useful_until: (telling.reason == Reason::YourTurn).then_some(telling.useful_until),
            seats: booking
                .iter()
                .flat_map(|booking| &booking.seats)
                .map(|seat| seat_line(performance, *seat, account.locale))
                .collect(),
            total: booking.map(|booking| Money {
                amount_minor: booking.total_minor,
                currency: performance.currency,
            }),
            why: booking.and_then(|booking| match booking.state {
                BookingState::Refused(why) => Some(why),
                BookingState::Pending | BookingState::Confirmed | BookingState::Cancelled => None,
            }),
        }
    }

    /// What follows an attempt; it counts as one that may have arrived only if that is so.
    fn after(&self, mut notice: Notice, attempt: Attempt) -> (Notice, Next) {
        let now = self.clock.now();
        // The id is as good as chance here: it spreads the retries of many notices.
        let jitter_ms = u64::from(notice.notice_id.0[15]) * 4;
        let attempts = match attempt {
            Attempt::Unclear => notice.unclear,
            Attempt::Accepted | Attempt::NotSent | Attempt::Hopeless => {
                notice.unclear -= 1;
                notice.tries
            }
        };
        let next = notice::after(attempt, attempts, notice.useful_until, jitter_ms, now);
        (notice, next)
    }

    fn count(&self, (notice, next): &(Notice, Next)) {
        let channel = match notice.channel {
            Channel::Log => "log",
            Channel::Email => "email",
        };
        match next {
            Next::Sent => {
                self.metrics.notice(channel, "sent");
                self.observe(notice.performance, notice.created_at);
            }
            Next::RetryAt(_) => self.metrics.notice(channel, "retried"),
            Next::DeadLetter => {
                self.metrics.notice(channel, "failed");
                self.store.count_notices(notice.performance, 0, 1, &[]);
            }
        }
    }

    fn observe(&self, performance: PerformanceId, recorded_at: Timestamp) {
        let delay_us = self.clock.now().since_us(recorded_at);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a duration in seconds for a histogram"
        )]
        self.metrics.notice_delay.observe(delay_us as f64 / 1e6);
        self.store.count_notices(
            performance,
            1,
            0,
            &[u32::try_from(delay_us / 1_000).unwrap_or(u32::MAX)],
        );
    }

    /// Sends what is to be sent, as much at a time as there are connections to the mail server, until the process ends.
    pub(crate) async fn send_due(self) {
        if let Err(failure) = self.store.take_over_notices().await {
            self.failed(&failure);
        }
        let (mut sending, mut ended) = (JoinSet::new(), Vec::new());
        loop {
            // What has ended first: what was sent must be known before anything is begun anew.
            let recorded = match ended.is_empty() {
                true => Ok(()),
                false => self.store.update_notices(ended.clone()).await,
            };
            match recorded {
                Ok(()) => {
                    ended.drain(..).for_each(|result| self.count(&result));
                    if let Err(failure) = self.begin_due(&mut sending).await {
                        self.failed(&failure);
                    }
                }
                // They are kept for the next round: what was sent must not be sent again.
                Err(failure) => self.failed(&failure),
            }
            tokio::select! {
                Some(result) = sending.join_next() => {
                    ended.extend(result.ok());
                    // Those that ended meanwhile go into the same transaction.
                    while let Some(result) = sending.try_join_next() {
                        ended.extend(result.ok());
                    }
                }
                () = self.news.notified() => (),
                () = tokio::time::sleep(LOOK_EVERY) => (),
            }
        }
    }

    fn failed(&self, failure: &Failure) {
        self.metrics.failure("notify");
        tracing::warn!(%failure, "failed to send notices; it is tried again");
    }

    /// Begins as many attempts as there is room for; each is recorded as begun.
    async fn begin_due(&self, sending: &mut JoinSet<(Notice, Next)>) -> Result<(), Failure> {
        let free = u32::try_from(CONNECTIONS_MAX.saturating_sub(sending.len())).unwrap_or(0);
        if free == 0 {
            return Ok(());
        }
        let due = self.store.due_notices(self.clock.now(), free).await?;
        if due.is_empty() {
            return Ok(());
        }
        let accounts = self
            .store
            .recipients(due.iter().map(|notice| notice.account).collect())
            .await?;
        let bookings: Vec<BookingId> = due.iter().filter_map(|notice| notice.booking).collect();
        let bookings: HashMap<_, _> = self
            .store
            .find_bookings(bookings)
            .await?
            .into_iter()
            .map(|booking| (booking.booking_id, booking))
            .collect();
        let (mut messages, mut untrue) = (HashMap::new(), Vec::new());
        for notice in due {
            let booking = notice.booking.and_then(|id| bookings.get(&id).cloned());
            let known = self
                .catalogue
                .performance(notice.performance)
                .zip(accounts.get(&notice.account));
            let is_true = booking
                .as_ref()
                .is_none_or(|booking| reason_of(&booking.state) == Some(notice.reason));
            let (Some((performance, account)), true) = (known, is_true) else {
                // The booking was cancelled since, say: that is told by a notice of its own.
                untrue.push(notice.notice_id);
                continue;
            };
            let telling = Telling {
                account: notice.account,
                performance,
                reason: notice.reason,
                booking,
                recorded_at: notice.created_at,
                useful_until: notice.useful_until,
            };
            messages.insert(notice.notice_id, (self.message(&telling, account), notice));
        }
        if !untrue.is_empty() {
            self.store.drop_notices(untrue).await?;
        }
        for id in self
            .store
            .begin_attempts(messages.keys().copied().collect())
            .await?
        {
            if let Some((message, mut notice)) = messages.remove(&id) {
                notice.tries += 1;
                notice.unclear += 1;
                sending.spawn(self.clone().attempt(notice, message));
            }
        }
        Ok(())
    }

    /// Makes an attempt that was recorded as begun.
    async fn attempt(self, notice: Notice, message: Message) -> (Notice, Next) {
        let now = self.clock.now();
        let of_use = now < notice.useful_until && notice.unclear <= UNCLEAR_MAX;
        let attempt = if of_use {
            self.mailer.send(&message, now).await
        } else {
            Attempt::Hopeless
        };
        self.after(notice, attempt)
    }
}

/// What a fan is told about a booking in this state; nothing while it is pending.
fn reason_of(state: &BookingState) -> Option<Reason> {
    match state {
        BookingState::Pending => None,
        BookingState::Confirmed => Some(Reason::BookingConfirmed),
        BookingState::Refused(_) => Some(Reason::BookingRefused),
        BookingState::Cancelled => Some(Reason::BookingCancelled),
    }
}

/// The notice for one telling, not tried yet.
fn notice_of(telling: &Telling, channel: Channel) -> Notice {
    let booking = telling.booking.as_ref().map(|booking| booking.booking_id);
    let performance = telling.performance.performance_id;
    let subject = booking.map_or_else(|| performance.to_string(), |booking| booking.to_string());
    Notice {
        notice_id: notice_id(
            telling.account,
            telling.reason,
            &subject,
            telling.recorded_at,
        ),
        account: telling.account,
        performance,
        reason: telling.reason,
        booking,
        channel,
        tries: 0,
        unclear: 0,
        useful_until: telling.useful_until,
        created_at: telling.recorded_at,
    }
}

/// A seat as a person reads it in this language.
fn seat_line(performance: &Performance, seat: SeatNo, locale: Locale) -> String {
    let plan = performance.plan();
    let section =
        |number: boxoffice_core::seating::SectionNo| &plan.sections()[usize::from(number.0)];
    match plan.spot(seat) {
        Spot::Seat {
            section: number,
            row,
            number: seat,
            ..
        } => match locale {
            Locale::Ko => format!("{} {row}열 {seat}번", section(number)),
            Locale::En => format!("{}, row {row}, seat {seat}", section(number)),
        },
        Spot::Area {
            area,
            section: number,
        } => format!("{}, {area}", section(number)),
    }
}
