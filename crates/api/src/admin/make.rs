//! Making venues, events and performances.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use boxoffice_adapters::performance::{
    Event, NewPerformance, Performance, PriceLevel, Rules, Venue,
};
use boxoffice_core::hold::HoldPolicy;
use boxoffice_core::sale::{Sale, Switch};
use boxoffice_core::seating::{NewArea, PlanFault, SeatingPlan};
use boxoffice_core::{Currency, EventId, VenueId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::steer::{AdmissionRules, check_rules};
use super::{aside, id, name, to_the_end};
use crate::app::App;
use crate::auth::Operator;
use crate::catalogue::HoldLimits;
use crate::extract::{Json, PLAN_BODY_MAX};
use crate::problem::Problem;
use crate::wire::{MoneyBody, Time, given_object, object, object_or_null, objects};

/// Most characters of a description.
const DESCRIPTION_CHARS_MAX: usize = 10_000;
/// Most price levels of a performance.
const PRICE_LEVELS_MAX: usize = 1_000;
/// Limits of holds when the operator gives none.
const HOLD_DEFAULT: HoldPolicy = HoldPolicy {
    ttl_s: 600,
    seats_max: 8,
};
/// The first line of a performance.
const EPOCH_FIRST: u32 = 1;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_venue))
        .routes(routes!(create_event))
        .routes(routes!(create_performance))
}

/// A place with a seating plan: either one in pretix's format or one made from three numbers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewVenue {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// pretix's seating-plan JSON; a section is a zone, by the zone's name. Kept as it is, at most 8 MB.
    #[schema(value_type = Option<Object>)]
    seating_plan: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "object_or_null")]
    generate: Option<Generate>,
    /// Standing areas, sold by quantity; they stand beside the plan.
    #[serde(default, deserialize_with = "objects")]
    areas: Vec<NewAreaBody>,
}

/// Sections A, B, … of equal rows of equal length; at most 100,000 seats.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Generate {
    #[schema(minimum = 1, maximum = 10_000)]
    sections: u32,
    #[schema(minimum = 1, maximum = 100_000)]
    rows: u32,
    #[schema(minimum = 1, maximum = 100_000)]
    seats_per_row: u32,
}

/// A standing area.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAreaBody {
    /// Its name, unique in the venue.
    #[schema(min_length = 1, max_length = 190)]
    area: String,
    /// The section it belongs to: a zone's name, or a new one.
    #[schema(min_length = 1, max_length = 190)]
    section: String,
    /// How many people it takes.
    #[schema(minimum = 1, maximum = 100_000)]
    capacity: u32,
}

/// A venue that was made.
#[derive(Serialize, ToSchema)]
struct VenueMade {
    venue_id: Uuid,
    /// Seats, and spots of standing areas.
    seats_total: u32,
    /// Names of the sections; each needs a price.
    sections: Vec<String>,
}

impl NewVenue {
    /// The venue; takes tens of milliseconds for a large plan.
    fn read(self) -> Result<Venue, Problem> {
        let name = name("name", self.name)?;
        let plan_json = match (self.seating_plan, self.generate) {
            (Some(plan), None) => Box::<str>::from(plan).into_string(),
            (
                None,
                Some(Generate {
                    sections,
                    rows,
                    seats_per_row,
                }),
            ) => SeatingPlan::generate(sections, rows, seats_per_row).map_err(fault)?,
            (Some(_), Some(_)) => {
                return Err(Problem::bad_request(
                    "generate: not beside a seating_plan; give one of the two.",
                ));
            }
            (None, None) => {
                return Err(Problem::bad_request(
                    "seating_plan: missing; give a plan in pretix's format, or `generate` one.",
                ));
            }
        };
        let area = |area: NewAreaBody| NewArea {
            area: area.area,
            section: area.section,
            capacity: area.capacity,
        };
        let areas = self.areas.into_iter().map(area).collect();
        Venue::new(Uuid::now_v7().into(), name, plan_json, areas).map_err(fault)
    }
}

/// What is wrong with a plan, and where.
fn fault(fault: PlanFault) -> Problem {
    Problem::bad_request(format!("{fault}.")).with("spot", json!(fault.spot))
}

