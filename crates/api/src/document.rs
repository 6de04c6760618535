//! The OpenAPI document: what the routes say of themselves, made whole with what is true of all of them.
//!
//! Keeps true: every response has a description; every error is a problem; a status that the layers around a route may
//! answer with (no login, a wrong or slow or large body, limits, a part away) is listed wherever it may come.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder, Responses};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr};
use utoipa::{Modify, OpenApi as _, ToSchema};

/// The document that the routes fill in.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Boxoffice", description = "Sells tickets when far more people come than there are seats."),
    components(schemas(ProblemBody)),
    modifiers(&Login),
    tags(
        (name = "accounts", description = "Accounts, sessions, devices"),
        (name = "catalogue", description = "What is sold; no login"),
        (name = "waiting room", description = "The line before the sale"),
        (name = "holds and bookings", description = "Seats, and tickets for them"),
        (name = "tickets", description = "The right to attend"),
        (name = "operators", description = "For whoever runs a sale"),
        (name = "operations", description = "For whoever runs the server")
    )
)]
struct Document;

struct Login;

impl Modify for Login {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = SecurityScheme::Http(
            Http::builder()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .build(),
        );
        document
            .components
            .get_or_insert_default()
            .security_schemes
            .insert("bearer".to_owned(), scheme.into());
    }
}

/// Every error answer (RFC 9457); some have more members, as said where they come.
#[derive(Serialize, ToSchema)]
struct ProblemBody {
    /// Names the code again: `urn:boxoffice:problem:<code>`.
    r#type: String,
    /// The status in words.
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// One sentence for a person: what is wrong and how to mend it.
    detail: String,
    /// Stable, kebab-case; act on this alone.
    #[schema(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$")]
    code: String,
    /// To be named when asking for help.
    request_id: String,
}

/// The document without any route.
pub(crate) fn empty() -> OpenApi {
    Document::openapi()
}

/// Adds to each route what the layers around it may answer.
pub(crate) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            add_common(path, operation);
            operation.responses.responses.iter_mut().for_each(describe);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

fn add_common(path: &str, operation: &mut Operation) {
    let takes = |place: fn(&ParameterIn) -> bool| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters.any(|parameter| match parameter {
            RefOr::T(parameter) => place(&parameter.parameter_in),
            RefOr::Ref(_) => false,
        })
    };
    let has_body = operation.request_body.is_some();
    let can_be_wrong =
        has_body || takes(|place| matches!(place, ParameterIn::Path | ParameterIn::Query));
    let is_api = path.starts_with("/api/v1/");
    let common = [
        (
            can_be_wrong,
            400,
            "`bad-request`: the detail names what is wrong",
        ),
        (
            has_body,
            408,
            "`request-timeout`: the body took longer than 10 s",
        ),
        (has_body, 413, "`too-large`: refused before it is read"),
        (is_api, 429, "`too-many-requests`, with `Retry-After`"),
        (is_api, 503, "`busy`, with `Retry-After`: repeat the same"),
    ];
    let Responses { responses, .. } = &mut operation.responses;
    for (may_come, status, description) in common {
        if may_come {
            responses
                .entry(status.to_string())
                .or_insert_with(|| ResponseBuilder::new().description(description).into());
        }
    }
}

/// A description for who gave none, and a problem as the body of every error.
fn describe((status, response): (&String, &mut RefOr<Response>)) {
    let (RefOr::T(response), Ok(status)) = (response, status.parse::<StatusCode>()) else {
        return;
    };
    if response.description.is_empty() {
        response.description = status.canonical_reason().unwrap_or("An answer").to_owned();
    }
    if status.is_client_error() || status.is_server_error() {
        let problem = Content::new(Some(Ref::from_schema_name("ProblemBody")));
        response.content.clear();
        response
            .content
            .insert("application/problem+json".to_owned(), problem.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// The document as it is published.
    fn document() -> Value {
        let (_, document) = crate::routes();
        serde_json::to_value(document).unwrap()
    }

    #[test]
    fn every_response_is_described_and_every_error_is_a_problem() {
        let document = document();
        let mut seen = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let spot = format!("{method} {path} {status}");
                    let described = response["description"].as_str();
                    assert!(described.is_some_and(|text| !text.is_empty()), "{spot}");
                    if status.as_str() >= "400" {
                        let schema =
                            &response["content"]["application/problem+json"]["schema"]["$ref"];
                        assert_eq!(schema, "#/components/schemas/ProblemBody", "{spot}");
                    }
                    seen += 1;
                }
            }
        }
        assert!(seen > 200, "{seen} responses");
    }

    #[test]
    fn what_the_layers_answer_is_listed() {
        let document = document();
        for (path, method, statuses) in [
            (
                "/api/v1/bookings",
                "post",
                ["400", "408", "413", "429", "503"].as_slice(),
            ),
            ("/api/v1/bookings", "get", &["400", "429", "503"]),
            (
                "/api/v1/holds/{hold_id}",
                "delete",
                &["400", "401", "429", "503"],
            ),
        ] {
            let responses = &document["paths"][path][method]["responses"];
            for status in statuses {
                assert!(responses[status].is_object(), "{method} {path} {status}");
            }
        }
        assert!(document["paths"]["/livez"]["get"]["responses"]["429"].is_null());
    }
}
