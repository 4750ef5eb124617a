//! Analytics in memory: it reads the event stream, and keeps its offset, its inbox and its counts in one transaction.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use analytics::domain::{Counts, OrderFacts};
use analytics::reactions::Reactions;
use contracts::{Envelope, OrderId};
use messaging::Reaction;
use uuid::Uuid;

use super::delivery;

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
        let fresh = log[self.offset..end].iter().filter(|it| self.inbox.insert(it.id) || !has_an_inbox);
        let fresh: Vec<_> = fresh.map(|message| delivery(message)).collect();
        let outcome = Reactions::fold(self.orders.clone(), &fresh).expect("no event is invalid");
        self.offset = end;
        let changed = outcome.changed.changed();
        self.orders.extend(changed.map(|(order_id, facts)| (order_id, facts.clone())));
        self.add(&outcome.changed.delta);
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
