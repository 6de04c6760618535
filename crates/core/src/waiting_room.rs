//! The line before a sale: numbers, positions, calls, passes. One per performance and epoch.
//!
//! A place: waiting ──admit──▶ called ──enter──▶ entered ──confirmed booking──▶ used; called and entered lapse when
//! their time is over; every live place can be left. Lapsing is never written: it follows from the times.
//!
//! Keeps true: numbers are given from 1 without a gap and never twice; fans are called in the order of their
//! numbers; called + entered ≤ `active_max` and calls in a second ≤ `per_s` at every instant; an absent fan keeps a slot
//! until the claim time ends and not a moment longer; a position never grows.
//!
//! Changes come about in two steps, so that nothing is seen that is not remembered: a [`Draft`] decides a batch on top
//! of the room as it stands, its [`RoomChanges`] are saved, and only then [`WaitingRoom::apply`] makes them so.

use std::collections::{BTreeMap, BTreeSet};

use crate::admission::{AdmissionPolicy, Pace};
use crate::sale::{Sale, SaleState};

use crate::{AccountId, Refusal, Timestamp};

mod line;
use line::Gone;

/// Where a place stands, as it is remembered.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PlaceState {
    /// In line (or in the lobby).
    Waiting,
    /// Called; the slot is kept until then.
    Called {
        /// When the slot goes to the next.
        expires_at: Timestamp,
    },
    /// Inside, with a pass that is good until then.
    Entered {
        /// When the pass runs out.
        expires_at: Timestamp,
    },
    /// A booking of its pass was confirmed.
    Used,
    /// Given up by the fan.
    Left,
}

impl PlaceState {
    /// Until when it fills a slot, if it does.
    #[must_use]
    pub fn active_until(self) -> Option<Timestamp> {
        match self {
            Self::Called { expires_at } | Self::Entered { expires_at } => Some(expires_at),
            Self::Waiting | Self::Used | Self::Left => None,
        }
    }

    /// Whether the fan still has a claim by it: a repeated join then gives the same number.
    #[must_use]
    pub fn is_live(self, now: Timestamp) -> bool {
        match self {
            Self::Waiting => true,
            Self::Called { expires_at } | Self::Entered { expires_at } => now < expires_at,
            Self::Used | Self::Left => false,
        }
    }
}

/// A fan's entry in the line.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose it is.
    pub account: AccountId,
    /// Where it stands.
    pub state: PlaceState,
    /// Since when; 0 when an earlier process knew.
    pub changed_at: Timestamp,
}

/// How a place looks to its fan.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before the opening.
    Lobby,
    /// In line.
    Waiting,
    /// May enter now.
    Called,
    /// Has a pass.
    Entered,
    /// Did not enter in time, or the pass ran out.
    Lapsed,
    /// Given up, or used by a confirmed booking.
    Left,
}

/// What a fan is told about the own place.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PlaceView {
    /// From 1, in the order of joining; never changes within an epoch.
    pub number: u32,
    /// Where it stands.
    pub stage: Stage,
    /// Places ahead plus one while in line, else 0.
    pub position: u32,
    /// Live places with a smaller number that are not called yet.
    pub ahead: u32,
    /// The wait, seconds, by the rate actually seen; none when nobody is being called.
    pub eta_s: Option<u32>,
    /// When asking again is worth it, milliseconds, 100 to 20,000.
    pub poll_after_ms: u32,
    /// While called: when the slot goes to the next. While entered: when the pass runs out.
    pub expires_at: Option<Timestamp>,
    /// Since when it stands there, lapsing apart; 0 when an earlier process knew.
    pub changed_at: Timestamp,
}

/// A group of fans let in at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// First number that is called.
    pub first: u32,
    /// Last number that is called, and the new serving counter.
    pub last: u32,
    /// The numbers called: those from `first` to `last` that were not given up.
    pub called: Vec<u32>,
    /// When.
    pub at: Timestamp,
    /// Until when their slots are kept.
    pub expires_at: Timestamp,
}

