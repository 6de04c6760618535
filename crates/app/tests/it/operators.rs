//! What operators do: venues, events, performances, changes in mid-sale, and watching it live.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{from_now_s, new_id, seconds_between, shared, time, until, within_s};
use crate::show::{PRICE_MINOR, Setup, Show, count, krw, list, text};

/// A small plan in the pretix format: two zones, two rows each, four seats a row.
fn pretix_plan() -> Value {
    let zone = |name: &str, y: u32| {
        let rows: Vec<_> = (1..=2)
            .map(|row| {
                let seats: Vec<_> = (1..=4)
                    .map(|seat| {
                        json!({
                            "seat_guid": format!("{name}-{row}-{seat}"), "seat_number": seat.to_string(),
                            "position": {"x": 20 * seat, "y": 0}, "category": "Stalls",
                        })
                    })
                    .collect();
                json!({"row_number": row.to_string(), "position": {"x": 0, "y": 20 * row}, "seats": seats})
            })
            .collect();
        json!({"name": name, "position": {"x": 0, "y": y}, "rows": rows, "areas": []})
    };
    json!({
        "name": "Theatre", "categories": [{"name": "Stalls", "color": "#7f4a91"}],
        "zones": [zone("Stalls", 0), zone("Circle", 100)], "size": {"width": 600, "height": 400},
    })
}

/// A change at a place of a JSON document, as a pointer.
fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    match document.pointer_mut(pointer) {
        Some(spot) => *spot = value,
        None => {
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            document.pointer_mut(parent).expect("the parent is there")[key] = value;
        }
    }
    document
}

fn without(mut document: Value, pointer: &str) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    document
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .expect("the parent is there")
        .remove(key);
    document
}

#[test]
fn a_generated_venue_has_sections_named_by_letters() {
    let operator = shared().operator();
    let generate = json!({"sections": 3, "rows": 4, "seats_per_row": 5});
    let venue = operator
        .post(
            "/admin/venues",
            &json!({"name": "Hall", "generate": generate}),
        )
        .expect(201);
    assert_eq!(venue["seats_total"], 60);
    assert_eq!(venue["sections"], json!(["A", "B", "C"]));
    uuid::Uuid::parse_str(&text(&venue["venue_id"])).expect("a UUID");
}

#[test]
fn a_generated_venue_has_reasonable_bounds() {
    let operator = shared().operator();
    for (field, value) in [
        ("sections", json!(0)),
        ("rows", json!(0)),
        ("seats_per_row", json!(-1)),
        ("seats_per_row", json!(1.5)),
        ("rows", json!(u64::MAX)),
        ("sections", json!("two")),
    ] {
        let mut generate = json!({"sections": 1, "rows": 1, "seats_per_row": 1});
        generate[field] = value.clone();
        let answer = operator.post(
            "/admin/venues",
            &json!({"name": "Hall", "generate": generate}),
        );
        let problem = answer.any_problem(400);
        assert!(
            text(&problem["detail"]).contains(field),
            "`{field}` = {value} is not named: {problem}"
        );
    }
    let generate = json!({"sections": 20, "rows": 100_000, "seats_per_row": 100_000});
    operator
        .post(
            "/admin/venues",
            &json!({"name": "Planet", "generate": generate}),
        )
        .any_problem(400);
    operator
        .post("/admin/venues", &json!({"name": "Nothing"}))
        .any_problem(400);
    let both = json!({"name": "Both", "generate": {"sections": 1, "rows": 1, "seats_per_row": 1}, "seating_plan": pretix_plan()});
    operator.post("/admin/venues", &both).any_problem(400);
}

