//! The promises, looked at after every step: each transaction against the one before, the rows by themselves, against the
//! provider, against memory, and against everything that was told.

use std::collections::{BTreeMap, BTreeSet};

use boxoffice_core::booking::{Booking, BookingState, Why, Work};
use boxoffice_core::hold::{Hold, HoldState};
use boxoffice_core::notice::Reason;
use boxoffice_core::payment::Status;
use boxoffice_core::sale::SaleState;
use boxoffice_core::seating::SeatNo;
use boxoffice_core::waiting_room::{PlaceState, WaitingRoom};
use boxoffice_core::{AccountId, BookingId, HoldId, Timestamp};

use crate::history::booking_rank;
use crate::room_loop::RoomWork;
use crate::setup::Faults;
use crate::store::{About, AdmissionRow, NoticeKey, NoticeState, PERFORMANCE, PlaceRow, Tables};
use crate::worker::PayWork;
use crate::world::{World, seat_state, short};

/// A promise's number and how it was broken.
type Broken = (u8, String);

/// In how many microseconds no more than `per_s` (or one) are called.
fn rate_window_us(per_s: f64) -> u64 {
    (1_000_000.0 / per_s.min(1.0)).ceil() as u64
}

fn must(holds: bool, promise: u8, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds {
        Ok(())
    } else {
        Err((promise, what()))
    }
}

impl World {
    /// Everything that must be true at every instant.
    pub(crate) fn check(&mut self) {
        let result = if self.store.version() == self.history.shadow_version {
            self.check_memory()
        } else {
            self.note_called();
            let result = self.check_change();
            self.history.shadow = self.store.tables().clone();
            self.history.shadow_version = self.store.version();
            result
                .and_then(|()| self.check_rows())
                .and_then(|()| self.check_memory())
        };
        if let Err((promise, what)) = result {
            self.violated(promise, what);
        }
    }

    /// Who was called by new admissions: the fans in the range who had not left.
    fn note_called(&mut self) {
        let tables = self.store.tables();
        for row in &tables.admissions[self.history.shadow.admissions.len()..] {
            for (number, place) in tables.places.range(row.first..=row.last) {
                if place.left_at.is_none() {
                    self.history.called.insert(*number, row.expires_at);
                }
            }
        }
    }

    /// From one transaction to the next only what may change has changed.
    fn check_change(&mut self) -> Result<(), Broken> {
        let (old, new) = (&self.history.shadow, self.store.tables());
        for (number, before) in &old.places {
            let after = new
                .places
                .get(number)
                .ok_or((3, format!("number {number} is gone")))?;
            self.check_place(*number, before, after)?;
        }
        let known = old.admissions.len();
        must(new.admissions.starts_with(&old.admissions), 3, || {
            "an admission was changed".to_owned()
        })?;
        for at in known..new.admissions.len() {
            self.check_admission(at)?;
        }
        for (id, after) in &new.holds {
            match old.holds.get(id) {
                Some(before) => self.check_hold(before, after)?,
                None => self.check_new_hold(after)?,
            }
        }
        must(
            old.holds.keys().all(|id| new.holds.contains_key(id)),
            2,
            || "a hold is gone".to_owned(),
        )?;
        for (id, before) in &old.bookings {
            let after = new
                .bookings
                .get(id)
                .ok_or((2, format!("{} is gone", short(id.0))))?;
            self.check_booking(before, after)?;
        }
        must(
            old.tickets
                .iter()
                .all(|(id, ticket)| new.tickets.get(id) == Some(ticket)),
            2,
            || "a ticket was changed".to_owned(),
        )?;
        let cancelled = new
            .bookings
            .values()
            .filter(|booking| booking.state == BookingState::Cancelled)
            .count();
        self.stats.cancelled = u32::try_from(cancelled).expect("a short run");
        Ok(())
    }

