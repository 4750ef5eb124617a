//! Connections to the mail server, kept for the mails that follow.
//!
//! lettre ends a mail with a write of its own, and its pool cannot be told to set `TCP_NODELAY`: that write waits until
//! the server acknowledges the one before (RFC 896), which it delays, on Linux by 40 ms (RFC 1122, section 4.2.3.2).

use std::{
    io,
    sync::Mutex,
    time::{Duration, Instant},
};

use lettre::{
    Message,
    transport::smtp::{self, client::AsyncSmtpConnection, extension::ClientId},
};
use tokio::net::TcpStream;

/// A connection that was used this lately is not asked first whether it still lives.
const FRESH: Duration = Duration::from_secs(1);
/// Longer than this no server need keep one that is not used (RFC 5321, section 4.5.3.2.7, lets it wait for 5 min).
const IDLE_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the mail server cannot be reached")]
    Unreachable(#[from] io::Error),
    /// The server refused, or fell silent.
    #[error(transparent)]
    Smtp(#[from] smtp::Error),
}

/// A mail server that wants neither TLS nor a login, and the connections to it that are not in use.
pub struct MailServer {
    host: String,
    port: u16,
    hello: ClientId,
    idle: Mutex<Vec<Parked>>,
}

struct Parked {
    connection: AsyncSmtpConnection,
    since: Instant,
}

impl MailServer {
    /// The server there. Connects to nothing yet.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, hello: ClientId::default(), idle: Mutex::default() }
    }

    /// Hands over one mail, over a connection of its own.
    pub async fn send(&self, mail: &Message) -> Result<(), SendError> {
        let mut connection = self.connection().await?;
        let sent = connection.send(mail.envelope(), &mail.formatted()).await;
        if !connection.has_broken() {
            self.lock().push(Parked { connection, since: Instant::now() });
        }
        Ok(sent.map(drop)?)
    }

    async fn connection(&self) -> Result<AsyncSmtpConnection, SendError> {
        loop {
            // The one that was used last, so that those that are not needed grow old.
            let Some(Parked { mut connection, since }) = self.lock().pop() else { break };
            let idle = since.elapsed();
            if idle < FRESH || idle < IDLE_LIMIT && connection.test_connected().await {
                return Ok(connection);
            }
        }
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Parked>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use lettre::message::Mailbox;
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufStream},
        net::TcpListener,
    };

    use super::*;

    fn mail() -> Message {
        let someone: Mailbox = "someone@example.com".parse().expect("a mailbox");
        Message::builder().from(someone.clone()).to(someone).body("It is here.\n".to_owned()).expect("a mail")
    }

    /// Takes so many mails over one connection, then closes it.
    async fn serve(listener: &TcpListener, mails: usize) -> io::Result<()> {
        let mut client = BufStream::new(listener.accept().await?.0);
        let mut taken = 0;
        let mut reply = "220 here\r\n";
        loop {
            client.write_all(reply.as_bytes()).await?;
            client.flush().await?;
            if taken == mails {
                return Ok(());
            }
            let mut line = String::new();
            while client.read_line(&mut line).await? > 0 && reply.starts_with("354") && line != ".\r\n" {
                line.clear();
            }
            reply = match line.split([' ', '\r']).next() {
                Some("DATA") => "354 go on\r\n",
                Some(".") => {
                    taken += 1;
                    "250 taken\r\n"
                }
                _ => "250 well\r\n",
            };
        }
    }

    async fn listen() -> (TcpListener, MailServer) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        (listener, MailServer::new("127.0.0.1", port))
    }

    #[tokio::test]
    async fn a_connection_is_kept_for_the_next_mail() {
        let (listener, server) = listen().await;
        let client = async {
            server.send(&mail()).await?;
            server.send(&mail()).await
        };
        let (served, sent) = tokio::join!(serve(&listener, 2), client);
        served.expect("one client");
        sent.expect("both mails are taken");
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_is_used_no_more() {
        let (mail, (listener, server)) = (mail(), listen().await);
        let (served, sent) = tokio::join!(serve(&listener, 1), server.send(&mail));
        served.expect("one client");
        sent.expect("the mail is taken");

        assert!(matches!(server.send(&mail).await, Err(SendError::Smtp(_))), "nobody is there");
        let (served, sent) = tokio::join!(serve(&listener, 1), server.send(&mail));
        served.expect("another client");
        sent.expect("the mail is taken");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_cannot_be_reached() {
        let (listener, server) = listen().await;
        drop(listener);
        assert!(matches!(server.send(&mail()).await, Err(SendError::Unreachable(_))));
    }
}
