//! The model store: tables in memory that survive a crash, and transactions that happen whole or not at all.
//!
//! Keeps true: a refused or conflicting transaction leaves no trace; what is saved from an expected state is checked
//! against that state, as a row count is in SQL.

use std::collections::BTreeMap;

use boxoffice_core::admission::AdmissionPolicy;
use boxoffice_core::booking::{Booking, BookingRows, Work};
use boxoffice_core::hold::{Hold, HoldRows, PlaceMarks};
use boxoffice_core::notice::{Channel, Reason};
use boxoffice_core::sale::Sale;
use boxoffice_core::ticket::Ticket;
use boxoffice_core::waiting_room::{Restore, RoomChanges, StoredPlace, WaitingRoom};
use boxoffice_core::{AccountId, BookingId, HoldId, PerformanceId, TicketId, Timestamp};

use crate::notifier::Telling;

/// The one performance of a run.
pub(crate) const PERFORMANCE: PerformanceId = PerformanceId([0xaa; 16]);
/// How long new work is left to those to whom it was handed before it is taken up from the outbox, seconds.
pub(crate) const GRACE_S: u32 = 3;

/// A place's row.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlaceRow {
    pub(crate) account: AccountId,
    pub(crate) entered_until: Option<Timestamp>,
    pub(crate) left_at: Option<Timestamp>,
    pub(crate) used: bool,
}

/// An admission's row; the numbers called follow from the places.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdmissionRow {
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) called: u32,
    pub(crate) at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// What a notice is about: its dedupe key together with fan, reason and channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum About {
    /// A call of this number.
    Number(u32),
    /// A booking, as it was changed then.
    Booking(BookingId, Timestamp),
}

/// One row a fan, reason, thing and channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NoticeKey {
    pub(crate) account: AccountId,
    pub(crate) reason: Reason,
    pub(crate) about: About,
    pub(crate) channel: Channel,
}

impl NoticeKey {
    /// Whether it tells the same fan the same thing.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let about = match (self.about, other.about) {
            (About::Number(one), About::Number(two)) => one == two,
            (About::Booking(one, _), About::Booking(two, _)) => one == two,
            (About::Number(_), About::Booking(..)) | (About::Booking(..), About::Number(_)) => {
                false
            }
        };
        about && (self.account, self.reason) == (other.account, other.reason)
    }
}

/// Where a notice stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoticeState {
    /// To be tried from then on; while an attempt is under way that is when it must be over.
    Due(Timestamp),
    /// Sent.
    Sent,
    /// Given up.
    Dead,
}

/// A notice's row.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoticeRow {
    pub(crate) state: NoticeState,
    /// Attempts begun.
    pub(crate) tries: u32,
    /// Of those, how many may have arrived: ended unclear, or under way.
    pub(crate) unclear: u32,
    pub(crate) useful_until: Timestamp,
}

/// How work ended when its notices were to be made.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With its notices.
    Now,
    /// Before, by somebody else; it makes no notices.
    Already,
    /// Not yet: its booking has changed since and is to be told again.
    Changed,
}

/// All tables.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    pub(crate) sale: Sale,
    pub(crate) admission: AdmissionPolicy,
    pub(crate) places: BTreeMap<u32, PlaceRow>,
    pub(crate) admissions: Vec<AdmissionRow>,
    /// Each seat's hold.
    pub(crate) seats: Vec<Option<HoldId>>,
    pub(crate) holds: BTreeMap<HoldId, Hold>,
    pub(crate) fan_holds: BTreeMap<AccountId, Vec<HoldId>>,
    pub(crate) bookings: BTreeMap<BookingId, Booking>,
    pub(crate) tickets: BTreeMap<TicketId, Ticket>,
    /// Work and when it is due.
    pub(crate) outbox: BTreeMap<Work, Timestamp>,
    pub(crate) notices: BTreeMap<NoticeKey, NoticeRow>,
}

/// Why nothing was saved.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotSaved {
    /// The store did not take it: a failure.
    Refused,
    /// A row was not as it was loaded.
    Conflict(&'static str),
}

/// What survives a crash.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    tables: Tables,
    version: u64,
}

impl Store {
    pub(crate) fn new(tables: Tables) -> Self {
        Self { tables, version: 0 }
    }

