//! How long the head of a request may take, however slowly it comes.
//!
//! hyper's own limit counts from the end of the answer before, so that it would close connections that clients keep for
//! their next request, too. This one counts from a head's first byte; on a new connection from its start.

use std::{
    io::IoSlice,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};

/// Where one connection is in the reading of a head. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct HeadProgress(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    /// All bytes that the client has sent.
    received: AtomicU64,
    /// How many they were when the head began to be awaited.
    before: AtomicU64,
    is_awaited: AtomicBool,
}

impl HeadProgress {
    /// The head is complete.
    pub(super) fn end(&self) {
        self.0.is_awaited.store(false, Ordering::Relaxed);
    }

    /// Whether a part of a head has come.
    pub(super) fn is_under_way(&self) -> bool {
        self.0.is_awaited.load(Ordering::Relaxed) && self.has_begun()
    }

    /// Whether the client has sent nothing at all.
    pub(super) fn is_new(&self) -> bool {
        self.0.received.load(Ordering::Relaxed) == 0
    }

    fn has_begun(&self) -> bool {
        self.0.received.load(Ordering::Relaxed) != self.0.before.load(Ordering::Relaxed)
    }

    fn begin(&self) {
        self.0.before.store(self.0.received.load(Ordering::Relaxed), Ordering::Relaxed);
        self.0.is_awaited.store(true, Ordering::Relaxed);
    }
}

/// The timer of one connection. hyper asks it for a sleep whenever it begins to wait for a head, and polls that sleep
/// after every read.
#[derive(Debug)]
pub(super) struct HeadTimer {
    pub(super) limit: Duration,
    pub(super) progress: HeadProgress,
}

impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        self.progress.begin();
        let sleep = self.progress.is_new().then(|| Box::pin(tokio::time::sleep(self.limit)));
        Box::pin(HeadSleep { limit: self.limit, progress: self.progress.clone(), sleep })
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(self.limit)
    }
}

struct HeadSleep {
    limit: Duration,
    progress: HeadProgress,
    /// None while the connection is idle.
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.sleep.is_none() && self.progress.has_begun() {
            self.sleep = Some(Box::pin(tokio::time::sleep(self.limit)));
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(context),
            // The next byte wakes the connection, which polls this again.
            None => Poll::Pending,
        }
    }
}

/// A stream that counts what is read from it.
#[derive(Debug)]
pub(super) struct Counted<T> {
    pub(super) stream: T,
    pub(super) progress: HeadProgress,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let count = u64::try_from(buffer.filled().len() - before).unwrap_or(u64::MAX);
        self.progress.0.received.fetch_add(count, Ordering::Relaxed);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
