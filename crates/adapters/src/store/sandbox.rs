//! The sandbox payment provider's ledger: what it knows, kept beside our own books in the same file, never in the same
//! transaction.

use boxoffice_core::BookingId;
use boxoffice_core::payment::{self, ChargeAnswer, Outcome, SandboxPayment, Status};
use rusqlite::{Row, params};

use super::Store;
use super::row::{Col, unknown};
use super::sqlite::Tx;
use crate::failure::Failure;

const SELECT: &str = "SELECT booking_id, amount_minor, status, refunded_minor FROM sandbox_payments WHERE booking_id = ?1";
const UPSERT: &str = "INSERT INTO sandbox_payments (booking_id, amount_minor, status, refunded_minor) VALUES (?1, ?2, ?3, ?4) \
     ON CONFLICT (booking_id) DO UPDATE SET status = excluded.status, refunded_minor = excluded.refunded_minor";

impl Store {
    /// The sandbox is asked to take these amounts, in minor units.
    ///
    /// # Errors
    /// [`Failure`]: it may or may not have done so; ask for the status.
    pub(crate) async fn sandbox_charge(
        &self,
        charges: Vec<(BookingId, i64, Outcome)>,
    ) -> Result<Vec<ChargeAnswer>, Failure> {
        let step = move |tx: &Tx<'_>| {
            let charge = |(booking, amount_minor, outcome): &(BookingId, i64, Outcome)| {
                let known = find(tx, *booking)?;
                let (payment, answer) =
                    payment::sandbox_charge(known, *booking, *amount_minor, *outcome);
                if known != Some(payment) {
                    save(tx, &payment)?;
                }
                Ok(answer)
            };
            charges.iter().map(charge).collect()
        };
        self.sqlite().write(step).await
    }

    /// What the sandbox knows.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be asked.
    pub(crate) async fn sandbox_status(&self, booking: BookingId) -> Result<Status, Failure> {
        let read = move |rows: &rusqlite::Connection| {
            let found = rows
                .prepare_cached(SELECT)?
                .query_map([Col(booking)], read_payment)?
                .next()
                .transpose()?;
            Ok(found.map_or(Status::Unknown, |payment| payment.status))
        };
        self.sqlite().read(read).await
    }

    /// The sandbox is told to take nothing any more.
    ///
    /// # Errors
    /// [`Failure`]: it may or may not have heard it.
    pub(crate) async fn sandbox_call_off(&self, booking: BookingId) -> Result<Status, Failure> {
        let step = move |tx: &Tx<'_>| {
            let payment = payment::sandbox_call_off(find(tx, booking)?, booking);
            save(tx, &payment)?;
            Ok(payment.status)
        };
        self.sqlite().write(step).await
    }

    /// The sandbox is told to give everything back: what it has given back now, in minor units.
    ///
    /// # Errors
    /// [`Failure`]: it may or may not have done so; asking again gives nothing back twice.
    pub(crate) async fn sandbox_refund(&self, booking: BookingId) -> Result<i64, Failure> {
        let step = move |tx: &Tx<'_>| {
            let known = find(tx, booking)?.ok_or_else(|| {
                Failure::Broken(format!("the sandbox knows no payment of booking {booking}"))
            })?;
            let payment = payment::sandbox_refund(known);
            save(tx, &payment)?;
            match payment.status {
                Status::Captured { refunded_minor, .. } => Ok(refunded_minor),
                Status::Unknown | Status::Processing | Status::Declined | Status::Cancelled => {
                    Ok(0)
                }
            }
        };
        self.sqlite().write(step).await
    }
}

fn find(tx: &Tx<'_>, booking: BookingId) -> Result<Option<SandboxPayment>, Failure> {
    tx.one(SELECT, [Col(booking)], read_payment)
}

fn save(tx: &Tx<'_>, payment: &SandboxPayment) -> Result<(), Failure> {
    let (status, refunded_minor) = match payment.status {
        Status::Unknown => (0, 0),
        Status::Processing => (1, 0),
        Status::Captured { refunded_minor, .. } => (2, refunded_minor),
        Status::Declined => (3, 0),
        Status::Cancelled => (4, 0),
    };
    tx.change(
        UPSERT,
        params![
            Col(payment.booking_id),
            payment.amount_minor,
            status,
            refunded_minor
        ],
    )
    .map(|_| ())
}

fn read_payment(row: &Row<'_>) -> rusqlite::Result<SandboxPayment> {
    let (amount_minor, refunded_minor) = (row.get(1)?, row.get(3)?);
    let status = match row.get(2)? {
        0 => Status::Unknown,
        1 => Status::Processing,
        2 => Status::Captured {
            amount_minor,
            refunded_minor,
        },
        3 => Status::Declined,
        4 => Status::Cancelled,
        other => return Err(unknown("sandbox status", other)),
    };
    Ok(SandboxPayment {
        booking_id: row.get::<_, Col<_>>(0)?.0,
        amount_minor,
        status,
    })
}
