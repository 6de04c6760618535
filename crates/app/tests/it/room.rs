//! The waiting room: who stands where, who is called and when, and what the operator may change.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{
    holds_for, in_parallel, new_id, seconds_between, shared, slack, time, until, within_s,
};
use crate::show::{Setup, Show, count, text};

/// Every field of a place, with what each may be.
#[track_caller]
fn check_place(place: &Value) {
    assert!(!text(&place["place"]).is_empty(), "{place}");
    assert!(count(&place["number"]) >= 1, "{place}");
    let state = text(&place["state"]);
    let states = ["lobby", "waiting", "called", "entered", "lapsed", "left"];
    assert!(states.contains(&state.as_str()), "{place}");
    let (position, ahead) = (count(&place["position"]), count(&place["ahead"]));
    if matches!(state.as_str(), "lobby" | "waiting") {
        assert_eq!(position, ahead + 1, "{place}");
    }
    if matches!(state.as_str(), "called" | "entered") {
        assert_eq!(position, 0, "{place}");
    }
    assert!(
        (1..=20_000).contains(&count(&place["poll_after_ms"])),
        "{place}"
    );
    let eta = &place["eta_s"];
    assert!(
        eta.is_null() || eta.as_f64().is_some_and(|seconds| seconds >= 0.0),
        "{place}"
    );
    assert!(place.get("eta_s").is_some(), "no `eta_s`: {place}");
    if state == "called" {
        time(&place["call_expires_at"]);
    }
}

/// A room in which nobody is called until the operator says so.
fn closed_door() -> Setup {
    Setup::new().admission(1_000.0, 0, 600, 600)
}

#[track_caller]
fn let_in(show: &Show, active_max: u32) {
    show.patch(&json!({"admission": {"active_max": active_max}}));
}

#[track_caller]
fn room(show: &Show) -> Value {
    show.api.get(&show.path("/waiting-room")).expect(200)
}

/// When the fan of this `called` place was called.
#[track_caller]
fn called_at(place: &Value, claim_within_s: i64) -> Timestamp {
    time(&place["call_expires_at"]) - SignedDuration::from_secs(claim_within_s)
}

#[test]
fn the_first_join_is_201_and_every_repeat_200_with_the_same_number() {
    let show = closed_door().make(&shared());
    let fan = show.api.fan();
    let first = fan.join(&show);
    check_place(&first);
    assert_eq!(first["number"], 1);
    assert_eq!(first["state"], "waiting");
    for _ in 0..3 {
        let again = fan.try_join(&show).expect(200);
        check_place(&again);
        assert_eq!(again["number"], first["number"]);
    }
    let seen = fan.place(&show);
    check_place(&seen);
    assert_eq!(seen["number"], first["number"]);
}

#[test]
fn whoever_joins_later_stands_behind() {
    let show = closed_door().make(&shared());
    let mut last = 0;
    for fan in show.api.fans(8) {
        let number = count(&fan.join(&show)["number"]);
        assert!(number > last, "{number} after {last}");
        last = number;
    }
}

#[test]
fn numbers_are_unique_when_everybody_joins_at_once() {
    let show = closed_door().make(&shared());
    let fans = show.api.fans(30);
    let numbers = in_parallel(fans.len(), |index| {
        count(&fans[index].join(&show)["number"])
    });
    assert_eq!(
        numbers.iter().collect::<BTreeSet<_>>().len(),
        fans.len(),
        "{numbers:?}"
    );
    let later = count(&show.api.fan().join(&show)["number"]);
    assert!(numbers.iter().all(|number| *number < later));
    until("the room counts them", within_s(1), || {
        let room = room(&show);
        (count(&room["queue_counter"]) == later && count(&room["waiting"]) == 31).then_some(())
    });
}

#[test]
fn a_fan_who_joins_many_times_at_once_has_one_place() {
    let show = closed_door().make(&shared());
    let fan = show.api.fan();
    let answers = in_parallel(8, |_| fan.try_join(&show));
    let numbers: BTreeSet<_> = answers
        .iter()
        .map(|a| count(&a.expect_any(&[200, 201])["number"]))
        .collect();
    assert_eq!(numbers.len(), 1, "{numbers:?}");
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 201).count(),
        1
    );
}

