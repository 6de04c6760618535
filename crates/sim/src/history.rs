//! What anybody was ever told, and the check of each answer as it is given: what is told must be so, and stay so.

use std::collections::{BTreeMap, BTreeSet};

use boxoffice_core::admission::AdmissionPolicy;
use boxoffice_core::booking::{Booking, BookingState};
use boxoffice_core::hold::{Hold, HoldStage, HoldState};
use boxoffice_core::pass::Kind;
use boxoffice_core::sale::Sale;
use boxoffice_core::waiting_room::{PlaceState, PlaceView, RoomChanges, Stage};
use boxoffice_core::{BookingId, HoldId, Refusal, Timestamp};

use crate::net::{Ask, Request, Said};

use crate::store::{NoticeKey, Tables};
use crate::world::{World, short};

/// What was told and done; no crash forgets it.
#[derive(Debug)]
pub(crate) struct History {
    /// The store at the last check.
    pub(crate) shadow: Tables,
    pub(crate) shadow_version: u64,
    /// The operator's rules, from when each was in force.
    pub(crate) rules: Vec<(Timestamp, Sale, AdmissionPolicy)>,
    /// The highest number that has reached a fan.
    pub(crate) highest_heard: u32,
    /// Whose each number is, as told.
    pub(crate) numbers: BTreeMap<u32, usize>,
    /// The last stage and position told of a number.
    stages: BTreeMap<u32, (u8, u32)>,
    /// Until when a pass is good, as told.
    pub(crate) passes: BTreeMap<u32, Timestamp>,
    /// Holds as last told, with the stage.
    pub(crate) holds: BTreeMap<HoldId, (Hold, u8)>,
    /// Bookings as last told.
    pub(crate) bookings: BTreeMap<BookingId, Booking>,
    /// Fans who asked to leave; holds asked to be released; bookings asked to be cancelled.
    pub(crate) asked_leave: BTreeSet<usize>,
    pub(crate) asked_release: BTreeSet<HoldId>,
    pub(crate) asked_cancel: BTreeSet<BookingId>,
    /// Numbers whose fans heard the call on a stream.
    pub(crate) called_on_stream: BTreeSet<u32>,
    /// Numbers called, and until when that is of use.
    pub(crate) called: BTreeMap<u32, Timestamp>,
    /// When an admission's call left the outbox with its notices made.
    pub(crate) call_taken: BTreeMap<u32, Timestamp>,
    /// Notices of whose last attempt nothing is recorded but that it began.
    pub(crate) open: BTreeSet<NoticeKey>,
    /// Mails that arrived.
    pub(crate) arrivals: BTreeMap<NoticeKey, u32>,
}

impl History {
    /// Nothing told yet.
    pub(crate) fn new(tables: &Tables, now: Timestamp) -> Self {
        Self {
            shadow: tables.clone(),
            shadow_version: 0,
            rules: vec![(now, tables.sale, tables.admission)],
            highest_heard: 0,
            numbers: BTreeMap::new(),
            stages: BTreeMap::new(),
            passes: BTreeMap::new(),
            holds: BTreeMap::new(),
            bookings: BTreeMap::new(),
            asked_leave: BTreeSet::new(),
            asked_release: BTreeSet::new(),
            asked_cancel: BTreeSet::new(),
            called_on_stream: BTreeSet::new(),
            called: BTreeMap::new(),
            call_taken: BTreeMap::new(),
            open: BTreeSet::new(),
            arrivals: BTreeMap::new(),
        }
    }

    /// The rules in force at an instant.
    pub(crate) fn rules_at(&self, at: Timestamp) -> (Sale, AdmissionPolicy) {
        let after = self.rules.partition_point(|(from, _, _)| *from <= at);
        let (_, sale, policy) = self.rules[after.saturating_sub(1)];
        (sale, policy)
    }
}

impl World {
    /// A request has reached the server: from now on it may take effect.
    pub(crate) fn asked(&mut self, request: &Request) {
        let account = self.account(request.fan);
        let (history, tables) = (&mut self.history, self.store.tables());
        match &request.ask {
            Ask::Leave => drop(history.asked_leave.insert(request.fan)),
            Ask::Release(id)
                if tables
                    .holds
                    .get(id)
                    .is_some_and(|hold| hold.account_id == account) =>
            {
                history.asked_release.insert(*id);
            }
            Ask::Cancel(id)
                if tables
                    .bookings
                    .get(id)
                    .is_some_and(|booking| booking.account_id == account) =>
            {
                history.asked_cancel.insert(*id);
            }
            Ask::Join
            | Ask::Look
            | Ask::Enter
            | Ask::Hold { .. }
            | Ask::LookHold(_)
            | Ask::Release(_)
            | Ask::Book { .. }
            | Ask::LookBooking(_)
            | Ask::Cancel(_) => (),
        }
    }

