//! The outside of Boxoffice: what remembers, orders, carries, pays, tells and ticks. Each port is a closed enum or a struct
//! with one deep promise; drivers (SQLite, SMTP, …) are used nowhere else.

pub mod clock;
pub mod failure;
pub mod live;
pub mod metrics;
pub mod notify;
pub mod pay;
pub mod performance;
pub mod room;
pub mod store;

pub use failure::Failure;
