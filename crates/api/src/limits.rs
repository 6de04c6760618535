//! How often one address and one account may ask: independent buckets, by the generic cell rate algorithm.
//!
//! Keeps true: memory is bounded whoever comes and however many they are; an address in a trusted network is never
//! limited; a refusal costs the caller nothing of later requests (what was refused is not counted).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::http::{Extensions, StatusCode};
use boxoffice_core::time::SECOND_US;
use boxoffice_core::{AccountId, Timestamp};
use parking_lot::Mutex;

use crate::config::HttpConfig;
use crate::problem::Problem;

/// Most keys of one generation of a bucket; two generations are kept, at 24 bytes a key and some for the table.
const KEYS_MAX: usize = 65_536;
/// Logins and new accounts of one address a second: each costs a password hash.
const LOGINS_PER_S: u32 = 2;
/// Logins and new accounts at once: a family, a class, an office behind one address.
const LOGINS_AT_ONCE: u32 = 20;

/// The limits of one process.
#[derive(Debug)]
pub struct Limits {
    trusted: Vec<(IpAddr, u8)>,
    addresses: Mutex<Bucket>,
    accounts: Mutex<Bucket>,
    logins: Mutex<Bucket>,
}

impl Limits {
    /// The limits that the configuration asks for. What a second allows may come at once.
    #[must_use]
    pub fn new(http: &HttpConfig) -> Self {
        let bucket = |per_s, at_once| Mutex::new(Bucket::new(per_s, at_once, KEYS_MAX));
        Self {
            trusted: http.trusted.clone(),
            addresses: bucket(http.per_address_per_s, http.per_address_per_s),
            accounts: bucket(http.per_account_per_s, http.per_account_per_s),
            logins: bucket(LOGINS_PER_S, LOGINS_AT_ONCE),
        }
    }

    /// Whether limits do not apply to this address.
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted
            .iter()
            .any(|(network, bits)| contains(*network, *bits, address))
    }

    /// Counts a request of this address; those of one IPv6 /64 count together.
    ///
    /// # Errors
    /// Too many: after how many seconds, at least 1, it may ask again.
    pub fn address(&self, address: IpAddr, now: Timestamp) -> Result<(), u32> {
        self.addresses.lock().take(address_key(address), now)
    }

    /// Counts a request of this account.
    ///
    /// # Errors
    /// As [`Limits::address`].
    pub fn account(&self, account: AccountId, now: Timestamp) -> Result<(), u32> {
        self.accounts
            .lock()
            .take(u128::from_be_bytes(account.0), now)
    }

    /// Counts a login or a new account of this address.
    ///
    /// # Errors
    /// As [`Limits::address`].
    pub fn login(&self, address: IpAddr, now: Timestamp) -> Result<(), u32> {
        self.logins.lock().take(address_key(address), now)
    }
}

/// Marks a request that limits apply to; the layer adds it, so that the login's extractor can count the account.
#[derive(Clone)]
pub(crate) struct Limited(pub(crate) Arc<Limits>);

/// Counts a request of this account, if limits apply to it.
///
/// # Errors
/// 429 `too-many-requests`.
pub(crate) fn count_account(
    extensions: &Extensions,
    account: AccountId,
    now: Timestamp,
) -> Result<(), Problem> {
    match extensions.get::<Limited>() {
        Some(Limited(limits)) => limits.account(account, now).map_err(too_many),
        None => Ok(()),
    }
}

/// 429 with `Retry-After`, seconds.
pub(crate) fn too_many(retry_after_s: u32) -> Problem {
    let detail = "You ask more often than is fair to others; wait for the seconds in Retry-After.";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", detail).retry(retry_after_s)
}

/// A rate for each key. A key is known by the instant at which its bucket is empty again.
///
/// Two generations instead of a sweep: a key that was not seen for a whole generation has an empty bucket and may be
/// forgotten. When a generation is full it ends early, and who is forgotten by that gets one more burst.
#[derive(Debug)]
struct Bucket {
    /// Between two requests at the rate, microseconds.
    interval_us: i64,
    /// How far ahead of the rate a key may be, microseconds.
    ahead_us_max: i64,
    keys_max: usize,
    young: HashMap<u128, Timestamp>,
    old: HashMap<u128, Timestamp>,
    /// When the young become the old.
    turns_at: Timestamp,
}

impl Bucket {
    fn new(per_s: u32, at_once: u32, keys_max: usize) -> Self {
        let interval_us = SECOND_US / i64::from(per_s.max(1));
        Self {
            interval_us,
            ahead_us_max: interval_us * i64::from(at_once.max(1)),
            keys_max,
            young: HashMap::new(),
            old: HashMap::new(),
            turns_at: Timestamp(0),
        }
    }

    fn take(&mut self, key: u128, now: Timestamp) -> Result<(), u32> {
        if now >= self.turns_at || self.young.len() >= self.keys_max {
            self.old = std::mem::take(&mut self.young);
            self.turns_at = Timestamp(now.0.saturating_add(self.ahead_us_max.max(SECOND_US)));
        }
        let known = self.young.get(&key).or_else(|| self.old.get(&key));
        let empty_at = known.map_or(now.0, |empty_at| empty_at.0.max(now.0)) + self.interval_us;
        let early_us = empty_at - now.0 - self.ahead_us_max;
        if early_us > 0 {
            let wait_s = early_us.saturating_add(SECOND_US - 1) / SECOND_US;
            return Err(u32::try_from(wait_s).unwrap_or(u32::MAX));
        }
        self.young.insert(key, Timestamp(empty_at));
        Ok(())
    }
}