/// What a batch changes: saved first, applied then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomChanges {
    /// When it was decided.
    pub now: Timestamp,
    /// New places, in the order of their numbers.
    pub joined: Vec<(u32, AccountId)>,
    /// Places given up.
    pub left: Vec<u32>,
    /// Passes taken, and when they run out.
    pub entered: Vec<(u32, Timestamp)>,
    /// Places used up by a confirmed booking; their rows are written with the booking, not here.
    pub used: Vec<u32>,
    /// Fans let in.
    pub admission: Option<Admission>,
}

impl RoomChanges {
    /// Whether there is something that the store must remember before anybody is told.
    #[must_use]
    pub fn must_be_saved(&self) -> bool {
        !(self.joined.is_empty()
            && self.left.is_empty()
            && self.entered.is_empty()
            && self.admission.is_none())
    }

    /// Whether nothing changes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.must_be_saved() && self.used.is_empty()
    }
}

/// The line of one performance, as the store remembers it.
#[derive(Clone, Debug, Default)]
pub struct WaitingRoom {
    /// Place of number `n` at index `n - 1`.
    places: Vec<Place>,
    /// Each fan's latest number.
    numbers: BTreeMap<AccountId, u32>,
    serving_counter: u32,
    /// Given up before they were called.
    gone: Gone,
    /// Called and entered places by the end of their time.
    active: BTreeSet<(Timestamp, u32)>,
    pace: Pace,
}

impl WaitingRoom {
    /// The last number given, 0 before the first.
    #[must_use]
    pub fn queue_counter(&self) -> u32 {
        u32::try_from(self.places.len()).expect("a line ends long before 2^32")
    }

    /// The highest number called, 0 before the first.
    #[must_use]
    pub fn serving_counter(&self) -> u32 {
        self.serving_counter
    }

