//! Calls as a well-behaved client makes them: it obeys `Retry-After`, repeats what got no answer with the same ids,
//! renews its login before it runs out, and counts everything that was not a plain success.
//!
//! What it keeps true: a call ends with an answer below 400, with a final refusal, or after `patience`; nothing is
//! dropped without being counted.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::sleep;

use crate::http::{Request, Target};
use crate::pool::{Answer, Pool};
use crate::stats::{Stats, Step, micros};
use crate::verdict::{Check, Findings};
use crate::wire::{Problem, SessionAnswer};

/// First pause after a broken connection; it doubles up to `PAUSE_MAX`.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A login is renewed when less than this is left of it.
const RENEW_BEFORE_MAX: Duration = Duration::from_secs(30);

/// Why a call, and the flow that needed it, ended without what it wanted.
#[derive(Debug)]
pub(crate) enum Ended {
    /// No final answer within the client's patience.
    GaveUp(Step),
    /// A final answer of 400 and above.
    Refused {
        /// The step that was refused.
        step: Step,
        /// The status.
        status: u16,
        /// The stable code.
        code: String,
        /// The sentence for a person.
        detail: String,
    },
    /// An answer that is not what the contract says.
    Malformed(Step, String),
    /// The flow cannot go on, for a reason that is not an answer.
    Stopped(&'static str),
}

impl Ended {
    /// Whether this is a final refusal with `code`.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }

    /// A short reason, the same for all of its kind.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::GaveUp(step) => format!("{}: gave up", step.name()),
            Self::Refused {
                step, status, code, ..
            } => format!("{}: {status} {code}", step.name()),
            Self::Malformed(step, _) => format!("{}: malformed answer", step.name()),
            Self::Stopped(reason) => (*reason).to_owned(),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { detail, .. } => write!(formatter, "{} ({detail})", self.reason()),
            Self::Malformed(_, why) => write!(formatter, "{} ({why})", self.reason()),
            Self::GaveUp(_) | Self::Stopped(_) => formatter.write_str(&self.reason()),
        }
    }
}

/// Everything that one thread's calls share.
#[derive(Debug)]
pub(crate) struct Client {
    /// The connections.
    pub(crate) pool: Pool,
    /// What was measured.
    pub(crate) stats: RefCell<Stats>,
    /// Promises seen broken while the calls ran.
    pub(crate) findings: RefCell<Findings>,
    /// The zero of all recorded times; the same for all threads of a run.
    pub(crate) started: Instant,
    patience: Duration,
}

/// A login, as it is kept between runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) email: String,
    pub(crate) password: String,
    #[serde(default)]
    pub(crate) access_token: String,
    #[serde(default)]
    pub(crate) refresh_token: String,
    /// When the access token runs out, Unix seconds.
    #[serde(default)]
    pub(crate) expires_unix_s: u64,
}

/// A login in use.
#[derive(Debug)]
pub(crate) struct Session {
    credentials: RefCell<Credentials>,
    header: RefCell<Rc<str>>,
    renew_at: Cell<Instant>,
    renewing: tokio::sync::Mutex<()>,
}

impl Session {
    /// Takes up a kept login; one without an access token is renewed by its first call.
    pub(crate) fn new(credentials: Credentials) -> Self {
        let left_s = credentials.expires_unix_s.saturating_sub(unix_s());
        let session = Self {
            header: RefCell::new(Rc::from(bearer(&credentials.access_token))),
            credentials: RefCell::new(credentials),
            renew_at: Cell::new(Instant::now()),
            renewing: tokio::sync::Mutex::new(()),
        };
        session.renew_after(left_s);
        session
    }

    fn renew_after(&self, expires_in_s: u64) {
        let life = Duration::from_secs(expires_in_s);
        self.renew_at
            .set(Instant::now() + life.saturating_sub(RENEW_BEFORE_MAX.min(life / 4)));
        if expires_in_s == 0 {
            self.renew_at.set(Instant::now());
        }
    }

