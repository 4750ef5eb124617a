//! A mail sink: takes every mail over SMTP (RFC 5321), and keeps each as a file or only counts them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::ports;

const LINE_LIMIT: u64 = 4 * 1024;
const MAIL_LIMIT: usize = 1024 * 1024;
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// A recipient there is refused for good.
const REFUSED_DOMAIN: &str = "@reject.example";
/// A recipient there is refused for now.
const BUSY_DOMAIN: &str = "@busy.example";

/// A running mail sink, stopped when dropped. Mail to `@reject.example` is refused (550), mail to
/// `@busy.example` is put off (451).
#[derive(Debug)]
pub struct SmtpSink {
    address: SocketAddr,
    mailbox: Arc<Mailbox>,
    // Aborts the listener when dropped.
    _listener: JoinSet<()>,
}

impl SmtpSink {
    /// Listens on 127.0.0.1:`port` (0: any) and writes each mail into `dir` as `<number>.eml`.
    pub async fn start(dir: &Path, port: u16) -> Result<Self> {
        Self::listen(Mailbox::open(dir)?, port).await
    }

    /// The same, and every mail is forgotten as soon as it is counted: to make a file took 0.5 ms of a processor where
    /// a run before had left many that were removed.
    pub async fn counting(port: u16) -> Result<Self> {
        Self::listen(Mailbox::default(), port).await
    }

    async fn listen(mailbox: Mailbox, port: u16) -> Result<Self> {
        let listener =
            TcpListener::bind(ports::local(port)).await.with_context(|| format!("port {port} (mail)"))?;
        let address = listener.local_addr()?;
        let mailbox = Arc::new(mailbox);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&mailbox)));
        Ok(Self { address, mailbox, _listener: tasks })
    }

    /// Whether to turn every new client away (421), and to refuse every mail of those that are there (451).
    pub fn refuse(&self, refuses: bool) {
        self.mailbox.refuses.store(refuses, Ordering::Relaxed);
    }

    /// Whether to put mail to every other recipient off (451), as greylisting does (RFC 6647, section 2.1). Which ones
    /// depends on the address: each is always among them, or never.
    pub fn defer(&self, defers: bool) {
        self.mailbox.defers.store(defers, Ordering::Relaxed);
    }

    /// How many clients and mails were refused so far because it was told to [`refuse`](Self::refuse).
    pub fn refused(&self) -> u64 {
        self.mailbox.refused.load(Ordering::Relaxed)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// How many mails there are, those of an earlier sink in the same folder among them.
    pub fn count(&self) -> u64 {
        self.mailbox.count.load(Ordering::Relaxed)
    }

    /// Every mail that was kept so far, in the order of arrival.
    pub fn mails(&self) -> Result<Vec<String>> {
        let Some(dir) = &self.mailbox.dir else { return Ok(Vec::new()) };
        let mut files: Vec<PathBuf> =
            fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
        files.sort();
        files.iter().map(|file| Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned())).collect()
    }
}

#[derive(Debug, Default)]
struct Mailbox {
    /// None when mails are only counted.
    dir: Option<PathBuf>,
    count: AtomicU64,
    refuses: AtomicBool,
    defers: AtomicBool,
    refused: AtomicU64,
}

impl Mailbox {
    fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let numbers = fs::read_dir(dir)?
            .flatten()
            .filter_map(|entry| entry.path().file_stem()?.to_str()?.parse::<u64>().ok());
        let last = numbers.max().unwrap_or_default();
        Ok(Self { dir: Some(dir.to_owned()), count: last.into(), ..Self::default() })
    }

    /// Whether to refuse what a client wants now; counted when it is.
    fn refuses(&self) -> bool {
        let refuses = self.refuses.load(Ordering::Relaxed);
        self.refused.fetch_add(u64::from(refuses), Ordering::Relaxed);
        refuses
    }

    fn defers(&self, address: &str) -> bool {
        self.defers.load(Ordering::Relaxed) && address.bytes().fold(0, u8::wrapping_add) % 2 == 1
    }

    /// Written under another name first, so that a reader never sees half a mail.
    async fn keep(&self, mail: &[u8]) -> std::io::Result<()> {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(dir) = &self.dir else { return Ok(()) };
        let file = dir.join(format!("{number:08}.eml"));
        let draft = file.with_extension("part");
        tokio::fs::write(&draft, mail).await?;
        tokio::fs::rename(&draft, &file).await
    }
}

