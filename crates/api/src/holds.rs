//! Holds over HTTP.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use boxoffice_adapters::performance::Performance;
use boxoffice_adapters::store::Ask;
use boxoffice_core::hold::{Hold, HoldCommand, HoldStage};
use boxoffice_core::pass::Kind;
use boxoffice_core::seating::{SeatNo, Spot, Wanted};
use boxoffice_core::{AccountId, HoldId, Money, PerformanceId, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::Fan;
use crate::extract::{Id, Json};
use crate::problem::Problem;
use crate::wire::{MoneyBody, Time, object_or_null};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(read, release))
}

/// Most seats that a request may name: far more than any limit on a fan, little enough to read.
const SEATS_NAMED_MAX: usize = 1_000;

/// Which seats: `seats`, or `best`, or `area` with `quantity`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewHold {
    /// Made by the client: a UUID.
    #[schema(format = Uuid)]
    hold_id: String,
    /// Seats by their guid in the plan.
    seats: Option<Vec<String>>,
    /// The best that are free.
    #[serde(default, deserialize_with = "object_or_null")]
    best: Option<Best>,
    /// A standing area by its name; with `quantity`.
    area: Option<String>,
    /// How many spots of the area, from 1.
    quantity: Option<i64>,
}

/// The best seats that are free: adjacent if possible, nearest the front and the centre.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Best {
    /// In this section only.
    section: Option<String>,
    /// Of this price level only.
    price_level_id: Option<String>,
    /// How many, from 1.
    quantity: i64,
    /// Adjacent seats if possible; true when not given.
    together: Option<bool>,
}

/// A held seat, or a spot of a standing area.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeatBody {
    /// The seat's guid in the plan; a spot has `area` instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    seat_guid: Option<String>,
    /// The standing area.
    #[serde(skip_serializing_if = "Option::is_none")]
    area: Option<String>,
    section: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seat: Option<String>,
    price: MoneyBody,
}

/// The seat in the plan's words.
pub(crate) fn seat_body(performance: &Performance, seat: SeatNo) -> SeatBody {
    let plan = performance.plan();
    let section =
        |number: boxoffice_core::seating::SectionNo| plan.sections()[usize::from(number.0)].clone();
    let price = Money {
        amount_minor: performance.price_level(seat).amount_minor,
        currency: performance.currency,
    }
    .into();
    match plan.spot(seat) {
        Spot::Seat {
            guid,
            section: number,
            row,
            number: seat,
            ..
        } => SeatBody {
            seat_guid: Some(guid.to_owned()),
            area: None,
            section: section(number),
            row: Some(row.to_owned()),
            seat: Some(seat.to_owned()),
            price,
        },
        Spot::Area {
            area,
            section: number,
        } => SeatBody {
            seat_guid: None,
            area: Some(area.to_owned()),
            section: section(number),
            row: None,
            seat: None,
            price,
        },
    }
}

/// A hold.
#[derive(Debug, Serialize, ToSchema)]
struct HoldBody {
    hold_id: String,
    performance_id: String,
    #[schema(value_type = String, pattern = "active|confirmed|released|expired")]
    state: &'static str,
    seats: Vec<SeatBody>,
    total: MoneyBody,
    /// From when the seats are free again, unless they are being paid or sold.
    expires_at: Time,
}

fn body(app: &App, hold: &Hold) -> Result<HoldBody, Problem> {
    let performance = app.performance(hold.performance_id)?;
    let state = match hold.stage(app.now()) {
        HoldStage::Active => "active",
        HoldStage::Confirmed => "confirmed",
        HoldStage::Released => "released",
        HoldStage::Expired => "expired",
    };
    Ok(HoldBody {
        hold_id: hold.hold_id.to_string(),
        performance_id: hold.performance_id.to_string(),
        state,
        seats: hold
            .seats
            .iter()
            .map(|seat| seat_body(&performance, *seat))
            .collect(),
        total: Money {
            amount_minor: hold.total_minor,
            currency: performance.currency,
        }
        .into(),
        expires_at: Time(hold.expires_at),
    })
}

/// Takes seats for a while: all or none.
///
/// Needs the pass while the waiting room is on. The client makes `hold_id`: a repeat gets the same hold.
#[utoipa::path(post, operation_id = "create_hold", path = "/api/v1/performances/{performance_id}/holds", tag = "holds and bookings", request_body = NewHold,
    params(("performance_id" = String, Path, format = Uuid), ("Boxoffice-Pass" = Option<String>, Header, description = "The pass, while the waiting room is on")),
    security(("bearer" = [])),
    responses((status = 201, body = HoldBody), (status = 400, description = "`bad-request`, `unknown-seat`"), (status = 401, description = "`login-required`"),
        (status = 403, description = "`pass-required`, `pass-expired`, `pass-used`"), (status = 404, description = "`not-found`"),
        (status = 409, description = "`seat-taken` with `seats`, `sold-out`, `not-open-yet`, `held-too-long` with `again_at`"), (status = 410, description = "`sale-closed`"),
        (status = 413, description = "`too-large`"), (status = 422, description = "`too-many-seats`, `id-reused`"),
        (status = 503, description = "`busy`, with `Retry-After`")))]
