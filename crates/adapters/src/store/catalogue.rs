//! The catalogue in the store: venues, events, performances with a row per seat, and their rules.
//!
//! Keeps true: a performance and all its seats come in one transaction; what [`Store::load`] gives is what was created
//! and changed, with each picture as the seats' rows and their holds say.

use std::collections::BTreeMap;
use std::sync::Arc;

use boxoffice_core::admission::AdmissionPolicy;
use boxoffice_core::hold::HoldPolicy;
use boxoffice_core::sale::{Sale, Switch};
use boxoffice_core::seating::{NewArea, SeatNo, SeatState};
use boxoffice_core::{Currency, EventId, HoldId, PerformanceId, Timestamp};
use rusqlite::{Connection, Row, named_params};
use serde::{Deserialize, Serialize};

use super::Store;
use super::row::{Col, bad_text, unknown};
use super::sqlite::{Tx, expect_rows, failure};
use crate::failure::Failure;
use crate::performance::{Catalogue, Event, NewPerformance, Performance, PriceLevel, Rules, Venue};

/// A hold that keeps its seats and is not sold, as the rows say at the start.
#[derive(Clone, Debug)]
struct LiveHold {
    performance: Arc<Performance>,
    hold_id: HoldId,
    seats: Vec<SeatNo>,
    expires_at: Timestamp,
    /// A booking of it is being paid: it does not expire while that lasts.
    paying: bool,
}

/// A standing area as its column has it.
#[derive(Serialize, Deserialize)]
struct AreaColumn {
    area: String,
    section: String,
    capacity: u32,
}

/// A price level as its column has it.
#[derive(Serialize, Deserialize)]
struct PriceLevelColumn {
    price_level_id: uuid::Uuid,
    name: String,
    amount_minor: i64,
    sections: Vec<String>,
}

const CREATE_VENUE: &str =
    "INSERT INTO venues (venue_id, name, plan, areas) VALUES (?1, ?2, ?3, ?4)";
const CREATE_EVENT: &str = "INSERT INTO events (event_id, title, description, organizer, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
const CREATE_PERFORMANCE: &str = "INSERT INTO performances (performance_id, event_id, venue_id, starts_at, opens_at, lobby_opens_at, \
    closes_at, switch, price_levels, currency, per_s, active_max, pass_ttl_s, claim_within_s, hold_ttl_s, seats_max, epoch, created_at) \
    VALUES (:performance_id, :event_id, :venue_id, :starts_at, :opens_at, :lobby_opens_at, :closes_at, :switch, :price_levels, :currency, \
    :per_s, :active_max, :pass_ttl_s, :claim_within_s, :hold_ttl_s, :seats_max, :epoch, :created_at)";
const CREATE_SEAT: &str = "INSERT INTO seats (performance_id, seat_no) VALUES (?1, ?2)";
const CHANGE_RULES: &str = "UPDATE performances SET opens_at = :opens_at, lobby_opens_at = :lobby_opens_at, closes_at = :closes_at, \
    switch = :switch, per_s = :per_s, active_max = :active_max, pass_ttl_s = :pass_ttl_s, claim_within_s = :claim_within_s, \
    hold_ttl_s = :hold_ttl_s, seats_max = :seats_max WHERE performance_id = :performance_id";

