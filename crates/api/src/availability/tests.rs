//! The picture of the seats over HTTP: bodies, versions, frames.

use axum::http::HeaderValue;
use boxoffice_adapters::performance::{Event, NewPerformance, PriceLevel, Rules, Venue};
use boxoffice_core::hold::HoldPolicy;
use boxoffice_core::sale::{Sale, Switch};
use boxoffice_core::seating::{CHANGES_MAX, NewArea};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::streams::Source as _;

const BASE: i64 = 1_800_000_000_000_000;

fn performance(sections: u32, rows: u32, seats_per_row: u32) -> Arc<Performance> {
    let id = Uuid::now_v7;
    let areas = ["Pit", "Meadow"].map(|area| NewArea {
        area: area.to_owned(),
        section: "Floor".to_owned(),
        capacity: 3,
    });
    let plan = SeatingPlan::generate(sections, rows, seats_per_row).unwrap();
    let venue = Venue::new(id().into(), "Hall".to_owned(), plan, areas.to_vec()).unwrap();
    let level = PriceLevel {
        price_level_id: id(),
        name: "All".to_owned(),
        amount_minor: 1,
        sections: venue.plan.sections().to_vec(),
    };
    let time = Timestamp(0);
    let sale = Sale {
        opens_at: time,
        lobby_opens_at: None,
        closes_at: Timestamp::MAX,
        switch: Switch::ByTime,
    };
    let new = NewPerformance {
        performance_id: id().into(),
        event: Arc::new(Event {
            event_id: id().into(),
            title: "Show".to_owned(),
            description: None,
            organizer: None,
            created_at: time,
        }),
        venue: Arc::new(venue),
        starts_at: time,
        price_levels: vec![level],
        currency: "KRW".parse().unwrap(),
        epoch: 1,
        created_at: time,
        rules: Rules {
            sale,
            admission: None,
            hold: HoldPolicy {
                ttl_s: 600,
                seats_max: 8,
            },
        },
    };
    Arc::new(Performance::new(new).unwrap())
}

fn set(performance: &Performance, seats: impl IntoIterator<Item = u32>, state: SeatState) {
    let mut picture = performance.picture();
    seats
        .into_iter()
        .for_each(|seat| picture.set(SeatNo(seat), state));
}

/// The name, the id and the data of an event.
fn read(event: &Bytes) -> (String, u64, Value) {
    let text = std::str::from_utf8(event).unwrap();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .unwrap()
    };
    assert!(
        text.ends_with("\n\n") && !text.trim_end().contains("\n\n"),
        "one event: {text}"
    );
    (
        field("event").to_owned(),
        field("id").parse().unwrap(),
        serde_json::from_str(field("data")).unwrap(),
    )
}

#[test]
fn both_forms_say_the_same() {
    let performance = performance(2, 1, 2);
    // Seats 0 to 3, spots 4 to 6 of Pit and 7 to 9 of Meadow.
    set(&performance, [1, 4, 5], SeatState::Held);
    set(&performance, [3, 5], SeatState::Sold);
    let picture = Picture::new(Timestamp(BASE));
    let read = |form| {
        serde_json::from_slice::<Value>(&picture.body(&performance, form).unwrap().bytes).unwrap()
    };
    let version = u64::try_from(BASE).unwrap() + 5;
    let sections = json!([
        {"section": "A", "free": 1, "held": 1, "sold": 0},
        {"section": "B", "free": 1, "held": 0, "sold": 1},
        {"section": "Floor", "free": 4, "held": 1, "sold": 1},
    ]);
    let areas = json!({"Pit": {"free": 1, "held": 1, "sold": 1}, "Meadow": {"free": 3, "held": 0, "sold": 0}});
    let seats = json!({"A-1-1": "free", "A-1-2": "held", "B-1-1": "free", "B-1-2": "sold"});
    assert_eq!(
        read(Form::Plain),
        json!({"version": version, "sections": sections, "seats": seats, "areas": areas})
    );
    assert_eq!(
        read(Form::Dense),
        json!({"version": version, "sections": sections, "seats": "fhfs", "areas": areas})
    );
}

