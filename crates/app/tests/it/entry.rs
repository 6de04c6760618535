//! Passes: every way to get in without a turn is refused, and a pass is good for one confirmed booking.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::{PASSWORD, Who, new_id, seconds_between, shared, time, until, within_s};
use crate::http::Answer;
use crate::show::{Setup, Show, count, text};

#[track_caller]
fn hold_with(fan: &Who, show: &Show, pass: &str) -> Answer {
    fan.try_hold(
        show,
        Some(pass),
        &json!({"best": {"quantity": 1, "together": true}}),
    )
}

/// What somebody makes of a signed text without knowing the key.
pub(crate) fn forgeries(token: &str) -> Vec<String> {
    let mut forged = vec![
        String::from("nonsense"),
        "a.b.c".to_owned(),
        "..".to_owned(),
        token[..token.len() / 2].to_owned(),
    ];
    // One character changed, in the middle of each part: the last one may carry unused bits.
    let mut start = 0;
    for part in token.split('.') {
        let mut bytes = token.as_bytes().to_vec();
        let middle = start + part.len() / 2;
        bytes[middle] = if bytes[middle] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(bytes).expect("still ASCII"));
        start += part.len() + 1;
    }
    let parts: Vec<_> = token.split('.').collect();
    if let [header, claims, signature] = parts[..] {
        forged.push(format!("{header}.{claims}."));
        if let Some(mut header) = decoded(header) {
            header["alg"] = json!("none");
            forged.push(format!("{}.{claims}.", encoded(&header)));
            forged.push(format!("{}.{claims}.{signature}", encoded(&header)));
            header["alg"] = json!("HS256");
            for key in ["", "secret", "boxoffice"] {
                forged.push(signed(&header, claims, key));
            }
            header["kid"] = json!("../../dev/null");
            forged.push(signed(&header, claims, ""));
        }
    }
    forged
}

