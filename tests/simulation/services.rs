//! The services in memory: each holds what its tables hold, opens and saves from there, and runs the shipped fold.
//!
//! Everything here is one transaction: it takes an event or a command, changes the tables, and gives back what is to
//! be published and done after the commit.

mod analytics;
mod inventory;
mod notification;
mod order;
mod payment;

use chrono::{DateTime, Utc};
use contracts::{Envelope, OrderId};
use messaging::{Delivery, Effects};
use system::Service;

pub(crate) use self::analytics::Analytics;
pub(crate) use self::inventory::Inventory;
pub(crate) use self::notification::Mails;
pub(crate) use self::order::{DEADLINE, LATEST_DEADLINE, Orders};
pub(crate) use self::payment::Payments;
use crate::invariants::{Checked, Violation};
use crate::plan::Act;
use crate::system::System;

/// The tables of the services that consume events from a queue.
#[derive(Clone, Default)]
pub(crate) struct Tables {
    pub(crate) orders: Orders,
    pub(crate) payments: Payments,
    pub(crate) inventory: Inventory,
    pub(crate) mails: Mails,
}

impl Tables {
    /// One service consumes one event.
    pub(crate) fn consume(
        &mut self,
        system: &System,
        service: Service,
        message: &Envelope,
        now: DateTime<Utc>,
        withdrawn: Option<OrderId>,
    ) -> Checked<Effects> {
        let delivery = delivery(message);
        match service {
            Service::Order => self.orders.consume(system, delivery, now),
            Service::Payment => self.payments.consume(system, &delivery, withdrawn),
            Service::Inventory => self.inventory.consume(system, delivery),
            Service::Notification => self.mails.consume(system, &delivery),
            Service::Analytics => Ok(Effects::default()),
        }
    }

    /// A service does what a person asks for, or refuses.
    pub(crate) fn carry_out(&mut self, act: &Act, now: DateTime<Utc>) -> Option<Effects> {
        match act {
            Act::List(sku, price) => Some(self.inventory.list(sku, price.clone())),
            Act::Restock(sku, quantity) => Some(self.inventory.restock(sku, *quantity)),
            Act::Adjust(sku, delta) => self.inventory.adjust(sku, *delta),
            Act::Delist(sku) => Some(self.inventory.delist(sku)),
            Act::Place(order_id, command) => self.orders.place(*order_id, command.clone(), now),
            Act::Cancel(order_id) => self.orders.cancel(*order_id, now),
        }
    }
}

fn delivery(message: &Envelope) -> Delivery {
    Delivery::new(message.clone(), "simulation")
}

/// An invalid transition is a violation of its own.
fn invalid<T: ToString + ?Sized>(reason: &T) -> Violation {
    Violation::new("no transition is invalid", reason.to_string())
}
