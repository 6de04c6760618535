//! What the first start makes: secrets, the operator, the demo; and what a start says to whoever watches the terminal.

use std::io::Write as _;
use std::sync::Arc;

use boxoffice_adapters::Failure;
use boxoffice_adapters::clock::Clock;
use boxoffice_adapters::notify::Locale;
use boxoffice_adapters::performance::{
    Catalogue, Event, NewPerformance, Performance, PriceLevel, Rules, Venue,
};
use boxoffice_adapters::store::{NewAccount, OperatorPut, Store};
use boxoffice_api::auth::Auth;
use boxoffice_core::admission::AdmissionPolicy;
use boxoffice_core::hold::HoldPolicy;
use boxoffice_core::sale::{Sale, Switch};
use boxoffice_core::seating::{NewArea, SeatingPlan};
use boxoffice_core::{AccountId, EventId, PerformanceId, Timestamp, VenueId};

use crate::config::Config;
use crate::demo;

/// The operator of a first start that names none.
const OPERATOR: &str = "operator@boxoffice.example";
/// A day, in seconds.
const DAY_S: u32 = 86_400;

/// The secret that all keys come from: the configured one, or the one that the first start made and keeps in the store.
pub(crate) async fn secret(config: &Config, store: &Store) -> Result<String, Failure> {
    if !config.auth.secret.is_empty() {
        return Ok(config.auth.secret.clone());
    }
    store.setting("auth.secret", || chance(32)).await
}

