//! What operations rely on: health, metrics, the OpenAPI document and the page to try it.

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Server, let_pass, new_id, shared, skipped, until, within_s};
use crate::http::{Answer, Call};
use crate::show::{Setup, text};

#[track_caller]
fn get(path: &str) -> Answer {
    shared().send(&Call::new("GET", path))
}

#[test]
fn it_says_that_it_lives_and_is_ready() {
    for path in ["/livez", "/readyz"] {
        let answer = get(path);
        assert_eq!(answer.status, 200, "{path} got {answer}");
    }
}

#[test]
fn the_front_page_leads_to_the_docs() {
    let page = get("/");
    assert_eq!(page.status, 200, "{page}");
    assert!(
        page.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html")),
        "{page}"
    );
    assert!(page.text().contains("/docs"), "{page}");
}

/// Values of these attributes in a page.
fn attributes(page: &str, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for quote in ['"', '\''] {
        for piece in page.split(&format!(" {name}={quote}")).skip(1) {
            found.extend(piece.split(quote).next().map(str::to_owned));
        }
    }
    found
}

#[test]
fn the_docs_page_works_without_the_world() {
    let page = get("/docs");
    assert_eq!(page.status, 200, "{page}");
    assert!(
        page.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html")),
        "{page}"
    );
    let html = page.text();
    let mut sources = attributes(&html, "src");
    sources.extend(attributes(&html, "href"));
    for source in sources {
        let external =
            source.starts_with("http:") || source.starts_with("https:") || source.starts_with("//");
        assert!(!external, "/docs loads or links {source}");
        if source.starts_with('#') || source.starts_with("data:") || source.is_empty() {
            continue;
        }
        let path = if source.starts_with('/') {
            source.clone()
        } else {
            format!("/{source}")
        };
        assert_eq!(get(&path).status, 200, "/docs needs {source}");
    }
    for loader in [
        "url(http",
        "url(\"http",
        "url('http",
        "@import",
        "fetch(\"http",
        "fetch('http",
        "import(\"http",
    ] {
        assert!(!html.contains(loader), "/docs has {loader}");
    }
}

/// The routes of the contract, with every parameter as `{}`.
const ROUTES: &[(&str, &str)] = &[
    ("post", "/accounts"),
    ("get", "/accounts/me"),
    ("patch", "/accounts/me"),
    ("post", "/sessions"),
    ("post", "/sessions/refresh"),
    ("delete", "/sessions/current"),
    ("put", "/devices/{}"),
    ("get", "/devices"),
    ("delete", "/devices/{}"),
    ("get", "/accounts/me/stream"),
    ("get", "/events"),
    ("get", "/events/{}"),
    ("get", "/performances/{}"),
    ("get", "/performances/{}/seating-plan"),
    ("get", "/performances/{}/availability"),
    ("get", "/performances/{}/availability/stream"),
    ("post", "/performances/{}/waiting-room"),
    ("get", "/performances/{}/waiting-room"),
    ("get", "/performances/{}/waiting-room/place"),
    ("delete", "/performances/{}/waiting-room/place"),
    ("get", "/performances/{}/waiting-room/stream"),
    ("post", "/performances/{}/passes"),
    ("post", "/performances/{}/holds"),
    ("get", "/holds/{}"),
    ("delete", "/holds/{}"),
    ("post", "/bookings"),
    ("get", "/bookings"),
    ("get", "/bookings/{}"),
    ("post", "/bookings/{}/cancellation"),
    ("get", "/tickets/{}"),
    ("get", "/tickets/{}/qr.svg"),
    ("post", "/admin/venues"),
    ("post", "/admin/events"),
    ("post", "/admin/performances"),
    ("patch", "/admin/performances/{}"),
    ("get", "/admin/performances/{}/stats"),
    ("get", "/admin/performances/{}/live"),
    ("get", "/admin/bookings"),
];

/// `/performances/{id}/holds` → `/performances/{}/holds`, without the base.
fn shape(path: &str) -> String {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    path.split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

#[test]
fn the_openapi_document_lists_every_route() {
    let document = get("/api/v1/openapi.json").expect(200);
    assert!(
        text(&document["openapi"]).starts_with("3.1"),
        "{}",
        document["openapi"]
    );
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let mut listed = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            listed.insert((method.clone(), shape(path)));
            let responses = operation["responses"].as_object();
            assert!(
                method == "parameters" || responses.is_some_and(|all| !all.is_empty()),
                "{method} {path}: no answers"
            );
        }
    }
    for (method, path) in ROUTES {
        assert!(
            listed.contains(&((*method).to_owned(), (*path).to_owned())),
            "{method} {path} is not listed"
        );
    }
    for verb in ["open", "pause", "close"] {
        let own = (
            "post".to_owned(),
            format!("/admin/performances/{{}}/sale/{verb}"),
        );
        let shared = (
            "post".to_owned(),
            "/admin/performances/{}/sale/{}".to_owned(),
        );
        assert!(
            listed.contains(&own) || listed.contains(&shared),
            "{verb} is not listed"
        );
    }
}

