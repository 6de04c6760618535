//! Seating: the plan of a hall, what is free in it, and which seats are best.
//!
//! A [`SeatingPlan`] is read once from pretix's seating-plan JSON and never changes; a faulty plan is
//! refused with the spot of the fault. An [`Availability`] is one performance's copy: the state of every
//! seat, the changes since a version, and the choice of the best free seats. Both number seats densely from
//! 0, so that everything else is an index into an array.
//!
//! Kept true: nothing here panics on any plan text; free + held + sold is always the number of seats; the
//! same plan and the same changes give the same choice.

mod availability;
mod choose;
mod free_set;
mod generate;
mod layout;
mod parse;
mod plan;
#[cfg(test)]
mod tests;

pub use availability::{Availability, CHANGES_MAX, Counts, SeatState};
pub use choose::Wanted;
pub use plan::{
    AREAS_MAX, Area, CATEGORIES_MAX, JSON_BYTES_MAX, NAME_CHARS_MAX, NewArea, PlanFault, SEATS_MAX,
    SECTIONS_MAX, SeatNo, SeatingPlan, SectionNo, Spot,
};
