//! Bad input in every field of every body: a clear 4xx, never a 5xx, and the server goes on.

use serde_json::{Value, json};

use crate::harness::{Who, new_email, new_id, shared};
use crate::http::{Answer, Call};
use crate::show::{Setup, Show, text};

/// Stands for bytes that `serde_json` cannot write.
const SPOT: &str = "the-spot-to-fill";

struct Route {
    who: Who,
    method: &'static str,
    path: String,
    body: Value,
}

/// Every call with a body, each with one that is good.
fn routes() -> (Show, Vec<Route>) {
    let api = shared();
    let show = Setup::new().lobby_opens_in_s(-7_200.0).make(&api);
    let mut routes = fan_routes(&show);
    routes.extend(operator_routes(&show));
    (show, routes)
}

fn fan_routes(show: &Show) -> Vec<Route> {
    let (fan, guids) = (show.api.fan(), show.guids());
    let account = json!({
        "email": new_email(), "password": "good-Password-1987", "name": "Fan", "locale": "en",
    });
    let notices = json!({"push": true, "email": true, "sms": false});
    let me = json!({"name": "Fan", "locale": "en", "phone": "+82101234567", "notices": notices});
    let login = json!({"email": "a@example.com", "password": "x"});
    let phone = json!({"channel": "fcm", "token": "t"});
    let keys = json!({"p256dh": "BCVx", "auth": "BTBZ"});
    let subscription = json!({"endpoint": "https://push.example.org/x", "keys": keys});
    let browser = json!({"channel": "web_push", "subscription": subscription});
    let named = json!({"hold_id": new_id(), "seats": [guids[0], guids[1]]});
    let best = json!({"section": "A", "quantity": 1, "together": true});
    let best = json!({"hold_id": new_id(), "best": best});
    let area = json!({"hold_id": new_id(), "area": "F", "quantity": 1});
    let payment = json!({"method": "sandbox", "outcome": "ok"});
    let booking = json!({"booking_id": new_id(), "hold_id": new_id(), "payment": payment});
    [
        ("POST", "/accounts".to_owned(), account),
        ("PATCH", "/accounts/me".to_owned(), me),
        ("POST", "/sessions".to_owned(), login),
        (
            "POST",
            "/sessions/refresh".to_owned(),
            json!({"refresh_token": "x"}),
        ),
        ("PUT", format!("/devices/{}", new_id()), phone),
        ("PUT", format!("/devices/{}", new_id()), browser),
        ("POST", show.path("/holds"), named),
        ("POST", show.path("/holds"), best),
        ("POST", show.path("/holds"), area),
        ("POST", "/bookings".to_owned(), booking),
    ]
    .map(|(method, path, body)| Route {
        who: fan.clone(),
        method,
        path,
        body,
    })
    .into()
}

fn operator_routes(show: &Show) -> Vec<Route> {
    let operator = show.api.operator();
    let with_room = Setup::new().lobby_opens_in_s(-7_200.0).wide_room();
    let performance = with_room.performance(&show.event_id, &show.venue_id);
    let change = json!({
        "sale": performance["sale"], "admission": performance["admission"], "hold": performance["hold"],
    });
    let seat = json!({
        "seat_guid": "g", "seat_number": "1", "position": {"x": 0, "y": 0}, "category": "C",
    });
    let row = json!({"row_number": "1", "position": {"x": 0, "y": 0}, "seats": [seat]});
    let zone = json!({"name": "Z", "position": {"x": 0, "y": 0}, "areas": [], "rows": [row]});
    let categories = json!([{"name": "C", "color": "#000000"}]);
    let plan = json!({"name": "T", "categories": categories, "zones": [zone]});
    let areas = json!([{"area": "F", "section": "Floor", "capacity": 5}]);
    let generate = json!({"sections": 1, "rows": 1, "seats_per_row": 1});
    let event = json!({"title": "T", "description": "D", "organizer": "O"});
    [
        (
            "POST",
            "/admin/venues".to_owned(),
            json!({"name": "V", "seating_plan": plan, "areas": areas}),
        ),
        (
            "POST",
            "/admin/venues".to_owned(),
            json!({"name": "V", "generate": generate}),
        ),
        ("POST", "/admin/events".to_owned(), event),
        ("POST", "/admin/performances".to_owned(), performance),
        ("PATCH", show.admin_path(""), change),
    ]
    .map(|(method, path, body)| Route {
        who: operator.clone(),
        method,
        path,
        body,
    })
    .into()
}

/// Pointers to every value in a document, the document itself excepted.
fn spots(value: &Value, at: &str, found: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, inner)| (key.clone(), inner))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, inner)| (index.to_string(), inner))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (key, inner) in members {
        let spot = format!("{at}/{key}");
        spots(inner, &spot, found);
        found.push(spot);
    }
}

