//! Events, performances and seating plans, as anybody may read them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use boxoffice_adapters::performance::{Event, Performance, PriceLevel};
use boxoffice_core::hold::HoldPolicy;
use boxoffice_core::sale::Sale;
use boxoffice_core::{EventId, Money, PerformanceId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::app::App;
use crate::extract::{Id, Part};
use crate::problem::Problem;
use crate::waiting_room::sale_state;
use crate::wire::{MoneyBody, Page, Time};

/// What shared caches may keep for a second.
pub(crate) const FOR_A_SECOND: (header::HeaderName, HeaderValue) = (
    header::CACHE_CONTROL,
    HeaderValue::from_static("public, max-age=1"),
);

/// The catalogue's routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_events))
        .routes(routes!(get_event))
        .routes(routes!(get_performance))
        .routes(routes!(get_seating_plan))
}

/// A show with its dated occurrences.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventBody {
    event_id: Uuid,
    title: String,
    description: Option<String>,
    organizer: Option<String>,
    /// By when they begin.
    performances: Vec<PerformanceSummary>,
}

/// A performance, as lists have it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PerformanceSummary {
    performance_id: Uuid,
    starts_at: Time,
    venue: VenueBody,
    sale: SaleBody,
}

/// Where it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VenueBody {
    venue_id: Uuid,
    name: String,
}

/// When and how it is sold.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SaleBody {
    #[schema(value_type = String, pattern = "scheduled|lobby|open|paused|closed")]
    state: &'static str,
    opens_at: Time,
    /// From when places in line are given before the opening; not there: from the opening on.
    #[serde(skip_serializing_if = "Option::is_none")]
    lobby_opens_at: Option<Time>,
    closes_at: Time,
}

impl SaleBody {
    fn new(sale: &Sale, now: Timestamp) -> Self {
        let Sale {
            opens_at,
            lobby_opens_at,
            closes_at,
            switch: _,
        } = *sale;
        Self {
            state: sale_state(sale.state(now)),
            opens_at: Time(opens_at),
            lobby_opens_at: lobby_opens_at.map(Time),
            closes_at: Time(closes_at),
        }
    }
}

/// One dated occurrence of an event: what is sold.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PerformanceBody {
    performance_id: Uuid,
    event_id: Uuid,
    title: String,
    starts_at: Time,
    venue: VenueBody,
    sale: SaleBody,
    price_levels: Vec<PriceLevelBody>,
    /// Standing areas; empty when everybody sits.
    areas: Vec<AreaBody>,
    /// Seats, and spots of standing areas.
    seats_total: u32,
    seats_free: u32,
    hold: HoldLimits,
    /// Whether fans stand in line and enter with a pass.
    waiting_room: bool,
}

/// What seats cost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PriceLevelBody {
    price_level_id: Uuid,
    name: String,
    price: MoneyBody,
    /// The sections of which each seat costs that.
    sections: Vec<String>,
}

/// Standing room: sold by quantity.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AreaBody {
    area: String,
    section: String,
    capacity: u32,
}

/// Limits of holds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldLimits {
    /// How long seats are kept, seconds.
    #[schema(minimum = 1, maximum = 86_400)]
    ttl_s: u32,
    /// Most seats that one fan holds at once.
    #[schema(minimum = 1, maximum = 100)]
    seats_max: u32,
}

impl From<HoldPolicy> for HoldLimits {
    fn from(HoldPolicy { ttl_s, seats_max }: HoldPolicy) -> Self {
        Self { ttl_s, seats_max }
    }
}

impl From<HoldLimits> for HoldPolicy {
    fn from(HoldLimits { ttl_s, seats_max }: HoldLimits) -> Self {
        Self { ttl_s, seats_max }
    }
}

impl VenueBody {
    fn new(performance: &Performance) -> Self {
        Self {
            venue_id: performance.venue.venue_id.uuid(),
            name: performance.venue.name.clone(),
        }
    }
}

impl PerformanceSummary {
    fn new(performance: &Performance, now: Timestamp) -> Self {
        Self {
            performance_id: performance.performance_id.uuid(),
            starts_at: Time(performance.starts_at),
            venue: VenueBody::new(performance),
            sale: SaleBody::new(&performance.rules().sale, now),
        }
    }
}

impl EventBody {
    fn new(event: &Event, performances: Vec<PerformanceSummary>) -> Self {
        let Event {
            event_id,
            title,
            description,
            organizer,
            created_at: _,
        } = event.clone();
        Self {
            event_id: event_id.uuid(),
            title,
            description,
            organizer,
            performances,
        }
    }
}

impl PerformanceBody {
    /// The performance as it is at `now`.
    pub(crate) fn new(performance: &Performance, now: Timestamp) -> Self {
        let rules = performance.rules();
        let level = |level: &PriceLevel| PriceLevelBody {
            price_level_id: level.price_level_id,
            name: level.name.clone(),
            price: Money {
                amount_minor: level.amount_minor,
                currency: performance.currency,
            }
            .into(),
            sections: level.sections.clone(),
        };
        let plan = performance.plan();
        let areas = plan.areas().iter().map(|area| AreaBody {
            area: area.name.clone(),
            section: plan.sections()[usize::from(area.section.0)].clone(),
            capacity: area.capacity,
        });
        Self {
            performance_id: performance.performance_id.uuid(),
            event_id: performance.event.event_id.uuid(),
            title: performance.event.title.clone(),
            starts_at: Time(performance.starts_at),
            venue: VenueBody::new(performance),
            sale: SaleBody::new(&rules.sale, now),
            price_levels: performance.price_levels.iter().map(level).collect(),
            areas: areas.collect(),
            seats_total: plan.seats_total(),
            seats_free: performance.picture().counts().free,
            hold: rules.hold.into(),
            waiting_room: rules.admission.is_some(),
        }
    }
}

