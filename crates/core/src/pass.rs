//! Passes and signed places: short texts that prove a fan's right to enter, or the number given, without asking a store.
//!
//! Keeps true: a text that we did not sign is never read; a place is never a pass; nothing in a text is secret.
//! Layout before base64url: kind (1 byte), performance (16), epoch (4), number (4), account (16), expiry (8), then
//! HMAC-SHA-256 over all of that (32); numbers are big-endian.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{AccountId, PerformanceId, Timestamp};

/// What a text is good for. The kind is signed too.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The right to enter, until it expires.
    Pass,
    /// A number in the line.
    Place,
}

/// What a pass or place says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Of which performance.
    pub performance_id: PerformanceId,
    /// Of which epoch of its waiting room.
    pub epoch: u32,
    /// The place's number.
    pub number: u32,
    /// Whose it is.
    pub account_id: AccountId,
    /// When a pass runs out; 0 in a place.
    pub expires_at: Timestamp,
}

const BODY: usize = 1 + 16 + 4 + 4 + 16 + 8;
const MAC: usize = 32;
/// Length of every pass and place, in characters.
pub const TEXT_LEN: usize = (BODY + MAC) * 4 / 3;

/// Signs and checks with one secret key.
#[derive(Clone)]
pub struct Signer {
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(secret)")
    }
}

impl Signer {
    /// A signer with this secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self {
            mac: Hmac::new_from_slice(secret).expect("HMAC takes keys of every length"),
        }
    }

    /// The text for these claims.
    #[must_use]
    pub fn sign(&self, kind: Kind, claims: &Claims) -> String {
        let mut bytes = [0; BODY + MAC];
        bytes[0] = byte(kind);
        bytes[1..17].copy_from_slice(&claims.performance_id.0);
        bytes[17..21].copy_from_slice(&claims.epoch.to_be_bytes());
        bytes[21..25].copy_from_slice(&claims.number.to_be_bytes());
        bytes[25..41].copy_from_slice(&claims.account_id.0);
        bytes[41..49].copy_from_slice(&claims.expires_at.0.to_be_bytes());
        let mac = self
            .mac
            .clone()
            .chain_update(&bytes[..BODY])
            .finalize()
            .into_bytes();
        bytes[BODY..].copy_from_slice(&mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The claims of a text of this kind that we signed; whether it has run out is for the caller to judge.
    #[must_use]
    pub fn verify(&self, kind: Kind, text: &str) -> Option<Claims> {
        let mut bytes = [0; BODY + MAC];
        if URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()? != bytes.len() {
            return None;
        }
        self.mac
            .clone()
            .chain_update(&bytes[..BODY])
            .verify_slice(&bytes[BODY..])
            .ok()?;
        let four = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let sixteen = |at: usize| -> Option<[u8; 16]> { bytes[at..at + 16].try_into().ok() };
        let expires_at = Timestamp(i64::from_be_bytes(bytes[41..49].try_into().ok()?));
        (bytes[0] == byte(kind)).then_some(Claims {
            performance_id: PerformanceId(sixteen(1)?),
            epoch: four(17),
            number: four(21),
            account_id: AccountId(sixteen(25)?),
            expires_at,
        })
    }
}

fn byte(kind: Kind) -> u8 {
    match kind {
        Kind::Pass => b'E',
        Kind::Place => b'L',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLAIMS: Claims = Claims {
        performance_id: PerformanceId([1; 16]),
        epoch: 2,
        number: 3,
        account_id: AccountId([4; 16]),
        expires_at: Timestamp(5),
    };

    #[test]
    fn a_place_is_not_a_pass_and_another_key_signs_nothing_for_us() {
        let signer = Signer::new(b"one");
        let pass = signer.sign(Kind::Pass, &CLAIMS);
        assert_eq!(signer.verify(Kind::Pass, &pass), Some(CLAIMS));
        assert_eq!(signer.verify(Kind::Place, &pass), None);
        assert_eq!(Signer::new(b"two").verify(Kind::Pass, &pass), None);
        assert_eq!(
            signer.verify(Kind::Pass, &signer.sign(Kind::Place, &CLAIMS)),
            None
        );
        assert!(pass.len() <= TEXT_LEN + 1);
    }

    proptest! {
        #[test]
        fn whatever_text_comes_is_read_or_refused(text in "\\PC{0,200}") {
            prop_assert_eq!(Signer::new(b"one").verify(Kind::Pass, &text), None);
        }

        #[test]
        fn one_changed_bit_makes_a_pass_worthless(at in 0_usize..BODY + MAC, bit in 0_u8..8) {
            let signer = Signer::new(b"one");
            let mut bytes = URL_SAFE_NO_PAD.decode(signer.sign(Kind::Pass, &CLAIMS)).unwrap();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(signer.verify(Kind::Pass, &URL_SAFE_NO_PAD.encode(bytes)), None);
        }
    }
}
