//! What handlers ask for: bodies, ids, list parts. Whatever is wrong with them is a problem that names it.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Most bytes of a body.
pub(crate) const BODY_MAX: usize = 64 * 1024;
/// Most bytes of a seating plan's body.
pub(crate) const PLAN_BODY_MAX: usize = 8 * 1024 * 1024;
/// A body that takes longer is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body of at most `MAX` bytes. Unknown fields are refused (each body type says so).
pub(crate) struct Json<T, const MAX: usize = BODY_MAX>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned, const MAX: usize> FromRequest<S> for Json<T, MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = read_body(request, MAX).await?;
        // A list would pass for an object whose fields it holds in order; no body of ours is a list.
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(Problem::bad_request(
                "The body is a list; send an object: {…}.",
            ));
        }
        decode(&body).map(Json)
    }
}

async fn read_body(request: Request, max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("The body may have at most {max} bytes."),
        )
    };
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > max as u64) {
        return Err(too_large());
    }
    let body: Body = request.into_body();
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::bad_request("The body broke off before its end.")),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            "The body took longer than 10 s; send it at once.",
        )),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A value from JSON; on an error the field is named by its path.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // The plain way first: naming the path costs, and most bodies are right.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let mut decoder = serde_json::Deserializer::from_slice(body);
    let wrong = match serde_path_to_error::deserialize::<_, T>(&mut decoder) {
        Ok(_) => {
            return Err(Problem::bad_request(
                "There is something after the end of the JSON body.",
            ));
        }
        Err(wrong) => wrong,
    };
    let (path, why) = (wrong.path().to_string(), wrong.inner().to_string());
    Err(Problem::bad_request(if path == "." {
        format!("The body is wrong: {why}.")
    } else {
        format!("{path}: {why}.")
    }))
}

/// The one id in a route's path.
pub(crate) struct Id<T>(pub(crate) T);

impl<S: Send + Sync, T: std::str::FromStr> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("The id in the path is not a UUID."))?;
        let (name, text) = params.iter().next().ok_or_else(Problem::not_found)?;
        text.parse()
            .map(Id)
            .map_err(|_| Problem::bad_request(format!("{name}: {text:?} is not a UUID.")))
    }
}

/// Which part of a list: `?limit=&cursor=`.
pub(crate) struct Part {
    /// 1 to 200; 50 when not given, more is cut.
    pub(crate) limit: usize,
    /// Where the last part ended.
    pub(crate) cursor: Option<String>,
    /// Other parameters.
    pub(crate) others: Vec<(String, String)>,
}

/// Most items in one part.
const LIMIT_MAX: usize = 200;

impl<S: Send + Sync> FromRequestParts<S> for Part {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query =
            axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let axum::extract::Query(pairs) = query.map_err(|_| {
            Problem::bad_request("The query is not of the form name=value&name=value.")
        })?;
        let mut part = Self {
            limit: 50,
            cursor: None,
            others: Vec::new(),
        };
        for (name, value) in pairs {
            match name.as_str() {
                "limit" => part.limit = limit(&value)?,
                "cursor" => part.cursor = Some(value).filter(|cursor| !cursor.is_empty()),
                _ => part.others.push((name, value)),
            }
        }
        Ok(part)
    }
}

