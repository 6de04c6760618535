//! The rules of holds, one by one and against a plain model.

use super::*;
use crate::sale::Switch;
use proptest::prelude::*;
use std::collections::BTreeSet;

const HALL: PerformanceId = PerformanceId([7; 16]);
const RULES: HoldRules = HoldRules {
    policy: HoldPolicy {
        ttl_s: 10,
        seats_max: 4,
    },
    sale: Sale {
        opens_at: Timestamp(0),
        lobby_opens_at: None,
        closes_at: Timestamp::MAX,
        switch: Switch::ByTime,
    },
};

fn at(s: i64) -> Timestamp {
    Timestamp(s * 1_000_000)
}

fn id(n: u8) -> HoldId {
    HoldId([n; 16])
}

fn command(hold: u8, fan: u8, seats: &[u32]) -> HoldCommand {
    let mut content = [fan; 16];
    content[0] = u8::try_from(seats.iter().sum::<u32>() % 251).unwrap();
    HoldCommand {
        hold_id: id(hold),
        account_id: AccountId([fan; 16]),
        performance_id: HALL,
        quantity: u32::try_from(seats.len()).unwrap(),
        entry: Ok(None),
        content,
    }
}

fn rows(seats: u32) -> HoldRows {
    HoldRows {
        seats: (0..seats)
            .map(|seat| ((HALL, SeatNo(seat)), None))
            .collect(),
        ..HoldRows::default()
    }
}

fn ask(
    rows: &mut HoldRows,
    hold: u8,
    fan: u8,
    seats: &[u32],
    now: Timestamp,
) -> Result<Hold, Refusal> {
    let seats_no: Vec<SeatNo> = seats.iter().copied().map(SeatNo).collect();
    decide(
        rows,
        &command(hold, fan, seats),
        Some(&seats_no),
        &RULES,
        |_| 100,
        now,
    )
}

#[test]
fn all_seats_or_none() {
    let mut rows = rows(5);
    ask(&mut rows, 1, 1, &[1], at(0)).unwrap();
    assert_eq!(
        ask(&mut rows, 2, 2, &[0, 1, 2], at(1)),
        Err(Refusal::SeatTaken(vec![SeatNo(1)]))
    );
    assert_eq!(
        rows.seats[&(HALL, SeatNo(0))],
        None,
        "a refused hold leaves no trace"
    );
    assert_eq!(
        ask(&mut rows, 3, 3, &[0, 2], at(1)).unwrap().total_minor,
        200
    );
}

#[test]
fn a_repeat_gets_the_same_answer_and_another_content_is_refused() {
    let mut rows = rows(5);
    let first = ask(&mut rows, 1, 1, &[0], at(0)).unwrap();
    assert_eq!(
        ask(&mut rows, 1, 1, &[0], at(5)),
        Ok(first),
        "never extended"
    );
    assert_eq!(ask(&mut rows, 1, 1, &[1], at(5)), Err(Refusal::IdReused));
    assert_eq!(ask(&mut rows, 1, 2, &[0], at(5)), Err(Refusal::IdReused));
    assert_eq!(rows.changes.holds.len(), 1);
}

#[test]
fn an_expired_hold_is_taken_over_in_place_and_not_a_moment_earlier() {
    let mut rows = rows(2);
    ask(&mut rows, 1, 1, &[0], at(0)).unwrap();
    assert!(matches!(
        ask(&mut rows, 2, 2, &[0], Timestamp(9_999_999)),
        Err(Refusal::SeatTaken(_))
    ));
    ask(&mut rows, 2, 2, &[0], at(10)).unwrap();
    assert_eq!(
        rows.changes.seats.last(),
        Some(&(HALL, SeatNo(0), Some(id(1)), id(2)))
    );
    assert_eq!(rows.holds[&id(1)].stage(at(10)), HoldStage::Expired);
}

#[test]
fn a_hold_that_is_being_paid_keeps_its_seats_past_its_time() {
    let mut rows = rows(2);
    ask(&mut rows, 1, 1, &[0], at(0)).unwrap();
    rows.holds
        .get_mut(&id(1))
        .unwrap()
        .pay(BookingId([1; 16]), at(9))
        .unwrap();
    assert!(matches!(
        ask(&mut rows, 2, 2, &[0], at(1_000)),
        Err(Refusal::SeatTaken(_))
    ));
    rows.holds
        .get_mut(&id(1))
        .unwrap()
        .unpay(BookingId([1; 16]));
    ask(&mut rows, 2, 2, &[0], at(1_000)).unwrap();
}

#[test]
fn the_limit_counts_all_live_holds_of_a_fan_and_no_others() {
    let mut rows = rows(20);
    ask(&mut rows, 1, 1, &[0, 1], at(0)).unwrap();
    ask(&mut rows, 2, 1, &[2, 3], at(0)).unwrap();
    assert_eq!(
        ask(&mut rows, 3, 1, &[4], at(1)),
        Err(Refusal::TooManySeats {
            seats_max: 4,
            held: 4
        })
    );
    ask(&mut rows, 4, 2, &[4], at(1)).unwrap();
    rows.holds.get_mut(&id(1)).unwrap().release().unwrap();
    ask(&mut rows, 5, 1, &[5, 6], at(1)).unwrap();
    assert_eq!(
        ask(&mut rows, 6, 1, &[7], at(1)),
        Err(Refusal::TooManySeats {
            seats_max: 4,
            held: 4
        })
    );
    ask(&mut rows, 7, 1, &[7, 8], at(10)).unwrap();
    assert_eq!(
        rows.fans[&(HALL, AccountId([1; 16]))],
        [id(5), id(7)],
        "what is over is forgotten"
    );
}

