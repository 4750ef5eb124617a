//! Runs the jobs of one queue: claims them, makes their calls, and records the outcomes in batches.

use std::{sync::Arc, time::Duration};

use futures::future::join;
use runtime::database::{ANSWER_TIMEOUT, answer};
use runtime::health::Health;
use runtime::shutdown::before_end_of;
use sqlx::PgPool;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::breaker_guard::BreakerGuard;
use super::fetch::{Backlog, collect_batch};
use super::job::{Job, JobOutcome, JobSettings, Worker};
use super::store::{Claim, Lanes, claim, park, postpone, take};
use crate::breaker::{CallResult, Period};
use crate::failpoint::{self, Failpoint};
use crate::failure_policy::{BatchOutcome, BatchTransaction, Failure, catch_panic, commit_batch};
use crate::reaction::{Reaction, react};
use crate::throttle::{self, BatchThrottle};
use crate::trace;
use crate::unit_of_work::UnitOfWork;

/// How often the queue is polled: a wake-up may be lost, and jobs that run again have none.
const POLL: Duration = Duration::from_millis(250);
/// The most calls that are recorded in one transaction. As many more may wait before no more calls start.
const RECORDED_AT_ONCE: usize = 64;
/// How long a shutdown waits for calls in flight; the others run again after their lease.
const DRAIN: Duration = Duration::from_secs(7);

pub struct JobRunner<W> {
    pub settings: JobSettings,
    pub pool: PgPool,
    pub unit_of_work: UnitOfWork,
    /// Notes that the outside fails. The service stays ready: its jobs wait.
    pub health: Health,
    pub worker: Arc<W>,
}

type Calls<T> = JoinSet<EndedCall<T>>;

#[derive(Debug)]
struct EndedCall<T> {
    job: Job,
    outcome: JobOutcome<T>,
    result: CallResult,
    started: Period,
}

impl<T> EndedCall<T> {
    fn is_retry(&self) -> bool {
        self.job.attempts > 1
    }
}

impl<W: Worker> JobRunner<W> {
    /// Runs jobs until the shutdown; then waits for calls in flight and records them.
    pub async fn run(self, shutdown: CancellationToken) {
        let (sender, receiver) = mpsc::channel(RECORDED_AT_ONCE);
        let work = join(self.call_all(sender, &shutdown), self.record_all(receiver));
        // A call that has not ended in time runs again after its lease, in the next process.
        let _ = before_end_of(&shutdown, DRAIN, work).await;
    }

    /// Claims jobs and starts their calls until the shutdown, and passes on those that ended.
    async fn call_all(&self, ended: Sender<EndedCall<W::Outcome>>, shutdown: &CancellationToken) {
        let mut calls = Calls::new();
        let JobSettings { dependency, breaker, .. } = &self.settings;
        let mut guard = BreakerGuard::new(dependency, breaker.clone(), self.health.clone());
        let mut throttle = BatchThrottle::new(throttle::INTERVAL);
        let places = self.settings.concurrency;
        let mut retrying = 0;
        let mut backlog = Backlog::Possible;
        while !shutdown.is_cancelled() {
            // The breaker limits the claim, not the call: a job that is not claimed spends no attempt.
            guard.look();
            let free = places.saturating_sub(calls.len());
            let at_once = backlog.skips_throttle(free, places);
            let ready = async {
                if !at_once {
                    throttle.ready().await;
                }
            };
            tokio::select! {
                Some(call) = calls.join_next() => {
                    retrying -= usize::from(call.as_ref().is_ok_and(EndedCall::is_retry));
                    pass_on(call, &mut guard, &ended).await;
                }
                () = ready, if backlog != Backlog::Unknown && free > 0 => {
                    if !at_once {
                        throttle.begin();
                    }
                    let retries = (places / 2).max(1).saturating_sub(retrying);
                    let claimed = self.claim(free, retries, &guard).await;
                    throttle.end();
                    let count = claimed.len();
                    for job in claimed {
                        retrying += usize::from(job.attempts > 1);
                        let started = guard.started(&job.lane);
                        self.start(&mut calls, job, started);
                    }
                    // A claim that got all that it asked for has probably left some.
                    backlog = if count == free { Backlog::Certain } else { Backlog::Unknown };
                }
                // While more jobs are certain a wake-up says nothing new; the permit of the notification is kept.
                () = self.unit_of_work.jobs_written.notified(), if backlog == Backlog::Unknown => {
                    backlog = Backlog::Possible;
                }
                () = tokio::time::sleep(guard.cooldown(POLL)) => backlog = backlog.max(Backlog::Possible),
                () = shutdown.cancelled() => {}
            }
        }
        while let Some(call) = calls.join_next().await {
            pass_on(call, &mut guard, &ended).await;
        }
    }

    /// Records ended calls; those that end at nearly the same time in one transaction.
    async fn record_all(&self, mut ended: Receiver<EndedCall<W::Outcome>>) {
        let mut throttle = BatchThrottle::new(<W::Reaction as Reaction>::INTERVAL);
        loop {
            let batch = collect_batch(&mut ended, RECORDED_AT_ONCE, &throttle).await;
            if batch.is_empty() {
                return;
            }
            throttle.begin_with(batch.len(), RECORDED_AT_ONCE);
            self.record(batch).await;
            throttle.end();
        }
    }

