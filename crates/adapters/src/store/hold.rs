//! Holds in the store: seats are locked, decided on and saved in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use boxoffice_core::hold::{self, Hold, HoldCommand, HoldRows, HoldState, PlaceMarks, Spell};
use boxoffice_core::seating::{SeatNo, Wanted};
use boxoffice_core::{AccountId, BookingId, HoldId, PerformanceId, Refusal, Timestamp};
use rusqlite::{Row, params};

use super::Store;
use super::kept::Follows;
use super::row::{Col, ids_from_bytes, ids_to_bytes, seats_from_bytes, seats_to_bytes, unknown};
use super::sqlite::{Tx, expect_rows};
use crate::failure::Failure;
use crate::performance::Performance;

/// Which seats a fan asks for.
#[derive(Clone, Debug)]
pub enum Ask {
    /// These, without repeats.
    Seats(Vec<SeatNo>),
    /// The best that are free.
    Best(Wanted),
    /// So many spots of the area with this index.
    Area(usize, u32),
}

impl Ask {
    /// How many seats are asked for.
    #[must_use]
    pub fn quantity(&self) -> u32 {
        match self {
            Self::Seats(seats) => u32::try_from(seats.len()).unwrap_or(u32::MAX),
            Self::Best(wanted) => wanted.quantity,
            Self::Area(_, quantity) => *quantity,
        }
    }
}

impl Store {
    /// Decides a request for seats. A repeat gets the hold that it made, as it stands now; true when it is new.
    ///
    /// # Errors
    /// [`Failure::Busy`]: the same request may be repeated.
    pub async fn hold(
        &self,
        performance: Arc<Performance>,
        command: HoldCommand,
        ask: Ask,
    ) -> Result<Result<(Hold, bool), Refusal>, Failure> {
        self.sqlite()
            .write(move |tx| decide(tx, &performance, &command, &ask))
            .await
    }

    /// The hold with this id, if it is this fan's.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be read.
    pub async fn find_hold(
        &self,
        account: AccountId,
        hold: HoldId,
    ) -> Result<Option<Hold>, Failure> {
        let read = move |rows: &rusqlite::Connection| {
            let mut found = rows
                .prepare_cached(SELECT_HOLD)?
                .query_map([Col(hold)], read_hold)?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(found.pop().filter(|hold| hold.account_id == account))
        };
        self.sqlite().read(read).await
    }

    /// Gives a hold back; once given back, again is the same.
    ///
    /// # Errors
    /// [`Failure::Busy`]: the same request may be repeated.
    pub async fn release(
        &self,
        account: AccountId,
        hold: HoldId,
    ) -> Result<Result<(), Refusal>, Failure> {
        self.sqlite()
            .write(move |tx| release(tx, account, hold))
            .await
    }

    /// Frees the seats of expired holds in the picture; called a few times a second.
    ///
    /// # Errors
    /// [`Failure::Busy`]: the next call does it.
    pub async fn sweep_holds(&self, now: Timestamp) -> Result<(), Failure> {
        if !self.sqlite().kept.is_due(now) {
            return Ok(());
        }
        self.sqlite()
            .write(|tx| {
                tx.kept.sweep(tx.now);
                Ok(())
            })
            .await
    }

    /// Live holds that are not sold.
    #[must_use]
    pub fn live_holds(&self, performance: PerformanceId) -> u32 {
        self.sqlite().kept.live_holds(performance)
    }
}

pub(super) const SELECT_HOLD: &str = "SELECT hold_id, performance_id, account_id, place, seats, total_minor, content, created_at, expires_at, state, booking_id \
     FROM holds WHERE hold_id = ?1";
const SELECT_SEAT: &str = "SELECT hold_id FROM seats WHERE performance_id = ?1 AND seat_no = ?2";
const SELECT_FAN: &str =
    "SELECT holds, since, until FROM fans WHERE performance_id = ?1 AND account_id = ?2";
const SELECT_MARKS: &str = "SELECT left_at IS NOT NULL, used_by IS NOT NULL FROM places WHERE performance_id = ?1 AND epoch = ?2 AND number = ?3 AND account_id = ?4";
const INSERT_HOLD: &str = "INSERT INTO holds (hold_id, performance_id, account_id, place, seats, total_minor, content, created_at, expires_at, state) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0)";
const UPDATE_SEAT: &str =
    "UPDATE seats SET hold_id = ?4 WHERE performance_id = ?1 AND seat_no = ?2 AND hold_id IS ?3";
const UPSERT_FAN: &str = "INSERT INTO fans (performance_id, account_id, holds, since, until) VALUES (?1, ?2, ?3, ?4, ?5) \
     ON CONFLICT (performance_id, account_id) DO UPDATE SET holds = excluded.holds, since = excluded.since, until = excluded.until";
