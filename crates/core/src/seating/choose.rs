//! Which free seats are best.
//!
//! A seat costs its distance from the middle of the front of what is being chosen from: the hall, a section
//! or a price level. Seats together are a window of a free run, within one row and between aisles. Better is
//! what leaves no single free seat beside it, then what costs least, then what comes first in the plan.
//!
//! Kept true: when a run is long enough the answer is one window; seats apart are given only to those who did not ask
//! to sit together, or who are more than any row has.
//! The cost of a choice: one look at each stretch that may still win, in order of the least that it can cost;
//! only stretches that have a run of a fitting length and a free seat near enough are walked over.

use std::collections::BinaryHeap;

use super::availability::{Availability, Group, run_lengths, runs};
use super::layout::Point;
use super::plan::{Area, SeatNo, SectionNo};

/// What a fan asks for when the seats are ours to choose.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How many seats, from 1.
    pub quantity: u32,
    /// Only seats of this section.
    pub section: Option<SectionNo>,
    /// Only seats of this price level.
    pub price_level: Option<u16>,
    /// Seats beside one another, as far as that can be.
    pub together: bool,
}

/// Free seats beside one another, by slot, and what they cost.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Window {
    cost: u64,
    first: usize,
}

impl Availability {
    /// The best free seats that fit, by number; `None` when not enough are free, or nothing fits.
    ///
    /// Together, they are adjacent, or there is no answer; only a party that no row of the plan could ever seat is
    /// split, into as few groups as can be, the best one first and each other near those before it. Not together, they
    /// are the best single seats, with some weight on sitting beside each other. Where too few numbered seats
    /// fit, they are spots of standing areas; where those are too few as well, some of both.
    pub fn choose_best(&self, wanted: &Wanted) -> Option<Vec<SeatNo>> {
        let group = self.group_for(wanted)?;
        let quantity = wanted.quantity as usize;
        if quantity == 0 {
            return Some(Vec::new());
        }
        if group.free < wanted.quantity {
            return self.choose_with_spots(group, quantity);
        }
        let slots = if wanted.together {
            self.together(group, quantity)?
        } else {
            self.singly(group, quantity)
        };
        assert_eq!(
            slots.len(),
            quantity,
            "enough seats are free, so enough are chosen"
        );
        let mut seats: Vec<SeatNo> = slots
            .into_iter()
            .map(|slot| SeatNo(self.plan.layout.seats[slot]))
            .collect();
        seats.sort_unstable();
        Some(seats)
    }

    /// The first free spots of an area; `None` when not enough are free. The cost depends on the quantity, not on
    /// the capacity.
    ///
    /// # Panics
    /// When the area is not of this plan.
    pub fn choose_in_area(&self, area: &Area, quantity: u32) -> Option<Vec<SeatNo>> {
        if self.area_counts(area).free < quantity {
            return None;
        }
        let at = self
            .plan
            .area_index(area.first)
            .expect("the area is of this plan");
        Some(
            self.area_free[at]
                .iter()
                .take(quantity as usize)
                .map(|spot| SeatNo(area.first.0 + spot))
                .collect(),
        )
    }

    /// The seats to choose from; none when no section fits.
    fn group_for(&self, wanted: &Wanted) -> Option<&Group> {
        match (wanted.section, wanted.price_level) {
            (None, None) => self.groups.first(),
            (Some(section), level) => {
                let found = self.price_level_of_section.get(usize::from(section.0))?;
                if level.is_some_and(|level| level != *found) {
                    return None;
                }
                self.groups.get(1 + usize::from(section.0))
            }
            (None, Some(level)) => {
                let at = self.price_levels.binary_search(&level).ok()?;
                self.groups.get(1 + self.plan.sections().len() + at)
            }
        }
    }

    /// Spots of areas: of one area if possible; with all free numbered seats when the spots are too few.
    fn choose_with_spots(&self, group: &Group, quantity: usize) -> Option<Vec<SeatNo>> {
        let areas = || {
            group
                .areas
                .iter()
                .map(|&at| (&self.plan.areas()[at], &self.area_free[at]))
        };
        let free_in = |area: &Area| self.area_counts(area).free as usize;
        let spots_free: usize = areas().map(|(area, _)| free_in(area)).sum();
        if group.free as usize + spots_free < quantity {
            return None;
        }
        let mut seats = Vec::with_capacity(quantity);
        if spots_free < quantity {
            let slots = group.order.iter().flat_map(|&(_, stretch)| {
                self.plan.layout.stretches[stretch as usize].slots.clone()
            });
            seats.extend(
                slots
                    .filter(|slot| self.free[*slot])
                    .map(|slot| SeatNo(self.plan.layout.seats[slot])),
            );
            seats.sort_unstable();
            seats.truncate(quantity);
        }
        let missing = quantity - seats.len();
        let mut by_fit: Vec<_> = areas().collect();
        // The first area with room for all that are missing; the roomiest first where none has.
        by_fit.sort_by_key(|(area, _)| missing.saturating_sub(free_in(area)));
        for (area, free) in by_fit {
            let missing = quantity - seats.len();
            seats.extend(
                free.iter()
                    .take(missing)
                    .map(|spot| SeatNo(area.first.0 + spot)),
            );
        }
        seats.sort_unstable();
        Some(seats)
    }

