//! The planted bugs: each makes the simulated drivers treat the core, the store or a provider wrongly, in a way that
//! somebody could. They show that the checks can fail. None can be reached from the product.

use std::fmt;

/// What is done wrongly.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// Joins and passes are answered before they are saved.
    AnswerBeforeSave,
    /// A restart forgets the last place in the journal, so its number is given again.
    NumberReused,
    /// The serving counter moves before the admission is saved.
    CounterBeforeAdmission,
    /// The ceiling counts called fans only, not those inside.
    CeilingIgnoresEntered,
    /// A slot that lapses does not wake the room.
    AbsentStalls,
    /// A hold is swept at its time although a booking of it is being paid.
    SweptWhilePaying,
    /// Seats are taken over without looking at the row count.
    UncheckedTakeover,
    /// A used or given-up pass still opens the door.
    UsedPassAccepted,
    /// A pass is not compared with the account that shows it.
    ForeignPassAccepted,
    /// A booking is stamped with the time it was sent, not the time of its transaction.
    LateClock,
    /// A repeated verdict is settled as if it were the first.
    SettledTwice,
    /// Every try of a refund is a new refund to the provider.
    RefundedTwice,
    /// A booking that could not be saved is refused.
    FailureIsRefusal,
    /// The call leaves the outbox before its notices are made.
    CallLost,
    /// A call goes to the next number too.
    CallTooFar,
    /// A mail that may have arrived is sent again as if it had not.
    UnclearIsNotSent,
    /// An attempt to send is not counted before it is made.
    AttemptUnrecorded,
    /// Mails are sent before the transaction that ends the work.
    SentBeforeSaved,
    /// Work that somebody has ended meanwhile makes its notices once more.
    StaleWork,
    /// News of a booking ends although the booking has changed since it was told of.
    ToldUnchecked,
    /// A cancelled booking leaves its hold released.
    CancelReleases,
    /// While a batch is being saved, or perhaps was, the line is shown as of now.
    ShownAhead,
    /// After a failed save the room stays as it is.
    NotReloaded,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::AnswerBeforeSave,
        Self::NumberReused,
        Self::CounterBeforeAdmission,
        Self::CeilingIgnoresEntered,
        Self::AbsentStalls,
        Self::SweptWhilePaying,
        Self::UncheckedTakeover,
        Self::UsedPassAccepted,
        Self::ForeignPassAccepted,
        Self::LateClock,
        Self::SettledTwice,
        Self::RefundedTwice,
        Self::FailureIsRefusal,
        Self::CallLost,
        Self::CallTooFar,
        Self::UnclearIsNotSent,
        Self::AttemptUnrecorded,
        Self::SentBeforeSaved,
        Self::StaleWork,
        Self::ToldUnchecked,
        Self::CancelReleases,
        Self::ShownAhead,
        Self::NotReloaded,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AnswerBeforeSave => "answer-before-save",
            Self::NumberReused => "number-reused",
            Self::CounterBeforeAdmission => "counter-before-admission",
            Self::CeilingIgnoresEntered => "ceiling-ignores-entered",
            Self::AbsentStalls => "absent-stalls",
            Self::SweptWhilePaying => "swept-while-paying",
            Self::UncheckedTakeover => "unchecked-takeover",
            Self::UsedPassAccepted => "used-pass-accepted",
            Self::ForeignPassAccepted => "foreign-pass-accepted",
            Self::LateClock => "late-clock",
            Self::SettledTwice => "settled-twice",
            Self::RefundedTwice => "refunded-twice",
            Self::FailureIsRefusal => "failure-is-refusal",
            Self::CallLost => "call-lost",
            Self::CallTooFar => "call-too-far",
            Self::UnclearIsNotSent => "unclear-is-not-sent",
            Self::AttemptUnrecorded => "attempt-unrecorded",
            Self::SentBeforeSaved => "sent-before-saved",
            Self::StaleWork => "stale-work",
            Self::ToldUnchecked => "told-unchecked",
            Self::CancelReleases => "cancel-releases",
            Self::ShownAhead => "shown-ahead",
            Self::NotReloaded => "not-reloaded",
        }
    }

    /// The bug of this name.
    ///
    /// # Errors
    /// The names there are, when this is none of them.
    pub fn from_name(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|bug| bug.name() == name)
            .ok_or_else(|| {
                format!(
                    "no such bug; there are {}",
                    Self::ALL.map(Self::name).join(", ")
                )
            })
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
