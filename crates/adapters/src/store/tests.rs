//! The store's promises, on a file of its own: what is answered is durable, a batch's bad job fails alone, no seat has two
//! owners, and memory follows the rows.

use std::path::Path;
use std::sync::Arc;

use boxoffice_core::booking::{BookCommand, BookingState, Work};
use boxoffice_core::hold::{Hold, HoldCommand, HoldPolicy, HoldStage};
use boxoffice_core::payment::{Method, Outcome, PaymentState, Verdict};
use boxoffice_core::sale::{Sale, Switch};
use boxoffice_core::seating::{Counts, SeatNo, SeatState, SeatingPlan, Wanted};
use boxoffice_core::waiting_room::{Draft, PlaceState, WaitingRoom};
use boxoffice_core::{
    AccountId, BookingId, EventId, HoldId, PerformanceId, Refusal, Timestamp, VenueId,
};
use parking_lot::Mutex;

use super::{Ask, Store, StoreUrl};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::performance::{Catalogue, Event, NewPerformance, Performance, PriceLevel, Rules, Venue};

const FAN: AccountId = AccountId([1; 16]);
const OTHER: AccountId = AccountId([2; 16]);
const TOGETHER: Wanted = Wanted {
    quantity: 2,
    section: None,
    price_level: None,
    together: true,
};

/// A store on a file, with one hall of ten seats.
struct Hall {
    store: Store,
    performance: Arc<Performance>,
    clock: Arc<Clock>,
    begun: Arc<Mutex<Vec<Work>>>,
}

fn open(folder: &Path) -> (Store, Arc<Clock>, Arc<Mutex<Vec<Work>>>) {
    let (clock, begun) = (Arc::new(Clock::default()), Arc::new(Mutex::new(Vec::new())));
    let note = Arc::clone(&begun);
    let url = StoreUrl::Sqlite(folder.join("box.db"));
    let store = Store::open(
        &url,
        Arc::clone(&clock),
        Arc::new(Metrics::default()),
        move |works| note.lock().extend(works),
    )
    .unwrap();
    (store, clock, begun)
}

impl Hall {
    async fn new(folder: &Path, ttl_s: u32) -> Self {
        let (store, clock, begun) = open(folder);
        let catalogue = store.load(clock.now()).await.unwrap();
        let json = SeatingPlan::generate(1, 2, 5).unwrap();
        let venue = Venue {
            venue_id: VenueId([3; 16]),
            name: "Hall".to_owned(),
            plan: Arc::new(SeatingPlan::parse(&json, &[]).unwrap()),
            plan_json: json.into(),
            areas: Vec::new(),
        };
        let event = Event {
            event_id: EventId([4; 16]),
            title: "Show".to_owned(),
            description: None,
            organizer: None,
            created_at: Timestamp(0),
        };
        store.create_venue(&venue).await.unwrap();
        store.create_event(&event).await.unwrap();
        let sale = Sale {
            opens_at: Timestamp(0),
            lobby_opens_at: None,
            closes_at: Timestamp::MAX,
            switch: Switch::ByTime,
        };
        let new = NewPerformance {
            performance_id: PerformanceId([5; 16]),
            event: catalogue.add_event(event),
            venue: catalogue.add_venue(venue),
            starts_at: Timestamp(0),
            price_levels: vec![PriceLevel {
                price_level_id: uuid::Uuid::nil(),
                name: "All".to_owned(),
                amount_minor: 100,
                sections: vec!["A".to_owned()],
            }],
            currency: "KRW".parse().unwrap(),
            epoch: 1,
            created_at: Timestamp(0),
            rules: Rules {
                sale,
                admission: None,
                hold: HoldPolicy {
                    ttl_s,
                    seats_max: 4,
                },
            },
        };
        let performance = Arc::new(Performance::new(new).unwrap());
        store.create_performance(&performance).await.unwrap();
        catalogue.add_performance(Arc::clone(&performance));
        Self {
            store,
            performance,
            clock,
            begun,
        }
    }