    fn together(&self, group: &Group, quantity: usize) -> Option<Vec<usize>> {
        if let Some(window) = self.best_window(group, quantity) {
            return Some((window.first..window.first + quantity).collect());
        }
        let stretch_len =
            |&(_, stretch): &(u32, u32)| self.plan.layout.stretches[stretch as usize].slots.len();
        let fits_a_row = group
            .order
            .iter()
            .any(|stretch| stretch_len(stretch) >= quantity);
        // Whoever asks to sit together and could, were the seats free, must not be given seats apart.
        (!fits_a_row).then(|| self.split(group, quantity))
    }

    /// The best window of this many seats: first among those that leave no single seat beside them.
    fn best_window(&self, group: &Group, quantity: usize) -> Option<Window> {
        self.best_window_of(group, quantity, true)
            .or_else(|| self.best_window_of(group, quantity, false))
    }

    fn best_window_of(&self, group: &Group, quantity: usize, clean: bool) -> Option<Window> {
        let costs = &self.costs[group.scope as usize];
        let all = |cost: u32| u64::from(cost) * quantity as u64;
        let mut best: Option<Window> = None;
        for &(cost_min, stretch) in &group.order {
            if best.is_some_and(|best| all(cost_min) >= best.cost) {
                break; // Nor can any later one be better.
            }
            let stretch = stretch as usize;
            if !may_fit(self.runs[stretch], quantity, clean)
                || best.is_some_and(|best| all(costs.free_min[stretch]) >= best.cost)
            {
                continue;
            }
            let slots = self.plan.layout.stretches[stretch].slots.clone();
            let found = window_in(
                &self.free[slots.clone()],
                &costs.of_slot[slots.clone()],
                quantity,
                clean,
            );
            if let Some(window) =
                found.filter(|window| best.is_none_or(|best| window.cost < best.cost))
            {
                best = Some(Window {
                    first: slots.start + window.first,
                    ..window
                });
            }
        }
        best
    }

    /// No run is long enough: the longest ones, the best of them first, then those nearest to what is taken.
    ///
    /// Always taking the longest run makes the fewest groups.
    fn split(&self, group: &Group, quantity: usize) -> Vec<usize> {
        let layout = &self.plan.layout;
        let (mut free, mut lengths) = (self.free.clone(), self.runs.clone());
        let mut taken: Vec<usize> = Vec::with_capacity(quantity);
        while taken.len() < quantity {
            let longest = group
                .order
                .iter()
                .map(|&(_, stretch)| longest(lengths[stretch as usize]))
                .max()
                .unwrap_or(0);
            let size = longest.min(quantity - taken.len());
            let first = if taken.is_empty() {
                self.best_window(group, size).map(|window| window.first)
            } else {
                self.nearest_window(
                    group,
                    &free,
                    &lengths,
                    size,
                    middle(taken.iter().map(|slot| layout.points[*slot])),
                )
            };
            let first = first.expect("a run of this length was just seen");
            let stretch = layout.stretch_of[first] as usize;
            taken.extend(first..first + size);
            free[first..first + size].fill(false);
            lengths[stretch] = run_lengths(&free[layout.stretches[stretch].slots.clone()]);
        }
        taken
    }

    /// The window nearest to a point; within a run rather one that leaves no single seat beside it.
    fn nearest_window(
        &self,
        group: &Group,
        free: &[bool],
        lengths: &[u128],
        size: usize,
        point: Point,
    ) -> Option<usize> {
        let layout = &self.plan.layout;
        let mut best: Option<(f64, usize)> = None;
        for &(_, number) in &group.order {
            let stretch = &layout.stretches[number as usize];
            if !may_fit(lengths[number as usize], size, false)
                || best.is_some_and(|(distance, _)| stretch.distance_min(point) >= distance)
            {
                continue;
            }
            let free = &free[stretch.slots.clone()];
            for run in runs(free).filter(|run| run.len() >= size) {
                let clean_exists = run.len() != size + 1;
                for first in run.start..=run.end - size {
                    let at = stretch.slots.start + first;
                    let distance =
                        middle(layout.points[at..at + size].iter().copied()).distance(point);
                    let fits = !clean_exists || leaves_no_single(&run, first, size);
                    if fits && best.is_none_or(|(least, _)| distance < least) {
                        best = Some((distance, at));
                    }
                }
            }
        }
        best.map(|(_, first)| first)
    }

