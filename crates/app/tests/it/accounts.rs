//! Accounts, sessions and devices.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::harness::{PASSWORD, in_parallel, let_pass, new_email, new_id, shared, until, within_s};
use crate::show::{list, text};

/// Long after the second in which a repeated refresh token is a parallel tab.
const AFTER_THE_SECOND: Duration = Duration::from_millis(1_600);

#[test]
fn an_account_is_made_once_with_its_fields() {
    let api = shared();
    let email = new_email();
    let body = json!({"email": email, "password": PASSWORD, "name": "김하늘", "locale": "ko"});
    let account = api.post("/accounts", &body).expect(201);
    assert_eq!(account["email"], email);
    assert_eq!(account["name"], "김하늘");
    assert_eq!(account["locale"], "ko");
    uuid::Uuid::parse_str(&text(&account["account_id"])).expect("a UUID");
    assert!(
        !account.to_string().contains(PASSWORD),
        "the password comes back: {account}"
    );
    api.post("/accounts", &body).problem(409, "email-taken");
}

#[test]
fn without_a_locale_an_account_has_one_all_the_same() {
    let api = shared();
    let body = json!({"email": new_email(), "password": PASSWORD, "name": "Fan"});
    let account = api.post("/accounts", &body).expect(201);
    assert!(!text(&account["locale"]).is_empty(), "{account}");
}

#[test]
fn an_email_is_the_same_in_any_case() {
    let api = shared();
    let email = new_email();
    api.post(
        "/accounts",
        &json!({"email": email, "password": PASSWORD, "name": "Fan"}),
    )
    .expect(201);
    let shouted = email.to_uppercase();
    let again = json!({"email": shouted, "password": PASSWORD, "name": "Fan"});
    api.post("/accounts", &again).problem(409, "email-taken");
    let fan = api.login(&shouted, PASSWORD);
    let me = fan.get("/accounts/me").expect(200);
    assert_eq!(text(&me["email"]).to_lowercase(), email);
}

#[test]
fn two_sign_ups_at_once_make_one_account() {
    let api = shared();
    let body = json!({"email": new_email(), "password": PASSWORD, "name": "Fan"});
    let answers = in_parallel(6, |_| api.post("/accounts", &body));
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 201).count(),
        1
    );
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.problem(409, "email-taken");
    }
}

#[test]
fn a_weak_password_is_refused() {
    let api = shared();
    for weak in ["a", "1234", "abc123"] {
        let body = json!({"email": new_email(), "password": weak, "name": "Fan"});
        api.post("/accounts", &body).problem(400, "weak-password");
    }
}

#[test]
fn what_is_no_email_is_refused() {
    let api = shared();
    for email in [
        "",
        "nobody",
        "@example.com",
        "a b@example.com",
        "a@b@example.com",
        "fan@",
        "fan@example.com\r\nBcc: x@example.com",
    ] {
        let body = json!({"email": email, "password": PASSWORD, "name": "Fan"});
        let problem = api.post("/accounts", &body).any_problem(400);
        assert!(text(&problem["detail"]).contains("email"), "{problem}");
    }
}

#[test]
fn a_login_gives_a_pair_of_tokens() {
    let api = shared();
    let email = new_email();
    api.post(
        "/accounts",
        &json!({"email": email, "password": PASSWORD, "name": "Fan"}),
    )
    .expect(201);
    let session = api
        .post("/sessions", &json!({"email": email, "password": PASSWORD}))
        .expect(201);
    assert_eq!(session["token_type"], "Bearer");
    assert!(
        session["expires_in"]
            .as_u64()
            .is_some_and(|seconds| seconds >= 2),
        "{session}"
    );
    assert_eq!(
        text(&session["access_token"]).split('.').count(),
        3,
        "no JWT: {session}"
    );
    assert!(!text(&session["refresh_token"]).is_empty());
}

#[test]
fn wrong_password_and_unknown_email_are_the_same_refusal() {
    let api = shared();
    let fan = api.fan();
    let wrong = api.post(
        "/sessions",
        &json!({"email": fan.email, "password": "not-the-Password-77"}),
    );
    let wrong = wrong.problem(401, "bad-credentials");
    let unknown = api.post(
        "/sessions",
        &json!({"email": new_email(), "password": PASSWORD}),
    );
    let unknown = unknown.problem(401, "bad-credentials");
    assert_eq!(wrong["title"], unknown["title"]);
    assert_eq!(wrong["detail"], unknown["detail"]);
}

