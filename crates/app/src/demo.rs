//! The halls of the two demo events that the first start on an empty store makes: a theatre and a festival.
//!
//! Both plans are in pretix's seating-plan JSON. Kept true: the same text at every start and on every machine,
//! so rows are bent by parabolas in whole numbers; every zone of the theatre has exactly one price level.

/// The theatre's price levels, dearest first: the name, which is also its seats' category in the plan, and the
/// sections that it covers.
pub(crate) const THEATRE_PRICE_LEVELS: &[(&str, &[&str])] = &[
    ("Premium", &["Front Stalls", "Circle Centre"]),
    ("Standard", &["Rear Stalls"]),
    ("Boxes", &["Boxes Left", "Boxes Right"]),
    ("Economy", &["Circle Left", "Circle Right"]),
];

/// The festival's standing areas: area, section, capacity.
pub(crate) const FESTIVAL_AREAS: &[(&str, &str, u32)] = &[
    ("Front of Stage", "Arena", 1_000),
    ("Meadow", "Meadow", 4_000),
];

/// Distance between neighbours in a row, in units of the plans.
const SEAT_PITCH: i32 = 20;
/// Distance between a row and the next one behind it.
const ROW_PITCH: i32 = 28;
/// Width of an aisle, beyond the distance that neighbours have anyway.
const AISLE: i32 = 40;
/// The line through the middle of the stage.
const MIDDLE: i32 = 600;
/// Rows are bent as if they lay round a point this far in front of them.
const BEND: i32 = 900;
/// The colour of outlines and letters.
const INK: &str = "#495057";

