//! The rows of the job queue.

use std::{collections::HashSet, time::Duration};

use contracts::TraceContext;
use runtime::{clock, columns::column};
use serde_json::Value;
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::job::{Job, JobSettings, Resolution};
use crate::effects::{CausationContext, NewJob};

pub(crate) async fn insert(conn: &mut PgConnection, jobs: &[NewJob]) -> sqlx::Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into messaging.jobs (id, queue, key, lane, payload, cause, traceparent, tracestate)
         select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::jsonb[], $6::uuid[], $7::text[],
             $8::text[])",
        &column(jobs, |job| job.id.unwrap_or_else(clock::new_id)),
        &column(jobs, |job| job.queue) as _,
        &column(jobs, |job| job.key),
        &column(jobs, |job| job.lane.as_str()) as _,
        &column(jobs, |job| job.payload.clone()),
        &column(jobs, |job| job.origin.cause) as _,
        &column(jobs, |job| job.origin.trace.traceparent.as_deref()) as _,
        &column(jobs, |job| job.origin.trace.tracestate.as_deref()) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Which jobs to claim.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    /// At most so many.
    pub(super) places: usize,
    /// At most so many of them that were tried before.
    pub(super) retries: usize,
    /// In these lanes only, or in all others.
    pub(super) lanes: Lanes<'a>,
}

#[derive(Debug)]
pub(super) enum Lanes<'a> {
    Only(&'a str),
    AllBut(&'a [String]),
}

/// Claims due jobs: those that were never tried first, and only the first of each key. An array is evaluated once; a
/// subquery that is joined may be evaluated again for every row, and would claim more than its limit each time.
pub(super) async fn claim(
    pool: &PgPool,
    settings: &JobSettings,
    claim: &Claim<'_>,
) -> sqlx::Result<Vec<Job>> {
    let (only, others) = match claim.lanes {
        Lanes::Only(lane) => (Some(lane), &[] as &[String]),
        Lanes::AllBut(others) => (None, others),
    };
    let claimed = sqlx::query_as!(
        Row,
        r#"with fresh as materialized (
             select id, run_at from messaging.jobs as job
             where queue = $1 and run_at <= now() and attempts = 0 and parked_at is null
               and ($5::text is null or lane = $5) and lane <> all($6)
               and not exists (
                   select from messaging.jobs as earlier
                   where earlier.queue = $1 and earlier.key = job.key and earlier.number < job.number)
             order by run_at limit $2 for update skip locked
         ), tried as materialized (
             select id, run_at from messaging.jobs as job
             where queue = $1 and run_at <= now() and attempts > 0 and parked_at is null
               and ($5::text is null or lane = $5) and lane <> all($6)
               and not exists (
                   select from messaging.jobs as earlier
                   where earlier.queue = $1 and earlier.key = job.key and earlier.number < job.number)
             order by run_at limit least($3, $2 - (select count(*) from fresh)) for update skip locked
         )
         update messaging.jobs
         set run_at = now() + make_interval(secs => $4), attempts = attempts + 1
         where id = any(array(select id from fresh union all select id from tried))
         returning id, key, lane, payload, attempts, cause, traceparent, tracestate,
             extract(epoch from now() - created_at)::float8 as "age!", resolution as "resolution: Json<Resolution>""#,
        settings.queue,
        i64::try_from(claim.places).unwrap_or(i64::MAX),
        i64::try_from(claim.retries).unwrap_or(i64::MAX),
        settings.lease.as_secs_f64(),
        only,
        others,
    )
    .fetch_all(pool)
    .await?;
    Ok(claimed.into_iter().map(Job::from).collect())
}

/// A job as it was claimed.
struct Row {
    id: Uuid,
    key: Uuid,
    lane: String,
    payload: Value,
    attempts: i32,
    cause: Option<Uuid>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    /// In seconds.
    age: f64,
    resolution: Option<Json<Resolution>>,
}

impl From<Row> for Job {
    fn from(row: Row) -> Self {
        let Row { id, key, lane, payload, attempts, cause, traceparent, tracestate, age, resolution } = row;
        let origin = CausationContext { cause, trace: TraceContext { traceparent, tracestate } };
        let (age, resolution) = (Duration::from_secs_f64(age.max(0.0)), resolution.map(|it| it.0));
        Self { id, key, payload, attempts, age, lane, resolution, origin }
    }
}

/// Deletes the jobs in the transaction that records them, and returns which attempts were the last. A job that another
/// worker has claimed since is left to it: it may have made the call again, and its outcome is the one that counts. Rows
/// are locked in the order of the ids, so that two workers with the same jobs do not deadlock.
pub(super) async fn take(
    conn: &mut PgConnection,
    jobs: impl Iterator<Item = &Job>,
) -> sqlx::Result<HashSet<(Uuid, i32)>> {
    let (ids, attempts): (Vec<Uuid>, Vec<i32>) = jobs.map(|job| (job.id, job.attempts)).unzip();
    let taken = sqlx::query!(
        "delete from messaging.jobs where id = any(array(
             select job.id from messaging.jobs as job
             join unnest($1::uuid[], $2::integer[]) as taken (id, attempts) using (id, attempts)
             order by job.id for update of job
         )) returning id, attempts",
        &ids,
        &attempts
    )
    .fetch_all(conn)
    .await?;
    Ok(taken.into_iter().map(|row| (row.id, row.attempts)).collect())
}

/// Deletes the jobs of these keys that were never tried, in the given transaction, and returns the keys of those that
/// were deleted. A job that a worker claims at this moment is left to it.
pub async fn withdraw(conn: &mut PgConnection, queue: &str, keys: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar!(
        "delete from messaging.jobs where id = any(array(
             select id from messaging.jobs where queue = $1 and key = any($2) and attempts = 0
             order by id for update skip locked
         )) returning key",
        queue,
        keys
    )
    .fetch_all(conn)
    .await
}

/// Sets when the jobs run again. A job whose lease expired and that was claimed again is left to its new worker.
pub(super) async fn postpone(
    pool: &PgPool,
    settings: &JobSettings,
    jobs: &[(Job, String)],
) -> sqlx::Result<()> {
    let backoff = |job: &Job| {
        let attempt = u32::try_from(job.attempts - 1).unwrap_or_default();
        runtime::retry::backoff(attempt, settings.backoff_base, settings.backoff_cap).as_secs_f64()
    };
    sqlx::query!(
        "update messaging.jobs as job
         set run_at = now() + make_interval(secs => later.wait), last_error = later.reason
         from unnest($1::uuid[], $2::float8[], $3::text[], $4::integer[]) as later (id, wait, reason, attempts)
         where job.id = later.id and job.attempts = later.attempts",
        &column(jobs, |(job, _)| job.id),
        &column(jobs, |(job, _)| backoff(job)),
        &column(jobs, |(_, reason)| reason.as_str()) as _,
        &column(jobs, |(job, _)| job.attempts),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Parks the jobs for an operator, unless another worker has claimed them meanwhile.
pub(super) async fn park(pool: &PgPool, jobs: &[(Job, String)]) -> sqlx::Result<()> {
    sqlx::query!(
        "update messaging.jobs as job
         set parked_at = now(), last_error = parked.reason, resolution = null
         from unnest($1::uuid[], $2::text[], $3::integer[]) as parked (id, reason, attempts)
         where job.id = parked.id and job.attempts = parked.attempts",
        &column(jobs, |(job, _)| job.id),
        &column(jobs, |(_, reason)| reason.as_str()) as _,
        &column(jobs, |(job, _)| job.attempts),
    )
    .execute(pool)
    .await?;
    Ok(())
}
