//! The rules that hold for every call: problems, logins, ids, bodies, lists, caching.

use std::io::Write;
use std::time::Instant;

use serde_json::{Value, json};

use crate::entry::forgeries;
use crate::harness::{Server, Who, new_email, new_id, shared, skipped, until, within_s};
use crate::http::{Answer, Call, connect, read_answer};
use crate::show::{Setup, Show, list, text};

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Needs {
    Login,
    Operator,
}

/// Every route with a login, with ids of things that are there.
fn guarded_routes(show: &Show) -> Vec<(Needs, &'static str, String)> {
    let id = new_id();
    let mut routes = Vec::new();
    for (method, path) in [
        ("GET", "/accounts/me".to_owned()),
        ("PATCH", "/accounts/me".to_owned()),
        ("GET", "/accounts/me/stream".to_owned()),
        ("DELETE", "/sessions/current".to_owned()),
        ("PUT", format!("/devices/{id}")),
        ("GET", "/devices".to_owned()),
        ("DELETE", format!("/devices/{id}")),
        ("POST", show.path("/waiting-room")),
        ("GET", show.path("/waiting-room/place")),
        ("DELETE", show.path("/waiting-room/place")),
        ("POST", show.path("/passes")),
        ("POST", show.path("/holds")),
        ("GET", format!("/holds/{id}")),
        ("DELETE", format!("/holds/{id}")),
        ("POST", "/bookings".to_owned()),
        ("GET", "/bookings".to_owned()),
        ("GET", format!("/bookings/{id}")),
        ("POST", format!("/bookings/{id}/cancellation")),
        ("GET", format!("/tickets/{id}")),
        ("GET", format!("/tickets/{id}/qr.svg")),
    ] {
        routes.push((Needs::Login, method, path));
    }
    for (method, path) in [
        ("POST", "/admin/venues".to_owned()),
        ("POST", "/admin/events".to_owned()),
        ("POST", "/admin/performances".to_owned()),
        ("PATCH", show.admin_path("")),
        ("POST", show.admin_path("/sale/open")),
        ("POST", show.admin_path("/sale/pause")),
        ("POST", show.admin_path("/sale/close")),
        ("GET", show.admin_path("/stats")),
        ("GET", show.admin_path("/live")),
        ("GET", "/admin/bookings".to_owned()),
    ] {
        routes.push((Needs::Operator, method, path));
    }
    routes
}

/// A call whose body, where there may be one, is no JSON at all.
fn with_garbage(call: Call, method: &str) -> Call {
    if matches!(method, "POST" | "PUT" | "PATCH") {
        call.bytes(b"{garbage".to_vec())
    } else {
        call
    }
}

#[test]
fn nobody_gets_in_without_a_login_before_the_body_is_looked_at() {
    let show = Setup::new().wide_room().make(&shared());
    for (_, method, path) in guarded_routes(&show) {
        let answer = show
            .api
            .send(&with_garbage(show.api.call(method, &path), method));
        assert_eq!(answer.status, 401, "{method} {path} got {answer}");
        answer.problem(401, "login-required");
        assert!(
            answer
                .header("www-authenticate")
                .is_none_or(|scheme| scheme.contains("Bearer")),
            "{answer}"
        );
    }
}

#[test]
fn a_fan_is_no_operator_before_the_body_is_looked_at() {
    let show = Setup::new().wide_room().make(&shared());
    let fan = show.api.fan();
    for (needs, method, path) in guarded_routes(&show) {
        if needs == Needs::Operator {
            let answer = fan.send(&with_garbage(fan.call(method, &path), method));
            assert_eq!(answer.status, 403, "{method} {path} got {answer}");
            answer.problem(403, "operator-only");
        }
    }
    assert_eq!(
        show.api.get(&show.path("")).expect(200)["sale"]["state"],
        "open"
    );
}

#[test]
fn an_operator_may_do_all_that_operators_do() {
    let show = Setup::new().make(&shared());
    let operator = show.api.operator();
    for (needs, method, path) in guarded_routes(&show) {
        if needs == Needs::Operator && method == "GET" && !path.ends_with("/live") {
            operator.get(&path).expect(200);
        }
    }
}

