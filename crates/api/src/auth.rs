//! Logins: who a request comes from, and whether that is still so.
//!
//! Keeps true: a token that we did not make is never believed, whatever it says; a session that has ended is refused at
//! once; a fan never passes for an operator; hashing passwords never takes the machine away from the sale.

mod password;
mod token;

use std::collections::HashMap;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use boxoffice_adapters::Failure;
use boxoffice_adapters::store::Session;
use boxoffice_core::{AccountId, SessionId, Timestamp};
use hmac::{Hmac, Mac};
use parking_lot::RwLock;
use sha2::Sha256;

use crate::app::App;
use crate::config::AuthConfig;
use crate::limits::count_account;
use crate::problem::Problem;

pub use password::fault as password_fault;

/// Fewest bytes of the secret.
const SECRET_MIN: usize = 32;

/// Makes and checks logins.
#[derive(Debug)]
pub struct Auth {
    access: token::Access,
    refresh: token::Refresh,
    access_ttl_s: u32,
    refresh_ttl_s: u32,
    passwords: password::Pool,
    ended: RwLock<Ended>,
}

/// Sessions that have ended, while access tokens of theirs may still be shown.
#[derive(Debug, Default)]
struct Ended {
    /// When each may be forgotten.
    until: HashMap<SessionId, Timestamp>,
    /// How many there may be before those that may be forgotten are.
    sweep_at: usize,
}

/// What a client gets for a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    /// Life of the access token when it is new, seconds.
    pub(crate) expires_in_s: u32,
}

/// A key for one use, from the secret that all keys come from. Different labels give unrelated keys.
#[must_use]
pub fn derive(secret: &str, label: &str) -> [u8; 32] {
    let mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    mac.chain_update(b"boxoffice ")
        .chain_update(label)
        .finalize()
        .into_bytes()
        .into()
}

impl Auth {
    /// Logins by this configuration. `ended` are the sessions that ended in the last `access_ttl_s` seconds, and when.
    ///
    /// # Errors
    /// [`Failure::Broken`] when the secret is shorter than 32 bytes, a password parameter cannot be, or no thread starts.
    pub fn new(
        config: &AuthConfig,
        ended: impl IntoIterator<Item = (SessionId, Timestamp)>,
    ) -> Result<Self, Failure> {
        if config.secret.len() < SECRET_MIN {
            return Err(Failure::Broken(format!(
                "auth.secret: must have at least {SECRET_MIN} bytes"
            )));
        }
        let auth = Self {
            access: token::Access::new(&derive(&config.secret, "access"), config.access_ttl_s),
            refresh: token::Refresh::new(&derive(&config.secret, "refresh")),
            access_ttl_s: config.access_ttl_s,
            refresh_ttl_s: config.refresh_ttl_s,
            passwords: password::Pool::new(config)?,
            ended: RwLock::default(),
        };
        for (session, ended_at) in ended {
            auth.end(session, ended_at);
        }
        Ok(auth)
    }

    /// The hash of a password, for an account that is to be made. Whether the password is any good is for
    /// [`password_fault`] to say.
    ///
    /// # Errors
    /// [`Failure::Busy`] when too many wait for theirs.
    pub async fn hash(&self, password: String) -> Result<String, Failure> {
        self.passwords.hash(password).await
    }

