//! Keep-alive connections for many tasks on one thread.
//!
//! What it keeps true: at most `connections_max` are open, the one used last is used next (few warm ones instead of
//! many cold ones), and a connection on which anything went wrong is closed.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::http::{Connection, Head, Request, Target};

/// An idle connection older than this is not used again, since servers close those that stay silent for 10 s.
const IDLE_MAX: Duration = Duration::from_secs(8);
/// A call without an answer is given up after this.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Connections to one server.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Where they lead.
    pub(crate) target: Target,
    idle: RefCell<Vec<(Connection, Instant)>>,
    slots: Semaphore,
    opened: Cell<u64>,
}

/// A connection with the answer that it holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Answer<'p> {
    pool: &'p Pool,
    connection: Option<Connection>,
    at: Instant,
    _slot: SemaphorePermit<'p>,
}

impl Pool {
    /// A pool without connections.
    pub(crate) fn new(target: Target, connections_max: usize) -> Self {
        Self {
            target,
            idle: RefCell::default(),
            slots: Semaphore::new(connections_max),
            opened: Cell::new(0),
        }
    }

    /// How many connections were opened so far.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.get()
    }

    /// Sends one request and waits for its answer.
    ///
    /// A kept connection that turns out to be closed is replaced once without a word, as every HTTP client does.
    ///
    /// # Errors
    /// The server cannot be reached, closed the connection, took more than 30 s or did not speak HTTP.
    pub(crate) async fn exchange(
        &self,
        authorization: &str,
        request: &Request<'_>,
    ) -> io::Result<Answer<'_>> {
        let slot = self
            .slots
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let mut connection = match self.take_idle() {
            Some(mut connection) => match self
                .try_exchange(&mut connection, authorization, request)
                .await
            {
                Ok(()) => return Ok(self.answer(connection, slot)),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
                Err(_closed) => self.open().await?,
            },
            None => self.open().await?,
        };
        self.try_exchange(&mut connection, authorization, request)
            .await?;
        Ok(self.answer(connection, slot))
    }

    async fn try_exchange(
        &self,
        connection: &mut Connection,
        authorization: &str,
        request: &Request<'_>,
    ) -> io::Result<()> {
        let exchange = connection.exchange(&self.target.host, authorization, request);
        match tokio::time::timeout(ANSWER_MAX, exchange).await {
            Ok(result) => result,
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn open(&self) -> io::Result<Connection> {
        self.opened.set(self.opened.get() + 1);
        match tokio::time::timeout(ANSWER_MAX, Connection::open(&self.target, None)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let (connection, since) = idle.pop()?;
        if since.elapsed() < IDLE_MAX {
            return Some(connection);
        }
        // The last one in is the youngest: all others are older still.
        idle.clear();
        None
    }

    fn answer<'p>(&'p self, connection: Connection, slot: SemaphorePermit<'p>) -> Answer<'p> {
        Answer {
            pool: self,
            connection: Some(connection),
            at: Instant::now(),
            _slot: slot,
        }
    }
}

impl Answer<'_> {
    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("taken only when dropped")
    }

    /// Status and headers.
    pub(crate) fn head(&self) -> &Head {
        self.connection().head()
    }

    /// The status code.
    pub(crate) fn status(&self) -> u16 {
        self.head().status
    }

    /// The body.
    pub(crate) fn body(&self) -> &[u8] {
        self.connection().body()
    }

    /// When the answer had arrived whole.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && connection.is_reusable()
        {
            self.pool.idle.borrow_mut().push((connection, self.at));
        }
    }
}
