//! Each part of the stack, started for real: it comes up, can be stopped, killed and started again,
//! and leaves no process behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use devstack::{
    Postgres, RabbitMq, RabbitMqPorts, Service, Services, Shutdown, SmtpSink, Storage, temporary_folder,
};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asserts that no process names the folder in its command line any more.
fn assert_no_process_of(dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = processes_of(dir);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {left:?}");
        std::thread::yield_now();
    }
}

fn processes_of(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok())
        .filter(|command| command.contains(dir))
        .collect()
}

fn query(url: &str, sql: &str) -> Result<String, String> {
    let output = Command::new("psql").args(["-XAtc", sql, url]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test]
async fn postgres_keeps_its_data_over_every_kind_of_stop() {
    let dir = temporary_folder().unwrap();
    let [port] = devstack::free_ports().unwrap();
    let mut postgres = Postgres::start(dir.path(), port, Storage::Throwaway).await.unwrap();
    let order = postgres.service_url("order");
    query(&order, "create table t as select 7 as n").unwrap();

    postgres.restart(Shutdown::Fast).await.unwrap();
    assert_eq!(query(&order, "select n from t").unwrap(), "7");
    postgres.restart(Shutdown::Immediate).await.unwrap();
    assert_eq!(query(&order, "select n from t").unwrap(), "7");
    postgres.process.kill().unwrap();
    postgres.resume().await.unwrap();
    assert_eq!(query(&order, "select n from t").unwrap(), "7");

    drop(postgres);
    assert_no_process_of(dir.path());
    let postgres = Postgres::start(dir.path(), port, Storage::Throwaway).await.unwrap();
    assert_eq!(query(&order, "select n from t").unwrap(), "7");
    drop(postgres);
    assert_no_process_of(dir.path());
}

#[tokio::test]
async fn no_role_opens_the_database_of_another() {
    let dir = temporary_folder().unwrap();
    let [port] = devstack::free_ports().unwrap();
    let postgres = Postgres::start(dir.path(), port, Storage::Throwaway).await.unwrap();
    let services = system::Service::with_database().map(system::Service::as_str);
    for role in services.clone() {
        for database in services.clone().chain(["postgres"]) {
            let url = format!("postgres://{role}:{role}@127.0.0.1:{port}/{database}");
            let answer = query(&url, "select current_user");
            if role == database {
                assert_eq!(answer.unwrap(), role);
            } else {
                assert!(answer.unwrap_err().contains("permission denied"), "{role} opened {database}");
            }
        }
    }
    let wrong = format!("postgres://order:wrong@127.0.0.1:{port}/order");
    assert!(query(&wrong, "select 1").unwrap_err().contains("password authentication failed"));
    assert_eq!(
        query(&format!("{}/postgres", postgres.superuser_url()), "show max_connections").unwrap(),
        "300"
    );
}

#[tokio::test]
async fn two_brokers_run_side_by_side_and_survive_stop_and_kill() {
    let (one, two) = (temporary_folder().unwrap(), temporary_folder().unwrap());
    let ports = [RabbitMqPorts::free().unwrap(), RabbitMqPorts::free().unwrap()];
    let (first, second) =
        tokio::join!(RabbitMq::start(one.path(), ports[0]), RabbitMq::start(two.path(), ports[1]));
    let (mut first, second) = (first.unwrap(), second.unwrap());

    create_vhost(&first, "kept").await;
    first.restart().await.unwrap();
    assert!(vhosts(&first).await.contains("\"kept\""));
    first.process.kill().unwrap();
    assert!(TcpStream::connect(devstack::local_address(ports[0].amqp)).await.is_err());
    first.resume().await.unwrap();
    assert!(vhosts(&first).await.contains("\"kept\""));
    assert!(!vhosts(&second).await.contains("\"kept\""));

    drop((first, second));
    assert_no_process_of(one.path());
    assert_no_process_of(two.path());
    assert!(TcpListener::bind(devstack::local_address(ports[0].epmd)).is_ok(), "the port mapper is gone");
}

#[tokio::test]
async fn servers_run_in_a_folder_with_an_unusual_name() {
    let parent = temporary_folder().unwrap();
    let dir = parent.path().join("a #1 'copy' $HOME %d \\ of\" it");
    let (postgres_dir, rabbitmq_dir) = (dir.join("postgres"), dir.join("rabbitmq"));
    fs::create_dir_all(&postgres_dir).unwrap();
    let [port] = devstack::free_ports().unwrap();
    let (postgres, broker) = tokio::join!(
        Postgres::start(&postgres_dir, port, Storage::Throwaway),
        RabbitMq::start(&rabbitmq_dir, RabbitMqPorts::free().unwrap())
    );
    let (postgres, broker) = (postgres.unwrap(), broker.unwrap());
    assert_eq!(query(&postgres.service_url("order"), "select 7").unwrap(), "7");
    assert!(vhosts(&broker).await.contains("\"shop\""), "the definitions are loaded");
    broker.control(&["status"]).await.unwrap();
    drop((postgres, broker));
    assert!(rabbitmq_dir.join("data").read_dir().unwrap().next().is_some(), "its data are there");
}

async fn create_vhost(broker: &RabbitMq, name: &str) {
    let url = format!("{}/api/vhosts/{name}", broker.admin_management_url());
    let answer = reqwest::Client::new().put(url).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

async fn vhosts(broker: &RabbitMq) -> String {
    let url = format!("{}/api/vhosts", broker.admin_management_url());
    reqwest::get(url).await.unwrap().error_for_status().unwrap().text().await.unwrap()
}

#[tokio::test]
async fn the_sink_keeps_what_a_mail_client_sends_and_refuses_where_asked() {
    let dir = temporary_folder().unwrap();
    let sink = SmtpSink::start(dir.path(), 0).await.unwrap();
    let client = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(sink.address().port())
        .build();
    let mail = |to: &str| {
        Message::builder()
            .from("shop@shop.example".parse().unwrap())
            .to(to.parse().unwrap())
            .subject("confirmed")
            .body("first\r\n.starts with a dot\r\n".to_owned())
            .unwrap()
    };
    client.send(mail("ada@example.com")).await.unwrap();
    assert!(client.send(mail("x@reject.example")).await.unwrap_err().is_permanent());
    assert!(client.send(mail("x@busy.example")).await.unwrap_err().is_transient());
    client.send(mail("bob@example.com")).await.unwrap();

    let mails = sink.mails().unwrap();
    assert_eq!(mails.len(), 2, "{mails:?}");
    sink.defer(true);
    assert!(
        client.send(mail("a@example.com")).await.is_ok() != client.send(mail("b@example.com")).await.is_ok()
    );
    sink.defer(false);
    client.send(mail("a@example.com")).await.unwrap();
    client.send(mail("b@example.com")).await.unwrap();
    assert!(mails[0].contains("To: ada@example.com") && mails[0].contains("\n.starts with a dot"));
    assert!(mails[1].contains("To: bob@example.com"));
}

#[tokio::test]
async fn a_sink_that_refuses_turns_new_clients_away_and_the_mails_of_those_that_are_there() {
    let dir = temporary_folder().unwrap();
    let sink = SmtpSink::start(dir.path(), 0).await.unwrap();
    let mut early = TcpStream::connect(sink.address()).await.unwrap();
    let mut greeting = [0; "220 mail sink\r\n".len()];
    early.read_exact(&mut greeting).await.unwrap();
    sink.refuse(true);
    let mut late = TcpStream::connect(sink.address()).await.unwrap();
    early.write_all(b"mail from:<a@b>\r\nquit\r\n").await.unwrap();
    for (client, answer) in [(&mut early, "451 not now\r\n221 bye\r\n"), (&mut late, "421 not now\r\n")] {
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        assert_eq!(answers, answer);
    }
    assert_eq!(sink.refused(), 2);

    sink.refuse(false);
    let mut welcome = TcpStream::connect(sink.address()).await.unwrap();
    welcome.read_exact(&mut greeting).await.unwrap();
    assert_eq!((greeting.as_slice(), sink.refused()), (b"220 mail sink\r\n".as_slice(), 2));
}

#[tokio::test]
async fn the_sink_survives_clients_that_do_not_speak_smtp() {
    let dir = temporary_folder().unwrap();
    let sink = SmtpSink::start(dir.path(), 0).await.unwrap();
    let address = sink.address();
    let inputs: [&[u8]; 5] = [
        b"\xff\xfe\x00\r\nRCPT\r\nDATA\r\nMAIL\r\nRCPT TO:<>\r\nQUIT\r\n",
        b"GET / HTTP/1.1\r\n\r\nQUIT\r\n",
        b"mail from:<a@b>\r\nrcpt to:<c@d>\r\ndata\r\ncut short",
        b"",
        &[b'x'; 100_000],
    ];
    for input in inputs {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(input).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    assert_eq!(sink.mails().unwrap(), Vec::<String>::new());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"mail from:<a@b>\r\nrcpt to:<c@d>\r\ndata\r\nhello\r\n.\r\nquit\r\n").await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert!(answers.contains("250 kept"), "{answers}");
    assert_eq!(sink.mails().unwrap(), ["hello\r\n"]);
}

/// Shell that does nothing until it is told to end.
const IDLE: &str = "while :; do read -rt 0.05 <> <(:); done";

/// A service in one line of shell: it records its variables, then answers every request alike.
fn service(dir: &Path, name: &str, script: &str) -> Service {
    let binary = dir.join(format!("{name}.sh"));
    fs::write(&binary, format!("#!/bin/bash\n# {}\n{script}\n", dir.display())).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&binary, mode).unwrap();
    let [http, operations] = devstack::free_ports().unwrap();
    Service {
        name: name.to_owned(),
        binary,
        listen: devstack::local_address(http),
        operations: devstack::local_address(operations),
        environment: vec![("GREETING".to_owned(), "hello".to_owned())],
    }
}

#[tokio::test]
async fn a_service_that_ends_while_starting_is_reported_with_its_log() {
    let dir = temporary_folder().unwrap();
    let mut services = Services::new(dir.path()).unwrap();
    let failing = service(dir.path(), "order", "echo \"DATABASE_URL is missing, $GREETING\"; exit 2");
    services.start(failing).unwrap();
    let error = services.wait_until_ready(Duration::from_secs(10)).await.unwrap_err().to_string();
    assert!(error.contains("order ended while starting (exit status: 2)"), "{error}");
    assert!(error.contains("DATABASE_URL is missing, hello"), "{error}");
}

#[tokio::test]
async fn services_can_be_stopped_killed_and_resumed_by_name() {
    let dir = temporary_folder().unwrap();
    let mut services = Services::new(dir.path()).unwrap();
    services.start(service(dir.path(), "polite", &format!("trap 'exit 0' TERM; {IDLE}"))).unwrap();
    services.start(service(dir.path(), "other", "while :; do read -rt 0.05 <> <(:); done")).unwrap();
    let first = services.pid("polite").unwrap();
    assert!(services.ended().unwrap().is_empty());

    services.process("polite").unwrap().kill().unwrap();
    let ended = services.ended().unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].0.as_str(), ended[0].1.signal()), ("polite", Some(9)));
    services.resume("polite").unwrap();
    assert_ne!(services.pid("polite").unwrap(), first);
    assert!(services.process("nobody").is_err());

    services.stop_all().await.unwrap();
    assert_no_process_of(dir.path());
}

#[tokio::test]
async fn nothing_outlives_a_killed_owner() {
    const FOLDER: &str = "STACK_TEST_OWNED_FOLDER";
    if let Some(dir) = std::env::var_os(FOLDER) {
        return own_a_service_until_killed(Path::new(&dir)).await;
    }
    let dir = temporary_folder().unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_outlives_a_killed_owner"])
        .env(FOLDER, dir.path())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !dir.path().join("started").exists() {
        assert!(Instant::now() < deadline, "the child never started");
        tokio::task::yield_now().await;
    }
    assert!(!processes_of(dir.path()).is_empty());
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_no_process_of(dir.path());
}

/// What the test above runs in a process of its own.
async fn own_a_service_until_killed(dir: &Path) {
    let mut services = Services::new(dir).unwrap();
    services.start(service(dir, "child", &format!("touch {}/started; {IDLE}", dir.display()))).unwrap();
    std::future::pending::<()>().await;
}
