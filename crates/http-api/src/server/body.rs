//! The body of a request. It is read to its end before the request takes a place of admission control, so that a client
//! that sends slowly holds none.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::Response,
};
use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio_util::sync::CancellationToken;

use crate::Problem;

pub const BODY_LIMIT_BYTES: usize = 64 * 1024;

/// What the bodies of all requests may take at once. They count as they come: to hold it, a client must have sent it.
const ALL_BODIES_BYTES: usize = 16 * 1024 * 1024;
/// When a client that found no memory for its body may repeat its request.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const NO_EFFECT: &str = "it had no effect: its body did not come to its end";

#[derive(Clone)]
pub(super) struct Bodies {
    /// For one body.
    time: Duration,
    memory: Arc<Semaphore>,
    cut_off: CancellationToken,
}

impl Bodies {
    pub(super) fn new(time: Duration, cut_off: CancellationToken) -> Self {
        Self { time, memory: Arc::new(Semaphore::new(ALL_BODIES_BYTES)), cut_off }
    }
}

/// Hands a request on once its body is complete.
pub(super) async fn read_first(
    State(bodies): State<Bodies>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let late = || Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body took too long");
    let (bytes, _memory) = tokio::select! {
        read = read(body, &bodies.memory) => read?,
        () = tokio::time::sleep(bodies.time) => return Err(late().detail(NO_EFFECT)),
        () = bodies.cut_off.cancelled() => {
            return Err(Problem::unavailable(Duration::from_secs(1)).detail(NO_EFFECT));
        }
    };
    Ok(next.run(Request::from_parts(parts, Body::from(bytes))).await)
}

/// The whole body, and its part of the memory.
async fn read(
    mut body: Body,
    memory: &Arc<Semaphore>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem> {
    let mut bytes = BytesMut::new();
    let mut held: Option<OwnedSemaphorePermit> = None;
    require_size(usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX))?;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        // What is no data is a trailer, which nobody reads.
        let Ok(data) = frame.map_err(Problem::malformed)?.into_data() else { continue };
        require_size(bytes.len().saturating_add(data.len()))?;
        let more = take(memory, data.len())?;
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), held))
}

fn require_size(length: usize) -> Result<(), Problem> {
    match length > BODY_LIMIT_BYTES {
        true => Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large")),
        false => Ok(()),
    }
}

fn take(memory: &Arc<Semaphore>, length: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let full = |_: TryAcquireError| {
        Problem::unavailable(RETRY_AFTER).detail("too many bodies are under way: repeat this request later")
    };
    memory.clone().try_acquire_many_owned(u32::try_from(length).unwrap_or(u32::MAX)).map_err(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_share_their_memory_and_give_it_back() {
        let memory = Arc::new(Semaphore::new(10));
        let body = |length| Body::from("x".repeat(length));
        let (first, held) = read(body(6), &memory).await.expect("it has room");
        assert_eq!(first, "xxxxxx");
        let problem = read(body(6), &memory).await.expect_err("they are 12");
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(read(body(4), &memory).await.is_ok(), "what was refused holds nothing");
        drop(held);
        assert!(read(body(10), &memory).await.is_ok());
        assert!(read(body(0), &memory).await.is_ok_and(|(bytes, held)| bytes.is_empty() && held.is_none()));
    }
}
