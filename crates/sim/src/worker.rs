//! The worker and the reconciler: bring payments to an end and settle them, give money back, take up what was left lying.

use boxoffice_core::booking::{Booking, BookingRows, BookingState, Work, refunded, settle};
use boxoffice_core::hold::HoldState;
use boxoffice_core::payment::{ChargeAnswer, Method, Status, Step, Verdict, next_step};
use boxoffice_core::ticket::TicketCode;
use boxoffice_core::{BookingId, TicketId, Timestamp};

use crate::bug::Bug;
use crate::net::{Message, Said};
use crate::store::NotSaved;
use crate::world::{World, short};

/// How long work that was taken up is left alone, seconds.
const LEASE_S: u32 = 2;

/// Where a worker stands with a booking.
#[derive(Clone, Debug)]
pub(crate) enum PayWork {
    Idle,
    Asking(BookingId),
    Charging(BookingId),
    CallingOff(BookingId),
    Settling(BookingId, Verdict),
    /// With the place whose pass that used up.
    Settled(BookingId, Option<u32>),
}

/// Where the reconciler stands with a refund.
#[derive(Clone, Debug)]
pub(crate) enum RefundWork {
    Idle,
    Refunding(BookingId),
    Refunded(BookingId, i64),
}

impl World {
    /// The next step of a worker.
    pub(crate) fn worker_acts(&mut self, worker: usize) {
        let work = std::mem::replace(&mut self.memory.workers[worker], PayWork::Idle);
        self.memory.workers[worker] = match work {
            PayWork::Idle => self
                .memory
                .pay_queue
                .pop_front()
                .map_or(PayWork::Idle, PayWork::Asking),
            PayWork::Asking(booking) => self.ask_provider(booking),
            PayWork::Charging(booking) => self.charge(booking),
            PayWork::CallingOff(booking) => {
                self.stats.called_off += 1;
                self.note(format_args!("provider: {} called off", short(booking.0)));
                self.provider.call_off(booking);
                PayWork::Asking(booking)
            }
            PayWork::Settling(booking, verdict) => self.settle_booking(booking, verdict),
            PayWork::Settled(booking, used) => self.tell_settled(booking, used),
        };
    }

    fn ask_provider(&mut self, id: BookingId) -> PayWork {
        if self.rng.chance(self.faults.silent) {
            return self.postpone(id, self.now.plus_s(LEASE_S));
        }
        self.after_status(id, self.provider.status(id))
    }

    fn after_status(&mut self, id: BookingId, status: Status) -> PayWork {
        let Some(booking) = self.store.tables().bookings.get(&id) else {
            return PayWork::Idle;
        };
        match next_step(status, booking.give_up_at, self.now) {
            // What is decided is not charged any more.
            Step::Charge | Step::AskAgain(_) | Step::CallOff
                if booking.state != BookingState::Pending =>
            {
                PayWork::Idle
            }
            Step::Charge => PayWork::Charging(id),
            Step::AskAgain(at) => self.postpone(id, at),
            Step::CallOff => PayWork::CallingOff(id),
            Step::Settle(verdict) => PayWork::Settling(id, verdict),
        }
    }

    fn charge(&mut self, id: BookingId) -> PayWork {
        let booking = self.store.tables().bookings[&id].clone();
        let Method::Sandbox(outcome) = booking.method;
        let wrong = i64::from(self.rng.chance(self.faults.wrong_amount));
        let answer = self
            .provider
            .charge(id, booking.total_minor - wrong, outcome);
        let status = self.provider.status(id);
        self.note(format_args!(
            "provider: charge {} -> {answer:?}, {status:?}",
            short(id.0)
        ));
        if matches!(status, Status::Captured { .. } | Status::Declined) {
            self.net
                .send(Message::Callback(id), &self.faults, &mut self.rng, self.now);
        }
        match answer {
            ChargeAnswer::Said(status) if !self.rng.chance(self.faults.silent) => {
                self.after_status(id, status)
            }
            ChargeAnswer::Said(_) | ChargeAnswer::Silence => {
                self.postpone(id, self.now.plus_s(LEASE_S))
            }
        }
    }

    /// Leaves a payment until then; the outbox keeps it.
    fn postpone(&mut self, id: BookingId, until: Timestamp) -> PayWork {
        self.memory.leased.insert(Work::Pay(id), until);
        PayWork::Idle
    }

