//! A fan's temporary exclusive claim on seats.
//!
//! active ──a booking is accepted──▶ paying ──paid──▶ confirmed ──the booking is cancelled──▶ returned
//! paying ──refused──▶ active; active ──release──▶ released; an active hold whose time is over is expired.
//!
//! Keeps true: a seat belongs to at most one hold that keeps its seats; a hold gets all its seats or none; at
//! `now >= expires_at` an active hold keeps nothing, even when nobody has swept it. Expiry is never written: the next
//! hold takes the seats over in place. While a booking is being paid the seats are kept, whatever the time.

use std::collections::BTreeMap;

use crate::sale::Sale;
use crate::seating::SeatNo;
use crate::{AccountId, BookingId, HoldId, PerformanceId, Refusal, Timestamp};

/// The rules of a performance for holds.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct HoldPolicy {
    /// How long seats are kept, seconds, 1 to 86,400. A hold is never extended.
    pub ttl_s: u32,
    /// Most seats that one fan holds at once, over all live holds, 1 to 100.
    pub seats_max: u32,
}

/// Least time that a fan may hold seats without a break, seconds, however short a hold is.
const SPELL_MIN_S: u32 = 3_600;

impl HoldPolicy {
    /// How long one fan may hold seats without a break, hold after hold, seconds: four holds' time, and at least an hour.
    #[must_use]
    pub fn spell_max_s(&self) -> u32 {
        self.ttl_s.saturating_mul(4).max(SPELL_MIN_S)
    }
}

/// An unbroken time in which a fan holds seats of a performance. It is over once a hold's time has passed without one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Spell {
    /// When its first hold was made.
    pub since: Timestamp,
    /// When the time of its last hold ends.
    pub until: Timestamp,
}

/// Where a hold stands, as it is remembered.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// Keeps its seats until `expires_at`.
    Active,
    /// This booking of it is being paid: keeps its seats until that is final.
    Paying(BookingId),
    /// Sold by this booking.
    Confirmed(BookingId),
    /// Was sold by this booking, which was cancelled: keeps nothing, and still looks confirmed.
    Returned(BookingId),
    /// Given back by the fan.
    Released,
}

/// How a hold looks to its fan.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum HoldStage {
    /// Keeps its seats.
    Active,
    /// Sold.
    Confirmed,
    /// Given back.
    Released,
    /// Its time is over.
    Expired,
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Made by the client.
    pub hold_id: HoldId,
    /// Of which performance.
    pub performance_id: PerformanceId,
    /// Whose it is.
    pub account_id: AccountId,
    /// The place whose pass it was made with, when there was a waiting room.
    pub place: Option<u32>,
    /// Which seats, without repeats.
    pub seats: Vec<SeatNo>,
    /// What they cost together, in minor units of the performance's currency.
    pub total_minor: i64,
    /// Fingerprint of the request, so that a repeat is told from another request with the same id.
    pub content: [u8; 16],
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it keeps nothing, unless it is being paid or sold.
    pub expires_at: Timestamp,
    /// Where it stands.
    pub state: HoldState,
}

impl Hold {
    /// Whether nobody else may have its seats at `now`.
    #[must_use]
    pub fn keeps_seats(&self, now: Timestamp) -> bool {
        match self.state {
            HoldState::Active => now < self.expires_at,
            HoldState::Paying(_) | HoldState::Confirmed(_) => true,
            HoldState::Released | HoldState::Returned(_) => false,
        }
    }

    /// How it looks at `now`.
    #[must_use]
    pub fn stage(&self, now: Timestamp) -> HoldStage {
        match self.state {
            HoldState::Active if now >= self.expires_at => HoldStage::Expired,
            HoldState::Active | HoldState::Paying(_) => HoldStage::Active,
            HoldState::Confirmed(_) | HoldState::Returned(_) => HoldStage::Confirmed,
            HoldState::Released => HoldStage::Released,
        }
    }

