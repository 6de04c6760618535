//! The room's loop: a batch is drafted on the room in memory, saved, applied, answered; each is a step of its own, and the
//! process may end between any two.

use boxoffice_core::admission::AdmissionPolicy;
use boxoffice_core::booking::Work;
use boxoffice_core::pass::{Claims, Kind};
use boxoffice_core::sale::SaleState;
use boxoffice_core::waiting_room::{Draft, RoomChanges};
use boxoffice_core::{Refusal, Timestamp};

use crate::bug::Bug;
use crate::net::{Ask, Request, Said};
use crate::store::{NotSaved, PERFORMANCE};
use crate::world::World;

/// Requests in one batch.
const BATCH_MAX: usize = 6;
/// The epoch of every run's room.
pub(crate) const EPOCH: u32 = 1;

/// What became of a request.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    Joined(bool),
    Left,
    Entered(u32, Timestamp),
}

/// A request and what the draft decided about it.
pub(crate) type Decided = Vec<(Request, Result<Done, Refusal>)>;

/// Where the loop stands.
#[derive(Clone, Debug)]
pub(crate) enum RoomWork {
    Idle,
    Drafted(RoomChanges, Decided),
    Saved(RoomChanges, Decided),
    Applied(RoomChanges, Decided),
    /// A batch of this instant was not saved, or perhaps it was: the room is put together from the rows again.
    Reloading(Timestamp),
}

impl World {
    /// The next step of the loop.
    pub(crate) fn room_acts(&mut self) {
        match std::mem::replace(&mut self.memory.room_work, RoomWork::Idle) {
            RoomWork::Idle => self.room_drafts(),
            RoomWork::Drafted(changes, decided) => self.room_saves(changes, decided),
            RoomWork::Saved(changes, decided) => self.room_applies(changes, decided),
            RoomWork::Applied(changes, decided) => self.room_answers(&changes, decided),
            RoomWork::Reloading(at) => self.room_reloads(at),
        }
    }

    /// What the loop takes the rules to be.
    fn room_policy(&self) -> AdmissionPolicy {
        let mut policy = self.store.tables().admission;
        if self.has(Bug::CeilingIgnoresEntered) {
            let room = &self.memory.room;
            policy.active_max += room.active(self.now) - room.called(self.now);
        }
        policy
    }

    fn room_drafts(&mut self) {
        let (sale, policy) = (self.store.tables().sale, self.room_policy());
        let mut draft = Draft::new(&self.memory.room, self.now);
        let mut decided = Decided::new();
        for _ in 0..BATCH_MAX {
            let Some(request) = self.memory.room_queue.pop_front() else {
                break;
            };
            let account = self.fans[request.fan].account;
            let result = match &request.ask {
                Ask::Join => draft.join(account, &sale).map(Done::Joined),
                Ask::Leave => draft.leave(account).map(|()| Done::Left),
                Ask::Enter => draft
                    .enter(account, &sale, &policy)
                    .map(|(number, until, _)| Done::Entered(number, until)),
                Ask::Look
                | Ask::Hold { .. }
                | Ask::LookHold(_)
                | Ask::Release(_)
                | Ask::Book { .. }
                | Ask::LookBooking(_)
                | Ask::Cancel(_) => unreachable!("only asked of the room what is the room's"),
            };
            decided.push((request, result));
        }
        for number in self.memory.used.drain(..) {
            draft.used(number);
        }
        draft.admit(&sale, &policy);
        let changes = draft.into_changes();
        if !changes.is_empty() {
            self.note(format_args!(
                "room drafts {} joined, {} left, {} entered, {:?} used, admission {:?}",
                changes.joined.len(),
                changes.left.len(),
                changes.entered.len(),
                changes.used,
                changes
                    .admission
                    .as_ref()
                    .map(|admission| &admission.called)
            ));
        }
        if self.applies_early(&changes) {
            self.apply_to_room(&changes);
        }
        if self.has(Bug::AnswerBeforeSave) {
            self.room_answers(&changes, std::mem::take(&mut decided));
        }
        self.memory.room_work = RoomWork::Drafted(changes, decided);
    }

