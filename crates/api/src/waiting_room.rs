//! The waiting room over HTTP: places, passes, and the line as everybody may see it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use boxoffice_adapters::live::Happening;
use boxoffice_adapters::performance::Performance;
use boxoffice_core::pass::{Claims, Kind};
use boxoffice_core::sale::SaleState;
use boxoffice_core::waiting_room::{PlaceView, Stage};
use boxoffice_core::{AccountId, PerformanceId, Refusal, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::Fan;
use crate::extract::{Id, Json};
use crate::problem::Problem;
use crate::proof::{Asker, Receipt, Shown};
use crate::streams::{self, Listener, Ticket};
use crate::wire::Time;

/// How often the line is looked at for its listeners; a frame is sent when it differs.
const TICK: Duration = Duration::from_millis(100);

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(join, line))
        .routes(routes!(place, leave))
        .routes(routes!(enter))
        .routes(routes!(stream))
}

/// Nothing: `{}`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// A fan's place in the line.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlaceBody {
    /// The number, signed: proves it to anyone who has our key; never opens anything.
    place: String,
    /// From 1; never changes within an epoch.
    number: u32,
    /// Where it stands.
    #[schema(value_type = String, pattern = "lobby|waiting|called|entered|lapsed|left")]
    state: &'static str,
    /// Places ahead plus one while in line, else 0; never grows.
    position: u32,
    /// Live places with a smaller number that are not called yet.
    ahead: u32,
    /// The wait in seconds, by the rate actually seen; null while nobody is being called.
    eta_s: Option<u32>,
    /// When asking again is worth it, milliseconds.
    #[schema(minimum = 100, maximum = 20000)]
    poll_after_ms: u32,
    /// While called: until when the slot is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    call_expires_at: Option<Time>,
}

/// The place as its fan is told.
pub(crate) fn place_body(
    app: &App,
    performance: &Performance,
    account_id: AccountId,
    view: &PlaceView,
) -> PlaceBody {
    let claims = claims(performance, account_id, view.number, Timestamp(0));
    let state = match view.stage {
        Stage::Lobby => "lobby",
        Stage::Waiting => "waiting",
        Stage::Called => "called",
        Stage::Entered => "entered",
        Stage::Lapsed => "lapsed",
        Stage::Left => "left",
    };
    PlaceBody {
        place: app.signer.sign(Kind::Place, &claims),
        number: view.number,
        state,
        position: view.position,
        ahead: view.ahead,
        eta_s: view.eta_s,
        poll_after_ms: view.poll_after_ms,
        call_expires_at: view
            .expires_at
            .filter(|_| view.stage == Stage::Called)
            .map(Time),
    }
}

fn claims(
    performance: &Performance,
    account_id: AccountId,
    number: u32,
    expires_at: Timestamp,
) -> Claims {
    Claims {
        performance_id: performance.performance_id,
        epoch: performance.epoch,
        number,
        account_id,
        expires_at,
    }
}

/// Takes a place in the line.
///
/// The number is given once per account: a repeat finds the live place. After `lapsed` or `left` it is a new one at the end.
///
/// From an address outside `limits.trusted` a new place costs a proof of work. Without a good one the answer is 403 `proof-required`
/// with `challenge`, `bits` and `algorithm`, which is `sha-256`. Find a nonce of at most 64 visible ASCII characters such that SHA-256 of
/// `<challenge>:<nonce>` begins with `bits` zero bits, and repeat the request with `Boxoffice-Proof: <challenge>:<nonce>`. A challenge is
/// for this account and performance and good for 2 minutes; a proof is good once, and still good after a 503. The more fans join, the
/// more bits are asked for. A repeat while the place lives needs no proof.
#[utoipa::path(post, operation_id = "join_waiting_room", path = "/api/v1/performances/{performance_id}/waiting-room", tag = "waiting room", request_body = Nothing,
    params(("performance_id" = String, Path, format = Uuid), ("Boxoffice-Proof" = Option<String>, Header, description = "The proof of work, as 403 `proof-required` asks for it")),
    security(("bearer" = [])),
    responses((status = 201, body = PlaceBody, description = "A new place"), (status = 200, body = PlaceBody, description = "The place that is there already"),
        (status = 401, description = "`login-required`"), (status = 403, description = "`proof-required` with `challenge`, `bits` and `algorithm`"),
        (status = 404, description = "`not-found`"),
        (status = 409, description = "`not-open-yet` with `opens_at`; `no-waiting-room`"), (status = 410, description = "`sale-closed`"),
        (status = 503, description = "`busy`, with `Retry-After`")))]
