//! The world: one thread, one clock in its hand, everything that happens one step at a time, as the seed has it.
//!
//! Keeps true: what is in [`Memory`] is lost in a crash, the rest is not; nothing here looks at a real clock or at an
//! address, so that a seed is a run, byte for byte.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use boxoffice_core::booking::Work;
use boxoffice_core::hold::{Hold, HoldState};
use boxoffice_core::pass::Signer;
use boxoffice_core::seating::{Availability, SeatNo, SeatState};
use boxoffice_core::waiting_room::WaitingRoom;
use boxoffice_core::{AccountId, BookingId, HoldId, Timestamp};

use crate::book_loop::BookWork;
use crate::bug::Bug;
use crate::fan::Fan;
use crate::history::History;
use crate::hold_loop::{HoldTask, Lane};
use crate::net::{Answer, Message, Net, Request, Said};
use crate::notifier::{SendWork, Telling};
use crate::provider::Provider;
use crate::rng::Rng;
use crate::room_loop::RoomWork;
use crate::setup::{Faults, START, Setup};
use crate::stats::Stats;
use crate::store::{Store, Tables};
use crate::trace::Trace;
use crate::worker::{PayWork, RefundWork};

/// What the process knows and forgets when it ends.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) room: WaitingRoom,
    pub(crate) room_work: RoomWork,
    pub(crate) room_queue: VecDeque<Request>,
    /// Places used up by confirmed bookings, not yet told to the room.
    pub(crate) used: Vec<u32>,
    /// When the room acts unasked.
    pub(crate) wake_at: Option<Timestamp>,
    pub(crate) hold_queue: VecDeque<HoldTask>,
    pub(crate) lanes: [Lane; 2],
    pub(crate) picture: Availability,
    /// When holds run out.
    pub(crate) expiries: BTreeSet<(Timestamp, HoldId)>,
    pub(crate) book_queue: VecDeque<Request>,
    pub(crate) book_work: BookWork,
    /// The bus: bookings to be paid.
    pub(crate) pay_queue: VecDeque<BookingId>,
    pub(crate) workers: [PayWork; 2],
    pub(crate) refund: RefundWork,
    /// Work that is left alone until then.
    pub(crate) leased: BTreeMap<Work, Timestamp>,
    /// What is to be told, as it was handed on; the outbox has it too.
    pub(crate) notice_queue: VecDeque<Work>,
    /// What each teller has told and not recorded.
    pub(crate) tellers: [Vec<Telling>; 2],
    pub(crate) sender: SendWork,
    /// Fans with an open stream.
    pub(crate) listening: BTreeSet<usize>,
    /// Requests that are answered when their booking is final.
    pub(crate) waiters: BTreeMap<BookingId, Vec<Request>>,
}

impl Memory {
    /// What a process that starts knows: what the rows say.
    pub(crate) fn rebuilt(setup: &Setup, tables: &Tables, now: Timestamp, forget: usize) -> Self {
        let sections = setup.plan.sections().len();
        let mut memory = Self {
            room: tables.restore(now, forget),
            room_work: RoomWork::Idle,
            room_queue: VecDeque::new(),
            used: Vec::new(),
            wake_at: setup.waiting_room.then_some(now),
            hold_queue: VecDeque::new(),
            lanes: [Lane::Idle, Lane::Idle],
            picture: Availability::new(setup.plan.clone(), vec![0; sections]),
            expiries: BTreeSet::new(),
            book_queue: VecDeque::new(),
            book_work: BookWork::Idle,
            pay_queue: VecDeque::new(),
            workers: [PayWork::Idle, PayWork::Idle],
            refund: RefundWork::Idle,
            leased: BTreeMap::new(),
            notice_queue: VecDeque::new(),
            tellers: [Vec::new(), Vec::new()],
            sender: SendWork::default(),
            listening: BTreeSet::new(),
            waiters: BTreeMap::new(),
        };
        for hold in tables.holds.values() {
            memory.watch(hold);
        }
        for seat in 0..setup.plan.seats_total() {
            memory.refresh(&[SeatNo(seat)], tables, now);
        }
        memory
    }

    /// Brings the picture of these seats up to the rows.
    pub(crate) fn refresh(&mut self, seats: &[SeatNo], tables: &Tables, now: Timestamp) {
        for seat in seats {
            self.picture.set(*seat, seat_state(tables, *seat, now));
        }
    }

