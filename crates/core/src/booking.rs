//! The request to turn a hold into tickets.
//!
//! pending ──paid──▶ confirmed ──cancel──▶ cancelled; pending ──not paid──▶ refused. Refused and cancelled are final.
//!
//! Keeps true: a booking is decided once, whatever races, and a repeat gets the same answer; of the bookings of one
//! hold at most one is confirmed; it is confirmed only while its hold keeps the seats for it and the amount taken is the
//! amount asked for; money that is taken for a booking that is not confirmed goes back.

use std::collections::BTreeMap;

use crate::hold::{Hold, HoldState};
use crate::payment::{GIVE_UP_AFTER_S, Method, PaymentState, Verdict};
use crate::seating::SeatNo;
use crate::ticket::{Ticket, TicketCode};
use crate::{AccountId, BookingId, HoldId, PerformanceId, Refusal, TicketId, Timestamp};

/// Where a booking stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookingState {
    /// Accepted; being paid.
    Pending,
    /// Sold.
    Confirmed,
    /// Not sold, for this reason.
    Refused(Why),
    /// Sold, and given back afterwards.
    Cancelled,
}

/// Why a booking was refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The provider declined.
    PaymentDeclined,
    /// The payment did not come about in time, or its amount was wrong.
    PaymentFailed,
    /// The seats were no longer kept for it.
    HoldExpired,
}

/// A booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    /// Made by the client; the provider's idempotency key too.
    pub booking_id: BookingId,
    /// The hold that it turns into tickets.
    pub hold_id: HoldId,
    /// Of which performance.
    pub performance_id: PerformanceId,
    /// Whose it is.
    pub account_id: AccountId,
    /// The place whose pass the hold was made with.
    pub place: Option<u32>,
    /// The hold's seats.
    pub seats: Vec<SeatNo>,
    /// What they cost, in minor units.
    pub total_minor: i64,
    /// How it is paid.
    pub method: Method,
    /// Fingerprint of the request.
    pub content: [u8; 16],
    /// Where it stands.
    pub state: BookingState,
    /// How its payment stands.
    pub payment: PaymentState,
    /// Taken, in minor units.
    pub captured_minor: i64,
    /// Given back, in minor units.
    pub refunded_minor: i64,
    /// Its tickets, in the order of its seats; empty until confirmed.
    pub tickets: Vec<TicketId>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When a payment that says nothing is called off.
    pub give_up_at: Timestamp,
    /// When its state last changed; money that moves afterwards changes nothing that a fan is told of.
    pub changed_at: Timestamp,
}

/// A fan asks to pay for a hold.
#[derive(Clone, Debug)]
pub struct BookCommand {
    /// Made by the client.
    pub booking_id: BookingId,
    /// The hold to pay for.
    pub hold_id: HoldId,
    /// Who asks.
    pub account_id: AccountId,
    /// How it is paid.
    pub method: Method,
    /// Fingerprint of the request.
    pub content: [u8; 16],
}

/// Work that the store remembers until it is done: the outbox. The key makes each entry unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Bring this booking's payment to an end and settle it.
    Pay(BookingId),
    /// Give this booking's money back.
    Refund(BookingId),
    /// Tell the fan what became of this booking.
    TellBooking(BookingId),
    /// Call the fans of this admission: performance and serving counter after it.
    Call(PerformanceId, u32),
}

/// The rows that a batch of bookings looks at, and what it makes of them.
#[derive(Clone, Debug, Default)]
pub struct BookingRows {
    /// The commands' own bookings.
    pub bookings: BTreeMap<BookingId, Booking>,
    /// Their holds.
    pub holds: BTreeMap<HoldId, Hold>,
    /// What is to be saved.
    pub changes: BookingChanges,
}

/// What a batch of bookings writes. Row counts are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookingChanges {
    /// Bookings that are new.
    pub inserted: Vec<BookingId>,
    /// Bookings that are changed, from the state of payment and booking that was loaded.
    pub updated: Vec<BookingId>,
    /// Holds whose state is changed.
    pub holds: Vec<HoldId>,
    /// New tickets.
    pub tickets: Vec<Ticket>,
    /// Places used up by a confirmed booking.
    pub used: Vec<(PerformanceId, u32)>,
    /// Work to remember.
    pub begun: Vec<Work>,
    /// Work that is done.
    pub done: Vec<Work>,
}

/// Accepts a booking, or finds the one made with the same id: true when it is new.
///
/// # Errors
/// [`Refusal::IdReused`], [`Refusal::NotFound`] for somebody else's hold too, [`Refusal::HoldExpired`], [`Refusal::HoldTaken`].
pub fn accept(
    rows: &mut BookingRows,
    command: &BookCommand,
    now: Timestamp,
) -> Result<(Booking, bool), Refusal> {
    if let Some(booking) = rows.bookings.get(&command.booking_id) {
        let same = booking.account_id == command.account_id && booking.content == command.content;
        return if same {
            Ok((booking.clone(), false))
        } else {
            Err(Refusal::IdReused)
        };
    }
    let hold = rows
        .holds
        .get_mut(&command.hold_id)
        .filter(|hold| hold.account_id == command.account_id)
        .ok_or(Refusal::NotFound)?;
    hold.pay(command.booking_id, now)?;
    let booking = Booking {
        booking_id: command.booking_id,
        hold_id: command.hold_id,
        performance_id: hold.performance_id,
        account_id: command.account_id,
        place: hold.place,
        seats: hold.seats.clone(),
        total_minor: hold.total_minor,
        method: command.method,
        content: command.content,
        state: BookingState::Pending,
        payment: PaymentState::Pending,
        captured_minor: 0,
        refunded_minor: 0,
        tickets: Vec::new(),
        accepted_at: now,
        give_up_at: hold.expires_at.plus_s(GIVE_UP_AFTER_S),
        changed_at: now,
    };
    rows.changes.holds.push(command.hold_id);
    rows.changes.inserted.push(command.booking_id);
    rows.changes.begun.push(Work::Pay(command.booking_id));
    rows.bookings.insert(command.booking_id, booking.clone());
    Ok((booking, true))
}

