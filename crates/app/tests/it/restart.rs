//! `kill -9` in the middle of everything: what a client was told is true afterwards, and nothing stays half done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{PASSWORD, Server, Who, let_pass, new_id, skipped, until, within_s};
use crate::http::Answer;
use crate::show::{Setup, Show, booking_body, list, text};

/// One fan's way through a sale: what was asked for, and what the server said to it before it was killed.
#[derive(Default)]
struct Story {
    fan: Option<Who>,
    place: Option<Value>,
    pass: Option<Value>,
    hold_id: Option<String>,
    hold: Option<Value>,
    release_asked: bool,
    released: bool,
    booking_id: Option<String>,
    accepted: bool,
    confirmed: Option<Value>,
    cancel_asked: bool,
    cancelled: bool,
}

/// A 2xx, or `None` when the server is gone (or refuses since it is going).
fn told(answer: std::io::Result<Answer>) -> Option<Answer> {
    answer
        .ok()
        .filter(|answer| (200..300).contains(&answer.status))
}

impl Story {
    /// Goes on until the end or until the server is gone.
    fn live(&mut self, fan: Who, show: &Show, index: usize) -> Option<()> {
        let address = fan.api.address.clone();
        self.fan = Some(fan.clone());
        let join = fan
            .call("POST", &show.path("/waiting-room"))
            .json(&json!({}));
        self.place = Some(told(join.send(&address))?.value());
        let enter = fan.call("POST", &show.path("/passes")).json(&json!({}));
        for _ in 0..200 {
            let answer = enter.send(&address).ok()?;
            if answer.status == 201 {
                self.pass = Some(answer.value());
                break;
            }
            let_pass(Duration::from_millis(10));
        }
        let pass = text(&self.pass.as_ref()?["pass"]);
        let hold_id = self.hold_id.insert(new_id()).clone();
        let wish =
            json!({"hold_id": hold_id, "best": {"quantity": 1 + index % 3, "together": true}});
        let hold = fan
            .call("POST", &show.path("/holds"))
            .pass(&pass)
            .json(&wish);
        self.hold = Some(told(hold.send(&address))?.value());
        if index % 4 == 3 {
            self.release_asked = true;
            told(
                fan.call("DELETE", &format!("/holds/{hold_id}"))
                    .send(&address),
            )?;
            self.released = true;
            return Some(());
        }
        let booking_id = self.booking_id.insert(new_id()).clone();
        let body = booking_body(&booking_id, &json!(hold_id), "ok");
        let mut book = fan.call("POST", "/bookings").json(&body);
        if !index.is_multiple_of(4) {
            book = book.header("Prefer", "wait=5");
        }
        let answer = told(book.send(&address))?;
        self.accepted = true;
        if answer.status == 201 {
            self.confirmed = Some(answer.value());
        }
        if index % 4 == 2 && self.confirmed.is_some() {
            self.cancel_asked = true;
            told(
                fan.call("POST", &format!("/bookings/{booking_id}/cancellation"))
                    .json(&json!({}))
                    .send(&address),
            )?;
            self.cancelled = true;
        }
        Some(())
    }

    /// Everything that was said must be so; hands back the seats that this fan owns for good.
    fn check(&self, show: &Show) -> Vec<String> {
        let Some(fan) = &self.fan else {
            return Vec::new();
        };
        show.api.login(&fan.email, PASSWORD);
        if let Some(place) = &self.place {
            assert_eq!(
                fan.place(show)["number"],
                place["number"],
                "another number after the restart"
            );
        }
        if let (Some(pass), None) = (&self.pass, &self.booking_id) {
            let again = fan.try_enter(show).expect(200);
            assert_eq!(again["expires_at"], pass["expires_at"]);
        }
        self.check_hold(fan);
        self.check_booking(fan)
    }

    fn check_hold(&self, fan: &Who) {
        let Some(hold) = &self.hold else { return };
        let seen = fan
            .get(&format!("/holds/{}", text(&hold["hold_id"])))
            .expect(200);
        for field in ["seats", "total", "expires_at"] {
            assert_eq!(seen[field], hold[field], "`{field}` of the hold");
        }
        let state = text(&seen["state"]);
        let allowed: &[&str] = match (self.released, self.release_asked, &self.booking_id) {
            (true, _, _) => &["released"],
            (false, true, _) => &["released", "active"],
            (false, false, Some(_)) => &["confirmed", "active"],
            (false, false, None) => &["active"],
        };
        assert!(
            allowed.contains(&state.as_str()),
            "{state}, not {allowed:?}"
        );
    }

