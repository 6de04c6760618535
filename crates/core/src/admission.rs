//! How fast fans are let in: a steady rate and a ceiling of fans inside.
//!
//! Keeps true: in any one second at most `per_s` calls are made (whole calls: a rate of 2.5 makes 2, one of 0.5
//! makes one in two seconds), and they are spread over the second in slices, so that the hall's doors see a stream and
//! not a gush.

use std::collections::VecDeque;

use crate::Timestamp;
use crate::time::SECOND_US;

/// The admission rules of a performance.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct AdmissionPolicy {
    /// Calls a second, 0 to 100,000; 0 calls nobody; below 1 one call in `1 / per_s` seconds.
    pub per_s: f64,
    /// Most fans called or inside at once, 0 to 1,000,000; 0 calls nobody.
    pub active_max: u32,
    /// How long a pass is good, seconds, 1 to 86,400.
    pub pass_ttl_s: u32,
    /// How long a called fan's slot is kept, seconds, 1 to 86,400.
    pub claim_within_s: u32,
}

/// A part of a second: at most this share of a second's calls is made within it.
const SLICE_US: i64 = 50_000;
/// Seconds over which the rate that was actually reached is looked at.
const SEEN_S: i64 = 30;

/// What has been called lately: enough to keep the rate and to estimate the wait.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// Instants and counts of calls within the last second (or `1 / per_s` seconds).
    recent: VecDeque<(Timestamp, u32)>,
    /// Calls in each of the last seconds, oldest first.
    seen: VecDeque<(i64, u32)>,
}

impl Pace {
    /// How many may be called at `now` by the rate alone.
    #[must_use]
    pub fn allowance(&self, policy: &AdmissionPolicy, now: Timestamp) -> u32 {
        if policy.per_s <= 0.0 {
            return 0;
        }
        let within = self.called_within(window_us(policy), now);
        let slice = self.called_within(SLICE_US, now);
        per_window(policy)
            .saturating_sub(within)
            .min(per_slice(policy).saturating_sub(slice))
    }

    /// When the rate next allows a call; `now` when it does already, none when it never will.
    #[must_use]
    pub fn next_at(&self, policy: &AdmissionPolicy, now: Timestamp) -> Option<Timestamp> {
        if policy.per_s <= 0.0 {
            return None;
        }
        let room_after = |window_us: i64, limit: u32| {
            let mut called = 0_u32;
            // From the newest back: the call that fills the window must fall out of it.
            for (at, count) in self
                .recent
                .iter()
                .rev()
                .take_while(|(at, _)| at.0 > now.0 - window_us)
            {
                called = called.saturating_add(*count);
                if called >= limit {
                    return Timestamp(at.0 + window_us);
                }
            }
            now
        };
        Some(
            room_after(window_us(policy), per_window(policy))
                .max(room_after(SLICE_US, per_slice(policy))),
        )
    }

    /// Notes that `count` were called at `now`.
    pub fn called(&mut self, count: u32, now: Timestamp) {
        if count == 0 {
            return;
        }
        self.recent.push_back((now, count));
        // Kept for the slowest rate that makes a difference; a rate can be changed at any time.
        while self.recent.len() > 1
            && self
                .recent
                .front()
                .is_some_and(|(at, _)| at.0 <= now.0 - 3600 * SECOND_US)
        {
            self.recent.pop_front();
        }
        while self.recent.len() > 4_096 {
            self.fold_oldest();
        }
        let second = now.0.div_euclid(SECOND_US);
        match self.seen.back_mut() {
            Some((last, calls)) if *last == second => *calls = calls.saturating_add(count),
            Some(_) | None => self.seen.push_back((second, count)),
        }
        while self
            .seen
            .front()
            .is_some_and(|(at, _)| *at <= second - SEEN_S)
        {
            self.seen.pop_front();
        }
    }

