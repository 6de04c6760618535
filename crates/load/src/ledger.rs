//! What the clients were told: the one side of the verdict. The other is what the API says afterwards.
//!
//! Kept in memory while a run goes on, and written as JSON lines when `--ledger` names a file, so that
//! `boxoffice-load check` can ask again after a crash.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A seat or spot that a client was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeatTold {
    /// `seat_guid`, or `area:<name>`.
    pub(crate) key: Box<str>,
    /// The price in minor units.
    pub(crate) price_minor: i64,
}

/// The last that a client was told about a booking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BookingTold {
    /// Never asked for.
    #[default]
    NotAsked,
    /// Asked for, no answer: it may or may not exist.
    Asked,
    /// Accepted, its end not seen.
    Accepted,
    /// Seen confirmed.
    Confirmed,
    /// Seen refused.
    Refused,
}

/// One flow as its client saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Index of the performance in the run.
    pub(crate) performance: u32,
    /// Index of the account in the run.
    pub(crate) account: u32,
    /// The number in the line; 0 before one was told.
    pub(crate) number: u64,
    /// When the first join request was sent, microseconds from the start of the run.
    pub(crate) join_sent_us: u64,
    /// When its number was known, microseconds from the start of the run.
    pub(crate) join_answered_us: u64,
    /// The place was there before this flow (left behind by one that failed): its number is older than its join.
    pub(crate) is_old_place: bool,
    /// The hold, once asked for.
    pub(crate) hold_id: Uuid,
    /// The booking, once asked for.
    pub(crate) booking_id: Uuid,
    /// The last state of the booking that was told.
    pub(crate) booking: BookingTold,
    /// The seats of the hold.
    pub(crate) seats: Vec<SeatTold>,
    /// The total of the hold, minor units.
    pub(crate) total_minor: i64,
    /// The tickets that came with the confirmation.
    pub(crate) tickets: Vec<Box<str>>,
}

/// A performance as the run made it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PerformanceTold {
    pub(crate) performance_id: String,
    pub(crate) seats_total: u64,
}

/// A run, as far as `check` needs it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    /// When the run began, Unix milliseconds: bookings with older ids are none of its business.
    pub(crate) started_unix_ms: u64,
    pub(crate) performances: Vec<PerformanceTold>,
    /// The accounts, in the order of their index.
    pub(crate) emails: Vec<String>,
}

/// Writes a ledger.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn save(path: &Path, header: &Header, told: &[Told]) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    serde_json::to_writer(&mut out, header)?;
    for entry in told {
        out.write_all(b"\n")?;
        serde_json::to_writer(&mut out, entry)?;
    }
    out.write_all(b"\n")?;
    out.flush()
}

/// Reads a ledger.
///
/// # Errors
/// The file cannot be read or is none.
pub(crate) fn load(path: &Path) -> std::io::Result<(Header, Vec<Told>)> {
    let mut lines = BufReader::new(File::open(path)?).lines();
    let first = lines.next().ok_or(std::io::ErrorKind::UnexpectedEof)??;
    let header = serde_json::from_str(&first)?;
    let told = lines
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<std::io::Result<_>>()?;
    Ok((header, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_reads_back_as_it_was_written() {
        let path = std::env::temp_dir().join(format!("boxoffice-ledger-{}", std::process::id()));
        let header = Header {
            started_unix_ms: 5,
            performances: vec![PerformanceTold {
                performance_id: "p".into(),
                seats_total: 9,
            }],
            emails: vec!["a@example.com".into()],
        };
        let told = vec![
            Told {
                number: 1,
                booking: BookingTold::Asked,
                ..Told::default()
            },
            Told {
                number: 2,
                hold_id: Uuid::now_v7(),
                seats: vec![SeatTold {
                    key: "A-1".into(),
                    price_minor: 100,
                }],
                tickets: vec!["t".into()],
                booking: BookingTold::Confirmed,
                ..Told::default()
            },
        ];
        save(&path, &header, &told).unwrap();
        let (header_back, told_back) = load(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(header_back.emails, header.emails);
        assert_eq!(told_back, told);
    }
}
