//! The room in memory: what it answers is in the journal, and what the journal did not take it forgets.

use boxoffice_core::EventId;
use boxoffice_core::VenueId;
use boxoffice_core::hold::HoldPolicy;
use boxoffice_core::sale::{Sale, Switch};
use boxoffice_core::seating::SeatingPlan;
use boxoffice_core::waiting_room::Stage;

use super::*;
use crate::performance::{Event, NewPerformance, PriceLevel, Rules, Venue};
use crate::store::StoreUrl;

fn fan(n: u8) -> AccountId {
    AccountId([n; 16])
}

fn performance() -> Arc<Performance> {
    let json = SeatingPlan::generate(1, 1, 1).unwrap();
    let venue = Venue {
        venue_id: VenueId([1; 16]),
        name: "Hall".to_owned(),
        plan: Arc::new(SeatingPlan::parse(&json, &[]).unwrap()),
        plan_json: json.into(),
        areas: Vec::new(),
    };
    let event = Event {
        event_id: EventId([2; 16]),
        title: "Show".to_owned(),
        description: None,
        organizer: None,
        created_at: Timestamp(0),
    };
    let sale = Sale {
        opens_at: Timestamp(0),
        lobby_opens_at: None,
        closes_at: Timestamp::MAX,
        switch: Switch::ByTime,
    };
    let admission = AdmissionPolicy {
        per_s: 1_000.0,
        active_max: 1,
        pass_ttl_s: 60,
        claim_within_s: 60,
    };
    let new = NewPerformance {
        performance_id: PerformanceId([3; 16]),
        event: Arc::new(event),
        venue: Arc::new(venue),
        starts_at: Timestamp(0),
        price_levels: vec![PriceLevel {
            price_level_id: uuid::Uuid::nil(),
            name: "All".to_owned(),
            amount_minor: 1,
            sections: vec!["A".to_owned()],
        }],
        currency: "KRW".parse().unwrap(),
        epoch: 1,
        created_at: Timestamp(0),
        rules: Rules {
            sale,
            admission: Some(admission),
            hold: HoldPolicy {
                ttl_s: 60,
                seats_max: 1,
            },
        },
    };
    Arc::new(Performance::new(new).unwrap())
}

#[tokio::test]
async fn what_the_journal_does_not_take_is_not_told_and_the_line_heals() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("box.db"));
    let (clock, metrics) = (Arc::new(Clock::default()), Arc::new(Metrics::default()));
    let store = Store::open(&url, Arc::clone(&clock), Arc::clone(&metrics), drop).unwrap();
    let (store, live) = (Arc::new(store), Arc::new(Live::default()));
    let (calls, mut called) = mpsc::channel(16);
    let room = Room::memory(Arc::clone(&store), clock, Arc::clone(&live), metrics, calls);
    let performance = performance();
    room.open(&performance).await.unwrap();

    let (first, new) = room.join(&performance, fan(1)).await.unwrap().unwrap();
    assert_eq!((first.number, first.stage, new), (1, Stage::Called, true));
    assert_eq!(
        called.recv().await,
        Some(Work::Call(performance.performance_id, 1))
    );
    assert_eq!(
        store
            .called_by(performance.performance_id, 1, 1)
            .await
            .unwrap()
            .len(),
        1
    );

    store
        .execute("ALTER TABLE places RENAME TO away")
        .await
        .unwrap();
    assert!(
        room.join(&performance, fan(2)).await.is_err(),
        "nobody is told what is not remembered"
    );
    assert_eq!(room.status(&performance).queue_counter, 1);
    store
        .execute("ALTER TABLE away RENAME TO places")
        .await
        .unwrap();

    // The number that was not told is given to whoever comes next; nothing is lost, nothing given twice.
    let joined = loop {
        if let Ok(joined) = room.join(&performance, fan(3)).await {
            break joined.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((joined.0.number, joined.0.position, joined.1), (2, 1, true));
    assert_eq!(
        room.place(&performance, fan(1)).map(|place| place.number),
        Some(1)
    );
    assert_eq!(room.place(&performance, fan(2)), None);

    let happened = live.listen(fan(3), None);
    let (number, _, new) = room.enter(&performance, fan(1)).await.unwrap().unwrap();
    assert_eq!((number, new), (1, true));
    room.used(performance.performance_id, 1);
    let mut happened = happened;
    assert!(
        matches!(happened.recv().await, Some(Happening::Place(_))),
        "the next is called and told"
    );
    assert_eq!(
        room.place(&performance, fan(3)).map(|place| place.stage),
        Some(Stage::Called)
    );
}
