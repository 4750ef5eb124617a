//! The rows of the job queue.

use contracts::TraceContext;
use runtime::{clock, columns::column, retry};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::job::{Job, JobSettings};
use crate::effects::{CausationContext, NewJob};

pub(crate) async fn insert(conn: &mut PgConnection, jobs: &[NewJob]) -> sqlx::Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into messaging.jobs (id, queue, key, payload, cause, traceparent, tracestate)
         select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::jsonb[], $5::uuid[], $6::text[], $7::text[])",
        &column(jobs, |job| job.id.unwrap_or_else(clock::new_id)),
        &column(jobs, |job| job.queue) as _,
        &column(jobs, |job| job.key),
        &column(jobs, |job| job.payload.clone()),
        &column(jobs, |job| job.origin.cause) as _,
        &column(jobs, |job| job.origin.trace.traceparent.as_deref()) as _,
        &column(jobs, |job| job.origin.trace.tracestate.as_deref()) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Claims up to `free` due jobs. The array is evaluated once; a subquery that is joined may be evaluated again for every
/// row, and would claim more than its limit each time.
pub(super) async fn claim(pool: &PgPool, settings: &JobSettings, free: usize) -> sqlx::Result<Vec<Job>> {
    let claimed = sqlx::query!(
        "update messaging.jobs
         set run_at = now() + make_interval(secs => $3), attempts = attempts + 1
         where id = any(array(
             select id from messaging.jobs where queue = $1 and run_at <= now()
             order by run_at limit $2 for update skip locked
         ))
         returning id, key, payload, attempts, cause, traceparent, tracestate",
        settings.queue,
        i64::try_from(free).unwrap_or(i64::MAX),
        settings.lease.as_secs_f64(),
    )
    .fetch_all(pool)
    .await?;
    let jobs = claimed.into_iter().map(|row| Job {
        id: row.id,
        key: row.key,
        payload: row.payload,
        attempts: row.attempts,
        origin: CausationContext {
            cause: row.cause,
            trace: TraceContext { traceparent: row.traceparent, tracestate: row.tracestate },
        },
    });
    Ok(jobs.collect())
}

/// Deletes the jobs in the transaction that records them, and returns those that still existed. The index is read in the
/// order of the ids, so that two workers with the same jobs do not deadlock.
pub(super) async fn take(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!("delete from messaging.jobs where id = any($1) returning id", ids)
        .fetch_all(conn)
        .await
}

/// Sets when the jobs run again. A job whose lease expired and that was claimed again is left to its new worker.
pub(super) async fn postpone(
    pool: &PgPool,
    settings: &JobSettings,
    jobs: &[(Job, String)],
) -> sqlx::Result<()> {
    let wait = |job: &Job| {
        let attempt = u32::try_from(job.attempts - 1).unwrap_or_default();
        retry::backoff(attempt, settings.backoff_base, settings.backoff_cap).as_secs_f64()
    };
    sqlx::query!(
        "update messaging.jobs as job
         set run_at = now() + make_interval(secs => later.wait), last_error = later.reason
         from unnest($1::uuid[], $2::float8[], $3::text[], $4::integer[]) as later (id, wait, reason, attempts)
         where job.id = later.id and job.attempts = later.attempts",
        &column(jobs, |(job, _)| job.id),
        &column(jobs, |(job, _)| wait(job)),
        &column(jobs, |(_, reason)| reason.as_str()) as _,
        &column(jobs, |(job, _)| job.attempts),
    )
    .execute(pool)
    .await?;
    Ok(())
}