impl Store {
    /// Remembers a new venue.
    ///
    /// # Errors
    /// The store's failures.
    pub async fn create_venue(&self, venue: &Venue) -> Result<(), Failure> {
        let column = |area: &NewArea| AreaColumn {
            area: area.area.clone(),
            section: area.section.clone(),
            capacity: area.capacity,
        };
        let areas = json(&venue.areas.iter().map(column).collect::<Vec<_>>())?;
        let (venue_id, name, plan) = (venue.venue_id, venue.name.clone(), venue.plan_json.clone());
        let write = move |tx: &Tx<'_>| {
            let plan = std::str::from_utf8(&plan)
                .map_err(|why| Failure::Broken(format!("failed to store a plan: {why}")))?;
            expect_rows(
                "create a venue",
                tx.change(CREATE_VENUE, (Col(venue_id), &name, plan, &areas))?,
                1,
            )
        };
        self.sqlite().write(write).await
    }

    /// Remembers a new event.
    ///
    /// # Errors
    /// The store's failures.
    pub async fn create_event(&self, event: &Event) -> Result<(), Failure> {
        let event = event.clone();
        let write = move |tx: &Tx<'_>| {
            let columns = (
                Col(event.event_id),
                &event.title,
                &event.description,
                &event.organizer,
                Col(event.created_at),
            );
            expect_rows("create an event", tx.change(CREATE_EVENT, columns)?, 1)
        };
        self.sqlite().write(write).await
    }

    /// Remembers a new performance and a free seat for each of its plan's, all in one transaction.
    ///
    /// # Errors
    /// The store's failures.
    pub async fn create_performance(&self, performance: &Arc<Performance>) -> Result<(), Failure> {
        let column = |level: &PriceLevel| PriceLevelColumn {
            price_level_id: level.price_level_id,
            name: level.name.clone(),
            amount_minor: level.amount_minor,
            sections: level.sections.clone(),
        };
        let price_levels = json(
            &performance
                .price_levels
                .iter()
                .map(column)
                .collect::<Vec<_>>(),
        )?;
        let performance = Arc::clone(performance);
        self.sqlite()
            .write(move |tx| create_performance(tx, &performance, &price_levels))
            .await
    }

    /// Remembers the rules of a performance; they are to be put in force afterwards.
    ///
    /// # Errors
    /// The store's failures.
    pub async fn change_rules(
        &self,
        performance_id: PerformanceId,
        rules: Rules,
    ) -> Result<(), Failure> {
        let write = move |tx: &Tx<'_>| {
            let Rules {
                sale,
                admission,
                hold,
            } = rules;
            let columns = named_params! {
                ":performance_id": Col(performance_id),
                ":opens_at": sale.opens_at.0,
                ":lobby_opens_at": sale.lobby_opens_at.map(|at| at.0),
                ":closes_at": sale.closes_at.0,
                ":switch": switch_code(sale.switch),
                ":per_s": admission.map(|policy| policy.per_s),
                ":active_max": admission.map(|policy| policy.active_max),
                ":pass_ttl_s": admission.map(|policy| policy.pass_ttl_s),
                ":claim_within_s": admission.map(|policy| policy.claim_within_s),
                ":hold_ttl_s": hold.ttl_s,
                ":seats_max": hold.seats_max,
            };
            expect_rows(
                "change the rules of a performance",
                tx.change(CHANGE_RULES, columns)?,
                1,
            )
        };
        self.sqlite().write(write).await
    }

    /// Everything that is sold, with each picture as it is at `now`, and the live holds taken up where they were. To be
    /// done once, at the start, before anything is sold; takes as long as there are seats.
    ///
    /// # Errors
    /// The store's failures; [`Failure::Broken`] when a row makes no sense, or when it was done before.
    pub async fn load(&self, now: Timestamp) -> Result<Arc<Catalogue>, Failure> {
        let (catalogue, holds) = self.sqlite().read(move |rows| load(rows, now)).await?;
        let (catalogue, kept) = (Arc::new(catalogue), &self.sqlite().kept);
        kept.catalogue
            .set(Arc::clone(&catalogue))
            .map_err(|_| Failure::Broken("the catalogue was loaded before".to_owned()))?;
        for LiveHold {
            performance,
            hold_id,
            seats,
            expires_at,
            paying,
        } in holds
        {
            kept.restore(&performance, hold_id, seats, expires_at, paying);
        }
        Ok(catalogue)
    }
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|why| Failure::Broken(format!("failed to write a column: {why}")))
}

