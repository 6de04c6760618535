//! Live streams: the state at once on connecting, changes as they happen, and nothing lost over a break.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{PASSWORD, Who, let_pass, new_id, seconds_between, shared, time, within_s};
use crate::http::Frame;
use crate::show::{Setup, Show, count, text};

const ACCOUNT_STREAM: &str = "/accounts/me/stream";

fn room_stream(show: &Show) -> String {
    show.path("/waiting-room/stream")
}

/// Books a seat where no pass is needed and hands the booking's id back.
#[track_caller]
fn buy(fan: &Who, show: &Show) -> String {
    let hold = fan
        .try_hold(
            show,
            None,
            &json!({"best": {"quantity": 1, "together": true}}),
        )
        .expect(201);
    text(&fan.book(&hold)["booking_id"])
}

fn is_booking(frame: &Frame, booking_id: &str) -> bool {
    frame.event == "booking" && frame.value()["booking_id"] == booking_id
}

#[test]
fn the_room_stream_starts_with_the_current_state() {
    let show = Setup::new().admission(1_000.0, 0, 600, 600).make(&shared());
    let fan = show.api.fan();
    let place = fan.join(&show);
    for _ in 0..2 {
        let stream = fan.stream(&room_stream(&show));
        let (first, second) = (
            stream.next(within_s(1)).expect("an event"),
            stream.next(within_s(1)).expect("a second"),
        );
        let mut kinds = [first.event.as_str(), second.event.as_str()];
        kinds.sort_unstable();
        assert_eq!(kinds, ["place", "serving"], "{first:?} {second:?}");
        let (seen_place, serving) = if first.event == "place" {
            (&first, &second)
        } else {
            (&second, &first)
        };
        assert_eq!(seen_place.value()["number"], place["number"]);
        assert_eq!(seen_place.value()["state"], "waiting");
        let serving = serving.value();
        assert_eq!(serving["serving_counter"], 0);
        assert_eq!(serving["state"], "open");
        assert!(serving["admit_per_s"].is_number(), "{serving}");
    }
}

#[test]
fn the_room_stream_tells_a_fan_of_the_turn_and_everybody_of_the_counter() {
    let show = Setup::new().admission(1_000.0, 0, 600, 600).make(&shared());
    let fans = show.api.fans(3);
    for fan in &fans {
        fan.join(&show);
    }
    let streams: Vec<_> = fans
        .iter()
        .map(|fan| fan.stream(&room_stream(&show)))
        .collect();
    show.patch(&json!({"admission": {"active_max": 1}}));
    let called = streams[0]
        .find("place", within_s(2), |place| place["state"] == "called")
        .value();
    assert!(
        seconds_between(jiff::Timestamp::now(), time(&called["call_expires_at"])) > 500.0,
        "{called}"
    );
    assert_eq!(called["position"], 0);
    streams[2].find("serving", within_s(2), |serving| {
        serving["serving_counter"] == 1
    });
    let moved = fans[1].place(&show);
    assert_eq!(moved["position"], 1, "{moved}");
    fans[0].try_enter(&show).expect(201);
    streams[0].find("place", within_s(2), |place| place["state"] == "entered");
    show.sale("pause");
    streams[2].find("serving", within_s(2), |serving| {
        serving["state"] == "paused"
    });
}

#[test]
fn the_counter_on_the_stream_never_goes_back() {
    let show = Setup::new()
        .in_lobby()
        .admission(20.0, 1_000, 600, 600)
        .make(&shared());
    let fans = show.api.fans(30);
    for fan in &fans {
        fan.join(&show);
    }
    let stream = fans[0].stream(&room_stream(&show));
    show.sale("open");
    let mut last = 0;
    while last < 30 {
        let serving = stream.find("serving", within_s(3), |_| true).value();
        let counter = count(&serving["serving_counter"]);
        assert!(counter >= last, "from {last} to {counter}");
        last = counter;
    }
}

#[test]
fn a_stream_of_nobody_or_of_a_fan_without_a_place_shows_no_place() {
    let show = Setup::new().admission(1_000.0, 0, 600, 600).make(&shared());
    let fan = show.api.fan();
    let stream = fan.stream(&room_stream(&show));
    stream.find("serving", within_s(1), |_| true);
    assert!(
        stream
            .all(Duration::from_millis(500))
            .iter()
            .all(|frame| frame.event != "place")
    );
    let nobody = show
        .api
        .call("GET", &room_stream(&show))
        .stream(&show.api.address)
        .expect("a head");
    // Whether the stream needs a login is not said; a place is never shown without one.
    assert!(matches!(nobody.status, 200 | 401), "{}", nobody.status);
    assert!(
        nobody
            .all(Duration::from_millis(500))
            .iter()
            .all(|frame| frame.event != "place")
    );
    let query = format!("{}?access_token={}", room_stream(&show), fan.access_token);
    fan.join(&show);
    let by_url = show
        .api
        .call("GET", &query)
        .stream(&show.api.address)
        .expect("a head");
    assert!(
        by_url
            .all(Duration::from_millis(500))
            .iter()
            .all(|frame| frame.event != "place"),
        "a token in a URL"
    );
}

