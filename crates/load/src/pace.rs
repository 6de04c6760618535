//! When flows are meant to start: fixed times at a fixed rate, whatever the server does.

use std::time::Duration;

/// The plan of an open-loop run: flow `i` starts at `(i + phase) / rate` seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    rate_per_s: f64,
    phase: f64,
    count: u64,
}

impl Pace {
    /// The part of share `index` of `shares` in a run of `rate_per_s` for `length`; the shares interleave evenly.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a run has far fewer than 2^52 flows, and none of the factors is negative"
    )]
    pub(crate) fn share(rate_per_s: f64, length: Duration, index: usize, shares: usize) -> Self {
        let total = (rate_per_s * length.as_secs_f64()).round() as u64;
        let (index_u64, shares_u64) = (index as u64, shares as u64);
        Self {
            rate_per_s: rate_per_s / shares as f64,
            phase: index as f64 / shares as f64,
            count: total / shares_u64 + u64::from(index_u64 < total % shares_u64),
        }
    }

    /// How many flows the plan has.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// When flow `index` is meant to start, from the start of the run.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a run has far fewer than 2^52 flows"
    )]
    pub(crate) fn planned(&self, index: u64) -> Duration {
        Duration::from_secs_f64((index as f64 + self.phase) / self.rate_per_s)
    }

    /// How many flows are meant to have started when `since_start` has passed.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "cut to the count of the plan, and times are not negative"
    )]
    pub(crate) fn due(&self, since_start: Duration) -> u64 {
        let due = (since_start.as_secs_f64() * self.rate_per_s - self.phase).floor() + 1.0;
        if due <= 0.0 {
            0
        } else {
            (due as u64).min(self.count)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_keep_the_rate() {
        for shares in 1..=5 {
            let parts: Vec<_> = (0..shares)
                .map(|index| Pace::share(1000.0, Duration::from_secs(3), index, shares))
                .collect();
            assert_eq!(parts.iter().map(Pace::count).sum::<u64>(), 3000);
            let mut times: Vec<_> = parts
                .iter()
                .flat_map(|part| (0..part.count()).map(|index| part.planned(index)))
                .collect();
            times.sort();
            for (index, time) in times.iter().enumerate() {
                let expected = Duration::from_micros(index as u64 * 1000);
                assert!(
                    time.abs_diff(expected) < Duration::from_micros(5),
                    "{shares} shares, {index}: {time:?}"
                );
            }
        }
    }

    #[test]
    fn a_flow_is_due_from_its_planned_time_on() {
        let pace = Pace::share(10.0, Duration::from_secs(2), 0, 1);
        assert_eq!(pace.due(Duration::ZERO), 1);
        assert_eq!(pace.due(Duration::from_millis(99)), 1);
        assert_eq!(pace.due(Duration::from_millis(101)), 2);
        assert_eq!(pace.due(Duration::from_secs(1_000)), 20);
        let second = Pace::share(10.0, Duration::from_secs(2), 1, 2);
        assert_eq!(second.due(Duration::from_millis(50)), 0);
        assert_eq!(second.due(Duration::from_millis(101)), 1);
    }
}
