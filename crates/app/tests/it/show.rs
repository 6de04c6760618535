//! A performance to sell, and what a fan does with it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Api, Who, from_now_s, new_id, until, within_s};
use crate::http::Answer;

/// What one seat costs in every show that does not say otherwise.
pub(crate) const PRICE_MINOR: i64 = 132_000;

/// A performance before it is made. The default is on sale now, without a waiting room, with 2 sections of 2 rows of
/// 5 seats.
pub(crate) struct Setup {
    venue: Value,
    sections: Vec<String>,
    sale: Value,
    admission: Value,
    hold: Value,
    price_levels: Option<Value>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::seats(2, 2, 5)
    }

    /// Generated sections `A`, `B`, …
    pub(crate) fn seats(sections: u8, rows: u32, seats_per_row: u32) -> Self {
        let generate = json!({"sections": sections, "rows": rows, "seats_per_row": seats_per_row});
        let names = (0..sections)
            .map(|index| char::from(b'A' + index).to_string())
            .collect();
        Self::venue(json!({"name": "Hall", "generate": generate}), names)
    }

    /// Standing room only: the area `Floor A` in the section `Floor`.
    pub(crate) fn standing(capacity: u32) -> Self {
        let plan = json!({"name": "Field", "categories": [], "zones": []});
        let areas = json!([{"area": "Floor A", "section": "Floor", "capacity": capacity}]);
        let venue = json!({"name": "Field", "seating_plan": plan, "areas": areas});
        Self::venue(venue, vec!["Floor".to_owned()])
    }

    /// A venue of your own and the names of its sections.
    pub(crate) fn venue(venue: Value, sections: Vec<String>) -> Self {
        Self {
            venue,
            sections,
            sale: json!({"opens_at": from_now_s(-3_600.0), "closes_at": from_now_s(86_400.0)}),
            admission: Value::Null,
            hold: json!({"ttl_s": 600, "seats_max": 8}),
            price_levels: None,
        }
    }

    /// Seconds from now; negative ones have passed.
    pub(crate) fn opens_in_s(mut self, seconds: f64) -> Self {
        self.sale["opens_at"] = json!(from_now_s(seconds));
        self
    }

    pub(crate) fn lobby_opens_in_s(mut self, seconds: f64) -> Self {
        self.sale["lobby_opens_at"] = json!(from_now_s(seconds));
        self
    }

    pub(crate) fn closes_in_s(mut self, seconds: f64) -> Self {
        self.sale["closes_at"] = json!(from_now_s(seconds));
        self
    }

    /// In the lobby, an hour before it opens.
    pub(crate) fn in_lobby(self) -> Self {
        self.opens_in_s(3_600.0).lobby_opens_in_s(-60.0)
    }

    /// With a waiting room.
    pub(crate) fn admission(
        mut self,
        per_s: f64,
        active_max: u32,
        pass_ttl_s: u32,
        claim_within_s: u32,
    ) -> Self {
        self.admission = json!({
            "per_s": per_s, "active_max": active_max, "pass_ttl_s": pass_ttl_s, "claim_within_s": claim_within_s,
        });
        self
    }

    /// With a waiting room that lets everybody in at once.
    pub(crate) fn wide_room(self) -> Self {
        self.admission(1_000.0, 1_000, 600, 600)
    }

    pub(crate) fn hold(mut self, ttl_s: u32, seats_max: u32) -> Self {
        self.hold = json!({"ttl_s": ttl_s, "seats_max": seats_max});
        self
    }

    pub(crate) fn price_levels(mut self, levels: Value) -> Self {
        self.price_levels = Some(levels);
        self
    }

    /// The body of `POST /admin/performances`.
    pub(crate) fn performance(&self, event_id: &str, venue_id: &str) -> Value {
        let regular = json!([{
            "name": "Regular", "price": {"amount_minor": PRICE_MINOR, "currency": "KRW"}, "sections": self.sections,
        }]);
        json!({
            "event_id": event_id, "venue_id": venue_id, "starts_at": from_now_s(30.0 * 86_400.0), "sale": self.sale,
            "price_levels": self.price_levels.clone().unwrap_or(regular), "admission": self.admission,
            "hold": self.hold,
        })
    }

    /// Makes the venue, the event and the performance.
    #[track_caller]
    pub(crate) fn make(self, api: &Api) -> Show {
        let operator = api.operator();
        let venue = operator.post("/admin/venues", &self.venue).expect(201);
        let event = operator
            .post("/admin/events", &json!({"title": "A show"}))
            .expect(201);
        let (venue_id, event_id) = (text(&venue["venue_id"]), text(&event["event_id"]));
        let made = operator
            .post(
                "/admin/performances",
                &self.performance(&event_id, &venue_id),
            )
            .expect(201);
        Show {
            api: api.clone(),
            venue_id,
            event_id,
            performance_id: text(&made["performance_id"]),
        }
    }
}