/// A theatre of 1,576 seats: stalls with two aisles, a circle in three parts, boxes along both walls.
pub(crate) fn theatre() -> String {
    let stage = rectangle("Stage", (-260, -150), (520, 70), "#ced4da");
    let zones = [
        zone("Front Stalls", (MIDDLE, 190), &stalls(0, 8, 28), &stage),
        zone("Rear Stalls", (MIDDLE, 454), &stalls(8, 16, 34), ""),
        zone("Circle Left", (MIDDLE, 1_130), &circle(-26, 14, -AISLE), ""),
        zone("Circle Centre", (MIDDLE, 1_130), &circle(-12, 24, 0), ""),
        zone("Circle Right", (MIDDLE, 1_130), &circle(12, 14, AISLE), ""),
        zone("Boxes Left", (40, 210), &boxes(), ""),
        zone("Boxes Right", (1_160, 210), &boxes(), ""),
    ];
    let colors = ["#e03131", "#1971c2", "#9c36b5", "#2f9e44"];
    let levels = THEATRE_PRICE_LEVELS.iter().zip(colors);
    let categories =
        levels.map(|((name, _), color)| format!(r#"{{"name":"{name}","color":"{color}"}}"#));
    plan(
        "Grand Theatre",
        (1_200, 1_520),
        &categories.collect::<Vec<_>>(),
        &zones,
    )
}

/// A field with a stage and the areas of [`FESTIVAL_AREAS`] drawn on it; nobody sits.
pub(crate) fn festival() -> String {
    let stage = rectangle("Stage", (200, 0), (400, 80), "#ced4da");
    let front = rectangle("Front of Stage", (100, 110), (600, 220), "#ffd8a8");
    let meadow = rectangle("Meadow", (0, 0), (800, 440), "#b2f2bb");
    let zones = [
        zone("Arena", (100, 40), &[], &format!("{stage},{front}")),
        zone("Meadow", (100, 400), &[], &meadow),
    ];
    plan("Riverside Field", (1_000, 880), &[], &zones)
}

/// A row: its name, and the place of each seat within the zone.
type Row = (String, Vec<(i32, i32)>);

/// Rows of the stalls, from letter number `first` on: every second one two seats longer than those before it,
/// with an aisle on either side of the middle half.
fn stalls(first: u8, rows: i32, seats: i32) -> Vec<Row> {
    let row = |(letter, number): (u8, i32)| {
        let seats = seats + number / 2 * 2;
        let place = |seat: i32| {
            let aisle =
                AISLE * (i32::from(seat >= seats - seats / 4) - i32::from(seat < seats / 4));
            bent((2 * seat + 1 - seats) * SEAT_PITCH / 2 + aisle, number)
        };
        (
            char::from(letter).to_string(),
            (0..seats).map(place).collect(),
        )
    };
    (b'A' + first..).zip(0..rows).map(row).collect()
}

/// Twelve rows of a part of the circle, which begins `from` seats from the middle, moved aside by `aisle`.
fn circle(from: i32, seats: i32, aisle: i32) -> Vec<Row> {
    let place = |seat: i32, row: i32| bent((2 * (from + seat) + 1) * SEAT_PITCH / 2 + aisle, row);
    let row = |(letter, row): (u8, i32)| {
        (
            char::from(letter).to_string(),
            (0..seats).map(|seat| place(seat, row)).collect(),
        )
    };
    (b'A'..).zip(0..12).map(row).collect()
}

/// Six boxes of four seats along a wall.
fn boxes() -> Vec<Row> {
    let seats = |number: i32| {
        (0..4)
            .map(|seat| (0, number * 100 + seat * SEAT_PITCH))
            .collect()
    };
    (0..6)
        .map(|number| ((number + 1).to_string(), seats(number)))
        .collect()
}

/// A place in a row, `aside` from the middle: the ends of a row come forward.
fn bent(aside: i32, row: i32) -> (i32, i32) {
    (aside, row * ROW_PITCH - aside * aside / (2 * BEND))
}

fn plan(
    name: &str,
    (width, height): (i32, i32),
    categories: &[String],
    zones: &[String],
) -> String {
    let (categories, zones) = (categories.join(","), zones.join(","));
    format!(
        r#"{{"name":"{name}","size":{{"width":{width},"height":{height}}},"categories":[{categories}],"zones":[{zones}]}}"#
    )
}

/// A zone with rows of seats, of the category that its price level has, and with drawings.
fn zone(name: &str, (x, y): (i32, i32), rows: &[Row], drawings: &str) -> String {
    let level = THEATRE_PRICE_LEVELS
        .iter()
        .find(|(_, sections)| sections.contains(&name));
    let category = level.map_or("", |(category, _)| category);
    let row = |(row, places): &Row| {
        let seat = |(seat, (x, y)): (usize, &(i32, i32))| {
            let number = seat + 1;
            format!(
                r#"{{"seat_guid":"{name} {row}-{number}","seat_number":"{number}","position":{{"x":{x},"y":{y}}},"category":"{category}"}}"#
            )
        };
        let seats: Vec<String> = places.iter().enumerate().map(seat).collect();
        format!(
            r#"{{"row_number":"{row}","row_number_position":"both","position":{{"x":0,"y":0}},"seats":[{}]}}"#,
            seats.join(",")
        )
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    format!(
        r#"{{"name":"{name}","position":{{"x":{x},"y":{y}}},"rows":[{}],"areas":[{drawings}]}}"#,
        rows.join(",")
    )
}

/// A drawing with its name in the middle.
fn rectangle(name: &str, (x, y): (i32, i32), (width, height): (i32, i32), color: &str) -> String {
    let (middle_x, middle_y) = (width / 2, height / 2);
    format!(
        r#"{{"shape":"rectangle","position":{{"x":{x},"y":{y}}},"rotation":0,"color":"{color}","border_color":"{INK}","rectangle":{{"width":{width},"height":{height}}},"text":{{"text":"{name}","color":"{INK}","size":20,"position":{{"x":{middle_x},"y":{middle_y}}}}}}}"#
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use boxoffice_core::seating::{Availability, NewArea, SeatNo, SeatingPlan, Spot, Wanted};

    use super::*;

    /// The guids of the best seats of a section.
    fn best(picture: &Availability, section: &str, quantity: u32) -> Vec<String> {
        let section = picture.plan().section_no(section);
        assert!(section.is_some());
        let wanted = Wanted {
            quantity,
            section,
            price_level: None,
            together: true,
        };
        let guid = |seat| match picture.plan().spot(seat) {
            Spot::Seat { guid, .. } => guid.to_owned(),
            Spot::Area { area, .. } => area.to_owned(),
        };
        picture
            .choose_best(&wanted)
            .unwrap()
            .into_iter()
            .map(guid)
            .collect()
    }

    #[test]
    fn the_theatre_has_its_seats_and_price_levels() {
        let plan = Arc::new(SeatingPlan::parse(&theatre(), &[]).unwrap());
        assert_eq!(plan.seats_total(), 1_576);
        let covered: Vec<&str> = THEATRE_PRICE_LEVELS
            .iter()
            .flat_map(|(_, sections)| sections.iter().copied())
            .collect();
        let sections: BTreeSet<&str> = plan.sections().iter().map(String::as_str).collect();
        assert_eq!(covered.len(), sections.len(), "each section once");
        assert_eq!(covered.iter().copied().collect::<BTreeSet<_>>(), sections);
        let (width, height) = (1_200, 1_520);
        let value: serde_json::Value = serde_json::from_str(&theatre()).unwrap();
        for zone in value["zones"].as_array().unwrap() {
            for seat in zone["rows"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|row| row["seats"].as_array().unwrap())
            {
                let at = |side: &str| {
                    zone["position"][side].as_i64().unwrap()
                        + seat["position"][side].as_i64().unwrap()
                };
                assert!(
                    (0..=width).contains(&at("x")) && (0..=height).contains(&at("y")),
                    "on the drawing: {seat}"
                );
            }
        }
        for seat in (0..plan.seats_total()).map(SeatNo) {
            let Spot::Seat {
                section, category, ..
            } = plan.spot(seat)
            else {
                panic!("no areas in the theatre")
            };
            let level = THEATRE_PRICE_LEVELS
                .iter()
                .find(|(name, _)| *name == category)
                .unwrap();
            assert!(
                level
                    .1
                    .contains(&plan.sections()[usize::from(section.0)].as_str())
            );
        }
    }

    #[test]
    fn the_best_of_the_theatre_is_the_middle_of_the_front() {
        let plan = Arc::new(SeatingPlan::parse(&theatre(), &[]).unwrap());
        let picture = Availability::new(Arc::clone(&plan), vec![0; plan.sections().len()]);
        assert_eq!(
            best(&picture, "Front Stalls", 2),
            ["Front Stalls A-14", "Front Stalls A-15"]
        );
        assert_eq!(best(&picture, "Boxes Left", 4).len(), 4);
        assert!(
            best(&picture, "Boxes Left", 4)
                .iter()
                .all(|guid| guid.starts_with("Boxes Left 1-"))
        );
        // Fourteen seats lie between the aisles of row A, so fifteen need a later row.
        assert!(
            best(&picture, "Front Stalls", 14)
                .iter()
                .all(|guid| guid.starts_with("Front Stalls A-"))
        );
        assert!(
            best(&picture, "Front Stalls", 15)
                .iter()
                .all(|guid| !guid.starts_with("Front Stalls A-"))
        );
    }

    #[test]
    fn the_festival_has_its_areas() {
        let areas = FESTIVAL_AREAS
            .iter()
            .map(|&(area, section, capacity)| NewArea {
                area: area.to_owned(),
                section: section.to_owned(),
                capacity,
            });
        let plan = SeatingPlan::parse(&festival(), &areas.collect::<Vec<_>>()).unwrap();
        assert_eq!((plan.seats_total(), plan.areas().len()), (5_000, 2));
        assert_eq!(plan.sections(), ["Arena", "Meadow"]);
    }
}
