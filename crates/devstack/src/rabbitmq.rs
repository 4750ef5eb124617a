//! A private RabbitMQ: its own node name, cookie, ports and data, beside any other on the machine.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::folder::temporary_folder;
use crate::ports;
use crate::process::{Process, find_program};

const CONFIGURATION: &str = include_str!("../../../deploy/rabbitmq/rabbitmq.conf");
const DEFINITIONS: &str = include_str!("../../../deploy/rabbitmq/definitions.json");
const ADMIN: &str = "admin";
const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
pub struct RabbitMqPorts {
    /// AMQP 0-9-1.
    pub amqp: u16,
    pub management: u16,
    /// Erlang distribution, between a node and its command line tools.
    pub distribution: u16,
    /// Erlang's port mapper. One per node: a shared one would outlive them all.
    pub epmd: u16,
}

impl RabbitMqPorts {
    pub fn free() -> Result<Self> {
        let [amqp, management, distribution, epmd] = ports::free()?;
        Ok(Self { amqp, management, distribution, epmd })
    }
}

/// A running RabbitMQ node, stopped when dropped.
#[derive(Debug)]
pub struct RabbitMq {
    pub ports: RabbitMqPorts,
    // Before the port mapper and the folder, because fields are dropped in this order.
    pub process: Process,
    _epmd: Process,
    dir: PlainPath,
}

impl RabbitMq {
    /// Starts a node with its data in `dir`. It loads the system's users, rights and exchanges; the
    /// user `admin` may do everything. Fails when it does not come up within 90 s. Beware: the data belong to `ports.amqp`,
    /// which names the node.
    pub async fn start(dir: &Path, ports: RabbitMqPorts) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let dir = PlainPath::to(dir)?;
        prepare(&dir.path, ports)?;
        let epmd = start_epmd(&dir.path, ports.epmd).await?;
        let process = launch(&dir.path, ports).await?;
        Ok(Self { ports, process, _epmd: epmd, dir })
    }

    /// Runs `rabbitmqctl` on this node. When it fails, the error quotes it.
    pub async fn control(&self, arguments: &[&str]) -> Result<()> {
        let mut command = command("rabbitmqctl", &self.dir.path, self.ports)?;
        command.args(arguments);
        let output = tokio::process::Command::from(command).output().await.context("rabbitmqctl")?;
        anyhow::ensure!(
            output.status.success(),
            "rabbitmqctl {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// URL of the user with every right, with no virtual host named.
    pub fn admin_url(&self) -> String {
        format!("amqp://{ADMIN}:{ADMIN}@127.0.0.1:{}", self.ports.amqp)
    }

    pub fn user_url(&self, user: &str, vhost: &str) -> String {
        format!("amqp://{user}:{user}@127.0.0.1:{}/{vhost}", self.ports.amqp)
    }

    pub fn management_url(&self, user: &str) -> String {
        format!("http://{user}:{user}@127.0.0.1:{}", self.ports.management)
    }

    pub fn admin_management_url(&self) -> String {
        self.management_url(ADMIN)
    }

    /// Stops the node; [`RabbitMq::resume`] starts it again.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop(STOP_LIMIT).await?;
        Ok(())
    }

    /// Starts the node again after a stop or a kill, with the same data on the same ports.
    pub async fn resume(&mut self) -> Result<()> {
        self.process = launch(&self.dir.path, self.ports).await?;
        Ok(())
    }

    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.resume().await
    }
}

/// A path to a folder that RabbitMQ's scripts and configuration take as it is: they know no quotes, and `#` begins a
/// comment.
#[derive(Debug)]
struct PlainPath {
    path: PathBuf,
    /// Holds a link to the folder when its own path is another one.
    _link: Option<TempDir>,
}

impl PlainPath {
    fn to(dir: &Path) -> Result<Self> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
        if dir.as_os_str().as_bytes().iter().all(plain) {
            return Ok(Self { path: dir.to_owned(), _link: None });
        }
        let folder = temporary_folder()?;
        let path = folder.path().join("rabbitmq");
        symlink(dir.canonicalize()?, &path).with_context(|| format!("cannot link {}", path.display()))?;
        Ok(Self { path, _link: Some(folder) })
    }
}

