//! A private Postgres: its own cluster, its own port, the roles and databases of the services.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, geteuid};

use crate::process::{Process, find_program};

const ROLES_AND_DATABASES: &str = include_str!("../../../deploy/postgres/init.sql");
const SUPERUSER: &str = "postgres";
/// Where Debian puts each version.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";
/// The migrations need it.
const OLDEST: u32 = 15;
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Whether the data must survive a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    Kept,
    /// Everything as in production, and statements and the times of commits are kept, too. Mails are only counted.
    Measured,
    /// For tests: no fsync (a crash of the server alone loses nothing), statements counted.
    Throwaway,
}

/// How a stop treats the sessions that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Cuts them, rolls back, writes a checkpoint.
    Fast,
    /// Cuts them and recovers at the next start, as after a crash.
    Immediate,
}

/// A running Postgres, stopped when dropped.
#[derive(Debug)]
pub struct Postgres {
    dir: PathBuf,
    pub port: u16,
    storage: Storage,
    pub process: Process,
}

impl Postgres {
    /// Starts the cluster in `dir` on 127.0.0.1:`port`, creating it with the services' roles and
    /// databases when it is not there yet. Fails when it does not come up within 30 s.
    pub async fn start(dir: &Path, port: u16, storage: Storage) -> Result<Self> {
        let fresh = create_cluster(dir)?;
        let process = launch(dir, port, storage).await?;
        let postgres = Self { dir: dir.to_owned(), port, storage, process };
        if fresh {
            postgres.create_roles_and_databases()?;
        }
        Ok(postgres)
    }

    pub fn superuser_url(&self) -> String {
        format!("postgres://{SUPERUSER}:{SUPERUSER}@127.0.0.1:{}", self.port)
    }

    pub fn user_url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}:{user}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn service_url(&self, service: &str) -> String {
        self.user_url(service, service)
    }

    /// Stops the server; [`Postgres::resume`] starts it again.
    pub async fn stop(&mut self, shutdown: Shutdown) -> Result<()> {
        let signal = match shutdown {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        };
        self.process.stop_with(signal, STOP_LIMIT).await?;
        Ok(())
    }

    /// Starts the server again after a stop or a kill, with the same data on the same port.
    pub async fn resume(&mut self) -> Result<()> {
        self.process = launch(&self.dir, self.port, self.storage).await?;
        Ok(())
    }

    pub async fn restart(&mut self, shutdown: Shutdown) -> Result<()> {
        self.stop(shutdown).await?;
        self.resume().await
    }

    fn create_roles_and_databases(&self) -> Result<()> {
        let script = self.dir.join("init.sql");
        fs::write(&script, ROLES_AND_DATABASES)?;
        let psql = Some(installation(&self.dir)?.join("psql")).filter(|psql| psql.is_file());
        // The client may be packaged apart from the server.
        let psql = Command::new(psql.unwrap_or_else(|| "psql".into()))
            .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file"])
            .arg(script)
            .arg(format!("{}/postgres", self.superuser_url()))
            .output()
            .context("cannot run psql")?;
        succeeded("psql", &psql)?;
        Ok(fs::write(complete_marker(&self.dir), "")?)
    }
}

/// Exists once the cluster has its roles and databases; one without it was cut short.
fn complete_marker(dir: &Path) -> PathBuf {
    dir.join("complete")
}

