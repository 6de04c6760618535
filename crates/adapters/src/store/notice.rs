//! Notices in the store: recorded in the transaction that ends the work that asked for them, so that each is made once.

use boxoffice_core::booking::{BookingState, Work};
use boxoffice_core::notice::{Channel, Next, Reason};
use boxoffice_core::{AccountId, BookingId, NoticeId, PerformanceId, Timestamp};
use rusqlite::{Row, params};

use super::row::{Col, unknown};
use super::sqlite::{Tx, expect_rows};
use super::{Store, outbox};
use crate::failure::Failure;

/// While an attempt is under way nobody else makes one, seconds. Longer than all time limits of an attempt together, or
/// one that is slow would be made twice.
const ATTEMPT_S: u32 = 150;

/// A message to one fan by one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Names it.
    pub notice_id: NoticeId,
    /// To whom.
    pub account: AccountId,
    /// About which performance.
    pub performance: PerformanceId,
    /// Why.
    pub reason: Reason,
    /// About which booking, if it is about one.
    pub booking: Option<BookingId>,
    /// How it travels.
    pub channel: Channel,
    /// Attempts begun.
    pub tries: u32,
    /// Of those, how many may have arrived: ended unclear, or under way.
    pub unclear: u32,
    /// After which it is of no use.
    pub useful_until: Timestamp,
    /// When what it tells was recorded.
    pub created_at: Timestamp,
}

/// What became of an operator's wish to send a dead letter again.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Resent {
    /// It is to be sent again, or waits already.
    Again,
    /// There is no dead letter with this id.
    Unknown,
    /// It called a fan whose turn is over.
    TurnOver,
}

/// A notice that was given up, for the operator to see and send again.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// What was to be told.
    pub notice: Notice,
}

/// What is recorded of work that told fans something.
#[derive(Clone, Debug)]
pub struct Told {
    /// The work, which ends with it.
    pub work: Work,
    /// Where the booking stood when it was told of.
    pub state: Option<BookingState>,
    /// The notices beside the streams.
    pub notices: Vec<(Notice, Next)>,
}

/// How many notices of a performance went how.
#[derive(Copy, Clone, Debug, Default)]
pub struct NoticeCounts {
    /// Accepted by the provider, or told on a stream.
    pub sent: u64,
    /// Dead letters.
    pub failed: u64,
    /// 95 % of the last thousand were accepted within this, milliseconds.
    pub p95_ms: u64,
}

const INSERT: &str = "INSERT INTO notices (notice_id, account_id, performance_id, reason, booking_id, channel, state, tries, unclear, due_at, useful_until, created_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
const UPDATE: &str = "UPDATE notices SET state = ?2, unclear = ?4, due_at = ?5 WHERE notice_id = ?1 AND state = 0 AND tries = ?3";
const SELECT_DUE: &str = "SELECT notice_id, account_id, performance_id, reason, booking_id, channel, tries, unclear, useful_until, created_at FROM notices \
     WHERE state = 0 AND due_at <= ?1 ORDER BY due_at LIMIT ?2";
const BEGIN: &str = "UPDATE notices SET tries = tries + 1, unclear = unclear + 1, due_at = ?3 \
     WHERE notice_id = ?1 AND state = 0 AND due_at <= ?2";
const DROP: &str = "DELETE FROM notices WHERE notice_id = ?1 AND state = 0";
const SELECT_DEAD: &str = "SELECT notice_id, account_id, performance_id, reason, booking_id, channel, tries, unclear, useful_until, created_at FROM notices \
     WHERE state = 2 AND notice_id > ?1 ORDER BY notice_id LIMIT ?2";
const SELECT_STATE: &str =
    "SELECT state, performance_id, reason, useful_until FROM notices WHERE notice_id = ?1";
const REVIVE: &str = "UPDATE notices SET state = 0, tries = 0, unclear = 0, due_at = ?2, useful_until = ?3 WHERE notice_id = ?1 AND state = 2";
const TAKE_OVER: &str = "UPDATE notices SET due_at = ?1 WHERE state = 0 AND due_at > ?1";
/// For how long a booking's dead letter that is sent again is of use at least, seconds.
const RESENT_USEFUL_S: u32 = 3_600;
const COUNTS: &str =
    "SELECT performance_id, state, count(*) FROM notices GROUP BY performance_id, state";