fn decoded(part: &str) -> Option<Value> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn encoded(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(header: &Value, claims: &str, key: &str) -> String {
    let text = format!("{}.{claims}", encoded(header));
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length of key will do");
    mac.update(text.as_bytes());
    format!(
        "{text}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}

#[test]
fn without_a_pass_nobody_holds() {
    let show = Setup::new().wide_room().make(&shared());
    let fan = show.api.fan();
    let wish = json!({"best": {"quantity": 1, "together": true}});
    fan.try_hold(&show, None, &wish)
        .problem(403, "pass-required");
    hold_with(&fan, &show, "").problem(403, "pass-required");
    fan.join(&show);
    fan.until_place_is(&show, "called", within_s(1));
    // Being called is not being inside.
    fan.try_hold(&show, None, &wish)
        .problem(403, "pass-required");
    assert_eq!(show.stats()["seats_free"], 20);
}

#[test]
fn a_forged_pass_is_no_pass() {
    let show = Setup::new().wide_room().make(&shared());
    let fan = show.api.fan();
    let pass = fan.enter(&show);
    for forged in forgeries(&pass) {
        let answer = hold_with(&fan, &show, &forged);
        assert_eq!(answer.status, 403, "{forged:?} got {answer}");
        answer.problem(403, "pass-required");
    }
    hold_with(&fan, &show, &pass).expect(201);
}

#[test]
fn a_pass_is_for_one_fan_and_one_performance() {
    let api = shared();
    let (show, other_show) = (
        Setup::new().wide_room().make(&api),
        Setup::new().wide_room().make(&api),
    );
    let (fan, thief) = (api.fan(), api.fan());
    let pass = fan.enter(&show);
    hold_with(&thief, &show, &pass).problem(403, "pass-required");
    hold_with(&fan, &other_show, &pass).problem(403, "pass-required");
    let own = thief.enter(&show);
    hold_with(&thief, &show, &pass).problem(403, "pass-required");
    hold_with(&thief, &show, &own).expect(201);
    // Another login of the same account is the same fan.
    hold_with(&api.login(&fan.email, PASSWORD), &show, &pass).expect(201);
}

#[test]
fn no_other_token_is_a_pass_and_a_pass_is_no_login() {
    let show = Setup::new().wide_room().make(&shared());
    let fan = show.api.fan();
    let place = text(&fan.join(&show)["place"]);
    fan.until_place_is(&show, "called", within_s(1));
    let operator = show.api.operator();
    for token in [
        &place,
        &fan.access_token,
        &fan.refresh_token,
        &operator.access_token,
    ] {
        hold_with(&fan, &show, token).problem(403, "pass-required");
    }
    let pass = fan.enter(&show);
    for token in [&pass, &place] {
        let call = show.api.call("GET", "/accounts/me").bearer(token);
        show.api.send(&call).problem(401, "login-required");
        let body = json!({"hold_id": new_id(), "best": {"quantity": 1, "together": true}});
        let call = show
            .api
            .call("POST", &show.path("/holds"))
            .bearer(token)
            .pass(&pass)
            .json(&body);
        show.api.send(&call).problem(401, "login-required");
        show.api
            .post("/sessions/refresh", &json!({"refresh_token": token}))
            .any_problem(401);
    }
}

#[test]
fn before_the_opening_nobody_holds_whatever_they_carry() {
    let show = Setup::new().in_lobby().wide_room().make(&shared());
    let fan = show.api.fan();
    let place = text(&fan.join(&show)["place"]);
    for token in [None, Some(place.as_str()), Some(fan.access_token.as_str())] {
        fan.try_hold(
            &show,
            token,
            &json!({"best": {"quantity": 1, "together": true}}),
        )
        .problem(409, "not-open-yet");
    }
}

#[test]
fn a_pass_that_ran_out_is_told_so_and_its_slot_is_free() {
    let show = Setup::new().admission(1_000.0, 1, 2, 60).make(&shared());
    let (fan, next) = (show.api.fan(), show.api.fan());
    let pass = fan.enter(&show);
    let hold = hold_with(&fan, &show, &pass).expect(201);
    next.join(&show);
    until("the pass runs out", within_s(2), || {
        let answer = hold_with(&fan, &show, &pass);
        if answer.status != 201 {
            return Some(answer.problem(403, "pass-expired"));
        }
        let path = format!("/holds/{}", text(&answer.value()["hold_id"]));
        assert_eq!(fan.delete(&path).status, 204);
        None
    });
    next.until_place_is(&show, "called", within_s(1));
    let again = fan.try_enter(&show);
    assert!(matches!(again.status, 404 | 410), "{again}");
    // Who holds seats may pay, even when the pass has run out.
    fan.book(&hold);
    let place = next.enter(&show);
    hold_with(&next, &show, &place).expect(201);
}

#[test]
fn the_slot_of_a_pass_is_kept_until_it_runs_out_and_no_longer() {
    let show = Setup::new().admission(1_000.0, 1, 2, 60).make(&shared());
    let (fan, next) = (show.api.fan(), show.api.fan());
    fan.join(&show);
    fan.until_place_is(&show, "called", within_s(1));
    let pass = fan.try_enter(&show).expect(201);
    next.join(&show);
    let place = next.until_place_is(&show, "called", within_s(3));
    let called_at = time(&place["call_expires_at"]) - jiff::SignedDuration::from_secs(60);
    let gap_s = seconds_between(time(&pass["expires_at"]), called_at);
    assert!(
        (0.0..=1.0 + crate::harness::slack().as_secs_f64()).contains(&gap_s),
        "{gap_s}"
    );
}

#[test]
fn a_confirmed_booking_uses_the_pass_up() {
    let show = Setup::new().admission(1_000.0, 1, 600, 600).make(&shared());
    let (fan, next) = (show.api.fan(), show.api.fan());
    let number = fan.join(&show)["number"].clone();
    let pass = fan.enter(&show);
    next.join(&show);
    let hold = hold_with(&fan, &show, &pass).expect(201);
    fan.book(&hold);
    hold_with(&fan, &show, &pass).problem(403, "pass-used");
    fan.try_enter(&show).problem(404, "no-place");
    let place = fan.place(&show);
    assert_eq!(place["state"], "left", "{place}");
    assert_eq!(place["number"], number, "{place}");
    next.until_place_is(&show, "called", within_s(1));
    // The fan may join again, and buy again with the new pass; the old one stays used.
    let again = fan.join(&show);
    assert!(
        count(&again["number"]) > count(&next.place(&show)["number"]),
        "{again}"
    );
    assert_eq!(next.delete(&show.path("/waiting-room/place")).status, 204);
    let new_pass = fan.enter(&show);
    let old = hold_with(&fan, &show, &pass);
    assert_eq!(old.status, 403, "{old}");
    let hold = hold_with(&fan, &show, &new_pass).expect(201);
    fan.book(&hold);
}

#[test]
fn a_declined_booking_does_not_use_the_pass_up() {
    let show = Setup::new().wide_room().make(&shared());
    let fan = show.api.fan();
    let pass = fan.enter(&show);
    let hold = hold_with(&fan, &show, &pass).expect(201);
    fan.book_and_wait(&new_id(), &hold["hold_id"], "declined")
        .expect(200);
    assert_eq!(fan.place(&show)["state"], "entered");
    hold_with(&fan, &show, &pass).expect(201);
}

#[test]
fn who_gives_up_the_place_keeps_the_hold_but_not_the_pass() {
    let show = Setup::new().admission(1_000.0, 1, 600, 600).make(&shared());
    let (fan, next) = (show.api.fan(), show.api.fan());
    let pass = fan.enter(&show);
    let hold = hold_with(&fan, &show, &pass).expect(201);
    next.join(&show);
    assert_eq!(fan.delete(&show.path("/waiting-room/place")).status, 204);
    hold_with(&fan, &show, &pass).problem(403, "pass-required");
    let again = fan.try_enter(&show);
    assert!(matches!(again.status, 404 | 410), "{again}");
    next.until_place_is(&show, "called", within_s(1));
    fan.book(&hold);
}

#[test]
fn a_called_fan_who_gives_up_frees_the_slot() {
    let show = Setup::new().admission(1_000.0, 1, 600, 600).make(&shared());
    let (fan, next) = (show.api.fan(), show.api.fan());
    fan.join(&show);
    fan.until_place_is(&show, "called", within_s(1));
    next.join(&show);
    assert_eq!(fan.delete(&show.path("/waiting-room/place")).status, 204);
    next.until_place_is(&show, "called", within_s(1));
}
