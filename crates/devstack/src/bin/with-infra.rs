//! `with-infra COMMAND...` runs a command with a Postgres and a RabbitMQ of its own, and ends with its exit code.
//!
//! The command finds `TEST_POSTGRES_URL` (superuser, no database), `TEST_AMQP_URL` (administrator, no vhost) and
//! `TEST_RABBITMQ_MANAGEMENT_URL`. It needs nothing of the services, so that it compiles while they do not.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, Result};
use devstack::{Postgres, RabbitMq, RabbitMqPorts, Shutdown, Signals, Storage};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

#[tokio::main]
async fn main() -> ExitCode {
    let command: Vec<OsString> = std::env::args_os().skip(1).collect();
    devstack::exit_code(run(&command).await)
}

async fn run(command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) =
        command.split_first().context("no command given: with-infra COMMAND [ARGUMENT...]")?;
    let mut signals = Signals::listen()?;
    let folder = devstack::temporary_folder()?;
    let (postgres, rabbitmq) = (folder.path().join("postgres"), folder.path().join("rabbitmq"));
    let [port] = devstack::free_ports()?;
    let servers = async {
        tokio::try_join!(
            Postgres::start(&postgres, port, Storage::Throwaway),
            RabbitMq::start(&rabbitmq, RabbitMqPorts::free()?)
        )
    };
    let (mut postgres, mut rabbitmq) = tokio::select! {
        servers = servers => servers?,
        signal = signals.next() => return Ok(code_of_signal(signal)),
    };

    let child = spawn(program, arguments, &postgres, &rabbitmq);
    let code = match child {
        Ok(child) => wait(child, &mut signals).await,
        Err(error) => Err(error),
    };
    let (rabbitmq, postgres) = tokio::join!(rabbitmq.stop(), postgres.stop(Shutdown::Fast));
    rabbitmq.and(postgres).and(code)
}

fn spawn(program: &OsStr, arguments: &[OsString], postgres: &Postgres, rabbitmq: &RabbitMq) -> Result<Child> {
    Command::new(program)
        .args(arguments)
        .env("TEST_POSTGRES_URL", postgres.superuser_url())
        .env("TEST_AMQP_URL", rabbitmq.admin_url())
        .env("TEST_RABBITMQ_MANAGEMENT_URL", rabbitmq.admin_management_url())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))
}

/// Waits for the command. A first signal is passed on to it, a second one kills it.
async fn wait(mut child: Child, signals: &mut Signals) -> Result<ExitCode> {
    tokio::select! {
        status = child.wait() => return Ok(code(status?)),
        signal = signals.next() => pass_on(&child, signal)?,
    }
    tokio::select! {
        status = child.wait() => Ok(code(status?)),
        signal = signals.next() => {
            child.kill().await?;
            Ok(code_of_signal(signal))
        }
    }
}

fn pass_on(child: &Child, signal: Signal) -> Result<()> {
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    match pid {
        // A terminal sends Ctrl-C to the command as well.
        Some(pid) if signal != Signal::INT => Ok(kill_process(pid, signal)?),
        _ => Ok(()),
    }
}

/// As a shell gives it: the command's own code, or 128 and the signal that ended it.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn code_of_signal(signal: Signal) -> ExitCode {
    code(ExitStatus::from_raw(signal.as_raw()))
}