    /// A booking wants to pay for it.
    ///
    /// # Errors
    /// [`Refusal::HoldTaken`] when another booking has it, [`Refusal::HoldExpired`] when it ran out or was released.
    pub fn pay(&mut self, booking: BookingId, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            HoldState::Active if now < self.expires_at => self.state = HoldState::Paying(booking),
            HoldState::Paying(payer) | HoldState::Confirmed(payer) if payer == booking => (),
            HoldState::Paying(_) | HoldState::Confirmed(_) | HoldState::Returned(_) => {
                return Err(Refusal::HoldTaken);
            }
            HoldState::Active | HoldState::Released => return Err(Refusal::HoldExpired),
        }
        Ok(())
    }

    /// The booking that pays for it is paid.
    ///
    /// # Errors
    /// [`Refusal::HoldTaken`] unless this very booking has it; the money must then go back.
    pub fn confirm(&mut self, booking: BookingId) -> Result<(), Refusal> {
        match self.state {
            HoldState::Paying(payer) | HoldState::Confirmed(payer) if payer == booking => {
                self.state = HoldState::Confirmed(booking);
                Ok(())
            }
            HoldState::Active
            | HoldState::Paying(_)
            | HoldState::Confirmed(_)
            | HoldState::Returned(_)
            | HoldState::Released => Err(Refusal::HoldTaken),
        }
    }

    /// The booking that was to pay for it is refused: active again, while its time lasts.
    pub fn unpay(&mut self, booking: BookingId) {
        if self.state == HoldState::Paying(booking) {
            self.state = HoldState::Active;
        }
    }

    /// The fan gives it back; once given back, again is the same. True when something changed.
    ///
    /// # Errors
    /// [`Refusal::HoldInPayment`] while a booking is being paid, [`Refusal::HoldTaken`] once it is sold.
    pub fn release(&mut self) -> Result<bool, Refusal> {
        match self.state {
            HoldState::Active => {
                self.state = HoldState::Released;
                Ok(true)
            }
            HoldState::Released => Ok(false),
            HoldState::Paying(_) => Err(Refusal::HoldInPayment),
            HoldState::Confirmed(_) | HoldState::Returned(_) => Err(Refusal::HoldTaken),
        }
    }
}

/// A fan asks for seats.
#[derive(Clone, Debug)]
pub struct HoldCommand {
    /// Made by the client.
    pub hold_id: HoldId,
    /// Who asks.
    pub account_id: AccountId,
    /// In which performance.
    pub performance_id: PerformanceId,
    /// How many seats are asked for, at least 1.
    pub quantity: u32,
    /// The number of the pass when there is a waiting room, or why this fan may not enter.
    pub entry: Result<Option<u32>, Refusal>,
    /// Fingerprint of the request.
    pub content: [u8; 16],
}

/// What a place's row says that matters to a hold.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceMarks {
    /// Given up.
    pub left: bool,
    /// Used by a confirmed booking.
    pub used: bool,
}

/// What a performance says that matters to a hold.
#[derive(Debug)]
pub struct HoldRules {
    /// Limits.
    pub policy: HoldPolicy,
    /// Times.
    pub sale: Sale,
}

/// The rows that a batch of holds looks at, and what it makes of them. Loaded (and locked) before, saved after.
#[derive(Clone, Debug, Default)]
pub struct HoldRows {
    /// The commands' own holds, those that the wanted seats point to, and those of the fans.
    pub holds: BTreeMap<HoldId, Hold>,
    /// To which hold each wanted seat points.
    pub seats: BTreeMap<(PerformanceId, SeatNo), Option<HoldId>>,
    /// Each fan's holds in the performance that may still be live.
    pub fans: BTreeMap<(PerformanceId, AccountId), Vec<HoldId>>,
    /// For how long each fan has been holding seats.
    pub spells: BTreeMap<(PerformanceId, AccountId), Spell>,
    /// The places whose passes are shown.
    pub places: BTreeMap<(PerformanceId, u32), PlaceMarks>,
    /// What is to be saved.
    pub changes: HoldChanges,
}

/// What a batch of holds writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldChanges {
    /// New holds.
    pub holds: Vec<HoldId>,
    /// Seats: from the hold that they pointed to, to the new one. The row count is checked.
    pub seats: Vec<(PerformanceId, SeatNo, Option<HoldId>, HoldId)>,
    /// Fans whose list of live holds, and spell, changed.
    pub fans: std::collections::BTreeSet<(PerformanceId, AccountId)>,
}

