//! The mails about one order: which there are, which wait, and which may still be sent. Pure.
//!
//! [`step`] is the life of one notification, [`react`] takes an input to all of an order.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use contracts::{
    Email, Event, InvalidTransition, NotificationFailed, NotificationKind, NotificationSent, OrderCancelled,
    OrderConfirmed, OrderId,
};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};
use uuid::Uuid;

use crate::mail;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Status {
    /// Of a refund: the cancel that caused it is not consumed yet, whose mail leaves first.
    Waiting,
    Queued,
    Sent,
    /// The mail server refused it for good.
    Failed,
    /// A confirmation that the cancel overtook: not to be sent.
    Dropped,
}

/// What the mails about an order react to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// An event, with the version of the aggregate that published it.
    Event(Event, i64),
    /// The mail server accepted the mail of this notification.
    Accepted { id: Uuid, attempts: i32, at: DateTime<Utc> },
    /// The mail server refused the mail of this notification for good.
    Refused { id: Uuid, attempts: i32, reason: String },
}

/// What a notification does with an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Becomes(Status),
    Stays,
    /// No order of true events leads here.
    Invalid,
}

/// The life of a notification in one `match`. One that does not exist yet has no status; `cancelled` says whether
/// `order.cancelled` was consumed before.
#[must_use]
pub fn step(kind: NotificationKind, status: Option<Status>, cancelled: bool, input: &Input) -> Step {
    use Event::{OrderCancelled, OrderConfirmed, PaymentRefunded};
    use Input::{Accepted, Event as Consumed, Refused};
    use NotificationKind::{Cancelled, Confirmed, Refunded};
    use Status::{Dropped, Failed, Queued, Sent, Waiting};
    Step::Becomes(match (kind, status, input) {
        (Confirmed, None, Consumed(OrderConfirmed(_), _)) if cancelled => Dropped,
        (Confirmed, None, Consumed(OrderConfirmed(_), _)) => Queued,
        (Confirmed, Some(Queued), Consumed(OrderCancelled(_), _)) => Dropped,
        (Cancelled, None, Consumed(OrderCancelled(_), _)) => Queued,
        (Refunded, None, Consumed(PaymentRefunded(_), _)) if cancelled => Queued,
        (Refunded, None, Consumed(PaymentRefunded(_), _)) => Waiting,
        (Refunded, Some(Waiting), Consumed(OrderCancelled(_), _)) => Queued,
        // The mail had left when the cancel was consumed: the row says what is true.
        (_, Some(Queued | Dropped), Accepted { .. }) => Sent,
        (_, Some(Queued), Refused { .. }) => Failed,
        (_, None | Some(Waiting), Accepted { .. } | Refused { .. }) => return Step::Invalid,
        _ => return Step::Stays,
    })
}

/// What a notification is about: its kind, and the aggregate version of the event that made it. So a second refund is
/// told from a repeat of the first.
pub type Key = (NotificationKind, i64);

/// All mails about one order: the aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderNotifications {
    pub order_id: OrderId,
    /// The number of changes; also the aggregate version of the events that each published.
    pub version: i64,
    /// Where mails go, once known.
    pub contact: Option<Email>,
    pub notifications: BTreeMap<Key, Notification>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The id of the event that made it; also that of the job that sends it.
    pub id: Uuid,
    pub status: Status,
    pub body: String,
    /// Calls to the mail server.
    pub attempts: i32,
    /// Why the mail server last refused it.
    pub reason: Option<String>,
    pub sent_at: Option<DateTime<Utc>>,
}

/// What the mails about an order become, and what follows from that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The mails afterwards; the same version means that nothing changed.
    pub next: OrderNotifications,
    /// To publish, with the version of the aggregate.
    pub events: Vec<Event>,
    /// The notifications to send now: each needs a job of its id.
    pub jobs: Vec<Uuid>,
}

