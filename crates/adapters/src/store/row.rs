//! Rows to values and back: the columns that need more than a cast.

use boxoffice_core::Timestamp;
use boxoffice_core::payment::{Method, Outcome, PaymentState};
use boxoffice_core::seating::SeatNo;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// A value as a column, for core types that must not know of SQL.
pub(super) struct Col<T>(pub(super) T);

macro_rules! id_columns {
    ($($id:ident),*) => {$(
        impl ToSql for Col<boxoffice_core::$id> {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> { Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0.0))) }
        }
        impl FromSql for Col<boxoffice_core::$id> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> { sixteen(value).map(|bytes| Col(boxoffice_core::$id(bytes))) }
        }
    )*};
}
id_columns!(
    AccountId,
    BookingId,
    DeviceId,
    EventId,
    HoldId,
    NoticeId,
    PerformanceId,
    SessionId,
    TicketId,
    VenueId
);

fn sixteen(value: ValueRef<'_>) -> FromSqlResult<[u8; 16]> {
    value
        .as_blob()?
        .try_into()
        .map_err(|_| FromSqlError::InvalidBlobSize {
            expected_size: 16,
            blob_size: value.as_blob().map_or(0, <[u8]>::len),
        })
}

impl FromSql for Col<[u8; 16]> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        sixteen(value).map(Col)
    }
}

impl ToSql for Col<Timestamp> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.0))
    }
}

impl FromSql for Col<Timestamp> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(|us| Col(Timestamp(us)))
    }
}

/// Seat numbers as one column.
pub(super) fn seats_to_bytes(seats: &[SeatNo]) -> Vec<u8> {
    seats.iter().flat_map(|seat| seat.0.to_le_bytes()).collect()
}

/// The seat numbers of a column.
pub(super) fn seats_from_bytes(bytes: &[u8]) -> Vec<SeatNo> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|four| SeatNo(u32::from_le_bytes(*four)))
        .collect()
}

/// Ids as one column.
pub(super) fn ids_to_bytes(ids: impl IntoIterator<Item = [u8; 16]>) -> Vec<u8> {
    ids.into_iter().flatten().collect()
}

/// The ids of a column.
pub(super) fn ids_from_bytes<T>(bytes: &[u8], make: impl Fn([u8; 16]) -> T) -> Vec<T> {
    bytes
        .as_chunks::<16>()
        .0
        .iter()
        .map(|id| make(*id))
        .collect()
}

pub(super) fn method_code(method: Method) -> i64 {
    match method {
        Method::Sandbox(Outcome::Ok) => 0,
        Method::Sandbox(Outcome::Declined) => 1,
        Method::Sandbox(Outcome::TimeoutThenOk) => 2,
        Method::Sandbox(Outcome::Never) => 3,
    }
}

pub(super) fn method_from(code: i64) -> rusqlite::Result<Method> {
    match code {
        0 => Ok(Method::Sandbox(Outcome::Ok)),
        1 => Ok(Method::Sandbox(Outcome::Declined)),
        2 => Ok(Method::Sandbox(Outcome::TimeoutThenOk)),
        3 => Ok(Method::Sandbox(Outcome::Never)),
        other => Err(unknown("payment method", other)),
    }
}

pub(super) fn payment_code(payment: PaymentState) -> i64 {
    match payment {
        PaymentState::Pending => 0,
        PaymentState::Authorised => 1,
        PaymentState::Captured => 2,
        PaymentState::Refunded => 3,
        PaymentState::Failed => 4,
    }
}

pub(super) fn payment_from(code: i64) -> rusqlite::Result<PaymentState> {
    match code {
        0 => Ok(PaymentState::Pending),
        1 => Ok(PaymentState::Authorised),
        2 => Ok(PaymentState::Captured),
        3 => Ok(PaymentState::Refunded),
        4 => Ok(PaymentState::Failed),
        other => Err(unknown("payment state", other)),
    }
}

/// A code that no version of ours writes.
pub(super) fn unknown(what: &str, code: i64) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        0,
        rusqlite::types::Type::Integer,
        format!("unknown {what} {code}").into(),
    )
}

/// A text that no version of ours writes.
pub(super) fn bad_text(what: &str, why: impl std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        0,
        rusqlite::types::Type::Text,
        format!("bad {what}: {why}").into(),
    )
}
