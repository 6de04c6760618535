//! What the store knows without asking its rows: which holds end when, how many are live, how many bookings were just
//! confirmed. Changed only by the writer, so it never disagrees with what is committed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use boxoffice_core::seating::{SeatNo, SeatState};
use boxoffice_core::{HoldId, PerformanceId, Timestamp};
use parking_lot::Mutex;

use crate::metrics::Metrics;
use crate::performance::{Catalogue, Performance};

use super::NoticeCounts;

/// Delays remembered for the percentile of a performance's notices.
const DELAYS_MAX: usize = 1_000;
/// Seconds over which confirmed bookings are counted.
const RATE_S: i64 = 10;

/// A hold whose seats changed hands, as the picture and the counts must follow it.
#[derive(Debug)]
pub(super) enum Follows {
    /// Made: held until then.
    Held(HoldId, Vec<SeatNo>, Timestamp),
    /// A booking of it is being paid: held until that is final.
    Paying(HoldId, Timestamp),
    /// Its booking was refused: held until its time, which may be over.
    Unpaid(HoldId, Vec<SeatNo>, Timestamp),
    /// Sold.
    Sold(Vec<SeatNo>),
    /// Released by its fan before its time was over.
    Released(HoldId, Vec<SeatNo>, Timestamp),
    /// A sold one was given back.
    Cancelled(Vec<SeatNo>),
}

/// Shared by the writer and those who ask.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) catalogue: OnceLock<Arc<Catalogue>>,
    pub(super) metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Active holds by the end of their time.
    due: BTreeMap<(Timestamp, HoldId), (Arc<Performance>, Vec<SeatNo>)>,
    counts: HashMap<PerformanceId, Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    live_holds: u32,
    /// Bookings confirmed in each of the last seconds.
    confirmed: VecDeque<(i64, u32)>,
    notices: NoticeCounts,
    delays_ms: VecDeque<u32>,
}

impl Kept {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            catalogue: OnceLock::new(),
            metrics,
            state: Mutex::default(),
        }
    }

    pub(super) fn performance(&self, id: PerformanceId) -> Option<Arc<Performance>> {
        self.catalogue.get()?.performance(id)
    }

    /// Adds a live hold found at the start; the picture has it already.
    pub(super) fn restore(
        &self,
        performance: &Arc<Performance>,
        hold: HoldId,
        seats: Vec<SeatNo>,
        expires_at: Timestamp,
        paying: bool,
    ) {
        let mut state = self.state.lock();
        state
            .counts
            .entry(performance.performance_id)
            .or_default()
            .live_holds += 1;
        if !paying {
            state
                .due
                .insert((expires_at, hold), (Arc::clone(performance), seats));
        }
    }

    /// Frees the seats of holds whose time is over at `now`. Called by the writer only, before it decides on seats.
    pub(super) fn sweep(&self, now: Timestamp) {
        let mut state = self.state.lock();
        while let Some(entry) = state.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let (performance, seats) = entry.remove();
            mark(&performance, &seats, SeatState::Free);
            state.one_less(performance.performance_id);
            self.metrics.hold("expired");
        }
    }

    /// Whether a hold's time is over that is not swept yet.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.state
            .lock()
            .due
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= now)
    }

    /// Follows a committed change.
    pub(super) fn follow(&self, performance: &Arc<Performance>, change: Follows, now: Timestamp) {
        let mut state = self.state.lock();
        let id = performance.performance_id;
        match change {
            Follows::Held(hold, seats, until) => {
                mark(performance, &seats, SeatState::Held);
                state.counts.entry(id).or_default().live_holds += 1;
                state
                    .due
                    .insert((until, hold), (Arc::clone(performance), seats));
            }
            Follows::Paying(hold, until) => {
                state.due.remove(&(until, hold));
            }
            Follows::Unpaid(hold, seats, until) => {
                state
                    .due
                    .insert((until, hold), (Arc::clone(performance), seats));
            }
            Follows::Sold(seats) => {
                mark(performance, &seats, SeatState::Sold);
                state.one_less(id);
                let second = now.0.div_euclid(1_000_000);
                let confirmed = &mut state.counts.entry(id).or_default().confirmed;
                match confirmed.back_mut() {
                    Some((last, count)) if *last == second => *count += 1,
                    Some(_) | None => confirmed.push_back((second, 1)),
                }
                while confirmed
                    .front()
                    .is_some_and(|(at, _)| *at < second - RATE_S)
                {
                    confirmed.pop_front();
                }
            }
            Follows::Released(hold, seats, until) => {
                if state.due.remove(&(until, hold)).is_some() {
                    mark(performance, &seats, SeatState::Free);
                    state.one_less(id);
                }
            }
            Follows::Cancelled(seats) => mark(performance, &seats, SeatState::Free),
        }
    }

    pub(super) fn live_holds(&self, id: PerformanceId) -> u32 {
        self.state
            .lock()
            .counts
            .get(&id)
            .map_or(0, |counts| counts.live_holds)
    }

    pub(super) fn bookings_per_s(&self, id: PerformanceId, now: Timestamp) -> f64 {
        let second = now.0.div_euclid(1_000_000);
        let state = self.state.lock();
        let recent = state
            .counts
            .get(&id)
            .into_iter()
            .flat_map(|counts| &counts.confirmed);
        // The second that is still running would always look slow.
        let count: u32 = recent
            .filter(|(at, _)| (second - RATE_S..second).contains(at))
            .map(|(_, count)| count)
            .sum();
        f64::from(count) / 10.0
    }

    pub(super) fn count_notices(
        &self,
        id: PerformanceId,
        sent: u64,
        failed: u64,
        delays_ms: &[u32],
    ) {
        let mut state = self.state.lock();
        let counts = state.counts.entry(id).or_default();
        counts.notices.sent += sent;
        counts.notices.failed += failed;
        counts.delays_ms.extend(delays_ms);
        let surplus = counts.delays_ms.len().saturating_sub(DELAYS_MAX);
        counts.delays_ms.drain(..surplus);
    }

    /// A dead letter is to be sent again.
    pub(super) fn revive_notice(&self, id: PerformanceId) {
        let mut state = self.state.lock();
        let notices = &mut state.counts.entry(id).or_default().notices;
        notices.failed = notices.failed.saturating_sub(1);
    }

    pub(super) fn notice_counts(&self, id: PerformanceId) -> NoticeCounts {
        let state = self.state.lock();
        let Some(counts) = state.counts.get(&id) else {
            return NoticeCounts::default();
        };
        let mut delays: Vec<u32> = counts.delays_ms.iter().copied().collect();
        delays.sort_unstable();
        let at = (delays.len() * 95).div_ceil(100).saturating_sub(1);
        NoticeCounts {
            p95_ms: delays.get(at).copied().map_or(0, u64::from),
            ..counts.notices
        }
    }
}

impl State {
    fn one_less(&mut self, id: PerformanceId) {
        let live = &mut self.counts.entry(id).or_default().live_holds;
        *live = live.saturating_sub(1);
    }
}

/// Gives seats a state in the picture.
pub(super) fn mark(performance: &Performance, seats: &[SeatNo], state: SeatState) {
    let mut picture = performance.picture();
    for seat in seats {
        picture.set(*seat, state);
    }
}
