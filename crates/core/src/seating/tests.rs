//! Tests of seating through its public face: plans good and faulty, pictures that change, and choices held
//! against a plain search of every possibility.

use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;

use super::availability::{Scope, runs};
use super::*;

/// A plan of one zone per drawing, one row per line: a letter is a seat, a space a place without one.
fn drawn(zones: &[(&str, &[&str])]) -> String {
    let mut json = String::from(
        r#"{"name":"Drawn","size":{"width":1,"height":1},"categories":[{"name":"c"}],"zones":["#,
    );
    for (number, (zone, rows)) in zones.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let y = number * 1_000;
        write!(
            json,
            r#"{comma}{{"name":"{zone}","position":{{"x":0,"y":{y}}},"rows":["#
        )
        .unwrap();
        for (row, line) in rows.iter().enumerate() {
            let comma = if row == 0 { "" } else { "," };
            let y = row * 20;
            write!(
                json,
                r#"{comma}{{"row_number":"{}","position":{{"x":0,"y":{y}}},"seats":["#,
                row + 1
            )
            .unwrap();
            let places = line.char_indices().filter(|(_, place)| *place != ' ');
            for (count, (x, _)) in places.enumerate() {
                let comma = if count == 0 { "" } else { "," };
                let guid = format!("{zone}{}-{}", row + 1, x + 1);
                let (number, x) = (x + 1, x * 20);
                write!(
                    json,
                    r#"{comma}{{"seat_guid":"{guid}","seat_number":"{number}","#
                )
                .unwrap();
                write!(json, r#""position":{{"x":{x},"y":0}},"category":"c"}}"#).unwrap();
            }
            json.push_str("]}");
        }
        json.push_str("]}");
    }
    json.push_str("]}");
    json
}

/// A picture of a drawing: `x` is sold, `h` held, any other letter free. All sections at price level 0, 1, ….
fn picture(zones: &[(&str, &[&str])], areas: &[NewArea]) -> Availability {
    let plan = Arc::new(SeatingPlan::parse(&drawn(zones), areas).unwrap());
    let levels = (0..plan.sections().len())
        .map(|level| u16::try_from(level).unwrap())
        .collect();
    let mut picture = Availability::new(Arc::clone(&plan), levels);
    for (zone, rows) in zones {
        for (row, line) in rows.iter().enumerate() {
            for (x, place) in line.char_indices() {
                let seat = plan.seat_by_guid(&format!("{zone}{}-{}", row + 1, x + 1));
                match place {
                    'x' => picture.set(seat.unwrap(), SeatState::Sold),
                    'h' => picture.set(seat.unwrap(), SeatState::Held),
                    _ => (),
                }
            }
        }
    }
    picture
}

fn area(area: &str, section: &str, capacity: u32) -> NewArea {
    NewArea {
        area: area.to_owned(),
        section: section.to_owned(),
        capacity,
    }
}

const TOGETHER: Wanted = Wanted {
    quantity: 0,
    section: None,
    price_level: None,
    together: true,
};

/// The names of the chosen seats; areas by name.
fn named(picture: &Availability, chosen: Option<Vec<SeatNo>>) -> Option<Vec<String>> {
    let name = |seat| match picture.plan().spot(seat) {
        Spot::Seat { guid, .. } => guid.to_owned(),
        Spot::Area { area, .. } => area.to_owned(),
    };
    chosen.map(|seats| seats.into_iter().map(name).collect())
}

#[test]
fn a_plan_is_read_as_it_is() {
    let json = r##"{"name":"Hall","zones":[
        {"name":"Stalls","zone_id":"s","uuid":"z1","position":{"x":10,"y":20},"rows":[
            {"row_number":"A","row_label":"Row %s","seat_label":null,"row_number_position":"both","uuid":"r1","position":{"x":1.5,"y":2},
             "seats":[
                {"seat_guid":"s-A-1","seat_number":"1","position":{"x":0,"y":0},"category":"Best","radius":10,"start_direction":">","uuid":"x"},
                {"uuid":"y","category":"Rest","position":{"y":-3.25e0,"x":20},"seat_number":"2","seat_guid":"s-A-\u00e9\"2"}]},
            {"row_number":"","seats":[]}],
         "areas":[{"shape":"polygon","polygon":{"points":[{"x":1,"y":2}]},"color":"#fff","text":{"text":"Stage","position":{"x":0,"y":0}}}]},
        {"name":"Foyer","position":{"x":0,"y":0},"rows":[]}],
      "categories":[{"name":"Rest","color":"red"},{"name":"Best"}],"size":{"width":100,"height":50},"version":7}"##;
    let plan = SeatingPlan::parse(
        json,
        &[area("Floor", "Stalls", 3), area("Terrace", "Garden", 2)],
    )
    .unwrap();
    assert_eq!((plan.name(), plan.seats_total()), ("Hall", 7));
    assert_eq!(plan.sections(), ["Stalls", "Foyer", "Garden"]);
    assert_eq!(plan.section_no("Garden"), Some(SectionNo(2)));
    assert_eq!(plan.section_no("garden"), None);
    let stalls = SectionNo(0);
    let first = Spot::Seat {
        guid: "s-A-1",
        section: stalls,
        row: "A",
        number: "1",
        category: "Best",
    };
    let second = Spot::Seat {
        guid: "s-A-é\"2",
        section: stalls,
        row: "A",
        number: "2",
        category: "Rest",
    };
    assert_eq!(
        [plan.spot(SeatNo(0)), plan.spot(SeatNo(1))],
        [first, second]
    );
    assert_eq!(
        plan.spot(SeatNo(4)),
        Spot::Area {
            area: "Floor",
            section: stalls
        }
    );
    assert_eq!(
        plan.spot(SeatNo(5)),
        Spot::Area {
            area: "Terrace",
            section: SectionNo(2)
        }
    );
    assert_eq!(plan.seat_by_guid("s-A-é\"2"), Some(SeatNo(1)));
    assert_eq!(plan.seat_by_guid("s-A-3"), None);
    let terrace = Area {
        name: "Terrace".to_owned(),
        section: SectionNo(2),
        first: SeatNo(5),
        capacity: 2,
    };
    assert_eq!(
        (plan.area_by_name("Terrace"), plan.areas().len()),
        (Some(&terrace), 2)
    );
}

