//! The notifier: tellers make one notice a fan, reason and channel out of the outbox, in the transaction that ends the work;
//! the sender makes the attempts, each recorded as begun before, and records what became of them.
//!
//! An attempt of which nobody knows what became of it counts as one that may have arrived, so that no row of crashes tells
//! a fan more than three times.

use boxoffice_core::booking::{BookingState, Work};
use boxoffice_core::notice::{Attempt, Channel, Next, Reason, UNCLEAR_MAX, Wishes, after, channel};
use boxoffice_core::{AccountId, BookingId, Timestamp};

use crate::bug::Bug;
use crate::store::{About, Ended, GRACE_S, NotSaved, NoticeKey, NoticeRow, NoticeState};
use crate::world::{World, short};

/// Works that a teller takes at once.
const BATCH_MAX: usize = 3;
/// Attempts under way at once.
const CONNECTIONS_MAX: usize = 2;
/// An attempt is over by then, seconds.
const ATTEMPT_S: u32 = 150;

/// What a teller has read, and told to those who listen; to be recorded.
#[derive(Clone, Debug)]
pub(crate) struct Telling {
    pub(crate) work: Work,
    /// The state of the booking that is told.
    pub(crate) state: Option<BookingState>,
    pub(crate) notices: Vec<(NoticeKey, NoticeRow)>,
}

/// A notice as its attempt has begun.
type Begun = (NoticeKey, NoticeRow);

/// Where the sender stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendWork {
    /// Whether what an earlier process left open was taken over.
    took_over: bool,
    /// Attempts begun and not made.
    sending: Vec<Begun>,
    /// Attempts made and not recorded.
    ended: Vec<(Begun, Attempt)>,
}

impl World {
    /// Hands on work that the store has committed; it may get lost, the outbox has it.
    pub(crate) fn hand_to_teller(&mut self, work: Work) {
        if !self.rng.chance(self.faults.lose) {
            self.memory.notice_queue.push_back(work);
        }
    }

    /// Work of the outbox that nobody has told in time.
    pub(crate) fn untold(&self) -> Option<Work> {
        let mut outbox = self.store.tables().outbox.iter();
        outbox
            .find(|(work, due_at)| match work {
                Work::Call(..) | Work::TellBooking(_) => **due_at <= self.now,
                Work::Pay(_) | Work::Refund(_) => false,
            })
            .map(|(work, _)| work.clone())
    }

    /// Work that nobody has told in time is put off and handed on again.
    pub(crate) fn look_through(&mut self) {
        let (refuse, due_at) = (self.refuses(), self.now.plus_s(GRACE_S));
        let Some(work) = self.untold() else { return };
        let put_off = self.store.commit(refuse, |tables| {
            tables.outbox.insert(work.clone(), due_at);
            Ok(())
        });
        if put_off.is_ok() {
            self.stats.taken_up_again += 1;
            self.note(format_args!("{} is taken up again", name(&work)));
            self.memory.notice_queue.push_back(work);
        }
    }

    pub(crate) fn teller_ready(&self, teller: usize) -> bool {
        !self.memory.tellers[teller].is_empty() || !self.memory.notice_queue.is_empty()
    }

    /// The next step of a teller.
    pub(crate) fn teller_acts(&mut self, teller: usize) {
        if self.memory.tellers[teller].is_empty() {
            self.memory.tellers[teller] = self.teller_tells();
        } else if !self.rng.chance(self.faults.slow_store) {
            let told = std::mem::take(&mut self.memory.tellers[teller]);
            self.teller_records(&told);
        }
    }