#[test]
fn the_openapi_document_refers_to_nothing_that_is_missing() {
    let document = get("/api/v1/openapi.json").expect(200);
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference
                        .strip_prefix('#')
                        .unwrap_or_else(|| panic!("{reference} leads outside"));
                    assert!(
                        document.pointer(pointer).is_some(),
                        "{reference} is missing"
                    );
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
        }
    }
}

#[test]
fn the_metrics_have_the_names_of_the_contract() {
    let show = Setup::new().wide_room().make(&shared());
    let fan = show.api.fan();
    let pass = fan.enter(&show);
    let wish = json!({"best": {"quantity": 1, "together": true}});
    let hold = fan.try_hold(&show, Some(&pass), &wish).expect(201);
    fan.book_and_wait(&new_id(), &hold["hold_id"], "declined")
        .expect(200);
    fan.try_hold(&show, None, &wish)
        .problem(403, "pass-required");
    let released = fan.try_hold(&show, Some(&pass), &wish).expect(201);
    assert_eq!(
        fan.delete(&format!("/holds/{}", text(&released["hold_id"])))
            .status,
        204
    );
    let booking = fan.book(&hold);
    fan.cancel(&text(&booking["booking_id"])).expect(202);
    fan.until_booking_is(&text(&booking["booking_id"]), "cancelled", within_s(10));
    let waiting = format!("boxoffice_waiting{{performance=\"{}\"", show.performance_id);
    for needed in [
        "boxoffice_http_requests_total{",
        "boxoffice_http_request_duration_seconds_bucket{",
        "boxoffice_joins_total",
        &waiting,
        "boxoffice_serving_counter{performance=\"",
        "boxoffice_holds_total{outcome=\"held\"",
        "boxoffice_holds_total{outcome=\"released\"",
        "boxoffice_bookings_total{outcome=\"confirmed\"",
        "boxoffice_bookings_total{outcome=\"refused\"",
        "boxoffice_bookings_total{outcome=\"cancelled\"",
        "boxoffice_booking_duration_seconds_bucket",
        "boxoffice_admission_lag_seconds",
        "boxoffice_notices_total{",
        "boxoffice_notice_delay_seconds",
        "boxoffice_batch_size",
        "boxoffice_assertions_failed_total",
    ] {
        until(
            &format!("`{needed}` is in /metrics"),
            Duration::from_secs(10),
            || {
                get("/metrics")
                    .text()
                    .lines()
                    .any(|line| line.starts_with(needed))
                    .then_some(())
            },
        );
    }
}

#[test]
fn the_metrics_are_prometheus_text_by_route_template() {
    let show = Setup::new().make(&shared());
    show.api.get(&show.path("")).expect(200);
    show.api.get("/nonsense-of-a-stranger").any_problem(404);
    let answer = get("/metrics");
    assert_eq!(answer.status, 200);
    for line in answer
        .text()
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let value = line.rsplit(' ').next().unwrap_or_default();
        assert!(value.parse::<f64>().is_ok(), "no number: {line}");
        if line.starts_with("boxoffice_http_requests_total{") {
            for label in ["route=\"", "method=\"", "status=\""] {
                assert!(line.contains(label), "no {label}: {line}");
            }
            assert!(
                !line.contains(&show.performance_id),
                "the route is no template: {line}"
            );
            assert!(
                !line.contains("nonsense-of-a-stranger"),
                "a stranger makes series: {line}"
            );
        }
        if line.starts_with("boxoffice_assertions_failed_total") {
            assert_eq!(value.parse::<f64>(), Ok(0.0), "an assertion failed: {line}");
        }
    }
}

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _it_has_ended = self.0.kill();
        let _it_has_ended = self.0.wait();
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    if skipped("to start the server with a full log") {
        return;
    }
    let mut server = Server::start();
    let show = Setup::new().make(&server.api);
    let (fan, guids) = (server.api.fan(), show.guids());
    server.kill();
    let full = || std::fs::File::options().write(true).open("/dev/full");
    let (Ok(output), Ok(errors)) = (full(), full()) else {
        return; // This system has no file that is always full.
    };
    let child = server.command().stdout(output).stderr(errors).spawn();
    let mut running = Running(child.expect("the binary starts"));
    until("it is ready", within_s(10), || {
        let ready = Call::new("GET", "/readyz").send(&server.api.address).ok()?;
        (ready.status == 200).then_some(())
    });
    // Each booking is a notice, and without a mail server each notice is a line of the log.
    for guid in &guids[..3] {
        fan.book(&fan.hold(&show, &[guid]));
    }
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let gone = running.0.try_wait().expect("our own child");
        assert_eq!(gone, None, "it ended since its log is full");
        let_pass(Duration::from_millis(50));
    }
}
