//! The `sagactl` command: runs the system on this machine and works with it. One file per command.

mod audit_command;
mod client;
mod databases;
mod dead_letters;
mod doctor_command;
mod down;
mod jobs;
mod kill;
mod load;
mod place;
mod scaffold;
mod supervisor;
mod table;
mod timeline;
mod topology;
mod up;
mod urls;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Parser, Subcommand};
use devstack::print;

/// Run the order saga on this machine, and work with it.
#[derive(Debug, Parser)]
#[command(name = "sagactl", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start Postgres, RabbitMQ, a mail sink and all services, natively
    Up(up::Args),
    /// Stop what `sagactl up --detach` started
    Down(down::Args),
    /// Kill a service or a server that `sagactl up` runs, as a crash would
    Kill(kill::Args),
    /// Place one order
    Place(place::Args),
    /// Show the events of an order, and what is awaited next
    Timeline(timeline::Args),
    /// Place orders at a given rate, and report their outcomes
    Load(load::Args),
    /// Check the rules that must hold for the whole system
    Audit(audit_command::Args),
    /// Check servers, rights, queues, versions and clocks, and say what to do
    Doctor(doctor_command::Args),
    /// List, show, replay and discard what no service could handle
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// List and show calls to the outside, have them tried again, or say what became of them
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Apply or show what the broker must hold
    #[command(subcommand)]
    Topology(topology::Action),
    /// What Postgres must hold
    #[command(subcommand)]
    Database(Database),
    /// Begin a service or an event
    New {
        #[command(subcommand)]
        new: scaffold::New,
        /// The project's root
        #[arg(long, default_value = ".", global = true)]
        root: PathBuf,
    },
    /// Write every generated file anew: state matrices, choreography, topology, broker definitions, samples
    Generate {
        /// The project's root
        #[arg(default_value = ".")]
        root: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Database {
    /// Make the roles, databases and rights that are missing; what is there already stays as it is
    Apply {
        /// Postgres, with a superuser and without the name of a database
        #[arg(
            long,
            env = "SUPERUSER_POSTGRES_URL",
            hide_env_values = true,
            default_value = "postgres://postgres:postgres@127.0.0.1:8432"
        )]
        postgres_url: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(args) => up::run(args).await,
        Command::Down(args) => down::run(args).await,
        Command::Kill(args) => kill::run(args),
        Command::Place(args) => place::run(args).await,
        Command::Timeline(args) => timeline::run(args).await,
        Command::Load(args) => load::run(args).await,
        Command::Audit(args) => audit_command::run(args).await,
        Command::Doctor(args) => doctor_command::run(args).await,
        Command::DeadLetters(command) => dead_letters::run(command).await,
        Command::Jobs(command) => jobs::run(command).await,
        Command::Topology(action) => topology::run(action).await,
        Command::Database(Database::Apply { postgres_url }) => apply_database(&postgres_url).await,
        Command::New { new, root } => scaffold::run(&root, &new),
        Command::Generate { root } => generate(&root),
    };
    devstack::exit_code(result.map_err(|error| match nobody_listens(&error) {
        true => anyhow!("{error:#}: is the system up? start it with scripts/up"),
        false => error,
    }))
}

fn nobody_listens(error: &anyhow::Error) -> bool {
    let http = error.chain().filter_map(|cause| cause.downcast_ref::<reqwest::Error>());
    let mut io = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    http.into_iter().any(reqwest::Error::is_connect)
        || io.any(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

async fn apply_database(url: &str) -> anyhow::Result<ExitCode> {
    let created = ctl::database::apply(url).await?;
    created.iter().for_each(|name| print(&format!("created the database {name}")));
    print("Postgres has every role, database and right");
    Ok(ExitCode::SUCCESS)
}

fn generate(root: &Path) -> anyhow::Result<ExitCode> {
    let written = ctl::generate::write(root)?;
    if written.is_empty() {
        print("every generated file is as it should be");
    }
    written.iter().for_each(|path| print(&format!("wrote {}", path.display())));
    Ok(ExitCode::SUCCESS)
}