impl Store {
    /// Ends work and records its notices, in one transaction, so that a repeat of the work makes no second ones. What was
    /// ended already is passed over; a booking that changed since it was told of stays to be told again.
    ///
    /// # Errors
    /// [`Failure`]: nothing is recorded; the work will be taken up again.
    pub async fn record_notices(&self, told: Vec<Told>) -> Result<(), Failure> {
        let step = move |tx: &Tx<'_>| {
            for Told {
                work,
                state,
                notices,
            } in &told
            {
                if let (Work::TellBooking(booking), Some(state)) = (work, state)
                    && !super::booking::is_still(tx, *booking, state)?
                {
                    continue;
                }
                if outbox::end(tx, work)? {
                    notices
                        .iter()
                        .try_for_each(|(notice, next)| insert(tx, notice, *next))?;
                }
            }
            Ok(())
        };
        self.sqlite().write(step).await
    }

    /// Records what became of attempts. One whose notice has been begun anew since is passed over: the later one counts.
    ///
    /// # Errors
    /// [`Failure`]: nothing is recorded; to be repeated.
    pub async fn update_notices(&self, notices: Vec<(Notice, Next)>) -> Result<(), Failure> {
        let step = move |tx: &Tx<'_>| {
            for (notice, next) in &notices {
                let (state, due_at) = columns(*next);
                let id = Col(notice.notice_id);
                tx.change(
                    UPDATE,
                    params![id, state, notice.tries, notice.unclear, Col(due_at)],
                )?;
            }
            Ok(())
        };
        self.sqlite().write(step).await
    }

    /// Forgets notices that are no longer true.
    ///
    /// # Errors
    /// [`Failure`]: to be repeated.
    pub async fn drop_notices(&self, ids: Vec<NoticeId>) -> Result<(), Failure> {
        let step = move |tx: &Tx<'_>| {
            ids.iter()
                .try_for_each(|id| tx.change(DROP, [Col(*id)]).map(drop))
        };
        self.sqlite().write(step).await
    }

    /// Makes everything that is to be sent due now: whoever waited with it or was sending it is gone. To be called before
    /// the first attempt of a process.
    ///
    /// # Errors
    /// [`Failure`]: what was under way becomes due in its own time.
    pub async fn take_over_notices(&self) -> Result<(), Failure> {
        let step = |tx: &Tx<'_>| tx.change(TAKE_OVER, [Col(tx.now)]).map(drop);
        self.sqlite().write(step).await
    }

    /// Notices whose next attempt is due, the longest due first.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be read.
    pub async fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Notice>, Failure> {
        let read = move |rows: &rusqlite::Connection| {
            let mut statement = rows.prepare_cached(SELECT_DUE)?;
            statement
                .query_map(params![Col(now), limit], read_notice)?
                .collect()
        };
        self.sqlite().read(read).await
    }

    /// Remembers attempts before they are made, as ones that may have arrived, so that crashes cannot repeat them without
    /// end. They are to be made at once: nobody else begins them only while an attempt can last. Returned are those that
    /// are still to be made.
    ///
    /// # Errors
    /// [`Failure`]: none may be made.
    pub async fn begin_attempts(&self, notices: Vec<NoticeId>) -> Result<Vec<NoticeId>, Failure> {
        let step = move |tx: &Tx<'_>| {
            let mut begun = Vec::with_capacity(notices.len());
            for id in &notices {
                let until = Col(tx.now.plus_s(ATTEMPT_S));
                if tx.change(BEGIN, params![Col(*id), Col(tx.now), until])? == 1 {
                    begun.push(*id);
                }
            }
            Ok(begun)
        };
        self.sqlite().write(step).await
    }

    /// Dead letters, oldest first.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be read.
    pub async fn dead_letters(
        &self,
        limit: usize,
        after: Option<NoticeId>,
    ) -> Result<Vec<DeadLetter>, Failure> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = move |rows: &rusqlite::Connection| {
            let after = after.unwrap_or(NoticeId([0; 16]));
            let mut statement = rows.prepare_cached(SELECT_DEAD)?;
            let dead = statement.query_map(params![Col(after), limit], |row| {
                read_notice(row).map(|notice| DeadLetter { notice })
            })?;
            dead.collect()
        };
        self.sqlite().read(read).await
    }

    /// Sends a dead letter again. A call keeps the end of its turn: nobody is called to a turn that is over.
    ///
    /// # Errors
    /// [`Failure::Busy`]: it may be repeated.
    pub async fn resend(&self, id: NoticeId) -> Result<Resent, Failure> {
        let step = move |tx: &Tx<'_>| {
            let found = tx.one(SELECT_STATE, [Col(id)], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, Col<PerformanceId>>(1)?.0,
                    row.get::<_, i64>(2)?,
                    row.get::<_, Col<Timestamp>>(3)?.0,
                ))
            })?;
            let Some((state, performance, reason, useful_until)) = found else {
                return Ok(Resent::Unknown);
            };
            let is_call = reason == reason_code(Reason::YourTurn);
            match state {
                0 => return Ok(Resent::Again),
                2 if is_call && useful_until <= tx.now => return Ok(Resent::TurnOver),
                2 => (),
                _ => return Ok(Resent::Unknown),
            }
            let useful_until = match is_call {
                true => useful_until,
                false => useful_until.max(tx.now.plus_s(RESENT_USEFUL_S)),
            };
            let change = params![Col(id), Col(tx.now), Col(useful_until)];
            expect_rows("revive notice", tx.change(REVIVE, change)?, 1)?;
            tx.kept.revive_notice(performance);
            Ok(Resent::Again)
        };
        self.sqlite().write(step).await
    }

    /// Notes figures for the operator: accepted, dead, and the delays of the accepted ones in milliseconds.
    pub fn count_notices(
        &self,
        performance: PerformanceId,
        sent: u64,
        failed: u64,
        delays_ms: &[u32],
    ) {
        self.sqlite()
            .kept
            .count_notices(performance, sent, failed, delays_ms);
    }

    /// How the notices of a performance went.
    #[must_use]
    pub fn notice_counts(&self, performance: PerformanceId) -> NoticeCounts {
        self.sqlite().kept.notice_counts(performance)
    }

    /// Takes up the counts where an earlier process left them.
    ///
    /// # Errors
    /// [`Failure`] when the store cannot be read.
    pub async fn restore_notice_counts(&self) -> Result<(), Failure> {
        let read = |rows: &rusqlite::Connection| {
            let mut statement = rows.prepare_cached(COUNTS)?;
            let counts = statement.query_map([], |row| {
                Ok((
                    row.get::<_, Col<PerformanceId>>(0)?.0,
                    row.get::<_, i64>(1)?,
                    row.get::<_, u32>(2)?,
                ))
            })?;
            counts.collect::<Result<Vec<_>, _>>()
        };
        for (performance, state, count) in self.sqlite().read(read).await? {
            match state {
                1 => self.count_notices(performance, u64::from(count), 0, &[]),
                2 => self.count_notices(performance, 0, u64::from(count), &[]),
                _ => (),
            }
        }
        Ok(())
    }
}