async fn create(
    State(app): State<App>,
    fan: Fan,
    Id(id): Id<PerformanceId>,
    Entry(entry): Entry,
    Json(new): Json<NewHold>,
) -> Result<Response, Problem> {
    let performance = app.performance(id)?;
    let hold_id: HoldId = new
        .hold_id
        .parse()
        .map_err(|_| Problem::bad_request("hold_id: not a UUID; make one for each hold."))?;
    let ask = ask(&performance, &new)?;
    let content = fingerprint(id, &ask);
    let command = HoldCommand {
        hold_id,
        account_id: fan.account,
        performance_id: id,
        quantity: ask.quantity(),
        entry,
        content,
    };
    match app
        .store
        .hold(Arc::clone(&performance), command, ask)
        .await?
    {
        Ok((hold, _)) => Ok((StatusCode::CREATED, axum::Json(body(&app, &hold)?)).into_response()),
        Err(Refusal::SeatTaken(seats)) => {
            let names: Vec<_> = seats
                .iter()
                .filter_map(|seat| seat_body(&performance, *seat).seat_guid)
                .collect();
            Err(Problem::from(Refusal::SeatTaken(seats)).with("seats", json!(names)))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Whether this request may hold seats here: checked before the body is read, so that a crowd without passes costs nothing.
struct Entry(Result<Option<u32>, Refusal>);

impl axum::extract::FromRequestParts<App> for Entry {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        app: &App,
    ) -> Result<Self, Problem> {
        let fan = Fan::from_request_parts(parts, app).await?;
        let Id(id) = Id::<PerformanceId>::from_request_parts(parts, app).await?;
        let performance = app.performance(id)?;
        let may = performance.rules().sale.may_hold(app.now());
        if let Err(refusal @ Refusal::NotOpenYet { .. }) = may {
            return Err(refusal.into());
        }
        match (pass(app, &performance, fan.account, &parts.headers), may) {
            // Whoever had a pass may be repeating a hold that stands; everyone else is sent away here.
            (Ok(place), Ok(())) => Ok(Self(Ok(place))),
            (Ok(_) | Err(Refusal::PassExpired), Err(closed)) => Ok(Self(Err(closed))),
            (Err(Refusal::PassExpired), Ok(())) => Ok(Self(Err(Refusal::PassExpired))),
            (Err(_), Err(closed)) => Err(closed.into()),
            (Err(refusal), Ok(())) => Err(refusal.into()),
        }
    }
}

/// The number of the pass, or none when no pass is needed.
fn pass(
    app: &App,
    performance: &Performance,
    account: AccountId,
    headers: &HeaderMap,
) -> Result<Option<u32>, Refusal> {
    if performance.rules().admission.is_none() {
        return Ok(None);
    }
    // The one pass: with two it is not clear which one counts.
    let mut passes = headers.get_all("boxoffice-pass").iter();
    let text = passes
        .next()
        .and_then(|value| value.to_str().ok())
        .filter(|_| passes.next().is_none())
        .ok_or(Refusal::PassRequired)?;
    let claims = app
        .signer
        .verify(Kind::Pass, text)
        .ok_or(Refusal::PassRequired)?;
    let ours = (claims.performance_id, claims.epoch, claims.account_id)
        == (performance.performance_id, performance.epoch, account);
    match ours {
        true if app.now() < claims.expires_at => Ok(Some(claims.number)),
        true => Err(Refusal::PassExpired),
        false => Err(Refusal::PassRequired),
    }
}

fn ask(performance: &Performance, new: &NewHold) -> Result<Ask, Problem> {
    match (&new.seats, &new.best, &new.area) {
        (Some(seats), None, None) if new.quantity.is_none() => named(performance, seats),
        (None, Some(best), None) if new.quantity.is_none() => best_ask(performance, best),
        (None, None, Some(area)) => {
            let quantity = new.quantity.ok_or_else(|| {
                Problem::bad_request("quantity: missing; say how many spots of the area.")
            })?;
            let index = performance
                .plan()
                .areas()
                .iter()
                .position(|known| known.name == *area);
            let index = index
                .ok_or_else(|| unknown_seat(format!("area: this plan has no area {area:?}.")))?;
            Ok(Ask::Area(index, at_least_one("quantity", quantity)?))
        }
        _ => Err(Problem::bad_request(
            "Say which seats in exactly one way: `seats`, or `best`, or `area` with `quantity`.",
        )),
    }
}

fn unknown_seat(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "unknown-seat", detail)
}

fn named(performance: &Performance, guids: &[String]) -> Result<Ask, Problem> {
    if guids.is_empty() || guids.len() > SEATS_NAMED_MAX {
        return Err(Problem::bad_request(format!(
            "seats: name 1 to {SEATS_NAMED_MAX} seats."
        )));
    }
    let mut seats = BTreeSet::new();
    for (index, guid) in guids.iter().enumerate() {
        let seat = performance.plan().seat_by_guid(guid);
        let seat = seat.ok_or_else(|| {
            unknown_seat(format!("seats[{index}]: this plan has no seat {guid:?}."))
        })?;
        if !seats.insert(seat) {
            return Err(Problem::bad_request(format!(
                "seats[{index}]: {guid:?} is named twice."
            )));
        }
    }
    Ok(Ask::Seats(seats.into_iter().collect()))
}

fn best_ask(performance: &Performance, best: &Best) -> Result<Ask, Problem> {
    let section = match &best.section {
        Some(name) => {
            let known = performance.plan().section_no(name);
            Some(known.ok_or_else(|| {
                Problem::bad_request(format!("best.section: there is no section {name:?}."))
            })?)
        }
        None => None,
    };
    let price_level = match &best.price_level_id {
        Some(id) => {
            let known = performance
                .price_levels
                .iter()
                .position(|level| level.price_level_id.to_string() == *id);
            let known = known.and_then(|index| u16::try_from(index).ok());
            Some(known.ok_or_else(|| {
                Problem::bad_request(format!(
                    "best.price_level_id: there is no price level {id:?}."
                ))
            })?)
        }
        None => None,
    };
    let quantity = at_least_one("best.quantity", best.quantity)?;
    Ok(Ask::Best(Wanted {
        quantity,
        section,
        price_level,
        together: best.together.unwrap_or(true),
    }))
}

fn at_least_one(field: &str, quantity: i64) -> Result<u32, Problem> {
    match u32::try_from(quantity) {
        Ok(quantity) if quantity >= 1 => Ok(quantity),
        Ok(_) | Err(_) => Err(Problem::bad_request(format!(
            "{field}: must be a whole number from 1."
        ))),
    }
}

/// What makes two requests the same: what they ask for, not how they are written.
fn fingerprint(performance: PerformanceId, ask: &Ask) -> [u8; 16] {
    let mut hash = Sha256::new_with_prefix(performance.0);
    match ask {
        Ask::Seats(seats) => {
            hash.update(b"seats");
            for seat in seats {
                hash.update(seat.0.to_le_bytes());
            }
        }
        Ask::Best(wanted) => hash.update(format!("{wanted:?}")),
        Ask::Area(index, quantity) => hash.update(format!("area {index} {quantity}")),
    }
    first_half(&hash.finalize().into())
}

/// The first 16 bytes of a hash: plenty to tell two requests apart.
pub(crate) fn first_half(hash: &[u8; 32]) -> [u8; 16] {
    *hash.first_chunk().expect("32 bytes have 16")
}

/// A hold, as it stands: afterwards too.
#[utoipa::path(get, operation_id = "hold", path = "/api/v1/holds/{hold_id}", tag = "holds and bookings", params(("hold_id" = String, Path, format = Uuid)), security(("bearer" = [])),
    responses((status = 200, body = HoldBody), (status = 401, description = "`login-required`"), (status = 404, description = "`not-found`: somebody else's too")))]
async fn read(
    State(app): State<App>,
    fan: Fan,
    Id(id): Id<HoldId>,
) -> Result<axum::Json<HoldBody>, Problem> {
    let hold = app
        .store
        .find_hold(fan.account, id)
        .await?
        .ok_or_else(Problem::not_found)?;
    body(&app, &hold).map(axum::Json)
}

/// Gives a hold back: its seats are free at once. A repeat is the same.
#[utoipa::path(delete, operation_id = "release_hold", path = "/api/v1/holds/{hold_id}", tag = "holds and bookings", params(("hold_id" = String, Path, format = Uuid)), security(("bearer" = [])),
    responses((status = 204, description = "Released"), (status = 401, description = "`login-required`"), (status = 404, description = "`not-found`: somebody else's too"),
        (status = 409, description = "`hold-in-payment`, `hold-taken`: sold already"), (status = 503, description = "`busy`, with `Retry-After`")))]
async fn release(
    State(app): State<App>,
    fan: Fan,
    Id(id): Id<HoldId>,
) -> Result<StatusCode, Problem> {
    app.store.release(fan.account, id).await??;
    Ok(StatusCode::NO_CONTENT)
}