fn create_performance(
    tx: &Tx<'_>,
    performance: &Performance,
    price_levels: &str,
) -> Result<(), Failure> {
    let Rules {
        sale,
        admission,
        hold,
    } = performance.rules();
    let columns = named_params! {
        ":performance_id": Col(performance.performance_id),
        ":event_id": Col(performance.event.event_id),
        ":venue_id": Col(performance.venue.venue_id),
        ":starts_at": performance.starts_at.0,
        ":opens_at": sale.opens_at.0,
        ":lobby_opens_at": sale.lobby_opens_at.map(|at| at.0),
        ":closes_at": sale.closes_at.0,
        ":switch": switch_code(sale.switch),
        ":price_levels": price_levels,
        ":currency": performance.currency.as_str(),
        ":per_s": admission.map(|policy| policy.per_s),
        ":active_max": admission.map(|policy| policy.active_max),
        ":pass_ttl_s": admission.map(|policy| policy.pass_ttl_s),
        ":claim_within_s": admission.map(|policy| policy.claim_within_s),
        ":hold_ttl_s": hold.ttl_s,
        ":seats_max": hold.seats_max,
        ":epoch": performance.epoch,
        ":created_at": performance.created_at.0,
    };
    expect_rows(
        "create a performance",
        tx.change(CREATE_PERFORMANCE, columns)?,
        1,
    )?;
    let mut create = tx.rows.prepare_cached(CREATE_SEAT).map_err(failure)?;
    for seat in 0..performance.plan().seats_total() {
        expect_rows(
            "create a seat",
            create
                .execute((Col(performance.performance_id), seat))
                .map_err(failure)?,
            1,
        )?;
    }
    Ok(())
}

const LOAD_VENUES: &str = "SELECT venue_id, name, plan, areas FROM venues";
const LOAD_EVENTS: &str = "SELECT event_id, title, description, organizer, created_at FROM events";
const LOAD_PERFORMANCES: &str = "SELECT performance_id, event_id, venue_id, starts_at, opens_at, lobby_opens_at, closes_at, switch, \
    price_levels, currency, per_s, active_max, pass_ttl_s, claim_within_s, hold_ttl_s, seats_max, epoch, created_at FROM performances";
/// The seats that some hold has had, with that hold.
const LOAD_TAKEN: &str = "SELECT seats.seat_no, seats.hold_id, holds.state, holds.expires_at FROM seats \
    JOIN holds ON holds.hold_id = seats.hold_id WHERE seats.performance_id = ?1 ORDER BY seats.seat_no";

fn load(rows: &Connection, now: Timestamp) -> rusqlite::Result<(Catalogue, Vec<LiveHold>)> {
    let (catalogue, mut holds) = (Catalogue::default(), Vec::new());
    for venue in rows.prepare(LOAD_VENUES)?.query_map((), venue)? {
        catalogue.add_venue(venue?);
    }
    for event in rows.prepare(LOAD_EVENTS)?.query_map((), event)? {
        catalogue.add_event(event?);
    }
    let mut taken = rows.prepare(LOAD_TAKEN)?;
    let mut performances = rows.prepare(LOAD_PERFORMANCES)?;
    let mut found = performances.query(())?;
    while let Some(row) = found.next()? {
        let performance = Arc::new(performance(row, &catalogue)?);
        load_picture(&mut taken, &performance, now, &mut holds)?;
        catalogue.add_performance(performance);
    }
    Ok((catalogue, holds))
}

fn venue(row: &Row<'_>) -> rusqlite::Result<Venue> {
    let columns: Vec<AreaColumn> = serde_json::from_str(&row.get::<_, String>("areas")?)
        .map_err(|why| bad_text("areas of a venue", why))?;
    let areas = columns.into_iter().map(|column| NewArea {
        area: column.area,
        section: column.section,
        capacity: column.capacity,
    });
    let Col(venue_id) = row.get("venue_id")?;
    Venue::new(
        venue_id,
        row.get("name")?,
        row.get("plan")?,
        areas.collect(),
    )
    .map_err(|why| bad_text("plan of a venue", why))
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let (Col(event_id), Col(created_at)) = (row.get("event_id")?, row.get("created_at")?);
    Ok(Event {
        event_id,
        title: row.get("title")?,
        description: row.get("description")?,
        organizer: row.get("organizer")?,
        created_at,
    })
}

