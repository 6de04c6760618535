//! The one layer around all routes: request id, limits, origins, panics, problem bodies, security headers, metrics, log.
//!
//! Keeps true: every answer has an `X-Request-Id`, and every error is a problem that names it; a panic is one request's
//! end and nothing else's; a label is a route's template, never a path; no line of the log has personal data.

use std::any::Any;
use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use boxoffice_adapters::clock::Clock;
use boxoffice_adapters::metrics::{Metrics, RouteLabels};

use crate::config::HttpConfig;
use crate::limits::{Limited, Limits, too_many};
use crate::problem::Problem;
use crate::serve::Peer;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from the client, bytes.
const REQUEST_ID_MAX: usize = 64;
/// A request that takes longer to its head is worth a line.
const SLOW: Duration = Duration::from_secs(1);
/// Between two lines about failed or slow requests, milliseconds: an overload must not drown the log, or in it.
const LOUD_EVERY_MS: u64 = 50;
/// Scripts, styles and calls of our own pages come from here alone, and nobody frames them.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);
const CORS_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const CORS_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, boxoffice-pass, boxoffice-proof, content-type, prefer, last-event-id, if-none-match, x-request-id",
);
const CORS_EXPOSED: HeaderValue =
    HeaderValue::from_static("etag, location, retry-after, x-request-id");
/// How long a browser need not ask again whether it may call, seconds.
const CORS_MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// What the layer needs.
#[derive(Debug)]
struct Shared {
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
    limits: Arc<Limits>,
    allowed_origins: Vec<HeaderValue>,
    /// Scheme, host and port of the public URL.
    own_origin: String,
    /// Request ids of ours are this, counted on and mixed.
    seed: u64,
    count: AtomicU64,
    started: Instant,
    /// When a line about a failed or slow request was last written, milliseconds since `started`.
    loud_at_ms: AtomicU64,
}

/// Puts the layer around all routes, with problems for unknown routes and methods.
pub(crate) fn wrap(
    router: Router,
    http: &HttpConfig,
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
) -> Router {
    let shared = Arc::new(Shared {
        metrics,
        clock,
        limits: Arc::new(Limits::new(http)),
        allowed_origins: http
            .allowed_origins
            .iter()
            .filter_map(|origin| HeaderValue::from_str(origin).ok())
            .collect(),
        own_origin: origin_of(&http.public_url).to_owned(),
        seed: getrandom::u64().unwrap_or_default(),
        count: AtomicU64::new(0),
        started: Instant::now(),
        loud_at_ms: AtomicU64::new(0),
    });
    let router = router.fallback(async || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is no such route; see /docs.",
        )
    });
    let router = router.method_not_allowed_fallback(async || {
        Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "This route does not take this method; see the Allow header, or /docs.",
        )
    });
    router.layer(from_fn_with_state(shared, outermost))
}

async fn outermost(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let id = shared.request_id(request.headers());
    let id_text = id.to_str().unwrap_or_default();
    let (route, method) = (
        request.extensions().get::<MatchedPath>().cloned(),
        method_name(request.method()),
    );
    let path = request.uri().path();
    let is_api = path.starts_with("/api/");
    let origin = request
        .headers()
        .get(header::ORIGIN)
        .map(|origin| (origin.clone(), shared.stance(origin, request.headers())));

    let answer = match shared.refusal(
        &mut request,
        route.as_ref().map(MatchedPath::as_str),
        origin.as_ref(),
    ) {
        Some(answer) => answer,
        None => shared.run(request, next).await,
    };
    let mut answer = match answer.extensions().get::<Problem>() {
        Some(problem) => {
            let mut written = problem.write(id_text);
            // A handler may have said more than the problem does.
            for (name, value) in answer.headers() {
                written
                    .headers_mut()
                    .entry(name)
                    .or_insert_with(|| value.clone());
            }
            written
        }
        None => answer,
    };
    let headers = answer.headers_mut();
    if let Some((origin, Stance::Allowed)) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, CORS_EXPOSED);
    }
    if !shared.allowed_origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    secure(headers, is_api);
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    shared.record(id_text, route, method, answer.status(), start.elapsed());
    answer.headers_mut().insert(REQUEST_ID, id);
    answer
}

/// What we think of a request's `Origin`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Stance {
    Own,
    Allowed,
    Foreign,
}

