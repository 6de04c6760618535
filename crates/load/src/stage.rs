//! What the operator makes for a run, through the public API: venue, event, performances; and what the operator sees.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Client, Ended, Session};
use crate::http::Request;
use crate::report::say;
use crate::stats::Step;
use crate::wire::{PerformanceAnswer, PlanAnswer, RoomAnswer, StatsAnswer, VenueAnswer};

/// Price of every seat, minor units.
const PRICE_MINOR: i64 = 132_000;
/// Seats per row and rows per section of a made hall.
const SEATS_PER_ROW: u64 = 40;
const ROWS_PER_SECTION: u64 = 50;
/// The standing area of a made festival.
const AREA: &str = "Floor";

/// What a run needs.
#[derive(Clone, Debug)]
pub(crate) struct StagePlan {
    /// Seats per performance, at least.
    pub(crate) seats: u64,
    /// Performances.
    pub(crate) performances: usize,
    /// A standing area in place of seats.
    pub(crate) is_area: bool,
    /// Read the seats' names from the plan.
    pub(crate) is_named: bool,
    /// Seats that one fan may hold.
    pub(crate) seats_max: u32,
    /// Fans called in a second.
    pub(crate) per_s: f64,
    /// Fans called and inside at once.
    pub(crate) active_max: u64,
}

impl StagePlan {
    /// A plan for runs that look at the line and sell nothing.
    pub(crate) fn line(performances: usize, per_s: f64, active_max: u64) -> Self {
        let (seats, seats_max) = (2_000, 8);
        Self {
            seats,
            performances,
            is_area: false,
            is_named: false,
            seats_max,
            per_s,
            active_max,
        }
    }
}

/// One performance on sale.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// Its id.
    pub(crate) performance_id: String,
    /// Its seats, as the public page says.
    pub(crate) seats_total: u64,
    /// The sections of the venue.
    pub(crate) sections: Arc<Vec<String>>,
    /// The seats by name, when they are asked for by name.
    pub(crate) seats: Arc<Vec<String>>,
    /// The standing area, if that is what is sold.
    pub(crate) area: Option<&'static str>,
    /// `…/waiting-room`
    pub(crate) room_path: String,
    /// `…/waiting-room/place`
    pub(crate) place_path: String,
    /// `…/passes`
    pub(crate) passes_path: String,
    /// `…/holds`
    pub(crate) holds_path: String,
}

#[derive(Deserialize)]
struct EventAnswer {
    event_id: String,
}

#[derive(Deserialize)]
struct NewPerformanceAnswer {
    performance_id: String,
}

/// Makes a venue, an event and its performances; their sale is open.
///
/// # Errors
/// The server refuses or cannot be reached.
pub(crate) async fn build(
    client: &Client,
    operator: &Session,
    plan: &StagePlan,
) -> Result<Vec<Stage>, Ended> {
    let venue: VenueAnswer =
        post(client, operator, "/api/v1/admin/venues", &venue_body(plan)).await?;
    if venue.seats_total < plan.seats {
        return Err(Ended::Stopped(
            "the venue has fewer seats than were asked for",
        ));
    }
    let event: EventAnswer = post(
        client,
        operator,
        "/api/v1/admin/events",
        &json!({ "title": "Load" }),
    )
    .await?;
    let sections = Arc::new(venue.sections);
    let body = json!({
        "event_id": event.event_id,
        "venue_id": venue.venue_id,
        "starts_at": "2099-06-01T19:00:00Z",
        "sale": { "opens_at": "2020-01-01T00:00:00Z", "closes_at": "2099-05-31T00:00:00Z" },
        "price_levels": [{
            "name": "Standard",
            "price": { "amount_minor": PRICE_MINOR, "currency": "KRW" },
            "sections": *sections,
        }],
        "admission": admission_body(plan.per_s, plan.active_max),
        "hold": { "ttl_s": 600, "seats_max": plan.seats_max },
    });
    let mut stages = Vec::with_capacity(plan.performances);
    let mut seats = Arc::new(Vec::new());
    for index in 0..plan.performances {
        let made: NewPerformanceAnswer =
            post(client, operator, "/api/v1/admin/performances", &body).await?;
        let base = format!("/api/v1/performances/{}", made.performance_id);
        if plan.is_named && index == 0 {
            seats = Arc::new(seat_names(client, &base).await?);
        }
        let page: PerformanceAnswer = client
            .ask(Step::Setup, None, &Request::get(&base, &[]))
            .await?;
        stages.push(Stage {
            seats_total: page.seats_total,
            sections: Arc::clone(&sections),
            seats: Arc::clone(&seats),
            area: plan.is_area.then_some(AREA),
            room_path: format!("{base}/waiting-room"),
            place_path: format!("{base}/waiting-room/place"),
            passes_path: format!("{base}/passes"),
            holds_path: format!("{base}/holds"),
            performance_id: made.performance_id,
        });
    }
    Ok(stages)
}

