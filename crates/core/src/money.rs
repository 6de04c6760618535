//! Money: whole minor units and a currency. No floats, no bare amounts.

use std::fmt;
use std::str::FromStr;

/// An ISO 4217 code: three capital letters.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// The text is no currency code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a currency is three capital letters, such as KRW (ISO 4217)")]
pub struct NotACurrency;

impl Currency {
    /// The code's letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII letters are taken in")
    }
}

impl FromStr for Currency {
    type Err = NotACurrency;
    fn from_str(text: &str) -> Result<Self, NotACurrency> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| NotACurrency)?;
        if letters.iter().all(u8::is_ascii_uppercase) {
            Ok(Self(letters))
        } else {
            Err(NotACurrency)
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The dearest price that is taken in, in minor units: with 100 seats in a hold no sum comes near an overflow.
pub const AMOUNT_MINOR_MAX: i64 = 1_000_000_000_000;

/// An amount in whole minor units of a currency: won have none smaller, cents are 100 to the euro.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    /// Whole minor units, 0 to [`AMOUNT_MINOR_MAX`] for a price.
    pub amount_minor: i64,
    /// Its currency.
    pub currency: Currency,
}
