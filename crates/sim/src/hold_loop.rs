//! The hold batchers: seats are chosen from the picture, rows loaded and decided on, saved with counts checked, answered.
//!
//! Two of them work side by side on one store, so that the counts have something to find: a batch that meets a changed
//! row is decided again.

use boxoffice_core::hold::{Hold, HoldCommand, HoldRows, HoldRules, HoldState, PlaceMarks, decide};
use boxoffice_core::pass::{Claims, Kind};
use boxoffice_core::seating::{SeatNo, SeatState, Wanted};
use boxoffice_core::{HoldId, Refusal};

use crate::bug::Bug;
use crate::net::{Ask, Request, Said, Want};
use crate::room_loop::EPOCH;
use crate::store::{NotSaved, PERFORMANCE};
use crate::world::World;

/// Requests in one batch.
const BATCH_MAX: usize = 3;
/// How often other seats are chosen when the picture was behind the rows.
const CHOICES_MAX: u32 = 3;

/// A request for seats.
#[derive(Clone, Debug)]
pub(crate) struct HoldTask {
    request: Request,
    hold_id: HoldId,
    want: Want,
    /// What the pass shown says, if it is one of ours.
    claims: Option<Claims>,
    chosen: Option<Vec<SeatNo>>,
}

/// A request and what was decided about it.
type Results = Vec<(Request, Result<Hold, Refusal>)>;

/// Where a batcher stands.
#[derive(Clone, Debug)]
pub(crate) enum Lane {
    Idle,
    Chosen(Vec<HoldTask>),
    Decided(Box<Batch>),
    Saved(Results, Vec<SeatNo>),
}

/// A decided batch.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    tasks: Vec<HoldTask>,
    rows: HoldRows,
    loaded: HoldRows,
    results: Results,
    touched: Vec<SeatNo>,
}

impl World {
    /// A request for seats arrives: the pass is read before anything else.
    pub(crate) fn receive_hold(&mut self, request: Request) {
        let Ask::Hold {
            hold_id,
            want,
            pass,
        } = request.ask.clone()
        else {
            unreachable!("only holds come here");
        };
        let claims = pass.and_then(|text| self.signer.verify(Kind::Pass, &text));
        self.memory.hold_queue.push_back(HoldTask {
            request,
            hold_id,
            want,
            claims,
            chosen: None,
        });
    }

    /// The next step of a batcher.
    pub(crate) fn lane_acts(&mut self, lane: usize) {
        self.memory.lanes[lane] = match std::mem::replace(&mut self.memory.lanes[lane], Lane::Idle)
        {
            Lane::Idle => self.lane_chooses(),
            Lane::Chosen(tasks) => self.lane_decides(tasks),
            Lane::Decided(batch) => self.lane_saves(*batch),
            Lane::Saved(results, touched) => self.lane_answers(results, &touched),
        };
    }

    fn lane_chooses(&mut self) -> Lane {
        let count = self.memory.hold_queue.len().min(BATCH_MAX);
        let mut tasks: Vec<HoldTask> = self.memory.hold_queue.drain(..count).collect();
        for task in &mut tasks {
            task.chosen = self.choose(&task.want);
        }
        Lane::Chosen(tasks)
    }

    /// Seats for a request; those that we choose show as held from now on, so that the next is not given the same.
    fn choose(&mut self, want: &Want) -> Option<Vec<SeatNo>> {
        let picture = &mut self.memory.picture;
        let seats = match want {
            Want::Seats(seats) => return Some(seats.clone()),
            Want::Best(quantity) => picture.choose_best(&Wanted {
                quantity: *quantity,
                section: None,
                price_level: None,
                together: true,
            }),
            Want::Area(quantity) => {
                let area = self
                    .setup
                    .plan
                    .areas()
                    .first()
                    .expect("every hall has a floor");
                picture.choose_in_area(area, *quantity)
            }
        }?;
        for seat in &seats {
            picture.set(*seat, SeatState::Held);
        }
        Some(seats)
    }

    /// The number of the pass, or why this fan may not enter.
    fn entry(&self, task: &HoldTask) -> Result<Option<u32>, Refusal> {
        if !self.setup.waiting_room {
            return Ok(None);
        }
        let claims = task.claims.ok_or(Refusal::PassRequired)?;
        let own = claims.account_id == self.account(task.request.fan)
            || self.has(Bug::ForeignPassAccepted);
        if !own || claims.performance_id != PERFORMANCE || claims.epoch != EPOCH {
            return Err(Refusal::PassRequired);
        }
        if self.now >= claims.expires_at {
            return Err(Refusal::PassExpired);
        }
        Ok(Some(claims.number))
    }

    fn lane_decides(&mut self, tasks: Vec<HoldTask>) -> Lane {
        let mut batch = Batch {
            tasks: Vec::new(),
            rows: HoldRows::default(),
            loaded: HoldRows::default(),
            results: Results::new(),
            touched: Vec::new(),
        };
        for mut task in tasks {
            let result = self.decide_hold(&mut batch, &mut task);
            batch.results.push((task.request.clone(), result));
            batch.tasks.push(task);
        }
        Lane::Decided(Box::new(batch))
    }

