//! Money for one booking: what a provider can say, what we do about it, and the sandbox provider's own rules.
//!
//! Keeps true: a booking is charged at most once, however often it is asked for (the booking's id is the idempotency
//! key); an answer that did not come is no answer: the provider is asked until it says something final; seats are
//! given up only after the provider has said that it will not take the money any more.

use crate::{BookingId, Timestamp};

/// How a fan pays. One arm per provider.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// The provider for trying things out; the fan chooses what happens.
    Sandbox(Outcome),
}

/// What the sandbox does with a payment.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Takes the money and says so.
    #[default]
    Ok,
    /// Declines.
    Declined,
    /// Takes the money, but the answer is lost; a status question finds it.
    TimeoutThenOk,
    /// Never comes to an end.
    Never,
}

/// How a booking's payment stands in our books.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PaymentState {
    /// Asked for; nothing final known.
    Pending,
    /// The provider has reserved the money.
    Authorised,
    /// The money is taken.
    Captured,
    /// The money went back.
    Refunded,
    /// No money was taken.
    Failed,
}

/// What a provider knows about a payment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Never heard of it.
    Unknown,
    /// Reserved, or on its way; may still be taken.
    Processing,
    /// Taken.
    Captured {
        /// How much, in minor units.
        amount_minor: i64,
        /// How much of it went back.
        refunded_minor: i64,
    },
    /// Declined: nothing was and will be taken.
    Declined,
    /// Called off by us: nothing was and will be taken.
    Cancelled,
}

/// How long after the hold's time a payment that says nothing is called off, seconds. The contract allows 60.
pub const GIVE_UP_AFTER_S: u32 = 20;

/// What is known about a payment in the end.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This much was taken.
    Captured {
        /// In minor units.
        amount_minor: i64,
    },
    /// The provider declined.
    Declined,
    /// It did not come about, and will not.
    Failed,
}

/// What to do next about a payment that is not final.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the provider to take the money; the same request twice is one payment.
    Charge,
    /// Ask again, not before this instant.
    AskAgain(Timestamp),
    /// Tell the provider to take nothing any more, then look at what it says.
    CallOff,
    /// It is known.
    Settle(Verdict),
}

/// What to do, given what the provider says; `give_up_at` is when a payment that says nothing is called off.
#[must_use]
pub fn next_step(status: Status, give_up_at: Timestamp, now: Timestamp) -> Step {
    match status {
        Status::Captured { amount_minor, .. } => Step::Settle(Verdict::Captured { amount_minor }),
        Status::Declined => Step::Settle(Verdict::Declined),
        Status::Cancelled => Step::Settle(Verdict::Failed),
        Status::Unknown | Status::Processing if now >= give_up_at => Step::CallOff,
        Status::Unknown => Step::Charge,
        Status::Processing => Step::AskAgain(now.plus_s(2)),
    }
}

/// One payment in the sandbox's own ledger: the provider's truth, not ours.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SandboxPayment {
    /// The idempotency key.
    pub booking_id: BookingId,
    /// In minor units.
    pub amount_minor: i64,
    /// What it says when asked.
    pub status: Status,
}

/// A sandbox's answer to a charge.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ChargeAnswer {
    /// What became of it.
    Said(Status),
    /// None came; anything may have happened.
    Silence,
}

/// The sandbox is asked to authorise and take an amount. A repeat changes nothing and says what is known.
#[must_use]
pub fn sandbox_charge(
    known: Option<SandboxPayment>,
    booking_id: BookingId,
    amount_minor: i64,
    outcome: Outcome,
) -> (SandboxPayment, ChargeAnswer) {
    if let Some(known) = known {
        return (known, ChargeAnswer::Said(known.status));
    }
    let captured = Status::Captured {
        amount_minor,
        refunded_minor: 0,
    };
    let (status, answer) = match outcome {
        Outcome::Ok => (captured, ChargeAnswer::Said(captured)),
        Outcome::Declined => (Status::Declined, ChargeAnswer::Said(Status::Declined)),
        Outcome::TimeoutThenOk => (captured, ChargeAnswer::Silence),
        Outcome::Never => (Status::Processing, ChargeAnswer::Silence),
    };
    (
        SandboxPayment {
            booking_id,
            amount_minor,
            status,
        },
        answer,
    )
}

/// The sandbox is told to take nothing any more: a payment that is not taken yet never will be.
#[must_use]
pub fn sandbox_call_off(known: Option<SandboxPayment>, booking_id: BookingId) -> SandboxPayment {
    match known {
        Some(known) => match known.status {
            Status::Unknown | Status::Processing => SandboxPayment {
                status: Status::Cancelled,
                ..known
            },
            Status::Captured { .. } | Status::Declined | Status::Cancelled => known,
        },
        None => SandboxPayment {
            booking_id,
            amount_minor: 0,
            status: Status::Cancelled,
        },
    }
}

/// The sandbox is told to give everything back. A repeat gives nothing back twice.
#[must_use]
pub fn sandbox_refund(known: SandboxPayment) -> SandboxPayment {
    match known.status {
        Status::Captured { amount_minor, .. } => SandboxPayment {
            status: Status::Captured {
                amount_minor,
                refunded_minor: amount_minor,
            },
            ..known
        },
        Status::Unknown | Status::Processing | Status::Declined | Status::Cancelled => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKING: BookingId = BookingId([1; 16]);

    #[test]
    fn a_repeated_charge_takes_nothing_twice_and_says_what_is_known() {
        for outcome in [
            Outcome::Ok,
            Outcome::Declined,
            Outcome::TimeoutThenOk,
            Outcome::Never,
        ] {
            let (payment, _) = sandbox_charge(None, BOOKING, 100, outcome);
            let (again, answer) = sandbox_charge(Some(payment), BOOKING, 100, outcome);
            assert_eq!(
                (again, answer),
                (payment, ChargeAnswer::Said(payment.status)),
                "{outcome:?}"
            );
        }
    }

    #[test]
    fn a_refund_gives_back_what_was_taken_once() {
        let (payment, _) = sandbox_charge(None, BOOKING, 100, Outcome::Ok);
        let refunded = sandbox_refund(payment);
        assert_eq!(
            refunded.status,
            Status::Captured {
                amount_minor: 100,
                refunded_minor: 100
            }
        );
        assert_eq!(sandbox_refund(refunded), refunded);
    }

    #[test]
    fn what_is_taken_cannot_be_called_off_and_what_is_called_off_is_never_taken() {
        let (taken, _) = sandbox_charge(None, BOOKING, 100, Outcome::TimeoutThenOk);
        assert_eq!(sandbox_call_off(Some(taken), BOOKING), taken);
        let off = sandbox_call_off(None, BOOKING);
        assert_eq!(sandbox_charge(Some(off), BOOKING, 100, Outcome::Ok).0, off);
    }

    #[test]
    fn silence_is_asked_about_until_it_is_called_off() {
        let (give_up, early, late) = (Timestamp(10), Timestamp(9), Timestamp(10));
        assert_eq!(next_step(Status::Unknown, give_up, early), Step::Charge);
        assert!(matches!(
            next_step(Status::Processing, give_up, early),
            Step::AskAgain(_)
        ));
        assert_eq!(next_step(Status::Processing, give_up, late), Step::CallOff);
        assert_eq!(next_step(Status::Unknown, give_up, late), Step::CallOff);
        let taken = Status::Captured {
            amount_minor: 1,
            refunded_minor: 0,
        };
        assert_eq!(
            next_step(taken, give_up, late),
            Step::Settle(Verdict::Captured { amount_minor: 1 }),
            "late money is money"
        );
    }
}
