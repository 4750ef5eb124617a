//! The notification service in memory: the mails about each order.

use std::collections::BTreeMap;

use contracts::{NotificationKind, OrderId};
use messaging::{CausationContext, Delivery, Effects, Reaction};
use notification::domain::{Input, OrderNotifications, Status};
use notification::reactions::{OrderInput, Reactions, fold_with};
use uuid::Uuid;

use super::invalid;
use crate::invariants::Checked;
use crate::system::System;

/// The tables of the notification service.
#[derive(Clone, Default)]
pub(crate) struct Mails {
    /// What was written about each order.
    pub(crate) rows: BTreeMap<OrderId, OrderNotifications>,
}

impl Mails {
    /// What the service makes of an event.
    pub(super) fn consume(&mut self, system: &System, delivery: &Delivery) -> Checked<Effects> {
        let input = Reactions::input(delivery).ok_or_else(|| invalid("an event of no order"))?;
        let order_id = input.order_id;
        self.rows.entry(order_id).or_insert_with(|| OrderNotifications::placeholder(order_id));
        self.apply(system, input)
    }

    /// The kind of a mail that is still to be sent: asked at the last moment, so that a cancel consumed meanwhile counts.
    pub(crate) fn outgoing(&self, order_id: OrderId, id: Uuid) -> Option<NotificationKind> {
        let queued =
            |mail: &notification::domain::Notification| mail.id == id && mail.status == Status::Queued;
        let mut mails = self.rows.get(&order_id)?.notifications.iter();
        mails.find(|(_, mail)| queued(mail)).map(|((kind, _), _)| *kind)
    }

    /// The kind of a mail.
    pub(crate) fn kind(&self, order_id: OrderId, id: Uuid) -> NotificationKind {
        let mut mails = self.rows[&order_id].notifications.iter();
        mails.find(|(_, mail)| mail.id == id).expect("a mail that was written").0.0
    }

    /// What the service makes of an answer of the mail server.
    pub(crate) fn answered(
        &mut self,
        system: &System,
        order_id: OrderId,
        input: Input,
        id: Uuid,
    ) -> Checked<Effects> {
        self.apply(system, OrderInput { order_id, input, id, context: CausationContext::default() })
    }

    fn apply(&mut self, system: &System, input: OrderInput) -> Checked<Effects> {
        let mails = self.rows.get(&input.order_id).cloned();
        let state = mails.map(|mails| (mails.order_id, mails)).into_iter().collect();
        let outcome = fold_with(system.notification, state, &[input]).map_err(|it| invalid(&it))?;
        self.rows.extend(outcome.changed.into_iter().map(|it| (it.order_id, it)));
        Ok(Effects { events: outcome.events, jobs: outcome.jobs })
    }
}