#[test]
fn without_a_place_there_is_none() {
    let show = closed_door().make(&shared());
    let fan = show.api.fan();
    fan.get(&show.path("/waiting-room/place"))
        .problem(404, "no-place");
    fan.try_enter(&show).problem(404, "no-place");
    let left = fan.delete(&show.path("/waiting-room/place"));
    assert!(matches!(left.status, 204 | 404), "{left}");
}

#[test]
fn a_room_that_is_not_there_is_a_404() {
    let fan = shared().fan();
    let path = format!("/performances/{}", new_id());
    fan.post(&format!("{path}/waiting-room"), &json!({}))
        .any_problem(404);
    fan.get(&format!("{path}/waiting-room/place"))
        .any_problem(404);
    fan.post(&format!("{path}/passes"), &json!({}))
        .any_problem(404);
}

#[test]
fn ahead_and_position_count_who_still_waits_in_front() {
    let show = closed_door().make(&shared());
    let fans = show.api.fans(4);
    for (index, fan) in fans.iter().enumerate() {
        let place = fan.join(&show);
        assert_eq!(count(&place["ahead"]), index as u64, "{place}");
        assert_eq!(count(&place["position"]), index as u64 + 1, "{place}");
    }
    let front = fans[0].place(&show);
    assert!(count(&front["poll_after_ms"]) <= 2_000, "{front}");
    assert_eq!(
        fans[1].delete(&show.path("/waiting-room/place")).status,
        204
    );
    until("those behind move up", within_s(1), || {
        let (third, fourth) = (fans[2].place(&show), fans[3].place(&show));
        check_place(&third);
        (third["position"] == 2 && fourth["position"] == 3).then_some(())
    });
    assert_eq!(fans[0].place(&show)["position"], 1);
    let_in(&show, 1);
    let called = fans[0].until_place_is(&show, "called", within_s(1));
    check_place(&called);
    until("who is called is not ahead any more", within_s(1), || {
        (fans[2].place(&show)["position"] == 1).then_some(())
    });
}

#[test]
fn a_place_given_up_is_gone_and_a_new_join_goes_to_the_end() {
    let show = closed_door().make(&shared());
    let (fan, other) = (show.api.fan(), show.api.fan());
    let old = fan.join(&show);
    let behind = other.join(&show);
    assert_eq!(fan.delete(&show.path("/waiting-room/place")).status, 204);
    let seen = fan.get(&show.path("/waiting-room/place"));
    if seen.status != 404 {
        let seen = seen.expect(200);
        assert_eq!(seen["state"], "left");
        assert_eq!(seen["number"], old["number"]);
    }
    let again = fan.join(&show);
    assert!(count(&again["number"]) > count(&behind["number"]));
    assert_eq!(again["state"], "waiting");
}

#[test]
fn the_lobby_takes_joins_and_calls_nobody() {
    let show = Setup::new().in_lobby().wide_room().make(&shared());
    let fan = show.api.fan();
    let place = fan.join(&show);
    check_place(&place);
    assert_eq!(place["state"], "lobby");
    assert_eq!(room(&show)["state"], "lobby");
    holds_for(Duration::from_millis(1_200), || {
        assert_eq!(fan.place(&show)["state"], "lobby");
        let refusal = fan.try_enter(&show).problem(403, "not-your-turn");
        assert_eq!(refusal["position"], 1, "{refusal}");
        assert!(count(&refusal["poll_after_ms"]) > 0, "{refusal}");
    });
    assert_eq!(room(&show)["serving_counter"], 0);
}

#[test]
fn before_the_lobby_a_join_is_too_early() {
    let api = shared();
    for setup in [
        Setup::new().opens_in_s(3_600.0),
        Setup::new().opens_in_s(3_600.0).lobby_opens_in_s(1_800.0),
    ] {
        let show = setup.wide_room().make(&api);
        let refusal = api.fan().try_join(&show).problem(409, "not-open-yet");
        assert!(time(&refusal["opens_at"]) > Timestamp::now(), "{refusal}");
    }
}

