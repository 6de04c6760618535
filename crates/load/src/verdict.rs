//! The verdict: the promises, checked from outside. Pure: what clients were told and what the API says afterwards go
//! in, broken promises come out. Each check has a test that plants a violation and sees it turn red.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use uuid::Uuid;

use crate::ledger::{BookingTold, Told};
use crate::stats::{Stats, Step};
use crate::wire::{AREA_PREFIX, BookingState, StatsAnswer};

/// Examples kept per check; the rest is counted.
const EXAMPLES_MAX: usize = 5;

/// One promise that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Check {
    /// Every answer was one that the contract allows at this point.
    Answers,
    /// A place never changes its number, never moves back, never goes to an earlier state.
    Places,
    /// Numbers are unique in a performance.
    Numbers,
    /// Who was answered before another asked has the smaller number.
    Order,
    /// What was told about a booking is still so: state, seats, prices.
    Kept,
    /// A confirmed booking has exactly one valid ticket per seat.
    Tickets,
    /// No seat is in two live bookings.
    SeatsOnce,
    /// Money captured and not refunded is the price of the valid tickets.
    Money,
    /// Free + held + sold = total, in every sample and at the end.
    Totals,
    /// Seats sold = valid tickets.
    Sold,
    /// Called + entered never exceed the ceiling.
    Inside,
    /// Every booking is final in the end, and every one that was accepted is there.
    Final,
    /// No booking that nobody asked for.
    Unasked,
    /// Numbers run from 1 without a gap (opening only).
    Contiguous,
    /// Every open stream hears every step of the serving counter (streams only).
    Streams,
    /// Everything that the verdict needs could be read back.
    Audit,
}

impl Check {
    /// The name for machines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Places => "places",
            Self::Numbers => "numbers",
            Self::Order => "order",
            Self::Kept => "kept",
            Self::Tickets => "tickets",
            Self::SeatsOnce => "seats_once",
            Self::Money => "money",
            Self::Totals => "totals",
            Self::Sold => "sold",
            Self::Inside => "inside",
            Self::Final => "final",
            Self::Unasked => "unasked",
            Self::Contiguous => "contiguous",
            Self::Streams => "streams",
            Self::Audit => "audit",
        }
    }
}

/// Broken promises: how often, and a few examples.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings {
    broken: BTreeMap<Check, Finding>,
}

/// One broken promise.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Finding {
    /// How often it was broken.
    pub(crate) count: u64,
    /// The first few cases.
    pub(crate) examples: Vec<String>,
}

impl Findings {
    /// Notes one violation.
    pub(crate) fn add(&mut self, check: Check, text: impl FnOnce() -> String) {
        let finding = self.broken.entry(check).or_default();
        finding.count += 1;
        if finding.examples.len() < EXAMPLES_MAX {
            finding.examples.push(text());
        }
    }

    /// Adds what another thread found.
    pub(crate) fn merge(&mut self, other: Self) {
        for (check, theirs) in other.broken {
            let mine = self.broken.entry(check).or_default();
            mine.count += theirs.count;
            let room = EXAMPLES_MAX.saturating_sub(mine.examples.len());
            mine.examples.extend(theirs.examples.into_iter().take(room));
        }
    }

    /// Nothing was broken.
    pub(crate) fn is_empty(&self) -> bool {
        self.broken.is_empty()
    }

    /// The broken promises in a fixed order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Check, &Finding)> {
        self.broken.iter().map(|(check, finding)| (*check, finding))
    }
}

/// A booking as the API shows it afterwards.
#[derive(Clone, Debug)]
pub(crate) struct BookingSeen {
    pub(crate) state: BookingState,
    pub(crate) total_minor: Option<i64>,
    pub(crate) captured_minor: i64,
    pub(crate) refunded_minor: i64,
    pub(crate) tickets: Vec<TicketSeen>,
}

/// A ticket as the API shows it afterwards.
#[derive(Clone, Debug)]
pub(crate) struct TicketSeen {
    pub(crate) ticket_id: Box<str>,
    pub(crate) key: Box<str>,
    pub(crate) price_minor: i64,
    pub(crate) is_valid: bool,
}

