//! One complete flow, as a fan lives it: join, wait, pass, hold, book, tickets.
//!
//! Everything the client is told is written into `Told` at once, so that a flow which is cut short still counts as
//! evidence. All ids are made here, so that each call may be repeated after a crash of the server.

use std::cell::Cell;
use std::fmt::Write;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};
use uuid::Uuid;

use crate::client::{Client, Ended, Session};
use crate::http::Request;
use crate::ledger::{BookingTold, SeatTold, Told};
use crate::stage::Stage;
use crate::stats::Step;
use crate::verdict::Check;
use crate::wire::{
    BookingAnswer, BookingState, HoldAnswer, PassAnswer, Place, PlaceState, seat_key,
};

/// A fan whose seats are taken by others tries this often.
const HOLD_TRIES_MAX: u32 = 20;
/// A fan asks again for a place at least this often, and for a booking that is not final.
const POLL_MS_DEFAULT: u64 = 1_000;
const BOOKING_POLL: Duration = Duration::from_millis(200);
/// A booking that is not final after this is given up here; the verdict then says so.
const BOOKING_WAIT_MAX: Duration = Duration::from_secs(90);

/// A fan of the crowd.
#[derive(Debug)]
pub(crate) struct Fan {
    /// The index in the run.
    pub(crate) index: u32,
    /// The login.
    pub(crate) session: Session,
    /// A place may be left from a flow that failed: the next join need not give a new one.
    pub(crate) has_old_place: Cell<bool>,
}

/// How seats are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Best available anywhere.
    Best,
    /// Best available in one section after the other.
    BestBySection,
    /// Spots of the standing area.
    Area,
    /// Named seats, each once: nobody collides.
    Seats,
    /// Named seats at random: fans collide.
    SeatsContended,
}

/// What each fan buys.
#[derive(Clone, Debug)]
pub(crate) struct Purchase {
    pub(crate) choice: Choice,
    pub(crate) quantity: u32,
    /// Added to `turn` so that threads ask for different seats.
    pub(crate) turn: Cell<u64>,
    /// `turn` grows by this.
    pub(crate) turn_step: u64,
}

impl Purchase {
    fn next_turn(&self) -> u64 {
        let turn = self.turn.get();
        self.turn.set(turn + self.turn_step);
        turn
    }