fn limit(text: &str) -> Result<usize, Problem> {
    let wrong = || {
        Problem::bad_request(format!(
            "limit: {text:?} is not a whole number from 1; more than {LIMIT_MAX} is cut to {LIMIT_MAX}."
        ))
    };
    if text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    // Too many digits for a number are simply very many.
    match text.parse::<usize>().unwrap_or(LIMIT_MAX) {
        0 => Err(wrong()),
        limit => Ok(limit.min(LIMIT_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::FromRequest as _;
    use boxoffice_core::HoldId;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{object, objects};

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read counts")]
    struct Outer {
        name: String,
        amount: i64,
        #[serde(deserialize_with = "object")]
        inner: Inner,
        #[serde(default, deserialize_with = "objects")]
        more: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read counts")]
    struct Inner {
        flag: bool,
    }

    #[test]
    fn a_body_is_read_as_it_is_meant_or_its_field_is_named() {
        for (body, named) in [
            (
                r#"{"name": "a", "amount": 1, "inner": {"flag": true}}"#,
                None,
            ),
            (
                r#"{"name": "a", "amount": 1, "inner": {"flag": true}, "more": [{"flag": false}]}"#,
                None,
            ),
            (
                r#"{"name": "a", "amount": 1, "inner": [true]}"#,
                Some("inner:"),
            ),
            (
                r#"{"name": "a", "amount": 1, "inner": null}"#,
                Some("inner:"),
            ),
            (
                r#"{"name": "a", "amount": 1, "inner": {"flag": 1}}"#,
                Some("inner.flag:"),
            ),
            (
                r#"{"name": "a", "amount": 1, "inner": {"flag": true}, "more": [[true]]}"#,
                Some("more[0]:"),
            ),
            (
                r#"{"name": "a", "amount": 1, "inner": {"flag": true}, "more": [{"x": true}]}"#,
                Some("more[0].x:"),
            ),
            (
                r#"{"name": "a", "amount": 9223372036854775808, "inner": {"flag": true}}"#,
                Some("amount:"),
            ),
            (
                r#"{"name": "a", "amount": 1, "inner": {"flag": true}} {}"#,
                Some("There is something after"),
            ),
        ] {
            match (decode::<Outer>(body.as_bytes()), named) {
                (Ok(_), None) => (),
                (Err(problem), Some(named)) => {
                    assert!(
                        problem.detail.starts_with(named),
                        "{body}: {}",
                        problem.detail
                    );
                }
                (read, _) => panic!("{body}: {read:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_a_bad_request(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let problem = decode::<Outer>(&body).unwrap_err();
            prop_assert_eq!((problem.status, problem.code), (StatusCode::BAD_REQUEST, "bad-request"));
            prop_assert!(!problem.detail.is_empty());
        }

        #[test]
        fn any_json_is_a_value_or_a_bad_request(
            field in "name|amount|inner|more|\\PC{0,5}",
            value in r#"-?[0-9]{1,30}|null|true|"\PC{0,5}"|\[{0,300}|\{"flag":true\}|\[\{"flag":true\}\]"#,
        ) {
            let body = serde_json::json!({"name": "a", "amount": 1, "inner": {"flag": true}});
            let mut fields: Vec<String> = body
                .as_object()
                .unwrap()
                .iter()
                .filter(|(name, _)| **name != field)
                .map(|(name, value)| format!("{name:?}:{value}"))
                .collect();
            fields.push(format!("{}:{value}", serde_json::json!(field)));
            if let Err(problem) = decode::<Outer>(format!("{{{}}}", fields.join(",")).as_bytes()) {
                prop_assert_eq!(problem.status, StatusCode::BAD_REQUEST);
            }
        }

        #[test]
        fn a_body_in_pieces_is_bounded(pieces in prop::collection::vec(0_usize..40_000, 0..6)) {
            let total: usize = pieces.iter().sum();
            let stream = futures_util::stream::iter(
                pieces.into_iter().map(|length| Ok::<_, std::convert::Infallible>(vec![b' '; length])),
            );
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let request = Request::new(Body::from_stream(stream));
            let answer = runtime.block_on(Json::<Outer>::from_request(request, &()));
            let status = answer.err().map(|problem| problem.status.as_u16());
            prop_assert_eq!(status, Some(if total > BODY_MAX { 413 } else { 400 }));
        }

        #[test]
        fn a_limit_is_1_to_200_or_a_bad_request(text in "[-+0-9a-fx. ]{0,25}|\\PC{0,8}") {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let good = digits && text.bytes().any(|byte| byte != b'0');
            prop_assert_eq!(limit(&text).is_ok(), good);
            prop_assert!(limit(&text).is_ok_and(|limit| (1..=200).contains(&limit)) == good);
        }

        #[test]
        fn a_cursor_or_an_id_is_a_uuid_with_hyphens(text in "[-0-9a-fA-F{}:]{0,40}|\\PC{0,40}", id in any::<u128>()) {
            if let Ok(read) = text.parse::<HoldId>() {
                prop_assert_eq!(read.to_string(), text.to_ascii_lowercase());
            }
            let id = uuid::Uuid::from_u128(id);
            prop_assert_eq!(id.to_string().to_uppercase().parse::<HoldId>().unwrap().uuid(), id);
        }
    }
}
