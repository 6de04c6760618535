//! The accept loop: HTTP/1.1 on hyper, with what `axum::serve` lacks: a time limit for request heads, a bound on
//! connections, and an orderly end.
//!
//! Keeps true: one client, however slow, silent or gone, costs one connection of the bound and never the loop; an idle
//! connection is small; ending takes no longer than [`DRAIN`].

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::future::RouteFuture;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tower::Service as _;

use crate::config::HttpConfig;

/// A request head that has not arrived by then closes its connection; so does an idle connection.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what is under way may go on after the end was asked for.
pub const DRAIN: Duration = Duration::from_secs(10);
/// How long, and for how many bytes, a connection is read on after our last answer: one that is closed with unread
/// bytes is reset, and the client may never see why its body was refused.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Connections that the kernel keeps for us until we accept them.
const BACKLOG: i32 = 4_096;
/// Bytes of a request head beyond which no more is read (431), and of an answer before it is written.
const BUFFER_MAX: usize = 32 * 1024;
/// A peer that takes nothing for so long is gone, whatever it says.
const PEER_TIMEOUT: Duration = Duration::from_secs(60);
/// First and longest pause after a failed accept, such as when all files are open.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Who sent a request; every request that came over a socket has it as an extension.
#[derive(Copy, Clone, Debug)]
pub struct Peer(pub SocketAddr);

/// Opens the address for [`serve`]. Must be called within the runtime.
///
/// # Errors
/// Why it cannot be opened, as one sentence that names it.
pub fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    open(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("{address} is taken by another program, perhaps another boxoffice; stop that one or set http.listen to another port"),
        io::ErrorKind::PermissionDenied => format!("{address} may not be opened by this user; ports below 1024 need a privilege, set http.listen to a higher one"),
        io::ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine; set http.listen to one that is, or to 0.0.0.0 for all"),
        // The standard library's list is open; the system's own words are the best there is.
        _ => format!("failed to listen on {address}: {error}"),
    })
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections of the last run to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit these: no system call for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PEER_TIMEOUT))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(PEER_TIMEOUT))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Answers requests until `shutdown` is true (or its sender gone) and what was under way has ended.
///
/// At most `config.connections_max` connections are open at once; more wait in the kernel's backlog. Then: no new
/// connections, idle ones are closed, requests and streams under way go on for at most [`DRAIN`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &HttpConfig,
    shutdown: watch::Receiver<bool>,
) {
    serve_within(
        listener,
        router,
        config.connections_max,
        shutdown,
        (HEAD_TIMEOUT, DRAIN),
    )
    .await;
}

/// As [`serve`], with time limits for heads and for the end of one's own.
pub(crate) async fn serve_within(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    mut shutdown: watch::Receiver<bool>,
    (head_timeout, drain): (Duration, Duration),
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(BUFFER_MAX);
    let http = Arc::new(http);
    let connections_max = u32::try_from(connections_max.clamp(1, 1_000_000)).unwrap_or(u32::MAX);
    let places = Arc::new(Semaphore::new(connections_max as usize));
    let mut pause = PAUSE_MIN;
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            _ = shutdown.wait_for(|end| *end) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_the_peer(&error) => continue,
            Err(error) => {
                tracing::error!(%error, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "failed to accept a connection");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
        };
        pause = PAUSE_MIN;
        let door = Door {
            router: router.clone(),
            peer,
        };
        let connection = connection(Arc::clone(&http), stream, door, shutdown.clone(), drain);
        tokio::spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    // Each connection bounds its own end by `drain`; all places free again means that all have ended.
    if timeout(drain * 2, places.acquire_many(connections_max))
        .await
        .is_err()
    {
        tracing::warn!("connections were still open at the end");
    }
}

/// The one that knocked was gone before we opened: nothing of ours is wrong.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

async fn connection(
    http: Arc<http1::Builder>,
    stream: TcpStream,
    door: Door,
    mut shutdown: watch::Receiver<bool>,
    drain: Duration,
) {
    let mut connection = http.serve_connection(TokioIo::new(stream), door);
    drop(http);
    let ended = {
        let mut ended = pin!(poll_fn(|context| connection.poll_without_shutdown(context)));
        tokio::select! {
            biased;
            ended = &mut ended => Some(ended),
            _ = shutdown.wait_for(|end| *end) => None,
        }
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            timeout(
                drain,
                poll_fn(|context| connection.poll_without_shutdown(context)),
            )
            .await
        }
    };
    // Who was too slow, or is gone, is owed nothing; whose head was wrong is to get the answer that says so.
    let was_answered =
        ended.is_ok_and(|ended| ended.is_ok() || ended.is_err_and(|error| error.is_parse()));
    if was_answered {
        let stream = connection.into_parts().io.into_inner();
        tokio::select! {
            biased;
            () = linger(stream) => (),
            _ = shutdown.wait_for(|end| *end) => (),
        }
    }
}

async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut unread = stream.take(LINGER_BYTES_MAX);
    let discard = async {
        // On the heap: on the stack it would be part of every connection's task.
        let mut bytes = vec![0; 16 * 1024];
        while unread.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    };
    let _ = timeout(LINGER, discard).await;
}

/// Leads the requests of one connection to the router.
struct Door {
    router: Router,
    peer: SocketAddr,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Door {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(self.peer));
        self.router.clone().call(request)
    }
}

#[cfg(test)]
mod tests;
