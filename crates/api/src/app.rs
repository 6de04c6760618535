//! What every handler has at hand.

use std::sync::Arc;

use boxoffice_adapters::clock::Clock;
use boxoffice_adapters::live::Live;
use boxoffice_adapters::metrics::Metrics;
use boxoffice_adapters::performance::{Catalogue, Performance};
use boxoffice_adapters::room::Room;
use boxoffice_adapters::store::Store;
use boxoffice_core::pass::Signer;
use boxoffice_core::{PerformanceId, Timestamp};

use tokio::sync::{Semaphore, watch};

use crate::auth::Auth;
use crate::config::HttpConfig;
use crate::problem::Problem;
use crate::proof::Proofs;

/// The parts of one process, shared by all handlers.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

/// What an [`App`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Remembers.
    pub store: Arc<Store>,
    /// Decides the order.
    pub room: Arc<Room>,
    /// What is sold.
    pub catalogue: Arc<Catalogue>,
    /// Who is listening.
    pub live: Arc<Live>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<Clock>,
    /// Signs passes and places.
    pub signer: Signer,
    /// Logins.
    pub auth: Auth,
    /// Work that the world does for a number.
    pub proofs: Proofs,
    /// Limits and addresses.
    pub http: HttpConfig,
    /// True once the server is ending.
    pub shutdown: watch::Receiver<bool>,
    /// Live streams that may still be opened.
    pub streams: Arc<Semaphore>,
    /// Frames of the waiting rooms, shared by their listeners.
    pub lines: Frames,
}

/// Shared frames; made empty.
#[derive(Debug, Default)]
pub struct Frames(pub(crate) crate::streams::Shared);

impl std::ops::Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn performance(&self, id: PerformanceId) -> Result<Arc<Performance>, Problem> {
        self.catalogue
            .performance(id)
            .ok_or_else(Problem::not_found)
    }
}
