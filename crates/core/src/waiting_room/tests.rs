//! The waiting room's rules, one by one and against a plain model.

use super::*;
use crate::sale::Switch;
use proptest::prelude::*;

const SALE: Sale = Sale {
    opens_at: Timestamp(0),
    lobby_opens_at: None,
    closes_at: Timestamp::MAX,
    switch: Switch::ByTime,
};

fn account(n: u8) -> AccountId {
    AccountId([n; 16])
}

fn policy(per_s: f64, active_max: u32) -> AdmissionPolicy {
    AdmissionPolicy {
        per_s,
        active_max,
        pass_ttl_s: 60,
        claim_within_s: 10,
    }
}

/// A room, its rules and a clock in our hand.
struct Hall {
    room: WaitingRoom,
    policy: AdmissionPolicy,
    now: Timestamp,
}

impl Hall {
    fn new(per_s: f64, active_max: u32) -> Self {
        Self {
            room: WaitingRoom::default(),
            policy: policy(per_s, active_max),
            now: Timestamp(1_000_000),
        }
    }

    fn batch<T>(&mut self, decide: impl FnOnce(&mut Draft<'_>) -> T) -> T {
        let mut draft = Draft::new(&self.room, self.now);
        let result = decide(&mut draft);
        draft.admit(&SALE, &self.policy);
        let changes = draft.into_changes();
        self.room.apply(&changes);
        result
    }

    fn join(&mut self, n: u8) -> bool {
        self.batch(|draft| draft.join(account(n), &SALE)).unwrap()
    }

    fn enter(&mut self, n: u8) -> Result<(u32, Timestamp, bool), Refusal> {
        let policy = self.policy;
        self.batch(|draft| draft.enter(account(n), &SALE, &policy))
    }

    fn view(&self, n: u8) -> PlaceView {
        self.room
            .view(account(n), &SALE, &self.policy, self.now)
            .unwrap()
    }

    fn later_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.batch(|_| ());
    }
}

#[test]
fn a_repeated_join_keeps_its_number_until_the_place_is_over() {
    let mut hall = Hall::new(1_000.0, 1);
    assert!(hall.join(1));
    assert!(hall.join(2));
    assert!(!hall.join(2));
    assert_eq!(hall.view(2).number, 2);
    hall.batch(|draft| draft.leave(account(2))).unwrap();
    assert_eq!(hall.view(2).stage, Stage::Left);
    assert!(hall.join(2));
    assert_eq!(hall.view(2).number, 3, "at the end of the line");
}

#[test]
fn two_joins_of_one_fan_in_one_batch_are_one_place() {
    let mut hall = Hall::new(0.0, 0);
    let news = hall.batch(|draft| [draft.join(account(1), &SALE), draft.join(account(1), &SALE)]);
    assert_eq!(news, [Ok(true), Ok(false)]);
    assert_eq!(hall.room.queue_counter(), 1);
}

#[test]
fn an_absent_fan_keeps_the_slot_until_the_claim_time_ends_and_not_a_moment_longer() {
    let mut hall = Hall::new(1_000.0, 1);
    hall.join(1);
    hall.later_ms(100);
    hall.join(2);
    assert_eq!(
        (hall.view(1).stage, hall.view(2).stage),
        (Stage::Called, Stage::Waiting)
    );
    let over = hall.view(1).expires_at.unwrap();
    assert_eq!(
        hall.room.next_wake(&SALE, &hall.policy, hall.now),
        Some(over),
        "the room wakes when the slot ends"
    );
    hall.now = Timestamp(over.0 - 1);
    hall.batch(|_| ());
    assert_eq!(hall.view(2).stage, Stage::Waiting);
    hall.now = over;
    hall.batch(|_| ());
    assert_eq!(
        (hall.view(1).stage, hall.view(2).stage),
        (Stage::Lapsed, Stage::Called)
    );
    assert_eq!(hall.enter(1), Err(Refusal::TurnLapsed));
    assert!(hall.join(1));
    assert_eq!(hall.view(1).number, 3);
}

