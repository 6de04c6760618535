//! Who sits beside whom: the seats of each row in order of position, cut into stretches at the aisles.
//!
//! Kept true: every seat has one slot; the slots of a stretch are consecutive, neighbours in it have
//! consecutive slots, and no two seats of different stretches are neighbours.

use std::ops::Range;

use super::plan::{Row, SectionNo};

/// A gap is an aisle when it is this many times as wide as the row's usual distance between seats.
const AISLE_FACTOR: f64 = 1.5;

/// A point of the plan, in its units; small `y` is the front.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

impl Point {
    /// The square root is exact to the last bit on every machine, so that choices are the same everywhere.
    pub(super) fn distance(self, other: Self) -> f64 {
        let (x, y) = (self.x - other.x, self.y - other.y);
        (x * x + y * y).sqrt()
    }
}

/// Seats of one row between two aisles.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub(super) section: SectionNo,
    /// Its slots.
    pub(super) slots: Range<usize>,
    /// The corners of the rectangle around its seats.
    pub(super) least: Point,
    pub(super) greatest: Point,
}

impl Stretch {
    /// No seat of the stretch is nearer to `point` than this.
    pub(super) fn distance_min(&self, point: Point) -> f64 {
        let nearest = Point {
            x: point.x.clamp(self.least.x, self.greatest.x),
            y: point.y.clamp(self.least.y, self.greatest.y),
        };
        nearest.distance(point)
    }
}

/// The numbered seats of a plan by slot.
#[derive(Debug)]
pub(super) struct Layout {
    /// The seat in each slot.
    pub(super) seats: Vec<u32>,
    /// The slot of each seat.
    pub(super) slots: Vec<u32>,
    /// Where each slot's seat is.
    pub(super) points: Vec<Point>,
    /// The stretch of each slot.
    pub(super) stretch_of: Vec<u32>,
    pub(super) stretches: Vec<Stretch>,
    /// The usual distance between neighbours in the plan; 0 when there are no neighbours.
    pub(super) spacing: f64,
}

impl Layout {
    /// `points` are the places of the seats in the order of the plan.
    pub(super) fn new(rows: &[Row], points: &[Point]) -> Self {
        let mut layout = Self {
            seats: Vec::with_capacity(points.len()),
            slots: vec![0; points.len()],
            points: Vec::with_capacity(points.len()),
            stretch_of: Vec::with_capacity(points.len()),
            stretches: Vec::new(),
            spacing: 0.0,
        };
        let orders: Vec<Vec<u32>> = (0..rows.len())
            .map(|row| order(seats_of(rows, row, points.len()), points))
            .collect();
        let gaps = |order: &[u32]| -> Vec<f64> {
            order
                .windows(2)
                .map(|pair| points[pair[0] as usize].distance(points[pair[1] as usize]))
                .collect()
        };
        let mut first = 0;
        while first < rows.len() {
            let section = rows[first].section;
            let end = first
                + rows[first..]
                    .iter()
                    .take_while(|row| row.section == section)
                    .count();
            let in_section = usual(
                orders[first..end]
                    .iter()
                    .flat_map(|order| gaps(order))
                    .collect(),
            );
            for order in &orders[first..end] {
                let gaps = gaps(order);
                // One gap alone cannot say whether it is an aisle: the section can.
                let spacing = if gaps.len() > 1 {
                    usual(gaps.clone())
                } else {
                    in_section
                };
                layout.push_row(section, order, &gaps, spacing, points);
            }
            first = end;
        }
        layout.spacing = usual(orders.iter().flat_map(|order| gaps(order)).collect());
        layout
    }

    fn push_row(
        &mut self,
        section: SectionNo,
        order: &[u32],
        gaps: &[f64],
        spacing: f64,
        points: &[Point],
    ) {
        for (at, &seat) in order.iter().enumerate() {
            let point = points[seat as usize];
            if at == 0 || (spacing > 0.0 && gaps[at - 1] > spacing * AISLE_FACTOR) {
                let slots = self.seats.len()..self.seats.len();
                self.stretches.push(Stretch {
                    section,
                    slots,
                    least: point,
                    greatest: point,
                });
            }
            self.slots[seat as usize] =
                u32::try_from(self.seats.len()).expect("a plan has at most SEATS_MAX seats");
            self.seats.push(seat);
            self.points.push(point);
            self.stretch_of.push(
                u32::try_from(self.stretches.len() - 1).expect("no more stretches than seats"),
            );
            let stretch = self
                .stretches
                .last_mut()
                .expect("the first seat of a row begins a stretch");
            stretch.slots.end = self.seats.len();
            stretch.least = Point {
                x: stretch.least.x.min(point.x),
                y: stretch.least.y.min(point.y),
            };
            stretch.greatest = Point {
                x: stretch.greatest.x.max(point.x),
                y: stretch.greatest.y.max(point.y),
            };
        }
    }
}