/// The text of a JSON string.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// A number that must be whole and not negative.
#[track_caller]
pub(crate) fn count(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no whole number: {value}"))
}

/// The list of a JSON array.
#[track_caller]
pub(crate) fn list(value: &Value) -> &Vec<Value> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"))
}

/// A seat of the plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat {
    pub(crate) guid: String,
    pub(crate) section: String,
    pub(crate) row: String,
    pub(crate) seat: String,
}

/// A performance that is there.
#[derive(Clone)]
pub(crate) struct Show {
    pub(crate) api: Api,
    pub(crate) venue_id: String,
    pub(crate) event_id: String,
    pub(crate) performance_id: String,
}

impl Show {
    /// `/performances/{performance_id}` and what follows.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/performances/{}{rest}", self.performance_id)
    }

    /// `/admin/performances/{performance_id}` and what follows.
    pub(crate) fn admin_path(&self, rest: &str) -> String {
        format!("/admin/performances/{}{rest}", self.performance_id)
    }

    #[track_caller]
    pub(crate) fn patch(&self, change: &Value) -> Value {
        self.api
            .operator()
            .patch(&self.admin_path(""), change)
            .expect(200)
    }

    /// `open`, `pause` or `close`.
    #[track_caller]
    pub(crate) fn sale(&self, verb: &str) {
        self.api
            .operator()
            .post(&self.admin_path(&format!("/sale/{verb}")), &json!({}))
            .expect(200);
    }

    #[track_caller]
    pub(crate) fn stats(&self) -> Value {
        self.api
            .operator()
            .get(&self.admin_path("/stats"))
            .expect(200)
    }

    /// The seats in the order of the plan.
    #[track_caller]
    pub(crate) fn plan(&self) -> Vec<Seat> {
        let plan = self.api.get(&self.path("/seating-plan")).expect(200);
        let mut seats = Vec::new();
        for zone in list(&plan["zones"]) {
            for row in list(&zone["rows"]) {
                for seat in list(&row["seats"]) {
                    seats.push(Seat {
                        guid: text(&seat["seat_guid"]),
                        section: text(&zone["name"]),
                        row: text(&row["row_number"]),
                        seat: text(&seat["seat_number"]),
                    });
                }
            }
        }
        seats
    }

    /// The guids of the seats in the order of the plan.
    #[track_caller]
    pub(crate) fn guids(&self) -> Vec<String> {
        self.plan().into_iter().map(|seat| seat.guid).collect()
    }

    #[track_caller]
    pub(crate) fn availability(&self) -> Value {
        let call = self
            .api
            .call("GET", &self.path("/availability"))
            .header("Accept", "application/json");
        self.api.send(&call).expect(200)
    }

    /// Waits until the picture, which may be a second old, shows this seat so.
    #[track_caller]
    pub(crate) fn until_seat_is(&self, guid: &str, state: &str) {
        until(&format!("{guid} is {state}"), within_s(1), || {
            (self.availability()["seats"][guid] == state).then_some(())
        });
    }
}

/// What a fan does in a show.
impl Who {
    #[track_caller]
    pub(crate) fn try_join(&self, show: &Show) -> Answer {
        self.post(&show.path("/waiting-room"), &json!({}))
    }

    /// Joins for the first time.
    #[track_caller]
    pub(crate) fn join(&self, show: &Show) -> Value {
        self.try_join(show).expect(201)
    }