#[test]
fn a_fan_may_hold_seats_hold_after_hold_for_an_hour_and_then_others_have_a_chance() {
    let mut rows = rows(1);
    let (mut now, mut id) = (0, 0);
    // A new hold each time the one before has run out, as a script would.
    let again_at = loop {
        id += 1;
        let asked = ask(&mut rows, u8::try_from(id % 250).unwrap(), 1, &[0], at(now));
        rows.holds.retain(|_, hold| hold.keeps_seats(at(now)));
        if rows.holds.is_empty() {
            rows.seats.insert((HALL, SeatNo(0)), None);
        }
        match asked {
            Ok(hold) => now = hold.expires_at.0 / 1_000_000,
            Err(Refusal::HeldTooLong { again_at }) => break again_at,
            Err(other) => panic!("{other:?} at {now} s"),
        }
        rows.holds.clear();
        rows.seats.insert((HALL, SeatNo(0)), None);
        rows.fans.clear();
    };
    assert_eq!((now, again_at), (3_600, at(3_610)));
    ask(&mut rows, 251, 2, &[0], at(now)).unwrap();
    rows.seats.insert((HALL, SeatNo(0)), None);
    ask(&mut rows, 252, 1, &[0], again_at).unwrap();
}

#[test]
fn a_pass_opens_until_it_is_used_or_its_place_given_up() {
    let try_with = |entry, marks: Option<PlaceMarks>| {
        let mut rows = rows(1);
        if let Some(marks) = marks {
            rows.places.insert((HALL, 5), marks);
        }
        let command = HoldCommand {
            entry,
            ..command(1, 1, &[0])
        };
        decide(
            &mut rows,
            &command,
            Some(&[SeatNo(0)]),
            &RULES,
            |_| 1,
            at(0),
        )
        .map(|hold| hold.place)
    };
    assert_eq!(
        try_with(Ok(Some(5)), Some(PlaceMarks::default())),
        Ok(Some(5))
    );
    assert_eq!(
        try_with(
            Ok(Some(5)),
            Some(PlaceMarks {
                left: false,
                used: true
            })
        ),
        Err(Refusal::PassUsed)
    );
    assert_eq!(
        try_with(
            Ok(Some(5)),
            Some(PlaceMarks {
                left: true,
                used: false
            })
        ),
        Err(Refusal::PassRequired)
    );
    assert_eq!(try_with(Ok(Some(5)), None), Err(Refusal::PassRequired));
    assert_eq!(
        try_with(Err(Refusal::PassExpired), None),
        Err(Refusal::PassExpired)
    );
}

#[test]
fn of_two_bookings_of_a_hold_one_has_it() {
    let (mine, other) = (BookingId([1; 16]), BookingId([2; 16]));
    let mut rows = rows(1);
    let mut hold = ask(&mut rows, 1, 1, &[0], at(0)).unwrap();
    hold.pay(mine, at(1)).unwrap();
    assert_eq!(hold.pay(mine, at(2)), Ok(()));
    assert_eq!(hold.pay(other, at(2)), Err(Refusal::HoldTaken));
    assert_eq!(hold.release(), Err(Refusal::HoldInPayment));
    assert_eq!(hold.confirm(other), Err(Refusal::HoldTaken));
    hold.confirm(mine).unwrap();
    assert_eq!(hold.pay(other, at(2)), Err(Refusal::HoldTaken));
    assert_eq!(hold.release(), Err(Refusal::HoldTaken));
    assert_eq!(hold.stage(at(99)), HoldStage::Confirmed);
}

#[test]
fn an_expired_or_released_hold_cannot_be_paid() {
    let mut hold = ask(&mut rows(1), 1, 1, &[0], at(0)).unwrap();
    assert_eq!(
        hold.pay(BookingId([1; 16]), at(10)),
        Err(Refusal::HoldExpired)
    );
    assert_eq!((hold.release(), hold.release()), (Ok(true), Ok(false)));
    assert_eq!(
        hold.pay(BookingId([1; 16]), at(1)),
        Err(Refusal::HoldExpired)
    );
}

proptest! {
    /// Whatever is asked, in whatever order: no seat ever has two holds that keep it, and a hold keeps all its seats.
    #[test]
    fn a_seat_has_one_owner(asks in prop::collection::vec((0_u8..6, prop::collection::btree_set(0_u32..8, 1..4), 0_i64..6, 0_u8..4), 1..100)) {
        let (mut rows, mut now) = (rows(8), 0);
        for (n, (fan, seats, wait, act)) in asks.into_iter().enumerate() {
            now += wait;
            let hold = u8::try_from(n).unwrap();
            let _ = ask(&mut rows, hold, fan, &seats.into_iter().collect::<Vec<_>>(), at(now));
            if let Some(hold) = rows.holds.get_mut(&id(hold / 2)) {
                match act {
                    0 => { let _ = hold.release(); }
                    1 => { let _ = hold.pay(BookingId([1; 16]), at(now)); }
                    2 => { let _ = hold.confirm(BookingId([1; 16])); }
                    _ => hold.unpay(BookingId([1; 16])),
                }
            }
            let mut owned = BTreeSet::new();
            for hold in rows.holds.values().filter(|hold| hold.keeps_seats(at(now))) {
                for seat in &hold.seats {
                    prop_assert!(owned.insert(*seat), "seat {seat:?} has two owners");
                    prop_assert_eq!(rows.seats[&(HALL, *seat)], Some(hold.hold_id));
                }
            }
        }
    }
}
