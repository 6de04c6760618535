//! Bookings and tickets in the store: accepted, settled, cancelled, each in one transaction with its outbox work.

use std::sync::Arc;

use boxoffice_core::booking::{self, BookCommand, Booking, BookingRows, BookingState, Why};
use boxoffice_core::hold::HoldState;
use boxoffice_core::payment::Verdict;
use boxoffice_core::ticket::{Ticket, TicketCode};
use boxoffice_core::{AccountId, BookingId, HoldId, PerformanceId, Refusal, TicketId};
use rusqlite::{Row, params};

use super::hold::{load_holds, update_hold};
use super::kept::Follows;
use super::row::{
    Col, ids_from_bytes, ids_to_bytes, method_code, method_from, payment_code, payment_from,
    seats_from_bytes, seats_to_bytes, unknown,
};
use super::sqlite::{Tx, expect_rows};
use super::{Store, outbox};
use crate::failure::Failure;

impl Store {
    /// Accepts a booking, or finds the one made with the same id: true when it is new.
    ///
    /// # Errors
    /// [`Failure::Busy`]: the same request may be repeated.
    pub async fn accept(
        &self,
        command: BookCommand,
    ) -> Result<Result<(Booking, bool), Refusal>, Failure> {
        let step = move |tx: &Tx<'_>| {
            run(tx, &[command.booking_id], Some(command.hold_id), |rows| {
                booking::accept(rows, &command, tx.now)
            })
        };
        self.sqlite().write(step).await
    }

    /// Decides bookings whose payment is known now; each is saved with its tickets, its place and its notice. A booking that
    /// is gone gives nothing.
    ///
    /// # Errors
    /// [`Failure::Busy`]: the same batch may be repeated, it changes nothing twice.
    pub async fn settle(
        &self,
        verdicts: Vec<(BookingId, Verdict)>,
    ) -> Result<Vec<Arc<Booking>>, Failure> {
        let step = move |tx: &Tx<'_>| {
            let mut settled = Vec::with_capacity(verdicts.len());
            for (id, verdict) in &verdicts {
                let decided = run(tx, &[*id], None, |rows| {
                    booking::settle(rows, *id, *verdict, tx.now, fresh)
                })?;
                settled.extend(decided.ok().map(Arc::new));
            }
            Ok(settled)
        };
        self.sqlite().write(step).await
    }

    /// Gives a confirmed booking back.
    ///
    /// # Errors
    /// [`Failure::Busy`]: the same request may be repeated.
    pub async fn cancel(
        &self,
        account: AccountId,
        id: BookingId,
    ) -> Result<Result<Booking, Refusal>, Failure> {
        self.sqlite()
            .write(move |tx| {
                run(tx, &[id], None, |rows| {
                    booking::cancel(rows, id, account, tx.now)
                })
            })
            .await
    }

    /// Notes that a booking's money went back.
    ///
    /// # Errors
    /// [`Failure::Busy`]: it may be repeated.
    pub async fn refunded(&self, id: BookingId, refunded_minor: i64) -> Result<(), Failure> {
        let step = move |tx: &Tx<'_>| {
            run(tx, &[id], None, |rows| {
                booking::refunded(rows, id, refunded_minor)
            })
            .map(|_| ())
        };
        self.sqlite().write(step).await
    }

    /// The booking with this id.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be read.
    pub async fn find_booking(&self, id: BookingId) -> Result<Option<Booking>, Failure> {
        Ok(self.find_bookings(vec![id]).await?.pop())
    }

    /// The bookings with these ids, as far as there are any.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be read.
    pub async fn find_bookings(&self, ids: Vec<BookingId>) -> Result<Vec<Booking>, Failure> {
        let read = move |rows: &rusqlite::Connection| {
            let mut statement = rows.prepare_cached(SELECT_BOOKING)?;
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                found.extend(
                    statement
                        .query_map([Col(id)], read_booking)?
                        .collect::<Result<Vec<_>, _>>()?,
                );
            }
            Ok(found)
        };
        self.sqlite().read(read).await
    }

    /// A fan's bookings, the largest ids (the latest, as clients make them) first, below `before`.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be read.
    pub async fn bookings_of(
        &self,
        account: AccountId,
        before: Option<BookingId>,
        limit: usize,
    ) -> Result<Vec<Booking>, Failure> {
        let before = before.unwrap_or(BookingId([0xff; 16]));
        self.list(SELECT_OF_ACCOUNT, Col(account), before, limit)
            .await
    }

    /// Bookings that are not final, the smallest ids first, above `after`.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be read.
    pub async fn pending_bookings(
        &self,
        limit: usize,
        after: Option<BookingId>,
    ) -> Result<Vec<Booking>, Failure> {
        self.list(
            SELECT_PENDING,
            0_i64,
            after.unwrap_or(BookingId([0; 16])),
            limit,
        )
        .await
    }

    async fn list(
        &self,
        sql: &'static str,
        key: impl rusqlite::ToSql + Send + 'static,
        cursor: BookingId,
        limit: usize,
    ) -> Result<Vec<Booking>, Failure> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = move |rows: &rusqlite::Connection| {
            rows.prepare_cached(sql)?
                .query_map(params![key, Col(cursor), limit], read_booking)?
                .collect::<Result<Vec<_>, _>>()
        };
        self.sqlite().read(read).await
    }

    /// A ticket and its booking.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be read.
    pub async fn find_ticket(&self, id: TicketId) -> Result<Option<(Ticket, Booking)>, Failure> {
        let read = move |rows: &rusqlite::Connection| {
            let mut statement = rows.prepare_cached(SELECT_TICKET)?;
            let found = statement
                .query_map([Col(id)], read_ticket)?
                .next()
                .transpose()?;
            let Some(ticket) = found else { return Ok(None) };
            let mut statement = rows.prepare_cached(SELECT_BOOKING)?;
            let booking = statement
                .query_map([Col(ticket.booking_id)], read_booking)?
                .next()
                .transpose()?;
            Ok(booking.map(|booking| (ticket, booking)))
        };
        self.sqlite().read(read).await
    }

    /// Bookings confirmed a second, over the last ten.
    #[must_use]
    pub fn bookings_per_s(
        &self,
        performance: PerformanceId,
        now: boxoffice_core::Timestamp,
    ) -> f64 {
        self.sqlite().kept.bookings_per_s(performance, now)
    }
}