    /// The best seats one by one. A seat beside one already taken may be up to three places worse, one with a
    /// free neighbour one place.
    fn singly(&self, group: &Group, quantity: usize) -> Vec<usize> {
        let mut near = self.cheapest(group, 2 * quantity + 16);
        let layout = &self.plan.layout;
        let beside =
            |a: usize, b: usize| a.abs_diff(b) == 1 && layout.stretch_of[a] == layout.stretch_of[b];
        let by_slot = {
            let mut slots: Vec<usize> = near.iter().map(|(_, slot)| *slot).collect();
            slots.sort_unstable();
            slots
        };
        let has = |slot: usize| by_slot.binary_search(&slot).is_ok();
        let spacing = i64::from(group.spacing);
        if quantity > 1 {
            for (cost, slot) in &mut near {
                let company = has(*slot + 1) && beside(*slot, *slot + 1)
                    || *slot > 0 && has(*slot - 1) && beside(*slot, *slot - 1);
                *cost -= if company { spacing } else { 0 };
            }
        }
        let mut taken = Vec::with_capacity(quantity);
        while taken.len() < quantity {
            let best = (0..near.len())
                .min_by_key(|&at| near[at])
                .expect("more candidates than seats wanted");
            let (_, slot) = near.swap_remove(best);
            taken.push(slot);
            for (cost, other) in &mut near {
                *cost -= if beside(*other, slot) { 2 * spacing } else { 0 };
            }
        }
        taken
    }

    /// The free seats of least cost, at most `count`, with their costs.
    fn cheapest(&self, group: &Group, count: usize) -> Vec<(i64, usize)> {
        let costs = &self.costs[group.scope as usize];
        let mut kept: BinaryHeap<(u32, usize)> = BinaryHeap::new();
        for &(cost_min, stretch) in &group.order {
            let worst = if kept.len() < count {
                u32::MAX
            } else {
                kept.peek().map_or(u32::MAX, |(cost, _)| *cost)
            };
            if cost_min >= worst {
                break;
            }
            if costs.free_min[stretch as usize] >= worst {
                continue;
            }
            for slot in self.plan.layout.stretches[stretch as usize].slots.clone() {
                if !self.free[slot] {
                    continue;
                }
                if kept.len() < count {
                    kept.push((costs.of_slot[slot], slot));
                } else if let Some(mut worst) = kept.peek_mut()
                    && (costs.of_slot[slot], slot) < *worst
                {
                    *worst = (costs.of_slot[slot], slot);
                }
            }
        }
        kept.into_iter()
            .map(|(cost, slot)| (i64::from(cost), slot))
            .collect()
    }
}

/// Whether runs of these lengths have room for so many seats; `clean`, without leaving a single one beside
/// them, which only a run of one seat more forces. Above what the bits can tell the answer is "perhaps".
fn may_fit(lengths: u128, quantity: usize, clean: bool) -> bool {
    let enough = lengths >> quantity.min(127);
    let fitting = if clean && quantity < 126 {
        enough & !0b10
    } else {
        enough
    };
    fitting != 0
}

/// The longest of these lengths, 127 standing for itself and all above.
fn longest(lengths: u128) -> usize {
    127 - (lengths.leading_zeros() as usize).min(127)
}

/// Whether a window leaves no single free seat between itself and the ends of its run.
fn leaves_no_single(run: &std::ops::Range<usize>, first: usize, quantity: usize) -> bool {
    first - run.start != 1 && run.end - (first + quantity) != 1
}

/// The window of least cost in one stretch.
fn window_in(free: &[bool], costs: &[u32], quantity: usize, clean: bool) -> Option<Window> {
    let mut best: Option<Window> = None;
    for run in runs(free).filter(|run| run.len() >= quantity) {
        let mut cost: u64 = costs[run.start..run.start + quantity]
            .iter()
            .map(|cost| u64::from(*cost))
            .sum();
        for first in run.start..=run.end - quantity {
            if first > run.start {
                cost = cost + u64::from(costs[first + quantity - 1]) - u64::from(costs[first - 1]);
            }
            if best.is_none_or(|best| cost < best.cost)
                && (!clean || leaves_no_single(&run, first, quantity))
            {
                best = Some(Window { cost, first });
            }
        }
    }
    best
}

/// The mean of some points.
fn middle(points: impl Iterator<Item = Point>) -> Point {
    let (mut sum, mut count) = (Point { x: 0.0, y: 0.0 }, 0.0);
    for point in points {
        sum = Point {
            x: sum.x + point.x,
            y: sum.y + point.y,
        };
        count += 1.0;
    }
    Point {
        x: sum.x / count,
        y: sum.y / count,
    }
}
