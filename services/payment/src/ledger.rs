//! The double-entry ledger: whose the money is, as entries that are only added and sum to zero.
//!
//! Four accounts. An entry is signed: what the account gains.
//!
//! | posting | when the processor | customer | authorized_holds | captured_funds | refunds |
//! |---|---|---|---|---|---|
//! | authorized | holds the money | -amount | +amount | | |
//! | captured | took it | | -amount | +amount | |
//! | voided | lifted its hold | +amount | -amount | | |
//! | refunded | gave it back | +amount | | | -amount |
//!
//! So `authorized_holds` is what is held now, `captured_funds` what was ever taken, `refunds` what of that was
//! given back (negative), and `customer` what the customer is short of. A declined payment and a failed capture
//! move nothing. The database refuses a posting that does not sum to zero per currency, a posting made twice,
//! and every update or delete.

use contracts::{Money, OrderId};
use strum::IntoStaticStr;

/// Where money can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Account {
    Customer,
    AuthorizedHolds,
    CapturedFunds,
    /// Given back after it was taken: never positive.
    Refunds,
}

/// A movement of money, in two entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Posting {
    Authorized,
    Captured,
    Voided,
    Refunded,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPosting {
    pub order_id: OrderId,
    pub posting: Posting,
    pub amount: Money,
}

/// One line of a posting: an account gains or, when negative, loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub account: Account,
    pub amount: Money,
}

impl Posting {
    /// The posting of this amount as entries, which sum to zero.
    pub fn entries(self, amount: &Money) -> [Entry; 2] {
        let (from, to) = match self {
            Self::Authorized => (Account::Customer, Account::AuthorizedHolds),
            Self::Captured => (Account::AuthorizedHolds, Account::CapturedFunds),
            Self::Voided => (Account::AuthorizedHolds, Account::Customer),
            Self::Refunded => (Account::Refunds, Account::Customer),
        };
        let loses = Money { amount_minor: -amount.amount_minor, currency: amount.currency.clone() };
        [Entry { account: from, amount: loses }, Entry { account: to, amount: amount.clone() }]
    }
}
