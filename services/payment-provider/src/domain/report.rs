//! What was really held, taken and given back.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Authorization, Currency, MerchantReference, Status};

/// Sums in minor units, and counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Held now: neither taken nor given up.
    pub held_minor: i64,
    /// Ever taken, whether given back since or not.
    pub captured_minor: i64,
    pub refunded_minor: i64,
    /// How many authorizations were approved.
    pub authorizations: u64,
    pub captures: u64,
    /// How many of them were refunded, in whole or in part.
    pub refunds: u64,
    pub voids: u64,
}

impl Sums {
    fn add(&mut self, authorization: &Authorization) {
        let amount = authorization.asked.amount_minor.minor();
        self.authorizations += 1;
        match authorization.status {
            Status::Authorized => self.held_minor += amount,
            Status::Voided => self.voids += 1,
            Status::Expired => {}
            Status::Captured | Status::Refunded => {
                self.captures += 1;
                self.captured_minor += amount;
            }
        }
        self.refunds += u64::from(authorization.refunded_minor > 0);
        self.refunded_minor += authorization.refunded_minor;
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    pub merchant_reference: MerchantReference,
    pub currency: Currency,
    #[serde(flatten)]
    pub sums: Sums,
}

/// The sums by merchant reference, and by currency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By merchant reference and currency, in that order.
    pub items: Vec<Item>,
    pub totals: BTreeMap<Currency, Sums>,
}

impl Report {
    pub(super) fn of<'a>(authorizations: impl IntoIterator<Item = &'a Authorization>) -> Self {
        let mut by_reference = BTreeMap::<_, Sums>::new();
        let mut totals = BTreeMap::<_, Sums>::new();
        for authorization in authorizations {
            let asked = &authorization.asked;
            by_reference.entry((&asked.merchant_reference, &asked.currency)).or_default().add(authorization);
            totals.entry(asked.currency.clone()).or_default().add(authorization);
        }
        let item = |((reference, currency), sums): ((&MerchantReference, &Currency), Sums)| Item {
            merchant_reference: reference.clone(),
            currency: currency.clone(),
            sums,
        };
        Self { items: by_reference.into_iter().map(item).collect(), totals }
    }
}