#[test]
fn a_pass_is_the_same_on_every_repeat_and_gives_its_slot_back_when_used() {
    let mut hall = Hall::new(1_000.0, 1);
    hall.join(1);
    hall.join(2);
    let (number, expires_at, new) = hall.enter(1).unwrap();
    assert!((number, new) == (1, true) && expires_at == hall.now.plus_s(60));
    hall.later_ms(5_000);
    assert_eq!(hall.enter(1), Ok((1, expires_at, false)));
    assert!(matches!(
        hall.enter(2),
        Err(Refusal::NotYourTurn { position: 1, .. })
    ));
    hall.batch(|draft| draft.used(1));
    assert_eq!(
        (hall.view(1).stage, hall.view(2).stage),
        (Stage::Left, Stage::Called)
    );
    assert_eq!(hall.enter(1), Err(Refusal::NoPlace));
    assert_eq!(hall.enter(9), Err(Refusal::NoPlace));
}

#[test]
fn entering_and_leaving_at_once_leaves_the_slot_free() {
    let mut hall = Hall::new(1_000.0, 1);
    hall.join(1);
    let policy = hall.policy;
    hall.batch(|draft| {
        draft.enter(account(1), &SALE, &policy).unwrap();
        draft.leave(account(1)).unwrap();
    });
    assert_eq!(
        (hall.view(1).stage, hall.room.active(hall.now)),
        (Stage::Left, 0)
    );
}

#[test]
fn who_joins_and_asks_in_one_batch_is_told_the_true_position() {
    let mut hall = Hall::new(0.0, 0);
    hall.join(1);
    let policy = hall.policy;
    let asked = hall.batch(|draft| {
        draft.join(account(2), &SALE).unwrap();
        draft.join(account(3), &SALE).unwrap();
        draft.enter(account(3), &SALE, &policy)
    });
    assert_eq!(
        asked,
        Err(Refusal::NotYourTurn {
            position: 3,
            poll_after_ms: 1_000
        })
    );
    assert_eq!(hall.view(3).position, 3);
}

#[test]
fn positions_shrink_when_somebody_ahead_gives_up() {
    let mut hall = Hall::new(0.0, 0);
    for n in 1..=5 {
        hall.join(n);
    }
    assert_eq!(hall.view(5).position, 5);
    hall.batch(|draft| draft.leave(account(2))).unwrap();
    assert_eq!(
        (
            hall.view(5).position,
            hall.view(5).ahead,
            hall.view(1).position
        ),
        (4, 3, 1)
    );
    assert_eq!(hall.room.waiting(), 4);
}

#[test]
fn the_estimate_follows_the_rate_that_was_seen() {
    let mut hall = Hall::new(1_000.0, 10);
    for n in 0..=99 {
        hall.join(n);
    }
    // Ten slots, nobody enters: ten are called in each claim time of ten seconds, whatever the planned rate says.
    for _ in 0..300 {
        hall.later_ms(100);
    }
    let last = hall.view(99);
    let rate = hall.room.rate_seen(hall.now).unwrap();
    assert!((0.5..=2.0).contains(&rate), "{rate}");
    let expected = f64::from(last.ahead) / rate;
    assert!(
        (f64::from(last.eta_s.unwrap()) - expected).abs() <= 1.0,
        "{last:?} at {rate}"
    );
}

#[test]
fn polls_are_short_near_the_front_and_bounded_at_the_back() {
    assert!(poll_after_ms(0, Some(0)) <= 2_000);
    assert!(poll_after_ms(99, Some(40_000)) <= 2_000);
    assert_eq!(poll_after_ms(100_000, Some(40_000)), 20_000);
    assert_eq!(poll_after_ms(100_000, None), 20_000);
}

/// What may happen to a room.
#[derive(Clone, Debug)]
enum Step {
    Join(u8),
    Leave(u8),
    Enter(u8),
    Use(u8),
    Wait(u64),
    Rate(f64, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fan = 0_u8..30;
    let step = prop_oneof![
        6 => fan.clone().prop_map(Step::Join),
        2 => fan.clone().prop_map(Step::Leave),
        4 => fan.clone().prop_map(Step::Enter),
        2 => fan.prop_map(Step::Use),
        4 => (1_u64..15_000).prop_map(Step::Wait),
        1 => (0.0_f64..50.0, 0_u32..8).prop_map(|(per_s, active_max)| Step::Rate(per_s, active_max)),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..4), 1..200)
        .prop_map(|batches| batches.into_iter().flatten().collect())
}

