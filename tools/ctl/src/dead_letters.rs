//! `sagactl dead-letters`: what no service could handle, to look at, to try again, to remove.

mod show;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ArgGroup;
use messaging::dead_letters::{self, Action, DeadLetter, DeadLetterId, DeadLetterSession, Request, Source};
use runtime::clock;
use system::Service;

use crate::say;
use crate::urls::{Database, Urls};

/// The arguments of `sagactl dead-letters`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List them, those that lie there longest first; none is taken away by that
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// List what was done with dead letters instead: by whom, when, and why
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
    /// Have them handled again, with all attempts before them
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
    /// Remove one for good
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

/// Where to look.
#[derive(Debug, clap::Args)]
struct Place {
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

/// Which dead letters.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("which").args(["ids", "all"]).required(true)))]
struct Which {
    /// Their ids, as `list` shows them
    #[arg(value_name = "ID")]
    ids: Vec<DeadLetterId>,
    /// All that there are now
    #[arg(long)]
    all: bool,
    /// Of all, those that failed longer ago than this, such as 10m
    #[arg(long, requires = "all", value_parser = runtime::config::duration)]
    older_than: Option<Duration>,
}

/// Who it is.
#[derive(Debug, clap::Args)]
struct Signature {
    /// Who does it, for the history [default: the user of this machine]
    #[arg(long)]
    by: Option<String>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::List { place, json, history: true } => history(&place, json).await?,
        Command::List { place, json, history: false } => list(&place, json).await?,
        Command::Show { id, place } => show(&id, &place).await?,
        Command::Replay { which, place, signature, reason } => {
            let request = Request { by: signature.name(), reason };
            replay(&which, &place, &request).await?;
        }
        Command::Discard { id, place, signature, reason } => {
            let request = Request { by: signature.name(), reason: Some(reason) };
            discard(&id, &place, &request).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(place: &Place, json: bool) -> Result<()> {
    let desks = open(place).await?;
    let mut letters: Vec<DeadLetter> = desks.iter().flat_map(DeadLetterSession::letters).cloned().collect();
    close(desks).await?;
    letters.sort_by_key(|letter| letter.failed_at);
    match (json, letters.is_empty()) {
        (true, _) => say(&show::letters_as_json(&letters)?),
        (false, true) => say(&format!("there are no dead letters{}", place.suffix())),
        (false, false) => show::letters(&letters).iter().for_each(|line| say(line)),
    }
    Ok(())
}

async fn history(place: &Place, json: bool) -> Result<()> {
    let mut taken = Vec::new();
    for source in place.sources() {
        let of_service = dead_letters::history(&source).await?;
        taken.extend(of_service.into_iter().map(|taken| (source.service.as_str(), taken)));
    }
    taken.sort_by_key(|(_, taken)| taken.requested_at);
    match (json, taken.is_empty()) {
        (true, _) => say(&show::history_as_json(&taken)?),
        (false, true) => say(&format!("nothing was done with any dead letter{} yet", place.suffix())),
        (false, false) => show::history(&taken).iter().for_each(|line| say(line)),
    }
    Ok(())
}

async fn show(id: &DeadLetterId, place: &Place) -> Result<()> {
    let desks = open(place).await?;
    let letter = find(&desks, id, place).cloned();
    close(desks).await?;
    show::letter(&letter?)?.iter().for_each(|line| say(line));
    Ok(())
}

async fn replay(which: &Which, place: &Place, request: &Request) -> Result<()> {
    let desks = open(place).await?;
    let there = desks.iter().map(|session| session.letters().len()).sum::<usize>();
    match which.ids(&desks, place) {
        Ok(ids) if ids.is_empty() => {
            close(desks).await?;
            say(&nothing_to_replay(there, place));
            Ok(())
        }
        Ok(ids) => act(desks, Action::Replay, &ids, request, "to be handled again").await,
        Err(error) => {
            close(desks).await?;
            Err(error)
        }
    }
}

async fn discard(id: &DeadLetterId, place: &Place, request: &Request) -> Result<()> {
    ensure!(
        request.reason.as_ref().is_some_and(|reason| !reason.trim().is_empty()),
        "a reason is wanted: what is discarded is gone, and the history is all that tells of it"
    );
    let desks = open(place).await?;
    if let Err(error) = find(&desks, id, place) {
        close(desks).await?;
        return Err(error);
    }
    act(desks, Action::Discard, std::slice::from_ref(id), request, "discarded").await
}

/// Does it at every session, and says with how many letters.
async fn act(
    mut desks: Vec<DeadLetterSession>,
    action: Action,
    ids: &[DeadLetterId],
    request: &Request,
    done: &str,
) -> Result<()> {
    for session in &mut desks {
        let count = session.act(action, ids, request).await?;
        if count > 0 {
            say(&format!("{done}: {count} of {}", session.service()));
        }
    }
    close(desks).await
}

/// Opens the desks of all services that are asked for, always in the same order.
async fn open(place: &Place) -> Result<Vec<DeadLetterSession>> {
    let mut desks = Vec::new();
    for source in place.sources() {
        desks.push(DeadLetterSession::open(&source).await?);
    }
    Ok(desks)
}

async fn close(desks: Vec<DeadLetterSession>) -> Result<()> {
    for session in desks {
        session.close().await?;
    }
    Ok(())
}

fn find<'a>(desks: &'a [DeadLetterSession], id: &DeadLetterId, place: &Place) -> Result<&'a DeadLetter> {
    let letter = desks.iter().flat_map(DeadLetterSession::letters).find(|letter| letter.id == *id);
    letter.ok_or_else(|| {
        anyhow::anyhow!("there is no dead letter {id}{}: see `sagactl dead-letters list`", place.suffix())
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
    /// The ids of the letters that are wanted; fails when one is not there.
    fn ids(&self, desks: &[DeadLetterSession], place: &Place) -> Result<Vec<DeadLetterId>> {
        if !self.all {
            return self.ids.iter().map(|id| Ok(find(desks, id, place)?.id.clone())).collect();
        }
        let wanted = desks.iter().flat_map(DeadLetterSession::letters).filter(|letter| self.wants(letter));
        Ok(wanted.map(|letter| letter.id.clone()).collect())
    }

    /// Whether the letter is among all those that are wanted. One that somebody asked for already is left alone.
    fn wants(&self, letter: &DeadLetter) -> bool {
        let old_enough = |age: Duration| {
            let past = letter.failed_at.and_then(|time| (clock::now() - time).to_std().ok());
            past.is_some_and(|past| past > age)
        };
        letter.replay_requested_at.is_none() && self.older_than.is_none_or(old_enough)
    }
}

impl Signature {
    fn name(&self) -> String {
        let user = || env::var("USER").or_else(|_| env::var("LOGNAME")).ok().filter(|name| !name.is_empty());
        let by = self.by.clone().or_else(user);
        by.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
    }
}

impl Place {
    /// The services that are asked for, and where their dead letters are.
    fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        let asked_for =
            Service::with_database().filter(|service| self.service.is_none_or(|only| only == *service));
        asked_for.map(|service| Source {
            service: service.into(),
            database_url: self.databases.of(service),
            amqp_url: service.has_queue().then_some(self.amqp_url.as_str()),
        })
    }

    /// Says in a sentence which service was looked at.
    fn suffix(&self) -> String {
        self.service.map(|service| format!(" of {service}")).unwrap_or_default()
    }
}
