//! Every final "no" that the rules give. A refusal is a result: it is stored, shown and not repeated.

use crate::time::Timestamp;

/// Why the rules say no. `api` gives each its status, stable code and sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The sale (or its lobby) has not begun.
    NotOpenYet {
        /// When it opens.
        opens_at: Timestamp,
    },
    /// The sale is over.
    SaleClosed,
    /// This performance is sold without a waiting room.
    NoWaitingRoom,
    /// The fan has no live place.
    NoPlace,
    /// The place is not called yet.
    NotYourTurn {
        /// Places ahead, plus one.
        position: u32,
        /// When asking again is worth it, milliseconds.
        poll_after_ms: u32,
    },
    /// Called, but not entered in time, or the pass has run out.
    TurnLapsed,
    /// No pass, or none of this fan and performance.
    PassRequired,
    /// A pass of this fan and performance that has run out.
    PassExpired,
    /// A booking of this pass is confirmed: it has done its work.
    PassUsed,
    /// The id names something with other content.
    IdReused,
    /// Somebody else has these seats.
    SeatTaken(Vec<crate::seating::SeatNo>),
    /// Fewer seats are free than were asked for.
    SoldOut,
    /// More seats than one fan may hold at once.
    TooManySeats {
        /// The limit.
        seats_max: u32,
        /// What the fan holds already.
        held: u32,
    },
    /// The fan has held seats, hold after hold, for as long as one fan may.
    HeldTooLong {
        /// From when a new hold is taken.
        again_at: Timestamp,
    },
    /// No such thing, or somebody else's: the same answer.
    NotFound,
    /// The hold has run out or was released.
    HoldExpired,
    /// Another booking has the hold.
    HoldTaken,
    /// A booking of this hold is being paid; it cannot be released now.
    HoldInPayment,
    /// The booking is not confirmed, so there is nothing to cancel.
    NotConfirmed,
}
