//! Reads a plan in pretix's seating-plan JSON, piece by piece, and names the spot of the first fault.
//!
//! Required is what that format's schema requires, and a name for each zone, since a zone is a section.
//! Keys that selling does not need (colours, labels, uuids, drawings, keys of newer versions) are passed over.
//!
//! Kept true: any text whatever ends in a plan or a fault; the stack is not used up by deep nesting, since
//! pieces are passed over without recursion; memory is bounded by the limits in `plan`, since each list is
//! counted while it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::layout::{Layout, Point};
use super::plan::{
    AREAS_MAX, Area, CATEGORIES_MAX, JSON_BYTES_MAX, NAME_CHARS_MAX, NewArea, PlanFault, Row,
    SEATS_MAX, SECTIONS_MAX, Seat, SeatNo, SeatingPlan, SectionNo,
};

/// Coordinates beyond this are refused: sums of them stay exact enough, and finite.
const COORDINATE_MAX: f64 = 1e9;

impl SeatingPlan {
    /// Reads a plan in pretix's seating-plan JSON, with the standing areas that are sold beside its seats.
    ///
    /// A plan without seats is good when there are areas.
    ///
    /// # Errors
    /// The first fault: not JSON, a field that is missing, of a wrong type or out of its limits, a `seat_guid`,
    /// zone name or area name used twice, a category that is not listed, nothing to sell, or too much.
    pub fn parse(json: &str, areas: &[NewArea]) -> Result<SeatingPlan, PlanFault> {
        if json.len() > JSON_BYTES_MAX {
            return Err(ROOT.fault(format!(
                "has {} bytes; send at most {JSON_BYTES_MAX}",
                json.len()
            )));
        }
        let raw: &RawValue = serde_json::from_str(json).map_err(|error| PlanFault {
            spot: format!("line {}, column {}", error.line(), error.column()),
            problem: format!("not JSON: {}; correct the text there", message(&error)),
        })?;
        let [name, zones, categories, size] =
            object(&ROOT, raw, ["name", "zones", "categories", "size"])?;
        let mut draft = Draft::default();
        // Name, size and categories only say how the plan is drawn: they are checked where they are given.
        let name = name.map_or(Ok(String::new()), |name| text(&ROOT.field("name"), name))?;
        if let Some(size) = size {
            size_of_drawing(&ROOT.field("size"), size)?;
        }
        let at = ROOT.field("zones");
        for (number, zone) in items(&at, required(&at, zones)?, SECTIONS_MAX)?
            .into_iter()
            .enumerate()
        {
            draft.read_zone(&at.item(number), zone)?;
        }
        if let Some(categories) = categories {
            draft.check_categories(&read_categories(&ROOT.field("categories"), categories)?)?;
        }
        let by_guid = draft.sort_guids()?;
        let areas = draft.read_areas(areas)?;
        if draft.seats.is_empty() && areas.is_empty() {
            return Err(ROOT
                .field("zones")
                .fault("no seat in any row, and no area; add a seat or an area to sell"));
        }
        let layout = Layout::new(&draft.rows, &draft.points);
        Ok(SeatingPlan {
            name,
            sections: draft.sections,
            section_numbers: draft.section_numbers,
            categories: draft.categories,
            rows: draft.rows,
            seats: draft.seats,
            by_guid,
            areas,
            layout,
        })
    }
}

/// What was read so far.
#[derive(Default)]
struct Draft {
    sections: Vec<String>,
    section_numbers: BTreeMap<String, SectionNo>,
    /// The categories that seats name, in the order in which they came up.
    categories: Vec<String>,
    category_numbers: BTreeMap<String, u16>,
    /// A seat that names the category.
    category_seats: Vec<usize>,
    rows: Vec<Row>,
    /// The zone of each row, and which of its rows it is: to name a spot afterwards.
    row_spots: Vec<(usize, usize)>,
    seats: Vec<Seat>,
    points: Vec<Point>,
}

