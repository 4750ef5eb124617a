//! The values that events are made of. Each parses, from JSON too, into something that cannot be wrong.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A value that breaks its own rule; the message says which rule and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

impl InvalidValue {
    /// `text` is not one of the words that are known.
    pub fn unknown<'a>(what: &str, text: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<_> = known.into_iter().collect();
        Self(format!("{:?} is not {what}: {}", text.chars().take(80).collect::<String>(), known.join(", ")))
    }
}

/// A text that obeys a rule: parsed from a string, shown as that string.
macro_rules! parsed_text {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) {
                    Ok(Self(text))
                } else {
                    let shown: String = text.chars().take(80).collect();
                    Err(InvalidValue(format!(concat!("{:?} is not ", $rule), shown)))
                }
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
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
    "a currency: three letters A-Z (ISO 4217)",
    |text| text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase())
);

parsed_text!(
    /// What the shop knows a customer by: 1 to 64 printable ASCII characters without spaces.
    CustomerId,
    "a customer id: 1 to 64 printable ASCII characters without spaces",
    |text| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
);

parsed_text!(
    /// A mail address: one `@` with something on both sides, no spaces or control characters, at most 254
    /// characters (RFC 5321, section 4.5.3.1). Whether it exists only a mail server can tell.
    Email,
    "a mail address such as ada@example.com",
    |text| text.len() <= 254
        && text.is_ascii()
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"<>(),;:\\\"[]".contains(&b))
        && matches!(text.split_once('@'), Some((local, host)) if !local.is_empty() && local.len() <= 64
            && !host.is_empty() && !host.contains('@') && !host.starts_with('.') && !host.ends_with('.')
            && !host.contains("..") && !local.starts_with('.') && !local.ends_with('.') && !local.contains(".."))
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

/// An amount of money in the smallest unit of its currency (cents for EUR). Never a float.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// The amount in minor units.
    pub amount_minor: i64,
    /// Its currency.
    pub currency: Currency,
}

/// How many pieces of a SKU: 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Quantity(i32);

impl Quantity {
    /// The number itself, 1 to 1000.
    #[must_use]
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
    /// The customer's id.
    pub id: CustomerId,
    /// The customer's mail address.
    pub email: Email,
}

/// One line of an order, at the price it was placed at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OrderLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// Price of one piece.
    pub unit_price: Money,
}

/// One line of a reservation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StockLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// A line that could not be reserved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shortage {
    /// What.
    pub sku: Sku,
    /// How many were asked for.
    pub requested: Quantity,
    /// How many there were, 0 or more.
    pub available: i64,
}

/// A closed list of words: parsed from and shown as its word.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every one, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word that stands in JSON and in the database.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(word: &str) -> Result<Self, InvalidValue> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(InvalidValue::unknown($what, word, [$($word),+])),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Why an order was cancelled.
    CancelReason, "a reason to cancel" {
        /// Not every line could be reserved.
        OutOfStock = "out_of_stock",
        /// The card processor said no.
        PaymentDeclined = "payment_declined",
        /// The deadline passed with an answer missing.
        TimedOut = "timed_out",
        /// The customer asked for it.
        CustomerRequest = "customer_request",
        /// The money could not be captured after the order was confirmed.
        PaymentFailed = "payment_failed",
    }
}

words! {
    /// How to pay: the methods of the simulated card processor.
    PaymentMethod, "a payment method" {
        /// Approves.
        CardVisa = "pm_card_visa",
        /// Declines.
        CardDeclined = "pm_card_declined",
        /// Declines for lack of funds.
        InsufficientFunds = "pm_insufficient_funds",
        /// Approves, and then fails to capture.
        CaptureFails = "pm_capture_fails",
        /// Does not answer the first call, which has no effect.
        TimeoutOnce = "pm_timeout_once",
        /// The first call takes effect and is not answered.
        ChargedThenTimeout = "pm_charged_then_timeout",
        /// Does not answer for 45 s, then approves.
        Down = "pm_down",
    }
}

words! {
    /// What a mail is about: one mail per order and kind.
    NotificationKind, "a kind of notification" {
        /// The order is confirmed.
        Confirmed = "confirmed",
        /// The order is cancelled.
        Cancelled = "cancelled",
        /// The money was given back.
        Refunded = "refunded",
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
        check::<Currency>(&["EUR"], &["", "eur", "EURO", "E1R"]);
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
                "<a@b>",
                "ä@x",
            ],
        );
        check::<PaymentMethod>(&["pm_card_visa", "pm_down"], &["", "pm_card", "PM_DOWN"]);
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
    fn a_refusal_names_the_rule() {
        let error = serde_json::from_str::<Sku>("\"bad sku\"").expect_err("a SKU has no spaces");
        assert!(error.to_string().contains("1 to 64 characters of A-Z"), "{error}");
    }
}