#[test]
fn it_opens_by_itself_at_its_time_and_not_before() {
    let show = Setup::new()
        .lobby_opens_in_s(-60.0)
        .opens_in_s(3.0)
        .admission(1_000.0, 10, 600, 600)
        .make(&shared());
    let opens_at = time(&show.api.get(&show.path("")).expect(200)["sale"]["opens_at"]);
    let fans = show.api.fans(2);
    for fan in &fans {
        assert_eq!(fan.join(&show)["state"], "lobby");
    }
    for fan in &fans {
        let place = fan.until_place_is(&show, "called", Duration::from_secs(4) + slack());
        let late_s = seconds_between(opens_at, called_at(&place, 600));
        assert!(
            (0.0..=1.0 + slack().as_secs_f64()).contains(&late_s),
            "called {late_s} s after the opening"
        );
    }
    assert_eq!(
        show.api.get(&show.path("")).expect(200)["sale"]["state"],
        "open"
    );
}

#[test]
fn the_operator_opens_before_the_time() {
    let show = Setup::new().in_lobby().wide_room().make(&shared());
    let fan = show.api.fan();
    fan.join(&show);
    show.sale("open");
    fan.until_place_is(&show, "called", within_s(1));
    fan.try_enter(&show).expect(201);
}

#[test]
fn the_operator_moves_the_opening() {
    let show = Setup::new().in_lobby().wide_room().make(&shared());
    let fan = show.api.fan();
    fan.join(&show);
    show.patch(&json!({"sale": {"opens_at": crate::harness::from_now_s(-1.0)}}));
    fan.until_place_is(&show, "called", within_s(1));
}

#[test]
fn a_pause_takes_joins_calls_nobody_and_lets_those_inside_go_on() {
    let show = Setup::new().wide_room().make(&shared());
    let inside = show.api.fan();
    let pass = inside.enter(&show);
    show.sale("pause");
    until("the room says so", within_s(1), || {
        (room(&show)["state"] == "paused").then_some(())
    });
    let fan = show.api.fan();
    let place = fan.join(&show);
    assert_eq!(place["state"], "waiting");
    holds_for(Duration::from_millis(1_500), || {
        assert_eq!(fan.place(&show)["state"], "waiting")
    });
    fan.try_enter(&show).problem(403, "not-your-turn");
    let guids = show.guids();
    let hold = inside
        .try_hold(&show, Some(&pass), &json!({"seats": [guids[0]]}))
        .expect(201);
    inside.book(&hold);
    show.sale("open");
    let called = fan.until_place_is(&show, "called", within_s(1));
    assert_eq!(called["number"], place["number"]);
}

#[test]
fn after_closing_a_join_is_too_late() {
    let api = shared();
    let show = Setup::new()
        .opens_in_s(-60.0)
        .closes_in_s(-1.0)
        .wide_room()
        .make(&api);
    api.fan().try_join(&show).problem(410, "sale-closed");
    let show = Setup::new().wide_room().make(&api);
    show.sale("close");
    let fan = api.fan();
    until("the closing takes effect", within_s(1), || {
        let answer = fan.try_join(&show);
        (answer.status == 410).then(|| answer.problem(410, "sale-closed"))
    });
    assert_eq!(room(&show)["state"], "closed");
}

#[test]
fn who_is_called_enters_and_a_repeat_gets_a_pass_of_the_same_expiry() {
    let show = Setup::new().admission(1_000.0, 10, 300, 60).make(&shared());
    let fan = show.api.fan();
    let number = fan.join(&show)["number"].clone();
    let place = fan.until_place_is(&show, "called", within_s(1));
    check_place(&place);
    let claim_s = seconds_between(Timestamp::now(), time(&place["call_expires_at"]));
    assert!((50.0..=60.5).contains(&claim_s), "{claim_s}");
    let first = fan.try_enter(&show).expect(201);
    let life_s = seconds_between(Timestamp::now(), time(&first["expires_at"]));
    assert!((290.0..=300.5).contains(&life_s), "{life_s}");
    let again = fan.try_enter(&show).expect(200);
    assert_eq!(again["expires_at"], first["expires_at"]);
    let place = fan.place(&show);
    check_place(&place);
    assert_eq!(place["state"], "entered");
    assert_eq!(place["number"], number);
    assert_eq!(fan.try_join(&show).expect(200)["number"], number);
    for pass in [&first, &again] {
        let wish = json!({"best": {"quantity": 1, "together": true}});
        fan.try_hold(&show, Some(&text(&pass["pass"])), &wish)
            .expect(201);
    }
}

