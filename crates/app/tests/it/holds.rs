//! Holds: all or none, exactly one owner, and free again in time.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{
    holds_for, in_parallel, let_pass, new_id, seconds_between, shared, time, until, within_s,
};
use crate::show::{PRICE_MINOR, Seat, Setup, Show, count, krw, list, text};

#[track_caller]
fn guids_of(hold: &Value) -> BTreeSet<String> {
    list(&hold["seats"])
        .iter()
        .map(|seat| text(&seat["seat_guid"]))
        .collect()
}

/// Seats of one row whose numbers follow each other.
#[track_caller]
fn check_adjacent(show: &Show, hold: &Value) {
    let plan = show.plan();
    let mut at: Vec<usize> = guids_of(hold)
        .iter()
        .map(|guid| {
            plan.iter()
                .position(|seat| &seat.guid == guid)
                .expect("a seat of the plan")
        })
        .collect();
    at.sort_unstable();
    for pair in at.windows(2) {
        let (left, right): (&Seat, &Seat) = (&plan[pair[0]], &plan[pair[1]]);
        assert_eq!(pair[0] + 1, pair[1], "{left:?} is not beside {right:?}");
        assert_eq!(
            (&left.section, &left.row),
            (&right.section, &right.row),
            "two rows"
        );
    }
}

#[test]
fn a_hold_says_what_is_held_for_how_much_and_how_long() {
    let show = Setup::new().hold(300, 8).make(&shared());
    let (fan, plan) = (show.api.fan(), show.plan());
    let hold_id = new_id();
    let wish = json!({"seats": [plan[0].guid, plan[1].guid]});
    let hold = fan.try_hold_as(&show, &hold_id, None, &wish).expect(201);
    assert_eq!(hold["hold_id"], hold_id);
    assert_eq!(hold["state"], "active");
    assert_eq!(hold["total"], krw(2 * PRICE_MINOR));
    let life_s = seconds_between(Timestamp::now(), time(&hold["expires_at"]));
    assert!((290.0..=300.5).contains(&life_s), "{life_s}");
    let seats = list(&hold["seats"]);
    assert_eq!(seats.len(), 2);
    for wanted in &plan[..2] {
        let seat = seats
            .iter()
            .find(|seat| seat["seat_guid"] == wanted.guid)
            .expect("the seat asked for");
        assert_eq!(seat["section"], wanted.section);
        assert_eq!(seat["row"], wanted.row);
        assert_eq!(seat["seat"], wanted.seat);
        assert_eq!(seat["price"], krw(PRICE_MINOR));
    }
    let seen = fan.get(&format!("/holds/{hold_id}")).expect(200);
    assert_eq!(seen, hold);
}

#[test]
fn the_same_hold_again_is_the_same_answer() {
    let show = Setup::new().make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let hold_id = new_id();
    let wish = json!({"seats": [guids[0], guids[1]]});
    let first = fan.try_hold_as(&show, &hold_id, None, &wish).expect(201);
    for answer in in_parallel(4, |_| fan.try_hold_as(&show, &hold_id, None, &wish)) {
        assert_eq!(answer.expect_any(&[200, 201]), first);
    }
    let best = json!({"best": {"quantity": 2, "together": true}});
    let best_id = new_id();
    let first = fan.try_hold_as(&show, &best_id, None, &best).expect(201);
    assert_eq!(
        fan.try_hold_as(&show, &best_id, None, &best)
            .expect_any(&[200, 201]),
        first
    );
    assert_eq!(show.stats()["seats_held"], 4);
}

#[test]
fn a_repeat_sent_at_once_holds_once() {
    let show = Setup::new().make(&shared());
    let fan = show.api.fan();
    let hold_id = new_id();
    let wish = json!({"best": {"quantity": 2, "together": true}});
    let answers = in_parallel(8, |_| {
        fan.try_hold_as(&show, &hold_id, None, &wish)
            .expect_any(&[200, 201])
    });
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    assert_eq!(show.stats()["seats_held"], 2);
}