proptest! {
    /// Whatever comes, in whatever order: numbers, order, ceiling, positions, and the counts hold; and a room put
    /// together again from what was saved is the same room.
    #[test]
    fn the_rules_hold_whatever_comes(steps in steps()) {
        let mut hall = Hall::new(20.0, 3);
        let mut saved = Saved::default();
        let mut positions: BTreeMap<(AccountId, u32), u32> = BTreeMap::new();
        for step in steps {
            let mut draft = Draft::new(&hall.room, hall.now);
            match step {
                Step::Join(n) => { draft.join(account(n), &SALE).unwrap(); }
                Step::Leave(n) => { let _ = draft.leave(account(n)); }
                Step::Enter(n) => { let _ = draft.enter(account(n), &SALE, &hall.policy); }
                Step::Use(n) => {
                    let inside = hall.room.number_of(account(n)).filter(|number| {
                        matches!(hall.room.place(*number).unwrap().state, PlaceState::Entered { .. })
                    });
                    if let Some(number) = inside { draft.used(number); }
                }
                Step::Wait(ms) => { drop(draft); hall.now = hall.now.plus_ms(ms); draft = Draft::new(&hall.room, hall.now); }
                Step::Rate(per_s, active_max) => hall.policy = policy(per_s, active_max),
            }
            let before = hall.room.serving_counter();
            draft.admit(&SALE, &hall.policy);
            let changes = draft.into_changes();
            if let Some(admission) = &changes.admission {
                prop_assert!(admission.called.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(admission.called.iter().all(|number| *number > before));
                prop_assert!(hall.room.active(hall.now) <= hall.policy.active_max.max(8));
            }
            saved.save(&changes);
            hall.room.apply(&changes);
            if changes.admission.is_some() {
                prop_assert!(hall.room.active(hall.now) <= hall.policy.active_max);
            }
            let live_waiting = (hall.room.serving_counter() + 1..=hall.room.queue_counter())
                .filter(|number| hall.room.place(*number).unwrap().state == PlaceState::Waiting).count();
            prop_assert_eq!(hall.room.waiting() as usize, live_waiting);
            for n in 0..30 {
                let Some(view) = hall.room.view(account(n), &SALE, &hall.policy, hall.now) else { continue };
                let ahead = (1..view.number).filter(|number| hall.room.place(*number).unwrap().state == PlaceState::Waiting).count();
                if view.stage == Stage::Waiting {
                    prop_assert_eq!(view.ahead as usize, ahead);
                    let last = positions.insert((account(n), view.number), view.position).unwrap_or(u32::MAX);
                    prop_assert!(view.position <= last, "a position grew");
                }
            }
            let again = saved.restore(hall.now);
            prop_assert_eq!(again.serving_counter(), hall.room.serving_counter());
            prop_assert_eq!(again.waiting(), hall.room.waiting());
            prop_assert_eq!(again.active(hall.now), hall.room.active(hall.now));
            for n in 0..30 {
                let (left, right) = (again.view(account(n), &SALE, &hall.policy, hall.now), hall.room.view(account(n), &SALE, &hall.policy, hall.now));
                prop_assert_eq!(left.map(|view| (view.number, view.stage, view.position, view.expires_at)), right.map(|view| (view.number, view.stage, view.position, view.expires_at)));
            }
        }
    }
}

/// The journal as a store keeps it.
#[derive(Default)]
struct Saved {
    places: Vec<StoredPlace>,
    admissions: Vec<Admission>,
}

impl Saved {
    fn save(&mut self, changes: &RoomChanges) {
        for (number, account) in &changes.joined {
            self.places.push(StoredPlace {
                number: *number,
                account: *account,
                entered_until: None,
                left: false,
                used: false,
            });
        }
        for number in &changes.left {
            self.places[*number as usize - 1].left = true;
        }
        for (number, until) in &changes.entered {
            self.places[*number as usize - 1].entered_until = Some(*until);
        }
        for number in &changes.used {
            self.places[*number as usize - 1].used = true;
        }
        self.admissions.extend(changes.admission.clone());
    }

    fn restore(&self, now: Timestamp) -> WaitingRoom {
        let mut restore = Restore::default();
        for place in &self.places {
            restore.place(*place);
        }
        for admission in &self.admissions {
            restore.admission(
                admission.last,
                admission.called.len() as u32,
                admission.at,
                admission.expires_at,
            );
        }
        restore.finish(now)
    }
}
