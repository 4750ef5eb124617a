//! Products: what is for sale, and at which price.

use contracts::{Event, Money, ProductDelisted, ProductListed, Sku, is_visible};

/// The longest name of a product, in characters.
pub const MAX_NAME: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    pub sku: Sku,
    pub name: String,
    /// Price of one piece, above zero.
    pub price: Money,
    /// Whether it is for sale.
    pub is_listed: bool,
    /// The number of changes; also the aggregate version of the event that each published.
    pub version: i64,
}

/// A name and a price that a product may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    name: String,
    price: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOffer {
    #[error(
        "name: must be 1 to {MAX_NAME} characters, one of them visible, with no control characters and no space at either end"
    )]
    Name,
    #[error("price.amount_minor: must be 1 or more")]
    Price,
}

impl Offer {
    pub fn new(name: String, price: Money) -> Result<Self, InvalidOffer> {
        let fits = name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
        if !fits || name.trim() != name || !is_visible(&name) {
            return Err(InvalidOffer::Name);
        }
        if price.amount_minor < 1 {
            return Err(InvalidOffer::Price);
        }
        Ok(Self { name, price })
    }
}

impl Product {
    /// A product that is listed for the first time.
    pub fn new(sku: Sku, Offer { name, price }: Offer) -> Self {
        Self { sku, name, price, is_listed: true, version: 1 }
    }

    /// The version that a client can see; `None` when the product is not listed.
    pub fn listed_version(&self) -> Option<i64> {
        self.is_listed.then_some(self.version)
    }

    /// The product listed anew; nothing when it is listed with the same offer.
    #[must_use]
    pub fn relisted(&self, Offer { name, price }: Offer) -> Option<Self> {
        let changed = !self.is_listed || self.name != name || self.price != price;
        let (sku, version) = (self.sku.clone(), self.version + 1);
        changed.then_some(Self { sku, name, price, is_listed: true, version })
    }

    /// The product taken off the list; nothing when it was before.
    #[must_use]
    pub fn delisted(&self) -> Option<Self> {
        self.is_listed.then(|| Self { is_listed: false, version: self.version + 1, ..self.clone() })
    }

    /// What its last change publishes.
    pub fn event(&self) -> Event {
        let sku = self.sku.clone();
        if !self.is_listed {
            return ProductDelisted { sku }.into();
        }
        ProductListed { sku, name: self.name.clone(), price: self.price.clone() }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(amount_minor: i64) -> Money {
        Money { amount_minor, currency: "EUR".parse().expect("a currency") }
    }

    #[test]
    fn an_offer_has_a_name_and_a_price() {
        let check = |name: &str, amount_minor, expected: Option<InvalidOffer>| {
            assert_eq!(
                Offer::new(name.to_owned(), price(amount_minor)).err(),
                expected,
                "{name:?} {amount_minor}"
            );
        };
        check("Moka pot", 1, None);
        check("Müsli für 2 – ☕", i64::MAX, None);
        check(&"ü".repeat(200), 1, None);
        check(&"ü".repeat(201), 1, Some(InvalidOffer::Name));
        check("", 1, Some(InvalidOffer::Name));
        check(" ", 1, Some(InvalidOffer::Name));
        check("\u{200b}\u{2060}", 1, Some(InvalidOffer::Name));
        check("Moka pot ", 1, Some(InvalidOffer::Name));
        check("Moka\npot", 1, Some(InvalidOffer::Name));
        check("Moka\0pot", 1, Some(InvalidOffer::Name));
        check("Moka pot", 0, Some(InvalidOffer::Price));
        check("Moka pot", -1, Some(InvalidOffer::Price));
    }

    #[test]
    fn only_a_changed_offer_is_listed_anew() {
        let offer = |name: &str, amount| Offer::new(name.to_owned(), price(amount)).expect("an offer");
        let product = Product::new("MUG".parse().expect("a SKU"), offer("Mug", 900));
        assert_eq!(product.relisted(offer("Mug", 900)), None);
        for changed in [offer("Mug, blue", 900), offer("Mug", 950)] {
            assert_eq!(product.relisted(changed).expect("changed").version, 2);
        }
    }

    #[test]
    fn a_delisted_product_is_listed_anew_with_the_next_version() {
        let offer = || Offer::new("Mug".to_owned(), price(900)).expect("an offer");
        let product = Product::new("MUG".parse().expect("a SKU"), offer());
        let delisted = product.delisted().expect("it was listed");
        assert_eq!((delisted.delisted(), delisted.listed_version(), delisted.version), (None, None, 2));
        assert!(matches!(delisted.event(), Event::ProductDelisted(_)));
        let relisted = delisted.relisted(offer()).expect("it was not listed");
        assert_eq!(relisted.listed_version(), Some(3));
        assert!(matches!(relisted.event(), Event::ProductListed(_)));
    }
}
