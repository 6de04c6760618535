//! Bookings, payment, tickets and cancellation: exactly one result, and everyone is told it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Who, in_parallel, new_id, shared, until, within_s};
use crate::show::{PRICE_MINOR, Setup, Show, booking_body, krw, list, text};

/// What a confirmed booking of these seats looks like to its owner.
#[track_caller]
fn check_confirmed(booking: &Value, guids: &[&str]) {
    let total = krw(PRICE_MINOR * i64::try_from(guids.len()).expect("few seats"));
    assert_eq!(booking["state"], "confirmed", "{booking}");
    assert_eq!(booking["total"], total, "{booking}");
    assert_eq!(
        booking["payment"],
        json!({"state": "captured", "captured": total, "refunded": krw(0)}),
        "{booking}"
    );
    assert!(
        booking.get("code").is_none_or(Value::is_null),
        "a code without a refusal: {booking}"
    );
    let tickets = list(&booking["tickets"]);
    let seats: BTreeSet<_> = tickets
        .iter()
        .map(|ticket| text(&ticket["seat_guid"]))
        .collect();
    assert_eq!(
        seats,
        guids.iter().map(|guid| (*guid).to_owned()).collect(),
        "{booking}"
    );
    let ids: BTreeSet<_> = tickets
        .iter()
        .map(|ticket| text(&ticket["ticket_id"]))
        .collect();
    assert_eq!(ids.len(), guids.len(), "one ticket a seat: {booking}");
    for ticket in tickets {
        assert_eq!(ticket["state"], "valid", "{booking}");
        assert_eq!(ticket["price"], krw(PRICE_MINOR), "{booking}");
        for field in ["section", "row", "seat"] {
            assert!(ticket[field].is_string(), "no `{field}`: {booking}");
        }
    }
}

/// A fan with one seat held.
#[track_caller]
fn fan_with_hold(show: &Show, guid: &str) -> (Who, Value) {
    let fan = show.api.fan();
    let hold = fan.hold(show, &[guid]);
    (fan, hold)
}

#[test]
fn a_booking_is_accepted_at_once_and_ends_confirmed() {
    let show = Setup::new().make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let hold = fan.hold(&show, &[&guids[0], &guids[1]]);
    let booking_id = new_id();
    let answer = fan.try_book(&booking_id, &hold["hold_id"], "ok");
    let accepted = answer.expect(202);
    assert_eq!(accepted["booking_id"], booking_id);
    assert_eq!(accepted["state"], "pending");
    let location = answer.header("location").expect("a Location").to_owned();
    assert!(
        location.ends_with(&format!("/bookings/{booking_id}")),
        "{location}"
    );
    let path = location
        .find("/api/")
        .map_or(location.as_str(), |start| &location[start..]);
    let call = crate::http::Call::new("GET", path).bearer(&fan.access_token);
    assert_eq!(
        fan.send(&call).expect(200)["booking_id"],
        booking_id,
        "the Location leads elsewhere: {location}"
    );
    let booking = fan.until_booking_is(&booking_id, "confirmed", Duration::from_secs(10));
    check_confirmed(&booking, &[&guids[0], &guids[1]]);
    assert_eq!(
        fan.get(&format!("/holds/{}", text(&hold["hold_id"])))
            .expect(200)["state"],
        "confirmed"
    );
}

#[test]
fn who_prefers_to_wait_is_told_the_end() {
    let show = Setup::new().make(&shared());
    let guids = show.guids();
    let (fan, hold) = fan_with_hold(&show, &guids[0]);
    let booking_id = new_id();
    let refused = fan
        .book_and_wait(&booking_id, &hold["hold_id"], "declined")
        .expect(200);
    assert_eq!(refused["booking_id"], booking_id);
    assert_eq!(refused["state"], "refused");
    assert_eq!(refused["code"], "payment-declined");
    assert_eq!(fan.booking(&booking_id), refused);
    assert_eq!(refused["payment"]["captured"], krw(0), "{refused}");
    assert!(list(&refused["tickets"]).is_empty(), "{refused}");
    let booking_id = new_id();
    let confirmed = fan
        .book_and_wait(&booking_id, &hold["hold_id"], "ok")
        .expect(201);
    check_confirmed(&confirmed, &[&guids[0]]);
    assert_eq!(fan.booking(&booking_id), confirmed);
}

