//! The accept loop against real sockets, with short time limits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

const HEAD_MS: u64 = 300;
const DRAIN_MS: u64 = 500;
/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    address: SocketAddr,
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    fn start(connections_max: usize) -> Self {
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route(
                "/unread",
                post(async || (axum::http::StatusCode::PAYLOAD_TOO_LARGE, "too much")),
            )
            .route(
                "/slow",
                get(async || {
                    sleep(Duration::from_millis(200)).await;
                    "at last"
                }),
            )
            .route(
                "/panic",
                get(async || -> &'static str { panic!("planted") }),
            )
            .route(
                "/peer",
                get(async |request: axum::extract::Request| {
                    format!("{:?}", request.extensions().get::<Peer>())
                }),
            )
            .route(
                "/stream",
                get(async || {
                    // One frame, then silence for ever.
                    let frames = stream::unfold(true, async |first| {
                        if !first {
                            std::future::pending::<()>().await;
                        }
                        Some((Ok::<_, Infallible>(Bytes::from_static(b"frame\n")), false))
                    });
                    Body::from_stream(frames)
                }),
            );
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (end, shutdown) = watch::channel(false);
        let limits = (
            Duration::from_millis(HEAD_MS),
            Duration::from_millis(DRAIN_MS),
        );
        let task = tokio::spawn(async move {
            serve_within(listener, router, connections_max, shutdown, limits).await
        });
        Self { address, end, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn open(&self, request: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, path: &str) -> String {
        let mut stream = self
            .open(&format!(
                "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
            ))
            .await;
        all(&mut stream).await
    }

    /// Ends the server; how long it took.
    async fn finish(self) -> Duration {
        let asked = Instant::now();
        self.end.send(true).unwrap();
        timeout(PATIENCE, self.task)
            .await
            .expect("it ends")
            .unwrap();
        asked.elapsed()
    }
}

/// Everything until the server closes; a reset is no orderly close.
async fn all(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text))
        .await
        .expect("it is closed")
        .expect("it is not reset");
    text
}

/// Reads until this was seen.
async fn until(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut text, mut bytes) = (String::new(), [0; 1_024]);
    while !text.contains(wanted) {
        let read = timeout(PATIENCE, stream.read(&mut bytes))
            .await
            .expect("it comes")
            .unwrap();
        assert!(read > 0, "closed after {text:?}");
        text += std::str::from_utf8(&bytes[..read]).unwrap();
    }
    text
}

#[tokio::test]
async fn a_head_that_does_not_come_closes_the_connection() {
    let server = Server::start(16);
    let silent = server.connect().await;
    let half = server.open("GET / HTTP/1.1\r\nHost: he").await;
    let idle = {
        let mut stream = server.open("GET / HTTP/1.1\r\nHost: here\r\n\r\n").await;
        until(&mut stream, "hello").await;
        stream
    };
    for (what, mut stream) in [("silent", silent), ("half", half), ("idle", idle)] {
        let since = Instant::now();
        assert_eq!(all(&mut stream).await, "", "{what}");
        assert!(
            since.elapsed() < Duration::from_millis(HEAD_MS) * 4,
            "{what}: {:?}",
            since.elapsed()
        );
    }
}

#[tokio::test]
async fn a_slow_head_hurts_nobody_else() {
    let server = Server::start(64);
    let mut slow = Vec::new();
    for _ in 0..40 {
        slow.push(server.open("GET / HTTP/1.1\r\nX-Slow: ").await);
    }
    let since = Instant::now();
    assert!(server.ask("/").await.contains("hello"));
    assert!(
        since.elapsed() < Duration::from_millis(HEAD_MS),
        "{:?}",
        since.elapsed()
    );
}