/// Starts the server. After a kill its old children may hold the shared memory for a moment, and
/// it refuses to start: hence the second and third try.
async fn launch(dir: &Path, port: u16, storage: Storage) -> Result<Process> {
    for _ in 0..2 {
        if let Ok(process) = try_launch(dir, port, storage).await {
            return Ok(process);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    try_launch(dir, port, storage).await
}

async fn try_launch(dir: &Path, port: u16, storage: Storage) -> Result<Process> {
    let mut command = server_command(&installation(dir)?, "postgres");
    command.current_dir(dir).arg("-D").arg(dir.join("data"));
    for setting in settings(port, storage) {
        command.args(["-c", &setting]);
    }
    let mut process = Process::start("postgres", command, &dir.join("postgres.log"), Signal::INT)?;
    let pid = process.pid().to_string();
    let pid_file = dir.join("data/postmaster.pid");
    process.wait_until(START_LIMIT, async || says_ready(&pid_file, &pid)).await?;
    Ok(process)
}

fn settings(port: u16, storage: Storage) -> Vec<String> {
    // A socket's path may have 107 bytes at most, and a temporary folder's may be longer.
    let always = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300"];
    // Room for the statements of many databases: what is rare would be forgotten while it is counted.
    let counting = ["shared_preload_libraries=pg_stat_statements", "pg_stat_statements.max=50000"];
    let more = match storage {
        Storage::Kept => vec![],
        Storage::Measured => [&counting[..], &["track_commit_timestamp=on"]].concat(),
        Storage::Throwaway => [&counting[..], &["fsync=off"]].concat(),
    };
    let all = always.into_iter().chain(more).map(str::to_owned);
    all.chain([format!("port={port}")]).collect()
}

/// The server writes its state into the eighth line of this file, its process id into the first.
fn says_ready(pid_file: &Path, pid: &str) -> bool {
    let text = fs::read_to_string(pid_file).unwrap_or_default();
    let mut lines = text.lines();
    lines.next() == Some(pid) && lines.nth(6).is_some_and(|state| state.trim() == "ready")
}

/// Creates the cluster unless it is there; tells whether it did.
fn create_cluster(dir: &Path) -> Result<bool> {
    let data = dir.join("data");
    if complete_marker(dir).exists() {
        return Ok(false);
    }
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
    let password = dir.join("password");
    fs::write(&password, SUPERUSER)?;
    hand_over(dir, &data)?;
    let output = server_command(&installation(dir)?, "initdb")
        .current_dir(dir)
        .args(["--username", SUPERUSER, "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"])
        .args(["--auth-local=reject", "--auth-host=scram-sha-256", "--pwfile"])
        .arg(&password)
        .arg("-D")
        .arg(&data)
        .output()?;
    succeeded("initdb", &output)?;
    Ok(true)
}

/// Postgres refuses to run as root. For root the data belong to the system's `postgres` user, who
/// must also be able to enter the folder.
fn hand_over(dir: &Path, data: &Path) -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let id = |flag: &str| -> Result<u32> {
        let output = Command::new("id").args([flag, SUPERUSER]).output()?;
        ensure!(
            output.status.success(),
            "root cannot run Postgres, and there is no user {SUPERUSER} to run it as"
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
    };
    let (user, group) = (id("-u")?, id("-g")?);
    chown(data, Some(user), Some(group))?;
    for parent in dir.ancestors() {
        let mode = parent.metadata()?.mode();
        ensure!(
            mode & 0o001 != 0,
            "{}: the user {SUPERUSER} cannot enter it: `chmod o+x` it, or use a folder under /var/tmp",
            parent.display()
        );
    }
    Ok(())
}

/// A program of the server, run as `postgres` when this is root.
fn server_command(bin: &Path, name: &str) -> Command {
    let program = bin.join(name);
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", SUPERUSER, "--regid", SUPERUSER, "--init-groups", "--"]).arg(program);
    command
}

/// The folder of the programs that suit the cluster in `dir`.
fn installation(dir: &Path) -> Result<PathBuf> {
    let data = dir.join("data");
    let written_by = match fs::read_to_string(data.join("PG_VERSION")) {
        Ok(version) => version.trim().parse().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", data.display())),
    };
    choose(installed(), written_by).with_context(|| format!("cannot run Postgres in {}", data.display()))
}

/// The versions of Postgres on this machine, each with the folder of its programs: the one in PATH, then those of Debian,
/// which keeps one folder per version out of PATH.
fn installed() -> Vec<(u32, PathBuf)> {
    let on_path = find_program("initdb", &env::var_os("PATH").unwrap_or_default());
    let on_path = on_path.and_then(|initdb| {
        // Such as `initdb (PostgreSQL) 17.2`.
        let output = Command::new(&initdb).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text.split(' ').nth(2)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some((number, initdb.parent()?.to_owned()))
    });
    let folders = fs::read_dir(DEBIAN_VERSIONS).into_iter().flatten().flatten();
    let of_debian = folders
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").is_file());
    on_path.into_iter().chain(of_debian).collect()
}

/// Of the installed versions the one that wrote the data, or the newest for data that are to be written.
fn choose(installed: Vec<(u32, PathBuf)>, written_by: Option<u32>) -> Result<PathBuf> {
    if let Some(version) = written_by {
        let suits = installed.into_iter().rfind(|(number, _)| *number == version);
        return suits.map(|(_, bin)| bin).with_context(|| {
            format!(
                "PostgreSQL {version} wrote these data and is not installed: install it (Debian: apt-get install \
                 postgresql-{version}), or start with empty data (--fresh)"
            )
        });
    }
    let install = format!(
        "install PostgreSQL {OLDEST} or newer (Debian 12 or newer, Ubuntu 24.04 or newer: apt-get install postgresql)"
    );
    match installed.into_iter().max_by_key(|(version, _)| *version) {
        Some((version, bin)) if version >= OLDEST => Ok(bin),
        Some((version, _)) => bail!("PostgreSQL {version} is too old: {install}"),
        None => bail!("there is no PostgreSQL: {install}"),
    }
}

fn succeeded(name: &str, output: &Output) -> Result<()> {
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_served_by_the_version_that_wrote_them() {
        let installed = |versions: &[u32]| -> Vec<_> {
            versions.iter().map(|version| (*version, PathBuf::from(version.to_string()))).collect()
        };
        for (versions, written_by, chosen) in [
            (&[9, 15, 17][..], None, Ok("17")),
            (&[17, 15], Some(15), Ok("15")),
            (&[17], Some(15), Err("PostgreSQL 15 wrote these data and is not installed: install it")),
            (&[9, 14], None, Err("PostgreSQL 14 is too old: install PostgreSQL 15 or newer")),
            (&[], None, Err("there is no PostgreSQL: install PostgreSQL 15 or newer")),
        ] {
            match (choose(installed(versions), written_by), chosen) {
                (Ok(bin), Ok(chosen)) => assert_eq!(bin, Path::new(chosen)),
                (Err(error), Err(start)) => assert!(error.to_string().starts_with(start), "{error}"),
                (got, _) => panic!("{versions:?} for {written_by:?}: {got:?}"),
            }
        }
    }
}