const SELECT_BOOKING: &str = "SELECT booking_id, hold_id, performance_id, account_id, place, seats, total_minor, method, content, state, payment, \
     captured_minor, refunded_minor, tickets, accepted_at, give_up_at, changed_at FROM bookings WHERE booking_id = ?1";
const SELECT_OF_ACCOUNT: &str = "SELECT booking_id, hold_id, performance_id, account_id, place, seats, total_minor, method, content, state, payment, \
     captured_minor, refunded_minor, tickets, accepted_at, give_up_at, changed_at FROM bookings \
     WHERE account_id = ?1 AND booking_id < ?2 ORDER BY booking_id DESC LIMIT ?3";
const SELECT_PENDING: &str = "SELECT booking_id, hold_id, performance_id, account_id, place, seats, total_minor, method, content, state, payment, \
     captured_minor, refunded_minor, tickets, accepted_at, give_up_at, changed_at FROM outbox JOIN bookings ON booking_id = subject \
     WHERE topic = ?1 AND subject > ?2 ORDER BY subject LIMIT ?3";
const SELECT_STATE: &str = "SELECT state FROM bookings WHERE booking_id = ?1";
const SELECT_TICKET: &str =
    "SELECT ticket_id, booking_id, performance_id, seat_no, code FROM tickets WHERE ticket_id = ?1";
const INSERT_BOOKING: &str = "INSERT INTO bookings (booking_id, hold_id, performance_id, account_id, place, seats, total_minor, method, content, state, payment, \
     captured_minor, refunded_minor, tickets, accepted_at, give_up_at, changed_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
const UPDATE_BOOKING: &str = "UPDATE bookings SET state = ?2, payment = ?3, captured_minor = ?4, refunded_minor = ?5, tickets = ?6, changed_at = ?7 \
     WHERE booking_id = ?1 AND state = ?8 AND payment = ?9";
const INSERT_TICKET: &str = "INSERT INTO tickets (ticket_id, booking_id, performance_id, seat_no, code) VALUES (?1, ?2, ?3, ?4, ?5)";
const USE_PLACE: &str =
    "UPDATE places SET used_by = ?4 WHERE performance_id = ?1 AND epoch = ?2 AND number = ?3";