/// The admission of a run. Claims live long: a run measures flows, not absence.
pub(crate) fn admission_body(per_s: f64, active_max: u64) -> Value {
    json!({ "per_s": per_s, "active_max": active_max, "pass_ttl_s": 900, "claim_within_s": 900 })
}

fn venue_body(plan: &StagePlan) -> Value {
    if plan.is_area {
        // A plan must have a zone; its one seat is never asked for.
        let place = json!({ "x": 0, "y": 0 });
        let seat = json!({ "seat_guid": "Box-1", "seat_number": "1", "position": place, "category": "Standard" });
        let row = json!({ "row_number": "1", "position": place, "seats": [seat] });
        let zone = json!({ "name": "Box", "position": place, "rows": [row], "areas": [] });
        return json!({
            "name": "Field",
            "seating_plan": {
                "name": "Field",
                "categories": [{ "name": "Standard", "color": "#336699" }],
                "zones": [zone],
                "size": { "width": 100, "height": 100 },
            },
            "areas": [{ "area": AREA, "section": AREA, "capacity": plan.seats }],
        });
    }
    let (sections, rows) = hall_shape(plan.seats);
    json!({
        "name": "Hall",
        "generate": { "sections": sections, "rows": rows, "seats_per_row": SEATS_PER_ROW },
    })
}

/// Sections and rows per section of a hall with at least `seats` seats.
fn hall_shape(seats: u64) -> (u64, u64) {
    let sections = seats.div_ceil(SEATS_PER_ROW * ROWS_PER_SECTION).max(1);
    (sections, seats.div_ceil(sections * SEATS_PER_ROW).max(1))
}

async fn post<T: serde::de::DeserializeOwned>(
    client: &Client,
    operator: &Session,
    path: &str,
    body: &Value,
) -> Result<T, Ended> {
    let body = body.to_string();
    client
        .ask(
            Step::Setup,
            Some(operator),
            &Request::post(path, &[], body.as_bytes()),
        )
        .await
}

async fn seat_names(client: &Client, base: &str) -> Result<Vec<String>, Ended> {
    let path = format!("{base}/seating-plan");
    let plan: PlanAnswer = client
        .ask(Step::Setup, None, &Request::get(&path, &[]))
        .await?;
    let seats = plan
        .zones
        .into_iter()
        .flat_map(|zone| zone.rows)
        .flat_map(|row| row.seats);
    Ok(seats.map(|seat| seat.seat_guid).collect())
}

/// Changes the admission of a running sale.
///
/// # Errors
/// The server refuses or cannot be reached.
pub(crate) async fn set_admission(
    client: &Client,
    operator: &Session,
    stage: &Stage,
    admission: Value,
) -> Result<(), Ended> {
    let path = format!("/api/v1/admin/performances/{}", stage.performance_id);
    let body = json!({ "admission": admission }).to_string();
    let request = Request {
        method: "PATCH",
        path: &path,
        headers: &[],
        body: Some(body.as_bytes()),
    };
    client
        .call(
            Step::Setup,
            std::time::Instant::now(),
            Some(operator),
            &request,
        )
        .await
        .map(drop)
}

/// Ends the sales of a run, so that the server has no more work with them. A failure is said, not fatal: all that
/// was to be measured has been.
pub(crate) async fn close_all(client: &Client, operator: &Session, stages: &[Stage]) {
    for stage in stages {
        let path = format!(
            "/api/v1/admin/performances/{}/sale/close",
            stage.performance_id
        );
        let request = Request::post(&path, &[], b"{}");
        let due = std::time::Instant::now();
        if let Err(ended) = client
            .call(Step::Setup, due, Some(operator), &request)
            .await
        {
            say(format_args!("failed to close the sale: {ended}"));
        }
    }
}

/// The operator's figures for a performance.
///
/// # Errors
/// The server refuses or cannot be reached.
pub(crate) async fn stats(
    client: &Client,
    operator: &Session,
    performance_id: &str,
    step: Step,
) -> Result<StatsAnswer, Ended> {
    let path = format!("/api/v1/admin/performances/{performance_id}/stats");
    client
        .ask(step, Some(operator), &Request::get(&path, &[]))
        .await
}

/// The public counters of a waiting room.
///
/// # Errors
/// The server refuses or cannot be reached.
pub(crate) async fn room(client: &Client, stage: &Stage, step: Step) -> Result<RoomAnswer, Ended> {
    client
        .ask(step, None, &Request::get(&stage.room_path, &[]))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hall_has_at_least_the_seats_asked_for_and_few_more() {
        for seats in [1, 39, 40, 41, 2_000, 2_001, 50_000, 90_000, 123_457] {
            let (sections, rows) = hall_shape(seats);
            let made = sections * rows * SEATS_PER_ROW;
            assert!(made >= seats, "{seats}: {made}");
            assert!(
                made < seats + (sections + 1) * SEATS_PER_ROW,
                "{seats}: {made}"
            );
        }
    }
}