    /// Takes work that is not in hand already, looks whom it is to tell, and tells those who listen.
    fn teller_tells(&mut self) -> Vec<Telling> {
        let count = self.memory.notice_queue.len().min(BATCH_MAX);
        let mut works: Vec<Work> = Vec::new();
        for work in self.memory.notice_queue.drain(..count).collect::<Vec<_>>() {
            if !self.is_being_told(&work) && !works.contains(&work) {
                works.push(work);
            }
        }
        let mut told = Vec::with_capacity(works.len());
        for work in works {
            let mut notices = Vec::new();
            let state = self.tell(&work, &mut notices);
            if self.has(Bug::CallLost) && matches!(work, Work::Call(..)) {
                let lost = self.store.commit(false, |tables| {
                    tables.outbox.remove(&work);
                    Ok(())
                });
                lost.expect("a commit that is not refused");
            }
            told.push(Telling {
                work,
                state,
                notices,
            });
        }
        told
    }

    /// Whom a piece of work tells, and in which state a booking is told.
    fn tell(
        &mut self,
        work: &Work,
        notices: &mut Vec<(NoticeKey, NoticeRow)>,
    ) -> Option<BookingState> {
        match work {
            Work::Call(_, last) => {
                for (number, account, useful_until) in self.called_by(*last) {
                    let fan = usize::from(account.0[15]);
                    let listening = self.memory.listening.contains(&fan);
                    if listening {
                        self.hears_call_on_stream(fan, number);
                    }
                    let about = About::Number(number);
                    notices.extend(self.notice(
                        account,
                        Reason::YourTurn,
                        about,
                        listening,
                        useful_until,
                    ));
                }
                None
            }
            Work::TellBooking(id) => {
                let booking = self.store.tables().bookings[id].clone();
                let about = About::Booking(*id, booking.changed_at);
                if let Some(reason) = reason(&booking.state) {
                    let until = booking.changed_at.plus_s(86_400);
                    notices.extend(self.notice(booking.account_id, reason, about, false, until));
                }
                Some(booking.state)
            }
            Work::Pay(_) | Work::Refund(_) => None,
        }
    }

    /// The fans of an admission, while their slots are kept.
    fn called_by(&self, last: u32) -> Vec<(u32, AccountId, Timestamp)> {
        let tables = self.store.tables();
        let Some(admission) = tables.admission_of(last) else {
            return Vec::new();
        };
        let too_far = u32::from(self.has(Bug::CallTooFar));
        let places = tables.places.range(admission.first..=last + too_far);
        places
            .filter(|(_, row)| row.left_at.is_none_or(|at| at > admission.at))
            .filter(|_| self.now < admission.expires_at)
            .map(|(number, row)| (*number, row.account, admission.expires_at))
            .collect()
    }

    fn notice(
        &self,
        account: AccountId,
        reason: Reason,
        about: About,
        listening: bool,
        useful_until: Timestamp,
    ) -> Option<(NoticeKey, NoticeRow)> {
        let wishes: Wishes = self.fans[usize::from(account.0[15])].wishes;
        let channel = channel(reason, wishes, listening, Channel::Email)?;
        let key = NoticeKey {
            account,
            reason,
            about,
            channel,
        };
        let row = NoticeRow {
            state: NoticeState::Due(self.now),
            tries: 0,
            unclear: 0,
            useful_until,
        };
        Some((key, row))
    }

    /// The notices, in the transaction that ends the work.
    fn teller_records(&mut self, told: &[Telling]) {
        if self.has(Bug::SentBeforeSaved) {
            for (key, _) in told.iter().flat_map(|telling| &telling.notices) {
                self.mail_arrives(*key);
            }
        }
        let refuse = self.refuses();
        let (stale, changed) = (!self.has(Bug::StaleWork), !self.has(Bug::ToldUnchecked));
        let (stale, changed) = (stale && !self.has(Bug::CallLost), changed);
        let recorded = self.store.commit(refuse, |tables| {
            let mut ended = Vec::new();
            for telling in told {
                ended.push(tables.record_notices(telling, stale, changed)?);
            }
            Ok(ended)
        });
        match recorded {
            Ok(ended) => {
                for (telling, ended) in told.iter().zip(ended) {
                    self.note(format_args!("{}: {ended:?}", name(&telling.work)));
                    self.stats.told_already += u32::from(ended == Ended::Already);
                    self.stats.told_again += u32::from(ended == Ended::Changed);
                    if let Work::Call(_, last) = telling.work {
                        self.history.call_taken.entry(last).or_insert(self.now);
                    }
                }
            }
            Err(NotSaved::Refused) => self.note(format_args!("notices: not saved")),
            Err(NotSaved::Conflict(row)) => {
                self.violated(5, format!("this {row} is made a second time"));
            }
        }
    }