#[test]
fn an_outcome_need_not_be_named() {
    let show = Setup::new().make(&shared());
    let (fan, hold) = fan_with_hold(&show, &show.guids()[0]);
    let body = json!({"booking_id": new_id(), "hold_id": hold["hold_id"], "payment": {"method": "sandbox"}});
    let answer = fan.send(
        &fan.call("POST", "/bookings")
            .header("Prefer", "wait=5")
            .json(&body),
    );
    assert_eq!(answer.expect(201)["state"], "confirmed");
}

#[test]
fn waiting_ends_when_it_was_promised_to() {
    let show = Setup::new().make(&shared());
    let (fan, hold) = fan_with_hold(&show, &show.guids()[0]);
    let booking_id = new_id();
    let asked = Instant::now();
    let body = booking_body(&booking_id, &hold["hold_id"], "never");
    let answer = fan.send(
        &fan.call("POST", "/bookings")
            .header("Prefer", "wait=1")
            .json(&body),
    );
    assert_eq!(answer.expect(202)["state"], "pending");
    assert!(asked.elapsed() <= within_s(2), "{:?}", asked.elapsed());
}

#[test]
fn a_declined_payment_leaves_the_hold_to_be_paid_again() {
    let show = Setup::new().make(&shared());
    let guids = show.guids();
    let (fan, hold) = fan_with_hold(&show, &guids[0]);
    for _ in 0..3 {
        let refused = fan
            .book_and_wait(&new_id(), &hold["hold_id"], "declined")
            .expect(200);
        assert_eq!(refused["code"], "payment-declined");
        let seen = fan
            .get(&format!("/holds/{}", text(&hold["hold_id"])))
            .expect(200);
        assert_eq!(seen["state"], "active");
        assert_eq!(seen["expires_at"], hold["expires_at"]);
    }
    show.api
        .fan()
        .try_hold(&show, None, &json!({"seats": [guids[0]]}))
        .problem(409, "seat-taken");
    check_confirmed(&fan.book(&hold), &[&guids[0]]);
}

#[test]
fn the_same_booking_again_is_the_same_answer() {
    let show = Setup::new().make(&shared());
    let guids = show.guids();
    let (fan, hold) = fan_with_hold(&show, &guids[0]);
    let booking_id = new_id();
    let answers = in_parallel(6, |_| {
        fan.book_and_wait(&booking_id, &hold["hold_id"], "ok")
    });
    for answer in &answers {
        check_confirmed(&answer.expect(201), &[&guids[0]]);
        assert_eq!(answer.value(), answers[0].value());
    }
    let later = fan
        .try_book(&booking_id, &hold["hold_id"], "ok")
        .expect_any(&[200, 201, 202]);
    assert_eq!(later["booking_id"], booking_id);
    assert_eq!(list(&fan.get("/bookings").expect(200)["items"]).len(), 1);
    check_confirmed(&fan.booking(&booking_id), &[&guids[0]]);
}

#[test]
fn a_refused_booking_again_is_the_same_refusal() {
    let show = Setup::new().make(&shared());
    let (fan, hold) = fan_with_hold(&show, &show.guids()[0]);
    let booking_id = new_id();
    let first = fan
        .book_and_wait(&booking_id, &hold["hold_id"], "declined")
        .expect(200);
    assert_eq!(
        fan.book_and_wait(&booking_id, &hold["hold_id"], "declined")
            .expect(200),
        first
    );
}

