//! `sagactl dead-letters`: list, show, replay and discard what no service could handle.

mod show;

use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ArgGroup;
use devstack::print;
use messaging::dead_letters::{self, Action, FailedMessage, Request, Which};
use runtime::clock;
use runtime::config::duration;
use runtime::database::{ANSWER_TIMEOUT, answer};
use sqlx::types::Uuid;
use system::Service;

use crate::databases::Databases;
use crate::table::as_json;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List them, the oldest first
    List {
        #[command(flatten)]
        databases: Databases,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// List the messages that failed and are tried again instead
        #[arg(long)]
        waiting: bool,
        /// List replays and discards instead: by whom, when and why
        #[arg(long, conflicts_with = "waiting")]
        history: bool,
    },
    /// Show the headers and the body of one, or of a message that is tried again
    Show {
        /// Its id, as `list` shows it
        id: Uuid,
        #[command(flatten)]
        databases: Databases,
    },
    /// Have them handled again, with all their attempts
    Replay {
        #[command(flatten)]
        which: Chosen,
        #[command(flatten)]
        databases: Databases,
        #[command(flatten)]
        signature: Signature,
        /// Why, for the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// Remove one for ever
    Discard {
        /// Its id, as `list` shows it
        id: Uuid,
        #[command(flatten)]
        databases: Databases,
        #[command(flatten)]
        signature: Signature,
        /// Why, for the history
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("which").args(["ids", "all"]).required(true)))]
pub(crate) struct Chosen {
    /// Their ids, as `list` shows them
    #[arg(value_name = "ID")]
    ids: Vec<Uuid>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Only those that failed longer ago than this, 0ms to 87600h, such as 10m
    #[arg(long, requires = "all", value_parser = duration(Duration::ZERO..=Duration::from_hours(87_600)))]
    older_than: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Signature {
    /// Your name, for the history [default: the user of this machine]
    #[arg(long)]
    by: Option<String>,
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::List { databases, json, history: true, .. } => history(&databases, json).await?,
        Command::List { databases, json, waiting, .. } => list(&databases, waiting, json).await?,
        Command::Show { id, databases } => {
            let found = databases.find(async |conn| dead_letters::find(conn, id).await).await?;
            let (service, _, message) = found.with_context(|| unknown(id, &databases))?;
            print(&show::message(service, &message)?);
        }
        Command::Replay { which, databases, signature, reason } => {
            replay(&which, &databases, &Request { by: signature.name(), reason }).await?;
        }
        Command::Discard { id, databases, signature, reason } => {
            ensure!(
                contracts::is_visible(&reason),
                "a reason is required: only the history will tell that the message existed"
            );
            let request = Request { by: signature.name(), reason: Some(reason) };
            let all = found(&databases, &[id]).await?;
            act(&databases, Action::Discard, &all.iter().collect::<Vec<_>>(), &request).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn of_services(databases: &Databases, which: Which) -> Result<Vec<(Service, FailedMessage)>> {
    let mut all = databases.all(async |conn| dead_letters::list(conn, which).await).await?;
    all.sort_by_key(|(_, message)| message.failed_at);
    Ok(all)
}

async fn list(databases: &Databases, waiting: bool, json: bool) -> Result<()> {
    let (which, none) = match waiting {
        true => (Which::Waiting, "no message is to be tried again"),
        false => (Which::DeadLetters, "there are no dead letters"),
    };
    let all = of_services(databases, which).await?;
    print(&match (json, all.is_empty()) {
        (true, _) => as_json(&all)?,
        (false, true) => format!("{none}{}", databases.suffix()),
        (false, false) => show::messages(&all),
    });
    Ok(())
}

async fn history(databases: &Databases, json: bool) -> Result<()> {
    let mut actions = databases.all(async |conn| dead_letters::history(conn).await).await?;
    actions.sort_by_key(|(_, action)| action.requested_at);
    print(&match (json, actions.is_empty()) {
        (true, _) => as_json(&actions)?,
        (false, true) => format!("no dead letter{} was replayed or discarded yet", databases.suffix()),
        (false, false) => show::history(&actions),
    });
    Ok(())
}

async fn replay(which: &Chosen, databases: &Databases, request: &Request) -> Result<()> {
    let all = match which.all {
        true => of_services(databases, Which::DeadLetters).await?,
        false => found(databases, &which.ids).await?,
    };
    let wanted: Vec<_> = all.iter().filter(|(_, message)| which.wants(message)).collect();
    if wanted.is_empty() {
        let suffix = databases.suffix();
        print(&match all.len() {
            0 => format!("nothing to replay: there are no dead letters{suffix}"),
            there => format!("nothing to replay: of {there} dead letters{suffix} none is old enough"),
        });
        return Ok(());
    }
    act(databases, Action::Replay, &wanted, request).await
}

/// Those with the ids, whether they are dead letters or tried again; an error when one does not exist.
async fn found(databases: &Databases, ids: &[Uuid]) -> Result<Vec<(Service, FailedMessage)>> {
    let mut all = Vec::new();
    for id in ids {
        let found = databases.find(async |conn| dead_letters::find(conn, *id).await).await?;
        let (service, _, message) = found.with_context(|| unknown(*id, databases))?;
        all.push((service, message));
    }
    Ok(all)
}

fn unknown(id: Uuid, databases: &Databases) -> String {
    format!("there is no dead letter {id}{}: see `sagactl dead-letters list`", databases.suffix())
}

/// Does it in each service, in one transaction, and prints the counts.
async fn act(
    databases: &Databases,
    action: Action,
    wanted: &[&(Service, FailedMessage)],
    request: &Request,
) -> Result<()> {
    let mut by_service: BTreeMap<Service, Vec<&FailedMessage>> = BTreeMap::new();
    for (service, message) in wanted {
        by_service.entry(*service).or_default().push(message);
    }
    for (service, messages) in by_service {
        let mut conn = databases.connect(service).await?;
        let count = answer(ANSWER_TIMEOUT, dead_letters::act(&mut conn, action, &messages, request)).await?;
        let done = match action {
            Action::Replay => "to be handled again",
            Action::Discard => "discarded",
        };
        let missed = match messages.len() - count {
            0 => String::new(),
            missed => format!("; {missed} changed meanwhile: list them again"),
        };
        print(&format!("{done}: {count} of {service}{missed}"));
    }
    Ok(())
}

impl Chosen {
    /// Whether it is old enough.
    fn wants(&self, message: &FailedMessage) -> bool {
        let past = (clock::now() - message.failed_at).to_std().unwrap_or_default();
        self.older_than.is_none_or(|age| past > age)
    }
}

impl Signature {
    pub(crate) fn name(&self) -> String {
        let user = || env::var("USER").or_else(|_| env::var("LOGNAME")).ok().filter(|name| !name.is_empty());
        let by = self.by.clone().or_else(user);
        by.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
    }
}
