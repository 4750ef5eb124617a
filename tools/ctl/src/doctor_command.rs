//! `sagactl doctor`: what is wrong with servers, rights, queues, versions and clocks, and what to do.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use devstack::{one_line, print};
use doctor::{self, Sources, report};

use system::{Outside, Service};

use crate::client;
use crate::urls::{Operations, Urls};

/// A fault counts when it is still there after this time.
const PATIENCE: Duration = Duration::from_secs(6);

/// The arguments of `sagactl doctor`. Exit status: 0 all is well, 1 something is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    urls: Urls<Operations>,
    /// Health of the card processor
    #[arg(long, env = "PAYMENT_PROVIDER_OPERATIONS_URL", default_value = "http://127.0.0.1:9090")]
    provider_operations_url: String,
    #[command(flatten)]
    servers: client::Servers,
    /// The broker's management API, with an administrator, who alone sees the rights of users
    #[arg(
        long,
        env = "ADMIN_MANAGEMENT_URL",
        hide_env_values = true,
        default_value = "http://admin:admin@127.0.0.1:8673"
    )]
    management_url: String,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let json = args.json;
    let examination = doctor::examine(&sources(args), PATIENCE).await?;
    if json {
        print(&report::json(&examination).to_string());
    } else {
        report::lines(&examination).iter().for_each(|line| print(&one_line(line)));
    }
    let well = examination.wrong().next().is_none();
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sources(args: Args) -> Sources {
    let databases = args.servers.databases();
    let urls = Service::ALL.iter().map(|service| (service.as_str(), args.urls.of(*service).to_owned()));
    let provider = Outside::PaymentProvider.program().name;
    let services = urls.chain([(provider, args.provider_operations_url)]);
    Sources {
        services: services.map(|(name, url)| (name.to_owned(), url)).collect(),
        databases,
        amqp_url: args.servers.amqp_url,
        management_url: args.management_url,
    }
}