    #[track_caller]
    pub(crate) fn place(&self, show: &Show) -> Value {
        self.get(&show.path("/waiting-room/place")).expect(200)
    }

    /// Waits until the place is in this state and hands the place back.
    #[track_caller]
    pub(crate) fn until_place_is(&self, show: &Show, state: &str, within: Duration) -> Value {
        until(&format!("the place is {state}"), within, || {
            let place = self.place(show);
            (place["state"] == state).then_some(place)
        })
    }

    #[track_caller]
    pub(crate) fn try_enter(&self, show: &Show) -> Answer {
        self.post(&show.path("/passes"), &json!({}))
    }

    /// Joins, waits to be called and takes the pass.
    #[track_caller]
    pub(crate) fn enter(&self, show: &Show) -> String {
        self.try_join(show).expect_any(&[200, 201]);
        self.until_place_is(show, "called", within_s(3));
        text(&self.try_enter(show).expect(201)["pass"])
    }

    /// Asks for a hold with a new id; `wish` is the body without the id.
    #[track_caller]
    pub(crate) fn try_hold(&self, show: &Show, pass: Option<&str>, wish: &Value) -> Answer {
        self.try_hold_as(show, &new_id(), pass, wish)
    }

    /// The same with an id of your own.
    #[track_caller]
    pub(crate) fn try_hold_as(
        &self,
        show: &Show,
        hold_id: &str,
        pass: Option<&str>,
        wish: &Value,
    ) -> Answer {
        let mut body = wish.clone();
        body["hold_id"] = json!(hold_id);
        let mut call = self.call("POST", &show.path("/holds")).json(&body);
        if let Some(pass) = pass {
            call = call.pass(pass);
        }
        self.send(&call)
    }

    /// Holds these seats where no pass is needed; hands the hold back.
    #[track_caller]
    pub(crate) fn hold(&self, show: &Show, guids: &[&str]) -> Value {
        self.try_hold(show, None, &json!({"seats": guids}))
            .expect(201)
    }

    /// Asks for a booking and does not wait for its end.
    #[track_caller]
    pub(crate) fn try_book(&self, booking_id: &str, hold_id: &Value, outcome: &str) -> Answer {
        self.post("/bookings", &booking_body(booking_id, hold_id, outcome))
    }

    /// Asks for a booking and waits for its end, as `Prefer: wait=5` does.
    #[track_caller]
    pub(crate) fn book_and_wait(&self, booking_id: &str, hold_id: &Value, outcome: &str) -> Answer {
        let body = booking_body(booking_id, hold_id, outcome);
        self.send(
            &self
                .call("POST", "/bookings")
                .header("Prefer", "wait=5")
                .json(&body),
        )
    }

    /// Books this hold and hands the confirmed booking back.
    #[track_caller]
    pub(crate) fn book(&self, hold: &Value) -> Value {
        let booking = self
            .book_and_wait(&new_id(), &hold["hold_id"], "ok")
            .expect(201);
        assert_eq!(booking["state"], "confirmed", "{booking}");
        booking
    }

    #[track_caller]
    pub(crate) fn booking(&self, booking_id: &str) -> Value {
        self.get(&format!("/bookings/{booking_id}")).expect(200)
    }

    /// Waits until the booking is in this state and hands it back.
    #[track_caller]
    pub(crate) fn until_booking_is(
        &self,
        booking_id: &str,
        state: &str,
        within: Duration,
    ) -> Value {
        until(&format!("the booking is {state}"), within, || {
            let booking = self.booking(booking_id);
            (booking["state"] == state).then_some(booking)
        })
    }

    #[track_caller]
    pub(crate) fn cancel(&self, booking_id: &str) -> Answer {
        self.post(&format!("/bookings/{booking_id}/cancellation"), &json!({}))
    }
}

/// The body of `POST /bookings`.
pub(crate) fn booking_body(booking_id: &str, hold_id: &Value, outcome: &str) -> Value {
    json!({
        "booking_id": booking_id, "hold_id": hold_id, "payment": {"method": "sandbox", "outcome": outcome},
    })
}

/// Money as the contract writes it.
pub(crate) fn krw(amount_minor: i64) -> Value {
    json!({"amount_minor": amount_minor, "currency": "KRW"})
}