    /// Ends this one as a crash would leave it (nothing is written at the end), and opens the file again.
    async fn reopen(self, folder: &Path) -> Self {
        self.store.close();
        let (store, clock, begun) = open(folder);
        let catalogue: Arc<Catalogue> = store.load(clock.now()).await.unwrap();
        let performance = catalogue.performance(PerformanceId([5; 16])).unwrap();
        Self {
            store,
            performance,
            clock,
            begun,
        }
    }

    async fn hold(&self, id: u8, account: AccountId, ask: Ask) -> Result<Hold, Refusal> {
        let command = HoldCommand {
            hold_id: HoldId([id; 16]),
            account_id: account,
            performance_id: self.performance.performance_id,
            quantity: ask.quantity(),
            entry: Ok(None),
            content: [id; 16],
        };
        self.store
            .hold(Arc::clone(&self.performance), command, ask)
            .await
            .unwrap()
            .map(|(hold, _)| hold)
    }

    async fn book(&self, booking: u8, hold: u8) -> Result<bool, Refusal> {
        let command = BookCommand {
            booking_id: BookingId([booking; 16]),
            hold_id: HoldId([hold; 16]),
            account_id: FAN,
            method: Method::Sandbox(Outcome::Ok),
            content: [booking; 16],
        };
        self.store
            .accept(command)
            .await
            .unwrap()
            .map(|(_, new)| new)
    }

    fn counts(&self) -> (u32, u32, u32) {
        let Counts { free, held, sold } = self.performance.picture().counts();
        (free, held, sold)
    }
}

fn seats(numbers: &[u32]) -> Ask {
    Ask::Seats(numbers.iter().copied().map(SeatNo).collect())
}

#[tokio::test]
async fn what_was_sold_is_sold_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let hall = Hall::new(folder.path(), 600).await;
    hall.hold(1, FAN, seats(&[0, 1])).await.unwrap();
    hall.hold(2, FAN, seats(&[2])).await.unwrap();
    assert_eq!(hall.book(9, 1).await, Ok(true));
    assert_eq!(
        *hall.begun.lock(),
        [Work::Pay(BookingId([9; 16]))],
        "handed on once committed"
    );
    let settled = hall
        .store
        .settle(vec![(
            BookingId([9; 16]),
            Verdict::Captured { amount_minor: 200 },
        )])
        .await
        .unwrap();
    assert_eq!(
        (settled[0].state.clone(), settled[0].tickets.len()),
        (BookingState::Confirmed, 2)
    );
    assert_eq!(hall.counts(), (7, 1, 2));

    let hall = hall.reopen(folder.path()).await;
    assert_eq!(hall.counts(), (7, 1, 2));
    assert_eq!(hall.store.live_holds(hall.performance.performance_id), 1);
    let found = hall
        .store
        .find_booking(BookingId([9; 16]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found, *settled[0]);
    let (ticket, _) = hall
        .store
        .find_ticket(found.tickets[1])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ticket.seat, SeatNo(1));
    assert_eq!(
        hall.hold(3, OTHER, seats(&[1, 3])).await,
        Err(Refusal::SeatTaken(vec![SeatNo(1)]))
    );
}

