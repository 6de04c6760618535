//! The rules of bookings, one by one and in every order.

use super::*;
use crate::payment::Outcome;
use proptest::prelude::*;

const FAN: AccountId = AccountId([1; 16]);
const HOLD: HoldId = HoldId([2; 16]);

fn id(n: u8) -> BookingId {
    BookingId([n; 16])
}

fn at(s: i64) -> Timestamp {
    Timestamp(s * 1_000_000)
}

fn rows() -> BookingRows {
    let hold = Hold {
        hold_id: HOLD,
        performance_id: PerformanceId([3; 16]),
        account_id: FAN,
        place: Some(9),
        seats: vec![SeatNo(4), SeatNo(5)],
        total_minor: 200,
        content: [0; 16],
        created_at: at(0),
        expires_at: at(10),
        state: HoldState::Active,
    };
    BookingRows {
        holds: BTreeMap::from([(HOLD, hold)]),
        ..BookingRows::default()
    }
}

fn command(n: u8) -> BookCommand {
    BookCommand {
        booking_id: id(n),
        hold_id: HOLD,
        account_id: FAN,
        method: Method::Sandbox(Outcome::Ok),
        content: [n; 16],
    }
}

fn pay(rows: &mut BookingRows, n: u8, amount_minor: i64, now: Timestamp) -> Booking {
    settle_as(rows, n, Verdict::Captured { amount_minor }, now)
}

fn settle_as(rows: &mut BookingRows, n: u8, verdict: Verdict, now: Timestamp) -> Booking {
    let mut next = 0;
    settle(rows, id(n), verdict, now, || {
        next += 1;
        (TicketId([next; 16]), TicketCode([next; 16]))
    })
    .unwrap()
}

#[test]
fn a_paid_booking_is_confirmed_with_a_ticket_per_seat_even_when_the_answer_comes_late() {
    let mut rows = rows();
    assert!(accept(&mut rows, &command(1), at(9)).unwrap().1);
    let booking = pay(&mut rows, 1, 200, at(500));
    assert_eq!(
        (booking.state, booking.payment, booking.tickets.len()),
        (BookingState::Confirmed, PaymentState::Captured, 2)
    );
    assert_eq!(rows.changes.used, [(PerformanceId([3; 16]), 9)]);
    assert_eq!(
        rows.changes.begun,
        [Work::Pay(id(1)), Work::TellBooking(id(1))]
    );
    let again = pay(&mut rows, 1, 200, at(501));
    assert_eq!(
        (again.tickets.len(), rows.changes.tickets.len()),
        (2, 2),
        "a repeated payment message changes nothing"
    );
}

#[test]
fn a_repeat_gets_the_same_answer_and_another_content_is_refused() {
    let mut rows = rows();
    accept(&mut rows, &command(1), at(1)).unwrap();
    assert!(!accept(&mut rows, &command(1), at(99)).unwrap().1);
    assert_eq!(
        accept(
            &mut rows,
            &BookCommand {
                content: [7; 16],
                ..command(1)
            },
            at(1)
        ),
        Err(Refusal::IdReused)
    );
    assert_eq!(
        accept(
            &mut rows,
            &BookCommand {
                account_id: AccountId([8; 16]),
                ..command(1)
            },
            at(1)
        ),
        Err(Refusal::IdReused)
    );
    assert_eq!(
        accept(&mut rows, &command(2), at(1)),
        Err(Refusal::HoldTaken)
    );
    assert_eq!(
        accept(
            &mut rows,
            &BookCommand {
                hold_id: HoldId([9; 16]),
                ..command(2)
            },
            at(1)
        ),
        Err(Refusal::NotFound)
    );
    assert_eq!(
        accept(
            &mut rows,
            &BookCommand {
                account_id: AccountId([8; 16]),
                ..command(2)
            },
            at(1)
        ),
        Err(Refusal::NotFound)
    );
}

#[test]
fn a_declined_payment_leaves_the_hold_to_pay_again_while_its_time_lasts() {
    let mut rows = rows();
    accept(&mut rows, &command(1), at(1)).unwrap();
    let refused = settle_as(&mut rows, 1, Verdict::Declined, at(2));
    assert_eq!(
        (refused.state, refused.payment),
        (
            BookingState::Refused(Why::PaymentDeclined),
            PaymentState::Failed
        )
    );
    assert!(accept(&mut rows, &command(2), at(3)).unwrap().1);
    settle_as(&mut rows, 2, Verdict::Failed, at(11));
    assert_eq!(
        accept(&mut rows, &command(3), at(12)),
        Err(Refusal::HoldExpired)
    );
}

