//! The seating plan of a hall: sections, rows, seats and standing areas, numbered densely.
//!
//! Kept true: seat numbers run from 0 in the order of the plan, then through the spots of each area; every
//! `seat_guid`, section name and area name occurs once; a plan never changes after it was made.

use std::collections::BTreeMap;

use super::layout::Layout;

/// Most seats of a plan, the spots of its areas included.
pub const SEATS_MAX: u32 = 100_000;
/// Most sections of a plan.
pub const SECTIONS_MAX: usize = 10_000;
/// Most standing areas beside a plan.
pub const AREAS_MAX: usize = 1_000;
/// Most categories of a plan.
pub const CATEGORIES_MAX: usize = 10_000;
/// Longest name, `seat_guid`, row or seat number, in characters.
pub const NAME_CHARS_MAX: usize = 190;
/// Longest text of a plan, in bytes; 100,000 generated seats take about ten million.
pub const JSON_BYTES_MAX: usize = 16_000_000;

/// The number of a seat or spot in its plan, from 0 to `seats_total() - 1`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatNo(pub u32);

/// The number of a section: an index into [`SeatingPlan::sections`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionNo(pub u16);

/// A standing area to be sold, given beside the plan: pretix's format only draws areas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewArea {
    /// The name of the area, unique in the plan.
    pub area: String,
    /// The section it belongs to: a zone's name, or a new one.
    pub section: String,
    /// How many people it takes, from 1.
    pub capacity: u32,
}

/// A standing area of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// The name of the area, unique in the plan.
    pub name: String,
    /// The section it belongs to.
    pub section: SectionNo,
    /// The number of its first spot; the others follow.
    pub first: SeatNo,
    /// How many spots it has, from 1.
    pub capacity: u32,
}

/// What a seat number stands for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Spot<'a> {
    /// A seat of the plan.
    Seat {
        /// Its `seat_guid`, unique in the plan.
        guid: &'a str,
        /// The section it is in.
        section: SectionNo,
        /// Its `row_number`; may be empty.
        row: &'a str,
        /// Its `seat_number`; may be empty.
        number: &'a str,
        /// Its category in the plan.
        category: &'a str,
    },
    /// One place to stand in an area.
    Area {
        /// The area's name.
        area: &'a str,
        /// The section of the area.
        section: SectionNo,
    },
}

impl Spot<'_> {
    /// The section that the seat or area is in.
    pub fn section(&self) -> SectionNo {
        match *self {
            Self::Seat { section, .. } | Self::Area { section, .. } => section,
        }
    }
}

/// What is wrong with a plan, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{spot}: {problem}")]
pub struct PlanFault {
    /// Where, such as `zones[2].rows[0].seats[5].seat_guid`, `areas[1].capacity` or `line 3, column 7`.
    pub spot: String,
    /// What is wrong there, and how to mend it; at most a few hundred characters.
    pub problem: String,
}

/// The plan of a hall.
#[derive(Debug)]
pub struct SeatingPlan {
    pub(super) name: String,
    pub(super) sections: Vec<String>,
    pub(super) section_numbers: BTreeMap<String, SectionNo>,
    pub(super) categories: Vec<String>,
    pub(super) rows: Vec<Row>,
    pub(super) seats: Vec<Seat>,
    /// Indices into `seats`, sorted by guid.
    pub(super) by_guid: Vec<u32>,
    pub(super) areas: Vec<Area>,
    pub(super) layout: Layout,
}

/// A row as the plan lists it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) number: Box<str>,
    pub(super) section: SectionNo,
    /// The number of its first seat; the next row's first seat ends it.
    pub(super) first: u32,
}

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) guid: Box<str>,
    pub(super) number: Box<str>,
    pub(super) row: u32,
    pub(super) category: u16,
}

impl SeatingPlan {
    /// The plan's own name; may be empty.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the sections: zones in the order of the plan, then sections that only areas name.
    pub fn sections(&self) -> &[String] {
        &self.sections
    }

    /// The number of the section of this name.
    pub fn section_no(&self, name: &str) -> Option<SectionNo> {
        self.section_numbers.get(name).copied()
    }

    /// How many seats there are, the spots of areas included: from 1 to [`SEATS_MAX`].
    pub fn seats_total(&self) -> u32 {
        self.areas
            .last()
            .map_or(self.numbered_total(), |area| area.first.0 + area.capacity)
    }

    /// What `seat` stands for.
    ///
    /// # Panics
    /// When the number is not of this plan.
    pub fn spot(&self, seat: SeatNo) -> Spot<'_> {
        let Some(named) = self.seats.get(seat.0 as usize) else {
            let area = &self.areas[self
                .area_index(seat)
                .expect("the caller asks for a seat of this plan")];
            return Spot::Area {
                area: &area.name,
                section: area.section,
            };
        };
        let row = &self.rows[named.row as usize];
        Spot::Seat {
            guid: &named.guid,
            section: row.section,
            row: &row.number,
            number: &named.number,
            category: &self.categories[usize::from(named.category)],
        }
    }

    /// The seat with this `seat_guid`.
    pub fn seat_by_guid(&self, guid: &str) -> Option<SeatNo> {
        let found = self
            .by_guid
            .binary_search_by(|&seat| self.seats[seat as usize].guid.as_ref().cmp(guid));
        found.ok().map(|at| SeatNo(self.by_guid[at]))
    }

    /// The standing areas, in the order in which they were given.
    pub fn areas(&self) -> &[Area] {
        &self.areas
    }

    /// The standing area of this name.
    pub fn area_by_name(&self, name: &str) -> Option<&Area> {
        self.areas.iter().find(|area| area.name == name)
    }

    /// How many numbered seats there are; the spots of areas come after them.
    pub(super) fn numbered_total(&self) -> u32 {
        u32::try_from(self.seats.len()).expect("a plan has at most SEATS_MAX seats")
    }

    /// The index of the area that `seat` is a spot of; none for a numbered seat or a foreign number.
    pub(super) fn area_index(&self, seat: SeatNo) -> Option<usize> {
        let after = self.areas.partition_point(|area| area.first <= seat);
        let at = after.checked_sub(1)?;
        (seat.0 - self.areas[at].first.0 < self.areas[at].capacity).then_some(at)
    }
}
