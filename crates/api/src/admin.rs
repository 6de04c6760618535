//! What operators do: make venues, events and performances, steer their sales, and watch them.
//!
//! Keeps true: whoever is no operator gets no further than the login; what was stored is put in force too, even when the
//! client that asked for it has gone; of two changes at once neither is lost.

mod make;
mod steer;
mod watch;

use std::future::Future;

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, Request};
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::extract::Json;
use crate::problem::Problem;
use crate::waiting_room::Nothing;

/// Most characters of a name or title.
const NAME_CHARS_MAX: usize = 200;

/// The operators' routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    make::routes().merge(steer::routes()).merge(watch::routes())
}

/// A name on one line, as it is: 1 to [`NAME_CHARS_MAX`] characters, not all blank.
fn name(field: &str, text: String) -> Result<String, Problem> {
    let wrong = if text.trim().is_empty() {
        "is empty; give it a text".to_owned()
    } else if text.chars().count() > NAME_CHARS_MAX {
        format!("is too long; take at most {NAME_CHARS_MAX} characters")
    } else if text.chars().any(char::is_control) {
        "has a control character, such as a line break; leave it out".to_owned()
    } else {
        return Ok(text);
    };
    Err(Problem::bad_request(format!("{field}: {wrong}.")))
}

/// An id in a body.
fn id<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|_| Problem::bad_request(format!("{field}: {text:?} is not a UUID.")))
}

/// Runs to its end even when the client goes away: half of a change would be stored and not in force.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work).await.unwrap_or_else(|why| {
        Err(Problem::internal(format!(
            "failed to finish an operator's change: {why}"
        )))
    })
}

/// Runs what takes long, such as reading a large plan, where it keeps nobody else waiting.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|why| {
            Err(Problem::internal(format!(
                "failed to finish an operator's change: {why}"
            )))
        })
}

/// No body, or `{}`.
struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            return Ok(Self);
        }
        Json::<Nothing>::from_request(request, state)
            .await
            .map(|_| Self)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn names_have_bounds() {
        let longest = "봄".repeat(NAME_CHARS_MAX);
        for good in ["A", " A show ", "봄 콘서트", "<b>\"'", &longest] {
            assert_eq!(name("title", good.to_owned()).unwrap(), good);
        }
        for (bad, named) in [
            ("", "empty"),
            (" \u{3000}", "empty"),
            ("a\nb", "control"),
            ("a\0", "control"),
            (&format!("{longest}x"), "200"),
        ] {
            let problem = name("title", bad.to_owned()).unwrap_err();
            assert!(
                problem.detail.starts_with("title: ") && problem.detail.contains(named),
                "{bad:?}: {}",
                problem.detail
            );
        }
    }

    #[tokio::test]
    async fn no_body_is_nothing_or_an_empty_object() {
        for (body, good) in [
            ("", true),
            ("{}", true),
            (" { } ", true),
            (r#"{"now": true}"#, false),
            ("7", false),
            ("{", false),
        ] {
            let request = Request::new(Body::from(body));
            assert_eq!(
                NoBody::from_request(request, &()).await.is_ok(),
                good,
                "{body}"
            );
        }
    }
}
