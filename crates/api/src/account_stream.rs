//! A fan's own stream: notices, bookings and places, with ids by which a broken stream goes on where it ended.
//!
//! An id is the instant of what happened, its kind and its subject: `1764000000000000-b-0192…`. Nothing is kept for the
//! stream's sake: what was missed is read from what the store and the room know, in the order of the ids.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use boxoffice_adapters::live::Happening;
use boxoffice_adapters::notify::{self, Locale};
use boxoffice_adapters::performance::Performance;
use boxoffice_core::booking::{Booking, BookingState};
use boxoffice_core::notice::Reason;
use boxoffice_core::waiting_room::Stage;
use boxoffice_core::{AccountId, BookingId, PerformanceId, Timestamp};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::Fan;
use crate::bookings::state_words;
use crate::problem::Problem;
use crate::streams::{self, Ticket};
use crate::waiting_room::place_body;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(stream))
}

/// Bookings looked through for what a broken stream missed.
const MISSED_BOOKINGS_MAX: usize = 200;

/// Everything that happens to this fan, live.
///
/// `event: notice` {notice_id, reason, performance_id, text, url}, `event: booking` {booking_id, state, code?}, `event: place` (a place), each with
/// `id:`; after `Last-Event-ID` what was missed comes first, once.
#[utoipa::path(get, operation_id = "account_stream", path = "/api/v1/accounts/me/stream", tag = "accounts", security(("bearer" = [])),
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event seen")),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 400, description = "`bad-request`: an id that is not of this stream"),
        (status = 401, description = "`login-required`"), (status = 503, description = "`too-many-streams`")))]
async fn stream(State(app): State<App>, fan: Fan, headers: HeaderMap) -> Result<Response, Problem> {
    let since = match headers.get("last-event-id").filter(|id| !id.is_empty()) {
        Some(id) => Some(EventId::parse(id.to_str().unwrap_or_default()).ok_or_else(|| {
            Problem::bad_request("Last-Event-ID: is no id of this stream; leave it out to begin with what comes.")
        })?),
        None => None,
    };
    let ticket = Ticket::take(&app)?;
    // Listening begins before what was missed is read: nothing falls in between.
    let happenings = app.live.listen(fan.account, None);
    let account = app
        .store
        .account(fan.account)
        .await?
        .ok_or_else(Problem::login_required)?;
    let teller = Teller {
        app: app.clone(),
        account: fan.account,
        locale: account.locale,
    };
    let missed = match since {
        Some(since) => teller.missed(&since).await?,
        None => BTreeMap::new(),
    };
    let told = missed.keys().cloned().collect();
    // Something at once, so that the client knows that it is connected.
    let mut ready: Vec<Bytes> = vec![Bytes::from_static(b": hello\n\n")];
    ready.extend(
        missed
            .into_iter()
            .map(|(id, (name, data))| streams::event(name, Some(&id.text()), &data)),
    );
    ready.reverse();
    Ok(streams::respond(
        &app,
        ticket,
        Some(fan.session),
        AccountStream {
            teller,
            happenings,
            ready,
            told,
        },
    ))
}

/// When, of which kind, about what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EventId {
    at_us: i64,
    kind: char,
    subject: String,
}

impl EventId {
    fn text(&self) -> String {
        format!("{}-{}-{}", self.at_us, self.kind, self.subject)
    }

    fn parse(text: &str) -> Option<Self> {
        let (at_us, rest) = text.split_once('-')?;
        let (kind, subject) = rest.split_once('-')?;
        let kind = ['b', 'n', 'p']
            .into_iter()
            .find(|known| kind == known.to_string())?;
        (subject.len() <= 64).then_some(Self {
            at_us: at_us.parse().ok().filter(|at| *at >= 0)?,
            kind,
            subject: subject.to_owned(),
        })
    }
}

