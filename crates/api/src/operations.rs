//! What those who run it ask for: whether it lives, is ready, what it counts; the API's document and the page to try it.
//!
//! Keeps true: `/livez` asks nobody, so that a slow disk never gets a working process killed; pages need nothing from
//! anywhere else.

use std::sync::OnceLock;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use boxoffice_adapters::Failure;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::problem::Problem;

/// A store that has not answered by then is not ready.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// The OpenAPI document. It follows from the code, so it is one for the process.
static OPENAPI: OnceLock<Bytes> = OnceLock::new();

/// Makes the document that `/api/v1/openapi.json` answers with. The first call counts.
///
/// # Errors
/// The document cannot be written as JSON.
pub(crate) fn publish(document: &utoipa::openapi::OpenApi) -> Result<(), serde_json::Error> {
    let json = Bytes::from(serde_json::to_vec(document)?);
    OPENAPI.get_or_init(|| json);
    Ok(())
}

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(openapi))
        .routes(routes!(index))
        .routes(routes!(docs))
        .routes(routes!(docs_script))
        .routes(routes!(docs_style))
        .routes(routes!(docs_icon))
}

/// Whether the process lives.
#[utoipa::path(get, path = "/livez", tag = "operations", responses(
    (status = 200, description = "It answers, so it lives.", body = String, content_type = "text/plain", example = json!("ok")),
))]
async fn livez() -> &'static str {
    "ok"
}

/// Whether everything is ready to sell.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    /// Always `ready`.
    #[schema(examples("ready"))]
    status: &'static str,
    parts: Parts,
}

/// Each part: `ok`, or what is wrong with it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Parts {
    /// What remembers.
    #[schema(examples("ok"))]
    store: &'static str,
    /// What decides the order.
    #[schema(examples("ok"))]
    room: &'static str,
}

/// Whether it can sell right now: the store is asked to write.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses(
    (status = 200, description = "All parts are up.", body = Ready),
    (status = 503, description = "`not-ready`: `parts` says which part is down.", content_type = "application/problem+json"),
))]
async fn readyz(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    let store = match tokio::time::timeout(STORE_TIMEOUT, app.store.ping()).await {
        Ok(Ok(())) => "ok",
        Ok(Err(Failure::Busy { .. })) => "busy",
        Ok(Err(Failure::Broken(_))) => "broken",
        Err(_) => "does not answer",
    };
    // The room lives in this process: whoever can answer has it.
    let parts = Parts { store, room: "ok" };
    if parts.store == "ok" {
        return Ok(axum::Json(Ready {
            status: "ready",
            parts,
        }));
    }
    let problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not-ready",
        "A part is down; `parts` says which.",
    );
    Err(problem.retry(1).with("parts", json!(parts)))
}

/// All metrics, in Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses(
    (status = 200, description = "Prometheus text; as OpenMetrics for who accepts that.", body = String, content_type = "text/plain"),
))]
async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    // The text is right for both; only the name differs.
    let content_type = if accepted.contains("application/openmetrics-text") {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    plain(content_type, app.metrics.text().into())
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "operations", responses(
    (status = 200, description = "The OpenAPI 3.1 document of this API.", content_type = "application/json"),
))]
async fn openapi() -> Result<Response, Problem> {
    let document = OPENAPI
        .get()
        .ok_or_else(|| Problem::internal("the OpenAPI document was never published"))?;
    Ok(plain("application/json", document.clone()))
}

/// A plain page that says what runs here.
#[utoipa::path(get, path = "/", tag = "operations", responses(
    (status = 200, description = "A page, in Korean and English.", body = String, content_type = "text/html"),
))]
async fn index() -> Response {
    page("text/html; charset=utf-8", include_str!("docs/index.html"))
}

/// A page that lists every call and lets you try it.
#[utoipa::path(get, path = "/docs", tag = "operations", responses(
    (status = 200, description = "The page; it needs nothing from elsewhere.", body = String, content_type = "text/html"),
))]
async fn docs() -> Response {
    page("text/html; charset=utf-8", include_str!("docs/docs.html"))
}

/// The script of `/docs`.
#[utoipa::path(get, path = "/docs/app.js", tag = "operations", responses(
    (status = 200, description = "The script.", body = String, content_type = "text/javascript"),
))]
async fn docs_script() -> Response {
    page(
        "text/javascript; charset=utf-8",
        include_str!("docs/app.js"),
    )
}

/// The style of our pages.
#[utoipa::path(get, path = "/docs/style.css", tag = "operations", responses(
    (status = 200, description = "The style.", body = String, content_type = "text/css"),
))]
async fn docs_style() -> Response {
    page("text/css; charset=utf-8", include_str!("docs/style.css"))
}

/// The icon of our pages.
#[utoipa::path(get, path = "/docs/icon.svg", tag = "operations", responses(
    (status = 200, description = "The icon.", body = String, content_type = "image/svg+xml"),
))]
async fn docs_icon() -> Response {
    page("image/svg+xml", include_str!("docs/icon.svg"))
}

/// A part of our own pages. Asked for again after an update, since it has no version in its name.
fn page(content_type: &'static str, text: &'static str) -> Response {
    let mut response = plain(content_type, Bytes::from_static(text.as_bytes()));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn plain(content_type: &'static str, body: Bytes) -> Response {
    let content_type: [(HeaderName, HeaderValue); 1] =
        [(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
    (content_type, body).into_response()
}

#[cfg(test)]
mod tests {
    #[test]
    fn pages_hold_to_the_content_security_policy() {
        for html in [
            include_str!("docs/index.html"),
            include_str!("docs/docs.html"),
        ] {
            for forbidden in [
                "<style",
                "style=",
                "onclick",
                "onload",
                "javascript:",
                "src=\"http",
                "href=\"http",
            ] {
                assert!(!html.contains(forbidden), "{forbidden} in a page");
            }
            for script in html.split("<script").skip(1) {
                assert!(
                    script.trim_start().starts_with("src=\"/docs/"),
                    "a script in the page itself: {script}"
                );
            }
        }
        let script = include_str!("docs/app.js");
        for forbidden in [
            "innerHTML",
            "eval(",
            "new Function",
            "setAttribute(\"style\"",
            "http://",
            "https://",
        ] {
            assert!(!script.contains(forbidden), "{forbidden} in the script");
        }
    }
}