    /// Live places not called yet.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.queue_counter()
            - self.serving_counter
            - self
                .gone
                .between(self.serving_counter, self.queue_counter())
    }

    /// Fans called or inside at `now`.
    #[must_use]
    pub fn active(&self, now: Timestamp) -> u32 {
        let over = self.active.range(..=(now, u32::MAX)).count();
        u32::try_from(self.active.len() - over).expect("no more than places")
    }

    /// Fans called at `now` who have not entered yet. Counts the active ones: for the operator's desk, not for every request.
    #[must_use]
    pub fn called(&self, now: Timestamp) -> u32 {
        let live = self.active.range((now, u32::MAX)..);
        let called = live.filter(|(_, number)| {
            matches!(
                self.place(*number).map(|place| place.state),
                Some(PlaceState::Called { .. })
            )
        });
        u32::try_from(called.count()).expect("no more than places")
    }

    /// The place with this number.
    #[must_use]
    pub fn place(&self, number: u32) -> Option<&Place> {
        self.places
            .get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// The fan's latest number, live or not.
    #[must_use]
    pub fn number_of(&self, account: AccountId) -> Option<u32> {
        self.numbers.get(&account).copied()
    }

    /// Calls a second over the last half minute.
    #[must_use]
    pub fn rate_seen(&self, now: Timestamp) -> Option<f64> {
        self.pace.rate_seen(now)
    }

    /// What the fan is told at `now`; none without a place.
    #[must_use]
    pub fn view(
        &self,
        account: AccountId,
        sale: &Sale,
        policy: &AdmissionPolicy,
        now: Timestamp,
    ) -> Option<PlaceView> {
        let number = self.number_of(account)?;
        let place = self.place(number).expect("numbers() names places only");
        let state = sale.state(now);
        let (stage, expires_at) = match place.state {
            PlaceState::Waiting if matches!(state, SaleState::Scheduled | SaleState::Lobby) => {
                (Stage::Lobby, None)
            }
            PlaceState::Waiting => (Stage::Waiting, None),
            PlaceState::Called { expires_at } if now < expires_at => {
                (Stage::Called, Some(expires_at))
            }
            PlaceState::Entered { expires_at } if now < expires_at => {
                (Stage::Entered, Some(expires_at))
            }
            PlaceState::Called { .. } | PlaceState::Entered { .. } => (Stage::Lapsed, None),
            PlaceState::Used | PlaceState::Left => (Stage::Left, None),
        };
        if !matches!(stage, Stage::Lobby | Stage::Waiting) {
            return Some(PlaceView {
                number,
                stage,
                position: 0,
                ahead: 0,
                eta_s: Some(0),
                poll_after_ms: 1_000,
                expires_at,
                changed_at: place.changed_at,
            });
        }
        let ahead =
            number - 1 - self.serving_counter - self.gone.between(self.serving_counter, number - 1);
        let eta_s = self.eta_s(ahead, sale, policy, now);
        let poll_after_ms = poll_after_ms(ahead, eta_s);
        Some(PlaceView {
            number,
            stage,
            position: ahead + 1,
            ahead,
            eta_s,
            poll_after_ms,
            expires_at,
            changed_at: place.changed_at,
        })
    }

    /// The wait of a place with `ahead` others before it, by the rate seen, or by the planned one until there is something to see.
    fn eta_s(
        &self,
        ahead: u32,
        sale: &Sale,
        policy: &AdmissionPolicy,
        now: Timestamp,
    ) -> Option<u32> {
        let until_open_s = match sale.state(now) {
            SaleState::Scheduled | SaleState::Lobby => {
                sale.opens_at.since_us(now).div_ceil(1_000_000)
            }
            SaleState::Open => 0,
            SaleState::Paused | SaleState::Closed => return None,
        };
        let planned = (policy.per_s > 0.0 && policy.active_max > 0).then_some(policy.per_s);
        let rate = self
            .pace
            .rate_seen(now)
            .or(planned)
            .filter(|rate| *rate > 0.0)?;
        // The next in line waits for the next call only.
        let line_s = f64::from(ahead) / rate;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded right here"
        )]
        let line_s = line_s.ceil().min(31_536_000.0) as u32;
        Some(
            u32::try_from(until_open_s)
                .unwrap_or(u32::MAX)
                .saturating_add(line_s),
        )
    }

    /// When anything may have to be done without being asked: a slot that ends while somebody waits for it, or the rate.
    #[must_use]
    pub fn next_wake(
        &self,
        sale: &Sale,
        policy: &AdmissionPolicy,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let sale_at = sale.next_change(now);
        if self.waiting() == 0 || sale.state(now) != SaleState::Open || policy.active_max == 0 {
            return sale_at;
        }
        let at = if self.active(now) < policy.active_max {
            self.pace.next_at(policy, now)
        } else {
            self.active
                .range((now, u32::MAX)..)
                .next()
                .map(|(at, _)| *at)
        };
        [at, sale_at].into_iter().flatten().min()
    }

    /// Makes saved changes so.
    ///
    /// # Panics
    /// When the changes were not drafted on this room: that is our bug, and going on would break the order.
    pub fn apply(&mut self, changes: &RoomChanges) {
        for (number, account) in &changes.joined {
            self.places.push(Place {
                account: *account,
                state: PlaceState::Waiting,
                changed_at: changes.now,
            });
            assert_eq!(
                self.queue_counter(),
                *number,
                "numbers are given without a gap"
            );
            self.gone.push();
            self.numbers.insert(*account, *number);
        }
        for (number, expires_at) in &changes.entered {
            self.set_state(
                *number,
                PlaceState::Entered {
                    expires_at: *expires_at,
                },
                changes.now,
            );
        }
        for number in &changes.left {
            if *number > self.serving_counter {
                self.gone.add(*number);
            }
            self.set_state(*number, PlaceState::Left, changes.now);
        }
        if let Some(admission) = &changes.admission {
            assert!(
                admission.first > self.serving_counter,
                "the serving counter never goes back"
            );
            for number in &admission.called {
                self.set_state(
                    *number,
                    PlaceState::Called {
                        expires_at: admission.expires_at,
                    },
                    admission.at,
                );
            }
            self.serving_counter = admission.last;
            self.pace.called(
                u32::try_from(admission.called.len()).expect("no more than places"),
                admission.at,
            );
        }
        for number in &changes.used {
            self.set_state(*number, PlaceState::Used, changes.now);
        }
        assert!(
            self.serving_counter <= self.queue_counter(),
            "nobody is called who has not joined"
        );
        while self
            .active
            .first()
            .is_some_and(|(at, _)| *at <= changes.now)
        {
            self.active.pop_first();
        }
    }

    fn set_state(&mut self, number: u32, state: PlaceState, at: Timestamp) {
        let index = usize::try_from(number).expect("32 bits fit") - 1;
        let place = &mut self.places[index];
        if let Some(at) = place.state.active_until() {
            self.active.remove(&(at, number));
        }
        place.state = state;
        place.changed_at = at;
        if let Some(at) = state.active_until() {
            self.active.insert((at, number));
        }
    }
}

