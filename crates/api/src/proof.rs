//! Proof of work before a number is given to the world: a crowd of machines pays for every place it takes.
//!
//! Keeps true: a proof is good for one account, one performance and one epoch, for two minutes at most, and once; nothing
//! is kept of anybody who has not done the work; memory is bounded however many proofs come; a challenge from before the
//! start of this process is refused, since nobody knows any more whether it was spent.
//!
//! A challenge is when it was given (8 bytes, microseconds), the zero bits it asks for (1), and 16 bytes of HMAC-SHA-256
//! over these and performance, epoch and account, in base64url. Whom it is for is not in it: that is known when it
//! comes back. With a nonce of up to 20 characters all that is hashed fits one block of SHA-256.
//!
//! Spent challenges are known to this process alone. Another node would take a spent one again, which gains nothing: an
//! account has one place in a line.

use std::collections::HashSet;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use boxoffice_core::time::SECOND_US;
use boxoffice_core::{AccountId, PerformanceId, Timestamp};
use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::config::HttpConfig;
use crate::limits::Limited;
use crate::problem::Problem;

/// How long a challenge is good, seconds.
const TTL_S: u32 = 120;
/// Most spent challenges of one generation; two are kept. It is what a table of 2^20 entries of 9 bytes holds.
const SPENT_MAX: usize = 7 << 17;
/// Joins a second that are no crowd. Each doubling beyond it asks for one bit more, and so for twice the work.
const JOINS_PER_S_NORMAL: u64 = 50;
/// Over how many seconds the rate of joins is seen: what is older weighs less and less.
const SEEN_S: f64 = 4.0;
/// Longest header that is looked at, bytes: a challenge, a colon and a nonce.
const TEXT_MAX: usize = 34 + 1 + 64;

const BODY: usize = 8 + 1;
const MAC: usize = 16;

/// What a request shows of work done.
pub(crate) enum Shown {
    /// It comes from a trusted network, which need not work.
    Trusted,
    /// `<challenge>:<nonce>`, if it may be that; none without the header, or with two.
    World(Option<String>),
}

impl<S: Send + Sync> FromRequestParts<S> for Shown {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(match parts.extensions.get::<Limited>() {
            Some(_) => Self::World(header(&parts.headers).map(str::to_owned)),
            None => Self::Trusted,
        })
    }
}

fn header(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("boxoffice-proof").iter();
    let text = values.next()?.to_str().ok()?;
    (values.next().is_none() && text.len() <= TEXT_MAX).then_some(text)
}

/// Who wants a number, and where.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) account: AccountId,
    pub(crate) performance: PerformanceId,
    pub(crate) epoch: u32,
}

/// A proof that is spent now.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt(u64);

/// Gives challenges and takes proofs.
pub struct Proofs {
    mac: Hmac<Sha256>,
    bits_min: u32,
    bits_max: u32,
    seen: Mutex<Seen>,
}

impl std::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proofs(secret)")
    }
}

/// What is remembered of proofs that were good.
struct Seen {
    spent: Spent,
    pace: Pace,
}

/// Why there is no number yet.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Fault {
    Missing,
    NotOurs,
    Expired,
    TooLittle,
    Spent,
}

impl Proofs {
    /// Challenges signed with this key, of `proof_bits_min` to `proof_bits_max` bits. `started_at` is now.
    #[must_use]
    pub fn new(key: &[u8; 32], http: &HttpConfig, started_at: Timestamp) -> Self {
        Self {
            mac: Hmac::new_from_slice(key).expect("HMAC takes keys of every length"),
            bits_min: http.proof_bits_min,
            bits_max: http.proof_bits_max,
            seen: Mutex::new(Seen {
                spent: Spent::new(SPENT_MAX, started_at),
                pace: Pace::default(),
            }),
        }
    }

    /// Takes the proof that a request shows, which is spent by that, and counts the join; none while none is asked for.
    ///
    /// # Errors
    /// 403 `proof-required` with a new challenge, when no good proof is shown and one is needed.
    pub(crate) fn take(
        &self,
        shown: Option<&str>,
        asker: Asker,
        now: Timestamp,
    ) -> Result<Option<Receipt>, Problem> {
        let bits = self.bits(now);
        if bits == 0 {
            self.seen.lock().pace.count(now);
            return Ok(None);
        }
        self.check(shown, asker, now)
            .map(Some)
            .map_err(|fault| problem(fault, self.challenge(asker, bits, now), bits))
    }

    /// Makes a proof good again whose join failed on our side, so that the same request may be repeated.
    pub(crate) fn give_back(&self, receipt: Receipt) {
        self.seen.lock().spent.forget(receipt.0);
    }

    /// How many zero bits are asked for now.
    fn bits(&self, now: Timestamp) -> u32 {
        let per_s = self.seen.lock().pace.per_s(now);
        let doublings = (per_s / JOINS_PER_S_NORMAL).max(1).ilog2();
        (self.bits_min + doublings).min(self.bits_max)
    }