#[test]
fn a_pretix_plan_with_standing_areas_is_sold_as_it_is() {
    let api = shared();
    let areas = json!([{"area": "Floor A", "section": "Floor", "capacity": 7}]);
    let venue = json!({"name": "Theatre", "seating_plan": pretix_plan(), "areas": areas});
    let made = api.operator().post("/admin/venues", &venue).expect(201);
    assert_eq!(made["seats_total"], 23);
    let mut sections: Vec<_> = list(&made["sections"]).iter().map(text).collect();
    sections.sort();
    assert_eq!(sections, ["Circle", "Floor", "Stalls"]);
    let levels = json!([
        {"name": "Seats", "price": krw(90_000), "sections": ["Stalls", "Circle"]},
        {"name": "Standing", "price": krw(50_000), "sections": ["Floor"]},
    ]);
    let show = Setup::venue(venue, Vec::new())
        .price_levels(levels)
        .make(&api);
    assert_eq!(api.get(&show.path("")).expect(200)["seats_total"], 23);
    let plan = show.plan();
    assert_eq!(plan.len(), 16);
    let wanted = plan
        .iter()
        .find(|seat| seat.guid == "Circle-2-3")
        .expect("our own guid");
    assert_eq!(
        (
            wanted.section.as_str(),
            wanted.row.as_str(),
            wanted.seat.as_str()
        ),
        ("Circle", "2", "3")
    );
    let fan = api.fan();
    let hold = fan.hold(&show, &["Circle-2-3"]);
    let seat = &hold["seats"][0];
    assert_eq!(
        (&seat["section"], &seat["row"], &seat["seat"]),
        (&json!("Circle"), &json!("2"), &json!("3"))
    );
    let standing = fan
        .try_hold(&show, None, &json!({"area": "Floor A", "quantity": 2}))
        .expect(201);
    assert_eq!(standing["total"], krw(100_000));
    fan.book(&hold);
    fan.book(&standing);
    until("the counts follow", within_s(1), || {
        let stats = show.stats();
        (stats["seats_sold"] == 3 && stats["seats_free"] == 20).then_some(())
    });
}

#[test]
fn a_plan_as_the_pretix_editor_writes_it_is_taken() {
    let shape = json!({
        "shape": "rectangle", "color": "#eeeeee", "border_color": "#cccccc", "rotation": 0, "uuid": new_id(),
        "position": {"x": 10, "y": 10}, "rectangle": {"width": 100.5, "height": 40},
        "text": {"position": {"x": 5, "y": 5}, "color": "#333333", "text": "Stage"},
    });
    let mut plan = with(pretix_plan(), "/zones/0/areas", json!([shape]));
    plan["zones"][0]["zone_id"] = json!(new_id());
    plan["zones"][0]["uuid"] = json!(new_id());
    plan["zones"][0]["rows"][0]["row_number_position"] = json!("both");
    plan["zones"][0]["rows"][0]["uuid"] = json!(new_id());
    plan["zones"][0]["rows"][0]["seats"][0]["uuid"] = json!(new_id());
    plan["zones"][0]["rows"][0]["seats"][0]["radius"] = json!(10);
    plan["zones"][0]["rows"][0]["seats"][0]["position"] = json!({"x": 10.25, "y": -3.5});
    let made = shared()
        .operator()
        .post(
            "/admin/venues",
            &json!({"name": "Theatre", "seating_plan": plan}),
        )
        .expect(201);
    assert_eq!(made["seats_total"], 16);
}

#[test]
fn the_faulty_spot_of_a_plan_is_named() {
    let operator = shared().operator();
    let seat = "/zones/1/rows/0/seats/2";
    for (plan, named) in [
        (without(pretix_plan(), "/zones"), "zones"),
        (with(pretix_plan(), "/zones", json!("none")), "zones"),
        (without(pretix_plan(), "/zones/1/rows"), "rows"),
        (
            without(pretix_plan(), "/zones/1/rows/0/row_number"),
            "row_number",
        ),
        (
            without(pretix_plan(), &format!("{seat}/seat_guid")),
            "seat_guid",
        ),
        (
            without(pretix_plan(), &format!("{seat}/seat_number")),
            "seat_number",
        ),
        (
            with(pretix_plan(), &format!("{seat}/seat_number"), json!(7)),
            "seat_number",
        ),
        (
            with(
                pretix_plan(),
                &format!("{seat}/seat_guid"),
                json!("Stalls-1-1"),
            ),
            "Stalls-1-1",
        ),
        (
            with(
                pretix_plan(),
                &format!("{seat}/position"),
                json!({"x": "left"}),
            ),
            "position",
        ),
    ] {
        let answer = operator.post(
            "/admin/venues",
            &json!({"name": "Theatre", "seating_plan": plan}),
        );
        let problem = answer.any_problem(400);
        assert!(
            text(&problem["detail"]).contains(named),
            "`{named}` is not named: {problem}"
        );
    }
}

