//! The one clock that everything is stamped with. It never goes back while the process lives.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use boxoffice_core::Timestamp;

/// The machine's clock, kept from going back.
#[derive(Debug, Default)]
pub struct Clock {
    last: AtomicI64,
}

impl Clock {
    /// Now, never earlier than what was given before.
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.last.fetch_max(now, Ordering::Relaxed).max(now))
    }
}