#[test]
fn a_room_that_is_not_there_has_no_stream() {
    let fan = shared().fan();
    fan.get(&format!("/performances/{}/waiting-room/stream", new_id()))
        .any_problem(404);
    shared().get(ACCOUNT_STREAM).problem(401, "login-required");
}

#[test]
fn the_account_stream_tells_of_bookings() {
    let show = Setup::new().make(&shared());
    let fan = show.api.fan();
    let stream = fan.stream(ACCOUNT_STREAM);
    let hold = fan
        .try_hold(
            &show,
            None,
            &json!({"best": {"quantity": 1, "together": true}}),
        )
        .expect(201);
    let refused = new_id();
    fan.try_book(&refused, &hold["hold_id"], "declined")
        .expect(202);
    let frame = stream.find("booking", Duration::from_secs(10), |event| {
        event["booking_id"] == refused && event["state"] == "refused"
    });
    assert_eq!(frame.value()["code"], "payment-declined");
    assert!(frame.id.is_some(), "{frame:?}");
    let confirmed = new_id();
    fan.try_book(&confirmed, &hold["hold_id"], "ok").expect(202);
    let frame = stream.find("booking", Duration::from_secs(10), |event| {
        event["booking_id"] == confirmed && event["state"] == "confirmed"
    });
    assert!(frame.id.is_some(), "{frame:?}");
    fan.cancel(&confirmed).expect(202);
    stream.find("booking", Duration::from_secs(10), |event| {
        event["booking_id"] == confirmed && event["state"] == "cancelled"
    });
}

#[test]
fn the_account_stream_calls_a_fan() {
    let show = Setup::new().admission(1_000.0, 0, 600, 600).make(&shared());
    let fan = show.api.fan();
    let stream = fan.stream(ACCOUNT_STREAM);
    fan.join(&show);
    show.patch(&json!({"admission": {"active_max": 1}}));
    let (mut notice, mut place) = (None, None);
    while notice.is_none() || place.is_none() {
        let frame = stream
            .next(within_s(5))
            .unwrap_or_else(|| panic!("notice {notice:?}, place {place:?}"));
        assert!(
            frame.id.as_ref().is_some_and(|id| !id.is_empty()),
            "{frame:?}"
        );
        match frame.event.as_str() {
            "notice" => notice = Some(frame.value()),
            "place" if frame.value()["state"] == "called" => place = Some(frame.value()),
            _ => (),
        }
    }
    let notice = notice.expect("just seen");
    assert_eq!(notice["performance_id"], show.performance_id);
    for field in ["notice_id", "reason", "text", "url"] {
        assert!(!text(&notice[field]).is_empty(), "`{field}` of {notice}");
    }
    let url = text(&notice["url"]);
    assert!(
        url.ends_with(&format!("/p/{}/enter", show.performance_id)),
        "{url}"
    );
    assert!(url.starts_with("http"), "{url}");
    assert_eq!(place.expect("just seen")["number"], 1);
    // Called once, told once.
    let more = stream.all(Duration::from_millis(1_500));
    assert!(
        more.iter().all(|frame| frame.event != "notice"),
        "told twice: {more:?}"
    );
}

#[test]
fn after_a_break_the_account_stream_goes_on_where_it_was_once() {
    let show = Setup::new().make(&shared());
    let fan = show.api.fan();
    let stream = fan.stream(ACCOUNT_STREAM);
    let first = buy(&fan, &show);
    let is_first = |event: &Value| event["booking_id"] == first && event["state"] == "confirmed";
    let last_id = stream
        .find("booking", within_s(5), is_first)
        .id
        .expect("an id");
    drop(stream);
    let (second, third) = (buy(&fan, &show), buy(&fan, &show));
    // What was missed must be kept for the next connection, however late it comes.
    let_pass(Duration::from_millis(500));
    for _ in 0..2 {
        let stream = fan.stream_after(ACCOUNT_STREAM, Some(&last_id));
        let frames = stream.all(within_s(1));
        let finals = |id: &str| {
            frames
                .iter()
                .filter(|frame| is_booking(frame, id) && frame.value()["state"] == "confirmed")
                .count()
        };
        assert_eq!(finals(&first), 0, "told again: {frames:?}");
        assert_eq!(finals(&second), 1, "{frames:?}");
        assert_eq!(finals(&third), 1, "{frames:?}");
        let at = |id: &str| frames.iter().position(|frame| is_booking(frame, id));
        assert!(at(&second) < at(&third), "out of order: {frames:?}");
        let ids: Vec<_> = frames.iter().filter_map(|frame| frame.id.clone()).collect();
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len(), "an id came twice: {ids:?}");
    }
    // And what comes afterwards is new.
    let stream = fan.stream_after(ACCOUNT_STREAM, Some(&last_id));
    stream.find("booking", within_s(2), |event| event["booking_id"] == third);
    let fourth = buy(&fan, &show);
    stream.find("booking", within_s(5), |event| {
        event["booking_id"] == fourth
    });
}

