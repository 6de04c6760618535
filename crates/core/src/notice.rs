//! Who is told what, by which channel, and how often it is tried.
//!
//! Keeps true: a call goes only to the fan who is called, while it is still of use; a fan who is listening on a stream
//! is told there and gets nothing else for that call; a channel that the fan has switched off is not used; an attempt that
//! may have arrived is repeated at most twice; one that cannot have arrived is repeated for as long as it is of use.

use crate::Timestamp;

/// Why a fan is told something.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is the fan's turn; of use until the claim time ends.
    YourTurn,
    /// A booking is confirmed: the tickets.
    BookingConfirmed,
    /// A booking is refused, and why.
    BookingRefused,
    /// A booking is cancelled, and the money on its way back.
    BookingCancelled,
}

/// How a notice travels.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// The server's log: what there is where no mail server is configured.
    Log,
    /// E-mail.
    Email,
}

/// Which channels a fan wants.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Push to the fan's devices.
    pub push: bool,
    /// E-mail.
    pub email: bool,
    /// SMS.
    pub sms: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            push: true,
            email: true,
            sms: false,
        }
    }
}

/// The channel for a notice beside the streams; none when a stream has told the fan already or no channel is wanted.
/// `mail` is what carries e-mail here: [`Channel::Email`], or [`Channel::Log`] without a mail server.
#[must_use]
pub fn channel(reason: Reason, wishes: Wishes, listening: bool, mail: Channel) -> Option<Channel> {
    match reason {
        Reason::YourTurn if listening => None,
        Reason::YourTurn
        | Reason::BookingConfirmed
        | Reason::BookingRefused
        | Reason::BookingCancelled => wishes.email.then_some(mail),
    }
}

/// What became of an attempt to send.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The provider has it.
    Accepted,
    /// The provider does not have it; trying again cannot tell the fan twice.
    NotSent,
    /// The provider may have it.
    Unclear,
    /// It will never be taken: the address is wrong, say.
    Hopeless,
}

/// Attempts, of which the last may have arrived, after which a notice is a dead letter.
pub const UNCLEAR_MAX: u32 = 3;

/// What to do after an attempt.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Done.
    Sent,
    /// Try again then.
    RetryAt(Timestamp),
    /// Kept for the operator to see and send again.
    DeadLetter,
}

/// What to do after an attempt, of which there were `attempts` that ended so (from 1); `useful_until` ends all trying,
/// `jitter_ms` (0 to 1,000) keeps many retries from coming at once. Waits 1, 2, 4 … 64 s, but never longer than half of
/// the time that is left and never less than a second: a mail server that comes back within a turn finds it still called.
#[must_use]
pub fn after(
    attempt: Attempt,
    attempts: u32,
    useful_until: Timestamp,
    jitter_ms: u64,
    now: Timestamp,
) -> Next {
    match attempt {
        Attempt::Accepted => return Next::Sent,
        Attempt::Hopeless => return Next::DeadLetter,
        Attempt::Unclear if attempts >= UNCLEAR_MAX => return Next::DeadLetter,
        Attempt::NotSent | Attempt::Unclear => (),
    }
    let backoff_ms = (1_000 << attempts.saturating_sub(1).min(6)) + jitter_ms.min(1_000);
    let left_ms = useful_until.since_us(now) / 1_000;
    let wait_ms = backoff_ms.min((left_ms / 2).max(1_000));
    let at = now.plus_ms(wait_ms);
    if at < useful_until {
        Next::RetryAt(at)
    } else {
        Next::DeadLetter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_fan_gets_no_mail_for_the_call_but_the_tickets_all_the_same() {
        let wishes = Wishes::default();
        assert_eq!(
            channel(Reason::YourTurn, wishes, true, Channel::Email),
            None
        );
        assert_eq!(
            channel(Reason::YourTurn, wishes, false, Channel::Email),
            Some(Channel::Email)
        );
        assert_eq!(
            channel(Reason::BookingConfirmed, wishes, true, Channel::Log),
            Some(Channel::Log)
        );
        assert_eq!(
            channel(
                Reason::BookingConfirmed,
                Wishes {
                    email: false,
                    ..wishes
                },
                false,
                Channel::Email
            ),
            None
        );
    }

    #[test]
    fn what_may_have_arrived_is_tried_three_times_and_what_has_not_while_it_is_of_use() {
        let (now, late) = (Timestamp(0), Timestamp::MAX);
        assert_eq!(after(Attempt::Accepted, 1, late, 0, now), Next::Sent);
        assert_eq!(after(Attempt::Hopeless, 1, late, 0, now), Next::DeadLetter);
        assert_eq!(
            after(Attempt::Unclear, 2, late, 0, now),
            Next::RetryAt(Timestamp(2_000_000))
        );
        assert_eq!(after(Attempt::Unclear, 3, late, 0, now), Next::DeadLetter);
        assert_eq!(
            after(Attempt::NotSent, 3, late, 500, now),
            Next::RetryAt(Timestamp(4_500_000))
        );
        assert_eq!(
            after(Attempt::NotSent, u32::MAX, late, 500, now),
            Next::RetryAt(Timestamp(64_500_000))
        );
        assert_eq!(
            after(Attempt::NotSent, 6, Timestamp(20_000_000), 500, now),
            Next::RetryAt(Timestamp(10_000_000)),
            "half of what is left of the turn"
        );
        assert_eq!(
            after(Attempt::NotSent, 1, Timestamp(1_000_000), 0, now),
            Next::DeadLetter,
            "the turn is over by then"
        );
    }
}
