//! Notices on their way to a fan: what they say ([`render`]), and the channel that carries them ([`Mailer`]).
//!
//! Keeps true: every attempt ends within its time limits, and says whether the fan may have been told; nothing about a fan
//! is logged; no message carries a token; what a fan or an operator typed cannot change a message's form.

mod settings;
#[cfg(test)]
mod sink;
mod smtp;
#[cfg(test)]
mod tests;
mod text;

use boxoffice_core::booking::Why;
use boxoffice_core::notice::{Attempt, Channel, Reason};
use boxoffice_core::{AccountId, BookingId, Money, NoticeId, PerformanceId, Timestamp};
use sha2::{Digest as _, Sha256};

pub use settings::ConfigFault;
pub use smtp::{CONNECTIONS_MAX, Smtp, TimeLimits};
pub use text::{Rendered, render, short_text};

/// The languages that notices are written in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Locale {
    /// Korean; times are Korean time.
    Ko,
    /// English; times are UTC.
    En,
}

impl Locale {
    /// The language for a tag such as `ko-KR`: Korean for `ko` in any region, English for all others.
    #[must_use]
    pub fn from_tag(tag: &str) -> Self {
        let language = tag.split(['-', '_']).next().unwrap_or_default();
        if language.eq_ignore_ascii_case("ko") {
            Self::Ko
        } else {
            Self::En
        }
    }

    /// The language's tag: `ko` or `en`.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::Ko => "ko",
            Self::En => "en",
        }
    }
}

/// All that a notice says, and to whom. Texts may be anything that a person can type.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub to_email: String,
    /// The fan's name: in the `To` line only, so that nobody can make us mail their words to others.
    pub to_name: String,
    /// In which language.
    pub locale: Locale,
    /// Why the fan is told.
    pub reason: Reason,
    /// The event's title.
    pub title: String,
    /// When the performance starts.
    pub starts_at: Timestamp,
    /// Where to go on; carries no token.
    pub url: String,
    /// Until when the turn lasts; only said for [`Reason::YourTurn`].
    pub useful_until: Option<Timestamp>,
    /// The seats of the booking, a line each, such as "Stalls, row 5, seat 12".
    pub seats: Vec<String>,
    /// What they cost; for a cancelled booking, what goes back.
    pub total: Option<Money>,
    /// Why the booking was refused.
    pub why: Option<Why>,
}

/// Where a notice leads: the entrance for a turn, the booking for everything else. Carries no token.
#[must_use]
pub fn link(
    public_url: &str,
    performance: PerformanceId,
    reason: Reason,
    booking: Option<BookingId>,
) -> String {
    match (reason, booking) {
        (Reason::YourTurn, _) | (_, None) => format!("{public_url}/p/{performance}/enter"),
        (
            Reason::BookingConfirmed | Reason::BookingRefused | Reason::BookingCancelled,
            Some(booking),
        ) => format!("{public_url}/bookings/{booking}"),
    }
}

/// The id of a notice: a version 7 UUID of the instant `at` whose other bits follow from what it tells, so that the same
/// notice has the same id wherever it is told.
#[must_use]
pub fn notice_id(account: AccountId, reason: Reason, subject: &str, at: Timestamp) -> NoticeId {
    let hash = Sha256::new_with_prefix(account.0)
        .chain_update(format!("{reason:?}"))
        .chain_update(subject)
        .finalize();
    let random = hash.first_chunk::<10>().expect("32 bytes have 10");
    NoticeId::from(
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(at.0 / 1_000).unwrap_or(0), random)
            .into_uuid(),
    )
}

/// What carries e-mail.
#[derive(Debug)]
pub enum Mailer {
    /// No mail server: a line in the log for each notice.
    Log,
    /// A mail server.
    Smtp(Box<Smtp>),
}

impl Mailer {
    /// The mailer for `notify.smtp_url` (none or empty: the log) and `notify.from` (as `tickets@example.org` or
    /// `Name <tickets@example.org>`), with the usual time limits. Connects to nothing yet.
    ///
    /// # Errors
    /// Names the key that is wrong and how to mend it; never shows any part of the URL, which has a password in it.
    pub fn from_url(url: Option<&str>, from: &str) -> Result<Self, ConfigFault> {
        Self::from_url_within(url, from, TimeLimits::default())
    }

    /// As [`Mailer::from_url`], with time limits of one's own.
    ///
    /// # Errors
    /// As [`Mailer::from_url`].
    pub fn from_url_within(
        url: Option<&str>,
        from: &str,
        limits: TimeLimits,
    ) -> Result<Self, ConfigFault> {
        match url.filter(|url| !url.is_empty()) {
            None => Ok(Self::Log),
            Some(url) => {
                let server = settings::server(url)?;
                let sender = settings::sender(from)?;
                Ok(Self::Smtp(Box::new(Smtp::new(server, sender, limits)?)))
            }
        }
    }

    /// What to call this channel.
    #[must_use]
    pub fn channel(&self) -> Channel {
        match self {
            Self::Log => Channel::Log,
            Self::Smtp(_) => Channel::Email,
        }
    }

    /// Tries once to send `message`, written as of `now`. Ends within the time limits once one of the
    /// [`CONNECTIONS_MAX`] connections is free; start not many more at a time. Logs why it failed.
    pub async fn send(&self, message: &Message, now: Timestamp) -> Attempt {
        match self {
            Self::Log => {
                tracing::info!(
                    reason = text::name(message.reason),
                    performance = text::one_line(&message.title),
                    url = message.url,
                    "no mail server is configured: a notice goes to the log"
                );
                Attempt::Accepted
            }
            Self::Smtp(smtp) => smtp.send(message, &render(message, now)).await,
        }
    }

    /// Connects and logs in, and sends nothing: for `boxoffice check`.
    ///
    /// # Errors
    /// What is wrong, as a fragment after "failed to".
    pub async fn reach(&self) -> Result<(), String> {
        match self {
            Self::Log => Ok(()),
            Self::Smtp(smtp) => smtp.reach().await,
        }
    }

    /// What is unsafe about the configuration, if anything: for `boxoffice check`.
    #[must_use]
    pub fn unsafe_setting(&self) -> Option<&'static str> {
        match self {
            Self::Smtp(smtp) if smtp.in_the_clear() => Some(
                "notify.smtp_url sends mail and password unencrypted over the network; \
                 add ?tls=starttls or use smtps://",
            ),
            Self::Log | Self::Smtp(_) => None,
        }
    }
}