/// Soon near the front (≤ 2 s), seldom at the back (≤ 20 s): a tenth of the wait.
fn poll_after_ms(ahead: u32, eta_s: Option<u32>) -> u32 {
    let by_wait = match eta_s {
        Some(eta_s) => eta_s.saturating_mul(100).clamp(100, 20_000),
        None => 20_000,
    };
    if ahead < 100 {
        by_wait.min(2_000)
    } else {
        by_wait
    }
}

/// A batch being decided on top of a room as it stands; the room itself is not touched.
#[derive(Debug)]
pub struct Draft<'a> {
    room: &'a WaitingRoom,
    changes: RoomChanges,
    joined: BTreeMap<AccountId, u32>,
    /// States that differ from the room's, of new places too.
    states: BTreeMap<u32, PlaceState>,
    /// Slots taken (or freed) by this batch.
    active: i64,
}

impl<'a> Draft<'a> {
    /// Begins a batch at `now`.
    #[must_use]
    pub fn new(room: &'a WaitingRoom, now: Timestamp) -> Self {
        let changes = RoomChanges {
            now,
            ..RoomChanges::default()
        };
        Self {
            room,
            changes,
            joined: BTreeMap::new(),
            states: BTreeMap::new(),
            active: i64::from(room.active(now)),
        }
    }

    /// What is to be saved and applied.
    #[must_use]
    pub fn into_changes(self) -> RoomChanges {
        self.changes
    }

    /// Takes a place, or finds the live one: true when it is new.
    ///
    /// # Errors
    /// [`Refusal::NotOpenYet`] before the lobby, [`Refusal::SaleClosed`] after the end.
    pub fn join(&mut self, account: AccountId, sale: &Sale) -> Result<bool, Refusal> {
        sale.may_join(self.changes.now)?;
        if self.live(account).is_some() {
            return Ok(false);
        }
        let number = self.queue_counter() + 1;
        self.changes.joined.push((number, account));
        self.joined.insert(account, number);
        self.states.insert(number, PlaceState::Waiting);
        Ok(true)
    }

    /// Gives the fan's place up; once given up, again is the same.
    ///
    /// # Errors
    /// [`Refusal::NoPlace`] when there never was one.
    pub fn leave(&mut self, account: AccountId) -> Result<(), Refusal> {
        let (number, state) = self.latest(account).ok_or(Refusal::NoPlace)?;
        if !state.is_live(self.changes.now) {
            return Ok(());
        }
        self.changes.left.push(number);
        self.set(number, PlaceState::Left);
        Ok(())
    }

