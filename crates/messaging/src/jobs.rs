//! Work that talks to the outside: a durable queue in the service's database.
//!
//! A job is a row that a transaction writes. A worker claims it by moving its `run_at` past the lease, calls the
//! outside with no transaction open, and records the outcome in a transaction that deletes the row. A job that was
//! recorded before, by a worker whose lease ran out, is not recorded again. What a call does must therefore be
//! harmless to repeat: the job's id, or a key in its payload, is there to tell the other side.
//!
//! While the outside is in trouble a [breaker](crate::breaker) keeps the worker from claiming: the jobs wait where they
//! are. Each replica has a breaker of its own.

mod breaker_guard;
mod fetch;
mod store;

use std::{collections::HashSet, future::Future, panic::AssertUnwindSafe, time::Duration};

use contracts::TraceContext;
use futures::{FutureExt, future::join};
use runtime::database::{ANSWER_TIMEOUT, answer};
use runtime::health::Health;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::breaker::{BreakerSettings, CallResult, Period};
use crate::consumer::{before_end_of, in_time};
use crate::failpoint::{self, Failpoint};
use crate::failure::{Failure, HandlerError};
use crate::outbox::{CausationContext, Effects, Outbox};
use crate::throttle::{self, BatchThrottle};
use crate::trace;

use breaker_guard::BreakerGuard;
use fetch::{Backlog, collect_batch};
pub(crate) use store::insert;
use store::{claim, postpone, take};

/// The net under the wake-up, and the clock of jobs that run again.
const POLL: Duration = Duration::from_millis(250);
/// Calls that are recorded in one transaction, at the most; as many more wait for that before no more are made.
const RECORDED_AT_ONCE: usize = 64;
const RECORD_BACKOFF_CAP: Duration = Duration::from_secs(2);
/// How long a shutdown waits for calls in flight; what is not back by then runs again after its lease.
const DRAIN: Duration = Duration::from_secs(7);

/// A job to do after the commit.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id.
    pub id: Uuid,
    /// The queue that its worker serves.
    pub queue: &'static str,
    /// The aggregate that it is about.
    pub key: Uuid,
    /// What the worker needs to know.
    pub payload: Value,
    /// What caused it.
    pub origin: CausationContext,
}

/// A job that is claimed.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: Uuid,
    /// The aggregate that it is about.
    pub key: Uuid,
    /// What the worker needs to know.
    pub payload: Value,
    /// How often it was claimed, this time included: 1 at the first.
    pub attempts: i32,
    cause: Option<Uuid>,
    trace: TraceContext,
}

impl Job {
    /// The origin of what its outcome causes.
    #[must_use]
    pub fn origin(&self) -> CausationContext {
        CausationContext { cause: self.cause, trace: self.trace.clone() }
    }
}

/// How a call ended.
#[derive(Debug)]
pub enum JobOutcome<T> {
    /// Definitely: this is to be recorded.
    Completed(T),
    /// Unknown, or refused for now: the same job runs again after a backoff.
    Retry(String),
}

/// What a service does for its jobs.
pub trait Worker: Send + Sync + 'static {
    /// What a call comes to.
    type Outcome: Send + Sync + 'static;

    /// How often outcomes are recorded under load. Longer makes what is recorded together larger and cheaper, and later.
    const PACE: Duration = throttle::INTERVAL;

    /// Talks to the outside, and says what that tells about the outside itself. No transaction is open. A panic
    /// counts as [`JobOutcome::Retry`].
    fn call(&self, job: &Job) -> impl Future<Output = (JobOutcome<Self::Outcome>, CallResult)> + Send;

    /// Records outcomes of jobs that were not recorded before, in the given transaction, in which their rows are
    /// deleted.
    fn record(
        &self,
        conn: &mut PgConnection,
        outcomes: &[(Job, Self::Outcome)],
    ) -> impl Future<Output = Result<Effects, HandlerError>> + Send;
}

/// How a queue's jobs are run.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// The queue's name.
    pub queue: &'static str,
    /// Calls in flight at once, at the most.
    pub concurrency: usize,
    /// How long a claimed job is left alone: longer than any call takes.
    pub lease: Duration,
    /// The ceiling of the first backoff of a job that runs again.
    pub backoff_base: Duration,
    /// The ceiling of every backoff.
    pub backoff_cap: Duration,
    /// When jobs are left alone for the sake of the outside.
    pub breaker: BreakerSettings,
}

