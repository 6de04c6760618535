//! What is free, held and sold at one performance, with everything that choosing seats needs.
//!
//! Kept true: free + held + sold is the number of seats, in total, in each section and in each area; the
//! version grows by one with every change of a state and never otherwise; changing a seat costs a walk over
//! its stretch of the row, not over the hall.

use std::collections::VecDeque;
use std::sync::Arc;

use super::free_set::FreeSet;
use super::layout::{Layout, Point};
use super::plan::{Area, SeatNo, SeatingPlan, SectionNo};

/// How many of the latest changes are kept for [`Availability::changes_since`].
pub const CHANGES_MAX: usize = 16_384;

/// Costs run from 0 (the best place) to this (the farthest seat of those being sold).
const COST_MAX: f64 = 4_000_000.0;

/// What became of a seat.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeatState {
    /// Anybody may take it.
    Free,
    /// In a fan's hold.
    Held,
    /// In a confirmed booking.
    Sold,
}

/// How many seats are in which state.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Seats that anybody may take.
    pub free: u32,
    /// Seats in holds.
    pub held: u32,
    /// Seats in confirmed bookings.
    pub sold: u32,
}

impl Counts {
    fn of(&mut self, state: SeatState) -> &mut u32 {
        match state {
            SeatState::Free => &mut self.free,
            SeatState::Held => &mut self.held,
            SeatState::Sold => &mut self.sold,
        }
    }

    fn shift(&mut self, from: SeatState, to: SeatState) {
        *self.of(from) -= 1;
        *self.of(to) += 1;
    }
}

/// The three ways of narrowing what is sold; each has costs of its own, since each has a centre of its own.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Hall = 0,
    Section = 1,
    PriceLevel = 2,
}

const SCOPES: [Scope; 3] = [Scope::Hall, Scope::Section, Scope::PriceLevel];

/// Seats that are chosen from together: the hall, one section, or one price level.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) scope: Scope,
    /// Its stretches, each with the cost of its best seat, taken or not; the best first.
    pub(super) order: Vec<(u32, u32)>,
    /// Free numbered seats.
    pub(super) free: u32,
    /// The areas in it, as indices.
    pub(super) areas: Vec<usize>,
    /// The usual distance between neighbours, as a cost.
    pub(super) spacing: u32,
}

/// What choosing knows of one scope, by slot and by stretch.
#[derive(Debug)]
pub(super) struct Costs {
    /// How far each slot's seat is from the front and centre of its group.
    pub(super) of_slot: Vec<u32>,
    /// The least cost of a free seat of each stretch; `u32::MAX` when none is free.
    pub(super) free_min: Vec<u32>,
}

/// The picture of one performance's seats in memory: which are free, held, sold.
///
/// It keeps what choosing needs, so that the cost of a choice does not grow with the seats taken.
#[derive(Debug)]
pub struct Availability {
    pub(super) plan: Arc<SeatingPlan>,
    pub(super) price_level_of_section: Vec<u16>,
    states: Vec<SeatState>,
    counts: Counts,
    section_counts: Vec<Counts>,
    area_counts: Vec<Counts>,
    pub(super) area_free: Vec<FreeSet>,
    /// Whether the seat of each slot is free.
    pub(super) free: Vec<bool>,
    /// The lengths of each stretch's free runs, as `run_lengths` makes them.
    pub(super) runs: Vec<u128>,
    pub(super) costs: [Costs; 3],
    /// The hall, then each section, then each price level.
    pub(super) groups: Vec<Group>,
    /// The price levels, ascending: their groups follow those of the sections.
    pub(super) price_levels: Vec<u16>,
    version: u64,
    /// The seats of the latest changes, the last one being that of `version`.
    log: VecDeque<SeatNo>,
}