#[test]
fn a_booking_id_used_for_something_else_is_refused() {
    let show = Setup::new().make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let (first, second) = (fan.hold(&show, &[&guids[0]]), fan.hold(&show, &[&guids[1]]));
    let booking_id = new_id();
    fan.book_and_wait(&booking_id, &first["hold_id"], "ok")
        .expect(201);
    fan.try_book(&booking_id, &second["hold_id"], "ok")
        .problem(422, "id-reused");
    let (stranger, hold) = fan_with_hold(&show, &guids[2]);
    let answer = stranger.try_book(&booking_id, &hold["hold_id"], "ok");
    assert!(matches!(answer.status, 404 | 409 | 422), "{answer}");
    assert_eq!(
        fan.get(&format!("/holds/{}", text(&second["hold_id"])))
            .expect(200)["state"],
        "active"
    );
}

#[test]
fn a_hold_that_another_booking_has_is_taken() {
    let show = Setup::new().make(&shared());
    let guids = show.guids();
    let (fan, hold) = fan_with_hold(&show, &guids[0]);
    fan.try_book(&new_id(), &hold["hold_id"], "never")
        .expect(202);
    fan.try_book(&new_id(), &hold["hold_id"], "ok")
        .problem(409, "hold-taken");
    let (fan, hold) = fan_with_hold(&show, &guids[1]);
    fan.book(&hold);
    fan.try_book(&new_id(), &hold["hold_id"], "ok")
        .problem(409, "hold-taken");
}

#[test]
fn of_many_bookings_of_one_hold_exactly_one_is_confirmed() {
    let show = Setup::new().make(&shared());
    for guid in &show.guids()[..4] {
        let (fan, hold) = fan_with_hold(&show, guid);
        let answers = in_parallel(8, |_| fan.book_and_wait(&new_id(), &hold["hold_id"], "ok"));
        let confirmed: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 201)
            .collect();
        assert_eq!(confirmed.len(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            if answer.status == 200 {
                // Accepted before it was known who wins; then it must have cost nothing.
                let refused = answer.expect(200);
                assert_eq!(refused["state"], "refused", "{refused}");
                assert_eq!(
                    refused["payment"]["captured"], refused["payment"]["refunded"],
                    "{refused}"
                );
            } else {
                answer.problem(409, "hold-taken");
            }
        }
        let bookings = fan.get("/bookings").expect(200);
        let confirmed: Vec<_> = list(&bookings["items"])
            .iter()
            .filter(|b| b["state"] == "confirmed")
            .collect();
        assert_eq!(confirmed.len(), 1, "{bookings}");
        check_confirmed(confirmed[0], &[guid]);
    }
    let stats = show.stats();
    assert_eq!(stats["seats_sold"], 4);
}

#[test]
fn a_hold_that_is_no_more_cannot_be_booked() {
    let show = Setup::new().hold(1, 8).make(&shared());
    let (fan, hold) = fan_with_hold(&show, &show.guids()[0]);
    until("the hold expires", within_s(3), || {
        let seen = fan
            .get(&format!("/holds/{}", text(&hold["hold_id"])))
            .expect(200);
        (seen["state"] == "expired").then_some(())
    });
    fan.try_book(&new_id(), &hold["hold_id"], "ok")
        .problem(410, "hold-expired");
    fan.try_book(&new_id(), &json!(new_id()), "ok")
        .any_problem(404);
}

#[test]
fn a_payment_that_times_out_and_succeeds_is_confirmed_in_a_minute() {
    let api = shared();
    // The second hold runs out long before the payment is known: paid is paid.
    let shows = [Setup::new().make(&api), Setup::new().hold(2, 8).make(&api)];
    in_parallel(shows.len(), |index| {
        let show = &shows[index];
        let guids = show.guids();
        let (fan, hold) = fan_with_hold(show, &guids[0]);
        let other = api.fan();
        let booking_id = new_id();
        fan.try_book(&booking_id, &hold["hold_id"], "timeout_then_ok")
            .expect(202);
        let booking = until("it is final", Duration::from_secs(60), || {
            let booking = fan.booking(&booking_id);
            if booking["state"] == "pending" {
                other
                    .try_hold(show, None, &json!({"seats": [guids[0]]}))
                    .problem(409, "seat-taken");
                return None;
            }
            Some(booking)
        });
        check_confirmed(&booking, &[&guids[0]]);
    });
}

