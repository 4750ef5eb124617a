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

/// How money moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum PostingKind {
    Authorized,
    Captured,
    Voided,
    Refunded,
}

/// A movement of money of one payment, in two entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    pub kind: PostingKind,
    /// Counts the postings of one kind of a payment from 1, so that a second refund is no repeat of the first.
    pub number: i32,
    pub amount: Money,
}

/// A posting to write, of one order's payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPosting {
    pub order_id: OrderId,
    pub posting: Posting,
}

/// One line of a posting: an account gains or, when negative, loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub account: Account,
    pub amount: Money,
}

impl Posting {
    /// Its entries, which sum to zero.
    pub fn entries(&self) -> [Entry; 2] {
        let (from, to) = match self.kind {
            PostingKind::Authorized => (Account::Customer, Account::AuthorizedHolds),
            PostingKind::Captured => (Account::AuthorizedHolds, Account::CapturedFunds),
            PostingKind::Voided => (Account::AuthorizedHolds, Account::Customer),
            PostingKind::Refunded => (Account::Refunds, Account::Customer),
        };
        let amount = &self.amount;
        let loses = Money { amount_minor: -amount.amount_minor, currency: amount.currency.clone() };
        [Entry { account: from, amount: loses }, Entry { account: to, amount: amount.clone() }]
    }
}
