//! When and how a performance is sold.
//!
//! scheduled ──lobby_opens_at──▶ lobby ──opens_at / open──▶ open ⇄ paused ──closes_at / close──▶ closed.
//! The clock moves a sale, and so does the operator; what the operator said wins over the clock, closed is final
//! unless only the clock closed it and `closes_at` is moved.

use crate::{Refusal, Timestamp};

/// What the operator has said, over and above the times.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// Nothing: the times decide.
    #[default]
    ByTime,
    /// Open, from when it was said.
    Opened,
    /// Nobody is called until `open`.
    Paused,
    /// Over, for good.
    Closed,
}

/// A sale's times and the operator's word.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// From when fans are called.
    pub opens_at: Timestamp,
    /// From when joins are taken before the opening; none: joins begin with the opening.
    pub lobby_opens_at: Option<Timestamp>,
    /// From when nothing new begins.
    pub closes_at: Timestamp,
    /// The operator's word.
    pub switch: Switch,
}

/// Where a sale stands at an instant.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SaleState {
    /// Not begun.
    Scheduled,
    /// Joins are taken, nobody is called.
    Lobby,
    /// Fans are called and buy.
    Open,
    /// Joins are taken, nobody is called, those inside go on.
    Paused,
    /// Over; holds that exist may still be paid.
    Closed,
}

/// What the operator may say.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SaleCommand {
    /// Open now: before `opens_at` too, and after a pause.
    Open,
    /// Call nobody until `Open`.
    Pause,
    /// End it for good.
    Close,
}

impl Sale {
    /// Where the sale stands at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> SaleState {
        match self.switch {
            Switch::Closed => SaleState::Closed,
            Switch::ByTime | Switch::Opened | Switch::Paused if now >= self.closes_at => {
                SaleState::Closed
            }
            Switch::Paused => SaleState::Paused,
            Switch::Opened => SaleState::Open,
            Switch::ByTime if now >= self.opens_at => SaleState::Open,
            Switch::ByTime if self.lobby_opens_at.is_some_and(|at| now >= at) => SaleState::Lobby,
            Switch::ByTime => SaleState::Scheduled,
        }
    }

    /// The next instant after `now` at which the clock alone changes the state.
    #[must_use]
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let opens = (self.switch == Switch::ByTime).then_some(self.opens_at);
        let lobby = (self.switch == Switch::ByTime)
            .then_some(self.lobby_opens_at)
            .flatten();
        let closes = (self.switch != Switch::Closed).then_some(self.closes_at);
        [lobby, opens, closes]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// The operator's word at `now`; saying the same twice is the same.
    ///
    /// # Errors
    /// [`Refusal::SaleClosed`] for opening or pausing a closed sale, [`Refusal::NotOpenYet`] for pausing one that has not opened.
    pub fn say(&mut self, command: SaleCommand, now: Timestamp) -> Result<(), Refusal> {
        let state = self.state(now);
        self.switch = match (command, state) {
            (SaleCommand::Close, _) => Switch::Closed,
            (SaleCommand::Open | SaleCommand::Pause, SaleState::Closed) => {
                return Err(Refusal::SaleClosed);
            }
            (SaleCommand::Pause, SaleState::Scheduled | SaleState::Lobby) => {
                return Err(Refusal::NotOpenYet {
                    opens_at: self.opens_at,
                });
            }
            (SaleCommand::Pause, SaleState::Open | SaleState::Paused) => Switch::Paused,
            (
                SaleCommand::Open,
                SaleState::Scheduled | SaleState::Lobby | SaleState::Open | SaleState::Paused,
            ) => Switch::Opened,
        };
        Ok(())
    }

    /// Whether a fan may take a place at `now`.
    ///
    /// # Errors
    /// [`Refusal::NotOpenYet`] before the lobby, [`Refusal::SaleClosed`] after the end.
    pub fn may_join(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.state(now) {
            SaleState::Scheduled => Err(Refusal::NotOpenYet {
                opens_at: self.opens_at,
            }),
            SaleState::Lobby | SaleState::Open | SaleState::Paused => Ok(()),
            SaleState::Closed => Err(Refusal::SaleClosed),
        }
    }

    /// Whether a new hold may be made at `now`. In `paused` those inside go on.
    ///
    /// # Errors
    /// [`Refusal::NotOpenYet`] before the opening, [`Refusal::SaleClosed`] after the end.
    pub fn may_hold(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.state(now) {
            SaleState::Scheduled | SaleState::Lobby => Err(Refusal::NotOpenYet {
                opens_at: self.opens_at,
            }),
            SaleState::Open | SaleState::Paused => Ok(()),
            SaleState::Closed => Err(Refusal::SaleClosed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALE: Sale = Sale {
        opens_at: Timestamp(20),
        lobby_opens_at: Some(Timestamp(10)),
        closes_at: Timestamp(30),
        switch: Switch::ByTime,
    };

    #[test]
    fn the_clock_moves_a_sale_through_its_states() {
        for (now, state) in [
            (9, SaleState::Scheduled),
            (10, SaleState::Lobby),
            (19, SaleState::Lobby),
            (20, SaleState::Open),
            (29, SaleState::Open),
            (30, SaleState::Closed),
        ] {
            assert_eq!(SALE.state(Timestamp(now)), state, "at {now}");
        }
        assert_eq!(SALE.next_change(Timestamp(10)), Some(Timestamp(20)));
        assert_eq!(SALE.next_change(Timestamp(30)), None);
    }

    #[test]
    fn the_operators_word_wins_over_the_clock_until_the_end() {
        let mut sale = SALE;
        assert_eq!(
            sale.say(SaleCommand::Pause, Timestamp(5)),
            Err(Refusal::NotOpenYet {
                opens_at: Timestamp(20)
            })
        );
        sale.say(SaleCommand::Open, Timestamp(5)).unwrap();
        assert_eq!(sale.state(Timestamp(5)), SaleState::Open);
        sale.say(SaleCommand::Pause, Timestamp(6)).unwrap();
        assert_eq!(sale.state(Timestamp(25)), SaleState::Paused);
        assert!(sale.may_join(Timestamp(25)).is_ok() && sale.may_hold(Timestamp(25)).is_ok());
        sale.say(SaleCommand::Open, Timestamp(26)).unwrap();
        assert_eq!(
            sale.state(Timestamp(30)),
            SaleState::Closed,
            "closes_at ends an opened sale too"
        );
        sale.say(SaleCommand::Close, Timestamp(27)).unwrap();
        assert_eq!(
            sale.say(SaleCommand::Open, Timestamp(27)),
            Err(Refusal::SaleClosed)
        );
        assert_eq!(sale.say(SaleCommand::Close, Timestamp(27)), Ok(()));
    }
}