#[test]
fn a_payment_that_never_comes_is_refused_and_keeps_the_seat_until_then() {
    let show = Setup::new().hold(2, 8).make(&shared());
    let guids = show.guids();
    let (fan, hold) = fan_with_hold(&show, &guids[0]);
    let other = show.api.fan();
    let booking_id = new_id();
    fan.try_book(&booking_id, &hold["hold_id"], "never")
        .expect(202);
    let booking = until("it is refused", within_s(2 + 60), || {
        // Asked first: once the booking is refused, the seat is anybody's.
        let attempt = other.try_hold(&show, None, &json!({"seats": [guids[0]]}));
        let booking = fan.booking(&booking_id);
        if booking["state"] == "pending" {
            attempt.problem(409, "seat-taken");
            return None;
        }
        if attempt.status == 201 {
            let path = format!("/holds/{}", text(&attempt.value()["hold_id"]));
            assert_eq!(other.delete(&path).status, 204);
        }
        Some(booking)
    });
    assert_eq!(booking["state"], "refused", "{booking}");
    assert!(!text(&booking["code"]).is_empty(), "{booking}");
    assert_eq!(
        booking["payment"]["captured"], booking["payment"]["refunded"],
        "{booking}"
    );
    until("the seat is free", within_s(2), || {
        (other
            .try_hold(&show, None, &json!({"seats": [guids[0]]}))
            .status
            == 201)
            .then_some(())
    });
}

#[test]
fn a_cancellation_refunds_once_and_frees_the_seats() {
    let show = Setup::new().make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let hold = fan.hold(&show, &[&guids[0], &guids[1]]);
    let booking_id = text(&fan.book(&hold)["booking_id"]);
    let first = fan.cancel(&booking_id).expect(202);
    let booking = fan.until_booking_is(&booking_id, "cancelled", Duration::from_secs(10));
    let total = krw(2 * PRICE_MINOR);
    let payment = until("the money is back", Duration::from_secs(10), || {
        let payment = fan.booking(&booking_id)["payment"].clone();
        (payment["state"] == "refunded").then_some(payment)
    });
    assert_eq!(
        payment,
        json!({"state": "refunded", "captured": total, "refunded": total})
    );
    assert_eq!(booking["total"], total);
    for ticket in list(&booking["tickets"]) {
        assert_eq!(ticket["state"], "cancelled", "{booking}");
        let path = format!("/tickets/{}", text(&ticket["ticket_id"]));
        assert_eq!(fan.get(&path).expect(200)["state"], "cancelled");
    }
    until("the seats are free", within_s(2), || {
        (show
            .api
            .fan()
            .try_hold(&show, None, &json!({"seats": [guids[0], guids[1]]}))
            .status
            == 201)
            .then_some(())
    });
    let again = fan.cancel(&booking_id).expect(202);
    assert_eq!(again["booking_id"], first["booking_id"]);
    assert_eq!(
        fan.booking(&booking_id)["payment"],
        payment,
        "a second cancellation changed the money"
    );
    // The seats belong to somebody else by now and must stay so.
    show.api
        .fan()
        .try_hold(&show, None, &json!({"seats": [guids[0]]}))
        .problem(409, "seat-taken");
}

#[test]
fn cancellations_at_once_refund_once() {
    let show = Setup::new().make(&shared());
    for guid in &show.guids()[..3] {
        let (fan, hold) = fan_with_hold(&show, guid);
        let booking_id = text(&fan.book(&hold)["booking_id"]);
        for answer in in_parallel(8, |_| fan.cancel(&booking_id)) {
            answer.expect(202);
        }
        until("cancelled and refunded", Duration::from_secs(10), || {
            let booking = fan.booking(&booking_id);
            (booking["state"] == "cancelled" && booking["payment"]["state"] == "refunded")
                .then_some(())
        });
        assert_eq!(
            fan.booking(&booking_id)["payment"]["refunded"],
            krw(PRICE_MINOR)
        );
    }
    until("every seat is free", within_s(2), || {
        (show.stats()["seats_free"] == 20).then_some(())
    });
}

