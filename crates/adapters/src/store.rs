//! The store remembers: everything that was ever acknowledged, and nothing that was not decided by the core.
//!
//! Each method is one command; the store batches commands that arrive together into one transaction and answers when it is
//! durable. All the SQL there is lives below here; each statement is a named constant beside its function.

use std::sync::Arc;

use boxoffice_core::booking::Work;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::metrics::Metrics;

mod account;
mod booking;
mod catalogue;
mod hold;
mod kept;
mod notice;
mod outbox;
mod place;
mod row;
mod sandbox;
mod sqlite;
#[cfg(test)]
mod tests;

pub use account::{
    Account, AccountChange, DEVICES_MAX, Device, DeviceAddress, DevicePut, NewAccount, OperatorPut,
    Rotation, Session,
};
pub use hold::Ask;
pub use notice::{DeadLetter, Notice, NoticeCounts, Resent, Told};
pub use place::Called;

/// The store, by what keeps it.
#[derive(Debug)]
pub enum Store {
    /// One file, in this process.
    Sqlite(sqlite::Sqlite),
}

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite://PATH`, relative to the working directory or absolute.
    Sqlite(std::path::PathBuf),
}

impl std::str::FromStr for StoreUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("sqlite", _)) => {
                Err("names no file; write sqlite://data/boxoffice.db".to_owned())
            }
            Some(("mysql", _)) => {
                Err("MySQL is not built in yet; use sqlite://data/boxoffice.db".to_owned())
            }
            Some(_) | None => Err("is no store; write sqlite://data/boxoffice.db".to_owned()),
        }
    }
}

const PING: &str = "INSERT INTO settings (name, value) VALUES ('last ping', ?1) \
     ON CONFLICT (name) DO UPDATE SET value = excluded.value";

impl Store {
    /// Opens the store for a server, which alone may have it, and brings its schema up to date. `begun` is handed the work
    /// of each commit, on the store's own thread: it must not block.
    ///
    /// # Errors
    /// [`Failure::Broken`] with what cannot be opened and why.
    pub fn open(
        url: &StoreUrl,
        clock: Arc<Clock>,
        metrics: Arc<Metrics>,
        begun: impl Fn(Vec<Work>) + Send + 'static,
    ) -> Result<Self, Failure> {
        match url {
            StoreUrl::Sqlite(path) => {
                sqlite::Sqlite::open(path, sqlite::Use::Serve, clock, metrics, begun)
                    .map(Self::Sqlite)
            }
        }
    }

    /// Opens the store for a command that does one thing with it, beside a server or not: only what no server keeps in
    /// memory may be changed (accounts, the schema).
    ///
    /// # Errors
    /// [`Failure::Broken`] with what cannot be opened and why.
    pub fn open_beside(url: &StoreUrl) -> Result<Self, Failure> {
        match url {
            StoreUrl::Sqlite(path) => sqlite::Sqlite::open(
                path,
                sqlite::Use::Beside,
                Arc::default(),
                Arc::default(),
                drop,
            )
            .map(Self::Sqlite),
        }
    }

    /// Writes what is queued and closes. Nothing may be asked afterwards.
    pub fn close(self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close(),
        }
    }

    /// Whether the store can remember right now: it is made to, for a statement that changes no row needs no disk.
    ///
    /// # Errors
    /// The failure that a client would meet.
    pub async fn ping(&self) -> Result<(), Failure> {
        self.sqlite()
            .write(|tx| {
                tx.change(PING, rusqlite::params![tx.now.0.to_string()])
                    .map(|_| ())
            })
            .await
    }

    /// Runs one statement; for tests that plant a fault.
    #[cfg(test)]
    pub(crate) async fn execute(&self, sql: &'static str) -> Result<(), Failure> {
        let run = move |tx: &sqlite::Tx<'_>| tx.change(sql, []).map(|_| ());
        self.sqlite().write(run).await
    }

    fn sqlite(&self) -> &sqlite::Sqlite {
        match self {
            Self::Sqlite(sqlite) => sqlite,
        }
    }
}
