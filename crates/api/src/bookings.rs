//! Bookings and tickets over HTTP.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use boxoffice_adapters::performance::Performance;
use boxoffice_core::booking::{BookCommand, Booking, BookingState, Why};
use boxoffice_core::payment::{Method, Outcome, PaymentState};
use boxoffice_core::ticket::Ticket;
use boxoffice_core::{BookingId, HoldId, Money, TicketId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::Fan;
use crate::extract::{Id, Json, Part};
use crate::holds::{SeatBody, first_half, seat_body};
use crate::problem::Problem;
use crate::waiting_room::Nothing;
use crate::wire::{MoneyBody, Page, Time, object};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(read))
        .routes(routes!(cancel))
        .routes(routes!(read_ticket))
        .routes(routes!(ticket_qr))
}

/// Longest that a client may wait for the end of a booking, seconds.
const WAIT_S_MAX: u64 = 30;

/// Turn a hold into tickets.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBooking {
    /// Made by the client: a UUID.
    #[schema(format = Uuid)]
    booking_id: String,
    /// The own live hold.
    #[schema(format = Uuid)]
    hold_id: String,
    #[serde(deserialize_with = "object")]
    payment: NewPayment,
}

/// How it is paid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPayment {
    /// `sandbox` is the one provider here.
    method: String,
    /// What the sandbox does: `ok` (when not given), `declined`, `timeout_then_ok`, `never`.
    outcome: Option<String>,
}

/// A booking.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BookingBody {
    booking_id: String,
    hold_id: String,
    performance_id: String,
    #[schema(value_type = String, pattern = "pending|confirmed|refused|cancelled")]
    state: &'static str,
    /// Why it was refused: `payment-declined`, `payment-failed`, `hold-expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    total: MoneyBody,
    payment: PaymentBody,
    /// One per seat once confirmed.
    tickets: Vec<TicketLine>,
    accepted_at: Time,
}

/// The money of a booking.
#[derive(Debug, Serialize, ToSchema)]
struct PaymentBody {
    #[schema(value_type = String, pattern = "pending|authorised|captured|refunded|failed")]
    state: &'static str,
    captured: MoneyBody,
    refunded: MoneyBody,
}

/// A ticket within its booking.
#[derive(Debug, Serialize, ToSchema)]
struct TicketLine {
    ticket_id: String,
    #[serde(flatten)]
    seat: SeatBody,
    #[schema(value_type = String, pattern = "valid|cancelled")]
    state: &'static str,
}

/// A booking's state in words, and its code when it was refused.
pub(crate) fn state_words(state: &BookingState) -> (&'static str, Option<&'static str>) {
    match state {
        BookingState::Pending => ("pending", None),
        BookingState::Confirmed => ("confirmed", None),
        BookingState::Cancelled => ("cancelled", None),
        BookingState::Refused(why) => ("refused", Some(why_code(*why))),
    }
}

fn why_code(why: Why) -> &'static str {
    match why {
        Why::PaymentDeclined => "payment-declined",
        Why::PaymentFailed => "payment-failed",
        Why::HoldExpired => "hold-expired",
    }
}

/// A payment's state in words.
pub(crate) fn payment_words(payment: PaymentState) -> &'static str {
    match payment {
        PaymentState::Pending => "pending",
        PaymentState::Authorised => "authorised",
        PaymentState::Captured => "captured",
        PaymentState::Refunded => "refunded",
        PaymentState::Failed => "failed",
    }
}

fn ticket_state(state: &BookingState) -> &'static str {
    match state {
        BookingState::Confirmed => "valid",
        BookingState::Pending | BookingState::Refused(_) | BookingState::Cancelled => "cancelled",
    }
}