#[tokio::test]
async fn a_cancelled_booking_gives_its_seats_and_its_money_back_once() {
    let folder = tempfile::tempdir().unwrap();
    let hall = Hall::new(folder.path(), 600).await;
    let id = BookingId([9; 16]);
    hall.hold(1, FAN, seats(&[0, 1])).await.unwrap();
    hall.book(9, 1).await.unwrap();
    let charged = hall
        .store
        .sandbox_charge(vec![(id, 200, Outcome::Ok)])
        .await
        .unwrap();
    assert_eq!(charged.len(), 1);
    hall.store
        .settle(vec![(id, Verdict::Captured { amount_minor: 200 })])
        .await
        .unwrap();
    assert_eq!(
        hall.store.cancel(OTHER, id).await.unwrap(),
        Err(Refusal::NotFound)
    );
    for _ in 0..2 {
        assert_eq!(
            hall.store.cancel(FAN, id).await.unwrap().unwrap().state,
            BookingState::Cancelled
        );
        assert_eq!(hall.counts(), (10, 0, 0));
        let refunded = hall.store.sandbox_refund(id).await.unwrap();
        assert_eq!(refunded, 200);
        hall.store.refunded(id, refunded).await.unwrap();
    }
    let found = hall.store.find_booking(id).await.unwrap().unwrap();
    assert_eq!(
        (found.payment, found.captured_minor, found.refunded_minor),
        (PaymentState::Refunded, 200, 200)
    );
    assert_eq!(
        hall.begun
            .lock()
            .iter()
            .filter(|work| **work == Work::Refund(id))
            .count(),
        1
    );
    hall.hold(2, OTHER, seats(&[0, 1])).await.unwrap();
}

#[tokio::test]
async fn many_at_once_after_the_best_seats_never_share_one() {
    let folder = tempfile::tempdir().unwrap();
    let hall = Arc::new(Hall::new(folder.path(), 600).await);
    let mut asking = tokio::task::JoinSet::new();
    for id in 10..22 {
        let hall = Arc::clone(&hall);
        asking.spawn(async move {
            hall.hold(id, AccountId([id; 16]), Ask::Best(TOGETHER))
                .await
        });
    }
    let (mut taken, mut refused) = (std::collections::BTreeSet::new(), 0);
    while let Some(result) = asking.join_next().await {
        match result.unwrap() {
            Ok(hold) => hold
                .seats
                .into_iter()
                .for_each(|seat| assert!(taken.insert(seat), "{seat:?} twice")),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::SoldOut);
                refused += 1;
            }
        }
    }
    // Two rows of five: two pairs each, and one left over in each row.
    assert_eq!((taken.len(), refused), (8, 8));
    assert_eq!(hall.counts(), (2, 8, 0));
}

#[tokio::test]
async fn best_seats_are_chosen_around_those_that_the_same_batch_gave_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let hall = Hall::new(folder.path(), 600).await;
    let best = hall.hold(1, FAN, Ask::Best(TOGETHER)).await.unwrap();
    hall.store
        .release(FAN, best.hold_id)
        .await
        .unwrap()
        .unwrap();
    // A slow job first, so that the two holds wait and meet in one batch.
    let slow = hall.store.sqlite().write(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        Ok(())
    });
    let by_name = hall.hold(2, FAN, Ask::Seats(best.seats.clone()));
    let (_, by_name, other) = tokio::join!(slow, by_name, hall.hold(3, OTHER, Ask::Best(TOGETHER)));
    assert_eq!(by_name.unwrap().seats, best.seats);
    assert_eq!(other.unwrap().seats.len(), 2, "others were free");
}