    fn check_place(&self, number: u32, before: &PlaceRow, after: &PlaceRow) -> Result<(), Broken> {
        must(before.account == after.account, 3, || {
            format!("number {number} was given again")
        })?;
        let stays = before.left_at.is_none() || before.left_at == after.left_at;
        must(stays, 7, || {
            format!("number {number} is no longer given up")
        })?;
        must(!before.used || after.used, 7, || {
            format!("number {number} is no longer used")
        })?;
        if before.left_at != after.left_at {
            let asked = self
                .history
                .asked_leave
                .contains(&usize::from(after.account.0[15]));
            must(asked, 3, || {
                format!("number {number} was given up by nobody")
            })?;
        }
        if before.entered_until == after.entered_until {
            return Ok(());
        }
        let tables = self.store.tables();
        must(before.entered_until.is_none(), 7, || {
            format!("the pass of number {number} was changed")
        })?;
        let admission = tables
            .admission_of(number)
            .ok_or((3, format!("number {number} entered without being called")))?;
        let until = after.entered_until.unwrap_or_default();
        let ttl_us = i64::from(self.history.rules_at(self.now).1.pass_ttl_s) * 1_000_000;
        let in_time =
            until.0 - ttl_us < admission.expires_at.0 && until.0 - ttl_us >= admission.at.0;
        must(in_time && before.left_at.is_none(), 3, || {
            format!("number {number} entered outside its turn")
        })
    }

    /// Order, rate, ceiling and state of the sale, at the instant of the admission.
    fn check_admission(&self, at: usize) -> Result<(), Broken> {
        let tables = self.store.tables();
        let row: &AdmissionRow = &tables.admissions[at];
        let (sale, policy) = self.history.rules_at(row.at);
        let before = at.checked_sub(1).map_or(0, |at| tables.admissions[at].last);
        must(row.first == before + 1 && row.last >= row.first, 3, || {
            format!("{row:?} after serving counter {before}")
        })?;
        must(tables.places.contains_key(&row.last), 3, || {
            format!("{row:?} calls numbers that nobody has")
        })?;
        must(sale.state(row.at) == SaleState::Open, 3, || {
            format!("{row:?} while the sale is {:?}", sale.state(row.at))
        })?;
        let called = tables
            .places
            .range(row.first..=row.last)
            .filter(|(_, place)| place.left_at.is_none())
            .count();
        must(called == row.called as usize, 3, || {
            format!("{row:?} calls {called}")
        })?;
        let claim = row.at.plus_s(policy.claim_within_s);
        must(row.expires_at == claim, 3, || {
            format!("{row:?} keeps its slots too short or too long")
        })?;
        let active = (1..=row.last)
            .filter(|number| {
                tables
                    .active_until(*number)
                    .is_some_and(|until| until > row.at)
            })
            .count();
        must(active <= policy.active_max as usize, 3, || {
            format!("{active} fans inside or called of {}", policy.active_max)
        })?;
        let limit = if policy.per_s < 1.0 && policy.per_s > 0.0 {
            1.0
        } else {
            policy.per_s
        };
        let window_us = rate_window_us(policy.per_s);
        let recent = tables.admissions[..=at]
            .iter()
            .filter(|other| row.at.since_us(other.at) < window_us);
        let calls: u32 = recent.map(|other| other.called).sum();
        must(f64::from(calls) <= limit, 3, || {
            format!(
                "{calls} calls in {window_us} us at {} a second",
                policy.per_s
            )
        })
    }

