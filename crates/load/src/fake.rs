//! A FAKE server for the tests of this crate, and nothing else: it keeps a sale in memory, follows the contract as
//! far as the load generator uses it, and makes the mistakes it is told to make.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Mistakes and hardships; 0 is never, n is every nth time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) number_given_twice: u64,
    pub(crate) seat_sold_twice: u64,
    pub(crate) booking_lost: u64,
    pub(crate) ticket_missing: u64,
    /// The answer is lost after the work was done.
    pub(crate) answer_lost: u64,
    /// 503 with `Retry-After`.
    pub(crate) busy: u64,
    pub(crate) retry_after_s: u64,
    /// Fans wait for this many polls before they are called.
    pub(crate) polls: u64,
    /// A fan who waits sees the position grow.
    pub(crate) is_moved_back: bool,
    /// A fan who waits sees the number change.
    pub(crate) is_renumbered: bool,
    /// A fan who was called finds no place.
    pub(crate) turn_lost: u64,
    /// The operator sees one seat too many.
    pub(crate) is_miscounted: bool,
    /// Numbers run backwards.
    pub(crate) order_reversed: bool,
    /// A booking is accepted first and final on the next look.
    pub(crate) is_slow_booking: bool,
    /// Bodies come in chunks.
    pub(crate) is_chunked: bool,
}

#[derive(Default)]
struct Performance {
    seats_total: u64,
    sold_or_held: u64,
    sold: u64,
    next_number: u64,
    serving: u64,
    active_max: u64,
    /// account → number, polls left, entered
    places: HashMap<String, (u64, u64, bool)>,
}

#[derive(Clone)]
struct Hold {
    performance: String,
    seats: Vec<String>,
}

struct Booking {
    account: String,
    hold: Hold,
    is_final: bool,
}

#[derive(Default)]
struct World {
    faults: Faults,
    calls: u64,
    accounts: HashMap<String, String>,
    tokens: HashMap<String, String>,
    performances: HashMap<String, Performance>,
    holds: HashMap<String, Hold>,
    bookings: Vec<(String, Booking)>,
    by_id: HashMap<String, usize>,
    venue_seats: u64,
    logins: u64,
}

/// A running fake; it ends with the process.
pub(crate) struct Fake {
    pub(crate) url: String,
}

impl Fake {
    /// Starts a fake on a port of its own, on a thread of its own.
    pub(crate) fn start(faults: Faults) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || serve(listener, faults));
        Self { url }
    }
}

fn serve(listener: std::net::TcpListener, faults: Faults) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        let world = Arc::new(Mutex::new(World {
            faults,
            ..World::default()
        }));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(connection(stream, Arc::clone(&world)));
        }
    });
}