/// Decides a booking now that its payment is known. `fresh` gives an id and a code for each ticket. A booking that is
/// decided already stays as it is; money that arrives for one that was refused goes back.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such booking.
pub fn settle(
    rows: &mut BookingRows,
    booking_id: BookingId,
    verdict: Verdict,
    now: Timestamp,
    mut fresh: impl FnMut() -> (TicketId, TicketCode),
) -> Result<Booking, Refusal> {
    let BookingRows {
        bookings,
        holds,
        changes,
    } = rows;
    let booking = bookings.get_mut(&booking_id).ok_or(Refusal::NotFound)?;
    changes.done.push(Work::Pay(booking_id));
    if booking.state != BookingState::Pending {
        if let (BookingState::Refused(_), Verdict::Captured { amount_minor }, 0) =
            (&booking.state, verdict, booking.captured_minor)
        {
            booking.take(amount_minor);
            changes.updated.push(booking_id);
            changes.begun.push(Work::Refund(booking_id));
        }
        return Ok(booking.clone());
    }
    let hold = holds
        .get_mut(&booking.hold_id)
        .expect("a booking's hold is loaded with it");
    let why = match verdict {
        Verdict::Captured { amount_minor } => {
            booking.take(amount_minor);
            if amount_minor != booking.total_minor {
                Some(Why::PaymentFailed)
            } else {
                hold.confirm(booking_id).err().map(|_| Why::HoldExpired)
            }
        }
        Verdict::Declined => Some(Why::PaymentDeclined),
        Verdict::Failed => Some(Why::PaymentFailed),
    };
    match why {
        None => {
            booking.state = BookingState::Confirmed;
            for seat in &booking.seats {
                let (ticket_id, code) = fresh();
                booking.tickets.push(ticket_id);
                changes.tickets.push(Ticket {
                    ticket_id,
                    booking_id,
                    performance_id: booking.performance_id,
                    seat: *seat,
                    code,
                });
            }
            changes
                .used
                .extend(booking.place.map(|place| (booking.performance_id, place)));
        }
        Some(why) => {
            booking.state = BookingState::Refused(why);
            hold.unpay(booking_id);
            if booking.captured_minor > 0 {
                changes.begun.push(Work::Refund(booking_id));
            } else {
                booking.payment = PaymentState::Failed;
            }
        }
    }
    booking.changed_at = now;
    changes.holds.push(booking.hold_id);
    changes.updated.push(booking_id);
    changes.begun.push(Work::TellBooking(booking_id));
    assert!(
        booking.state != BookingState::Confirmed || hold.state == HoldState::Confirmed(booking_id),
        "a confirmed booking has its hold"
    );
    Ok(booking.clone())
}

/// Gives a confirmed booking back: seats free at once, money on its way. A repeat gets the same answer.
///
/// # Errors
/// [`Refusal::NotFound`] for somebody else's too, [`Refusal::NotConfirmed`] when there is nothing to give back.
pub fn cancel(
    rows: &mut BookingRows,
    booking_id: BookingId,
    account_id: AccountId,
    now: Timestamp,
) -> Result<Booking, Refusal> {
    let BookingRows {
        bookings,
        holds,
        changes,
    } = rows;
    let booking = bookings
        .get_mut(&booking_id)
        .filter(|booking| booking.account_id == account_id)
        .ok_or(Refusal::NotFound)?;
    match booking.state {
        BookingState::Cancelled => return Ok(booking.clone()),
        BookingState::Pending | BookingState::Refused(_) => return Err(Refusal::NotConfirmed),
        BookingState::Confirmed => (),
    }
    let hold = holds
        .get_mut(&booking.hold_id)
        .expect("a booking's hold is loaded with it");
    assert_eq!(
        hold.state,
        HoldState::Confirmed(booking_id),
        "a confirmed booking has its hold"
    );
    hold.state = HoldState::Returned(booking_id);
    booking.state = BookingState::Cancelled;
    booking.changed_at = now;
    changes.holds.push(booking.hold_id);
    changes.updated.push(booking_id);
    changes.begun.push(Work::Refund(booking_id));
    changes.begun.push(Work::TellBooking(booking_id));
    Ok(booking.clone())
}

/// The provider has given the money back. True when that was news.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such booking.
pub fn refunded(
    rows: &mut BookingRows,
    booking_id: BookingId,
    refunded_minor: i64,
) -> Result<bool, Refusal> {
    let booking = rows
        .bookings
        .get_mut(&booking_id)
        .ok_or(Refusal::NotFound)?;
    if refunded_minor == booking.captured_minor {
        rows.changes.done.push(Work::Refund(booking_id));
    }
    if booking.refunded_minor == refunded_minor {
        return Ok(false);
    }
    booking.refunded_minor = refunded_minor;
    booking.payment = PaymentState::Refunded;
    assert!(
        booking.refunded_minor <= booking.captured_minor,
        "no more goes back than was taken"
    );
    rows.changes.updated.push(booking_id);
    Ok(true)
}

impl Booking {
    fn take(&mut self, amount_minor: i64) {
        self.captured_minor = amount_minor;
        self.payment = PaymentState::Captured;
    }
}

#[cfg(test)]
mod tests;
