//! The notification service in memory: the mails about each order.

use std::collections::BTreeMap;

use contracts::{Event, NotificationKind, OrderId};
use notification::domain::{OrderNotifications, Outcome, Status};
use uuid::Uuid;

use super::{Effects, Task, invalid_transition};
use crate::invariants::Checked;
use crate::system::System;

/// The tables of the notification service.
#[derive(Clone, Default)]
pub(crate) struct Mails {
    /// What was written about each order.
    pub(crate) rows: BTreeMap<OrderId, OrderNotifications>,
}

impl Mails {
    /// What the service makes of an event; `fresh_id` becomes the id of the mail that it makes, if it makes one.
    pub(super) fn hear(&mut self, system: &System, event: &Event, fresh_id: Uuid) -> Checked<Effects> {
        let order_id = event.order_id().ok_or_else(|| invalid_transition("an event of no order"))?;
        let mails = self.rows.entry(order_id).or_insert_with(|| OrderNotifications::placeholder(order_id));
        let queued = (system.notification)(mails, event, fresh_id).map_err(|it| invalid_transition(&it))?;
        let task = |kind| Some(Task::Mail(order_id, kind, mails.notifications.get(&kind)?.id));
        Ok(Effects { jobs: queued.into_iter().filter_map(task).collect(), ..Effects::default() })
    }

    /// Whether a mail is still to be sent: asked at the last moment, so that a cancel heard meanwhile counts.
    pub(crate) fn is_outgoing(&self, order_id: OrderId, kind: NotificationKind) -> bool {
        let mail = self.rows.get(&order_id).and_then(|mails| mails.notifications.get(&kind));
        mail.is_some_and(|mail| mail.status == Status::Queued)
    }

    /// What the service makes of how a mail's job ended.
    pub(crate) fn ended(
        &mut self,
        order_id: OrderId,
        kind: NotificationKind,
        outcome: &Outcome,
    ) -> Checked<Effects> {
        let mails = self.rows.get_mut(&order_id).ok_or_else(|| invalid_transition("a mail of no order"))?;
        let event = mails.record(kind, 1, outcome).map_err(|it| invalid_transition(&it))?;
        let outgoing = event.map(|event| (event, mails.version)).into_iter().collect();
        Ok(Effects { outgoing, jobs: Vec::new() })
    }
}