fn insert(tx: &Tx<'_>, notice: &Notice, next: Next) -> Result<(), Failure> {
    let (state, due_at) = columns(next);
    let made = params![
        Col(notice.notice_id),
        Col(notice.account),
        Col(notice.performance),
        reason_code(notice.reason),
        notice.booking.map(Col),
        channel_code(notice.channel),
        state,
        notice.tries,
        notice.unclear,
        Col(due_at),
        Col(notice.useful_until),
        Col(notice.created_at),
    ];
    expect_rows("insert notice", tx.change(INSERT, made)?, 1)
}

fn columns(next: Next) -> (i64, Timestamp) {
    match next {
        Next::Sent => (1, Timestamp(0)),
        Next::RetryAt(at) => (0, at),
        Next::DeadLetter => (2, Timestamp(0)),
    }
}

fn reason_code(reason: Reason) -> i64 {
    match reason {
        Reason::YourTurn => 0,
        Reason::BookingConfirmed => 1,
        Reason::BookingRefused => 2,
        Reason::BookingCancelled => 3,
    }
}

fn channel_code(channel: Channel) -> i64 {
    match channel {
        Channel::Log => 0,
        Channel::Email => 1,
    }
}

fn read_notice(row: &Row<'_>) -> rusqlite::Result<Notice> {
    let reason = match row.get(3)? {
        0 => Reason::YourTurn,
        1 => Reason::BookingConfirmed,
        2 => Reason::BookingRefused,
        3 => Reason::BookingCancelled,
        other => return Err(unknown("reason", other)),
    };
    let channel = match row.get(5)? {
        0 => Channel::Log,
        1 => Channel::Email,
        other => return Err(unknown("channel", other)),
    };
    Ok(Notice {
        notice_id: row.get::<_, Col<_>>(0)?.0,
        account: row.get::<_, Col<_>>(1)?.0,
        performance: row.get::<_, Col<_>>(2)?.0,
        reason,
        booking: row.get::<_, Option<Col<_>>>(4)?.map(|Col(booking)| booking),
        channel,
        tries: row.get(6)?,
        unclear: row.get(7)?,
        useful_until: row.get::<_, Col<_>>(8)?.0,
        created_at: row.get::<_, Col<_>>(9)?.0,
    })
}