impl Draft {
    fn read_zone(&mut self, at: &At, raw: &RawValue) -> Result<(), PlanFault> {
        let [name, position, rows, areas] = object(at, raw, ["name", "position", "rows", "areas"])?;
        let at_name = at.field("name");
        let name = filled(&at_name, text(&at_name, required(&at_name, name)?)?)?;
        let zone = self.sections.len();
        if self.section_numbers.contains_key(&name) {
            return Err(at_name.fault(format!(
                "\"{name}\" is also the name of an earlier zone; give each its own"
            )));
        }
        let section = self.section(name);
        let origin = match position {
            Some(position) => point(&at.field("position"), position)?,
            None => Point { x: 0.0, y: 0.0 },
        };
        if let Some(areas) = areas {
            items(&at.field("areas"), areas, SEATS_MAX as usize)?; // Drawings: only that they are a list.
        }
        let at = at.field("rows");
        let rows_max = SEATS_MAX as usize - self.rows.len();
        for (number, row) in items(&at, required(&at, rows)?, rows_max)?
            .into_iter()
            .enumerate()
        {
            self.row_spots.push((zone, number));
            self.read_row(&at.item(number), row, section, origin)?;
        }
        Ok(())
    }

    fn read_row(
        &mut self,
        at: &At,
        raw: &RawValue,
        section: SectionNo,
        zone: Point,
    ) -> Result<(), PlanFault> {
        let [number, position, seats] = object(at, raw, ["row_number", "position", "seats"])?;
        let at_number = at.field("row_number");
        let number = text(&at_number, required(&at_number, number)?)?;
        let row = match position {
            Some(position) => point(&at.field("position"), position)?,
            None => Point { x: 0.0, y: 0.0 },
        };
        let origin = Point {
            x: zone.x + row.x,
            y: zone.y + row.y,
        };
        let first = small(self.seats.len());
        self.rows.push(Row {
            number: number.into(),
            section,
            first,
        });
        let at = at.field("seats");
        let seats_max = SEATS_MAX as usize - self.seats.len();
        for (number, seat) in items(&at, required(&at, seats)?, seats_max)?
            .into_iter()
            .enumerate()
        {
            self.read_seat(&at.item(number), seat, origin)?;
        }
        Ok(())
    }

    fn read_seat(&mut self, at: &At, raw: &RawValue, row: Point) -> Result<(), PlanFault> {
        let [guid, number, position, category] = object(
            at,
            raw,
            ["seat_guid", "seat_number", "position", "category"],
        )?;
        let at_guid = at.field("seat_guid");
        let guid = filled(&at_guid, text(&at_guid, required(&at_guid, guid)?)?)?;
        let at_number = at.field("seat_number");
        let number = text(&at_number, required(&at_number, number)?)?;
        let position = required_point(&at.field("position"), position)?;
        let at_category = at.field("category");
        let category = text(&at_category, required(&at_category, category)?)?;
        let category = self.category(&at_category, category)?;
        let row_number = small(self.rows.len() - 1);
        self.seats.push(Seat {
            guid: guid.into(),
            number: number.into(),
            row: row_number,
            category,
        });
        self.points.push(Point {
            x: row.x + position.x,
            y: row.y + position.y,
        });
        Ok(())
    }

    fn category(&mut self, at: &At, name: String) -> Result<u16, PlanFault> {
        if let Some(&number) = self.category_numbers.get(&name) {
            return Ok(number);
        }
        if self.categories.len() == CATEGORIES_MAX {
            return Err(at.fault(format!(
                "one category too many; seats may name at most {CATEGORIES_MAX}"
            )));
        }
        let number = u16::try_from(self.categories.len()).expect("CATEGORIES_MAX fits");
        self.category_numbers.insert(name.clone(), number);
        self.categories.push(name);
        self.category_seats.push(self.seats.len());
        Ok(number)
    }

