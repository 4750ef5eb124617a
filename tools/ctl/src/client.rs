//! Where the services and the servers are.

use system::Service;

/// The servers behind the services, for commands that look at the whole system.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Servers {
    /// Postgres, with a role that may read every database; each is named after its service
    #[arg(
        long,
        env = "AUDIT_POSTGRES_URL",
        hide_env_values = true,
        default_value = "postgres://auditor:auditor@127.0.0.1:8432"
    )]
    postgres_url: String,
    /// The broker, with a user that may read the event stream
    #[arg(
        long,
        env = "AUDIT_AMQP_URL",
        hide_env_values = true,
        default_value = "amqp://auditor:auditor@127.0.0.1:8672/shop"
    )]
    pub(crate) amqp_url: String,
    /// The card processor
    #[arg(long, env = "PAYMENT_PROVIDER_URL", default_value = "http://127.0.0.1:8090")]
    pub(crate) provider_url: String,
}

impl Servers {
    /// The URL of each service's database.
    pub(crate) fn databases(&self) -> Vec<(Service, String)> {
        let base = self.postgres_url.trim_end_matches('/');
        Service::with_database().map(|service| (service, format!("{base}/{service}"))).collect()
    }
}