    fn decide_hold(&mut self, batch: &mut Batch, task: &mut HoldTask) -> Result<Hold, Refusal> {
        let entry = self.entry(task);
        let quantity = match &task.want {
            Want::Seats(seats) => seats.len(),
            Want::Best(quantity) | Want::Area(quantity) => *quantity as usize,
        };
        let command = HoldCommand {
            hold_id: task.hold_id,
            account_id: self.account(task.request.fan),
            performance_id: PERFORMANCE,
            quantity: u32::try_from(quantity).expect("a few seats"),
            entry: entry.clone(),
            content: fingerprint(&task.want),
        };
        let rules = HoldRules {
            policy: self.setup.hold,
            sale: self.store.tables().sale,
        };
        for tries in 1.. {
            let seats = task.chosen.clone().unwrap_or_default();
            batch.touched.extend(&seats);
            self.load_hold(batch, &command, &seats);
            let setup = &self.setup;
            let price = |seat| setup.price(seat);
            let result = decide(
                &mut batch.rows,
                &command,
                task.chosen.as_deref(),
                &rules,
                price,
                self.now,
            );
            match result {
                Err(Refusal::SeatTaken(taken)) if !matches!(task.want, Want::Seats(_)) => {
                    // The picture was behind: it learns of these seats and chooses others.
                    for seat in &taken {
                        self.memory.picture.set(*seat, SeatState::Held);
                    }
                    task.chosen = if tries < CHOICES_MAX {
                        self.choose(&task.want)
                    } else {
                        None
                    };
                }
                Ok(_) | Err(_) => return result,
            }
        }
        unreachable!("no more than a few choices are made")
    }

    fn load_hold(&self, batch: &mut Batch, command: &HoldCommand, seats: &[SeatNo]) {
        let tables = self.store.tables();
        let place = command.entry.clone().ok().flatten();
        for rows in [&mut batch.rows, &mut batch.loaded] {
            tables.load_hold(rows, command.hold_id, command.account_id, place, seats);
        }
        if self.has(Bug::SweptWhilePaying) {
            let overdue = batch.rows.holds.values_mut();
            for hold in overdue.filter(|hold| self.now >= hold.expires_at) {
                if matches!(hold.state, HoldState::Paying(_)) {
                    hold.state = HoldState::Released;
                }
            }
        }
        if self.has(Bug::UsedPassAccepted) {
            for marks in batch.rows.places.values_mut() {
                *marks = PlaceMarks::default();
            }
        }
    }

    fn lane_saves(&mut self, batch: Batch) -> Lane {
        let Batch {
            tasks,
            rows,
            loaded,
            results,
            touched,
        } = batch;
        if rows.changes.holds.is_empty() {
            return Lane::Saved(results, touched);
        }
        let (refuse, checked) = (self.refuses(), !self.has(Bug::UncheckedTakeover));
        match self
            .store
            .commit(refuse, |tables| tables.save_holds(&rows, &loaded, checked))
        {
            Ok(()) => {
                let over = rows
                    .changes
                    .seats
                    .iter()
                    .filter(|(_, _, from, _)| from.is_some());
                self.stats.taken_over += u32::try_from(over.count()).expect("a batch is small");
                self.stats.held +=
                    u32::try_from(rows.changes.holds.len()).expect("a batch is small");
                self.note(format_args!("holds saved: {}", rows.changes.holds.len()));
                Lane::Saved(results, touched)
            }
            Err(NotSaved::Conflict(row)) => {
                self.stats.conflicts += 1;
                self.note(format_args!(
                    "holds: another {row} than was loaded; decided again"
                ));
                self.memory.refresh(&touched, self.store.tables(), self.now);
                Lane::Chosen(tasks)
            }
            Err(NotSaved::Refused) => {
                self.note(format_args!("holds: not saved"));
                self.memory.refresh(&touched, self.store.tables(), self.now);
                for (request, _) in results {
                    self.answer(request, Said::Busy);
                }
                Lane::Idle
            }
        }
    }

    fn lane_answers(&mut self, results: Results, touched: &[SeatNo]) -> Lane {
        self.memory.refresh(touched, self.store.tables(), self.now);
        for (request, result) in results {
            let said = match result {
                Ok(hold) => {
                    self.memory.watch(&hold);
                    // A repeat is told how the hold stands now.
                    let now = self.store.tables().holds.get(&hold.hold_id).cloned();
                    Said::Hold(now.unwrap_or(hold))
                }
                Err(refusal) => Said::Refused(refusal),
            };
            self.answer(request, said);
        }
        Lane::Idle
    }
}

/// Tells one request for seats from another.
fn fingerprint(want: &Want) -> [u8; 16] {
    let mut content = [0; 16];
    let (kind, numbers) = match want {
        Want::Seats(seats) => (1, seats.iter().map(|seat| seat.0).collect()),
        Want::Best(quantity) => (2, vec![*quantity]),
        Want::Area(quantity) => (3, vec![*quantity]),
    };
    content[0] = kind;
    for (byte, number) in content[1..].iter_mut().zip(numbers) {
        *byte = u8::try_from(number + 1).expect("a small hall");
    }
    content
}