/// Makes a venue.
#[utoipa::path(post, path = "/api/v1/admin/venues", tag = "operators", request_body = NewVenue, security(("bearer" = [])),
    responses(
        (status = 201, body = VenueMade),
        (status = 400, description = "`bad-request`: a field is wrong, or the plan is; `spot` names the faulty place of a plan"),
        (status = 401, description = "`login-required`"),
        (status = 403, description = "`operator-only`"),
        (status = 408, description = "`request-timeout`: the body took too long"),
        (status = 413, description = "`too-large`: more than 8 MB"),
        (status = 503, description = "`busy`, with `Retry-After`"),
    ))]
async fn create_venue(
    State(app): State<App>,
    _: Operator,
    Json(new): Json<NewVenue, PLAN_BODY_MAX>,
) -> Result<(StatusCode, axum::Json<VenueMade>), Problem> {
    let venue = aside(|| new.read()).await?;
    let made = VenueMade {
        venue_id: venue.venue_id.uuid(),
        seats_total: venue.plan.seats_total(),
        sections: venue.plan.sections().to_vec(),
    };
    to_the_end(async move {
        app.store.create_venue(&venue).await?;
        app.catalogue.add_venue(venue);
        Ok(())
    })
    .await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

/// A show.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewEvent {
    #[schema(min_length = 1, max_length = 200)]
    title: String,
    #[schema(max_length = 10_000)]
    description: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    organizer: Option<String>,
}

/// An event that was made.
#[derive(Serialize, ToSchema)]
struct EventMade {
    event_id: Uuid,
}

/// Makes an event.
#[utoipa::path(post, path = "/api/v1/admin/events", tag = "operators", request_body = NewEvent, security(("bearer" = [])),
    responses(
        (status = 201, body = EventMade),
        (status = 400, description = "`bad-request`: a field is wrong"),
        (status = 401, description = "`login-required`"),
        (status = 403, description = "`operator-only`"),
        (status = 408, description = "`request-timeout`: the body took too long"),
        (status = 413, description = "`too-large`"),
        (status = 503, description = "`busy`, with `Retry-After`"),
    ))]
async fn create_event(
    State(app): State<App>,
    _: Operator,
    Json(new): Json<NewEvent>,
) -> Result<(StatusCode, axum::Json<EventMade>), Problem> {
    let event_id = Uuid::now_v7();
    let event = Event {
        event_id: event_id.into(),
        title: name("title", new.title)?,
        description: new.description.map(description).transpose()?,
        organizer: new
            .organizer
            .map(|organizer| name("organizer", organizer))
            .transpose()?,
        created_at: app.now(),
    };
    to_the_end(async move {
        app.store.create_event(&event).await?;
        app.catalogue.add_event(event);
        Ok(())
    })
    .await?;
    Ok((StatusCode::CREATED, axum::Json(EventMade { event_id })))
}

/// A text of many lines.
fn description(text: String) -> Result<String, Problem> {
    if text.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(Problem::bad_request(format!(
            "description: is too long; take at most {DESCRIPTION_CHARS_MAX} characters."
        )));
    }
    if text
        .chars()
        .any(|letter| letter.is_control() && !"\n\r\t".contains(letter))
    {
        return Err(Problem::bad_request(
            "description: has a control character; of these only line breaks and tabs are good.",
        ));
    }
    Ok(text)
}

/// One dated occurrence of an event.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPerformanceBody {
    #[schema(value_type = Uuid)]
    event_id: String,
    #[schema(value_type = Uuid)]
    venue_id: String,
    starts_at: Time,
    #[serde(deserialize_with = "object")]
    sale: SaleTimes,
    /// Each section of the venue is in exactly one; all prices have one currency.
    #[schema(min_items = 1, max_items = 1_000)]
    #[serde(deserialize_with = "objects")]
    price_levels: Vec<NewPriceLevel>,
    /// How fans are let in; null or not given: no waiting room.
    #[serde(default, deserialize_with = "object_or_null")]
    admission: Option<AdmissionRules>,
    /// 600 seconds and 8 seats when not given.
    #[serde(default, deserialize_with = "given_object")]
    hold: Option<HoldLimits>,
}

/// When it is sold; times may have passed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SaleTimes {
    opens_at: Time,
    /// From when places in line are given before the opening; not later than that.
    lobby_opens_at: Option<Time>,
    /// After `opens_at`.
    closes_at: Time,
}

/// What seats of some sections cost.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPriceLevel {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[serde(deserialize_with = "object")]
    price: MoneyBody,
    #[schema(min_items = 1)]
    sections: Vec<String>,
}