#[test]
fn a_faulty_area_beside_the_plan_is_named() {
    let operator = shared().operator();
    for (area, named) in [
        (
            json!({"area": "Floor", "section": "Floor", "capacity": 0}),
            "capacity",
        ),
        (
            json!({"area": "Floor", "section": "Floor", "capacity": -5}),
            "capacity",
        ),
        (json!({"area": "Floor", "section": "Floor"}), "capacity"),
        (json!({"section": "Floor", "capacity": 5}), "area"),
    ] {
        let answer = operator.post(
            "/admin/venues",
            &json!({"name": "T", "seating_plan": pretix_plan(), "areas": [area]}),
        );
        let problem = answer.any_problem(400);
        assert!(
            text(&problem["detail"]).contains(named),
            "`{named}` is not named: {problem}"
        );
    }
}

#[test]
fn an_event_needs_a_title_and_takes_a_description() {
    let operator = shared().operator();
    let body = json!({"title": "봄 콘서트", "description": "Spring", "organizer": "City Hall"});
    let event_id = text(&operator.post("/admin/events", &body).expect(201)["event_id"]);
    let event = operator.api.get(&format!("/events/{event_id}")).expect(200);
    assert_eq!(event["title"], "봄 콘서트");
    assert!(list(&event["performances"]).is_empty());
    let problem = operator
        .post("/admin/events", &json!({"description": "Spring"}))
        .any_problem(400);
    assert!(text(&problem["detail"]).contains("title"), "{problem}");
}

/// Bodies that a performance refuses, with what the refusal must name.
fn faulty_performance_values() -> Vec<(&'static str, Value)> {
    let mut faulty = Vec::new();
    for (field, high) in [
        ("/admission/pass_ttl_s", 86_401),
        ("/admission/claim_within_s", 86_401),
        ("/hold/ttl_s", 86_401),
        ("/hold/seats_max", 101),
    ] {
        for value in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!(high),
            json!("x"),
            json!(u64::MAX),
            json!(true),
        ] {
            faulty.push((field, value));
        }
    }
    for value in [json!(-1), json!(1.5), json!(1_000_001), json!("x")] {
        faulty.push(("/admission/active_max", value));
    }
    for value in [json!(-0.1), json!(100_001), json!("x")] {
        faulty.push(("/admission/per_s", value));
    }
    for value in [
        json!("yesterday"),
        json!(7),
        json!("2026-13-01T00:00:00Z"),
        json!("2026-01-01"),
    ] {
        faulty.push(("/sale/opens_at", value.clone()));
        faulty.push(("/sale/closes_at", value.clone()));
        faulty.push(("/sale/lobby_opens_at", value));
    }
    faulty.push(("/starts_at", json!("soon")));
    faulty.push(("/price_levels/0/price/amount_minor", json!(-1)));
    faulty.push(("/price_levels/0/price/amount_minor", json!(1.5)));
    faulty.push(("/price_levels/0/price/currency", json!("won")));
    faulty.push(("/price_levels/0/price/currency", json!(1)));
    faulty.push(("/price_levels/0/sections", json!("A")));
    faulty.push(("/price_levels", json!({})));
    faulty
}

fn room_setup() -> Setup {
    Setup::new().lobby_opens_in_s(-7_200.0).wide_room()
}

