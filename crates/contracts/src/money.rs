//! Amounts of money, and how people read them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::value::Currency;

/// An amount of money in the smallest unit of its currency (cents for EUR). Never a float.
///
/// Shown as people write it, with as many digits behind the point as ISO 4217 gives the currency: `12.50 EUR`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    pub amount_minor: i64,
    pub currency: Currency,
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.currency.minor_digits();
        let scale = 10_u64.pow(digits);
        let sign = if self.amount_minor < 0 { "-" } else { "" };
        let minor = self.amount_minor.unsigned_abs();
        write!(f, "{sign}{}", minor / scale)?;
        if digits > 0 {
            write!(f, ".{:0width$}", minor % scale, width = digits as usize)?;
        }
        write!(f, " {}", self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        let check = |amount_minor, currency: &str, expected: &str| {
            let money = Money { amount_minor, currency: currency.parse().expect(currency) };
            assert_eq!(money.to_string(), expected);
        };
        check(2500, "EUR", "25.00 EUR");
        check(5, "EUR", "0.05 EUR");
        check(-1205, "USD", "-12.05 USD");
        check(-5, "USD", "-0.05 USD");
        check(500, "JPY", "500 JPY");
        check(500, "ISK", "500 ISK");
        check(1001, "KWD", "1.001 KWD");
        check(12345, "CLF", "1.2345 CLF");
        check(5, "UYW", "0.0005 UYW");
        check(i64::MIN, "EUR", "-92233720368547758.08 EUR");
    }
}