    fn notice_due(&self) -> impl Iterator<Item = NoticeKey> {
        let notices = self.store.tables().notices.iter();
        notices
            .filter(|(_, row)| matches!(row.state, NoticeState::Due(at) if at <= self.now))
            .map(|(key, _)| *key)
    }

    /// When notices are to be sent.
    pub(crate) fn notices_due(&self) -> impl Iterator<Item = Timestamp> {
        let notices = self.store.tables().notices.values();
        notices.filter_map(|row| match row.state {
            NoticeState::Due(at) => Some(at),
            NoticeState::Sent | NoticeState::Dead => None,
        })
    }

    /// What the sender can do now.
    fn sender_options(&self) -> Vec<fn(&mut Self)> {
        let sender = &self.memory.sender;
        if !sender.took_over {
            return vec![Self::sender_takes_over];
        }
        let mut options: Vec<fn(&mut Self)> = Vec::new();
        if sender.sending.len() < CONNECTIONS_MAX && self.notice_due().next().is_some() {
            options.push(Self::sender_begins);
        }
        if !sender.sending.is_empty() {
            options.push(Self::sender_tries);
        }
        if !sender.ended.is_empty() {
            options.push(Self::sender_records);
        }
        options
    }

    pub(crate) fn sender_ready(&self) -> bool {
        !self.sender_options().is_empty()
    }

    /// The next step of the sender.
    pub(crate) fn sender_acts(&mut self) {
        let options = self.sender_options();
        if let Some(act) = self.rng.pick(&options) {
            act(self);
        }
    }

    /// What an earlier process was sending, or waited with, is due now.
    fn sender_takes_over(&mut self) {
        let (refuse, now) = (self.refuses(), self.now);
        self.memory.sender.took_over = true;
        let taken = self.store.commit(refuse, |tables| {
            for row in tables.notices.values_mut() {
                if let NoticeState::Due(at) = &mut row.state {
                    *at = now.min(*at);
                }
            }
            Ok(())
        });
        if taken.is_err() {
            self.note(format_args!("notices are not taken over: not saved"));
        }
    }

    /// Attempts are recorded as begun, each as one that may arrive.
    fn sender_begins(&mut self) {
        let (refuse, over_at) = (self.refuses(), self.now.plus_s(ATTEMPT_S));
        let free = CONNECTIONS_MAX - self.memory.sender.sending.len();
        let due: Vec<NoticeKey> = self.notice_due().take(free).collect();
        let counted = u32::from(!self.has(Bug::AttemptUnrecorded));
        let begun = self.store.commit(refuse, |tables| {
            let begin = |key: &NoticeKey| {
                let row = tables.notices.get_mut(key);
                let row = row.ok_or(NotSaved::Conflict("notice"))?;
                row.tries += 1;
                row.unclear += counted;
                row.state = NoticeState::Due(over_at);
                Ok((*key, *row))
            };
            due.iter().map(begin).collect::<Result<Vec<Begun>, _>>()
        });
        let Ok(begun) = begun else { return };
        for (key, _) in &begun {
            // What became of the attempt before this was never recorded.
            self.stats.left_open += u32::from(!self.history.open.insert(*key));
        }
        self.memory.sender.sending.extend(begun);
    }

    /// One of the attempts is made.
    fn sender_tries(&mut self) {
        let at = self.rng.below(self.memory.sender.sending.len());
        let (key, row) = self.memory.sender.sending.swap_remove(at);
        let attempt = if self.now < row.useful_until && row.unclear <= UNCLEAR_MAX {
            self.mail(key)
        } else {
            self.stats.tried_enough += u32::from(row.unclear > UNCLEAR_MAX);
            Attempt::Hopeless
        };
        self.memory.sender.ended.push(((key, row), attempt));
    }

