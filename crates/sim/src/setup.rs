//! What a seed decides before the first step: hall, rules, how many fans, and which faults there are and how often.

use std::sync::Arc;

use boxoffice_core::Timestamp;
use boxoffice_core::admission::AdmissionPolicy;
use boxoffice_core::hold::HoldPolicy;
use boxoffice_core::sale::{Sale, Switch};
use boxoffice_core::seating::{NewArea, SeatNo, SeatingPlan};

use crate::rng::Rng;

/// The first instant of every run.
pub(crate) const START: Timestamp = Timestamp(1_000_000_000_000);

/// How often things go wrong, in ten thousand.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// The process ends, a step.
    pub(crate) crash: u32,
    /// A commit fails.
    pub(crate) refuse: u32,
    /// A failed commit of the room has happened all the same.
    pub(crate) taken_all_the_same: u32,
    /// A transaction of the room or of a teller is still under way, a step.
    pub(crate) slow_store: u32,
    /// A message is lost.
    pub(crate) lose: u32,
    /// A message is doubled.
    pub(crate) repeat: u32,
    /// A message takes seconds.
    pub(crate) slow: u32,
    /// The provider's answer is lost.
    pub(crate) silent: u32,
    /// The provider takes another amount.
    pub(crate) wrong_amount: u32,
    /// A mail is not taken.
    pub(crate) not_sent: u32,
    /// A mail may have been taken.
    pub(crate) unclear: u32,
}

impl Faults {
    /// Each seed has some faults often, some seldom, some never; every eighth has none.
    fn of(rng: &mut Rng) -> Self {
        if rng.chance(1_250) {
            return Self::default();
        }
        let mut often = |most: u32| match rng.below(3) {
            0 => 0,
            1 => most / 5,
            _ => most,
        };
        Self {
            crash: often(150),
            refuse: often(1_500),
            taken_all_the_same: often(6_000),
            slow_store: often(8_000),
            lose: often(1_000),
            repeat: often(1_500),
            slow: often(4_000),
            silent: often(3_000),
            wrong_amount: often(300),
            not_sent: often(2_000),
            unclear: often(8_000),
        }
    }
}

/// What a run is about.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) plan: Arc<SeatingPlan>,
    pub(crate) fans: usize,
    /// Whether there is a waiting room.
    pub(crate) waiting_room: bool,
    pub(crate) hold: HoldPolicy,
    pub(crate) sale: Sale,
    pub(crate) admission: AdmissionPolicy,
    pub(crate) faults: Faults,
}

impl Setup {
    /// The setup of a run.
    pub(crate) fn of(rng: &mut Rng) -> Self {
        let json = SeatingPlan::generate(rng.between(1, 2), rng.between(1, 2), rng.between(2, 4))
            .expect("a small hall is a hall");
        let area = NewArea {
            area: "Floor".to_owned(),
            section: "Floor".to_owned(),
            capacity: rng.between(1, 4),
        };
        let plan = SeatingPlan::parse(&json, &[area]).expect("what is generated can be read");
        let per_s = *rng
            .pick(&[0.5, 1.0, 2.5, 5.0, 40.0, 40.0])
            .expect("there are rates");
        Self {
            plan: Arc::new(plan),
            fans: rng.between(5, 14) as usize,
            waiting_room: !rng.chance(1_000),
            hold: HoldPolicy {
                ttl_s: rng.between(2, 15),
                seats_max: rng.between(2, 5),
            },
            sale: Sale {
                opens_at: START.plus_s(rng.between(0, 3)),
                lobby_opens_at: Some(START),
                closes_at: START.plus_s(86_400),
                switch: Switch::ByTime,
            },
            admission: AdmissionPolicy {
                per_s,
                active_max: rng.between(1, 8),
                pass_ttl_s: rng.between(6, 25),
                claim_within_s: rng.between(3, 8),
            },
            faults: Faults::of(rng),
        }
    }

    /// What a seat costs, in minor units: by its section.
    pub(crate) fn price(&self, seat: SeatNo) -> i64 {
        1_000 + 500 * i64::from(self.plan.spot(seat).section().0)
    }
}