fn body(app: &App, booking: &Booking) -> Result<BookingBody, Problem> {
    let performance = app.performance(booking.performance_id)?;
    let money = |amount_minor| {
        Money {
            amount_minor,
            currency: performance.currency,
        }
        .into()
    };
    let (state, code) = state_words(&booking.state);
    let tickets = booking
        .tickets
        .iter()
        .zip(&booking.seats)
        .map(|(id, seat)| TicketLine {
            ticket_id: id.to_string(),
            seat: seat_body(&performance, *seat),
            state: ticket_state(&booking.state),
        });
    Ok(BookingBody {
        booking_id: booking.booking_id.to_string(),
        hold_id: booking.hold_id.to_string(),
        performance_id: booking.performance_id.to_string(),
        state,
        code,
        total: money(booking.total_minor),
        payment: PaymentBody {
            state: payment_words(booking.payment),
            captured: money(booking.captured_minor),
            refunded: money(booking.refunded_minor),
        },
        tickets: tickets.collect(),
        accepted_at: Time(booking.accepted_at),
    })
}

/// Asks for a hold to become tickets.
///
/// The client makes `booking_id`: a repeat gets the same booking. With `Prefer: wait=N` (at most 30 s) the answer comes as soon as
/// the booking is final.
#[utoipa::path(post, operation_id = "create_booking", path = "/api/v1/bookings", tag = "holds and bookings", request_body = NewBooking, security(("bearer" = [])),
    params(("Prefer" = Option<String>, Header, description = "`wait=5`: answer as soon as it is final, within 5 s")),
    responses((status = 202, body = BookingBody, description = "Accepted, not final; see `Location`"), (status = 201, body = BookingBody, description = "Confirmed"),
        (status = 200, body = BookingBody, description = "Refused, or cancelled since"), (status = 400, description = "`bad-request`"),
        (status = 401, description = "`login-required`"), (status = 404, description = "`not-found`: somebody else's hold too"),
        (status = 409, description = "`hold-taken`"), (status = 410, description = "`hold-expired`"), (status = 422, description = "`id-reused`"),
        (status = 503, description = "`busy`, with `Retry-After`")))]
async fn create(
    State(app): State<App>,
    fan: Fan,
    headers: HeaderMap,
    Json(new): Json<NewBooking>,
) -> Result<Response, Problem> {
    let booking_id: BookingId = new
        .booking_id
        .parse()
        .map_err(|_| Problem::bad_request("booking_id: not a UUID; make one for each booking."))?;
    let hold_id: HoldId = new
        .hold_id
        .parse()
        .map_err(|_| Problem::bad_request("hold_id: not a UUID."))?;
    let method = method(&new.payment)?;
    let content = Sha256::new_with_prefix(hold_id.0)
        .chain_update(format!("{method:?}"))
        .finalize();
    let command = BookCommand {
        booking_id,
        hold_id,
        account_id: fan.account,
        method,
        content: first_half(&content.into()),
    };
    let wait = wait_s(&headers);
    // Asked before it is accepted, so that no end is missed.
    let waiter = wait.map(|_| app.live.wait_for(booking_id));
    let (booking, _) = app.store.accept(command).await??;
    if let (BookingState::Pending, Some(wait), Some(waiter)) = (&booking.state, wait, waiter)
        && let Ok(Ok(ended)) = tokio::time::timeout(wait, waiter).await
    {
        return answer(&app, &ended);
    }
    answer(&app, &booking)
}

fn answer(app: &App, booking: &Booking) -> Result<Response, Problem> {
    let status = match booking.state {
        BookingState::Pending => StatusCode::ACCEPTED,
        BookingState::Confirmed => StatusCode::CREATED,
        BookingState::Refused(_) | BookingState::Cancelled => StatusCode::OK,
    };
    let location = HeaderValue::try_from(format!("/api/v1/bookings/{}", booking.booking_id))
        .map_err(|why| Problem::internal(why.to_string()))?;
    Ok((
        status,
        [(header::LOCATION, location)],
        axum::Json(body(app, booking)?),
    )
        .into_response())
}

fn method(new: &NewPayment) -> Result<Method, Problem> {
    if new.method != "sandbox" {
        return Err(Problem::bad_request(format!(
            "payment.method: {:?} is not offered here; use \"sandbox\".",
            new.method
        )));
    }
    let outcome = match new.outcome.as_deref() {
        None | Some("ok") => Outcome::Ok,
        Some("declined") => Outcome::Declined,
        Some("timeout_then_ok") => Outcome::TimeoutThenOk,
        Some("never") => Outcome::Never,
        Some(other) => {
            let detail = format!(
                "payment.outcome: {other:?} is none of ok, declined, timeout_then_ok, never."
            );
            return Err(Problem::bad_request(detail));
        }
    };
    Ok(Method::Sandbox(outcome))
}