const UPDATE_HOLD: &str = "UPDATE holds SET state = ?2, booking_id = ?3 WHERE hold_id = ?1 AND state = ?4 AND booking_id IS ?5";

fn decide(
    tx: &Tx<'_>,
    performance: &Arc<Performance>,
    command: &HoldCommand,
    ask: &Ask,
) -> Result<Result<(Hold, bool), Refusal>, Failure> {
    tx.kept.sweep(tx.now);
    let mut rows = HoldRows::default();
    load_hold(tx, &mut rows, command.hold_id)?;
    let is_repeat = rows.holds.contains_key(&command.hold_id);
    let chosen = if is_repeat || command.entry.is_err() {
        None
    } else {
        choose(tx, performance, ask)
    };
    let picked = chosen.is_some() && !matches!(ask, Ask::Seats(_));
    if !is_repeat {
        load(
            tx,
            &mut rows,
            performance,
            command,
            chosen.as_deref().unwrap_or_default(),
        )?;
    }
    let rules = performance.hold_rules();
    let price = |seat| performance.price_level(seat).amount_minor;
    let decided = hold::decide(&mut rows, command, chosen.as_deref(), &rules, price, tx.now);
    let Ok(hold) = decided else {
        if picked {
            tx.unpick();
        }
        tx.kept.metrics.hold("refused");
        return Ok(decided.map(|hold| (hold, false)));
    };
    if !is_repeat {
        save(tx, &rows, &hold)?;
        if !picked {
            // The next job of this batch must not choose seats that were just given by name.
            tx.pick(performance, &hold.seats);
        }
        tx.follow(
            performance,
            Follows::Held(hold.hold_id, hold.seats.clone(), hold.expires_at),
        );
        tx.kept.metrics.hold("held");
    }
    Ok(Ok((hold, !is_repeat)))
}

fn choose(tx: &Tx<'_>, performance: &Arc<Performance>, ask: &Ask) -> Option<Vec<SeatNo>> {
    let seats = match ask {
        Ask::Seats(seats) => return Some(seats.clone()),
        Ask::Best(wanted) => performance.picture().choose_best(wanted)?,
        Ask::Area(index, quantity) => performance
            .picture()
            .choose_in_area(performance.plan().areas().get(*index)?, *quantity)?,
    };
    tx.pick(performance, &seats);
    Some(seats)
}

fn load(
    tx: &Tx<'_>,
    rows: &mut HoldRows,
    performance: &Performance,
    command: &HoldCommand,
    seats: &[SeatNo],
) -> Result<(), Failure> {
    let id = command.performance_id;
    if let Ok(Some(number)) = command.entry {
        let marks = tx.one(
            SELECT_MARKS,
            params![Col(id), performance.epoch, number, Col(command.account_id)],
            |row| {
                Ok(PlaceMarks {
                    left: row.get(0)?,
                    used: row.get(1)?,
                })
            },
        )?;
        rows.places.extend(marks.map(|marks| ((id, number), marks)));
    }
    let fan = (id, command.account_id);
    let known = tx.one(SELECT_FAN, params![Col(fan.0), Col(fan.1)], |row| {
        let of_fan = ids_from_bytes(row.get_ref(0)?.as_blob()?, HoldId);
        let (since, until): (Col<_>, Col<_>) = (row.get(1)?, row.get(2)?);
        Ok((
            of_fan,
            Spell {
                since: since.0,
                until: until.0,
            },
        ))
    })?;
    let (of_fan, spell) = known.unzip();
    let of_fan = of_fan.unwrap_or_default();
    rows.spells.extend(spell.map(|spell| (fan, spell)));
    for hold in &of_fan {
        load_hold(tx, rows, *hold)?;
    }
    rows.fans.insert(fan, of_fan);
    for seat in seats {
        let owner = tx.one(SELECT_SEAT, params![Col(id), seat.0], |row| {
            row.get::<_, Option<Col<HoldId>>>(0)
        })?;
        let owner = owner
            .ok_or_else(|| Failure::Broken(format!("seat {} of {id} has no row", seat.0)))?
            .map(|Col(hold)| hold);
        rows.seats.insert((id, *seat), owner);
        if let Some(hold) = owner {
            load_hold(tx, rows, hold)?;
        }
    }
    Ok(())
}

fn load_hold(tx: &Tx<'_>, rows: &mut HoldRows, hold: HoldId) -> Result<(), Failure> {
    if !rows.holds.contains_key(&hold) {
        rows.holds.extend(
            tx.one(SELECT_HOLD, [Col(hold)], read_hold)?
                .map(|found| (hold, found)),
        );
    }
    Ok(())
}

