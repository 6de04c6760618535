//! Reads back, through the public API alone, what the verdict compares with what clients were told.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use uuid::Uuid;

use crate::accounts::for_each_limited;
use crate::client::{Client, Credentials, Ended, Session};
use crate::http::Request;
use crate::ledger::{Header, Told};
use crate::report::say;
use crate::stage;
use crate::stats::Step;
use crate::verdict::{BookingSeen, Check, Evidence, Findings, TicketSeen, judge};
use crate::wire::{BookingAnswer, BookingState, Page, StatsAnswer, seat_key};

/// Every accepted booking is final after this at the latest.
const FINAL_WITHIN: Duration = Duration::from_secs(90);
/// Statistics may lag behind bookings by this.
const STATS_WITHIN: Duration = Duration::from_secs(5);
/// Calls at a time.
const CONCURRENCY: usize = 16;

type Bookings = Rc<RefCell<HashMap<Uuid, BookingSeen>>>;

/// Asks for everything and judges it. `accounts` are those of the ledger, in its order.
///
/// # Errors
/// The API does not answer what the verdict needs.
pub(crate) async fn audit(
    client: &Rc<Client>,
    operator: &Session,
    header: &Header,
    told: &[Told],
    accounts: Vec<Credentials>,
) -> Result<(Findings, Vec<Credentials>), Ended> {
    say(format_args!(
        "reading back the bookings of {} accounts",
        accounts.len()
    ));
    wait_until_final(client, operator, told).await?;
    let bookings = Bookings::default();
    let back: Rc<RefCell<Vec<Credentials>>> = Rc::default();
    let (shared_client, shared_bookings, shared_back) =
        (Rc::clone(client), Rc::clone(&bookings), Rc::clone(&back));
    let since_unix_ms = header.started_unix_ms;
    let work = move |credentials: Credentials| {
        let (client, bookings, back) = (
            Rc::clone(&shared_client),
            Rc::clone(&shared_bookings),
            Rc::clone(&shared_back),
        );
        async move {
            let session = Session::new(credentials);
            let result = read_account(&client, &session, since_unix_ms, &bookings).await;
            back.borrow_mut().push(session.into_credentials());
            result
        }
    };
    for_each_limited(accounts, CONCURRENCY, work).await?;
    let bookings = bookings.take();
    let performances = read_performances(client, operator, header, told, &bookings).await?;
    let evidence = Evidence {
        told,
        bookings: &bookings,
        performances: &performances,
    };
    Ok((judge(&evidence), back.take()))
}