/// `Prefer: wait=N` in seconds; what is no such preference is ignored, as RFC 7240 says. Names are of either case, a value
/// may be quoted, and the first of two counts.
fn wait_s(headers: &HeaderMap) -> Option<Duration> {
    let prefers = headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut parts = prefers.flat_map(|value| value.split([',', ';']));
    let seconds: u64 = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("wait")
            .then(|| value.trim().trim_matches('"').parse().ok())?
    })?;
    (seconds > 0).then(|| Duration::from_secs(seconds.min(WAIT_S_MAX)))
}

/// The fan's bookings, by their ids from the greatest: with ids of version 7, latest first.
#[utoipa::path(get, operation_id = "my_bookings", path = "/api/v1/bookings", tag = "holds and bookings", security(("bearer" = [])),
    params(("limit" = Option<u32>, Query, description = "1 to 200, 50 when not given"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<BookingBody>), (status = 400, description = "`bad-request`"), (status = 401, description = "`login-required`")))]
async fn list(
    State(app): State<App>,
    fan: Fan,
    part: Part,
) -> Result<axum::Json<Page<BookingBody>>, Problem> {
    let before = match &part.cursor {
        Some(cursor) => Some(cursor.parse().map_err(|_| {
            Problem::bad_request("cursor: use the `next_cursor` of the part before.")
        })?),
        None => None,
    };
    let mut found = app
        .store
        .bookings_of(fan.account, before, part.limit + 1)
        .await?;
    let more = found.len() > part.limit;
    found.truncate(part.limit);
    let next_cursor = found
        .last()
        .filter(|_| more)
        .map(|booking| booking.booking_id.to_string());
    let items = found
        .iter()
        .map(|booking| body(&app, booking))
        .collect::<Result<_, _>>()?;
    Ok(axum::Json(Page { items, next_cursor }))
}

async fn own(app: &App, fan: &Fan, id: BookingId) -> Result<Booking, Problem> {
    let found = app.store.find_booking(id).await?;
    found
        .filter(|booking| booking.account_id == fan.account)
        .ok_or_else(Problem::not_found)
}

/// A booking, as it stands.
#[utoipa::path(get, operation_id = "booking", path = "/api/v1/bookings/{booking_id}", tag = "holds and bookings", params(("booking_id" = String, Path, format = Uuid)), security(("bearer" = [])),
    responses((status = 200, body = BookingBody), (status = 401, description = "`login-required`"), (status = 404, description = "`not-found`: somebody else's too")))]
async fn read(
    State(app): State<App>,
    fan: Fan,
    Id(id): Id<BookingId>,
) -> Result<axum::Json<BookingBody>, Problem> {
    let booking = own(&app, &fan, id).await?;
    body(&app, &booking).map(axum::Json)
}

/// Gives a confirmed booking back: seats free again, money returned once. A repeat gets the same answer.
#[utoipa::path(post, operation_id = "cancel_booking", path = "/api/v1/bookings/{booking_id}/cancellation", tag = "holds and bookings", request_body = Nothing,
    params(("booking_id" = String, Path, format = Uuid)), security(("bearer" = [])),
    responses((status = 202, body = BookingBody), (status = 401, description = "`login-required`"), (status = 404, description = "`not-found`: somebody else's too"),
        (status = 409, description = "`not-confirmed`"), (status = 503, description = "`busy`, with `Retry-After`")))]
