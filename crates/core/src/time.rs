//! Instants, as microseconds since 1970 UTC. They come in as arguments; the core has no clock.

/// An instant: microseconds since 1970-01-01T00:00:00Z. Never negative in practice; later than year 9999 is refused at the edge.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Microseconds in a second.
pub const SECOND_US: i64 = 1_000_000;

impl Timestamp {
    /// Later than every instant that a clock gives.
    pub const MAX: Self = Self(i64::MAX);

    /// This instant and `seconds` more; stays at [`Timestamp::MAX`] when there is no such instant.
    #[must_use]
    pub fn plus_s(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(i64::from(seconds) * SECOND_US))
    }

    /// This instant and `milliseconds` more.
    #[must_use]
    pub fn plus_ms(self, milliseconds: u64) -> Self {
        Self(
            self.0.saturating_add(
                i64::try_from(milliseconds)
                    .unwrap_or(i64::MAX)
                    .saturating_mul(1_000),
            ),
        )
    }

    /// Microseconds from `earlier` to this instant; 0 when `earlier` is not earlier.
    #[must_use]
    pub fn since_us(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}