    /// The login to keep for the next run.
    pub(crate) fn into_credentials(self) -> Credentials {
        self.credentials.into_inner()
    }

    /// Whether the login must be renewed before `left` has passed.
    pub(crate) fn needs_renewal_within(&self, left: Duration) -> bool {
        self.renew_at.get() <= Instant::now() + left
    }

    /// The header line of the access token.
    pub(crate) fn authorization(&self) -> Rc<str> {
        Rc::clone(&self.header.borrow())
    }
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| micros(since) / 1000)
}

fn unix_s() -> u64 {
    unix_ms() / 1000
}

impl Client {
    /// A client for one thread; a call is given up after `patience` without a final answer.
    pub(crate) fn new(
        target: Target,
        connections_max: usize,
        patience: Duration,
        started: Instant,
    ) -> Self {
        Self {
            pool: Pool::new(target, connections_max),
            stats: RefCell::default(),
            findings: RefCell::default(),
            started,
            patience,
        }
    }

    /// Makes a call, again and again while it is refused for the moment or gets no answer.
    ///
    /// The latency counts from `due`, the time at which the call was meant to be sent.
    ///
    /// # Errors
    /// A final refusal, or patience at its end; both are counted.
    pub(crate) async fn call(
        &self,
        step: Step,
        due: Instant,
        session: Option<&Session>,
        request: &Request<'_>,
    ) -> Result<Answer<'_>, Ended> {
        let mut renewed = false;
        loop {
            let answer = match session {
                Some(session) => {
                    if session.renew_at.get() <= Instant::now() {
                        self.renew(session).await?;
                    }
                    self.repeat(step, &session.authorization(), request).await?
                }
                None => self.repeat(step, "", request).await?,
            };
            if answer.status() < 400 {
                self.stats
                    .borrow_mut()
                    .record(step, answer.at().saturating_duration_since(due));
                return Ok(answer);
            }
            let (status, problem) = (answer.status(), Problem::read(answer.body()));
            drop(answer);
            self.stats
                .borrow_mut()
                .count_answer(step, status, &problem.code);
            match session {
                Some(session) if status == 401 && !renewed => {
                    renewed = true;
                    self.renew_from(session, &session.authorization()).await?;
                }
                Some(_) | None => {
                    let detail = problem.detail.unwrap_or_default();
                    return Err(Ended::Refused {
                        step,
                        status,
                        code: problem.code,
                        detail,
                    });
                }
            }
        }
    }

    /// Repeats until there is an answer that is neither 429 nor 503.
    async fn repeat(
        &self,
        step: Step,
        authorization: &str,
        request: &Request<'_>,
    ) -> Result<Answer<'_>, Ended> {
        let first_sent = Instant::now();
        let mut sent = first_sent;
        let mut pause = PAUSE_MIN;
        loop {
            let wait = match self.pool.exchange(authorization, request).await {
                Ok(answer) if matches!(answer.status(), 429 | 503) => {
                    let mut stats = self.stats.borrow_mut();
                    stats.count_refused(step, answer.status(), &Problem::read(answer.body()).code);
                    stats.record(Step::Refusal, answer.at().saturating_duration_since(sent));
                    Duration::from_secs(answer.head().retry_after_s.unwrap_or(1).into())
                }
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    self.stats.borrow_mut().count_transport(step, &error);
                    pause = (pause * 2).min(PAUSE_MAX);
                    pause
                }
            };
            sent = Instant::now() + wait;
            if sent > first_sent + self.patience {
                return Err(Ended::GaveUp(step));
            }
            sleep(wait).await;
        }
    }

    /// Renews a login: by its refresh token, else by a new login. Many tasks may ask at once; one does it.
    ///
    /// # Errors
    /// Neither way was accepted.
    pub(crate) async fn renew(&self, session: &Session) -> Result<(), Ended> {
        let before = session.authorization();
        self.renew_from(session, &before).await
    }

    async fn renew_from(&self, session: &Session, before: &str) -> Result<(), Ended> {
        let _one = session.renewing.lock().await;
        if *session.authorization() != *before {
            return Ok(());
        }
        let refresh_token = session.credentials.borrow().refresh_token.clone();
        let renewed = if refresh_token.is_empty() {
            None
        } else {
            let body = json!({ "refresh_token": refresh_token }).to_string();
            match self.ask_session("/api/v1/sessions/refresh", &body).await {
                Ok(answer) => Some(answer),
                Err(Ended::Refused { status: 401, .. }) => None,
                Err(ended) => return Err(ended),
            }
        };
        let answer = if let Some(answer) = renewed {
            answer
        } else {
            let body = {
                let credentials = session.credentials.borrow();
                json!({ "email": credentials.email, "password": credentials.password }).to_string()
            };
            self.ask_session("/api/v1/sessions", &body).await?
        };
        *session.header.borrow_mut() = Rc::from(bearer(&answer.access_token));
        session.renew_after(answer.expires_in);
        let mut credentials = session.credentials.borrow_mut();
        credentials.access_token = answer.access_token;
        credentials.refresh_token = answer.refresh_token;
        credentials.expires_unix_s = unix_s() + answer.expires_in;
        Ok(())
    }

    async fn ask_session(&self, path: &str, body: &str) -> Result<SessionAnswer, Ended> {
        let due = Instant::now();
        let answer = self
            .call_without_session(
                Step::Refresh,
                due,
                &Request::post(path, &[], body.as_bytes()),
            )
            .await?;
        self.read(Step::Refresh, &answer)
    }

    /// The part of `call` that needs no login; apart, so that renewing a login cannot call itself.
    async fn call_without_session(
        &self,
        step: Step,
        due: Instant,
        request: &Request<'_>,
    ) -> Result<Answer<'_>, Ended> {
        let answer = self.repeat(step, "", request).await?;
        if answer.status() < 400 {
            self.stats
                .borrow_mut()
                .record(step, answer.at().saturating_duration_since(due));
            return Ok(answer);
        }
        let problem = Problem::read(answer.body());
        let (status, detail) = (answer.status(), problem.detail.unwrap_or_default());
        self.stats
            .borrow_mut()
            .count_answer(step, status, &problem.code);
        Err(Ended::Refused {
            step,
            status,
            code: problem.code,
            detail,
        })
    }

    /// Reads the body of an answer.
    ///
    /// # Errors
    /// The body is not what the contract says; counted as an answer with the code `malformed`.
    pub(crate) fn read<'a, T: Deserialize<'a>>(
        &self,
        step: Step,
        answer: &'a Answer<'_>,
    ) -> Result<T, Ended> {
        serde_json::from_slice(answer.body()).map_err(|error| {
            self.stats
                .borrow_mut()
                .count_answer(step, answer.status(), "malformed");
            Ended::Malformed(step, error.to_string())
        })
    }

    /// A call whose answer is read at once into a value of its own.
    ///
    /// # Errors
    /// As `call` and `read`.
    pub(crate) async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        step: Step,
        session: Option<&Session>,
        request: &Request<'_>,
    ) -> Result<T, Ended> {
        let answer = self.call(step, Instant::now(), session, request).await?;
        self.read(step, &answer)
    }

    /// Notes a broken promise.
    pub(crate) fn found(&self, check: Check, text: impl FnOnce() -> String) {
        self.findings.borrow_mut().add(check, text);
    }

    /// Microseconds from the start of the run to `instant`.
    pub(crate) fn micros_at(&self, instant: Instant) -> u64 {
        micros(instant.saturating_duration_since(self.started))
    }

    /// What was measured, after the last call.
    pub(crate) fn into_results(self) -> (Stats, Findings) {
        let mut stats = self.stats.into_inner();
        stats.connections_opened += self.pool.opened();
        (stats, self.findings.into_inner())
    }
}