#[test]
fn what_is_no_login_is_refused() {
    let api = shared();
    let fan = api.fan();
    for token in forgeries(&fan.access_token) {
        let answer = api.send(&api.call("GET", "/accounts/me").bearer(&token));
        assert_eq!(answer.status, 401, "{token:?} got {answer}");
        answer.problem(401, "login-required");
    }
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Basic Zm9vOmJhcg==",
        "Token x",
        &fan.access_token,
    ] {
        let answer = api.send(
            &api.call("GET", "/accounts/me")
                .header("Authorization", header),
        );
        assert_eq!(answer.status, 401, "{header:?} got {answer}");
        answer.problem(401, "login-required");
    }
    // Never a token in a URL.
    for name in ["access_token", "token", "authorization"] {
        api.get(&format!("/accounts/me?{name}={}", fan.access_token))
            .problem(401, "login-required");
    }
    fan.get("/accounts/me").expect(200);
}

#[test]
fn an_access_token_runs_out() {
    if skipped("short access tokens") {
        return;
    }
    let server = Server::start_with(&[("BOXOFFICE_AUTH__ACCESS_TTL_S", "2")]);
    let fan = server.api.fan();
    let session = server.api.post(
        "/sessions",
        &json!({"email": fan.email, "password": crate::harness::PASSWORD}),
    );
    assert_eq!(session.expect(201)["expires_in"], 2);
    fan.get("/accounts/me").expect(200);
    until("the token runs out", within_s(3), || {
        let answer = fan.get("/accounts/me");
        (answer.status != 200).then(|| answer.problem(401, "login-required"))
    });
    let next = server
        .api
        .post(
            "/sessions/refresh",
            &json!({"refresh_token": fan.refresh_token}),
        )
        .expect(200);
    let renewed = Who {
        access_token: text(&next["access_token"]),
        ..fan
    };
    renewed.get("/accounts/me").expect(200);
}

#[test]
fn a_token_of_another_server_is_no_login_here() {
    if skipped("a second server") {
        return;
    }
    let other = Server::start();
    let stranger = other.api.fan();
    let api = shared();
    for token in [&stranger.access_token, &other.api.operator().access_token] {
        api.send(&api.call("GET", "/accounts/me").bearer(token))
            .problem(401, "login-required");
        api.send(&api.call("GET", "/admin/bookings").bearer(token))
            .problem(401, "login-required");
    }
}

#[test]
fn unknown_routes_and_methods_are_problems() {
    let api = shared();
    let fan = api.fan();
    for path in [
        "/api/v1/nonsense",
        "/api/v1",
        "/api/v2/events",
        "/nonsense",
        "/api/v1/events/x/y/z",
    ] {
        api.send(&Call::new("GET", path).bearer(&fan.access_token))
            .any_problem(404);
    }
    for (method, path) in [
        ("PUT", "/events"),
        ("DELETE", "/accounts/me"),
        ("PATCH", "/bookings"),
        ("GET", "/sessions"),
        ("POST", "/tickets/0197a2a0-0000-7000-8000-000000000000"),
        ("BREW", "/events"),
    ] {
        let answer = fan.send(&fan.call(method, path));
        assert_eq!(answer.status, 405, "{method} {path} got {answer}");
        answer.any_problem(405);
        assert!(
            answer.header("allow").is_some(),
            "a 405 says what is allowed: {answer}"
        );
    }
}

#[test]
fn every_problem_has_a_request_id_of_its_own() {
    let api = shared();
    let ids: Vec<_> = (0..3)
        .map(|_| text(&api.get("/nonsense").any_problem(404)["request_id"]))
        .collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
}