    fn check_booking(&self, fan: &Who) -> Vec<String> {
        let Some(booking_id) = &self.booking_id else {
            return Vec::new();
        };
        let path = format!("/bookings/{booking_id}");
        let answer = fan.get(&path);
        if answer.status == 404 {
            assert!(!self.accepted, "an accepted booking is gone");
            return Vec::new();
        }
        let booking = until("the booking reaches its end", within_s(60), || {
            let booking = fan.get(&path).expect(200);
            (booking["state"] != "pending").then_some(booking)
        });
        if let Some(confirmed) = &self.confirmed {
            let cancelled = booking["state"] == "cancelled";
            assert!(!cancelled || self.cancel_asked, "{booking}");
            assert_eq!(booking["total"], confirmed["total"]);
            let guids = |b: &Value| {
                list(&b["tickets"])
                    .iter()
                    .map(|t| text(&t["seat_guid"]))
                    .collect::<BTreeSet<_>>()
            };
            assert_eq!(guids(&booking), guids(confirmed));
            if !cancelled {
                assert!(!self.cancelled, "a cancellation is forgotten: {booking}");
                assert_eq!(&booking, confirmed);
            }
        }
        if booking["state"] != "confirmed" {
            return Vec::new();
        }
        assert_eq!(
            booking["payment"]["captured"], booking["total"],
            "{booking}"
        );
        list(&booking["tickets"])
            .iter()
            .map(|ticket| text(&ticket["seat_guid"]))
            .collect()
    }
}

/// No seat has two owners, and the picture is the sum of what fans own.
fn check_seats(show: &Show, stories: &[Story]) {
    let mut owners = BTreeMap::new();
    for (index, story) in stories.iter().enumerate() {
        for guid in story.check(show) {
            let other = owners.insert(guid.clone(), index);
            assert_eq!(other, None, "{guid} was sold twice");
        }
    }
    until("the picture agrees with the tickets", within_s(10), || {
        let picture = show.availability();
        let seats = picture["seats"].as_object().expect("seats");
        let sold: BTreeSet<_> = seats
            .iter()
            .filter(|(_, state)| *state == "sold")
            .map(|(guid, _)| guid)
            .collect();
        (sold == owners.keys().collect()).then_some(())
    });
    let stats = show.stats();
    let sum: u64 = ["seats_free", "seats_held", "seats_sold"]
        .iter()
        .filter_map(|key| stats[key].as_u64())
        .sum();
    assert_eq!(sum, 4_000, "{stats}");
    let numbers: Vec<_> = stories
        .iter()
        .filter_map(|story| story.place.as_ref()?["number"].as_u64())
        .collect();
    assert_eq!(
        numbers.iter().collect::<BTreeSet<_>>().len(),
        numbers.len(),
        "a number was given twice"
    );
}

#[test]
fn kill_9_in_the_middle_of_a_sale_loses_nothing_that_was_told() {
    if skipped("to kill the server") {
        return;
    }
    let mut server = Server::start();
    let show = Setup::seats(4, 20, 50)
        .admission(100_000.0, 1_000_000, 600, 600)
        .make(&server.api);
    let mut stories: Vec<Story> = Vec::new();
    for round in 0..4_u64 {
        let fans = server.api.fans(120);
        let next = AtomicUsize::new(0);
        let mut told_now = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mut mine = Vec::new();
                        loop {
                            let index = next.fetch_add(1, Ordering::Relaxed);
                            let Some(fan) = fans.get(index) else {
                                return mine;
                            };
                            let mut story = Story::default();
                            let gone = story.live(fan.clone(), &show, index).is_none();
                            mine.push(story);
                            if gone {
                                return mine;
                            }
                        }
                    })
                })
                .collect();
            // At another point of the flow each time, in the middle of the crowd.
            until("the sale is under way", Duration::from_secs(20), || {
                (next.load(Ordering::Relaxed) >= 30).then_some(())
            });
            let_pass(Duration::from_millis(7 * round));
            server.kill();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("no panic"))
                .collect::<Vec<_>>()
        });
        assert!(
            told_now.iter().any(|story| story.confirmed.is_some()),
            "nothing was confirmed before the kill"
        );
        stories.append(&mut told_now);
        server.run();
        check_seats(&show, &stories);
    }
    let unfinished = server
        .api
        .operator()
        .get("/admin/bookings?state=pending")
        .expect(200);
    assert!(
        list(&unfinished["items"]).is_empty(),
        "half done: {unfinished}"
    );
}