/// A performance that was made.
#[derive(Serialize, ToSchema)]
struct PerformanceMade {
    performance_id: Uuid,
}

impl NewPerformanceBody {
    /// Takes as long as the venue is large.
    fn read(self, app: &App) -> Result<Performance, Problem> {
        let (event_id, venue_id): (EventId, VenueId) = (
            id("event_id", &self.event_id)?,
            id("venue_id", &self.venue_id)?,
        );
        let SaleTimes {
            opens_at,
            lobby_opens_at,
            closes_at,
        } = self.sale;
        let sale = Sale {
            opens_at: opens_at.0,
            lobby_opens_at: lobby_opens_at.map(|at| at.0),
            closes_at: closes_at.0,
            switch: Switch::ByTime,
        };
        let rules = Rules {
            sale,
            admission: self.admission.map(Into::into),
            hold: self.hold.map_or(HOLD_DEFAULT, Into::into),
        };
        check_rules(&rules)?;
        let (price_levels, currency) = price_levels(self.price_levels)?;
        let missing = |field: &str| Problem::not_found().with("field", json!(field));
        let new = NewPerformance {
            performance_id: Uuid::now_v7().into(),
            event: app
                .catalogue
                .event(event_id)
                .ok_or_else(|| missing("event_id"))?,
            venue: app
                .catalogue
                .venue(venue_id)
                .ok_or_else(|| missing("venue_id"))?,
            starts_at: self.starts_at.0,
            price_levels,
            currency,
            epoch: EPOCH_FIRST,
            created_at: app.now(),
            rules,
        };
        Performance::new(new).map_err(|wrong| Problem::bad_request(format!("{wrong}.")))
    }
}

/// The price levels, with ids of ours, and the one currency of them all.
fn price_levels(new: Vec<NewPriceLevel>) -> Result<(Vec<PriceLevel>, Currency), Problem> {
    if new.len() > PRICE_LEVELS_MAX {
        return Err(Problem::bad_request(format!(
            "price_levels: too many; give at most {PRICE_LEVELS_MAX}."
        )));
    }
    let (mut levels, mut common) = (Vec::with_capacity(new.len()), None);
    for (index, level) in new.into_iter().enumerate() {
        let at = format!("price_levels[{index}]");
        let price = level
            .price
            .check(&format!("{at}.price"))
            .map_err(|wrong| Problem::bad_request(format!("{wrong}.")))?;
        let currency = *common.get_or_insert(price.currency);
        if price.currency != currency {
            let wrong = format!(
                "{at}.price.currency: {} beside {currency}; price everything in one currency.",
                price.currency
            );
            return Err(Problem::bad_request(wrong));
        }
        if level.sections.is_empty() {
            return Err(Problem::bad_request(format!(
                "{at}.sections: is empty; name the sections that cost this."
            )));
        }
        let name = name(&format!("{at}.name"), level.name)?;
        levels.push(PriceLevel {
            price_level_id: Uuid::now_v7(),
            name,
            amount_minor: price.amount_minor,
            sections: level.sections,
        });
    }
    let currency = common.ok_or_else(|| {
        Problem::bad_request("price_levels: is empty; give each section a price.")
    })?;
    Ok((levels, currency))
}

/// Makes a performance: from then on it is shown, and sold when its time has come.
#[utoipa::path(post, path = "/api/v1/admin/performances", tag = "operators", request_body = NewPerformanceBody, security(("bearer" = [])),
    responses(
        (status = 201, body = PerformanceMade),
        (status = 400, description = "`bad-request`: a field is wrong, a section has no price or two"),
        (status = 401, description = "`login-required`"),
        (status = 403, description = "`operator-only`"),
        (status = 404, description = "`not-found`: there is no such event or venue; `field` says which"),
        (status = 408, description = "`request-timeout`: the body took too long"),
        (status = 413, description = "`too-large`"),
        (status = 503, description = "`busy`, with `Retry-After`"),
    ))]
