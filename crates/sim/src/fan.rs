//! The fans and the operator: what they know, and what they do next, reasonable or not, as the seed has it.

use boxoffice_core::booking::BookingState;
use boxoffice_core::hold::HoldState;
use boxoffice_core::notice::Wishes;
use boxoffice_core::payment::Outcome;
use boxoffice_core::sale::SaleCommand;
use boxoffice_core::seating::SeatNo;
use boxoffice_core::waiting_room::Stage;
use boxoffice_core::{AccountId, BookingId, HoldId};

use crate::net::{Answer, Ask, Message, Request, Said, Want};
use crate::rng::Rng;
use crate::store::NotSaved;
use crate::world::World;

/// A fan, and what this fan has heard.
#[derive(Clone, Debug)]
pub(crate) struct Fan {
    pub(crate) account: AccountId,
    pub(crate) wishes: Wishes,
    /// Enters late in the turn, or too late.
    dawdles: bool,
    stage: Option<Stage>,
    pass: Option<String>,
    /// Holds heard to be active.
    holds: Vec<HoldId>,
    /// Bookings asked for, and their holds.
    bookings: Vec<(BookingId, HoldId)>,
    /// Bookings heard to be confirmed.
    confirmed: Vec<BookingId>,
    /// What was asked lately, to be asked again.
    asked: Vec<Ask>,
}

/// What a fan may do next.
#[derive(Copy, Clone, Debug)]
enum Act {
    Join,
    Repeat,
    Look,
    Leave,
    Enter,
    Hold,
    HoldWithForeignPass,
    HoldWithForgedPass,
    HoldWithoutPass,
    Book,
    BookUnderUsedId,
    Release,
    ReleaseForeign,
    LookHold,
    LookBooking,
    Cancel,
    CancelForeign,
    Listen,
}