#[test]
fn a_fan_who_enters_many_times_at_once_enters_once() {
    let show = Setup::new().wide_room().make(&shared());
    let fan = show.api.fan();
    fan.join(&show);
    fan.until_place_is(&show, "called", within_s(1));
    let answers = in_parallel(8, |_| fan.try_enter(&show));
    let expiries: BTreeSet<_> = answers
        .iter()
        .map(|a| text(&a.expect_any(&[200, 201])["expires_at"]))
        .collect();
    assert_eq!(expiries.len(), 1, "{expiries:?}");
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 201).count(),
        1
    );
    until("one is inside", within_s(1), || {
        let stats = show.stats();
        (stats["active"] == 1 && stats["called"] == 0).then_some(())
    });
}

#[test]
fn a_turn_that_nobody_takes_goes_to_the_next_and_not_before() {
    let show = Setup::new().admission(1_000.0, 1, 600, 1).make(&shared());
    let (absent, next) = (show.api.fan(), show.api.fan());
    let lost = absent.join(&show);
    let first = absent.until_place_is(&show, "called", within_s(1));
    next.join(&show);
    let second = next.until_place_is(&show, "called", within_s(2));
    let gap_s = seconds_between(time(&first["call_expires_at"]), called_at(&second, 1));
    assert!(
        (0.0..=1.0 + slack().as_secs_f64()).contains(&gap_s),
        "the slot was free for {gap_s} s"
    );
    absent.try_enter(&show).problem(410, "turn-lapsed");
    let lapsed = absent.place(&show);
    check_place(&lapsed);
    assert_eq!(lapsed["state"], "lapsed");
    assert_eq!(lapsed["number"], lost["number"]);
    let again = absent.join(&show);
    assert!(
        count(&again["number"]) > count(&second["number"]),
        "{again}"
    );
}

#[test]
fn absent_fans_never_stall_the_line() {
    let show = Setup::new().admission(1_000.0, 2, 600, 1).make(&shared());
    let absent = show.api.fans(6);
    for fan in &absent {
        fan.join(&show);
    }
    let present = show.api.fan();
    present.join(&show);
    // Three turns of a second each are in front.
    present.until_place_is(&show, "called", within_s(6));
    present.try_enter(&show).expect(201);
}

#[test]
fn before_the_turn_the_refusal_says_when_to_come_back() {
    let show = closed_door().make(&shared());
    let fans = show.api.fans(3);
    for fan in &fans {
        fan.join(&show);
    }
    for (index, fan) in fans.iter().enumerate() {
        let refusal = fan.try_enter(&show).problem(403, "not-your-turn");
        assert_eq!(count(&refusal["position"]), index as u64 + 1, "{refusal}");
        assert!(
            (1..=2_000).contains(&count(&refusal["poll_after_ms"])),
            "{refusal}"
        );
    }
}