    fn check_categories(&self, listed: &BTreeSet<String>) -> Result<(), PlanFault> {
        let Some(unknown) = self
            .categories
            .iter()
            .position(|name| !listed.contains(name))
        else {
            return Ok(());
        };
        let name = &self.categories[unknown];
        Err(PlanFault {
            spot: self.seat_spot(self.category_seats[unknown], "category"),
            problem: format!(
                "\"{name}\" is not one of the plan's categories; add it to `categories`, or name one of them"
            ),
        })
    }

    /// The seats by guid, or the fault that two have the same.
    fn sort_guids(&self) -> Result<Vec<u32>, PlanFault> {
        let guid = |seat: u32| &self.seats[seat as usize].guid;
        let mut by_guid: Vec<u32> = (0..small(self.seats.len())).collect();
        by_guid.sort_unstable_by(|&a, &b| guid(a).cmp(guid(b)).then(a.cmp(&b)));
        let doubled = by_guid
            .windows(2)
            .filter(|pair| guid(pair[0]) == guid(pair[1]))
            .min_by_key(|pair| pair[1]);
        let Some(pair) = doubled else {
            return Ok(by_guid);
        };
        let (earlier, later) = (
            self.seat_spot(pair[0] as usize, "seat_guid"),
            self.seat_spot(pair[1] as usize, "seat_guid"),
        );
        let problem = format!(
            "\"{}\" is also the guid at {earlier}; give each seat its own",
            guid(pair[1])
        );
        Err(PlanFault {
            spot: later,
            problem,
        })
    }

    fn seat_spot(&self, seat: usize, field: &str) -> String {
        let row = self.seats[seat].row as usize;
        let (zone, in_zone) = self.row_spots[row];
        format!(
            "zones[{zone}].rows[{in_zone}].seats[{}].{field}",
            seat - self.rows[row].first as usize
        )
    }

    fn read_areas(&mut self, new: &[NewArea]) -> Result<Vec<Area>, PlanFault> {
        let list = ROOT.field("areas");
        if new.len() > AREAS_MAX {
            return Err(list.fault(format!("{} areas; give at most {AREAS_MAX}", new.len())));
        }
        let mut areas: Vec<Area> = Vec::with_capacity(new.len());
        let mut first = small(self.seats.len());
        for (number, area) in new.iter().enumerate() {
            let at = list.item(number);
            let name = filled(
                &at.field("area"),
                sound(&at.field("area"), area.area.clone())?,
            )?;
            if areas.iter().any(|earlier| earlier.name == name) {
                return Err(at.field("area").fault(format!(
                    "\"{name}\" is also the name of an earlier area; give each its own"
                )));
            }
            let at_section = at.field("section");
            let section_name = filled(&at_section, sound(&at_section, area.section.clone())?)?;
            if self.sections.len() == SECTIONS_MAX
                && !self.section_numbers.contains_key(&section_name)
            {
                return Err(at_section.fault(format!(
                    "one section too many; a plan has at most {SECTIONS_MAX}"
                )));
            }
            let at_capacity = at.field("capacity");
            if area.capacity == 0 {
                return Err(at_capacity.fault("is 0; say how many people the area takes, from 1"));
            }
            if area.capacity > SEATS_MAX - first {
                let problem =
                    "makes too many seats; lower it until seats and areas together have at most";
                return Err(at_capacity.fault(format!("{} {problem} {SEATS_MAX}", area.capacity)));
            }
            let section = self.section(section_name);
            areas.push(Area {
                name,
                section,
                first: SeatNo(first),
                capacity: area.capacity,
            });
            first += area.capacity;
        }
        Ok(areas)
    }

    /// The number of the section of this name, a new one where there is none yet.
    fn section(&mut self, name: String) -> SectionNo {
        let next = SectionNo(u16::try_from(self.sections.len()).expect("SECTIONS_MAX fits"));
        let number = *self.section_numbers.entry(name.clone()).or_insert(next);
        if number == next {
            self.sections.push(name);
        }
        number
    }
}

