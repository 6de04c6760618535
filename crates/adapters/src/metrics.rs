//! What is counted and measured, under the names of the contract. Handles are made once and used without a lock on the
//! registry.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// A request's labels; `route` is the template.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    /// The route's template.
    pub route: String,
    /// GET, POST, …
    pub method: &'static str,
    /// The answer's status.
    pub status: u16,
}

/// One label called `outcome`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    outcome: &'static str,
}

/// One label called `part`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Part {
    part: &'static str,
}

/// One label called `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    kind: &'static str,
}

/// One label called `performance`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PerformanceLabel {
    performance: String,
}

/// A notice's labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NoticeLabels {
    channel: &'static str,
    outcome: &'static str,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    http_requests: Family<RouteLabels, Counter>,
    http_duration: Histogram,
    /// Places taken.
    pub joins: Counter,
    waiting: Family<PerformanceLabel, Gauge>,
    serving_counter: Family<PerformanceLabel, Gauge>,
    holds: Family<Outcome, Counter>,
    bookings: Family<Outcome, Counter>,
    booking_duration: Histogram,
    /// From when a call was possible until it was recorded, seconds.
    pub admission_lag: Gauge<f64, AtomicU64>,
    notices: Family<NoticeLabels, Counter>,
    /// Recorded until the provider accepted, seconds.
    pub notice_delay: Histogram,
    batch_size: Family<KindLabel, Histogram>,
    failures: Family<Part, Counter>,
    /// Invariants that did not hold: our bugs.
    pub assertions_failed: Counter,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 18))
}

impl Default for Metrics {
    #[expect(clippy::too_many_lines, reason = "one list, an entry a metric")]
    fn default() -> Self {
        let mut registry = Registry::with_prefix("boxoffice");
        let new = Self {
            registry: Mutex::new(Registry::default()),
            http_requests: Family::default(),
            http_duration: seconds(),
            joins: Counter::default(),
            waiting: Family::default(),
            serving_counter: Family::default(),
            holds: Family::default(),
            bookings: Family::default(),
            booking_duration: seconds(),
            admission_lag: Gauge::default(),
            notices: Family::default(),
            notice_delay: seconds(),
            batch_size: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(1.0, 2.0, 12))
            }),
            failures: Family::default(),
            assertions_failed: Counter::default(),
        };
        // Counters get their `_total` from the encoder.
        registry.register(
            "http_requests",
            "Requests answered",
            new.http_requests.clone(),
        );
        registry.register(
            "http_request_duration_seconds",
            "From the head of a request to the head of its answer",
            new.http_duration.clone(),
        );
        registry.register("joins", "Places taken in waiting rooms", new.joins.clone());
        registry.register("waiting", "Live places not called yet", new.waiting.clone());
        registry.register(
            "serving_counter",
            "Highest number called",
            new.serving_counter.clone(),
        );
        registry.register("holds", "Holds by outcome", new.holds.clone());
        registry.register("bookings", "Bookings by outcome", new.bookings.clone());
        registry.register(
            "booking_duration_seconds",
            "From accepted to final",
            new.booking_duration.clone(),
        );
        registry.register(
            "admission_lag_seconds",
            "How late the last call was against the moment when it was possible",
            new.admission_lag.clone(),
        );
        registry.register(
            "notices",
            "Notices by channel and outcome",
            new.notices.clone(),
        );
        registry.register(
            "notice_delay_seconds",
            "From recorded to accepted by the provider",
            new.notice_delay.clone(),
        );
        registry.register(
            "batch_size",
            "Commands in one batch",
            new.batch_size.clone(),
        );
        registry.register("failures", "Failures of ours by part", new.failures.clone());
        registry.register(
            "assertions_failed",
            "Invariants that did not hold",
            new.assertions_failed.clone(),
        );
        for part in ["store", "room", "bus", "notify", "pay", "http"] {
            drop(new.failures.get_or_create_owned(&Part { part }));
        }
        for outcome in ["held", "refused", "released", "expired"] {
            drop(new.holds.get_or_create_owned(&Outcome { outcome }));
        }
        for outcome in ["confirmed", "refused", "cancelled"] {
            drop(new.bookings.get_or_create_owned(&Outcome { outcome }));
        }
        *new.registry.lock() = registry;
        new
    }
}

impl Metrics {
    /// A request was answered after so many seconds.
    pub fn http(&self, labels: &RouteLabels, seconds: f64) {
        self.http_requests.get_or_create(labels).inc();
        self.http_duration.observe(seconds);
    }

    /// A hold was `held`, `refused`, `released` or `expired`.
    pub fn hold(&self, outcome: &'static str) {
        self.holds.get_or_create(&Outcome { outcome }).inc();
    }

    /// A booking was `confirmed` or `refused` so many seconds after it was accepted, or `cancelled`.
    pub fn booking_final(&self, outcome: &'static str, seconds: Option<f64>) {
        self.bookings.get_or_create(&Outcome { outcome }).inc();
        if let Some(seconds) = seconds {
            self.booking_duration.observe(seconds);
        }
    }

    /// A notice on this channel was `sent`, is to be tried again (`retried`), or is a dead letter (`failed`).
    pub fn notice(&self, channel: &'static str, outcome: &'static str) {
        self.notices
            .get_or_create(&NoticeLabels { channel, outcome })
            .inc();
    }

    /// A batch of this kind had so many commands.
    pub fn batch_size(&self, kind: &'static str, size: usize) {
        #[expect(clippy::cast_precision_loss, reason = "batches are small")]
        self.batch_size
            .get_or_create(&KindLabel { kind })
            .observe(size as f64);
    }

    /// Something of this part failed.
    pub fn failure(&self, part: &'static str) {
        self.failures.get_or_create(&Part { part }).inc();
    }

    /// A waiting room's figures.
    pub fn room(&self, performance: &str, waiting: u32, serving_counter: u32) {
        let label = PerformanceLabel {
            performance: performance.to_owned(),
        };
        self.waiting.get_or_create(&label).set(i64::from(waiting));
        self.serving_counter
            .get_or_create(&label)
            .set(i64::from(serving_counter));
    }

    /// Everything, in Prometheus text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.registry.lock()).is_err() {
            let _ = writeln!(text, "# failed to encode");
        }
        text
    }
}
