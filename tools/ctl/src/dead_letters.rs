//! `sagactl dead-letters`: list, show, replay and discard what no service could handle.

mod show;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ArgGroup;
use devstack::print;
use messaging::dead_letters::{self, Action, DeadLetter, DeadLetterId, DeadLetterSession, Request, Source};
use runtime::clock;
use runtime::config::duration;
use system::Service;

use crate::table::as_json;
use crate::urls::{Database, Urls};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List them, the oldest first
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// List replays and discards instead: by whom, when and why
        #[arg(long)]
        history: bool,
    },
    /// Show the headers and the body of one
    Show {
        /// Its id, as `list` shows it
        id: DeadLetterId,
        #[command(flatten)]
        place: Place,
    },
    /// Have them handled again, with all their attempts
    Replay {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        signature: Signature,
        /// Why, for the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// Remove one for ever
    Discard {
        /// Its id, as `list` shows it
        id: DeadLetterId,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        signature: Signature,
        /// Why, for the history
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Only the dead letters of this service
    #[arg(long)]
    service: Option<Service>,
    /// The broker, with the user that may read dead letters and put them back
    #[arg(
        long,
        env = "OPERATOR_AMQP_URL",
        hide_env_values = true,
        default_value = "amqp://operator:operator@127.0.0.1:8672/shop"
    )]
    amqp_url: String,
    #[command(flatten)]
    databases: Urls<Database>,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("which").args(["ids", "all"]).required(true)))]
pub(crate) struct Which {
    /// Their ids, as `list` shows them
    #[arg(value_name = "ID")]
    ids: Vec<DeadLetterId>,
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
        Command::List { place, json, history: true } => history(&place, json).await?,
        Command::List { place, json, history: false } => list(&place, json).await?,
        Command::Show { id, place } => {
            in_sessions(&place, async |sessions| {
                print(&show::dead_letter(find(sessions, &id, &place)?)?);
                Ok(())
            })
            .await?;
        }
        Command::Replay { which, place, signature, reason } => {
            let request = Request { by: signature.name(), reason };
            in_sessions(&place, async |sessions| replay(sessions, &which, &place, &request).await).await?;
        }
        Command::Discard { id, place, signature, reason } => {
            ensure!(
                contracts::is_visible(&reason),
                "a reason is required: only the history will tell that the message existed"
            );
            let request = Request { by: signature.name(), reason: Some(reason) };
            in_sessions(&place, async |sessions| {
                find(sessions, &id, &place)?;
                act(sessions, Action::Discard, &[id], &request, "discarded").await
            })
            .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(place: &Place, json: bool) -> Result<()> {
    in_sessions(place, async |sessions| {
        let mut all: Vec<_> = sessions.iter().flat_map(DeadLetterSession::dead_letters).collect();
        all.sort_by_key(|dead_letter| dead_letter.failed_at);
        print(&match (json, all.is_empty()) {
            (true, _) => serde_json::to_string_pretty(&all)?,
            (false, true) => format!("there are no dead letters{}", place.suffix()),
            (false, false) => show::dead_letters(&all),
        });
        Ok(())
    })
    .await
}

async fn history(place: &Place, json: bool) -> Result<()> {
    let mut taken = Vec::new();
    for source in place.sources() {
        let of_service = dead_letters::history(&source).await?;
        taken.extend(of_service.into_iter().map(|taken| (source.service.as_str(), taken)));
    }
    taken.sort_by_key(|(_, taken)| taken.requested_at);
    print(&match (json, taken.is_empty()) {
        (true, _) => as_json(&taken)?,
        (false, true) => format!("no dead letter{} was replayed or discarded yet", place.suffix()),
        (false, false) => show::history(&taken),
    });
    Ok(())
}

async fn replay(
    sessions: &mut [DeadLetterSession],
    which: &Which,
    place: &Place,
    request: &Request,
) -> Result<()> {
    let ids = which.ids(sessions, place)?;
    if ids.is_empty() {
        let there = sessions.iter().map(|session| session.dead_letters().len()).sum();
        print(&nothing_to_replay(there, place));
        return Ok(());
    }
    act(sessions, Action::Replay, &ids, request, "to be handled again").await
}

/// Does it in every session, and prints the counts.
async fn act(
    sessions: &mut [DeadLetterSession],
    action: Action,
    ids: &[DeadLetterId],
    request: &Request,
    done: &str,
) -> Result<()> {
    for session in sessions {
        let count = session.act(action, ids, request).await?;
        if count > 0 {
            print(&format!("{done}: {count} of {}", session.service));
        }
    }
    Ok(())
}

/// Opens a session for each wanted service, always in the same order, does the work, and closes them.
async fn in_sessions(
    place: &Place,
    work: impl AsyncFnOnce(&mut [DeadLetterSession]) -> Result<()>,
) -> Result<()> {
    let mut sessions = Vec::new();
    for source in place.sources() {
        sessions.push(DeadLetterSession::open(&source).await?);
    }
    let done = work(&mut sessions).await;
    for session in sessions {
        session.close().await?;
    }
    done
}

fn find<'a>(sessions: &'a [DeadLetterSession], id: &DeadLetterId, place: &Place) -> Result<&'a DeadLetter> {
    let mut all = sessions.iter().flat_map(DeadLetterSession::dead_letters);
    all.find(|dead_letter| dead_letter.id == *id).with_context(|| {
        format!("there is no dead letter {id}{}: see `sagactl dead-letters list`", place.suffix())
    })
}

fn nothing_to_replay(there: usize, place: &Place) -> String {
    let suffix = place.suffix();
    match there {
        0 => format!("nothing to replay: there are no dead letters{suffix}"),
        _ => format!(
            "nothing to replay: of {there} dead letters{suffix} none is old enough, or all are requested already"
        ),
    }
}

impl Which {
    /// The wanted ids; an error when one does not exist.
    fn ids(&self, sessions: &[DeadLetterSession], place: &Place) -> Result<Vec<DeadLetterId>> {
        if !self.all {
            return self.ids.iter().map(|id| Ok(find(sessions, id, place)?.id.clone())).collect();
        }
        let wanted = sessions
            .iter()
            .flat_map(DeadLetterSession::dead_letters)
            .filter(|dead_letter| self.wants(dead_letter));
        Ok(wanted.map(|dead_letter| dead_letter.id.clone()).collect())
    }

    /// Whether `--all` includes it. One whose replay was requested already is left alone.
    fn wants(&self, dead_letter: &DeadLetter) -> bool {
        let old_enough = |age: Duration| {
            let past = dead_letter.failed_at.and_then(|time| (clock::now() - time).to_std().ok());
            past.is_some_and(|past| past > age)
        };
        dead_letter.replay_requested_at.is_none() && self.older_than.is_none_or(old_enough)
    }
}

impl Signature {
    pub(crate) fn name(&self) -> String {
        let user = || env::var("USER").or_else(|_| env::var("LOGNAME")).ok().filter(|name| !name.is_empty());
        let by = self.by.clone().or_else(user);
        by.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
    }
}

impl Place {
    /// The wanted services, and where their dead letters are.
    fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.databases.wanted(self.service).map(|(service, database_url)| Source {
            service: service.into(),
            database_url,
            amqp_url: service.has_queue().then_some(self.amqp_url.as_str()),
        })
    }

    /// The end of a sentence: which service was looked at.
    fn suffix(&self) -> String {
        self.service.map(|service| format!(" of {service}")).unwrap_or_default()
    }
}