#[test]
fn an_id_used_for_something_else_is_refused() {
    let api = shared();
    let (show, other_show) = (Setup::new().make(&api), Setup::new().make(&api));
    let (fan, guids) = (api.fan(), show.guids());
    let hold_id = new_id();
    fan.try_hold_as(&show, &hold_id, None, &json!({"seats": [guids[0]]}))
        .expect(201);
    for other in [
        json!({"seats": [guids[1]]}),
        json!({"seats": [guids[0], guids[1]]}),
        json!({"best": {"quantity": 1, "together": true}}),
    ] {
        fan.try_hold_as(&show, &hold_id, None, &other)
            .problem(422, "id-reused");
    }
    let elsewhere = json!({"seats": [other_show.guids()[0]]});
    fan.try_hold_as(&other_show, &hold_id, None, &elsewhere)
        .problem(422, "id-reused");
    let stranger = api
        .fan()
        .try_hold_as(&show, &hold_id, None, &json!({"seats": [guids[0]]}));
    assert!(matches!(stranger.status, 404 | 409 | 422), "{stranger}");
    assert_eq!(
        guids_of(&fan.get(&format!("/holds/{hold_id}")).expect(200)),
        BTreeSet::from([guids[0].clone()])
    );
}

#[test]
fn a_taken_seat_is_named_and_nothing_else_is_held() {
    let show = Setup::new().make(&shared());
    let (fan, other, guids) = (show.api.fan(), show.api.fan(), show.guids());
    fan.hold(&show, &[&guids[1], &guids[2]]);
    let refusal = other.try_hold(
        &show,
        None,
        &json!({"seats": [guids[0], guids[1], guids[3]]}),
    );
    let refusal = refusal.problem(409, "seat-taken");
    assert_eq!(refusal["seats"], json!([guids[1]]), "{refusal}");
    other.hold(&show, &[&guids[0], &guids[3]]);
    // One's own seat is taken as well.
    fan.try_hold(&show, None, &json!({"seats": [guids[1]]}))
        .problem(409, "seat-taken");
}

#[test]
fn of_two_fans_after_one_seat_exactly_one_has_it() {
    let show = Setup::seats(1, 4, 5).make(&shared());
    let (fans, guids) = (show.api.fans(4), show.guids());
    for guid in &guids[..6] {
        let answers = in_parallel(fans.len(), |index| {
            fans[index].try_hold(&show, None, &json!({"seats": [guid]}))
        });
        assert_eq!(
            answers.iter().filter(|answer| answer.status == 201).count(),
            1
        );
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            assert_eq!(answer.problem(409, "seat-taken")["seats"], json!([guid]));
        }
    }
}

#[test]
fn several_seats_are_all_or_none_whoever_races() {
    let show = Setup::seats(1, 1, 12).make(&shared());
    let (fans, guids) = (show.api.fans(6), show.guids());
    for round in 0..4 {
        let ring = &guids[round * 3..round * 3 + 3];
        let held = in_parallel(fans.len(), |index| {
            let wish = json!({"seats": [ring[index % 3], ring[(index + 1) % 3]]});
            let answer = fans[index].try_hold(&show, None, &wish);
            if answer.status == 201 {
                return Some(answer.expect(201));
            }
            answer.problem(409, "seat-taken");
            None
        });
        let held: Vec<_> = held.into_iter().flatten().collect();
        // Two pairs of a ring of three always share a seat.
        assert_eq!(held.len(), 1, "{held:?}");
        assert_eq!(guids_of(&held[0]).len(), 2);
        assert_eq!(show.stats()["seats_held"], 2 * (round as u64 + 1));
    }
}

#[test]
fn a_hold_before_opening_or_after_closing_is_refused_with_and_without_a_room() {
    let api = shared();
    for room in [false, true] {
        let with = |setup: Setup| if room { setup.wide_room() } else { setup }.make(&api);
        let fan = api.fan();
        let wish = json!({"best": {"quantity": 1, "together": true}});
        let early = with(Setup::new().opens_in_s(3_600.0));
        fan.try_hold(&early, None, &wish)
            .problem(409, "not-open-yet");
        let late = with(Setup::new().opens_in_s(-60.0).closes_in_s(-1.0));
        fan.try_hold(&late, None, &wish).problem(410, "sale-closed");
    }
    let show = Setup::new().wide_room().make(&api);
    let fan = api.fan();
    let pass = fan.enter(&show);
    show.sale("close");
    until("the closing takes effect", within_s(1), || {
        let answer = fan.try_hold(
            &show,
            Some(&pass),
            &json!({"best": {"quantity": 1, "together": true}}),
        );
        (answer.status != 201).then(|| answer.problem(410, "sale-closed"))
    });
}

