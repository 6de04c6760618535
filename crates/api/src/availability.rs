//! What is free, held and sold: as a whole, and as it changes.
//!
//! Keeps true: a body is at most a second old and is built once for everybody; versions never go back, not over a restart
//! either; a listener that has heard of version N has heard of every change up to N, or was told to fetch anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use boxoffice_adapters::performance::Performance;
use boxoffice_core::seating::{Counts, SeatNo, SeatState, SeatingPlan, SectionNo, Spot};
use boxoffice_core::{PerformanceId, Timestamp};
use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use tokio::sync::watch;
use tokio::time::sleep;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::catalogue::is_known;
use crate::extract::{Id, Part};
use crate::problem::Problem;
use crate::streams::{self, Ticket};

/// The denser form: one letter a seat.
const DENSE: &str = "application/vnd.boxoffice.availability+json";
/// A body is built anew at the earliest after this, and only when something has changed.
const BUILD_EVERY: Duration = Duration::from_millis(250);
/// A body that nobody has asked for since is let go when others are built.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Changes are sent this often.
const TICK: Duration = Duration::from_millis(500);

/// The routes of availability.
pub(crate) fn routes() -> OpenApiRouter<App> {
    let pictures = Extension(Arc::new(Pictures::default()));
    OpenApiRouter::new()
        .routes(routes!(get_availability))
        .routes(routes!(stream_availability))
        .layer(pictures)
}

/// What is free, held and sold.
#[derive(Serialize, ToSchema)]
struct AvailabilityBody<'a> {
    /// Grows with every change.
    version: u64,
    #[schema(value_type = Vec<SectionCountsBody>)]
    sections: SectionCounts<'a>,
    /// Each numbered seat by its `seat_guid`.
    #[schema(value_type = HashMap<String, SeatStateBody>)]
    seats: SeatStates<'a>,
    /// Standing areas by name.
    #[schema(value_type = HashMap<String, CountsBody>)]
    areas: AreaCounts<'a>,
}

/// The same, with one letter a seat.
#[derive(Serialize, ToSchema)]
struct DenseAvailabilityBody<'a> {
    /// Grows with every change.
    version: u64,
    #[schema(value_type = Vec<SectionCountsBody>)]
    sections: SectionCounts<'a>,
    /// `f` free, `h` held, `s` sold: each numbered seat in the order in which the seating plan lists them.
    #[schema(example = "fffhhsf")]
    seats: String,
    /// Standing areas by name.
    #[schema(value_type = HashMap<String, CountsBody>)]
    areas: AreaCounts<'a>,
}

/// What changed, as it is now.
#[derive(Serialize, ToSchema)]
struct ChangesBody<'a> {
    /// What the client has now: name it as `Last-Event-ID` after a break.
    version: u64,
    /// The numbered seats that changed.
    #[schema(value_type = HashMap<String, SeatStateBody>)]
    seats: SeatStates<'a>,
    /// The standing areas that changed.
    #[schema(value_type = HashMap<String, CountsBody>)]
    areas: AreaCounts<'a>,
}

/// What became of a seat.
#[derive(Copy, Clone, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SeatStateBody {
    Free,
    Held,
    Sold,
}

impl From<SeatState> for SeatStateBody {
    fn from(state: SeatState) -> Self {
        match state {
            SeatState::Free => Self::Free,
            SeatState::Held => Self::Held,
            SeatState::Sold => Self::Sold,
        }
    }
}

/// How many seats are in which state.
#[derive(Copy, Clone, Serialize, ToSchema)]
struct CountsBody {
    free: u32,
    held: u32,
    sold: u32,
}

impl From<Counts> for CountsBody {
    fn from(Counts { free, held, sold }: Counts) -> Self {
        Self { free, held, sold }
    }
}

/// How many seats of a section are in which state.
#[derive(Serialize, ToSchema)]
struct SectionCountsBody<'a> {
    section: &'a str,
    #[serde(flatten)]
    counts: CountsBody,
}

/// All sections, in the plan's order.
struct SectionCounts<'a>(&'a SeatingPlan, &'a [Counts]);

impl Serialize for SectionCounts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let both = self.0.sections().iter().zip(self.1);
        serializer.collect_seq(both.map(|(section, counts)| SectionCountsBody {
            section,
            counts: (*counts).into(),
        }))
    }
}

/// Numbered seats by guid; spots of areas are passed over.
struct SeatStates<'a>(&'a SeatingPlan, &'a [(SeatNo, SeatState)]);