fn performance(row: &Row<'_>, catalogue: &Catalogue) -> rusqlite::Result<Performance> {
    let (Col(performance_id), Col(event_id), Col(venue_id)) = (
        row.get("performance_id")?,
        row.get::<_, Col<EventId>>("event_id")?,
        row.get("venue_id")?,
    );
    let event = catalogue.event(event_id).ok_or_else(|| {
        bad_text(
            "performance",
            format_args!("{performance_id}: its event is not there"),
        )
    })?;
    let venue = catalogue.venue(venue_id).ok_or_else(|| {
        bad_text(
            "performance",
            format_args!("{performance_id}: its venue is not there"),
        )
    })?;
    let columns: Vec<PriceLevelColumn> =
        serde_json::from_str(&row.get::<_, String>("price_levels")?)
            .map_err(|why| bad_text("price levels", why))?;
    let price_levels = columns.into_iter().map(|column| PriceLevel {
        price_level_id: column.price_level_id,
        name: column.name,
        amount_minor: column.amount_minor,
        sections: column.sections,
    });
    let currency: Currency = row
        .get::<_, String>("currency")?
        .parse()
        .map_err(|why| bad_text("currency", why))?;
    let (Col(starts_at), Col(created_at)) = (row.get("starts_at")?, row.get("created_at")?);
    let new = NewPerformance {
        performance_id,
        event,
        venue,
        starts_at,
        price_levels: price_levels.collect(),
        currency,
        epoch: row.get("epoch")?,
        created_at,
        rules: rules(row)?,
    };
    Performance::new(new).map_err(|why| bad_text("performance", why))
}

fn rules(row: &Row<'_>) -> rusqlite::Result<Rules> {
    let (Col(opens_at), Col(closes_at)) = (row.get("opens_at")?, row.get("closes_at")?);
    let lobby_opens_at = row.get::<_, Option<i64>>("lobby_opens_at")?.map(Timestamp);
    let sale = Sale {
        opens_at,
        lobby_opens_at,
        closes_at,
        switch: switch_from(row.get("switch")?)?,
    };
    let admission = match row.get::<_, Option<f64>>("per_s")? {
        Some(per_s) => Some(AdmissionPolicy {
            per_s,
            active_max: row.get("active_max")?,
            pass_ttl_s: row.get("pass_ttl_s")?,
            claim_within_s: row.get("claim_within_s")?,
        }),
        None => None,
    };
    Ok(Rules {
        sale,
        admission,
        hold: HoldPolicy {
            ttl_s: row.get("hold_ttl_s")?,
            seats_max: row.get("seats_max")?,
        },
    })
}

/// Puts the seats that are kept at `now` into the picture and adds the unsold holds that keep them. Whose a seat is
/// follows from the hold that its row points to, by the rule of `Hold::keeps_seats`.
fn load_picture(
    taken: &mut rusqlite::Statement<'_>,
    performance: &Arc<Performance>,
    now: Timestamp,
    holds: &mut Vec<LiveHold>,
) -> rusqlite::Result<()> {
    let mut live: BTreeMap<HoldId, LiveHold> = BTreeMap::new();
    let mut picture = performance.picture();
    let mut found = taken.query((Col(performance.performance_id),))?;
    while let Some(row) = found.next()? {
        let (seat, Col(hold_id), Col(expires_at)) = (
            SeatNo(row.get("seat_no")?),
            row.get("hold_id")?,
            row.get("expires_at")?,
        );
        if seat.0 >= performance.plan().seats_total() {
            return Err(unknown("seat", i64::from(seat.0)));
        }
        let paying = match row.get("state")? {
            0 if now >= expires_at => continue,
            0 => false,
            1 => true,
            2 => {
                picture.set(seat, SeatState::Sold);
                continue;
            }
            3 | 4 => continue,
            other => return Err(unknown("hold state", other)),
        };
        picture.set(seat, SeatState::Held);
        let new = || LiveHold {
            performance: Arc::clone(performance),
            hold_id,
            seats: Vec::new(),
            expires_at,
            paying,
        };
        live.entry(hold_id).or_insert_with(new).seats.push(seat);
    }
    holds.extend(live.into_values());
    Ok(())
}

fn switch_code(switch: Switch) -> i64 {
    match switch {
        Switch::ByTime => 0,
        Switch::Opened => 1,
        Switch::Paused => 2,
        Switch::Closed => 3,
    }
}