    fn check_hold(&self, before: &Hold, after: &Hold) -> Result<(), Broken> {
        let id = short(after.hold_id.0);
        let same = Hold {
            state: after.state,
            ..before.clone()
        };
        must(same == *after, 2, || format!("{id} was changed"))?;
        let booked = |booking: BookingId| self.store.tables().bookings.get(&booking);
        let allowed =
            match (before.state, after.state) {
                (HoldState::Active, HoldState::Active)
                | (HoldState::Released, HoldState::Released) => true,
                (HoldState::Paying(was), HoldState::Paying(is))
                | (HoldState::Confirmed(was), HoldState::Confirmed(is)) => was == is,
                (HoldState::Active, HoldState::Paying(is)) => {
                    booked(is).is_some_and(|booking| booking.accepted_at < after.expires_at)
                }
                (HoldState::Active, HoldState::Released) => {
                    self.history.asked_release.contains(&after.hold_id)
                }
                (HoldState::Paying(was), HoldState::Active) => booked(was)
                    .is_some_and(|booking| matches!(booking.state, BookingState::Refused(_))),
                (HoldState::Paying(was), HoldState::Confirmed(is)) => was == is,
                (HoldState::Returned(was), HoldState::Returned(is)) => was == is,
                (HoldState::Confirmed(was), HoldState::Returned(is)) => {
                    let cancelled =
                        booked(is).is_some_and(|booking| booking.state == BookingState::Cancelled);
                    was == is && cancelled
                }
                (HoldState::Active, HoldState::Confirmed(_) | HoldState::Returned(_))
                | (HoldState::Paying(_), HoldState::Returned(_) | HoldState::Released)
                | (
                    HoldState::Confirmed(_),
                    HoldState::Active | HoldState::Paying(_) | HoldState::Released,
                )
                | (
                    HoldState::Returned(_),
                    HoldState::Active
                    | HoldState::Paying(_)
                    | HoldState::Confirmed(_)
                    | HoldState::Released,
                )
                | (
                    HoldState::Released,
                    HoldState::Active
                    | HoldState::Paying(_)
                    | HoldState::Confirmed(_)
                    | HoldState::Returned(_),
                ) => false,
            };
        must(allowed, 6, || {
            format!("{id} went from {:?} to {:?}", before.state, after.state)
        })
    }

    /// A hold is made within the sale, by a fan inside, within the limit.
    fn check_new_hold(&self, hold: &Hold) -> Result<(), Broken> {
        let (tables, id) = (self.store.tables(), short(hold.hold_id.0));
        let (sale, _) = self.history.rules_at(hold.created_at);
        must(sale.may_hold(hold.created_at).is_ok(), 3, || {
            format!("{id} was made while nothing is sold")
        })?;
        must(hold.place.is_some() == self.setup.waiting_room, 3, || {
            format!("{id} was made without a pass")
        })?;
        if let Some(number) = hold.place {
            // The place as it was before: a batch that another one overtook has been decided again.
            let row = self.history.shadow.places.get(&number);
            let inside = row.is_some_and(|row| {
                row.account == hold.account_id
                    && row.left_at.is_none()
                    && !row.used
                    && row
                        .entered_until
                        .is_some_and(|until| hold.created_at < until)
            });
            must(inside, 3, || {
                format!("{id} was made with the pass of number {number}: {row:?}")
            })?;
        }
        let own = tables
            .holds
            .values()
            .filter(|other| other.account_id == hold.account_id);
        let unsold = own.filter(|other| {
            other.keeps_seats(self.now) && !matches!(other.state, HoldState::Confirmed(_))
        });
        let held: usize = unsold.map(|other| other.seats.len()).sum();
        must(held <= self.setup.hold.seats_max as usize, 6, || {
            format!("a fan holds {held} seats of {}", self.setup.hold.seats_max)
        })
    }

