//! The notifier: makes one notice a fan, reason and channel out of the outbox, sends, records, and tries again.
//!
//! An attempt is recorded before it is made: one of which nobody knows what became of it counts as one that may have
//! arrived, so that no row of crashes tells a fan more than three times.

use boxoffice_core::booking::{BookingState, Work};
use boxoffice_core::notice::{Attempt, Channel, Next, Reason, Wishes, after, channel};
use boxoffice_core::{AccountId, BookingId, Timestamp};

use crate::bug::Bug;
use crate::store::{About, NotSaved, NoticeKey, NoticeRow, NoticeState, Tables};
use crate::world::World;

/// How long work that could not be saved is left alone, milliseconds.
const RETRY_MS: u64 = 200;

/// Where the notifier stands.
#[derive(Clone, Debug)]
pub(crate) enum NoticeWork {
    Idle,
    /// Out of the outbox, but not yet in the notices (a planted bug's doing).
    Making(Work),
    Trying(NoticeKey),
    Tried(NoticeKey, Attempt),
}

impl World {
    fn work_due(&self) -> Option<Work> {
        let memory = &self.memory;
        let free = |work: &Work| memory.leased.get(work).is_none_or(|at| *at <= self.now);
        let tables = self.store.tables();
        tables
            .outbox
            .keys()
            .find(|work| match work {
                // Only what the room has applied: those who listen have then been told.
                Work::Call(_, last) => free(work) && memory.room.serving_counter() >= *last,
                Work::TellBooking(_) => free(work),
                Work::Pay(_) | Work::Refund(_) => false,
            })
            .cloned()
    }

    fn notice_due(&self) -> Option<NoticeKey> {
        let notices = self.store.tables().notices.iter();
        let mut due = notices.filter(|(_, row)| match row.state {
            NoticeState::Due(at) => at <= self.now,
            NoticeState::Trying => true,
            NoticeState::Sent | NoticeState::Dead => false,
        });
        due.next().map(|(key, _)| *key)
    }

    /// When notices are to be sent.
    pub(crate) fn notices_due(&self) -> impl Iterator<Item = Timestamp> {
        self.store
            .tables()
            .notices
            .values()
            .filter_map(|row| match row.state {
                NoticeState::Due(at) => Some(at),
                NoticeState::Trying | NoticeState::Sent | NoticeState::Dead => None,
            })
    }

    pub(crate) fn notifier_ready(&self) -> bool {
        !matches!(self.memory.notifier, NoticeWork::Idle)
            || self.work_due().is_some()
            || self.notice_due().is_some()
    }

    /// The next step of the notifier.
    pub(crate) fn notifier_acts(&mut self) {
        self.memory.notifier = match std::mem::replace(&mut self.memory.notifier, NoticeWork::Idle)
        {
            NoticeWork::Idle => match (self.work_due(), self.notice_due()) {
                (Some(work), _) => self.take_work(work),
                (None, Some(key)) => self.begin_attempt(key),
                (None, None) => NoticeWork::Idle,
            },
            NoticeWork::Making(work) => {
                self.make_notices(&work, true);
                NoticeWork::Idle
            }
            NoticeWork::Trying(key) => self.try_to_send(key),
            NoticeWork::Tried(key, attempt) => self.record_attempt(key, attempt),
        };
    }

    fn take_work(&mut self, work: Work) -> NoticeWork {
        if self.has(Bug::CallLost) && matches!(work, Work::Call(..)) {
            return match self
                .store
                .commit(false, |tables| Ok(tables.outbox.remove(&work)))
            {
                Ok(_) => NoticeWork::Making(work),
                Err(NotSaved::Refused | NotSaved::Conflict(_)) => NoticeWork::Idle,
            };
        }
        let refuse = self.refuses();
        self.make_notices(&work, !refuse);
        NoticeWork::Idle
    }

    /// The notices of a piece of work, in the transaction that deletes it.
    fn make_notices(&mut self, work: &Work, saves: bool) {
        let fans: Vec<(AccountId, Wishes, bool)> = (self.fans.iter().enumerate())
            .map(|(n, fan)| (fan.account, fan.wishes, self.memory.listening.contains(&n)))
            .collect();
        let (now, too_far) = (self.now, u32::from(self.has(Bug::CallTooFar)));
        let done = self.store.commit(!saves, |tables| {
            let rows = match work {
                Work::Call(_, last) => rows_of_call(tables, *last, too_far, &fans, now),
                Work::TellBooking(booking) => rows_of_booking(tables, *booking, &fans, now),
                Work::Pay(_) | Work::Refund(_) => Vec::new(),
            };
            for (key, row) in rows {
                tables.notices.entry(key).or_insert(row);
            }
            tables.outbox.remove(work);
            Ok(())
        });
        if done.is_err() {
            self.note(format_args!("{work:?} is not taken: not saved"));
            self.memory
                .leased
                .insert(work.clone(), now.plus_ms(RETRY_MS));
            return;
        }
        self.note(format_args!("{} taken", name(work)));
        if let Work::Call(_, last) = work {
            self.history.call_taken.insert(*last, now);
        }
    }