impl Serialize for SeatStates<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named = self
            .1
            .iter()
            .filter_map(|(seat, state)| match self.0.spot(*seat) {
                Spot::Seat { guid, .. } => Some((guid, SeatStateBody::from(*state))),
                Spot::Area { .. } => None,
            });
        serializer.collect_map(named)
    }
}

/// Areas by name: index and counts.
struct AreaCounts<'a>(&'a SeatingPlan, &'a [(usize, Counts)]);

impl Serialize for AreaCounts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named = self
            .1
            .iter()
            .map(|(index, counts)| (&self.0.areas()[*index].name, CountsBody::from(*counts)));
        serializer.collect_map(named)
    }
}

/// How many seats are numbered; the spots of areas come after them.
fn numbered(plan: &SeatingPlan) -> u32 {
    plan.areas()
        .first()
        .map_or(plan.seats_total(), |area| area.first.0)
}

/// A picture at one instant, copied so that nobody waits while it is written down.
struct Snapshot {
    version: u64,
    /// Of the numbered seats.
    states: Vec<SeatState>,
    sections: Vec<Counts>,
    areas: Vec<(usize, Counts)>,
}

impl Snapshot {
    fn of(performance: &Performance) -> Self {
        let plan = performance.plan();
        let sections = 0..u16::try_from(plan.sections().len()).expect("SECTIONS_MAX fits");
        let picture = performance.picture();
        Self {
            version: picture.version(),
            states: (0..numbered(plan))
                .map(|seat| picture.state(SeatNo(seat)))
                .collect(),
            sections: sections
                .map(|section| picture.section_counts(SectionNo(section)))
                .collect(),
            areas: plan
                .areas()
                .iter()
                .map(|area| picture.area_counts(area))
                .enumerate()
                .collect(),
        }
    }

    fn write(&self, plan: &SeatingPlan, form: Form, version: u64) -> Result<Bytes, Problem> {
        let (sections, areas) = (
            SectionCounts(plan, &self.sections),
            AreaCounts(plan, &self.areas),
        );
        let written = match form {
            Form::Plain => {
                let states: Vec<_> = (0..).map(SeatNo).zip(self.states.iter().copied()).collect();
                serde_json::to_vec(&AvailabilityBody {
                    version,
                    sections,
                    seats: SeatStates(plan, &states),
                    areas,
                })
            }
            Form::Dense => {
                let letter = |state: &SeatState| match state {
                    SeatState::Free => 'f',
                    SeatState::Held => 'h',
                    SeatState::Sold => 's',
                };
                serde_json::to_vec(&DenseAvailabilityBody {
                    version,
                    sections,
                    seats: self.states.iter().map(letter).collect(),
                    areas,
                })
            }
        };
        written
            .map(Bytes::from)
            .map_err(|why| Problem::internal(format!("failed to write availability: {why}")))
    }
}

/// How a body is written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Form {
    Plain = 0,
    Dense = 1,
}

impl Form {
    /// The form that the client asks for; who names the denser one gets it.
    fn wanted(headers: &HeaderMap) -> Self {
        let values = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut types = values
            .flat_map(|value| value.split(','))
            .map(|range| range.split(';').next().unwrap_or_default().trim());
        if types.any(|name| name.eq_ignore_ascii_case(DENSE)) {
            Self::Dense
        } else {
            Self::Plain
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/json",
            Self::Dense => DENSE,
        }
    }
}

/// A body that all are sent.
#[derive(Clone)]
struct Built {
    version: u64,
    at: Instant,
    etag: String,
    bytes: Bytes,
}

/// The pictures that somebody has asked for.
#[derive(Default)]
struct Pictures(Mutex<HashMap<PerformanceId, Arc<Picture>>>);

impl Pictures {
    fn of(&self, performance: &Performance, now: Timestamp) -> Arc<Picture> {
        let mut pictures = self.0.lock();
        if let Some(picture) = pictures.get(&performance.performance_id) {
            return Arc::clone(picture);
        }
        for other in pictures.values() {
            other.let_go();
        }
        let new = Arc::new(Picture::new(now));
        pictures.insert(performance.performance_id, Arc::clone(&new));
        new
    }
}

/// What is shared by those who look at one performance.
struct Picture {
    /// Versions begin with this: microseconds since 1970 when it was first looked at. The picture in memory counts from
    /// 0 at each start and makes far fewer than a change a microsecond, so that no version comes twice.
    base: u64,
    built: [Mutex<Option<Built>>; 2],
    changes: Mutex<Option<watch::Receiver<Frame>>>,
}