    /// Whether a planted bug makes these changes so before they are saved.
    fn applies_early(&self, changes: &RoomChanges) -> bool {
        let admits = self.has(Bug::CounterBeforeAdmission) && changes.admission.is_some();
        self.has(Bug::AnswerBeforeSave) || admits
    }

    fn room_saves(&mut self, changes: RoomChanges, decided: Decided) {
        if self.rng.chance(self.faults.slow_store) {
            self.memory.room_work = RoomWork::Drafted(changes, decided);
            return;
        }
        if changes.must_be_saved() {
            let (refuse, upsert) = (self.refuses(), self.has(Bug::NumberReused));
            let taken = refuse && self.rng.chance(self.faults.taken_all_the_same);
            let saved = self.store.commit(refuse && !taken, |tables| {
                tables.save_room(&changes, upsert)
            });
            self.stats.commits_unclear += u32::from(taken);
            match saved.and(if taken {
                Err(NotSaved::Refused)
            } else {
                Ok(())
            }) {
                Ok(()) => {
                    self.stats.joined +=
                        u32::try_from(changes.joined.len()).expect("a batch is small");
                    self.stats.entered +=
                        u32::try_from(changes.entered.len()).expect("a batch is small");
                    if let Some(admission) = &changes.admission {
                        self.note(format_args!("admission {:?} saved", admission.called));
                        self.stats.called +=
                            u32::try_from(admission.called.len()).expect("a batch is small");
                    }
                }
                Err(NotSaved::Refused) => {
                    self.note(format_args!("room: not saved"));
                    for (request, _) in decided {
                        self.answer(request, Said::Busy);
                    }
                    self.memory.room_work = RoomWork::Reloading(changes.now);
                    return;
                }
                Err(NotSaved::Conflict(row)) => {
                    self.violated(
                        3,
                        format!("the room's batch meets another {row} than it drafted on"),
                    );
                    return;
                }
            }
        }
        self.memory.room_work = RoomWork::Saved(changes, decided);
    }

    fn room_applies(&mut self, changes: RoomChanges, decided: Decided) {
        if !self.applies_early(&changes) {
            self.apply_to_room(&changes);
        }
        self.memory.room_work = RoomWork::Applied(changes, decided);
    }

    /// After a failure nobody knows what the journal took. Places used up in the lost batch are in the rows.
    fn room_reloads(&mut self, at: Timestamp) {
        if self.refuses() {
            self.memory.room_work = RoomWork::Reloading(at);
            return;
        }
        if !self.has(Bug::NotReloaded) {
            self.memory.room = self.store.tables().restore(self.now, 0);
        }
        self.memory.wake_at = self.room_wake();
        self.note(format_args!("room reloaded"));
    }

    /// Memory follows what is saved; streams carry it at once.
    fn apply_to_room(&mut self, changes: &RoomChanges) {
        self.memory.room.apply(changes);
        for number in changes
            .admission
            .iter()
            .flat_map(|admission| &admission.called)
        {
            let place = self
                .memory
                .room
                .place(*number)
                .expect("a called place is a place");
            let fan = usize::from(place.account.0[15]);
            if self.memory.listening.contains(&fan) {
                self.hears_call_on_stream(fan, *number);
            }
        }
        self.memory.wake_at = self.room_wake();
    }

    /// A stream tells its fan of a call.
    pub(crate) fn hears_call_on_stream(&mut self, fan: usize, number: u32) {
        self.stats.called_on_stream += 1;
        self.history.called_on_stream.insert(number);
        self.fans[fan].is_called();
        self.note(format_args!(
            "fan {fan} hears on the stream: {number} is called"
        ));
    }

    /// When the room acts unasked.
    pub(crate) fn room_wake(&self) -> Option<Timestamp> {
        let (room, tables) = (&self.memory.room, self.store.tables());
        if !self.setup.waiting_room {
            return None;
        }
        if self.has(Bug::AbsentStalls) && room.active(self.now) >= tables.admission.active_max {
            return tables.sale.next_change(self.now);
        }
        room.next_wake(&tables.sale, &tables.admission, self.now)
    }

