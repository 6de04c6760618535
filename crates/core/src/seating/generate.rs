//! A plan made from three numbers: sections of equal rows of equal length, in pretix's format.
//!
//! Kept true: what is made here can be read by [`SeatingPlan::parse`], and is the same for the same numbers.

use std::fmt::Write;

use super::plan::{PlanFault, SEATS_MAX, SECTIONS_MAX, SeatingPlan};

/// Distance between neighbours in a row, in units of the plan.
const SEAT_PITCH: u64 = 20;
/// Distance between a row and the next one behind it.
const ROW_PITCH: u64 = 26;
/// Width of the aisle between two sections.
const AISLE: u64 = 60;

impl SeatingPlan {
    /// A plan of `sections` sections called A, B, … Z, AA, …, each of `rows` rows of `seats_per_row` seats, as
    /// pretix JSON. Sections stand beside and behind one another so that the hall is about twice as wide as
    /// deep; the front is at small `y`. Seats have guids such as `B-12-7`: section, row, seat.
    ///
    /// # Errors
    /// A number is 0, there are more than [`SECTIONS_MAX`] sections, or more than [`SEATS_MAX`] seats.
    pub fn generate(sections: u32, rows: u32, seats_per_row: u32) -> Result<String, PlanFault> {
        for (name, value) in [
            ("sections", sections),
            ("rows", rows),
            ("seats_per_row", seats_per_row),
        ] {
            if value == 0 {
                return Err(fault(name, "is 0; give a whole number from 1".to_owned()));
            }
        }
        if sections as usize > SECTIONS_MAX {
            return Err(fault(
                "sections",
                format!("is {sections}; give at most {SECTIONS_MAX}"),
            ));
        }
        let seats = u128::from(sections) * u128::from(rows) * u128::from(seats_per_row);
        if seats > u128::from(SEATS_MAX) {
            let problem =
                format!("makes {seats} seats; lower a number until there are at most {SEATS_MAX}");
            return Err(PlanFault {
                spot: "generate".to_owned(),
                problem,
            });
        }
        Ok(Hall::new(sections, rows, seats_per_row).json())
    }
}

fn fault(name: &str, problem: String) -> PlanFault {
    PlanFault {
        spot: format!("generate.{name}"),
        problem,
    }
}

/// The measures of the hall to be drawn.
struct Hall {
    sections: u64,
    rows: u64,
    seats_per_row: u64,
    /// Sections beside one another.
    columns: u64,
    section_width: u64,
    section_depth: u64,
}

impl Hall {
    fn new(sections: u32, rows: u32, seats_per_row: u32) -> Self {
        let (sections, rows, seats_per_row) = (
            u64::from(sections),
            u64::from(rows),
            u64::from(seats_per_row),
        );
        let section_width = seats_per_row * SEAT_PITCH + AISLE;
        let section_depth = rows * ROW_PITCH + AISLE;
        let columns = (sections * 2 * section_depth / section_width)
            .isqrt()
            .clamp(1, sections);
        Self {
            sections,
            rows,
            seats_per_row,
            columns,
            section_width,
            section_depth,
        }
    }

    fn json(&self) -> String {
        let seats = self.sections * self.rows * self.seats_per_row;
        let mut json =
            String::with_capacity(usize::try_from(seats).map_or(0, |seats| seats * 96 + 1_000));
        let lines = self.sections.div_ceil(self.columns);
        self.write(&mut json, lines)
            .expect("writing to a String cannot fail");
        json
    }

    fn write(&self, json: &mut String, lines: u64) -> std::fmt::Result {
        let (width, height) = (
            self.columns * self.section_width,
            lines * self.section_depth,
        );
        let Self {
            sections,
            rows,
            seats_per_row,
            ..
        } = self;
        write!(
            json,
            r#"{{"name":"{sections} × {rows} × {seats_per_row} seats","#
        )?;
        write!(
            json,
            r#""size":{{"width":{width},"height":{height}}},"categories":["#
        )?;
        for section in 0..self.sections {
            let comma = if section == 0 { "" } else { "," };
            write!(
                json,
                r##"{comma}{{"name":"{}","color":"#4c6ef5"}}"##,
                section_name(section)
            )?;
        }
        json.push_str(r#"],"zones":["#);
        for section in 0..self.sections {
            json.push_str(if section == 0 { "" } else { "," });
            self.write_zone(json, section)?;
        }
        json.push_str("]}");
        Ok(())
    }

    fn write_zone(&self, json: &mut String, section: u64) -> std::fmt::Result {
        let name = section_name(section);
        let (line, column) = (section / self.columns, section % self.columns);
        // The last line may be short: it stands in the middle.
        let in_line = (self.sections - line * self.columns).min(self.columns);
        let x = column * self.section_width
            + (self.columns - in_line) * self.section_width / 2
            + AISLE / 2;
        let y = line * self.section_depth + AISLE / 2;
        write!(
            json,
            r#"{{"name":"{name}","position":{{"x":{x},"y":{y}}},"rows":["#
        )?;
        for row in 0..self.rows {
            let comma = if row == 0 { "" } else { "," };
            let (y, row) = (row * ROW_PITCH, row + 1);
            write!(
                json,
                r#"{comma}{{"row_number":"{row}","position":{{"x":0,"y":{y}}},"seats":["#
            )?;
            for seat in 0..self.seats_per_row {
                let comma = if seat == 0 { "" } else { "," };
                let (x, seat) = (seat * SEAT_PITCH, seat + 1);
                write!(
                    json,
                    r#"{comma}{{"seat_guid":"{name}-{row}-{seat}","seat_number":"{seat}","#
                )?;
                write!(
                    json,
                    r#""position":{{"x":{x},"y":0}},"category":"{name}"}}"#
                )?;
            }
            json.push_str("]}");
        }
        json.push_str(r#"],"areas":[]}"#);
        Ok(())
    }
}

/// A, B, … Z, AA, AB, …
fn section_name(section: u64) -> String {
    let mut name = Vec::new();
    let mut rest = section + 1;
    while rest > 0 {
        name.push(char::from(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[((rest - 1) % 26) as usize],
        ));
        rest = (rest - 1) / 26;
    }
    name.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_named_like_columns_of_a_sheet() {
        for (section, name) in [
            (0, "A"),
            (25, "Z"),
            (26, "AA"),
            (51, "AZ"),
            (52, "BA"),
            (701, "ZZ"),
            (702, "AAA"),
        ] {
            assert_eq!(section_name(section), name);
        }
    }

    #[test]
    fn refuses_numbers_out_of_range() {
        for (sections, rows, seats_per_row, spot) in [
            (0, 1, 1, "generate.sections"),
            (1, 0, 1, "generate.rows"),
            (1, 1, 0, "generate.seats_per_row"),
            (10_001, 1, 1, "generate.sections"),
            (1, 1_000, 101, "generate"),
            (u32::MAX, u32::MAX, u32::MAX, "generate.sections"),
            (1, u32::MAX, u32::MAX, "generate"),
        ] {
            assert_eq!(
                SeatingPlan::generate(sections, rows, seats_per_row)
                    .unwrap_err()
                    .spot,
                spot
            );
        }
    }

    #[test]
    fn the_largest_plan_can_be_read() {
        for (sections, rows, seats_per_row) in [
            (100, 20, 50),
            (10_000, 1, 10),
            (1, 1, 100_000),
            (1, 100_000, 1),
        ] {
            let json = SeatingPlan::generate(sections, rows, seats_per_row).unwrap();
            let plan = SeatingPlan::parse(&json, &[]).unwrap();
            assert_eq!(plan.seats_total(), 100_000);
        }
    }
}