#[test]
fn it_opens_for_holds_by_itself() {
    let show = Setup::new().opens_in_s(1.5).make(&shared());
    let fan = show.api.fan();
    let opens_at = time(&show.api.get(&show.path("")).expect(200)["sale"]["opens_at"]);
    until("holds are taken", within_s(3), || {
        let asked_at = Timestamp::now();
        let answer = fan.try_hold(
            &show,
            None,
            &json!({"best": {"quantity": 1, "together": true}}),
        );
        if answer.status == 201 {
            assert!(Timestamp::now() >= opens_at, "held before the opening");
            return Some(());
        }
        answer.problem(409, "not-open-yet");
        assert!(
            seconds_between(opens_at, asked_at) <= within_s(1).as_secs_f64(),
            "still closed"
        );
        None
    });
}

#[test]
fn a_wish_that_makes_no_sense_is_refused() {
    let show = Setup::new().make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    for wish in [
        json!({"seats": []}),
        json!({"seats": [guids[0], guids[0]]}),
        json!({"best": {"quantity": 0, "together": true}}),
        json!({"best": {"quantity": -1, "together": true}}),
        json!({"best": {"quantity": 1.5, "together": true}}),
        json!({"area": "Floor A", "quantity": 0}),
        json!({"seats": [guids[0]], "best": {"quantity": 1, "together": true}}),
        json!({}),
    ] {
        let answer = fan.try_hold(&show, None, &wish);
        assert_eq!(answer.status, 400, "{wish} got {answer}");
        answer.any_problem(400);
    }
    fan.try_hold(&show, None, &json!({"seats": ["no-such-seat"]}))
        .problem(400, "unknown-seat");
    fan.try_hold(&show, None, &json!({"seats": [guids[0], "no-such-seat"]}))
        .problem(400, "unknown-seat");
    let area = fan.try_hold(&show, None, &json!({"area": "no such area", "quantity": 1}));
    assert!((400..500).contains(&area.status), "{area}");
    area.any_problem(area.status);
    let other = Setup::seats(3, 4, 5).make(&show.api);
    let strange: Vec<_> = other
        .guids()
        .into_iter()
        .filter(|guid| !guids.contains(guid))
        .collect();
    if let Some(guid) = strange.first() {
        fan.try_hold(&show, None, &json!({"seats": [guid]}))
            .problem(400, "unknown-seat");
    }
    assert_eq!(show.stats()["seats_free"], 20);
    fan.post(
        &format!("/performances/{}/holds", new_id()),
        &json!({"hold_id": new_id(), "seats": [guids[0]]}),
    )
    .any_problem(404);
}

#[test]
fn seats_max_bounds_all_live_holds_of_a_fan_together() {
    let show = Setup::seats(1, 4, 5).hold(600, 4).make(&shared());
    let (fan, other, guids) = (show.api.fan(), show.api.fan(), show.guids());
    fan.try_hold(&show, None, &json!({"seats": guids[..5]}))
        .problem(422, "too-many-seats");
    fan.try_hold(
        &show,
        None,
        &json!({"best": {"quantity": 5, "together": true}}),
    )
    .problem(422, "too-many-seats");
    let first = fan.hold(&show, &[&guids[0], &guids[1], &guids[2]]);
    // It is checked before the seats are looked at: these two are taken.
    fan.try_hold(&show, None, &json!({"seats": [guids[0], guids[1]]}))
        .problem(422, "too-many-seats");
    fan.try_hold(
        &show,
        None,
        &json!({"best": {"quantity": 2, "together": true}}),
    )
    .problem(422, "too-many-seats");
    let last = fan.hold(&show, &[&guids[3]]);
    fan.try_hold(&show, None, &json!({"seats": [guids[4]]}))
        .problem(422, "too-many-seats");
    other.hold(&show, &[&guids[4]]);
    assert_eq!(
        fan.delete(&format!("/holds/{}", text(&first["hold_id"])))
            .status,
        204
    );
    fan.hold(&show, &[&guids[5], &guids[6], &guids[7]]);
    // Seats that are bought are not held any more.
    fan.book(&last);
    fan.hold(&show, &[&guids[8]]);
    fan.try_hold(&show, None, &json!({"seats": [guids[9]]}))
        .problem(422, "too-many-seats");
}