#[test]
#[should_panic(expected = "the caller asks for a seat of this plan")]
fn a_foreign_number_has_no_spot() {
    let plan = SeatingPlan::parse(&drawn(&[("A", &["aa"])]), &[area("Floor", "A", 3)]).unwrap();
    plan.spot(SeatNo(5));
}

/// Replaces one piece of a good plan with two zones of two rows of three seats.
fn spot_after(piece: &str, by: &str) -> String {
    let good = drawn(&[("A", &["aaa", "aaa"]), ("B", &["aaa", "aaa"])]);
    assert!(good.contains(piece), "{piece} is not in {good}");
    SeatingPlan::parse(&good.replacen(piece, by, 1), &[])
        .unwrap_err()
        .to_string()
}

/// A piece of a good plan, what stands there instead, and how the fault begins.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        r#""Drawn""#,
        "7",
        "name: is a number; write a text in quotes here",
    ),
    (
        r#""name":"Drawn""#,
        r#""name":"Drawn","name":"x""#,
        "plan: has `name` twice",
    ),
    (r#""width":1"#, r#""width":-1"#, "size.width: is below 0"),
    (
        r#"[{"name":"c"}]"#,
        "[{}]",
        "categories[0].name: is missing",
    ),
    (
        r#"[{"name":"c"}]"#,
        "[]",
        "zones[0].rows[0].seats[0].category: \"c\" is not one of the plan's categories",
    ),
    (r#""name":"B","#, "", "zones[1].name: is missing"),
    (
        r#""name":"B""#,
        r#""name":"A""#,
        "zones[1].name: \"A\" is also the name of an earlier zone",
    ),
    (r#""name":"B""#, r#""name":" ""#, "zones[1].name: is empty"),
    (
        r#""name":"B""#,
        r#""name":"a\u0000b""#,
        "zones[1].name: has a control character",
    ),
    (
        r#""name":"B""#,
        r#""name":"\ud800""#,
        "zones[1].name: is not valid text",
    ),
    (
        r#"{"x":0,"y":1000}"#,
        r#"{"x":0}"#,
        "zones[1].position.y: is missing",
    ),
    (
        r#"{"x":0,"y":1000}"#,
        r#"[0,1000]"#,
        "zones[1].position: is a list […]; write an object {…} here",
    ),
    (
        r#""row_number":"2","#,
        "",
        "zones[0].rows[1].row_number: is missing",
    ),
    (
        r#""row_number":"2","position":{"x":0,"y":20}"#,
        r#""row_number":"2","position":null"#,
        "zones[0].rows[1].position: is null",
    ),
    (
        r#""seat_guid":"A2-3""#,
        r#""seat_guid":"A1-2""#,
        "zones[0].rows[1].seats[2].seat_guid: \"A1-2\" is also the guid at zones[0].rows[0].seats[1].seat_guid",
    ),
    (
        r#""seat_guid":"A2-3""#,
        r#""seat_guid":"""#,
        "zones[0].rows[1].seats[2].seat_guid: is empty",
    ),
    (
        r#""seat_guid":"B2-3","#,
        "",
        "zones[1].rows[1].seats[2].seat_guid: is missing",
    ),
    (
        r#""seat_guid":"B2-3","seat_number":"3""#,
        r#""seat_guid":"B2-3","seat_number":3"#,
        "zones[1].rows[1].seats[2].seat_number: is a number; write a text in quotes",
    ),
    (
        r#"{"x":40,"y":0}"#,
        r#"{"x":1e999,"y":0}"#,
        "zones[0].rows[0].seats[2].position.x: is not a finite number",
    ),
    (
        r#"{"x":40,"y":0}"#,
        r#"{"x":1e10,"y":0}"#,
        "zones[0].rows[0].seats[2].position.x: is not a finite number",
    ),
    (
        r#"{"x":40,"y":0}"#,
        r#"{"x":"40","y":0}"#,
        "zones[0].rows[0].seats[2].position.x: is a text in quotes; write a number",
    ),
    (
        r#"{"x":40,"y":0},"category":"c""#,
        r#"{"x":40,"y":0},"category":"d""#,
        "zones[0].rows[0].seats[2].category: \"d\" is not one of",
    ),
    (
        r#"{"x":40,"y":0},"category":"c""#,
        r#"{"x":40,"y":0},"category":true"#,
        "zones[0].rows[0].seats[2].category: is true or false",
    ),
    (
        r#"{"seat_guid":"A1-1""#,
        r#"4,{"seat_guid":"A1-1""#,
        "zones[0].rows[0].seats[0]: is a number; write an object",
    ),
    (
        r#""zones":["#,
        r#""zones":{},"x":["#,
        "zones: is an object {…}; write a list […] here",
    ),
    (
        r#""name":"A","#,
        r#""name":"A","areas":{},"#,
        "zones[0].areas: is an object",
    ),
    (
        r#""categories":"#,
        r#""categories" "#,
        "line 1, column 60: not JSON: expected `:`",
    ),
];

#[test]
fn a_fault_is_named_at_its_spot() {
    for (piece, by, wanted) in FAULTS {
        let fault = spot_after(piece, by);
        assert!(fault.starts_with(wanted), "{by}: {fault}");
    }
    let long = "ü".repeat(191);
    let fault = spot_after("B2-3", &long);
    assert!(
        fault.starts_with("zones[1].rows[1].seats[2].seat_guid: is too long"),
        "{fault}"
    );
    let good = drawn(&[("A", &["aaa"])]).replacen("A1-3", &long[2..], 1);
    assert!(
        SeatingPlan::parse(&good, &[]).is_ok(),
        "190 characters are not too long"
    );
    let fault = spot_after("B2-3", &"x".repeat(100_000));
    assert!(fault.len() < 200, "{fault}");
}

#[test]
fn texts_that_are_no_plan_are_named_so() {
    let empty = r#"{"name":"","size":{"width":1,"height":1},"categories":[],"zones":[]}"#;
    for (json, wanted) in [
        ("", "line 1, column 0: not JSON: EOF"),
        ("{\n  \"name\": nul\n}", "line 3, column 0: not JSON"),
        ("null", "plan: is null; write an object"),
        ("[]", "plan: is a list"),
        ("{} {}", "line 1, column 4: not JSON: trailing characters"),
        (empty, "zones: no seat in any row, and no area"),
        (
            &"[".repeat(1_000_000),
            "line 1, column 1000000: not JSON: EOF",
        ),
        (
            &format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000)),
            "plan: is a list",
        ),
        (
            &" ".repeat(JSON_BYTES_MAX + 1),
            "plan: has 16000001 bytes; send at most 16000000",
        ),
    ] {
        let fault = SeatingPlan::parse(json, &[]).unwrap_err().to_string();
        assert!(fault.starts_with(wanted), "{fault}");
    }
    let deep = format!(
        r#"{}"x":{}{}}}"#,
        "{",
        "[".repeat(1_000_000),
        "]".repeat(1_000_000)
    );
    assert_eq!(SeatingPlan::parse(&deep, &[]).unwrap_err().spot, "zones");
    let deep = empty.replacen(
        '{',
        &format!(
            r#"{{"x":{}{},"#,
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        ),
        1,
    );
    assert_eq!(
        SeatingPlan::parse(&deep, &[area("Field", "Field", 5)])
            .unwrap()
            .seats_total(),
        5
    );
}