async fn connection(mut stream: TcpStream, world: Arc<Mutex<World>>) {
    let mut input = vec![0; 65_536];
    let mut filled = 0;
    loop {
        let (head, body, used) = loop {
            let text = std::str::from_utf8(&input[..filled]).unwrap();
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                let length =
                    header(head, "content-length").map_or(0, |value| value.parse().unwrap());
                if rest.len() >= length {
                    break (
                        head.to_owned(),
                        rest[..length].to_owned(),
                        head.len() + 4 + length,
                    );
                }
            }
            match stream.read(&mut input[filled..]).await {
                Ok(0) | Err(_) => return,
                Ok(count) => filled += count,
            }
        };
        input.copy_within(used..filled, 0);
        filled -= used;
        let mut first = head.split(' ');
        let (method, path) = (first.next().unwrap(), first.next().unwrap());
        if path.ends_with("/waiting-room/stream") {
            return listen(stream, world, path.split('/').nth(4).unwrap().to_owned()).await;
        }
        let answer = world.lock().unwrap().answer(method, path, &head, &body);
        let Some(answer) = answer else { return };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn listen(mut stream: TcpStream, world: Arc<Mutex<World>>, performance: String) {
    let _ = stream
        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let mut last = u64::MAX;
    loop {
        let serving = world.lock().unwrap().performances[&performance].serving;
        if serving != last {
            last = serving;
            let event = format!("event: serving\ndata: {{\"serving_counter\":{serving}}}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            if stream.write_all(chunk.as_bytes()).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| {
            line.split_once(": ")
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        })
        .map(|pair| pair.1)
}

type Reply = (u16, Value);

fn problem(status: u16, code: &str) -> Reply {
    (
        status,
        json!({ "type": "about:blank", "status": status, "code": code, "detail": "said by the fake" }),
    )
}

fn money(amount_minor: u64) -> Value {
    json!({ "amount_minor": amount_minor, "currency": "KRW" })
}

impl World {
    fn hits(every: u64, count: u64) -> bool {
        every > 0 && count.is_multiple_of(every)
    }

    /// The whole answer; `None` when it is lost on the way.
    fn answer(&mut self, method: &str, path: &str, head: &str, body: &str) -> Option<String> {
        self.calls += 1;
        let is_fan_call =
            !path.contains("/admin/") && !path.contains("/accounts") && !path.contains("/sessions");
        if is_fan_call && Self::hits(self.faults.busy, self.calls) {
            return Some(self.text(problem(503, "busy")));
        }
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(body).unwrap()
        };
        let account = header(head, "authorization")
            .and_then(|value| self.tokens.get(value.strip_prefix("Bearer ")?).cloned())
            .unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
        let reply = if path.contains("/admin/") {
            self.admin(method, &parts[1..], &body)
        } else {
            self.fan(method, &parts, query, head, &body, &account)
        };
        let is_lost = is_fan_call && Self::hits(self.faults.answer_lost, self.calls);
        if is_lost {
            None
        } else {
            Some(self.text(reply))
        }
    }

    fn text(&self, (status, body): Reply) -> String {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let start = format!(
            "HTTP/1.1 {status} Fake\r\netag: \"1\"\r\nretry-after: {}\r\n",
            self.faults.retry_after_s
        );
        if self.faults.is_chunked && !body.is_empty() {
            let (one, two) = body.split_at(body.len() / 2);
            return format!(
                "{start}transfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
                one.len(),
                two.len()
            );
        }
        format!("{start}content-length: {}\r\n\r\n{body}", body.len())
    }

    fn admin(&mut self, method: &str, parts: &[&str], body: &Value) -> Reply {
        match (method, parts) {
            ("POST", ["venues"]) => {
                let generate = &body["generate"];
                let count = |name: &str| generate[name].as_u64().unwrap();
                self.venue_seats = count("sections") * count("rows") * count("seats_per_row");
                (
                    201,
                    json!({ "venue_id": "v", "seats_total": self.venue_seats, "sections": ["A"] }),
                )
            }
            ("POST", ["events"]) => (201, json!({ "event_id": "e" })),
            ("POST", ["performances"]) => {
                let id = format!("p{}", self.performances.len());
                let active_max = body["admission"]["active_max"].as_u64().unwrap();
                let performance = Performance {
                    seats_total: self.venue_seats,
                    next_number: 1,
                    active_max,
                    ..Performance::default()
                };
                self.performances.insert(id.clone(), performance);
                (201, json!({ "performance_id": id }))
            }
            ("PATCH", ["performances", id]) => {
                let performance = self.performances.get_mut(*id).unwrap();
                performance.active_max = body["admission"]["active_max"].as_u64().unwrap();
                performance.serving = performance.active_max.min(performance.next_number - 1);
                (200, json!({}))
            }
            ("GET", ["performances", id, "stats"]) => {
                let it = &self.performances[*id];
                let held = it.sold_or_held - it.sold;
                let free = it.seats_total - it.sold_or_held + u64::from(self.faults.is_miscounted);
                (
                    200,
                    json!({ "waiting": 0, "called": 0, "active": 0, "seats_free": free, "seats_held": held, "seats_sold": it.sold }),
                )
            }
            ("GET", ["bookings"]) => {
                let pending: Vec<Value> = self
                    .bookings
                    .iter()
                    .filter(|(_, booking)| !booking.is_final)
                    .map(|(id, _)| json!({ "booking_id": id, "age_s": 1 }))
                    .collect();
                for (_, booking) in &mut self.bookings {
                    booking.is_final = true;
                }
                (200, json!({ "items": pending, "next_cursor": null }))
            }
            _ => (200, json!({})),
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one table of all routes reads best whole"
    )]
    fn fan(
        &mut self,
        method: &str,
        parts: &[&str],
        query: &str,
        head: &str,
        body: &Value,
        account: &str,
    ) -> Reply {
        match (method, parts) {
            ("GET", ["openapi.json"]) => {
                let forms = json!({ "application/json": {}, "application/x-dense": {} });
                let get = json!({ "responses": { "200": { "content": forms } } });
                (
                    200,
                    json!({ "paths": { "/p/{id}/availability": { "get": get } } }),
                )
            }
            ("GET", ["performances", _, "seating-plan"])
                if header(head, "if-none-match").is_some() =>
            {
                (304, Value::Null)
            }
            ("GET", ["performances", _, "seating-plan"]) => {
                let seats: Vec<Value> = (0..500)
                    .map(|seat| json!({ "seat_guid": format!("N-{seat}") }))
                    .collect();
                (200, json!({ "zones": [{ "rows": [{ "seats": seats }] }] }))
            }
            ("GET", ["performances", _, "availability"]) => {
                let is_dense = header(head, "accept") == Some("application/x-dense");
                (
                    200,
                    if is_dense {
                        json!("f")
                    } else {
                        json!({ "seats": { "N-1": "free" } })
                    },
                )
            }
            ("POST", ["accounts"]) => {
                let (email, password) = (
                    body["email"].as_str().unwrap(),
                    body["password"].as_str().unwrap(),
                );
                self.accounts.insert(email.to_owned(), password.to_owned());
                (201, json!({ "account_id": email, "email": email }))
            }
            ("POST", ["sessions"]) => {
                let email = body["email"].as_str().unwrap();
                let is_known = self
                    .accounts
                    .get(email)
                    .is_some_and(|password| *password == body["password"]);
                if is_known || email == "operator@example.com" {
                    self.log_in(email)
                } else {
                    problem(401, "bad-credentials")
                }
            }
            ("POST", ["sessions", "refresh"]) => problem(401, "session-ended"),
            _ if account.is_empty()
                && !matches!(
                    parts.last(),
                    Some(&("waiting-room" | "seating-plan" | "availability"))
                )
                && parts.len() != 2 =>
            {
                problem(401, "login-required")
            }
            ("GET", ["performances", id]) => (
                200,
                json!({ "seats_total": self.performances[*id].seats_total }),
            ),
            ("GET", ["performances", id, "waiting-room"]) => {
                let it = &self.performances[*id];
                (
                    200,
                    json!({ "queue_counter": it.next_number - 1, "serving_counter": it.serving }),
                )
            }
            ("POST", ["performances", id, "waiting-room"]) => self.join(id, account),
            (_, ["performances", id, "waiting-room", "place"]) => self.place(method, id, account),
            ("POST", ["performances", _, "passes"])
                if Self::hits(self.faults.turn_lost, self.calls) =>
            {
                problem(404, "no-place")
            }
            ("POST", ["performances", id, "passes"]) => match self
                .performances
                .get_mut(*id)
                .unwrap()
                .places
                .get_mut(account)
            {
                Some((_, 0, entered)) => {
                    *entered = true;
                    (
                        201,
                        json!({ "pass": format!("pass-{account}"), "expires_at": "2099-01-01T00:00:00Z" }),
                    )
                }
                Some(_) => problem(403, "not-your-turn"),
                None => problem(404, "no-place"),
            },
            ("POST", ["performances", id, "holds"]) => {
                let is_inside = header(head, "boxoffice-pass")
                    .is_some_and(|pass| pass == format!("pass-{account}"));
                if is_inside {
                    self.hold(id, body)
                } else {
                    problem(403, "pass-required")
                }
            }
            ("POST", ["bookings"]) => self.book(body, account),
            ("GET", ["bookings"]) => self.list(query, account),
            ("GET", ["bookings", id]) => {
                let index = self.by_id[*id];
                self.bookings[index].1.is_final = true;
                (200, self.booking(index))
            }
            ("DELETE", _) => (204, Value::Null),
            _ => problem(404, "not-found"),
        }
    }

    fn log_in(&mut self, email: &str) -> Reply {
        self.logins += 1;
        let token = format!("token-{}", self.logins);
        self.tokens.insert(token.clone(), email.to_owned());
        (
            201,
            json!({ "access_token": token, "token_type": "Bearer", "expires_in": 900, "refresh_token": format!("again-{token}") }),
        )
    }

    fn join(&mut self, id: &str, account: &str) -> Reply {
        let faults = self.faults;
        let performance = self.performances.get_mut(id).unwrap();
        let is_new = !performance.places.contains_key(account);
        if is_new {
            let count = performance.next_number;
            performance.next_number += 1;
            let mut number = if faults.order_reversed {
                1_000_000 - count
            } else {
                count
            };
            if Self::hits(faults.number_given_twice, count) {
                number -= 1;
            }
            if performance.active_max > 0 && faults.polls == 0 {
                performance.serving = performance.serving.max(count);
            }
            performance
                .places
                .insert(account.to_owned(), (number, faults.polls, false));
        }
        (if is_new { 201 } else { 200 }, self.place_body(id, account))
    }

    fn place(&mut self, method: &str, id: &str, account: &str) -> Reply {
        let performance = self.performances.get_mut(id).unwrap();
        if method == "DELETE" {
            performance.places.remove(account);
            return (204, Value::Null);
        }
        let Some((_, polls, _)) = performance.places.get_mut(account) else {
            return problem(404, "no-place");
        };
        *polls = polls.saturating_sub(1);
        (200, self.place_body(id, account))
    }

    fn place_body(&self, id: &str, account: &str) -> Value {
        let (number, polls, entered) = self.performances[id].places[account];
        let state = if entered {
            "entered"
        } else if polls > 0 {
            "waiting"
        } else {
            "called"
        };
        let position = if self.faults.is_moved_back {
            10 - polls
        } else {
            polls
        };
        let number = if self.faults.is_renumbered {
            number * 10 - polls
        } else {
            number
        };
        json!({ "place": "signed", "number": number, "state": state, "position": position, "ahead": 0, "eta_s": 0, "poll_after_ms": 10 })
    }

    fn hold(&mut self, id: &str, body: &Value) -> Reply {
        let hold_id = body["hold_id"].as_str().unwrap().to_owned();
        let quantity = body["best"]["quantity"].as_u64().unwrap();
        let faults = self.faults;
        let performance = self.performances.get_mut(id).unwrap();
        if !self.holds.contains_key(&hold_id)
            && performance.sold_or_held + quantity > performance.seats_total
        {
            return problem(409, "sold-out");
        }
        let hold = self.holds.entry(hold_id.clone()).or_insert_with(|| {
            let first = performance.sold_or_held;
            performance.sold_or_held += quantity;
            let is_double = Self::hits(faults.seat_sold_twice, first + 1);
            let seat = |index: u64| format!("A-{}", if is_double { index - 1 } else { index });
            Hold {
                performance: id.to_owned(),
                seats: (first..first + quantity).map(seat).collect(),
            }
        });
        let seats: Vec<Value> = hold
            .seats
            .iter()
            .map(|seat| json!({ "seat_guid": seat, "price": money(100) }))
            .collect();
        (
            201,
            json!({ "hold_id": hold_id, "state": "active", "seats": seats, "total": money(100 * quantity) }),
        )
    }

    fn book(&mut self, body: &Value, account: &str) -> Reply {
        let id = body["booking_id"].as_str().unwrap().to_owned();
        let hold = self.holds[body["hold_id"].as_str().unwrap()].clone();
        if let Some(index) = self.by_id.get(&id) {
            return (201, self.booking(*index));
        }
        let performance = self.performances.get_mut(&hold.performance).unwrap();
        performance.sold += hold.seats.len() as u64;
        performance.places.remove(account);
        let is_final = !self.faults.is_slow_booking;
        self.by_id.insert(id.clone(), self.bookings.len());
        self.bookings.push((
            id,
            Booking {
                account: account.to_owned(),
                hold,
                is_final,
            },
        ));
        (
            if is_final { 201 } else { 202 },
            self.booking(self.bookings.len() - 1),
        )
    }

    fn booking(&self, index: usize) -> Value {
        let (id, booking) = &self.bookings[index];
        if !booking.is_final {
            return json!({ "booking_id": id, "state": "pending" });
        }
        let total = 100 * booking.hold.seats.len() as u64;
        let missing = usize::from(Self::hits(self.faults.ticket_missing, index as u64 + 1));
        let tickets: Vec<Value> = booking.hold.seats.iter().skip(missing)
            .map(|seat| json!({ "ticket_id": format!("t-{id}-{seat}"), "seat_guid": seat, "price": money(100), "state": "valid" }))
            .collect();
        json!({ "booking_id": id, "state": "confirmed", "total": money(total), "tickets": tickets,
            "payment": { "state": "captured", "captured": money(total), "refunded": money(0) } })
    }

    /// Two items a page, so that paging is used.
    fn list(&mut self, query: &str, account: &str) -> Reply {
        let from: usize = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("cursor="))
            .map_or(0, |text| text.parse().unwrap());
        let lost = self.faults.booking_lost;
        let mut mine = (from..self.bookings.len()).filter(|index| {
            self.bookings[*index].1.account == account && !Self::hits(lost, *index as u64 + 1)
        });
        let page: Vec<usize> = mine.by_ref().take(2).collect();
        let next = mine.next().map(|index| index.to_string());
        let items: Vec<Value> = page.into_iter().map(|index| self.booking(index)).collect();
        (200, json!({ "items": items, "next_cursor": next }))
    }
}