    fn challenge(&self, asker: Asker, bits: u32, now: Timestamp) -> String {
        let mut bytes = [0; BODY + MAC];
        bytes[..8].copy_from_slice(&now.0.to_be_bytes());
        bytes[8] = u8::try_from(bits).expect("the configuration allows far fewer than 256 bits");
        let mac = self.mac(&bytes[..BODY], asker).finalize().into_bytes();
        bytes[BODY..].copy_from_slice(&mac[..MAC]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn mac(&self, body: &[u8], asker: Asker) -> Hmac<Sha256> {
        self.mac
            .clone()
            .chain_update(body)
            .chain_update(asker.performance.0)
            .chain_update(asker.epoch.to_be_bytes())
            .chain_update(asker.account.0)
    }

    fn check(&self, text: Option<&str>, asker: Asker, now: Timestamp) -> Result<Receipt, Fault> {
        let text = text.ok_or(Fault::Missing)?;
        let (challenge, _) = text.split_once(':').ok_or(Fault::NotOurs)?;
        let mut bytes = [0; BODY + MAC + 2];
        let length = URL_SAFE_NO_PAD.decode_slice(challenge, &mut bytes);
        if length != Ok(BODY + MAC) {
            return Err(Fault::NotOurs);
        }
        let (body, mac) = bytes[..BODY + MAC].split_at(BODY);
        self.mac(body, asker)
            .verify_truncated_left(mac)
            .map_err(|_| Fault::NotOurs)?;
        let eight = |bytes: &[u8]| bytes[..8].try_into().expect("there are more than 8");
        let given_at = Timestamp(i64::from_be_bytes(eight(body)));
        if now >= given_at.plus_s(TTL_S) {
            return Err(Fault::Expired);
        }
        if zero_bits(&Sha256::digest(text)) < u32::from(body[8]) {
            return Err(Fault::TooLittle);
        }
        // A part of what only we can make is name enough: two that share it would cost the second fan a new challenge.
        let name = u64::from_be_bytes(eight(mac));
        let mut seen = self.seen.lock();
        seen.spent.spend(name, given_at, now)?;
        seen.pace.count(now);
        Ok(Receipt(name))
    }
}

fn problem(fault: Fault, challenge: String, bits: u32) -> Problem {
    let why = match fault {
        Fault::Missing => "A new place costs a little work.",
        Fault::NotOurs => "This proof is not for a challenge that was given to you here.",
        Fault::Expired => "This challenge has run out.",
        Fault::TooLittle => "The hash has fewer zero bits than the challenge asked for.",
        Fault::Spent => "This proof was used before.",
    };
    let detail = format!(
        "{why} Find a nonce such that SHA-256 of `<challenge>:<nonce>` begins with `bits` zero bits and repeat the request with `Boxoffice-Proof: <challenge>:<nonce>` within {TTL_S} s."
    );
    Problem::new(StatusCode::FORBIDDEN, "proof-required", detail)
        .with("challenge", json!(challenge))
        .with("bits", json!(bits))
        .with("algorithm", json!("sha-256"))
}

/// Zero bits that a hash begins with.
fn zero_bits(hash: &[u8]) -> u32 {
    let zeros = hash.iter().take_while(|byte| **byte == 0).count();
    let rest = hash.get(zeros).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(zeros).unwrap_or(u32::MAX / 8) * 8 + rest
}

/// Names of spent challenges, in two generations as in the limits. A generation that is full ends early; challenges that
/// are older than what is still known are then refused, so that forgetting one never makes it good again.
struct Spent {
    spent_max: usize,
    young: HashSet<u64>,
    young_began: Timestamp,
    old: HashSet<u64>,
    old_began: Timestamp,
    /// Threads come with an instant each, and not in order.
    latest: Timestamp,
}

impl Spent {
    fn new(spent_max: usize, now: Timestamp) -> Self {
        Self {
            spent_max,
            young: HashSet::new(),
            young_began: now,
            old: HashSet::new(),
            old_began: now,
            latest: now,
        }
    }

    fn spend(&mut self, name: u64, given_at: Timestamp, now: Timestamp) -> Result<(), Fault> {
        let now = now.max(self.latest);
        self.latest = now;
        if now >= self.young_began.plus_s(TTL_S) || self.young.len() >= self.spent_max {
            self.old = std::mem::take(&mut self.young);
            self.old_began = self.young_began;
            self.young_began = now;
        }
        if given_at <= self.old_began {
            return Err(Fault::Expired);
        }
        if self.old.contains(&name) || !self.young.insert(name) {
            return Err(Fault::Spent);
        }
        Ok(())
    }

    fn forget(&mut self, name: u64) {
        self.young.remove(&name);
        self.old.remove(&name);
    }
}

/// How fast the world joins. Only joins that were paid for count: who does no work cannot make it dearer for others.
#[derive(Default)]
struct Pace {
    /// Joins, each weighing less the longer ago it was.
    weight: f64,
    at: Timestamp,
}

impl Pace {
    fn count(&mut self, now: Timestamp) {
        self.weight = self.weight_at(now) + 1.0;
        self.at = self.at.max(now);
    }

    /// Joins a second, rounded down.
    fn per_s(&self, now: Timestamp) -> u64 {
        (self.weight_at(now) / SEEN_S) as u64
    }

    fn weight_at(&self, now: Timestamp) -> f64 {
        let since_us = now.0.saturating_sub(self.at.0).max(0);
        self.weight * (-(since_us as f64) / (SECOND_US as f64 * SEEN_S)).exp()
    }
}

#[cfg(test)]
mod tests;
