//! Performances as they are kept in memory: what never changes, the rules in force, and the picture of the seats.
//!
//! The store's rows are the truth; this is what spares asking them. The picture follows the rows: it is
//! changed only by the store's batches.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use boxoffice_core::admission::AdmissionPolicy;
use boxoffice_core::hold::{HoldPolicy, HoldRules};
use boxoffice_core::sale::Sale;
use boxoffice_core::seating::{Availability, NewArea, PlanFault, SeatNo, SeatingPlan};
use boxoffice_core::{Currency, EventId, PerformanceId, Timestamp, VenueId};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

/// A show.
#[derive(Clone, Debug)]
pub struct Event {
    /// Names it.
    pub event_id: EventId,
    /// What is shown.
    pub title: String,
    /// More about it.
    pub description: Option<String>,
    /// Who gives it.
    pub organizer: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A place with a seating plan.
#[derive(Debug)]
pub struct Venue {
    /// Names it.
    pub venue_id: VenueId,
    /// What it is called.
    pub name: String,
    /// The plan, parsed.
    pub plan: Arc<SeatingPlan>,
    /// The plan as it was given, pretix JSON in UTF-8; shared by all who are sent it.
    pub plan_json: Bytes,
    /// Its standing areas.
    pub areas: Vec<NewArea>,
}

impl Venue {
    /// A venue of this plan (pretix JSON) and these standing areas. Reading a large plan takes tens of milliseconds.
    ///
    /// # Errors
    /// What is wrong with the plan or the areas, and where.
    pub fn new(
        venue_id: VenueId,
        name: String,
        plan_json: String,
        areas: Vec<NewArea>,
    ) -> Result<Self, PlanFault> {
        let plan = Arc::new(SeatingPlan::parse(&plan_json, &areas)?);
        Ok(Self {
            venue_id,
            name,
            plan,
            plan_json: plan_json.into(),
            areas,
        })
    }
}

/// What a seat costs.
#[derive(Clone, Debug)]
pub struct PriceLevel {
    /// Names it within the performance: a UUID.
    pub price_level_id: uuid::Uuid,
    /// What it is called.
    pub name: String,
    /// In minor units of the performance's currency.
    pub amount_minor: i64,
    /// The sections that it covers.
    pub sections: Vec<String>,
}

/// The rules that an operator may change during the sale.
#[derive(Copy, Clone, Debug)]
pub struct Rules {
    /// Times and the operator's word.
    pub sale: Sale,
    /// How fans are let in; none: no waiting room.
    pub admission: Option<AdmissionPolicy>,
    /// Limits of holds.
    pub hold: HoldPolicy,
}

/// One dated occurrence of an event, in memory.
#[derive(Debug)]
pub struct Performance {
    /// Names it.
    pub performance_id: PerformanceId,
    /// Of which event.
    pub event: Arc<Event>,
    /// Where.
    pub venue: Arc<Venue>,
    /// When the show begins.
    pub starts_at: Timestamp,
    /// What seats cost; each section has one.
    pub price_levels: Vec<PriceLevel>,
    /// Of all its prices.
    pub currency: Currency,
    /// Of its waiting room.
    pub epoch: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// By section: index into `price_levels`.
    level_of_section: Vec<u16>,
    rules: RwLock<Rules>,
    changing: tokio::sync::Mutex<()>,
    picture: Mutex<Availability>,
}

/// What a performance is made of.
#[derive(Debug)]
pub struct NewPerformance {
    /// Names it.
    pub performance_id: PerformanceId,
    /// Of which event.
    pub event: Arc<Event>,
    /// Where.
    pub venue: Arc<Venue>,
    /// When the show begins.
    pub starts_at: Timestamp,
    /// What seats cost.
    pub price_levels: Vec<PriceLevel>,
    /// Of all its prices.
    pub currency: Currency,
    /// Of its waiting room.
    pub epoch: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// The rules to begin with.
    pub rules: Rules,
}

impl Performance {
    /// A performance with all its seats free.
    ///
    /// # Errors
    /// The name of a section that no price level covers, that two do, or that the plan does not have.
    pub fn new(new: NewPerformance) -> Result<Self, String> {
        let plan = &new.venue.plan;
        let mut level_of_section = vec![None; plan.sections().len()];
        for (index, level) in new.price_levels.iter().enumerate() {
            for name in &level.sections {
                let section = plan.section_no(name).ok_or_else(|| {
                    format!("price_levels[{index}].sections: there is no section {name:?}; the venue has {:?}", plan.sections())
                })?;
                let slot = &mut level_of_section[usize::from(section.0)];
                if slot.is_some() {
                    return Err(format!(
                        "price_levels[{index}].sections: section {name:?} has a price already; give each section one"
                    ));
                }
                *slot = u16::try_from(index).ok();
            }
        }
        let bare = level_of_section.iter().position(Option::is_none);
        if let Some(section) = bare {
            return Err(format!(
                "price_levels: section {:?} has no price; name it in one level's sections",
                plan.sections()[section]
            ));
        }
        let level_of_section: Vec<u16> = level_of_section.into_iter().flatten().collect();
        let picture = Availability::new(Arc::clone(plan), level_of_section.clone());
        let NewPerformance {
            performance_id,
            event,
            venue,
            starts_at,
            price_levels,
            currency,
            epoch,
            created_at,
            rules,
        } = new;
        let (rules, picture) = (RwLock::new(rules), Mutex::new(picture));
        Ok(Self {
            performance_id,
            event,
            venue,
            starts_at,
            price_levels,
            currency,
            epoch,
            created_at,
            level_of_section,
            rules,
            changing: tokio::sync::Mutex::default(),
            picture,
        })
    }