    /// The mail server, with what chance does there.
    fn mail(&mut self, key: NoticeKey) -> Attempt {
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
        attempt
    }

    /// What became of attempts; what is not saved is kept and recorded later.
    fn sender_records(&mut self) {
        let refuse = self.refuses();
        let mut ended = Vec::with_capacity(self.memory.sender.ended.len());
        for (begun, attempt) in self.memory.sender.ended.clone() {
            ended.push((begun.0, self.after_attempt(begun.1, attempt)));
        }
        let recorded = self.store.commit(refuse, |tables| {
            for (key, new) in &ended {
                let row = tables.notices.get_mut(key);
                let row = row.filter(|row| matches!(row.state, NoticeState::Due(_)));
                *row.ok_or(NotSaved::Conflict("notice"))? = *new;
            }
            Ok(())
        });
        match recorded {
            Ok(()) => {
                self.memory.sender.ended.clear();
                for (key, row) in ended {
                    self.history.open.remove(&key);
                    self.stats.dead_letters += u32::from(row.state == NoticeState::Dead);
                }
            }
            Err(NotSaved::Refused) => self.note(format_args!("attempts: not saved")),
            Err(NotSaved::Conflict(row)) => {
                self.violated(5, format!("an attempt meets another {row} than it began"));
            }
        }
    }

    /// An attempt counts as one that may have arrived only if that is so.
    fn after_attempt(&mut self, row: NoticeRow, attempt: Attempt) -> NoticeRow {
        let jitter_ms = self.rng.next() % 1_000;
        let counted = match attempt {
            Attempt::Unclear if self.has(Bug::UnclearIsNotSent) => Attempt::NotSent,
            Attempt::Accepted | Attempt::NotSent | Attempt::Unclear | Attempt::Hopeless => attempt,
        };
        let (unclear, attempts) = match counted {
            Attempt::Unclear => (row.unclear, row.unclear),
            Attempt::Accepted | Attempt::NotSent | Attempt::Hopeless => {
                (row.unclear.saturating_sub(1), row.tries)
            }
        };
        let state = match after(counted, attempts, row.useful_until, jitter_ms, self.now) {
            Next::Sent => NoticeState::Sent,
            Next::RetryAt(at) => NoticeState::Due(at),
            Next::DeadLetter => NoticeState::Dead,
        };
        NoticeRow {
            state,
            unclear,
            ..row
        }
    }

    /// Whether a fan is told, or will be, of this booking as it stands.
    pub(crate) fn is_told(&self, id: BookingId) -> bool {
        let tables = self.store.tables();
        let booking = &tables.bookings[&id];
        let Some(reason) = reason(&booking.state) else {
            return true;
        };
        let wishes = self.fans[usize::from(booking.account_id.0[15])].wishes;
        let noticed = |key: &NoticeKey| {
            matches!(key.about, About::Booking(of, _) if of == id) && key.reason == reason
        };
        !wishes.email
            || tables.outbox.contains_key(&Work::TellBooking(id))
            || tables.notices.keys().any(noticed)
    }

    /// Whether this work is in a teller's hand.
    pub(crate) fn is_being_told(&self, work: &Work) -> bool {
        let mut told = self.memory.tellers.iter().flatten();
        told.any(|telling| telling.work == *work)
    }
}

fn reason(state: &BookingState) -> Option<Reason> {
    match state {
        BookingState::Pending => None,
        BookingState::Confirmed => Some(Reason::BookingConfirmed),
        BookingState::Refused(_) => Some(Reason::BookingRefused),
        BookingState::Cancelled => Some(Reason::BookingCancelled),
    }
}

fn name(work: &Work) -> String {
    match work {
        Work::Call(_, last) => format!("call up to {last}"),
        Work::TellBooking(id) => format!("news of {}", short(id.0)),
        Work::Pay(id) | Work::Refund(id) => short(id.0),
    }
}