#[test]
fn seats_max_holds_in_a_race_too() {
    let show = Setup::seats(1, 4, 5).hold(600, 4).make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let answers = in_parallel(8, |index| {
        fan.try_hold(
            &show,
            None,
            &json!({"seats": [guids[2 * index], guids[2 * index + 1]]}),
        )
    });
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 201).count(),
        2
    );
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.problem(422, "too-many-seats");
    }
}

#[test]
fn best_seats_are_adjacent_and_where_asked() {
    let levels = json!([
        {"name": "Gold", "price": krw(200_000), "sections": ["A"]},
        {"name": "Silver", "price": krw(100_000), "sections": ["B"]},
    ]);
    let show = Setup::seats(2, 3, 6).price_levels(levels).make(&shared());
    let fan = show.api.fan();
    let seen = show.api.get(&show.path("")).expect(200);
    let silver = list(&seen["price_levels"])
        .iter()
        .find(|level| level["name"] == "Silver")
        .expect("Silver")
        .clone();
    for (best, section) in [
        (json!({"quantity": 3, "together": true}), None),
        (
            json!({"quantity": 2, "together": true, "section": "B"}),
            Some("B"),
        ),
        (
            json!({"quantity": 2, "together": true, "price_level_id": silver["price_level_id"]}),
            Some("B"),
        ),
        (
            json!({"quantity": 1, "together": true, "section": "A"}),
            Some("A"),
        ),
    ] {
        let hold = fan
            .try_hold(&show, None, &json!({"best": best}))
            .expect(201);
        check_adjacent(&show, &hold);
        let seats = list(&hold["seats"]);
        assert_eq!(seats.len() as u64, count(&best["quantity"]));
        let mut total = 0;
        for seat in seats {
            assert!(
                section.is_none_or(|section| seat["section"] == section),
                "{best} got {seat}"
            );
            let price = if seat["section"] == "A" {
                200_000
            } else {
                100_000
            };
            assert_eq!(seat["price"], krw(price));
            total += price;
        }
        assert_eq!(hold["total"], krw(total));
    }
    let nowhere = fan.try_hold(
        &show,
        None,
        &json!({"best": {"quantity": 1, "together": true, "section": "Z"}}),
    );
    assert!((400..500).contains(&nowhere.status), "{nowhere}");
    let nowhere = json!({"best": {"quantity": 1, "together": true, "price_level_id": new_id()}});
    let nowhere = fan.try_hold(&show, None, &nowhere);
    assert!((400..500).contains(&nowhere.status), "{nowhere}");
}

#[test]
fn best_never_splits_who_wants_to_sit_together() {
    let show = Setup::seats(1, 1, 5).make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    fan.hold(&show, &[&guids[1], &guids[3]]);
    // Three single seats are left.
    let apart = show.api.fan().try_hold(
        &show,
        None,
        &json!({"best": {"quantity": 2, "together": true}}),
    );
    apart.problem(409, "sold-out");
    assert_eq!(show.stats()["seats_held"], 2);
}

#[test]
fn many_who_ask_for_the_best_all_get_different_seats() {
    let show = Setup::seats(2, 4, 6).make(&shared());
    let fans = show.api.fans(24);
    let holds = in_parallel(fans.len(), |index| {
        fans[index].try_hold(
            &show,
            None,
            &json!({"best": {"quantity": 2, "together": true}}),
        )
    });
    let mut seen = BTreeSet::new();
    for answer in &holds {
        if answer.status == 201 {
            let hold = answer.expect(201);
            check_adjacent(&show, &hold);
            for guid in guids_of(&hold) {
                assert!(seen.insert(guid.clone()), "{guid} is held twice");
            }
        } else {
            answer.problem(409, "sold-out");
        }
    }
    // 48 seats in rows of six, two by two: all of them fit.
    assert_eq!(seen.len(), 48);
    show.api
        .fan()
        .try_hold(
            &show,
            None,
            &json!({"best": {"quantity": 1, "together": true}}),
        )
        .problem(409, "sold-out");
}