    /// The rules in force.
    pub fn rules(&self) -> Rules {
        *self.rules.read()
    }

    /// To be held by who changes the rules, from reading them until the new ones are in force: of two changes at once
    /// neither is lost.
    pub async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Puts rules in force; the store has them already.
    pub fn set_rules(&self, rules: Rules) {
        *self.rules.write() = rules;
    }

    /// The rules that matter to a hold.
    pub fn hold_rules(&self) -> HoldRules {
        let rules = self.rules();
        HoldRules {
            policy: rules.hold,
            sale: rules.sale,
        }
    }

    /// The picture of the seats. Held for moments only, never across I/O.
    pub fn picture(&self) -> parking_lot::MutexGuard<'_, Availability> {
        self.picture.lock()
    }

    /// The plan of the venue.
    pub fn plan(&self) -> &Arc<SeatingPlan> {
        &self.venue.plan
    }

    /// The price level of a seat.
    pub fn price_level(&self, seat: SeatNo) -> &PriceLevel {
        let section = self.plan().spot(seat).section();
        &self.price_levels[usize::from(self.level_of_section[usize::from(section.0)])]
    }
}

/// Everything that is sold here.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// In the order of their ids, which is that of their age.
    events: RwLock<BTreeMap<EventId, Arc<Event>>>,
    venues: RwLock<HashMap<VenueId, Arc<Venue>>>,
    performances: RwLock<HashMap<PerformanceId, Arc<Performance>>>,
}

impl Catalogue {
    /// The event.
    pub fn event(&self, id: EventId) -> Option<Arc<Event>> {
        self.events.read().get(&id).cloned()
    }

    /// The venue.
    pub fn venue(&self, id: VenueId) -> Option<Arc<Venue>> {
        self.venues.read().get(&id).cloned()
    }

    /// The performance.
    pub fn performance(&self, id: PerformanceId) -> Option<Arc<Performance>> {
        self.performances.read().get(&id).cloned()
    }

    /// At most `limit` events that come after this one, or from the first on; oldest first.
    pub fn events(&self, after: Option<EventId>, limit: usize) -> Vec<Arc<Event>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.events
            .read()
            .range((from, Bound::Unbounded))
            .map(|(_, event)| Arc::clone(event))
            .take(limit)
            .collect()
    }

    /// All performances, or those of one event, by when they begin.
    pub fn performances(&self, of: Option<EventId>) -> Vec<Arc<Performance>> {
        let all = self.performances.read();
        let mut some: Vec<_> = all
            .values()
            .filter(|one| of.is_none_or(|id| id == one.event.event_id))
            .cloned()
            .collect();
        some.sort_by_key(|one| (one.starts_at, one.performance_id));
        some
    }

    /// Adds an event.
    pub fn add_event(&self, event: Event) -> Arc<Event> {
        let event = Arc::new(event);
        self.events
            .write()
            .insert(event.event_id, Arc::clone(&event));
        event
    }

    /// Adds a venue.
    pub fn add_venue(&self, venue: Venue) -> Arc<Venue> {
        let venue = Arc::new(venue);
        self.venues
            .write()
            .insert(venue.venue_id, Arc::clone(&venue));
        venue
    }

    /// Adds a performance.
    pub fn add_performance(&self, performance: Arc<Performance>) {
        self.performances
            .write()
            .insert(performance.performance_id, performance);
    }
}