#[test]
fn limits_are_kept_while_reading() {
    let head = r#"{"name":"","size":{"width":1,"height":1},"categories":[{"name":"c"}],"zones":"#;
    let seat = r#"{"seat_guid":"s","seat_number":"","position":{"x":0,"y":0},"category":"c"}"#;
    let zone = |rows: &str| {
        format!(r#"{head}[{{"name":"z","position":{{"x":0,"y":0}},"rows":[{rows}]}}]}}"#)
    };
    let row = |seats: &str| format!(r#"{{"row_number":"","seats":[{seats}]}}"#);
    let many = vec!["0"; SEATS_MAX as usize + 1].join(",");
    let categories: Vec<String> = (0..=CATEGORIES_MAX)
        .map(|n| seat.replace("\"c\"", &format!("\"c{n}\"")))
        .collect();
    for (json, spot) in [
        (
            format!("{head}[{}]}}", vec!["0"; SECTIONS_MAX + 1].join(",")),
            "zones",
        ),
        (zone(&many), "zones[0].rows"),
        (zone(&row(&many)), "zones[0].rows[0].seats"),
        (
            zone(&format!(
                "{},{}",
                row(seat),
                row(&vec!["0"; SEATS_MAX as usize].join(","))
            )),
            "zones[0].rows[1].seats",
        ),
        (
            zone(&row(&categories.join(","))),
            "zones[0].rows[0].seats[10000].category",
        ),
    ] {
        let fault = SeatingPlan::parse(&json, &[]).unwrap_err();
        assert_eq!(fault.spot, spot, "{fault}");
        assert!(fault.problem.contains("too"), "{fault}");
    }
}

#[test]
fn faulty_areas_are_named() {
    let plan = drawn(&[("A", &["aaa"])]);
    let good = area("Floor", "A", 10);
    for (areas, wanted) in [
        (vec![area("", "A", 1)], "areas[0].area: is empty"),
        (
            vec![good.clone(), area("Floor", "B", 1)],
            "areas[1].area: \"Floor\" is also the name",
        ),
        (
            vec![good.clone(), area("Pit", "", 1)],
            "areas[1].section: is empty",
        ),
        (
            vec![good.clone(), area("Pit", "A", 0)],
            "areas[1].capacity: is 0",
        ),
        (
            vec![good.clone(), area("Pit", "A", SEATS_MAX - 12)],
            "areas[1].capacity: 99988 makes too many seats",
        ),
        (
            vec![area("Pit", "A", u32::MAX)],
            "areas[0].capacity: 4294967295 makes too many",
        ),
        (
            vec![area(&"x".repeat(191), "A", 1)],
            "areas[0].area: is too long",
        ),
        (
            (0..=AREAS_MAX)
                .map(|n| area(&n.to_string(), "A", 1))
                .collect(),
            "areas: 1001 areas",
        ),
    ] {
        let fault = SeatingPlan::parse(&plan, &areas).unwrap_err().to_string();
        assert!(fault.starts_with(wanted), "{fault}");
    }
    let full = SeatingPlan::parse(&plan, &[good, area("Pit", "A", SEATS_MAX - 13)]).unwrap();
    assert_eq!(full.seats_total(), SEATS_MAX);
}

#[test]
fn generated_sections_stand_beside_and_behind_one_another() {
    let plan = SeatingPlan::parse(&SeatingPlan::generate(28, 3, 4).unwrap(), &[]).unwrap();
    assert_eq!((plan.seats_total(), plan.sections().len()), (28 * 12, 28));
    assert_eq!(plan.sections()[27], "AB");
    let seat = plan.seat_by_guid("AB-3-4").unwrap();
    let wanted = Spot::Seat {
        guid: "AB-3-4",
        section: SectionNo(27),
        row: "3",
        number: "4",
        category: "AB",
    };
    assert_eq!((plan.spot(seat), seat), (wanted, SeatNo(28 * 12 - 1)));
    let layout = &plan.layout;
    let at = |guid: &str| {
        layout.points[layout.slots[plan.seat_by_guid(guid).unwrap().0 as usize] as usize]
    };
    assert_eq!(layout.stretches.len(), 28 * 3, "each row is one stretch");
    assert!(at("A-1-1").x < at("A-1-2").x && at("A-1-1").y < at("A-2-1").y);
    assert!(
        at("A-1-4").x < at("B-1-1").x
            && at("A-1-1").y == at("B-1-1").y
            && at("A-3-1").y < at("AB-1-1").y
    );
}

#[test]
fn the_best_seats_are_chosen() {
    let chosen = |rows: &[&str], quantity| {
        let picture = picture(&[("A", rows)], &[]);
        named(
            &picture,
            picture.choose_best(&Wanted {
                quantity,
                ..TOGETHER
            }),
        )
    };
    for (rows, quantity, wanted) in [
        // The middle of the front, and of the row that is free there.
        (
            &["aaaaaaa", "aaaaaaa"][..],
            3,
            Some(&["A1-3", "A1-4", "A1-5"][..]),
        ),
        (&["xxxxxxx", "aaaaaaa"], 3, Some(&["A2-3", "A2-4", "A2-5"])),
        (&["aaxxxaa", "aaaaaaa"], 1, Some(&["A2-4"])),
        (&["aaxhxaa", "xaaaaax"], 2, Some(&["A2-2", "A2-3"])),
        // No single seat is left where that can be avoided: not in the row, nor by the row behind.
        (&["aaaa"], 2, Some(&["A1-1", "A1-2"])),
        (&["xaaax", "aaaaa"], 2, Some(&["A2-1", "A2-2"])),
        (&["xaaax", "xaaax"], 2, Some(&["A1-2", "A1-3"])),
        (&["aaaaa"], 1, Some(&["A1-3"])),
        // Never across an aisle.
        (&["aa   aa", "aaa   a"], 3, Some(&["A2-1", "A2-2", "A2-3"])),
        // Never apart, when together is possible in principle.
        (&["aaxaa", "xxxxx", "xxxxx", "aaxxx"], 4, None),
        (&["axxax", "xaxxx", "xxxxa"], 2, None),
        // A party that no row could seat: as few groups as can be, near one another.
        (
            &["aax", "xxx", "xxx", "aaa", "aax"],
            5,
            Some(&["A4-1", "A4-2", "A4-3", "A5-1", "A5-2"]),
        ),
        (
            &["xxa", "aax", "xxx", "aax"],
            4,
            Some(&["A2-1", "A2-2", "A4-1", "A4-2"]),
        ),
        (&["axxax"], 3, None),
        (&["xx"], 1, None),
    ] {
        assert_eq!(
            chosen(rows, quantity).as_deref(),
            wanted
                .map(|seats| seats.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
                .as_deref(),
            "{rows:?}"
        );
    }
}

#[test]
fn single_seats_like_company() {
    let picture = picture(&[("A", &["axaxxaa", "aaxxxxx"])], &[]);
    let chosen = |quantity| {
        named(
            &picture,
            picture.choose_best(&Wanted {
                quantity,
                together: false,
                ..TOGETHER
            }),
        )
        .unwrap()
    };
    assert_eq!(chosen(1), ["A1-3"]);
    assert_eq!(chosen(2), ["A1-3", "A1-6"]);
    assert_eq!(chosen(3), ["A1-3", "A1-6", "A1-7"]);
    assert_eq!(chosen(6).len(), 6);
}

#[test]
fn a_choice_keeps_to_its_section_and_price_level() {
    let zones: &[(&str, &[&str])] = &[("A", &["aaa"]), ("B", &["aaaaa"])];
    let mut picture = picture(
        zones,
        &[
            area("Pit", "A", 3),
            area("Lawn", "Lawn", 4),
            area("Hill", "Lawn", 5),
        ],
    );
    let choose = |picture: &Availability, quantity, section: Option<&str>, price_level| {
        let section = section.map(|name| picture.plan().section_no(name).unwrap());
        named(
            picture,
            picture.choose_best(&Wanted {
                quantity,
                section,
                price_level,
                together: true,
            }),
        )
    };
    let b = ["B1-2", "B1-3", "B1-4"].map(str::to_owned).to_vec();
    assert_eq!(
        choose(&picture, 1, None, None),
        Some(vec!["A1-3".to_owned()])
    );
    assert_eq!(
        choose(&picture, 1, Some("B"), None),
        Some(vec!["B1-3".to_owned()])
    );
    assert_eq!(
        choose(&picture, 1, None, Some(1)),
        Some(vec!["B1-3".to_owned()])
    );
    assert_eq!(
        choose(&picture, 1, Some("B"), Some(1)),
        Some(vec!["B1-3".to_owned()])
    );
    assert_eq!(choose(&picture, 1, Some("B"), Some(0)), None);
    assert_eq!(choose(&picture, 1, None, Some(9)), None);
    assert_eq!(
        picture.choose_best(&Wanted {
            quantity: 1,
            section: Some(SectionNo(9)),
            ..TOGETHER
        }),
        None
    );
    for guid in ["B1-1", "B1-5"] {
        picture.set(picture.plan().seat_by_guid(guid).unwrap(), SeatState::Held);
    }
    assert_eq!(choose(&picture, 3, Some("B"), None), Some(b));
    assert_eq!(choose(&picture, 4, Some("B"), None), None);
    // Spots: of one area where it has room; seats and spots where neither is enough.
    assert_eq!(
        choose(&picture, 5, Some("Lawn"), None),
        Some(vec!["Hill".to_owned(); 5])
    );
    assert_eq!(
        choose(&picture, 4, Some("Lawn"), None),
        Some(vec!["Lawn".to_owned(); 4])
    );
    let both = choose(&picture, 7, Some("Lawn"), None).unwrap();
    assert_eq!(both.iter().filter(|name| *name == "Hill").count(), 5);
    assert_eq!(
        choose(&picture, 5, Some("A"), None).unwrap(),
        ["A1-1", "A1-2", "A1-3", "Pit", "Pit"]
    );
    assert_eq!(choose(&picture, 18, None, None).unwrap().len(), 18);
    assert_eq!(choose(&picture, 19, None, None), None);
    assert_eq!(choose(&picture, u32::MAX, None, None), None);
}

#[test]
fn an_area_gives_its_first_free_spots() {
    let mut picture = picture(&[("A", &["a"])], &[area("Pit", "A", 70_000)]);
    let pit = picture.plan().areas()[0].clone();
    for spot in 0..69_000 {
        picture.set(SeatNo(pit.first.0 + spot), SeatState::Held);
    }
    picture.set(SeatNo(pit.first.0 + 5), SeatState::Free);
    assert_eq!(
        picture.choose_in_area(&pit, 2),
        Some(vec![SeatNo(6), SeatNo(69_001)])
    );
    assert_eq!(
        picture.area_counts(&pit),
        Counts {
            free: 1_001,
            held: 68_999,
            sold: 0
        }
    );
    assert_eq!(
        picture.choose_in_area(&pit, 1_001).map(|seats| seats.len()),
        Some(1_001)
    );
    assert_eq!(picture.choose_in_area(&pit, 1_002), None);
}

#[test]
fn changes_reach_back_as_far_as_the_log() {
    let mut picture = picture(&[("A", &["aaa"])], &[]);
    picture.set(SeatNo(2), SeatState::Held);
    picture.set(SeatNo(2), SeatState::Held);
    picture.set(SeatNo(0), SeatState::Held);
    picture.set(SeatNo(2), SeatState::Sold);
    assert_eq!(picture.version(), 3);
    let (first, last) = ((SeatNo(0), SeatState::Held), (SeatNo(2), SeatState::Sold));
    assert_eq!(picture.changes_since(0), Some(vec![first, last]));
    assert_eq!(picture.changes_since(2), Some(vec![last]));
    assert_eq!(picture.changes_since(3), Some(vec![]));
    assert_eq!(picture.changes_since(4), None);
    for _ in 0..CHANGES_MAX / 2 {
        picture.set(SeatNo(1), SeatState::Held);
        picture.set(SeatNo(1), SeatState::Free);
    }
    assert_eq!(picture.changes_since(2), None);
    assert_eq!(
        picture.changes_since(3),
        Some(vec![(SeatNo(1), SeatState::Free)])
    );
}

/// What a plain search says of every window: whether it strands a seat, and its cost; the best one.
fn best_by_search(
    picture: &Availability,
    scope: Scope,
    group: usize,
    quantity: usize,
) -> Option<(bool, u64)> {
    let mut best = None;
    let layout = &picture.plan().layout;
    for stretch in &layout.stretches {
        if picture.group_of(scope, stretch.section) != group {
            continue;
        }
        for first in stretch.slots.clone() {
            let window = first..first + quantity;
            if window.end > stretch.slots.end
                || !picture.free[window.clone()].iter().all(|free| *free)
            {
                continue;
            }
            let ranked = rank(picture, scope, window.clone());
            best = Some(best.map_or(ranked, |best: (bool, u64)| best.min(ranked)));
        }
    }
    best
}

/// Whether a window leaves a single seat beside it, and its cost.
fn rank(picture: &Availability, scope: Scope, window: std::ops::Range<usize>) -> (bool, u64) {
    let layout = &picture.plan().layout;
    let stretch = &layout.stretches[layout.stretch_of[window.start] as usize].slots;
    let free = |slot: Option<usize>| {
        slot.is_some_and(|slot| stretch.contains(&slot) && picture.free[slot])
    };
    let single = |near: Option<usize>, far: Option<usize>| free(near) && !free(far);
    let strands = single(window.start.checked_sub(1), window.start.checked_sub(2))
        || single(Some(window.end), Some(window.end + 1));
    (
        strands,
        window
            .map(|slot| u64::from(picture.costs[scope as usize].of_slot[slot]))
            .sum(),
    )
}

/// Three zones of rows with aisles, and two areas; and how many seats of each row are struck out.
fn halls() -> impl Strategy<Value = Vec<Vec<String>>> {
    let row = proptest::collection::vec(
        prop_oneof![6 => Just('a'), 1 => Just(' '), 5 => Just('x')],
        1..14,
    );
    let row = row.prop_map(|places| places.into_iter().collect::<String>());
    proptest::collection::vec(proptest::collection::vec(row, 0..6), 3)
}

fn hall_picture(zones: &[Vec<String>]) -> Availability {
    let lines: Vec<Vec<&str>> = zones
        .iter()
        .map(|rows| rows.iter().map(String::as_str).collect())
        .collect();
    let zones: Vec<(&str, &[&str])> = ["A", "B", "C"]
        .into_iter()
        .zip(lines.iter().map(Vec::as_slice))
        .collect();
    let mut picture = picture(&zones, &[area("Pit", "B", 3), area("Lawn", "D", 70)]);
    picture.price_level_of_section = vec![4, 4, 7, 7];
    let mut fresh = Availability::new(Arc::clone(picture.plan()), vec![4, 4, 7, 7]);
    for seat in (0..picture.plan().seats_total()).map(SeatNo) {
        fresh.set(seat, picture.state(seat));
    }
    fresh
}

fn fits(picture: &Availability, wanted: &Wanted, seat: SeatNo) -> bool {
    let section = picture.plan().spot(seat).section();
    picture.state(seat) == SeatState::Free
        && wanted.section.is_none_or(|wanted| wanted == section)
        && wanted
            .price_level
            .is_none_or(|level| level == picture.price_level(section))
}

/// Checks one choice against everything that is promised of it.
fn check_choice(picture: &Availability, wanted: &Wanted) {
    let all = (0..picture.plan().seats_total())
        .map(SeatNo)
        .filter(|seat| fits(picture, wanted, *seat));
    let fitting: Vec<SeatNo> = all.collect();
    let numbered = fitting
        .iter()
        .filter(|seat| seat.0 < picture.plan().numbered_total())
        .count();
    let quantity = wanted.quantity as usize;
    let Some(chosen) = picture.choose_best(wanted) else {
        let apart = wanted.together && numbered >= quantity;
        assert!(
            fitting.len() < quantity || apart && could_sit_together(picture, wanted),
            "{wanted:?}: {} are free",
            fitting.len()
        );
        return;
    };
    assert_eq!(chosen.len(), quantity);
    assert!(
        chosen.is_sorted_by(|a, b| a < b),
        "distinct, by number: {chosen:?}"
    );
    assert!(
        chosen.iter().all(|seat| fits(picture, wanted, *seat)),
        "{wanted:?}: {chosen:?}"
    );
    assert_eq!(
        picture.choose_best(wanted),
        Some(chosen.clone()),
        "the same again"
    );
    if wanted.together && numbered >= quantity {
        check_together(picture, wanted, &chosen);
    }
}

/// Checks that numbered seats are the best window, or else as few groups as can be.
fn check_together(picture: &Availability, wanted: &Wanted, chosen: &[SeatNo]) {
    let quantity = chosen.len();
    let (scope, group) = scope_of(picture, wanted);
    let layout = &picture.plan().layout;
    let mut slots: Vec<usize> = chosen
        .iter()
        .map(|seat| layout.slots[seat.0 as usize] as usize)
        .collect();
    slots.sort_unstable();
    if let Some(best) = best_by_search(picture, scope, group, quantity) {
        assert_eq!(
            slots[quantity - 1] - slots[0],
            quantity - 1,
            "adjacent: {slots:?}"
        );
        assert_eq!(
            rank(picture, scope, slots[0]..slots[0] + quantity),
            best,
            "{wanted:?}"
        );
        return;
    }
    assert_eq!(
        groups_of(picture, &slots),
        groups_least(picture, scope, group, quantity),
        "{wanted:?}: {slots:?}"
    );
}

/// What is chosen from.
fn scope_of(picture: &Availability, wanted: &Wanted) -> (Scope, usize) {
    match (wanted.section, wanted.price_level) {
        (Some(section), _) => (Scope::Section, picture.group_of(Scope::Section, section)),
        (None, Some(level)) => {
            let section = picture
                .price_level_of_section
                .iter()
                .position(|of| *of == level)
                .unwrap();
            (
                Scope::PriceLevel,
                picture.group_of(
                    Scope::PriceLevel,
                    SectionNo(u16::try_from(section).unwrap()),
                ),
            )
        }
        (None, None) => (Scope::Hall, 0),
    }
}

/// Whether a row of the plan has so many seats between two aisles, but none has them free.
fn could_sit_together(picture: &Availability, wanted: &Wanted) -> bool {
    let (scope, group) = scope_of(picture, wanted);
    let quantity = wanted.quantity as usize;
    let layout = &picture.plan().layout;
    let in_scope = |at: usize| picture.group_of(scope, layout.stretches[at].section) == group;
    let longest = (0..layout.stretches.len())
        .filter(|at| in_scope(*at))
        .map(|at| layout.stretches[at].slots.len())
        .max();
    longest >= Some(quantity) && best_by_search(picture, scope, group, quantity).is_none()
}

/// How many groups of neighbours these slots are.
fn groups_of(picture: &Availability, slots: &[usize]) -> usize {
    let stretch_of = &picture.plan().layout.stretch_of;
    let apart =
        |pair: &&[usize]| pair[1] != pair[0] + 1 || stretch_of[pair[0]] != stretch_of[pair[1]];
    1 + slots.windows(2).filter(apart).count()
}

/// How many runs so many seats need, when the longest are taken first.
fn groups_least(picture: &Availability, scope: Scope, group: usize, quantity: usize) -> usize {
    let layout = &picture.plan().layout;
    let stretches = layout
        .stretches
        .iter()
        .filter(|stretch| picture.group_of(scope, stretch.section) == group);
    let runs = stretches.flat_map(|stretch| runs(&picture.free[stretch.slots.clone()]));
    let mut lengths: Vec<usize> = runs.map(|run| run.len()).collect();
    lengths.sort_unstable();
    let (mut missing, mut groups) = (quantity, 0);
    while missing > 0 {
        missing = missing.saturating_sub(lengths.pop().unwrap());
        groups += 1;
    }
    groups
}

/// Checks what is kept for choosing against the states it comes from.
fn check_kept(picture: &Availability) {
    let layout = &picture.plan().layout;
    let is_free = |slot: usize| picture.state(SeatNo(layout.seats[slot])) == SeatState::Free;
    for (number, stretch) in layout.stretches.iter().enumerate() {
        let free: Vec<bool> = stretch.slots.clone().map(is_free).collect();
        assert_eq!(free, picture.free[stretch.slots.clone()]);
        let lengths = runs(&free).fold(0, |lengths, run| lengths | 1_u128 << run.len());
        assert_eq!(lengths, picture.runs[number]);
        for costs in &picture.costs {
            let least = stretch
                .slots
                .clone()
                .filter(|slot| is_free(*slot))
                .map(|slot| costs.of_slot[slot])
                .min();
            assert_eq!(least.unwrap_or(u32::MAX), costs.free_min[number]);
        }
    }
    for (number, group) in picture.groups.iter().enumerate() {
        let slots = (0..layout.seats.len()).filter(|slot| {
            let section = layout.stretches[layout.stretch_of[*slot] as usize].section;
            is_free(*slot) && picture.group_of(group.scope, section) == number
        });
        assert_eq!(slots.count(), group.free as usize);
    }
}

fn check_counts(picture: &Availability) {
    let mut counts = Counts::default();
    let mut by_section = vec![Counts::default(); picture.plan().sections().len()];
    for seat in (0..picture.plan().seats_total()).map(SeatNo) {
        for counts in [
            &mut counts,
            &mut by_section[usize::from(picture.plan().spot(seat).section().0)],
        ] {
            match picture.state(seat) {
                SeatState::Free => counts.free += 1,
                SeatState::Held => counts.held += 1,
                SeatState::Sold => counts.sold += 1,
            }
        }
    }
    assert_eq!(counts, picture.counts());
    for (section, counts) in by_section.into_iter().enumerate() {
        assert_eq!(
            counts,
            picture.section_counts(SectionNo(u16::try_from(section).unwrap()))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn choices_are_as_promised(
        zones in halls(), quantity in 1_u32..9, section in proptest::option::of(0_u16..4),
        price_level in proptest::option::of(prop_oneof![Just(4_u16), Just(7)]), together in any::<bool>(),
    ) {
        let picture = hall_picture(&zones);
        for (section, price_level) in [(None, None), (section, None), (None, price_level), (section, price_level)] {
            let section = section.map(SectionNo);
            check_choice(&picture, &Wanted { quantity, section, price_level, together });
            check_choice(&picture, &Wanted { quantity: quantity * 12, section, price_level, together });
        }
    }

    #[test]
    fn a_picture_after_any_changes_is_a_fresh_picture_of_the_same(
        zones in halls(), changes in proptest::collection::vec((any::<u32>(), 0_u8..3), 0..200), since in 0_usize..200,
    ) {
        let mut picture = hall_picture(&zones);
        let mut behind = hall_picture(&zones);
        let start = picture.version();
        let (mut version, mut real) = (start, 0);
        for (number, (seat, state)) in changes.iter().enumerate() {
            let seat = SeatNo(seat % picture.plan().seats_total());
            let state = [SeatState::Free, SeatState::Held, SeatState::Sold][usize::from(*state)];
            real += u64::from(picture.state(seat) != state);
            picture.set(seat, state);
            if number < since {
                behind.set(seat, state);
                version = picture.version();
            }
        }
        prop_assert_eq!(picture.version(), start + real);
        check_counts(&picture);
        for (seat, state) in picture.changes_since(version).unwrap() {
            behind.set(seat, state);
        }
        // What is kept for choosing must be as if every seat had come to its state at once.
        let mut fresh = Availability::new(Arc::clone(picture.plan()), vec![4, 4, 7, 7]);
        for seat in (0..picture.plan().seats_total()).map(SeatNo) {
            prop_assert_eq!(picture.state(seat), behind.state(seat));
            fresh.set(seat, picture.state(seat));
        }
        check_kept(&picture);
        for quantity in 1..5 {
            let wanted = Wanted { quantity, ..TOGETHER };
            prop_assert_eq!(picture.choose_best(&wanted), fresh.choose_best(&wanted));
        }
    }

    #[test]
    fn a_generated_plan_can_be_read(sections in 1_u32..40, rows in 1_u32..8, seats_per_row in 1_u32..9) {
        let json = SeatingPlan::generate(sections, rows, seats_per_row).unwrap();
        let plan = SeatingPlan::parse(&json, &[]).unwrap();
        prop_assert_eq!(plan.seats_total(), sections * rows * seats_per_row);
        prop_assert_eq!(plan.sections().len(), sections as usize);
        for seat in (0..plan.seats_total()).map(SeatNo) {
            let Spot::Seat { guid, section, row, number, .. } = plan.spot(seat) else { panic!("no areas") };
            prop_assert_eq!(guid, format!("{}-{row}-{number}", plan.sections()[usize::from(section.0)]));
            prop_assert_eq!(plan.seat_by_guid(guid), Some(seat));
        }
    }

    #[test]
    fn a_mutated_plan_never_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..12, prop::sample::select(PIECES)), 1..5),
    ) {
        let mut text = drawn(&[("A", &["aa a", "a"]), ("B", &["aaa"])]).into_bytes();
        for (at, cut, piece) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, piece.bytes());
        }
        check_any_text(&String::from_utf8_lossy(&text));
    }

    #[test]
    fn any_text_is_a_plan_or_a_fault(text in ".{0,200}") {
        check_any_text(&text);
    }
}