fn save(tx: &Tx<'_>, rows: &HoldRows, hold: &Hold) -> Result<(), Failure> {
    let made = params![
        Col(hold.hold_id),
        Col(hold.performance_id),
        Col(hold.account_id),
        hold.place,
        seats_to_bytes(&hold.seats),
        hold.total_minor,
        hold.content,
        Col(hold.created_at),
        Col(hold.expires_at)
    ];
    expect_rows("insert hold", tx.change(INSERT_HOLD, made)?, 1)?;
    for (performance, seat, from, to) in &rows.changes.seats {
        let changed = tx.change(
            UPDATE_SEAT,
            params![Col(*performance), seat.0, from.map(Col), Col(*to)],
        )?;
        expect_rows("take seat", changed, 1)?;
    }
    for fan in &rows.changes.fans {
        let holds = rows.fans.get(fan).into_iter().flatten().map(|hold| hold.0);
        let spell = rows
            .spells
            .get(fan)
            .expect("whoever holds seats has a spell");
        let row = params![
            Col(fan.0),
            Col(fan.1),
            ids_to_bytes(holds),
            Col(spell.since),
            Col(spell.until)
        ];
        expect_rows("note fan's hold", tx.change(UPSERT_FAN, row)?, 1)?;
    }
    Ok(())
}

fn release(tx: &Tx<'_>, account: AccountId, id: HoldId) -> Result<Result<(), Refusal>, Failure> {
    let Some(mut hold) = tx
        .one(SELECT_HOLD, [Col(id)], read_hold)?
        .filter(|hold| hold.account_id == account)
    else {
        return Ok(Err(Refusal::NotFound));
    };
    let before = hold.state;
    match hold.release() {
        Err(refusal) => return Ok(Err(refusal)),
        Ok(false) => return Ok(Ok(())),
        Ok(true) => update_hold(tx, &hold, before)?,
    }
    if tx.now < hold.expires_at
        && let Some(performance) = tx.kept.performance(hold.performance_id)
    {
        tx.follow(
            &performance,
            Follows::Released(id, hold.seats, hold.expires_at),
        );
        tx.kept.metrics.hold("released");
    }
    Ok(Ok(()))
}

/// Saves a hold's new state over the one that was loaded.
pub(super) fn update_hold(tx: &Tx<'_>, hold: &Hold, before: HoldState) -> Result<(), Failure> {
    let ((state, booking), (old, old_booking)) = (state_columns(hold.state), state_columns(before));
    let changed = tx.change(
        UPDATE_HOLD,
        params![
            Col(hold.hold_id),
            state,
            booking.map(Col),
            old,
            old_booking.map(Col)
        ],
    )?;
    expect_rows("change hold", changed, 1)
}

fn state_columns(state: HoldState) -> (i64, Option<BookingId>) {
    match state {
        HoldState::Active => (0, None),
        HoldState::Paying(booking) => (1, Some(booking)),
        HoldState::Confirmed(booking) => (2, Some(booking)),
        HoldState::Released => (3, None),
        HoldState::Returned(booking) => (4, Some(booking)),
    }
}

/// A row of [`SELECT_HOLD`].
pub(super) fn read_hold(row: &Row<'_>) -> rusqlite::Result<Hold> {
    let booking: Option<Col<BookingId>> = row.get(10)?;
    let state = match (row.get::<_, i64>(9)?, booking) {
        (0, _) => HoldState::Active,
        (1, Some(Col(booking))) => HoldState::Paying(booking),
        (2, Some(Col(booking))) => HoldState::Confirmed(booking),
        (3, _) => HoldState::Released,
        (4, Some(Col(booking))) => HoldState::Returned(booking),
        (other, _) => return Err(unknown("hold state", other)),
    };
    Ok(Hold {
        hold_id: row.get::<_, Col<_>>(0)?.0,
        performance_id: row.get::<_, Col<_>>(1)?.0,
        account_id: row.get::<_, Col<_>>(2)?.0,
        place: row.get(3)?,
        seats: seats_from_bytes(row.get_ref(4)?.as_blob()?),
        total_minor: row.get(5)?,
        content: row.get::<_, Col<[u8; 16]>>(6)?.0,
        created_at: row.get::<_, Col<_>>(7)?.0,
        expires_at: row.get::<_, Col<_>>(8)?.0,
        state,
    })
}

/// Holds by id, as the batches of bookings load them.
pub(super) fn load_holds(
    tx: &Tx<'_>,
    ids: impl IntoIterator<Item = HoldId>,
) -> Result<BTreeMap<HoldId, Hold>, Failure> {
    let mut holds = BTreeMap::new();
    for id in ids {
        holds.extend(
            tx.one(SELECT_HOLD, [Col(id)], read_hold)?
                .map(|hold| (id, hold)),
        );
    }
    Ok(holds)
}