    /// Whether this is the password of the hash. Without a hash (there is no such account) it takes as long and is not.
    pub(crate) async fn is_password(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, Failure> {
        self.passwords.verify(password, hash).await
    }

    /// Life of a session that is not refreshed, seconds.
    pub(crate) fn refresh_ttl_s(&self) -> u32 {
        self.refresh_ttl_s
    }

    /// The tokens of a session's generation: always the same ones.
    pub(crate) fn pair(&self, session: &Session) -> Result<Pair, Problem> {
        let access_token = self.access.make(session).map_err(Problem::internal)?;
        let refresh_token = self.refresh.make(session.session_id, session.generation);
        Ok(Pair {
            access_token,
            refresh_token,
            expires_in_s: self.access_ttl_s,
        })
    }

    /// The session and generation of a refresh token that we made.
    pub(crate) fn read_refresh(&self, token: &str) -> Option<(SessionId, u32)> {
        self.refresh.read(token)
    }

    /// Refuses a session's access tokens from now on; to be called once its end is in the store.
    pub(crate) fn end(&self, session: SessionId, ended_at: Timestamp) {
        let mut ended = self.ended.write();
        ended
            .until
            .insert(session, ended_at.plus_s(self.access_ttl_s));
        if ended.until.len() > ended.sweep_at {
            ended.until.retain(|_, until| *until > ended_at);
            ended.sweep_at = (ended.until.len() * 2).max(1_024);
        }
    }

    /// Whether this session was ended while access tokens of it may still be shown.
    pub(crate) fn has_ended(&self, session: SessionId) -> bool {
        self.ended.read().until.contains_key(&session)
    }

    /// Who sends this; a 401 problem when nobody who is logged in does.
    pub(crate) fn fan(&self, headers: &HeaderMap, now: Timestamp) -> Result<Fan, Problem> {
        let token = bearer(headers).ok_or_else(Problem::login_required)?;
        let fan = self
            .access
            .read(token, now)
            .ok_or_else(Problem::login_required)?;
        if self.has_ended(fan.session) {
            return Err(Problem::login_required());
        }
        Ok(fan)
    }
}

/// The one bearer token; none when there are two, for then it is not clear who asks.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case("bearer"))
        .then_some(token.trim_start_matches(' '))
}

/// Who sends this request, which counts against the limit of the account.
fn shown(parts: &Parts, app: &App) -> Result<Fan, Problem> {
    let now = app.now();
    let fan = app.auth.fan(&parts.headers, now)?;
    count_account(&parts.extensions, fan.account, now)?;
    Ok(fan)
}

/// Whoever is logged in, operators too. Without a login: 401 `login-required`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fan {
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
    /// Runs sales.
    pub(crate) operator: bool,
}

impl FromRequestParts<App> for Fan {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        shown(parts, app)
    }
}

/// Somebody or nobody; a login that is shown must be good all the same, so that a client learns that it has ended.
impl OptionalFromRequestParts<App> for Fan {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, Problem> {
        if !parts.headers.contains_key(header::AUTHORIZATION) {
            return Ok(None);
        }
        shown(parts, app).map(Some)
    }
}

/// An operator who is logged in. Without a login: 401 `login-required`; a fan: 403 `operator-only`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
}

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        operator(shown(parts, app)?)
    }
}

