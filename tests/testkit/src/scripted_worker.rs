//! A worker that does its jobs as it is told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::eventually;
use contracts::{InvalidTransition, OrderId};
use messaging::breaker::BreakerConfig;
use messaging::jobs::{JobRunner, JobSettings, Resolution};
use messaging::{
    CallResult, CausationContext, Delivery, Effects, Job, JobOutcome, NewJob, Outcome, Reaction,
    ReactionError, UnitOfWork, Worker,
};
use runtime::clock;
use runtime::tasks::Tasks;
use sqlx::PgConnection;
use sqlx::types::Uuid;
use tokio::sync::watch;

use crate::facts::reserved;
use crate::fixture::{Replica, ServiceFixture};
use crate::recorder::raise;

const QUEUE: &str = "errands";

/// How a call ends.
#[derive(Debug, Clone, Copy)]
pub enum Ending {
    Done,
    Again,
    /// As the last, while the outside fails.
    Trouble,
    /// No call can settle it.
    Parked,
    Panic,
}

/// Which calls may end.
#[derive(Debug, Clone, Copy)]
enum Open {
    None,
    Only(Uuid),
    All,
}

/// Notes its calls, and records each outcome in table `outcomes` and as an event.
#[derive(Debug)]
pub struct ScriptedWorker {
    endings: Mutex<VecDeque<Ending>>,
    record_faults: Mutex<VecDeque<&'static str>>,
    calls: Mutex<Vec<(Uuid, i32)>>,
    ended: AtomicUsize,
    open: watch::Sender<Open>,
}

impl ScriptedWorker {
    /// Ends its calls as given, one after the other, and every further one with [`Ending::Done`].
    pub fn new(endings: impl IntoIterator<Item = Ending>) -> Arc<Self> {
        let endings = Mutex::new(endings.into_iter().collect());
        let (record_faults, calls) = (Mutex::default(), Mutex::default());
        let (ended, open) = (AtomicUsize::default(), watch::Sender::new(Open::All));
        Arc::new(Self { endings, record_faults, calls, ended, open })
    }

    /// The same, but no call ends before [`open`](Self::open).
    pub fn closed(endings: impl IntoIterator<Item = Ending>) -> Arc<Self> {
        let scripted_worker = Self::new(endings);
        scripted_worker.open.send_replace(Open::None);
        scripted_worker
    }

    /// Lets its calls end.
    pub fn open(&self) {
        self.open.send_replace(Open::All);
    }

    /// Ends every further call with [`Ending::Done`].
    pub fn recover(&self) {
        self.endings.lock().expect("no panic").clear();
    }

    /// Lets only the calls of this job end.
    pub fn open_only(&self, job: Uuid) {
        self.open.send_replace(Open::Only(job));
    }

    /// Waits until so many calls have begun, and gives them.
    pub async fn has_begun(&self, calls: usize) -> Vec<(Uuid, i32)> {
        eventually(&format!("{calls} calls"), async || {
            let begun = self.calls();
            if begun.len() >= calls { Ok(begun) } else { Err(begun) }
        })
        .await
    }

    /// Waits until so many calls have ended.
    pub async fn has_ended(&self, calls: usize) {
        eventually(&format!("{calls} calls ended"), async || {
            let ended = self.ended();
            if ended >= calls { Ok(()) } else { Err(ended) }
        })
        .await;
    }

    /// How many calls have ended.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    /// Fails to record, once for each SQLSTATE.
    pub fn fail_to_record(&self, states: impl IntoIterator<Item = &'static str>) {
        self.record_faults.lock().expect("no panic").extend(states);
    }

    /// The calls that began: job and attempt.
    pub fn calls(&self) -> Vec<(Uuid, i32)> {
        self.calls.lock().expect("no panic").clone()
    }

    /// Starts a replica of the worker.
    pub fn start(self: &Arc<Self>, fixture: &ServiceFixture, lease: Duration) -> Replica {
        self.start_behind("errands", BREAKER, fixture, lease)
    }

    /// The same, behind this breaker of a dependency.
    pub fn start_behind(
        self: &Arc<Self>,
        dependency: &'static str,
        breaker: BreakerConfig,
        fixture: &ServiceFixture,
        lease: Duration,
    ) -> Replica {
        let host = fixture.node();
        let runner = JobRunner {
            settings: JobSettings {
                queue: QUEUE,
                concurrency: 4,
                lease,
                backoff_base: Duration::from_millis(20),
                backoff_cap: Duration::from_millis(50),
                dependency,
                breaker,
            },
            pool: host.pool.clone(),
            unit_of_work: host.unit_of_work.clone(),
            health: host.health.clone(),
            worker: self.clone(),
        };
        let mut tasks = Tasks::new(host.shutdown.clone());
        tasks.spawn("jobs", runner.run(host.shutdown.clone()));
        Replica::of(host, tasks)
    }
}