/// The seats of a row in the order of the plan.
fn seats_of(rows: &[Row], row: usize, seats_total: usize) -> Range<usize> {
    rows[row].first as usize
        ..rows
            .get(row + 1)
            .map_or(seats_total, |next| next.first as usize)
}

/// The seats of a row from one end to the other: along the longer side of the row, or as the plan lists them
/// where that is the shorter way, as in a row that bends round the stage.
fn order(seats: Range<usize>, points: &[Point]) -> Vec<u32> {
    let listed: Vec<u32> = seats
        .map(|seat| u32::try_from(seat).expect("a plan has at most SEATS_MAX seats"))
        .collect();
    let at = |seat: &u32| points[*seat as usize];
    let extent = |side: fn(Point) -> f64| {
        let sides = || listed.iter().map(|seat| side(at(seat)));
        sides().fold(f64::NEG_INFINITY, f64::max) - sides().fold(f64::INFINITY, f64::min)
    };
    let mut sorted = listed.clone();
    if extent(|point| point.x) >= extent(|point| point.y) {
        sorted.sort_by(|a, b| {
            at(a)
                .x
                .total_cmp(&at(b).x)
                .then(at(a).y.total_cmp(&at(b).y))
        });
    } else {
        sorted.sort_by(|a, b| {
            at(a)
                .y
                .total_cmp(&at(b).y)
                .then(at(a).x.total_cmp(&at(b).x))
        });
    }
    let way = |order: &[u32]| {
        order
            .windows(2)
            .map(|pair| at(&pair[0]).distance(at(&pair[1])))
            .sum::<f64>()
    };
    if way(&listed) < way(&sorted) * (1.0 - 1e-9) {
        listed
    } else {
        sorted
    }
}

/// The lower median of the distances that are not 0; 0 when there is none.
fn usual(mut distances: Vec<f64>) -> f64 {
    distances.retain(|distance| *distance > 0.0);
    if distances.is_empty() {
        return 0.0;
    }
    let middle = (distances.len() - 1) / 2;
    *distances.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stretches of one row, as seats in the order of the plan.
    fn stretches(places: &[(f64, f64)]) -> Vec<Vec<u32>> {
        let rows = [Row {
            number: "1".into(),
            section: SectionNo(0),
            first: 0,
        }];
        let points: Vec<Point> = places.iter().map(|&(x, y)| Point { x, y }).collect();
        let layout = Layout::new(&rows, &points);
        layout
            .stretches
            .iter()
            .map(|stretch| layout.seats[stretch.slots.clone()].to_vec())
            .collect()
    }

    #[test]
    fn rows_are_ordered_by_place_and_cut_at_aisles() {
        for (places, wanted) in [
            (
                &[(0.0, 0.0), (20.0, 0.0), (40.0, 0.0)][..],
                &[&[0, 1, 2][..]][..],
            ),
            (&[(40.0, 0.0), (0.0, 0.0), (20.0, 0.0)], &[&[1, 2, 0]]),
            (
                &[(0.0, 0.0), (20.0, 0.0), (60.0, 0.0), (80.0, 0.0)],
                &[&[0, 1], &[2, 3]],
            ),
            (
                &[(0.0, 0.0), (20.0, 0.0), (45.0, 0.0), (65.0, 0.0)],
                &[&[0, 1, 2, 3]],
            ),
            (
                &[(5.0, 0.0), (5.0, 20.0), (5.0, 40.0), (5.0, 80.0)],
                &[&[0, 1, 2], &[3]],
            ),
            (&[(0.0, 0.0), (500.0, 0.0)], &[&[0, 1]]),
            (&[(0.0, 0.0), (0.0, 0.0), (0.0, 0.0)], &[&[0, 1, 2]]),
            // A horseshoe: by x alone its two arms would be mixed up.
            (
                &[
                    (0.0, 0.0),
                    (1.0, 20.0),
                    (10.0, 36.0),
                    (28.0, 36.0),
                    (37.0, 20.0),
                    (38.0, 0.0),
                ],
                &[&[0, 1, 2, 3, 4, 5]],
            ),
        ] {
            assert_eq!(stretches(places), wanted, "{places:?}");
        }
    }

    #[test]
    fn a_row_of_two_asks_its_section() {
        let row = |number: &str, first| Row {
            number: number.into(),
            section: SectionNo(0),
            first,
        };
        let places = [
            (0.0, 0.0),
            (20.0, 0.0),
            (40.0, 0.0),
            (60.0, 0.0),
            (0.0, 30.0),
            (60.0, 30.0),
        ];
        let points = places.map(|(x, y)| Point { x, y });
        let layout = Layout::new(&[row("1", 0), row("2", 4)], &points);
        assert_eq!(
            layout
                .stretches
                .iter()
                .map(|stretch| stretch.slots.clone())
                .collect::<Vec<_>>(),
            [0..4, 4..5, 5..6]
        );
    }
}