    /// The body of a request for a hold.
    fn write_hold(&self, hold_id: Uuid, stage: &Stage, body: &mut String) {
        body.clear();
        let quantity = self.quantity;
        let turn = self.next_turn();
        let result = match self.choice {
            Choice::Best => {
                write!(
                    body,
                    r#"{{"hold_id":"{hold_id}","best":{{"quantity":{quantity},"together":true}}}}"#
                )
            }
            Choice::BestBySection => {
                let section = serde_json::Value::from(pick(&stage.sections, turn).as_str());
                write!(
                    body,
                    r#"{{"hold_id":"{hold_id}","best":{{"section":{section},"quantity":{quantity},"together":true}}}}"#
                )
            }
            Choice::Area => {
                let area = stage.area.unwrap_or_default();
                write!(
                    body,
                    r#"{{"hold_id":"{hold_id}","area":"{area}","quantity":{quantity}}}"#
                )
            }
            Choice::Seats | Choice::SeatsContended => {
                let first = if self.choice == Choice::Seats {
                    turn * u64::from(quantity)
                } else {
                    scatter(turn)
                };
                let seats: Vec<&str> = (0..u64::from(quantity))
                    .map(|offset| pick(&stage.seats, first.wrapping_add(offset)).as_str())
                    .collect();
                let seats = serde_json::Value::from(seats);
                write!(body, r#"{{"hold_id":"{hold_id}","seats":{seats}}}"#)
            }
        };
        result.expect("writing to a string cannot fail");
    }
}

fn pick(items: &[String], turn: u64) -> &String {
    let count = items.len().max(1) as u64;
    let index = usize::try_from(turn % count).expect("below the length of a slice");
    &items[index]
}

/// Spreads consecutive numbers over all numbers; the same every time.
fn scatter(turn: u64) -> u64 {
    let mut value = turn.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    value ^= value >> 29;
    value.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 16
}

/// Runs one flow that was planned for `planned`; what the fan was told lands in `told`.
///
/// # Errors
/// Why there is no confirmed booking at the end. What the fan still had is given up first.
pub(crate) async fn run(
    client: &Client,
    fan: &Fan,
    stage: &Stage,
    purchase: &Purchase,
    planned: Instant,
    told: &mut Told,
) -> Result<(), Ended> {
    let result = buy(client, fan, stage, purchase, planned, told).await;
    match &result {
        Ok(()) => fan.has_old_place.set(false),
        Err(Ended::GaveUp(_)) => fan.has_old_place.set(true),
        Err(_) => give_up(client, fan, stage, told).await,
    }
    result
}

async fn buy(
    client: &Client,
    fan: &Fan,
    stage: &Stage,
    purchase: &Purchase,
    planned: Instant,
    told: &mut Told,
) -> Result<(), Ended> {
    let called_at = wait_for_turn(client, fan, stage, planned, told).await?;
    let mut text = String::with_capacity(512);
    let answer = client
        .call(
            Step::Pass,
            called_at,
            Some(&fan.session),
            &Request::post(&stage.passes_path, &[], b"{}"),
        )
        .await
        .inspect_err(|ended| note_lost_turn(client, told, ended))?;
    let pass: PassAnswer<'_> = client.read(Step::Pass, &answer)?;
    let _ = write!(text, "boxoffice-pass: {}\r\n", pass.pass);
    let entered_at = answer.at();
    drop(answer);
    let held_at = hold(client, fan, stage, purchase, &text, entered_at, told).await?;
    let done_at = book(client, fan, held_at, &mut text, told).await?;
    client
        .stats
        .borrow_mut()
        .record(Step::Flow, done_at.saturating_duration_since(planned));
    Ok(())
}

/// A fan who was told to be called keeps the turn for its whole claim time, which no run exceeds.
fn note_lost_turn(client: &Client, told: &Told, ended: &Ended) {
    if ["no-place", "not-your-turn", "turn-lapsed"]
        .iter()
        .any(|code| ended.is(code))
    {
        client.found(Check::Places, || {
            format!("number {} was called, then {ended}", told.number)
        });
    }
}

async fn wait_for_turn(
    client: &Client,
    fan: &Fan,
    stage: &Stage,
    planned: Instant,
    told: &mut Told,
) -> Result<Instant, Ended> {
    told.join_sent_us = client.micros_at(Instant::now());
    let answer = client
        .call(
            Step::Join,
            planned,
            Some(&fan.session),
            &Request::post(&stage.room_path, &[], b"{}"),
        )
        .await?;
    let mut place: Place = client.read(Step::Join, &answer)?;
    let mut at = answer.at();
    told.is_old_place = fan.has_old_place.get() && answer.status() == 200;
    drop(answer);
    told.number = place.number;
    told.join_answered_us = client.micros_at(at);
    loop {
        match place.state {
            PlaceState::Called | PlaceState::Entered => return Ok(at),
            PlaceState::Lapsed | PlaceState::Left => {
                return Err(Ended::Stopped("the place lapsed"));
            }
            PlaceState::Lobby | PlaceState::Waiting => (),
        }
        let due = at
            + Duration::from_millis(
                place
                    .poll_after_ms
                    .unwrap_or(POLL_MS_DEFAULT)
                    .clamp(10, 60_000),
            );
        sleep_until(due.into()).await;
        let answer = client
            .call(
                Step::Poll,
                due,
                Some(&fan.session),
                &Request::get(&stage.place_path, &[]),
            )
            .await;
        let answer = answer.inspect_err(|ended| {
            if ended.is("no-place") {
                client.found(Check::Places, || {
                    format!("the place with number {} is gone", told.number)
                });
            }
        })?;
        let next: Place = client.read(Step::Poll, &answer)?;
        at = answer.at();
        drop(answer);
        compare_places(client, &place, &next);
        place = next;
    }
}

/// The number of a place never changes, its position never grows, and its state never goes back.
fn compare_places(client: &Client, before: &Place, after: &Place) {
    if before.number != after.number {
        client.found(Check::Places, || {
            format!("number {} became {}", before.number, after.number)
        });
    }
    if before.position < after.position {
        let (number, from, to) = (after.number, before.position, after.position);
        client.found(Check::Places, || {
            format!("number {number} moved back from position {from} to {to}")
        });
    }
    if before.state == PlaceState::Waiting && after.state == PlaceState::Lobby {
        client.found(Check::Places, || {
            format!("number {} went back to the lobby", after.number)
        });
    }
}

async fn hold(
    client: &Client,
    fan: &Fan,
    stage: &Stage,
    purchase: &Purchase,
    pass_header: &str,
    entered_at: Instant,
    told: &mut Told,
) -> Result<Instant, Ended> {
    let mut body = String::with_capacity(192);
    let mut due = entered_at;
    for _ in 0..HOLD_TRIES_MAX {
        let hold_id = Uuid::now_v7();
        purchase.write_hold(hold_id, stage, &mut body);
        let request = Request {
            method: "POST",
            path: &stage.holds_path,
            headers: &[pass_header],
            body: Some(body.as_bytes()),
        };
        let answer = match client
            .call(Step::Hold, due, Some(&fan.session), &request)
            .await
        {
            Ok(answer) => answer,
            Err(ended) if ended.is("seat-taken") => {
                due = Instant::now();
                continue;
            }
            Err(ended) => return Err(ended),
        };
        let hold: HoldAnswer<'_> = client.read(Step::Hold, &answer)?;
        told.hold_id = hold_id;
        told.total_minor = hold.total.amount_minor;
        told.seats = hold
            .seats
            .iter()
            .map(|seat| SeatTold {
                key: seat_key(seat.seat_guid.as_deref(), seat.area.as_deref()),
                price_minor: seat.price.amount_minor,
            })
            .collect();
        if told.seats.len() != purchase.quantity as usize {
            let count = told.seats.len();
            client.found(Check::Kept, || {
                format!("hold {hold_id} of {} has {count} seats", purchase.quantity)
            });
        }
        return Ok(answer.at());
    }
    Err(Ended::Stopped("all seats tried were taken"))
}

async fn book(
    client: &Client,
    fan: &Fan,
    held_at: Instant,
    text: &mut String,
    told: &mut Told,
) -> Result<Instant, Ended> {
    told.booking_id = Uuid::now_v7();
    told.booking = BookingTold::Asked;
    text.clear();
    let (booking_id, hold_id) = (told.booking_id, told.hold_id);
    let _ = write!(
        text,
        r#"{{"booking_id":"{booking_id}","hold_id":"{hold_id}","payment":{{"method":"sandbox"}}}}"#
    );
    let headers = ["prefer: wait=5\r\n"];
    let request = Request {
        method: "POST",
        path: "/api/v1/bookings",
        headers: &headers,
        body: Some(text.as_bytes()),
    };
    let answer = client
        .call(Step::Book, held_at, Some(&fan.session), &request)
        .await?;
    let booking: BookingAnswer<'_> = client.read(Step::Book, &answer)?;
    let mut at = answer.at();
    let mut state = note_booking(client, Step::Book, &booking, told);
    drop(booking);
    drop(answer);
    let path = if state == BookingState::Pending {
        format!("/api/v1/bookings/{booking_id}")
    } else {
        String::new()
    };
    while state == BookingState::Pending {
        if held_at.elapsed() > BOOKING_WAIT_MAX {
            return Err(Ended::Stopped("the booking has no end"));
        }
        sleep(BOOKING_POLL).await;
        let answer = client
            .call(
                Step::BookPoll,
                Instant::now(),
                Some(&fan.session),
                &Request::get(&path, &[]),
            )
            .await?;
        let booking: BookingAnswer<'_> = client.read(Step::BookPoll, &answer)?;
        at = answer.at();
        state = note_booking(client, Step::BookPoll, &booking, told);
    }
    if state == BookingState::Confirmed {
        Ok(at)
    } else {
        Err(Ended::Stopped("the booking was refused"))
    }
}

fn note_booking(
    client: &Client,
    step: Step,
    booking: &BookingAnswer<'_>,
    told: &mut Told,
) -> BookingState {
    if booking.booking_id != told.booking_id {
        client.found(Check::Kept, || {
            format!(
                "asked for booking {} and heard of {}",
                told.booking_id, booking.booking_id
            )
        });
    }
    match booking.state {
        BookingState::Pending => told.booking = BookingTold::Accepted,
        BookingState::Confirmed => {
            told.booking = BookingTold::Confirmed;
            told.tickets = booking
                .tickets
                .iter()
                .map(|ticket| Box::from(&*ticket.ticket_id))
                .collect();
        }
        BookingState::Refused | BookingState::Cancelled => {
            told.booking = BookingTold::Refused;
            // The sandbox accepts every payment that a flow makes: a refusal is not expected.
            let code = booking.code.as_deref().unwrap_or("-");
            client.stats.borrow_mut().count_answer(step, 200, code);
        }
    }
    booking.state
}

/// Gives up what a failed flow still has, so that others are not kept waiting.
async fn give_up(client: &Client, fan: &Fan, stage: &Stage, told: &Told) {
    // A booking that was accepted still needs its hold.
    if !told.hold_id.is_nil() && told.booking != BookingTold::Accepted {
        let path = format!("/api/v1/holds/{}", told.hold_id);
        let request = Request {
            method: "DELETE",
            path: &path,
            headers: &[],
            body: None,
        };
        // A failure is counted by the call; the hold runs out by itself.
        let _ = client
            .call(Step::Release, Instant::now(), Some(&fan.session), &request)
            .await;
    }
    if told.number > 0 || fan.has_old_place.get() {
        let request = Request {
            method: "DELETE",
            path: &stage.place_path,
            headers: &[],
            body: None,
        };
        let left = client
            .call(Step::Leave, Instant::now(), Some(&fan.session), &request)
            .await;
        fan.has_old_place
            .set(left.is_err_and(|ended| !ended.is("no-place")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn stage() -> Stage {
        Stage {
            performance_id: "p".into(),
            seats_total: 4,
            sections: Arc::new(vec!["A".into(), "B \"left\"".into()]),
            seats: Arc::new(vec!["1".into(), "2".into(), "3".into(), "4".into()]),
            area: Some("Floor"),
            room_path: String::new(),
            place_path: String::new(),
            passes_path: String::new(),
            holds_path: String::new(),
        }
    }

    #[test]
    fn every_choice_asks_as_the_contract_says() {
        let ask = |choice, turn: u64| {
            let purchase = Purchase {
                choice,
                quantity: 2,
                turn: Cell::new(turn),
                turn_step: 1,
            };
            let mut body = String::new();
            purchase.write_hold(Uuid::nil(), &stage(), &mut body);
            let mut value: serde_json::Value = serde_json::from_str(&body).unwrap();
            value.as_object_mut().unwrap().remove("hold_id").unwrap();
            value.to_string()
        };
        assert_eq!(
            ask(Choice::Best, 0),
            r#"{"best":{"quantity":2,"together":true}}"#
        );
        assert_eq!(
            ask(Choice::BestBySection, 1),
            r#"{"best":{"quantity":2,"section":"B \"left\"","together":true}}"#
        );
        assert_eq!(ask(Choice::Area, 0), r#"{"area":"Floor","quantity":2}"#);
        assert_eq!(ask(Choice::Seats, 0), r#"{"seats":["1","2"]}"#);
        assert_eq!(ask(Choice::Seats, 1), r#"{"seats":["3","4"]}"#);
    }

    #[test]
    fn contended_choices_spread() {
        let picked: std::collections::HashSet<u64> =
            (0..1_000).map(|turn| scatter(turn) % 1_000).collect();
        assert!(picked.len() > 500, "{} of 1000", picked.len());
    }
}
