//! The layer around a tiny router: what it adds, refuses and survives.

use axum::body::{Body, to_bytes};
use axum::routing::{get, post};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;

struct House {
    router: Router,
    metrics: Arc<Metrics>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is a whole problem with this code.
    #[track_caller]
    fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status, self.header("content-type")),
            (status, "application/problem+json"),
            "{}",
            self.text
        );
        let problem: Value = serde_json::from_str(&self.text).unwrap();
        assert_eq!(
            (problem["code"].as_str(), problem["status"].as_u64()),
            (Some(code), Some(u64::from(status)))
        );
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        problem
    }
}

fn house() -> House {
    let routes = Router::new()
        .route(
            "/api/v1/things/{id}",
            get(async || "thing").delete(async || Problem::not_found()),
        )
        .route(
            "/api/v1/kept",
            get(async || ([(header::CACHE_CONTROL, "public, max-age=1")], "kept")),
        )
        .route("/api/v1/sessions", post(async || "in"))
        .route("/api/v1/things/{id}/stream", get(async || "stream"))
        .route(
            "/api/v1/login",
            get(async || ([(header::LOCATION, "/there")], Problem::login_required())),
        )
        .route(
            "/api/v1/panic",
            get(async || -> &'static str {
                assert_eq!(1 + 1, 3, "planted");
                ""
            }),
        )
        .route(
            "/api/v1/late-panic",
            get(async || -> &'static str {
                tokio::task::yield_now().await;
                panic!("planted, {}", "late")
            }),
        )
        .route("/page", get(async || "page"));
    let http = HttpConfig {
        public_url: "https://tickets.example.org/shop".to_owned(),
        allowed_origins: vec!["https://partner.example.com".to_owned()],
        connections_max: 16,
        streams_max: 1,
        trusted: vec![("127.0.0.0".parse().unwrap(), 8)],
        per_address_per_s: 30,
        per_account_per_s: 1,
        proof_bits_min: 0,
        proof_bits_max: 0,
    };
    let metrics = Arc::new(Metrics::default());
    House {
        router: wrap(routes, &http, Arc::clone(&metrics), Arc::default()),
        metrics,
    }
}

impl House {
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_from("127.0.0.1:9", method, path, headers).await
    }

    async fn send_from(
        &self,
        peer: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .extension(Peer(peer.parse().unwrap()))
            .body(Body::empty())
            .unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text,
        }
    }
}

#[tokio::test]
async fn a_sane_request_id_is_taken_over_and_any_other_is_replaced() {
    let house = house();
    let longest = "x".repeat(64);
    for sane in ["a", "7f3a-1!~", longest.as_str()] {
        let answer = house.send("GET", "/page", &[("x-request-id", sane)]).await;
        assert_eq!(answer.header("x-request-id"), sane);
    }
    let too_long = "x".repeat(65);
    let mut seen = std::collections::HashSet::new();
    for wrong in ["", "two words", "tab\tbed", too_long.as_str()] {
        for headers in [&[("x-request-id", wrong)][..], &[]] {
            let answer = house.send("GET", "/page", headers).await;
            let id = answer.header("x-request-id").to_owned();
            assert!(
                id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit()),
                "{id:?}"
            );
            assert!(seen.insert(id), "an id twice");
        }
    }
}

#[tokio::test]
async fn errors_are_problems_that_name_the_request() {
    let house = house();
    house
        .send("GET", "/api/v1/nothing", &[("x-request-id", "mine")])
        .await
        .problem(404, "not-found");
    house
        .send("DELETE", "/api/v1/things/7", &[])
        .await
        .problem(404, "not-found");
    let wrong_method = house.send("POST", "/api/v1/things/7", &[]).await;
    wrong_method.problem(405, "method-not-allowed");
    let mut allowed: Vec<_> = wrong_method
        .header("allow")
        .split(',')
        .map(str::trim)
        .collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD"]);
    let login = house.send("GET", "/api/v1/login", &[]).await;
    login.problem(401, "login-required");
    assert_eq!(
        (login.header("location"), login.header("www-authenticate")),
        ("/there", "Bearer")
    );
    assert_ne!(login.header("content-length"), "0");
}

#[tokio::test]
async fn a_panic_is_a_500_and_is_counted() {
    let house = house();
    for path in ["/api/v1/panic", "/api/v1/late-panic"] {
        let answer = house.send("GET", path, &[]).await;
        answer.problem(500, "internal");
        assert!(
            !answer.text.contains("planted"),
            "the inside is shown: {}",
            answer.text
        );
    }
    assert_eq!(house.send("GET", "/page", &[]).await.status, 200);
    assert!(
        house
            .metrics
            .text()
            .contains("boxoffice_assertions_failed_total 2\n"),
        "{}",
        house.metrics.text()
    );
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let house = house();
    for path in ["/page", "/api/v1/things/7", "/api/v1/panic", "/nothing"] {
        let answer = house.send("GET", path, &[]).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        let cached = if path.starts_with("/api/") {
            "no-store"
        } else {
            ""
        };
        assert_eq!(answer.header("cache-control"), cached, "{path}");
    }
    assert_eq!(
        house
            .send("GET", "/api/v1/kept", &[])
            .await
            .header("cache-control"),
        "public, max-age=1"
    );
}