/// Changes from one version (of the picture) to another, as an event.
#[derive(Clone)]
struct Frame {
    from: u64,
    to: u64,
    bytes: Bytes,
}

impl Picture {
    fn new(now: Timestamp) -> Self {
        Self {
            base: u64::try_from(now.0).unwrap_or(0),
            built: Default::default(),
            changes: Mutex::default(),
        }
    }

    /// The body in this form. Whoever finds it too old builds it, a few milliseconds for 50,000 seats; others wait for that.
    fn body(&self, performance: &Performance, form: Form) -> Result<Built, Problem> {
        let mut slot = self.built[form as usize].lock();
        if let Some(built) = &*slot
            && (built.at.elapsed() < BUILD_EVERY
                || built.version == performance.picture().version())
        {
            return Ok(built.clone());
        }
        let at = Instant::now();
        let snapshot = Snapshot::of(performance);
        let version = self.base + snapshot.version;
        let etag = match form {
            Form::Plain => format!("\"{version}\""),
            Form::Dense => format!("\"{version}-dense\""),
        };
        let built = Built {
            version: snapshot.version,
            at,
            etag,
            bytes: snapshot.write(performance.plan(), form, version)?,
        };
        *slot = Some(built.clone());
        Ok(built)
    }

    fn let_go(&self) {
        for slot in &self.built {
            let mut slot = slot.lock();
            if slot
                .as_ref()
                .is_some_and(|built| built.at.elapsed() > KEPT_FOR)
            {
                *slot = None;
            }
        }
    }

    /// What changed after this version of the picture; `reset` when that is not known any more.
    fn frame(&self, performance: &Performance, since: Option<u64>) -> Frame {
        let plan = performance.plan();
        let (to, seats, areas) = {
            let picture = performance.picture();
            let areas: Vec<Counts> = plan
                .areas()
                .iter()
                .map(|area| picture.area_counts(area))
                .collect();
            (
                picture.version(),
                since.and_then(|version| picture.changes_since(version)),
                areas,
            )
        };
        let (from, version) = (since.unwrap_or(0), self.base + to);
        let Some(seats) = seats else {
            return Frame {
                from,
                to,
                bytes: streams::event(
                    "reset",
                    Some(&version.to_string()),
                    &serde_json::json!({ "version": version }),
                ),
            };
        };
        let has_changed = |index: usize| {
            let area = &plan.areas()[index];
            let at = seats.partition_point(|(seat, _)| *seat < area.first);
            seats
                .get(at)
                .is_some_and(|(seat, _)| seat.0 < area.first.0 + area.capacity)
        };
        let areas: Vec<_> = areas
            .into_iter()
            .enumerate()
            .filter(|(index, _)| has_changed(*index))
            .collect();
        let body = ChangesBody {
            version,
            seats: SeatStates(plan, &seats),
            areas: AreaCounts(plan, &areas),
        };
        Frame {
            from,
            to,
            bytes: streams::event("availability", Some(&version.to_string()), &body),
        }
    }

    /// Listens to changes. One task writes them down for all listeners, while there are any. (Not `streams::Shared`: a
    /// listener must see what a frame covers, to know when it has missed one.)
    fn listen(self: &Arc<Self>, performance: &Arc<Performance>) -> watch::Receiver<Frame> {
        let mut slot = self.changes.lock();
        // A task that broke off has let go of its sender.
        if let Some(frames) = slot.as_ref().filter(|frames| frames.has_changed().is_ok()) {
            return frames.clone();
        }
        let version = performance.picture().version();
        let (sender, frames) = watch::channel(Frame {
            from: version,
            to: version,
            bytes: Bytes::new(),
        });
        *slot = Some(frames.clone());
        tokio::spawn(Arc::clone(self).feed(Arc::clone(performance), sender));
        frames
    }

    async fn feed(self: Arc<Self>, performance: Arc<Performance>, sender: watch::Sender<Frame>) {
        let mut last = sender.borrow().to;
        loop {
            sleep(TICK).await;
            {
                let mut slot = self.changes.lock();
                // The one receiver that is left is the slot's own.
                if sender.receiver_count() <= 1 {
                    *slot = None;
                    return;
                }
            }
            if performance.picture().version() != last {
                let frame = self.frame(&performance, Some(last));
                last = frame.to;
                sender.send_replace(frame);
            }
        }
    }
}

