//! Admission control: how many requests run at once, and how many wait.
//!
//! The database pool must not be the queue. A request that waits for a connection and one that opens a connection share
//! the pool's acquire timeout; behind a long queue every request has used it up, no connection is ever opened, and after
//! an outage the service stays down for as long as clients keep calling. (Bronson et al., "Metastable failures in
//! distributed systems", HotOS 2021.) So requests wait here, with a time limit of their own.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use tokio::{sync::Semaphore, time::timeout};

use crate::Problem;

/// The most requests that run or wait.
const CAPACITY: usize = 1_024;
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
/// When a refused client may repeat its request.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Lets up to `concurrency` requests of the router run at once: the size of the pool, where each takes a connection.
///
/// Their bodies are complete by then: [`serve`](crate::serve) reads them first, so that a slow client holds no place.
/// Others wait for up to 2 s. A request that waits longer, or that finds 1,024 others, gets 503 with `Retry-After`.
pub fn admit(router: Router, concurrency: u32) -> Router {
    let concurrency = usize::try_from(concurrency).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    limit(router, CAPACITY, concurrency)
}

fn limit(router: Router, capacity: usize, concurrency: usize) -> Router {
    let admission = Admission { capacity: Semaphore::new(capacity), running: Semaphore::new(concurrency) };
    router.layer(middleware::from_fn_with_state(Arc::new(admission), try_admit))
}

struct Admission {
    /// Held by a request while it waits and runs.
    capacity: Semaphore,
    /// Held by a request while it runs.
    running: Semaphore,
}

async fn try_admit(
    State(admission): State<Arc<Admission>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let full = || {
        Problem::unavailable(RETRY_AFTER).detail("too many requests are in progress: repeat this one later")
    };
    let _place = admission.capacity.try_acquire().map_err(|_| full())?;
    let permit = timeout(QUEUE_TIMEOUT, admission.running.acquire()).await;
    let Ok(Ok(_permit)) = permit else { return Err(full()) };
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use axum::{body::Body, http::StatusCode, routing::get};
    use futures::future::join_all;
    use tokio::time::Instant;
    use tower::ServiceExt;

    use super::*;

    /// A route with these limits, which answers one request for each permit.
    fn gate(capacity: usize, concurrency: usize) -> (Router, Arc<Semaphore>) {
        let permits = Arc::new(Semaphore::new(0));
        let given = permits.clone();
        let route =
            get(async move || given.acquire().await.map(|permit| permit.forget()).is_ok().to_string());
        (limit(Router::new().route("/", route), capacity, concurrency), permits)
    }

    async fn ask(router: &Router) -> Response {
        let Ok(response) = router.clone().oneshot(Request::new(Body::empty())).await;
        response
    }

    #[tokio::test]
    async fn requests_run_up_to_the_limit_and_all_get_a_response() {
        let (at_work, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let counts = Arc::new((at_work, most));
        let counted = counts.clone();
        let route = get(async move || {
            let now = counted.0.fetch_add(1, Ordering::Relaxed) + 1;
            counted.1.fetch_max(now, Ordering::Relaxed);
            tokio::task::yield_now().await;
            counted.0.fetch_sub(1, Ordering::Relaxed);
        });
        let router = limit(Router::new().route("/", route), 16, 2);
        let answers = join_all((0..8).map(|_| ask(&router))).await;
        assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
        assert_eq!(counts.1.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_too_long_gets_503_with_retry_after() {
        let (router, permits) = gate(8, 1);
        let mut first = pin!(ask(&router));
        let begun = Instant::now();
        let second = tokio::select! {
            biased;
            _ = &mut first => panic!("it was given no permit"),
            second = ask(&router) => second,
        };
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(second.headers()["retry-after"], "1");
        assert!(begun.elapsed() >= QUEUE_TIMEOUT);
        permits.add_permits(2);
        assert_eq!(first.await.status(), StatusCode::OK);
        assert_eq!(ask(&router).await.status(), StatusCode::OK, "its place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_beyond_the_capacity_is_refused_at_once() {
        let (router, permits) = gate(3, 1);
        let mut inside = pin!(join_all((0..3).map(|_| ask(&router))));
        let begun = Instant::now();
        let fourth = tokio::select! {
            biased;
            _ = &mut inside => panic!("they were given no permits"),
            fourth = ask(&router) => fourth,
        };
        assert_eq!((fourth.status(), begun.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, Duration::ZERO));
        permits.add_permits(3);
        assert!(inside.await.iter().all(|answer| answer.status() == StatusCode::OK));
    }
}