async fn create_performance(
    State(app): State<App>,
    _: Operator,
    Json(new): Json<NewPerformanceBody>,
) -> Result<(StatusCode, axum::Json<PerformanceMade>), Problem> {
    let reader = app.clone();
    let performance = Arc::new(aside(move || new.read(&reader)).await?);
    let performance_id = performance.performance_id.uuid();
    to_the_end(async move {
        // The line first: one that nobody knows of harms nothing, a performance without a line would.
        app.room.open(&performance).await?;
        app.store.create_performance(&performance).await?;
        app.catalogue.add_performance(performance);
        Ok(())
    })
    .await?;
    Ok((
        StatusCode::CREATED,
        axum::Json(PerformanceMade { performance_id }),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::extract::decode;

    fn read_venue(body: &Value) -> Result<Venue, Problem> {
        decode::<NewVenue>(body.to_string().as_bytes())?.read()
    }

    fn plan() -> Value {
        let seat = |number: u32| json!({"seat_guid": format!("S-{number}"), "seat_number": number.to_string(), "position": {"x": number, "y": 0}, "category": "All"});
        let row =
            json!({"row_number": "1", "position": {"x": 0, "y": 0}, "seats": [seat(1), seat(2)]});
        json!({"name": "Hall", "size": {"width": 100, "height": 100}, "categories": [{"name": "All", "color": "#000"}], "zones": [{"name": "Stalls", "position": {"x": 0, "y": 0}, "rows": [row], "areas": []}]})
    }

    #[test]
    fn a_venue_is_a_plan_or_three_numbers_and_areas() {
        let areas = json!([{"area": "Pit", "section": "Floor", "capacity": 5}]);
        let generate = json!({"sections": 2, "rows": 3, "seats_per_row": 4});
        for (body, seats_total, sections) in [
            (
                json!({"name": "H", "seating_plan": plan()}),
                2,
                vec!["Stalls"],
            ),
            (
                json!({"name": "H", "seating_plan": plan(), "areas": areas}),
                7,
                vec!["Stalls", "Floor"],
            ),
            (
                json!({"name": "H", "generate": generate}),
                24,
                vec!["A", "B"],
            ),
            (
                json!({"name": "H", "generate": generate, "areas": areas, "seating_plan": null}),
                29,
                vec!["A", "B", "Floor"],
            ),
        ] {
            let venue = read_venue(&body).unwrap();
            assert_eq!(
                (venue.plan.seats_total(), venue.plan.sections()),
                (
                    seats_total,
                    sections
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .as_slice()
                )
            );
        }
    }

    #[test]
    fn a_plan_is_kept_as_it_was_given() {
        let text = plan()
            .to_string()
            .replace("\"zones\"", " \"unknown\" :1.50,\n\"zones\"");
        let body = format!("{{\"name\":\"H\",\"seating_plan\": {text} }}");
        let venue = decode::<NewVenue>(body.as_bytes()).unwrap().read().unwrap();
        assert_eq!(venue.plan_json, text);
    }

    #[test]
    fn a_faulty_venue_is_refused_by_name() {
        let mut doubled = plan();
        doubled["zones"][0]["rows"][0]["seats"][1]["seat_guid"] = json!("S-1");
        let generate = json!({"sections": 1, "rows": 1, "seats_per_row": 1});
        for (body, named) in [
            (json!({"generate": generate}), "name"),
            (json!({"name": " ", "generate": generate}), "name"),
            (json!({"name": 7, "generate": generate}), "name"),
            (json!({"name": "H"}), "seating_plan"),
            (
                json!({"name": "H", "generate": generate, "seating_plan": plan()}),
                "generate",
            ),
            (
                json!({"name": "H", "generate": {"sections": 0, "rows": 1, "seats_per_row": 1}}),
                "generate.sections",
            ),
            (
                json!({"name": "H", "generate": {"sections": 1, "rows": -1, "seats_per_row": 1}}),
                "generate.rows",
            ),
            (
                json!({"name": "H", "generate": {"sections": 1, "rows": 1, "seats_per_row": 1.5}}),
                "generate.seats_per_row",
            ),
            (
                json!({"name": "H", "generate": {"sections": 1, "rows": 1, "seats_per_row": 1, "aisles": 2}}),
                "aisles",
            ),
            (
                json!({"name": "H", "generate": generate, "colour": "red"}),
                "colour",
            ),
            (json!({"name": "H", "seating_plan": "none"}), "plan"),
            (
                json!({"name": "H", "seating_plan": doubled}),
                "zones[0].rows[0].seats[1].seat_guid",
            ),
            (
                json!({"name": "H", "generate": generate, "areas": [{"area": "Pit", "section": "A", "capacity": 0}]}),
                "areas[0].capacity",
            ),
            (
                json!({"name": "H", "generate": generate, "areas": [{"area": "Pit", "section": "A", "capacity": -1}]}),
                "areas[0].capacity",
            ),
            (
                json!({"name": "H", "generate": generate, "areas": [{"area": "Pit", "section": "A"}]}),
                "capacity",
            ),
        ] {
            let problem = read_venue(&body)
                .err()
                .unwrap_or_else(|| panic!("{body} was taken"));
            assert_eq!(
                (problem.status, problem.code),
                (StatusCode::BAD_REQUEST, "bad-request")
            );
            assert!(
                problem.detail.contains(named),
                "{named} is not named: {}",
                problem.detail
            );
        }
    }

    fn levels(body: Value) -> Result<(Vec<PriceLevel>, Currency), Problem> {
        price_levels(decode::<Vec<NewPriceLevel>>(body.to_string().as_bytes())?)
    }

    #[test]
    fn price_levels_have_one_currency_and_ids_of_ours() {
        let level = |amount_minor: i64, currency: &str| json!({"name": "N", "price": {"amount_minor": amount_minor, "currency": currency}, "sections": ["A"]});
        let (two, currency) =
            levels(json!([level(0, "EUR"), level(1_000_000_000_000, "EUR")])).unwrap();
        assert_eq!(
            (two[0].amount_minor, two[1].amount_minor, currency.as_str()),
            (0, 1_000_000_000_000, "EUR")
        );
        assert_ne!(two[0].price_level_id, two[1].price_level_id);
        for (body, named) in [
            (json!([]), "price_levels"),
            (
                json!([level(1, "EUR"), level(1, "KRW")]),
                "price_levels[1].price.currency",
            ),
            (
                json!([level(-1, "EUR")]),
                "price_levels[0].price.amount_minor",
            ),
            (
                json!([level(1_000_000_000_001, "EUR")]),
                "price_levels[0].price.amount_minor",
            ),
            (json!([level(1, "euro")]), "price_levels[0].price.currency"),
            (
                json!([{"name": "N", "price": {"amount_minor": 1, "currency": "EUR"}, "sections": []}]),
                "price_levels[0].sections",
            ),
            (
                json!([{"name": "", "price": {"amount_minor": 1, "currency": "EUR"}, "sections": ["A"]}]),
                "price_levels[0].name",
            ),
        ] {
            let problem = levels(body.clone()).unwrap_err();
            assert!(
                problem.status == StatusCode::BAD_REQUEST && problem.detail.contains(named),
                "{body}: {}",
                problem.detail
            );
        }
    }

    #[test]
    fn each_section_has_exactly_one_price() {
        let venue = Arc::new(
            read_venue(
                &json!({"name": "H", "generate": {"sections": 2, "rows": 1, "seats_per_row": 1}}),
            )
            .unwrap(),
        );
        let make = |covered: &[&[&str]]| {
            let level = |sections: &&[&str]| json!({"name": "N", "price": {"amount_minor": 1, "currency": "EUR"}, "sections": sections});
            let (price_levels, currency) = levels(covered.iter().map(level).collect()).unwrap();
            let time = boxoffice_core::Timestamp;
            let sale = Sale {
                opens_at: time(0),
                lobby_opens_at: None,
                closes_at: time(1),
                switch: Switch::ByTime,
            };
            Performance::new(NewPerformance {
                performance_id: Uuid::now_v7().into(),
                event: Arc::new(Event {
                    event_id: Uuid::now_v7().into(),
                    title: String::new(),
                    description: None,
                    organizer: None,
                    created_at: time(0),
                }),
                venue: Arc::clone(&venue),
                starts_at: time(0),
                price_levels,
                currency,
                epoch: EPOCH_FIRST,
                created_at: time(0),
                rules: Rules {
                    sale,
                    admission: None,
                    hold: HOLD_DEFAULT,
                },
            })
        };
        assert!(make(&[&["A"], &["B"]]).is_ok() && make(&[&["B", "A"]]).is_ok());
        for (covered, named) in [
            (&[&["A"][..]][..], "\"B\""),
            (&[&["A", "B"], &["A"]], "price_levels[1].sections"),
            (&[&["A", "A", "B"]], "price_levels[0].sections"),
            (&[&["A", "B", "Nowhere"]], "Nowhere"),
        ] {
            let wrong = make(covered).unwrap_err();
            assert!(wrong.contains(named), "{covered:?}: {wrong}");
        }
    }
}