    /// What is committed.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Grows with every transaction.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// One transaction; `refuse` makes its commit fail.
    ///
    /// # Errors
    /// [`NotSaved`]; then nothing has changed.
    pub(crate) fn commit<T>(
        &mut self,
        refuse: bool,
        write: impl FnOnce(&mut Tables) -> Result<T, NotSaved>,
    ) -> Result<T, NotSaved> {
        let mut tables = self.tables.clone();
        let done = write(&mut tables)?;
        if refuse {
            return Err(NotSaved::Refused);
        }
        self.tables = tables;
        self.version += 1;
        Ok(done)
    }
}

fn check(holds: bool, what: &'static str) -> Result<(), NotSaved> {
    if holds {
        Ok(())
    } else {
        Err(NotSaved::Conflict(what))
    }
}

impl Tables {
    /// Saves a batch of the room. `upsert` writes places over existing ones (a planted bug's doing).
    pub(crate) fn save_room(
        &mut self,
        changes: &RoomChanges,
        upsert: bool,
    ) -> Result<(), NotSaved> {
        for (number, account) in &changes.joined {
            let row = PlaceRow {
                account: *account,
                entered_until: None,
                left_at: None,
                used: false,
            };
            let before = self.places.insert(*number, row);
            check(before.is_none() || upsert, "place")?;
        }
        for number in &changes.left {
            let row = self.places.get_mut(number);
            row.ok_or(NotSaved::Conflict("place"))?.left_at = Some(changes.now);
        }
        for (number, expires_at) in &changes.entered {
            let row = self.places.get_mut(number);
            row.ok_or(NotSaved::Conflict("place"))?.entered_until = Some(*expires_at);
        }
        if let Some(admission) = &changes.admission {
            let serving = self.admissions.last().map_or(0, |last| last.last);
            check(admission.first == serving + 1, "admission")?;
            self.admissions.push(AdmissionRow {
                first: admission.first,
                last: admission.last,
                called: u32::try_from(admission.called.len()).expect("a batch is small"),
                at: admission.at,
                expires_at: admission.expires_at,
            });
            let call = Work::Call(PERFORMANCE, admission.last);
            self.outbox.insert(call, changes.now.plus_s(GRACE_S));
        }
        Ok(())
    }

    /// The rows that a hold of these seats looks at, added to what is loaded.
    pub(crate) fn load_hold(
        &self,
        rows: &mut HoldRows,
        hold_id: HoldId,
        account: AccountId,
        place: Option<u32>,
        seats: &[boxoffice_core::seating::SeatNo],
    ) {
        let mut wanted = vec![hold_id];
        for seat in seats {
            let owner = self.seats[seat.0 as usize];
            rows.seats.entry((PERFORMANCE, *seat)).or_insert(owner);
            wanted.extend(owner);
        }
        let live = self.fan_holds.get(&account).cloned().unwrap_or_default();
        wanted.extend(&live);
        rows.fans.entry((PERFORMANCE, account)).or_insert(live);
        for id in wanted {
            if let Some(hold) = self.holds.get(&id) {
                rows.holds.entry(id).or_insert_with(|| hold.clone());
            }
        }
        if let Some((number, row)) = place.and_then(|n| self.places.get_key_value(&n)) {
            let marks = PlaceMarks {
                left: row.left_at.is_some(),
                used: row.used,
            };
            rows.places.entry((PERFORMANCE, *number)).or_insert(marks);
        }
    }

    /// Saves a batch of holds: seats must still point where they did, fans' lists and places be as they were loaded.
    pub(crate) fn save_holds(
        &mut self,
        rows: &HoldRows,
        loaded: &HoldRows,
        checked: bool,
    ) -> Result<(), NotSaved> {
        for id in &rows.changes.holds {
            let hold = rows.holds.get(id).expect("a new hold is among the rows");
            let before = self.holds.insert(*id, hold.clone());
            check(before.is_none(), "hold")?;
        }
        for (_, seat, from, to) in &rows.changes.seats {
            let row = &mut self.seats[seat.0 as usize];
            check(*row == *from || !checked, "seat")?;
            *row = Some(*to);
        }
        for key in &rows.changes.fans {
            let now = self.fan_holds.get(&key.1).cloned().unwrap_or_default();
            check(Some(&now) == loaded.fans.get(key) || !checked, "fan")?;
            let list = rows.fans.get(key).cloned().unwrap_or_default();
            self.fan_holds.insert(key.1, list);
        }
        for ((_, number), marks) in &loaded.places {
            let row = self.places.get(number);
            let same = row
                .is_some_and(|row| row.left_at.is_some() == marks.left && row.used == marks.used);
            check(same || !checked, "marks")?;
        }
        Ok(())
    }