/// Both sides of the verdict.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    /// What clients were told.
    pub(crate) told: &'a [Told],
    /// All bookings of the run's accounts since its start.
    pub(crate) bookings: &'a HashMap<Uuid, BookingSeen>,
    /// Per performance of the run: the operator's statistics and `seats_total`.
    pub(crate) performances: &'a [(StatsAnswer, u64)],
}

/// All checks that need both sides.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Findings {
    let mut findings = Findings::default();
    check_numbers(evidence.told, &mut findings);
    check_order(evidence.told, &mut findings);
    check_kept(evidence, &mut findings);
    check_tickets(evidence, &mut findings);
    check_money(evidence, &mut findings);
    check_seats(evidence, &mut findings);
    check_final(evidence, &mut findings);
    findings
}

/// A number belongs to one account; the same account has it twice only while its place lived on after a failed flow.
fn check_numbers(told: &[Told], findings: &mut Findings) {
    let mut owners: HashMap<(u32, u64), (u32, bool)> = HashMap::new();
    for flow in told.iter().filter(|flow| flow.number > 0) {
        let is_used_up = flow.booking == BookingTold::Confirmed;
        match owners.insert((flow.performance, flow.number), (flow.account, is_used_up)) {
            Some((owner, _)) if owner != flow.account => findings.add(Check::Numbers, || {
                format!(
                    "number {} of performance {} went to accounts {owner} and {}",
                    flow.number, flow.performance, flow.account
                )
            }),
            Some((_, true)) => findings.add(Check::Numbers, || {
                format!(
                    "number {} of performance {} was given again after its booking",
                    flow.number, flow.performance
                )
            }),
            Some((_, false)) | None => (),
        }
    }
}

/// If A's answer came before B's first request was sent, A's number is the smaller one.
fn check_order(told: &[Told], findings: &mut Findings) {
    let mut lines: BTreeMap<u32, Vec<&Told>> = BTreeMap::new();
    for flow in told
        .iter()
        .filter(|flow| flow.number > 0 && !flow.is_old_place)
    {
        lines.entry(flow.performance).or_default().push(flow);
    }
    for line in lines.values() {
        let mut by_answer = line.clone();
        by_answer.sort_by_key(|flow| flow.join_answered_us);
        let mut by_sending = line.clone();
        by_sending.sort_by_key(|flow| flow.join_sent_us);
        let mut answered = by_answer.into_iter().peekable();
        let mut highest: Option<&Told> = None;
        for later in by_sending {
            while let Some(earlier) =
                answered.next_if(|earlier| earlier.join_answered_us < later.join_sent_us)
            {
                if highest.is_none_or(|highest| highest.number < earlier.number) {
                    highest = Some(earlier);
                }
            }
            if let Some(earlier) = highest.filter(|earlier| earlier.number > later.number) {
                findings.add(Check::Order, || {
                    format!(
                        "account {} was told {} at {} us, account {} asked at {} us and was told {}",
                        earlier.account, earlier.number, earlier.join_answered_us, later.account, later.join_sent_us, later.number
                    )
                });
            }
        }
    }
}

/// Told seats and prices, sorted, so that two lists can be compared.
fn seats_sorted<'a>(seats: impl Iterator<Item = (&'a str, i64)>) -> Vec<(&'a str, i64)> {
    let mut seats: Vec<_> = seats.collect();
    seats.sort_unstable();
    seats
}

fn check_kept(evidence: &Evidence<'_>, findings: &mut Findings) {
    for flow in evidence.told {
        let Some(seen) = evidence.bookings.get(&flow.booking_id) else {
            match flow.booking {
                BookingTold::NotAsked | BookingTold::Asked => (),
                BookingTold::Accepted | BookingTold::Confirmed | BookingTold::Refused => {
                    findings.add(Check::Kept, || {
                        format!(
                            "booking {} was told {:?} and is gone",
                            flow.booking_id, flow.booking
                        )
                    });
                }
            }
            continue;
        };
        let is_state_kept = match flow.booking {
            BookingTold::Confirmed => seen.state == BookingState::Confirmed,
            BookingTold::Refused => seen.state == BookingState::Refused,
            BookingTold::NotAsked | BookingTold::Asked | BookingTold::Accepted => true,
        };
        if !is_state_kept {
            findings.add(Check::Kept, || {
                format!(
                    "booking {} was told {:?} and is {:?}",
                    flow.booking_id, flow.booking, seen.state
                )
            });
        }
        if seen.state != BookingState::Confirmed {
            continue;
        }
        let promised = seats_sorted(flow.seats.iter().map(|seat| (&*seat.key, seat.price_minor)));
        let valid = seen.tickets.iter().filter(|ticket| ticket.is_valid);
        let has = seats_sorted(valid.map(|ticket| (&*ticket.key, ticket.price_minor)));
        if promised != has {
            findings.add(Check::Kept, || {
                format!(
                    "booking {} held {promised:?} and has {has:?}",
                    flow.booking_id
                )
            });
        }
        if seen
            .total_minor
            .is_some_and(|total| total != flow.total_minor)
        {
            findings.add(Check::Kept, || {
                format!(
                    "booking {} was to cost {} and costs {:?}",
                    flow.booking_id, flow.total_minor, seen.total_minor
                )
            });
        }
    }
}

