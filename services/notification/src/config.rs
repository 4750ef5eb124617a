//! The configuration: environment variables, read once.

use std::time::Duration;

use lettre::message::Mailbox;
use messaging::{BreakerConfig, HostConfig};
use runtime::config::{ProcessConfig, duration};
use url::Url;

/// Sends one mail per order and kind: confirmed, cancelled, refunded
#[derive(Debug, clap::Parser)]
#[command(name = "notification", version)]
#[command(mut_arg("HTTP_LISTEN", |arg| arg.default_value("0.0.0.0:8084")))]
pub struct Config {
    #[command(flatten)]
    pub process: ProcessConfig,
    #[command(flatten)]
    pub host: HostConfig,
    #[command(flatten)]
    pub smtp: SmtpConfig,
}

/// The mail server, and who writes.
#[derive(Debug, Clone, clap::Args)]
pub struct SmtpConfig {
    /// The mail server's URL, e.g. smtp://localhost:1025; without a port it is 25
    #[arg(long, env = "SMTP_URL", value_parser = smtp_url)]
    pub smtp_url: Url,

    /// The sender of every mail, whose domain also ends every Message-ID, e.g. Order Saga <shop@example.com>
    #[arg(long, env = "MAIL_FROM", default_value = "Order Saga <shop@order-saga.example>")]
    pub mail_from: Mailbox,

    /// The time that one try to hand over a mail may take, from connecting to the server's answer, 1ms to
    /// 10m, e.g. 10s
    #[arg(long, env = "SMTP_TIMEOUT", default_value = "10s")]
    #[arg(value_parser = duration(Duration::from_millis(1)..=Duration::from_mins(10)))]
    pub smtp_timeout: Duration,

    /// The number of mails to hand over at once at most, each over a connection of its own, 1 to 100
    #[arg(long, env = "SMTP_CONNECTIONS", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    pub smtp_connections: u32,

    #[command(flatten)]
    pub breaker: BreakerConfig,
}

fn smtp_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|_| "it is not a URL".to_owned())?;
    let only_host_and_port = url.has_host() && url.username().is_empty() && matches!(url.path(), "" | "/");
    match url.scheme() {
        "smtp" if only_host_and_port => Ok(url),
        "smtp" => Err("it says more than host and port".to_owned()),
        "smtps" => Err("it asks for TLS, which this build does not speak: use smtp://".to_owned()),
        _ => Err("it does not begin with smtp://".to_owned()),
    }
}
