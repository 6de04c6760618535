//! Messages between fans, server and provider: lost, late, doubled and out of order, as the seed has it.

use std::collections::BTreeMap;

use boxoffice_core::booking::Booking;
use boxoffice_core::hold::Hold;
use boxoffice_core::payment::Outcome;
use boxoffice_core::seating::SeatNo;
use boxoffice_core::waiting_room::PlaceView;
use boxoffice_core::{BookingId, HoldId, Refusal, Timestamp};

use crate::rng::Rng;
use crate::setup::Faults;

/// Which seats a fan asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Seats(Vec<SeatNo>),
    Best(u32),
    Area(u32),
}

/// What a fan asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Join,
    Look,
    Leave,
    Enter,
    Hold {
        hold_id: HoldId,
        want: Want,
        pass: Option<String>,
    },
    LookHold(HoldId),
    Release(HoldId),
    Book {
        booking_id: BookingId,
        hold_id: HoldId,
        outcome: Outcome,
        wait: bool,
    },
    LookBooking(BookingId),
    Cancel(BookingId),
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Index of the fan.
    pub(crate) fan: usize,
    pub(crate) ask: Ask,
    pub(crate) sent_at: Timestamp,
    /// The highest number that any fan had been told when this was sent.
    pub(crate) floor: u32,
}

/// What the server says.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// The fan's place; whether this request made it.
    Place(PlaceView, bool),
    Left,
    Pass {
        number: u32,
        expires_at: Timestamp,
        text: String,
    },
    Hold(Hold),
    Released(HoldId),
    Booking(Booking),
    /// A final no by the rules.
    Refused(Refusal),
    /// A failure of ours: ask again.
    Busy,
}

/// An answer on its way.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) request: Request,
    pub(crate) said: Said,
}

/// Anything on its way.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Request(Request),
    Answer(Answer),
    /// The provider has news of this payment.
    Callback(BookingId),
}

/// What is on its way, by when it arrives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Net {
    on_the_way: BTreeMap<(Timestamp, u64), Message>,
    sent: u64,
}

impl Net {
    /// Sends a message, with what chance does to it.
    pub(crate) fn send(
        &mut self,
        message: Message,
        faults: &Faults,
        rng: &mut Rng,
        now: Timestamp,
    ) {
        if rng.chance(faults.lose) {
            return;
        }
        let copies = if rng.chance(faults.repeat) { 2 } else { 1 };
        for _ in 0..copies {
            let delay_ms = if rng.chance(faults.slow) {
                rng.between(500, 12_000)
            } else {
                rng.between(1, 60)
            };
            self.sent += 1;
            let at = now.plus_ms(u64::from(delay_ms));
            self.on_the_way.insert((at, self.sent), message.clone());
        }
    }

    /// Takes one of the messages that have arrived.
    pub(crate) fn arrived(&mut self, rng: &mut Rng, now: Timestamp) -> Option<Message> {
        let due = self.on_the_way.range(..=(now, u64::MAX)).count();
        if due == 0 {
            return None;
        }
        let key = *self.on_the_way.keys().nth(rng.below(due))?;
        self.on_the_way.remove(&key)
    }

    /// When the next message arrives.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.on_the_way.keys().next().map(|(at, _)| *at)
    }
}
