//! The values that events are made of. Each parses, from JSON too, into something that cannot be wrong.

use std::{fmt, str::FromStr};

use email_address::{EmailAddress, Options};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};
use uuid::Uuid;

use crate::money::Money;

/// A value that breaks its own rule; the message says which rule and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

impl InvalidValue {
    /// The text is none of the known words.
    pub fn unknown<'a>(what: &str, text: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        Self(format!("{:?} is not {what}: {known}", shown(text)))
    }

    #[doc(hidden)]
    pub fn unknown_event(name: &str) -> Self {
        Self(format!("{:?} is not an event", shown(name)))
    }
}

/// As much of a text as an error shows.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A text that obeys a rule: parsed from a string, shown as that string.
macro_rules! parsed_text {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) {
                    return Ok(Self(text));
                }
                Err(InvalidValue(format!("{:?} is not {}", shown(&text), $rule)))
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                Self::try_from(text.to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

parsed_text!(
    /// A stock keeping unit: 1 to 64 characters of `A-Z`, `0-9` and `-`.
    Sku,
    "a SKU: 1 to 64 characters of A-Z, 0-9 and -",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-')
);

parsed_text!(
    /// A currency by its three letters (ISO 4217).
    Currency,
    "a currency: three letters A-Z that ISO 4217 knows",
    |text| iso_currency::Currency::from_code(text).is_some()
);

impl Currency {
    /// How many digits of an amount in minor units stand behind the point.
    pub fn minor_digits(&self) -> u32 {
        let known = iso_currency::Currency::from_code(&self.0);
        known.and_then(|currency| currency.exponent()).unwrap_or_default().into()
    }
}

parsed_text!(
    /// What the shop knows a customer by: 1 to 64 printable ASCII characters without spaces.
    CustomerId,
    "a customer id: 1 to 64 printable ASCII characters without spaces",
    |text| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
);

parsed_text!(
    /// A mail address in ASCII without quotes, at most 254 characters (RFC 5321, section 4.5.3.1). Whether it exists only
    /// a mail server can tell.
    Email,
    "a mail address such as ada@example.com",
    |text| text.len() <= 254
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"')
        && EmailAddress::parse_with_options(text, Options::default().without_domain_literal().without_display_text())
            .is_ok()
);

parsed_text!(
    /// How an order is paid: a token that only payment and the card processor understand.
    PaymentMethod,
    "a payment method: 1 to 64 printable ASCII characters without spaces",
    |text| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
);

/// The id of an order: the aggregate that a saga is about, and the subject of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub Uuid);

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many pieces of a SKU: 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64")]
pub struct Quantity(i32);

impl Quantity {
    pub fn get(self) -> i32 {
        self.0
    }
}

impl TryFrom<i64> for Quantity {
    type Error = InvalidValue;

    fn try_from(count: i64) -> Result<Self, InvalidValue> {
        match i32::try_from(count) {
            Ok(count @ 1..=1000) => Ok(Self(count)),
            _ => Err(InvalidValue(format!("{count} is not a quantity: a whole number from 1 to 1000"))),
        }
    }
}

impl From<Quantity> for i64 {
    fn from(quantity: Quantity) -> i64 {
        quantity.0.into()
    }
}

/// Who ordered, and where the mails go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Customer {
    pub id: CustomerId,
    pub email: Email,
}

/// One line of an order, at the price it was placed at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OrderLine {
    pub sku: Sku,
    pub quantity: Quantity,
    pub unit_price: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StockLine {
    pub sku: Sku,
    pub quantity: Quantity,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shortage {
    pub sku: Sku,
    pub requested: Quantity,
    /// 0 or more.
    pub available: i64,
}

/// Why an order was cancelled. A later release may know more reasons.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum CancelReason {
    OutOfStock,
    PaymentDeclined,
    /// The deadline passed with an answer missing.
    TimedOut,
    CustomerRequest,
    /// The payment could not be captured after the order was confirmed.
    PaymentFailed,
    /// A reason that this build does not know. Only read, never decided.
    #[serde(other)]
    Other,
}