fn switch_from(code: i64) -> rusqlite::Result<Switch> {
    match code {
        0 => Ok(Switch::ByTime),
        1 => Ok(Switch::Opened),
        2 => Ok(Switch::Paused),
        3 => Ok(Switch::Closed),
        other => Err(unknown("operator's word", other)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use boxoffice_core::seating::{Counts, SeatingPlan};

    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::store::StoreUrl;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn open(folder: &Path) -> Store {
        let url = StoreUrl::Sqlite(folder.join("test.db"));
        Store::open(
            &url,
            Arc::new(Clock::default()),
            Arc::new(Metrics::default()),
            |_| (),
        )
        .unwrap()
    }

    fn rules() -> Rules {
        let sale = Sale {
            opens_at: Timestamp(10),
            lobby_opens_at: Some(Timestamp(5)),
            closes_at: Timestamp(90),
            switch: Switch::ByTime,
        };
        let admission = AdmissionPolicy {
            per_s: 2.5,
            active_max: 0,
            pass_ttl_s: 600,
            claim_within_s: 86_400,
        };
        Rules {
            sale,
            admission: Some(admission),
            hold: HoldPolicy {
                ttl_s: 600,
                seats_max: 8,
            },
        }
    }

    /// A hall of `sections` × 4 × 5 seats with one standing area of 7, remembered in the store.
    async fn make(store: &Store, sections: u32, rows: u32, seats_per_row: u32) -> Arc<Performance> {
        let id = || uuid::Uuid::now_v7();
        let area = NewArea {
            area: "Floor A".to_owned(),
            section: "Floor".to_owned(),
            capacity: 7,
        };
        let plan = SeatingPlan::generate(sections, rows, seats_per_row).unwrap();
        let venue = Venue::new(id().into(), "Halle ü".to_owned(), plan, vec![area]).unwrap();
        store.create_venue(&venue).await.unwrap();
        let event = Event {
            event_id: id().into(),
            title: "봄 콘서트".to_owned(),
            description: None,
            organizer: Some("City Hall".to_owned()),
            created_at: Timestamp(3),
        };
        store.create_event(&event).await.unwrap();
        let (floor, seated): (Vec<String>, Vec<String>) = venue
            .plan
            .sections()
            .iter()
            .cloned()
            .partition(|name| name == "Floor");
        let level = |name: &str, amount_minor, sections| PriceLevel {
            price_level_id: id(),
            name: name.to_owned(),
            amount_minor,
            sections,
        };
        let new = NewPerformance {
            performance_id: id().into(),
            event: Arc::new(event),
            venue: Arc::new(venue),
            starts_at: Timestamp(99),
            price_levels: vec![level("Seats", 132_000, seated), level("Standing", 0, floor)],
            currency: "KRW".parse().unwrap(),
            epoch: 1,
            created_at: Timestamp(4),
            rules: rules(),
        };
        let performance = Arc::new(Performance::new(new).unwrap());
        store.create_performance(&performance).await.unwrap();
        performance
    }

    /// Adds a hold row in this state on these seats, as a hold's own code would.
    async fn hold(
        store: &Store,
        performance: &Performance,
        seats: &'static [u32],
        state: i64,
        expires_at: Timestamp,
    ) -> HoldId {
        let (performance_id, hold_id) = (
            performance.performance_id,
            HoldId::from(uuid::Uuid::now_v7()),
        );
        let write = move |tx: &Tx<'_>| {
            let bytes = super::super::row::seats_to_bytes(
                &seats.iter().copied().map(SeatNo).collect::<Vec<_>>(),
            );
            let insert = "INSERT INTO holds (hold_id, performance_id, account_id, seats, total_minor, content, created_at, expires_at, state) \
                VALUES (?1, ?2, x'00', ?3, 0, x'00', 0, ?4, ?5)";
            tx.rows
                .execute(
                    insert,
                    (
                        Col(hold_id),
                        Col(performance_id),
                        bytes,
                        expires_at.0,
                        state,
                    ),
                )
                .map_err(failure)?;
            for seat in seats {
                let take =
                    "UPDATE seats SET hold_id = ?1 WHERE performance_id = ?2 AND seat_no = ?3";
                expect_rows(
                    "take a seat",
                    tx.rows
                        .execute(take, (Col(hold_id), Col(performance_id), seat))
                        .map_err(failure)?,
                    1,
                )?;
            }
            Ok(())
        };
        store.sqlite().write(write).await.unwrap();
        hold_id
    }

    fn same(a: &Performance, b: &Performance) {
        // Everything there is of a performance, but for the picture and what only this process has.
        let facts = |one: &Performance| {
            let venue = (
                one.venue.venue_id,
                one.venue.name.clone(),
                one.venue.plan_json.clone(),
                one.venue.areas.clone(),
            );
            format!(
                "{:?}",
                (
                    one.performance_id,
                    &one.event,
                    venue,
                    one.starts_at,
                    &one.price_levels,
                    one.currency,
                    one.epoch,
                    one.created_at,
                    one.rules()
                )
            )
        };
        assert_eq!(facts(a), facts(b));
    }

    #[tokio::test]
    async fn what_was_made_is_loaded_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let made = make(&store, 2, 4, 5).await;
        let other = make(&store, 1, 1, 1).await;
        store.close();
        let loaded = open(folder.path()).load(NOW).await.unwrap();
        for performance in [&made, &other] {
            let again = loaded.performance(performance.performance_id).unwrap();
            same(performance, &again);
            assert_eq!(again.picture().counts(), performance.picture().counts());
        }
        assert_eq!(
            made.picture().counts(),
            Counts {
                free: 47,
                held: 0,
                sold: 0
            }
        );
        assert_eq!(loaded.events(None, 10).len(), 2);
    }

    #[tokio::test]
    async fn changed_rules_are_loaded_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let (made, other) = (make(&store, 1, 1, 1).await, make(&store, 1, 1, 1).await);
        let sale = Sale {
            opens_at: Timestamp(1),
            lobby_opens_at: None,
            closes_at: Timestamp(2),
            switch: Switch::Paused,
        };
        let changed = Rules {
            sale,
            admission: None,
            hold: HoldPolicy {
                ttl_s: 1,
                seats_max: 100,
            },
        };
        store
            .change_rules(made.performance_id, changed)
            .await
            .unwrap();
        store.close();
        let store = open(folder.path());
        let loaded = store.load(NOW).await.unwrap();
        made.set_rules(changed);
        same(&made, &loaded.performance(made.performance_id).unwrap());
        same(&other, &loaded.performance(other.performance_id).unwrap());
        assert!(
            store
                .change_rules(PerformanceId([7; 16]), changed)
                .await
                .is_err(),
            "there is no such row"
        );
    }

    #[tokio::test]
    async fn each_seat_is_as_its_hold_says() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let made = make(&store, 2, 4, 5).await;
        let (later, past) = (Timestamp(NOW.0 + 1), NOW);
        hold(&store, &made, &[0, 1], 0, past).await; // Expired at this very instant.
        let active = hold(&store, &made, &[1, 2, 40], 0, later).await; // Has taken seat 1 over.
        let paying = hold(&store, &made, &[3], 1, past).await;
        hold(&store, &made, &[4, 46], 2, past).await; // Sold; 46 is a spot of the area.
        hold(&store, &made, &[5], 3, later).await; // Released.
        store.close();
        let store = open(folder.path());
        let (catalogue, holds) = store.sqlite().read(|rows| load(rows, NOW)).await.unwrap();
        let again = catalogue.performance(made.performance_id).unwrap();
        use SeatState::{Free, Held, Sold};
        let states = [0, 1, 2, 3, 4, 5, 40, 46].map(|seat| again.picture().state(SeatNo(seat)));
        assert_eq!(states, [Free, Held, Held, Held, Sold, Free, Held, Sold]);
        let counts = again.picture().counts();
        assert_eq!((counts.free, counts.held, counts.sold), (41, 4, 2));
        let live: Vec<_> = holds
            .iter()
            .map(|hold| {
                (
                    hold.hold_id,
                    hold.seats.clone(),
                    hold.expires_at,
                    hold.paying,
                )
            })
            .collect();
        assert_eq!(
            live,
            [
                (active, vec![SeatNo(1), SeatNo(2), SeatNo(40)], later, false),
                (paying, vec![SeatNo(3)], past, true)
            ]
        );
        store.load(NOW).await.unwrap();
        assert_eq!(store.live_holds(made.performance_id), 2);
        assert!(
            store.load(NOW).await.is_err(),
            "counts would be taken up twice"
        );
    }

    #[tokio::test]
    async fn a_stadium_is_made_and_loaded_in_a_moment() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let begun = Instant::now();
        make(&store, 50, 20, 50).await;
        let made = begun.elapsed();
        store.close();
        let store = open(folder.path());
        let begun = Instant::now();
        store.load(NOW).await.unwrap();
        println!(
            "50,007 seats: made in {made:?}, loaded in {:?}",
            begun.elapsed()
        );
        // Unoptimised and on a busy machine; a statement prepared for each row would take longer still.
        assert!(made.as_secs() < 5, "{made:?}");
    }
}
