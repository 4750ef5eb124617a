//! Leases with fencing: who leads, as a row of the database.
//!
//! A leader renews its lease by its own statements. Its lease is free when it has not been renewed for 10 s, or when the
//! session that acquired it is gone: so a leader that is killed is replaced at once, and one that is frozen within 10 s.
//! Each leader has a higher token than the one before. What it writes as the leader is conditional on its token, so that
//! a former leader which wakes up changes nothing.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::Instant;

/// How long a lease is valid after it was renewed.
const LEASE: Duration = Duration::from_secs(10);
const RENEWED_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("another replica leads as {0}")]
    Lost(&'static str),
}

/// That this process leads, as far as it knows.
#[derive(Debug)]
pub(crate) struct Lease {
    name: &'static str,
    pub(crate) token: i64,
    renewed: Instant,
}

impl Lease {
    /// Acquires the lease, if it is free, for the session of this connection.
    pub(crate) async fn try_acquire(
        conn: &mut PgConnection,
        name: &'static str,
    ) -> sqlx::Result<Option<Self>> {
        // Counted from before the database does.
        let renewed = Instant::now();
        let token = sqlx::query_scalar!(
            "insert into messaging.leases as lease (name, token, backend_pid, backend_start, until)
             select $1, 1, pid, backend_start, now() + make_interval(secs => $2)
             from pg_stat_get_activity(pg_backend_pid())
             where not exists (
                 -- Without a lock, since followers ask several times a second.
                 select from messaging.leases as taken where taken.name = $1 and taken.until > now() and exists (
                     select from pg_stat_get_activity(taken.backend_pid) as session
                     where session.backend_start = taken.backend_start))
             on conflict (name) do update
             set token = lease.token + 1, backend_pid = excluded.backend_pid,
                 backend_start = excluded.backend_start, until = excluded.until
             where lease.until <= now() or not exists (
                 select from pg_stat_get_activity(lease.backend_pid) as session
                 where session.backend_start = lease.backend_start)
             returning token",
            name,
            LEASE.as_secs_f64()
        )
        .fetch_optional(conn)
        .await?;
        Ok(token.map(|token| Self { name, token, renewed }))
    }

    /// When it is to be renewed.
    pub(crate) fn renewal(&self) -> Instant {
        self.renewed + RENEWED_AFTER
    }

    /// Renews the lease, if it is time to.
    pub(crate) async fn renew(&mut self, conn: &mut PgConnection) -> Result<(), LeaseError> {
        if Instant::now() < self.renewal() {
            return Ok(());
        }
        let renewed = Instant::now();
        let found = sqlx::query!(
            "update messaging.leases set until = now() + make_interval(secs => $3) where name = $1 and token = $2",
            self.name,
            self.token,
            LEASE.as_secs_f64()
        )
        .execute(conn)
        .await?;
        if found.rows_affected() == 0 {
            return Err(LeaseError::Lost(self.name));
        }
        self.renewed = renewed;
        Ok(())
    }

    /// Gives the lease up, so that another replica may lead at once.
    pub(crate) async fn release(self, conn: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query!(
            "update messaging.leases set until = now() where name = $1 and token = $2",
            self.name,
            self.token
        )
        .execute(conn)
        .await?;
        Ok(())
    }
}