impl Shared {
    /// The client's request id if it is a sane one, else one of ours: 16 hex digits that do not repeat.
    fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(given) = headers.get(REQUEST_ID)
            && (1..=REQUEST_ID_MAX).contains(&given.len())
            && given.as_bytes().iter().all(u8::is_ascii_graphic)
        {
            return given.clone();
        }
        // A bijection (the finalizer of splitmix64), so that different counts stay different.
        let mut mixed = self
            .seed
            .wrapping_add(self.count.fetch_add(1, Ordering::Relaxed));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let mut text = [0; 16];
        for (place, digit) in text.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(mixed >> (60 - 4 * place) & 15) as usize];
        }
        HeaderValue::from_bytes(&text).expect("hex digits are visible")
    }

    fn stance(&self, origin: &HeaderValue, headers: &HeaderMap) -> Stance {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let text = origin.to_str().unwrap_or_default();
        let authority = text.split_once("://").map(|(_, authority)| authority);
        if text == self.own_origin || authority.is_some_and(|authority| Some(authority) == host) {
            Stance::Own
        } else if self.allowed_origins.contains(origin) {
            Stance::Allowed
        } else {
            Stance::Foreign
        }
    }

    /// The answer to what must not, or need not, reach a handler.
    fn refusal(
        &self,
        request: &mut Request,
        route: Option<&str>,
        origin: Option<&(HeaderValue, Stance)>,
    ) -> Option<Response> {
        if let Some(Peer(peer)) = request.extensions().get()
            && !self.limits.is_trusted(peer.ip())
        {
            let (address, now) = (peer.ip(), self.clock.now());
            let is_login = request.method() == Method::POST
                && matches!(route, Some("/api/v1/sessions" | "/api/v1/accounts"));
            let counted = self.limits.address(address, now).and_then(|()| {
                if is_login {
                    self.limits.login(address, now)
                } else {
                    Ok(())
                }
            });
            if let Err(retry_after_s) = counted {
                return Some(too_many(retry_after_s).into_response());
            }
            request
                .extensions_mut()
                .insert(Limited(Arc::clone(&self.limits)));
        }
        let (_, stance) = origin?;
        let is_stream =
            route.is_some_and(|route| route.ends_with("/stream") || route.ends_with("/live"));
        if is_stream && *stance == Stance::Foreign {
            let detail = "Pages of this origin may not read streams; the operator may allow it in http.allowed_origins.";
            return Some(
                Problem::new(StatusCode::FORBIDDEN, "origin-refused", detail).into_response(),
            );
        }
        let is_preflight = request.method() == Method::OPTIONS
            && request
                .headers()
                .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        (is_preflight && *stance == Stance::Allowed).then(|| {
            let headers = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, CORS_METHODS),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, CORS_HEADERS),
                (header::ACCESS_CONTROL_MAX_AGE, CORS_MAX_AGE),
            ];
            (StatusCode::NO_CONTENT, headers).into_response()
        })
    }

    /// The handler's answer; a panic in it becomes a 500.
    async fn run(&self, request: Request, next: Next) -> Response {
        let mut running = pin!(next.run(request));
        poll_fn(
            |context| match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context))) {
                Ok(poll) => poll,
                Err(panic) => {
                    // Asserts, `expect`s and indexes out of range are all invariants that did not hold, and all our bugs.
                    self.metrics.assertions_failed.inc();
                    self.metrics.failure("http");
                    Poll::Ready(
                        Problem::internal(format!("a handler panicked: {}", panic_text(&*panic)))
                            .into_response(),
                    )
                }
            },
        )
        .await
    }

    fn record(
        &self,
        request_id: &str,
        route: &str,
        method: &'static str,
        status: StatusCode,
        took: Duration,
    ) {
        // Reused by each thread, so that a label costs no allocation.
        thread_local! {
            static LABELS: RefCell<RouteLabels> = const { RefCell::new(RouteLabels { route: String::new(), method: "", status: 0 }) };
        }
        LABELS.with_borrow_mut(|labels| {
            labels.route.clear();
            labels.route.push_str(route);
            (labels.method, labels.status) = (method, status.as_u16());
            self.metrics.http(labels, took.as_secs_f64());
        });
        let (status, took_ms) = (status.as_u16(), took.as_secs_f64() * 1_000.0);
        if (status >= 500 || took > SLOW) && self.may_be_loud() {
            tracing::info!(
                request_id,
                method,
                route,
                status,
                took_ms,
                "answered {status} after {took_ms:.1} ms"
            );
        } else {
            tracing::debug!(
                request_id,
                method,
                route,
                status,
                took_ms,
                "answered {status} after {took_ms:.1} ms"
            );
        }
    }

    fn may_be_loud(&self) -> bool {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last_ms = self.loud_at_ms.load(Ordering::Relaxed);
        (last_ms == 0 || now_ms.saturating_sub(last_ms) >= LOUD_EVERY_MS)
            && self
                .loud_at_ms
                .compare_exchange(last_ms, now_ms.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

fn secure(headers: &mut HeaderMap, is_api: bool) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    if is_api {
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
    }
}

/// Scheme, host and port of a URL, without the path.
fn origin_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let path = url[after_scheme..]
        .find('/')
        .map_or(url.len(), |at| at + after_scheme);
    &url[..path]
}

/// A label's method. Others than these are one: a client must not be able to make series.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    KNOWN
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("OTHER")
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}

#[cfg(test)]
mod tests;