fn check_tickets(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut owners: HashMap<&str, Uuid> = HashMap::new();
    for (booking_id, seen) in evidence.bookings {
        for ticket in &seen.tickets {
            if let Some(other) = owners.insert(&ticket.ticket_id, *booking_id) {
                findings.add(Check::Tickets, || {
                    format!(
                        "ticket {} is in bookings {other} and {booking_id}",
                        ticket.ticket_id
                    )
                });
            }
        }
        let valid = seen.tickets.iter().filter(|ticket| ticket.is_valid).count();
        if seen.state != BookingState::Confirmed && valid > 0 {
            findings.add(Check::Tickets, || {
                format!(
                    "booking {booking_id} is {:?} with {valid} valid tickets",
                    seen.state
                )
            });
        }
    }
    for flow in evidence.told {
        let Some(seen) = evidence.bookings.get(&flow.booking_id) else {
            continue;
        };
        let valid: Vec<_> = seen
            .tickets
            .iter()
            .filter(|ticket| ticket.is_valid)
            .collect();
        if seen.state == BookingState::Confirmed && valid.len() != flow.seats.len() {
            findings.add(Check::Tickets, || {
                format!(
                    "booking {} has {} seats and {} valid tickets",
                    flow.booking_id,
                    flow.seats.len(),
                    valid.len()
                )
            });
        }
        for ticket_id in &flow.tickets {
            if !valid.iter().any(|ticket| ticket.ticket_id == *ticket_id) {
                findings.add(Check::Tickets, || {
                    format!("ticket {ticket_id} of booking {} is gone", flow.booking_id)
                });
            }
        }
    }
}

fn check_money(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (booking_id, seen) in evidence.bookings {
        let price: i64 = seen
            .tickets
            .iter()
            .filter(|ticket| ticket.is_valid)
            .map(|ticket| ticket.price_minor)
            .sum();
        let kept = seen.captured_minor - seen.refunded_minor;
        if kept != price {
            findings.add(Check::Money, || {
                format!("booking {booking_id}: {kept} kept for tickets worth {price}")
            });
        }
    }
}

/// No seat twice, seats sold = tickets, free + held + sold = total.
fn check_seats(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut owners: HashMap<(u32, &str), Uuid> = HashMap::new();
    let mut tickets = vec![0_u64; evidence.performances.len()];
    for flow in evidence.told {
        let Some(seen) = evidence.bookings.get(&flow.booking_id) else {
            continue;
        };
        for ticket in seen.tickets.iter().filter(|ticket| ticket.is_valid) {
            if let Some(count) = tickets.get_mut(flow.performance as usize) {
                *count += 1;
            }
            if ticket.key.starts_with(AREA_PREFIX) {
                continue;
            }
            if let Some(other) = owners.insert((flow.performance, &ticket.key), flow.booking_id) {
                findings.add(Check::SeatsOnce, || {
                    format!(
                        "seat {} of performance {} is in {other} and {}",
                        ticket.key, flow.performance, flow.booking_id
                    )
                });
            }
        }
    }
    for (index, ((stats, seats_total), tickets)) in
        evidence.performances.iter().zip(tickets).enumerate()
    {
        check_totals(stats, *seats_total, findings);
        if stats.seats_sold != tickets {
            findings.add(Check::Sold, || {
                format!(
                    "performance {index}: {} seats sold, {tickets} valid tickets",
                    stats.seats_sold
                )
            });
        }
    }
}