async fn accept(listener: TcpListener, mailbox: Arc<Mailbox>) {
    let mut sessions = JoinSet::new();
    loop {
        // An error here is a client that went away between its connect and now.
        if let Ok((stream, _)) = listener.accept().await {
            let mailbox = Arc::clone(&mailbox);
            sessions.spawn(async move {
                let _ = Session::new(stream, mailbox).run().await;
            });
        }
        while sessions.try_join_next().is_some() {}
    }
}

struct Session {
    input: BufReader<OwnedReadHalf>,
    output: OwnedWriteHalf,
    mailbox: Arc<Mailbox>,
    /// The recipients so far of the mail that is being sent; none before it has a sender.
    recipients: Option<usize>,
}

impl Session {
    fn new(stream: TcpStream, mailbox: Arc<Mailbox>) -> Self {
        let (input, output) = stream.into_split();
        Self { input: BufReader::new(input), output, mailbox, recipients: None }
    }

    async fn run(mut self) -> std::io::Result<()> {
        if self.mailbox.refuses() {
            return self.say("421 not now").await;
        }
        self.say("220 mail sink").await?;
        while let Some(line) = self.line().await? {
            let text = String::from_utf8_lossy(&line).trim_end().to_ascii_lowercase();
            let verb = text.split([' ', ':']).next().unwrap_or_default();
            let reply = match verb {
                "ehlo" => "250-mail sink\r\n250-8BITMIME\r\n250 SMTPUTF8",
                "helo" | "noop" => "250 ok",
                "rset" => self.begin(None),
                "mail" if self.mailbox.refuses() => "451 not now",
                "mail" => self.begin(Some(0)),
                "rcpt" => self.recipient(&text),
                "data" if self.recipients.unwrap_or_default() == 0 => "503 no recipient",
                "data" => self.data().await?,
                "quit" => return self.say("221 bye").await,
                _ => "502 not known here",
            };
            self.say(reply).await?;
        }
        Ok(())
    }

    fn begin(&mut self, recipients: Option<usize>) -> &'static str {
        self.recipients = recipients;
        "250 ok"
    }

    fn recipient(&mut self, line: &str) -> &'static str {
        let address = line.split(['<', '>']).nth(1).unwrap_or_default();
        let Some(recipients) = &mut self.recipients else { return "503 no sender" };
        if !address.contains('@') {
            return "501 not an address";
        }
        if address.ends_with(REFUSED_DOMAIN) {
            return "550 no such mailbox";
        }
        if address.ends_with(BUSY_DOMAIN) || self.mailbox.defers(address) {
            return "451 try again later";
        }
        *recipients += 1;
        "250 ok"
    }

    /// Reads the mail up to the line with a single dot and keeps it.
    async fn data(&mut self) -> std::io::Result<&'static str> {
        self.say("354 end with a line with a single dot").await?;
        let mut mail = Vec::new();
        let mut too_large = false;
        loop {
            let Some(line) = self.line().await? else {
                return Ok("451 cut short");
            };
            if line == b".\r\n" || line == b".\n" {
                break;
            }
            // A dot at the start of a line was doubled by the sender (RFC 5321, 4.5.2).
            mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            if mail.len() > MAIL_LIMIT {
                too_large = true;
                mail.clear();
            }
        }
        self.begin(None);
        if too_large {
            return Ok("552 too large");
        }
        self.mailbox.keep(&mail).await?;
        Ok("250 kept")
    }

    /// The next line with its end, or nothing once the client is gone, silent or talks without end.
    async fn line(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.input).take(LINE_LIMIT);
        let read = tokio::time::timeout(IDLE_LIMIT, limited.read_until(b'\n', &mut line)).await;
        let complete = matches!(read, Ok(Ok(_))) && line.ends_with(b"\n");
        Ok(complete.then_some(line))
    }

    async fn say(&mut self, reply: &str) -> std::io::Result<()> {
        self.output.write_all(format!("{reply}\r\n").as_bytes()).await
    }
}
