//! Bookings, cancellations and releases: load, decide and save in one transaction, then answer and hand over to the bus.

use boxoffice_core::booking::{BookCommand, Booking, BookingRows, Work, accept, cancel};
use boxoffice_core::hold::HoldState;
use boxoffice_core::payment::{Method, Outcome};
use boxoffice_core::seating::SeatNo;
use boxoffice_core::{BookingId, HoldId, Refusal};

use crate::bug::Bug;
use crate::net::{Ask, Request, Said};
use crate::store::{NotSaved, Tables};
use crate::world::World;

/// Requests in one batch.
const BATCH_MAX: usize = 4;

/// What became of a request.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    Booked(Booking),
    Cancelled(Booking),
    Released(HoldId),
}

/// A request and what was decided about it.
type Results = Vec<(Request, Result<Done, Refusal>)>;

/// Where the loop stands.
#[derive(Clone, Debug)]
pub(crate) enum BookWork {
    Idle,
    Saved {
        results: Results,
        touched: Vec<SeatNo>,
        to_pay: Vec<BookingId>,
    },
}

impl World {
    /// The next step of the loop.
    pub(crate) fn book_acts(&mut self) {
        match std::mem::replace(&mut self.memory.book_work, BookWork::Idle) {
            BookWork::Idle => self.book_decides_and_saves(),
            BookWork::Saved {
                results,
                touched,
                to_pay,
            } => self.book_answers(results, &touched, &to_pay),
        }
    }

    fn book_decides_and_saves(&mut self) {
        let count = self.memory.book_queue.len().min(BATCH_MAX);
        let requests: Vec<Request> = self.memory.book_queue.drain(..count).collect();
        let (mut rows, refuse) = (BookingRows::default(), self.refuses());
        let mut results = Results::new();
        for request in &requests {
            let result = self.decide_booking(&mut rows, request);
            results.push((request.clone(), result));
        }
        let now = self.now;
        match self
            .store
            .commit(refuse, |tables| tables.save_bookings(&rows, now))
        {
            Ok(()) => {
                let touched = rows
                    .changes
                    .holds
                    .iter()
                    .flat_map(|id| rows.holds[id].seats.clone())
                    .collect();
                let to_pay = rows.changes.inserted.clone();
                self.hand_on_news(&rows.changes.begun);
                self.memory.book_work = BookWork::Saved {
                    results,
                    touched,
                    to_pay,
                };
            }
            Err(NotSaved::Refused) => {
                self.note(format_args!("bookings: not saved"));
                for request in requests {
                    self.answer(request, Said::Busy);
                }
            }
            Err(NotSaved::Conflict(row)) => {
                self.violated(
                    6,
                    format!("a batch of bookings meets another {row} than it loaded"),
                );
            }
        }
    }

    /// News that the store has committed goes to the notifier at once.
    pub(crate) fn hand_on_news(&mut self, begun: &[Work]) {
        for work in begun {
            match work {
                Work::TellBooking(_) | Work::Call(..) => self.hand_to_teller(work.clone()),
                Work::Pay(_) | Work::Refund(_) => (),
            }
        }
    }

