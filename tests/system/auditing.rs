//! The books of the whole shop: what must be true of it once nothing is under way, whatever a test did.

use std::time::Duration;

use amqp::permissions::AUDITOR_USER;
use audit::{Audit, Auditor, Sources, report};
use system::Service;

use crate::shop::Shop;
use testkit::DEADLINE;

/// How long a rule across databases must stay broken at rest: analytics reads the log in less.
const CONFIRM: Duration = Duration::from_secs(2);

impl Shop {
    /// Waits until nothing is under way, and has the auditor ask every rule.
    ///
    /// # Panics
    /// When a rule is broken, or something is still under way when the time is over.
    pub(crate) async fn check(&self) {
        let audit = self.audit(&self.sources()).await;
        let lines = report::lines(&audit).join("\n");
        assert!(!audit.is_broken() && audit.under_way.is_empty(), "the books do not agree:\n{lines}");
    }

    /// What the auditor finds.
    ///
    /// # Panics
    /// When something cannot be read.
    pub(crate) async fn audit(&self, sources: &Sources) -> Audit {
        audit_within(sources, DEADLINE, CONFIRM).await
    }

    /// Where the auditor finds everything.
    #[must_use]
    pub(crate) fn sources(&self) -> Sources {
        let database = |service: &Service| self.world.database_url_of(AUDITOR_USER, service.as_str());
        Sources {
            databases: Service::ALL.iter().map(|service| (*service, database(service))).collect(),
            amqp_url: self.world.amqp_url(AUDITOR_USER),
            provider_url: self.provider.url.clone(),
            expected_dead_letters: 0,
            recorded: Vec::new(),
        }
    }
}

/// What the auditor finds at once.
///
/// # Panics
/// When something cannot be read.
pub(crate) async fn audit_now(sources: &Sources) -> Audit {
    audit_within(sources, Duration::ZERO, Duration::ZERO).await
}

async fn audit_within(sources: &Sources, limit: Duration, confirm: Duration) -> Audit {
    let auditor = Auditor::open(sources.clone()).await.expect("the auditor connects");
    auditor.audit(limit, confirm).await.expect("everything can be read")
}