#[test]
fn an_area_is_held_by_quantity() {
    let show = Setup::standing(10).make(&shared());
    let fan = show.api.fan();
    let hold = fan
        .try_hold(&show, None, &json!({"area": "Floor A", "quantity": 2}))
        .expect(201);
    assert_eq!(hold["total"], krw(2 * PRICE_MINOR));
    let spots = list(&hold["seats"]);
    assert_eq!(spots.len(), 2);
    for spot in spots {
        assert_eq!(spot["area"], "Floor A");
        assert_eq!(spot["section"], "Floor");
        assert_eq!(spot["price"], krw(PRICE_MINOR));
    }
    fan.try_hold(&show, None, &json!({"area": "Floor A", "quantity": 7}))
        .problem(422, "too-many-seats");
    show.api
        .fan()
        .try_hold(&show, None, &json!({"area": "Floor A", "quantity": 8}))
        .expect(201);
    show.api
        .fan()
        .try_hold(&show, None, &json!({"area": "Floor A", "quantity": 1}))
        .problem(409, "sold-out");
    assert_eq!(
        fan.delete(&format!("/holds/{}", text(&hold["hold_id"])))
            .status,
        204
    );
    // All or none: two are left, not three.
    show.api
        .fan()
        .try_hold(&show, None, &json!({"area": "Floor A", "quantity": 3}))
        .problem(409, "sold-out");
    show.api
        .fan()
        .try_hold(&show, None, &json!({"area": "Floor A", "quantity": 2}))
        .expect(201);
}

#[test]
fn an_area_never_takes_more_than_its_capacity() {
    let show = Setup::standing(10).make(&shared());
    let fans = show.api.fans(16);
    let answers = in_parallel(fans.len(), |index| {
        fans[index].try_hold(&show, None, &json!({"area": "Floor A", "quantity": 1}))
    });
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 201).count(),
        10
    );
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.problem(409, "sold-out");
    }
}

#[test]
fn seats_of_an_expired_hold_are_free_in_time_and_not_before() {
    let show = Setup::new().hold(2, 8).make(&shared());
    let (fan, other, guids) = (show.api.fan(), show.api.fan(), show.guids());
    let hold = fan.hold(&show, &[&guids[0], &guids[1]]);
    let expires_at = time(&hold["expires_at"]);
    let path = format!("/holds/{}", text(&hold["hold_id"]));
    until("the seats are free to others", within_s(4), || {
        let answer = other.try_hold(&show, None, &json!({"seats": [guids[0], guids[1]]}));
        let now = Timestamp::now();
        if answer.status == 201 {
            assert!(now >= expires_at, "taken over before it expired");
            assert!(
                seconds_between(expires_at, now) <= within_s(2).as_secs_f64(),
                "too late"
            );
            return Some(());
        }
        answer.problem(409, "seat-taken");
        None
    });
    let seen = fan.get(&path).expect(200);
    assert_eq!(seen["state"], "expired");
    assert_eq!(guids_of(&seen), guids_of(&hold));
    fan.try_book(&new_id(), &hold["hold_id"], "ok")
        .problem(410, "hold-expired");
}

#[test]
fn an_expired_hold_shows_as_free_everywhere() {
    let show = Setup::new().hold(1, 8).make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let hold = fan.hold(&show, &[&guids[0]]);
    let path = format!("/holds/{}", text(&hold["hold_id"]));
    until("the hold is expired", within_s(3), || {
        (fan.get(&path).expect(200)["state"] == "expired").then_some(())
    });
    until("the picture shows it", within_s(4), || {
        (show.availability()["seats"][&guids[0]] == "free" && show.stats()["seats_free"] == 20)
            .then_some(())
    });
    // It counts no more against the fan's own cap either.
    fan.try_hold(&show, None, &json!({"seats": guids[..8]}))
        .expect(201);
}

#[test]
fn expired_seats_never_get_lost() {
    let show = Setup::seats(1, 1, 4).hold(1, 4).make(&shared());
    for _ in 0..3 {
        until("all four can be held again", within_s(4), || {
            let answer = show.api.fan().try_hold(
                &show,
                None,
                &json!({"best": {"quantity": 4, "together": true}}),
            );
            (answer.status == 201).then_some(())
        });
    }
}

