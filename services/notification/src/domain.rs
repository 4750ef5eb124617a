//! The mails about one order: which there are, which wait, and which may still be sent. Pure.

use std::{collections::BTreeMap, fmt, str::FromStr};

use chrono::{DateTime, Utc};
use contracts::{
    Email, Event, NotificationFailed, NotificationKind, NotificationSent, OrderCancelled, OrderConfirmed,
    OrderId,
};
use uuid::Uuid;

use crate::mail;

/// Where a notification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Due, but nobody has said yet where to.
    Waiting,
    /// A job sends it, now or again later.
    Queued,
    /// The mail server took it.
    Sent,
    /// The mail server refused it for good.
    Failed,
    /// A confirmation that the cancel overtook: never sent.
    Dropped,
}

impl Status {
    /// Every status.
    pub const ALL: &[Self] = &[Self::Waiting, Self::Queued, Self::Sent, Self::Failed, Self::Dropped];

    /// The word in the database and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|status| status.as_str() == word);
        found.copied().ok_or_else(|| format!("{word:?} is not a notification's status"))
    }
}

/// What a notification can be told: an event, or how its call to the mail server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// `order.confirmed`
    OrderConfirmed,
    /// `order.cancelled`
    OrderCancelled,
    /// `payment.refunded`
    PaymentRefunded,
    /// The mail server took the mail.
    Accepted,
    /// The mail server refused the mail for good.
    Refused,
}

/// What is known of the order when a notification is told something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Where mails go.
    pub contact: bool,
    /// That the order is cancelled.
    pub cancelled: bool,
}

/// A cell of the matrix that no order of true events leads to: a bug, or a forged message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{input:?} cannot happen to a {kind} notification that is {}", status.map_or("not there", Status::as_str))]
pub struct InvalidTransition {
    kind: NotificationKind,
    status: Option<Status>,
    input: Input,
}

/// The life of a notification on one screen: its status after `input`, or `None` when nothing changes. A
/// notification that does not exist yet has no status.
///
/// # Errors
/// When no order of true events leads here.
pub fn react(
    kind: NotificationKind,
    status: Option<Status>,
    known: Known,
    input: Input,
) -> Result<Option<Status>, InvalidTransition> {
    use Input::{Accepted, OrderCancelled, OrderConfirmed, PaymentRefunded, Refused};
    use NotificationKind::{Cancelled, Confirmed, Refunded};
    use Status::{Dropped, Failed, Queued, Sent, Waiting};
    Ok(match (kind, status, input) {
        (Confirmed, None, OrderConfirmed) if known.cancelled => Some(Dropped),
        (Confirmed, None, OrderConfirmed) => Some(Queued),
        (Confirmed, Some(Queued), OrderCancelled) => Some(Dropped),
        (Cancelled, None, OrderCancelled) => Some(Queued),
        (Refunded, None, PaymentRefunded) if known.contact => Some(Queued),
        (Refunded, None, PaymentRefunded) => Some(Waiting),
        (Refunded, Some(Waiting), OrderConfirmed | OrderCancelled) => Some(Queued),
        // The mail had left when the cancel was heard: the row says what is true.
        (_, Some(Queued | Dropped), Accepted) => Some(Sent),
        (_, Some(Queued), Refused) => Some(Failed),
        (_, None | Some(Waiting), Accepted | Refused) => {
            return Err(InvalidTransition { kind, status, input });
        }
        _ => None,
    })
}

/// All mails about one order: the aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderNotifications {
    /// The order.
    pub order_id: OrderId,
    /// Counts the recorded changes.
    pub version: i64,
    /// Where mails go, once known.
    pub contact: Option<Email>,
    /// At most one of each kind.
    pub notifications: BTreeMap<NotificationKind, Notification>,
}

/// One mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its id, also that of the job that sends it.
    pub id: Uuid,
    /// Where it is.
    pub status: Status,
    /// The mail's text.
    pub body: String,
    /// How often the mail server was called.
    pub attempts: i32,
    /// Why the mail server refused, the last time that it did.
    pub reason: Option<String>,
    /// When the mail server took it.
    pub sent_at: Option<DateTime<Utc>>,
}

