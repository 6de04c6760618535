//! The right to attend: one ticket per seat, with a secret code of its own.

use crate::seating::SeatNo;
use crate::{BookingId, PerformanceId, TicketId};

/// What a ticket's QR shows: 128 bits of chance, so that no ticket can be guessed from another.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct TicketCode(pub [u8; 16]);

impl std::fmt::Debug for TicketCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketCode(secret)")
    }
}

impl std::fmt::Display for TicketCode {
    /// 26 letters and digits (base 32 without I, L, O, U): dense in a QR and readable aloud.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let number = u128::from_be_bytes(self.0);
        for digit in (0..26).rev() {
            let index = usize::try_from((number >> (5 * digit)) & 31).expect("below 32");
            write!(f, "{}", char::from(ALPHABET[index]))?;
        }
        Ok(())
    }
}

/// A ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Names it; not secret.
    pub ticket_id: TicketId,
    /// The booking that made it; the ticket is valid while that is confirmed.
    pub booking_id: BookingId,
    /// Of which performance.
    pub performance_id: PerformanceId,
    /// For which seat.
    pub seat: SeatNo,
    /// What lets its bearer in.
    pub code: TicketCode,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_26_unambiguous_characters() {
        assert_eq!(
            TicketCode([0xff; 16]).to_string(),
            "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
        );
        assert_eq!(TicketCode([0; 16]).to_string(), "0".repeat(26));
        assert_eq!(format!("{:?}", TicketCode([1; 16])), "TicketCode(secret)");
    }
}
