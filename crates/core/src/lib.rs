//! The rules of Boxoffice, as pure functions over values: no I/O, no clock, no chance, no async.
//!
//! Time, ids and chance come in as arguments; what is to be saved goes out as values. The store's
//! batches, the room loop, the worker and the simulator all run these functions.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod admission;
pub mod booking;
pub mod hold;
pub mod id;
pub mod money;
pub mod notice;
pub mod pass;
pub mod payment;
pub mod refusal;
pub mod sale;
pub mod seating;
pub mod ticket;
pub mod time;
pub mod waiting_room;

pub use id::{
    AccountId, BookingId, DeviceId, EventId, HoldId, NoticeId, PerformanceId, SessionId, TicketId,
    VenueId,
};
pub use money::{Currency, Money};
pub use refusal::Refusal;
pub use time::Timestamp;
