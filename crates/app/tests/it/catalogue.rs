//! The catalogue: what anybody may read, how fresh it is, and how it is cached.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{new_id, seconds_between, shared, time, until, within_s};
use crate::show::{PRICE_MINOR, Setup, count, krw, list, text};

#[test]
fn a_performance_says_everything_that_a_fan_needs() {
    let show = Setup::new()
        .lobby_opens_in_s(-7_200.0)
        .hold(600, 4)
        .make(&shared());
    let seen = show.api.get(&show.path("")).expect(200);
    assert_eq!(seen["performance_id"], show.performance_id);
    assert_eq!(seen["event_id"], show.event_id);
    assert!(!text(&seen["title"]).is_empty());
    assert!(seconds_between(jiff::Timestamp::now(), time(&seen["starts_at"])) > 86_400.0);
    assert!(!seen["venue"].is_null(), "{seen}");
    assert_eq!(seen["sale"]["state"], "open");
    let (lobby, opens, closes) = ["lobby_opens_at", "opens_at", "closes_at"]
        .map(|key| time(&seen["sale"][key]))
        .into();
    assert!(lobby < opens && opens < closes, "{seen}");
    assert_eq!(seen["hold"], json!({"ttl_s": 600, "seats_max": 4}));
    assert_eq!(seen["seats_total"], 20);
    assert_eq!(seen["seats_free"], 20);
    let levels = list(&seen["price_levels"]);
    assert_eq!(levels.len(), 1);
    assert_eq!(levels[0]["name"], "Regular");
    assert_eq!(levels[0]["price"], krw(PRICE_MINOR));
    assert!(!text(&levels[0]["price_level_id"]).is_empty());
}

#[test]
fn an_event_lists_its_performances() {
    let show = Setup::new().make(&shared());
    let event = show
        .api
        .get(&format!("/events/{}", show.event_id))
        .expect(200);
    assert_eq!(event["event_id"], show.event_id);
    assert_eq!(event["title"], "A show");
    let performances = list(&event["performances"]);
    assert_eq!(performances.len(), 1, "{event}");
    assert_eq!(performances[0]["performance_id"], show.performance_id);
}

#[test]
fn every_event_is_found_by_paging_once() {
    let api = shared();
    let shows: Vec<_> = (0..5).map(|_| Setup::seats(1, 1, 1).make(&api)).collect();
    let wanted: BTreeSet<_> = shows.iter().map(|show| show.event_id.clone()).collect();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("/events?limit=100{cursor}")).expect(200);
        let items = list(&page["items"]);
        assert!(items.len() <= 100);
        for item in items {
            seen.push(text(&item["event_id"]));
            assert!(
                item["performances"].is_array(),
                "an event without its performances: {item}"
            );
        }
        match &page["next_cursor"] {
            Value::Null => break,
            next => cursor = format!("&cursor={}", text(next)),
        }
        assert!(seen.len() < 1_000_000, "the pages never end");
    }
    let unique: BTreeSet<_> = seen.iter().cloned().collect();
    assert!(wanted.is_subset(&unique));
    // Other tests add events meanwhile; none may come twice all the same.
    assert_eq!(unique.len(), seen.len());
}

#[test]
fn the_sale_state_follows_the_times() {
    let api = shared();
    for (setup, state) in [
        (Setup::new().opens_in_s(3_600.0), "scheduled"),
        (
            Setup::new().opens_in_s(3_600.0).lobby_opens_in_s(1_800.0),
            "scheduled",
        ),
        (Setup::new().in_lobby(), "lobby"),
        (Setup::new(), "open"),
        (Setup::new().opens_in_s(-60.0).closes_in_s(-1.0), "closed"),
    ] {
        let show = setup.make(&api);
        assert_eq!(api.get(&show.path("")).expect(200)["sale"]["state"], state);
    }
}

#[test]
fn the_sale_state_follows_the_operator() {
    let show = Setup::new().make(&shared());
    for (verb, state) in [("pause", "paused"), ("open", "open"), ("close", "closed")] {
        show.sale(verb);
        until(state, within_s(1), || {
            (show.api.get(&show.path("")).expect(200)["sale"]["state"] == state).then_some(())
        });
    }
}