/// Waits until the operator sees no booking of this run that is not final.
async fn wait_until_final(client: &Client, operator: &Session, told: &[Told]) -> Result<(), Ended> {
    let asked: std::collections::HashSet<Uuid> = told.iter().map(|flow| flow.booking_id).collect();
    let started = Instant::now();
    loop {
        let mut pending = 0;
        let mut cursor = None;
        loop {
            let page = read_pending(client, operator, cursor.as_deref()).await?;
            pending += page
                .items
                .iter()
                .filter(|item| asked.contains(&item.booking_id))
                .count();
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        if pending == 0 {
            return Ok(());
        }
        if started.elapsed() > FINAL_WITHIN {
            client.found(Check::Final, || {
                format!(
                    "{pending} bookings are pending after {} s",
                    FINAL_WITHIN.as_secs()
                )
            });
            return Ok(());
        }
        say(format_args!("{pending} bookings are not final yet"));
        sleep(Duration::from_secs(1)).await;
    }
}

#[derive(serde::Deserialize)]
struct PendingItem {
    booking_id: Uuid,
}

async fn read_pending(
    client: &Client,
    operator: &Session,
    cursor: Option<&str>,
) -> Result<Page<PendingItem>, Ended> {
    let path = with_cursor("/api/v1/admin/bookings?state=pending&limit=200", cursor);
    client
        .ask(Step::Audit, Some(operator), &Request::get(&path, &[]))
        .await
}

fn with_cursor(path: &str, cursor: Option<&str>) -> String {
    cursor.map_or_else(
        || path.to_owned(),
        |cursor| format!("{path}&cursor={}", percent_encoded(cursor)),
    )
}

/// A cursor is opaque: whatever it has, it must survive in a query.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

async fn read_account(
    client: &Client,
    session: &Session,
    since_unix_ms: u64,
    bookings: &Bookings,
) -> Result<(), Ended> {
    let mut cursor: Option<String> = None;
    loop {
        let path = with_cursor("/api/v1/bookings?limit=200", cursor.as_deref());
        let answer = client
            .call(
                Step::Audit,
                Instant::now(),
                Some(session),
                &Request::get(&path, &[]),
            )
            .await?;
        let page: Page<BookingAnswer<'_>> = client.read(Step::Audit, &answer)?;
        for booking in &page.items {
            // Ids are made by clients and carry their time: older ones belong to earlier runs.
            if made_unix_ms(booking.booking_id) < since_unix_ms {
                continue;
            }
            let seen = booking_seen(booking);
            if bookings
                .borrow_mut()
                .insert(booking.booking_id, seen)
                .is_some()
            {
                client.found(Check::Unasked, || {
                    format!("booking {} is listed twice", booking.booking_id)
                });
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn booking_seen(booking: &BookingAnswer<'_>) -> BookingSeen {
    let amount = |money: Option<crate::wire::Money>| money.map_or(0, |money| money.amount_minor);
    let (captured, refunded) = booking
        .payment
        .as_ref()
        .map_or((None, None), |payment| (payment.captured, payment.refunded));
    BookingSeen {
        state: booking.state,
        total_minor: booking.total.map(|money| money.amount_minor),
        captured_minor: amount(captured),
        refunded_minor: amount(refunded),
        tickets: booking
            .tickets
            .iter()
            .map(|ticket| TicketSeen {
                ticket_id: Box::from(&*ticket.ticket_id),
                key: seat_key(ticket.seat_guid.as_deref(), ticket.area.as_deref()),
                price_minor: ticket.price.amount_minor,
                is_valid: ticket.state == "valid",
            })
            .collect(),
    }
}

/// The time in a UUIDv7, Unix milliseconds.
pub(crate) fn made_unix_ms(id: Uuid) -> u64 {
    u64::try_from(id.as_u128() >> 80).expect("48 bits fit")
}

/// The operator's figures, asked again for a moment while they lag behind the bookings just read.
async fn read_performances(
    client: &Client,
    operator: &Session,
    header: &Header,
    told: &[Told],
    bookings: &HashMap<Uuid, BookingSeen>,
) -> Result<Vec<(StatsAnswer, u64)>, Ended> {
    let mut sold = vec![0_u64; header.performances.len()];
    for flow in told {
        if let Some(seen) = bookings
            .get(&flow.booking_id)
            .filter(|seen| seen.state == BookingState::Confirmed)
            && let Some(sold) = sold.get_mut(flow.performance as usize)
        {
            *sold += seen.tickets.iter().filter(|ticket| ticket.is_valid).count() as u64;
        }
    }
    let started = Instant::now();
    let mut performances = Vec::with_capacity(sold.len());
    for (performance, sold) in header.performances.iter().zip(sold) {
        loop {
            let stats =
                stage::stats(client, operator, &performance.performance_id, Step::Audit).await?;
            let sum = stats.seats_free + stats.seats_held + stats.seats_sold;
            let is_settled = stats.seats_sold == sold && sum == performance.seats_total;
            if is_settled || started.elapsed() > STATS_WITHIN {
                performances.push((stats, performance.seats_total));
                break;
            }
            sleep(Duration::from_millis(250)).await;
        }
    }
    Ok(performances)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_it_was_made() {
        let before = crate::client::unix_ms() - 1;
        let made = made_unix_ms(Uuid::now_v7());
        assert!((before..before + 10_000).contains(&made), "{before} {made}");
    }

    #[test]
    fn cursors_survive_in_a_query() {
        assert_eq!(
            with_cursor("/x?limit=2", Some("a+/=b")),
            "/x?limit=2&cursor=a%2B%2F%3Db"
        );
        assert_eq!(with_cursor("/x?limit=2", None), "/x?limit=2");
    }
}
