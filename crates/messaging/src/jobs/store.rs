//! The rows of the job queue.

use contracts::TraceContext;
use runtime::clock;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::job::{Job, JobSettings};
use crate::effects::NewJob;

/// Writes jobs in the given transaction.
pub(crate) async fn insert(conn: &mut PgConnection, jobs: &[NewJob]) -> sqlx::Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = jobs.iter().map(|job| job.id.unwrap_or_else(clock::new_id)).collect();
    let queues: Vec<_> = jobs.iter().map(|job| job.queue.to_owned()).collect();
    let keys: Vec<_> = jobs.iter().map(|job| job.key).collect();
    let payloads: Vec<_> = jobs.iter().map(|job| job.payload.clone()).collect();
    let causes: Vec<_> = jobs.iter().map(|job| job.origin.cause).collect();
    let parents: Vec<_> = jobs.iter().map(|job| job.origin.trace.traceparent.clone()).collect();
    let states: Vec<_> = jobs.iter().map(|job| job.origin.trace.tracestate.clone()).collect();
    sqlx::query!(
        "insert into messaging.jobs (id, queue, key, payload, cause, traceparent, tracestate)
         select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::jsonb[], $5::uuid[], $6::text[], $7::text[])",
        &ids,
        &queues,
        &keys,
        &payloads,
        &causes as &[Option<Uuid>],
        &parents as &[Option<String>],
        &states as &[Option<String>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Claims up to `free` due jobs. The array is evaluated once; a subquery that is joined may be evaluated again for every
/// row, and would claim more than its limit each time.
pub(super) async fn claim(pool: &PgPool, settings: &JobSettings, free: usize) -> sqlx::Result<Vec<Job>> {
    if free == 0 {
        return Ok(Vec::new());
    }
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
        cause: row.cause,
        trace: TraceContext { traceparent: row.traceparent, tracestate: row.tracestate },
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
    let ids: Vec<_> = jobs.iter().map(|(job, _)| job.id).collect();
    let reasons: Vec<_> = jobs.iter().map(|(_, reason)| reason.clone()).collect();
    let waits: Vec<_> = jobs
        .iter()
        .map(|(job, _)| {
            let attempt = u32::try_from(job.attempts - 1).unwrap_or_default();
            runtime::retry::backoff(attempt, settings.backoff_base, settings.backoff_cap).as_secs_f64()
        })
        .collect();
    let attempts: Vec<_> = jobs.iter().map(|(job, _)| job.attempts).collect();
    sqlx::query!(
        "update messaging.jobs as job
         set run_at = now() + make_interval(secs => later.wait), last_error = later.reason
         from unnest($1::uuid[], $2::float8[], $3::text[], $4::integer[]) as later (id, wait, reason, attempts)
         where job.id = later.id and job.attempts = later.attempts",
        &ids,
        &waits,
        &reasons,
        &attempts,
    )
    .execute(pool)
    .await?;
    Ok(())
}
