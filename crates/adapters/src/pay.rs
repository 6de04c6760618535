//! Payment providers, as a closed enum: take an amount, say what is known, take nothing any more, give back.
//!
//! The promise of every provider: the booking's id is the idempotency key, so that each call may be repeated; an answer
//! that does not come says nothing; callbacks may be lost, late or doubled and only mean "ask for the status".

use std::sync::Arc;
use std::time::Duration;

use boxoffice_core::BookingId;
use boxoffice_core::booking::Booking;
use boxoffice_core::payment::{ChargeAnswer, Method, Outcome, Status};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::store::Store;

/// Callbacks that may wait; more are lost, as callbacks may be.
const CALLBACKS_MAX: usize = 4_096;

/// A payment provider.
#[derive(Clone, Debug)]
pub enum Provider {
    /// For trying things out: the fan chooses what happens. Its ledger is in the store.
    Sandbox(Sandbox),
}

/// The sandbox provider.
#[derive(Clone, Debug)]
pub struct Sandbox {
    ledger: Arc<Store>,
    callbacks: mpsc::Sender<BookingId>,
}

impl Provider {
    /// The sandbox, and the callbacks that it sends.
    #[must_use]
    pub fn sandbox(ledger: Arc<Store>) -> (Self, mpsc::Receiver<BookingId>) {
        let (callbacks, received) = mpsc::channel(CALLBACKS_MAX);
        (Self::Sandbox(Sandbox { ledger, callbacks }), received)
    }

    /// Asks to take what these bookings cost; an answer for each, in order.
    ///
    /// # Errors
    /// [`Failure`]: nothing is known about any of them.
    pub async fn charge(&self, bookings: &[&Booking]) -> Result<Vec<ChargeAnswer>, Failure> {
        match self {
            Self::Sandbox(sandbox) => sandbox.charge(bookings).await,
        }
    }

    /// What is known about a booking's payment.
    ///
    /// # Errors
    /// [`Failure`] when the provider cannot be asked.
    pub async fn status(&self, booking: BookingId) -> Result<Status, Failure> {
        match self {
            Self::Sandbox(sandbox) => sandbox.ledger.sandbox_status(booking).await,
        }
    }

    /// Tells it to take nothing any more; what is known then.
    ///
    /// # Errors
    /// [`Failure`] when the provider cannot be told.
    pub async fn call_off(&self, booking: BookingId) -> Result<Status, Failure> {
        match self {
            Self::Sandbox(sandbox) => sandbox.ledger.sandbox_call_off(booking).await,
        }
    }

    /// Gives everything back that was taken; how much went back in all, in minor units.
    ///
    /// # Errors
    /// [`Failure`]: it may have happened; asking again gives nothing back twice.
    pub async fn refund(&self, booking: BookingId) -> Result<i64, Failure> {
        match self {
            Self::Sandbox(sandbox) => sandbox.ledger.sandbox_refund(booking).await,
        }
    }
}

impl Sandbox {
    async fn charge(&self, bookings: &[&Booking]) -> Result<Vec<ChargeAnswer>, Failure> {
        let outcome = |booking: &Booking| match booking.method {
            Method::Sandbox(outcome) => outcome,
        };
        let charges = bookings
            .iter()
            .map(|booking| (booking.booking_id, booking.total_minor, outcome(booking)))
            .collect();
        let answers = self.ledger.sandbox_charge(charges).await?;
        for booking in bookings
            .iter()
            .filter(|booking| outcome(booking) == Outcome::TimeoutThenOk)
        {
            self.call_back(booking.booking_id);
        }
        Ok(answers)
    }

    /// Calls back as real providers do: never, once or twice, and late. The booking's id decides which, so that it can be repeated.
    fn call_back(&self, booking: BookingId) {
        let times = booking.0[15] % 3;
        let callbacks = self.callbacks.clone();
        tokio::spawn(async move {
            for _ in 0..times {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _ = callbacks.try_send(booking);
            }
        });
    }
}