#[tokio::test]
async fn a_stream_outlives_the_head_timeout() {
    let server = Server::start(16);
    let mut stream = server
        .open("GET /stream HTTP/1.1\r\nHost: here\r\n\r\n")
        .await;
    until(&mut stream, "frame").await;
    let mut byte = [0];
    let quiet = timeout(Duration::from_millis(HEAD_MS * 3), stream.read(&mut byte)).await;
    assert!(quiet.is_err(), "the stream was closed: {quiet:?}");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_and_then_get_in() {
    let server = Server::start(2);
    let (mut first, mut second) = (
        server
            .open("GET /stream HTTP/1.1\r\nHost: here\r\n\r\n")
            .await,
        server
            .open("GET /stream HTTP/1.1\r\nHost: here\r\n\r\n")
            .await,
    );
    until(&mut first, "frame").await;
    until(&mut second, "frame").await;
    let mut third = server
        .open("GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        .await;
    let mut byte = [0];
    let waits = timeout(Duration::from_millis(100), third.read(&mut byte)).await;
    assert!(waits.is_err(), "a third was let in: {waits:?}");
    drop(first);
    assert!(all(&mut third).await.contains("hello"));
}

#[tokio::test]
async fn what_is_under_way_is_answered_and_idle_connections_are_closed() {
    let server = Server::start(16);
    let mut idle = server.open("GET / HTTP/1.1\r\nHost: here\r\n\r\n").await;
    until(&mut idle, "hello").await;
    let mut slow = server
        .open("GET /slow HTTP/1.1\r\nHost: here\r\n\r\n")
        .await;
    let mut silent = server.connect().await;
    let address = server.address;
    // All connections are known to the server: it answers in order of arrival, and this one came last.
    assert!(server.ask("/").await.contains("hello"));
    let took = server.finish().await;
    assert!(took < Duration::from_millis(DRAIN_MS), "{took:?}");
    assert!(all(&mut slow).await.contains("at last"));
    assert_eq!(all(&mut idle).await, "");
    assert_eq!(all(&mut silent).await, "");
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn an_open_stream_delays_the_end_no_longer_than_the_bound() {
    let server = Server::start(16);
    let mut stream = server
        .open("GET /stream HTTP/1.1\r\nHost: here\r\n\r\n")
        .await;
    until(&mut stream, "frame").await;
    let took = server.finish().await;
    assert!(
        (DRAIN_MS..DRAIN_MS * 3).contains(&u64::try_from(took.as_millis()).unwrap()),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_panic_ends_one_connection_only() {
    let server = Server::start(2);
    for _ in 0..5 {
        let mut stream = server
            .open("GET /panic HTTP/1.1\r\nHost: here\r\n\r\n")
            .await;
        let mut text = String::new();
        let _ = timeout(PATIENCE, stream.read_to_string(&mut text))
            .await
            .expect("it is closed");
        assert_eq!(text, "");
    }
    assert!(server.ask("/").await.contains("hello"), "no place is lost");
}

#[tokio::test]
async fn a_refused_body_does_not_lose_the_answer() {
    let server = Server::start(16);
    let mut stream = server
        .open("POST /unread HTTP/1.1\r\nHost: here\r\nContent-Length: 10485760\r\n\r\n")
        .await;
    let (mut reader, mut writer) = stream.split();
    let (block, mut text) = (vec![b'x'; 64 * 1024], String::new());
    let write = async {
        for _ in 0..160 {
            if writer.write_all(&block).await.is_err() {
                return false;
            }
        }
        true
    };
    let (written, read) = tokio::join!(write, timeout(PATIENCE, reader.read_to_string(&mut text)));
    read.expect("an answer").expect("no reset");
    assert!(
        written && text.contains("413 ") && text.contains("too much"),
        "{written} {text:?}"
    );
}

#[tokio::test]
async fn garbage_is_refused_and_forgotten() {
    let server = Server::start(2);
    for garbage in [
        "\0\0\0\0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = server.open(garbage).await;
        let mut text = String::new();
        let _ = timeout(PATIENCE, stream.read_to_string(&mut text))
            .await
            .expect("it is closed");
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 400 "),
            "{garbage:?}: {text:?}"
        );
    }
    let huge = format!(
        "GET / HTTP/1.1\r\nX-Huge: {}\r\n\r\n",
        "x".repeat(BUFFER_MAX * 3)
    );
    let mut stream = server.open(&huge).await;
    let mut text = String::new();
    let _ = timeout(PATIENCE, stream.read_to_string(&mut text))
        .await
        .expect("it is closed");
    assert!(text.starts_with("HTTP/1.1 431 "), "{text:?}");
    assert!(server.ask("/").await.contains("hello"));
}

#[tokio::test]
async fn requests_know_their_peer_and_sockets_their_options() {
    let server = Server::start(16);
    assert!(server.ask("/peer").await.contains("Some(Peer(127.0.0.1:"));
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (to, (done, wait)) = (listener.local_addr().unwrap(), oneshot::channel::<()>());
    let client = tokio::spawn(async move {
        let stream = TcpStream::connect(to).await.unwrap();
        let _ = wait.await;
        drop(stream);
    });
    let (accepted, _) = listener.accept().await.unwrap();
    let socket = socket2::SockRef::from(&accepted);
    assert!(accepted.nodelay().unwrap() && socket.keepalive().unwrap());
    #[cfg(target_os = "linux")]
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(PEER_TIMEOUT));
    done.send(()).unwrap();
    client.await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = first.local_addr().unwrap();
    let why = bind(address).unwrap_err();
    assert!(
        why.contains(&address.to_string()) && why.contains("taken"),
        "{why}"
    );
    let why = bind("192.0.2.1:8082".parse().unwrap()).unwrap_err();
    assert!(
        why.contains("192.0.2.1:8082") && why.contains("not an address of this machine"),
        "{why}"
    );
}

#[tokio::test]
async fn many_connections_at_once() {
    let server = Arc::new(Server::start(50));
    let answered = Arc::new(AtomicUsize::new(0));
    let askers: Vec<_> = (0..300)
        .map(|_| {
            let (server, answered) = (Arc::clone(&server), Arc::clone(&answered));
            tokio::spawn(async move {
                if server.ask("/").await.contains("hello") {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for asker in askers {
        asker.await.unwrap();
    }
    assert_eq!(answered.load(Ordering::Relaxed), 300);
}