impl Worker for ScriptedWorker {
    type Outcome = ();
    type Reaction = Self;

    async fn call(&self, job: &Job) -> (JobOutcome<()>, CallResult) {
        self.calls.lock().expect("no panic").push((job.id, job.attempts));
        let ending = self.endings.lock().expect("no panic").pop_front();
        let admits = |open: &Open| match open {
            Open::None => false,
            Open::Only(admitted) => *admitted == job.id,
            Open::All => true,
        };
        let _ = self.open.subscribe().wait_for(admits).await;
        self.ended.fetch_add(1, Ordering::SeqCst);
        match ending.unwrap_or(Ending::Done) {
            Ending::Done => (JobOutcome::Completed(()), CallResult::Success),
            Ending::Again => (JobOutcome::Retry("not now".to_owned()), CallResult::Ignored),
            Ending::Trouble => (JobOutcome::Retry("out of order".to_owned()), CallResult::Failure),
            Ending::Parked => (JobOutcome::Parked("nobody knows".to_owned()), CallResult::Ignored),
            Ending::Panic => panic!("told to"),
        }
    }

    fn resolve(&self, _: &Job, resolution: &Resolution) -> Result<(), String> {
        match resolution.outcome.as_str() {
            "done" => Ok(()),
            "panic" => panic!("told to"),
            outcome => Err(format!("not {outcome}: it is done")),
        }
    }

    fn input(job: &Job, (): &()) -> Option<Job> {
        Some(job.clone())
    }

    fn reaction(&self) -> &Self {
        self
    }
}

impl Reaction for ScriptedWorker {
    type Event = contracts::Event;
    type Input = Job;
    type State = ();
    type Changes = Vec<Uuid>;

    fn input(_: &Delivery) -> Option<Job> {
        None
    }

    async fn open(&self, _: &mut PgConnection, _: &[Job]) -> Result<(), ReactionError> {
        Ok(())
    }

    fn fold((): (), jobs: &[Job]) -> Result<Outcome<Vec<Uuid>>, InvalidTransition> {
        let changed = jobs.iter().map(|job| job.id).collect();
        let events = jobs.iter().map(|job| reserved(OrderId(job.key), i64::from(job.attempts))).collect();
        Ok(Outcome { changed, events, jobs: Vec::new() })
    }

    async fn save(&self, conn: &mut PgConnection, jobs: &Vec<Uuid>) -> Result<(), ReactionError> {
        for job in jobs {
            sqlx::query("insert into outcomes (job_id) values ($1)").bind(job).execute(&mut *conn).await?;
        }
        let fault = self.record_faults.lock().expect("no panic").pop_front();
        match fault {
            Some(state) => Ok(raise(conn, state).await?),
            None => Ok(()),
        }
    }
}

/// A breaker that opens after three jobs and tries again soon.
pub const BREAKER: BreakerConfig =
    BreakerConfig { failures: 3, pause: Duration::from_millis(100), pause_cap: Duration::from_millis(200) };

/// Commits a job for the scripted_worker, and gives its id.
pub async fn order_job(fixture: &ServiceFixture) -> Uuid {
    order_job_at(fixture, &fixture.node().unit_of_work).await
}

/// The same by this outbox, which wakes the worker that listens to it.
pub async fn order_job_at(fixture: &ServiceFixture, unit_of_work: &UnitOfWork) -> Uuid {
    commit_job(fixture, unit_of_work, clock::new_id(), "").await
}

/// Commits a job of a key and a lane, and gives its id.
pub async fn order_job_of(fixture: &ServiceFixture, key: Uuid, lane: &str) -> Uuid {
    commit_job(fixture, &fixture.node().unit_of_work, key, lane).await
}

async fn commit_job(fixture: &ServiceFixture, unit_of_work: &UnitOfWork, key: Uuid, lane: &str) -> Uuid {
    let id = clock::new_id();
    let job = NewJob {
        id: Some(id),
        lane: lane.to_owned(),
        ..NewJob::new(QUEUE, key, serde_json::json!({}), CausationContext::default())
    };
    let tx = runtime::database::begin(&fixture.pool).await.expect("a transaction");
    let effects: Effects = Effects { events: Vec::new(), jobs: vec![job] };
    unit_of_work.commit(tx, effects).await.expect("committed");
    id
}