/// A ticket's id and code: the one place where tickets meet chance.
fn fresh() -> (TicketId, TicketCode) {
    let mut code = [0; 16];
    getrandom::fill(&mut code).expect("the machine has a source of chance");
    (TicketId::from(uuid::Uuid::now_v7()), TicketCode(code))
}

/// Loads, decides, saves: the same for every step of a booking.
fn run<T>(
    tx: &Tx<'_>,
    ids: &[BookingId],
    hold: Option<HoldId>,
    decide: impl FnOnce(&mut BookingRows) -> Result<T, Refusal>,
) -> Result<Result<T, Refusal>, Failure> {
    let mut rows = BookingRows::default();
    for id in ids {
        rows.bookings.extend(
            tx.one(SELECT_BOOKING, [Col(*id)], read_booking)?
                .map(|booking| (*id, booking)),
        );
    }
    let wanted: Vec<HoldId> = hold
        .into_iter()
        .chain(rows.bookings.values().map(|booking| booking.hold_id))
        .collect();
    rows.holds = load_holds(tx, wanted)?;
    let before = (rows.bookings.clone(), rows.holds.clone());
    let decided = decide(&mut rows);
    if decided.is_ok() {
        save(tx, &before, &rows)?;
    }
    Ok(decided)
}

type Before = (
    std::collections::BTreeMap<BookingId, Booking>,
    std::collections::BTreeMap<HoldId, boxoffice_core::hold::Hold>,
);

fn save(tx: &Tx<'_>, before: &Before, rows: &BookingRows) -> Result<(), Failure> {
    let changes = &rows.changes;
    for id in &changes.inserted {
        insert(tx, &rows.bookings[id])?;
    }
    for id in &changes.updated {
        update(tx, &rows.bookings[id], &before.0[id])?;
    }
    for id in &changes.holds {
        let (hold, old) = (&rows.holds[id], &before.1[id]);
        if hold.state != old.state {
            update_hold(tx, hold, old.state)?;
            follow(tx, hold, old.state);
        }
    }
    for ticket in &changes.tickets {
        let made = params![
            Col(ticket.ticket_id),
            Col(ticket.booking_id),
            Col(ticket.performance_id),
            ticket.seat.0,
            ticket.code.0
        ];
        expect_rows("insert ticket", tx.change(INSERT_TICKET, made)?, 1)?;
    }
    for (performance, number) in &changes.used {
        let epoch = tx
            .kept
            .performance(*performance)
            .map_or(1, |performance| performance.epoch);
        let by = changes.updated.first().copied().map(Col);
        expect_rows(
            "use place",
            tx.change(USE_PLACE, params![Col(*performance), epoch, number, by])?,
            1,
        )?;
    }
    for work in &changes.done {
        outbox::end(tx, work)?;
    }
    for work in &changes.begun {
        outbox::begin(tx, work)?;
    }
    Ok(())
}

/// What the picture and the counts make of a hold's new state.
fn follow(tx: &Tx<'_>, hold: &boxoffice_core::hold::Hold, before: HoldState) {
    let Some(performance) = tx.kept.performance(hold.performance_id) else {
        return;
    };
    let change = match (before, hold.state) {
        (HoldState::Active, HoldState::Paying(_)) => Follows::Paying(hold.hold_id, hold.expires_at),
        (_, HoldState::Active) => {
            Follows::Unpaid(hold.hold_id, hold.seats.clone(), hold.expires_at)
        }
        (_, HoldState::Confirmed(_)) => Follows::Sold(hold.seats.clone()),
        (_, HoldState::Returned(_)) => Follows::Cancelled(hold.seats.clone()),
        (_, HoldState::Paying(_) | HoldState::Released) => return,
    };
    tx.follow(&performance, change);
}

fn insert(tx: &Tx<'_>, booking: &Booking) -> Result<(), Failure> {
    let made = params![
        Col(booking.booking_id),
        Col(booking.hold_id),
        Col(booking.performance_id),
        Col(booking.account_id),
        booking.place,
        seats_to_bytes(&booking.seats),
        booking.total_minor,
        method_code(booking.method),
        booking.content,
        state_code(&booking.state),
        payment_code(booking.payment),
        booking.captured_minor,
        booking.refunded_minor,
        ids_to_bytes(booking.tickets.iter().map(|id| id.0)),
        Col(booking.accepted_at),
        Col(booking.give_up_at),
        Col(booking.changed_at),
    ];
    expect_rows("insert booking", tx.change(INSERT_BOOKING, made)?, 1)
}