    fn settle_booking(&mut self, id: BookingId, verdict: Verdict) -> PayWork {
        let (refuse, now, again) = (self.refuses(), self.now, self.has(Bug::SettledTwice));
        let mut rows = BookingRows::default();
        self.store.tables().load_booking(&mut rows, id, None);
        let before = rows.bookings.get(&id).map(|booking| booking.state.clone());
        if again && before == Some(BookingState::Confirmed) {
            for booking in rows.bookings.values_mut() {
                booking.state = BookingState::Pending;
            }
            for hold in rows.holds.values_mut() {
                hold.state = HoldState::Paying(id);
            }
        }
        let rng = &mut self.rng;
        let fresh = || (TicketId(rng.bytes16()), TicketCode(rng.bytes16()));
        let Ok(booking) = settle(&mut rows, id, verdict, now, fresh) else {
            self.violated(6, "a booking that was accepted is gone".to_owned());
            return PayWork::Idle;
        };
        match self
            .store
            .commit(refuse, |tables| tables.save_bookings(&rows, now))
        {
            Ok(()) => {
                let news = before == Some(BookingState::Pending);
                self.hand_on_news(&rows.changes.begun);
                self.count_settled(&booking, news);
                self.note(format_args!(
                    "{} settled: {:?}, news {news}",
                    short(id.0),
                    booking.state
                ));
                let used = rows.changes.used.first().map(|(_, number)| *number);
                if news {
                    PayWork::Settled(id, used)
                } else {
                    PayWork::Idle
                }
            }
            Err(NotSaved::Refused) => {
                self.note(format_args!("{} is not settled: not saved", short(id.0)));
                if self.has(Bug::FailureIsRefusal) && verdict != Verdict::Failed {
                    return PayWork::Settling(id, Verdict::Failed);
                }
                self.postpone(id, now.plus_s(LEASE_S))
            }
            Err(NotSaved::Conflict(row)) => {
                self.violated(6, format!("settling meets another {row} than it loaded"));
                PayWork::Idle
            }
        }
    }

    fn count_settled(&mut self, booking: &Booking, news: bool) {
        let confirmed = booking.state == BookingState::Confirmed;
        self.stats.settled_again += u32::from(!news);
        self.stats.confirmed += u32::from(news && confirmed);
        self.stats.refused += u32::from(news && !confirmed);
    }

    /// What is saved is told: to the room, to the picture, to those who wait.
    fn tell_settled(&mut self, id: BookingId, used: Option<u32>) -> PayWork {
        let booking = self.store.tables().bookings[&id].clone();
        // As it was saved: it may have been cancelled since.
        self.memory.used.extend(used);
        self.memory
            .refresh(&booking.seats, self.store.tables(), self.now);
        for request in self.memory.waiters.remove(&id).unwrap_or_default() {
            self.answer(request, Said::Booking(booking.clone()));
        }
        PayWork::Idle
    }

    /// Work of the outbox that is due and that nobody has taken up.
    fn left_lying(&self) -> Option<Work> {
        let leased = |work: &Work| {
            self.memory
                .leased
                .get(work)
                .is_some_and(|at| *at > self.now)
        };
        let outbox = self.store.tables().outbox.iter();
        outbox
            .filter(|(work, due_at)| **due_at <= self.now && !leased(work))
            .map(|(work, _)| work)
            .find(|work| match work {
                Work::Pay(_) | Work::Refund(_) => true,
                Work::TellBooking(_) | Work::Call(..) => false,
            })
            .cloned()
    }

    pub(crate) fn reconciler_ready(&self) -> bool {
        !matches!(self.memory.refund, RefundWork::Idle) || self.left_lying().is_some()
    }

    /// The next step of the reconciler.
    pub(crate) fn reconciler_acts(&mut self) {
        match std::mem::replace(&mut self.memory.refund, RefundWork::Idle) {
            RefundWork::Idle => {
                let Some(work) = self.left_lying() else {
                    return;
                };
                self.memory
                    .leased
                    .insert(work.clone(), self.now.plus_s(LEASE_S));
                match work {
                    Work::Pay(booking) => self.memory.pay_queue.push_back(booking),
                    Work::Refund(booking) => self.memory.refund = RefundWork::Refunding(booking),
                    Work::TellBooking(_) | Work::Call(..) => (),
                }
            }
            RefundWork::Refunding(booking) => {
                let given = self.provider.refund(booking, self.has(Bug::RefundedTwice));
                self.note(format_args!(
                    "provider: {given} of {} given back",
                    short(booking.0)
                ));
                if !self.rng.chance(self.faults.silent) {
                    self.memory.refund = RefundWork::Refunded(booking, given);
                }
            }
            RefundWork::Refunded(booking, given) => self.record_refund(booking, given),
        }
    }

    fn record_refund(&mut self, id: BookingId, given: i64) {
        let (refuse, now) = (self.refuses(), self.now);
        let mut rows = BookingRows::default();
        self.store.tables().load_booking(&mut rows, id, None);
        if refunded(&mut rows, id, given).is_err() {
            self.violated(6, "a booking that was accepted is gone".to_owned());
            return;
        }
        if self
            .store
            .commit(refuse, |tables| tables.save_bookings(&rows, now))
            .is_ok()
        {
            self.stats.refunded += 1;
            self.note(format_args!("refund of {} recorded", short(id.0)));
        }
    }
}
