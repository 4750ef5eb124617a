//! The five services in memory: each holds what its tables hold, and calls the shipped functions as its shell does.
//!
//! Everything here is one transaction: it takes an event or a command, changes the tables, and gives back what is to
//! be announced and done after the commit.

mod analytics;
mod inventory;
mod notification;
mod order;
mod payment;

use std::rc::Rc;

use chrono::{DateTime, Utc};
use contracts::{Envelope, Event, NotificationKind, OrderId};
use system::Service;
use uuid::Uuid;

pub(crate) use self::analytics::Analytics;
pub(crate) use self::inventory::Inventory;
pub(crate) use self::notification::Mails;
pub(crate) use self::order::Orders;
pub(crate) use self::payment::Payments;
use crate::invariants::{Checked, Violation};
use crate::plan::Act;
use crate::system::System;

/// The tables of the services that hear events from a queue.
#[derive(Clone, Default)]
pub(crate) struct Tables {
    pub(crate) orders: Orders,
    pub(crate) payments: Payments,
    pub(crate) inventory: Inventory,
    pub(crate) mails: Mails,
}

/// What follows from a transaction, and is committed with it.
#[derive(Default)]
pub(crate) struct Effects {
    /// To announce: an event, and the version of the aggregate that says it.
    pub(crate) outgoing: Vec<(Event, i64)>,
    /// To do with the outside.
    pub(crate) jobs: Vec<Task>,
}

/// A call to the outside.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    /// To the card processor, for an order.
    Call(OrderId, ::payment::processor::Request),
    /// To the mail server: the notification of this id.
    Mail(OrderId, NotificationKind, Uuid),
}

impl Tables {
    /// One service takes in one event.
    pub(crate) fn hear(
        &mut self,
        system: &System,
        hearer: Service,
        message: &Rc<Envelope>,
        fresh_id: Uuid,
    ) -> Checked<Effects> {
        match hearer {
            Service::Order => self.orders.hear(system, message),
            Service::Payment => self.payments.hear(system, &message.event, fresh_id),
            Service::Inventory => self.inventory.hear(system, &message.event),
            Service::Notification => self.mails.hear(system, &message.event, fresh_id),
            Service::Analytics => Ok(Effects::default()),
        }
    }

    /// A service does what a person asks for, or refuses.
    pub(crate) fn carry_out(&mut self, act: &Act, now: DateTime<Utc>) -> Option<Effects> {
        match act {
            Act::List(sku, price) => Some(self.inventory.list(sku, price.clone())),
            Act::Restock(sku, quantity) => Some(self.inventory.restock(sku, *quantity)),
            Act::Place(order_id, command) => self.orders.place(*order_id, command.clone(), now),
            Act::Cancel(order_id) => self.orders.cancel(*order_id),
        }
    }
}

/// A fact that a domain calls impossible is a violation of its own.
fn invalid_transition<T: ToString + ?Sized>(reason: &T) -> Violation {
    Violation::new("no fact is impossible", reason.to_string())
}
