//! The values of a call, which cannot be wrong once they are read.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

/// The merchant's own name for what is paid: 1 to 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct MerchantReference(String);

impl TryFrom<String> for MerchantReference {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        match text.chars().count() {
            1..=64 => Ok(Self(text)),
            _ => Err("a merchant reference has 1 to 64 characters"),
        }
    }
}

/// An amount of money in the currency's minor unit: 1 to 10^12, so that no report overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64")]
pub struct Amount(i64);

impl Amount {
    pub fn minor(self) -> i64 {
        self.0
    }

    /// Any other amount.
    pub(crate) fn another(self) -> Self {
        Self(if self.0 > 1 { self.0 - 1 } else { 2 })
    }
}

impl TryFrom<i64> for Amount {
    type Error = &'static str;

    fn try_from(minor: i64) -> Result<Self, &'static str> {
        match minor {
            1..=1_000_000_000_000 => Ok(Self(minor)),
            _ => Err("an amount is 1 to 1000000000000 minor units"),
        }
    }
}

/// A currency code of ISO 4217's form: three capital letters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Currency(String);

impl TryFrom<String> for Currency {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            Ok(Self(text))
        } else {
            Err("a currency is three capital letters, e.g. EUR")
        }
    }
}

/// The simulated cards, each of which does one thing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(from = "String", into = "&'static str")]
#[strum(serialize_all = "snake_case", prefix = "pm_", const_into_str)]
pub enum PaymentMethod {
    /// Approves everything.
    CardVisa,
    CardDeclined,
    InsufficientFunds,
    /// Approves, but the capture is declined.
    CaptureFails,
    /// The first call to authorize gets no answer, and nothing is done.
    TimeoutOnce,
    /// The first call to authorize takes effect, and gets no answer.
    ChargedThenTimeout,
    /// No call to authorize gets an answer for a while; then it approves.
    Down,
    /// Any other token: declined.
    Unknown,
}

impl PaymentMethod {
    pub const ALL: &[Self] = Self::VARIANTS;
}

impl From<String> for PaymentMethod {
    fn from(token: String) -> Self {
        token.strip_prefix("pm_").and_then(|method| method.parse().ok()).unwrap_or(Self::Unknown)
    }
}