#[test]
fn a_performance_out_of_bounds_is_refused_by_name() {
    let api = shared();
    let show = room_setup().make(&api);
    let operator = api.operator();
    let good = room_setup().performance(&show.event_id, &show.venue_id);
    for (pointer, value) in faulty_performance_values() {
        let field = pointer.rsplit('/').next().unwrap_or_default();
        let answer = operator.post(
            "/admin/performances",
            &with(good.clone(), pointer, value.clone()),
        );
        assert_eq!(answer.status, 400, "{pointer} = {value} got {answer}");
        let problem = answer.any_problem(400);
        assert!(
            text(&problem["detail"]).contains(field),
            "{pointer} = {value} is not named: {problem}"
        );
    }
    for pointer in [
        "/event_id",
        "/venue_id",
        "/starts_at",
        "/sale",
        "/sale/opens_at",
        "/sale/closes_at",
        "/price_levels",
        "/price_levels/0/price",
        "/price_levels/0/sections",
        "/admission/per_s",
        "/admission/active_max",
        "/admission/pass_ttl_s",
        "/admission/claim_within_s",
    ] {
        let field = pointer.rsplit('/').next().unwrap_or_default();
        let answer = operator.post("/admin/performances", &without(good.clone(), pointer));
        assert_eq!(answer.status, 400, "without {pointer}: {answer}");
        let problem = answer.any_problem(400);
        assert!(
            text(&problem["detail"]).contains(field),
            "{pointer} is not named: {problem}"
        );
    }
    let unknown = with(
        good.clone(),
        "/price_levels/0/sections",
        json!(["A", "Nowhere"]),
    );
    let problem = operator
        .post("/admin/performances", &unknown)
        .any_problem(400);
    assert!(text(&problem["detail"]).contains("Nowhere"), "{problem}");
    for id in ["/event_id", "/venue_id"] {
        let answer = operator.post(
            "/admin/performances",
            &with(good.clone(), id, json!(new_id())),
        );
        assert!(matches!(answer.status, 400 | 404), "{answer}");
        operator
            .post("/admin/performances", &with(good.clone(), id, json!("x")))
            .any_problem(400);
    }
}

#[test]
fn a_performance_at_its_bounds_is_made() {
    let api = shared();
    let show = room_setup().make(&api);
    let operator = api.operator();
    let good = room_setup().performance(&show.event_id, &show.venue_id);
    for (pointer, value) in [
        ("/admission/pass_ttl_s", json!(86_400)),
        ("/admission/pass_ttl_s", json!(1)),
        ("/admission/claim_within_s", json!(86_400)),
        ("/admission/active_max", json!(0)),
        ("/admission/active_max", json!(1_000_000)),
        ("/admission/per_s", json!(0)),
        ("/admission/per_s", json!(0.25)),
        ("/admission/per_s", json!(100_000)),
        ("/hold/ttl_s", json!(1)),
        ("/hold/ttl_s", json!(86_400)),
        ("/hold/seats_max", json!(1)),
        ("/hold/seats_max", json!(100)),
        ("/starts_at", json!("2020-01-01T00:00:00Z")),
        ("/starts_at", json!("2030-01-01T09:00:00+09:00")),
        ("/price_levels/0/price/amount_minor", json!(0)),
        ("/admission", Value::Null),
    ] {
        let answer = operator.post(
            "/admin/performances",
            &with(good.clone(), pointer, value.clone()),
        );
        assert_eq!(answer.status, 201, "{pointer} = {value} got {answer}");
    }
}

#[test]
fn a_change_changes_only_what_it_names() {
    let show = room_setup().hold(600, 6).make(&shared());
    let before = show.api.get(&show.path("")).expect(200);
    show.patch(&json!({"hold": {"seats_max": 3}}));
    until("the change shows", within_s(1), || {
        (show.api.get(&show.path("")).expect(200)["hold"] == json!({"ttl_s": 600, "seats_max": 3}))
            .then_some(())
    });
    let closes_at = from_now_s(7_200.0);
    show.patch(&json!({"sale": {"closes_at": closes_at}}));
    let after = until("the change shows", within_s(1), || {
        let after = show.api.get(&show.path("")).expect(200);
        (after["sale"]["closes_at"] != before["sale"]["closes_at"]).then_some(after)
    });
    let off_s = seconds_between(time(&json!(closes_at)), time(&after["sale"]["closes_at"])).abs();
    assert!(off_s < 1.0, "{after}");
    assert_eq!(after["sale"]["opens_at"], before["sale"]["opens_at"]);
    assert_eq!(
        after["sale"]["lobby_opens_at"],
        before["sale"]["lobby_opens_at"]
    );
    assert_eq!(after["starts_at"], before["starts_at"]);
    // The waiting room is still there.
    show.api.fan().enter(&show);
}