fn prepare(dir: &Path, ports: RabbitMqPorts) -> Result<()> {
    for folder in ["home", "conf.d", "data", "log"] {
        let path = dir.join(folder);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    let definitions = dir.join("definitions.json");
    fs::write(&definitions, serde_json::to_vec_pretty(&definitions_with_default_vhost()?)?)?;
    fs::write(dir.join("enabled_plugins"), "[rabbitmq_management].\n")?;
    fs::write(dir.join("conf.d/10-shared.conf"), CONFIGURATION)?;
    let RabbitMqPorts { amqp, management, .. } = ports;
    let private = format!(
        "listeners.tcp.1 = 127.0.0.1:{amqp}\n\
         management.tcp.ip = 127.0.0.1\n\
         management.tcp.port = {management}\n\
         definitions.local.path = {}\n",
        definitions.display()
    );
    Ok(fs::write(dir.join("conf.d/20-private.conf"), private)?)
}

/// The system's definitions and the default virtual host, which a node does not create once it loads any.
fn definitions_with_default_vhost() -> Result<Value> {
    let mut definitions: Value =
        serde_json::from_str(DEFINITIONS).context("deploy/rabbitmq/definitions.json")?;
    let all = json!({"user": ADMIN, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"});
    for (list, entry) in [("vhosts", json!({"name": "/"})), ("permissions", all)] {
        definitions[list].as_array_mut().context(list)?.push(entry);
    }
    Ok(definitions)
}

async fn launch(dir: &Path, ports: RabbitMqPorts) -> Result<Process> {
    let mut node =
        Process::start("rabbitmq", node_command(dir, ports)?, &dir.join("rabbitmq.log"), Signal::TERM)?;
    // The AMQP listener is opened at the very end of the start.
    node.wait_until(START_LIMIT, async || accepts(ports.amqp).await).await?;
    Ok(node)
}

fn node_command(dir: &Path, ports: RabbitMqPorts) -> Result<Command> {
    let none = dir.join("none");
    let mut command = command("rabbitmq-server", dir, ports)?;
    command
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_DIST_PORT", ports.distribution.to_string())
        .env("RABBITMQ_MNESIA_BASE", dir.join("data"))
        .env("RABBITMQ_LOG_BASE", dir.join("log"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
        .env("RABBITMQ_CONFIG_FILES", dir.join("conf.d"))
        // Named so that the files under /etc/rabbitmq are not read.
        .env("RABBITMQ_CONFIG_FILE", &none)
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", &none)
        // Makes the start script become the node instead of its parent, so that a kill hits the node.
        .env("RABBITMQ_ALLOW_INPUT", "1")
        // The node shares the machine: its threads are not bound to cores and do not spin when idle.
        .env("RABBITMQ_SCHEDULER_BIND_TYPE", "u")
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-noinput +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
        );
    Ok(command)
}

/// A program that knows the node, and no `RABBITMQ_*` variable of the caller.
fn command(name: &str, dir: &Path, ports: RabbitMqPorts) -> Result<Command> {
    let mut command = Command::new(program(name)?);
    command
        .current_dir(dir)
        .env_clear()
        .env("PATH", search_path())
        .env("HOME", dir.join("home"))
        .env("LANG", "C.UTF-8")
        .env("ERL_EPMD_PORT", ports.epmd.to_string())
        .env("RABBITMQ_NODENAME", format!("shop-{}@localhost", ports.amqp))
        .env("RABBITMQ_CONF_ENV_FILE", dir.join("none"));
    Ok(command)
}

/// Started here and in the foreground, because the one that a node starts for itself never ends.
async fn start_epmd(dir: &Path, port: u16) -> Result<Process> {
    let mut command = Command::new(program("epmd")?);
    command.current_dir(dir).args(["-address", "127.0.0.1", "-port", &port.to_string()]);
    let mut epmd = Process::start("epmd", command, &dir.join("epmd.log"), Signal::TERM)?;
    epmd.wait_until(START_LIMIT, async || accepts(port).await).await?;
    Ok(epmd)
}

async fn accepts(port: u16) -> bool {
    TcpStream::connect(ports::local(port)).await.is_ok()
}

fn program(name: &str) -> Result<PathBuf> {
    find_program(name, search_path().as_os_str()).with_context(|| {
        format!("{name} not found: install RabbitMQ 3.10 or newer (Debian: apt-get install rabbitmq-server)")
    })
}

/// Debian's `/usr/sbin/rabbitmq-server` changes to the user `rabbitmq` and its home: the script
/// behind it, which runs as anybody, comes first.
fn search_path() -> OsString {
    let mut path = OsString::from("/usr/lib/rabbitmq/bin:/usr/lib/erlang/bin:");
    path.push(env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()));
    path
}
