//! The outbox: work that is remembered in the same transaction as what asks for it, until it is done.

use boxoffice_core::booking::Work;
use boxoffice_core::{BookingId, PerformanceId, Timestamp};
use rusqlite::{Row, params};

use super::Store;
use super::row::{Col, unknown};
use super::sqlite::Tx;
use crate::failure::Failure;

/// How long after it began work is taken up again if it is still there, seconds.
const FIRST_DUE_S: u32 = 5;
/// Works taken up again at once.
const TAKE_MAX: u32 = 500;

const INSERT: &str = "INSERT INTO outbox (topic, subject, due_at, tries) VALUES (?1, ?2, ?3, 0) ON CONFLICT (topic, subject) DO NOTHING";
const DELETE: &str = "DELETE FROM outbox WHERE topic = ?1 AND subject = ?2";
const SELECT_DUE: &str = "SELECT topic, subject, tries FROM outbox WHERE due_at <= ?1 LIMIT ?2";
const POSTPONE: &str =
    "UPDATE outbox SET due_at = ?3, tries = ?4 WHERE topic = ?1 AND subject = ?2";
const DELAY: &str = "UPDATE outbox SET due_at = ?3 WHERE topic = ?1 AND subject = ?2";
const OLDEST: &str = "SELECT count(*) FROM outbox";

impl Store {
    /// Takes up work that should be done by now: it is put off, longer each time, so that nobody else takes it meanwhile.
    ///
    /// # Errors
    /// [`Failure`]: the next call takes it.
    pub async fn take_due(&self) -> Result<Vec<Work>, Failure> {
        let any = self
            .sqlite()
            .read(|rows| {
                rows.prepare_cached(OLDEST)?
                    .query_row([], |row| row.get::<_, i64>(0))
            })
            .await?;
        if any == 0 {
            return Ok(Vec::new());
        }
        self.sqlite()
            .write(|tx| {
                let mut statement = tx
                    .rows
                    .prepare_cached(SELECT_DUE)
                    .map_err(super::sqlite::failure)?;
                let due = statement
                    .query_map(params![Col(tx.now), TAKE_MAX], read_work)
                    .map_err(super::sqlite::failure)?;
                let due = due
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(super::sqlite::failure)?;
                for (work, tries) in &due {
                    let (topic, subject) = columns(work);
                    let wait_s = (FIRST_DUE_S << tries.min(&4)).min(60);
                    tx.change(
                        POSTPONE,
                        params![topic, subject, Col(tx.now.plus_s(wait_s)), tries + 1],
                    )?;
                }
                Ok(due.into_iter().map(|(work, _)| work).collect())
            })
            .await
    }

    /// Puts work off until then.
    ///
    /// # Errors
    /// [`Failure`]: it is taken up when it was due.
    pub async fn put_off(&self, work: Work, until: Timestamp) -> Result<(), Failure> {
        self.sqlite()
            .write(move |tx| {
                let (topic, subject) = columns(&work);
                tx.change(DELAY, params![topic, subject, Col(until)])
                    .map(|_| ())
            })
            .await
    }
}

/// Remembers work, and hands it on once committed.
pub(super) fn begin(tx: &Tx<'_>, work: &Work) -> Result<(), Failure> {
    remember(tx, work)?;
    tx.begin(work.clone());
    Ok(())
}

/// Remembers work that somebody else hands on.
pub(super) fn remember(tx: &Tx<'_>, work: &Work) -> Result<(), Failure> {
    let (topic, subject) = columns(work);
    tx.change(
        INSERT,
        params![topic, subject, Col(tx.now.plus_s(FIRST_DUE_S))],
    )
    .map(|_| ())
}

/// Forgets work that is done; false when it was not there any more.
pub(super) fn end(tx: &Tx<'_>, work: &Work) -> Result<bool, Failure> {
    let (topic, subject) = columns(work);
    Ok(tx.change(DELETE, params![topic, subject])? == 1)
}

fn columns(work: &Work) -> (i64, Vec<u8>) {
    match work {
        Work::Pay(booking) => (0, booking.0.to_vec()),
        Work::Refund(booking) => (1, booking.0.to_vec()),
        Work::TellBooking(booking) => (2, booking.0.to_vec()),
        Work::Call(performance, last) => (3, [&performance.0[..], &last.to_be_bytes()].concat()),
    }
}

fn read_work(row: &Row<'_>) -> rusqlite::Result<(Work, u32)> {
    let subject = row.get_ref(1)?.as_blob()?;
    let booking = || {
        subject
            .try_into()
            .map(BookingId)
            .map_err(|_| unknown("outbox subject", 0))
    };
    let work = match row.get(0)? {
        0 => Work::Pay(booking()?),
        1 => Work::Refund(booking()?),
        2 => Work::TellBooking(booking()?),
        3 => match (subject.first_chunk::<16>(), subject.last_chunk::<4>()) {
            (Some(performance), Some(last)) if subject.len() == 20 => {
                Work::Call(PerformanceId(*performance), u32::from_be_bytes(*last))
            }
            _ => return Err(unknown("outbox subject", 3)),
        },
        other => return Err(unknown("outbox topic", other)),
    };
    Ok((work, row.get(2)?))
}