/// All events with their performances, oldest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "catalogue",
    params(("limit" = Option<u32>, Query, minimum = 1, description = "Most items, 50 when not given; more than 200 is cut to 200"), ("cursor" = Option<String>, Query, description = "`next_cursor` of the part before")),
    responses(
        (status = 200, body = Page<EventBody>),
        (status = 400, description = "`bad-request`: limit or cursor is wrong"),
    ))]
async fn list_events(State(app): State<App>, part: Part) -> Result<Response, Problem> {
    let after: Option<EventId> = cursor(&part)?;
    let (events, next_cursor) = cut(
        app.catalogue.events(after, part.limit + 1),
        part.limit,
        |event| event.event_id.to_string(),
    );
    let mut by_event: HashMap<EventId, Vec<Arc<Performance>>> = HashMap::new();
    for performance in app.catalogue.performances(None) {
        by_event
            .entry(performance.event.event_id)
            .or_default()
            .push(performance);
    }
    let now = app.now();
    let items = events.into_iter().map(|event| {
        let performances = by_event.remove(&event.event_id).unwrap_or_default();
        EventBody::new(
            &event,
            performances
                .iter()
                .map(|one| PerformanceSummary::new(one, now))
                .collect(),
        )
    });
    let page = Page {
        items: items.collect(),
        next_cursor,
    };
    Ok(([FOR_A_SECOND], axum::Json(page)).into_response())
}

/// An event with its performances.
#[utoipa::path(get, path = "/api/v1/events/{event_id}", tag = "catalogue",
    params(("event_id" = Uuid, Path)),
    responses(
        (status = 200, body = EventBody),
        (status = 400, description = "`bad-request`: the id is not a UUID"),
        (status = 404, description = "`not-found`"),
    ))]
async fn get_event(State(app): State<App>, Id(event_id): Id<EventId>) -> Result<Response, Problem> {
    let event = app
        .catalogue
        .event(event_id)
        .ok_or_else(Problem::not_found)?;
    let now = app.now();
    let performances = app.catalogue.performances(Some(event_id));
    let body = EventBody::new(
        &event,
        performances
            .iter()
            .map(|one| PerformanceSummary::new(one, now))
            .collect(),
    );
    Ok(([FOR_A_SECOND], axum::Json(body)).into_response())
}

/// A performance: when and how it is sold, what it costs, how much is left.
#[utoipa::path(get, path = "/api/v1/performances/{performance_id}", tag = "catalogue",
    params(("performance_id" = Uuid, Path)),
    responses(
        (status = 200, body = PerformanceBody),
        (status = 400, description = "`bad-request`: the id is not a UUID"),
        (status = 404, description = "`not-found`"),
    ))]
async fn get_performance(
    State(app): State<App>,
    Id(performance_id): Id<PerformanceId>,
) -> Result<Response, Problem> {
    let performance = app.performance(performance_id)?;
    Ok((
        [FOR_A_SECOND],
        axum::Json(PerformanceBody::new(&performance, app.now())),
    )
        .into_response())
}

/// The seating plan as the operator gave it, in pretix's JSON format. It never changes; keep it.
#[utoipa::path(get, path = "/api/v1/performances/{performance_id}/seating-plan", tag = "catalogue",
    params(("performance_id" = Uuid, Path), ("If-None-Match" = Option<String>, Header, description = "`ETag` of the plan that you have")),
    responses(
        (status = 200, body = Object, content_type = "application/json", headers(("ETag" = String), ("Cache-Control" = String))),
        (status = 304, description = "The plan is the one that you have"),
        (status = 400, description = "`bad-request`: the id is not a UUID"),
        (status = 404, description = "`not-found`"),
    ))]
async fn get_seating_plan(
    State(app): State<App>,
    Id(performance_id): Id<PerformanceId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let performance = app.performance(performance_id)?;
    // A venue's plan never changes, so its id names these very bytes.
    let etag = format!("\"{}\"", performance.venue.venue_id);
    let kept = [
        (header::ETAG, etag.as_str()),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    if is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    Ok((
        kept,
        [(header::CONTENT_TYPE, "application/json")],
        performance.venue.plan_json.clone(),
    )
        .into_response())
}

/// Whether `If-None-Match` names this tag, `"…"` with its quotes: the client has what it would be sent.
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Where the part of a list begins.
pub(crate) fn cursor<T: std::str::FromStr>(part: &Part) -> Result<Option<T>, Problem> {
    let wrong = |_| {
        Problem::bad_request("cursor: is not one that was given out; leave it out to begin anew.")
    };
    part.cursor
        .as_deref()
        .map(|cursor| cursor.parse().map_err(wrong))
        .transpose()
}

/// The part of a list of which one item more than `limit` was asked for, and where the next one begins.
pub(crate) fn cut<T>(
    mut found: Vec<T>,
    limit: usize,
    id: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(id);
    (found, next_cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_where_there_is_no_more() {
        for (found, limit, part, next) in [
            (vec![], 2, vec![], None),
            (vec![1], 2, vec![1], None),
            (vec![1, 2], 2, vec![1, 2], None),
            (vec![1, 2, 3], 2, vec![1, 2], Some("2".to_owned())),
        ] {
            assert_eq!(cut(found, limit, ToString::to_string), (part, next));
        }
    }

    #[test]
    fn a_known_tag_is_found_in_any_list() {
        for (header, known) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("\"aa\"", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(
                header::IF_NONE_MATCH,
                HeaderValue::from_str(header).unwrap(),
            )]);
            assert_eq!(is_known(&headers, "\"a\""), known, "{header}");
        }
        assert!(!is_known(&HeaderMap::new(), "\"a\""));
    }
}