#[test]
fn a_refresh_rotates() {
    let api = shared();
    let fan = api.fan();
    let next = api
        .post(
            "/sessions/refresh",
            &json!({"refresh_token": fan.refresh_token}),
        )
        .expect(200);
    assert_ne!(text(&next["refresh_token"]), fan.refresh_token);
    assert_eq!(next["token_type"], "Bearer");
    assert!(next["expires_in"].is_u64(), "{next}");
    let mut renewed = fan.clone();
    renewed.access_token = text(&next["access_token"]);
    renewed.get("/accounts/me").expect(200);
}

#[test]
fn the_same_refresh_token_within_a_second_gets_the_same_pair() {
    let api = shared();
    let fan = api.fan();
    let body = json!({"refresh_token": fan.refresh_token});
    let pairs = in_parallel(4, |_| api.post("/sessions/refresh", &body).expect(200));
    for pair in &pairs {
        assert_eq!(pair["refresh_token"], pairs[0]["refresh_token"]);
        assert_eq!(pair["access_token"], pairs[0]["access_token"]);
    }
    let next = json!({"refresh_token": pairs[0]["refresh_token"]});
    api.post("/sessions/refresh", &next).expect(200);
}

#[test]
fn a_reused_refresh_token_ends_the_whole_family() {
    let api = shared();
    let fan = api.fan();
    let other_session = api.login(&fan.email, PASSWORD);
    let first = json!({"refresh_token": fan.refresh_token});
    let second = api.post("/sessions/refresh", &first).expect(200);
    let_pass(AFTER_THE_SECOND);
    api.post("/sessions/refresh", &first)
        .problem(401, "session-ended");
    let newest = json!({"refresh_token": second["refresh_token"]});
    api.post("/sessions/refresh", &newest)
        .problem(401, "session-ended");
    let other = json!({"refresh_token": other_session.refresh_token});
    api.post("/sessions/refresh", &other).expect(200);
}

#[test]
fn an_older_token_of_the_family_ends_it_too() {
    let api = shared();
    let fan = api.fan();
    let first = json!({"refresh_token": fan.refresh_token});
    let second = api.post("/sessions/refresh", &first).expect(200);
    let third = api
        .post(
            "/sessions/refresh",
            &json!({"refresh_token": second["refresh_token"]}),
        )
        .expect(200);
    let_pass(AFTER_THE_SECOND);
    api.post("/sessions/refresh", &first)
        .problem(401, "session-ended");
    api.post(
        "/sessions/refresh",
        &json!({"refresh_token": third["refresh_token"]}),
    )
    .problem(401, "session-ended");
}

#[test]
fn what_is_no_refresh_token_is_refused() {
    let api = shared();
    let fan = api.fan();
    for token in ["nonsense", "a.b.c", &fan.access_token] {
        let answer = api.post("/sessions/refresh", &json!({"refresh_token": token}));
        answer.any_problem(401);
    }
    // A refresh token is no login either.
    let call = api.call("GET", "/accounts/me").bearer(&fan.refresh_token);
    api.send(&call).problem(401, "login-required");
}

#[test]
fn a_logout_ends_this_session_and_no_other() {
    let api = shared();
    let fan = api.fan();
    let phone = api.login(&fan.email, PASSWORD);
    assert_eq!(fan.delete("/sessions/current").status, 204);
    until("the access token stops", within_s(5), || {
        let answer = fan.get("/accounts/me");
        if answer.status == 200 {
            return None;
        }
        Some(answer.any_problem(401))
    });
    let body = json!({"refresh_token": fan.refresh_token});
    api.post("/sessions/refresh", &body)
        .problem(401, "session-ended");
    phone.get("/accounts/me").expect(200);
}

#[test]
fn a_refreshed_session_is_ended_by_logout_too() {
    let api = shared();
    let mut fan = api.fan();
    let older = fan.clone();
    let next = api
        .post(
            "/sessions/refresh",
            &json!({"refresh_token": fan.refresh_token}),
        )
        .expect(200);
    fan.access_token = text(&next["access_token"]);
    assert_eq!(fan.delete("/sessions/current").status, 204);
    for who in [&fan, &older] {
        until(
            "every access token of the session stops",
            within_s(5),
            || (who.get("/accounts/me").status == 401).then_some(()),
        );
    }
}

