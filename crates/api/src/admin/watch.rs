//! Watching a sale: its figures, now and live, bookings that are not final, and notices that could not be sent.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use boxoffice_adapters::performance::Performance;
use boxoffice_adapters::store::{DeadLetter, NoticeCounts, Resent};
use boxoffice_core::booking::Booking;
use boxoffice_core::notice::{Channel, Reason};
use boxoffice_core::{BookingId, Money, NoticeId, PerformanceId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::NoBody;
use crate::app::App;
use crate::auth::Operator;
use crate::bookings::{payment_words, state_words};
use crate::catalogue::{cursor, cut};
use crate::extract::{Id, Part};
use crate::problem::Problem;
use crate::streams::{self, Listener, Shared, Ticket};
use crate::wire::{MoneyBody, Page, Time};

/// A frame is made this often.
const TICK: Duration = Duration::from_secs(1);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(stats))
        .routes(routes!(live))
        .routes(routes!(list_bookings))
        .routes(routes!(list_notices))
        .routes(routes!(resend_notice))
        .layer(Extension(Arc::new(Shared::default())))
}

/// A sale's figures.
#[derive(Debug, Serialize, ToSchema)]
struct StatsBody {
    /// Live places not called yet.
    waiting: u32,
    /// Called, not entered yet.
    called: u32,
    /// Inside: entered with a pass that is still good. With `called` at most `active_max`.
    active: u32,
    /// Holds that keep seats and are not sold.
    holds: u32,
    seats_free: u32,
    seats_held: u32,
    seats_sold: u32,
    /// Bookings confirmed a second, over the last 10 s.
    bookings_per_s: f64,
    /// Fans called a second, as it was over the last half minute.
    admit_per_s: f64,
    notices: NoticeStats,
}

/// How a performance's notices went.
#[derive(Debug, Serialize, ToSchema)]
struct NoticeStats {
    /// Told, on a stream or by a provider.
    sent: u64,
    /// Dead letters.
    failed: u64,
    /// 95 % were accepted within this, milliseconds.
    p95_ms: u64,
}

fn stats_of(app: &App, performance: &Performance) -> StatsBody {
    let (id, room) = (performance.performance_id, app.room.status(performance));
    // All three in one look, so that they always add up.
    let seats = performance.picture().counts();
    let NoticeCounts {
        sent,
        failed,
        p95_ms,
    } = app.store.notice_counts(id);
    StatsBody {
        waiting: room.waiting,
        called: room.called,
        active: room.active.saturating_sub(room.called),
        holds: app.store.live_holds(id),
        seats_free: seats.free,
        seats_held: seats.held,
        seats_sold: seats.sold,
        bookings_per_s: app.store.bookings_per_s(id, app.now()),
        admit_per_s: (room.rate_seen * 10.0).round() / 10.0,
        notices: NoticeStats {
            sent,
            failed,
            p95_ms,
        },
    }
}

/// A sale's figures now.
#[utoipa::path(get, path = "/api/v1/admin/performances/{performance_id}/stats", tag = "operators",
    params(("performance_id" = Uuid, Path)), security(("bearer" = [])),
    responses(
        (status = 200, body = StatsBody),
        (status = 400, description = "`bad-request`: the id is not a UUID"),
        (status = 401, description = "`login-required`"),
        (status = 403, description = "`operator-only`"),
        (status = 404, description = "`not-found`"),
    ))]
async fn stats(
    State(app): State<App>,
    _: Operator,
    Id(performance_id): Id<PerformanceId>,
) -> Result<axum::Json<StatsBody>, Problem> {
    let performance = app.performance(performance_id)?;
    Ok(axum::Json(stats_of(&app, &performance)))
}

/// A sale's figures, live: `event: stats` at once and every second.
#[utoipa::path(get, path = "/api/v1/admin/performances/{performance_id}/live", tag = "operators",
    params(("performance_id" = Uuid, Path)), security(("bearer" = [])),
    responses(
        (status = 200, description = "`data` of `event: stats`", body = StatsBody, content_type = "text/event-stream"),
        (status = 400, description = "`bad-request`: the id is not a UUID"),
        (status = 401, description = "`login-required`"),
        (status = 403, description = "`operator-only`"),
        (status = 404, description = "`not-found`"),
        (status = 503, description = "`too-many-streams`, with `Retry-After`"),
    ))]