#[test]
fn a_wrong_amount_is_refused_and_goes_back() {
    let mut rows = rows();
    accept(&mut rows, &command(1), at(1)).unwrap();
    let booking = pay(&mut rows, 1, 199, at(2));
    assert_eq!(booking.state, BookingState::Refused(Why::PaymentFailed));
    assert!(rows.changes.begun.contains(&Work::Refund(id(1))) && rows.changes.tickets.is_empty());
}

#[test]
fn money_that_comes_after_the_refusal_goes_back() {
    let mut rows = rows();
    accept(&mut rows, &command(1), at(1)).unwrap();
    settle_as(&mut rows, 1, Verdict::Failed, at(40));
    let late = pay(&mut rows, 1, 200, at(50));
    assert_eq!(
        (late.state, late.captured_minor),
        (BookingState::Refused(Why::PaymentFailed), 200)
    );
    pay(&mut rows, 1, 200, at(51));
    assert_eq!(
        rows.changes
            .begun
            .iter()
            .filter(|work| **work == Work::Refund(id(1)))
            .count(),
        1
    );
}

#[test]
fn a_cancelled_booking_is_refunded_once_and_its_seats_are_free() {
    let mut rows = rows();
    accept(&mut rows, &command(1), at(1)).unwrap();
    assert_eq!(
        cancel(&mut rows, id(1), FAN, at(2)),
        Err(Refusal::NotConfirmed)
    );
    pay(&mut rows, 1, 200, at(2));
    assert_eq!(
        cancel(&mut rows, id(1), AccountId([8; 16]), at(3)),
        Err(Refusal::NotFound)
    );
    let first = cancel(&mut rows, id(1), FAN, at(3)).unwrap();
    assert_eq!(cancel(&mut rows, id(1), FAN, at(4)), Ok(first));
    assert!(!rows.holds[&HOLD].keeps_seats(at(4)));
    assert_eq!(
        rows.holds[&HOLD].stage(at(4)),
        crate::hold::HoldStage::Confirmed,
        "a final state stays what was seen"
    );
    assert_eq!(
        accept(&mut rows, &command(2), at(4)),
        Err(Refusal::HoldTaken)
    );
    assert_eq!(refunded(&mut rows, id(1), 200), Ok(true));
    assert_eq!(refunded(&mut rows, id(1), 200), Ok(false));
    assert_eq!(rows.bookings[&id(1)].refunded_minor, 200);
    assert_eq!(
        rows.changes
            .begun
            .iter()
            .filter(|work| **work == Work::Refund(id(1)))
            .count(),
        1
    );
}

proptest! {
    /// Confirm, refuse, expire, cancel and repeats race in every order: one result each, money and seats agree.
    #[test]
    fn whatever_races_there_is_one_result(steps in prop::collection::vec((0_u8..6, 1_u8..4, 0_i64..8), 1..60)) {
        let (mut rows, mut now, mut finals) = (rows(), 0, BTreeMap::<BookingId, BookingState>::new());
        for (what, n, wait) in steps {
            now += wait;
            match what {
                0 => { let _ = accept(&mut rows, &command(n), at(now)); }
                1 | 2 if rows.bookings.contains_key(&id(n)) => { pay(&mut rows, n, 200, at(now)); }
                3 if rows.bookings.contains_key(&id(n)) => { settle_as(&mut rows, n, Verdict::Declined, at(now)); }
                4 => { let _ = cancel(&mut rows, id(n), FAN, at(now)); }
                _ => if let Some(hold) = rows.holds.get_mut(&HOLD) { let _ = hold.release(); },
            }
            let confirmed: Vec<_> = rows.bookings.values().filter(|booking| booking.state == BookingState::Confirmed).collect();
            prop_assert!(confirmed.len() <= 1);
            for booking in &confirmed {
                prop_assert_eq!(rows.holds[&HOLD].state, HoldState::Confirmed(booking.booking_id));
                prop_assert_eq!((booking.captured_minor, booking.tickets.len()), (200, 2));
            }
            for (booking_id, booking) in &rows.bookings {
                match finals.get(booking_id) {
                    Some(BookingState::Confirmed) => prop_assert!(matches!(booking.state, BookingState::Confirmed | BookingState::Cancelled)),
                    Some(before) => prop_assert_eq!(before, &booking.state),
                    None => (),
                }
                if booking.state != BookingState::Pending { finals.insert(*booking_id, booking.state.clone()); }
            }
        }
    }
}