/// What is put in place of a value; as text, since some of it is no JSON that can be built.
fn poisons() -> Vec<Vec<u8>> {
    let mut poisons: Vec<Vec<u8>> = [
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "-0",
        "1e308",
        "1e999",
        "-9223372036854775809",
        "18446744073709551616",
        "99999999999999999999999999999999",
        "\"\"",
        "\" \"",
        "[]",
        "{}",
        "[null]",
        "[[]]",
        "{\"a\":{}}",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\u{202e}\u{1F3AB}\"",
        "\"'; DROP TABLE seats; --\"",
        "\"<script>alert(1)</script>\"",
        "\"../../etc/passwd\"",
        "\"a\\r\\nB: c\"",
        "NaN",
        "undefined",
        "01",
        "'x'",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    poisons.push(format!("\"{}\"", "x".repeat(50_000)).into_bytes());
    poisons.push(format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)).into_bytes());
    poisons.push(format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000)).into_bytes());
    poisons.push(format!("[{}]", vec!["0"; 20_000].join(",")).into_bytes());
    poisons.push("1".repeat(40_000).into_bytes());
    poisons.push(b"\"\xff\xfe\xc0\xaf\"".to_vec());
    poisons
}

fn filled(body: &Value, spot: &str, poison: &[u8]) -> Vec<u8> {
    let mut body = body.clone();
    *body.pointer_mut(spot).expect("a spot of this body") = json!(SPOT);
    let text = body.to_string();
    let (before, after) = text.split_once(&format!("\"{SPOT}\"")).expect("the spot");
    [before.as_bytes(), poison, after.as_bytes()].concat()
}

#[track_caller]
fn check(answer: &Answer, what: &str) {
    assert!(answer.status < 500, "{what} got {answer}");
    if answer.status >= 400 {
        answer.any_problem(answer.status);
    }
}

#[test]
fn nothing_in_any_field_breaks_the_server() {
    let (show, routes) = routes();
    for route in &routes {
        let mut found = Vec::new();
        spots(&route.body, "", &mut found);
        for spot in &found {
            for poison in poisons() {
                let body = filled(&route.body, spot, &poison);
                let shown = String::from_utf8_lossy(&poison[..poison.len().min(60)]).into_owned();
                let what = format!("{} {} with {spot} = {shown}", route.method, route.path);
                check(
                    &route
                        .who
                        .send(&route.who.call(route.method, &route.path).bytes(body)),
                    &what,
                );
            }
        }
    }
    assert_eq!(
        show.api.get(&show.path("")).expect(200)["performance_id"],
        show.performance_id
    );
}

#[test]
fn a_wrong_type_is_a_bad_request() {
    let (_, routes) = routes();
    for route in &routes {
        let mut found = Vec::new();
        spots(&route.body, "", &mut found);
        for spot in &found {
            let value = route.body.pointer(spot).expect("a spot of this body");
            // Decoration of a plan, which nobody needs to read.
            let decoration = [
                "/seating_plan/categories",
                "/seating_plan/name",
                "/zones/0/areas",
                "/rows/0/position",
            ];
            if decoration.iter().any(|part| spot.contains(part)) {
                continue;
            }
            let wrong = match value {
                Value::String(_) => vec![json!({"a": 1})],
                Value::Number(_) | Value::Bool(_) => vec![json!("text")],
                Value::Array(_) => vec![json!(7)],
                // The fields' values in a list are no object, in whatever order, nor is a list of nothing.
                Value::Object(fields) => {
                    let values = fields.values().cloned().collect();
                    vec![json!(7), json!([]), Value::Array(values)]
                }
                Value::Null => continue,
            };
            for wrong in wrong {
                let body = filled(&route.body, spot, wrong.to_string().as_bytes());
                let answer = route
                    .who
                    .send(&route.who.call(route.method, &route.path).bytes(body));
                assert_eq!(
                    answer.status, 400,
                    "{} {} with {spot} = {wrong} got {answer}",
                    route.method, route.path
                );
            }
        }
    }
}

#[test]
fn a_missing_field_is_a_bad_request_by_name() {
    let (_, routes) = routes();
    for route in &routes {
        if route.method == "PATCH" {
            continue;
        }
        for field in route.body.as_object().expect("an object").keys() {
            // These may be left out.
            if [
                "locale",
                "description",
                "organizer",
                "areas",
                "admission",
                "hold",
            ]
            .contains(&field.as_str())
            {
                continue;
            }
            let mut body = route.body.clone();
            body.as_object_mut().expect("an object").remove(field);
            let answer = route
                .who
                .send(&route.who.call(route.method, &route.path).json(&body));
            assert_eq!(
                answer.status, 400,
                "{} {} without {field} got {answer}",
                route.method, route.path
            );
            answer.any_problem(400);
        }
    }
}

