//! `sagactl jobs`: list and show what waits to be called, have it tried again, or say what became of it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use devstack::print;
use messaging::jobs::{Resolution, operator};
use operator::{JobAction, JobRow};
use runtime::database::{ANSWER_TIMEOUT, answer};
use sqlx::PgConnection;
use sqlx::types::Uuid;
use system::Service;
use tokio::time::{Instant, sleep};

use crate::databases::Databases;
use crate::dead_letters::Signature;
use crate::table::{as_json, cell, table, time};

/// The most jobs of a service that are listed.
const MOST: i64 = 1_000;
/// How long a worker may take to record what an operator says.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List those that no call can settle, the oldest first
    List {
        #[command(flatten)]
        databases: Databases,
        /// List every job that is not done
        #[arg(long)]
        all: bool,
        /// List what operators did instead: who, when and why
        #[arg(long, conflicts_with = "all")]
        history: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one, with its payload and what was done with it
    Show {
        /// Its id, as `list` shows it
        id: Uuid,
        #[command(flatten)]
        databases: Databases,
    },
    /// Have one tried again at once
    Retry {
        /// Its id, as `list` shows it
        id: Uuid,
        #[command(flatten)]
        databases: Databases,
        #[command(flatten)]
        signature: Signature,
        /// Why, for the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// Say what became of a parked one: it is recorded as if a call had told it
    Resolve {
        /// Its id, as `list` shows it
        id: Uuid,
        /// How it ended: authorized, declined, captured, failed, voided, refunded
        #[arg(long = "as", value_name = "OUTCOME")]
        outcome: String,
        /// The processor's id of the authorization, for `--as authorized`
        #[arg(long)]
        reference: Option<String>,
        #[command(flatten)]
        databases: Databases,
        #[command(flatten)]
        signature: Signature,
        /// How you know, for the history
        #[arg(long)]
        reason: String,
    },
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::List { databases, history: true, json, .. } => history(&databases, json).await?,
        Command::List { databases, all, json, .. } => list(&databases, all, json).await?,
        Command::Show { id, databases } => show(&databases, id).await?,
        Command::Retry { id, databases, signature, reason } => {
            let (service, mut conn, _) = find(&databases, id).await?;
            let by = signature.name();
            let asked = operator::retry(&mut conn, id, &by, reason.as_deref());
            ensure!(answer(ANSWER_TIMEOUT, asked).await?, "job {id} was done meanwhile");
            print(&format!("to be tried again: job {id} of {service}"));
        }
        Command::Resolve { id, outcome, reference, databases, signature, reason } => {
            ensure!(contracts::is_visible(&reason), "a reason is required: the history tells how you knew");
            let (service, mut conn, _) = find(&databases, id).await?;
            let resolution = Resolution { outcome, reference, reason };
            resolve(&mut conn, id, &signature.name(), &resolution).await?;
            print(&format!("recorded: job {id} of {service} is {}", resolution.outcome));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn resolve(conn: &mut PgConnection, id: Uuid, by: &str, resolution: &Resolution) -> Result<()> {
    let said = answer(ANSWER_TIMEOUT, operator::resolve(&mut *conn, id, by, resolution)).await?;
    ensure!(
        said,
        "job {id} is not parked: its worker still tries to settle it, see `sagactl jobs show {id}`"
    );
    let end = Instant::now() + RECORDED_WITHIN;
    while let Some(job) = answer(ANSWER_TIMEOUT, operator::find(&mut *conn, id)).await? {
        if job.parked_at.is_some() {
            bail!("job {id} is parked again: {}", job.last_error.unwrap_or_default());
        }
        ensure!(Instant::now() < end, "job {id} waits for its worker: is the service up?");
        sleep(POLL).await;
    }
    Ok(())
}

async fn list(databases: &Databases, all: bool, json: bool) -> Result<()> {
    let mut jobs = databases.all(async |conn| operator::list(conn, !all, MOST).await).await?;
    jobs.sort_by_key(|(_, job)| job.created_at);
    print(&match (json, jobs.is_empty()) {
        (true, _) => as_json(&jobs)?,
        (false, true) => format!("no job is {}", if all { "waiting" } else { "parked" }),
        (false, false) => table(
            ["since\nid", "service\nqueue", "attempts\nparked", "about", "reason"],
            jobs.iter().map(|(service, job)| {
                [
                    format!("{}\n{}", time(Some(job.created_at)), job.id),
                    format!("{service}\n{}", job.queue),
                    format!("{}\n{}", job.attempts, if job.parked_at.is_some() { "yes" } else { "no" }),
                    job.key.to_string(),
                    cell(job.last_error.as_deref()),
                ]
            }),
        ),
    });
    Ok(())
}

async fn history(databases: &Databases, json: bool) -> Result<()> {
    let mut actions = databases.all(async |conn| operator::history(conn, None).await).await?;
    actions.sort_by_key(|(_, action)| action.requested_at);
    print(&match (json, actions.is_empty()) {
        (true, _) => as_json(&actions)?,
        (false, true) => "no job was retried or resolved yet".to_owned(),
        (false, false) => actions_table(&actions),
    });
    Ok(())
}

async fn show(databases: &Databases, id: Uuid) -> Result<()> {
    let (service, mut conn, job) = find(databases, id).await?;
    print(&as_json(&[(service, job)])?);
    let actions = answer(ANSWER_TIMEOUT, operator::history(&mut conn, Some(id))).await?;
    if !actions.is_empty() {
        print(&actions_table(&actions.into_iter().map(|action| (service, action)).collect::<Vec<_>>()));
    }
    Ok(())
}

fn actions_table(actions: &[(Service, JobAction)]) -> String {
    let row = |(service, action): &(Service, JobAction)| {
        [
            format!("{}\n{}", time(Some(action.requested_at)), action.job_id),
            format!("{}\n{service}", cell(Some(&action.requested_by))),
            format!("{}\n{}", action.action, cell(action.outcome.as_deref())),
            cell(action.reason.as_deref()),
        ]
    };
    table(["when\nid", "by\nservice", "action\noutcome", "reason"], actions.iter().map(row))
}

/// The service whose job it is, a connection to its database, and the job.
async fn find(databases: &Databases, id: Uuid) -> Result<(Service, PgConnection, JobRow)> {
    let found = databases.find(async |conn| operator::find(conn, id).await).await?;
    found.with_context(|| format!("there is no job {id}: see `sagactl jobs list --all`"))
}