async fn cancel(
    State(app): State<App>,
    fan: Fan,
    Id(id): Id<BookingId>,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Response, Problem> {
    let booking = app.store.cancel(fan.account, id).await??;
    Ok((StatusCode::ACCEPTED, axum::Json(body(&app, &booking)?)).into_response())
}

/// A ticket.
#[derive(Debug, Serialize, ToSchema)]
struct TicketBody {
    ticket_id: String,
    booking_id: String,
    performance_id: String,
    title: String,
    starts_at: Time,
    venue: String,
    #[serde(flatten)]
    seat: SeatBody,
    #[schema(value_type = String, pattern = "valid|cancelled")]
    state: &'static str,
    /// What the QR shows; whoever has it gets in.
    code: String,
}

async fn own_ticket(app: &App, fan: &Fan, id: TicketId) -> Result<(Ticket, Booking), Problem> {
    let found = app.store.find_ticket(id).await?;
    found
        .filter(|(_, booking)| booking.account_id == fan.account)
        .ok_or_else(Problem::not_found)
}

/// The fan's own ticket.
#[utoipa::path(get, operation_id = "ticket", path = "/api/v1/tickets/{ticket_id}", tag = "tickets", params(("ticket_id" = String, Path, format = Uuid)), security(("bearer" = [])),
    responses((status = 200, body = TicketBody), (status = 401, description = "`login-required`"), (status = 404, description = "`not-found`: somebody else's too")))]
async fn read_ticket(
    State(app): State<App>,
    fan: Fan,
    Id(id): Id<TicketId>,
) -> Result<axum::Json<TicketBody>, Problem> {
    let (ticket, booking) = own_ticket(&app, &fan, id).await?;
    let performance = app.performance(ticket.performance_id)?;
    Ok(axum::Json(ticket_body(&performance, &ticket, &booking)))
}

fn ticket_body(performance: &Performance, ticket: &Ticket, booking: &Booking) -> TicketBody {
    TicketBody {
        ticket_id: ticket.ticket_id.to_string(),
        booking_id: ticket.booking_id.to_string(),
        performance_id: ticket.performance_id.to_string(),
        title: performance.event.title.clone(),
        starts_at: Time(performance.starts_at),
        venue: performance.venue.name.clone(),
        seat: seat_body(performance, ticket.seat),
        state: ticket_state(&booking.state),
        code: ticket.code.to_string(),
    }
}

/// The ticket's code as a QR, SVG.
#[utoipa::path(get, operation_id = "ticket_qr", path = "/api/v1/tickets/{ticket_id}/qr.svg", tag = "tickets", params(("ticket_id" = String, Path, format = Uuid)), security(("bearer" = [])),
    responses((status = 200, content_type = "image/svg+xml", body = String), (status = 401, description = "`login-required`"),
        (status = 404, description = "`not-found`: somebody else's too")))]
async fn ticket_qr(
    State(app): State<App>,
    fan: Fan,
    Id(id): Id<TicketId>,
) -> Result<Response, Problem> {
    let (ticket, _) = own_ticket(&app, &fan, id).await?;
    let qr = fast_qr::QRBuilder::new(ticket.code.to_string())
        .build()
        .map_err(|why| Problem::internal(format!("failed to draw a QR: {why:?}")))?;
    let svg = fast_qr::convert::svg::SvgBuilder::default().to_str(&qr);
    Ok((
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("image/svg+xml"),
        )],
        svg,
    )
        .into_response())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wait(values: &[&[u8]]) -> Option<u64> {
        let headers = values.iter().map(|value| {
            let name = header::HeaderName::from_static("prefer");
            (name, HeaderValue::from_bytes(value).unwrap())
        });
        wait_s(&headers.collect()).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wish_to_wait_is_found_among_others() {
        for (values, seconds) in [
            ([""].as_slice(), None),
            (&["wait=5"], Some(5)),
            (&["Wait = \"5\""], Some(5)),
            (&["respond-async, wait=5"], Some(5)),
            (&["return=minimal; foo", "wait=7"], Some(7)),
            (&["wait=31"], Some(30)),
            (&["wait=18446744073709551615"], Some(30)),
            (&["wait=0"], None),
            (&["wait=-1"], None),
            (&["wait=1.5"], None),
            (&["wait"], None),
            (&["await=5"], None),
        ] {
            let bytes: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(wait(&bytes), seconds, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_the_longest(value in "(wait|Wait|x)?[ =\";,]{0,3}[-+0-9]{0,25}[\";, ]{0,2}|[\x20-\x7e\u{80}-\u{ff}]{0,40}") {
            prop_assert!(wait(&[value.as_bytes()]).is_none_or(|wait| (1..=WAIT_S_MAX).contains(&wait)));
        }
    }
}