impl Availability {
    /// All seats free, at version 0. `price_level_of_section` has one entry per section of the plan; what the
    /// numbers mean is the caller's business.
    ///
    /// # Panics
    /// When there are more or fewer price levels than sections.
    pub fn new(plan: Arc<SeatingPlan>, price_level_of_section: Vec<u16>) -> Self {
        assert_eq!(
            plan.sections().len(),
            price_level_of_section.len(),
            "one price level per section"
        );
        let mut price_levels = price_level_of_section.clone();
        price_levels.sort_unstable();
        price_levels.dedup();
        let layout = &plan.layout;
        let costs = || Costs {
            of_slot: vec![0; layout.seats.len()],
            free_min: vec![u32::MAX; layout.stretches.len()],
        };
        let mut section_counts = vec![Counts::default(); plan.sections().len()];
        for seat in 0..plan.seats_total() {
            section_counts[usize::from(plan.spot(SeatNo(seat)).section().0)].free += 1;
        }
        let area_counts = |area: &Area| Counts {
            free: area.capacity,
            ..Counts::default()
        };
        let mut new = Self {
            states: vec![SeatState::Free; plan.seats_total() as usize],
            counts: Counts {
                free: plan.seats_total(),
                ..Counts::default()
            },
            section_counts,
            area_counts: plan.areas().iter().map(area_counts).collect(),
            area_free: plan
                .areas()
                .iter()
                .map(|area| FreeSet::full(area.capacity))
                .collect(),
            free: vec![true; layout.seats.len()],
            runs: layout
                .stretches
                .iter()
                .map(|stretch| run_lengths(&vec![true; stretch.slots.len()]))
                .collect(),
            costs: [costs(), costs(), costs()],
            groups: Vec::new(),
            price_level_of_section,
            price_levels,
            version: 0,
            log: VecDeque::new(),
            plan,
        };
        new.make_groups();
        new
    }

    /// The plan that this is a picture of.
    pub fn plan(&self) -> &Arc<SeatingPlan> {
        &self.plan
    }

    /// The price level of a section.
    pub fn price_level(&self, section: SectionNo) -> u16 {
        self.price_level_of_section[usize::from(section.0)]
    }

    /// Puts a seat into a state; the version grows by one when that is a change.
    ///
    /// # Panics
    /// When the seat is not of this plan.
    pub fn set(&mut self, seat: SeatNo, state: SeatState) {
        let old = std::mem::replace(&mut self.states[seat.0 as usize], state);
        if old == state {
            return;
        }
        let section = self.plan.spot(seat).section();
        self.counts.shift(old, state);
        self.section_counts[usize::from(section.0)].shift(old, state);
        self.version += 1;
        if self.log.len() == CHANGES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(seat);
        let Some(area) = self.plan.area_index(seat) else {
            if (old == SeatState::Free) != (state == SeatState::Free) {
                self.set_free(seat, section, state == SeatState::Free);
            }
            return;
        };
        self.area_counts[area].shift(old, state);
        let spot = seat.0 - self.plan.areas()[area].first.0;
        match state {
            SeatState::Free => self.area_free[area].insert(spot),
            SeatState::Held | SeatState::Sold => self.area_free[area].remove(spot),
        }
    }

    /// The state of a seat.
    ///
    /// # Panics
    /// When the seat is not of this plan.
    pub fn state(&self, seat: SeatNo) -> SeatState {
        self.states[seat.0 as usize]
    }

    /// How many seats and spots are in which state, in all.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many seats and spots of a section are in which state.
    ///
    /// # Panics
    /// When the section is not of this plan.
    pub fn section_counts(&self, section: SectionNo) -> Counts {
        self.section_counts[usize::from(section.0)]
    }

    /// How many spots of an area are in which state.
    ///
    /// # Panics
    /// When the area is not of this plan.
    pub fn area_counts(&self, area: &Area) -> Counts {
        self.area_counts[self
            .plan
            .area_index(area.first)
            .expect("the area is of this plan")]
    }

    /// Grows by one with every change of a state; 0 at first.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The seats that changed after `version`, each once with its state of now, by number. `None` when that is
    /// more than [`CHANGES_MAX`] changes ago, or a version that there never was.
    pub fn changes_since(&self, version: u64) -> Option<Vec<(SeatNo, SeatState)>> {
        let behind = usize::try_from(self.version.checked_sub(version)?).ok()?;
        let known = self.log.len().checked_sub(behind)?;
        let mut seats: Vec<SeatNo> = self.log.range(known..).copied().collect();
        seats.sort_unstable();
        seats.dedup();
        Some(
            seats
                .into_iter()
                .map(|seat| (seat, self.state(seat)))
                .collect(),
        )
    }

    /// The group of a scope that a section is in.
    pub(super) fn group_of(&self, scope: Scope, section: SectionNo) -> usize {
        match scope {
            Scope::Hall => 0,
            Scope::Section => 1 + usize::from(section.0),
            Scope::PriceLevel => {
                let level = self.price_levels.binary_search(&self.price_level(section));
                1 + self.plan.sections().len() + level.expect("price_levels has every section's")
            }
        }
    }