#[test]
fn never_more_inside_than_active_max() {
    const ACTIVE_MAX: usize = 3;
    let show = Setup::new()
        .in_lobby()
        .admission(1_000.0, 3, 1, 1)
        .make(&shared());
    let fans = show.api.fans(12);
    for fan in &fans {
        fan.join(&show);
    }
    show.sale("open");
    // Every second fan stays away when called. What each was told gives the time in which the slot was taken.
    let mut taken = in_parallel(fans.len() + 1, |index| {
        let Some(fan) = fans.get(index) else {
            holds_for(Duration::from_secs(5), || {
                let stats = show.stats();
                let inside = count(&stats["called"]) + count(&stats["active"]);
                assert!(inside <= ACTIVE_MAX as u64, "{stats}");
            });
            return None;
        };
        let place = fan.until_place_is(&show, "called", within_s(10));
        let until = if index % 2 == 0 {
            let answer = fan.try_enter(&show);
            // On a slow machine the call may have run out by now.
            let kept_until = if answer.status == 410 {
                &place["call_expires_at"]
            } else {
                &answer.expect(201)["expires_at"]
            };
            time(kept_until)
        } else {
            time(&place["call_expires_at"])
        };
        Some((called_at(&place, 1), until))
    });
    taken.retain(Option::is_some);
    for (from, _) in taken.iter().flatten() {
        let inside = taken
            .iter()
            .flatten()
            .filter(|(start, end)| start <= from && from < end)
            .count();
        assert!(inside <= ACTIVE_MAX, "{inside} inside at {from}: {taken:?}");
    }
}

#[test]
fn never_more_calls_in_a_second_than_per_s() {
    const PER_S: usize = 5;
    let show = Setup::new()
        .in_lobby()
        .admission(5.0, 1_000, 600, 600)
        .make(&shared());
    let fans = show.api.fans(18);
    for fan in &fans {
        fan.join(&show);
    }
    show.sale("open");
    let mut calls: Vec<_> = fans
        .iter()
        .map(|fan| called_at(&fan.until_place_is(&show, "called", within_s(6)), 600))
        .collect();
    assert!(calls.is_sorted(), "called out of order: {calls:?}");
    calls.sort();
    for from in &calls {
        let end = *from + SignedDuration::from_secs(1);
        let in_a_second = calls
            .iter()
            .filter(|call| (*from..end).contains(call))
            .count();
        assert!(
            in_a_second <= PER_S,
            "{in_a_second} calls in the second from {from}: {calls:?}"
        );
    }
    let whole_s = seconds_between(calls[0], calls[calls.len() - 1]);
    assert!(
        whole_s <= 4.0 + slack().as_secs_f64(),
        "18 calls at 5 a second took {whole_s} s"
    );
}

#[test]
fn a_fraction_of_a_fan_per_second_is_one_every_few_seconds() {
    let show = Setup::new()
        .in_lobby()
        .admission(0.5, 1_000, 600, 600)
        .make(&shared());
    let fans = show.api.fans(3);
    for fan in &fans {
        fan.join(&show);
    }
    show.sale("open");
    let calls: Vec<_> = fans
        .iter()
        .map(|fan| called_at(&fan.until_place_is(&show, "called", within_s(5)), 600))
        .collect();
    for pair in calls.windows(2) {
        let gap_s = seconds_between(pair[0], pair[1]);
        assert!(
            (1.99..=3.0 + slack().as_secs_f64()).contains(&gap_s),
            "{gap_s} s between two calls"
        );
    }
}

#[test]
fn nothing_per_second_calls_nobody() {
    let show = Setup::new().admission(0.0, 1_000, 600, 600).make(&shared());
    let fan = show.api.fan();
    fan.join(&show);
    holds_for(Duration::from_millis(1_500), || {
        assert_eq!(fan.place(&show)["state"], "waiting")
    });
    show.patch(&json!({"admission": {"per_s": 10}}));
    fan.until_place_is(&show, "called", within_s(1));
}