#[test]
fn several_streams_of_one_fan_hear_the_same() {
    let show = Setup::new().make(&shared());
    let fan = show.api.fan();
    let streams: Vec<_> = (0..3).map(|_| fan.stream(ACCOUNT_STREAM)).collect();
    let stranger = show.api.fan();
    let strange = stranger.stream(ACCOUNT_STREAM);
    let booking_id = buy(&fan, &show);
    for stream in &streams {
        stream.find("booking", within_s(5), |event| {
            event["booking_id"] == booking_id
        });
    }
    assert!(
        strange.all(Duration::from_millis(500)).is_empty(),
        "a stranger hears of it"
    );
}

/// The state that a change gives this seat, wherever in the frame the seats stand.
fn seat_state(value: &Value, guid: &str) -> Option<String> {
    match value {
        Value::Object(members) => members.iter().find_map(|(key, inner)| {
            if key == guid {
                inner.as_str().map(str::to_owned)
            } else {
                seat_state(inner, guid)
            }
        }),
        Value::Array(items) => items.iter().find_map(|inner| seat_state(inner, guid)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[test]
fn the_availability_stream_sends_changes_since_a_version() {
    let show = Setup::new().make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let path = show.path("/availability/stream");
    let stream = fan.stream(&path);
    let changes = |stream: &crate::http::Stream, guid: &str, state: &str| {
        let end = std::time::Instant::now() + within_s(2);
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let frame = stream
                .next(left)
                .unwrap_or_else(|| panic!("{guid} is never {state}"));
            if seat_state(&frame.value(), guid).as_deref() == Some(state) {
                return frame;
            }
        }
    };
    let hold = fan.hold(&show, &[&guids[0]]);
    let last = changes(&stream, &guids[0], "held");
    drop(stream);
    let id = last.id.expect("an id to go on from");
    fan.hold(&show, &[&guids[1]]);
    fan.book(&hold);
    let stream = fan.stream_after(&path, Some(&id));
    let mut seen = std::collections::BTreeMap::new();
    let end = std::time::Instant::now() + within_s(2);
    while seen.get(&guids[0]).map(String::as_str) != Some("sold")
        || seen.get(&guids[1]).map(String::as_str) != Some("held")
    {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let frame = stream
            .next(left)
            .unwrap_or_else(|| panic!("after the break only {seen:?}"));
        for guid in &guids[..2] {
            if let Some(state) = seat_state(&frame.value(), guid) {
                seen.insert(guid.clone(), state);
            }
        }
    }
}

#[test]
fn many_streams_hear_a_change_within_a_second() {
    let show = Setup::new().admission(1_000.0, 0, 600, 600).make(&shared());
    let fans = show.api.fans(4);
    fans[0].join(&show);
    let streams: Vec<_> = (0..200)
        .map(|index| fans[index % 4].stream(&room_stream(&show)))
        .collect();
    show.patch(&json!({"admission": {"active_max": 5}}));
    let asked = std::time::Instant::now();
    for stream in &streams {
        stream.find("serving", within_s(2), |serving| {
            serving["serving_counter"] == 1
        });
    }
    assert!(asked.elapsed() <= within_s(2), "{:?}", asked.elapsed());
}

#[test]
fn a_stream_ends_with_its_login_and_no_other_does() {
    let api = shared();
    let show = Setup::new().wide_room().make(&api);
    let fan = api.fan();
    let phone = api.login(&fan.email, PASSWORD);
    let ended = [
        fan.stream("/accounts/me/stream"),
        fan.stream(&room_stream(&show)),
    ];
    let kept = phone.stream("/accounts/me/stream");
    assert_eq!(fan.delete("/sessions/current").status, 204);
    let start = Instant::now();
    for stream in &ended {
        assert!(stream.ends(within_s(5)), "open 5 s after the logout");
    }
    assert!(start.elapsed() <= within_s(5));
    assert!(!kept.ends(Duration::from_millis(3_500)), "another login's");
}