/// The worker of one queue.
pub struct JobRunner<W> {
    /// How to run.
    pub settings: JobSettings,
    /// The service's database.
    pub pool: PgPool,
    /// The service's outbox.
    pub outbox: Outbox,
    /// Where it is noted that the outside is in trouble. The service is ready all the same: its jobs wait.
    pub health: Health,
    /// What to do.
    pub worker: std::sync::Arc<W>,
}

type Calls<T> = JoinSet<Ended<T>>;

/// A call that ended.
#[derive(Debug)]
struct Ended<T> {
    job: Job,
    call: JobOutcome<T>,
    sign: CallResult,
    started: Period,
}

impl<W: Worker> JobRunner<W> {
    /// Runs jobs until the shutdown; calls in flight are waited for and recorded.
    ///
    /// # Errors
    /// None; it goes on after every failure. The signature is that of a task.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let (sender, receiver) = mpsc::channel(RECORDED_AT_ONCE);
        let work = join(self.call_all(sender, &shutdown), self.record_all(receiver));
        // What is not back in time runs again after its lease, in this process's successor.
        let _ = before_end_of(&shutdown, DRAIN, work).await;
        Ok(())
    }

    /// Claims jobs and calls the outside for them until the shutdown, and hands on how that ended.
    async fn call_all(&self, ended: Sender<Ended<W::Outcome>>, shutdown: &CancellationToken) {
        let mut calls = Calls::new();
        let mut guard = BreakerGuard::new(self.settings.breaker.clone(), self.health.clone());
        let mut throttle = BatchThrottle::new(throttle::INTERVAL);
        let places = self.settings.concurrency;
        let mut waiting = Backlog::Perhaps;
        while !shutdown.is_cancelled() {
            let free = guard.permits(places.saturating_sub(calls.len()));
            let at_once = waiting.skips_throttle(free, places);
            let turn = async {
                if !at_once {
                    throttle.ready().await;
                }
            };
            tokio::select! {
                Some(call) = calls.join_next() => hand_on(call, &mut guard, &ended).await,
                () = turn, if waiting != Backlog::Unknown && free > 0 => {
                    if !at_once {
                        throttle.begin();
                    }
                    let count = self.claim_and_start(free, &mut calls, &mut guard).await;
                    throttle.end();
                    waiting = if count == free { Backlog::Surely } else { Backlog::Unknown };
                }
                () = self.outbox.job_added.notified(), if waiting == Backlog::Unknown => waiting = Backlog::Perhaps,
                () = tokio::time::sleep(guard.cooldown(POLL)) => waiting = waiting.max(Backlog::Perhaps),
                () = shutdown.cancelled() => {}
            }
        }
        while let Some(call) = calls.join_next().await {
            hand_on(call, &mut guard, &ended).await;
        }
    }

    /// Records calls that ended, those that end in a moment in one transaction.
    async fn record_all(&self, mut ended: Receiver<Ended<W::Outcome>>) {
        let mut throttle = BatchThrottle::new(W::PACE);
        loop {
            let together = collect_batch(&mut ended, RECORDED_AT_ONCE, &throttle).await;
            if together.is_empty() {
                return;
            }
            throttle.begin_with(together.len(), RECORDED_AT_ONCE);
            self.settle(together).await;
            throttle.end();
        }
    }

    /// Claims jobs, starts their calls, and says how many those are. What was claimed by an answer that comes too late
    /// runs after its lease.
    async fn claim_and_start(
        &self,
        free: usize,
        calls: &mut Calls<W::Outcome>,
        guard: &mut BreakerGuard,
    ) -> usize {
        let claimed =
            answer(ANSWER_TIMEOUT, claim(&self.pool, &self.settings, free)).await.unwrap_or_else(|error| {
                tracing::warn!(%error, queue = self.settings.queue, "no jobs could be claimed");
                Vec::new()
            });
        let count = claimed.len();
        let started = guard.started(count);
        claimed.into_iter().for_each(|job| self.start(calls, job, started));
        count
    }

    fn start(&self, calls: &mut Calls<W::Outcome>, mut job: Job, started: Period) {
        let worker = self.worker.clone();
        let span = tracing::info_span!(
            "job",
            otel.name = format!("process {}", self.settings.queue),
            otel.kind = "internal",
            queue = self.settings.queue,
            job_id = %job.id,
            attempts = job.attempts,
        );
        job.trace = trace::continue_in(&span, &job.trace);
        let call = async move {
            failpoint::hit(Failpoint::BeforeCall);
            let called = AssertUnwindSafe(worker.call(&job)).catch_unwind().await;
            failpoint::hit(Failpoint::AfterCall);
            let (call, sign) = called.unwrap_or_else(|panic| {
                (JobOutcome::Retry(Failure::from_panic(panic.as_ref()).to_string()), CallResult::Ignored)
            });
            Ended { job, call, sign, started }
        };
        calls.spawn(call.instrument(span));
    }

    /// Records what is done, and lets the rest run again.
    async fn settle(&self, ended: Vec<Ended<W::Outcome>>) {
        let (mut done, mut again) = (Vec::new(), Vec::new());
        for Ended { job, call, .. } in ended {
            match call {
                JobOutcome::Completed(outcome) => done.push((job, outcome)),
                JobOutcome::Retry(reason) => again.push((job, reason)),
            }
        }
        self.put_back(&again).await;
        let Err(failure) = self.record_patiently(&mut done).await else {
            return;
        };
        if let [(job, _)] = done.as_slice() {
            self.put_back(&[(job.clone(), failure)]).await;
            return;
        }
        for outcome in done {
            let mut alone = vec![outcome];
            if let Err(failure) = self.record_patiently(&mut alone).await {
                let failed: Vec<_> = alone.into_iter().map(|(job, _)| (job, failure.clone())).collect();
                self.put_back(&failed).await;
            }
        }
    }

    /// Records outcomes, waiting out what time heals; fails with the reason of what does not.
    async fn record_patiently(&self, done: &mut Vec<(Job, W::Outcome)>) -> Result<(), String> {
        let mut attempt = 0;
        while !done.is_empty() {
            match in_time(self.record(done)).await {
                Ok(()) => break,
                Err(Failure::Message(reason)) => return Err(reason),
                Err(failure) => {
                    tracing::warn!(%failure, queue = self.settings.queue, "outcomes wait to be recorded");
                    tokio::time::sleep(runtime::retry::backoff(attempt, POLL, RECORD_BACKOFF_CAP)).await;
                    attempt += 1;
                }
            }
        }
        Ok(())
    }

    async fn record(&self, done: &mut Vec<(Job, W::Outcome)>) -> Result<(), Failure> {
        let ids: Vec<Uuid> = done.iter().map(|(job, _)| job.id).collect();
        let mut tx = runtime::database::begin(&self.pool).await?;
        let mut open: HashSet<Uuid> = take(&mut tx, &ids).await?.into_iter().collect();
        // Each once: a worker whose lease ran out may have claimed its own job again.
        done.retain(|(job, _)| open.remove(&job.id));
        if done.is_empty() {
            return Ok(());
        }
        let recorded = AssertUnwindSafe(self.worker.record(&mut tx, done)).catch_unwind();
        let effects = match recorded.await {
            Ok(recorded) => recorded?,
            Err(panic) => return Err(Failure::from_panic(panic.as_ref())),
        };
        self.outbox.commit(tx, effects).await?;
        Ok(())
    }

    async fn put_back(&self, jobs: &[(Job, String)]) {
        if jobs.is_empty() {
            return;
        }
        for (job, reason) in jobs {
            tracing::warn!(job_id = %job.id, attempts = job.attempts, reason, "a job runs again later");
        }
        // When this fails they run again all the same, after their lease.
        if let Err(error) = answer(ANSWER_TIMEOUT, postpone(&self.pool, &self.settings, jobs)).await {
            tracing::warn!(%error, "jobs wait for the end of their lease");
        }
    }
}

/// Notes what a call tells about the outside, and hands it on.
async fn hand_on<T>(call: Result<Ended<T>, JoinError>, guard: &mut BreakerGuard, ended: &Sender<Ended<T>>) {
    // A call that panics has ended, too: only one that was aborted is an error.
    let Ok(call) = call else { return };
    let reason = match &call.call {
        JobOutcome::Completed(_) => "",
        JobOutcome::Retry(reason) => reason,
    };
    guard.ended(call.started, &call.job, call.sign, reason);
    // Nobody records any more only when the shutdown takes too long: it runs again after its lease.
    let _ = ended.send(call).await;
}

/// The spans of the current call, for a worker that hands its trace on over HTTP.
#[must_use]
pub fn current_trace() -> TraceContext {
    trace::context_of(&Span::current())
}