#[test]
fn a_restart_keeps_the_line_the_turns_and_the_sale() {
    if skipped("to restart the server") {
        return;
    }
    let mut server = Server::start();
    let show = Setup::new()
        .admission(1_000.0, 2, 600, 600)
        .make(&server.api);
    let fans = server.api.fans(4);
    let pass = fans[0].enter(&show);
    for fan in &fans[1..] {
        fan.join(&show);
    }
    fans[1].until_place_is(&show, "called", within_s(1));
    let before: Vec<_> = fans.iter().map(|fan| fan.place(&show)).collect();
    let paused = Setup::new().wide_room().make(&server.api);
    paused.sale("pause");
    server.kill();
    server.run();
    for (fan, before) in fans.iter().zip(&before) {
        let after = fan.place(&show);
        for field in ["number", "state", "position", "ahead", "call_expires_at"] {
            assert_eq!(
                after[field], before[field],
                "`{field}` of {after}, before: {before}"
            );
        }
    }
    assert_eq!(
        server.api.get(&paused.path("")).expect(200)["sale"]["state"],
        "paused"
    );
    // The pass is still good, the line moves on, and nobody gets in beyond the ceiling.
    let hold = fans[0]
        .try_hold(
            &show,
            Some(&pass),
            &json!({"best": {"quantity": 1, "together": true}}),
        )
        .expect(201);
    assert_eq!(fans[2].place(&show)["state"], "waiting");
    fans[0].book(&hold);
    fans[2].until_place_is(&show, "called", within_s(1));
    assert_eq!(fans[3].place(&show)["state"], "waiting");
    let later = server.api.fan().join(&show);
    assert!(
        later["number"].as_u64() > before[3]["number"].as_u64(),
        "a number was given again"
    );
}

#[test]
fn a_restart_keeps_sessions_and_their_end() {
    if skipped("to restart the server") {
        return;
    }
    let mut server = Server::start();
    let (stays, leaves) = (server.api.fan(), server.api.fan());
    assert_eq!(leaves.delete("/sessions/current").status, 204);
    server.kill();
    server.run();
    stays.get("/accounts/me").expect(200);
    server
        .api
        .post(
            "/sessions/refresh",
            &json!({"refresh_token": stays.refresh_token}),
        )
        .expect(200);
    until("the ended session stays ended", within_s(5), || {
        (leaves.get("/accounts/me").status == 401).then_some(())
    });
    let body = json!({"refresh_token": leaves.refresh_token});
    server
        .api
        .post("/sessions/refresh", &body)
        .problem(401, "session-ended");
}

#[test]
fn holds_run_out_while_the_server_is_away() {
    if skipped("to restart the server") {
        return;
    }
    let mut server = Server::start();
    let show = Setup::new().hold(1, 8).make(&server.api);
    let (fan, guids) = (show.api.fan(), show.guids());
    let hold = fan.hold(&show, &[&guids[0]]);
    server.kill();
    let_pass(Duration::from_millis(1_200));
    server.run();
    until("the seat is free", within_s(2), || {
        (show
            .api
            .fan()
            .try_hold(&show, None, &json!({"seats": [guids[0]]}))
            .status
            == 201)
            .then_some(())
    });
    fan.try_book(&new_id(), &hold["hold_id"], "ok")
        .problem(410, "hold-expired");
}

#[test]
fn a_payment_under_way_when_the_server_dies_ends_all_the_same() {
    if skipped("to kill the server") {
        return;
    }
    let mut server = Server::start();
    let show = Setup::new().make(&server.api);
    let (fan, guids) = (show.api.fan(), show.guids());
    let booking_id = new_id();
    let hold = fan.hold(&show, &[&guids[0]]);
    fan.try_book(&booking_id, &hold["hold_id"], "timeout_then_ok")
        .expect(202);
    server.kill();
    server.run();
    let booking = fan.until_booking_is(&booking_id, "confirmed", within_s(60));
    assert_eq!(booking["payment"]["captured"], booking["total"]);
    assert_eq!(booking["payment"]["refunded"]["amount_minor"], 0);
}