/// How the job of a notification ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The mail server took the mail.
    Sent {
        /// When.
        at: DateTime<Utc>,
    },
    /// The mail server refused the mail for good.
    Failed {
        /// What it said.
        reason: String,
    },
    /// The mail was not to be sent any more, and was not.
    NotSent,
}

impl OrderNotifications {
    /// The correspondence of an order that nothing is known of.
    #[must_use]
    pub fn placeholder(order_id: OrderId) -> Self {
        Self { order_id, version: 0, contact: None, notifications: BTreeMap::new() }
    }

    /// Takes in an event. Returns which notifications are to be sent now: each needs a job.
    /// `fresh_id` becomes the id of the notification that the event makes, if it makes one.
    ///
    /// # Errors
    /// When it cannot happen; then nothing has changed.
    pub fn hear(
        &mut self,
        event: &Event,
        fresh_id: Uuid,
    ) -> Result<Vec<NotificationKind>, InvalidTransition> {
        let Some((input, contact)) = heard(event) else {
            return Ok(Vec::new());
        };
        let known = self.known();
        let changes = NotificationKind::KNOWN
            .iter()
            .map(|kind| Ok((*kind, react(*kind, self.status(*kind), known, input)?)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut changed = self.contact.is_none() && contact.is_some();
        self.contact = self.contact.take().or_else(|| contact.cloned());
        let mut queued = Vec::new();
        for (kind, status) in changes {
            let Some(status) = status else { continue };
            let notification = self
                .notifications
                .entry(kind)
                .or_insert_with(|| Notification::new(fresh_id, mail::body(event)));
            notification.status = status;
            changed = true;
            if status == Status::Queued {
                queued.push(kind);
            }
        }
        self.version += i64::from(changed);
        Ok(queued)
    }

    /// Takes in how the job of a notification ended, at its `attempts`-th call. Returns what is to be
    /// announced.
    ///
    /// # Errors
    /// When it cannot happen; then nothing has changed.
    pub fn record(
        &mut self,
        kind: NotificationKind,
        attempts: i32,
        outcome: &Outcome,
    ) -> Result<Option<Event>, InvalidTransition> {
        let input = match outcome {
            Outcome::Sent { .. } => Input::Accepted,
            Outcome::Failed { .. } => Input::Refused,
            Outcome::NotSent => return Ok(None),
        };
        let status = react(kind, self.status(kind), self.known(), input)?;
        let (Some(status), Some(notification)) = (status, self.notifications.get_mut(&kind)) else {
            return Ok(None);
        };
        notification.status = status;
        notification.attempts = attempts;
        self.version += 1;
        let (order_id, notification_id) = (self.order_id, notification.id);
        Ok(match outcome {
            Outcome::Sent { at } => {
                notification.sent_at = Some(*at);
                notification.reason = None;
                Some(NotificationSent { order_id, notification_id, kind }.into())
            }
            Outcome::Failed { reason } => {
                notification.reason = Some(reason.clone());
                Some(NotificationFailed { order_id, notification_id, kind, reason: reason.clone() }.into())
            }
            Outcome::NotSent => None,
        })
    }

    fn known(&self) -> Known {
        Known {
            contact: self.contact.is_some(),
            cancelled: self.notifications.contains_key(&NotificationKind::Cancelled),
        }
    }

    fn status(&self, kind: NotificationKind) -> Option<Status> {
        self.notifications.get(&kind).map(|notification| notification.status)
    }
}

impl Notification {
    fn new(id: Uuid, body: String) -> Self {
        Self { id, status: Status::Waiting, body, attempts: 0, reason: None, sent_at: None }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an event says to notifications, and the mail address that it tells.
fn heard(event: &Event) -> Option<(Input, Option<&Email>)> {
    match event {
        Event::OrderConfirmed(OrderConfirmed { customer, .. }) => {
            Some((Input::OrderConfirmed, Some(&customer.email)))
        }
        Event::OrderCancelled(OrderCancelled { customer, .. }) => {
            Some((Input::OrderCancelled, Some(&customer.email)))
        }
        Event::PaymentRefunded(_) => Some((Input::PaymentRefunded, None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
