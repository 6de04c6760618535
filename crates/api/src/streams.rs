//! Live streams: server-sent events as bodies that cost little while nothing happens.
//!
//! What concerns everybody is one frame per performance and tick, the same bytes for every listener; what concerns one fan
//! is sent to that fan at once. Streams end at shutdown with a hint to come back.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use boxoffice_core::{PerformanceId, SessionId};
use futures_util::stream::unfold;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::app::App;
use crate::problem::Problem;

/// A comment is sent this often while nothing happens, so that a dead peer is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often a stream that belongs to a login looks whether that has ended: it must not outlive a logout by 5 s.
const LOGIN_CHECK: Duration = Duration::from_secs(3);
/// Said at the end of a stream that the server ends.
const COME_BACK: &[u8] = b"retry: 1000\nevent: reconnect\ndata: {}\n\n";

/// The right to one open stream; given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    _permit: OwnedSemaphorePermit,
}

impl Ticket {
    /// Takes one of the streams that may be open at once.
    pub(crate) fn take(app: &App) -> Result<Self, Problem> {
        let permit = Arc::clone(&app.streams).try_acquire_owned();
        permit.map(|permit| Self { _permit: permit }).map_err(|_| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too-many-streams",
                "All live streams are in use; poll instead, or try again.",
            )
            .retry(5)
        })
    }
}

/// What feeds a stream: gives the next bytes, or nothing when it has ended.
pub(crate) trait Source: Send + 'static {
    /// The next bytes to send. Must be safe to drop between two of them.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// The answer that streams from this source until it, the client, the server or the login that it belongs to ends.
pub(crate) fn respond<S: Source>(
    app: &App,
    ticket: Ticket,
    login: Option<SessionId>,
    source: S,
) -> Response {
    let open = Open {
        source,
        app: app.clone(),
        login,
        quiet: Duration::ZERO,
        shutdown: app.shutdown.clone(),
        _ticket: ticket,
    };
    let body = Body::from_stream(unfold(Some(open), step));
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let mut response = (headers, body).into_response();
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A stream under way.
struct Open<S> {
    source: S,
    app: App,
    /// Whose it is; none: anybody may listen.
    login: Option<SessionId>,
    /// For how long nothing was sent.
    quiet: Duration,
    shutdown: watch::Receiver<bool>,
    _ticket: Ticket,
}

async fn step<S: Source>(
    open: Option<Open<S>>,
) -> Option<(Result<Bytes, Infallible>, Option<Open<S>>)> {
    let mut open = open?;
    let pause = open.login.map_or(HEARTBEAT, |_| LOGIN_CHECK);
    loop {
        if *open.shutdown.borrow() {
            return Some((Ok(Bytes::from_static(COME_BACK)), None));
        }
        let next = tokio::select! {
            biased;
            _ = open.shutdown.wait_for(|ending| *ending) => continue,
            next = open.source.next() => Some(next?),
            () = tokio::time::sleep(pause) => None,
        };
        if open
            .login
            .is_some_and(|login| open.app.auth.has_ended(login))
        {
            return None;
        }
        open.quiet += pause;
        let bytes = match next {
            Some(bytes) => bytes,
            None if open.quiet >= HEARTBEAT => Bytes::from_static(b": still here\n\n"),
            None => continue,
        };
        open.quiet = Duration::ZERO;
        return Some((Ok(bytes), Some(open)));
    }
}

/// One event as it goes over the wire.
pub(crate) fn event(name: &str, id: Option<&str>, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("our own bodies are JSON");
    let mut text = String::with_capacity(data.len() + 64);
    for (field, value) in [
        ("id", id),
        ("event", Some(name)),
        ("data", Some(data.as_str())),
    ] {
        if let Some(value) = value {
            text.push_str(field);
            text.push_str(": ");
            text.push_str(value);
            text.push('\n');
        }
    }
    text.push('\n');
    Bytes::from(text)
}

/// The least time between two frames: a crowd of listeners must not cost more than half a core (a frame costs 25 µs each),
/// and nobody sees what is older than a second.
fn gap(listeners: usize) -> Duration {
    let listeners = u32::try_from(listeners).unwrap_or(u32::MAX);
    Duration::from_micros(50)
        .saturating_mul(listeners)
        .min(Duration::from_millis(900))
}

/// Frames that all listeners of a performance share; each kind of stream has one of these.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    feeds: Mutex<HashMap<PerformanceId, Weak<watch::Sender<Bytes>>>>,
}

impl Shared {
    /// The performance's frames: the latest is there at once. The first listener starts the feed, which asks for the latest
    /// frame every `tick` and ends by itself when the last listener has gone.
    pub(crate) fn listen(
        &self,
        id: PerformanceId,
        tick: Duration,
        mut frame: impl FnMut() -> Bytes + Send + 'static,
    ) -> Listener {
        let mut feeds = self.feeds.lock();
        if let Some(sender) = feeds.get(&id).and_then(Weak::upgrade) {
            let frames = sender.subscribe();
            return Listener {
                frames,
                _feed: sender,
            };
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let sender = Arc::new(watch::channel(frame()).0);
        feeds.insert(id, Arc::downgrade(&sender));
        let feed = Arc::downgrade(&sender);
        tokio::spawn(async move {
            let mut sent_at = Instant::now();
            loop {
                tokio::time::sleep(tick).await;
                let Some(sender) = feed.upgrade() else { return };
                if sent_at.elapsed() < gap(sender.receiver_count()) {
                    continue;
                }
                let next = frame();
                let is_news = sender.send_if_modified(|last| {
                    let changed = *last != next;
                    *last = next;
                    changed
                });
                if is_news {
                    sent_at = Instant::now();
                }
            }
        });
        Listener {
            frames: sender.subscribe(),
            _feed: sender,
        }
    }
}

/// Listens to shared frames; the feed lives while there is one of these.
#[derive(Debug)]
pub(crate) struct Listener {
    frames: watch::Receiver<Bytes>,
    _feed: Arc<watch::Sender<Bytes>>,
}

impl Listener {
    /// The latest frame, which counts as seen.
    pub(crate) fn latest(&mut self) -> Bytes {
        self.frames.borrow_and_update().clone()
    }

    /// The next frame that differs from the last one seen.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.frames.changed().await.ok()?;
        Some(self.latest())
    }
}