fn read_categories(at: &At, raw: &RawValue) -> Result<BTreeSet<String>, PlanFault> {
    let categories = items(at, raw, CATEGORIES_MAX)?;
    let names = categories
        .into_iter()
        .enumerate()
        .map(|(number, category)| {
            let at = at.item(number);
            let [name] = object(&at, category, ["name"])?;
            let at = at.field("name");
            text(&at, required(&at, name)?)
        });
    names.collect()
}

fn size_of_drawing(at: &At, raw: &RawValue) -> Result<(), PlanFault> {
    let [width, height] = object(at, raw, ["width", "height"])?;
    for (name, value) in [("width", width), ("height", height)] {
        let at = at.field(name);
        if coordinate(&at, required(&at, value)?)? < 0.0 {
            return Err(at.fault("is below 0; give the size of the drawing"));
        }
    }
    Ok(())
}

/// A count that the limits of a plan keep small.
fn small(count: usize) -> u32 {
    u32::try_from(count).expect("counts are kept below SEATS_MAX while reading")
}

/// Where in the plan we are; costs nothing until there is a fault to be named.
struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step,
}

enum Step {
    Field(&'static str),
    Item(usize),
}

const ROOT: At<'static> = At {
    parent: None,
    step: Step::Field("plan"),
};

impl<'a> At<'a> {
    fn field(&'a self, name: &'static str) -> At<'a> {
        At {
            parent: Some(self),
            step: Step::Field(name),
        }
    }

    fn item(&'a self, number: usize) -> At<'a> {
        At {
            parent: Some(self),
            step: Step::Item(number),
        }
    }

    fn fault(&self, problem: impl Into<String>) -> PlanFault {
        PlanFault {
            spot: self.to_string(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for At<'_> {
    /// The root shows only when it stands alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let above = self.parent.filter(|parent| parent.parent.is_some());
        if let Some(parent) = above {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if above.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Item(number) => write!(f, "[{number}]"),
        }
    }
}

fn required<'j>(at: &At, raw: Option<&'j RawValue>) -> Result<&'j RawValue, PlanFault> {
    raw.ok_or_else(|| at.fault("is missing; the format needs it, so add it here"))
}

/// The values of these keys; others are passed over.
fn object<'j, const N: usize>(
    at: &At,
    raw: &'j RawValue,
    names: [&'static str; N],
) -> Result<[Option<&'j RawValue>; N], PlanFault> {
    expect_kind(at, raw, Kind::Object)?;
    let mut json = serde_json::Deserializer::from_str(raw.get());
    json.deserialize_map(Fields(names))
        .map_err(|error| at.fault(message(&error)))
}

/// The items of a list of at most `count_max`.
fn items<'j>(at: &At, raw: &'j RawValue, count_max: usize) -> Result<Vec<&'j RawValue>, PlanFault> {
    expect_kind(at, raw, Kind::List)?;
    let mut json = serde_json::Deserializer::from_str(raw.get());
    json.deserialize_seq(Items { count_max })
        .map_err(|error| at.fault(message(&error)))
}

fn required_point(at: &At, raw: Option<&RawValue>) -> Result<Point, PlanFault> {
    point(at, required(at, raw)?)
}

fn point(at: &At, raw: &RawValue) -> Result<Point, PlanFault> {
    let [x, y] = object(at, raw, ["x", "y"])?;
    let (at_x, at_y) = (at.field("x"), at.field("y"));
    Ok(Point {
        x: coordinate(&at_x, required(&at_x, x)?)?,
        y: coordinate(&at_y, required(&at_y, y)?)?,
    })
}

fn coordinate(at: &At, raw: &RawValue) -> Result<f64, PlanFault> {
    expect_kind(at, raw, Kind::Number)?;
    match serde_json::from_str::<f64>(raw.get()) {
        Ok(value) if value.abs() <= COORDINATE_MAX => Ok(value),
        Ok(_) | Err(_) => Err(at.fault(format!(
            "is not a finite number within ±{COORDINATE_MAX}; give one"
        ))),
    }
}

