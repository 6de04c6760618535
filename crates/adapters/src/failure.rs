//! What can go wrong on our side: may work if repeated, and is never shown as a refusal.

/// A failure of ours.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Too much to do, or a part is away for the moment.
    #[error("busy; try again in {retry_after_s} s")]
    Busy {
        /// When to try again, seconds.
        retry_after_s: u32,
    },
    /// Something is broken; the text is for the log, never for the client.
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    /// A part is away or full for the moment.
    pub const BUSY: Self = Self::Busy { retry_after_s: 1 };
}
