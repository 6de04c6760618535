//! Ids: one type a thing, so that a hold's id is never taken for a booking's.
//!
//! All are UUIDs; the ones we make are version 7, so that they sort by age. None is made here: ids are chance and time.

use std::fmt;
use std::str::FromStr;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// The id as a UUID.
            #[must_use]
            pub fn uuid(self) -> uuid::Uuid { uuid::Uuid::from_bytes(self.0) }
        }
        impl From<uuid::Uuid> for $name {
            fn from(id: uuid::Uuid) -> Self { Self(id.into_bytes()) }
        }
        impl FromStr for $name {
            type Err = NotAnId;
            /// Takes the hyphenated form only, in either case.
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                if text.len() != 36 { return Err(NotAnId); }
                uuid::Uuid::try_parse(text).map(Self::from).map_err(|_| NotAnId)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.uuid().as_hyphenated().fmt(f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }
    )*};
}

/// The text is no UUID in its hyphenated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID in its hyphenated form")]
pub struct NotAnId;

ids! {
    /// A login: a fan's or an operator's.
    AccountId,
    /// One login on one device; its refresh tokens form a family.
    SessionId,
    /// Where a fan's notices may arrive.
    DeviceId,
    /// A place with a seating plan.
    VenueId,
    /// A show.
    EventId,
    /// One dated occurrence of an event: the unit of sale.
    PerformanceId,
    /// Made by the client.
    HoldId,
    /// Made by the client.
    BookingId,
    /// The right to attend, one per seat.
    TicketId,
    /// A message to one fan.
    NoticeId,
}