#[test]
fn a_body_that_is_not_utf_8_is_a_bad_request() {
    let (_, routes) = routes();
    for route in &routes {
        for body in [
            b"{\"\xff\": 1}".to_vec(),
            b"\xff\xfe{\x00}\x00".to_vec(),
            vec![0; 100],
        ] {
            let answer = route
                .who
                .send(&route.who.call(route.method, &route.path).bytes(body));
            assert_eq!(
                answer.status, 400,
                "{} {} got {answer}",
                route.method, route.path
            );
        }
    }
}

#[test]
fn a_field_given_twice_breaks_nothing() {
    let (_, routes) = routes();
    for route in &routes {
        let text = route.body.to_string();
        let first = route
            .body
            .as_object()
            .expect("an object")
            .iter()
            .next()
            .expect("a field");
        let twice = format!("{{\"{}\":{},{}", first.0, first.1, &text[1..]);
        let answer = route.who.send(
            &route
                .who
                .call(route.method, &route.path)
                .bytes(twice.into_bytes()),
        );
        check(
            &answer,
            &format!("{} {} with {} twice", route.method, route.path, first.0),
        );
    }
}

#[test]
fn no_header_breaks_the_server() {
    let show = Setup::new().make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    let long = "x".repeat(6_000);
    let values = [
        "",
        " ",
        "-1",
        "999999999999999999999999",
        "nonsense",
        "\u{e9}\u{1F3AB}",
        "wait=",
        "wait=-1",
        "wait=abc",
        "wait=99999999999999999999",
        ";;,,==",
        "W/",
        "\"",
        "*",
        &long,
    ];
    for name in [
        "Accept",
        "Accept-Language",
        "If-None-Match",
        "Last-Event-ID",
        "Boxoffice-Pass",
        "Prefer",
        "X-Request-Id",
        "Forwarded",
        "X-Forwarded-For",
        "Origin",
        "Range",
        "traceparent",
        "Cookie",
    ] {
        for value in values {
            for path in [
                show.path("/availability"),
                show.path("/seating-plan"),
                show.path(""),
            ] {
                let answer = fan.send(&fan.call("GET", &path).header(name, value));
                assert!(answer.status < 500, "{name}: {value} got {answer}");
            }
        }
    }
    for value in values {
        let hold = fan.hold(&show, &[&guids[0]]);
        let body = json!({"booking_id": new_id(), "hold_id": hold["hold_id"], "payment": {"method": "sandbox", "outcome": "declined"}});
        let answer = fan.send(
            &fan.call("POST", "/bookings")
                .header("Prefer", value)
                .json(&body),
        );
        assert!(
            matches!(answer.status, 200 | 202 | 400),
            "Prefer: {value} got {answer}"
        );
        let hold_path = format!("/holds/{}", text(&hold["hold_id"]));
        crate::harness::until(
            "the hold can be released",
            crate::harness::within_s(10),
            || {
                fan.delete(&hold_path);
                (fan.get(&hold_path).expect(200)["state"] == "released").then_some(())
            },
        );
    }
}

#[test]
fn another_content_type_breaks_nothing() {
    let fan = shared().fan();
    let body = json!({"name": "Fan"}).to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-8",
        "x",
        "",
    ] {
        let call = Call::new("PATCH", "/api/v1/accounts/me").bearer(&fan.access_token);
        let call = call
            .header("Content-Type", kind)
            .header("Content-Length", &body.len().to_string());
        let mut socket = crate::http::connect(&fan.api.address).expect("a connection");
        let bytes = call.header("Connection", "close").head(&fan.api.address) + &body;
        std::io::Write::write_all(&mut socket, bytes.as_bytes()).expect("sent");
        let answer = crate::http::read_answer(socket, false).expect("an answer");
        assert!(
            matches!(answer.status, 200 | 400 | 415),
            "{kind:?} got {answer}"
        );
    }
}

#[test]
fn no_query_breaks_the_server() {
    let api = shared();
    let show = Setup::new().make(&api);
    let fan = api.fan();
    for query in [
        "limit=%ff",
        "cursor=%00",
        "cursor=%ff%fe",
        "&&&=",
        "limit=1&limit=2",
        "cursor=AAAA",
        "since=-1",
        "since=99999999999999999999",
        "version=x",
        "state=%ff",
        &"a=b&".repeat(1_000),
    ] {
        for path in [
            "/events",
            "/bookings",
            &show.path("/availability"),
            &show.path(""),
        ] {
            let answer = fan.get(&format!("{path}?{query}"));
            assert!(answer.status < 500, "{path}?{query} got {answer}");
        }
    }
}