    /// An answer is given: it must be true, and agree with what was told before.
    pub(crate) fn told(&mut self, request: &Request, said: &Said) {
        match said {
            Said::Place(view, new) => self.told_place(request, view, *new),
            Said::Pass {
                number, expires_at, ..
            } => {
                let row = self.store.tables().places.get(number);
                let saved = row.is_some_and(|row| {
                    row.entered_until == Some(*expires_at)
                        && row.account == self.account(request.fan)
                });
                if !saved {
                    self.violated(
                        3,
                        format!("a pass of number {number} is told that the store does not know"),
                    );
                }
                let before = self.history.passes.insert(*number, *expires_at);
                if before.is_some_and(|before| before != *expires_at) {
                    self.violated(
                        7,
                        format!("the pass of number {number} has another expiry than was told"),
                    );
                }
            }
            Said::Hold(hold) => self.told_hold(hold),
            Said::Released(id) => {
                let state = self.store.tables().holds.get(id).map(|hold| hold.state);
                if state != Some(HoldState::Released) {
                    self.violated(
                        6,
                        format!("{} is told to be released and is {state:?}", short(id.0)),
                    );
                }
                if let Some((_, stage)) = self.history.holds.get_mut(id) {
                    *stage = (*stage).max(hold_rank(HoldStage::Released));
                }
            }
            Said::Booking(booking) => self.told_booking(booking),
            Said::Refused(refusal) => self.told_no(request, refusal),
            Said::Left | Said::Busy => (),
        }
    }

    fn told_place(&mut self, request: &Request, view: &PlaceView, new: bool) {
        let number = view.number;
        let row = self.store.tables().places.get(&number);
        if row.is_none_or(|row| row.account != self.account(request.fan)) {
            self.violated(
                3,
                format!(
                    "number {number} is told to fan {} and not saved",
                    request.fan
                ),
            );
        }
        if new && number <= request.floor {
            self.violated(
                3,
                format!(
                    "number {number} is given to a join sent after number {} was heard",
                    request.floor
                ),
            );
        }
        let owner = *self.history.numbers.entry(number).or_insert(request.fan);
        if owner != request.fan {
            self.violated(
                3,
                format!(
                    "number {number} is told to fan {} and to fan {owner}",
                    request.fan
                ),
            );
        }
        let rank = stage_rank(view.stage);
        let (before, _) = *self
            .history
            .stages
            .entry(number)
            .or_insert((rank, u32::MAX));
        if rank < before {
            self.violated(
                7,
                format!(
                    "number {number} is told to be {:?} after a later stage",
                    view.stage
                ),
            );
        }
        self.history
            .stages
            .entry(number)
            .and_modify(|(stage, _)| *stage = rank);
        let called = self
            .store
            .tables()
            .admission_of(number)
            .map(|row| row.expires_at);
        if view.stage == Stage::Called && view.expires_at != called {
            self.violated(
                3,
                format!("number {number} is told to be called and no admission says so"),
            );
        }
        if view.stage == Stage::Lapsed {
            self.told_lapsed(number);
        }
        self.told_position(number, view.position);
    }

    /// A position never grows.
    pub(crate) fn told_position(&mut self, number: u32, position: u32) {
        let (_, least) = self.history.stages.entry(number).or_insert((0, u32::MAX));
        let before = *least;
        *least = before.min(position);
        if position > before {
            self.violated(
                3,
                format!("number {number} is told position {position} after {before}"),
            );
        }
    }

    /// The position of one whose turn it is not is that of the line as the batch found it: with those before this number
    /// whom the batch calls or who leave in it.
    pub(crate) fn told_not_yet(&mut self, number: u32, position: u32, changes: &RoomChanges) {
        let room = &self.memory.room;
        let first = (changes.admission.as_ref())
            .map_or(room.serving_counter() + 1, |admission| admission.first);
        let waited = |before: &u32| {
            let waits = room.place(*before).map(|place| place.state) == Some(PlaceState::Waiting);
            let called = (changes.admission.as_ref())
                .is_some_and(|admission| admission.called.contains(before));
            waits || called || changes.left.contains(before)
        };
        let ahead = (first..number).filter(waited).count();
        if position as usize != ahead + 1 {
            self.violated(
                3,
                format!("number {number} is told position {position} with {ahead} ahead"),
            );
        }
    }