async fn live(
    State(app): State<App>,
    Extension(feeds): Extension<Arc<Shared>>,
    operator: Operator,
    Id(performance_id): Id<PerformanceId>,
) -> Result<Response, Problem> {
    let performance = app.performance(performance_id)?;
    let ticket = Ticket::take(&app)?;
    let feed_app = app.clone();
    let frames = feeds.listen(performance_id, TICK, move || {
        // The instant is the id: each frame is news, also that nothing has changed.
        let id = feed_app.now().0.to_string();
        streams::event("stats", Some(&id), &stats_of(&feed_app, &performance))
    });
    Ok(streams::respond(
        &app,
        ticket,
        Some(operator.session),
        Figures {
            frames,
            begun: false,
        },
    ))
}

/// What one listener gets.
struct Figures {
    frames: Listener,
    begun: bool,
}

impl streams::Source for Figures {
    async fn next(&mut self) -> Option<Bytes> {
        if std::mem::replace(&mut self.begun, true) {
            self.frames.next().await
        } else {
            Some(self.frames.latest())
        }
    }
}

/// A booking that is not final.
#[derive(Debug, Serialize, ToSchema)]
struct PendingBooking {
    booking_id: Uuid,
    performance_id: Uuid,
    account_id: Uuid,
    #[schema(value_type = String, pattern = "pending")]
    state: &'static str,
    total: MoneyBody,
    payment: PendingPayment,
    accepted_at: Time,
    /// Since it was accepted, seconds.
    age_s: u64,
}

/// How its payment stands.
#[derive(Debug, Serialize, ToSchema)]
struct PendingPayment {
    #[schema(value_type = String, pattern = "pending|authorised|captured|refunded|failed")]
    state: &'static str,
    captured: MoneyBody,
    refunded: MoneyBody,
}

fn pending(app: &App, booking: &Booking, now: Timestamp) -> Result<PendingBooking, Problem> {
    let currency = app.performance(booking.performance_id)?.currency;
    let money = |amount_minor| {
        Money {
            amount_minor,
            currency,
        }
        .into()
    };
    Ok(PendingBooking {
        booking_id: booking.booking_id.uuid(),
        performance_id: booking.performance_id.uuid(),
        account_id: booking.account_id.uuid(),
        state: state_words(&booking.state).0,
        total: money(booking.total_minor),
        payment: PendingPayment {
            state: payment_words(booking.payment),
            captured: money(booking.captured_minor),
            refunded: money(booking.refunded_minor),
        },
        accepted_at: Time(booking.accepted_at),
        age_s: now.since_us(booking.accepted_at) / 1_000_000,
    })
}

/// Everything that is not final, with its age.
#[utoipa::path(get, path = "/api/v1/admin/bookings", tag = "operators", security(("bearer" = [])),
    params(
        ("state" = Option<String>, Query, pattern = "pending", description = "`pending`, also when not given"),
        ("limit" = Option<u32>, Query, minimum = 1, description = "Most items, 50 when not given; more than 200 is cut to 200"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the part before"),
    ),
    responses(
        (status = 200, body = Page<PendingBooking>),
        (status = 400, description = "`bad-request`: state, limit or cursor is wrong"),
        (status = 401, description = "`login-required`"),
        (status = 403, description = "`operator-only`"),
        (status = 503, description = "`busy`, with `Retry-After`"),
    ))]
async fn list_bookings(
    State(app): State<App>,
    _: Operator,
    part: Part,
) -> Result<axum::Json<Page<PendingBooking>>, Problem> {
    only_state(&part, "pending")?;
    let after: Option<BookingId> = cursor(&part)?;
    let found = app.store.pending_bookings(part.limit + 1, after).await?;
    let (found, next_cursor) = cut(found, part.limit, |booking| booking.booking_id.to_string());
    let now = app.now();
    let items = found
        .iter()
        .map(|booking| pending(&app, booking, now))
        .collect::<Result<_, _>>()?;
    Ok(axum::Json(Page { items, next_cursor }))
}

/// A notice that could not be sent.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLetterBody {
    notice_id: Uuid,
    performance_id: Uuid,
    account_id: Uuid,
    #[schema(value_type = String, pattern = "your_turn|booking_confirmed|booking_refused|booking_cancelled")]
    reason: &'static str,
    booking_id: Option<Uuid>,
    #[schema(value_type = String, pattern = "log|email")]
    channel: &'static str,
    /// Attempts made.
    tries: u32,
    /// When what it tells was recorded.
    created_at: Time,
    /// After which it is of no use any more.
    useful_until: Time,
}