/// What the mails about an order become by an input. A notification that an event makes gets the `id`, which is the
/// event's own: a repeat cannot make a second.
///
/// # Errors
/// [`InvalidTransition`] when no order of true events leads here.
pub fn react(mails: &OrderNotifications, input: &Input, id: Uuid) -> Result<Transition, InvalidTransition> {
    let cancelled = mails.notifications.keys().any(|(kind, _)| *kind == NotificationKind::Cancelled);
    let mut next = mails.clone();
    let mut changed = next.learn_contact(input);
    let mut jobs = Vec::new();
    for key in mails.concerned(input)? {
        let status = match step(key.0, mails.status(key), cancelled, input) {
            Step::Becomes(status) => status,
            Step::Stays => continue,
            Step::Invalid => return Err(mails.invalid_transition(key, input)),
        };
        let notification = next.notifications.entry(key).or_insert_with(|| Notification::new(id, input));
        notification.become_by(status, input);
        changed = true;
        jobs.extend((status == Status::Queued).then_some(notification.id));
    }
    next.version += i64::from(changed);
    let events = if changed { next.published(input) } else { None };
    Ok(Transition { next, events: events.into_iter().collect(), jobs })
}

impl OrderNotifications {
    /// Of an order that nothing is known of yet.
    pub fn placeholder(order_id: OrderId) -> Self {
        Self { order_id, version: 0, contact: None, notifications: BTreeMap::new() }
    }

    /// The notifications that an input may change: of a result the one that it is of; of an event all, and the one
    /// that it makes.
    fn concerned(&self, input: &Input) -> Result<BTreeSet<Key>, InvalidTransition> {
        match input {
            Input::Event(event, aggregate_version) => {
                let made = kind_made_by(event).map(|kind| (kind, *aggregate_version));
                Ok(self.notifications.keys().copied().chain(made).collect())
            }
            Input::Accepted { id, .. } | Input::Refused { id, .. } => {
                let of_id = self.notifications.iter().find(|(_, notification)| notification.id == *id);
                let (key, _) = of_id
                    .ok_or_else(|| InvalidTransition::new("notification", id, "not known", input.name()))?;
                Ok(BTreeSet::from([*key]))
            }
        }
    }

    fn learn_contact(&mut self, input: &Input) -> bool {
        let contact = match input {
            Input::Event(Event::OrderConfirmed(OrderConfirmed { customer, .. }), _)
            | Input::Event(Event::OrderCancelled(OrderCancelled { customer, .. }), _) => &customer.email,
            _ => return false,
        };
        let news = self.contact.is_none();
        self.contact.get_or_insert_with(|| contact.clone());
        news
    }

    fn published(&self, input: &Input) -> Option<Event> {
        let order_id = self.order_id;
        let kind = |id| self.notifications.iter().find(|(_, it)| it.id == id).map(|((kind, _), _)| *kind);
        match input {
            Input::Event(..) => None,
            Input::Accepted { id, .. } => {
                Some(NotificationSent { order_id, notification_id: *id, kind: kind(*id)? }.into())
            }
            Input::Refused { id, reason, .. } => {
                let (kind, reason) = (kind(*id)?, reason.clone());
                Some(NotificationFailed { order_id, notification_id: *id, kind, reason }.into())
            }
        }
    }

    fn invalid_transition(&self, key: Key, input: &Input) -> InvalidTransition {
        let id = format!("{} of order {}", key.0, self.order_id);
        let status = self.status(key).map_or("not there", |status| status.into_str());
        InvalidTransition::new("notification", id, status, input.name())
    }

    fn status(&self, key: Key) -> Option<Status> {
        self.notifications.get(&key).map(|notification| notification.status)
    }
}

impl Notification {
    fn new(id: Uuid, input: &Input) -> Self {
        let body = match input {
            Input::Event(event, _) => mail::body(event),
            Input::Accepted { .. } | Input::Refused { .. } => String::new(),
        };
        Self { id, status: Status::Waiting, body, attempts: 0, reason: None, sent_at: None }
    }

    fn become_by(&mut self, status: Status, input: &Input) {
        self.status = status;
        match input {
            Input::Event(..) => {}
            Input::Accepted { attempts, at, .. } => {
                (self.attempts, self.sent_at, self.reason) = (*attempts, Some(*at), None);
            }
            Input::Refused { attempts, reason, .. } => {
                (self.attempts, self.reason) = (*attempts, Some(reason.clone()));
            }
        }
    }
}

impl Input {
    /// Its name in the transition table and in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Event(event, _) => event.event_type().name(),
            Self::Accepted { .. } => "mail accepted",
            Self::Refused { .. } => "mail refused",
        }
    }
}

fn kind_made_by(event: &Event) -> Option<NotificationKind> {
    match event {
        Event::OrderConfirmed(_) => Some(NotificationKind::Confirmed),
        Event::OrderCancelled(_) => Some(NotificationKind::Cancelled),
        Event::PaymentRefunded(_) => Some(NotificationKind::Refunded),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
