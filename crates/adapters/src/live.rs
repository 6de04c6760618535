//! Who is listening right now: fans with an open stream, and clients that wait for a booking to become final.
//!
//! May be lost at any time: a stream that is opened again reads from the store what it missed.

use std::collections::HashMap;
use std::sync::Arc;

use boxoffice_core::booking::Booking;
use boxoffice_core::notice::Reason;
use boxoffice_core::{AccountId, BookingId, PerformanceId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// Something happened to a fan.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The fan's place in this performance changed.
    Place(PerformanceId),
    /// A booking of the fan became final, or was cancelled.
    Booking(Arc<Booking>),
    /// A notice.
    Notice(PerformanceId, Reason, Option<BookingId>, Timestamp),
}

/// Happenings that a listener may leave unread; more, and the listener is cut off (it reads the store when it comes back).
const UNREAD_MAX: usize = 64;

/// A fan's open stream.
#[derive(Debug)]
struct Listener {
    /// The one performance that it is about; none: all of them.
    about: Option<PerformanceId>,
    sender: mpsc::Sender<Happening>,
}

/// Listeners and waiters of this process.
#[derive(Debug, Default)]
pub struct Live {
    listeners: Mutex<HashMap<AccountId, Vec<Listener>>>,
    waiters: Mutex<HashMap<BookingId, Vec<oneshot::Sender<Arc<Booking>>>>>,
}

impl Live {
    /// Listens for one fan, until the receiver is dropped: to what is about this performance, or to everything.
    pub fn listen(
        &self,
        account: AccountId,
        about: Option<PerformanceId>,
    ) -> mpsc::Receiver<Happening> {
        let (sender, receiver) = mpsc::channel(UNREAD_MAX);
        let mut listeners = self.listeners.lock();
        let of_fan = listeners.entry(account).or_default();
        of_fan.retain(|other| !other.sender.is_closed());
        of_fan.push(Listener { about, sender });
        receiver
    }

    /// Whether the fan has a stream open here that tells of this performance.
    pub fn is_listening(&self, account: AccountId, performance: PerformanceId) -> bool {
        let tells = |listener: &Listener| {
            listener.about.is_none_or(|about| about == performance) && !listener.sender.is_closed()
        };
        self.listeners
            .lock()
            .get(&account)
            .is_some_and(|of_fan| of_fan.iter().any(tells))
    }

    /// Tells a fan's streams; one that reads too slowly is cut off.
    pub fn tell(&self, account: AccountId, happening: &Happening) {
        let mut listeners = self.listeners.lock();
        let Some(of_fan) = listeners.get_mut(&account) else {
            return;
        };
        let performance = match happening {
            Happening::Place(performance) | Happening::Notice(performance, ..) => *performance,
            Happening::Booking(booking) => booking.performance_id,
        };
        of_fan.retain(|listener| match listener.about {
            Some(about) if about != performance => !listener.sender.is_closed(),
            Some(_) | None => listener.sender.try_send(happening.clone()).is_ok(),
        });
        if of_fan.is_empty() {
            listeners.remove(&account);
        }
    }

    /// Forgets listeners that are gone; now and then.
    pub fn sweep(&self) {
        self.listeners.lock().retain(|_, of_fan| {
            of_fan.retain(|listener| !listener.sender.is_closed());
            !of_fan.is_empty()
        });
        self.waiters.lock().retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
    }

    /// Waits for a booking to become final. To be asked before the booking is accepted, so that nothing is missed.
    pub fn wait_for(&self, booking: BookingId) -> oneshot::Receiver<Arc<Booking>> {
        let (sender, receiver) = oneshot::channel();
        self.waiters.lock().entry(booking).or_default().push(sender);
        receiver
    }

    /// A booking became final, or was cancelled: waiters are answered, streams told.
    pub fn booking(&self, booking: &Arc<Booking>) {
        let waiters = self.waiters.lock().remove(&booking.booking_id);
        for waiter in waiters.into_iter().flatten() {
            let _ = waiter.send(Arc::clone(booking));
        }
        self.tell(booking.account_id, &Happening::Booking(Arc::clone(booking)));
    }
}