    fn check_booking(&self, before: &Booking, after: &Booking) -> Result<(), Broken> {
        let id = short(after.booking_id.0);
        let same = before.seats == after.seats
            && before.total_minor == after.total_minor
            && before.account_id == after.account_id
            && before.hold_id == after.hold_id
            && (before.tickets == after.tickets || before.state == BookingState::Pending);
        must(same, 2, || format!("{id} was changed"))?;
        let forward = before.state == after.state
            || before.state == BookingState::Pending && booking_rank(&after.state) == 1
            || before.state == BookingState::Confirmed && after.state == BookingState::Cancelled;
        must(forward, 6, || {
            format!("{id} went from {:?} to {:?}", before.state, after.state)
        })?;
        let cancelled = before.state != after.state && after.state == BookingState::Cancelled;
        let asked = self.history.asked_cancel.contains(&after.booking_id);
        must(!cancelled || asked, 2, || {
            format!("{id} was cancelled and the fan did not ask")
        })?;
        let refunds = before.refunded_minor <= after.refunded_minor
            && after.refunded_minor <= after.captured_minor;
        must(refunds, 4, || {
            format!(
                "{id}: {} of {} went back",
                after.refunded_minor, after.captured_minor
            )
        })
    }

    /// The rows by themselves, and against the provider and the answers given.
    fn check_rows(&self) -> Result<(), Broken> {
        let tables = self.store.tables();
        for (number, at) in tables.places.keys().zip(1..) {
            must(*number == at, 3, || format!("number {at} is missing"))?;
        }
        self.check_seats(tables)?;
        for booking in tables.bookings.values() {
            self.check_money(tables, booking)?;
        }
        for id in tables.bookings.keys() {
            must(self.is_told(*id), 6, || {
                format!("nobody will be told what became of {}", short(id.0))
            })?;
        }
        self.check_calls(tables)?;
        self.check_told(tables)
    }

    /// A seat has one owner, a booking all its tickets, and the counts agree.
    fn check_seats(&self, tables: &Tables) -> Result<(), Broken> {
        let mut owners: BTreeMap<SeatNo, HoldId> = BTreeMap::new();
        for hold in tables
            .holds
            .values()
            .filter(|hold| hold.keeps_seats(self.now))
        {
            for seat in &hold.seats {
                let id = short(hold.hold_id.0);
                if let Some(other) = owners.insert(*seat, hold.hold_id) {
                    return Err((
                        1,
                        format!("seat {} is kept by {id} and by {}", seat.0, short(other.0)),
                    ));
                }
                must(
                    tables.seats[seat.0 as usize] == Some(hold.hold_id),
                    1,
                    || format!("{id} keeps seat {} and the seat does not know", seat.0),
                )?;
            }
        }
        let mut per_booking: BTreeMap<BookingId, usize> = BTreeMap::new();
        let mut live: BTreeSet<SeatNo> = BTreeSet::new();
        for ticket in tables.tickets.values() {
            *per_booking.entry(ticket.booking_id).or_default() += 1;
            let valid = tables
                .bookings
                .get(&ticket.booking_id)
                .is_some_and(|booking| booking.state == BookingState::Confirmed);
            must(!valid || live.insert(ticket.seat), 1, || {
                format!("two live tickets for seat {}", ticket.seat.0)
            })?;
        }
        for (id, booking) in &tables.bookings {
            let tickets = per_booking.get(id).copied().unwrap_or(0);
            let wanted = match booking.state {
                BookingState::Pending | BookingState::Refused(_) => 0,
                BookingState::Confirmed | BookingState::Cancelled => booking.seats.len(),
            };
            must(
                tickets == wanted && booking.tickets.len() == wanted,
                4,
                || format!("{} has {tickets} tickets for {wanted} seats", short(id.0)),
            )?;
        }
        let sold = owners
            .values()
            .filter(|id| matches!(tables.holds[id].state, HoldState::Confirmed(_)))
            .count();
        must(sold == live.len(), 4, || {
            format!("{sold} seats sold, {} live tickets", live.len())
        })
    }