#[test]
fn an_id_that_is_no_uuid_is_a_bad_request() {
    let api = shared();
    let (fan, operator) = (api.fan(), api.operator());
    let show = Setup::new().make(&api);
    let hold = json!({"hold_id": "x", "seats": [show.guids()[0]]});
    for id in [
        "x",
        "1",
        "0197a2a0-0000-7000-8000-00000000000",
        "0197a2a0-0000-7000-8000-00000000000g",
        "%00",
        "%F0%9F%8E%AB",
        "-1",
    ] {
        for (who, method, path) in [
            (&fan, "GET", format!("/events/{id}")),
            (&fan, "GET", format!("/performances/{id}")),
            (&fan, "GET", format!("/performances/{id}/seating-plan")),
            (&fan, "GET", format!("/performances/{id}/availability")),
            (&fan, "GET", format!("/performances/{id}/waiting-room")),
            (
                &fan,
                "GET",
                format!("/performances/{id}/waiting-room/place"),
            ),
            (&fan, "GET", format!("/holds/{id}")),
            (&fan, "DELETE", format!("/holds/{id}")),
            (&fan, "GET", format!("/bookings/{id}")),
            (&fan, "GET", format!("/tickets/{id}")),
            (&fan, "GET", format!("/tickets/{id}/qr.svg")),
            (&fan, "DELETE", format!("/devices/{id}")),
            (&operator, "GET", format!("/admin/performances/{id}/stats")),
        ] {
            let answer = who.send(&who.call(method, &path));
            assert_eq!(answer.status, 400, "{method} {path} got {answer}");
            answer.any_problem(400);
        }
        for (who, path) in [
            (&fan, format!("/performances/{id}/waiting-room")),
            (&fan, format!("/performances/{id}/passes")),
            (&fan, format!("/bookings/{id}/cancellation")),
            (&operator, format!("/admin/performances/{id}/sale/open")),
        ] {
            let answer = who.post(&path, &json!({}));
            assert_eq!(answer.status, 400, "POST {path} got {answer}");
        }
    }
    fan.post(&show.path("/holds"), &hold).any_problem(400);
    let booking = json!({"booking_id": "x", "hold_id": new_id(), "payment": {"method": "sandbox"}});
    fan.post("/bookings", &booking).any_problem(400);
}

#[test]
fn an_unknown_field_of_a_fan_is_named() {
    let api = shared();
    let fan = api.fan();
    let (show, free) = (Setup::new().wide_room().make(&api), Setup::new().make(&api));
    fan.join(&show);
    let booking_id = text(&fan.book(&fan.hold(&free, &[&free.guids()[0]]))["booking_id"]);
    let account = json!({"email": new_email(), "password": "long-Enough-4711", "name": "F"});
    let best = json!({"hold_id": new_id(), "best": {"quantity": 1, "together": true}});
    let booking = json!({
        "booking_id": new_id(), "hold_id": new_id(), "payment": {"method": "sandbox"},
    });
    for (method, path, body) in [
        ("POST", "/accounts".to_owned(), account),
        (
            "POST",
            "/sessions".to_owned(),
            json!({"email": "a@example.com", "password": "x"}),
        ),
        (
            "POST",
            "/sessions/refresh".to_owned(),
            json!({"refresh_token": "x"}),
        ),
        ("PATCH", "/accounts/me".to_owned(), json!({})),
        ("PATCH", "/accounts/me".to_owned(), json!({"notices": {}})),
        (
            "PUT",
            format!("/devices/{}", new_id()),
            json!({"channel": "fcm", "token": "t"}),
        ),
        ("POST", show.path("/waiting-room"), json!({})),
        ("POST", show.path("/passes"), json!({})),
        ("POST", free.path("/holds"), best),
        (
            "POST",
            free.path("/holds"),
            json!({"hold_id": new_id(), "seats": ["x"]}),
        ),
        ("POST", "/bookings".to_owned(), booking),
        (
            "POST",
            format!("/bookings/{booking_id}/cancellation"),
            json!({}),
        ),
    ] {
        check_names_unknown_fields(&fan, method, &path, &body);
    }
    assert_eq!(fan.booking(&booking_id)["state"], "confirmed");
}

#[test]
fn an_unknown_field_of_an_operator_is_named() {
    let api = shared();
    let operator = api.operator();
    let show = Setup::new().wide_room().make(&api);
    let performance = Setup::new()
        .wide_room()
        .performance(&show.event_id, &show.venue_id);
    let generate = json!({"sections": 1, "rows": 1, "seats_per_row": 1});
    for (method, path, body) in [
        ("POST", "/admin/events".to_owned(), json!({"title": "T"})),
        (
            "POST",
            "/admin/venues".to_owned(),
            json!({"name": "V", "generate": generate}),
        ),
        ("POST", "/admin/performances".to_owned(), performance),
        (
            "PATCH",
            show.admin_path(""),
            json!({"hold": {"seats_max": 2}}),
        ),
        ("POST", show.admin_path("/sale/open"), json!({})),
    ] {
        check_names_unknown_fields(&operator, method, &path, &body);
    }
}