impl From<&DeadLetter> for DeadLetterBody {
    fn from(DeadLetter { notice }: &DeadLetter) -> Self {
        Self {
            notice_id: notice.notice_id.uuid(),
            performance_id: notice.performance.uuid(),
            account_id: notice.account.uuid(),
            reason: match notice.reason {
                Reason::YourTurn => "your_turn",
                Reason::BookingConfirmed => "booking_confirmed",
                Reason::BookingRefused => "booking_refused",
                Reason::BookingCancelled => "booking_cancelled",
            },
            booking_id: notice.booking.map(BookingId::uuid),
            channel: match notice.channel {
                Channel::Log => "log",
                Channel::Email => "email",
            },
            tries: notice.tries,
            created_at: Time(notice.created_at),
            useful_until: Time(notice.useful_until),
        }
    }
}

/// Dead letters: notices that could not be sent.
#[utoipa::path(get, path = "/api/v1/admin/notices", tag = "operators", security(("bearer" = [])),
    params(
        ("state" = Option<String>, Query, pattern = "dead", description = "`dead`, also when not given"),
        ("limit" = Option<u32>, Query, minimum = 1, description = "Most items, 50 when not given; more than 200 is cut to 200"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the part before"),
    ),
    responses(
        (status = 200, body = Page<DeadLetterBody>),
        (status = 400, description = "`bad-request`: state, limit or cursor is wrong"),
        (status = 401, description = "`login-required`"),
        (status = 403, description = "`operator-only`"),
        (status = 503, description = "`busy`, with `Retry-After`"),
    ))]
async fn list_notices(
    State(app): State<App>,
    _: Operator,
    part: Part,
) -> Result<axum::Json<Page<DeadLetterBody>>, Problem> {
    only_state(&part, "dead")?;
    let after: Option<NoticeId> = cursor(&part)?;
    let found = app.store.dead_letters(part.limit + 1, after).await?;
    let (found, next_cursor) = cut(found, part.limit, |dead| dead.notice.notice_id.to_string());
    Ok(axum::Json(Page {
        items: found.iter().map(Into::into).collect(),
        next_cursor,
    }))
}

/// Sends a dead letter again.
#[utoipa::path(post, path = "/api/v1/admin/notices/{notice_id}/resend", tag = "operators",
    params(("notice_id" = Uuid, Path)), security(("bearer" = [])),
    responses(
        (status = 202, description = "It is tried again; asking twice is the same"),
        (status = 400, description = "`bad-request`: the id is not a UUID, or there is a body that is not `{}`"),
        (status = 401, description = "`login-required`"),
        (status = 403, description = "`operator-only`"),
        (status = 404, description = "`not-found`: there is no such dead letter"),
        (status = 410, description = "`turn-lapsed`: it called a fan whose turn is over"),
        (status = 413, description = "`too-large`"),
        (status = 503, description = "`busy`, with `Retry-After`"),
    ))]
async fn resend_notice(
    State(app): State<App>,
    _: Operator,
    Id(notice_id): Id<NoticeId>,
    _: NoBody,
) -> Result<StatusCode, Problem> {
    match app.store.resend(notice_id).await? {
        Resent::Again => Ok(StatusCode::ACCEPTED),
        Resent::Unknown => Err(Problem::not_found()),
        Resent::TurnOver => Err(Problem::new(
            StatusCode::GONE,
            "turn-lapsed",
            "The turn that this notice calls to is over.",
        )),
    }
}

/// `?state=` may be left out, and is else this one.
fn only_state(part: &Part, state: &str) -> Result<(), Problem> {
    match part
        .others
        .iter()
        .find(|(name, value)| name == "state" && value != state)
    {
        None => Ok(()),
        Some((_, other)) => Err(Problem::bad_request(format!(
            "state: {other:?} is not listed here; ask for {state}."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_states_are_not_listed() {
        let part = |others: &[(&str, &str)]| Part {
            limit: 1,
            cursor: None,
            others: others
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        assert!(
            only_state(&part(&[]), "dead").is_ok()
                && only_state(&part(&[("state", "dead"), ("other", "x")]), "dead").is_ok()
        );
        let problem = only_state(&part(&[("state", "nonsense")]), "dead").unwrap_err();
        assert!(
            problem.detail.contains("state") && problem.detail.contains("dead"),
            "{}",
            problem.detail
        );
    }
}
