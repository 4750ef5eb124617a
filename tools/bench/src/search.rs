//! The search for the highest rate that the system keeps up with.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Result, bail};

use super::drive::Driver;
use super::outcome::Outcome;

const FASTER: f64 = 1.2;
const SLOWER: f64 = 0.9;
/// How many rates are tried for the whole time.
const TRIES: usize = 4;
/// Rates closer to each other than this factor are the same.
const RESOLUTION: f64 = 1.03;

/// Raises the rate in short steps until the system does not keep up. They show where to look; only a rate that is held
/// for the whole time counts.
pub(super) async fn climb(
    driver: &Driver,
    rates: RangeInclusive<f64>,
    duration: Duration,
    print: &dyn Fn(&str),
) -> Result<Vec<Outcome>> {
    let mut steps: Vec<Outcome> = Vec::new();
    let mut rate = *rates.start();
    while rates.contains(&rate) && steps.last().is_none_or(Outcome::kept_up) {
        let step = driver.drive(rate, duration).await?;
        print(&line(&step));
        steps.push(step);
        rate *= FASTER;
    }
    Ok(steps)
}

/// Tries rates for the whole time, guided by the short steps; gives the highest that was held, with its measurements.
pub(super) async fn hold<T>(
    steps: &[Outcome],
    at: &mut impl AsyncFnMut(f64) -> Result<(Outcome, T)>,
) -> Result<(Outcome, T)> {
    let mut bounds = Bounds::of(steps);
    let mut best = None;
    for tried in 0.. {
        let Some(rate) = bounds.next() else { break };
        // The search goes on while no rate was held at all.
        if tried >= TRIES && best.is_some() || tried >= 3 * TRIES {
            break;
        }
        let (outcome, beside) = at(rate).await?;
        bounds.tried(rate, outcome.kept_up());
        if outcome.kept_up() {
            best = Some((outcome, beside));
        }
    }
    match best {
        Some(best) => Ok(best),
        None => bail!("no rate was held: does something else run on this machine?"),
    }
}

/// What is known about the rate that is searched for.
struct Bounds {
    /// Held for a step, and not yet for the whole time.
    promising: Option<f64>,
    held: Option<f64>,
    too_fast: f64,
}

impl Bounds {
    fn of(steps: &[Outcome]) -> Self {
        let promising = steps.iter().filter(|step| step.kept_up()).map(|step| step.rate).reduce(f64::max);
        let too_fast =
            steps.iter().filter(|step| !step.kept_up()).map(|step| step.rate).fold(f64::INFINITY, f64::min);
        Self { promising, held: None, too_fast }
    }

    fn next(&mut self) -> Option<f64> {
        if let Some(promising) = self.promising.take() {
            return Some(promising);
        }
        match self.held {
            Some(held) if self.too_fast / held < RESOLUTION || self.too_fast.is_infinite() => None,
            Some(held) => Some((held * self.too_fast).sqrt()),
            None => Some(self.too_fast * SLOWER),
        }
    }

    fn tried(&mut self, rate: f64, kept_up: bool) {
        if kept_up {
            self.held = Some(rate);
        } else {
            self.too_fast = rate;
        }
    }
}

pub(super) fn line(outcome: &Outcome) -> String {
    let refused: u64 = outcome.refused.values().sum();
    let counted =
        |what: &str, count: u64| if count > 0 { format!("  {what} {count}") } else { String::new() };
    format!(
        "  {:>7.1} orders/s  {:<10}  confirmed p50 {:>7.1} ms, p99 {:>7.1} ms  under way {:>5}{}{}",
        outcome.rate,
        if outcome.kept_up() { "kept up" } else { "too fast" },
        outcome.confirmed.p50_ms,
        outcome.confirmed.p99_ms,
        outcome.backlog.last().copied().unwrap_or_default(),
        counted("refused", refused),
        counted("cancelled", outcome.cancelled as u64),
    )
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Latency;
    use super::*;

    fn outcome(rate: f64, capacity: f64) -> Outcome {
        let under_way = if rate <= capacity { 0 } else { (rate * 10.0) as usize };
        let latency = Latency::default();
        let (confirmed, completed, whole) = (latency, latency, latency);
        let refused = std::collections::BTreeMap::new();
        Outcome {
            rate,
            orders: 1,
            refused,
            cancelled: 0,
            confirmed,
            completed,
            whole,
            backlog: vec![under_way; 10],
        }
    }

    async fn search(steps: &[f64], short: f64, long: f64) -> (f64, Vec<f64>) {
        let steps: Vec<_> = steps.iter().map(|rate| outcome(*rate, short)).collect();
        let mut tried = Vec::new();
        let held = hold(&steps, &mut async |rate: f64| {
            tried.push(rate.round());
            Ok((outcome(rate, long), ()))
        })
        .await;
        (held.map_or(f64::NAN, |(held, _)| held.rate.round()), tried)
    }

    #[tokio::test]
    async fn the_best_step_is_tried_first_and_then_rates_between() {
        let (held, tried) = search(&[200.0, 400.0, 800.0], 500.0, 500.0).await;
        assert_eq!(tried, [400.0, 566.0, 476.0, 519.0]);
        assert_eq!(held, 476.0);
    }

    #[tokio::test]
    async fn a_rate_held_only_for_a_step_is_too_fast() {
        let (held, tried) = search(&[400.0, 800.0], 500.0, 350.0).await;
        assert_eq!((held, tried), (342.0, vec![400.0, 360.0, 324.0, 342.0]));
    }

    #[tokio::test]
    async fn a_held_rate_without_an_upper_bound_ends_the_search() {
        let (held, tried) = search(&[100.0, 200.0], 500.0, 500.0).await;
        assert_eq!((held, tried), (200.0, vec![200.0]));
    }

    #[tokio::test]
    async fn a_search_without_any_held_rate_ends() {
        let (held, tried) = search(&[200.0], 0.0, 0.0).await;
        assert!(held.is_nan());
        assert_eq!(tried.len(), 12);
    }
}