/// What a mail is about: one mail per order and kind. A later release may know more kinds.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum NotificationKind {
    Confirmed,
    Cancelled,
    Refunded,
    /// A kind that this build does not know. Only read, never sent.
    #[serde(other)]
    Other,
}

impl CancelReason {
    /// Every reason that this build may decide.
    pub const KNOWN: &[Self] = all_but_last(Self::VARIANTS);

    /// Reads a stored word, of a later build too.
    pub fn from_stored(word: &str) -> Self {
        word.parse().unwrap_or(Self::Other)
    }
}

impl NotificationKind {
    /// Every kind that this build may send.
    pub const KNOWN: &[Self] = all_but_last(Self::VARIANTS);
}

const fn all_but_last<T>(all: &[T]) -> &[T] {
    match all.split_last() {
        Some((_, others)) => others,
        None => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = InvalidValue> + fmt::Display>(good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(text.parse::<T>().expect(text).to_string(), *text);
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn texts_parse_by_their_rule() {
        check::<Sku>(&["A", "ESPRESSO-1", &"X".repeat(64)], &["", "a", "A B", "Ä", &"X".repeat(65)]);
        check::<Currency>(&["EUR", "JPY"], &["", "eur", "EURO", "E1R", "QQQ"]);
        check::<CustomerId>(&["c-1", "ada@example.com"], &["", "a b", "\n", &"x".repeat(65)]);
        check::<Email>(
            &["ada@example.com", "a+b@c", "o'neil@example.com"],
            &[
                "",
                "ada",
                "@x",
                "a@",
                "a@b@c",
                "a b@c",
                "a@.x",
                "a@x.",
                "a..b@c",
                "a@b\r\nBcc: x@y",
                &format!("a@{}.com", "b".repeat(64)),
                "a@-example.com",
                "a@example-.com",
                "a@{example}.com",
                "<a@b>",
                "ä@x",
            ],
        );
        check::<PaymentMethod>(&["pm_card_visa", "tok/1:x"], &["", "pm card", "pm\u{e9}", &"x".repeat(65)]);
    }

    #[test]
    fn quantities_are_1_to_1000() {
        for (count, valid) in
            [(0, false), (1, true), (1000, true), (1001, false), (-1, false), (i64::MAX, false)]
        {
            assert_eq!(Quantity::try_from(count).is_ok(), valid, "{count}");
        }
    }

    #[test]
    fn an_unknown_word_reads_as_other() {
        assert_eq!(serde_json::from_str::<CancelReason>("\"fraud\"").ok(), Some(CancelReason::Other));
        assert_eq!(CancelReason::from_stored("fraud"), CancelReason::Other);
        assert_eq!(
            serde_json::from_str::<NotificationKind>("\"shipped\"").ok(),
            Some(NotificationKind::Other)
        );
        assert_eq!(serde_json::to_string(&CancelReason::Other).ok().as_deref(), Some("\"other\""));
        assert!(!CancelReason::KNOWN.contains(&CancelReason::Other));
    }

    #[test]
    fn a_word_reads_back_from_json_and_from_text() {
        for reason in CancelReason::VARIANTS {
            assert_eq!(reason.to_string().parse(), Ok(*reason));
            assert_eq!(serde_json::to_value(reason).ok(), Some(reason.to_string().into()));
        }
        for kind in NotificationKind::VARIANTS {
            assert_eq!(kind.to_string().parse(), Ok(*kind));
            assert_eq!(serde_json::to_value(kind).ok(), Some(kind.to_string().into()));
        }
    }

    #[test]
    fn a_customer_with_an_unknown_field_is_read() {
        let customer = r#"{"id": "c-1", "email": "ada@example.com", "language": "en"}"#;
        assert!(serde_json::from_str::<Customer>(customer).is_ok());
    }

    #[test]
    fn a_refusal_names_the_rule() {
        let error = serde_json::from_str::<Sku>("\"bad sku\"").expect_err("a SKU has no spaces");
        assert!(error.to_string().contains("1 to 64 characters of A-Z"), "{error}");
    }
}