    /// A turn is over only when the rows say so.
    pub(crate) fn told_lapsed(&mut self, number: u32) {
        let until = self.store.tables().active_until(number);
        if until.is_some_and(|until| self.now < until) {
            self.violated(
                3,
                format!("number {number} is told that its turn is over, and it is not"),
            );
        }
    }

    fn told_hold(&mut self, hold: &Hold) {
        let row = self.store.tables().holds.get(&hold.hold_id);
        if row.is_none_or(|row| row.seats != hold.seats || row.expires_at != hold.expires_at) {
            self.violated(
                2,
                format!("{} is told and not saved like that", short(hold.hold_id.0)),
            );
        }
        let rank = hold_rank(hold.stage(self.now));
        let before = self
            .history
            .holds
            .insert(hold.hold_id, (hold.clone(), rank));
        if before.is_some_and(|(_, before)| rank < before) {
            self.violated(
                7,
                format!(
                    "{} is told in an earlier state than before",
                    short(hold.hold_id.0)
                ),
            );
        }
    }

    fn told_booking(&mut self, booking: &Booking) {
        let id = short(booking.booking_id.0);
        let row = self.store.tables().bookings.get(&booking.booking_id);
        if row.is_none_or(|row| row.state != booking.state || row.tickets != booking.tickets) {
            self.violated(
                2,
                format!("{id} is told {:?} and not saved like that", booking.state),
            );
        }
        let before = self
            .history
            .bookings
            .insert(booking.booking_id, booking.clone());
        if before.is_some_and(|before| booking_rank(&booking.state) < booking_rank(&before.state)) {
            self.violated(
                7,
                format!("{id} is told {:?} after a later state", booking.state),
            );
        }
    }

    /// A refusal is a result of the rules, never of a failure of ours.
    fn told_no(&mut self, request: &Request, refusal: &Refusal) {
        self.stats.refusals += 1;
        let (tables, account) = (self.store.tables(), self.account(request.fan));
        let wrong = if let (Ask::Hold { hold_id, .. }, Refusal::SeatTaken(seats)) =
            (&request.ask, refusal)
        {
            let others = |seat| {
                tables
                    .holds
                    .values()
                    .any(|hold| hold.hold_id != *hold_id && hold.seats.contains(seat))
            };
            !seats.iter().all(others)
        } else if let (
            Ask::Hold {
                pass: Some(pass), ..
            },
            Refusal::PassRequired | Refusal::PassExpired | Refusal::PassUsed,
        ) = (&request.ask, refusal)
        {
            let claims = self
                .signer
                .verify(Kind::Pass, pass)
                .filter(|claims| claims.account_id == account);
            claims
                .filter(|claims| self.now < claims.expires_at)
                .is_some_and(|claims| {
                    tables
                        .places
                        .get(&claims.number)
                        .is_some_and(|row| row.left_at.is_none() && !row.used)
                })
        } else if let (Ask::Book { hold_id, .. }, Refusal::HoldExpired | Refusal::NotFound) =
            (&request.ask, refusal)
        {
            tables.holds.get(hold_id).is_some_and(|hold| {
                hold.account_id == account
                    && hold.state == HoldState::Active
                    && self.now < hold.expires_at
            })
        } else {
            false
        };
        if wrong {
            self.violated(
                6,
                format!(
                    "fan {} is refused {refusal:?} without a reason in the store",
                    request.fan
                ),
            );
        }
    }
}

fn stage_rank(stage: Stage) -> u8 {
    match stage {
        Stage::Lobby => 0,
        Stage::Waiting => 1,
        Stage::Called => 2,
        Stage::Entered => 3,
        Stage::Lapsed => 4,
        Stage::Left => 5,
    }
}

fn hold_rank(stage: HoldStage) -> u8 {
    match stage {
        HoldStage::Active => 0,
        HoldStage::Confirmed | HoldStage::Expired => 1,
        HoldStage::Released => 2,
    }
}

pub(crate) fn booking_rank(state: &BookingState) -> u8 {
    match state {
        BookingState::Pending => 0,
        BookingState::Confirmed | BookingState::Refused(_) => 1,
        BookingState::Cancelled => 2,
    }
}