    /// The rows of a booking and its hold.
    pub(crate) fn load_booking(
        &self,
        rows: &mut BookingRows,
        booking: BookingId,
        hold: Option<HoldId>,
    ) {
        let mut hold = hold;
        if let Some(row) = self.bookings.get(&booking) {
            hold = hold.or(Some(row.hold_id));
            rows.bookings.entry(booking).or_insert_with(|| row.clone());
            if let Some(own) = self.holds.get(&row.hold_id) {
                rows.holds.entry(row.hold_id).or_insert_with(|| own.clone());
            }
        }
        if let Some((id, row)) = hold.and_then(|id| self.holds.get_key_value(&id)) {
            rows.holds.entry(*id).or_insert_with(|| row.clone());
        }
    }

    /// Saves a batch of bookings, in the transaction that loaded its rows.
    pub(crate) fn save_bookings(
        &mut self,
        rows: &BookingRows,
        now: Timestamp,
    ) -> Result<(), NotSaved> {
        let changes = &rows.changes;
        for id in &changes.inserted {
            check(!self.bookings.contains_key(id), "booking")?;
        }
        for id in changes.inserted.iter().chain(&changes.updated) {
            let row = rows.bookings.get(id).expect("a change has its row");
            self.bookings.insert(*id, row.clone());
        }
        for id in &changes.holds {
            let row = rows.holds.get(id).expect("a change has its row");
            check(self.holds.insert(*id, row.clone()).is_some(), "hold")?;
        }
        for ticket in &changes.tickets {
            let before = self.tickets.insert(ticket.ticket_id, ticket.clone());
            check(before.is_none(), "ticket")?;
        }
        for (_, number) in &changes.used {
            let row = self.places.get_mut(number);
            row.ok_or(NotSaved::Conflict("place"))?.used = true;
        }
        for work in &changes.done {
            self.outbox.remove(work);
        }
        for work in &changes.begun {
            let due_at = match work {
                Work::Pay(_) | Work::TellBooking(_) | Work::Call(..) => now.plus_s(GRACE_S),
                Work::Refund(_) => now,
            };
            self.outbox.entry(work.clone()).or_insert(due_at);
        }
        Ok(())
    }

    /// Ends work and makes its notices, in one transaction. Work that somebody has ended meanwhile makes none (`stale`), nor
    /// does a booking that changed since it was told of: it stays to be told again (`changed`). But for planted bugs.
    pub(crate) fn record_notices(
        &mut self,
        telling: &Telling,
        stale: bool,
        changed: bool,
    ) -> Result<Ended, NotSaved> {
        if stale && !self.outbox.contains_key(&telling.work) {
            return Ok(Ended::Already);
        }
        let stands = match (&telling.work, &telling.state) {
            (Work::TellBooking(id), Some(told)) => self.bookings[id].state == *told,
            (Work::TellBooking(_) | Work::Call(..) | Work::Pay(_) | Work::Refund(_), _) => true,
        };
        if changed && !stands {
            return Ok(Ended::Changed);
        }
        for (key, row) in &telling.notices {
            check(self.notices.insert(*key, *row).is_none(), "notice")?;
        }
        self.outbox.remove(&telling.work);
        Ok(Ended::Now)
    }

    /// The room as the rows tell it, without the last `forget` places (0 but for a planted bug).
    pub(crate) fn restore(&self, now: Timestamp, forget: usize) -> WaitingRoom {
        let mut restore = Restore::default();
        for (number, row) in self.places.iter().take(self.places.len() - forget) {
            restore.place(StoredPlace {
                number: *number,
                account: row.account,
                entered_until: row.entered_until,
                left: row.left_at.is_some(),
                used: row.used,
            });
        }
        for row in &self.admissions {
            restore.admission(row.last, row.called, row.at, row.expires_at);
        }
        restore.finish(now)
    }

    /// The last number called.
    pub(crate) fn serving_counter(&self) -> u32 {
        self.admissions.last().map_or(0, |row| row.last)
    }

    /// The admission that a number was in.
    pub(crate) fn admission_of(&self, number: u32) -> Option<&AdmissionRow> {
        let rows = &self.admissions;
        let at = rows.partition_point(|row| row.last < number);
        rows.get(at).filter(|row| row.first <= number)
    }

    /// Until when a place fills a slot; none when it does not.
    pub(crate) fn active_until(&self, number: u32) -> Option<Timestamp> {
        let row = self.places.get(&number)?;
        if row.left_at.is_some() || row.used {
            return None;
        }
        row.entered_until
            .or_else(|| Some(self.admission_of(number)?.expires_at))
    }
}