impl Fan {
    /// Fan number `n`.
    pub(crate) fn new(n: usize, rng: &mut Rng) -> Self {
        let mut account = [0; 16];
        account[0] = b'f';
        account[15] = u8::try_from(n).expect("a few fans");
        Self {
            account: AccountId(account),
            wishes: Wishes {
                email: rng.chance(8_500),
                ..Wishes::default()
            },
            dawdles: rng.chance(4_000),
            stage: None,
            pass: None,
            holds: Vec::new(),
            bookings: Vec::new(),
            confirmed: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// Whether there is something that this fan would lose by waiting.
    fn is_urgent(&self) -> bool {
        let called = self.stage == Some(Stage::Called) && !self.dawdles;
        called || self.pass.is_some() || self.holds.iter().any(|hold| !self.has_booked(*hold))
    }

    fn has_booked(&self, hold: HoldId) -> bool {
        self.bookings.iter().any(|(_, booked)| *booked == hold)
    }

    /// The fan hears of the call.
    pub(crate) fn is_called(&mut self) {
        self.stage = Some(Stage::Called);
    }

    /// What makes sense to this fan, and how much; a little of what does not.
    fn options(&self, waiting_room: bool) -> Vec<(u32, Act)> {
        let joins = match self.stage {
            None => 60,
            Some(Stage::Lapsed | Stage::Left) => 12,
            Some(Stage::Lobby | Stage::Waiting | Stage::Called | Stage::Entered) => 2,
        };
        let enters = match self.stage {
            Some(Stage::Called) if self.dawdles => 12,
            Some(Stage::Called) => 60,
            Some(Stage::Entered) if self.pass.is_none() => 40,
            Some(Stage::Lobby | Stage::Waiting | Stage::Entered) => 3,
            None | Some(Stage::Lapsed | Stage::Left) => 1,
        };
        let may_hold = self.pass.is_some() || !waiting_room;
        let holds = match (may_hold, self.holds.len()) {
            (true, 0) => 50,
            (true, _) => 10,
            (false, _) => 0,
        };
        let unbooked = self.holds.iter().any(|hold| !self.has_booked(*hold));
        let some = |list_is_empty: bool, weight: u32| if list_is_empty { 0 } else { weight };
        vec![
            (if waiting_room { joins } else { 1 }, Act::Join),
            (some(self.asked.is_empty(), 6), Act::Repeat),
            (some(self.stage.is_none(), 8), Act::Look),
            (some(self.stage.is_none(), 1), Act::Leave),
            (if waiting_room { enters } else { 1 }, Act::Enter),
            (holds, Act::Hold),
            (1, Act::HoldWithForeignPass),
            (1, Act::HoldWithForgedPass),
            (1, Act::HoldWithoutPass),
            (
                some(self.holds.is_empty(), if unbooked { 50 } else { 4 }),
                Act::Book,
            ),
            (
                some(self.bookings.is_empty() || self.holds.is_empty(), 1),
                Act::BookUnderUsedId,
            ),
            (some(self.holds.is_empty(), 3), Act::Release),
            (1, Act::ReleaseForeign),
            (some(self.holds.is_empty(), 3), Act::LookHold),
            (some(self.bookings.is_empty(), 10), Act::LookBooking),
            (some(self.confirmed.is_empty(), 30), Act::Cancel),
            (1, Act::CancelForeign),
            (4, Act::Listen),
        ]
    }
}

impl World {
    /// One of the fans does something.
    pub(crate) fn fan_acts(&mut self) {
        let urgent: Vec<usize> = (0..self.fans.len())
            .filter(|n| self.fans[*n].is_urgent())
            .collect();
        let fan = match self.rng.pick(&urgent).copied() {
            Some(urgent) if self.rng.chance(6_000) => urgent,
            Some(_) | None => self.rng.below(self.fans.len()),
        };
        let options = self.fans[fan].options(self.setup.waiting_room);
        let total: u32 = options.iter().map(|(weight, _)| weight).sum();
        let mut rest = self.rng.between(1, total);
        for (weight, act) in options {
            if rest <= weight {
                self.act(fan, act);
                return;
            }
            rest -= weight;
        }
    }

    fn act(&mut self, fan: usize, act: Act) {
        let other = self.rng.below(self.fans.len());
        let (own, foreign) = (self.fans[fan].clone(), &self.fans[other]);
        let ask = match act {
            Act::Join => Some(Ask::Join),
            Act::Repeat => self.rng.pick(&own.asked).cloned(),
            Act::Look => Some(Ask::Look),
            Act::Leave => Some(Ask::Leave),
            Act::Enter => Some(Ask::Enter),
            Act::Hold => Some(self.new_hold(own.pass)),
            Act::HoldWithForeignPass => foreign.pass.clone().map(|pass| self.new_hold(Some(pass))),
            Act::HoldWithForgedPass => {
                let forged = own.pass.map(|mut pass| {
                    let last = pass.pop();
                    pass.push(if last == Some('A') { 'B' } else { 'A' });
                    pass
                });
                forged.map(|pass| self.new_hold(Some(pass)))
            }
            Act::HoldWithoutPass => Some(self.new_hold(None)),
            Act::Book => self
                .rng
                .pick(&own.holds)
                .copied()
                .map(|hold| self.new_booking(fan, hold, None)),
            Act::BookUnderUsedId => {
                let used = self.rng.pick(&own.bookings).map(|(id, _)| *id);
                let hold = self.rng.pick(&own.holds).copied();
                hold.map(|hold| self.new_booking(fan, hold, used))
            }
            Act::Release => self.rng.pick(&own.holds).copied().map(Ask::Release),
            Act::ReleaseForeign => foreign.holds.last().copied().map(Ask::Release),
            Act::LookHold => self.rng.pick(&own.holds).copied().map(Ask::LookHold),
            Act::LookBooking => self
                .rng
                .pick(&own.bookings)
                .map(|(id, _)| Ask::LookBooking(*id)),
            Act::Cancel => self.rng.pick(&own.confirmed).copied().map(Ask::Cancel),
            Act::CancelForeign => foreign.confirmed.last().copied().map(Ask::Cancel),
            Act::Listen => {
                self.listen(fan);
                None
            }
        };
        if let Some(ask) = ask {
            self.send(fan, ask);
            // Some do not wait for the answer before they go on.
            if matches!(act, Act::Join) && self.rng.chance(500) {
                self.send(fan, Ask::Enter);
            }
            // Their app asks how they stand all the while.
            if matches!(act, Act::Enter) && self.rng.chance(7_000) {
                self.send(fan, Ask::Look);
            }
        }
    }

    fn send(&mut self, fan: usize, ask: Ask) {
        let asked = &mut self.fans[fan].asked;
        if asked.len() == 4 {
            asked.remove(0);
        }
        asked.push(ask.clone());
        let request = Request {
            fan,
            ask,
            sent_at: self.now,
            floor: self.history.highest_heard,
        };
        self.net.send(
            Message::Request(request),
            &self.faults,
            &mut self.rng,
            self.now,
        );
    }

    fn next_id(&mut self, kind: u8) -> [u8; 16] {
        self.ids += 1;
        let mut id = [0; 16];
        id[0] = kind;
        id[12..].copy_from_slice(&self.ids.to_be_bytes());
        id
    }

    fn new_hold(&mut self, pass: Option<String>) -> Ask {
        let area = self
            .setup
            .plan
            .areas()
            .first()
            .expect("every hall has a floor");
        let numbered = area.first.0 as usize;
        let quantity = if self.rng.chance(500) {
            6
        } else {
            self.rng.between(1, 3)
        };
        let want = match self.rng.below(4) {
            0 | 1 => {
                let first = self.rng.below(numbered);
                let seats = (0..quantity as usize).map(|n| (first + n) % numbered);
                let mut seats: Vec<SeatNo> = seats
                    .map(|seat| SeatNo(u32::try_from(seat).expect("a small hall")))
                    .collect();
                seats.sort_unstable();
                seats.dedup();
                Want::Seats(seats)
            }
            2 => Want::Best(quantity),
            _ => Want::Area(quantity),
        };
        Ask::Hold {
            hold_id: HoldId(self.next_id(b'h')),
            want,
            pass,
        }
    }

    fn new_booking(&mut self, fan: usize, hold_id: HoldId, id: Option<BookingId>) -> Ask {
        let outcome = match self.rng.below(20) {
            0..11 => Outcome::Ok,
            11..14 => Outcome::Declined,
            14..18 => Outcome::TimeoutThenOk,
            _ => Outcome::Never,
        };
        let booking_id = id.unwrap_or_else(|| BookingId(self.next_id(b'b')));
        if id.is_none() {
            self.fans[fan].bookings.push((booking_id, hold_id));
        }
        Ask::Book {
            booking_id,
            hold_id,
            outcome,
            wait: self.rng.chance(5_000),
        }
    }

    /// Opens a stream, which tells how things stand at once, or closes it.
    fn listen(&mut self, fan: usize) {
        if self.memory.listening.remove(&fan) {
            return;
        }
        self.memory.listening.insert(fan);
        let (room, tables) = (&self.memory.room, self.store.tables());
        let view = room.view(
            self.account(fan),
            &tables.sale,
            &tables.admission,
            self.shown_at(),
        );
        if let Some(view) = view.filter(|view| view.stage == Stage::Called) {
            self.hears_call_on_stream(fan, view.number);
        }
    }

    /// An answer reaches its fan.
    pub(crate) fn fan_hears(&mut self, answer: Answer) {
        let fan = &mut self.fans[answer.request.fan];
        match answer.said {
            Said::Place(view, _) => {
                fan.stage = Some(view.stage);
                self.history.highest_heard = self.history.highest_heard.max(view.number);
            }
            Said::Left => fan.stage = Some(Stage::Left),
            Said::Pass { text, .. } => {
                fan.stage = Some(Stage::Entered);
                fan.pass = Some(text);
            }
            Said::Hold(hold) => {
                fan.holds.retain(|id| *id != hold.hold_id);
                if hold.state == HoldState::Active {
                    fan.holds.push(hold.hold_id);
                }
            }
            Said::Released(id) => fan.holds.retain(|hold| *hold != id),
            Said::Booking(booking) => match booking.state {
                BookingState::Pending | BookingState::Refused(_) => (),
                BookingState::Confirmed => {
                    fan.holds.retain(|hold| *hold != booking.hold_id);
                    let news = !fan.confirmed.contains(&booking.booking_id);
                    if news {
                        fan.confirmed.push(booking.booking_id);
                    }
                    // Most know that it is used up; some try again all the same.
                    if self.rng.chance(7_000) {
                        fan.pass = None;
                    }
                    fan.stage = Some(Stage::Left);
                    // A few change their minds at once.
                    if news && self.rng.chance(1_500) {
                        self.send(answer.request.fan, Ask::Cancel(booking.booking_id));
                    }
                }
                BookingState::Cancelled => fan.confirmed.retain(|id| *id != booking.booking_id),
            },
            Said::Refused(refusal) => self.fan_hears_no(answer.request, &refusal),
            Said::Busy => (),
        }
    }

    fn fan_hears_no(&mut self, request: Request, refusal: &boxoffice_core::Refusal) {
        use boxoffice_core::Refusal as No;
        let forgets_pass = self.rng.chance(5_000);
        let fan = &mut self.fans[request.fan];
        if matches!(refusal, No::TurnLapsed | No::PassExpired | No::NoPlace) {
            fan.stage = Some(Stage::Lapsed);
        }
        if matches!(refusal, No::PassExpired | No::PassUsed | No::PassRequired) && forgets_pass {
            fan.pass = None;
        }
        if let (No::HoldExpired | No::NotFound, Ask::Book { hold_id, .. } | Ask::Release(hold_id)) =
            (refusal, request.ask)
        {
            fan.holds.retain(|id| *id != hold_id);
        }
    }

    /// The operator steers.
    pub(crate) fn operator_acts(&mut self) {
        let (mut sale, mut policy) = (self.store.tables().sale, self.store.tables().admission);
        match self.rng.below(10) {
            0 => drop(sale.say(SaleCommand::Pause, self.now)),
            1..5 => drop(sale.say(SaleCommand::Open, self.now)),
            5 if self.rng.chance(1_000) => drop(sale.say(SaleCommand::Close, self.now)),
            5..8 => policy.active_max = self.rng.between(0, 6),
            _ => {
                policy.per_s = *self
                    .rng
                    .pick(&[0.0, 0.5, 1.0, 3.0, 20.0])
                    .expect("there are rates")
            }
        }
        let refuse = self.refuses();
        self.operator_saves(refuse, sale, policy);
    }

    /// Before the end nothing stands in the way of those who still wait, unless the sale is closed.
    pub(crate) fn operator_ends(&mut self) {
        let (mut sale, mut policy) = (self.store.tables().sale, self.store.tables().admission);
        drop(sale.say(SaleCommand::Open, self.now));
        policy.active_max = policy.active_max.max(1);
        policy.per_s = policy.per_s.max(0.5);
        self.operator_saves(false, sale, policy);
    }

    fn operator_saves(
        &mut self,
        refuse: bool,
        sale: boxoffice_core::sale::Sale,
        policy: boxoffice_core::admission::AdmissionPolicy,
    ) {
        let saved = self.store.commit(refuse, |tables| {
            tables.sale = sale;
            tables.admission = policy;
            Ok::<(), NotSaved>(())
        });
        if saved.is_ok() {
            self.rules_changed();
        }
    }
}
