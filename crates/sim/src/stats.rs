//! What a run came upon: a simulator that never meets the rare cases proves nothing.

/// Counts of what happened.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Places given.
    pub joined: u32,
    /// Fans called.
    pub called: u32,
    /// Passes taken.
    pub entered: u32,
    /// Holds made.
    pub held: u32,
    /// Seats taken over from a hold that keeps them no more.
    pub taken_over: u32,
    /// Batches of holds that met a changed row and were decided again.
    pub conflicts: u32,
    /// Bookings confirmed.
    pub confirmed: u32,
    /// Bookings refused.
    pub refused: u32,
    /// Bookings cancelled.
    pub cancelled: u32,
    /// Refunds recorded.
    pub refunded: u32,
    /// Verdicts on bookings that were decided already.
    pub settled_again: u32,
    /// Payments called off.
    pub called_off: u32,
    /// Mails that arrived.
    pub mails: u32,
    /// Notices given up.
    pub dead_letters: u32,
    /// Fans called on a stream.
    pub called_on_stream: u32,
    /// Ends of the process.
    pub crashes: u32,
    /// Commits that failed.
    pub commits_refused: u32,
    /// News and calls taken up again from the outbox.
    pub taken_up_again: u32,
    /// Works told that somebody else had ended.
    pub told_already: u32,
    /// Bookings that changed while they were told of.
    pub told_again: u32,
    /// Attempts begun after one of which nothing was recorded.
    pub left_open: u32,
    /// Notices that may have arrived three times, given up.
    pub tried_enough: u32,
    /// Commits of the room that happened and looked as if they had not.
    pub commits_unclear: u32,
    /// Refusals told.
    pub refusals: u32,
}

impl Stats {
    /// Each count and its name.
    #[must_use]
    pub fn list(&self) -> [(&'static str, u32); 24] {
        [
            ("joined", self.joined),
            ("called", self.called),
            ("entered", self.entered),
            ("held", self.held),
            ("taken_over", self.taken_over),
            ("conflicts", self.conflicts),
            ("confirmed", self.confirmed),
            ("refused", self.refused),
            ("cancelled", self.cancelled),
            ("refunded", self.refunded),
            ("settled_again", self.settled_again),
            ("called_off", self.called_off),
            ("mails", self.mails),
            ("dead_letters", self.dead_letters),
            ("called_on_stream", self.called_on_stream),
            ("crashes", self.crashes),
            ("commits_refused", self.commits_refused),
            ("taken_up_again", self.taken_up_again),
            ("told_already", self.told_already),
            ("told_again", self.told_again),
            ("left_open", self.left_open),
            ("tried_enough", self.tried_enough),
            ("commits_unclear", self.commits_unclear),
            ("refusals", self.refusals),
        ]
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        self.joined += other.joined;
        self.called += other.called;
        self.entered += other.entered;
        self.held += other.held;
        self.taken_over += other.taken_over;
        self.conflicts += other.conflicts;
        self.confirmed += other.confirmed;
        self.refused += other.refused;
        self.cancelled += other.cancelled;
        self.refunded += other.refunded;
        self.settled_again += other.settled_again;
        self.called_off += other.called_off;
        self.mails += other.mails;
        self.dead_letters += other.dead_letters;
        self.called_on_stream += other.called_on_stream;
        self.crashes += other.crashes;
        self.commits_refused += other.commits_refused;
        self.taken_up_again += other.taken_up_again;
        self.told_already += other.told_already;
        self.told_again += other.told_again;
        self.left_open += other.left_open;
        self.tried_enough += other.tried_enough;
        self.commits_unclear += other.commits_unclear;
        self.refusals += other.refusals;
    }
}