fn update(tx: &Tx<'_>, booking: &Booking, before: &Booking) -> Result<(), Failure> {
    let changed = params![
        Col(booking.booking_id),
        state_code(&booking.state),
        payment_code(booking.payment),
        booking.captured_minor,
        booking.refunded_minor,
        ids_to_bytes(booking.tickets.iter().map(|id| id.0)),
        Col(booking.changed_at),
        state_code(&before.state),
        payment_code(before.payment),
    ];
    expect_rows("change booking", tx.change(UPDATE_BOOKING, changed)?, 1)?;
    if booking.state != before.state {
        let waited = booking.changed_at.since_us(booking.accepted_at);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a duration in seconds for a histogram"
        )]
        let seconds = waited as f64 / 1e6;
        match booking.state {
            BookingState::Pending => (),
            BookingState::Confirmed => tx.kept.metrics.booking_final("confirmed", Some(seconds)),
            BookingState::Refused(_) => tx.kept.metrics.booking_final("refused", Some(seconds)),
            BookingState::Cancelled => tx.kept.metrics.booking_final("cancelled", None),
        }
    }
    Ok(())
}

/// Whether the booking still stands where it stood.
pub(super) fn is_still(tx: &Tx<'_>, id: BookingId, state: &BookingState) -> Result<bool, Failure> {
    let now = tx.one(SELECT_STATE, [Col(id)], |row| row.get::<_, i64>(0))?;
    Ok(now == Some(state_code(state)))
}

fn state_code(state: &BookingState) -> i64 {
    match state {
        BookingState::Pending => 0,
        BookingState::Confirmed => 1,
        BookingState::Cancelled => 2,
        BookingState::Refused(Why::PaymentDeclined) => 10,
        BookingState::Refused(Why::PaymentFailed) => 11,
        BookingState::Refused(Why::HoldExpired) => 12,
    }
}

fn read_booking(row: &Row<'_>) -> rusqlite::Result<Booking> {
    let state = match row.get(9)? {
        0 => BookingState::Pending,
        1 => BookingState::Confirmed,
        2 => BookingState::Cancelled,
        10 => BookingState::Refused(Why::PaymentDeclined),
        11 => BookingState::Refused(Why::PaymentFailed),
        12 => BookingState::Refused(Why::HoldExpired),
        other => return Err(unknown("booking state", other)),
    };
    Ok(Booking {
        booking_id: row.get::<_, Col<_>>(0)?.0,
        hold_id: row.get::<_, Col<_>>(1)?.0,
        performance_id: row.get::<_, Col<_>>(2)?.0,
        account_id: row.get::<_, Col<_>>(3)?.0,
        place: row.get(4)?,
        seats: seats_from_bytes(row.get_ref(5)?.as_blob()?),
        total_minor: row.get(6)?,
        method: method_from(row.get(7)?)?,
        content: row.get::<_, Col<[u8; 16]>>(8)?.0,
        state,
        payment: payment_from(row.get(10)?)?,
        captured_minor: row.get(11)?,
        refunded_minor: row.get(12)?,
        tickets: ids_from_bytes(row.get_ref(13)?.as_blob()?, TicketId),
        accepted_at: row.get::<_, Col<_>>(14)?.0,
        give_up_at: row.get::<_, Col<_>>(15)?.0,
        changed_at: row.get::<_, Col<_>>(16)?.0,
    })
}

fn read_ticket(row: &Row<'_>) -> rusqlite::Result<Ticket> {
    Ok(Ticket {
        ticket_id: row.get::<_, Col<_>>(0)?.0,
        booking_id: row.get::<_, Col<_>>(1)?.0,
        performance_id: row.get::<_, Col<_>>(2)?.0,
        seat: boxoffice_core::seating::SeatNo(row.get(3)?),
        code: TicketCode(row.get::<_, Col<[u8; 16]>>(4)?.0),
    })
}