#[tokio::test]
async fn origins() {
    let house = house();
    let host = ("host", "127.0.0.1:8082");
    // Origin, whether CORS headers are given, status of a stream.
    let cases = [
        ("https://partner.example.com", true, 200),
        ("https://tickets.example.org", false, 200),
        ("http://127.0.0.1:8082", false, 200),
        ("https://evil.example.com", false, 403),
        ("https://partner.example.com.evil.org", false, 403),
        ("http://partner.example.com", false, 403),
        ("null", false, 403),
    ];
    for (origin, cors, stream_status) in cases {
        let headers = [host, ("origin", origin)];
        let answer = house.send("GET", "/api/v1/things/7", &headers).await;
        assert_eq!(answer.status, 200, "{origin}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            if cors { origin } else { "" }
        );
        assert_eq!(answer.header("vary"), "origin");
        let stream = house.send("GET", "/api/v1/things/7/stream", &headers).await;
        assert_eq!(stream.status, stream_status, "{origin}");
        if stream_status == 403 {
            stream.problem(403, "origin-refused");
        }
    }
    assert_eq!(
        house
            .send("GET", "/api/v1/things/7/stream", &[host])
            .await
            .status,
        200,
        "no origin: no browser"
    );
    let error = house
        .send(
            "GET",
            "/api/v1/nothing",
            &[host, ("origin", "https://partner.example.com")],
        )
        .await;
    assert_eq!(
        error.header("access-control-allow-origin"),
        "https://partner.example.com",
        "errors can be read too"
    );
}

#[tokio::test]
async fn preflight() {
    let house = house();
    let asked = |origin| {
        [
            ("host", "h"),
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization"),
        ]
    };
    for path in ["/api/v1/things/7", "/api/v1/sessions"] {
        let answer = house
            .send("OPTIONS", path, &asked("https://partner.example.com"))
            .await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "https://partner.example.com"
        );
        for name in [
            "authorization",
            "boxoffice-pass",
            "boxoffice-proof",
            "content-type",
            "prefer",
            "last-event-id",
        ] {
            assert!(
                answer.header("access-control-allow-headers").contains(name),
                "{name}"
            );
        }
        assert!(
            answer
                .header("access-control-allow-methods")
                .contains("PATCH")
        );
        let refused = house
            .send("OPTIONS", path, &asked("https://evil.example.com"))
            .await;
        assert_eq!(
            (
                refused.status,
                refused.header("access-control-allow-origin")
            ),
            (405, "")
        );
    }
}

#[tokio::test]
async fn limits_are_for_the_world_and_not_for_the_trusted() {
    let house = house();
    for _ in 0..100 {
        assert_eq!(house.send("GET", "/page", &[]).await.status, 200);
    }
    let mut refused = None;
    for _ in 0..60 {
        let answer = house.send_from("203.0.113.7:9", "GET", "/page", &[]).await;
        if answer.status != 200 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("more than the rate is refused");
    refused.problem(429, "too-many-requests");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(
        house
            .send_from("203.0.113.8:9", "GET", "/page", &[])
            .await
            .status,
        200,
        "another address"
    );
    let mut logins = 0;
    for _ in 0..25 {
        logins += u32::from(
            house
                .send_from("203.0.113.9:9", "POST", "/api/v1/sessions", &[])
                .await
                .status
                == 200,
        );
    }
    assert!((20..23).contains(&logins), "{logins} logins at once");
}

#[tokio::test]
async fn metrics_are_labelled_by_template() {
    let house = house();
    house.send("GET", "/api/v1/things/7", &[]).await;
    house.send("GET", "/api/v1/things/8", &[]).await;
    house.send("BREW", "/secret/path", &[]).await;
    let text = house.metrics.text();
    for line in [
        "boxoffice_http_requests_total{route=\"/api/v1/things/{id}\",method=\"GET\",status=\"200\"} 2\n",
        "boxoffice_http_requests_total{route=\"unmatched\",method=\"OTHER\",status=\"404\"} 1\n",
        "boxoffice_http_request_duration_seconds_count 3\n",
    ] {
        assert!(text.contains(line), "{line} not in {text}");
    }
    assert!(!text.contains("secret"));
}

#[test]
fn origins_of_urls() {
    for (url, origin) in [
        ("https://a.example/x/y", "https://a.example"),
        ("http://a:1", "http://a:1"),
        ("", ""),
    ] {
        assert_eq!(origin_of(url), origin);
    }
}