fn text(at: &At, raw: &RawValue) -> Result<String, PlanFault> {
    expect_kind(at, raw, Kind::Text)?;
    // A character takes at most twelve bytes of JSON: longer ones need not be unpacked to be refused.
    if raw.get().len() > NAME_CHARS_MAX * 12 + 2 {
        return Err(too_long(at));
    }
    let unpacked = serde_json::from_str::<String>(raw.get()).map_err(|error| {
        at.fault(format!(
            "is not valid text: {}; write it without broken escapes",
            message(&error)
        ))
    })?;
    sound(at, unpacked)
}

/// A text within its limits.
fn sound(at: &At, text: String) -> Result<String, PlanFault> {
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(too_long(at));
    }
    if text.chars().any(char::is_control) {
        return Err(at.fault("has a control character in it; take it out"));
    }
    Ok(text)
}

fn too_long(at: &At) -> PlanFault {
    at.fault(format!(
        "is too long; use at most {NAME_CHARS_MAX} characters"
    ))
}

fn filled(at: &At, text: String) -> Result<String, PlanFault> {
    if text.trim().is_empty() {
        Err(at.fault("is empty; give it a name of its own"))
    } else {
        Ok(text)
    }
}

/// What a JSON value is, seen from its first byte; our parser has found it well-formed.
#[derive(Copy, Clone, PartialEq)]
enum Kind {
    Object,
    List,
    Text,
    Number,
    Truth,
    Null,
}

impl Kind {
    fn of(raw: &RawValue) -> Self {
        match raw.get().as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::List,
            Some(b'"') => Self::Text,
            Some(b't' | b'f') => Self::Truth,
            Some(b'n') => Self::Null,
            Some(_) | None => Self::Number,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Object => "an object {…}",
            Self::List => "a list […]",
            Self::Text => "a text in quotes",
            Self::Number => "a number",
            Self::Truth => "true or false",
            Self::Null => "null",
        }
    }
}

fn expect_kind(at: &At, raw: &RawValue, wanted: Kind) -> Result<(), PlanFault> {
    let found = Kind::of(raw);
    if found == wanted {
        return Ok(());
    }
    Err(at.fault(format!(
        "is {}; write {} here",
        found.words(),
        wanted.words()
    )))
}

/// The error's own words: its line and column count from the piece, and would mislead.
fn message(error: &serde_json::Error) -> String {
    let full = error.to_string();
    full.split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Takes the values of the named keys from an object, each at most once.
struct Fields<const N: usize>([&'static str; N]);

impl<'j, const N: usize> Visitor<'j> for Fields<N> {
    type Value = [Option<&'j RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Kind::Object.words())
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(key) = map.next_key_seed(Key(&self.0))? {
            let Some(at) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if found[at]
                .replace(map.next_value::<&'j RawValue>()?)
                .is_some()
            {
                return Err(A::Error::custom(format!(
                    "has `{}` twice; keep one",
                    self.0[at]
                )));
            }
        }
        Ok(found)
    }
}

/// Finds a key among the names, without keeping it.
struct Key<'n>(&'n [&'static str]);

impl<'j> DeserializeSeed<'j> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'j>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key in quotes")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

/// Takes the items of a list, counting them on the way.
struct Items {
    count_max: usize,
}

impl<'j> Visitor<'j> for Items {
    type Value = Vec<&'j RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Kind::List.words())
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == self.count_max {
                let problem = "is too long; a plan may have no more than";
                return Err(A::Error::custom(format!(
                    "{problem} {SEATS_MAX} seats, {SEATS_MAX} rows, {SECTIONS_MAX} zones and {CATEGORIES_MAX} categories"
                )));
            }
            items.push(item);
        }
        Ok(items)
    }
}