#[test]
fn a_body_is_shared_while_nothing_changes_and_for_a_moment_after() {
    let performance = performance(1, 1, 2);
    let picture = Picture::new(Timestamp(BASE));
    let body = || picture.body(&performance, Form::Plain).unwrap();
    let age = |by: Duration| {
        let mut slot = picture.built[Form::Plain as usize].lock();
        let built = slot.as_mut().unwrap();
        built.at = built.at.checked_sub(by).unwrap();
    };
    let first = body();
    age(Duration::from_secs(3_600));
    assert_eq!(
        body().bytes.as_ptr(),
        first.bytes.as_ptr(),
        "nothing has changed"
    );
    age(Duration::ZERO);
    picture.built[Form::Plain as usize]
        .lock()
        .as_mut()
        .unwrap()
        .at = Instant::now();
    set(&performance, [0], SeatState::Held);
    assert_eq!(body().bytes.as_ptr(), first.bytes.as_ptr(), "it is young");
    age(BUILD_EVERY);
    let second = body();
    assert_ne!(second.etag, first.etag);
    assert_ne!(
        second.etag,
        picture.body(&performance, Form::Dense).unwrap().etag,
        "each form has its own tag"
    );
    assert!(String::from_utf8_lossy(&second.bytes).contains("held"));
}

#[test]
fn versions_never_come_twice_not_over_a_restart_either() {
    let pictures = Pictures::default();
    let performance = performance(1, 1, 2);
    let first = pictures.of(&performance, Timestamp(BASE));
    assert!(Arc::ptr_eq(
        &first,
        &pictures.of(&performance, Timestamp(BASE + 9))
    ));
    // The next process begins at 0 again, some time later.
    let (_, last, _) = read(&first.frame(&performance, None).bytes);
    let (_, next, _) = read(
        &Picture::new(Timestamp(BASE + 1))
            .frame(&performance, None)
            .bytes,
    );
    assert!(next > last);
}

#[test]
fn who_names_the_denser_form_gets_it() {
    for (accept, form) in [
        (None, Form::Plain),
        (Some("*/*"), Form::Plain),
        (Some("application/json"), Form::Plain),
        (Some("text/html, application/xhtml+xml"), Form::Plain),
        (
            Some("application/vnd.boxoffice.availability+json"),
            Form::Dense,
        ),
        (
            Some("application/json;q=0.5, Application/Vnd.Boxoffice.Availability+json ; q=1"),
            Form::Dense,
        ),
    ] {
        let headers = accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept)));
        assert_eq!(
            Form::wanted(&headers.into_iter().collect()),
            form,
            "{accept:?}"
        );
    }
}

#[test]
fn changes_name_what_changed_and_how_it_is_now() {
    let performance = performance(1, 1, 3);
    let picture = Picture::new(Timestamp(BASE));
    let base = picture.base;
    set(&performance, [0], SeatState::Held);
    set(&performance, [1, 3], SeatState::Held);
    set(&performance, [1], SeatState::Sold);
    let frame = |since| read(&picture.frame(&performance, since).bytes);
    let (name, id, data) = frame(Some(1));
    let pit = json!({"Pit": {"free": 2, "held": 1, "sold": 0}});
    assert_eq!(
        (name.as_str(), id, data),
        (
            "availability",
            base + 4,
            json!({"version": base + 4, "seats": {"A-1-2": "sold"}, "areas": pit})
        )
    );
    assert_eq!(
        frame(Some(4)).2,
        json!({"version": base + 4, "seats": {}, "areas": {}})
    );
    for unknown in [None, Some(5)] {
        let (name, id, data) = frame(unknown);
        assert_eq!(
            (name.as_str(), id, data),
            ("reset", base + 4, json!({"version": base + 4}))
        );
    }
    for round in 0..=CHANGES_MAX {
        set(
            &performance,
            [0],
            if round % 2 == 0 {
                SeatState::Free
            } else {
                SeatState::Held
            },
        );
    }
    assert_eq!(frame(Some(4)).0, "reset", "too long ago");
}

