//! The journal of the waiting rooms: places and admissions, written before anybody is told.

use boxoffice_core::booking::Work;
use boxoffice_core::waiting_room::{Restore, RoomChanges, StoredPlace, WaitingRoom};
use boxoffice_core::{AccountId, PerformanceId, Timestamp};
use rusqlite::params;

use super::row::Col;
use super::sqlite::{Tx, expect_rows};
use super::{Store, outbox};
use crate::failure::Failure;

const INSERT_PLACE: &str = "INSERT INTO places (performance_id, epoch, number, account_id, joined_at) VALUES (?1, ?2, ?3, ?4, ?5)";
const LEAVE_PLACE: &str = "UPDATE places SET left_at = ?4 WHERE performance_id = ?1 AND epoch = ?2 AND number = ?3 AND left_at IS NULL";
const ENTER_PLACE: &str = "UPDATE places SET entered_until = ?4 WHERE performance_id = ?1 AND epoch = ?2 AND number = ?3 AND entered_until IS NULL";
const INSERT_ADMISSION: &str = "INSERT INTO admissions (performance_id, epoch, last, first, called, at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const SELECT_PLACES: &str = "SELECT number, account_id, entered_until, left_at IS NOT NULL, used_by IS NOT NULL FROM places \
     WHERE performance_id = ?1 AND epoch = ?2 ORDER BY number";
const SELECT_ADMISSIONS: &str = "SELECT last, called, at, expires_at FROM admissions WHERE performance_id = ?1 AND epoch = ?2 ORDER BY last";
const SELECT_CALLED: &str = "SELECT p.account_id, p.number, a.at, a.expires_at FROM admissions a \
     JOIN places p ON p.performance_id = a.performance_id AND p.epoch = a.epoch AND p.number BETWEEN a.first AND a.last \
     WHERE a.performance_id = ?1 AND a.epoch = ?2 AND a.last = ?3 AND p.left_at IS NULL";

/// A fan who was called.
#[derive(Copy, Clone, Debug)]
pub struct Called {
    /// Who.
    pub account: AccountId,
    /// When the call was recorded.
    pub at: Timestamp,
    /// Until when the slot is kept.
    pub expires_at: Timestamp,
}

impl Store {
    /// Remembers what a room's batch changes, and the call of its admission, in one transaction.
    ///
    /// # Errors
    /// [`Failure`]: nothing is remembered; the batch must not be applied.
    pub async fn journal(
        &self,
        performance: PerformanceId,
        epoch: u32,
        changes: RoomChanges,
    ) -> Result<(), Failure> {
        self.sqlite()
            .write(move |tx| journal(tx, performance, epoch, &changes))
            .await
    }

    /// A waiting room as the journal has it.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be read.
    pub async fn load_room(
        &self,
        performance: PerformanceId,
        epoch: u32,
        now: Timestamp,
    ) -> Result<WaitingRoom, Failure> {
        let read = move |rows: &rusqlite::Connection| {
            let mut restore = Restore::default();
            let mut statement = rows.prepare_cached(SELECT_PLACES)?;
            let places = statement.query_map(params![Col(performance), epoch], |row| {
                Ok(StoredPlace {
                    number: row.get(0)?,
                    account: row.get::<_, Col<_>>(1)?.0,
                    entered_until: row.get::<_, Option<Col<_>>>(2)?.map(|Col(until)| until),
                    left: row.get(3)?,
                    used: row.get(4)?,
                })
            })?;
            for place in places {
                restore.place(place?);
            }
            let mut statement = rows.prepare_cached(SELECT_ADMISSIONS)?;
            let mut admissions = statement.query(params![Col(performance), epoch])?;
            while let Some(row) = admissions.next()? {
                restore.admission(
                    row.get(0)?,
                    row.get(1)?,
                    row.get::<_, Col<_>>(2)?.0,
                    row.get::<_, Col<_>>(3)?.0,
                );
            }
            Ok(restore.finish(now))
        };
        self.sqlite().read(read).await
    }

    /// Who was called by the admission that moved the serving counter to `last`, and has not left since.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be read.
    pub async fn called_by(
        &self,
        performance: PerformanceId,
        epoch: u32,
        last: u32,
    ) -> Result<Vec<Called>, Failure> {
        let read = move |rows: &rusqlite::Connection| {
            let mut statement = rows.prepare_cached(SELECT_CALLED)?;
            let called = statement.query_map(params![Col(performance), epoch, last], |row| {
                let (account, at, expires_at): (Col<_>, Col<_>, Col<_>) =
                    (row.get(0)?, row.get(2)?, row.get(3)?);
                Ok(Called {
                    account: account.0,
                    at: at.0,
                    expires_at: expires_at.0,
                })
            })?;
            called.collect()
        };
        self.sqlite().read(read).await
    }
}

fn journal(
    tx: &Tx<'_>,
    performance: PerformanceId,
    epoch: u32,
    changes: &RoomChanges,
) -> Result<(), Failure> {
    for (number, account) in &changes.joined {
        let made = params![
            Col(performance),
            epoch,
            number,
            Col(*account),
            Col(changes.now)
        ];
        expect_rows("insert place", tx.change(INSERT_PLACE, made)?, 1)?;
    }
    for number in &changes.left {
        expect_rows(
            "leave place",
            tx.change(
                LEAVE_PLACE,
                params![Col(performance), epoch, number, Col(changes.now)],
            )?,
            1,
        )?;
    }
    for (number, until) in &changes.entered {
        expect_rows(
            "enter place",
            tx.change(
                ENTER_PLACE,
                params![Col(performance), epoch, number, Col(*until)],
            )?,
            1,
        )?;
    }
    if let Some(admission) = &changes.admission {
        let called = admission.called.len();
        let made = params![
            Col(performance),
            epoch,
            admission.last,
            admission.first,
            i64::try_from(called).unwrap_or(i64::MAX),
            Col(admission.at),
            Col(admission.expires_at)
        ];
        expect_rows("insert admission", tx.change(INSERT_ADMISSION, made)?, 1)?;
        // Handed on by the room, when those who are called see it: not before.
        outbox::remember(tx, &Work::Call(performance, admission.last))?;
    }
    Ok(())
}
