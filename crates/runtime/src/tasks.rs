//! Structured concurrency: the parts of a service run together, and end together.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    time::Duration,
};

use anyhow::{Context, anyhow};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::error::panic_message;

/// How long tasks have to stop after a shutdown.
pub const GRACE: Duration = Duration::from_secs(10);

/// The tasks of one service. The first that fails or panics stops all the others.
///
/// A task that returns no error has just finished; it stops nothing. Dropping `Tasks` aborts what still runs.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
    shutdown: CancellationToken,
    /// Those that stop after all others, and what tells them to.
    last: HashSet<Id>,
    stop_last: CancellationToken,
}

/// What a task may return: nothing, or an error that stops the others.
pub trait TaskOutcome {
    fn into_result(self) -> anyhow::Result<()>;
}

impl TaskOutcome for () {
    fn into_result(self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl<E: Into<anyhow::Error>> TaskOutcome for Result<(), E> {
    fn into_result(self) -> anyhow::Result<()> {
        self.map_err(Into::into)
    }
}

impl Tasks {
    /// No tasks yet. `shutdown` is the token that the tasks watch, and that a failure cancels.
    pub fn new(shutdown: CancellationToken) -> Self {
        let (last, stop_last) = (HashSet::new(), CancellationToken::new());
        Self { set: JoinSet::new(), names: HashMap::new(), shutdown, last, stop_last }
    }

    /// Starts a task. Its `name` goes in front of its error.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future + Send + 'static,
        F::Output: TaskOutcome,
    {
        let handle = self.set.spawn(async { task.await.into_result() });
        self.names.insert(handle.id(), name);
    }

    /// Starts a task that is to stop after all others: its token is cancelled once a shutdown has ended those.
    pub fn spawn_last<F>(&mut self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future + Send + 'static,
        F::Output: TaskOutcome,
    {
        let task = task(self.stop_last.clone());
        let handle = self.set.spawn(async { task.await.into_result() });
        self.names.insert(handle.id(), name);
        self.last.insert(handle.id());
    }

    /// Waits for all tasks and returns the first error or panic, named; or, after a shutdown, the names of the tasks that
    /// had not stopped 10 s later. These are aborted.
    pub async fn join(mut self) -> anyhow::Result<()> {
        let mut first_error = None;
        let shutdown = self.shutdown.clone();
        let deadline = async {
            shutdown.cancelled().await;
            sleep(GRACE).await;
        };
        tokio::pin!(deadline);
        loop {
            let only_last = self.names.len() == self.last.len();
            let ended = tokio::select! {
                ended = self.set.join_next_with_id() => ended,
                () = shutdown.cancelled(), if only_last && !self.stop_last.is_cancelled() => {
                    self.stop_last.cancel();
                    continue;
                }
                () = &mut deadline => return Err(first_error.unwrap_or_else(|| self.overdue())),
            };
            let Some(ended) = ended else {
                return first_error.map_or(Ok(()), Err);
            };
            if let Err(error) = self.outcome(ended) {
                self.shutdown.cancel();
                first_error.get_or_insert(error);
            }
        }
    }

    fn outcome(&mut self, ended: Result<(Id, anyhow::Result<()>), JoinError>) -> anyhow::Result<()> {
        let (id, result) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(anyhow!(end_of(error)))),
        };
        let name = self.names.remove(&id).unwrap_or("task");
        self.last.remove(&id);
        result.context(name)
    }

    fn overdue(&self) -> anyhow::Error {
        let mut names: Vec<_> = self.names.values().copied().collect();
        names.sort_unstable();
        anyhow!("did not stop within {} s: {}", GRACE.as_secs(), names.join(", "))
    }
}

fn end_of(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => format!("panicked: {}", panic_message(&*payload).unwrap_or("without a message")),
        Err(_) => "was aborted".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_error_stops_the_others_and_is_named() {
        let shutdown = CancellationToken::new();
        let mut tasks = Tasks::new(shutdown.clone());
        let stopped = shutdown.clone();
        tasks.spawn("patient", async move {
            stopped.cancelled().await;
            Err(anyhow!("late"))
        });
        tasks.spawn("failing", async { Err(anyhow!("broken")) });
        assert_eq!(format!("{:#}", tasks.join().await.unwrap_err()), "failing: broken");
        assert!(shutdown.is_cancelled());
    }

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_message() {
        let mut tasks = Tasks::new(CancellationToken::new());
        async fn clumsy() {
            panic!("dropped {}", "it")
        }
        tasks.spawn("clumsy", clumsy());
        assert_eq!(format!("{:#}", tasks.join().await.unwrap_err()), "clumsy: panicked: dropped it");
    }

    #[tokio::test]
    async fn a_task_that_finishes_stops_nothing() {
        let shutdown = CancellationToken::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("short", async {});
        tasks.join().await.unwrap();
        assert!(!shutdown.is_cancelled());
    }

    #[tokio::test]
    async fn the_last_stop_after_all_others() {
        let shutdown = CancellationToken::new();
        let mut tasks = Tasks::new(shutdown.clone());
        let (first_ended, was_first_ended) = (CancellationToken::new(), CancellationToken::new());
        let (stopped, ended, seen) = (shutdown.clone(), first_ended.clone(), was_first_ended.clone());
        tasks.spawn_last("last", |stop| async move {
            stop.cancelled().await;
            if first_ended.is_cancelled() {
                seen.cancel();
            }
        });
        tasks.spawn("first", async move {
            stopped.cancelled().await;
            tokio::task::yield_now().await;
            ended.cancel();
        });
        shutdown.cancel();
        tasks.join().await.unwrap();
        assert!(was_first_ended.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_ignore_a_shutdown_are_named_after_the_grace() {
        let shutdown = CancellationToken::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("stuck", std::future::pending::<()>());
        tasks.spawn("stubborn", std::future::pending::<()>());
        shutdown.cancel();
        let error = tasks.join().await.unwrap_err();
        assert_eq!(error.to_string(), "did not stop within 10 s: stubborn, stuck");
    }
}