    /// Calls a second over the last half minute, as they really were; none when nobody was called in it.
    #[must_use]
    pub fn rate_seen(&self, now: Timestamp) -> Option<f64> {
        let second = now.0.div_euclid(SECOND_US);
        let live = self.seen.iter().filter(|(at, _)| *at > second - SEEN_S);
        let (first, calls) = live.fold((None, 0_u64), |(first, calls), (at, count)| {
            (first.or(Some(*at)), calls + u64::from(*count))
        });
        let span_s = u32::try_from(second - first? + 1).unwrap_or(1).max(1);
        #[expect(
            clippy::cast_precision_loss,
            reason = "an estimate; calls in half a minute are far below 2^52"
        )]
        Some(calls as f64 / f64::from(span_s))
    }

    fn called_within(&self, window_us: i64, now: Timestamp) -> u32 {
        self.recent
            .iter()
            .rev()
            .take_while(|(at, _)| at.0 > now.0 - window_us)
            .map(|(_, count)| *count)
            .fold(0, u32::saturating_add)
    }

    /// Joins the two oldest notes under the later instant: that can only slow calls down, never hurry them.
    fn fold_oldest(&mut self) {
        if let (Some((_, first)), Some((_, second))) =
            (self.recent.pop_front(), self.recent.front_mut())
        {
            *second = second.saturating_add(first);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "per_s is positive here and a window of hours is far below 2^63 microseconds"
)]
fn window_us(policy: &AdmissionPolicy) -> i64 {
    if policy.per_s >= 1.0 {
        SECOND_US
    } else {
        ((1_000_000.0 / policy.per_s).ceil() as i64).min(3600 * SECOND_US)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 to 100,000"
)]
fn per_window(policy: &AdmissionPolicy) -> u32 {
    if policy.per_s >= 1.0 {
        policy.per_s.floor() as u32
    } else {
        1
    }
}

fn per_slice(policy: &AdmissionPolicy) -> u32 {
    per_window(policy).div_ceil(20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(per_s: f64) -> AdmissionPolicy {
        AdmissionPolicy {
            per_s,
            active_max: 1_000_000,
            pass_ttl_s: 600,
            claim_within_s: 60,
        }
    }

    #[test]
    fn a_rate_below_one_spaces_its_calls() {
        let (slow, mut pace) = (policy(0.5), Pace::default());
        assert_eq!(pace.allowance(&slow, Timestamp(0)), 1);
        pace.called(1, Timestamp(0));
        assert_eq!(pace.allowance(&slow, Timestamp(1_999_999)), 0);
        assert_eq!(
            pace.next_at(&slow, Timestamp(5)),
            Some(Timestamp(2_000_000))
        );
        assert_eq!(pace.allowance(&slow, Timestamp(2_000_000)), 1);
    }

    #[test]
    fn a_rate_of_nothing_never_calls() {
        assert_eq!(Pace::default().allowance(&policy(0.0), Timestamp(0)), 0);
        assert_eq!(Pace::default().next_at(&policy(0.0), Timestamp(0)), None);
    }

    proptest! {
        /// However often it is asked, and however the rate changes, no second has more calls than the rate in force allows.
        #[test]
        fn no_second_has_more_calls_than_the_rate(per_s in 1.0_f64..5_000.0, steps in prop::collection::vec(1_i64..200_000, 1..400)) {
            let (policy, mut pace, mut now, mut calls) = (policy(per_s), Pace::default(), 0, Vec::<(i64, u32)>::new());
            for step in steps {
                now += step;
                let count = pace.allowance(&policy, Timestamp(now));
                prop_assert_eq!(count > 0, pace.next_at(&policy, Timestamp(now)) == Some(Timestamp(now)));
                pace.called(count, Timestamp(now));
                calls.push((now, count));
                let within: u32 = calls.iter().filter(|(at, _)| *at > now - SECOND_US).map(|(_, count)| count).sum();
                prop_assert!(f64::from(within) <= per_s, "{within} calls in a second at a rate of {per_s}");
            }
        }

        /// Asked whenever it says so, it reaches the whole rate.
        #[test]
        fn the_whole_rate_is_used(per_s in 1_u32..3_000) {
            let (policy, mut pace, mut now, mut calls) = (policy(f64::from(per_s)), Pace::default(), Timestamp(0), 0);
            while now.0 < 10 * SECOND_US {
                let count = pace.allowance(&policy, now);
                pace.called(count, now);
                calls += count;
                now = pace.next_at(&policy, now).unwrap().max(Timestamp(now.0 + 1));
            }
            prop_assert!(calls >= per_s * 10, "{calls} calls in ten seconds at {per_s} a second");
        }
    }
}