/// Pieces that a faulty plan may have in the wrong place.
const PIECES: &[&str] = &[
    "",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "0",
    "-1e308",
    "1e999",
    "null",
    "true",
    "{}",
    "[]",
    "\\ud800",
    "\u{0}",
    "é",
    "\"A\"",
    "\"seats\":[]",
    "\"x\":1",
    "\"position\":{\"x\":1e9,\"y\":-1e9}",
    "{\"name\":\"A\"}",
    "\"seat_guid\":\"A1-1\"",
];

/// A text gives a fault with a spot and a short problem, or a plan that can be sold.
fn check_any_text(text: &str) {
    match SeatingPlan::parse(text, &[area("Pit", "A", 2)]) {
        Ok(plan) => {
            let levels = vec![0; plan.sections().len()];
            let mut picture = Availability::new(Arc::new(plan), levels);
            for quantity in [1, 2, 4, 7] {
                for seat in picture
                    .choose_best(&Wanted {
                        quantity,
                        ..TOGETHER
                    })
                    .unwrap_or_default()
                {
                    picture.set(seat, SeatState::Sold);
                }
            }
            check_counts(&picture);
        }
        Err(fault) => assert!(
            !fault.spot.is_empty() && fault.problem.len() < 1_500,
            "{fault}"
        ),
    }
}

