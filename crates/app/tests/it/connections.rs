//! Connections: slow, half-open and malformed ones cost nobody else anything, and an orderly end is an end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Api, Server, shared, skipped, within_s};
use crate::http::{Call, connect, read_answer};
use crate::show::Setup;

/// Reads whatever comes until the server closes; gives up after this long.
fn closed_within(mut socket: TcpStream, longest: Duration) -> bool {
    let end = Instant::now() + longest;
    let mut buffer = [0; 4_096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        socket
            .set_read_timeout(Some(left))
            .expect("a time that is not zero");
        match socket.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => (),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                return false;
            }
            Err(_) => return true,
        }
    }
}

/// The slowest of some quick calls.
#[track_caller]
fn slowest_of_some(api: &Api) -> Duration {
    (0..20)
        .map(|_| {
            let asked = Instant::now();
            assert_eq!(api.send(&Call::new("GET", "/livez")).status, 200);
            api.get("/events?limit=1").expect(200);
            asked.elapsed()
        })
        .max()
        .expect("some calls")
}

#[test]
fn a_connection_without_a_head_is_closed_after_ten_seconds() {
    let api = shared();
    let silent = connect(&api.address).expect("a connection");
    let mut trickle = connect(&api.address).expect("a connection");
    trickle
        .write_all(b"GET /livez HTTP/1.1\r\nHost: example.com\r\n")
        .expect("half a head");
    let started = Instant::now();
    let feeder = trickle.try_clone().expect("a second handle");
    let feeding = std::thread::spawn(move || feed_slowly(feeder));
    let first = std::thread::spawn(move || {
        (
            closed_within(silent, Duration::from_secs(16)),
            started.elapsed(),
        )
    });
    let closed = closed_within(trickle, Duration::from_secs(16));
    let after = started.elapsed();
    assert!(closed, "a head that trickles in is waited for without end");
    assert!(
        (8.0..14.0).contains(&after.as_secs_f64()),
        "closed after {after:?}"
    );
    let (closed, after) = first.join().expect("no panic");
    assert!(closed, "a silent connection stays open");
    assert!(
        (8.0..14.0).contains(&after.as_secs_f64()),
        "closed after {after:?}"
    );
    feeding.join().expect("no panic");
}

/// A byte of a header every half second, until the other side is tired of it.
fn feed_slowly(mut socket: TcpStream) {
    for _ in 0..60 {
        if socket.write_all(b"X").is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn half_open_connections_do_not_slow_others() {
    let api = shared();
    let fan = api.fan();
    let mut open = Vec::new();
    for index in 0..200 {
        let mut socket = connect(&api.address).expect("a connection");
        match index % 3 {
            0 => (),
            1 => socket
                .write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: exam")
                .expect("half a head"),
            _ => {
                let call = fan
                    .call("POST", "/bookings")
                    .header("Content-Type", "application/json");
                let head = call.header("Content-Length", "500").head(&api.address);
                socket
                    .write_all(head.as_bytes())
                    .and_then(|()| socket.write_all(b"{\"b"))
                    .expect("half a body");
            }
        }
        open.push(socket);
    }
    let slowest = slowest_of_some(&api);
    assert!(slowest <= within_s(1), "{slowest:?}");
    drop(open);
    let slowest = slowest_of_some(&api);
    assert!(slowest <= within_s(1), "{slowest:?}");
}

#[test]
fn what_is_no_http_is_answered_or_cut_off() {
    let api = shared();
    let long_line = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200_000));
    let many_headers = format!(
        "GET /livez HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "A: b\r\n".repeat(20_000)
    );
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/bookings HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/v1/bookings HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /api/v1/bookings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        long_line.as_bytes(),
        many_headers.as_bytes(),
    ] {
        let mut socket = connect(&api.address).expect("a connection");
        // It may be cut off in the middle.
        let _cut_off = socket.write_all(bytes);
        let _half_closed = socket.shutdown(std::net::Shutdown::Write);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        if let Ok(answer) = read_answer(socket.try_clone().expect("a second handle"), false) {
            assert!((400..500).contains(&answer.status) || answer.status == 505, "{shown:?} got {answer}");
        }
        assert!(closed_within(socket, Duration::from_secs(14)), "{shown:?} keeps its connection");
    }
    assert_eq!(api.send(&Call::new("GET", "/livez")).status, 200);
}

#[test]
fn ten_megabytes_are_not_taken() {
    let fan = shared().fan();
    let answer = fan
        .call("POST", "/bookings")
        .bytes(vec![b' '; 10_000_000])
        .send(&fan.api.address);
    // The refusal may be lost when the connection is cut while we are still sending.
    if let Ok(answer) = answer {
        answer.any_problem(413);
    }
    fan.get("/accounts/me").expect(200);
}

#[test]
fn a_client_that_hangs_up_in_the_middle_breaks_nothing() {
    let show = Setup::new().make(&shared());
    let (fan, guids) = (show.api.fan(), show.guids());
    for guid in &guids {
        let hold = json!({"hold_id": crate::harness::new_id(), "seats": [guid]});
        let body = hold.to_string();
        let call = fan
            .call("POST", &show.path("/holds"))
            .header("Content-Type", "application/json");
        let head = call
            .header("Content-Length", &body.len().to_string())
            .head(&show.api.address);
        let mut socket = connect(&show.api.address).expect("a connection");
        socket.write_all((head + &body).as_bytes()).expect("sent");
        drop(socket);
    }
    let stats = show.stats();
    let sum: u64 = ["seats_free", "seats_held", "seats_sold"]
        .iter()
        .filter_map(|key| stats[key].as_u64())
        .sum();
    assert_eq!(sum, 20, "{stats}");
    assert!(
        stats["seats_held"].as_u64().is_some_and(|held| held <= 8),
        "{stats}"
    );
    show.api
        .fan()
        .try_hold(
            &show,
            None,
            &json!({"best": {"quantity": 1, "together": true}}),
        )
        .expect(201);
}

#[test]
fn streams_that_are_left_are_not_counted_for_ever() {
    let show = Setup::new().admission(1_000.0, 0, 600, 600).make(&shared());
    let fan = show.api.fan();
    fan.join(&show);
    for _ in 0..100 {
        let stream = fan.stream(&show.path("/waiting-room/stream"));
        stream.find("serving", within_s(2), |_| true);
    }
    let slowest = slowest_of_some(&show.api);
    assert!(slowest <= within_s(1), "{slowest:?}");
}

#[test]
fn an_orderly_end_ends_streams_and_the_process() {
    if skipped("to stop the server") {
        return;
    }
    let mut server = Server::start();
    let show = Setup::new()
        .admission(1_000.0, 0, 600, 600)
        .make(&server.api);
    let fan = show.api.fan();
    fan.join(&show);
    let streams = [
        fan.stream(&show.path("/waiting-room/stream")),
        fan.stream("/accounts/me/stream"),
        fan.stream(&show.path("/availability/stream")),
        show.api.operator().stream(&show.admin_path("/live")),
    ];
    streams[0].find("serving", within_s(1), |_| true);
    let idle = connect(&server.api.address).expect("a connection");
    let status = server.terminate(within_s(10));
    assert!(status.success(), "{status}: {}", server.log());
    for stream in &streams {
        assert!(stream.ends(within_s(1)), "a stream outlived the server");
    }
    assert!(closed_within(idle, within_s(1)));
    server.run();
    assert_eq!(fan.place(&show)["number"], 1);
    let stream = fan.stream(&show.path("/waiting-room/stream"));
    stream.find("place", within_s(1), |place| place["number"] == 1);
}