/// An IPv4 address, or the /64 of an IPv6 address: one household has as many of these as it likes.
fn address_key(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let wide = |address: IpAddr| match address {
        IpAddr::V4(address) => (address.to_ipv6_mapped(), 96),
        IpAddr::V6(address) => (address, 0),
    };
    let ((network, offset), (address, of)) = (wide(network), wide(address));
    let differ = network.to_bits() ^ address.to_bits();
    let bits = u32::from(bits) + offset;
    of == offset
        && differ
            .checked_shr(Ipv6Addr::BITS - bits.min(Ipv6Addr::BITS))
            .unwrap_or(0)
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests at these milliseconds by these keys, and what each is answered.
    fn check(bucket: &mut Bucket, requests: &[(i64, u128, Result<(), u32>)]) {
        for (number, (at_ms, key, answer)) in requests.iter().enumerate() {
            let now = Timestamp(1_000_000_000_000 + at_ms * 1_000);
            assert_eq!(
                bucket.take(*key, now),
                *answer,
                "request {number}: {at_ms} ms"
            );
        }
    }

    #[test]
    fn a_burst_then_the_rate() {
        let (a, b) = (7, 8);
        let requests = [
            (0, a, Ok(())),
            (0, a, Ok(())),
            (0, a, Ok(())),
            (0, a, Err(1)),
            (0, b, Ok(())), // Another key has a bucket of its own.
            (499, a, Err(1)),
            (500, a, Ok(())),
            (500, a, Err(1)),
            (10_000, a, Ok(())),
            (10_000, a, Ok(())),
            (10_000, a, Ok(())),
            (10_000, a, Err(1)),
        ];
        check(&mut Bucket::new(2, 3, 100), &requests);
    }

    #[test]
    fn retry_after_is_when_it_works() {
        // Refused ones do not put the next one off.
        let mut bucket = Bucket::new(1, 1, 100);
        check(
            &mut bucket,
            &[
                (0, 1, Ok(())),
                (1, 1, Err(1)),
                (1_000, 1, Ok(())),
                (1_500, 1, Err(1)),
                (2_000, 1, Ok(())),
            ],
        );
    }

    #[test]
    fn no_more_than_the_rate_over_a_minute() {
        let mut bucket = Bucket::new(50, 50, 100);
        let allowed = (0..60_000)
            .filter(|ms| bucket.take(1, Timestamp(ms * 1_000)).is_ok())
            .count();
        assert!((3_000..=3_050).contains(&allowed), "{allowed} in a minute");
    }

    #[test]
    fn keys_are_bounded_and_forgotten() {
        let mut bucket = Bucket::new(1, 5, 1_000);
        let now = Timestamp(5_000_000);
        for key in 0..100_000 {
            assert_eq!(bucket.take(key, now), Ok(()));
            assert!(bucket.young.len() + bucket.old.len() <= 2_000);
        }
        for later_s in [10, 20] {
            bucket.take(1, now.plus_s(later_s)).unwrap();
        }
        assert!(
            bucket.young.len() + bucket.old.len() <= 2,
            "nobody else was seen for two generations"
        );
    }

    #[test]
    fn one_who_keeps_asking_is_not_forgotten_by_a_turn() {
        let mut bucket = Bucket::new(10, 10, 1_000);
        let allowed = (0..3_000)
            .filter(|ms| bucket.take(1, Timestamp(ms * 1_000)).is_ok())
            .count();
        assert!(allowed <= 40, "{allowed} in 3 s, across three turns");
    }

    fn limits(trusted: &[(&str, u8)]) -> Limits {
        Limits::new(&HttpConfig {
            public_url: String::new(),
            allowed_origins: Vec::new(),
            connections_max: 16,
            streams_max: 1,
            trusted: trusted
                .iter()
                .map(|(network, bits)| (network.parse().unwrap(), *bits))
                .collect(),
            per_address_per_s: 1,
            per_account_per_s: 2,
            proof_bits_min: 0,
            proof_bits_max: 0,
        })
    }

    #[test]
    fn trusted_networks() {
        let limits = limits(&[
            ("127.0.0.0", 8),
            ("::1", 128),
            ("10.1.2.0", 23),
            ("2001:db8::", 32),
        ]);
        let cases = [
            ("127.0.0.1", true),
            ("127.255.3.4", true),
            ("128.0.0.1", false),
            ("::1", true),
            ("::2", false),
            ("::ffff:127.0.0.1", true),
            ("10.1.3.255", true),
            ("10.1.4.0", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
        ];
        for (address, trusted) in cases {
            assert_eq!(
                limits.is_trusted(address.parse().unwrap()),
                trusted,
                "{address}"
            );
        }
        let everybody = self::limits(&[("0.0.0.0", 0)]);
        assert!(everybody.is_trusted("203.0.113.9".parse().unwrap()));
        assert!(
            !everybody.is_trusted("2001:db8::1".parse().unwrap()),
            "0.0.0.0/0 is IPv4 only"
        );
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_buckets_are_independent() {
        let (limits, now) = (limits(&[]), Timestamp(1_000_000));
        let ask = |address: &str| limits.address(address.parse().unwrap(), now).is_ok();
        assert!(ask("2001:db8:1:1::1") && !ask("2001:db8:1:1:ffff::2") && ask("2001:db8:1:2::1"));
        assert!(ask("192.0.2.1") && ask("192.0.2.2") && !ask("::ffff:192.0.2.1"));
        assert!(
            limits.login("192.0.2.1".parse().unwrap(), now).is_ok(),
            "logins have their own bucket"
        );
        let account = AccountId([7; 16]);
        let asked: Vec<_> = (0..3).map(|_| limits.account(account, now)).collect();
        assert_eq!(asked, [Ok(()), Ok(()), Err(1)]);
    }
}
