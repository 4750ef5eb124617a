//! Analytics in memory: it reads the log, and keeps its offset, its inbox and its counts in one transaction.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use analytics::domain::{Counts, OrderFacts, Projection};
use contracts::{Envelope, OrderId};
use uuid::Uuid;

/// The tables of analytics.
#[derive(Clone, Default)]
pub(crate) struct Analytics {
    /// How much of the log was read.
    pub(crate) offset: usize,
    /// What was counted.
    pub(crate) counts: Counts,
    inbox: HashSet<Uuid>,
    orders: HashMap<OrderId, OrderFacts>,
}

impl Analytics {
    /// Reads the log on, up to so many messages.
    pub(crate) fn read(&mut self, log: &[Rc<Envelope>], batch: usize, has_an_inbox: bool) {
        let end = log.len().min(self.offset + batch);
        let mut projection = Projection::of(self.orders.clone());
        for message in &log[self.offset..end] {
            if self.inbox.insert(message.id) || !has_an_inbox {
                projection.hear(message.time, &message.event);
            }
        }
        self.offset = end;
        self.orders.extend(projection.changed().map(|(order_id, facts)| (order_id, facts.clone())));
        self.add(projection.delta());
    }

    fn add(&mut self, delta: &Counts) {
        for (status, count) in &delta.orders {
            *self.counts.orders.entry(*status).or_default() += count;
        }
        for (currency, revenue) in &delta.revenue {
            let sum = self.counts.revenue.entry(currency.clone()).or_default();
            sum.captured_minor += revenue.captured_minor;
            sum.refunded_minor += revenue.refunded_minor;
        }
        self.counts.mails_sent += delta.mails_sent;
        self.counts.mails_failed += delta.mails_failed;
        self.counts.events += delta.events;
    }
}