async fn join(
    State(app): State<App>,
    fan: Fan,
    Id(id): Id<PerformanceId>,
    shown: Shown,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Response, Problem> {
    let performance = app.performance(id)?;
    let receipt = take_proof(&app, &performance, fan.account, &shown)?;
    let joined = app.room.join(&performance, fan.account).await;
    if let (Err(_), Some(receipt)) = (&joined, receipt) {
        app.proofs.give_back(receipt);
    }
    let (view, new) = joined??;
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((
        status,
        axum::Json(place_body(&app, &performance, fan.account, &view)),
    )
        .into_response())
}

/// Takes the proof of work that a new number costs the world. Who has a live place, or is refused anyway, does no work.
fn take_proof(
    app: &App,
    performance: &Performance,
    account: AccountId,
    shown: &Shown,
) -> Result<Option<Receipt>, Problem> {
    let Shown::World(text) = shown else {
        return Ok(None);
    };
    let stage = app.room.place(performance, account).map(|view| view.stage);
    match stage {
        Some(Stage::Lobby | Stage::Waiting | Stage::Called | Stage::Entered) => return Ok(None),
        Some(Stage::Lapsed | Stage::Left) | None => (),
    }
    // Refused here and not in the room, where a crowd that came a moment before the opening would be let in without a proof.
    let (rules, now) = (performance.rules(), app.now());
    if rules.admission.is_none() {
        return Err(Refusal::NoWaitingRoom.into());
    }
    rules.sale.may_join(now)?;
    let asker = Asker {
        account,
        performance: performance.performance_id,
        epoch: performance.epoch,
    };
    app.proofs.take(text.as_deref(), asker, now)
}

/// The fan's own place.
#[utoipa::path(get, operation_id = "my_place", path = "/api/v1/performances/{performance_id}/waiting-room/place", tag = "waiting room",
    params(("performance_id" = String, Path, format = Uuid)), security(("bearer" = [])),
    responses((status = 200, body = PlaceBody), (status = 401, description = "`login-required`"), (status = 404, description = "`no-place`, `not-found`")))]
async fn place(
    State(app): State<App>,
    fan: Fan,
    Id(id): Id<PerformanceId>,
) -> Result<axum::Json<PlaceBody>, Problem> {
    let performance = app.performance(id)?;
    let view = app
        .room
        .place(&performance, fan.account)
        .ok_or(Refusal::NoPlace)?;
    Ok(axum::Json(place_body(
        &app,
        &performance,
        fan.account,
        &view,
    )))
}

/// Gives the place up; a repeat is the same.
#[utoipa::path(delete, operation_id = "leave_waiting_room", path = "/api/v1/performances/{performance_id}/waiting-room/place", tag = "waiting room",
    params(("performance_id" = String, Path, format = Uuid)), security(("bearer" = [])),
    responses((status = 204, description = "Given up"), (status = 401, description = "`login-required`"), (status = 404, description = "`no-place`, `not-found`"),
        (status = 503, description = "`busy`, with `Retry-After`")))]
async fn leave(
    State(app): State<App>,
    fan: Fan,
    Id(id): Id<PerformanceId>,
) -> Result<StatusCode, Problem> {
    let performance = app.performance(id)?;
    app.room.leave(&performance, fan.account).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// The line as everybody may see it.
#[derive(Debug, Serialize, ToSchema)]
struct LineBody {
    /// Where the sale stands.
    #[schema(value_type = String, pattern = "scheduled|lobby|open|paused|closed")]
    state: &'static str,
    /// Last number given.
    queue_counter: u32,
    /// Highest number called.
    serving_counter: u32,
    /// Live places not called yet.
    waiting: u32,
    /// Fans called a second over the last half minute, as it was.
    admit_per_s: f64,
}

/// The sale's state in words.
pub(crate) fn sale_state(state: SaleState) -> &'static str {
    match state {
        SaleState::Scheduled => "scheduled",
        SaleState::Lobby => "lobby",
        SaleState::Open => "open",
        SaleState::Paused => "paused",
        SaleState::Closed => "closed",
    }
}

/// How the line stands; at most a second old.
#[utoipa::path(get, operation_id = "waiting_room", path = "/api/v1/performances/{performance_id}/waiting-room", tag = "waiting room",
    params(("performance_id" = String, Path, format = Uuid)),
    responses((status = 200, body = LineBody), (status = 404, description = "`not-found`")))]
async fn line(State(app): State<App>, Id(id): Id<PerformanceId>) -> Result<Response, Problem> {
    let performance = app.performance(id)?;
    let status = app.room.status(&performance);
    let body = LineBody {
        state: sale_state(status.state),
        queue_counter: status.queue_counter,
        serving_counter: status.serving_counter,
        waiting: status.waiting,
        admit_per_s: status.rate_seen,
    };
    Ok((
        [(
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=1"),
        )],
        axum::Json(body),
    )
        .into_response())
}

/// The right to enter.
#[derive(Debug, Serialize, ToSchema)]
struct PassBody {
    /// To be sent as `Boxoffice-Pass`.
    pass: String,
    /// When it runs out.
    expires_at: Time,
}