fn operator(fan: Fan) -> Result<Operator, Problem> {
    let Fan {
        account,
        session,
        operator,
    } = fan;
    if operator {
        Ok(Operator { account, session })
    } else {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "operator-only",
            "Only an operator may do this; log in as one.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use boxoffice_core::PerformanceId;
    use boxoffice_core::pass::{Claims, Kind, Signer};

    use super::*;

    const NOW: Timestamp = Timestamp(1_795_000_000_250_000);
    const SESSION: Session = Session {
        session_id: SessionId([2; 16]),
        account_id: AccountId([1; 16]),
        operator: false,
        generation: 3,
        rotated_at: NOW,
    };

    /// Hashes as cheaply as argon2 can.
    pub(super) fn config() -> AuthConfig {
        AuthConfig {
            secret: "0123456789abcdef0123456789abcdef".to_owned(),
            access_ttl_s: 900,
            refresh_ttl_s: 3_600,
            password_memory_kib: 8,
            password_passes: 1,
            password_workers: 1,
        }
    }

    fn auth() -> Auth {
        Auth::new(&config(), []).unwrap()
    }

    fn headers(values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (header::AUTHORIZATION, value.parse().unwrap()))
            .collect()
    }

    fn code(answer: Result<impl Sized, Problem>) -> (u16, &'static str) {
        answer.map_or_else(
            |problem| (problem.status.as_u16(), problem.code),
            |_| (200, "ok"),
        )
    }

    #[test]
    fn the_authorization_header_is_read_strictly() {
        let auth = auth();
        let token = auth.pair(&SESSION).unwrap().access_token;
        let signer = Signer::new(&derive(&config().secret, "pass"));
        let claims = Claims {
            performance_id: PerformanceId([7; 16]),
            epoch: 1,
            number: 1,
            account_id: SESSION.account_id,
            expires_at: Timestamp::MAX,
        };
        let (pass, place) = (
            signer.sign(Kind::Pass, &claims),
            signer.sign(Kind::Place, &claims),
        );
        let refresh = auth.pair(&SESSION).unwrap().refresh_token;
        let bearer = |token: &str| format!("Bearer {token}");
        for (values, expected) in [
            (vec![bearer(&token)], (200, "ok")),
            (vec![format!("bearer {token}")], (200, "ok")),
            (vec![], (401, "login-required")),
            (vec![token.clone()], (401, "login-required")),
            (vec![format!("Basic {token}")], (401, "login-required")),
            (
                vec![bearer(&token), bearer(&token)],
                (401, "login-required"),
            ),
            (vec!["Bearer".to_owned()], (401, "login-required")),
            (vec!["Bearer ".to_owned()], (401, "login-required")),
            (vec![bearer(&pass)], (401, "login-required")),
            (vec![bearer(&place)], (401, "login-required")),
            (vec![bearer(&refresh)], (401, "login-required")),
        ] {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            assert_eq!(
                code(auth.fan(&headers(&values), NOW)),
                expected,
                "{values:?}"
            );
        }
        let mut not_text = HeaderMap::new();
        not_text.insert(
            header::AUTHORIZATION,
            axum::http::HeaderValue::from_bytes(b"Bearer \xff").unwrap(),
        );
        assert_eq!(code(auth.fan(&not_text, NOW)), (401, "login-required"));
    }

    #[test]
    fn a_fan_is_not_an_operator() {
        let auth = auth();
        for (is_operator, expected) in [(true, (200, "ok")), (false, (403, "operator-only"))] {
            let token = auth
                .pair(&Session {
                    operator: is_operator,
                    ..SESSION
                })
                .unwrap()
                .access_token;
            let fan = auth
                .fan(&headers(&[&format!("Bearer {token}")]), NOW)
                .unwrap();
            assert_eq!(
                fan,
                Fan {
                    account: SESSION.account_id,
                    session: SESSION.session_id,
                    operator: is_operator
                }
            );
            assert_eq!(code(operator(fan)), expected);
        }
    }

    #[test]
    fn an_ended_session_is_refused_at_once_and_after_a_restart_and_no_other() {
        let auth = auth();
        let shown = |session: &Session| {
            headers(&[&format!(
                "Bearer {}",
                auth.pair(session).unwrap().access_token
            )])
        };
        let other = Session {
            session_id: SessionId([3; 16]),
            ..SESSION
        };
        assert_eq!(code(auth.fan(&shown(&SESSION), NOW)), (200, "ok"));
        auth.end(SESSION.session_id, NOW);
        assert_eq!(
            code(auth.fan(&shown(&SESSION), NOW)),
            (401, "login-required")
        );
        assert_eq!(
            code(auth.fan(
                &shown(&Session {
                    generation: 4,
                    ..SESSION
                }),
                NOW
            )),
            (401, "login-required")
        );
        assert_eq!(code(auth.fan(&shown(&other), NOW)), (200, "ok"));
        let restarted = Auth::new(&config(), [(SESSION.session_id, NOW)]).unwrap();
        assert_eq!(
            code(restarted.fan(&shown(&SESSION), NOW)),
            (401, "login-required")
        );
        assert_eq!(code(restarted.fan(&shown(&other), NOW)), (200, "ok"));
    }

    #[test]
    fn ended_sessions_are_kept_as_long_as_their_tokens_and_not_much_longer() {
        let auth = auth();
        let id = |number: u32| SessionId(u128::from(number).to_be_bytes());
        for number in 0..100_000 {
            auth.end(id(number), NOW.plus_s(number));
        }
        let ended = auth.ended.read();
        assert!(
            ended.until.len() <= 1_024 + 900,
            "{} are kept",
            ended.until.len()
        );
        // A token made in the second of the end lives 900 s.
        assert!((99_100..100_000).all(|number| ended.until.contains_key(&id(number))));
    }

    #[test]
    fn labels_and_secrets_give_unrelated_keys() {
        let keys = [
            derive("one", "access"),
            derive("one", "refresh"),
            derive("one", "pass"),
            derive("two", "access"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key));
        }
        assert_eq!(derive("one", "access"), keys[0]);
        let short = AuthConfig {
            secret: "0123456789abcdef0123456789abcde".to_owned(),
            ..config()
        };
        assert!(Auth::new(&short, []).is_err());
    }
}