#[test]
fn only_what_is_confirmed_can_be_cancelled() {
    let show = Setup::new().make(&shared());
    let guids = show.guids();
    let (fan, hold) = fan_with_hold(&show, &guids[0]);
    let refused = new_id();
    fan.book_and_wait(&refused, &hold["hold_id"], "declined")
        .expect(200);
    let answer = fan.cancel(&refused);
    assert!((400..500).contains(&answer.status), "{answer}");
    answer.any_problem(answer.status);
    assert_eq!(fan.booking(&refused)["state"], "refused");
    fan.cancel(&new_id()).any_problem(404);
}

#[test]
fn a_listing_pages_through_every_booking_once() {
    let show = Setup::new().make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let made: BTreeSet<_> = guids[..5]
        .iter()
        .map(|guid| text(&fan.book(&fan.hold(&show, &[guid]))["booking_id"]))
        .collect();
    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    let mut cursor = String::new();
    for _ in 0..4 {
        let page = fan.get(&format!("/bookings?limit=2{cursor}")).expect(200);
        sizes.push(list(&page["items"]).len());
        seen.extend(
            list(&page["items"])
                .iter()
                .map(|booking| text(&booking["booking_id"])),
        );
        match &page["next_cursor"] {
            Value::Null => break,
            next => cursor = format!("&cursor={}", text(next)),
        }
    }
    assert_eq!(sizes, [2, 2, 1]);
    assert_eq!(seen.len(), 5);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), made);
    let item = &fan.get("/bookings?limit=1").expect(200)["items"][0];
    for field in ["booking_id", "state", "total", "payment", "tickets"] {
        assert!(!item[field].is_null(), "no `{field}` in the list: {item}");
    }
    assert!(list(&show.api.fan().get("/bookings").expect(200)["items"]).is_empty());
}

#[test]
fn other_peoples_bookings_and_tickets_are_not_there() {
    let show = Setup::new().make(&shared());
    let (fan, hold) = fan_with_hold(&show, &show.guids()[0]);
    let booking = fan.book(&hold);
    let booking_id = text(&booking["booking_id"]);
    let ticket_id = text(&booking["tickets"][0]["ticket_id"]);
    let stranger = show.api.fan();
    for (path, missing) in [
        (
            format!("/bookings/{booking_id}"),
            format!("/bookings/{}", new_id()),
        ),
        (
            format!("/tickets/{ticket_id}"),
            format!("/tickets/{}", new_id()),
        ),
        (
            format!("/tickets/{ticket_id}/qr.svg"),
            format!("/tickets/{}/qr.svg", new_id()),
        ),
    ] {
        let (foreign, absent) = (
            stranger.get(&path).any_problem(404),
            stranger.get(&missing).any_problem(404),
        );
        assert_eq!(foreign["code"], absent["code"]);
        assert_eq!(foreign["title"], absent["title"]);
        fan.get(&path.replace("/qr.svg", "")).expect(200);
    }
    stranger.cancel(&booking_id).any_problem(404);
    assert_eq!(fan.booking(&booking_id)["state"], "confirmed");
}

#[test]
fn a_ticket_has_its_seat_and_a_code_to_scan() {
    let show = Setup::new().make(&shared());
    let (fan, hold) = fan_with_hold(&show, &show.guids()[0]);
    let booking = fan.book(&hold);
    let listed = &booking["tickets"][0];
    let path = format!("/tickets/{}", text(&listed["ticket_id"]));
    let ticket = fan.get(&path).expect(200);
    for field in [
        "ticket_id",
        "seat_guid",
        "section",
        "row",
        "seat",
        "price",
        "state",
    ] {
        assert_eq!(ticket[field], listed[field], "`{field}`");
    }
    let code = fan.get(&format!("{path}/qr.svg"));
    assert_eq!(code.status, 200, "{code}");
    assert!(
        code.header("content-type")
            .is_some_and(|kind| kind.starts_with("image/svg+xml")),
        "{code}"
    );
    assert!(code.text().contains("<svg"), "{code}");
    assert!(
        !code
            .header("cache-control")
            .unwrap_or_default()
            .contains("public"),
        "a ticket in a shared cache"
    );
}