/// A number that looks random, the same every time.
fn mixed(number: u64) -> u64 {
    let mixed = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (number >> 7))
        .wrapping_mul(0xD6E8_FEB8_6659_FD93);
    mixed ^ (mixed >> 32)
}

#[expect(clippy::disallowed_methods, reason = "this test measures time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// The mean time of a choice in µs, over wishes of 1 to 6 seats with and without a filter.
fn choice_us(picture: &Availability, together: bool) -> f64 {
    let started = now();
    let mut rounds = 0;
    for round in 0..40_u32 {
        for quantity in 1..=6 {
            let section = (round % 4 == 1).then(|| SectionNo(u16::try_from(round).unwrap()));
            let price_level = (round % 4 == 2).then_some(u16::try_from(round % 5).unwrap());
            std::hint::black_box(picture.choose_best(&Wanted {
                quantity,
                section,
                price_level,
                together,
            }));
            rounds += 1;
        }
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
}

#[test]
fn best_is_quick() {
    let plan =
        Arc::new(SeatingPlan::parse(&SeatingPlan::generate(50, 20, 50).unwrap(), &[]).unwrap());
    let levels: Vec<u16> = (0..50).map(|section| section / 10).collect();
    let bound_us = if cfg!(debug_assertions) {
        20_000.0
    } else {
        500.0
    };
    let mut worst: f64 = 0.0;
    let mut report = |what: String, picture: &Availability| {
        let (together, singly) = (choice_us(picture, true), choice_us(picture, false));
        println!(
            "{what}: {together:.1} µs together, {singly:.1} µs singly, {} free",
            picture.counts().free
        );
        worst = worst.max(together).max(singly);
    };
    // As it is sold: the best first, so that what is left lies at the edges.
    let mut picture = Availability::new(Arc::clone(&plan), levels.clone());
    let started = now();
    let mut choices = 0;
    for percent in [0, 25, 50, 75, 95, 99] {
        while picture.counts().sold < 500 * percent {
            let quantity = 1 + u32::try_from(mixed(choices) % 6).unwrap();
            choices += 1;
            for seat in picture
                .choose_best(&Wanted {
                    quantity,
                    ..TOGETHER
                })
                .unwrap()
            {
                picture.set(seat, SeatState::Sold);
            }
        }
        report(format!("{percent} % sold, the best first"), &picture);
    }
    println!(
        "sold by {choices} choices in {:.0} ms, measuring included",
        started.elapsed().as_secs_f64() * 1e3
    );
    // In no order: single free seats everywhere, so that parties must be split.
    for percent in [50, 90, 97, 99] {
        let mut picture = Availability::new(Arc::clone(&plan), levels.clone());
        for seat in (0..plan.seats_total()).filter(|seat| mixed(u64::from(*seat)) % 100 < percent) {
            picture.set(SeatNo(seat), SeatState::Sold);
        }
        report(format!("{percent} % sold, anywhere"), &picture);
    }
    // Every other seat: no two beside one another in the whole hall.
    let mut picture = Availability::new(Arc::clone(&plan), levels);
    for seat in (0..plan.seats_total()).step_by(2) {
        picture.set(SeatNo(seat), SeatState::Sold);
    }
    report("every other seat sold".to_owned(), &picture);
    assert!(worst < bound_us, "{worst:.1} µs for a choice");
}