type Event = (EventId, (&'static str, Value));

/// Says what happened to one fan.
struct Teller {
    app: App,
    account: AccountId,
    locale: Locale,
}

impl Teller {
    fn say(&self, happening: &Happening) -> Option<Event> {
        match happening {
            Happening::Place(performance) => {
                self.place(&*self.app.catalogue.performance(*performance)?)
            }
            Happening::Booking(booking) => Some(Self::booking(booking)),
            Happening::Notice(performance, reason, booking, at) => {
                self.notice(*performance, *reason, *booking, *at)
            }
        }
    }

    fn place(&self, performance: &Performance) -> Option<Event> {
        let view = self.app.room.place(performance, self.account)?;
        let id = EventId {
            at_us: view.changed_at.0,
            kind: 'p',
            subject: performance.performance_id.to_string(),
        };
        let mut body =
            serde_json::to_value(place_body(&self.app, performance, self.account, &view)).ok()?;
        body["performance_id"] = json!(performance.performance_id.to_string());
        Some((id, ("place", body)))
    }

    fn booking(booking: &Booking) -> Event {
        let id = EventId {
            at_us: booking.changed_at.0,
            kind: 'b',
            subject: booking.booking_id.to_string(),
        };
        let (state, code) = state_words(&booking.state);
        let mut body = json!({"booking_id": booking.booking_id.to_string(), "state": state});
        if let Some(code) = code {
            body["code"] = json!(code);
        }
        (id, ("booking", body))
    }

    fn notice(
        &self,
        performance_id: PerformanceId,
        reason: Reason,
        booking: Option<BookingId>,
        at: Timestamp,
    ) -> Option<Event> {
        let performance = self.app.catalogue.performance(performance_id)?;
        let (word, subject) = match reason {
            Reason::YourTurn => ("your_turn", performance_id.to_string()),
            Reason::BookingConfirmed => ("booking_confirmed", booking?.to_string()),
            Reason::BookingRefused => ("booking_refused", booking?.to_string()),
            Reason::BookingCancelled => ("booking_cancelled", booking?.to_string()),
        };
        let useful_until = match reason {
            Reason::YourTurn => self.app.room.place(&performance, self.account)?.expires_at,
            Reason::BookingConfirmed | Reason::BookingRefused | Reason::BookingCancelled => None,
        };
        let text = notify::short_text(
            reason,
            &performance.event.title,
            self.locale,
            useful_until,
            None,
            self.app.now(),
        );
        let body = json!({
            "notice_id": boxoffice_adapters::notify::notice_id(self.account, reason, &subject, at).to_string(),
            "reason": word,
            "performance_id": performance_id.to_string(),
            "text": text,
            "url": notify::link(&self.app.http.public_url, performance_id, reason, booking),
        });
        Some((
            EventId {
                at_us: at.0,
                kind: 'n',
                subject,
            },
            ("notice", body),
        ))
    }

    /// What happened after this id, oldest first.
    async fn missed(
        &self,
        since: &EventId,
    ) -> Result<BTreeMap<EventId, (&'static str, Value)>, Problem> {
        let mut events = BTreeMap::new();
        for performance in self.app.catalogue.performances(None) {
            let Some(view) = self.app.room.place(&performance, self.account) else {
                continue;
            };
            events.extend(self.place(&performance));
            if view.stage == Stage::Called {
                events.extend(self.notice(
                    performance.performance_id,
                    Reason::YourTurn,
                    None,
                    view.changed_at,
                ));
            }
        }
        for booking in self
            .app
            .store
            .bookings_of(self.account, None, MISSED_BOOKINGS_MAX)
            .await?
        {
            let Some(reason) = booking_reason(&booking.state) else {
                continue;
            };
            events.extend([Self::booking(&booking)]);
            events.extend(self.notice(
                booking.performance_id,
                reason,
                Some(booking.booking_id),
                booking.changed_at,
            ));
        }
        Ok(events
            .split_off(since)
            .into_iter()
            .filter(|(id, _)| id != since)
            .collect())
    }
}

/// What a fan is told about a booking in this state; nothing while it is pending.
fn booking_reason(state: &BookingState) -> Option<Reason> {
    match state {
        BookingState::Pending => None,
        BookingState::Confirmed => Some(Reason::BookingConfirmed),
        BookingState::Refused(_) => Some(Reason::BookingRefused),
        BookingState::Cancelled => Some(Reason::BookingCancelled),
    }
}

struct AccountStream {
    teller: Teller,
    happenings: mpsc::Receiver<Happening>,
    /// To be sent at once, the next last.
    ready: Vec<Bytes>,
    /// Told as missed; not told again when the same arrives live.
    told: BTreeSet<EventId>,
}

impl streams::Source for AccountStream {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.ready.pop() {
            return Some(bytes);
        }
        loop {
            // Cut off for reading too slowly: the client comes back with its last id.
            let happening = self.happenings.recv().await?;
            if let Some((id, (name, data))) = self.teller.say(&happening)
                && self.told.insert(id.clone())
            {
                if self.told.len() > 1_000 {
                    self.told.pop_first();
                }
                return Some(streams::event(name, Some(&id.text()), &data));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written_and_nothing_else_is() {
        let id = EventId {
            at_us: 1_764_000_000_000_000,
            kind: 'b',
            subject: "0192".to_owned(),
        };
        assert_eq!(EventId::parse(&id.text()), Some(id));
        for wrong in [
            "",
            "1",
            "1-b",
            "x-b-1",
            "-1-b-1",
            "1-q-1",
            "1-bb-1",
            "99999999999999999999-b-1",
        ] {
            assert_eq!(EventId::parse(wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_last_event_id_is_read_or_refused(text in "[0-9]{0,22}-?[bnpq]?-?[-0-9a-f]{0,70}|\\PC{0,90}") {
            if let Some(id) = EventId::parse(&text) {
                proptest::prop_assert!(id.at_us >= 0 && id.subject.len() <= 64);
                proptest::prop_assert_eq!(EventId::parse(&id.text()), Some(id));
            }
        }
    }
}