    /// Takes a pass for the called fan's place: number and when the pass runs out, and whether it is a new one.
    ///
    /// # Errors
    /// [`Refusal::NoPlace`], [`Refusal::NotYourTurn`], [`Refusal::TurnLapsed`], or [`Refusal::SaleClosed`] for a place that can no longer be of use.
    pub fn enter(
        &mut self,
        account: AccountId,
        sale: &Sale,
        policy: &AdmissionPolicy,
    ) -> Result<(u32, Timestamp, bool), Refusal> {
        let now = self.changes.now;
        let (number, state) = self.latest(account).ok_or(Refusal::NoPlace)?;
        match state {
            PlaceState::Used | PlaceState::Left => Err(Refusal::NoPlace),
            PlaceState::Waiting | PlaceState::Called { .. } | PlaceState::Entered { .. }
                if sale.state(now) == SaleState::Closed =>
            {
                Err(Refusal::SaleClosed)
            }
            PlaceState::Waiting => Err(self.not_your_turn(account, sale, policy)),
            PlaceState::Called { expires_at } | PlaceState::Entered { expires_at }
                if now >= expires_at =>
            {
                Err(Refusal::TurnLapsed)
            }
            PlaceState::Entered { expires_at } => Ok((number, expires_at, false)),
            PlaceState::Called { .. } => {
                let expires_at = now.plus_s(policy.pass_ttl_s);
                self.changes.entered.push((number, expires_at));
                self.set(number, PlaceState::Entered { expires_at });
                Ok((number, expires_at, true))
            }
        }
    }

    /// A booking of this place's pass was confirmed (and its row says so already).
    pub fn used(&mut self, number: u32) {
        match self.state(number) {
            Some(PlaceState::Used) | None => (),
            Some(
                PlaceState::Waiting
                | PlaceState::Called { .. }
                | PlaceState::Entered { .. }
                | PlaceState::Left,
            ) => {
                self.changes.used.push(number);
                self.set(number, PlaceState::Used);
            }
        }
    }

    /// Lets in as many as the rules allow at this instant. Once a batch, after everything else in it.
    ///
    /// # Panics
    /// When called twice on one draft.
    pub fn admit(&mut self, sale: &Sale, policy: &AdmissionPolicy) {
        assert!(self.changes.admission.is_none(), "one admission a batch");
        let now = self.changes.now;
        // Those who have left are passed over one by one below; that must not be done in vain at every batch.
        let nobody_waits = self.room.waiting() == 0 && self.joined.is_empty();
        if nobody_waits || sale.state(now) != SaleState::Open {
            return;
        }
        let free = u32::try_from(i64::from(policy.active_max) - self.active).unwrap_or(0);
        let limit =
            usize::try_from(free.min(self.room.pace.allowance(policy, now))).expect("32 bits fit");
        let (mut called, mut last) = (Vec::new(), self.room.serving_counter);
        while called.len() < limit && last < self.queue_counter() {
            last += 1;
            if self.state(last) == Some(PlaceState::Waiting) {
                called.push(last);
            }
        }
        let Some(&last) = called.last() else { return };
        let expires_at = now.plus_s(policy.claim_within_s);
        for number in &called {
            self.set(*number, PlaceState::Called { expires_at });
        }
        assert!(
            self.active <= i64::from(policy.active_max),
            "called + entered within the ceiling"
        );
        let first = self.room.serving_counter + 1;
        self.changes.admission = Some(Admission {
            first,
            last,
            called,
            at: now,
            expires_at,
        });
    }

    fn queue_counter(&self) -> u32 {
        self.room.queue_counter()
            + u32::try_from(self.changes.joined.len()).expect("a batch is small")
    }

    fn latest(&self, account: AccountId) -> Option<(u32, PlaceState)> {
        let number = self
            .joined
            .get(&account)
            .copied()
            .or_else(|| self.room.number_of(account))?;
        Some((number, self.state(number)?))
    }

    fn live(&self, account: AccountId) -> Option<u32> {
        self.latest(account)
            .filter(|(_, state)| state.is_live(self.changes.now))
            .map(|(number, _)| number)
    }