/// Every seat, every section, every area. At most a second old; ask again with `If-None-Match`.
///
/// `Accept: application/vnd.boxoffice.availability+json` gives the denser form.
#[utoipa::path(get, path = "/api/v1/performances/{performance_id}/availability", tag = "catalogue",
    params(("performance_id" = Uuid, Path), ("Accept" = Option<String>, Header), ("If-None-Match" = Option<String>, Header, description = "`ETag` of what you have")),
    responses(
        (status = 200, headers(("ETag" = String, description = "Of this version in this form")),
            content((AvailabilityBody = "application/json"), (DenseAvailabilityBody = "application/vnd.boxoffice.availability+json"))),
        (status = 304, description = "Nothing has changed"),
        (status = 400, description = "`bad-request`: the id is not a UUID"),
        (status = 404, description = "`not-found`"),
    ))]
async fn get_availability(
    State(app): State<App>,
    Extension(pictures): Extension<Arc<Pictures>>,
    Id(performance_id): Id<PerformanceId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let performance = app.performance(performance_id)?;
    let form = Form::wanted(&headers);
    let built = pictures
        .of(&performance, app.now())
        .body(&performance, form)?;
    let kept = [
        (header::ETAG, built.etag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept"),
    ];
    if is_known(&headers, &built.etag) {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    Ok((
        kept,
        [(header::CONTENT_TYPE, form.media_type())],
        built.bytes,
    )
        .into_response())
}

/// Changes as they happen, every half second at most.
///
/// `event: availability` has the seats and areas that changed since the version that you name, and at once what you
/// have missed; `event: reset` `{version}` says that this is not known any more: fetch the whole and go on listening.
#[utoipa::path(get, path = "/api/v1/performances/{performance_id}/availability/stream", tag = "catalogue",
    params(
        ("performance_id" = Uuid, Path),
        ("version" = Option<u64>, Query, description = "What you have"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event's id; goes before `version`"),
    ),
    responses(
        (status = 200, description = "`data` of `event: availability`", body = ChangesBody, content_type = "text/event-stream"),
        (status = 400, description = "`bad-request`: the id is not a UUID, or version is not a whole number"),
        (status = 404, description = "`not-found`"),
        (status = 503, description = "`too-many-streams`, with `Retry-After`"),
    ))]
async fn stream_availability(
    State(app): State<App>,
    Extension(pictures): Extension<Arc<Pictures>>,
    Id(performance_id): Id<PerformanceId>,
    part: Part,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let performance = app.performance(performance_id)?;
    let known = match headers.get("last-event-id").filter(|id| !id.is_empty()) {
        Some(id) => id.to_str().ok().and_then(|id| id.parse().ok()),
        None => version(&part)?,
    };
    let ticket = Ticket::take(&app)?;
    let picture = pictures.of(&performance, app.now());
    Ok(streams::respond(
        &app,
        ticket,
        None,
        Changes::new(picture, performance, known),
    ))
}

/// What one listener gets.
struct Changes {
    picture: Arc<Picture>,
    performance: Arc<Performance>,
    frames: watch::Receiver<Frame>,
    first: Option<Bytes>,
    /// The version (of the picture) up to which everything was sent.
    seen: u64,
}

impl Changes {
    /// `known` is the version that the listener says it has.
    fn new(picture: Arc<Picture>, performance: Arc<Performance>, known: Option<u64>) -> Self {
        // Listening begins before the first frame is made: what happens in between is heard twice and not missed.
        let frames = picture.listen(&performance);
        let first = picture.frame(
            &performance,
            known.and_then(|version| version.checked_sub(picture.base)),
        );
        Self {
            picture,
            performance,
            frames,
            first: Some(first.bytes),
            seen: first.to,
        }
    }
}

impl streams::Source for Changes {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            self.frames.changed().await.ok()?;
            let mut frame = self.frames.borrow_and_update().clone();
            if frame.to <= self.seen {
                continue;
            }
            if frame.from > self.seen {
                // A slow reader has missed a frame: it gets all that is new to it in one.
                frame = self.picture.frame(&self.performance, Some(self.seen));
            }
            self.seen = frame.to;
            return Some(frame.bytes);
        }
    }
}

/// `?version=`.
fn version(part: &Part) -> Result<Option<u64>, Problem> {
    let Some((_, text)) = part.others.iter().find(|(name, _)| name == "version") else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| Problem::bad_request(format!("version: {text:?} is not a whole number; give the version that you have, or leave it out.")))
}

#[cfg(test)]
mod tests;