    /// What the provider has and what we say it has; why a booking was refused; what is owed is remembered.
    fn check_money(&self, tables: &Tables, booking: &Booking) -> Result<(), Broken> {
        let (id, name) = (booking.booking_id, short(booking.booking_id.0));
        let (status, taken, returned) = (
            self.provider.status(id),
            self.provider.taken(id),
            self.provider.returned(id),
        );
        must(returned <= taken, 4, || {
            format!("{name}: {returned} of {taken} went back")
        })?;
        must(booking.refunded_minor <= returned, 4, || {
            format!(
                "{name}: {} is said to have gone back",
                booking.refunded_minor
            )
        })?;
        let remembered = |work: Work| tables.outbox.contains_key(&work);
        match booking.state {
            BookingState::Pending => must(remembered(Work::Pay(id)), 2, || {
                format!("nothing will bring {name} to an end")
            })?,
            BookingState::Confirmed => {
                let paid = taken == booking.total_minor
                    && returned == 0
                    && booking.captured_minor == taken;
                must(paid, 4, || {
                    format!(
                        "{name} is confirmed and {taken} - {returned} of {} are paid",
                        booking.total_minor
                    )
                })?;
            }
            BookingState::Cancelled => must(booking.captured_minor == taken, 4, || {
                format!("{name}: {taken} is taken")
            })?,
            BookingState::Refused(why) => {
                let reason = match why {
                    Why::PaymentDeclined => status == Status::Declined,
                    Why::PaymentFailed => {
                        status == Status::Cancelled || taken != 0 && taken != booking.total_minor
                    }
                    // A hold that is being paid keeps its seats.
                    Why::HoldExpired => false,
                };
                must(reason, 6, || {
                    format!("{name} is refused {why:?} and the provider says {status:?}")
                })?;
            }
        }
        let owed = booking.state != BookingState::Confirmed
            && booking.captured_minor > booking.refunded_minor;
        must(!owed || remembered(Work::Refund(id)), 4, || {
            format!("nothing will give {name}'s money back")
        })
    }

    /// No call is lost, while it is of use.
    fn check_calls(&self, tables: &Tables) -> Result<(), Broken> {
        for row in &tables.admissions {
            let Some(taken_at) = self.history.call_taken.get(&row.last) else {
                let call = Work::Call(PERFORMANCE, row.last);
                let remembered = tables.outbox.contains_key(&call) || self.is_being_told(&call);
                must(remembered, 5, || {
                    format!("the call up to {} is lost", row.last)
                })?;
                continue;
            };
            if *taken_at >= row.expires_at {
                continue;
            }
            for (number, place) in tables.places.range(row.first..=row.last) {
                let fan = &self.fans[usize::from(place.account.0[15])];
                let gone = place.left_at.is_some() || place.used || place.entered_until.is_some();
                let told = self.history.called_on_stream.contains(number) || !fan.wishes.email;
                let about = About::Number(*number);
                let noticed = tables
                    .notices
                    .keys()
                    .any(|key| key.about == about && key.account == place.account);
                must(gone || told || noticed, 5, || {
                    format!("number {number} is called and will never hear of it")
                })?;
            }
        }
        Ok(())
    }

    /// What was told is still so, or what may have come of it.
    fn check_told(&self, tables: &Tables) -> Result<(), Broken> {
        let history = &self.history;
        for (number, fan) in &history.numbers {
            let account: Option<AccountId> = tables.places.get(number).map(|row| row.account);
            must(account == Some(self.fans[*fan].account), 3, || {
                format!("number {number} was told to fan {fan}")
            })?;
        }
        for (number, until) in &history.passes {
            let row = tables.places.get(number).and_then(|row| row.entered_until);
            must(row == Some(*until), 7, || {
                format!("the pass of number {number} was told")
            })?;
        }
        for (id, (told, _)) in &history.holds {
            let row = tables
                .holds
                .get(id)
                .ok_or((2, format!("{} was told and is gone", short(id.0))))?;
            let sold = |hold: &Hold| match hold.state {
                HoldState::Confirmed(booking) | HoldState::Returned(booking) => Some(booking),
                HoldState::Active | HoldState::Paying(_) | HoldState::Released => None,
            };
            let moved = told.state == HoldState::Released && row.state != HoldState::Released
                || sold(told).is_some() && sold(told) != sold(row);
            must(!moved && row.seats == told.seats, 7, || {
                format!("{} was told to be {:?}", short(id.0), told.state)
            })?;
        }
        for (id, told) in &history.bookings {
            let name = short(id.0);
            let row = tables
                .bookings
                .get(id)
                .ok_or((2, format!("{name} was told and is gone")))?;
            let later =
                row.state == told.state || booking_rank(&row.state) > booking_rank(&told.state);
            must(
                later && row.seats == told.seats && row.total_minor == told.total_minor,
                2,
                || format!("{name} was told to be {:?}", told.state),
            )?;
        }
        Ok(())
    }

