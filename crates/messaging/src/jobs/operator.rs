//! What an operator does with jobs: list them, have one tried again at once, or say what became of it.

use chrono::{DateTime, Utc};
use runtime::clock;
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::job::Resolution;

/// A job as its row shows it.
#[derive(Debug, Clone, Serialize)]
pub struct JobRow {
    pub id: Uuid,
    pub queue: String,
    /// The aggregate that it is about.
    pub key: Uuid,
    pub payload: Value,
    pub attempts: i32,
    pub created_at: DateTime<Utc>,
    /// When it is tried again, or when its lease ends.
    pub run_at: DateTime<Utc>,
    /// Why the last attempt ended without an outcome.
    pub last_error: Option<String>,
    /// Since when it waits for an operator.
    pub parked_at: Option<DateTime<Utc>>,
}

/// What was done with a job.
#[derive(Debug, Clone, Serialize)]
pub struct JobAction {
    pub job_id: Uuid,
    pub queue: String,
    pub key: Uuid,
    /// `retry` or `resolve`.
    pub action: String,
    pub outcome: Option<String>,
    pub reference: Option<String>,
    pub reason: Option<String>,
    pub requested_by: String,
    pub requested_at: DateTime<Utc>,
}

/// The jobs that wait for an operator, or every job, oldest first, up to `limit`.
pub async fn list(conn: &mut PgConnection, only_parked: bool, limit: i64) -> sqlx::Result<Vec<JobRow>> {
    sqlx::query_as!(
        JobRow,
        "select id, queue, key, payload, attempts, created_at, run_at, last_error, parked_at
         from messaging.jobs where not $1 or parked_at is not null order by number limit $2",
        only_parked,
        limit
    )
    .fetch_all(conn)
    .await
}

/// A job; `None` when there is none of this id, or no more.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<JobRow>> {
    sqlx::query_as!(
        JobRow,
        "select id, queue, key, payload, attempts, created_at, run_at, last_error, parked_at
         from messaging.jobs where id = $1",
        id
    )
    .fetch_optional(conn)
    .await
}

/// The latest that was done with a job, or with all, oldest first.
pub async fn history(conn: &mut PgConnection, job_id: Option<Uuid>) -> sqlx::Result<Vec<JobAction>> {
    let mut latest = sqlx::query_as!(
        JobAction,
        "select job_id, queue, key, action, outcome, reference, reason, requested_by, requested_at
         from messaging.job_actions where $1::uuid is null or job_id = $1 order by id desc limit 1000",
        job_id
    )
    .fetch_all(conn)
    .await?;
    latest.reverse();
    Ok(latest)
}

/// Has a job tried again at once, and records who asked for it. False when there is no such job.
pub async fn retry(conn: &mut PgConnection, id: Uuid, by: &str, reason: Option<&str>) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "with job as (
             update messaging.jobs set parked_at = null, run_at = now() where id = $1 returning id, queue, key
         )
         insert into messaging.job_actions (id, job_id, queue, key, action, reason, requested_by)
         select $2, id, queue, key, 'retry', $3, $4 from job",
        id,
        clock::new_id(),
        reason,
        by
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Says what became of a parked job, and records who said so. Its worker records the outcome as if a call had told it,
/// or parks the job again when it cannot have this outcome. False when no such job is parked.
pub async fn resolve(
    conn: &mut PgConnection,
    id: Uuid,
    by: &str,
    resolution: &Resolution,
) -> sqlx::Result<bool> {
    let Resolution { outcome, reference, reason } = resolution;
    let done = sqlx::query!(
        "with job as (
             update messaging.jobs set parked_at = null, run_at = now(), resolution = $3
             where id = $1 and parked_at is not null returning id, queue, key
         )
         insert into messaging.job_actions (id, job_id, queue, key, action, outcome, reference, reason, requested_by)
         select $2, id, queue, key, 'resolve', $4, $5, $6, $7 from job",
        id,
        clock::new_id(),
        Json(resolution) as _,
        outcome,
        reference.as_deref(),
        reason,
        by
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
