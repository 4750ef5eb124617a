//! How many requests work at once, and how many wait for that.
//!
//! A request that waits for a connection of the pool and one that makes a new connection share the pool's patience.
//! With a long queue before it every request that is let through has none left: no connection is ever made, and after
//! an outage the service stays down for as long as clients come. (Bronson et al., "Metastable failures in distributed
//! systems", HotOS 2021.) So the queue is here, with a patience of its own, and the pool has hardly any.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use tokio::{sync::Semaphore, time::timeout};

use crate::Problem;

/// Most requests that are handled or wait: with their bodies they take 64 MB.
const INSIDE: usize = 1_024;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// When a client that is refused may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The router with at most `at_once` requests handled at a time: as many as the pool has connections, if each takes one.
/// Up to 1,024 others wait for at most 2 s; further ones are answered 503 with `Retry-After`.
pub fn admit(router: Router, at_once: u32) -> Router {
    let at_once = usize::try_from(at_once).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    limit(router, INSIDE, at_once)
}

fn limit(router: Router, inside: usize, at_once: usize) -> Router {
    let admission = Admission { inside: Semaphore::new(inside), at_work: Semaphore::new(at_once) };
    router.layer(middleware::from_fn_with_state(Arc::new(admission), take_turn))
}

struct Admission {
    inside: Semaphore,
    at_work: Semaphore,
}

async fn take_turn(
    State(admission): State<Arc<Admission>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let busy = || Problem::unavailable(RETRY_AFTER).detail("too many requests are here already");
    let _inside = admission.inside.try_acquire().map_err(|_| busy())?;
    let turn = timeout(PATIENCE, admission.at_work.acquire()).await;
    let Ok(Ok(_turn)) = turn else { return Err(busy()) };
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

    /// A limited route that answers a request for each permit.
    fn gate(inside: usize, at_once: usize) -> (Router, Arc<Semaphore>) {
        let permits = Arc::new(Semaphore::new(0));
        let given = permits.clone();
        let route =
            get(async move || given.acquire().await.map(|permit| permit.forget()).is_ok().to_string());
        (limit(Router::new().route("/", route), inside, at_once), permits)
    }

    async fn ask(router: &Router) -> Response {
        let Ok(response) = router.clone().oneshot(Request::new(Body::empty())).await;
        response
    }

    #[tokio::test]
    async fn only_so_many_work_at_once_and_all_get_their_turn() {
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
    async fn a_request_that_waits_too_long_is_told_when_to_come_again() {
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
        assert!(begun.elapsed() >= PATIENCE);
        permits.add_permits(2);
        assert_eq!(first.await.status(), StatusCode::OK);
        assert_eq!(ask(&router).await.status(), StatusCode::OK, "its place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn when_as_many_are_inside_as_may_be_the_next_is_refused_at_once() {
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