/// Enters: a called fan takes a pass.
#[utoipa::path(post, operation_id = "take_pass", path = "/api/v1/performances/{performance_id}/passes", tag = "waiting room", request_body = Nothing,
    params(("performance_id" = String, Path, format = Uuid)), security(("bearer" = [])),
    responses((status = 201, body = PassBody, description = "Entered"), (status = 200, body = PassBody, description = "Entered before; a pass of the same expiry"),
        (status = 401, description = "`login-required`"), (status = 403, description = "`not-your-turn` with `position` and `poll_after_ms`"),
        (status = 404, description = "`no-place`, `not-found`"), (status = 409, description = "`no-waiting-room`"),
        (status = 410, description = "`turn-lapsed`, `sale-closed`"), (status = 503, description = "`busy`, with `Retry-After`")))]
async fn enter(
    State(app): State<App>,
    fan: Fan,
    Id(id): Id<PerformanceId>,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Response, Problem> {
    let performance = app.performance(id)?;
    let (number, expires_at, new) = app.room.enter(&performance, fan.account).await??;
    let pass = app.signer.sign(
        Kind::Pass,
        &claims(&performance, fan.account, number, expires_at),
    );
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((
        status,
        axum::Json(PassBody {
            pass,
            expires_at: Time(expires_at),
        }),
    )
        .into_response())
}

/// The line, live.
///
/// `event: serving` {serving_counter, admit_per_s, state} to everyone and, with a login, `event: place` to this fan: both at once on
/// connecting, then when they change.
#[utoipa::path(get, operation_id = "waiting_room_stream", path = "/api/v1/performances/{performance_id}/waiting-room/stream", tag = "waiting room",
    params(("performance_id" = String, Path, format = Uuid)), security((), ("bearer" = [])),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 401, description = "`login-required`: a token that is none"),
        (status = 404, description = "`not-found`"), (status = 503, description = "`too-many-streams`")))]
async fn stream(
    State(app): State<App>,
    fan: Option<Fan>,
    Id(id): Id<PerformanceId>,
) -> Result<Response, Problem> {
    let performance = app.performance(id)?;
    let ticket = Ticket::take(&app)?;
    let (feed_app, feed_performance) = (app.clone(), Arc::clone(&performance));
    let frames = app
        .lines
        .0
        .listen(id, TICK, move || serving(&feed_app, &feed_performance));
    let login = fan.map(|fan| fan.session);
    let own = fan.map(|fan| Own {
        account: fan.account,
        happenings: app.live.listen(fan.account, Some(id)),
        last: None,
        sent_at: Instant::now(),
    });
    let source = LineStream {
        app: app.clone(),
        performance,
        frames,
        own,
        ready: Vec::new(),
        begun: false,
    };
    Ok(streams::respond(&app, ticket, login, source))
}

#[derive(Serialize)]
struct Serving {
    serving_counter: u32,
    admit_per_s: f64,
    state: &'static str,
}

fn serving(app: &App, performance: &Performance) -> Bytes {
    let status = app.room.status(performance);
    // Tenths are enough to look at; more would make every frame a new one.
    let admit_per_s = (status.rate_seen * 10.0).round() / 10.0;
    streams::event(
        "serving",
        None,
        &Serving {
            serving_counter: status.serving_counter,
            admit_per_s,
            state: sale_state(status.state),
        },
    )
}

/// What one listener of a line gets.
struct LineStream {
    app: App,
    performance: Arc<Performance>,
    frames: Listener,
    own: Option<Own>,
    ready: Vec<Bytes>,
    begun: bool,
}

/// The fan's own part of it.
struct Own {
    account: AccountId,
    happenings: mpsc::Receiver<Happening>,
    last: Option<PlaceView>,
    sent_at: Instant,
}

impl streams::Source for LineStream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop() {
                return Some(bytes);
            }
            if !self.begun {
                self.begun = true;
                self.look();
                return Some(self.frames.latest());
            }
            let Self { frames, own, .. } = self;
            let happened = async {
                match own {
                    Some(own) => own.happenings.recv().await.is_some(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                frame = frames.next() => {
                    self.look();
                    return frame;
                }
                // Cut off for reading too slowly: ending the stream makes the client come back and see what is true now.
                still_told = happened => if still_told { self.look() } else { return None },
            }
        }
    }
}

impl LineStream {
    fn look(&mut self) {
        let news = self.place();
        self.ready.extend(news);
    }

    /// The fan's place, when there is news: a new state at once, a new position as often as a poll would be worth it.
    fn place(&mut self) -> Option<Bytes> {
        let own = self.own.as_mut()?;
        let view = self.app.room.place(&self.performance, own.account)?;
        let news = own.last.is_none_or(|last| {
            let waited = own.sent_at.elapsed().as_millis()
                >= u128::from(view.poll_after_ms.min(last.poll_after_ms));
            (last.stage, last.number, last.expires_at) != (view.stage, view.number, view.expires_at)
                || (waited && last.position != view.position)
        });
        if !news {
            return None;
        }
        own.last = Some(view);
        own.sent_at = Instant::now();
        Some(streams::event(
            "place",
            None,
            &place_body(&self.app, &self.performance, own.account, &view),
        ))
    }
}