/// Puts a field that nobody knows into the body and into each object in it.
#[track_caller]
fn check_names_unknown_fields(who: &Who, method: &str, path: &str, body: &Value) {
    for spot in std::iter::once(String::new()).chain(objects_in(body)) {
        let mut faulty = body.clone();
        faulty.pointer_mut(&spot).expect("an object of this body")["surprise_field"] = json!(1);
        let answer = who.send(&who.call(method, path).json(&faulty));
        assert_eq!(
            answer.status, 400,
            "{method} {path} with {faulty} got {answer}"
        );
        let problem = answer.problem(400, "bad-request");
        assert!(
            text(&problem["detail"]).contains("surprise_field"),
            "{method} {path}: {problem}"
        );
    }
}

/// Pointers to the objects that are members of this object.
fn objects_in(body: &Value) -> Vec<String> {
    let members = body.as_object().expect("a body is an object");
    members
        .iter()
        .filter(|(_, value)| value.is_object())
        .map(|(key, _)| format!("/{key}"))
        .collect()
}

/// Sends only a head that announces so many bytes, and reads what the server says to that.
#[track_caller]
fn announce(who: &Who, method: &str, path: &str, length: usize) -> Answer {
    let call = who
        .call(method, path)
        .header("Content-Type", "application/json");
    let call = call.header("Content-Length", &length.to_string());
    let mut socket = connect(&who.api.address).expect("a connection");
    socket
        .write_all(call.head(&who.api.address).as_bytes())
        .expect("the head is sent");
    let asked = Instant::now();
    let answer = read_answer(socket, false).expect("an answer before the body is sent");
    assert!(
        asked.elapsed() <= within_s(2),
        "it waited for the body: {:?}",
        asked.elapsed()
    );
    answer
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let show = Setup::new().make(&shared());
    let (fan, operator) = (show.api.fan(), show.api.operator());
    for length in [65_537, 10_000_000, usize::MAX / 2] {
        announce(&fan, "POST", &show.path("/holds"), length).any_problem(413);
        announce(&fan, "POST", "/accounts", length).any_problem(413);
        announce(&fan, "POST", "/sessions", length).any_problem(413);
        announce(&operator, "POST", "/admin/events", length).any_problem(413);
    }
    announce(&operator, "POST", "/admin/venues", 9_000_000).any_problem(413);
    let fan_at_admin = announce(&fan, "POST", "/admin/venues", 9_000_000);
    assert!(matches!(fan_at_admin.status, 403 | 413), "{fan_at_admin}");
}

#[test]
fn a_body_without_a_length_is_cut_off_too() {
    let fan = shared().fan();
    let call = fan
        .call("POST", "/bookings")
        .header("Transfer-Encoding", "chunked");
    let mut socket = connect(&fan.api.address).expect("a connection");
    socket
        .write_all(
            call.header("Content-Type", "application/json")
                .head(&fan.api.address)
                .as_bytes(),
        )
        .expect("the head");
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    for _ in 0..8 {
        // The server may refuse before it has all of it.
        let _refused_early = socket.write_all(chunk.as_bytes());
    }
    read_answer(socket, false)
        .expect("an answer")
        .any_problem(413);
}

#[test]
fn a_body_up_to_the_limit_is_read() {
    let operator = shared().operator();
    let mut body = json!({"title": "A show"}).to_string();
    body.push_str(&" ".repeat(64_000 - body.len()));
    operator
        .send(
            &operator
                .call("POST", "/admin/events")
                .bytes(body.into_bytes()),
        )
        .expect(201);
    let mut body =
        json!({"name": "Hall", "generate": {"sections": 1, "rows": 1, "seats_per_row": 1}})
            .to_string();
    body.push_str(&" ".repeat(7_500_000 - body.len()));
    operator
        .send(
            &operator
                .call("POST", "/admin/venues")
                .bytes(body.into_bytes()),
        )
        .expect(201);
}