#[test]
fn a_released_hold_is_free_at_once() {
    let show = Setup::new().make(&shared());
    let (fan, other, guids) = (show.api.fan(), show.api.fan(), show.guids());
    for _ in 0..10 {
        let hold = fan.hold(&show, &[&guids[0]]);
        let path = format!("/holds/{}", text(&hold["hold_id"]));
        assert_eq!(fan.delete(&path).status, 204);
        let taken = other.hold(&show, &[&guids[0]]);
        assert_eq!(fan.get(&path).expect(200)["state"], "released");
        fan.try_book(&new_id(), &hold["hold_id"], "ok")
            .problem(410, "hold-expired");
        // Releasing it again must not touch what somebody else holds by now.
        let again = fan.delete(&path);
        assert!(matches!(again.status, 204 | 404 | 409 | 410), "{again}");
        let path = format!("/holds/{}", text(&taken["hold_id"]));
        assert_eq!(other.get(&path).expect(200)["state"], "active");
        assert_eq!(other.delete(&path).status, 204);
    }
}

#[test]
fn a_confirmed_hold_cannot_be_released() {
    let show = Setup::new().make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let hold = fan.hold(&show, &[&guids[0]]);
    let booking = fan.book(&hold);
    let path = format!("/holds/{}", text(&hold["hold_id"]));
    assert_eq!(fan.get(&path).expect(200)["state"], "confirmed");
    let answer = fan.delete(&path);
    assert!(
        answer.status == 204 || (400..500).contains(&answer.status),
        "{answer}"
    );
    assert_eq!(fan.get(&path).expect(200)["state"], "confirmed");
    assert_eq!(
        fan.booking(&text(&booking["booking_id"]))["state"],
        "confirmed"
    );
    show.api
        .fan()
        .try_hold(&show, None, &json!({"seats": [guids[0]]}))
        .problem(409, "seat-taken");
}

#[test]
fn release_and_booking_race_to_one_result() {
    let show = Setup::seats(1, 2, 6).make(&shared());
    let guids = show.guids();
    for guid in &guids[..8] {
        let fan = show.api.fan();
        let hold = fan.hold(&show, &[guid]);
        let path = format!("/holds/{}", text(&hold["hold_id"]));
        let booking_id = new_id();
        let answers = in_parallel(2, |index| {
            if index == 0 {
                fan.delete(&path)
            } else {
                fan.book_and_wait(&booking_id, &hold["hold_id"], "ok")
            }
        });
        let state = text(&fan.get(&path).expect(200)["state"]);
        let next = show
            .api
            .fan()
            .try_hold(&show, None, &json!({"seats": [guid]}));
        if answers[1].status == 201 {
            assert_eq!(state, "confirmed");
            next.problem(409, "seat-taken");
        } else {
            assert_eq!(state, "released", "the booking was answered {}", answers[1]);
            next.expect(201);
        }
    }
}

#[test]
fn other_peoples_holds_are_not_there() {
    let show = Setup::new().make(&shared());
    let (fan, stranger, guids) = (show.api.fan(), show.api.fan(), show.guids());
    let hold = fan.hold(&show, &[&guids[0]]);
    let path = format!("/holds/{}", text(&hold["hold_id"]));
    let missing = format!("/holds/{}", new_id());
    for (foreign, absent) in [
        (stranger.get(&path), stranger.get(&missing)),
        (stranger.delete(&path), stranger.delete(&missing)),
    ] {
        let (foreign, absent) = (foreign.any_problem(404), absent.any_problem(404));
        assert_eq!(foreign["code"], absent["code"]);
        assert_eq!(foreign["title"], absent["title"]);
    }
    stranger
        .try_book(&new_id(), &hold["hold_id"], "ok")
        .any_problem(404);
    assert_eq!(fan.get(&path).expect(200)["state"], "active");
}

#[test]
fn a_new_length_of_holds_is_for_new_holds() {
    let show = Setup::new().hold(600, 8).make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let old = fan.hold(&show, &[&guids[0]]);
    show.patch(&json!({"hold": {"ttl_s": 60}}));
    let_pass(Duration::from_secs(1));
    let new = fan.hold(&show, &[&guids[1]]);
    let life_s = seconds_between(Timestamp::now(), time(&new["expires_at"]));
    assert!((55.0..=60.5).contains(&life_s), "{life_s}");
    let seen = fan
        .get(&format!("/holds/{}", text(&old["hold_id"])))
        .expect(200);
    assert_eq!(seen["expires_at"], old["expires_at"]);
    assert_eq!(
        show.api.get(&show.path("")).expect(200)["hold"],
        json!({"ttl_s": 60, "seats_max": 8})
    );
    holds_for(Duration::from_millis(300), || {
        assert_eq!(show.stats()["seats_held"], 2)
    });
}