#[test]
fn a_faulty_change_changes_nothing() {
    let show = room_setup().make(&shared());
    let operator = show.api.operator();
    let before = show.api.get(&show.path("")).expect(200);
    let faulty = faulty_performance_values();
    for (pointer, value) in faulty
        .iter()
        .filter(|(pointer, _)| pointer.matches('/').count() == 2)
    {
        let (section, field) = pointer[1..].split_once('/').expect("a section and a field");
        let answer = operator.patch(&show.admin_path(""), &json!({section: {field: value}}));
        assert_eq!(answer.status, 400, "{pointer} = {value} got {answer}");
        let problem = answer.any_problem(400);
        assert!(
            text(&problem["detail"]).contains(field),
            "{pointer} = {value} is not named: {problem}"
        );
    }
    for (body, named) in [
        (json!({"price_levels": []}), "price_levels"),
        (json!({"venue_id": new_id()}), "venue_id"),
        (json!({"admission": {"per_minute": 5}}), "per_minute"),
    ] {
        let problem = operator
            .patch(&show.admin_path(""), &body)
            .problem(400, "bad-request");
        assert!(text(&problem["detail"]).contains(named), "{problem}");
    }
    // One good key beside a bad one.
    operator
        .patch(
            &show.admin_path(""),
            &json!({"hold": {"seats_max": 2}, "admission": {"per_s": -1}}),
        )
        .any_problem(400);
    assert_eq!(show.api.get(&show.path("")).expect(200), before);
    operator
        .patch(
            &format!("/admin/performances/{}", new_id()),
            &json!({"hold": {"seats_max": 2}}),
        )
        .any_problem(404);
}

#[test]
fn a_sale_that_is_not_there_cannot_be_steered() {
    let operator = shared().operator();
    let id = new_id();
    for verb in ["open", "pause", "close"] {
        operator
            .post(&format!("/admin/performances/{id}/sale/{verb}"), &json!({}))
            .any_problem(404);
    }
    operator
        .get(&format!("/admin/performances/{id}/stats"))
        .any_problem(404);
    let show = Setup::new().make(&operator.api);
    let verb = operator.post(&show.admin_path("/sale/explode"), &json!({}));
    assert!(matches!(verb.status, 400 | 404 | 405), "{verb}");
}

#[test]
fn opening_is_possible_before_the_time_and_after_a_pause() {
    let show = Setup::new().opens_in_s(3_600.0).make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    fan.try_hold(&show, None, &json!({"seats": [guids[0]]}))
        .problem(409, "not-open-yet");
    show.sale("open");
    until("it is open", within_s(1), || {
        (fan.try_hold(&show, None, &json!({"seats": [guids[0]]}))
            .status
            == 201)
            .then_some(())
    });
    show.sale("pause");
    show.sale("open");
    until("it is open again", within_s(1), || {
        (fan.try_hold(&show, None, &json!({"seats": [guids[1]]}))
            .status
            == 201)
            .then_some(())
    });
}

#[track_caller]
fn check_stats(stats: &Value) {
    for field in [
        "waiting",
        "called",
        "active",
        "holds",
        "seats_free",
        "seats_held",
        "seats_sold",
    ] {
        assert!(stats[field].is_u64(), "`{field}` of {stats}");
    }
    for field in ["bookings_per_s", "admit_per_s"] {
        assert!(stats[field].is_number(), "`{field}` of {stats}");
    }
    for field in ["sent", "failed"] {
        assert!(
            stats["notices"][field].is_u64(),
            "`notices.{field}` of {stats}"
        );
    }
    assert!(
        stats["notices"].get("p95_ms").is_some(),
        "`notices.p95_ms` of {stats}"
    );
}