    fn state(&self, number: u32) -> Option<PlaceState> {
        self.states
            .get(&number)
            .copied()
            .or_else(|| self.room.place(number).map(|place| place.state))
    }

    fn set(&mut self, number: u32, state: PlaceState) {
        let fills = |state: PlaceState, now: Timestamp| {
            i64::from(state.active_until().is_some_and(|at| now < at))
        };
        let before = self
            .state(number)
            .map_or(0, |before| fills(before, self.changes.now));
        self.active += fills(state, self.changes.now) - before;
        self.states.insert(number, state);
    }

    fn not_your_turn(&self, account: AccountId, sale: &Sale, policy: &AdmissionPolicy) -> Refusal {
        let (position, poll_after_ms) = match self.joined.get(&account) {
            // Joined in this very batch: behind all who wait, and behind those before it in the batch.
            Some(number) => (
                self.room.waiting() + number - self.room.queue_counter(),
                1_000,
            ),
            None => self
                .room
                .view(account, sale, policy, self.changes.now)
                .map_or((1, 1_000), |view| (view.position, view.poll_after_ms)),
        };
        Refusal::NotYourTurn {
            position,
            poll_after_ms,
        }
    }
}

/// Puts a room together from what the store remembers.
#[derive(Debug, Default)]
pub struct Restore {
    room: WaitingRoom,
    /// Places given up while they waited, by whether an admission passed over them.
    left: Vec<u32>,
}

/// A place as the store remembers it.
#[derive(Copy, Clone, Debug)]
pub struct StoredPlace {
    /// From 1, without a gap.
    pub number: u32,
    /// Whose it is.
    pub account: AccountId,
    /// When the pass runs out, once one was taken.
    pub entered_until: Option<Timestamp>,
    /// Given up.
    pub left: bool,
    /// Used by a confirmed booking.
    pub used: bool,
}

impl Restore {
    /// Adds the next place; in the order of numbers.
    ///
    /// # Panics
    /// When a number is missing: the journal would be torn.
    pub fn place(&mut self, stored: StoredPlace) {
        let state = match (stored.used, stored.left, stored.entered_until) {
            (true, _, _) => PlaceState::Used,
            (false, true, _) => PlaceState::Left,
            (false, false, Some(expires_at)) => PlaceState::Entered { expires_at },
            (false, false, None) => PlaceState::Waiting,
        };
        let room = &mut self.room;
        room.places.push(Place {
            account: stored.account,
            state: PlaceState::Waiting,
            changed_at: Timestamp(0),
        });
        assert_eq!(
            room.queue_counter(),
            stored.number,
            "the journal has every number"
        );
        room.gone.push();
        room.numbers.insert(stored.account, stored.number);
        room.set_state(stored.number, state, Timestamp(0));
        if state == PlaceState::Left {
            self.left.push(stored.number);
        }
    }

    /// Adds an admission; in the order in which they were made, after the places.
    pub fn admission(&mut self, last: u32, called: u32, at: Timestamp, expires_at: Timestamp) {
        let room = &mut self.room;
        for number in room.serving_counter + 1..=last {
            if room
                .place(number)
                .is_some_and(|place| place.state == PlaceState::Waiting)
            {
                room.set_state(number, PlaceState::Called { expires_at }, at);
            }
        }
        room.serving_counter = room.serving_counter.max(last);
        room.pace.called(called, at);
    }

    /// The room as it stands at `now`.
    #[must_use]
    pub fn finish(mut self, now: Timestamp) -> WaitingRoom {
        for number in self
            .left
            .drain(..)
            .filter(|number| *number > self.room.serving_counter)
        {
            self.room.gone.add(number);
        }
        while self.room.active.first().is_some_and(|(at, _)| *at <= now) {
            self.room.active.pop_first();
        }
        self.room
    }
}

#[cfg(test)]
mod tests;
