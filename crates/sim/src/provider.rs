//! The model payment provider: its own ledger, which no crash of ours touches, and the money that really moved.
//!
//! Keeps true: with the same key nothing is taken or given back twice; its rules are the sandbox's own.

use std::collections::BTreeMap;

use boxoffice_core::BookingId;
use boxoffice_core::payment::{
    ChargeAnswer, Outcome, SandboxPayment, Status, sandbox_call_off, sandbox_charge, sandbox_refund,
};

/// The provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct Provider {
    ledger: BTreeMap<BookingId, SandboxPayment>,
    /// Money that went back to the fan, by booking, in minor units.
    returned: BTreeMap<BookingId, i64>,
}

impl Provider {
    /// What it says about a payment.
    pub(crate) fn status(&self, booking: BookingId) -> Status {
        self.ledger
            .get(&booking)
            .map_or(Status::Unknown, |payment| payment.status)
    }

    /// Charges an amount, once however often it is asked.
    pub(crate) fn charge(
        &mut self,
        booking: BookingId,
        amount_minor: i64,
        outcome: Outcome,
    ) -> ChargeAnswer {
        let known = self.ledger.get(&booking).copied();
        let (payment, answer) = sandbox_charge(known, booking, amount_minor, outcome);
        self.ledger.insert(booking, payment);
        answer
    }

    /// Takes nothing any more, unless it has.
    pub(crate) fn call_off(&mut self, booking: BookingId) {
        let known = self.ledger.get(&booking).copied();
        self.ledger
            .insert(booking, sandbox_call_off(known, booking));
    }

    /// Gives everything back and says how much that is. With a `fresh_key` a repeat is another refund (a planted bug's doing).
    pub(crate) fn refund(&mut self, booking: BookingId, fresh_key: bool) -> i64 {
        let Some(known) = self.ledger.get(&booking).copied() else {
            return 0;
        };
        let after = sandbox_refund(known);
        self.ledger.insert(booking, after);
        let (before, after) = (refunded(known.status), refunded(after.status));
        *self.returned.entry(booking).or_default() +=
            if fresh_key { after } else { after - before };
        after
    }

    /// What was taken for a booking.
    pub(crate) fn taken(&self, booking: BookingId) -> i64 {
        match self.status(booking) {
            Status::Captured { amount_minor, .. } => amount_minor,
            Status::Unknown | Status::Processing | Status::Declined | Status::Cancelled => 0,
        }
    }

    /// What really went back.
    pub(crate) fn returned(&self, booking: BookingId) -> i64 {
        self.returned.get(&booking).copied().unwrap_or(0)
    }

    /// Every booking that it has heard of.
    pub(crate) fn bookings(&self) -> impl Iterator<Item = BookingId> {
        self.ledger.keys().copied()
    }
}

fn refunded(status: Status) -> i64 {
    match status {
        Status::Captured { refunded_minor, .. } => refunded_minor,
        Status::Unknown | Status::Processing | Status::Declined | Status::Cancelled => 0,
    }
}
