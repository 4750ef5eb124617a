//! When jobs are claimed, and which outcomes are recorded together.

use std::pin::pin;

use tokio::sync::mpsc::Receiver;

use crate::throttle::BatchThrottle;

/// Whether jobs wait to be claimed, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Backlog {
    /// The last claim found fewer than it asked for, or failed.
    Unknown,
    /// A job was added, or it is time to poll.
    Possible,
    /// The last claim found as many as it asked for.
    Certain,
}

impl Backlog {
    /// Whether the next claim does not wait for the throttle: half of the places would stay free although there are jobs
    /// for them.
    pub(super) fn skips_throttle(self, free: usize, places: usize) -> bool {
        self == Self::Certain && free * 2 >= places
    }
}

/// Collects what arrives until the throttle is ready, or until there are `most`. What arrives alone, after a pause, is
/// returned at once. Empty when the source is closed.
pub(super) async fn collect_batch<T>(
    source: &mut Receiver<T>,
    most: usize,
    throttle: &BatchThrottle,
) -> Vec<T> {
    let mut batch = Vec::new();
    let mut ready = pin!(throttle.ready());
    while batch.len() < most {
        let left = most - batch.len();
        tokio::select! {
            biased;
            count = source.recv_many(&mut batch, left) => if count == 0 { break },
            () = &mut ready, if !batch.is_empty() => break,
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_claim_skips_the_throttle_while_half_the_places_are_free() {
        for (waiting, free, places, skips_throttle) in [
            (Backlog::Certain, 8, 8, true),
            (Backlog::Certain, 4, 8, true),
            (Backlog::Certain, 3, 8, false),
            (Backlog::Certain, 0, 8, false),
            (Backlog::Certain, 1, 1, true),
            (Backlog::Possible, 8, 8, false),
            (Backlog::Unknown, 8, 8, false),
        ] {
            assert_eq!(
                waiting.skips_throttle(free, places),
                skips_throttle,
                "{waiting:?}, {free} of {places}"
            );
        }
    }

    /// A throttle that is ready after so many ms.
    fn used_up(ms: u64) -> BatchThrottle {
        let mut throttle = BatchThrottle::new(Duration::from_millis(ms));
        (0..3).for_each(|_| throttle.begin());
        throttle
    }

    #[tokio::test(start_paused = true)]
    async fn items_that_arrive_before_the_throttle_is_ready_are_one_batch() {
        let (sender, mut source) = mpsc::channel(8);
        let (throttle, start) = (used_up(100), Instant::now());
        let send = async {
            for number in 0..3 {
                sender.send(number).await.expect("a receiver");
                tokio::time::advance(Duration::from_millis(30)).await;
            }
        };
        let (batch, ()) = tokio::join!(collect_batch(&mut source, 8, &throttle), send);
        assert_eq!(batch, [0, 1, 2]);
        assert_eq!(start.elapsed().as_millis(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_does_not_wait() {
        let (sender, mut source) = mpsc::channel(8);
        let (throttle, start) = (used_up(100), Instant::now());
        for number in 0..5 {
            sender.send(number).await.expect("a receiver");
        }
        assert_eq!(collect_batch(&mut source, 4, &throttle).await, [0, 1, 2, 3]);
        assert_eq!(start.elapsed().as_millis(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_after_a_pause_is_returned_at_once() {
        let (sender, mut source) = mpsc::channel(8);
        let start = Instant::now();
        let send = async {
            tokio::time::advance(Duration::from_secs(1)).await;
            sender.send(1).await.expect("a receiver");
        };
        let throttle = BatchThrottle::new(Duration::from_millis(100));
        let (alone, ()) = tokio::join!(collect_batch(&mut source, 8, &throttle), send);
        assert_eq!((alone, start.elapsed().as_millis()), (vec![1], 1000));
        sender.send(2).await.expect("a receiver");
        drop(sender);
        assert_eq!(collect_batch(&mut source, 8, &used_up(100)).await, [2]);
        assert_eq!(collect_batch(&mut source, 8, &used_up(100)).await, Vec::<i32>::new());
    }
}
