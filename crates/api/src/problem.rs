//! The wire contract's errors: status, stable code, one sentence for a person. RFC 9457 `application/problem+json`.
//!
//! A problem leaves a handler as itself; the outermost layer writes it down with the request's id.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use boxoffice_adapters::Failure;
use boxoffice_core::Refusal;
use serde_json::{Map, Value, json};

use crate::wire::Time;

/// An error answer.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// Stable, kebab-case; clients act on it alone.
    pub(crate) code: &'static str,
    /// What is wrong and how to mend it.
    pub(crate) detail: String,
    /// Members beside the standard ones.
    extra: Map<String, Value>,
    retry_after_s: Option<u32>,
    /// For the log, never for the client.
    inner: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            extra: Map::new(),
            retry_after_s: None,
            inner: None,
        }
    }

    /// 400: the request is wrong in itself; the detail names the field and how to mend it.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// 404: no such thing, or somebody else's: the same answer.
    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is no such thing here, or it is not yours.",
        )
    }

    /// 401.
    pub(crate) fn login_required() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "login-required",
            "Log in (POST /api/v1/sessions) and send `Authorization: Bearer <access_token>`.",
        )
    }

    /// 500, with what to log.
    pub(crate) fn internal(inner: impl Into<String>) -> Self {
        let mut problem = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something broke on our side; it is logged under the request id.",
        );
        problem.inner = Some(inner.into());
        problem
    }

    /// 503 or 429 with `Retry-After`.
    pub(crate) fn retry(mut self, after_s: u32) -> Self {
        self.retry_after_s = Some(after_s);
        self
    }

    /// Adds a member.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.extra.insert(name.to_owned(), value);
        self
    }

    /// A member beside the standard ones.
    #[cfg(test)]
    pub(crate) fn member(&self, name: &str) -> &Value {
        &self.extra[name]
    }

    /// The answer as it goes over the wire.
    pub(crate) fn write(&self, request_id: &str) -> Response {
        if let Some(inner) = &self.inner {
            tracing::error!(request_id, code = self.code, "{inner}");
        }
        let mut body = self.extra.clone();
        body.insert(
            "type".to_owned(),
            json!(format!("urn:boxoffice:problem:{}", self.code)),
        );
        body.insert(
            "title".to_owned(),
            json!(self.status.canonical_reason().unwrap_or("Error")),
        );
        body.insert("status".to_owned(), json!(self.status.as_u16()));
        body.insert("detail".to_owned(), json!(self.detail));
        body.insert("code".to_owned(), json!(self.code));
        body.insert("request_id".to_owned(), json!(request_id));
        let content_type = [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        )];
        let mut response =
            (self.status, content_type, Value::Object(body).to_string()).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, code, detail) = parts(&refusal);
        let problem = Self::new(status, code, detail);
        match refusal {
            Refusal::NotOpenYet { opens_at } => problem.with("opens_at", json!(Time(opens_at))),
            Refusal::NotYourTurn {
                position,
                poll_after_ms,
            } => problem
                .with("position", json!(position))
                .with("poll_after_ms", json!(poll_after_ms)),
            Refusal::TooManySeats { seats_max, held } => problem
                .with("seats_max", json!(seats_max))
                .with("held", json!(held)),
            Refusal::HeldTooLong { again_at } => problem.with("again_at", json!(Time(again_at))),
            // The seats' names are the performance's: the handler that has it adds them.
            Refusal::SeatTaken(_)
            | Refusal::SaleClosed
            | Refusal::NoWaitingRoom
            | Refusal::NoPlace
            | Refusal::TurnLapsed
            | Refusal::PassRequired
            | Refusal::PassExpired
            | Refusal::PassUsed
            | Refusal::IdReused
            | Refusal::SoldOut
            | Refusal::NotFound
            | Refusal::HoldExpired
            | Refusal::HoldTaken
            | Refusal::HoldInPayment
            | Refusal::NotConfirmed => problem,
        }
    }
}

/// Each refusal's status, code and sentence.
#[expect(clippy::too_many_lines, reason = "one table, a row a refusal")]
fn parts(refusal: &Refusal) -> (StatusCode, &'static str, &'static str) {
    use StatusCode as S;
    match refusal {
        Refusal::NotOpenYet { .. } => (
            S::CONFLICT,
            "not-open-yet",
            "The sale has not opened yet; come back at `opens_at`.",
        ),
        Refusal::SaleClosed => (S::GONE, "sale-closed", "The sale is over."),
        Refusal::NoWaitingRoom => (
            S::CONFLICT,
            "no-waiting-room",
            "This performance is sold without a waiting room; hold seats right away.",
        ),
        Refusal::NoPlace => (
            S::NOT_FOUND,
            "no-place",
            "You have no place in this line; join it first.",
        ),
        Refusal::NotYourTurn { .. } => (
            S::FORBIDDEN,
            "not-your-turn",
            "It is not your turn yet; ask again after `poll_after_ms`.",
        ),
        Refusal::TurnLapsed => (
            S::GONE,
            "turn-lapsed",
            "Your turn has lapsed; join again for a new place at the end.",
        ),
        Refusal::PassRequired => (
            S::FORBIDDEN,
            "pass-required",
            "Send your own valid pass for this performance as `Boxoffice-Pass`.",
        ),
        Refusal::PassExpired => (
            S::FORBIDDEN,
            "pass-expired",
            "Your pass has run out; join the line again.",
        ),
        Refusal::PassUsed => (
            S::FORBIDDEN,
            "pass-used",
            "Your pass was used for a confirmed booking; join the line again.",
        ),
        Refusal::IdReused => (
            S::UNPROCESSABLE_ENTITY,
            "id-reused",
            "This id names something with other content; make a new id.",
        ),
        Refusal::SeatTaken(_) => (
            S::CONFLICT,
            "seat-taken",
            "Another buyer has these seats; choose others.",
        ),
        Refusal::SoldOut => (
            S::CONFLICT,
            "sold-out",
            "Fewer seats are free than you asked for.",
        ),
        Refusal::TooManySeats { .. } => (
            S::UNPROCESSABLE_ENTITY,
            "too-many-seats",
            "You may hold at most `seats_max` seats at once.",
        ),
        Refusal::HeldTooLong { .. } => (
            S::CONFLICT,
            "held-too-long",
            "You have held seats for as long as one fan may; others have a chance until `again_at`.",
        ),
        Refusal::NotFound => (
            S::NOT_FOUND,
            "not-found",
            "There is no such thing here, or it is not yours.",
        ),
        Refusal::HoldExpired => (
            S::GONE,
            "hold-expired",
            "The hold has run out or was released; choose seats again.",
        ),
        Refusal::HoldTaken => (S::CONFLICT, "hold-taken", "Another booking has this hold."),
        Refusal::HoldInPayment => (
            S::CONFLICT,
            "hold-in-payment",
            "A booking of this hold is being paid; wait for its end.",
        ),
        Refusal::NotConfirmed => (
            S::CONFLICT,
            "not-confirmed",
            "Only a confirmed booking can be cancelled.",
        ),
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Busy { retry_after_s } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too much at once, or a part is away; try the same again shortly.",
            )
            .retry(retry_after_s),
            Failure::Broken(inner) => Self::internal(inner),
        }
    }
}