    /// Claims jobs for the free places, those tried before for some of them, as far as the breakers permit. When the
    /// answer of the database comes too late, the jobs are claimed and run after their lease.
    async fn claim(&self, free: usize, retries: usize, guard: &BreakerGuard) -> Vec<Job> {
        let (held, probes) = guard.held();
        let mut claimed =
            self.claim_some(&Claim { places: free, retries, lanes: Lanes::AllBut(&held) }).await;
        for (lane, permits) in held.iter().zip(probes) {
            let places = permits.min(free - claimed.len());
            if places > 0 {
                let probes = Claim { places, retries: places, lanes: Lanes::Only(lane) };
                claimed.extend(self.claim_some(&probes).await);
            }
        }
        claimed
    }

    async fn claim_some(&self, jobs: &Claim<'_>) -> Vec<Job> {
        answer(ANSWER_TIMEOUT, claim(&self.pool, &self.settings, jobs)).await.unwrap_or_else(|error| {
            tracing::warn!(%error, queue = self.settings.queue, "no jobs could be claimed");
            Vec::new()
        })
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
        job.origin.trace = trace::continue_in(&span, &job.origin.trace);
        let call = async move {
            if let Some(resolution) = &job.resolution {
                let resolved = catch_panic(async { worker.resolve(&job, resolution) }).await;
                let resolved = resolved.unwrap_or_else(|panic| Err(panic.to_string()));
                let outcome = resolved.map_or_else(JobOutcome::Parked, JobOutcome::Completed);
                return EndedCall { job, outcome, result: CallResult::Ignored, started };
            }
            failpoint::hit(Failpoint::BeforeCall);
            let called = catch_panic(worker.call(&job)).await;
            failpoint::hit(Failpoint::AfterCall);
            let (outcome, result) =
                called.unwrap_or_else(|panic| (JobOutcome::Retry(panic.to_string()), CallResult::Ignored));
            EndedCall { job, outcome, result, started }
        };
        calls.spawn(call.instrument(span));
    }

    /// Records the calls that completed, and postpones or parks the jobs of the others.
    async fn record(&self, ended: Vec<EndedCall<W::Outcome>>) {
        let (mut completed, mut again, mut parked) = (Vec::new(), Vec::new(), Vec::new());
        for EndedCall { job, outcome, .. } in ended {
            match outcome {
                JobOutcome::Completed(outcome) => completed.push((job, outcome)),
                JobOutcome::Retry(reason) => again.push((job, reason)),
                JobOutcome::Parked(reason) => parked.push((job, reason)),
            }
        }
        self.postpone(&again).await;
        self.park(&parked).await;
        if let BatchOutcome::Failed(failed) = commit_batch(&self.health, self, completed).await {
            let failed: Vec<_> = failed.into_iter().map(|((job, _), reason)| (job, reason)).collect();
            self.postpone(&failed).await;
        }
    }

    async fn postpone(&self, jobs: &[(Job, String)]) {
        if jobs.is_empty() {
            return;
        }
        for (job, reason) in jobs {
            tracing::warn!(job_id = %job.id, attempts = job.attempts, reason, "a job runs again later");
        }
        // If this fails they still run again, after their lease.
        if let Err(error) = answer(ANSWER_TIMEOUT, postpone(&self.pool, &self.settings, jobs)).await {
            tracing::warn!(%error, "jobs wait for the end of their lease");
        }
    }

    async fn park(&self, jobs: &[(Job, String)]) {
        if jobs.is_empty() {
            return;
        }
        for (job, reason) in jobs {
            tracing::error!(
                job_id = %job.id, key = %job.key, queue = self.settings.queue, attempts = job.attempts, reason,
                "a job is parked: no call settles it, see `sagactl jobs`"
            );
        }
        // If this fails they run again after their lease, and are parked then.
        if let Err(error) = answer(ANSWER_TIMEOUT, park(&self.pool, jobs)).await {
            tracing::warn!(%error, "jobs are parked after their lease");
        }
    }
}

impl<W: Worker> BatchTransaction for JobRunner<W> {
    type Item = (Job, W::Outcome);

    async fn commit(&self, completed: &mut Vec<(Job, W::Outcome)>) -> Result<(), Failure> {
        if completed.is_empty() {
            return Ok(());
        }
        let JobRunner { pool, worker, unit_of_work, .. } = self;
        let mut tx = runtime::database::begin(pool).await.map_err(Failure::of_no_item)?;
        let mut taken =
            take(&mut tx, completed.iter().map(|(job, _)| job)).await.map_err(Failure::of_no_item)?;
        // Each job once: a worker whose lease expired may have claimed its own job again.
        completed.retain(|(job, _)| taken.remove(&(job.id, job.attempts)));
        if completed.is_empty() {
            return Ok(());
        }
        let inputs: Vec<_> = completed.iter().filter_map(|(job, outcome)| W::input(job, outcome)).collect();
        let effects = react(worker.reaction(), &mut tx, &inputs).await?;
        unit_of_work.commit(tx, effects).await?;
        Ok(())
    }

    fn may_repeat(&self) -> bool {
        // Also in a shutdown: what the outside has done should be recorded. The drain limits it.
        true
    }
}

/// Tells the breaker what a call says about the outside, and passes the call on to be recorded.
async fn pass_on<T>(
    call: Result<EndedCall<T>, JoinError>,
    guard: &mut BreakerGuard,
    ended: &Sender<EndedCall<T>>,
) {
    // The panic of a call was caught: only a call that was aborted is an error.
    let Ok(call) = call else { return };
    let reason = match &call.outcome {
        JobOutcome::Completed(_) => "",
        JobOutcome::Retry(reason) | JobOutcome::Parked(reason) => reason,
    };
    guard.ended(call.started, &call.job, call.result, reason);
    // It fails only when a shutdown takes too long: the job runs again after its lease.
    let _ = ended.send(call).await;
}