#[test]
fn a_change_of_the_ceiling_takes_effect_within_a_second() {
    let show = closed_door().make(&shared());
    let fans = show.api.fans(6);
    for fan in &fans {
        fan.join(&show);
    }
    holds_for(Duration::from_millis(1_200), || {
        assert_eq!(fans[0].place(&show)["state"], "waiting")
    });
    let_in(&show, 2);
    fans[1].until_place_is(&show, "called", within_s(1));
    holds_for(Duration::from_millis(1_200), || {
        assert_eq!(fans[2].place(&show)["state"], "waiting")
    });
    let_in(&show, 4);
    fans[3].until_place_is(&show, "called", within_s(1));
    // A lower ceiling takes no turn away, and gives out none until there is room below it.
    let_in(&show, 1);
    until("the room keeps its counter", within_s(1), || {
        (room(&show)["serving_counter"] == 4).then_some(())
    });
    for fan in &fans[..3] {
        assert_eq!(fan.place(&show)["state"], "called");
        assert_eq!(fan.delete(&show.path("/waiting-room/place")).status, 204);
    }
    holds_for(Duration::from_millis(1_200), || {
        assert_eq!(fans[4].place(&show)["state"], "waiting")
    });
    assert_eq!(
        fans[3].delete(&show.path("/waiting-room/place")).status,
        204
    );
    fans[4].until_place_is(&show, "called", within_s(1));
    assert_eq!(fans[5].place(&show)["state"], "waiting");
}

#[test]
fn numbers_stay_and_positions_never_grow() {
    let show = Setup::new()
        .in_lobby()
        .admission(6.0, 1_000, 600, 600)
        .make(&shared());
    let fans = show.api.fans(12);
    let numbers: Vec<_> = fans
        .iter()
        .map(|fan| fan.join(&show)["number"].clone())
        .collect();
    show.sale("open");
    in_parallel(fans.len(), |index| {
        let mut last = u64::MAX;
        until("called", within_s(5), || {
            let place = fans[index].place(&show);
            check_place(&place);
            assert_eq!(place["number"], numbers[index]);
            let position = count(&place["position"]);
            assert!(position <= last, "from {last} to {position}");
            last = position;
            if index == 3 && place["state"] != "called" {
                fans[index].delete(&show.path("/waiting-room/place"));
                return Some(());
            }
            (place["state"] == "called").then_some(())
        });
    });
}

#[test]
fn the_room_is_public_fresh_and_cached_for_a_second() {
    let show = Setup::new().admission(1_000.0, 2, 600, 600).make(&shared());
    let answer = show.api.get(&show.path("/waiting-room"));
    let room_at_first = answer.expect(200);
    assert_eq!(answer.header("cache-control"), Some("public, max-age=1"));
    assert_eq!(room_at_first["state"], "open");
    for key in ["queue_counter", "serving_counter", "waiting"] {
        assert_eq!(room_at_first[key], 0, "`{key}` of {room_at_first}");
    }
    assert!(room_at_first["admit_per_s"].is_number(), "{room_at_first}");
    for fan in show.api.fans(5) {
        fan.join(&show);
    }
    until("the counters follow", within_s(1), || {
        let room = room(&show);
        (room["queue_counter"] == 5 && room["serving_counter"] == 2 && room["waiting"] == 3)
            .then_some(())
    });
}

#[test]
fn without_admission_there_is_no_room() {
    let show = Setup::new().make(&shared());
    let fan = show.api.fan();
    fan.try_join(&show).problem(409, "no-waiting-room");
    let pass = fan.try_enter(&show);
    assert!(matches!(pass.status, 404 | 409), "{pass}");
    fan.hold(&show, &[&show.guids()[0]]);
}

#[test]
fn the_room_is_switched_off_and_on_again() {
    let show = closed_door().make(&shared());
    let (waiting, fan) = (show.api.fan(), show.api.fan());
    waiting.join(&show);
    let guids = show.guids();
    fan.try_hold(&show, None, &json!({"seats": [guids[0]]}))
        .problem(403, "pass-required");
    show.patch(&json!({"admission": null}));
    until("holds need no pass", within_s(1), || {
        (fan.try_hold(&show, None, &json!({"seats": [guids[0]]}))
            .status
            == 201)
            .then_some(())
    });
    fan.try_join(&show).problem(409, "no-waiting-room");
    waiting.hold(&show, &[&guids[1]]);
    show.patch(&json!({"admission": {"per_s": 1_000, "active_max": 100, "pass_ttl_s": 60, "claim_within_s": 60}}));
    until("holds need a pass", within_s(1), || {
        let answer = fan.try_hold(&show, None, &json!({"seats": [guids[2]]}));
        (answer.status == 403).then(|| answer.problem(403, "pass-required"))
    });
    fan.enter(&show);
}