    fn decide_booking(&self, rows: &mut BookingRows, request: &Request) -> Result<Done, Refusal> {
        let (tables, account_id) = (self.store.tables(), self.account(request.fan));
        match &request.ask {
            Ask::Book {
                booking_id,
                hold_id,
                outcome,
                ..
            } => {
                tables.load_booking(rows, *booking_id, Some(*hold_id));
                let command = BookCommand {
                    booking_id: *booking_id,
                    hold_id: *hold_id,
                    account_id,
                    method: Method::Sandbox(*outcome),
                    content: fingerprint(*hold_id, *outcome),
                };
                let now = if self.has(Bug::LateClock) {
                    request.sent_at
                } else {
                    self.now
                };
                accept(rows, &command, now).map(|(booking, _)| Done::Booked(booking))
            }
            Ask::Cancel(booking_id) => {
                tables.load_booking(rows, *booking_id, None);
                let cancelled = cancel(rows, *booking_id, account_id, self.now);
                if let (Ok(booking), true) = (&cancelled, self.has(Bug::CancelReleases)) {
                    let hold = rows.holds.get_mut(&booking.hold_id);
                    hold.expect("it was loaded with its booking").state = HoldState::Released;
                }
                cancelled.map(Done::Cancelled)
            }
            Ask::Release(hold_id) => {
                load_hold(tables, rows, *hold_id);
                let hold = rows.holds.get_mut(hold_id);
                let hold = hold
                    .filter(|hold| hold.account_id == account_id)
                    .ok_or(Refusal::NotFound)?;
                if hold.release()? {
                    rows.changes.holds.push(*hold_id);
                }
                Ok(Done::Released(*hold_id))
            }
            Ask::Join
            | Ask::Look
            | Ask::Leave
            | Ask::Enter
            | Ask::Hold { .. }
            | Ask::LookHold(_)
            | Ask::LookBooking(_) => {
                unreachable!("only what is about bookings and releases comes here")
            }
        }
    }

    fn book_answers(&mut self, results: Results, touched: &[SeatNo], to_pay: &[BookingId]) {
        self.memory.refresh(touched, self.store.tables(), self.now);
        for booking in to_pay {
            // The bus may lose and repeat too.
            let copies = match (
                self.rng.chance(self.faults.lose),
                self.rng.chance(self.faults.repeat),
            ) {
                (true, _) => 0,
                (false, true) => 2,
                (false, false) => 1,
            };
            for _ in 0..copies {
                self.memory.pay_queue.push_back(*booking);
            }
        }
        for (request, result) in results {
            let said = match result {
                Ok(Done::Booked(booking)) => {
                    let waits = matches!(request.ask, Ask::Book { wait: true, .. });
                    let now = &self.store.tables().bookings[&booking.booking_id];
                    if waits && now.state == boxoffice_core::booking::BookingState::Pending {
                        let waiters = self.memory.waiters.entry(booking.booking_id).or_default();
                        waiters.push(request.clone());
                    }
                    Said::Booking(now.clone())
                }
                Ok(Done::Cancelled(booking)) => Said::Booking(booking),
                Ok(Done::Released(hold_id)) => Said::Released(hold_id),
                Err(refusal) => Said::Refused(refusal),
            };
            self.answer(request, said);
        }
    }

    /// A fan asks how a hold or booking stands; the store answers.
    pub(crate) fn look_up(&mut self, request: Request) {
        let (tables, account) = (self.store.tables(), self.account(request.fan));
        let said = match &request.ask {
            Ask::LookHold(id) => {
                let hold = tables
                    .holds
                    .get(id)
                    .filter(|hold| hold.account_id == account);
                hold.cloned().map(Said::Hold)
            }
            Ask::LookBooking(id) => {
                let booking = tables
                    .bookings
                    .get(id)
                    .filter(|booking| booking.account_id == account);
                booking.cloned().map(Said::Booking)
            }
            Ask::Join
            | Ask::Look
            | Ask::Leave
            | Ask::Enter
            | Ask::Hold { .. }
            | Ask::Release(_)
            | Ask::Book { .. }
            | Ask::Cancel(_) => None,
        };
        self.answer(request, said.unwrap_or(Said::Refused(Refusal::NotFound)));
    }
}

fn load_hold(tables: &Tables, rows: &mut BookingRows, id: HoldId) {
    if let Some(hold) = tables.holds.get(&id) {
        rows.holds.entry(id).or_insert_with(|| hold.clone());
    }
}

fn fingerprint(hold: HoldId, outcome: Outcome) -> [u8; 16] {
    let mut content = hold.0;
    content[0] = match outcome {
        Outcome::Ok => 0,
        Outcome::Declined => 1,
        Outcome::TimeoutThenOk => 2,
        Outcome::Never => 3,
    };
    content
}