#[test]
fn a_fan_changes_what_is_theirs() {
    let api = shared();
    let fan = api.fan();
    let change = json!({
        "name": "New Name", "locale": "en", "phone": "+821012345678",
        "notices": {"push": false, "email": true, "sms": true},
    });
    fan.patch("/accounts/me", &change).expect(200);
    let me = fan.get("/accounts/me").expect(200);
    for field in ["name", "locale", "phone", "notices"] {
        assert_eq!(me[field], change[field], "`{field}` of {me}");
    }
    assert_eq!(me["email"], fan.email);
    assert_eq!(me["account_id"], fan.account_id);
    fan.patch("/accounts/me", &json!({"notices": {"email": false}}))
        .expect(200);
    let me = fan.get("/accounts/me").expect(200);
    assert_eq!(
        me["notices"],
        json!({"push": false, "email": false, "sms": true}),
        "only the keys given change"
    );
    assert_eq!(me["name"], "New Name");
}

#[test]
fn nobody_makes_themselves_an_operator() {
    let api = shared();
    let fan = api.fan();
    for (field, value) in [
        ("role", json!("operator")),
        ("account_id", json!(new_id())),
        ("verified", json!(true)),
    ] {
        let problem = fan
            .patch("/accounts/me", &json!({field: value}))
            .problem(400, "bad-request");
        assert!(text(&problem["detail"]).contains(field), "{problem}");
        let body = json!({"email": new_email(), "password": PASSWORD, "name": "Fan", field: value});
        let problem = api.post("/accounts", &body).problem(400, "bad-request");
        assert!(text(&problem["detail"]).contains(field), "{problem}");
    }
    fan.get("/admin/bookings").problem(403, "operator-only");
}

#[test]
fn devices_are_kept_listed_and_forgotten() {
    let api = shared();
    let (fan, stranger) = (api.fan(), api.fan());
    let (phone, browser) = (new_id(), new_id());
    let push = json!({"channel": "fcm", "token": "device-token-1"});
    fan.put(&format!("/devices/{phone}"), &push).expect(201);
    fan.put(
        &format!("/devices/{phone}"),
        &json!({"channel": "apns", "token": "device-token-2"}),
    )
    .expect(200);
    let subscription = json!({
        "endpoint": "https://push.example.org/send/abc",
        "keys": {
            "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "auth": "BTBZMqHH6r4Tts7J_aSIgg",
        },
    });
    let web = json!({"channel": "web_push", "subscription": subscription});
    fan.put(&format!("/devices/{browser}"), &web).expect(201);
    let devices = fan.get("/devices").expect(200);
    let seen: BTreeSet<_> = list(&devices["items"])
        .iter()
        .map(|device| (text(&device["device_id"]), text(&device["channel"])))
        .collect();
    let wanted = BTreeSet::from([
        (phone.clone(), "apns".to_owned()),
        (browser, "web_push".to_owned()),
    ]);
    assert_eq!(seen, wanted);
    assert!(list(&stranger.get("/devices").expect(200)["items"]).is_empty());
    let path = format!("/devices/{phone}");
    let foreign = stranger.delete(&path);
    assert!(matches!(foreign.status, 204 | 404), "{foreign}");
    assert_eq!(
        list(&fan.get("/devices").expect(200)["items"]).len(),
        2,
        "a stranger removed it"
    );
    assert_eq!(fan.delete(&path).status, 204);
    assert_eq!(list(&fan.get("/devices").expect(200)["items"]).len(), 1);
}

#[test]
fn a_device_needs_a_channel_that_exists_and_what_it_takes() {
    let api = shared();
    let fan = api.fan();
    for body in [
        json!({"channel": "pigeon", "token": "x"}),
        json!({"token": "x"}),
        json!({"channel": "fcm"}),
        json!({"channel": "web_push"}),
        json!({"channel": "web_push", "subscription": "x"}),
    ] {
        fan.put(&format!("/devices/{}", new_id()), &body)
            .any_problem(400);
    }
    assert!(list(&fan.get("/devices").expect(200)["items"]).is_empty());
}
