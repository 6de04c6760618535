//! What JSON bodies are made of: times, money, lists. Wire types live in this crate and convert by hand.

use std::fmt;
use std::marker::PhantomData;

use boxoffice_core::money::AMOUNT_MINOR_MAX;
use boxoffice_core::{Currency, Money, Timestamp};
use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// An instant: RFC 3339, UTC.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime, examples("2026-11-23T12:00:00Z"))]
pub(crate) struct Time(pub(crate) Timestamp);

/// Earliest and latest instants taken in: years 1 to 9998.
const TIME_MIN_S: i64 = -62_135_596_800;
const TIME_MAX_S: i64 = 253_370_764_800;

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = jiff::Timestamp::from_microsecond(
            self.0
                .0
                .clamp(TIME_MIN_S * 1_000_000, TIME_MAX_S * 1_000_000),
        );
        serializer.collect_str(&time.map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong =
            || serde::de::Error::custom("not a time; write RFC 3339, such as 2026-11-23T12:00:00Z");
        // The reader knows more forms than RFC 3339 has: years with a sign, no hyphens, a time zone's name in brackets.
        if text.as_bytes().get(4) != Some(&b'-') || text.contains('[') {
            return Err(wrong());
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        if !(TIME_MIN_S..=TIME_MAX_S).contains(&time.as_second()) {
            return Err(wrong());
        }
        Ok(Self(Timestamp(time.as_microsecond())))
    }
}

/// An amount in whole minor units and its currency (ISO 4217).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoneyBody {
    /// Whole minor units; won have none smaller.
    #[schema(minimum = 0, examples(132000))]
    pub(crate) amount_minor: i64,
    /// Three capital letters.
    #[schema(examples("KRW"))]
    pub(crate) currency: String,
}

impl From<Money> for MoneyBody {
    fn from(money: Money) -> Self {
        Self {
            amount_minor: money.amount_minor,
            currency: money.currency.as_str().to_owned(),
        }
    }
}

impl MoneyBody {
    /// The amount, checked; the text names the field below `field`.
    pub(crate) fn check(&self, field: &str) -> Result<Money, String> {
        let currency: Currency = self
            .currency
            .parse()
            .map_err(|wrong| format!("{field}.currency: {wrong}"))?;
        if !(0..=AMOUNT_MINOR_MAX).contains(&self.amount_minor) {
            return Err(format!(
                "{field}.amount_minor: must be 0 to {AMOUNT_MINOR_MAX}"
            ));
        }
        Ok(Money {
            amount_minor: self.amount_minor,
            currency,
        })
    }
}

/// A part of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// In the list's order.
    pub(crate) items: Vec<T>,
    /// Ask with `?cursor=` for what follows; null at the end.
    pub(crate) next_cursor: Option<String>,
}

/// A value from an object and from nothing else: by itself a type would also take a list of its fields in their order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(OfObject(PhantomData))
    }
}

/// An object within a body.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

/// An object, or null for none.
pub(crate) fn object_or_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer).map(|found| found.map(|Object(value)| value))
}

/// A list of objects.
pub(crate) fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let found: Vec<Object<T>> = Vec::deserialize(deserializer)?;
    Ok(found.into_iter().map(|Object(value)| value).collect())
}

/// As [`given`], of an object.
pub(crate) fn given_object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    object(deserializer).map(Some)
}

/// As [`given`], of an object or null.
pub(crate) fn given_object_or_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    object_or_null(deserializer).map(Some)
}

/// Tells "not given" from "given as null" in a change.
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{from_value, json, to_value};

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_read_back_as_it_was_written(us in TIME_MIN_S * 1_000_000..=TIME_MAX_S * 1_000_000) {
            let written = to_value(Time(Timestamp(us))).unwrap();
            prop_assert!(written.as_str().unwrap().ends_with('Z'));
            prop_assert_eq!(from_value::<Time>(written).unwrap().0, Timestamp(us));
        }

        #[test]
        fn any_time_is_written(us in any::<i64>()) {
            prop_assert!(to_value(Time(Timestamp(us))).unwrap().is_string());
        }

        #[test]
        fn what_is_read_as_a_time_is_of_its_form(
            text in "[-+]?[0-9]{2,6}-?[01][0-9]-?[0-3][0-9][T ][0-9:]{4,8}(\\.[0-9]{1,12})?(Z|[-+][0-9:]{2,6})(\\[[A-Z]{3}\\])?|\\PC{0,30}",
        ) {
            if from_value::<Time>(json!(text)).is_ok() {
                prop_assert!(text.is_char_boundary(4) && text[..4].bytes().all(|byte| byte.is_ascii_digit()), "{}", text);
                prop_assert!(text[4..].starts_with('-') && !text.contains('['), "{}", text);
            }
        }
    }
}