#[test]
fn what_is_not_there_is_a_404() {
    let api = shared();
    let id = new_id();
    for path in [
        format!("/events/{id}"),
        format!("/performances/{id}"),
        format!("/performances/{id}/seating-plan"),
        format!("/performances/{id}/availability"),
        format!("/performances/{id}/waiting-room"),
    ] {
        api.get(&path).any_problem(404);
    }
}

#[test]
fn the_plan_is_pretix_json_and_never_changes() {
    let show = Setup::seats(2, 3, 4).make(&shared());
    let answer = show.api.get(&show.path("/seating-plan"));
    let plan = answer.expect(200);
    for key in ["name", "categories", "zones"] {
        assert!(!plan[key].is_null(), "no `{key}`: {plan}");
    }
    let zones = list(&plan["zones"]);
    assert_eq!(zones.len(), 2);
    assert!(zones[0]["position"]["x"].is_number(), "{plan}");
    let seats = show.plan();
    assert_eq!(seats.len(), 24);
    assert_eq!(
        seats
            .iter()
            .map(|seat| &seat.guid)
            .collect::<BTreeSet<_>>()
            .len(),
        24
    );
    let tag = answer.header("etag").expect("an ETag").to_owned();
    let again = show
        .api
        .call("GET", &show.path("/seating-plan"))
        .header("If-None-Match", &tag);
    let again = show.api.send(&again);
    assert_eq!(again.status, 304, "{again}");
    assert!(again.body.is_empty());
    let other = show
        .api
        .call("GET", &show.path("/seating-plan"))
        .header("If-None-Match", "\"other\"");
    show.api.send(&other).expect(200);
    show.api.fan().hold(&show, &[&seats[0].guid]);
    assert_eq!(
        show.api.get(&show.path("/seating-plan")).header("etag"),
        Some(tag.as_str())
    );
}

#[test]
fn availability_shows_each_seat_and_is_at_most_a_second_old() {
    let show = Setup::new().make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let before = show.availability();
    assert!(
        !before["version"].is_null() && before["sections"].is_array(),
        "{before}"
    );
    let seats = before["seats"].as_object().expect("seats");
    assert_eq!(seats.len(), 20);
    assert!(seats.values().all(|state| state == "free"));
    let hold = fan.hold(&show, &[&guids[0], &guids[1]]);
    show.until_seat_is(&guids[0], "held");
    show.until_seat_is(&guids[1], "held");
    assert_eq!(show.availability()["seats"][&guids[2]], "free");
    assert_ne!(show.availability()["version"], before["version"]);
    fan.book(&hold);
    show.until_seat_is(&guids[0], "sold");
    until("seats_free follows", within_s(1), || {
        (show.api.get(&show.path("")).expect(200)["seats_free"] == 18).then_some(())
    });
}

#[test]
fn availability_has_a_tag_that_changes_with_it() {
    let show = Setup::new().make(&shared());
    let path = show.path("/availability");
    let tag = show
        .api
        .get(&path)
        .header("etag")
        .expect("an ETag")
        .to_owned();
    let unchanged = show
        .api
        .send(&show.api.call("GET", &path).header("If-None-Match", &tag));
    assert_eq!(unchanged.status, 304, "{unchanged}");
    show.api.fan().hold(&show, &[&show.guids()[0]]);
    until("the tag is another", within_s(1), || {
        (show
            .api
            .send(&show.api.call("GET", &path).header("If-None-Match", &tag))
            .status
            == 200)
            .then_some(())
    });
}

#[test]
fn standing_areas_are_counted_like_seats() {
    let show = Setup::standing(10).make(&shared());
    let seen = show.api.get(&show.path("")).expect(200);
    assert_eq!(seen["seats_total"], 10);
    assert_eq!(seen["seats_free"], 10);
    let fan = show.api.fan();
    let hold = fan
        .try_hold(&show, None, &json!({"area": "Floor A", "quantity": 3}))
        .expect(201);
    until("the area shows 3 held", within_s(1), || {
        (show.availability()["areas"]["Floor A"] == json!({"free": 7, "held": 3, "sold": 0}))
            .then_some(())
    });
    fan.book(&hold);
    until("the area shows 3 sold", within_s(1), || {
        (show.availability()["areas"]["Floor A"] == json!({"free": 7, "held": 0, "sold": 3}))
            .then_some(())
    });
    let stats = show.stats();
    assert_eq!(
        [
            &stats["seats_free"],
            &stats["seats_held"],
            &stats["seats_sold"]
        ]
        .map(count),
        [7, 0, 3]
    );
}