    /// A numbered seat was taken or became free.
    fn set_free(&mut self, seat: SeatNo, section: SectionNo, is_free: bool) {
        for scope in SCOPES {
            let group = self.group_of(scope, section);
            let free = &mut self.groups[group].free;
            *free = if is_free { *free + 1 } else { *free - 1 };
        }
        let layout = &self.plan.layout;
        let slot = layout.slots[seat.0 as usize] as usize;
        let stretch = layout.stretch_of[slot] as usize;
        let slots = layout.stretches[stretch].slots.clone();
        self.free[slot] = is_free;
        let free = &self.free[slots.clone()];
        self.runs[stretch] = run_lengths(free);
        for costs in &mut self.costs {
            let (cost, min) = (costs.of_slot[slot], &mut costs.free_min[stretch]);
            if is_free {
                *min = cost.min(*min);
            } else if cost == *min {
                let free_costs = free
                    .iter()
                    .zip(&costs.of_slot[slots.clone()])
                    .filter(|(free, _)| **free);
                *min = free_costs.map(|(_, cost)| *cost).min().unwrap_or(u32::MAX);
            }
        }
    }

    fn make_groups(&mut self) {
        let plan = Arc::clone(&self.plan);
        let sections = plan.sections().len();
        let mut stretches = vec![Vec::new(); 1 + sections + self.price_levels.len()];
        let mut areas = vec![Vec::new(); stretches.len()];
        for scope in SCOPES {
            for (number, stretch) in plan.layout.stretches.iter().enumerate() {
                stretches[self.group_of(scope, stretch.section)].push(number);
            }
            for (number, area) in plan.areas().iter().enumerate() {
                areas[self.group_of(scope, area.section)].push(number);
            }
        }
        for (number, (stretches, areas)) in stretches.iter().zip(areas).enumerate() {
            let scope = match number {
                0 => Scope::Hall,
                number if number <= sections => Scope::Section,
                _ => Scope::PriceLevel,
            };
            let group = group(
                &plan.layout,
                scope,
                stretches,
                areas,
                &mut self.costs[scope as usize],
            );
            self.groups.push(group);
        }
    }
}

/// Sets the costs of a group's seats: their distance from the middle of its front.
fn group(
    layout: &Layout,
    scope: Scope,
    stretches: &[usize],
    areas: Vec<usize>,
    costs: &mut Costs,
) -> Group {
    let slots = || {
        stretches
            .iter()
            .flat_map(|&stretch| layout.stretches[stretch].slots.clone())
    };
    let (mut left, mut right, mut front) = (f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY);
    for slot in slots() {
        let point = layout.points[slot];
        (left, right, front) = (left.min(point.x), right.max(point.x), front.min(point.y));
    }
    let focus = Point {
        x: f64::midpoint(left, right),
        y: front,
    };
    let reach = slots()
        .map(|slot| layout.points[slot].distance(focus))
        .fold(0.0, f64::max);
    let scale = if reach > 0.0 { COST_MAX / reach } else { 0.0 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most COST_MAX, and never negative"
    )]
    let cost = |distance: f64| (distance * scale).min(COST_MAX).round() as u32;
    for slot in slots() {
        costs.of_slot[slot] = cost(layout.points[slot].distance(focus));
    }
    let mut order = Vec::with_capacity(stretches.len());
    for &stretch in stretches {
        let least = costs.of_slot[layout.stretches[stretch].slots.clone()]
            .iter()
            .copied()
            .min()
            .unwrap_or(u32::MAX);
        costs.free_min[stretch] = least;
        order.push((
            least,
            u32::try_from(stretch).expect("no more stretches than seats"),
        ));
    }
    order.sort_unstable();
    let free = u32::try_from(slots().count()).expect("a plan has at most SEATS_MAX seats");
    Group {
        scope,
        order,
        free,
        areas,
        spacing: cost(layout.spacing),
    }
}

/// Bit `n` is set when there is a run of exactly `n` free seats; bit 127 when there is one of 127 or more.
pub(super) fn run_lengths(free: &[bool]) -> u128 {
    let mut lengths = 0;
    for run in runs(free) {
        lengths |= 1 << run.len().min(127);
    }
    lengths
}

/// The longest stretches of free seats beside one another.
pub(super) fn runs(free: &[bool]) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + free[at..].iter().position(|free| *free)?;
        let len = free[start..]
            .iter()
            .position(|free| !*free)
            .unwrap_or(free.len() - start);
        at = start + len;
        Some(start..at)
    })
}