/// The next event within a few ticks; none when nothing comes.
async fn next(changes: &mut Changes) -> Option<(String, u64, Value)> {
    tokio::time::timeout(TICK * 3, changes.next())
        .await
        .ok()?
        .map(|bytes| read(&bytes))
}

#[tokio::test(start_paused = true)]
async fn listeners_hear_every_change_once() {
    let performance = performance(1, 1, 3);
    let picture = Arc::new(Picture::new(Timestamp(BASE)));
    let (base, listen) = (picture.base, |known| {
        Changes::new(Arc::clone(&picture), Arc::clone(&performance), known)
    });
    set(&performance, [0], SeatState::Held);
    let mut knows = listen(Some(base));
    let mut knows_not = listen(None);
    assert_eq!(
        next(&mut knows).await.unwrap().2["seats"],
        json!({"A-1-1": "held"})
    );
    assert_eq!(next(&mut knows_not).await.unwrap().0, "reset");
    assert_eq!(next(&mut knows).await, None, "nothing has changed");
    set(&performance, [1], SeatState::Held);
    for listener in [&mut knows, &mut knows_not] {
        let (name, id, data) = next(listener).await.unwrap();
        assert_eq!(
            (name.as_str(), id, &data["seats"]),
            ("availability", base + 2, &json!({"A-1-2": "held"}))
        );
    }
    // A slow one misses a frame and is told of both changes all the same.
    set(&performance, [2], SeatState::Held);
    assert_eq!(
        next(&mut knows).await.unwrap().2["seats"],
        json!({"A-1-3": "held"})
    );
    set(&performance, [0], SeatState::Free);
    assert_eq!(
        next(&mut knows).await.unwrap().2["seats"],
        json!({"A-1-1": "free"})
    );
    assert_eq!(
        next(&mut knows_not).await.unwrap().2["seats"],
        json!({"A-1-1": "free", "A-1-3": "held"})
    );
    assert_eq!(next(&mut knows_not).await, None);
}

#[tokio::test(start_paused = true)]
async fn frames_are_made_only_while_somebody_listens() {
    let performance = performance(1, 1, 3);
    let picture = Arc::new(Picture::new(Timestamp(BASE)));
    let first = Changes::new(Arc::clone(&picture), Arc::clone(&performance), None);
    let second = Changes::new(Arc::clone(&picture), Arc::clone(&performance), None);
    assert_eq!(Arc::strong_count(&picture), 4, "one task for both");
    drop((first, second));
    tokio::time::sleep(TICK * 2).await;
    assert_eq!(Arc::strong_count(&picture), 1, "the task has ended");
    set(&performance, [0], SeatState::Held);
    let mut again = Changes::new(
        Arc::clone(&picture),
        Arc::clone(&performance),
        Some(picture.base),
    );
    assert_eq!(next(&mut again).await.unwrap().1, picture.base + 1);
    set(&performance, [1], SeatState::Held);
    assert_eq!(
        next(&mut again).await.unwrap().2["seats"],
        json!({"A-1-2": "held"})
    );
}

#[test]
fn a_stadium_is_written_down_in_a_moment() {
    let performance = performance(50, 20, 50);
    set(&performance, (0..50_000).step_by(3), SeatState::Sold);
    let picture = Picture::new(Timestamp(BASE));
    let (begun, snapshot) = (Instant::now(), Snapshot::of(&performance));
    let locked = begun.elapsed();
    assert_eq!(snapshot.states.len(), 50_000);
    for form in [Form::Plain, Form::Dense] {
        let begun = Instant::now();
        let body = picture.body(&performance, form).unwrap();
        let took = begun.elapsed();
        println!(
            "50,000 seats, {form:?}: {} bytes in {took:?}, of which the lock was held {locked:?}",
            body.bytes.len()
        );
        assert!(
            took < Duration::from_secs(1) && locked < Duration::from_millis(250),
            "unoptimised, on a busy machine: {took:?}, {locked:?}"
        );
    }
}