/// Free + held + sold = total.
pub(crate) fn check_totals(stats: &StatsAnswer, seats_total: u64, findings: &mut Findings) {
    if stats.seats_free + stats.seats_held + stats.seats_sold != seats_total {
        findings.add(Check::Totals, || {
            format!(
                "{} free + {} held + {} sold is not {seats_total}",
                stats.seats_free, stats.seats_held, stats.seats_sold
            )
        });
    }
}

fn check_final(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (booking_id, seen) in evidence.bookings {
        if seen.state == BookingState::Pending {
            findings.add(Check::Final, || {
                format!("booking {booking_id} is still pending")
            });
        }
    }
    let asked: HashMap<Uuid, ()> = evidence
        .told
        .iter()
        .map(|flow| (flow.booking_id, ()))
        .collect();
    for booking_id in evidence
        .bookings
        .keys()
        .filter(|booking_id| !asked.contains_key(booking_id))
    {
        findings.add(Check::Unasked, || {
            format!("booking {booking_id} was asked for by nobody")
        });
    }
}

/// Numbers of each performance run from 1 to their count.
pub(crate) fn check_contiguous(told: &[Told], findings: &mut Findings) {
    let mut lines: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for flow in told.iter().filter(|flow| flow.number > 0) {
        lines.entry(flow.performance).or_default().push(flow.number);
    }
    for (performance, mut numbers) in lines {
        numbers.sort_unstable();
        numbers.dedup();
        let (count, last) = (numbers.len() as u64, numbers.last().copied().unwrap_or(0));
        if count != last {
            findings.add(Check::Contiguous, || {
                format!("performance {performance}: {count} numbers, the last is {last}")
            });
        }
    }
}

/// Numbers and order alone, for runs that book nothing.
pub(crate) fn judge_line(told: &[Told]) -> Findings {
    let mut findings = Findings::default();
    check_numbers(told, &mut findings);
    check_order(told, &mut findings);
    check_contiguous(told, &mut findings);
    findings
}

/// Answers that a correct server never gives to a correct client. A refusal for the moment (429, 503) is allowed and
/// reported elsewhere; broken connections are allowed only when the run is meant to go through restarts.
pub(crate) fn judge_answers(stats: &Stats, is_through_restarts: bool) -> Findings {
    let mut findings = Findings::default();
    for ((step, status, code), count) in &stats.answers {
        if is_allowed(*step, *status, code) {
            continue;
        }
        findings.add(Check::Answers, || {
            format!("{}: {status} {code}, {count} times", step.name())
        });
    }
    for ((step, kind), count) in &stats.transport {
        if !is_through_restarts {
            findings.add(Check::Answers, || {
                format!("{}: connection failed ({kind}), {count} times", step.name())
            });
        }
    }
    findings
}