#[tokio::test]
async fn an_expired_hold_is_swept_and_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let hall = Hall::new(folder.path(), 1).await;
    let hold = hall.hold(1, FAN, seats(&[0, 1])).await.unwrap();
    hall.hold(2, FAN, seats(&[5])).await.unwrap();
    hall.book(9, 2).await.unwrap();
    assert_eq!(
        hall.hold(3, OTHER, seats(&[1])).await,
        Err(Refusal::SeatTaken(vec![SeatNo(1)]))
    );
    while hall.clock.now() < hold.expires_at {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    hall.store.sweep_holds(hall.clock.now()).await.unwrap();
    assert_eq!(hall.counts(), (9, 1, 0), "the one that is being paid stays");
    hall.hold(4, OTHER, seats(&[1, 2])).await.unwrap();
    assert_eq!(hall.counts(), (7, 3, 0));
    // The old hold's end must not free what another has now.
    assert_eq!(
        hall.store.release(FAN, HoldId([1; 16])).await.unwrap(),
        Ok(())
    );
    assert_eq!(hall.performance.picture().state(SeatNo(1)), SeatState::Held);
    let found = hall
        .store
        .find_hold(FAN, HoldId([1; 16]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.stage(hall.clock.now()), HoldStage::Released);
    assert_eq!(
        hall.store.find_hold(OTHER, HoldId([1; 16])).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_job_that_fails_takes_nobody_with_it_and_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let hall = Hall::new(folder.path(), 600).await;
    let (sqlite, performance) = (hall.store.sqlite(), Arc::clone(&hall.performance));
    let bad = sqlite.write(move |tx| {
        tx.pick(&performance, &[SeatNo(7)]);
        tx.change("UPDATE seats SET hold_id = x'00'", [])?;
        Err::<(), _>(Failure::Broken("planted".to_owned()))
    });
    let panics = sqlite
        .write(|_| -> Result<(), Failure> { panic!("planted: this panic is part of the test") });
    let (bad, good, panics, also_good) = tokio::join!(
        bad,
        hall.hold(1, FAN, seats(&[0])),
        panics,
        hall.hold(2, OTHER, seats(&[1]))
    );
    assert!(matches!(bad, Err(Failure::Broken(_))));
    assert!(matches!(panics, Err(Failure::Broken(_))));
    assert!(good.is_ok() && also_good.is_ok());
    assert_eq!(hall.counts(), (8, 2, 0));
}

#[tokio::test]
async fn a_room_is_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let hall = Hall::new(folder.path(), 600).await;
    let policy = boxoffice_core::admission::AdmissionPolicy {
        per_s: 100.0,
        active_max: 2,
        pass_ttl_s: 60,
        claim_within_s: 60,
    };
    let (id, sale) = (
        hall.performance.performance_id,
        hall.performance.rules().sale,
    );
    let mut room = WaitingRoom::default();
    for (fan, leaves) in [(1, false), (2, true), (3, false), (4, false)] {
        let now = hall.clock.now();
        let mut draft = Draft::new(&room, now);
        draft.join(AccountId([fan; 16]), &sale).unwrap();
        if leaves {
            draft.leave(AccountId([fan; 16])).unwrap();
        }
        if fan == 4 {
            draft.enter(AccountId([1; 16]), &sale, &policy).unwrap();
        }
        draft.admit(&sale, &policy);
        let changes = draft.into_changes();
        // A place joined and left in one batch is two statements on one row.
        hall.store.journal(id, 1, changes.clone()).await.unwrap();
        room.apply(&changes);
    }
    let again = hall.store.load_room(id, 1, hall.clock.now()).await.unwrap();
    assert_eq!(
        (again.queue_counter(), again.serving_counter()),
        (room.queue_counter(), room.serving_counter())
    );
    for number in 1..=4 {
        assert_eq!(
            again.place(number).map(|place| place.state),
            room.place(number).map(|place| place.state),
            "{number}"
        );
    }
    assert!(matches!(
        again.place(1).unwrap().state,
        PlaceState::Entered { .. }
    ));
    assert!(
        hall.begun.lock().is_empty(),
        "calls are handed on by the room, once they can be seen"
    );
    assert_eq!(
        hall.store.take_due().await.unwrap(),
        [],
        "what was just begun is not due yet"
    );
}

#[tokio::test]
async fn a_store_that_takes_no_rows_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let (store, ..) = open(folder.path());
    store.ping().await.unwrap();
    store.ping().await.unwrap();
    let full =
        "CREATE TRIGGER full BEFORE INSERT ON settings BEGIN SELECT RAISE(FAIL, 'full'); END";
    store.execute(full).await.unwrap();
    assert!(store.ping().await.is_err(), "a ping has to write");
}
