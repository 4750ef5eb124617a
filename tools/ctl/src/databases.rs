//! The databases of the services, for commands that an operator gives to one or to all of them.

use anyhow::{Result, anyhow, ensure};
use runtime::database::{ANSWER_TIMEOUT, answer};
use runtime::error::with_sources;
use sqlx::{Connection, PgConnection};
use system::Service;

use crate::urls::{Database, Urls};

#[derive(Debug, clap::Args)]
pub(crate) struct Databases {
    /// Only this service
    #[arg(long)]
    service: Option<Service>,
    #[command(flatten)]
    urls: Urls<Database>,
}

impl Databases {
    /// What a query finds in the databases of the wanted services.
    pub(crate) async fn all<T>(
        &self,
        mut query: impl AsyncFnMut(&mut PgConnection) -> sqlx::Result<Vec<T>>,
    ) -> Result<Vec<(Service, T)>> {
        let mut all = Vec::new();
        for (service, url) in self.urls.wanted(self.service) {
            let mut conn = connect(service, url).await?;
            let of_service = answer(ANSWER_TIMEOUT, query(&mut conn)).await?;
            all.extend(of_service.into_iter().map(|row| (service, row)));
        }
        Ok(all)
    }

    /// The first that a query finds, with its service and a connection to the database.
    pub(crate) async fn find<T>(
        &self,
        mut query: impl AsyncFnMut(&mut PgConnection) -> sqlx::Result<Option<T>>,
    ) -> Result<Option<(Service, PgConnection, T)>> {
        for (service, url) in self.urls.wanted(self.service) {
            let mut conn = connect(service, url).await?;
            if let Some(found) = answer(ANSWER_TIMEOUT, query(&mut conn)).await? {
                return Ok(Some((service, conn, found)));
            }
        }
        Ok(None)
    }

    /// A connection to the database of a service that is wanted.
    pub(crate) async fn connect(&self, service: Service) -> Result<PgConnection> {
        connect(service, self.urls.of(service)).await
    }

    /// The end of a sentence: which service was looked at.
    pub(crate) fn suffix(&self) -> String {
        self.service.map(|service| format!(" of {service}")).unwrap_or_default()
    }
}

async fn connect(service: Service, url: &str) -> Result<PgConnection> {
    let mut conn = answer(ANSWER_TIMEOUT, PgConnection::connect(url)).await.map_err(|error| {
        let why = with_sources(&error);
        anyhow!("cannot open the database of {service}: is it up, and its URL right? {why}")
    })?;
    let migrated = sqlx::query_scalar("select to_regclass('messaging.failed_messages') is not null");
    let migrated: bool = answer(ANSWER_TIMEOUT, migrated.fetch_one(&mut conn)).await?;
    ensure!(migrated, "the database of {service} is not up to date: start the service, which migrates it");
    Ok(conn)
}