    /// Memory is never ahead of the store, and agrees with it when it has nothing in hand.
    fn check_memory(&self) -> Result<(), Broken> {
        let (tables, room) = (self.store.tables(), &self.memory.room);
        let (serving, stored) = (room.serving_counter(), tables.serving_counter());
        must(serving <= stored, 3, || {
            format!("serving counter {serving}, and only {stored} is saved")
        })?;
        let joined = tables.places.len();
        must(room.queue_counter() as usize <= joined, 3, || {
            format!(
                "queue counter {}, and only {joined} is saved",
                room.queue_counter()
            )
        })?;
        let counts = self.memory.picture.counts();
        let total = self.setup.plan.seats_total();
        must(counts.free + counts.held + counts.sold == total, 4, || {
            format!("{counts:?} of {total}")
        })?;
        let settled = self
            .memory
            .workers
            .iter()
            .any(|worker| matches!(worker, PayWork::Settled(..)));
        if !matches!(self.memory.room_work, RoomWork::Idle)
            || settled
            || !self.memory.used.is_empty()
        {
            return Ok(());
        }
        let stored = tables.restore(self.now, 0);
        let counters = |room: &WaitingRoom| {
            (
                room.queue_counter(),
                room.serving_counter(),
                room.waiting(),
                room.active(self.now),
            )
        };
        must(counters(room) == counters(&stored), 7, || {
            format!(
                "the room has {:?}, its rows say {:?}",
                counters(room),
                counters(&stored)
            )
        })?;
        let place = |room: &WaitingRoom, number| room.place(number).map(|place| place.state);
        let differs = (1..=room.queue_counter())
            .find(|number| place(room, *number) != place(&stored, *number));
        must(differs.is_none(), 7, || {
            format!("number {differs:?} in the room is not as its row says")
        })?;
        self.check_wake(tables)
    }

    /// Nobody absent stalls the line: while somebody waits the room acts when a slot ends, or when the rate allows it.
    fn check_wake(&self, tables: &Tables) -> Result<(), Broken> {
        let (room, policy) = (&self.memory.room, &tables.admission);
        let open = self.setup.waiting_room && tables.sale.state(self.now) == SaleState::Open;
        if !open || room.waiting() == 0 || policy.active_max == 0 || policy.per_s <= 0.0 {
            return Ok(());
        }
        let ends = (1..=tables.serving_counter()).filter_map(|number| tables.active_until(number));
        let active: Vec<Timestamp> = ends.filter(|until| *until > self.now).collect();
        let latest = if active.len() < policy.active_max as usize {
            Some(
                self.now
                    .plus_ms(rate_window_us(policy.per_s).div_ceil(1_000)),
            )
        } else {
            active.into_iter().min()
        };
        let wakes = self.memory.wake_at.is_some_and(|at| Some(at) <= latest);
        must(wakes, 3, || {
            format!(
                "fans wait until {latest:?} and the room wakes at {:?}",
                self.memory.wake_at
            )
        })
    }

