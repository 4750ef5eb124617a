//! The open loop: each order is sent when it is due, however long the answers to those before it take.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::{Customers, PlaceOrder};

/// An order that was answered 202.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its idempotency key.
    pub key: String,
    pub order_id: Uuid,
    /// When it was due to be sent.
    pub due: DateTime<Utc>,
}

/// How the requests of a load were answered.
#[derive(Debug, Clone)]
pub struct LoadResult {
    /// When the first order was due.
    pub begun: DateTime<Utc>,
    /// What was answered 202, an order that was sent twice twice.
    pub accepted: Vec<Accepted>,
    /// The counts of all other final answers.
    pub refused: BTreeMap<String, u64>,
    pub cancelled: u64,
}

impl LoadResult {
    #[must_use]
    pub fn new(begun: DateTime<Utc>) -> Self {
        Self { begun, accepted: Vec::new(), refused: BTreeMap::new(), cancelled: 0 }
    }

    fn add(&mut self, (answers, cancelled): Served) {
        self.cancelled += u64::from(cancelled);
        for answer in answers {
            match answer {
                Ok(accepted) => self.accepted.push(accepted),
                Err(why) => *self.refused.entry(why).or_default() += 1,
            }
        }
    }
}

/// Sends the orders at `rate` a second, which may change meanwhile, until there are no more or the rate is 0; then waits
/// for the answers. `answered` is called after each.
pub async fn drive(
    customers: &Customers,
    orders: impl IntoIterator<Item = PlaceOrder>,
    rate: watch::Receiver<f64>,
    mut answered: impl FnMut(),
) -> Result<LoadResult> {
    let mut result = LoadResult::new(runtime::clock::now());
    let mut schedule = Schedule { start: Instant::now(), last: None, rate };
    let mut requests = JoinSet::new();
    for (number, order) in orders.into_iter().enumerate() {
        let Some(offset) = schedule.next().await else { break };
        let due = result.begun + TimeDelta::from_std(offset)?;
        requests.spawn(serve(customers.clone(), number, order, due));
        while let Some(served) = requests.try_join_next() {
            result.add(served?);
            answered();
        }
    }
    while let Some(served) = requests.join_next().await {
        result.add(served?);
        answered();
    }
    Ok(result)
}

/// Parses a rate of a command line.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 100_000.0 => Ok(rate),
        _ => Err("a rate is a number above 0 and up to 100000".to_owned()),
    }
}

struct Schedule {
    start: Instant,
    /// The last due time, in seconds from the start.
    last: Option<f64>,
    rate: watch::Receiver<f64>,
}

impl Schedule {
    /// Waits until the next order is due; gives its time from the start, or nothing when the rate is 0.
    async fn next(&mut self) -> Option<Duration> {
        loop {
            let rate = *self.rate.borrow_and_update();
            if rate <= 0.0 {
                return None;
            }
            let seconds = self.last.map_or(0.0, |last| last + 1.0 / rate);
            let due = Duration::from_secs_f64(seconds);
            tokio::select! {
                biased;
                // Disabled when nobody can change the rate any more.
                Ok(()) = self.rate.changed() => {}
                () = sleep_until(self.start + due) => {
                    self.last = Some(seconds);
                    return Some(due);
                }
            }
        }
    }
}

/// The answers to an order's requests, and whether its cancel was accepted.
type Served = (Vec<Result<Accepted, String>>, bool);

async fn serve(customers: Customers, number: usize, order: PlaceOrder, due: DateTime<Utc>) -> Served {
    let place = async || {
        let order_id = customers.place(number, &order).await?;
        Ok(Accepted { key: order.key.clone(), order_id, due })
    };
    let answers = if order.twice {
        let (first, second) = tokio::join!(place(), place());
        vec![first, second]
    } else {
        vec![place().await]
    };
    let (Some(delay), Some(Ok(accepted))) = (order.cancel_after, answers.first()) else {
        return (answers, false);
    };
    sleep(delay).await;
    let cancelled = customers.cancel(accepted.order_id).await;
    (answers, cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_above_zero() {
        assert!(rate("0.5").is_ok());
        for text in ["0", "-1", "NaN", "fast", "1e9"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_rate_takes_effect_at_once() {
        let rate = watch::Sender::new(0.1);
        let mut schedule = Schedule { start: Instant::now(), last: None, rate: rate.subscribe() };
        assert_eq!(schedule.next().await, Some(Duration::ZERO));
        assert_eq!(schedule.next().await, Some(Duration::from_secs(10)));
        let (next, ()) = tokio::join!(schedule.next(), async {
            tokio::time::advance(Duration::from_millis(100)).await;
            rate.send_replace(2.0);
        });
        assert_eq!(next, Some(Duration::from_millis(10_500)));
        rate.send_replace(0.0);
        assert_eq!(schedule.next().await, None);
    }
}