    /// Remembers when a hold runs out.
    pub(crate) fn watch(&mut self, hold: &Hold) {
        self.expiries.insert((hold.expires_at, hold.hold_id));
    }
}

/// What the rows say about a seat.
pub(crate) fn seat_state(tables: &Tables, seat: SeatNo, now: Timestamp) -> SeatState {
    let owner = tables.seats[seat.0 as usize].and_then(|id| tables.holds.get(&id));
    match owner {
        Some(hold) if hold.keeps_seats(now) => match hold.state {
            HoldState::Confirmed(_) => SeatState::Sold,
            HoldState::Active
            | HoldState::Paying(_)
            | HoldState::Returned(_)
            | HoldState::Released => SeatState::Held,
        },
        Some(_) | None => SeatState::Free,
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Its number in the list of promises.
    pub(crate) promise: u8,
    /// How.
    pub(crate) what: String,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) step: u32,
    pub(crate) rng: Rng,
    pub(crate) setup: Setup,
    pub(crate) faults: Faults,
    pub(crate) bug: Option<Bug>,
    pub(crate) store: Store,
    pub(crate) provider: Provider,
    pub(crate) net: Net,
    pub(crate) memory: Memory,
    pub(crate) fans: Vec<Fan>,
    pub(crate) history: History,
    pub(crate) signer: Signer,
    pub(crate) trace: Trace,
    pub(crate) stats: Stats,
    pub(crate) violation: Option<Violation>,
    /// Ids made so far.
    pub(crate) ids: u32,
}

impl World {
    /// The world of a seed, before its first step.
    pub(crate) fn new(seed: u64, bug: Option<Bug>, print: bool) -> Self {
        let mut rng = Rng::new(seed);
        let setup = Setup::of(&mut rng);
        let seats = setup.plan.seats_total() as usize;
        let tables = Tables {
            sale: setup.sale,
            admission: setup.admission,
            places: BTreeMap::new(),
            admissions: Vec::new(),
            seats: vec![None; seats],
            holds: BTreeMap::new(),
            fan_holds: BTreeMap::new(),
            bookings: BTreeMap::new(),
            tickets: BTreeMap::new(),
            outbox: BTreeMap::new(),
            notices: BTreeMap::new(),
        };
        let fans = (0..setup.fans).map(|n| Fan::new(n, &mut rng)).collect();
        let mut world = Self {
            now: START,
            step: 0,
            faults: setup.faults,
            bug,
            memory: Memory::rebuilt(&setup, &tables, START, 0),
            history: History::new(&tables, START),
            store: Store::new(tables),
            provider: Provider::default(),
            net: Net::default(),
            fans,
            signer: Signer::new(&rng.bytes16()),
            trace: Trace::new(print),
            stats: Stats::default(),
            violation: None,
            ids: 0,
            setup,
            rng,
        };
        let (setup, faults) = (&world.setup, world.faults);
        let text = format!(
            "seed {seed}: {} fans, {seats} seats, {:?}, {:?}, room {}, {faults:?}",
            setup.fans, setup.admission, setup.hold, setup.waiting_room
        );
        world.note(format_args!("{text}"));
        world
    }

    /// One step of everything, then the checks.
    pub(crate) fn step(&mut self) {
        self.step += 1;
        self.now = Timestamp(self.now.0 + i64::from(self.rng.between(100, 20_000)));
        if self.rng.chance(self.faults.crash) {
            self.crash();
        } else {
            match self.rng.below(100) {
                0..15 => self.fan_acts(),
                15..47 => {
                    if !self.deliver() && !self.server_acts() {
                        self.fan_acts();
                    }
                }
                47..97 => {
                    if !self.server_acts() && !self.deliver() {
                        self.fan_acts();
                    }
                }
                97 => self.operator_acts(),
                _ => {
                    let ms = self.rng.between(20, 2_000);
                    self.now = self.now.plus_ms(u64::from(ms));
                    self.note(format_args!("time passes, {ms} ms"));
                }
            }
        }
        self.check();
    }

    /// Lets everything come to an end with nothing going wrong any more, and checks that it has.
    pub(crate) fn drain(&mut self) {
        self.note(format_args!("no more faults; everything comes to an end"));
        self.faults = Faults::default();
        self.operator_ends();
        let until = self.now.plus_s(900);
        for _ in 0..50_000 {
            if self.violation.is_some() {
                return;
            }
            self.step += 1;
            if !self.deliver() && !self.server_acts() {
                let Some(at) = self.next_due().filter(|at| *at <= until) else {
                    self.check_end();
                    return;
                };
                self.now = at.max(Timestamp(self.now.0 + 1));
            }
            self.check();
        }
        self.violated(2, "it never came to rest".to_owned());
    }

