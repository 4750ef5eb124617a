//! When jobs are claimed, and how many outcomes are recorded together.

use std::pin::pin;

use tokio::sync::mpsc::Receiver;

use crate::throttle::BatchThrottle;

/// What is known of the jobs that wait to be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Backlog {
    /// The last claim found fewer than it asked for, or failed.
    Unknown,
    /// One was added, or it is time to look.
    Perhaps,
    /// The last claim found as many as it asked for.
    Surely,
}

impl Backlog {
    /// Whether the next claim does without its turn: to wait for it would keep half of the places empty, for which there
    /// are jobs.
    pub(super) fn skips_throttle(self, free: usize, places: usize) -> bool {
        self == Self::Surely && free * 2 >= places
    }
}

/// What comes until the turn, or until it is `most`, whichever is first. What comes alone, after a pause, is given at
/// once. Empty when nothing can come any more.
pub(super) async fn collect_batch<T>(
    source: &mut Receiver<T>,
    most: usize,
    throttle: &BatchThrottle,
) -> Vec<T> {
    let mut together = Vec::new();
    let mut turn = pin!(throttle.ready());
    while together.len() < most {
        let left = most - together.len();
        tokio::select! {
            biased;
            count = source.recv_many(&mut together, left) => if count == 0 { break },
            () = &mut turn, if !together.is_empty() => break,
        }
    }
    together
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_claim_hurries_where_jobs_are_left_over_and_half_of_the_places_are_free() {
        for (waiting, free, places, skips_throttle) in [
            (Backlog::Surely, 8, 8, true),
            (Backlog::Surely, 4, 8, true),
            (Backlog::Surely, 3, 8, false),
            (Backlog::Surely, 0, 8, false),
            (Backlog::Surely, 1, 1, true),
            (Backlog::Perhaps, 8, 8, false),
            (Backlog::Unknown, 8, 8, false),
        ] {
            assert_eq!(
                waiting.skips_throttle(free, places),
                skips_throttle,
                "{waiting:?}, {free} of {places}"
            );
        }
    }

    /// A pace whose next turn comes after so many ms.
    fn used_up(ms: u64) -> BatchThrottle {
        let mut throttle = BatchThrottle::new(Duration::from_millis(ms));
        (0..3).for_each(|_| throttle.begin());
        throttle
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_before_the_turn_is_given_together_when_it_comes() {
        let (sender, mut source) = mpsc::channel(8);
        let (pace, start) = (used_up(100), Instant::now());
        let send = async {
            for number in 0..3 {
                sender.send(number).await.expect("a hearer");
                tokio::time::advance(Duration::from_millis(30)).await;
            }
        };
        let (together, ()) = tokio::join!(collect_batch(&mut source, 8, &pace), send);
        assert_eq!(together, [0, 1, 2]);
        assert_eq!(start.elapsed().as_millis(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn as_much_as_is_taken_together_waits_for_no_turn() {
        let (sender, mut source) = mpsc::channel(8);
        let (pace, start) = (used_up(100), Instant::now());
        for number in 0..5 {
            sender.send(number).await.expect("a hearer");
        }
        assert_eq!(collect_batch(&mut source, 4, &pace).await, [0, 1, 2, 3]);
        assert_eq!(start.elapsed().as_millis(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_a_pause_is_given_at_once_and_what_came_last_before_the_end() {
        let (sender, mut source) = mpsc::channel(8);
        let start = Instant::now();
        let send = async {
            tokio::time::advance(Duration::from_secs(1)).await;
            sender.send(1).await.expect("a hearer");
        };
        let pace = BatchThrottle::new(Duration::from_millis(100));
        let (alone, ()) = tokio::join!(collect_batch(&mut source, 8, &pace), send);
        assert_eq!((alone, start.elapsed().as_millis()), (vec![1], 1000));
        sender.send(2).await.expect("a hearer");
        drop(sender);
        assert_eq!(collect_batch(&mut source, 8, &used_up(100)).await, [2]);
        assert_eq!(collect_batch(&mut source, 8, &used_up(100)).await, Vec::<i32>::new());
    }
}