#[test]
fn a_plan_of_fifty_thousand_seats_fits() {
    let operator = shared().operator();
    let rows: Vec<_> = (0..500)
        .map(|row| {
            let seats: Vec<_> = (0..100)
                .map(|seat| json!({"seat_guid": format!("{row}-{seat}"), "seat_number": seat.to_string(), "position": {"x": seat, "y": 0}, "category": "All"}))
                .collect();
            json!({"row_number": row.to_string(), "position": {"x": 0, "y": row}, "seats": seats})
        })
        .collect();
    let zone = json!({"name": "Stadium", "position": {"x": 0, "y": 0}, "rows": rows, "areas": []});
    let plan = json!({"name": "Stadium", "categories": [{"name": "All", "color": "#000000"}], "zones": [zone]});
    let venue = json!({"name": "Stadium", "seating_plan": plan});
    let show = Setup::venue(venue, vec!["Stadium".to_owned()]).make(&operator.api);
    assert_eq!(
        show.api.get(&show.path("")).expect(200)["seats_total"],
        50_000
    );
    assert_eq!(show.plan().len(), 50_000);
    let fan = show.api.fan();
    let hold = fan
        .try_hold(
            &show,
            None,
            &json!({"best": {"quantity": 4, "together": true}}),
        )
        .expect(201);
    fan.book(&hold);
}

#[test]
fn list_limits_are_whole_and_positive_and_cut_to_200() {
    let api = shared();
    let (fan, operator) = (api.fan(), api.operator());
    for (who, path) in [
        (&fan, "/events"),
        (&fan, "/bookings"),
        (&operator, "/admin/bookings?state=pending"),
    ] {
        let join = if path.contains('?') { '&' } else { '?' };
        for limit in [
            "0",
            "-1",
            "1.5",
            "x",
            "",
            "1e2",
            "0x10",
            "%31%00",
            "99999999999999999999999999",
        ] {
            let answer = who.get(&format!("{path}{join}limit={limit}"));
            // More than 200 is cut; how large a number may be before it is none is not said.
            if limit.len() > 20 && answer.status == 200 {
                continue;
            }
            assert_eq!(answer.status, 400, "limit={limit} of {path} got {answer}");
            answer.any_problem(400);
        }
        for limit in ["1", "200", "201", "100000"] {
            let page = who.get(&format!("{path}{join}limit={limit}")).expect(200);
            assert!(list(&page["items"]).len() <= 200);
            assert!(
                page.get("next_cursor").is_some(),
                "no `next_cursor`: {path}"
            );
        }
        let cursor = who.get(&format!("{path}{join}cursor=nonsense"));
        assert_eq!(cursor.status, 400, "{cursor}");
    }
}

#[test]
fn more_than_200_are_cut_to_200() {
    let api = shared();
    let operator = api.operator();
    for _ in 0..201 {
        operator
            .post("/admin/events", &json!({"title": "One of many"}))
            .expect(201);
    }
    let page = api.get("/events?limit=100000").expect(200);
    assert_eq!(list(&page["items"]).len(), 200);
    assert!(page["next_cursor"].is_string());
    let default = list(&api.get("/events").expect(200)["items"]).len();
    assert!((1..=200).contains(&default), "{default}");
}

#[test]
fn what_is_not_json_is_a_bad_request() {
    let fan = shared().fan();
    for body in [
        "",
        "{",
        "nonsense",
        "[]",
        "null",
        "\"text\"",
        "{}x",
        "{\"a\":1,}",
        "\u{feff}{}",
    ] {
        let answer = fan.send(
            &fan.call("POST", "/bookings")
                .bytes(body.as_bytes().to_vec()),
        );
        assert_eq!(answer.status, 400, "{body:?} got {answer}");
        answer.any_problem(400);
    }
}

#[test]
fn answers_of_a_fan_stay_out_of_shared_caches() {
    let show = Setup::new().make(&shared());
    let fan = show.api.fan();
    for path in ["/accounts/me", "/bookings", "/devices"] {
        let answer = fan.get(path);
        assert!(
            !answer
                .header("cache-control")
                .unwrap_or_default()
                .contains("public"),
            "{answer}"
        );
    }
    let session = show.api.post(
        "/sessions",
        &json!({"email": fan.email, "password": crate::harness::PASSWORD}),
    );
    assert!(
        !session
            .header("cache-control")
            .unwrap_or_default()
            .contains("public"),
        "{session}"
    );
}