fn is_allowed(step: Step, status: u16, code: &str) -> bool {
    match step {
        Step::Hold => status == 409 && matches!(code, "seat-taken" | "sold-out"),
        // Kept logins of an earlier run may have ended, and a kept accounts file may be another server's.
        Step::Refresh | Step::Setup => matches!(status, 401 | 409),
        // Giving up what the server already took back.
        Step::Leave | Step::Release => status == 404,
        Step::Join
        | Step::Poll
        | Step::Pass
        | Step::Book
        | Step::BookPoll
        | Step::Flow
        | Step::Lateness => false,
        Step::Refusal
        | Step::Plan
        | Step::PlanUnchanged
        | Step::Availability
        | Step::AvailabilityDense => false,
        Step::Sample | Step::Audit => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::SeatTold;

    /// Two confirmed bookings of two seats each, and the answers of an honest server.
    struct World {
        told: Vec<Told>,
        bookings: HashMap<Uuid, BookingSeen>,
        stats: StatsAnswer,
    }

    fn world() -> World {
        let mut world = World {
            told: Vec::new(),
            bookings: HashMap::new(),
            stats: StatsAnswer {
                seats_free: 5,
                seats_held: 1,
                seats_sold: 4,
                ..StatsAnswer::default()
            },
        };
        for account in 0..2_u32 {
            let booking_id = Uuid::now_v7();
            let at = u64::from(account) * 100;
            let keys = [format!("{account}-1"), format!("{account}-2")];
            world.told.push(Told {
                account,
                number: u64::from(account) + 1,
                join_sent_us: at,
                join_answered_us: at + 50,
                booking_id,
                booking: BookingTold::Confirmed,
                seats: keys
                    .iter()
                    .map(|key| SeatTold {
                        key: key.as_str().into(),
                        price_minor: 100,
                    })
                    .collect(),
                total_minor: 200,
                tickets: keys
                    .iter()
                    .map(|key| format!("ticket-{key}").into())
                    .collect(),
                ..Told::default()
            });
            let ticket = |key: &String| TicketSeen {
                ticket_id: format!("ticket-{key}").into(),
                key: key.as_str().into(),
                price_minor: 100,
                is_valid: true,
            };
            world.bookings.insert(
                booking_id,
                BookingSeen {
                    state: BookingState::Confirmed,
                    total_minor: Some(200),
                    captured_minor: 200,
                    refunded_minor: 0,
                    tickets: keys.iter().map(ticket).collect(),
                },
            );
        }
        world
    }

    impl World {
        fn seen(&mut self, account: usize) -> &mut BookingSeen {
            self.bookings
                .get_mut(&self.told[account].booking_id)
                .unwrap()
        }

        fn broken(&self) -> Vec<Check> {
            let performances = [(self.stats.clone(), 10)];
            let evidence = Evidence {
                told: &self.told,
                bookings: &self.bookings,
                performances: &performances,
            };
            judge(&evidence).iter().map(|(check, _)| check).collect()
        }
    }

    /// Plants one violation and expects exactly these checks to turn red.
    fn planted(plant: impl FnOnce(&mut World), expected: &[Check]) {
        let mut world = world();
        plant(&mut world);
        assert_eq!(world.broken(), expected);
    }

    #[test]
    fn an_honest_server_passes() {
        planted(|_| (), &[]);
    }

    #[test]
    fn a_number_given_twice_is_red() {
        planted(|world| world.told[1].number = 1, &[Check::Numbers]);
    }

    #[test]
    fn a_number_given_again_after_the_booking_is_red() {
        let again = |world: &mut World| {
            let mut flow = Told {
                booking: BookingTold::NotAsked,
                booking_id: Uuid::nil(),
                ..world.told[1].clone()
            };
            flow.is_old_place = true;
            flow.seats.clear();
            flow.tickets.clear();
            world.told.push(flow);
        };
        planted(again, &[Check::Numbers]);
    }

    #[test]
    fn a_place_that_lived_on_after_a_failed_flow_is_fine() {
        let kept = |world: &mut World| {
            let failed = Told {
                account: 1,
                number: 2,
                join_sent_us: 60,
                join_answered_us: 90,
                ..Told::default()
            };
            world.told[1].is_old_place = true;
            world.told.insert(1, failed);
        };
        planted(kept, &[]);
    }

    #[test]
    fn overtaking_is_red_and_overlapping_joins_are_not() {
        let swap = |world: &mut World| {
            world.told[0].number = 2;
            world.told[1].number = 1;
        };
        planted(swap, &[Check::Order]);
        let overlap = |world: &mut World| {
            swap(world);
            world.told[1].join_sent_us = 50;
        };
        planted(overlap, &[]);
    }

    #[test]
    fn a_confirmed_booking_that_is_gone_or_changed_is_red() {
        let gone = |world: &mut World| {
            let id = world.told[0].booking_id;
            world.bookings.remove(&id);
            world.stats.seats_sold = 2;
            world.stats.seats_free = 7;
        };
        planted(gone, &[Check::Kept]);
        planted(
            |world| world.told[0].booking = BookingTold::Refused,
            &[Check::Kept],
        );
        planted(
            |world| world.seen(0).tickets[0].key = "other".into(),
            &[Check::Kept],
        );
        planted(
            |world| world.seen(0).total_minor = Some(199),
            &[Check::Kept],
        );
        let dearer = |world: &mut World| {
            world.seen(0).tickets[0].price_minor = 150;
            world.seen(0).captured_minor = 250;
        };
        planted(dearer, &[Check::Kept]);
    }

    #[test]
    fn an_accepted_booking_that_vanished_is_red_and_one_without_an_answer_is_not() {
        let add = |world: &mut World, booking| {
            world.told.push(Told {
                account: 7,
                booking_id: Uuid::now_v7(),
                booking,
                ..Told::default()
            });
        };
        planted(|world| add(world, BookingTold::Accepted), &[Check::Kept]);
        planted(|world| add(world, BookingTold::Asked), &[]);
    }

    #[test]
    fn a_missing_foreign_or_changed_ticket_is_red() {
        let missing = |world: &mut World| {
            world.seen(0).tickets.pop();
        };
        planted(
            missing,
            &[Check::Kept, Check::Tickets, Check::Money, Check::Sold],
        );
        planted(
            |world| world.seen(0).tickets[0].ticket_id = "ticket-1-1".into(),
            &[Check::Tickets],
        );
        planted(
            |world| world.seen(0).tickets[0].ticket_id = "made again".into(),
            &[Check::Tickets],
        );
        let refused_with_ticket = |world: &mut World| {
            world.told[0].booking = BookingTold::Asked;
            world.seen(0).state = BookingState::Refused;
        };
        planted(refused_with_ticket, &[Check::Tickets]);
    }

    #[test]
    fn a_seat_sold_twice_is_red() {
        let twice = |world: &mut World| {
            world.told[1].seats[0].key = "0-1".into();
            world.seen(1).tickets[0].key = "0-1".into();
        };
        planted(twice, &[Check::SeatsOnce]);
    }

    #[test]
    fn spots_of_an_area_share_a_key() {
        let area = |world: &mut World| {
            for account in 0..2 {
                for seat in 0..2 {
                    world.told[account].seats[seat].key = "area:Floor".into();
                    world.seen(account).tickets[seat].key = "area:Floor".into();
                }
            }
        };
        planted(area, &[]);
    }

    #[test]
    fn money_without_a_ticket_is_red() {
        planted(|world| world.seen(0).captured_minor = 400, &[Check::Money]);
        planted(|world| world.seen(0).refunded_minor = 200, &[Check::Money]);
    }

    #[test]
    fn seats_that_do_not_add_up_are_red() {
        planted(|world| world.stats.seats_free = 6, &[Check::Totals]);
        let sold = |world: &mut World| {
            world.stats.seats_sold = 5;
            world.stats.seats_free = 4;
        };
        planted(sold, &[Check::Sold]);
    }

    #[test]
    fn a_booking_without_an_end_or_without_an_asker_is_red() {
        let pending = |world: &mut World| {
            let booking_id = Uuid::now_v7();
            world.told.push(Told {
                account: 9,
                booking_id,
                booking: BookingTold::Accepted,
                ..Told::default()
            });
            let seen = BookingSeen {
                state: BookingState::Pending,
                total_minor: None,
                captured_minor: 0,
                refunded_minor: 0,
                tickets: Vec::new(),
            };
            world.bookings.insert(booking_id, seen);
        };
        planted(pending, &[Check::Final]);
        let unasked = |world: &mut World| {
            world.told.pop();
            world.stats.seats_sold = 2;
            world.stats.seats_free = 7;
        };
        planted(unasked, &[Check::Unasked]);
    }

    #[test]
    fn a_gap_in_the_numbers_is_red() {
        let mut world = world();
        assert!(judge_line(&world.told).is_empty());
        world.told[1].number = 3;
        let findings = judge_line(&world.told);
        assert_eq!(
            findings.iter().map(|(check, _)| check).collect::<Vec<_>>(),
            [Check::Contiguous]
        );
    }

    #[test]
    fn answers_are_judged_by_step() {
        let red = |step, status, code: &str| {
            let mut stats = Stats::default();
            stats.count_answer(step, status, code);
            !judge_answers(&stats, true).is_empty()
        };
        assert!(!red(Step::Hold, 409, "sold-out"));
        assert!(red(Step::Hold, 500, "internal"));
        assert!(red(Step::Book, 409, "sold-out"));
        assert!(red(Step::Pass, 404, "no-place"));
        let mut stats = Stats::default();
        stats.count_refused(Step::Join, 503, "busy");
        stats.count_transport(Step::Join, &std::io::ErrorKind::ConnectionReset.into());
        assert!(judge_answers(&stats, true).is_empty());
        assert!(!judge_answers(&stats, false).is_empty());
    }
}