#[test]
fn tickets_of_an_area_name_the_area() {
    let show = Setup::standing(5).make(&shared());
    let fan = show.api.fan();
    let hold = fan
        .try_hold(&show, None, &json!({"area": "Floor A", "quantity": 3}))
        .expect(201);
    let booking = fan.book(&hold);
    let tickets = list(&booking["tickets"]);
    assert_eq!(tickets.len(), 3, "quantity three is three tickets");
    for ticket in tickets {
        assert_eq!(ticket["area"], "Floor A");
        assert_eq!(ticket["section"], "Floor");
        assert_eq!(ticket["price"], krw(PRICE_MINOR));
        assert!(
            ticket.get("seat_guid").is_none_or(Value::is_null),
            "{ticket}"
        );
    }
    fan.cancel(&text(&booking["booking_id"])).expect(202);
    until("the spots are free", within_s(3), || {
        (show.stats()["seats_free"] == 5).then_some(())
    });
}

#[test]
fn closing_does_not_stop_the_payment_of_a_live_hold() {
    let show = Setup::new().make(&shared());
    let (fan, hold) = fan_with_hold(&show, &show.guids()[0]);
    show.sale("close");
    until("the sale is closed", within_s(1), || {
        (show.api.get(&show.path("")).expect(200)["sale"]["state"] == "closed").then_some(())
    });
    fan.book(&hold);
}

#[test]
fn a_payment_nobody_offers_is_refused() {
    let show = Setup::new().make(&shared());
    let (fan, hold) = fan_with_hold(&show, &show.guids()[0]);
    for payment in [
        json!({"method": "barter"}),
        json!({"method": "sandbox", "outcome": "maybe"}),
        json!({"outcome": "ok"}),
        json!({"method": "sandbox", "amount_minor": 1}),
        json!("sandbox"),
        Value::Null,
    ] {
        let body = json!({"booking_id": new_id(), "hold_id": hold["hold_id"], "payment": payment});
        let answer = fan.post("/bookings", &body);
        assert_eq!(answer.status, 400, "{payment} got {answer}");
        answer.any_problem(400);
    }
    fan.book(&hold);
}

#[test]
fn seats_and_money_always_add_up() {
    let show = Setup::seats(2, 3, 6).make(&shared());
    let fans = show.api.fans(8);
    in_parallel(fans.len() + 1, |index| {
        let Some(fan) = fans.get(index) else {
            for _ in 0..40 {
                let stats = show.stats();
                let sum: u64 = ["seats_free", "seats_held", "seats_sold"]
                    .iter()
                    .filter_map(|k| stats[k].as_u64())
                    .sum();
                assert_eq!(sum, 36, "{stats}");
            }
            return;
        };
        for turn in 0..4 {
            let answer = fan.try_hold(
                &show,
                None,
                &json!({"best": {"quantity": 2, "together": true}}),
            );
            if answer.status != 201 {
                answer.problem(409, "sold-out");
                continue;
            }
            let hold = answer.expect(201);
            if turn == 1 {
                assert_eq!(
                    fan.delete(&format!("/holds/{}", text(&hold["hold_id"])))
                        .status,
                    204
                );
                continue;
            }
            let booking = fan.book(&hold);
            if turn == 2 {
                fan.cancel(&text(&booking["booking_id"])).expect(202);
            }
        }
    });
    let mut owned = BTreeSet::new();
    for fan in &fans {
        for booking in list(&fan.get("/bookings").expect(200)["items"]) {
            if booking["state"] == "confirmed" {
                for ticket in list(&booking["tickets"]) {
                    assert!(
                        owned.insert(text(&ticket["seat_guid"])),
                        "sold twice: {ticket}"
                    );
                }
            }
        }
    }
    until("sold is what fans own", within_s(3), || {
        (show.stats()["seats_sold"] == owned.len() as u64).then_some(())
    });
}