    /// Answers, and hands the call on: those who are called see it now.
    fn room_answers(&mut self, changes: &RoomChanges, decided: Decided) {
        if let Some(admission) = &changes.admission {
            self.hand_to_teller(Work::Call(PERFORMANCE, admission.last));
        }
        let movers: Vec<usize> = (decided.iter())
            .filter(|(request, _)| matches!(request.ask, Ask::Join | Ask::Leave))
            .map(|(request, _)| request.fan)
            .collect();
        for (request, result) in decided {
            let number = self.memory.room.number_of(self.account(request.fan));
            // A place that comes or goes in this very batch may not be the one that was decided on.
            let same = !movers.contains(&request.fan);
            if let (Err(Refusal::TurnLapsed), Some(number), true) = (&result, number, same) {
                self.told_lapsed(number);
            }
            let said = match result {
                Ok(Done::Joined(new)) => self.said_place(request.fan, new),
                Ok(Done::Left) => Said::Left,
                Ok(Done::Entered(number, expires_at)) => {
                    let claims = Claims {
                        performance_id: PERFORMANCE,
                        epoch: EPOCH,
                        number,
                        account_id: self.account(request.fan),
                        expires_at,
                    };
                    Said::Pass {
                        number,
                        expires_at,
                        text: self.signer.sign(Kind::Pass, &claims),
                    }
                }
                Err(Refusal::NotYourTurn {
                    position,
                    poll_after_ms,
                }) => {
                    let left =
                        (changes.left.iter()).any(|left| self.is_place_of(*left, request.fan));
                    if let (Some(number), false) = (number, left) {
                        self.told_not_yet(number, position, changes);
                    }
                    self.said_not_yet(request.fan, position, poll_after_ms)
                }
                Err(refusal) => Said::Refused(refusal),
            };
            self.answer(request, said);
        }
    }

    /// The position is that of the room as it stands now: the draft looked at it before the batch, and others may have
    /// been told of it as it is after.
    fn said_not_yet(&mut self, fan: usize, decided: u32, poll_after_ms: u32) -> Said {
        let Said::Place(view, _) = self.said_place(fan, false) else {
            return Said::Refused(Refusal::NoPlace);
        };
        if view.position > 0 {
            self.told_position(view.number, view.position);
        }
        Said::Refused(Refusal::NotYourTurn {
            position: if view.position > 0 {
                view.position
            } else {
                decided
            },
            poll_after_ms,
        })
    }

    fn is_place_of(&self, number: u32, fan: usize) -> bool {
        let place = self.memory.room.place(number);
        place.is_some_and(|place| place.account == self.account(fan))
    }

    /// A fan asks for the own place; memory answers.
    pub(crate) fn look(&mut self, request: Request) {
        let said = self.said_place(request.fan, false);
        self.answer(request, said);
    }

    /// The instant of which places are shown: while a batch is on its way to the store, or may have got there, that of the
    /// batch. Otherwise a fan
    /// whose pass is just being saved could see the turn lapse first.
    pub(crate) fn shown_at(&self) -> Timestamp {
        match &self.memory.room_work {
            RoomWork::Drafted(..) | RoomWork::Saved(..) | RoomWork::Reloading(_)
                if self.has(Bug::ShownAhead) =>
            {
                self.now
            }
            RoomWork::Drafted(changes, _) | RoomWork::Saved(changes, _) => changes.now,
            RoomWork::Reloading(at) => *at,
            RoomWork::Idle | RoomWork::Applied(..) => self.now,
        }
    }

    fn said_place(&self, fan: usize, new: bool) -> Said {
        let tables = self.store.tables();
        let view = self.memory.room.view(
            self.account(fan),
            &tables.sale,
            &tables.admission,
            self.shown_at(),
        );
        view.map_or(Said::Refused(Refusal::NoPlace), |view| {
            Said::Place(view, new)
        })
    }

    /// The operator's word of this instant reaches the room.
    pub(crate) fn rules_changed(&mut self) {
        self.memory.wake_at = self.room_wake();
        let tables = self.store.tables();
        let state: SaleState = tables.sale.state(self.now);
        let (sale, policy) = (tables.sale, tables.admission);
        self.history.rules.push((self.now, sale, policy));
        self.note(format_args!("operator: {state:?}, {policy:?}"));
    }
}