/// One waiting, one called, one inside with two seats held and one bought.
#[track_caller]
fn busy_show() -> Show {
    let show = Setup::new().admission(1_000.0, 2, 600, 600).make(&shared());
    let fans = show.api.fans(4);
    let pass = fans[0].enter(&show);
    let guids = show.guids();
    let hold = fans[0]
        .try_hold(&show, Some(&pass), &json!({"seats": [guids[0]]}))
        .expect(201);
    fans[0].book(&hold);
    let pass = fans[1].enter(&show);
    fans[1]
        .try_hold(&show, Some(&pass), &json!({"seats": [guids[1], guids[2]]}))
        .expect(201);
    fans[2].join(&show);
    fans[2].until_place_is(&show, "called", within_s(1));
    fans[3].join(&show);
    show
}

#[test]
fn stats_say_what_is_going_on() {
    let show = busy_show();
    let stats = until("the stats follow", within_s(1), || {
        let stats = show.stats();
        (stats["waiting"] == 1 && stats["seats_sold"] == 1).then_some(stats)
    });
    check_stats(&stats);
    let seen = [
        "waiting",
        "called",
        "active",
        "holds",
        "seats_free",
        "seats_held",
        "seats_sold",
    ]
    .map(|f| count(&stats[f]));
    assert_eq!(seen, [1, 1, 1, 1, 17, 2, 1], "{stats}");
}

#[test]
fn stats_come_live() {
    let show = busy_show();
    let live = show.api.operator().stream(&show.admin_path("/live"));
    let first = live.next(within_s(2)).expect("the state at once");
    check_stats(&first.value());
    let guids = show.guids();
    show.patch(&json!({"admission": null}));
    until("a hold without a pass", within_s(1), || {
        (show
            .api
            .fan()
            .try_hold(&show, None, &json!({"seats": [guids[9]]}))
            .status
            == 201)
            .then_some(())
    });
    until("the stream shows it", within_s(3), || {
        let frame = live.next(Duration::from_millis(500))?;
        (frame.value()["seats_held"] == 3).then_some(())
    });
}

#[test]
fn what_is_not_final_is_listed_with_its_age() {
    let show = Setup::new().make(&shared());
    let operator = show.api.operator();
    let (fan, guids) = (show.api.fan(), show.guids());
    let booking_id = new_id();
    fan.try_book(
        &booking_id,
        &fan.hold(&show, &[&guids[0]])["hold_id"],
        "never",
    )
    .expect(202);
    let done = text(&fan.book(&fan.hold(&show, &[&guids[1]]))["booking_id"]);
    let mut cursor = String::new();
    let mut found = None;
    for _ in 0..100 {
        let page = operator
            .get(&format!("/admin/bookings?state=pending&limit=200{cursor}"))
            .expect(200);
        for item in list(&page["items"]) {
            assert_ne!(item["booking_id"], done, "a final booking is listed");
            assert_eq!(item["state"], "pending", "{item}");
            if item["booking_id"] == booking_id {
                found = Some(item.clone());
            }
        }
        match &page["next_cursor"] {
            Value::Null => break,
            next => cursor = format!("&cursor={}", text(next)),
        }
    }
    let item = found.expect("the pending booking is listed");
    let aged = item
        .as_object()
        .expect("an object")
        .iter()
        .any(|(key, age)| key.starts_with("age") && age.is_number());
    assert!(aged, "no age: {item}");
}

#[test]
fn a_price_is_what_the_operator_said() {
    let levels = json!([{"name": "Regular", "price": {"amount_minor": 2_550, "currency": "EUR"}, "sections": ["A", "B"]}]);
    let show = Setup::new().price_levels(levels).make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let booking = fan.book(&fan.hold(&show, &[&guids[0], &guids[1]]));
    assert_eq!(
        booking["total"],
        json!({"amount_minor": 5_100, "currency": "EUR"})
    );
    assert_ne!(booking["total"], krw(PRICE_MINOR));
}
