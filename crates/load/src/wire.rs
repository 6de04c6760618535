//! The answers of the public API, as far as a client reads them. Unknown fields are skipped: the contract may grow.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An amount; the currency is the performance's.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Money {
    pub(crate) amount_minor: i64,
}

/// `POST /sessions`, `POST /sessions/refresh`.
#[derive(Debug, Deserialize)]
pub(crate) struct SessionAnswer {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    /// Seconds.
    pub(crate) expires_in: u64,
}

/// The states of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PlaceState {
    Lobby,
    Waiting,
    Called,
    Entered,
    Lapsed,
    Left,
}

/// A place in the line.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Place {
    pub(crate) number: u64,
    pub(crate) state: PlaceState,
    #[serde(default)]
    pub(crate) position: u64,
    pub(crate) poll_after_ms: Option<u64>,
}

/// `POST …/passes`.
#[derive(Debug, Deserialize)]
pub(crate) struct PassAnswer<'a> {
    #[serde(borrow)]
    pub(crate) pass: Cow<'a, str>,
}

/// A seat, or a spot in a standing area, in a hold or on a ticket.
#[derive(Debug, Deserialize)]
pub(crate) struct SeatWire<'a> {
    #[serde(borrow)]
    pub(crate) seat_guid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) area: Option<Cow<'a, str>>,
    pub(crate) price: Money,
}

/// `POST …/holds`.
#[derive(Debug, Deserialize)]
pub(crate) struct HoldAnswer<'a> {
    #[serde(borrow)]
    pub(crate) seats: Vec<SeatWire<'a>>,
    pub(crate) total: Money,
}

/// The states of a booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BookingState {
    Pending,
    Confirmed,
    Refused,
    Cancelled,
}

/// The money of a booking.
#[derive(Debug, Deserialize)]
pub(crate) struct PaymentWire {
    pub(crate) captured: Option<Money>,
    pub(crate) refunded: Option<Money>,
}

/// One ticket.
#[derive(Debug, Deserialize)]
pub(crate) struct TicketWire<'a> {
    #[serde(borrow)]
    pub(crate) ticket_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) seat_guid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) area: Option<Cow<'a, str>>,
    pub(crate) price: Money,
    #[serde(borrow)]
    pub(crate) state: Cow<'a, str>,
}

/// `POST /bookings`, `GET /bookings/{booking_id}`, and an item of `GET /bookings`.
#[derive(Debug, Deserialize)]
pub(crate) struct BookingAnswer<'a> {
    pub(crate) booking_id: uuid::Uuid,
    pub(crate) state: BookingState,
    #[serde(borrow)]
    pub(crate) code: Option<Cow<'a, str>>,
    pub(crate) total: Option<Money>,
    pub(crate) payment: Option<PaymentWire>,
    #[serde(borrow, default)]
    pub(crate) tickets: Vec<TicketWire<'a>>,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_cursor: Option<String>,
}

/// `POST /admin/venues`.
#[derive(Debug, Deserialize)]
pub(crate) struct VenueAnswer {
    pub(crate) venue_id: String,
    pub(crate) seats_total: u64,
    pub(crate) sections: Vec<String>,
}

/// `GET …/waiting-room`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct RoomAnswer {
    pub(crate) queue_counter: u64,
    pub(crate) serving_counter: u64,
}

/// `GET /admin/performances/{id}/stats`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct StatsAnswer {
    pub(crate) waiting: u64,
    pub(crate) called: u64,
    pub(crate) active: u64,
    pub(crate) seats_free: u64,
    pub(crate) seats_held: u64,
    pub(crate) seats_sold: u64,
}

/// `GET /performances/{id}`, as far as it is needed.
#[derive(Debug, Deserialize)]
pub(crate) struct PerformanceAnswer {
    pub(crate) seats_total: u64,
}

/// A seating plan in the pretix format, as far as seats are named in it.
#[derive(Debug, Deserialize)]
pub(crate) struct PlanAnswer {
    #[serde(default)]
    pub(crate) zones: Vec<Zone>,
}

/// A zone of the plan.
#[derive(Debug, Deserialize)]
pub(crate) struct Zone {
    #[serde(default)]
    pub(crate) rows: Vec<Row>,
}

/// A row of the plan.
#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    #[serde(default)]
    pub(crate) seats: Vec<PlanSeat>,
}

/// A seat of the plan.
#[derive(Debug, Deserialize)]
pub(crate) struct PlanSeat {
    pub(crate) seat_guid: String,
}

/// The part of a problem that clients act on.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Problem {
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) detail: Option<String>,
}

impl Problem {
    /// Reads a body; one that is no problem has the code `-`.
    pub(crate) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| Self {
            code: "-".to_owned(),
            detail: Some(String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned()),
        })
    }
}

/// The name that tells seats and spots apart: the seat's guid, or the area's name behind `area:`.
pub(crate) fn seat_key(seat_guid: Option<&str>, area: Option<&str>) -> Box<str> {
    match (seat_guid, area) {
        (Some(guid), _) => guid.into(),
        (None, Some(area)) => format!("{AREA_PREFIX}{area}").into(),
        (None, None) => "".into(),
    }
}

/// Stands before the name of an area; many tickets may share such a key.
pub(crate) const AREA_PREFIX: &str = "area:";

/// The part of the OpenAPI document that names the forms of an answer.
#[derive(Debug, Deserialize)]
pub(crate) struct OpenApi {
    /// Path → method → operation.
    pub(crate) paths: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}