    /// When something happens next by itself.
    fn next_due(&self) -> Option<Timestamp> {
        let (tables, memory) = (self.store.tables(), &self.memory);
        let work = tables.outbox.iter().map(|(work, due_at)| {
            memory
                .leased
                .get(work)
                .map_or(*due_at, |at| *at.max(due_at))
        });
        let expiry = memory.expiries.first().map(|(at, _)| *at);
        let others = [self.net.next_at(), memory.wake_at, expiry];
        work.chain(self.notices_due())
            .chain(others.into_iter().flatten())
            .min()
    }

    /// One message arrives, if there is one.
    fn deliver(&mut self) -> bool {
        match self.net.arrived(&mut self.rng, self.now) {
            None => false,
            Some(message) => {
                match message {
                    Message::Request(request) => self.receive(request),
                    Message::Answer(answer) => self.fan_hears(answer),
                    Message::Callback(booking) => self.memory.pay_queue.push_back(booking),
                }
                true
            }
        }
    }

    /// One part of the server that has something to do does it.
    fn server_acts(&mut self) -> bool {
        let mut ready: Vec<fn(&mut Self)> = Vec::with_capacity(10);
        let memory = &self.memory;
        let due = memory.wake_at.is_some_and(|at| at <= self.now);
        let asked = !memory.room_queue.is_empty() || !memory.used.is_empty();
        if !matches!(memory.room_work, RoomWork::Idle) || due || asked {
            ready.push(Self::room_acts);
        }
        for (lane, act) in memory
            .lanes
            .iter()
            .zip([Self::lane_0 as fn(&mut Self), Self::lane_1])
        {
            if !matches!(lane, Lane::Idle) || !memory.hold_queue.is_empty() {
                ready.push(act);
            }
        }
        if !matches!(memory.book_work, BookWork::Idle) || !memory.book_queue.is_empty() {
            ready.push(Self::book_acts);
        }
        for (worker, act) in memory
            .workers
            .iter()
            .zip([Self::worker_0 as fn(&mut Self), Self::worker_1])
        {
            if !matches!(worker, PayWork::Idle) || !memory.pay_queue.is_empty() {
                ready.push(act);
            }
        }
        if self.reconciler_ready() {
            ready.push(Self::reconciler_acts);
        }
        for (teller, act) in [Self::teller_0 as fn(&mut Self), Self::teller_1]
            .into_iter()
            .enumerate()
        {
            if self.teller_ready(teller) {
                ready.push(act);
            }
        }
        if self.sender_ready() {
            ready.push(Self::sender_acts);
        }
        if self.untold().is_some() {
            ready.push(Self::look_through);
        }
        if memory
            .expiries
            .first()
            .is_some_and(|(at, _)| *at <= self.now)
        {
            ready.push(Self::sweeper_acts);
        }
        match self.rng.pick(&ready) {
            Some(act) => {
                act(self);
                true
            }
            None => false,
        }
    }

    fn lane_0(&mut self) {
        self.lane_acts(0);
    }

    fn lane_1(&mut self) {
        self.lane_acts(1);
    }

    fn teller_0(&mut self) {
        self.teller_acts(0);
    }

    fn teller_1(&mut self) {
        self.teller_acts(1);
    }

    fn worker_0(&mut self) {
        self.worker_acts(0);
    }

    fn worker_1(&mut self) {
        self.worker_acts(1);
    }

    /// Seats of holds that have run out show as free.
    fn sweeper_acts(&mut self) {
        if let Some((_, id)) = self.memory.expiries.pop_first() {
            let tables = self.store.tables();
            if let Some(hold) = tables.holds.get(&id) {
                self.memory.refresh(&hold.seats, tables, self.now);
            }
        }
    }

    /// The process ends and starts again.
    fn crash(&mut self) {
        self.stats.crashes += 1;
        self.note(format_args!("CRASH"));
        let tables = self.store.tables();
        let forget = usize::from(self.bug == Some(Bug::NumberReused) && !tables.places.is_empty());
        let forget = if tables.places.len() > tables.serving_counter() as usize {
            forget
        } else {
            0
        };
        self.memory = Memory::rebuilt(&self.setup, tables, self.now, forget);
    }

