//! What was really held, taken and given back.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

use serde::Serialize;

use super::{Authorization, Currency, MerchantReference, NewAuthorization, Status};

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
    fn of(authorization: &Authorization) -> Self {
        let amount = authorization.asked.amount_minor.minor();
        let mut sums = Self {
            authorizations: 1,
            refunds: u64::from(authorization.refunded_minor > 0),
            refunded_minor: authorization.refunded_minor,
            ..Self::default()
        };
        match authorization.status {
            Status::Authorized => sums.held_minor = amount,
            Status::Voided => sums.voids = 1,
            Status::Expired => {}
            Status::Captured | Status::Refunded => {
                sums.captures = 1;
                sums.captured_minor = amount;
            }
        }
        sums
    }

    fn plus(self, other: Self) -> Self {
        Self {
            held_minor: self.held_minor + other.held_minor,
            captured_minor: self.captured_minor + other.captured_minor,
            refunded_minor: self.refunded_minor + other.refunded_minor,
            authorizations: self.authorizations + other.authorizations,
            captures: self.captures + other.captures,
            refunds: self.refunds + other.refunds,
            voids: self.voids + other.voids,
        }
    }

    /// Without what was added before.
    fn minus(self, added: Self) -> Self {
        Self {
            held_minor: self.held_minor - added.held_minor,
            captured_minor: self.captured_minor - added.captured_minor,
            refunded_minor: self.refunded_minor - added.refunded_minor,
            authorizations: self.authorizations - added.authorizations,
            captures: self.captures - added.captures,
            refunds: self.refunds - added.refunds,
            voids: self.voids - added.voids,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    pub merchant_reference: MerchantReference,
    pub currency: Currency,
    #[serde(flatten)]
    pub sums: Sums,
}

/// The sums by merchant reference, a page of them or all, and by currency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By merchant reference and currency, in that order.
    pub items: Vec<Item>,
    pub totals: BTreeMap<Currency, Sums>,
}

/// Where in a report an item stands.
pub type ItemKey = (MerchantReference, Currency);

impl Item {
    pub fn key(&self) -> ItemKey {
        (self.merchant_reference.clone(), self.currency.clone())
    }
}

/// The sums of all authorizations, kept up to date with each change: no report adds up history.
#[derive(Debug, Default)]
pub(super) struct RunningSums {
    by_reference: BTreeMap<MerchantReference, BTreeMap<Currency, Sums>>,
    totals: BTreeMap<Currency, Sums>,
}

impl RunningSums {
    /// Takes in an authorization, in place of what it was `before`.
    pub(super) fn replace(&mut self, before: Option<&Authorization>, now: &Authorization) {
        let (before, after) = (before.map(Sums::of).unwrap_or_default(), Sums::of(now));
        let NewAuthorization { merchant_reference, currency, .. } = &now.asked;
        let of_reference = self.by_reference.entry(merchant_reference.clone()).or_default();
        for by_currency in [of_reference, &mut self.totals] {
            let sums = by_currency.entry(currency.clone()).or_default();
            *sums = sums.plus(after).minus(before);
        }
    }

    /// Up to `rows` items from after a place in the report, of one merchant reference or of all; with the totals of all
    /// pages.
    pub(super) fn report(
        &self,
        reference: Option<&MerchantReference>,
        after: Option<&ItemKey>,
        rows: usize,
    ) -> Report {
        let from = reference.or(after.map(|(reference, _)| reference)).map_or(Unbounded, Included);
        let wanted = |known: &MerchantReference| reference.is_none_or(|wanted| wanted == known);
        let items = self.by_reference.range::<MerchantReference, _>((from, Unbounded));
        let items = items.take_while(|(known, _)| wanted(known)).flat_map(items_of);
        let items = items.filter(|item| after.is_none_or(|after| item.key() > *after)).take(rows).collect();
        let of_reference = |reference| self.by_reference.get(reference).cloned().unwrap_or_default();
        Report { items, totals: reference.map_or_else(|| self.totals.clone(), of_reference) }
    }
}

fn items_of<'a>(
    (reference, by_currency): (&'a MerchantReference, &'a BTreeMap<Currency, Sums>),
) -> impl Iterator<Item = Item> + 'a {
    by_currency.iter().map(|(currency, sums)| Item {
        merchant_reference: reference.clone(),
        currency: currency.clone(),
        sums: *sums,
    })
}