    /// A mail reaches its fan: the right one, while it is of use, no more than three times.
    pub(crate) fn mail_arrives(&mut self, key: NoticeKey) {
        if key.reason == Reason::YourTurn {
            self.fans[usize::from(key.account.0[15])].is_called();
        }
        let arrivals = &mut self.history.arrivals;
        *arrivals.entry(key).or_default() += 1;
        let recorded = self.store.tables().notices.get(&key);
        if recorded.is_none_or(|row| row.unclear < arrivals[&key]) {
            self.violated(
                5,
                format!("{key:?} arrives and is recorded as {recorded:?}"),
            );
            return;
        }
        let times: u32 = (arrivals.iter())
            .filter(|(other, _)| other.is_same(&key))
            .map(|(_, times)| times)
            .sum();
        let calm = self.setup.faults == Faults::default();
        if times > if calm { 1 } else { 3 } {
            self.violated(5, format!("{key:?} arrives {times} times"));
        }
        let tables = self.store.tables();
        let right = match key.about {
            About::Number(number) => {
                let called = self
                    .history
                    .called
                    .get(&number)
                    .is_some_and(|until| self.now < *until);
                let own = tables
                    .places
                    .get(&number)
                    .is_some_and(|row| row.account == key.account);
                called && own
            }
            About::Booking(id, _) => tables.bookings.get(&id).is_some_and(|booking| {
                booking.account_id == key.account && booking.state != BookingState::Pending
            }),
        };
        if !right {
            self.violated(
                5,
                format!("{key:?} tells a fan who is not called, or too late"),
            );
        }
    }

    /// Everything has come to an end.
    pub(crate) fn check_end(&mut self) {
        if let Err((promise, what)) = self.ended() {
            self.violated(promise, what);
        }
    }

    fn ended(&self) -> Result<(), Broken> {
        let tables = self.store.tables();
        for (id, booking) in &tables.bookings {
            let name = short(id.0);
            must(booking.state != BookingState::Pending, 2, || {
                format!("{name} never came to an end")
            })?;
            must(
                booking.refunded_minor == self.provider.returned(*id),
                4,
                || format!("{name}: more went back than is known"),
            )?;
        }
        for id in self.provider.bookings() {
            let known = tables
                .bookings
                .get(&id)
                .is_some_and(|booking| booking.captured_minor == self.provider.taken(id));
            must(known, 4, || {
                format!("{}: money that we do not know of", short(id.0))
            })?;
        }
        let kept: i64 = self
            .provider
            .bookings()
            .map(|id| self.provider.taken(id) - self.provider.returned(id))
            .sum();
        let live = tables
            .tickets
            .values()
            .filter(|ticket| tables.bookings[&ticket.booking_id].state == BookingState::Confirmed);
        let price: i64 = live.map(|ticket| self.setup.price(ticket.seat)).sum();
        must(kept == price, 4, || {
            format!("{kept} is kept for tickets of {price}")
        })?;
        must(tables.outbox.is_empty(), 2, || {
            format!("left undone: {:?}", tables.outbox)
        })?;
        for (key, row) in &tables.notices {
            let arrivals = self.history.arrivals.get(key).copied().unwrap_or(0);
            let ended = match row.state {
                NoticeState::Sent => arrivals >= 1,
                NoticeState::Dead => true,
                NoticeState::Due(_) => false,
            };
            must(ended, 5, || {
                format!("{key:?} ends as {row:?}, arrived {arrivals} times")
            })?;
        }
        for seat in 0..self.setup.plan.seats_total() {
            let (shown, is) = (
                self.memory.picture.state(SeatNo(seat)),
                seat_state(tables, SeatNo(seat), self.now),
            );
            must(shown == is, 7, || {
                format!("seat {seat} is shown {shown:?} and is {is:?}")
            })?;
        }
        let waits = |number: u32| {
            self.memory
                .room
                .place(number)
                .is_some_and(|place| place.state == PlaceState::Waiting)
        };
        let stalled = (1..=self.memory.room.queue_counter()).find(|number| waits(*number));
        let open = self.setup.waiting_room && tables.sale.state(self.now) == SaleState::Open;
        must(!open || stalled.is_none(), 3, || {
            format!("number {stalled:?} waits for ever")
        })
    }
}