    fn begin_attempt(&mut self, key: NoticeKey) -> NoticeWork {
        let row = self.store.tables().notices[&key];
        if row.state == NoticeState::Trying {
            // Begun before a crash.
            return self.record_attempt(key, Attempt::Unclear);
        }
        let (refuse, late) = (self.refuses(), self.now >= row.useful_until);
        let state = if late {
            NoticeState::Dead
        } else {
            NoticeState::Trying
        };
        let attempts = row.attempts + u32::from(!late);
        let saved = self.store.commit(refuse, |tables| {
            let new = NoticeRow {
                state,
                attempts,
                ..row
            };
            Ok(tables.notices.insert(key, new))
        });
        self.stats.dead_letters += u32::from(saved.is_ok() && late);
        if saved.is_ok() && !late {
            NoticeWork::Trying(key)
        } else {
            NoticeWork::Idle
        }
    }

    fn try_to_send(&mut self, key: NoticeKey) -> NoticeWork {
        let row = self.store.tables().notices[&key];
        // Time may have passed since the attempt was recorded.
        if self.now >= row.useful_until {
            return NoticeWork::Tried(key, Attempt::NotSent);
        }
        let (arrives, attempt) = if self.rng.chance(self.faults.not_sent) {
            (false, Attempt::NotSent)
        } else if self.rng.chance(self.faults.unclear) {
            (self.rng.chance(8_000), Attempt::Unclear)
        } else if self.rng.chance(self.faults.not_sent / 10) {
            (false, Attempt::Hopeless)
        } else {
            (true, Attempt::Accepted)
        };
        let (reason, account) = (key.reason, key.account.0[15]);
        self.note(format_args!(
            "mail {reason:?} to fan {account}: {attempt:?}, arrives {arrives}"
        ));
        if arrives {
            self.stats.mails += 1;
            self.mail_arrives(key);
        }
        NoticeWork::Tried(key, attempt)
    }

    fn record_attempt(&mut self, key: NoticeKey, attempt: Attempt) -> NoticeWork {
        let (row, refuse) = (self.store.tables().notices[&key], self.refuses());
        let jitter_ms = self.rng.next() % 1_000;
        let counted = match attempt {
            Attempt::Unclear if self.has(Bug::UnclearIsNotSent) => Attempt::NotSent,
            Attempt::Accepted | Attempt::NotSent | Attempt::Unclear | Attempt::Hopeless => attempt,
        };
        let state = match after(counted, row.attempts, row.useful_until, jitter_ms, self.now) {
            Next::Sent => NoticeState::Sent,
            Next::RetryAt(at) => NoticeState::Due(at),
            Next::DeadLetter => NoticeState::Dead,
        };
        let saved = self.store.commit(refuse, |tables| {
            Ok(tables.notices.insert(key, NoticeRow { state, ..row }))
        });
        if saved.is_err() {
            return NoticeWork::Tried(key, attempt);
        }
        self.stats.dead_letters += u32::from(state == NoticeState::Dead);
        NoticeWork::Idle
    }
}

/// The fans of an admission who are to be told by a channel.
fn rows_of_call(
    tables: &Tables,
    last: u32,
    too_far: u32,
    fans: &[(AccountId, Wishes, bool)],
    now: Timestamp,
) -> Vec<(NoticeKey, NoticeRow)> {
    let Some(admission) = tables.admission_of(last) else {
        return Vec::new();
    };
    let places = tables.places.range(admission.first..=last + too_far);
    let waiting = places.filter(|(_, row)| !row.left && !row.used && row.entered_until.is_none());
    let mut rows = Vec::new();
    for (number, place) in waiting.filter(|_| now < admission.expires_at) {
        let (_, wishes, listening) = fans[usize::from(place.account.0[15])];
        if let Some(channel) = channel(Reason::YourTurn, wishes, listening, Channel::Email) {
            let key = NoticeKey {
                account: place.account,
                reason: Reason::YourTurn,
                about: About::Number(*number),
                channel,
            };
            rows.push((key, new_row(admission.expires_at, now)));
        }
    }
    rows
}

/// The fan of a booking, by a channel.
fn rows_of_booking(
    tables: &Tables,
    id: BookingId,
    fans: &[(AccountId, Wishes, bool)],
    now: Timestamp,
) -> Vec<(NoticeKey, NoticeRow)> {
    let booking = &tables.bookings[&id];
    let reason = match booking.state {
        BookingState::Pending => return Vec::new(),
        BookingState::Confirmed => Reason::BookingConfirmed,
        BookingState::Refused(_) => Reason::BookingRefused,
        BookingState::Cancelled => Reason::BookingCancelled,
    };
    let (account, wishes, listening) = fans[usize::from(booking.account_id.0[15])];
    channel(reason, wishes, listening, Channel::Email)
        .map(|channel| {
            let key = NoticeKey {
                account,
                reason,
                about: About::Booking(id),
                channel,
            };
            (key, new_row(Timestamp::MAX, now))
        })
        .into_iter()
        .collect()
}

fn new_row(useful_until: Timestamp, now: Timestamp) -> NoticeRow {
    NoticeRow {
        state: NoticeState::Due(now),
        attempts: 0,
        useful_until,
    }
}

fn name(work: &Work) -> String {
    match work {
        Work::Call(_, last) => format!("call up to {last}"),
        Work::TellBooking(id) => format!("tell of {}", crate::world::short(id.0)),
        Work::Pay(id) | Work::Refund(id) => crate::world::short(id.0),
    }
}