/// So many bytes of chance, in hexadecimal.
pub(crate) fn chance(bytes: usize) -> String {
    let mut chance = vec![0; bytes];
    getrandom::fill(&mut chance).expect("the machine has a source of chance");
    chance.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes what an empty store lacks: the configured operator (or one whose password is printed once), and the demo.
pub(crate) async fn first_start(
    config: &Config,
    store: &Store,
    catalogue: &Catalogue,
    auth: &Auth,
    clock: &Clock,
) -> Result<(), Failure> {
    let mark = chance(8);
    let made = mark.clone();
    // Whoever finds the own mark is the first.
    let is_new = store.setting("first start", move || made.clone()).await? == mark;
    if let Some(email) = &config.operator.email {
        let password = config
            .operator
            .password
            .clone()
            .unwrap_or_else(|| chance(8));
        let made = put_operator(store, auth, email, &password).await?;
        if made && config.operator.password.is_none() {
            say(&format!(
                "operator  {email}  password  {password}  (shown once)"
            ));
        }
    } else if is_new {
        let password = chance(8);
        put_operator(store, auth, OPERATOR, &password).await?;
        say(&format!(
            "operator  {OPERATOR}  password  {password}  (shown once)"
        ));
    }
    if config.demo && catalogue.events(None, 1).is_empty() {
        make_demo(store, catalogue, clock.now()).await?;
    }
    Ok(())
}

/// Makes an operator's account; false when there is one with this address already.
pub(crate) async fn put_operator(
    store: &Store,
    auth: &Auth,
    email: &str,
    password: &str,
) -> Result<bool, Failure> {
    let password_hash = auth.hash(password.to_owned()).await?;
    let account_id = AccountId::from(uuid::Uuid::now_v7());
    let new = NewAccount {
        account_id,
        email: email.to_owned(),
        name: "Operator".to_owned(),
        locale: Locale::En,
        password_hash,
    };
    match store.put_operator(new).await? {
        OperatorPut::Made(_) => Ok(true),
        OperatorPut::Found(_) => Ok(false),
        OperatorPut::IsFan => Err(Failure::Broken(format!(
            "{email} is a fan's account; give the operator another address"
        ))),
    }
}

/// The two events that show what this is: a theatre at four price levels, and a standing festival.
async fn make_demo(store: &Store, catalogue: &Catalogue, now: Timestamp) -> Result<(), Failure> {
    let theatre = Show {
        title: "달빛 아래 · Beneath the Moon",
        description: "A play in three acts, with an interval.",
        venue: "Grand Theatre",
        plan: demo::theatre(),
        areas: Vec::new(),
        prices: demo::THEATRE_PRICE_LEVELS
            .iter()
            .zip([165_000, 132_000, 110_000, 77_000])
            .map(|((name, sections), price)| (*name, *sections, price))
            .collect(),
    };
    let area = |(area, section, capacity): &(&str, &str, u32)| NewArea {
        area: (*area).to_owned(),
        section: (*section).to_owned(),
        capacity: *capacity,
    };
    let festival = Show {
        title: "한강 여름 밤 · Summer Night on the River",
        description: "Six bands, one stage, standing.",
        venue: "Riverside Park",
        plan: demo::festival(),
        areas: demo::FESTIVAL_AREAS.iter().map(area).collect(),
        prices: vec![
            ("Front of Stage", &["Arena"], 99_000),
            ("Meadow", &["Meadow"], 66_000),
        ],
    };
    for (index, show) in [theatre, festival].into_iter().enumerate() {
        // The theatre first in every list.
        show.make(store, catalogue, now.plus_ms(index as u64))
            .await?;
    }
    Ok(())
}

/// A demo event with its one performance.
struct Show {
    title: &'static str,
    description: &'static str,
    venue: &'static str,
    plan: String,
    areas: Vec<NewArea>,
    prices: Vec<(&'static str, &'static [&'static str], i64)>,
}

impl Show {
    async fn make(
        self,
        store: &Store,
        catalogue: &Catalogue,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let broken = |why: String| Failure::Broken(format!("failed to make the demo: {why}"));
        let plan = SeatingPlan::parse(&self.plan, &self.areas)
            .map_err(|fault| broken(fault.to_string()))?;
        let venue = Venue {
            venue_id: VenueId::from(uuid::Uuid::now_v7()),
            name: self.venue.to_owned(),
            plan: Arc::new(plan),
            plan_json: self.plan.into(),
            areas: self.areas,
        };
        let event = Event {
            event_id: EventId::from(uuid::Uuid::now_v7()),
            title: self.title.to_owned(),
            description: Some(self.description.to_owned()),
            organizer: Some("Boxoffice Demo".to_owned()),
            created_at: now,
        };
        store.create_venue(&venue).await?;
        store.create_event(&event).await?;
        let (venue, event) = (catalogue.add_venue(venue), catalogue.add_event(event));
        let level = |(name, sections, amount_minor): (&str, &[&str], i64)| PriceLevel {
            price_level_id: uuid::Uuid::now_v7(),
            name: name.to_owned(),
            amount_minor,
            sections: sections
                .iter()
                .map(|section| (*section).to_owned())
                .collect(),
        };
        let performance = Performance::new(NewPerformance {
            performance_id: PerformanceId::from(uuid::Uuid::now_v7()),
            event,
            venue,
            starts_at: now.plus_s(60 * DAY_S),
            price_levels: self.prices.into_iter().map(level).collect(),
            currency: "KRW"
                .parse()
                .map_err(|wrong: boxoffice_core::money::NotACurrency| broken(wrong.to_string()))?,
            epoch: 1,
            created_at: now,
            rules: rules(now),
        });
        let performance = Arc::new(performance.map_err(|wrong| broken(wrong.to_string()))?);
        store.create_performance(&performance).await?;
        catalogue.add_performance(performance);
        Ok(())
    }
}

/// The demo's sale: open for a month, fifty fans a second, five hundred inside.
fn rules(now: Timestamp) -> Rules {
    Rules {
        sale: Sale {
            opens_at: now,
            lobby_opens_at: None,
            closes_at: now.plus_s(30 * DAY_S),
            switch: Switch::ByTime,
        },
        admission: Some(AdmissionPolicy {
            per_s: 50.0,
            active_max: 500,
            pass_ttl_s: 600,
            claim_within_s: 120,
        }),
        hold: HoldPolicy {
            ttl_s: 600,
            seats_max: 8,
        },
    }
}

/// Where to look, for a person at a terminal.
pub(crate) fn say_where_to_look(config: &Config, catalogue: &Catalogue) {
    say(&format!(
        "boxoffice {}  listens on http://{}  ·  docs at {}/docs",
        env!("CARGO_PKG_VERSION"),
        config.listen,
        config.http.public_url
    ));
    for performance in catalogue.performances(None).iter().take(5) {
        say(&format!(
            "on sale   {}  {}",
            performance.performance_id, performance.event.title
        ));
    }
}

/// A line for a person; a terminal that is gone is no reason to end.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