    /// Answers a request: what is said counts from here on, whether it arrives or not.
    pub(crate) fn answer(&mut self, request: Request, said: Said) {
        let text = format!("fan {} {} -> {}", request.fan, say(&request), heard(&said));
        self.note(format_args!("{text}"));
        self.told(&request, &said);
        let message = Message::Answer(Answer { request, said });
        self.net
            .send(message, &self.faults, &mut self.rng, self.now);
    }

    /// Whether chance makes a commit fail now.
    pub(crate) fn refuses(&mut self) -> bool {
        let refuse = self.rng.chance(self.faults.refuse);
        self.stats.commits_refused += u32::from(refuse);
        refuse
    }

    /// Who a fan is.
    pub(crate) fn account(&self, fan: usize) -> AccountId {
        self.fans[fan].account
    }

    /// Whether this bug is planted.
    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// A line of the trace.
    pub(crate) fn note(&mut self, what: fmt::Arguments<'_>) {
        self.trace.note(self.step, self.now, what);
    }

    /// A promise is broken; the first one counts.
    pub(crate) fn violated(&mut self, promise: u8, what: String) {
        if self.violation.is_none() {
            self.note(format_args!("BROKEN promise {promise}: {what}"));
            self.violation = Some(Violation { promise, what });
        }
    }
}

/// The last bytes of an id: all that differs in a run.
pub(crate) fn short(id: [u8; 16]) -> String {
    let number = u32::from_be_bytes([id[12], id[13], id[14], id[15]]);
    format!("{}{number}", char::from(id[0]))
}

fn say(request: &Request) -> String {
    use crate::net::Ask;
    match &request.ask {
        Ask::Join => "join".to_owned(),
        Ask::Look => "look".to_owned(),
        Ask::Leave => "leave".to_owned(),
        Ask::Enter => "enter".to_owned(),
        Ask::Hold {
            hold_id,
            want,
            pass,
        } => {
            format!("hold {} {want:?} pass {}", short(hold_id.0), pass.is_some())
        }
        Ask::LookHold(id) => format!("look {}", short(id.0)),
        Ask::Release(id) => format!("release {}", short(id.0)),
        Ask::Book {
            booking_id,
            hold_id,
            outcome,
            ..
        } => {
            format!(
                "book {} of {} {outcome:?}",
                short(booking_id.0),
                short(hold_id.0)
            )
        }
        Ask::LookBooking(id) => format!("look {}", short(id.0)),
        Ask::Cancel(id) => format!("cancel {}", short(id.0)),
    }
}

fn heard(said: &Said) -> String {
    match said {
        Said::Place(view, new) => {
            format!(
                "place {} {:?} position {} new {new}",
                view.number, view.stage, view.position
            )
        }
        Said::Left => "left".to_owned(),
        Said::Pass {
            number, expires_at, ..
        } => format!("pass {number} until {}", expires_at.0),
        Said::Hold(hold) => format!(
            "hold {} {:?} {:?}",
            short(hold.hold_id.0),
            hold.seats,
            state(hold)
        ),
        Said::Released(id) => format!("released {}", short(id.0)),
        Said::Booking(booking) => format!(
            "booking {} {:?}",
            short(booking.booking_id.0),
            booking.state
        ),
        Said::Refused(refusal) => format!("no: {refusal:?}"),
        Said::Busy => "busy".to_owned(),
    }
}

fn state(hold: &Hold) -> &'static str {
    match hold.state {
        HoldState::Active => "active",
        HoldState::Paying(_) => "paying",
        HoldState::Confirmed(_) => "confirmed",
        HoldState::Returned(_) => "returned",
        HoldState::Released => "released",
    }
}

impl World {
    /// Something that is wanted by a fan reaches the server.
    fn receive(&mut self, request: Request) {
        use crate::net::Ask;
        self.asked(&request);
        match &request.ask {
            Ask::Join | Ask::Leave | Ask::Enter | Ask::Look if !self.setup.waiting_room => {
                self.answer(
                    request,
                    Said::Refused(boxoffice_core::Refusal::NoWaitingRoom),
                );
            }
            Ask::Join | Ask::Leave | Ask::Enter => self.memory.room_queue.push_back(request),
            Ask::Look => self.look(request),
            Ask::Hold { .. } => self.receive_hold(request),
            Ask::LookHold(_) | Ask::LookBooking(_) => self.look_up(request),
            Ask::Release(_) | Ask::Book { .. } | Ask::Cancel(_) => {
                self.memory.book_queue.push_back(request)
            }
        }
    }
}