/// Decides one request for seats on the rows of its batch; `chosen` are the seats named, or picked for it, none when too
/// few are free. A repeat gets the hold that it made, as it stands now.
///
/// # Errors
/// Every [`Refusal`] of a hold; the rows are then untouched.
pub fn decide(
    rows: &mut HoldRows,
    command: &HoldCommand,
    chosen: Option<&[SeatNo]>,
    rules: &HoldRules,
    price: impl Fn(SeatNo) -> i64,
    now: Timestamp,
) -> Result<Hold, Refusal> {
    if let Some(hold) = rows.holds.get(&command.hold_id) {
        let same = hold.account_id == command.account_id
            && hold.performance_id == command.performance_id
            && hold.content == command.content;
        return if same {
            Ok(hold.clone())
        } else {
            Err(Refusal::IdReused)
        };
    }
    rules.sale.may_hold(now)?;
    let place = enter(rows, command)?;
    let fan = (command.performance_id, command.account_id);
    let live: Vec<HoldId> = rows
        .fans
        .get(&fan)
        .into_iter()
        .flatten()
        .copied()
        .filter(|id| rows.is_unsold(id, now))
        .collect();
    let held = live
        .iter()
        .filter_map(|id| rows.holds.get(id))
        .map(|hold| hold.seats.len())
        .sum::<usize>();
    let held = u32::try_from(held).unwrap_or(u32::MAX);
    if held.saturating_add(command.quantity) > rules.policy.seats_max {
        return Err(Refusal::TooManySeats {
            seats_max: rules.policy.seats_max,
            held,
        });
    }
    let spell = spell(rows, fan, &rules.policy, now)?;
    let seats = chosen.ok_or(Refusal::SoldOut)?;
    let taken: Vec<SeatNo> = seats
        .iter()
        .copied()
        .filter(|seat| rows.is_kept((command.performance_id, *seat), now))
        .collect();
    if !taken.is_empty() {
        return Err(Refusal::SeatTaken(taken));
    }
    let hold = Hold {
        hold_id: command.hold_id,
        performance_id: command.performance_id,
        account_id: command.account_id,
        place,
        seats: seats.to_vec(),
        total_minor: seats.iter().map(|seat| price(*seat)).sum(),
        content: command.content,
        created_at: now,
        expires_at: now
            .plus_s(rules.policy.ttl_s)
            .min(spell.since.plus_s(rules.policy.spell_max_s())),
        state: HoldState::Active,
    };
    let until = spell.until.max(hold.expires_at);
    rows.spells.insert(fan, Spell { until, ..spell });
    rows.insert(&hold, live);
    Ok(hold)
}

/// The number of the pass that is shown, when one is needed and its place is still good for a hold.
fn enter(rows: &HoldRows, command: &HoldCommand) -> Result<Option<u32>, Refusal> {
    let place = command.entry.clone()?;
    let Some(number) = place else { return Ok(None) };
    match rows.places.get(&(command.performance_id, number)) {
        Some(PlaceMarks { used: true, .. }) => Err(Refusal::PassUsed),
        Some(PlaceMarks { left: true, .. }) | None => Err(Refusal::PassRequired),
        Some(PlaceMarks { .. }) => Ok(place),
    }
}

/// The fan's spell that a new hold at `now` belongs to.
///
/// # Errors
/// [`Refusal::HeldTooLong`] when it has lasted as long as it may: others want a chance at the seats.
fn spell(
    rows: &HoldRows,
    fan: (PerformanceId, AccountId),
    policy: &HoldPolicy,
    now: Timestamp,
) -> Result<Spell, Refusal> {
    let unbroken = |spell: &&Spell| now < spell.until.plus_s(policy.ttl_s);
    let Some(spell) = rows.spells.get(&fan).filter(unbroken) else {
        return Ok(Spell {
            since: now,
            until: now,
        });
    };
    if now >= spell.since.plus_s(policy.spell_max_s()) {
        let again_at = spell.until.plus_s(policy.ttl_s);
        return Err(Refusal::HeldTooLong { again_at });
    }
    Ok(*spell)
}

impl HoldRows {
    /// Whether the hold is live and not sold: it then counts against the fan's limit.
    fn is_unsold(&self, id: &HoldId, now: Timestamp) -> bool {
        self.holds.get(id).is_some_and(|hold| {
            hold.keeps_seats(now) && !matches!(hold.state, HoldState::Confirmed(_))
        })
    }

    fn is_kept(&self, seat: (PerformanceId, SeatNo), now: Timestamp) -> bool {
        let owner = self.seats.get(&seat).expect("every wanted seat is loaded");
        owner.is_some_and(|id| {
            self.holds
                .get(&id)
                .expect("the hold that a seat points to is loaded")
                .keeps_seats(now)
        })
    }

    fn insert(&mut self, hold: &Hold, mut live: Vec<HoldId>) {
        for seat in &hold.seats {
            let owner = self
                .seats
                .insert((hold.performance_id, *seat), Some(hold.hold_id))
                .flatten();
            self.changes
                .seats
                .push((hold.performance_id, *seat, owner, hold.hold_id));
        }
        live.push(hold.hold_id);
        self.fans
            .insert((hold.performance_id, hold.account_id), live);
        self.changes
            .fans
            .insert((hold.performance_id, hold.account_id));
        self.holds.insert(hold.hold_id, hold.clone());
        self.changes.holds.push(hold.hold_id);
    }
}

#[cfg(test)]
mod tests;
